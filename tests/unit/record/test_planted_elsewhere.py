"""Faults that were planted in one dense network are found in a convolution and an attention too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.record.findings import ALARM, Diagnosis


class Pictured(nn.Module):
    """Two convolutions on small pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Sequential()
        self.first, self.second, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(96, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(self.deep(x.reshape(-1, 1, 4, 4))))
        return self.out(torch.relu(self.second(x)).flatten(1))


class Attended(nn.Module):
    """A block with attention."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Sequential()
        self.first, self.norm = nn.Linear(4, 8), nn.LayerNorm(8)
        self.look = nn.MultiheadAttention(8, 2, batch_first=True)
        self.second, self.out = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.deep(x))
        x = self.norm(x + self.look(x, x, x, need_weights=False)[0])
        return self.out(torch.relu(self.second(x)).mean(1))


Disturb = Callable[[int, Any], None]


def _found(path: Path, model: Any, rate: float = 0.01, steps: int = 60, fit: int = 128, disturb: Disturb | None = None) -> dict[str, Diagnosis]:
    """Train on a task that can be learned: which of four quarters of a table of 4 × 4 numbers is the largest."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(fit + 128, 4, 4, generator=generator)
    y = torch.stack([x[:, :2, :2], x[:, :2, 2:], x[:, 2:, :2], x[:, 2:, 2:]], 1).mean((2, 3)).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    with diorama.watch(model, path, probe=(x[fit:], y[fit:]), optimizer=optimizer, every=10) as recorder:
        recorder._prober.affordable = lambda number: True  # type: ignore[union-attr,method-assign]
        for step in range(1, steps + 1):
            loss = nn.functional.cross_entropy(model(x[:fit]), y[:fit])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if disturb is not None:
                disturb(step, model)
            recorder.step(loss=loss)
    return {found.finding: found for found in diorama.open(path).findings()}


def _break(step: int, model: Any) -> None:
    with torch.no_grad():
        if step == 20:
            model.second.bias[: len(model.second.bias) // 2] = -1e4
        if step == 60:
            next(model.first.parameters()).view(-1)[0] = float("nan")


@pytest.mark.parametrize("make", [Pictured, Attended])
def test_what_breaks_a_dense_network_is_found_in_others(tmp_path: Path, make: type[nn.Module]) -> None:
    """Units silenced, later a bad number, and a deep stack of sigmoids: each is found."""
    torch.manual_seed(0)
    found = _found(tmp_path / "broken", make(), steps=70, disturb=_break)
    assert found["not_finite"].step in (60, 61)
    dead = next(one for one in diorama.open(tmp_path / "broken").findings(55) if one.finding == "dead_units")
    assert (dead.keys, dead.severity >= ALARM) == (("layer:second",), True)
    starved: Any = make()
    for _ in range(4):
        starved.deep.extend([nn.Linear(4, 4), nn.Sigmoid()])
    starved.deep.extend(nn.Sigmoid() for _ in range(6))
    found = _found(tmp_path / "starved", starved, steps=30)
    assert "layer:deep.0" in found["vanishing_gradients"].keys  # noqa: SIM118 - the finding's keys
