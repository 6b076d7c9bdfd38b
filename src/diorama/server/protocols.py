"""uvicorn's two protocols: with the content policy also on what they answer before a request reaches the guard, and every
connection told to the guard's doors."""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .doors import Doors
from .guard import HEADERS


def _doors(config: Any) -> Doors:
    """The doors of the guard that is served."""
    doors: Doors = config.app.doors
    return doors


class GuardedHttp(H11Protocol):
    """HTTP; a request that is not even HTTP is refused with the policy too."""

    def connection_made(self, transport: Any) -> None:
        """A connection came: it has a moment to show what lets it in."""
        super().connection_made(transport)
        _doors(self.config).arrive(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended."""
        _doors(self.config).leave(self.transport)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read."""
        text = b"This is not a request that a browser sends."
        length = (b"content-length", str(len(text)).encode())
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), length, *HEADERS]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class GuardedSocket(WebSocketsSansIOProtocol):
    """WebSocket; a handshake that is none is refused with the policy too."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        accept = self.conn.accept

        def guarded(request: Any) -> Any:
            response = accept(request)
            if response.status_code != 101:
                for name, value in HEADERS:
                    response.headers[name.decode()] = value.decode()
            return response

        self.conn.accept = guarded  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended."""
        _doors(self.config).leave(self.transport)
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """Nobody answers: what waits to be sent would wait for ever."""
        super().keepalive_timeout()
        self.transport.abort()
