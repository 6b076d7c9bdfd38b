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


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = self.layer(torch.cat([a, b], 1))
        return found


def test_names_may_be_turned_in_the_call(tmp_path: Path) -> None:
    """Batches are compared with the probe set's input of the same name, whichever comes first in the call."""
    dice = torch.Generator().manual_seed(0)
    a, b, y = torch.randn(200, 4, generator=dice), 0.2 * torch.rand(200, 2, generator=dice), torch.arange(200) % 3
    model = _Pair()
    with diorama.watch(model, tmp_path / "run", probe=({"a": a, "b": b}, y), every=1) as recorder:
        for k in range(12):
            part = slice(16 * k, 16 * k + 16)
            loss = F.cross_entropy(model(b=b[part], a=a[part]), y[part])
            loss.backward()
            recorder.step(loss=loss)
    run = diorama.open(recorder.path)
    steps, spread = run.series("batch/std")
    assert len(steps)
    assert (spread > 0.7).all()  # that of a, not of b
    assert not [found for found in run.findings() if found.finding == "probe_unlike_training"]
