"""A small server that speaks the page's protocol with made-up pictures: for states that a real training reaches rarely.

Run ``python tests/web/page/fake_server.py --port 8123`` to look at the page without a training.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fake_run import COMMANDS, ROOMS, VIEWS, Training, picture
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

STATIC = Path(__file__).resolve().parents[3] / "src" / "diorama" / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server:
    """The fake server on a free port, in a thread of its own."""

    def __init__(self, port: int = 0, training: Training | None = None, static: Path = STATIC) -> None:
        self.training, self.static = training or Training(), static
        self.violations: list[str] = []
        self.preparing = False
        """Whether the list of views is still being made, as on the very first start."""
        self._sockets: set[WebSocket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        routes = [
            Route("/", self._index),
            Route("/export", self._export, methods=["POST"]),
            WebSocketRoute("/socket", self._socket),
            Mount("/", StaticFiles(directory=static)),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", ws="websockets-sansio", lifespan="off")
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve([self._listener]))

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._listener.close()

    async def _index(self, request: Any) -> Response:
        return FileResponse(
            self.static / "index.html", headers={"Content-Security-Policy": CSP, "Cache-Control": "no-store"}
        )

    async def _export(self, request: Any) -> Response:
        wanted = await request.json()
        if wanted["suffix"] == "pdf":
            return Response(json.dumps({"message": "no printer here; save a svg"}), 422, media_type="application/json")
        return Response(json.dumps(wanted["request"]), media_type="application/octet-stream")

    def asked(self, view: str) -> list[dict[str, Any]]:
        """What pages have asked of a view so far."""
        return [request for request in self.training.requests if request["view"] == view]

    def push(self) -> None:
        """Tell every page the state again."""
        assert self._loop is not None
        for ws in list(self._sockets):
            asyncio.run_coroutine_threadsafe(self._tell(ws), self._loop).result(5)

    def cut(self) -> None:
        """Close every connection, as a lost network does."""
        assert self._loop is not None
        for ws in list(self._sockets):
            asyncio.run_coroutine_threadsafe(ws.close(1012), self._loop).result(5)

    async def _tell(self, ws: WebSocket) -> None:
        await ws.send_json({"event": "runs", "runs": self.training.runs})
        for run in self.training.runs:
            await ws.send_json({"event": "run", "run": run["name"], "state": self.training.state()})

    async def _socket(self, ws: WebSocket) -> None:
        await ws.accept()
        self._sockets.add(ws)
        hello = {
            "event": "hello",
            "version": "0",
            "runs": self.training.runs,
            "rooms": ROOMS,
            "views": VIEWS,
            "commands": COMMANDS,
            "methods": [],
            "demos": [],
            "savers": [{"name": name, "title": name.title(), "sentence": "Numbers with words beside.", "knobs": []} for name in ("png", "md")],
            "glossary": {"filter": "a small picture that a unit looks for", "batch": "some examples"},
        }
        if self.preparing:
            told = {"event": "preparing", "done": 40, "total": 80, "note": "reading the views"}
            await ws.send_json(told)
            while self.preparing:  # noqa: ASYNC110 - the test's thread ends it
                await asyncio.sleep(0.05)
        await ws.send_json(hello)
        jobs: dict[int, asyncio.Task[None]] = {}
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await ws.receive_json()
                await self._answer(ws, message, jobs)
        self._sockets.discard(ws)
        for job in jobs.values():
            job.cancel()

    async def _answer(self, ws: WebSocket, message: dict[str, Any], jobs: dict[int, asyncio.Task[None]]) -> None:
        training = self.training
        match message["do"]:
            case "follow":
                await ws.send_json({"event": "run", "run": message["run"], "state": training.state()})
            case "show":
                channel = message["channel"]
                if channel in jobs:
                    jobs[channel].cancel()
                training.requests.append(message["request"])
                jobs[channel] = asyncio.create_task(self._show(ws, channel, message["request"]))
            case "hide" | "cancel":
                if message["channel"] in jobs:
                    jobs.pop(message["channel"]).cancel()
            case "command":
                training.commands.append((message["name"], message["knobs"]))
                ok = message["name"] != "snapshot"
                if message["name"] in ("pause", "resume"):
                    training.paused = message["name"] == "pause"
                said = f"{message['name']} at step {training.last}" if ok else "the disk is full; free some space"
                new = {"run": training.child} if message["name"] in ("branch", "twin") else {}
                await ws.send_json({"event": "command", "id": message["id"], "ok": ok, "message": said, **new})
                await self._tell(ws)
            case "keep":
                name = f"@{len(training.kept)}abc"
                training.kept[name] = message["text"]
                await ws.send_json({"event": "kept", "id": message["id"], "name": name})
            case "recall":
                text = training.kept.get(message["name"], "")
                await ws.send_json({"event": "recalled", "id": message["id"], "text": text})

    async def _show(self, ws: WebSocket, channel: int, request: dict[str, Any]) -> None:
        await ws.send_json({"event": "busy", "channel": channel})
        if request["view"] == "broken":
            message = "no layer named 'conv9' among the model's 3; nearest: 'conv3'"
            await ws.send_json({"event": "error", "channel": channel, "kind": "NotFound", "message": message})
            return
        if request["view"] == "slow":
            for done in range(100):
                left = {"done": done, "total": 100, "note": "256 forward passes", "seconds": 60 - done * 0.6}
                await ws.send_json({"event": "progress", "channel": channel, **left})
                await asyncio.sleep(0.3)
            return
        await asyncio.sleep(self.training.slow.get(request["view"], 0))
        data = await asyncio.to_thread(lambda: picture(self.training, request).to_bytes())
        await ws.send_bytes(struct.pack("<II", channel, 0) + data)
        await ws.send_json({"event": "done", "channel": channel, "seconds": 0.01})


if __name__ == "__main__":
    import argparse
    import time

    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--static", type=Path, default=STATIC)
    given = arguments.parse_args()
    with Server(given.port, static=given.static) as server:
        print(server.url, flush=True)
        while True:
            time.sleep(5)
