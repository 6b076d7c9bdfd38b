"""A million points that are zoomed and moved: how long a frame takes, in Chromium, whose WebGL is computed by the processor.

The same picture stands in an exported file under the policy that is in it, in the page as the server sends it with its policy (the server
is the tests' stand-in, which serves any picture), and in a notebook's widget, whose module a small host loads under that policy too. In each
frame the wheel is turned a little over the middle, then the points are dragged a little; the time is from one frame to the next, as the
browser tells it. Of rest it is told how long the longest frame takes in which all points are drawn again. The file is looked at twice, with
pixels as large as on a screen of usual density and half as large; beside a frame stands what the page's own script takes of it. Limit: 150 ms
a frame while it moves.

A way's name as an argument ("file", "page", "widget") measures that one alone.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

from bench._browser import opened
from diorama.core.marks import Scatter
from diorama.core.picture import Picture
from diorama.server.guard import POLICY

sys.path.append(str(Path(__file__).parents[1] / "tests" / "web" / "page"))
import fake_server  # noqa: E402 - the tests' own, found where they lie

POINTS, GOAL, FRAMES, WARM = 1_000_000, 0.15, 60, 5
PATIENCE = 300_000
STATIC = Path(__file__).parents[1] / "src" / "diorama" / "static"
HOST = """import widget from "./widget.js";
const bytes = new DataView(await (await fetch("picture")).arrayBuffer());
const traits = { picture: bytes, selection: [], progress: "", error: "" };
const model = { get: (name) => traits[name], set() {}, save_changes() {}, send() {}, on() {}, off() {} };
widget.render({ model, el: document.querySelector("#cell") });"""

TURN = """([count, hand]) => new Promise((done) => {
  const sheet = document.querySelector(".sheet"), { left, top } = sheet.getBoundingClientRect();
  const said = () => document.querySelector(".scatter-said").textContent;
  const [frames, own, at] = [[], [], { clientX: left + 200, clientY: top + 200, button: 0, pointerId: 1, cancelable: true, bubbles: true }];
  let last = 0, told = "", resting = 0;
  if (hand === "drag") {
    [...document.querySelectorAll(".scatter-tool")].find((each) => each.textContent === "move").click();
    sheet.dispatchEvent(new PointerEvent("pointerdown", at));
  }
  const next = (now) => {
    const took = last ? now - last : 0;
    last = now;
    if (frames.length < count) {
      if (took) frames.push(took);
      const [began, back] = [performance.now(), frames.length % 40 < 20];
      const clientX = at.clientX + (back ? 3 : -3) * (frames.length % 20);
      if (hand === "drag") sheet.dispatchEvent(new PointerEvent("pointermove", { ...at, clientX }));
      else sheet.dispatchEvent(new WheelEvent("wheel", { ...at, ctrlKey: true, deltaY: back ? -30 : 30 }));
      own.push(performance.now() - began);
      told = said();
    } else {
      if (hand === "drag" && !resting) sheet.dispatchEvent(new PointerEvent("pointerup", at));
      resting = Math.max(resting, took);
      if (!said() && frames.push(0) > count + 5) return done({ frames: frames.slice(0, count), own, said: told, resting });
    }
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def many() -> Picture:
    """Ten clouds of points, each in its class's colour."""
    draw = np.random.default_rng(0)
    points = (draw.normal(0, 1, (10, 2))[np.arange(POINTS) % 10] * 3 + draw.normal(0, 1, (POINTS, 2))).astype(np.float32)
    body = Scatter(points=points, kind="example", values=(np.arange(POINTS) % 10).astype(np.int32), classes=tuple("0123456789"))
    return Picture(title="Many", body=body)


@contextmanager
def in_file(picture: Picture, page: Page) -> Iterator[None]:
    """The picture as an exported file."""
    with tempfile.TemporaryDirectory() as folder:
        page.goto(picture.save(Path(folder) / "many.html").as_uri())
        yield


@contextmanager
def in_page(picture: Picture, page: Page) -> Iterator[None]:
    """The picture as one view over the whole page."""
    usual, fake_server.CSP = fake_server.picture, POLICY
    fake_server.picture = lambda training, request: picture if request["view"] == "moved" else usual(training, request)
    with fake_server.Server() as server:
        page.goto(f"{server.url}#room=play&view=moved")
        yield
    fake_server.picture = usual


@contextmanager
def in_widget(picture: Picture, page: Page) -> Iterator[None]:
    """The picture in a notebook's widget."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "picture").write_bytes(picture.to_bytes())
        (folder / "widget.js").symlink_to(STATIC / "widget.js")
        (folder / "host.js").write_text(HOST)
        policy = POLICY.replace("; frame-ancestors 'none'", "")
        (folder / "index.html").write_text(
            f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><body><div id="cell"></div>'
            '<script type="module" src="host.js"></script>'
        )
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=name)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            yield
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *told: object) -> None:
        """Nobody reads it."""


WAYS = {"file": in_file, "page": in_page, "widget": in_widget}


def measured(way: str, picture: Picture, density: float) -> bool:
    """Print the frames' times of one way; whether it keeps the limit."""
    good = True
    with opened(density=density) as page:
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None)
        with WAYS[way](picture, page):
            page.locator(".sheet-cloud").first.wait_for(state="attached", timeout=PATIENCE)
            for hand in ("zoom", "drag"):
                found = page.evaluate(TURN, [FRAMES + WARM, hand])
                frames, own = (found[name][WARM:] for name in ("frames", "own"))
                low, middle, high = (value / 1e3 for value in statistics.quantiles(frames, n=4))
                good &= middle <= GOAL
                print(
                    f"{'ok  ' if middle <= GOAL else 'OVER'} {way}, {hand}, {density} device pixels a pixel: a frame {middle * 1e3:.0f} ms "
                    f"(middle half {low * 1e3:.0f}–{high * 1e3:.0f}), of which the page's script {statistics.median(own):.0f} ms; "
                    f"at rest again the longest {found['resting']:.0f} ms; {found['said']} (load {os.getloadavg()[0]:.1f})", flush=True,
                )
        for complaint in complaints:
            print(f"OVER {way}: {complaint}")
    return good and not complaints


def main() -> int:
    """Print the frames' times; 1 where the limit is broken, or a script was refused."""
    wanted = [word for word in sys.argv[1:] if word in WAYS] or list(WAYS)
    picture, good = many(), True
    for way in wanted:
        for density in (1, 2) if way == "file" else (1,):
            good &= measured(way, picture, density)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
