"""A small recorded run, and a place of its own for what servers keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client

import diorama
from diorama.server.serve import Page


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The log and the kept selections of these tests go into a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of a tiny network."""
    import torch
    from torch import nn
    from torch.nn import functional

    folder = tmp_path_factory.mktemp("served")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, folder / "tiny", probe=(x, y), optimizer=optimizer, every=2, snapshots=1) as recorder:
        for _ in range(12):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return folder


@pytest.fixture(scope="module")
def page(recorded: Path) -> Iterator[Page]:
    """The page of a folder of runs."""
    with diorama.serve(recorded) as served:
        yield served


@pytest.fixture
def client(page: Page) -> Iterator[Client]:
    """A connection."""
    made = Client(page.url)
    yield made
    made.close()
