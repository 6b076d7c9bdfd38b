"""The one WebSocket: text both ways, frames to the page; everything that is said on it is decided in ``live``."""

from __future__ import annotations

import asyncio
import contextlib
import struct

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..core.errors import DioramaError
from ..core.protocol import FromServer
from ..live.hub import Hub
from ..live.session import Session
from ..live.wire import encoded

LONGEST_MESSAGE = 24_000_000
"""Bytes of one message from the page: a large photograph, encoded."""
_MOST_CONNECTIONS = 24
_MOST_WAITING = 4000
_HEAD = struct.Struct("<II")


class Socket:
    """Opens a session for each connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._count = 0

    async def talk(self, socket: WebSocket) -> None:
        """Serve one connection until it ends."""
        await socket.accept()
        if self._count >= _MOST_CONNECTIONS:
            await socket.close(1013, f"{_MOST_CONNECTIONS} pages are open; close one")
            return
        self._count += 1
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | bytes | None]()

        def put(message: str | bytes) -> None:
            """May be called from any thread."""
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(queue.put_nowait, message)

        def send(event: FromServer) -> None:
            put(encoded(event).decode())

        def send_frame(channel: int, sequence: int, frame: bytes) -> None:
            put(_HEAD.pack(channel, sequence) + frame)

        session = Session(self._hub, send, send_frame)
        sender = asyncio.create_task(_send_all(socket, queue))
        try:
            await self._listen(socket, session, sender)
        finally:
            self._count -= 1
            sender.cancel()
            await asyncio.to_thread(session.close)

    async def _listen(self, socket: WebSocket, session: Session, sender: asyncio.Task[None]) -> None:
        try:
            await asyncio.to_thread(session.open)
            while not sender.done():
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await asyncio.to_thread(session.receive, message.get("text") or message.get("bytes") or "")
        except DioramaError as error:
            await socket.close(1011, str(error)[:120])
        except WebSocketDisconnect:
            return


async def _send_all(socket: WebSocket, queue: asyncio.Queue[str | bytes | None]) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while (message := await queue.get()) is not None:
            if queue.qsize() > _MOST_WAITING:  # nobody reads any more
                await socket.close(1008, "this page no longer reads what it asked for")
                return
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
