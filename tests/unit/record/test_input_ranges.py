"""Of several inputs the one is told that lies far from what networks learn from, wherever it stands in the call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(6, 8), nn.Linear(4, 8), nn.Linear(16, 2)

    def forward(self, scaled: Tensor, raw: Tensor) -> Tensor:
        found: Tensor = self.head(torch.cat([self.one(scaled).relu(), self.other(raw).relu()], 1))
        return found


def _found(folder: Path, named: bool, factor: float) -> list[Any]:
    torch.manual_seed(0)
    a, b = torch.randn(256, 6), torch.randn(256, 4)
    y, b = (a[:, 0] + b[:, 0] > 0).long(), b * factor
    model = _Two()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    probe: Any = {"raw": b, "scaled": a} if named else (a, b)
    with diorama.watch(model, folder, probe=(probe, y), optimizer=optimizer, every=5) as recorder:
        for step in range(130):
            k = torch.arange(64) + 64 * (step % 4)
            out = model(raw=b[k], scaled=a[k]) if named else model(a[k], b[k])
            loss = nn.functional.cross_entropy(out, y[k])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return list(diorama.open(recorder.path).findings())


@pytest.mark.parametrize("named", [False, True])
def test_an_input_of_several_that_is_not_scaled_is_named(named: bool, tmp_path: Path) -> None:
    """By place and by keyword the input is named, with the layer that takes it; of the same inputs scaled nothing is said."""
    (found,) = (one for one in _found(tmp_path / "raw", named, 1e5) if one.finding == "unscaled_inputs")
    assert "'raw'" in found.title
    assert "'raw'" in found.text
    assert tuple(map(str, found.keys)) == ("layer:other",)
    assert not [one for one in _found(tmp_path / "scaled", named, 1.0) if one.finding == "unscaled_inputs"]
