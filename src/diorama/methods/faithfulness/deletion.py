"""Deletion: cover the places that a map calls most important, and see how fast the target falls."""

from __future__ import annotations

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Look
from .curve import Curve, Fill, cost, curve

__all__ = ["Curve", "cost", "deletion"]


def deletion(
    look: Look, x: Nested, target: Target, values: Nested, *, steps: int = 20, fill: Fill = "constant",
    value: float = 0.0,
) -> Curve:
    """The target's value as the places of highest value are covered first; a good map makes it fall at once.

    *Meaning* the smaller the area, the better the map found what the answer rests on.
    *Cost* ``steps`` + 1 forward passes an example.
    *Source* Petsiuk, Das and Saenko, RISE, BMVC 2018, algorithm 1; Samek et al. 2017.
    """
    return curve(look, x, target, values, insert=False, steps=steps, fill=fill, value=value)
