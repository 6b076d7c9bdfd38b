"""What units ask for, as a derivation: stopped anywhere it goes on, and its numbers are what the network says."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.derive.derivations import preferred
from diorama.methods.synthesis import stage
from diorama.methods.synthesis.engine import Ascent
from diorama.scene import Scene


def _scene() -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 6), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3),
        )
    x = torch.rand(24, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    return Scene(model, x, torch.arange(24) % 3, inputs=diorama.Image(range=(0.0, 1.0)))


@pytest.mark.parametrize("layer", ["0", "4"])
def test_it_goes_on_after_any_stop(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several waves, and where noise ends below the examples: stopped after every stage it comes to the same, to the bit."""
    monkeypatch.setattr(preferred, "STEPS", 4)
    monkeypatch.setattr(stage, "TOGETHER", 2 * 81)
    at_once = partial(Ascent, first=0.0, every=0.0)
    monkeypatch.setattr(preferred, "Ascent", at_once)
    whole = _scene().derive("preferred", layer=layer).value
    assert "made again" in whole["note"]
    scene, stops = _scene(), 0
    while True:
        stream = scene.derive("preferred", layer=layer).stream()
        last: Any = None
        for last in stream:
            if last.done < last.total:
                break
        stream.close()
        if last.final:
            break
        stops += 1
        assert stops < 100
    assert stops > 8
    for name in ("inputs", "values"):
        np.testing.assert_array_equal(last.value[name], whole[name])
    assert last.value["note"] == whole["note"]


def test_its_numbers_are_the_units_own_and_no_less_than_the_examples() -> None:
    """A unit that sees everything is told by its peak; no unit responds less to its own input than to any example."""
    scene = _scene()
    for layer in ("0", "2", "4", "6"):
        found = scene.derive("preferred", layer=layer).value
        values = scene.activations(layer, torch.from_numpy(found["inputs"].copy()))[layer]
        values = values.reshape(*values.shape[:2], -1)
        peaks = values[torch.arange(len(values)), torch.arange(len(values))].amax(1).numpy()
        best = scene.activations(layer)[layer].reshape(24, values.shape[1], -1).amax((0, 2)).numpy()
        if layer in ("4", "6"):
            np.testing.assert_allclose(found["values"], peaks, rtol=1e-4, atol=1e-5)
        assert (found["values"] <= peaks + 1e-4).all()
        assert (found["values"] >= best - 1e-4).all(), (layer, found["values"] - best, found["note"])
