"""The routes: the page, its assets, and pictures saved as files. The guard stands in front of all of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from ..core.errors import DioramaError, UsageError
from ..core.request import Request
from ..live.hub import Hub
from .guard import Guard
from .socket import Socket

STATIC = Path(__file__).parents[1] / "static"
_TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".png": "image/png",
    ".json": "application/json", ".wasm": "application/wasm", ".html": "text/html", ".map": "application/json",
}
_SAVED = {
    "png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf", "html": "text/html",
    "json": "application/json", "npz": "application/octet-stream", "mp4": "video/mp4", "gif": "image/gif",
}
_FOREVER = "private, max-age=31536000, immutable"


class Pages:
    """The built page's files, by their exact names: no other path reaches the disk."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._assets: dict[str, str] = {}

    async def page(self, request: WebRequest) -> Response:
        """The page itself."""
        index = self._folder / "index.html"
        if not index.is_file():
            text = "The page has not been built: run `make page` in the checkout, or install diorama from its wheel."
            return Response(text, 503, media_type="text/plain")
        return FileResponse(index, media_type="text/html", headers={"cache-control": "no-store"})

    async def asset(self, request: WebRequest) -> Response:
        """A script, style or font of the page; their names change with their content."""
        name = request.path_params["name"]
        if name not in self._assets:
            self._assets = self._listed()
        if name not in self._assets:
            return Response("There is no such file.", 404, media_type="text/plain")
        path = self._assets[name]
        kind = _TYPES.get(os.path.splitext(path)[1], "application/octet-stream")
        return FileResponse(path, media_type=kind, headers={"cache-control": _FOREVER})

    def _listed(self) -> dict[str, str]:
        root = self._folder / "assets"
        return {path.relative_to(root).as_posix(): str(path) for path in root.rglob("*") if path.is_file()}


class Export:
    """Saves what a channel shows as a file: POST ``{"request": …, "suffix": "png"}``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def save(self, request: WebRequest) -> Response:
        """Answer with the file, or with one sentence why there is none."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refusal("UsageError", "an export is asked for in JSON", 415)
        try:
            asked = msgspec.json.decode(await request.body())
            if not isinstance(asked, dict) or not isinstance(asked.get("suffix"), str):
                raise UsageError("an export names its 'request' and a 'suffix' such as png")
            look = await asyncio.to_thread(self._hub.resolve, Request.parse(asked.get("request")))
            body, title = await self._run(look, asked["suffix"].lower(), _options(asked))
        except msgspec.DecodeError as error:
            return _refusal("UsageError", f"this is not JSON: {error}", 400)
        except _Failed as failed:
            return _refusal(failed.kind, str(failed), 422)
        except DioramaError as error:
            return _refusal(type(error).__name__, str(error), 400)
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in title).strip("-") or "picture"
        saved = f'attachment; filename="{name[:80]}.{asked["suffix"].lower()}"'
        return Response(body, media_type=_SAVED.get(asked["suffix"].lower()), headers={"content-disposition": saved})

    async def changes(self, request: WebRequest) -> Response:
        """Answer with what was changed in a run's data, POST ``{"run": …}``, as the file that ``diorama.data(changes=)`` reads."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refusal("UsageError", "changes are asked for in JSON", 415)
        try:
            asked = msgspec.json.decode(await request.body())
            if not isinstance(asked, dict) or not isinstance(asked.get("run"), str):
                raise UsageError("changes are those of a 'run'")
            body = await asyncio.to_thread(self._hub.changes, asked["run"])
        except msgspec.DecodeError as error:
            return _refusal("UsageError", f"this is not JSON: {error}", 400)
        except DioramaError as error:
            return _refusal(type(error).__name__, str(error), 400)
        return Response(body, media_type="text/csv", headers={"content-disposition": 'attachment; filename="changes.csv"'})

    async def _run(self, look: Request, suffix: str, options: dict[str, Any]) -> tuple[bytes, str]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[bytes, str]] = loop.create_future()
        file: list[bytes] = []

        def settle(set_it: Any, value: Any) -> None:
            loop.call_soon_threadsafe(lambda: None if ended.done() else set_it(value))

        job = self._hub.export(look, suffix, options, {
            "on_picture": file.append,
            "on_done": lambda result, _: settle(ended.set_result, (file[-1], str(result.get("title", look.view)))),
            "on_error": lambda kind, message: settle(ended.set_exception, _Failed(kind, message)),
        })
        try:
            return await ended
        except asyncio.CancelledError:
            job.cancel()
            raise


class _Failed(Exception):  # noqa: N818 - what happened to the job, not a fault of ours
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _options(asked: dict[str, Any]) -> dict[str, Any]:
    options = asked.get("options", {})
    if not isinstance(options, dict):
        raise UsageError(f"options are an object, got {type(options).__name__}")
    return options


def _refusal(kind: str, message: str, status: int) -> Response:
    return JSONResponse({"kind": kind, "message": message}, status)


def routes(hub: Hub, static: Path = STATIC) -> list[Route | WebSocketRoute]:
    """Every route there is."""
    pages, export = Pages(static), Export(hub)
    return [
        Route("/", pages.page, methods=["GET"]),
        Route("/assets/{name:path}", pages.asset, methods=["GET"]),
        Route("/export", export.save, methods=["POST"]),
        Route("/changes", export.changes, methods=["POST"]),
        WebSocketRoute("/socket", Socket(hub).talk),
    ]


def make_app(hub: Hub, *, port: int, host: str = "127.0.0.1", token: str | None = None, static: Path = STATIC) -> Guard:
    """The whole application, behind its guard."""
    return Guard(Starlette(routes=routes(hub, static)), port=port, host=host, token=token)
