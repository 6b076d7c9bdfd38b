"""What stays fixed while a film runs: colour limits and axes, so that only the data moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from ..core.colour import Limits
from ..core.marks import Mark
from ..core.picture import Picture

Path = tuple[int | str, ...]


@dataclasses.dataclass
class HeldRanges:
    """The ranges of every mark over all frames, by the mark's place in the picture."""

    limits: dict[Path, Limits] = dataclasses.field(default_factory=dict)
    ranges: dict[Path, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def see(self, picture: Picture) -> None:
        """Take a frame's ranges into account."""
        self._see(picture.body, ())

    def _see(self, mark: Any, path: Path) -> None:
        for name in mark.__struct_fields__:
            value = getattr(mark, name)
            here = (*path, name)
            if isinstance(value, Limits):
                self._widen_limits(here, value)
            elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
                for index, child in enumerate(value):
                    self._see(child, (*here, index))
        if isinstance(mark, Mark):
            for name, span in mark.ranges().items():
                self._widen((*path, name), span)

    def _widen(self, path: Path, new: tuple[float, float]) -> None:
        low, high = self.ranges.get(path, new)
        self.ranges[path] = min(low, new[0]), max(high, new[1])

    def _widen_limits(self, path: Path, new: Limits) -> None:
        old = self.limits.get(path)
        if old is None or old.scale != new.scale:
            self.limits[path] = new
        else:
            low, high = min(old.low, new.low), max(old.high, new.high)
            self.limits[path] = msgspec.structs.replace(old, low=low, high=high)

    def fix(self, picture: Picture) -> Picture:
        """The frame with the ranges of the whole film."""
        return msgspec.structs.replace(picture, body=self._fix(picture.body, ()))

    def _fix(self, mark: Any, path: Path) -> Any:
        changes: dict[str, Any] = {}
        for name in mark.__struct_fields__:
            value = getattr(mark, name)
            here = (*path, name)
            if isinstance(value, Limits) and self.limits[here].scale == value.scale:
                wide = self.limits[here]
                if (wide.low, wide.high) != (value.low, value.high):
                    # What a frame's own narrower limits clipped is inside the film's.
                    changes[name] = msgspec.structs.replace(value, low=wide.low, high=wide.high, clipped=0)
            elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
                parts = tuple(self._fix(child, (*here, index)) for index, child in enumerate(value))
                if any(a is not b for a, b in zip(parts, value, strict=True)):
                    changes[name] = parts
        fixed = msgspec.structs.replace(mark, **changes) if changes else mark
        return fixed.within({name: self.ranges[(*path, name)] for name in mark.ranges()}) if isinstance(mark, Mark) else fixed
