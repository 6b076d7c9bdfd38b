"""What a run recorded of a layer at the scene's step: how fast it changes, how much of it is off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..model.layers import Layer
from ..scene import Scene

SPARK = 48
"""Points of a small curve."""


def series(scene: Scene, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """A recorded series up to the scene's step; None when there is none."""
    run = scene.run
    if run is None or scene.step is None or not run.has_series(name):
        return None
    steps, values = run.series(name)
    end = int(np.searchsorted(steps, scene.step, "right"))
    return (steps[:end], values[:end]) if end else None


def latest(scene: Scene, name: str) -> float | None:
    """The newest value of a series at or before the scene's step."""
    found = series(scene, name)
    return float(found[1][-1]) if found is not None else None


def spark(scene: Scene, name: str) -> NDArray[np.float64] | None:
    """A series as a small curve, by orders of magnitude; None when it has fewer than two points."""
    found = series(scene, name)
    if found is None or len(found[1]) < 2:
        return None
    values = found[1]
    if len(values) > SPARK:
        values = np.array([part.mean() for part in np.array_split(values, SPARK)])
    return np.log10(np.maximum(values, 1e-12))


def ratio_name(layer: Layer) -> str:
    """The series of a layer's update ratio: how much of its weight one step changes."""
    return f"updates/{layer.weight}/ratio"


def dead_name(layer: str) -> str:
    """The series of a layer's share of dead units."""
    return f"activations/{layer}/dead"
