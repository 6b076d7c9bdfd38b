"""Inputs that come by name alone are read as those that come in their order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)
        return found


def test_what_batches_tell_does_not_depend_on_how_they_are_called(tmp_path: Path) -> None:
    """Ranges of inputs, columns and labels are the same for both."""
    x, y = 5 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 3
    series = {}
    for by_name in (False, True):
        torch.manual_seed(0)
        model = _Named()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with diorama.watch(model, tmp_path / str(by_name), probe=(x[:50], y[:50]), optimizer=optimizer, every=1) as recorder:
            for k in range(24):
                part = slice(32 * (k % 6), 32 * (k % 6) + 32)
                loss = F.cross_entropy(model(rows=x[part]) if by_name else model(x[part]), y[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
        run = diorama.open(recorder.path)
        series[by_name] = {name: dict(zip(*map(list, run.series(name)), strict=True)) for name in run.series_names if name.startswith("batch/")}
    wanted = {"batch/std", "batch/column", "batch/met", "batch/accuracy"}
    for each in series.values():
        assert wanted <= set(each)
    for name in wanted - {"batch/met"}:  # which adds up over the batches that there was time to read
        both = [step for step in series[True][name] if step in series[False][name]]
        assert both, name
        assert [series[True][name][step] for step in both] == pytest.approx([series[False][name][step] for step in both]), name
