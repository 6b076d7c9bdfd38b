"""What a synthesis starts with: which input of the model is made, how its kind is measured, and from what it starts."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...core.rounding import alike
from ...data import nesting
from ...data.kinds import Image, Kind, Kinds, Series, Sound, Table
from ...data.nesting import Nested
from ...model.plain_module import dtype_of, fed
from ..method import Look
from .canvases import Canvas, Fourier, Frame, Pixels, RowCanvas
from .colours import Colours
from .engine import Ascent
from .priors import Gaussian
from .transforms import Transforms
from .words import WordsCanvas

Parametrization = Literal["fourier", "pixels"]
TOGETHER = 64 * 64 * 64
"""So many pixels are made in one batch: larger maps would take longer for each picture, not shorter."""
MEASURED = 64
"""Examples from which colours, spectra and ranges are measured."""
FEW = 8
"""Examples by which it is told which inputs reach a layer."""
START = 0.1
"""The contrast of the noise that a synthesis starts from."""


@dataclasses.dataclass(frozen=True)
class MadeInput:
    """The input that is made, with what the examples say of its kind.

    *Meaning* of several inputs that reach the layer in question, the first image is made, else the first numbers, else the first
    tokens; the others stay as they are in the example at hand.
    """

    look: Look
    frame: Frame
    kind: object
    examples: Tensor
    """The made input of some examples."""
    colours: Colours
    gaussian: Gaussian | None
    note: str = ""

    @classmethod
    def of(cls, look: Look, kind: Kinds, examples: Nested, x: Nested, layer: str = "") -> MadeInput:
        """Choose the input and measure it; ``x`` is the example that lends the other inputs.

        *Cost* where a layer is named, one pass of a few examples, and one for each of several inputs.
        """
        examples = fed(look.model, nesting.select(examples, slice(0, MEASURED)))
        x = fed(look.model, nesting.select(x, slice(0, 1)))
        kinds: list[Kind | None] = list(kind.values()) if isinstance(kind, dict) else [kind]
        parts = list(nesting.tensors(x))
        if len(kinds) != len(parts):
            kinds = [*kinds, *[None] * len(parts)][: len(parts)]
        apart = [not reaches for reaches in _reached(look, examples, layer)] if layer and len(parts) > 1 else [False] * len(parts)
        ranks = [(far, _rank(part, one)) for far, part, one in zip(apart, parts, kinds, strict=True)]
        chosen = min(range(len(parts)), key=lambda k: ranks[k])
        own = list(nesting.tensors(examples))[chosen]
        model_type = parts[chosen].dtype if parts[chosen].is_floating_point() else dtype_of(look.model)
        frame = Frame(x, chosen, kinds[chosen], model_type or torch.float32)
        others = len(parts) - 1
        note = f"The other {f'{others} inputs are those' if others > 1 else 'input is that'} of the example." if others else ""
        if isinstance(kinds[chosen], Image) and not own.is_floating_point() and look.floats(x) is x:
            raise NotApplicable("the model takes whole numbers alone, so no picture can form by small steps; look at its examples")
        if not isinstance(kinds[chosen], Image):
            return cls(look, frame, kinds[chosen], own, Colours.identity(1, "no picture"), None, note)
        planes = frame.planes(own)
        return cls(look, frame, kinds[chosen], own, Colours.measure(planes), Gaussian.of(planes), note)

    @property
    def image(self) -> bool:
        """Whether a picture is made."""
        return isinstance(self.kind, Image)

    @property
    def tokens(self) -> bool:
        """Whether a text is made."""
        return not self.image and not self.frame.own.is_floating_point()

    @property
    def size(self) -> tuple[int, ...]:
        """Channels, height and width of the pictures; the shape of other inputs."""
        return tuple(self.frame.planes(self.frame.own).shape[1:]) if self.image else tuple(self.frame.own.shape[1:])

    @property
    def together(self) -> int:
        """How many inputs are best made in one batch."""
        places = math.prod(self.size[1:] if self.image else self.size)
        return max(1, TOGETHER // max(1, places))

    def canvas(
        self,
        count: int,
        generator: torch.Generator,
        *,
        parametrization: Parametrization = "fourier",
        start: Tensor | None = None,
        noise: float = START,
    ) -> Canvas:
        """A canvas for so many inputs, from noise about the mean colour or (planes ``start``) from given pictures.

        *Shapes* ``start`` (n, channels, height, width) from 0 to 1, or inputs (n, …) of other kinds.
        """
        canvas = self._canvas(count, parametrization, start)
        if noise:
            canvas.noise(noise, generator)
        return canvas

    def _canvas(self, count: int, parametrization: str, start: Tensor | None) -> Canvas:
        if start is not None and len(start) not in (1, count):
            raise UsageError(f"{count} inputs want as many starts, got {len(start)}")
        if start is not None and len(start) != count:
            start = start.expand(count, *start.shape[1:])
        if self.image:
            if start is None:
                mean = self.colours.mean[None, :, None, None]
                start = mean.expand(count, *self.size).to(self.frame.own.device)
            make = Pixels if parametrization == "pixels" else Fourier
            return make(self.frame, start, self.colours, self.gaussian)
        if self.tokens:
            return WordsCanvas(self.look, self.frame, count, start, self.examples)
        series = isinstance(self.kind, Series | Sound) or (not isinstance(self.kind, Table) and self.frame.own.ndim > 2)
        if start is None:
            start = self.examples.float().nan_to_num(0, 0, 0).mean(0, keepdim=True)
            start = start.expand(count, *start.shape[1:])
        return RowCanvas(self.frame, start.float(), self.examples, series=series and self.examples.ndim > 2)

    def suited(self, ascent: Ascent, *, jitter: int | None, scale: float, rotate: float, crop: float) -> Ascent:
        """The ascent with transforms that suit the pictures' size; None is a twentieth of the shorter side."""
        if not self.image:
            return dataclasses.replace(ascent, transforms=Transforms())
        side = min(self.size[1:])
        by = max(0, round(side / 20)) if jitter is None else jitter
        return dataclasses.replace(ascent, transforms=Transforms(by, scale, rotate, crop))


def _reached(look: Look, examples: Nested, layer: str) -> list[bool]:
    """Which parts of the input change what a layer answers, tried by giving each example the part of another."""
    some = nesting.select(examples, slice(0, FEW))
    parts = list(nesting.tensors(some))

    def answer(swapped: int) -> Tensor:
        fresh = iter([part.roll(1, 0) if k == swapped else part for k, part in enumerate(parts)])
        with torch.no_grad():
            return look.run(nesting.each(some, lambda _: next(fresh)), keep=[layer])[layer].detach()

    own = answer(-1)
    others = [answer(k) for k in range(len(parts))]
    return [not bool(alike(torch.minimum(own, other), torch.maximum(own, other)).all()) for other in others]


def _rank(part: Tensor, kind: object) -> int:
    if isinstance(kind, Image):
        return 0
    return 1 if part.is_floating_point() else 2
