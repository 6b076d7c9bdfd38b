"""How long a command takes in the page: from the click to the training's answer, and until its effect is shown.

The digits demo trains at its own pace in a process of its own; the page is open in Chromium with the list of commands open. By turns the
learning rate is halved and doubled with the page's buttons. The page's own clock is read at the click, when the answer is shown (the
training has applied the command by then, with the checkpoint from before it), and when the learning rate in the list is another one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import diorama
from bench._browser import opened

_CLICKED = """(text) => new Promise((resolve, reject) => {
    const button = [...document.querySelectorAll('button.button')].find((each) => each.textContent.trim() === text);
    const rate = () => document.querySelector('.value .now')?.textContent, before = rate(), began = performance.now();
    let answered = 0;
    const watch = new MutationObserver(() => {
        if (!answered && document.querySelector('.messages button')) answered = performance.now() - began;
        if (answered && rate() !== before) { watch.disconnect(); resolve([answered, performance.now() - began]); }
    });
    watch.observe(document.body, { childList: true, subtree: true, characterData: true });
    setTimeout(() => reject(new Error('no answer came')), 30000);
    button.click();
})"""


def main(rounds: int = 30) -> None:
    """Click so many times; medians with their middle halves, beside the time between two steps of the training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits"
        command = [sys.executable, "-m", "diorama", "demo", "digits", "--no-browser", "--port", "0", "--run", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training, opened() as page:
            try:
                page.goto(training.stdout.readline().strip() if training.stdout else "")
                page.locator("[data-view=health] .drawn").first.wait_for(timeout=120_000)
                page.get_by_role("button", name="Steer the training").click()
                page.locator(".value .now").first.wait_for()
                found, began, first = [], time.perf_counter(), diorama.open(path).last_step
                for turn in range(rounds):
                    found.append(page.evaluate(_CLICKED, "× 2" if turn % 2 else "× 0.5"))
                    page.locator(".messages button").first.wait_for(state="detached")
                step = 1e3 * (time.perf_counter() - began) / (diorama.open(path).last_step - first)
            finally:
                training.terminate()
        print(f"a step of the training every {step:.0f} ms")
        for what, values in zip(("the answer", "the effect"), zip(*found, strict=True), strict=True):
            low, middle, high = statistics.quantiles(values, n=4)
            print(f"{what}: {middle:.0f} ms after the click (middle half {low:.0f}–{high:.0f}, at most {max(values):.0f}), {middle / step:.1f} steps")


if __name__ == "__main__":
    main(10 if "--quick" in sys.argv else 30)
