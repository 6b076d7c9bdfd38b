"""One picture, with what may lie over it: heat, a contour, boxes."""

from __future__ import annotations

import msgspec

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark, check_length, check_shape


class Box(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rectangle over an image, in its pixels; ``x`` and ``y`` are the top left corner."""

    x: float
    y: float
    width: float
    height: float
    label: str = ""
    key: str = ""


class Image(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """One picture, perhaps with heat over it."""

    pixels: Array  # (height, width) through limits, or (height, width, 3|4): uint8, or floats from 0 to 1
    limits: Limits | None = None
    heat: Array | None = None  # (height, width)
    heat_limits: Limits | None = None
    contour: float | None = None  # draw the heat's contour at this share of its limit
    boxes: tuple[Box, ...] = ()
    label: str = ""
    key: str = ""
    place_key: str = ""  # a unit's key: clicking a pixel selects that unit at that place
    patches: tuple[int, int] | None = None  # rows and columns of equal patches that are pointed at and chosen one by one
    patch_keys: tuple[str, ...] = ()  # of each patch, row by row
    meant: Array | None = None  # (height, width): which of `names` a pixel is painted for, told instead of its colour; below 0 none
    names: tuple[str, ...] = ()
    size: int = 96  # wanted width on screen, CSS pixels

    def __post_init__(self) -> None:
        check_shape(self, "pixels", self.pixels, (2, 3))
        if self.pixels.ndim == 3 and self.pixels.shape[2] not in (3, 4):
            raise UsageError(f"an image has 3 or 4 colours, got shape {self.pixels.shape}")
        if self.heat is not None:
            check_length(self, "heat", self.heat.shape, self.pixels.shape[:2])
        if self.meant is not None:
            check_length(self, "meant", self.meant.shape, self.pixels.shape[:2])
        if self.patches is not None:
            check_length(self, "patch_keys", len(self.patch_keys), self.patches[0] * self.patches[1])
