"""Small random changes of place and size before each look, so that what forms does not depend on single pixels."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


@dataclasses.dataclass(frozen=True)
class Transforms:
    """How far a picture may be moved, resized and turned before each look; every input of a batch in the same way.

    *Units* ``jitter`` in pixels each way, ``scale`` and ``crop`` as a share (0.1: up to a tenth larger or smaller; a
    window of at least nine tenths of each side), ``rotate`` in degrees each way.
    """

    jitter: int = 0
    scale: float = 0.0
    rotate: float = 0.0
    crop: float = 0.0

    @property
    def any(self) -> bool:
        """Whether anything changes."""
        return bool(self.jitter or self.scale or self.rotate or self.crop)

    def __call__(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        """Planes (n, channels, height, width) moved, resized and turned; what enters repeats the edge."""
        if not self.any or planes.ndim != 4:
            return self._moved_in_time(planes, generator) if planes.ndim == 3 else planes
        height, width = planes.shape[2:]
        reach = min(self.jitter, height - 1, width - 1)
        down, over = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist() if reach else (0, 0)
        if self.scale or self.rotate or self.crop:
            return self._warped(planes, generator, down, over)
        if not (down or over):
            return planes
        padded = F.pad(planes, (max(over, 0), max(-over, 0), max(down, 0), max(-down, 0)), mode="replicate")
        top, left = max(-down, 0), max(-over, 0)
        return padded[:, :, top : top + height, left : left + width]

    def _warped(self, planes: Tensor, generator: torch.Generator, down: int, over: int) -> Tensor:
        """All changes at once, by one bilinear look-up."""
        size, angle, cut, y, x = ((torch.rand(5, generator=generator) * 2) - 1).tolist()
        window = 1 - self.crop * (cut + 1) / 2
        size = window / (1 + self.scale * size)
        turn = math.radians(self.rotate * angle)
        height, width = planes.shape[2:]
        move_y = y * (1 - window) - 2 * down / height
        move_x = x * (1 - window) - 2 * over / width
        ratio = height / width
        theta = torch.tensor([
            [size * math.cos(turn), -size * math.sin(turn) * ratio, move_x],
            [size * math.sin(turn) / ratio, size * math.cos(turn), move_y],
        ])
        # One look-up table serves the whole batch: its inputs become channels of a single picture.
        grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False).to(planes)
        flat = planes.reshape(1, -1, height, width)
        warped = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
        return warped.reshape(planes.shape)

    def _moved_in_time(self, series: Tensor, generator: torch.Generator) -> Tensor:
        reach = min(self.jitter, series.shape[2] - 1)
        if reach < 1:
            return series
        by = int(torch.randint(-reach, reach + 1, (1,), generator=generator))
        padded = F.pad(series, (max(by, 0), max(-by, 0)), mode="replicate")
        start = max(-by, 0)
        return padded[..., start : start + series.shape[2]]
