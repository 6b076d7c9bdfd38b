"""The one loop of every synthesis: a step up the slope of an objective, as long as somebody wants to see it form."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.kinds import Image
from ...data.nesting import Nested
from ...model.capture import Capture
from ...model.mode import OpMode
from ...model.preservation import weights_held
from ...model.slopes import slopes
from ..method import Look
from .canvases import Canvas
from .objectives import Objective, SeenPass
from .priors import LikenessToExamples, Priors, slope
from .transforms import Transforms

FIRST, EVERY = 0.03, 0.12
"""Seconds until the first look at what forms, and between looks."""
LOOKS = 8
"""How often at most, in the second half of the steps, a step looks at what is shown as it stands, where the others look at it moved."""
_APART = 4
"""So many steps at least lie between two such: too many of them would make what is fine only where it stands."""
_BLUR_EVERY = 4
_STEPS_BACK = 12
_KICKS = 8
_CHANGING = ("first", "second", "good", "size", "taken", "ever", "awake", "back", "kicks", "values", "best", "most")
"""What changes from step to step, besides the canvas, the curve and the draws."""
_LARGE = 64 * 64
"""From so many pixels on a forward pass can be stopped at each op; below it is over sooner."""


@dataclasses.dataclass(frozen=True)
class SynthesisState:
    """What has formed so far.

    *Shapes* ``x`` as the model takes it (n, …); ``values`` (n,) the objective of ``x`` as it was looked at in the last
    step and, of what is final or has a measure of its own, by that and as it stands; ``curve`` (steps, n).
    """

    x: Nested
    values: Tensor
    curve: Tensor
    step: int
    steps: int
    note: str = ""
    final: bool = False
    state: Callable[[], dict[str, Any]] | None = dataclasses.field(default=None, repr=False)
    """All that is needed to go on from here, as plain data, when it is asked before the next step."""


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How a synthesis climbs.

    *Meaning* steps are Adam's (Kingma & Ba 2015); their size starts at ``rate`` times what suits the canvas and falls
    to a tenth of it along a cosine. A step that leads to a value or slope that is not finite is taken back, and that
    input goes on with half the step. ``memory`` is how much of the slopes' mean square stays from step to step.
    ``likeness`` holds pictures to what the examples are like, by a weight that falls from the first to the second number
    of ``held`` over the first four fifths of the steps, so that what the objective leaves open stays as it was when the
    weight was large. What comes out is the ``best`` step, as the input is shown and without transforms; else the last.
    The last ``beside`` inputs are tried beside the others, by steps that are shorter by ``gentle``; notes are silent of them.
    """

    steps: int = 160
    rate: float = 1.0
    transforms: Transforms = dataclasses.field(default_factory=Transforms)
    priors: Priors = dataclasses.field(default_factory=Priors)
    every: float = EVERY
    first: float = FIRST
    memory: float = 0.999
    likeness: LikenessToExamples | None = None
    held: tuple[float, float] = (0.0, 0.0)
    best: bool = True
    beside: int = 0
    gentle: float = 1.0

    def weight(self, step: int) -> float:
        """The weight of the likeness in a step."""
        first, last = self.held
        return 0.0 if first <= 0 else first * (last / first) ** min(1.0, step / (0.8 * self.steps))


def form(
    look: Look, canvas: Canvas, objective: Objective, ascent: Ascent, generator: torch.Generator,
    measure: Objective | None = None, begun: dict[str, Any] | None = None,
) -> Iterator[SynthesisState]:
    """What forms, again and again until the last step; closing the iterator stops the work.

    *Meaning* between two looks the model is as it was found: hooks and modes are set, and weights held, only while steps
    are made. Which step is the best is told by ``measure``; left open, by the objective itself. ``begun`` is the state from
    which it goes on.
    *Cost* a forward pass, down to the objective's layer, and a backward pass a step; one forward pass more.
    *Raises* NotApplicable where the objective does not depend on the input in a differentiable way.
    """
    climb = _Climb(look, canvas, objective, ascent, generator, measure)
    until = ascent.first
    if begun is not None:
        climb.resume(begun)
    while not climb.ended:
        began = time.monotonic()
        with weights_held(look.model), climb.opened() as capture:
            while not climb.ended:
                climb.advance(capture)
                if time.monotonic() - began >= until:
                    break
        if climb.ended:
            climb.measure()
        until = ascent.every
        yield climb.formed()
    if climb.step == 0:
        yield climb.formed()


def still_steps(steps: int) -> frozenset[int]:
    """The steps that look at what is shown as it stands: the first, and some of the second half."""
    every = max(_APART, steps // (2 * LOOKS))
    return frozenset([0, *(step for step in range(steps - every, steps // 2, -every))])


def values_of(look: Look, objective: Objective, x: Nested) -> Tensor:
    """The objective's value for each input, as it is, without any change, (n,)."""
    with look.opened(objective.keep, until=objective.until(look.layers)) as capture:
        output = capture(x)
        return objective(SeenPass(output, capture, look, x)).detach()


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 and x.is_floating_point() else x


def _finite(values: Tensor) -> Tensor:
    """The values, and less than all where one is no number or has no end."""
    return torch.where(torch.isfinite(values), values, torch.full_like(values, -math.inf))


class _Climb:
    """The state of one synthesis."""

    def __init__(
        self, look: Look, canvas: Canvas, objective: Objective, ascent: Ascent, generator: torch.Generator,
        measure: Objective | None,
    ) -> None:
        self.look, self.canvas, self.objective, self.ascent, self.generator = look, canvas, objective, ascent, generator
        self.measured = measure or objective
        self.plain = not (ascent.transforms.any and canvas.z.ndim >= 3)
        """What every step looks at is what is shown."""
        passed = objective if measure is None else objective + measure
        self.keep, self.until = passed.keep, passed.until(look.layers)
        smooth = canvas.smooth or not ascent.priors.total_variation
        self.priors = ascent.priors if smooth else dataclasses.replace(ascent.priors, total_variation=0.0)
        self.step, count = 0, len(canvas)
        self.first, self.second = torch.zeros_like(canvas.z), torch.zeros_like(canvas.z)
        self.good = canvas.z.clone()
        device = canvas.z.device
        self.size = torch.ones(count, device=device)
        self.told = count - ascent.beside
        """Of so many inputs, the first ones, notes tell."""
        self.size[self.told :] *= ascent.gentle
        self.taken = torch.zeros(count, device=device)
        self.stuck = self.roused = False
        """No input can go on; every input has responded."""
        turns = torch.arange(1.0, ascent.steps + 1)
        self.smooth = True
        """No step was taken back so far: all inputs have taken as many, and their steps are as long."""
        self.begun = (1 - 0.9**turns).tolist(), (1 - ascent.memory**turns).tolist()
        """By the number of steps taken: how much of the means of slopes, and of their squares, is not of the zeros that they began with."""
        self.ever, self.awake = (torch.zeros(count, dtype=torch.bool, device=device) for _ in range(2))
        self.back = torch.zeros(count, dtype=torch.long, device=device)
        self.kicks = torch.zeros(count, dtype=torch.long, device=device)
        self.values = torch.full((count,), math.nan, device=device)
        self.curve: list[Tensor] = []
        self.best, self.most = canvas.z.clone(), torch.full((count,), -math.inf, device=device)
        self.looks = still_steps(ascent.steps)
        pixels = math.prod(canvas.z.shape[2:]) if canvas.z.ndim > 2 else 1
        self.cancel_inside = pixels >= _LARGE
        # Convolutions of several pictures are faster with the channels last; a model that cannot read them so says it.
        kind = canvas.frame.kind
        self.channels_last = count > 1 and isinstance(kind, Image) and kind.layout == "NCHW"
        # So are those of large maps; for small ones the rule would cost more than it saves.
        self.layout = OpMode().replace(look.layout) if pixels >= _LARGE else contextlib.nullcontext()
        self.recurrent = any(isinstance(module, nn.RNNBase) for module in look.model.modules())

    def opened(self) -> Capture:
        """A look at the model for some steps."""
        return Capture(
            self.look.model, self.keep, grad=True, until=self.until, edits=self.look.edits,
            cancel=self.look.cancel if self.cancel_inside else None,
        )

    @property
    def ended(self) -> bool:
        """No step is left."""
        return self.step >= self.ascent.steps or self.stuck

    @property
    def still(self) -> bool:
        """The next step looks at what is shown, as it stands, and so measures it."""
        return self.plain or (self.ascent.best and self.step in self.looks)

    def measure(self) -> None:
        """Ask for the value of what the last step led to, as it is shown, and remember the best of each input."""
        if self.ascent.best:
            self._remember(_finite(values_of(self.look, self.measured, self.canvas.shown()).float()))

    def _remember(self, values: Tensor) -> None:
        better = values > self.most
        self.most = torch.where(better, values, self.most)
        self.best = torch.where(better.reshape(-1, *[1] * (self.best.ndim - 1)), self.canvas.z, self.best)

    def advance(self, capture: Capture) -> None:
        """One step."""
        if self.look.cancel is not None:
            self.look.cancel()
        z = self.canvas.z.detach().requires_grad_()
        with torch.enable_grad():
            made = self.canvas.made(z)
        planes = made.detach().requires_grad_()
        values, way, reached = self._slope(capture, planes)
        with torch.no_grad():
            total, size = self._balanced(planes, way)
        if made is not z:
            (total,) = torch.autograd.grad(made, z, total)
        with torch.no_grad():
            self._move(values, total, size, reached)
        self.step += 1

    def _slope(self, capture: Capture, planes: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The objective's values and its slope at the planes, and by the measure their values, where they stand still."""
        still = self.still
        with torch.enable_grad(), ExitStack() as stack:
            if self.recurrent:
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            moved = planes if still else self.ascent.transforms(planes, self.generator)
            rules = self.canvas.rules(moved)
            for rule in rules:
                stack.enter_context(OpMode().replace(rule))
            x = self.canvas.fed(moved)
            seen = SeenPass(self._answer(capture, x), capture, self.look, x)
            values = self.objective(seen).float()
            way = None
            if values.requires_grad:
                (way,) = slopes(values.sum(), [planes])
        if way is None:
            frame = self.canvas.frame
            made = f"input {frame.part}, the one of {len(frame.tensors)} that is made here," if len(frame.tensors) > 1 else "the input"
            raise NotApplicable(
                f"{self.objective} does not depend on {made} in a differentiable way; look at its examples instead"
            )
        values = values.detach()
        if not still or not self.ascent.best:
            return values, way, None
        if self.measured is self.objective:
            return values, way, values
        with torch.no_grad():
            return values, way, _finite(self.measured(seen).float())

    def _answer(self, capture: Capture, x: Nested) -> Any:
        """The model's answer, to pictures laid out as suits it."""
        if self.channels_last:
            try:
                return capture(nesting.each(x, _channels_last))
            except RuntimeError:
                if self.step:
                    raise
                self.channels_last = False
        with self.layout:
            return capture(x)

    def _balanced(self, planes: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
        """The slope with that of the priors, and the size that the objective's alone has."""
        size = way.flatten(1).square().mean(1).sqrt()
        if not self.objective.absolute:
            way = way / size.clamp_min(1e-30).reshape(-1, *[1] * (way.ndim - 1))
        priors = self.priors
        if priors.any:
            held = slope(priors, planes, self.canvas.middle, self.canvas.gaussian)
            # An absolute objective is a mean itself, so its priors are means too.
            way = way - (held / planes[0].numel() if self.objective.absolute else held)
        weight = self.ascent.weight(self.step)
        if weight and self.ascent.likeness is not None:
            way = way - self.ascent.likeness.slope(planes) * weight
        return way, size

    def _move(self, values: Tensor, way: Tensor, size: Tensor, reached: Tensor | None) -> None:
        """Adam's step for the inputs whose numbers are finite; the others go back. What was ``reached`` is remembered."""
        z = self.canvas.z
        broad = (-1, *[1] * (z.ndim - 1))
        # One number that is not finite makes a sum so.
        fine = torch.isfinite(values + way.flatten(1).sum(1) + size)
        told = values
        if not bool(fine.all()):
            self._step_back(fine, broad)
            way = torch.where(fine.reshape(broad), way, torch.zeros_like(way))
            told = torch.where(fine, values, torch.full_like(values, math.nan))
            values = torch.where(fine, values, self.values)
            reached = None if reached is None else torch.where(fine, reached, torch.full_like(reached, -math.inf))
        self.values = values
        if reached is not None:
            self._remember(reached)
        self.curve.append(told)
        self.good.copy_(z)
        self.first.mul_(0.9).add_(way, alpha=0.1)
        memory = self.ascent.memory
        self.second.mul_(memory).addcmul_(way, way, value=1 - memory)
        left = 0.1 + 0.9 * (1 + math.cos(math.pi * min(self.step / self.ascent.steps, 1.0))) / 2
        rate = self.ascent.rate * self.canvas.rate * left
        if self.smooth:
            # The same for all, so that numbers do: as tensors they would cost more than all that is done to the inputs.
            length: Tensor | float = float(np.float32(rate) / np.float32(self.begun[0][self.step]))
            deep = self.second / self.begun[1][self.step]
            if self.ascent.gentle != 1:
                length = (self.size * length).reshape(broad)
        else:
            self.taken += fine
            self.ever |= fine
            turns = self.taken.clamp_min(1)
            length = (self.size * fine * rate / (1 - 0.9**turns)).reshape(broad)
            deep = self.second / (1 - memory**turns).reshape(broad)
        z.addcdiv_(self.first * length, deep.sqrt_().add_(1e-8))
        # What once responded is at its end, as a unit that was to be silenced; it is not shaken.
        if not self.roused:
            self.awake |= fine & (size > 0)
            self.roused = bool(self.awake.all())
            flat = fine & ~self.awake & (self.kicks < _KICKS)
            if not self.roused and bool(flat.any()):
                self.kicks += flat
                self.canvas.noise(1.0, self.generator, flat)
        blur = self.ascent.priors.blur
        if blur and self.step % _BLUR_EVERY == _BLUR_EVERY - 1:
            self.canvas.blur(blur)
        self.canvas.hold()

    def _step_back(self, fine: Tensor, broad: Sequence[int]) -> None:
        """Bring the inputs whose numbers are not finite back to where they were, and halve their steps."""
        self._settle()
        self.smooth = False
        wrong = (~fine).reshape(tuple(broad))
        for part in (self.first, self.second):
            part.masked_fill_(wrong, 0.0)
        self.canvas.z.copy_(torch.where(wrong, self.good, self.canvas.z))
        self.taken *= fine
        self.size = torch.where(fine, self.size, self.size / 2)
        self.back += ~fine
        self.stuck = bool((self.back >= _STEPS_BACK).all())

    def _settle(self) -> None:
        """Write down what is the same for all inputs as long as no step is taken back."""
        if self.smooth and self.step:
            self.taken.fill_(self.step)
            self.ever.fill_(True)

    def formed(self) -> SynthesisState:
        """What stands now; in the end the best."""
        curve = torch.stack(self.curve) if self.curve else torch.zeros(0, len(self.canvas))
        values = self.values
        if self.measured is not self.objective and not self.ended:
            values = values_of(self.look, self.measured, self.canvas.shown()).float()
        elif self.ended and self.ascent.best:
            found = torch.isfinite(self.most)
            values = torch.where(found, self.most, values)
            self.canvas.z.copy_(torch.where(found.reshape(-1, *[1] * (self.best.ndim - 1)), self.best, self.canvas.z))
        return SynthesisState(
            nesting.each(self.canvas.shown(), Tensor.clone), values.clone().cpu(), curve.cpu(), self.step,
            self.ascent.steps, self._note(), self.ended, None if self.ended else self.state,
        )

    def state(self) -> dict[str, Any]:
        """All that changes from step to step, as arrays."""
        self._settle()
        curve = torch.stack(self.curve) if self.curve else torch.zeros(0, len(self.canvas))
        told = {name: getattr(self, name) for name in _CHANGING} | {"z": self.canvas.z, "curve": curve}
        return {
            "step": self.step, "drawn": self.generator.get_state().numpy().copy(),
            **{name: part.detach().cpu().numpy().copy() for name, part in told.items()},
        }

    def resume(self, told: dict[str, Any]) -> None:
        """Go on from a state."""
        device = self.canvas.z.device
        for name in _CHANGING:
            setattr(self, name, torch.from_numpy(told[name].copy()).to(device))
        self.canvas.z.copy_(torch.from_numpy(told["z"].copy()))
        self.curve = list(torch.from_numpy(told["curve"].copy()).to(device))
        self.step = int(told["step"])
        self.smooth = bool((self.taken == self.step).all()) and not bool(self.back.any())
        self.stuck, self.roused = bool((self.back >= _STEPS_BACK).all()), bool(self.awake.all())
        self.generator.set_state(torch.from_numpy(told["drawn"].copy()))

    def _note(self) -> str:
        said = []
        own = slice(0, self.told)
        back = int(self.back[own].sum())
        if back and not bool(self.ever[own].any()):
            what = "slope of the objective" if bool(torch.isfinite(self.most[own]).any()) else "objective"
            said.append(f"The {what} is not a finite number for any start, so nothing could form.")
        elif back:
            said.append(
                f"{back} step{'s' * (back > 1)} led to numbers that are not finite: taken back, and the step halved."
            )
        still = int((self.kicks[own] >= _KICKS).sum())
        if still:
            said.append(f"{still} of {self.told} do{'es' * (still == 1)} not respond to any change of the input that was tried.")
        return " ".join(said)
