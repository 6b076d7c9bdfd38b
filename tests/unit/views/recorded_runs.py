"""Small recorded trainings for the tests of views that show what was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diorama.record.recorder import watch
from diorama.run import Run, open_run

Loss = Callable[[int], float]


def recorded(
    path: Path, steps: int = 40, seed: int = 0, loss: Loss | None = None, rate: float = 0.1, **more: Any
) -> Run:
    """A training of a small network; the loss that is told may be made up."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 3, generator=generator)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in (("first", nn.Linear(3, 8)), ("relu", nn.ReLU()), ("last", nn.Linear(8, 2))):
            model.add_module(name, layer)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with watch(model, path, probe=(x[:32], y[:32]), classes=["no", "yes"], optimizer=optimizer, every=2, **more) as recorder:
        for step in range(1, steps + 1):
            found = nn.functional.cross_entropy(model(x[32:]), y[32:])
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            recorder.step(loss=float(found.detach()) if loss is None else loss(step), accuracy=0.5 + step / 1000)
    return open_run(path)


def told(path: Path, steps: int, loss: Loss) -> Run:
    """A record of made-up losses alone, without any training."""
    model = nn.Linear(2, 2)
    with watch(model, path, every=1_000_000) as recorder:
        for step in range(1, steps + 1):
            # No training is this fast: without a rest the store could fall behind, and records would be dropped.
            while step - recorder.committed > 1000:
                time.sleep(0.005)
            recorder.step(loss=loss(step))
    assert recorder.dropped == 0
    return open_run(path)
