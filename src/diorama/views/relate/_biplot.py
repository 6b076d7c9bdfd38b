"""Units as arrows over a map of examples: each leads to where the unit answers more."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.selection import spoken
from ...derive.derivation import DerivedValue

LONGEST = 0.45
"""An arrow of a unit that the places tell wholly is as long as this part of the picture."""


@dataclasses.dataclass(frozen=True)
class Biplot:
    """Some units as arrows: their ends, what they are called, and how well the places tell them."""

    ends: NDArray[np.float64]
    labels: tuple[str, ...]
    middle: tuple[float, ...]
    told_by: NDArray[np.float64]
    """The share of a unit's variance that its best plane over the places explains (R²)."""

    def told(self) -> dict[str, Any]:
        """What a scatter is told of them."""
        return {"arrows": self.ends, "arrow_labels": self.labels, "middle": self.middle}

    @property
    def said(self) -> str:
        """What arrows are, in words."""
        if not len(self.ends):
            return "No unit varies, so there are no arrows."
        low, high = float(self.told_by.min()), float(self.told_by.max())
        return f"Arrows lead to where units answer more; the longer, the better places tell it (R² {low:.2f} to {high:.2f})."


def biplot(derived: DerivedValue, points: NDArray[np.float64], count: int) -> Biplot:
    """The units whose answers a plane over the places tells best, by least squares.

    *Source* Gabriel 1971 for components; Gower & Hand 1996 for other maps (regression biplots).
    """
    made: Any = derived.derivation
    rows, names = made.rows(derived.scene), made.layers(derived.scene)
    good = np.isfinite(points).all(1)
    middle = points[good].mean(0) if good.any() else np.zeros(points.shape[1])
    at, rows = points[good] - middle, rows[good] - rows[good].mean(0)
    spread = rows.std(0)
    moving = np.flatnonzero(spread > 1e-9 * max(1e-300, float(spread.max(initial=0.0))))
    if not len(moving) or not at.any():
        return Biplot(np.zeros((0, points.shape[1])), (), tuple(map(float, middle)), np.zeros(0))
    wanted = rows[:, moving] / spread[moving]
    slopes = np.linalg.lstsq(at, wanted, rcond=None)[0]
    told = np.clip(1 - (wanted - at @ slopes).var(0), 0, 1)
    order = np.argsort(-told, kind="stable")[:count]
    lengths = np.linalg.norm(slopes[:, order], axis=0)
    ways = slopes[:, order] / np.where(lengths > 0, lengths, 1.0)
    ends = middle + (ways * np.sqrt(told[order])).T * LONGEST * float(np.ptp(points[good], axis=0).max())
    labels = _names(derived, names)
    return Biplot(ends, tuple(labels[moving[k]] for k in order), tuple(map(float, middle)), told[order])


def _names(derived: DerivedValue, layers: list[str]) -> list[str]:
    """What the columns of a map's rows are called: units by their numbers, of several layers with the layer."""
    found = []
    for name in layers:
        found += [f"{spoken(name)}/{unit}" if len(layers) > 1 else f"unit {unit}" for unit in range(derived.scene.layers[name].units)]
    return found
