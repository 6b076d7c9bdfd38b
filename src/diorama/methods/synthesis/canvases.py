"""What a synthesis changes: numbers from which an input is made, always within the range of its kind."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.numerals import counted
from ...data import nesting
from ...data.kinds import Image, Series
from ...data.nesting import Nested
from ...model.mode import Rule
from .colours import Colours
from .priors import Gaussian, blurred

_EDGE = 1e-3
"""Starts stay so far inside the range, where their slope does not vanish."""


class Canvas(abc.ABC):
    """Numbers ``z`` (n, …) that are optimised, and the way from them to what the model is given.

    *Meaning* ``made`` turns z into planes, on which transforms and priors act; ``fed`` turns planes into the model's
    input; ``hold`` brings z back into its range after a step.
    """

    z: Tensor
    frame: Frame
    rate: float = 0.05
    """The size of a step that suits the numbers."""
    contrast: float = 0.3
    """The deviation of noise of full contrast, in the numbers."""
    note: str = ""
    smooth: bool = True
    """Whether numbers that lie beside each other belong together, so that what they vary counts."""
    middle: Tensor
    gaussian: Gaussian | None = None

    def __len__(self) -> int:
        return len(self.z)

    def made(self, z: Tensor) -> Tensor:
        """Planes from the numbers, differentiable."""
        return z

    @abc.abstractmethod
    def fed(self, planes: Tensor) -> Nested:
        """The model's input from planes, differentiable."""

    def hold(self) -> None:
        """Bring the numbers back into their range, in place."""
        return

    def rules(self, planes: Tensor) -> tuple[Rule, ...]:
        """Rules that a forward pass needs, for inputs that are not numbers."""
        return ()

    def shown(self) -> Nested:
        """The input as it stands, to be shown and to be asked about."""
        with torch.no_grad():
            return nesting.each(self.fed(self.made(self.z)), Tensor.detach)

    def blur(self, deviation: float) -> None:
        """Blur what stands, in place; nothing where there is no neighbourhood."""
        return

    def put(self, other: Canvas) -> None:
        """Begin the first inputs as another canvas of the same kind has its own."""
        self.z[: len(other)] = other.z

    def noise(self, amount: float, generator: torch.Generator, which: Tensor | None = None) -> None:
        """Shake the numbers, of all inputs or of those that are marked: 1 is noise of full contrast."""
        shake = torch.randn(self.z.shape, generator=generator).to(self.z) * (amount * self.contrast)
        self.z += shake if which is None else shake * which.reshape(-1, *[1] * (self.z.ndim - 1))
        self.hold()


class Frame:
    """How planes of one input lie in all that the model takes: the other inputs are those of an example.

    *Meaning* for images planes are (n, channels, height, width) from 0 to 1; for other kinds they are the input itself.
    """

    def __init__(self, x: Nested, part: int, kind: object, dtype: torch.dtype = torch.float32) -> None:
        self.x, self.part, self.kind, self.dtype = x, part, kind, dtype
        self.tensors = list(nesting.tensors(x))
        self.own = self.tensors[part]
        self._affine: tuple[Tensor, Tensor] | None = None

    def around(self, own: Tensor) -> Nested:
        """The whole input with this part's values in the model's type, the others repeated."""
        count, own = len(own), own.to(self.dtype) if own.is_floating_point() else own
        fresh = iter([
            own if k == self.part else part[:1].expand(count, *part.shape[1:]) for k, part in enumerate(self.tensors)
        ])
        return nesting.each(self.x, lambda _: next(fresh))

    def as_input(self, planes: Tensor) -> Tensor:
        """Planes of an image in the model's own numbers and layout."""
        if not isinstance(self.kind, Image):
            return planes
        if self._affine is None:
            mean, std = (torch.from_numpy(part).to(planes) for part in self.kind.normal())
            low, high = self.kind.span()
            self._affine = (high - low) / std, (low - mean) / std
            self._plain = bool((self._affine[0] == 1).all()) and bool((self._affine[1] == 0).all())
        return self.laid_out(planes if self._plain else planes * self._affine[0] + self._affine[1])

    def laid_out(self, values: Tensor) -> Tensor:
        """Channels, height and width in the layout that the model takes."""
        layout = self.kind.layout if isinstance(self.kind, Image) else "NCHW"
        if layout == "NHWC":
            return values.permute(0, 2, 3, 1)
        if layout == "NHW":
            return values[:, 0]
        return values.flatten(1) if layout == "flat" else values

    def planes(self, own: Tensor) -> Tensor:
        """An image input as planes from 0 to 1, whatever its layout; cut where it leaves its range."""
        assert isinstance(self.kind, Image)
        values = torch.from_numpy(self.kind.planes(own)).float()
        mean, std = (torch.from_numpy(part) for part in self.kind.normal())
        low, high = self.kind.span()
        return ((values * std + mean - low) / (high - low)).nan_to_num(0.5).clamp(0, 1).to(own.device)


class Pixels(Canvas):
    """Each pixel is a number from 0 to 1 of its own."""

    rate = 0.02

    def __init__(self, frame: Frame, start: Tensor, colours: Colours, gaussian: Gaussian | None = None) -> None:
        self.frame, self.gaussian = frame, gaussian
        self.z = start.clone().clamp(0, 1)
        self.middle = colours.mean.to(start)[None, :, None, None]
        self.note = "with each pixel on its own"

    def fed(self, planes: Tensor) -> Nested:
        """The picture in the model's numbers."""
        return self.frame.around(self.frame.as_input(planes))

    def hold(self) -> None:
        """Cut at black and white."""
        self.z.clamp_(0, 1)

    def blur(self, deviation: float) -> None:
        """Blur the pixels."""
        self.z.copy_(blurred(self.z, deviation))


class Fourier(Canvas):
    """A picture as a spectrum, each frequency weighed by its wavelength, of colours made independent.

    *Meaning* planes = sigmoid(middle + colours · irfft2(z · scale)), scale = 1 / max(f, 1 / longest side)^decay with f
    in cycles a pixel, brought to the size at which unit noise gives a picture of moderate contrast.
    *Shapes* z (n, channels, height, width // 2 + 1, 2).
    *Source* Olah, Mordvintsev & Schubert 2017, "Feature Visualization", on preconditioning.
    """

    contrast = 1.0

    def __init__(
        self, frame: Frame, start: Tensor, colours: Colours, gaussian: Gaussian | None = None, *, decay: float = 1.0
    ) -> None:
        self.frame, self.colours, self.gaussian = frame, colours, gaussian
        self.size = tuple(start.shape[2:])
        self.scale = spectrum_scale(self.size, decay).to(start)
        self.middle = colours.mean.to(start)[None, :, None, None]
        self.offset = torch.logit(self.middle.clamp(0.1, 0.9))
        self.note = f"as a spectrum; {colours.sentence}"
        self.z = self.spectrum(start)

    def spectrum(self, planes: Tensor) -> Tensor:
        """The numbers from which a picture is made."""
        inside = torch.logit(planes.clamp(_EDGE, 1 - _EDGE)) - self.offset
        found = torch.fft.rfft2(self.colours.unmixed(inside), norm="ortho") / self.scale
        return torch.view_as_real(found).contiguous()

    def made(self, z: Tensor) -> Tensor:
        """The picture of a spectrum."""
        waves = torch.fft.irfft2(torch.view_as_complex(z) * self.scale, s=self.size, norm="ortho")
        return torch.sigmoid(self.colours.mixed(waves) + self.offset)

    def fed(self, planes: Tensor) -> Nested:
        """The picture in the model's numbers."""
        return self.frame.around(self.frame.as_input(planes))

    def blur(self, deviation: float) -> None:
        """Weaken each frequency as a Gaussian blur does."""
        f = frequencies(self.size).to(self.z)
        self.z *= torch.exp(-2 * (math.pi * deviation * f) ** 2)[..., None]


def frequencies(size: Sequence[int]) -> Tensor:
    """The frequency, in cycles a pixel, of each place of a half spectrum (height, width // 2 + 1)."""
    y = torch.fft.fftfreq(size[0])[:, None]
    x = torch.fft.rfftfreq(size[1])[None]
    squares: Tensor = y.square() + x.square()
    return squares.sqrt()


def spectrum_scale(size: Sequence[int], decay: float = 1.0) -> Tensor:
    """How strongly each frequency of a half spectrum shows: its wavelength to the power ``decay``, the mean square
    over the full spectrum brought to one.
    """
    f = frequencies(size).clamp_min(1.0 / max(size))
    scale = f.pow(-decay)
    whole = torch.full((size[1] // 2 + 1,), 2.0)
    whole[0] = 1.0
    if size[1] % 2 == 0:
        whole[-1] = 1.0
    mean: Tensor = (scale.square() * whole).sum() / (size[0] * size[1])
    found: Tensor = scale / mean.sqrt()
    return found


class RowCanvas(Canvas):
    """A row of a table, or a series: numbers within the range that each column (or channel) has among the examples."""

    rate = 0.05

    def __init__(self, frame: Frame, start: Tensor, examples: Tensor, *, series: bool = False) -> None:
        self.frame, self.smooth = frame, series
        self.turned = isinstance(frame.kind, Series) and frame.kind.turned
        if self.turned:  # what is made of a series has its channels first
            start, examples = start.transpose(1, 2), examples.transpose(1, 2)
        axes = (0, *range(2, examples.ndim)) if series else (0,)
        values = examples.detach().float()
        clean = torch.where(torch.isfinite(values), values, torch.zeros_like(values))
        self.low, self.high = clean.amin(axes, keepdim=True), clean.amax(axes, keepdim=True)
        width = self.high - self.low
        self.width = torch.where(width > 0, width, torch.ones_like(width))
        self.z = ((start - self.low) / self.width).clamp(0, 1)
        self.z = torch.where(width > 0, self.z, torch.zeros_like(self.z))
        self.frozen = width <= 0
        self.middle = ((clean.mean(axes, keepdim=True) - self.low) / self.width).clamp(0, 1)
        self.note = f"within the {'channels' if series else 'columns'}' ranges among {counted(len(examples), 'examples')}"

    def fed(self, planes: Tensor) -> Nested:
        """The row in the model's numbers."""
        made = planes * self.width + self.low
        return self.frame.around(made.transpose(1, 2) if self.turned else made)

    def hold(self) -> None:
        """Cut at the ends of the columns' ranges; a column that never changes stays."""
        self.z.clamp_(0, 1)
        self.z.masked_fill_(self.frozen.expand_as(self.z), 0)
