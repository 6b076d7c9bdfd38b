"""Parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ..errors import UsageError
from .mark import Array, Mark, Range, check_length, check_shape, span


class Parallel(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Parallel coordinates: one upright axis a quantity, one line an item, broken where it has no number."""

    values: Array  # (items, axes)
    axes: tuple[str, ...]
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    colours: tuple[int, ...] = ()  # indices into the class colours
    spans: tuple[tuple[float, float], ...] = ()  # the range of each axis; empty: that of its values
    height: int = 180

    def __post_init__(self) -> None:
        check_shape(self, "values", self.values, (2,))
        if not self.axes:
            raise UsageError("parallel coordinates want at least one axis")
        check_length(self, "axes", len(self.axes), self.values.shape[1])
        for name in ("labels", "keys", "colours"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), len(self.values))
        if self.spans:
            check_length(self, "spans", len(self.spans), len(self.axes))
        else:
            # Browser and paper draw the same axes: their ranges travel with the mark.
            found = tuple(span([column]) for column in np.asarray(self.values, float).T)
            msgspec.structs.force_setattr(self, "spans", found)

    def ranges(self) -> dict[str, Range]:
        """Every axis stays the same over a film."""
        return {str(index): one for index, one in enumerate(self.spans)}

    def within(self, ranges: Mapping[str, Range]) -> Parallel:
        """The lines between these ends of the axes."""
        return msgspec.structs.replace(self, spans=tuple(ranges[str(index)] for index in range(len(self.axes))))
