"""The guard: strangers are refused at every route and at the socket, and nothing changes by their asking."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.routing import Route

from diorama.core.patience import Patience
from diorama.server import doors
from diorama.server.app import make_app, routes
from diorama.server.guard import LONGEST_BODY, POLICY, Guard
from diorama.server.protocols import GuardedHttp, GuardedSocket

PORT = 8123
TOKEN = "the-right-token"
OURS = f"127.0.0.1:{PORT}"
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
TABLE = {
    ("/", "GET"): "/",
    ("/assets/{name:path}", "GET"): "/assets/index.js",
    ("/export", "POST"): "/export",
    ("/changes", "POST"): "/changes",
    ("/socket", "WEBSOCKET"): "/socket",
}
"""Every route, and an address of it. A route that is not in here has not been thought about."""

BADGE = Guard(None, port=PORT, token=TOKEN).badge
KNOWN = {
    "GET": {"cookie": f"diorama_{PORT}={BADGE}"}, "POST": {"x-diorama-token": TOKEN},
    "WEBSOCKET": {"sec-websocket-protocol": f"diorama, {TOKEN}"},
}
"""What lets the page in: the cookie to its files, the token itself to all that looks or acts."""

HOSTS = [
    "evil.com", f"evil.com:{PORT}", "evil.com:80", "", " ", f" {OURS}", f"{OURS} ", f"{OURS}.", "127.0.0.1",
    "localhost", "127.0.0.1:80", f"127.0.0.1:{PORT}0", f"127.0.0.1:0{PORT}", f"127.0.0.1.:{PORT}", f"127.1:{PORT}",
    f"127.0.1:{PORT}",
    f"2130706433:{PORT}", f"0x7f000001:{PORT}", f"0x7f.0.0.1:{PORT}", f"0177.0.0.1:{PORT}", f"127.0.0.01:{PORT}",
    f"127.0.0.2:{PORT}", f"0.0.0.0:{PORT}", f"[::]:{PORT}", "[::1]", f"[::1:{PORT}", f"::1:{PORT}",
    f"[0:0:0:0:0:0:0:1]:{PORT}", f"[::ffff:127.0.0.1]:{PORT}", f"localhost.evil.com:{PORT}", f"{OURS}.evil.com",
    f"{OURS}@evil.com", f"evil.com@{OURS}", f"user:pass@{OURS}", f"127.0.0.1.nip.io:{PORT}", f"localhost.:{PORT}",
    f"localhost:{PORT}#", f"localhost:{PORT}/", f"http://{OURS}", f"{OURS},evil.com", f"LOCALHOST:{PORT}", "null",
    f"\xb9127.0.0.1:{PORT}", f"127.0.0.1%00:{PORT}",
]
ORIGINS = [
    "null", "http://evil.com", f"https://{OURS}", "http://127.0.0.1", "http://127.0.0.1:80", f"http://{OURS}.evil.com",
    "",    f"http://localhost:{PORT}", f"http://{OURS}/", f"HTTP://{OURS}", "file://", f"http://{OURS} http://evil.com",
    "chrome-extension://abc",
]


class Untouched:
    """A hub that nobody may reach."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a stranger reached the hub's {name}")


@pytest.fixture
def app(tmp_path: Path) -> Guard:
    """The application over a page of two files."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>the page")
    (tmp_path / "assets" / "index.js").write_text("1")
    (tmp_path.parent / "secret.txt").write_text("root:")
    return make_app(Untouched(), port=PORT, token=TOKEN, static=tmp_path)  # type: ignore[arg-type]


class Answer:
    """What came back."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start = next((m for m in messages if m["type"].endswith("response.start")), None)
        self.opened = any(m["type"] == "websocket.accept" for m in messages)
        self.status = 101 if self.opened else start["status"] if start else 403
        sent = messages[0]["headers"] if self.opened else start["headers"] if start else []
        self.headers = {name.decode().lower(): value.decode() for name, value in sent}
        self.body = b"".join(m.get("body", b"") for m in messages)


def ask(app: Any, path: str = "/", method: str = "GET", query: str = "", body: bytes = b"", **given: Any) -> Answer:
    """Send one request as a browser at our own address would; ``given`` replaces headers, None leaves one out."""
    origin = None if method == "GET" else f"http://{OURS}"
    wanted = {"host": OURS, "origin": origin, "content-type": "application/json", **KNOWN[method if method in KNOWN else "GET"]}
    wanted |= {name.replace("_", "-"): value for name, value in given.items()}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in wanted.items() if value is not None]
    is_socket = method == "WEBSOCKET"
    scope = {
        "type": "websocket" if is_socket else "http", "path": path, "raw_path": path.encode(), "headers": headers,
        "query_string": query.encode(), "http_version": "1.1", "root_path": "", "server": ("127.0.0.1", PORT),
        "client": ("127.0.0.1", 5), "subprotocols": [], "scheme": "ws" if is_socket else "http",
        "extensions": {"websocket.http.response": {}}, **({} if is_socket else {"method": method}),
    }
    sent: list[dict[str, Any]] = []
    incoming = [
        {"type": "websocket.connect"} if is_socket else {"type": "http.request", "body": body, "more_body": False}
    ]

    async def receive() -> dict[str, Any]:
        if not incoming:
            await asyncio.Event().wait()  # the browser waits for its answer
        return incoming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return Answer(sent)


def refused(answer: Answer) -> None:
    """It was refused, with the policy."""
    assert 400 <= answer.status < 500, answer.status
    assert not answer.opened
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


def test_every_route_is_in_the_table() -> None:
    """A new route must be entered in this test's table, and so be walked by it."""
    found = set()
    for route in routes(Untouched()):  # type: ignore[arg-type]
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"WEBSOCKET"}
        found |= {(route.path, method) for method in methods}
    assert found == set(TABLE)


WALK = pytest.mark.parametrize(
    ("method", "path"), [(key[1], path) for key, path in TABLE.items()], ids=list(TABLE.values())
)


@WALK
def test_without_the_token_nothing_answers(app: Guard, method: str, path: str) -> None:
    """No token, a wrong one, a shortened or lengthened one, another port's cookie: refused."""
    own = KNOWN[method]
    (name, right), known = next(iter(own.items())), BADGE if method == "GET" else TOKEN
    wrong = ("", "wrong", known[:-1], f"{known}x", f"{known}, {known}", "\xff=\xfe", "\xe9")
    for value in (None, "", *(right.replace(known, each) for each in wrong), known if method != "POST" else f"={known}"):
        refused(ask(app, path, method, **{name: value}))
    if method == "GET":
        for value in (f"diorama_1={BADGE}", f"diorama_{PORT}x={BADGE}"):
            refused(ask(app, path, method, cookie=value))
    if path != "/":
        refused(ask(app, path, method, **{name: None}, query=f"token={TOKEN}"))
    refused(ask(app, path, method, **{name: None}, query="token=wrong"))


def test_the_cookie_opens_only_the_pages_files(app: Guard) -> None:
    """A cookie goes to every port of a host: who reads it there can neither look nor act here, nor learn the token."""
    stolen = {"cookie": f"diorama_{PORT}={BADGE}"}
    refused(ask(app, "/export", "POST", **stolen, x_diorama_token=None))
    refused(ask(app, "/export", "POST", **stolen, x_diorama_token=BADGE))
    refused(ask(app, "/socket", "WEBSOCKET", **stolen, sec_websocket_protocol=None))
    refused(ask(app, "/socket", "WEBSOCKET", **stolen, sec_websocket_protocol=f"diorama, {BADGE}"))
    refused(ask(app, "/", cookie=f"diorama_{PORT}={TOKEN}"))
    assert TOKEN not in BADGE


@WALK
def test_foreign_hosts_are_refused(app: Guard, method: str, path: str) -> None:
    """Forty spellings of a host that is not exactly ours are refused, also with the right token."""
    assert len(set(HOSTS)) >= 40
    for host in [*HOSTS, None]:
        refused(ask(app, path, method, host=host))
        refused(ask(app, path, method, host=host, origin=f"http://{host}" if host else None, query=f"token={TOKEN}"))


@WALK
def test_foreign_origins_are_refused(app: Guard, method: str, path: str) -> None:
    """A foreign or null origin is refused, and a missing one wherever a browser sends one."""
    for origin in ORIGINS:
        refused(ask(app, path, method, origin=origin))
    if method != "GET":
        refused(ask(app, path, method, origin=None))


@WALK
def test_cross_site_requests_are_refused(app: Guard, method: str, path: str) -> None:
    """What another site sends is refused, even with the cookie."""
    for site in ("cross-site", "same-site", "nonsense"):
        refused(ask(app, path, method, sec_fetch_site=site))
        refused(ask(app, path, method, sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="document"))
        refused(ask(app, path, method, sec_fetch_site=site, sec_fetch_mode="no-cors", query=f"token={TOKEN}"))
        refused(ask(app, path, method, sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="iframe",
                    query=f"token={TOKEN}"))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD", "POST"])
def test_other_methods_change_nothing(app: Guard, method: str) -> None:
    """Only the methods of the table reach a route, whoever asks."""
    for path in ("/", "/export", "/socket", "/assets/index.js"):
        if (path, method) != ("/export", "POST"):
            answer = ask(app, path, method)
            assert answer.status >= 400 or method == "HEAD"
            assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("host", [OURS, f"localhost:{PORT}", f"[::1]:{PORT}"])
def test_our_own_page_passes(app: Guard, host: str) -> None:
    """The page and its assets are served to who has the cookie, with the policy, by each name of this machine."""
    page = ask(app, host=host, sec_fetch_site="none")
    assert (page.status, page.body) == (200, b"<!doctype html>the page")
    assert page.headers["content-security-policy"] == POLICY
    assert page.headers["cache-control"] == "no-store"
    script = ask(app, "/assets/index.js", host=host, sec_fetch_site="same-origin")
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    for name, value in SAFE.items():
        assert page.headers[name] == script.headers[name] == value
    opened = ask(app, "/export", "POST", host=host, origin=f"http://{host}", body=b"{", sec_fetch_site="same-origin")
    assert opened.status == 400, "it reached the route, which refused the body"


def test_the_printed_address_opens_the_page(app: Guard) -> None:
    """It sets a cookie that scripts cannot read, other sites cannot use, and that does not tell the token."""
    answer = ask(app, query=f"token={TOKEN}", cookie=None, sec_fetch_site="none")
    assert (answer.status, answer.body) == (200, b"<!doctype html>the page")
    assert answer.headers["set-cookie"] == f"diorama_{PORT}={BADGE}; Path=/; HttpOnly; SameSite=Strict"
    assert answer.headers["cache-control"] == "no-store"


def test_a_link_on_another_page_works_with_the_token(app: Guard) -> None:
    """A top-level link with the right token enters by a page of ours, so that the cookie goes with the next request."""
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    answer = ask(app, query=f"token={TOKEN}", cookie=None, **link)
    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    assert f'url=/?token={TOKEN}"'.encode() in answer.body
    refused(ask(app, query="token=wrong", cookie=None, **link))


def test_the_stranger_reads_plain_words(app: Guard) -> None:
    """Who opens the page without the token is told in plain words what to open."""
    answer = ask(app, cookie=None)
    assert answer.status == 401
    assert b"diorama serve" in answer.body
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    ["/assets/../../secret.txt", "/assets/..%2f..%2fsecret.txt", "/assets//etc/passwd", "/../secret.txt",
     "/%2e%2e/secret.txt", "/assets/....//secret.txt", "/assets/..\\..\\secret.txt", "/secret.txt", "/assets/\0",
     "/assets/", "/static/x", "//"],
)
def test_paths_outside_are_not_there(app: Guard, path: str) -> None:
    """No path reaches a file that is not one of the page's own."""
    answer = ask(app, path)
    assert answer.status in (404, 405)
    assert b"root:" not in answer.body
    assert answer.headers["content-security-policy"] == POLICY


def test_long_requests_are_refused(app: Guard) -> None:
    """A body beyond the limit is refused by its declared length, and by its real one."""
    refused(ask(app, "/export", "POST", content_length=str(LONGEST_BODY + 1)))
    refused(ask(app, "/export", "POST", content_length="-1"))
    refused(ask(app, "/export", "POST", body=b" " * (LONGEST_BODY + 1)))
    refused(ask(app, query="token=" + "x" * 5000))
    refused(ask(app, query="&".join(f"a{k}=" for k in range(100))))


def test_a_header_twice_is_refused(app: Guard) -> None:
    """Two hosts or origins are refused: proxies and servers disagree about which one counts."""

    async def twice(scope: dict[str, Any], receive: Any, send: Any) -> None:
        extra = [(b"host", OURS.encode())] if scope["path"] == "/" else [(b"origin", f"http://{OURS}".encode())]
        await app({**scope, "headers": [*scope["headers"], *extra]}, receive, send)

    refused(ask(twice))
    refused(ask(twice, "/export", "POST"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The application on a real port."""
    (tmp_path / "index.html").write_text("<!doctype html>the page")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = make_app(Untouched(), port=port, token=TOKEN, static=tmp_path)  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, http=GuardedHttp, ws=GuardedSocket, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield port
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.mark.parametrize(
    "lines",
    [
        ["nonsense"], ["GET / HTTP/1.1"], ["GET / HTTP/1.1", "Host: evil.com"], ["GET / HTTP/1.1", "Host: HERE"],
        ["GET http://evil.com/ HTTP/1.1", "Host: HERE"], ["GET / HTTP/1.1", "Host: HERE", "Host: HERE"],
        ["GET /socket HTTP/1.1", "Host: HERE", "Connection: Upgrade", "Upgrade: websocket"],
        ["GET /socket HTTP/1.1", "Host: HERE", "Connection: Upgrade", "Upgrade: websocket", "Origin: http://HERE",
         "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ],
)
def test_on_the_wire_strangers_get_a_refusal_with_the_policy(served: int, lines: list[str]) -> None:
    """Also what is hardly HTTP, and handshakes that are none, are refused under the policy."""
    text = "\r\n".join(lines).replace("HERE", f"127.0.0.1:{served}")
    with socket.create_connection(("127.0.0.1", served), timeout=20) as wire:
        wire.sendall(
            f"{text}\r\nConnection: close\r\n\r\n".encode() if "Upgrade" not in text else f"{text}\r\n\r\n".encode()
        )
        answer = b""
        while part := wire.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert POLICY.encode() in answer


def test_silent_connections_do_not_shut_the_page(served: int) -> None:
    """Of 400 connections that say nothing most are hung up at once, the rest after a while, and the page still answers."""
    silent = [socket.create_connection(("127.0.0.1", served), timeout=20) for _ in range(400)]
    try:
        with socket.create_connection(("127.0.0.1", served), timeout=20) as wire:
            wire.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served}\r\nConnection: close\r\n\r\n".encode())
            assert wire.recv(100).startswith(b"HTTP/1.1 401")
        assert sum(map(_hung_up, silent)) >= 400 - doors.MOST
    finally:
        for wire in silent:
            wire.close()


def test_a_connection_has_a_moment_to_speak(served: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never ends its first request is hung up."""
    monkeypatch.setattr(doors, "PATIENCE", Patience(door=0.1))
    with socket.create_connection(("127.0.0.1", served), timeout=20) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: ")
        wire.settimeout(20)
        assert _ended(wire)


def _hung_up(wire: socket.socket) -> bool:
    wire.setblocking(False)
    try:
        return not wire.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _ended(wire: socket.socket) -> bool:
    try:
        return not wire.recv(1)
    except ConnectionResetError:
        return True
