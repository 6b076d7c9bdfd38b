"""A unit's card: how long from the click on a map until the card stands in the page, with the picture that the unit asks for.

A run of the demo of handwritten digits is recorded and served as with ``diorama serve``; Chromium opens the page at its last step,
in the room of units. Each map of two layers is clicked once, so that nothing about the unit is known yet, and the page itself takes
the time from the press of the button: until the card shows the new unit, until the first synthesized picture is in it, and until
nothing more comes. The room's other views follow the click too, and share the machine.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from bench._browser import opened

FORMED, WHOLE = 300, 1000
"""The goals, milliseconds: the first synthesized picture, and the whole card."""
UNITS = {"conv3": 24, "conv2": 16}
PATIENCE = 120_000
WATCH = """() => {
  const since = () => performance.now() - window.pressed;
  document.addEventListener("pointerdown", () => { window.pressed = performance.now(); window.seen = {}; }, true);
  new MutationObserver(() => {
    const card = document.querySelector("[data-view=card]");
    if (!card || !window.seen || !card.querySelector("h2")?.textContent.includes(window.unit)) return;
    window.seen.shown ??= since();
    const formed = card.textContent.includes("what it asks for") && !card.textContent.includes("forming");
    if (formed) window.seen.formed ??= since();
    if (formed && card.getAttribute("aria-busy") === "false") window.seen.whole ??= since();
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@contextmanager
def served(steps: int) -> Iterator[str]:
    """The address of a page on a recorded run."""
    with tempfile.TemporaryDirectory(prefix="diorama-bench-") as folder:
        line = [sys.executable, "-m", "diorama"]
        subprocess.run([*line, "demo", "digits", "--headless", "--steps", str(steps)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        serve = [*line, "serve", str(Path(folder) / "runs"), "--no-browser"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield process.stdout.readline().strip()
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(30)


def clicked(page: Page, layer: str, units: range) -> list[dict[str, float]]:
    """Milliseconds from the click on each unit's map, by what was waited for."""
    page.goto(f"{page.url.partition('#')[0]}#room=unit&mode=input&select=unit:{layer}/{units[0]}")
    page.reload()
    page.wait_for_selector(f"[data-view=scan] [data-key='unit:{layer}/{units[-1]}']")
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=PATIENCE)
    page.evaluate(WATCH)
    taken = []
    for unit in units[1:]:
        page.evaluate("unit => { window.unit = unit; }", f"{layer}/{unit}")
        page.locator(f"[data-view=scan] [data-key='unit:{layer}/{unit}']").first.click()
        expect(page.locator("[data-view=card] h2")).to_have_text(f"{layer}/{unit}", timeout=PATIENCE)
        expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=PATIENCE)
        taken.append(page.evaluate("window.seen"))
    return taken


def told(name: str, taken: list[float], goal: float | None) -> bool:
    """Print the median with its spread."""
    low, middle, high = statistics.quantiles(taken, n=4)
    said = "" if goal is None else f"; goal {goal} ms: {'met' if middle <= goal else 'missed'}"
    print(f"{name}: median {middle:.0f} ms (middle half {low:.0f}–{high:.0f}){said}", flush=True)
    return goal is None or middle <= goal


def main() -> int:
    """Click through two layers, and print the medians."""
    most = 7 if "--quick" in sys.argv else 24
    with served(400) as address, opened() as page:
        page.goto(address)
        taken = [found for layer, units in UNITS.items() for found in clicked(page, layer, range(min(most, units)))]
    print(f"{len(taken)} units of the digits net, each clicked once, on {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f})")
    told("the card shows the unit", [one["shown"] for one in taken], None)
    passed = told("the first picture of what it asks for", [one["formed"] for one in taken], FORMED)
    passed &= told("the whole card", [one["whole"] for one in taken], WHOLE)
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
