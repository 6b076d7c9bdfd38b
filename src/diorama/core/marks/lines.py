"""Series over steps, time or another number."""

from __future__ import annotations

from typing import Literal

import msgspec

from .mark import Array, Mark, Range, check_length, span


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``low`` and ``high`` are its exact envelope or band."""

    name: str
    x: Array  # (n,)
    y: Array  # (n,)
    low: Array | None = None  # (n,)
    high: Array | None = None  # (n,)
    key: str = ""
    colour: int = 0  # index into the class colours
    dash: bool = False
    faint: bool = False  # the raw values under their smoothed line
    band: bool = False  # draw only the filled band from low to high
    group: str = ""  # the run, or what else tells overlaid lines apart

    def __post_init__(self) -> None:
        for name in ("y", "low", "high"):
            array = getattr(self, name)
            if array is not None:
                check_length(self, name, array.shape, self.x.shape)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A moment on the x axis: a command, a finding, a gap in the record."""

    x: float
    label: str
    kind: Literal["command", "finding", "gap", "flip"] = "command"
    end: float | None = None  # of a gap


class Lines(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Series over steps, time or another number, with bands and events."""

    series: tuple[Series, ...]
    x_title: str = "step"
    y_title: str = ""
    x_kind: Literal["step", "time", "number"] = "step"
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    y_ticks: bool = True  # what lies along y may be places of lines, whose names say more than numbers
    events: tuple[Event, ...] = ()
    cursor: float | None = None  # where the time slider stands
    x_key: str = ""  # places along x are keys of this kind, such as "token": a brush chooses those in it, a click one
    height: int = 180

    def x_span(self) -> Range:
        """The range of the x axis."""
        return self.x_range or span([series.x for series in self.series], self.x_log)

    def y_span(self) -> Range:
        """The range of the y axis: its own, or that of the values with a little room."""
        if self.y_range is not None:
            return self.y_range
        drawn = ((s.low, s.high) if s.band else (s.y, s.low, s.high) for s in self.series)
        low, high = span([array for arrays in drawn for array in arrays if array is not None], self.y_log)
        if self.y_log:
            return low / 1.08, high * 1.08
        pad = (high - low) * 0.04
        return (0.0 if 0 <= low < 4 * pad else low - pad), high + pad

    def ranges(self) -> dict[str, Range]:
        """Both axes stay the same over a film."""
        return {"x_range": self.x_span(), "y_range": self.y_span()}
