"""The one WebSocket: text both ways, frames to the page; everything that is said on it is decided in ``live``."""

from __future__ import annotations

import asyncio
import contextlib
import struct

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..core.errors import DioramaError
from ..core.patience import PATIENCE
from ..core.protocol import FromServer
from ..live.hub import Hub
from ..live.session import Session
from ..live.wire import encoded
from .guard import TALK

_MOST_CONNECTIONS = 24
MOST_WAITING = 64_000_000
"""Bytes that may wait to be sent to one page, besides a message that is larger."""
_HEAD = struct.Struct("<II")


class Socket:
    """Opens a session for each connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._count = 0

    async def talk(self, socket: WebSocket) -> None:
        """Serve one connection until it ends."""
        await socket.accept(TALK)
        if self._count >= _MOST_CONNECTIONS:
            await socket.close(1013, f"{_MOST_CONNECTIONS} pages are open; close one")
            return
        self._count += 1
        outgoing = SendQueue(socket)
        put = outgoing.put

        def send(event: FromServer) -> None:
            put(encoded(event).decode())

        def send_frame(channel: int, sequence: int, frame: bytes) -> None:
            put(_HEAD.pack(channel, sequence) + frame)

        session = Session(self._hub, send, send_frame)
        sender = asyncio.create_task(outgoing.send())
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


class SendQueue:
    """What waits to be sent on one connection: bounded, and given up when nobody takes it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket, self._loop = socket, asyncio.get_running_loop()
        self._queue = asyncio.Queue[str | bytes]()
        self._waiting = 0

    def put(self, message: str | bytes) -> None:
        """Send a message after those before it; may be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._add, message)

    def _add(self, message: str | bytes) -> None:
        if self._waiting > MOST_WAITING:
            self._hang_up()  # nobody reads any more
            return
        self._waiting += len(message)
        self._queue.put_nowait(message)

    async def send(self) -> None:
        """Send what comes, until the connection ends."""
        socket = self._socket
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await self._queue.get()
                try:
                    async with asyncio.timeout(PATIENCE.taking):
                        await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
                except TimeoutError:
                    self._hang_up()
                    return
                self._waiting -= len(message)

    def _hang_up(self) -> None:
        """End the connection without waiting for what cannot be sent; the page comes back by itself."""
        self._socket.scope.get("diorama.hang_up", lambda: None)()
