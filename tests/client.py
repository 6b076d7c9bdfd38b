"""A client that talks to the socket as the page does."""

from __future__ import annotations

import contextlib
import json
import re
import struct
from typing import Any

from websockets.sync.client import ClientConnection, connect


class Client:
    """One connection to a served page."""

    def __init__(self, url: str) -> None:
        port, self.token = re.search(r":(\d+)/\?token=(.+)", url).groups()  # type: ignore[union-attr] # else the test fails
        self.origin = f"http://127.0.0.1:{port}"
        self._stack = contextlib.ExitStack()
        self._wire: ClientConnection = self._stack.enter_context(
            connect(f"ws://127.0.0.1:{port}/socket", origin=self.origin, subprotocols=["diorama", self.token], max_size=None)
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
