"""What is kept of a third party's work belongs to the code that made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.code import written
from diorama.methods.placement import Floats, Placement, Projection
from diorama.scene import Scene

_FAR = 1.0


def _moved(rows: Floats, by: float) -> Floats:
    return np.asarray(rows[:, :2] + by * _FAR, np.float64)


def _algorithm(by: float) -> type[Projection]:
    """The same text each time, with another number in it."""

    class Mine(Projection):
        def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placement]:
            yield Placement(_moved(rows, by))

    return Mine


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    for kept in (diorama.projections._loaded, diorama.projections._registered):
        kept.pop("mine", None)  # type: ignore[attr-defined]


def test_an_algorithm_that_is_registered_again_places_its_points_anew() -> None:
    """The scene shows the map of the algorithm that bears the name now, and finds the earlier one again with the earlier code."""
    torch.manual_seed(0)
    scene = Scene(nn.Sequential(nn.Linear(3, 4)), torch.randn(6, 3), torch.arange(6) % 2)
    found = {}
    for by in (0.0, 5.0, 0.0):
        diorama.projections.register("mine", _algorithm(by), replace=True)
        derived = scene.derive("projection", layer="0", method="mine")
        found.setdefault(by, []).append((derived.key, np.asarray(derived.value)))
    np.testing.assert_allclose(found[5.0][0][1] - found[0.0][0][1], 5, rtol=1e-5)
    assert found[0.0][0][0] == found[0.0][1][0] != found[5.0][0][0]


def test_code_is_told_with_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper and a number of the same package count, where a class stands does not, and diorama's own have versions instead."""
    before = written(_algorithm(1.0))
    assert before == written(_algorithm(1.0)) != written(_algorithm(2.0))
    monkeypatch.setitem(globals(), "_FAR", 3.0)
    assert written(_algorithm(1.0)) != before
    monkeypatch.undo()
    assert written(_algorithm(1.0)) == before
    monkeypatch.setitem(globals(), "_moved", lambda rows, by: rows)
    assert written(_algorithm(1.0)) != before
    assert written(diorama.projections["pca"]) == ""
    assert diorama.projections["pca"]().__class__.__name__ == "PCA"
