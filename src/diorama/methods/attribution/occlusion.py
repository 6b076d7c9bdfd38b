"""Occlusion: cover a part of the input and see how the answer drops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..attribute import only
from ..cost import Cost, affordable
from ..method import Attribution, Group, Look, Method
from ..patches import FILLS, Covers, Grid, ImageLayout, PatchedAnswers, answers, change, draws_of, laid_out


class Occlusion(Method):
    """How much the target drops when a window of the input is covered, swept over the whole input.

    *Meaning* a place's value is the mean drop over the windows that cover it, the same for all its channels; positive
    where covering hurts the target. ``maps`` holds the three maps of Zeiler and Fergus, one number a window: the target's
    ``response``, the ``probability`` of the class, and the likeliest ``label``. Refines from coarse to fine.
    A drop that is no more than rounding is none.
    *Cost* one forward pass a window and draw; of images only what the window can reach is computed anew.
    *Raises* UsageError when more forward passes are needed than ``limit`` allows.
    """

    compares: ClassVar[bool] = True
    group: ClassVar[Group] = "input modification"
    rows: ClassVar[tuple[str, ...]] = ("A7",)
    source: ClassVar[str] = (
        "Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2"
    )
    function: ClassVar[bool] = True
    singly: ClassVar[bool] = True

    size: int | None = knob(None, "Side of the window; by itself an eighth of the image, or one column or word.",
                            kind="integer", low=1, high=4096, unit="pixels", main=True)
    stride: int | None = knob(None, "Steps between windows; by itself half the window.",
                              kind="integer", low=1, high=4096, unit="pixels", main=True)
    fill: str = knob("constant", "What covers the window: one number, the image's mean colour, its blur, or its own "
                     "pixels drawn at random and averaged over draws.", choices=FILLS)
    value: float = knob(0.0, "The number (or token) that covers a window with the constant fill.")
    draws: int = knob(4, "Draws that are averaged with the random fill.", low=1, high=1000)
    limit: int = knob(20000, "The most forward passes that it may take.", low=1, high=100_000_000, log=True)

    def cost(self, look: Look, x: Nested) -> Cost:
        """One pass a window and draw for each example, and one for the whole input."""
        windows = sum(Grid.over(laid, self.size, self.stride).count for laid in laid_out(x, look.kind))
        return Cost(nesting.size(x) * (1 + windows * (self.draws if self.fill == "random" else 1)))

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Sweep the windows from coarse to fine."""
        affordable(self.cost(look, x), self.limit, lambda: look.timed(x), "take a larger stride, or raise limit=")
        parts = laid_out(x, look.kind)
        look.reading  # noqa: B018 - found out before the sweep, on the input as it is
        found = look.run(x, target)
        sweeps = [_Sweep(self, look, x, target, laid, found.value, found.scores) for laid in parts]
        # The parts of a nested input go through the same levels together.
        for step in sorted({step for sweep in sweeps for step in sweep.steps}, reverse=True):
            for sweep in sweeps:
                sweep.advance(step)
            values = [torch.zeros_like(part, dtype=torch.float32) for part in nesting.tensors(x)]
            maps: dict[str, Any] = {}
            for sweep in sweeps:
                values[sweep.laid.number] = sweep.values()
                maps.update({name if len(sweeps) == 1 else f"{name} {sweep.laid.number}": value
                             for name, value in sweep.maps().items()})
            fresh = iter(values)
            note = "" if step == 1 else f"So far one window in {step} in each direction."
            whole = nesting.each(x, lambda part, fresh=fresh: next(fresh))  # type: ignore[misc]
            yield self.found(look, x, target, whole, found.value, note=note, maps=maps)


class _Sweep:
    """The windows over one tensor of the input, for all its examples."""

    def __init__(
        self, method: Occlusion, look: Look, x: Nested, target: Target, laid: ImageLayout, value: Tensor, scores: Tensor
    ) -> None:
        self.laid, self._look, self._whole = laid, look, value.detach()
        self.grid = Grid.over(laid, method.size, method.stride)
        self.levels = dict(self.grid.levels())
        self.steps = tuple(self.levels)
        n = nesting.size(x)
        reading = look.reading
        self._classes = reading.task == "classification" and scores.ndim == 2
        self._class = _classes(target, look, reading.predictions(scores)) if self._classes else None
        self._eps = torch.finfo(value.dtype if value.is_floating_point() else torch.float32).eps
        self._answers = torch.zeros(3, n, self.grid.count)
        self._step = 0
        self._before = torch.zeros(n)
        baseline = None
        if look.baseline is not None:
            given = list(nesting.tensors(look.baseline))[laid.number][:1]
            baseline = laid_out(given, look.kind if not isinstance(look.kind, dict) else None)[0].image

        self._changed = [PatchedAnswers(look, x, k, laid, answers(look, only(target, k))) for k in range(n)]
        sigma = max(1.0, max(self.grid.size) / 2)
        self._covers = [
            Covers(method.fill, self._changed[k].image, value=method.value, sigma=sigma, draws=method.draws,
                   generator=draws_of(look), baseline=baseline, pixels=laid.pixels, depth=laid.depth) for k in range(n)
        ]

    def advance(self, step: int) -> None:
        """Cover the windows of one level."""
        if step not in self.levels:
            return
        numbers, self._step = self.levels[step], step
        done, total = 0, len(numbers) * len(self._changed)
        for k, changed in enumerate(self._changed):
            covers = self._covers[k]
            if step == self.steps[0]:
                self._before[k] = changed.before(self._whole[k]).float().cpu()
            start = 0
            while start < len(numbers):
                part = numbers[start : start + changed.batch]
                start += len(part)
                sums = torch.zeros(2, len(part))
                chances: Tensor | float = 0.0
                for draw in range(covers.draws):
                    value, scores = changed(*covers.patches(self.grid, part, draw))
                    sums[0] += value.detach().float().cpu() / covers.draws
                    if self._classes:
                        chances = chances + self._look.reading.probabilities(scores).detach().cpu() / covers.draws
                self._answers[0, k, part] = sums[0]
                if isinstance(chances, Tensor) and self._class is not None:
                    self._answers[1, k, part] = chances[:, int(self._class[k])]
                    self._answers[2, k, part] = chances.argmax(-1).float()
                done += len(part)
                self._look.progress(done, total, "windows")

    def _filled(self) -> Tensor:
        """The answers, with those of windows not yet visited taken from their neighbours."""
        return self.grid.nearest(self._answers, self._step) if self._step > 1 else self._answers

    def values(self) -> Tensor:
        """The mean drop at each place, in the tensor's own shape."""
        drops = -change(self._filled()[0], self._before, self._eps)
        image = self.grid.spread(drops)[:, None].to(self._whole.device)
        return self.laid.back(image.expand(-1, self.laid.image.shape[1], -1, -1)).contiguous()

    def maps(self) -> dict[str, Any]:
        """One number a window (n, windows down, windows across), and how the windows lie."""
        maps = self._filled().reshape(3, len(self._changed), *self.grid.shape).numpy().copy()
        found: dict[str, Any] = {"response": maps[0]}
        if self._classes:
            found |= {"probability": maps[1], "label": maps[2].astype(int)}
        return found


def _classes(target: Target, look: Look, predicted: Tensor) -> Tensor:
    """The class whose probability is shown for each example: the target's own, or the predicted one."""
    found = []
    for k, answer in enumerate(predicted.tolist()):
        name = only(target, k).text
        if name in look.classes:
            answer = look.classes.index(name)
        elif name.partition(" ")[2].isdecimal():
            answer = int(name.partition(" ")[2])
        found.append(answer)
    return torch.tensor(found)
