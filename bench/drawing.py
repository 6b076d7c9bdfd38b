"""Drawing a digit: how long until all maps are drawn anew, while the training goes on.

The demo trains at its usual pace in a process of its own and the page's server runs beside it, as with ``diorama demo``.
A client does what the page does: it looks at the live end, sends one drawing after another over the socket, and takes the
time from sending a drawing to the arrival of the picture with every layer's maps of it, which it then acknowledges. A
drawing is sent 150 ms after the last answer, the time a stroke takes. What the browser needs to draw is not in it.
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
    cookie = {"Cookie": f"diorama_{port}={token}"}
    async with websockets.connect(address, origin=origin, additional_headers=cookie, max_size=None) as wire:
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


def main() -> int:
    """Train, draw, and print the median."""
    drawings = 40 if "--quick" in sys.argv else 200
    with tempfile.TemporaryDirectory(prefix="diorama-bench-") as folder:
        line = [sys.executable, "-m", "diorama", "demo", "digits", "--no-browser", "--steps", "100000"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            try:
                assert process.stdout is not None
                found = re.search(r":(\d+)/\?token=(\S+)", process.stdout.readline())
                assert found is not None
                while not (Path(folder) / "runs" / "digits" / "run.db").is_file():
                    time.sleep(0.1)
                taken = asyncio.run(draw(int(found[1]), found[2], drawings))
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(30)
    low, middle, high = statistics.quantiles(taken, n=4)
    late = statistics.quantiles(taken, n=20)[-1]
    load = os.getloadavg()[0]
    print(f"{len(taken)} drawings on {os.cpu_count()} cores while the digits train (load {load:.1f})")
    print(f"to the picture of all maps: median {middle * 1e3:.0f} ms (middle half {low * 1e3:.0f}–{high * 1e3:.0f}), "
          f"95 % within {late * 1e3:.0f} ms; goal {GOAL * 1e3:.0f} ms: {'met' if middle < GOAL else 'missed'}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
