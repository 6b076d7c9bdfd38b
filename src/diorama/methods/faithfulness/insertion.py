"""Insertion: uncover the places that a map calls most important, and see how fast the target rises."""

from __future__ import annotations

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Look
from .curve import Curve, Fill, cost, curve

__all__ = ["Curve", "cost", "insertion"]


def insertion(
    look: Look, x: Nested, target: Target, values: Nested, *, steps: int = 20, fill: Fill = "constant",
    value: float = 0.0,
) -> Curve:
    """The target's value as the places of highest value are shown first, on a covered input; a good map raises it at once.

    *Meaning* the larger the area, the better. RISE begins from a blurred image: ``fill="blur"``.
    *Cost* ``steps`` + 1 forward passes an example.
    *Source* Petsiuk, Das and Saenko, RISE, BMVC 2018, algorithm 1.
    """
    return curve(look, x, target, values, insert=True, steps=steps, fill=fill, value=value)
