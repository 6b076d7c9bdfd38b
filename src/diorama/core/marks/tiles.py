"""A grid of small pictures."""

from __future__ import annotations

from ..colour import Limits
from ..errors import UsageError
from .image import Box
from .mark import Array, Mark, check_length, check_shape


class Tiles(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A grid of small pictures: weights, activation maps, examples."""

    images: Array  # (count, height, width) through limits, or (count, height, width, 3) uint8
    limits: Limits | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # a second line under each picture
    keys: tuple[str, ...] = ()
    faded: Array | None = None  # (count,) bool: dead, off
    badges: tuple[str, ...] = ()  # a word on a picture: "dead"; empty for none
    boxes: tuple[Box, ...] = ()  # at most one a picture, in its pixels
    columns: int | None = None
    size: int = 44  # wanted width of one picture on screen, CSS pixels

    def __post_init__(self) -> None:
        check_shape(self, "images", self.images, (3, 4))
        for name in ("labels", "notes", "keys", "badges", "boxes"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), len(self.images))
        if self.faded is not None:
            check_length(self, "faded", self.faded.shape, (len(self.images),))
        if self.images.ndim == 3 and self.limits is None:
            raise UsageError("tiles of numbers need limits")
