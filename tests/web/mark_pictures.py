"""The pictures that the browser halves of the marks draw, kept small; run this file on a built page to make them anew.

A picture is kept in blocks of eight pixels, each by its mean colour: so small a picture still tells a missing bar, a wrong
colour or a shifted map, and neither another machine's hinting nor its smoothing of edges. Look at each before it is committed.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np  # noqa: E402 - the gallery lies beside this file
from gallery import serving  # noqa: E402
from pictures import MAKERS  # noqa: E402
from PIL import Image  # noqa: E402

HERE = Path(__file__).parent / "golden"
BLOCK = 8


def shown(browser: Any, address: str) -> Any:
    """A page with all pictures, light and still, 420 pixels wide."""
    page = browser.new_page(viewport={"width": 420, "height": 800}, color_scheme="light", reduced_motion="reduce")
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.evaluate("document.fonts.ready")
    return page


def drawn(page: Any, name: str) -> np.ndarray:
    """A picture in blocks, (rows, columns, 3)."""
    with Image.open(io.BytesIO(page.locator(f"#{name}").screenshot(animations="disabled"))) as taken:
        whole = np.asarray(taken.convert("RGB"), np.float32)
    rows, columns = (length // BLOCK for length in whole.shape[:2])
    blocks = whole[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)


def wanted(name: str) -> np.ndarray:
    """The picture as it was."""
    with Image.open(HERE / f"{name}.png") as kept:
        return np.asarray(kept.convert("RGB"))


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """In what two pictures differ beyond fonts, in words; empty where they look alike."""
    if abs(one.shape[0] - other.shape[0]) > 2 or one.shape[1] != other.shape[1]:
        return f"{one.shape[:2]} blocks instead of {other.shape[:2]}"
    rows = min(len(one), len(other))
    apart = np.abs(one[:rows].astype(int) - other[:rows].astype(int)).max(-1)
    far = float((apart > 40).mean())
    return f"{far:.1%} of the blocks look different" if far > 0.01 else ""


def main() -> None:
    """Write every picture."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import BROWSERS

    found = next(filter(None, map(shutil.which, [*sys.argv[1:], *BROWSERS])), None)
    if found is None:
        raise SystemExit("the pictures need Chromium: tests/install_browser.sh installs it on Debian")
    HERE.mkdir(exist_ok=True)
    with serving() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"])
        page = shown(browser, address)
        for name in MAKERS:
            Image.fromarray(drawn(page, name)).save(HERE / f"{name}.png", optimize=True)
        browser.close()
    for old in HERE.glob("*.png"):
        if old.stem not in MAKERS:
            old.unlink()


if __name__ == "__main__":
    main()
