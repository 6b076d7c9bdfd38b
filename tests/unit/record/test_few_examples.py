"""What batches of few examples cannot tell."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama


def test_units_are_not_called_dead_by_batches_of_few(tmp_path: Path) -> None:
    """Many units are silent to two examples that are not to a thousand; to hundreds hardly any is by chance."""
    told = {}
    for rows in (2, 64):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 3))
        with torch.no_grad():
            model[0].bias.fill_(-1.0)
        x, y = 2 * torch.randn(rows * 20, 4), torch.arange(rows * 20) % 3
        x[0] *= 50
        x[1] = -x[0]  # each unit answers to one of the first two
        optimizer = torch.optim.SGD(model.parameters(), 0.001)
        with diorama.watch(model, tmp_path / str(rows), probe=(x[:32], y[:32]), optimizer=optimizer, every=1) as recorder:
            for k in range(20):
                part = slice(rows * k, rows * (k + 1))
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[part]), y[part])
                loss.backward()
                optimizer.step()
                if k == 5:
                    with torch.no_grad():
                        model[0].bias[:20] = -1000.0  # from here on half of the units are
                recorder.step(loss=loss)
        told[rows] = [found.severity for found in diorama.open(recorder.path).findings() if found.finding == "dead_units"]
    assert told[2] == []
    assert max(told[64]) >= 0.5
