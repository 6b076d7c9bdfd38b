"""Who stands at the door: connections that have shown nothing yet are few and short, and any one can be hung up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from ..core.patience import PATIENCE

MOST = 64
"""Connections that may wait to show what lets them in; one more, and the oldest goes."""

Client = tuple[str, int]


class Doors:
    """The open connections by their address, and which of them no request of has passed the guard yet."""

    def __init__(self) -> None:
        self._open: dict[Client, asyncio.Transport] = {}
        self._waiting: OrderedDict[Client, asyncio.TimerHandle] = OrderedDict()

    def arrive(self, transport: Any) -> None:
        """A connection came."""
        client = _client(transport)
        if client is None:
            return
        self._open[client] = transport
        self._waiting[client] = asyncio.get_running_loop().call_later(PATIENCE.door, self.hang_up, client, transport)
        while len(self._waiting) > MOST:
            self.hang_up(next(iter(self._waiting)))

    def admit(self, client: Any) -> None:
        """A request of it passed the guard."""
        waiting = self._waiting.pop(tuple(client or ()), None)
        if waiting is not None:
            waiting.cancel()

    def leave(self, transport: Any) -> None:
        """A connection ended."""
        client = _client(transport)
        if client is not None and self._open.get(client) is transport:
            self.admit(client)
            del self._open[client]

    def hang_up(self, client: Any, only: Any = None) -> None:
        """End a connection at once, with all that still waits to be sent on it."""
        transport = self._open.get(tuple(client or ()))
        if transport is not None and only in (None, transport):
            self.admit(client)
            transport.abort()


def _client(transport: Any) -> Client | None:
    found = transport.get_extra_info("peername")
    return (str(found[0]), int(found[1])) if isinstance(found, tuple | list) and len(found) > 1 else None
