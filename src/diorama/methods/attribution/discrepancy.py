"""Discrepancy: where a change of the input changes a unit, and with it the field that the unit truly sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.rounding import rounding
from ...data.nesting import Nested
from ...model.targets import Target
from ..attribute import only
from ..cost import Cost, affordable
from ..method import Attribution, Group, Look, Method
from ..patches import Covers, Grid, PatchedAnswers, answers, draws_of, laid_out, largest


class Discrepancy(Method):
    """How far the target's response moves, up or down, when a small window of the input shows random pixels instead.

    *Meaning* a place's value is the mean size of the change over draws and the windows that cover it. With a unit at
    one place as the target, ``maps["field"]`` is its measured receptive field, the changes averaged over all examples
    around the place, as a share of the largest; ``maps["reach"]`` is the box (top, left, bottom, right) of places that
    can reach the target at all, from the network itself; ``checks`` compares the two sides. A change that is no more
    than rounding is none. Of a volume or a clip, windows lie in one slice each, and there is the field (slices, rows, columns) alone.
    *Units* the target's own.
    *Cost* one forward pass a window and draw for each example.
    *Raises* NotApplicable for inputs that are no images, volumes or clips.
    """

    compares: ClassVar[bool] = True
    group: ClassVar[Group] = "input modification"
    rows: ClassVar[tuple[str, ...]] = ("A8",)
    source: ClassVar[str] = (
        "Zhou, Khosla, Lapedriza, Oliva and Torralba, Object Detectors Emerge in Deep Scene CNNs, ICLR 2015, section 3.2"
    )
    signed: ClassVar[bool] = False
    singly: ClassVar[bool] = True

    size: int | None = knob(None, "Side of the window; by itself an eleventh of the shorter side, as in the paper.",
                            kind="integer", low=1, high=4096, unit="pixels", main=True)
    stride: int | None = knob(None, "Steps between windows; by itself half the window.",
                              kind="integer", low=1, high=4096, unit="pixels", main=True)
    draws: int = knob(4, "Draws of random pixels that are averaged.", low=1, high=1000)
    share: float = knob(
        0.05, "Of the largest change: what a place of the measured field must reach.", low=0.0, high=1.0
    )
    limit: int = knob(20000, "The most forward passes that it may take.", low=1, high=100_000_000, log=True)

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """Images and volumes of floating-point numbers only."""
        reason = super().fits(look, x)
        if reason is None and not (isinstance(x, Tensor) and x.is_floating_point() and laid_out(x, look.kind)[0].pixels):
            return "discrepancy changes windows of an image or of a volume's slices, and this input is none; use occlusion"
        return reason

    def cost(self, look: Look, x: Nested) -> Cost:
        """One pass a window and draw for each example, and some that find the reach by halving."""
        laid = laid_out(x, look.kind)[0]
        halvings = 1 + sum(2 * math.ceil(math.log2(side)) for side in laid.image.shape[2:])
        return Cost(len(laid.image) * (1 + self._grid(look, x).count * self.draws) + halvings)

    def _grid(self, look: Look, x: Nested) -> Grid:
        laid = laid_out(x, look.kind)[0]
        rows, columns = laid.image.shape[2:]
        side = self.size if self.size is not None else max(1, min(rows // laid.depth, columns) // 11)
        return Grid.over(laid, side, self.stride)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Change window after window, then measure the field."""
        affordable(self.cost(look, x), self.limit, lambda: look.timed(x), "take a larger stride, or raise limit=")
        laid, grid = laid_out(x, look.kind)[0], self._grid(look, x)
        if not laid.pixels:
            raise NotApplicable("discrepancy changes windows of an image or of a volume's slices, and this input is none; use occlusion")
        look.reading  # noqa: B018 - found out on the input as it is
        before = look.run(x, target).value.detach()
        n = len(laid.image)
        moved, size = torch.zeros(n, grid.count), largest(before[:, None].float()).cpu()
        for k in range(n):
            changed = PatchedAnswers(look, x, k, laid, answers(look, only(target, k)))
            covers = Covers("random", changed.image, draws=self.draws, generator=draws_of(look))
            still = changed.before(before[k])
            start = 0
            while start < grid.count:
                part = range(start, min(start + changed.batch, grid.count))
                start = part.stop
                for draw in range(self.draws):
                    value = changed(*covers.patches(grid, part, draw))[0].detach()
                    moved[k, part.start : part.stop] += (value - still).abs().float().cpu() / self.draws
                    size[k] = torch.maximum(size[k], largest(value[None].float()).cpu()[0])
                look.progress(k * grid.count + part.stop, n * grid.count, "windows")
        moved[moved <= rounding(size, torch.finfo(before.dtype).eps)[:, None]] = 0
        image = grid.spread(moved)
        maps, checks = self._field(look, x, target, image, laid.depth)
        values = laid.back(image[:, None].to(before.device).expand(-1, laid.image.shape[1], -1, -1)).contiguous()
        yield self.found(look, x, target, values, before, checks=checks, maps=maps)

    def _field(
        self, look: Look, x: Nested, target: Target, image: Tensor, depth: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """The measured field, the reach from the network itself, and the sides of both."""
        mean = torch.nan_to_num(image).mean(0).numpy()
        top = float(mean.max())
        field = mean / top if top > 0 else mean
        if depth > 1:
            return {"field": field.reshape(depth, -1, field.shape[-1])}, {}
        maps: dict[str, Any] = {"field": field}
        seen = _box(field > self.share) if top > 0 else None
        if seen is not None:
            maps["measured"] = np.array(seen)
        reach = _reach(look, x, target)
        if reach is not None:
            maps["reach"] = np.array(reach)
        checks = {}
        if seen is not None and reach is not None:
            checks = {
                "measured field": float(max(seen[2] - seen[0], seen[3] - seen[1])),
                "theoretical field": float(max(reach[2] - reach[0], reach[3] - reach[1])),
            }
        return maps, checks


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Top, left, bottom and right (the last two not included) of what is true."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _reach(look: Look, x: Nested, target: Target) -> tuple[int, int, int, int] | None:
    """The box of places on which the target can depend: where a not-a-number spreads to it, found by halving."""
    laid = laid_out(x, look.kind)[0]
    changed = PatchedAnswers(look, x, 0, laid, answers(look, only(target, 0)))
    rows, columns = laid.image.shape[2:]

    def reaches(top: int, bottom: int, left: int, right: int) -> bool:
        shape = (1, laid.image.shape[1], bottom - top, right - left)
        patch = torch.full(shape, torch.nan, dtype=laid.image.dtype, device=laid.image.device)
        return not bool(torch.isfinite(changed(patch, [top], [left])[0]).all())

    if not reaches(0, rows, 0, columns):
        return None
    top = _first(rows, lambda k: reaches(0, k, 0, columns)) - 1
    bottom = rows - _first(rows, lambda k: reaches(rows - k, rows, 0, columns)) + 1
    left = _first(columns, lambda k: reaches(0, rows, 0, k)) - 1
    right = columns - _first(columns, lambda k: reaches(0, rows, columns - k, columns)) + 1
    return top, left, bottom, right


def _first(limit: int, reaches: Callable[[int], bool]) -> int:
    """The smallest number from 1 to ``limit`` at which something that stays true becomes true."""
    low, high = 1, limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    return low
