"""The guard: refuses everything that did not come from the page that the printed address opened.

It stands in front of every route and the socket, and denies by default. A request passes when its Host is exactly the
address that is served, its Origin is that address (or absent on a plain page load), and no other site sent it. A cookie
goes to every port of a host, so the one that is set opens the page's files alone; what looks or acts (the socket, an
export) asks for the token itself, which the page took from the printed address and keeps in its own origin's storage.
Every answer, refusals included, carries the content policy.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

from .doors import Doors

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "font-src 'self'",
    "connect-src 'self'", "worker-src 'self'", "media-src 'self' blob:", "base-uri 'none'", "form-action 'none'",
    "frame-ancestors 'none'",
))
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"x-frame-options", b"DENY"),
)
LONGEST_BODY = 24_000_000
"""Bytes of a request's body: a large photograph, encoded."""
_TOO_LONG = f"A request may carry {LONGEST_BODY // 1_000_000} MB."
LONGEST_TARGET = 4096
"""Bytes of a request's path and query."""
TALK = "diorama"
"""What the page calls the talk on the socket; beside it among the protocols that it offers stands the token."""
TOKEN = b"x-diorama-token"
"""The header in which other requests carry it."""

Scope = dict[str, Any]


class Refused(Exception):  # noqa: N818 - what happens to the request, not a fault
    """A request that does not pass; ``text`` is what its sender reads."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Guard:
    """Middleware below every route and the socket."""

    def __init__(self, app: Any, *, port: int, host: str = "127.0.0.1", token: str | None = None) -> None:
        self.app, self.port = app, port
        self.token = token or secrets.token_urlsafe(32)
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
        self.hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
        self.cookie = f"diorama_{port}"
        self.badge = hashlib.blake2b(b"the page's files", key=self.token.encode()[:64], digest_size=24).hexdigest()
        """The cookie's value: opens the page's files, and does not tell the token."""
        self.doors = Doors()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            return
        try:
            answer = self._judge(scope)
        except Refused as refused:
            await _answer(scope, send, refused.status, _page(refused.text))
            return
        if isinstance(answer, bytes):
            await _answer(scope, send, 200, answer)
            return
        client = scope.get("client")
        self.doors.admit(client)
        scope = {**scope, "diorama.hang_up": lambda: self.doors.hang_up(client)}
        await self.app(scope, _limited(scope, receive), _stamped(send, answer))

    def _judge(self, scope: Scope) -> bytes | list[tuple[bytes, bytes]]:
        """Headers for its answer let it through; a page is answered at once; Refused says why not."""
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        plain = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_TARGET:
            raise Refused(414, "This address is too long.")
        length = _only(headers, b"content-length") or "0"
        if not length.isdigit() or int(length) > LONGEST_BODY:
            raise Refused(413, _TOO_LONG)
        host = _only(headers, b"host")
        if host not in self.hosts:
            raise Refused(403, "This server only answers at the address that it printed.")
        origin = _only(headers, b"origin")
        if not (origin == f"http://{host}" or (origin is None and plain)):
            raise Refused(403, "This request came from another page.")
        given = _query_token(scope)
        entry = plain and scope["path"] == "/"
        site = _only(headers, b"sec-fetch-site")
        foreign = site not in (None, "same-origin", "none")
        if foreign and not (entry and given is not None and _is_navigation(headers)):
            raise Refused(403, "This request came from another site.")
        if entry and given is not None:
            return self._enter(given, foreign)
        if plain:
            known = any(_same(badge, self.badge) for badge in self._cookies(headers))
        elif scope["type"] == "websocket":
            known = _same(_talked(headers), self.token)
        else:
            known = _same(_only(headers, TOKEN) or "", self.token)
        if not known:
            text = "Open the address that <code>diorama serve</code> printed: it carries the token that lets you in."
            raise Refused(401, text)
        return []

    def _enter(self, given: str, foreign: bool) -> bytes | list[tuple[bytes, bytes]]:
        """Set the cookie with the page; from another site by a page between, or the cookie stays behind."""
        if not _same(given, self.token):
            raise Refused(401, "This token is not the one of this server; open the address that it printed last.")
        if foreign:
            onward = f"/?token={self.token}"
            return _page(f'Opening … <a href="{onward}">go on</a>', f'<meta http-equiv="refresh" content="0;url={onward}">')
        return [(b"set-cookie", f"{self.cookie}={self.badge}; Path=/; HttpOnly; SameSite=Strict".encode())]

    def _cookies(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        found = []
        for name, value in headers:
            if name == b"cookie":
                try:
                    jar = SimpleCookie(value.decode("latin-1"))
                except CookieError:
                    continue
                if self.cookie in jar:
                    found.append(jar[self.cookie].value)
        return found


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _talked(headers: list[tuple[bytes, bytes]]) -> str:
    """The token among the protocols that the page offers for the socket; empty without one."""
    offered = [part.strip() for part in (_only(headers, b"sec-websocket-protocol") or "").split(",")]
    return offered[1] if len(offered) == 2 and offered[0] == TALK else ""


def _only(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The header's value; twice the same header is nobody's browser."""
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise Refused(400, "A header came twice.")
    return values[0].decode("latin-1") if values else None


def _query_token(scope: Scope) -> str | None:
    try:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refused(400, "This address has too many parts.") from None
    return next((value for name, value in pairs if name == "token"), None)


def _is_navigation(headers: list[tuple[bytes, bytes]]) -> bool:
    return _only(headers, b"sec-fetch-mode") == "navigate" and _only(headers, b"sec-fetch-dest") == "document"


def _stamped(send: Any, more: list[tuple[bytes, bytes]]) -> Any:
    """Add the policy, and what the guard has to say, to every answer, whatever the route set."""

    async def stamped(message: dict[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            ours = {name for name, _ in HEADERS}
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
            if not any(name.lower() == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*kept, *more, *HEADERS]}
        await send(message)

    return stamped


def _limited(scope: Scope, receive: Any) -> Any:
    """Stop reading a body that is longer than anything the page sends."""
    if scope["type"] != "http":
        return receive
    read = 0

    async def limited() -> dict[str, Any]:
        nonlocal read
        message: dict[str, Any] = await receive()
        read += len(message.get("body", b""))
        if read > LONGEST_BODY:
            raise HTTPException(413, _TOO_LONG)
        return message

    return limited


def _page(text: str, head: str = "") -> bytes:
    title = "<title>diorama</title>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{title}{head}</head>'
        f"<body><main><h1>diorama</h1><p>{text}</p></main></body></html>"
    ).encode()


async def _answer(
    scope: Scope, send: Any, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer a request, or refuse a socket before it opens."""
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        start, content = "websocket.http.response.start", "websocket.http.response.body"
    else:
        start, content = "http.response.start", "http.response.body"
    everything = [
        *headers, (b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()), *HEADERS,
    ]
    await send({"type": start, "status": status, "headers": everything})
    await send({"type": content, "body": b"" if scope.get("method") == "HEAD" else body})
