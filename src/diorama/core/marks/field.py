"""A plane of outputs with points on it."""

from __future__ import annotations

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark, check_length, check_shape


class Field(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A plane of outputs with points on it."""

    values: Array  # (height, width) through limits, or (height, width, classes) probabilities; row 0 is the lowest y
    extent: tuple[float, float, float, float]  # x low, x high, y low, y high
    limits: Limits | None = None
    classes: tuple[str, ...] = ()
    points: Array | None = None  # (n, 2)
    point_values: Array | None = None  # (n,): the class index, or the true value through limits
    point_keys: tuple[str, ...] = ()
    wrong: Array | None = None  # (n,) bool
    small: bool = False  # the points are small, so that the plane under them shows
    joined: bool = False  # the points are a path, in their order
    outline: Array | None = None  # (pieces, 4): the border of a region, each piece a line from x, y to x, y
    faded: bool = False  # the plane says little: its colours are pale
    x_title: str = ""
    y_title: str = ""
    size: int = 300

    def __post_init__(self) -> None:
        check_shape(self, "values", self.values, (2, 3))
        if self.values.ndim == 2 and self.limits is None:
            raise UsageError("a field of numbers needs limits")
        if self.outline is not None:
            check_length(self, "outline", self.outline.shape, (len(self.outline), 4))
        if self.points is not None:
            check_length(self, "points", self.points.shape, (len(self.points), 2))
            if self.point_keys:
                check_length(self, "point_keys", len(self.point_keys), len(self.points))
