"""One bar a label."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ..colour import Limits
from .mark import Array, Mark, Range, check_length, check_shape


class Bars(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """One bar a label; negative values go the other way."""

    values: Array  # (n,)
    labels: tuple[str, ...]
    keys: tuple[str, ...] = ()
    colours: tuple[int, ...] = ()  # indices into the class colours; empty: by sign or one ink
    reference: Array | None = None  # (n,): a second value, drawn as a tick (the truth, another run)
    notes: tuple[str, ...] = ()
    limits: Limits | None = None
    unit: str = ""
    strong: int | None = None  # the bar that is told apart (the prediction)
    horizontal: bool = True

    def __post_init__(self) -> None:
        check_shape(self, "values", self.values, (1,))
        check_length(self, "labels", len(self.labels), len(self.values))
        for name in ("keys", "colours", "notes"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), len(self.values))

    def extent(self) -> Range:
        """The range that the bars span, zero included."""
        if self.limits is not None:
            return min(0.0, self.limits.low), max(0.0, self.limits.high)
        reference = self.reference.astype(float) if self.reference is not None else ()
        values = np.r_[self.values.astype(float), reference]
        finite = values[np.isfinite(values)]
        low, high = min(0.0, float(finite.min(initial=0.0))), max(0.0, float(finite.max(initial=0.0)))
        return low, high if high > low else low + 1.0

    def ranges(self) -> dict[str, Range]:
        """Where its limits do not say, its length for one unit stays the same over a film."""
        return {"extent": self.extent()} if self.limits is None and len(self.values) else {}

    def within(self, ranges: Mapping[str, Range]) -> Bars:
        """The bars with these limits."""
        if "extent" not in ranges:
            return self
        low, high = ranges["extent"]
        return msgspec.structs.replace(self, limits=Limits(low=low, high=high))
