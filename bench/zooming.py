"""A million points that are zoomed: how long a frame takes while they move, in Chromium, whose WebGL is computed by the processor.

The picture is saved as a file and opened from there, so that the policy holds that stands in it. In each frame the wheel is turned a little, over
the middle; the time is from one frame to the next, as the browser tells it, once with pixels as large as on a screen of usual density and once half
as large. Beside it what the page's own script takes of a frame. Limit: 150 ms a frame.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench._browser import opened
from diorama.core.marks import Scatter
from diorama.core.picture import Picture

POINTS, GOAL, FRAMES, WARM = 1_000_000, 0.15, 60, 5

TURN = """(count) => new Promise((done) => {
  const sheet = document.querySelector(".sheet"), { left, top } = sheet.getBoundingClientRect();
  const [frames, own] = [[], []];
  let last = 0;
  const next = (now) => {
    if (last) frames.push(now - last);
    last = now;
    if (frames.length === count) return done({ frames, own, said: document.querySelector(".scatter-said").textContent });
    const began = performance.now();
    const deltaY = frames.length % 40 < 20 ? -30 : 30;
    sheet.dispatchEvent(new WheelEvent("wheel", { ctrlKey: true, deltaY, clientX: left + 200, clientY: top + 200, cancelable: true }));
    own.push(performance.now() - began);
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def main() -> int:
    """Print the frames' times; 1 where the limit is broken."""
    draw = np.random.default_rng(0)
    points = (draw.normal(0, 1, (10, 2))[np.arange(POINTS) % 10] * 3 + draw.normal(0, 1, (POINTS, 2))).astype(np.float32)
    body = Scatter(points=points, kind="example", values=(np.arange(POINTS) % 10).astype(np.int32), classes=tuple("0123456789"))
    late = False
    with tempfile.TemporaryDirectory() as folder:
        path = Picture(title="Many", body=body).save(Path(folder) / "many.html")
        for density in (1, 2):
            with opened(density=density) as page:
                page.goto(path.as_uri())
                page.locator(".sheet-cloud").wait_for(state="attached", timeout=120_000)
                found = page.evaluate(TURN, FRAMES + WARM)
            frames, own = (found[name][WARM:] for name in ("frames", "own"))
            low, middle, high = (value / 1e3 for value in statistics.quantiles(frames, n=4))
            late |= middle > GOAL
            print(
                f"{'ok  ' if middle <= GOAL else 'OVER'} {density} device pixels a pixel: a frame {middle * 1e3:.0f} ms (middle half {low * 1e3:.0f}–"
                f"{high * 1e3:.0f}), of which the page's script {statistics.median(own):.0f} ms; {found['said']} "
                f"(load {os.getloadavg()[0]:.1f})", flush=True,
            )
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
