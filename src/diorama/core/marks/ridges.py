"""Distributions over steps."""

from __future__ import annotations

import msgspec

from .mark import Array, Mark, Range, check_length, span


class RidgeSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The distributions of one tensor in one run: one ridge a step."""

    name: str
    steps: Array  # (steps,)
    edges: Array  # (bins + 1,) ascending
    density: Array  # (steps, bins): share of the values per unit of x
    colour: int = 0

    def __post_init__(self) -> None:
        check_length(self, "density", self.density.shape, (len(self.steps), len(self.edges) - 1))


class Ridges(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Distributions over steps; several sets share one axis."""

    sets: tuple[RidgeSet, ...]
    x_title: str = ""
    x_range: tuple[float, float] | None = None
    cursor: float | None = None
    height: int = 200

    def x_span(self) -> Range:
        """The range of the x axis."""
        return self.x_range or span([one.edges for one in self.sets])

    def ranges(self) -> dict[str, Range]:
        """The axis of the values stays the same over a film."""
        return {"x_range": self.x_span()} if self.sets else {}
