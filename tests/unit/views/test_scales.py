"""Scales that stay while time is scrubbed hold what the newest reading shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from diorama.views import scales


def _scene(counts: np.ndarray, edges: np.ndarray, last: int = 100) -> Any:
    run = SimpleNamespace(
        histogram_names=["activations/a/probe"], last_step=last,
        histograms=lambda name: SimpleNamespace(edges=edges, counts=counts),
    )
    return SimpleNamespace(run=run, steps=[0], keep=lambda name, make: make())


def test_a_layer_that_grew_late_is_not_clipped() -> None:
    """Many early readings of small numbers do not hide the larger ones of the newest reading, nor the newest the larger ones before."""
    edges = np.linspace(0.0, 10.0, 101)
    counts = np.zeros((400, 100))
    counts[:, 2] = 1000.0
    counts[-1] = np.r_[np.zeros(90), np.full(10, 100.0)]
    layer: Any = SimpleNamespace(source=SimpleNamespace(name="a"), rectified=True)
    limit = scales.activation(_scene(counts, edges), layer)
    assert limit is not None
    assert limit >= 9.9
    assert scales.activation(_scene(counts[::-1], edges), layer) == 0.25
    counts[:200, 50] = 1000.0
    before = scales.activation(_scene(counts[:-1], edges), layer)
    assert before is not None
    assert before >= 5.0


def test_batches_tell_of_what_the_probe_set_has_not_been_asked_since() -> None:
    """Where the probe set was looked at before the training alone, the scale holds what the layer answers to batches now."""
    edges = np.linspace(0.0, 10.0, 101)
    small, large = np.zeros((1, 100)), np.zeros((50, 100))
    small[:, 2] = large[:, 60] = 1000.0
    scene = _scene(small, edges)
    told = {"activations/a/probe": small, "activations/a": large}
    scene.run.histogram_names = list(told)
    scene.run.histograms = lambda name: SimpleNamespace(edges=edges, counts=told[name])
    limit = scales.activation(scene, SimpleNamespace(source=SimpleNamespace(name="a"), rectified=True))  # type: ignore[arg-type]
    assert limit is not None
    assert limit >= 6.0
