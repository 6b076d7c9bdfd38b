"""A ResNet-50 in the page: how long after the hand its structure is hovered, chosen and opened, and a unit's neighbourhood follows.

The network has random weights (26,560 units in 53 convolutions) and four small pictures of noise; a page of its own serves it, and Chromium
opens one view over the whole page. The page itself takes the time, from the event of the pointer until the frame after the one in which
the change stands in the document: a name under the pointer, a mark on what was clicked, the blocks within the one that was opened or
without those of the one that was closed, and, in *Neighbourhood*, the picture round the clicked unit.
Limit: 100 ms of median each but for the last, which is told; ``--each`` tells every one.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from playwright.sync_api import Page, expect

import diorama
from bench._browser import opened

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from large_nets import ResNet50  # noqa: E402 - the tests' own, found where they lie

GOAL, PATIENCE = 100, 120_000
FOLLOWS = "neighbourhood of the clicked unit"
BLOCKS = "[data-view=structure] .block"

WATCH = """() => {
  const tell = (name) => { if (window.seen && !(name in window.seen)) requestAnimationFrame(() => requestAnimationFrame(() => {
    window.seen[name] ??= performance.now() - window.began; })); };
  const look = () => {
    if (!window.seen || !window.wanted) return;
    const found = window.wanted();
    if (found) tell("shown");
  };
  for (const kind of ["pointermove", "click"]) document.addEventListener(kind, () => {
    if (window.seen && window.kind === kind && !window.began) window.began = performance.now();
  }, true);
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


def waited(page: Page, kind: str, wanted: str, at: tuple[float, float]) -> float:
    """Milliseconds from one event of the pointer at a place until the document is as ``wanted`` (JavaScript) says, and painted."""
    page.evaluate("([kind, wanted]) => { window.began = 0; window.kind = kind; window.wanted = new Function('return ' + wanted); window.seen = {}; }",
                  [kind, wanted])
    page.mouse.move(*at) if kind == "pointermove" else page.mouse.click(*at)
    page.wait_for_function("() => 'shown' in window.seen", timeout=PATIENCE)
    found: float = page.evaluate("() => { const { shown } = window.seen; window.seen = null; return shown; }")
    return found


def middle(page: Page, selector: str) -> tuple[float, float]:
    """The middle of what is found, in sight."""
    one = page.locator(selector).first
    one.scroll_into_view_if_needed()
    box = one.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + min(box["height"] / 2, 12)


def idle(page: Page, view: str) -> None:
    """Wait until the view is whole."""
    expect(page.locator(f"[data-view={view}][aria-busy=true]")).to_have_count(0, timeout=PATIENCE)


def settled(page: Page, address: str, view: str, more: str = "") -> None:
    """Open one view over the whole page, and wait until it is whole."""
    page.goto(f"{address.partition('#')[0]}#view={view}{more}")
    page.reload()
    page.wait_for_selector(f"[data-view={view}] .drawn", timeout=PATIENCE)
    idle(page, view)
    page.evaluate(WATCH)


def structure(page: Page, rounds: int) -> Iterator[tuple[str, float]]:
    """Hover, choose and open each of the four stages and their blocks, by turns."""
    for turn in range(rounds):
        name = f"layer{turn % 4 + 1}"
        caret = f"{BLOCKS}[data-key='layer:{name}'] > .block-head .caret"
        place, label = middle(page, f"{BLOCKS}[data-key='layer:{name}']"), f"{BLOCKS}[data-key='layer:{name}']"
        page.mouse.move(5, 5)
        yield "hover", waited(page, "pointermove", f"document.querySelector('.tip:popover-open .tip-name')?.textContent.includes('{name}')", place)
        yield "select", waited(page, "click", f"""document.querySelector("{label}")?.getAttribute("aria-selected") === "true" """, place)
        idle(page, "structure")
        for word, mark in (("open", "true"), ("close", "false")):
            there = f"""document.querySelector("{caret}")?.getAttribute("aria-expanded") === "{mark}" """
            yield word, waited(page, "click", there, middle(page, caret))
            idle(page, "structure")


def neighbourhood(page: Page, rounds: int) -> Iterator[tuple[str, float]]:
    """Choose one unit after the other: the picture starts anew from it."""
    for turn in range(rounds):
        knots = page.locator("[data-view=neighbourhood] .knot[data-key^='unit:']")
        knot = knots.nth(turn * 7 % knots.count())
        key = knot.get_attribute("data-key") or ""
        knot.scroll_into_view_if_needed()
        box = knot.bounding_box()
        assert box is not None
        layer, _, number = key.removeprefix("unit:").rpartition("/")
        wanted = f"document.querySelector('[data-view=neighbourhood] h2')?.textContent.replace(/\\u200b/g, '').includes('{layer}/{number}')"
        title = page.locator("[data-view=neighbourhood] h2").inner_text()
        if f"{layer}/{number}" in title:
            continue
        yield FOLLOWS, waited(page, "click", wanted, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        idle(page, "neighbourhood")


def main() -> int:
    """Print the medians with their spread; 1 where one is over the limit."""
    rounds = 8 if "--quick" in sys.argv else 24
    torch.manual_seed(0)
    scene = diorama.Scene(ResNet50().eval(), torch.randn(4, 3, 64, 64))
    found: dict[str, list[float]] = {}
    with diorama.serve(scene) as served, opened() as page:
        for view, act in (("structure", structure), ("neighbourhood", neighbourhood)):
            settled(page, served.url, view)
            for what, taken in act(page, rounds):
                found.setdefault(what, []).append(taken)
                if "--each" in sys.argv:
                    print(what, round(taken), flush=True)
    late = False
    for what, values in found.items():
        low, half, high = statistics.quantiles(values, n=4)
        limited = what != FOLLOWS
        late |= limited and half > GOAL
        judged = "told" if not limited else "ok  " if half <= GOAL else "OVER"
        print(f"{judged} {what}: {half:.0f} ms (middle half {low:.0f}–{high:.0f}, of {len(values)})", flush=True)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
