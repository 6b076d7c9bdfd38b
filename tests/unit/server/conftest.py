"""A small recorded run, and a client that talks to the socket as the page does."""

from __future__ import annotations

import contextlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect


class Client:
    """One connection to a served page."""

    def __init__(self, url: str) -> None:
        port, self.token = re.search(r":(\d+)/\?token=(.+)", url).groups()  # type: ignore[union-attr] # else the test fails
        self.origin = f"http://127.0.0.1:{port}"
        self.cookie = f"diorama_{port}={self.token}"
        self._stack = contextlib.ExitStack()
        cookie = {"Cookie": self.cookie}
        self._wire: ClientConnection = self._stack.enter_context(
            connect(f"ws://127.0.0.1:{port}/socket", origin=self.origin, additional_headers=cookie, max_size=None)
        )
        self.frames: list[tuple[int, int, bytes]] = []
        self.hello = self.next("hello")

    def send(self, **message: Any) -> None:
        """Say something."""
        self._wire.send(json.dumps(message))

    def send_text(self, text: str) -> None:
        """Say anything."""
        self._wire.send(text)

    def next(self, *events: str, **wanted: Any) -> dict[str, Any]:
        """The next event of some kinds; frames that come meanwhile are kept and acknowledged."""
        while True:
            got = self._wire.recv(timeout=120)
            if isinstance(got, bytes):
                channel, sequence = struct.unpack("<II", got[:8])
                self.frames.append((channel, sequence, got[8:]))
                self.send(do="ack", channel=channel, sequence=sequence)
                continue
            event: dict[str, Any] = json.loads(got)
            if event["event"] in events and all(event.get(name) == value for name, value in wanted.items()):
                return event

    def show(self, channel: int, run: str, view: str, **more: Any) -> dict[str, Any]:
        """Look, and wait until it ends."""
        request = {"run": run, "step": None, "view": view, "knobs": {}, "selection": "", "edits": [], "input": None}
        self.send(do="show", channel=channel, request={**request, **more})
        return self.next("done", "error", channel=channel)

    def close(self) -> None:
        """Hang up."""
        self._stack.close()


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

    import diorama

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
