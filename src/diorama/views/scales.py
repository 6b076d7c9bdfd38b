"""Limits that stay the same while the time slider moves, so that a change of colour is a change of the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..scene import Scene
from .units import ShownLayer

SAMPLED = 12
"""A limit over time is taken from at most so many snapshots of the run, the first and the newest among them."""

QUANTILE = 0.995
"""The part of a layer's activations (other than zero) that the scale over the training holds."""


def activation(scene: Scene, one: ShownLayer) -> float | None:
    """The magnitude below which nearly all activations of a layer lay over all recorded steps; None without a record.

    A single spike would dim every map: the few values beyond are clipped, marked and counted.
    """
    run = scene.run
    if run is None:
        return None
    # The probe set is looked at far less often than the batches: early on its last look may be of the untrained network.
    told = (f"activations/{one.source.name}/probe", f"activations/{one.source.name}")
    names = [name for name in told if name in run.histogram_names]
    if not names:
        return None

    def reached() -> float | None:
        ends = []
        for found in map(run.histograms, names):
            middles = (found.edges[1:] + found.edges[:-1]) / 2
            responds = np.isfinite(middles) & (middles > 0 if one.rectified else middles != 0)
            # A young training grows: what its newest reading holds counts beside the sum over all of them.
            counted = (found.counts.sum(0, dtype=np.float64), *found.counts[-1:].astype(np.float64))
            ends += [end for counts in counted if (end := _held(middles, np.where(responds, counts, 0.0))) is not None]
        return _round_up(max(ends)) if ends else None

    # Training on by a twelfth, or a new snapshot, may widen the scale; between, it stands still.
    age = int(math.log(max(run.last_step, 1), 13 / 12))
    limit: float | None = scene.keep(f"activation/{one.source.name}/{len(scene.steps)}/{age}", reached)
    return limit


def _held(middles: NDArray[np.float64], counts: NDArray[np.float64]) -> float | None:
    """The magnitude below which the part of ``QUANTILE`` of what was counted lies; None where nothing was."""
    on = counts > 0
    if not on.any():
        return None
    size = np.abs(middles[on])
    order = np.argsort(size)
    share = np.cumsum(counts[on][order]) / counts[on].sum()
    return float(size[order][np.searchsorted(share, QUANTILE)])


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
