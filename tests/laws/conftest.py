"""What several laws run over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diorama.core.registry import Registry


@pytest.fixture
def offered() -> Iterator[Callable[..., None]]:
    """Offers plug-ins as an installed package does, and takes them back."""
    touched: list[tuple[Registry, str]] = []

    def offer(kind: Registry, name: str, load: Callable[[], Any], package: str = "mine") -> None:
        kind._find()
        point = SimpleNamespace(name=name, value="mine:Mine", load=load, dist=SimpleNamespace(name=package, version="1"))
        kind._foreign[name] = point  # type: ignore[assignment]
        touched.append((kind, name))

    yield offer
    for kind, name in touched:
        if (arrival := kind._coming.get(name)) is not None:
            arrival.done.wait(60)  # else it comes when it has been taken back
    for kind, name in touched:
        for known in (kind._foreign, kind._loaded, kind._left_out, kind._coming):
            known.pop(name, None)  # type: ignore[attr-defined]
        kind._by_caller.discard(name)


def _stripes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of one bar: lying, standing or slanted, at any place."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.zeros(count, 1, 12, 12), torch.randint(0, 3, (count,), generator=generator)
    for k in range(count):
        at = int(torch.randint(2, 9, (1,), generator=generator))
        if y[k] == 0:
            x[k, 0, at : at + 2] = 1
        elif y[k] == 1:
            x[k, 0, :, at : at + 2] = 1
        else:
            x[k, 0] = torch.eye(12).roll(at - 5, 0)
    return (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1), y


@pytest.fixture(scope="session")
def trained() -> tuple[nn.Module, Tensor]:
    """A small network that tells bars apart, trained within seconds."""
    x, y = _stripes(300, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 3),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for k in range(150):
            part = slice(k * 30 % 300, k * 30 % 300 + 30)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    unseen, truth = _stripes(100, 1)
    assert float((model(unseen).argmax(1) == truth).float().mean()) > 0.95
    return model.eval(), x
