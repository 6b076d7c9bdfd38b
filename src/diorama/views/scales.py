"""Limits that stay the same while the time slider moves, so that a change of colour is a change of the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ..scene import Scene
from .units import Shown

SAMPLED = 12
"""A limit over time is taken from at most so many snapshots of the run, the first and the newest among them."""


def activation(scene: Scene, one: Shown) -> float | None:
    """The largest magnitude that a layer reached at any recorded step; None when nothing was recorded."""
    run = scene.run
    if run is None:
        return None
    names = (f"activations/{one.source.name}/probe", f"activations/{one.source.name}")
    name = next((name for name in names if name in run.histogram_names), None)
    if name is None:
        return None

    def largest() -> float | None:
        found = run.histograms(name)
        values = np.concatenate([np.asarray(found.high, float), -np.asarray(found.low, float)])
        values = values[: len(found.high)] if one.rectified else values
        finite = values[np.isfinite(values)]
        return _round_up(float(finite.max())) if finite.size and finite.max() > 0 else None

    # A new snapshot may widen the scale; between snapshots it stands still.
    limit: float | None = scene.keep(f"activation/{one.source.name}/{len(scene.steps)}", largest)
    return limit


def over_time(scene: Scene, name: str, measure: Callable[[Scene], float]) -> tuple[float | None, int]:
    """The largest value that ``measure`` has over the run's snapshots, and how many of them were looked at."""
    steps = scene.steps
    if len(steps) < 2:
        return None, 1
    at = np.linspace(0, len(steps) - 1, min(SAMPLED, len(steps))).round().astype(int)
    sampled = [steps[k] for k in at]
    values = [scene.keep(f"{name}/{step}", partial(_measured, scene, step, measure)) for step in sampled]
    finite = [value for value in values if math.isfinite(value)]
    return (_round_up(max(finite)) if finite and max(finite) > 0 else None), len(sampled)


def _measured(scene: Scene, step: int, measure: Callable[[Scene], float]) -> float:
    return measure(scene.at(step))


def _round_up(value: float) -> float:
    """The next number of two digits, so that a scale at the live end does not creep."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit
