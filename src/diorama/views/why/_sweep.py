"""An occluder over one image: what covers it, what the network then says, and the sweep that is kept between requests."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...methods.method import Look
from ...methods.patches import BATCH, Covers, Grid, ImageLayout, PatchedAnswers, draws_of, laid_out
from ...model.layers import by_unit
from ...scene import Scene
from ...scene.input import CurrentInput
from ..units import ShownLayer

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Patch:
    """What covers the image."""

    size: int
    fill: str
    value: float
    draws: int


class OccludedImage:
    """One image of which parts are covered: the scores and a layer's maps that the network answers with."""

    def __init__(self, scene: Scene, current: CurrentInput, look: Look, patch: Patch, layer: ShownLayer) -> None:
        self.scene, self.current, self.look, self.patch, self.layer = scene, current, look, patch, layer
        self.laid: ImageLayout = laid_out(current.x, look.kind)[0]
        self.shape: tuple[int, int] = (self.laid.image.shape[2], self.laid.image.shape[3])
        self._covers = Covers(
            patch.fill, self.laid.image, value=patch.value, sigma=max(1.0, patch.size / 2), draws=patch.draws,
            generator=draws_of(look),
        )
        begun = time.perf_counter()
        scores, maps = self.ask(current.x)
        self.seconds = time.perf_counter() - begun
        """What one forward pass took."""
        self.scores, self.maps = scores.cpu(), maps[0].cpu()

    @property
    def draws(self) -> int:
        """So many passes a place."""
        return self._covers.draws

    def ask(self, x: Nested) -> tuple[Tensor, Tensor]:
        """The scores, and the layer's maps (n, units, …) as the next layer gets them."""
        with torch.no_grad():
            there = self.look.run(x, keep=[self.layer.source.name])
            maps = self.layer.values(by_unit(self.layer.source, there[self.layer.source.name]))
        return there.scores.detach(), maps.detach()

    def strongest(self) -> int:
        """The unit whose map is strongest on the whole image: the largest sum, as it was in the paper."""
        return int(torch.nan_to_num(self.maps.flatten(1).sum(1) if self.maps.ndim > 1 else self.maps).argmax())

    def covered(self, row: int, column: int, draw: int = 0) -> tuple[Nested, tuple[int, int, int, int]]:
        """The input with the patch about a place, and the box (top, left, height, width) that is covered."""
        rows, columns = self.shape
        high, wide = min(self.patch.size, rows), min(self.patch.size, columns)
        top = min(max(0, row - high // 2), rows - high)
        left = min(max(0, column - wide // 2), columns - wide)
        image = self.laid.image.clone()
        inside = (slice(None), slice(top, top + high), slice(left, left + wide))
        image[0][inside] = self._covers.whole(draw)[inside]
        fresh = iter([self.laid.back(image)])
        return nesting.each(self.current.x, lambda part: next(fresh)), (top, left, high, wide)

    def changed(self, unit: int) -> PatchedAnswers:
        """The engine that answers for many windows: the scores, and the sum of a unit's map."""

        def answer(x: Nested) -> tuple[Tensor, Tensor]:
            scores, maps = self.ask(x)
            own = maps[:, unit]
            return scores, own.flatten(1).sum(1) if own.ndim > 1 else own

        return PatchedAnswers(self.look, self.current.x, 0, self.laid, answer)

    def batch(self, changed: PatchedAnswers, grid: Grid, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """For some windows the answer (probabilities or numbers) and the sum of the unit's map, averaged over draws."""
        answers: Any = 0.0
        sums: Any = 0.0
        for draw in range(self.draws):
            scores, own = changed(*self._covers.patches(grid, numbers, draw))
            answers = answers + answered(self.scene, scores.detach().cpu()) / self.draws
            sums = sums + own.detach().float().cpu() / self.draws
        return answers, sums


def answered(scene: Scene, scores: Tensor) -> Tensor:
    """What is followed: probabilities (n, classes), or plain numbers."""
    if scene.task in ("classification", "multi_label"):
        return scene.reading.probabilities(scores).float()
    return scores.reshape(len(scores), -1).float()


class Sweep:
    """The answers at all windows that were visited so far; kept between requests, so that a moved hand costs nothing."""

    def __init__(self, grid: Grid, answers: int) -> None:
        self.grid = grid
        self.done = np.zeros(grid.count, bool)
        self.answers = torch.full((grid.count, answers), torch.nan)
        self.sums = torch.full((grid.count,), torch.nan)
        self.step = max((step for step, _ in grid.levels()), default=1)

    @property
    def whole(self) -> bool:
        """Every window was visited."""
        return bool(self.done.all())

    def advance(self, occluded: OccludedImage, unit: int) -> Iterator[int]:
        """Visit what is left, from coarse to fine; says how many are done after each batch."""
        changed = occluded.changed(unit)
        for step, numbers in self.grid.levels():
            left = [number for number in numbers if not self.done[number]]
            size = max(1, BATCH // occluded.draws)
            for start in range(0, len(left), size):
                part = left[start : start + size]
                self.answers[part], self.sums[part] = occluded.batch(changed, self.grid, part)
                self.done[part] = True
                if start + size < len(left):
                    yield int(self.done.sum())
            self.step = step
            yield int(self.done.sum())

    def at_places(self, numbers: Tensor) -> Floats:
        """Numbers of the windows as one a pixel: that of the nearest visited window's middle."""
        rows, columns = self._nearest
        step = self.step
        index = (rows // step * step)[:, None] * self.grid.shape[1] + columns // step * step
        fine = rows[:, None] * self.grid.shape[1] + columns
        chosen = np.where(self.done[fine], fine, index)
        found: Floats = numbers.numpy()[chosen]
        return found

    @functools.cached_property
    def _nearest(self) -> tuple[NDArray[np.int64], ...]:
        """For each row, and for each column, of the image the window whose middle is nearest."""
        found = []
        for axis, length in enumerate((self.grid.rows, self.grid.columns)):
            spans = [self.grid.span(k * (self.grid.shape[1] if axis == 0 else 1))[axis] for k in range(self.grid.shape[axis])]
            middles = np.array([(span.start + span.stop - 1) / 2 for span in spans])
            found.append(np.abs(np.arange(length)[:, None] - middles).argmin(1))
        return tuple(found)

    def middle(self, number: int) -> tuple[int, int]:
        """The pixel in the middle of a window."""
        down, across = self.grid.span(number)
        return (down.start + down.stop) // 2, (across.start + across.stop) // 2
