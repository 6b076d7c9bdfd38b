"""What is asked of a synthesized picture beside its objective, so that it looks like pictures do."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .colours import FEW

ALPHA, BETA = 6.0, 2.0
"""The powers of Mahendran & Vedaldi's two priors."""
_BOUND = 80 / 255
"""The length of a colour, from the middle, that their norm allows."""
_EDGE = _BOUND / 6.5
"""The step between neighbours that their variation allows."""
_SMALL = 1e-8
"""Where neighbours are equal, the variation's slope stays finite."""


@dataclasses.dataclass(frozen=True)
class Priors:
    """How much each prior weighs; 0 leaves it out.

    *Meaning* planes are numbers from 0 to 1; the slope of the objective is brought to one size first, so that a weight
    means the same for every unit. ``total_variation`` smooths, ``norm`` keeps colours near the middle, ``blur`` is the
    deviation (pixels) of a blur after every fourth step, ``gaussian`` keeps the picture about as likely as the examples
    under a Gaussian of their mean and spectrum, ``natural`` weighs Mahendran & Vedaldi's two priors.
    """

    total_variation: float = 0.0
    norm: float = 0.0
    blur: float = 0.0
    gaussian: float = 0.0
    natural: float = 0.0

    @property
    def any(self) -> bool:
        """Whether one of them needs the slope of a penalty."""
        return bool(self.total_variation or self.norm or self.gaussian or self.natural)


def total_variation(planes: Tensor, beta: float = 1.0) -> Tensor:
    """The mean over all numbers of (Δx² + Δy²)^(β/2), one an example; Δ is the step to the next pixel, 0 at the edge.

    *Shapes* (n, channels, height, width) or, for series, (n, channels, steps), to (n,).
    *Source* Mahendran & Vedaldi 2015, section 2.2.
    """
    squares = torch.zeros_like(planes)
    if planes.ndim == 4:
        down = planes[:, :, 1:] - planes[:, :, :-1]
        squares[:, :, :-1] += down.square()
    over = planes[..., 1:] - planes[..., :-1]
    squares[..., :-1] += over.square()
    if beta == 2:
        return squares.flatten(1).mean(1)
    return (squares + _SMALL).pow(beta / 2).flatten(1).mean(1)


def norm(planes: Tensor, middle: Tensor) -> Tensor:
    """Half the mean square of the distance from the middle colour, one an example."""
    return (planes - middle).flatten(1).square().mean(1) / 2


def natural(planes: Tensor, middle: Tensor) -> Tensor:
    """Mahendran & Vedaldi's priors: the α-norm of the colours from the middle, and the variation, both near 1 or below
    for photographs.

    *Source* Mahendran & Vedaldi 2016, "Visualizing deep convolutional neural networks using natural pre-images",
    equations 3 to 5.
    """
    lengths = (planes - middle).square().sum(1)
    bounded: Tensor = (lengths / _BOUND**2).pow(ALPHA / 2).flatten(1).mean(1)
    varied: Tensor = total_variation(planes, BETA) * planes.shape[1] / _EDGE**2
    return bounded + varied


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The examples' mean and power spectrum: under a Gaussian of these a picture is more or less likely.

    *Shapes* ``mean`` (channels, height, width), ``power`` (channels, height, width // 2 + 1).
    """

    mean: Tensor
    power: Tensor

    @classmethod
    def of(cls, planes: Tensor) -> Gaussian:
        """Measure it on pictures (n, channels, height, width): the power is averaged over rings of equal frequency."""
        # The mean of a few pictures still shows each of them.
        mean = planes.mean(0) if len(planes) >= FEW else planes.mean((0, 2, 3))[:, None, None].expand(planes.shape[1:])
        found = torch.fft.rfft2(planes - mean, norm="ortho").abs().square().mean(0)
        height, width = planes.shape[2:]
        y = torch.fft.fftfreq(height, device=planes.device)[:, None] * height
        x = torch.fft.rfftfreq(width, device=planes.device)[None] * width
        ring = (y.square() + x.square()).sqrt().round().long().flatten()
        count = torch.bincount(ring).clamp_min(1)
        flat = found.flatten(1)
        sums = torch.zeros(len(flat), len(count), dtype=flat.dtype, device=flat.device).index_add_(1, ring, flat)
        smooth = (sums / count)[:, ring].reshape(found.shape)
        return cls(mean, smooth.clamp_min(float(smooth.max()) * 1e-5 + 1e-12))

    def __call__(self, planes: Tensor) -> Tensor:
        """How unlikely each picture is: about 1 for one like the examples."""
        spectrum = torch.fft.rfft2(planes - self.mean, norm="ortho")
        squares: Tensor = (spectrum.real.square() + spectrum.imag.square()) / self.power
        return squares.flatten(1).mean(1)


@dataclasses.dataclass(frozen=True)
class LikenessToExamples:
    """How much the examples vary from pixel to pixel and about their mean colour, in colours made independent.

    *Meaning* planes are counted in deviations of the examples' independent colours, u = unmixing (planes − mean); a
    picture's unlikeness is its total variation of u as a share of the examples' own, and half the mean square of u.
    """

    unmixing: Tensor
    mean: Tensor
    variation: float

    @classmethod
    def of(cls, planes: Tensor) -> LikenessToExamples:
        """Measure it on pictures (n, channels, height, width)."""
        pixels = planes.detach().double().transpose(0, 1).flatten(1)
        mean = pixels.mean(1)
        centred = pixels - mean[:, None]
        values, vectors = torch.linalg.eigh(centred @ centred.T / max(1, centred.shape[1]))
        # Colours that never go that way are taken to go there a hundredth as far as the others.
        least = (values.max() * 1e-4).clamp_min(1e-6)
        unmixing = (vectors / values.clamp_min(least).sqrt()).T.float()
        whole = cls(unmixing, mean.float()[:, None, None], 1.0)
        return dataclasses.replace(whole, variation=max(float(total_variation(whole.unmixed(planes)).mean()), 1e-6))

    def unmixed(self, planes: Tensor) -> Tensor:
        """Planes in deviations of independent colours."""
        return torch.einsum("dc,nchw->ndhw", self.unmixing.to(planes), planes - self.mean.to(planes))

    def __call__(self, planes: Tensor) -> Tensor:
        """How unlike the examples each picture is: about 1.5 for one of them."""
        own = self.unmixed(planes)
        unlike: Tensor = total_variation(own) / self.variation + own.flatten(1).square().mean(1) / 2
        return unlike

    def slope(self, planes: Tensor) -> Tensor:
        """The slope of the unlikeness."""
        own = self.unmixed(planes)
        way = (variation_slope(own, 1.0) / self.variation + own) / own[0].numel()
        return torch.einsum("dc,ndhw->nchw", self.unmixing.to(planes), way)


def slope(priors: Priors, planes: Tensor, middle: Tensor, gaussian: Gaussian | None) -> Tensor:
    """The slope of all penalties at each number; a penalty counts as a sum over pixels, so that it does not fade with
    size.
    """
    found = torch.zeros_like(planes)
    if priors.total_variation:
        found += priors.total_variation * variation_slope(planes, 1.0)
    if priors.norm:
        found += priors.norm * (planes - middle)
    if planes.ndim != 4:
        return found
    if priors.natural:
        found += priors.natural * natural_slope(planes, middle)
    if priors.gaussian and gaussian is not None:
        spectrum = torch.fft.rfft2(planes - gaussian.mean, norm="ortho")
        weighed = spectrum / gaussian.power
        flat = torch.view_as_real(weighed).flatten(1)
        unlikely = (flat * torch.view_as_real(spectrum).flatten(1)).mean(1) * 2
        # It holds back only what is less likely than the examples are.
        excess = (unlikely - 1).clamp(0, 2)
        if bool((excess > 0).any()):
            way = torch.fft.irfft2(weighed, s=planes.shape[2:], norm="ortho")
            strength = priors.gaussian * excess / way.flatten(1).square().mean(1).sqrt().clamp_min(1e-20)
            found += way * strength.reshape(-1, 1, 1, 1)
    return found


def variation_slope(planes: Tensor, beta: float) -> Tensor:
    """The slope of the sum over all numbers of (Δx² + Δy²)^(β/2)."""
    over = planes[..., 1:] - planes[..., :-1]
    down = planes[:, :, 1:] - planes[:, :, :-1] if planes.ndim == 4 else None
    pull = torch.full_like(planes, 0.0 if beta == 2 else _SMALL)
    pull[..., :-1].addcmul_(over, over)
    if down is not None:
        pull[:, :, :-1].addcmul_(down, down)
    pull = pull.rsqrt_() if beta == 1 else pull.pow_(beta / 2 - 1).mul_(beta)
    found = torch.zeros_like(planes)
    along = pull[..., :-1] * over
    found[..., 1:] += along
    found[..., :-1] -= along
    if down is not None:
        across = pull[:, :, :-1] * down
        found[:, :, 1:] += across
        found[:, :, :-1] -= across
    return found


def natural_slope(planes: Tensor, middle: Tensor) -> Tensor:
    """The slope of :func:`natural`, summed over pixels."""
    away = planes - middle
    lengths = away.square().sum(1, keepdim=True) / _BOUND**2
    channels = planes.shape[1]
    bounded = (ALPHA * channels / _BOUND**2) * lengths.pow(ALPHA / 2 - 1) * away
    return bounded + variation_slope(planes, BETA) * channels / _EDGE**2


def blurred(planes: Tensor, deviation: float) -> Tensor:
    """Planes (n, channels, height, width) or series blurred by a Gaussian of so many pixels; edges are repeated."""
    if deviation <= 0:
        return planes
    reach = max(1, round(3 * deviation))
    at = torch.arange(-reach, reach + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (at / deviation) ** 2)
    kernel = kernel / kernel.sum()
    flat = planes.reshape(-1, 1, *planes.shape[2:])
    if planes.ndim == 3:
        padded = torch.nn.functional.pad(flat, (reach, reach), mode="replicate")
        return torch.nn.functional.conv1d(padded, kernel[None, None]).reshape(planes.shape)
    padded = torch.nn.functional.pad(flat, (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None]).reshape(planes.shape)
