"""How examples lie among others: the same numbers however little memory there is, and no more memory than is given."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diorama.derive import class_overlap
from diorama.scene import Scene


@pytest.fixture
def wide() -> Scene:
    """Three layers of 2,048 numbers an example, and three classes that they mix."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 3))
        y = torch.arange(240) % 3
        x = torch.randn(240, 1, 8, 8) + 0.3 * torch.randn(3, 1, 8, 8)[y]
    return Scene(model, x, y)


def test_little_memory_changes_no_number(wide: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers in passes of their own, parts of layers whose distances add up, and a few rows of distances at a time: all numbers stay."""
    wanted = wide.derive("mixing").value
    for held, strip in ((500_000, 100_000), (3_000_000, 20_000)):
        monkeypatch.setattr(class_overlap, "HELD", held)
        monkeypatch.setattr(class_overlap, "STRIP", strip)
        fresh = Scene(wide.model, wide.examples.x, wide.examples.y)
        found = fresh.derive("mixing").value
        assert found["layers"] == wanted["layers"]
        assert found["began"] == wanted["began"]
        np.testing.assert_array_equal(found["pairs"], wanted["pairs"])
        np.testing.assert_array_equal(found["starts"], wanted["starts"])
        np.testing.assert_allclose(found["mixed"], wanted["mixed"], atol=1e-9)
    assert np.ptp(wanted["mixed"]) > 0.01


def test_rows_take_no_more_than_is_given(wide: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However wide the layers, what is held of them stays within what is given, beside the distances of each two examples."""
    monkeypatch.setattr(class_overlap, "HELD", 600_000)
    monkeypatch.setattr(class_overlap, "STRIP", 100_000)
    layers = [wide.layers[name] for name in ("0", "2", "5")]
    every = class_overlap.lots(wide, layers)
    assert all(4 * 240 * sum(part.stop - part.start for part in lot) <= 600_000 for lot in every)
    for one in layers:
        spans = [(part.start, part.stop) for lot in every for part in lot if part.layer is one]
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
        assert spans[-1][1] == np.prod(one.shape or (0,))
    kept: dict[str, Any] = {}
    classes, pairs = np.arange(240) % 3, [(0, 1), (0, 2), (1, 2)]
    tracemalloc.start()
    try:
        for name, rows in class_overlap.laid_out(wide, layers):
            kept[name] = class_overlap.among(rows, classes, pairs, 5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A layer alone takes 2 MB, twice that in double precision.
    assert peak < 600_000 + 3 * 8 * 240**2 + 8 * 100_000
    assert list(kept) == ["0", "input", "2", "5"]
