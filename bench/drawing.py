"""Drawing a digit: how long until all maps are drawn anew, while the training goes on.

The demo trains at its usual pace in a process of its own and the page's server runs beside it, as with ``diorama demo``.
First a client does what the page does: it looks at the live end, sends one drawing after another over the socket, and takes
the time from sending a drawing to the arrival of the picture with every layer's maps of it, which it then acknowledges. A
drawing is sent 150 ms after the last answer, the time a stroke takes. What the browser needs to draw is not in it.
Then the same in Chromium, on the same processor and without a graphics card: the pen moves on the pad of the training's room,
with all views of the room following the training, and the page takes the time from the pen's move until the maps' canvases
hold the answer, and until the frame with them is drawn.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import websockets

from bench._browser import opened

GOAL = 0.1
SIDE = 96


def stroke(number: int) -> dict[str, Any]:
    """A thick curve on an empty canvas, another one each time."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for part in np.linspace(0, 1, 40):
        y, x = 20 + 56 * part, 48 + 20 * np.sin(5 * part + number * 0.7)
        canvas[(rows - y) ** 2 + (columns - x) ** 2 < 16] = 255
    return {"kind": "drawing", "width": SIDE, "height": SIDE, "pixels": base64.b64encode(canvas.tobytes()).decode()}


async def draw(port: int, token: str, drawings: int) -> list[float]:
    """Seconds from each drawing to its picture."""
    address, origin = f"ws://127.0.0.1:{port}/socket", f"http://127.0.0.1:{port}"
    talks = ["diorama", token]
    async with websockets.connect(address, origin=origin, subprotocols=talks, max_size=None) as wire:
        run = ""
        while not run:
            event = json.loads(await wire.recv())
            runs = event.get("runs", []) if event["event"] in ("hello", "runs") else []
            run = next((each["name"] for each in runs), "")
        await wire.send(json.dumps({"do": "follow", "run": run}))
        taken = []
        for number in range(drawings + 5):
            request = {"run": run, "step": "live", "view": "activations", "input": stroke(number), "edits": []}
            began = time.perf_counter()
            await wire.send(json.dumps({"do": "show", "channel": 1, "request": {**request, "knobs": {}, "selection": ""}}))
            first = True
            while True:
                message = await wire.recv()
                if isinstance(message, bytes):
                    if first:
                        taken.append(time.perf_counter() - began)
                        first = False
                    sequence = struct.unpack_from("<I", message, 4)[0]
                    await wire.send(json.dumps({"do": "ack", "channel": 1, "sequence": sequence}))
                elif (event := json.loads(message))["event"] == "error":
                    raise RuntimeError(event["message"])
                elif event["event"] == "done" and not first:
                    break
            await asyncio.sleep(0.15)
    return taken[5:]  # the first ones load the model


WATCH = """(() => {
  const drawn = (window.drawn = { taken: [] });
  document.addEventListener("pointermove", (event) => { if (event.buttons) drawn.moved ??= event.timeStamp; }, true);
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => {
        if (drawn.asked && data instanceof ArrayBuffer && new DataView(data).getUint32(0, true) === drawn.asked) drawn.came = true;
      });
    }
    send(data) {
      if (typeof data === "string" && drawn.moved && data.includes('"show"')) {
        const { channel, request } = JSON.parse(data);
        if (request.view === "activations" && request.input) drawn.asked ??= channel;
      }
      super.send(data);
    }
  };
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    if (drawn.came && !drawn.held && this.canvas.closest("[data-view=activations]")) {
      drawn.held = performance.now();
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => {
          drawn.taken.push([drawn.held - drawn.moved, performance.now() - drawn.moved]);
          drawn.moved = drawn.asked = drawn.came = drawn.held = null;
        };
        port2.postMessage(0);
      });
    }
    return put.apply(this, given);
  };
})()"""
"""Takes the time in the page: the first picture of maps that comes after they were asked for with the drawing."""


def draw_in_page(address: str, strokes: int) -> list[tuple[float, float]]:
    """Seconds from the pen's move until the maps are drawn on their canvases, and until they are on the screen."""
    with opened(WATCH) as page:
        page.goto(f"{address}#room=training")
        box = page.get_by_text("draw here").first.bounding_box(timeout=60_000)
        assert box is not None
        page.wait_for_timeout(8000)
        page.mouse.move(box["x"], box["y"])
        page.mouse.down()
        for number in range(strokes + 3):
            page.mouse.move(box["x"] + 5 + 37 * number % 45, box["y"] - 10 + 23 * number % 55)
            for _ in range(200):
                page.wait_for_timeout(50)
                if page.evaluate("drawn.taken.length") > number:
                    break
            page.wait_for_timeout(150)
        page.mouse.up()
        return [(held / 1e3, seen / 1e3) for held, seen in page.evaluate("drawn.taken")][3:]


def told(name: str, taken: list[float], goal: float | None) -> None:
    """Print the median with its spread."""
    low, middle, high = statistics.quantiles(taken, n=4)
    late = statistics.quantiles(taken, n=20)[-1]
    said = "" if goal is None else f"; goal {goal * 1e3:.0f} ms: {'met' if middle < goal else 'missed'}"
    print(f"{name}: median {middle * 1e3:.0f} ms (middle half {low * 1e3:.0f}–{high * 1e3:.0f}), 95 % within {late * 1e3:.0f} ms{said}", flush=True)


def main() -> int:
    """Train, draw, and print the medians."""
    drawings = 40 if "--quick" in sys.argv else 200
    with tempfile.TemporaryDirectory(prefix="diorama-bench-") as folder:
        line = [sys.executable, "-m", "diorama", "demo", "digits", "--no-browser", "--steps", "100000"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
                found = re.search(r":(\d+)/\?token=(\S+)", address)
                assert found is not None
                while not (Path(folder) / "runs" / "digits" / "run.db").is_file():
                    time.sleep(0.1)
                taken = asyncio.run(draw(int(found[1]), found[2], drawings))
                load = os.getloadavg()[0]
                seen = draw_in_page(address, drawings // 2)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(30)
    print(f"{len(taken)} drawings on {os.cpu_count()} cores while the digits train (load {load:.1f})")
    told("to the picture of all maps at a client", taken, GOAL)
    print(f"{len(seen)} strokes in Chromium on the same cores")
    told("to all maps on their canvases", [held for held, _ in seen], GOAL)
    told("to the frame that shows them", [shown for _, shown in seen], None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
