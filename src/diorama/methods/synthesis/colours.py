"""How the colours of pictures go together, and the change of colours that makes them independent."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

ENOUGH = 256
"""Pixels from which colours are measured."""
FEW = 12
"""So few pictures tell their own colours, not those of their kind."""
PHOTOGRAPHS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
"""The square root of the covariance of red, green and blue in ImageNet (Olah, Mordvintsev & Schubert 2017)."""
VIVID = 2.0
"""How much more of the two axes of colour is in reach than photographs have: what forms is paler than they are."""


@dataclasses.dataclass(frozen=True)
class Colours:
    """A matrix from independent numbers to colours, the mean colour, and where they come from in a sentence.

    *Shapes* ``matrix`` (channels, channels), ``mean`` (channels,), in planes from 0 to 1.
    """

    matrix: Tensor
    mean: Tensor
    measured: bool
    sentence: str

    @classmethod
    def measure(cls, planes: Tensor) -> Colours:
        """Measure them on pictures (n, channels, height, width): the square root of the colours' covariance, its
        longest column brought to length one.

        *Source* Olah, Mordvintsev & Schubert 2017, "Feature Visualization", on preconditioning.
        """
        channels = planes.shape[1]
        pixels = planes.detach().double().transpose(0, 1).flatten(1)
        pixels = pixels[:, torch.isfinite(pixels).all(0)]
        if pixels.shape[1] < ENOUGH:
            return cls.identity(channels, "there are too few pixels to measure how colours go together")
        mean = pixels.mean(1)
        centred = pixels - mean[:, None]
        covariance = centred @ centred.T / pixels.shape[1]
        if channels == 3 and len(planes) < FEW:
            matrix = torch.tensor(PHOTOGRAPHS) * torch.tensor([1.0, VIVID, VIVID])
            told = f"colours as they go together in photographs, for {len(planes)} examples are too few to tell"
            return cls(matrix / matrix.norm(dim=0).max(), (mean.float() + 0.5) / 2, True, told)
        if channels == 1:
            return cls(torch.ones(1, 1), mean.float(), False, "the pictures have one channel")
        if channels > 16 or float(covariance.diagonal().min()) < 1e-8:
            found = cls.identity(channels, "a channel of the examples never changes, so colours are left as they are")
            return dataclasses.replace(found, mean=mean.float())
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp_min(1e-10).sqrt()
        matrix = root / root.norm(dim=0).max()
        # The weakest direction stays reachable.
        return cls(matrix.float(), mean.float(), True, f"colours as they go together in {len(planes)} examples")

    @classmethod
    def identity(cls, channels: int, why: str) -> Colours:
        """Colours as they are."""
        return cls(torch.eye(channels), torch.full((channels,), 0.5), False, f"colours are not decorrelated: {why}")

    def mixed(self, numbers: Tensor) -> Tensor:
        """Independent numbers (n, channels, …) as colours."""
        if len(self.matrix) == 1:
            return numbers
        return torch.einsum("dc,nchw->ndhw", self.matrix.to(numbers), numbers)

    def unmixed(self, colours: Tensor) -> Tensor:
        """Colours (n, channels, …) as independent numbers."""
        if len(self.matrix) == 1:
            return colours
        inverse = torch.linalg.inv(self.matrix.double()).to(colours)
        return torch.einsum("dc,nchw->ndhw", inverse, colours)
