"""A small server with the page's Content-Security-Policy that shows every mark by the built standalone script.

Run it (``python tests/web/gallery.py PORT``) and open ``/?theme=dark&only=curves`` to look at them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pictures import MAKERS

STATIC = Path(__file__).parents[2] / "src" / "diorama" / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gallery</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/gallery.css">
<script src="/standalone.js"></script><script src="/gallery.js"></script><body></body></html>"""
STYLE = """
@font-face { font-family: "Inter Variable"; font-weight: 100 900; src: url(/inter.woff2); }
body { margin: 0; display: grid; align-items: start; }
body { grid-template-columns: repeat(auto-fit, minmax(min(620px, 100%), 1fr)); }
"""
SCRIPT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.drawn = {};
window.pictures = {};
window.told = [];
addEventListener("DOMContentLoaded", async () => {
  const asked = new URLSearchParams(location.search);
  const wanted = asked.get("only");
  const told_of = asked.has("deaf") ? {} : { set: (knob, value) => told.push([knob, value]) };
  const names = wanted ? wanted.split(",") : await (await fetch("/names")).json();
  for (const name of names) {
    const place = document.createElement("section");
    place.id = name;
    document.body.append(place);
    const bytes = await (await fetch("/picture/" + name)).arrayBuffer();
    pictures[name] = diorama.decode(bytes);
    drawn[name] = diorama.draw(place, bytes, told_of);
  }
  document.body.dataset.ready = "yes";
});
"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        path = self.path.split("?")[0]
        kind, body = _answer(path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *ignored: object) -> None:
        """Stay quiet."""


def _answer(path: str) -> tuple[str, bytes | None]:
    if path == "/":
        return "text/html", PAGE.encode()
    if path == "/gallery.css":
        return "text/css", STYLE.encode()
    if path == "/gallery.js":
        return "text/javascript", SCRIPT.encode()
    if path == "/names":
        return "application/json", ("[" + ",".join(f'"{name}"' for name in MAKERS) + "]").encode()
    if path.startswith("/picture/") and path[9:] in MAKERS:
        return "application/octet-stream", MAKERS[path[9:]]().to_bytes()
    if path in ("/standalone.js", "/widget.js"):
        return "text/javascript", (STATIC / path[1:]).read_bytes()
    if path == "/inter.woff2":
        return "font/woff2", next((STATIC / "assets").glob("inter-latin-wght-normal*.woff2")).read_bytes()
    return "text/plain", None


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """The server's address, while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with serving(int(sys.argv[1])) as address:
        print(address)
        threading.Event().wait()
