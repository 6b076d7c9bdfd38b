"""The smallest change of an input that flips the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...data import nesting
from ...data.kinds import Image, Kind
from ...data.nesting import Nested
from ..cost import Cost
from ..method import Look
from ..precision import in_float32, narrow


@dataclasses.dataclass(frozen=True)
class Flip:
    """Changed inputs with other answers, and how far they lie from the inputs.

    *Meaning* ``flipped`` is the certificate: each changed input was run once more by itself, and its answer is
    ``after``, not ``before``. Where no change was found, ``x`` is the input itself, and its norm is infinite.
    *Shapes* x as the input; before, after, norms and flipped (n,).
    *Units* norms (Euclidean, or the largest change of a number) are in the model's own numbers.
    """

    x: Tensor
    change: Tensor
    norms: Tensor
    before: Tensor
    after: Tensor
    flipped: Tensor
    margins: Tensor
    """By how much the new answer's score exceeds that of the old one."""
    steps: int

    @property
    def sentence(self) -> str:
        """What was found, in a sentence."""
        found = int(self.flipped.sum())
        if not found:
            return f"No change that flips the answer was found in {self.steps} steps."
        least = float(self.norms[self.flipped].min())
        return f"{found} of {len(self.flipped)} answers flip; the smallest change has a norm of {least:.4g}."


def cost(steps: int = 100) -> Cost:
    """What the attack takes for a whole batch: a forward and a backward pass a step, and passes that halve the way."""
    return Cost(steps + _HALVINGS + 2, steps)


_HALVINGS = 12


Norm = Literal["L2", "Linf"]
"""How the size of a change is measured: its Euclidean length, or the most that any number changes."""


def flip(look: Look, x: Nested, *, to: int | None = None, norm: Norm = "L2", steps: int = 100) -> Flip:
    """Search the smallest change that makes the model answer otherwise (or ``to`` a class).

    *Meaning* decoupling direction and norm: each step moves along the gradient of the difference between the old
    answer's score and the best other one (along its signs for ``Linf``), then the change's norm shrinks when the answer
    has flipped and grows when it has not. At the end the way back to the input is halved until the answer just stays
    flipped. Inputs stay in their valid range.
    A model in float16 is searched as a copy in float32.
    *Error* an upper bound of the smallest change: that it flips is certain, that none is smaller is not.
    *Cost* see :func:`cost`.
    *Raises* NotApplicable for models that do not classify, inputs that are not one tensor of floating-point numbers,
    and plain functions; UsageError for a class that is not there.
    *Source* Rony et al., Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and
    Defenses, CVPR 2019, algorithm 1; the first norm is DeepFool's step (Moosavi-Dezfooli et al. 2016, equation 7).
    """
    search = FlipSearch(look, x, to, norm, steps)
    for _ in search.advance():
        pass
    return search.found()


class FlipSearch:
    """The search step by step, for those who want to see how far it is; what it takes and raises is that of ``flip``."""

    def __init__(self, look: Look, x: Nested, to: int | None = None, norm: Norm = "L2", steps: int = 100) -> None:
        if look.function:
            raise NotApplicable(
                "a plain function has no gradients to follow; cover parts of its input by occlusion instead"
            )
        x = look.floats(x)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise NotApplicable("the smallest change wants one input of floating-point numbers; cover words by occlusion")
        if look.task != "classification":
            raise NotApplicable(
                "only the answer of a classifier flips, and this model's outputs are other numbers; where they are scores of "
                "classes, say task='classification' or pass classes="
            )
        if narrow(look):
            look, wide = in_float32(look, x)
            x = nesting.first(wide)
        self._look, self._x, self._to, self._steps = look, x.detach(), to, steps
        self._largest = norm == "Linf"
        scores = _two(look.scores(x))
        if to is not None and not 0 <= to < scores.shape[1]:
            raise UsageError(f"the model has classes 0 to {scores.shape[1] - 1}, got {to}")
        self._before = scores.argmax(1)
        low, high = _ends(look.kind, self._x)
        # An input that already leaves the range is not pulled back by more than the search itself does.
        self._low, self._high = self._x.minimum(low), self._x.maximum(high)
        self._best, self._norms = self._x.clone(), self._x.new_full((len(self._x),), math.inf)

    def found(self) -> Flip:
        """The nearest changed inputs met so far, their way shrunk and certified."""
        found = torch.isfinite(self._norms)
        return self._certified(self._shrunk(self._best, found), found)

    def _margin(self, x: Tensor, grad: bool = False) -> Tensor:
        """The best other score (or the wanted one) minus the old answer's, (n,); positive once flipped."""
        scores = _two(self._look.run(x, None, [x] if grad else None, grad=grad).scores)
        old = scores.gather(1, self._before[:, None])[:, 0]
        # A tie is no flip, and rounding must not undo one.
        old = old + 1e-5 * old.detach().abs().clamp_min(1)
        if self._to is None:
            others = scores.scatter(1, self._before[:, None], -math.inf)
            return others.amax(1) - old
        wanted = scores[:, self._to]
        rest = scores.scatter(1, torch.full_like(self._before[:, None], self._to), -math.inf).amax(1)
        return wanted - rest - 1e-5 * rest.detach().abs().clamp_min(1)

    def advance(self) -> Iterator[int]:
        """Go through the steps; says how many are done after each."""
        x = self._x
        change = torch.zeros_like(x)
        first = radius = x.new_zeros(len(x))
        for step in range(self._steps):
            point = (x + change).detach().requires_grad_()
            margin = self._margin(point, grad=True)
            slope = torch.nan_to_num(self._look.gradients(margin, [point])[0])
            margin = margin.detach()
            slope, size = self._direction(slope)
            if step == 0:
                first = radius = (margin.abs() / size).clamp(1e-8, 1e8)
            now = self._norm(change)
            flipped = margin > 0
            nearer = flipped & (now < self._norms)
            self._best = torch.where(_wide(nearer, x), x + change, self._best)
            self._norms = torch.where(nearer, now, self._norms)
            if step:
                radius = torch.where(flipped, now * 0.95, radius.maximum(now) * 1.05)
            pace = first * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self._steps)) / 2)
            moved = self._sized(change + slope * _wide(pace, x), radius)
            change = (x + moved).clamp(self._low, self._high) - x
            self._look.progress(step + 1, self._steps, "steps")
            yield step + 1

    def _direction(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """The change of norm one that moves the margin most, and how fast it moves it."""
        if self._largest:
            return slope.sign(), slope.flatten(1).abs().sum(1).clamp_min(1e-20)
        size = _norm(slope).clamp_min(1e-20)
        return slope / _wide(size, slope), size

    def _sized(self, change: Tensor, radius: Tensor) -> Tensor:
        """A change brought to a norm."""
        if self._largest:
            wide = _wide(radius, change)
            return torch.minimum(torch.maximum(change, -wide), wide)
        return change * _wide(radius / _norm(change).clamp_min(1e-20), change)

    def _norm(self, change: Tensor) -> Tensor:
        return change.flatten(1).abs().amax(1) if self._largest else _norm(change)

    def _shrunk(self, best: Tensor, found: Tensor) -> Tensor:
        """Halve the way between the last point that flips and the input, while the answer stays flipped."""
        low, high = torch.zeros(len(best)).to(best), torch.ones(len(best)).to(best)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            flipped = self._margin(self._x + (best - self._x) * _wide(middle, best)).detach() > 0
            high = torch.where(flipped & found, middle, high)
            low = torch.where(flipped & found, low, middle)
        return torch.where(_wide(found, best), self._x + (best - self._x) * _wide(high, best), self._x)

    def _certified(self, best: Tensor, found: Tensor) -> Flip:
        """Run each changed input by itself: an answer counts as flipped when it is another one there."""
        scores = torch.cat([_two(self._look.scores(best[k : k + 1])) for k in range(len(best))])
        after = scores.argmax(1)
        wanted = after != self._before if self._to is None else (after == self._to) & (after != self._before)
        flipped = found & wanted
        change = best - self._x
        norms = self._norm(change)
        norms = torch.where(flipped, norms, torch.full_like(norms, math.inf))
        margins = scores.gather(1, after[:, None])[:, 0] - scores.gather(1, self._before[:, None])[:, 0]
        return Flip(best, change, norms, self._before, after, flipped, margins, self._steps)


def _ends(kind: Kind | dict[str, Kind] | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest numbers that an input may have; of an image each channel's own."""
    if isinstance(kind, Image):
        rows, columns = kind.planes(x[:1]).shape[2:]
        black = np.zeros((rows, columns, 3 if kind.channels == 3 else 1), np.float32)
        ends = [kind.of_pixels(black + level).to(x) for level in (0, 255)]
        if ends[0].shape[1:] == x.shape[1:]:
            return ends[0].minimum(ends[1]), ends[0].maximum(ends[1])
    valid = None if kind is None or isinstance(kind, dict) else kind.valid_range()
    low, high = valid if valid is not None else (-math.inf, math.inf)
    return x.new_tensor(low), x.new_tensor(high)


def _two(scores: Tensor) -> Tensor:
    """One score for two classes as two scores, around the threshold."""
    if scores.ndim == 1:
        scores = scores[:, None]
    return torch.cat([-scores, scores], 1) if scores.shape[1] == 1 else scores


def _norm(change: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
    return norms


def _wide(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.reshape(-1, *[1] * (like.ndim - 1))
