"""The pictures of the README: the page in a real browser, and a film that the product exports. Made by
``python docs/make.py --pictures``."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

import diorama

STEPS = 900
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
SHOTS = (
    # file, theme, address, a view that must be drawn
    ("training-light.png", "light", "", "activations"),
    ("training-dark.png", "dark", "", "activations"),
    ("why-light.png", "light", "&room=why&mode=input&select=example:3", "attribution"),
    ("unit-light.png", "light", "&room=unit&mode=input&select=unit:conv3/4", ""),
)


def make(folder: Path) -> None:
    """Train the digits demo, and take the pictures."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "digits"
        diorama.demos["digits"](pace=0.0).run(path, steps=STEPS)
        scene = diorama.open(path).scene()
        scene.view("weights", layer=scene.layers.with_weights[0].name).save(folder / "weights.gif")
        page = diorama.serve(path)
        try:
            for name, theme, address, view in SHOTS:
                _shoot(page.url, address, theme, view, folder / name)
        finally:
            page.close()


def _shoot(url: str, address: str, theme: Any, view: str, target: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("the pictures are taken in Chromium, which is not installed")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=list(FLAGS))
        page = opened.new_page(viewport={"width": 1440, "height": 900}, color_scheme=theme)
        page.goto(f"{url}#run=digits{address}")
        _settled(page, view)
        # A screen has few colours: a palette halves the file, and nobody sees it.
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(192, dither=Image.Dither.NONE)
        shot.save(target, optimize=True)
        opened.close()


def _settled(page: Page, view: str) -> None:
    """Wait until the view is drawn and nothing is being computed any more."""
    if view:
        page.locator(f"[data-view={view}] .drawn").first.wait_for(timeout=120_000)
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=180_000)
    page.wait_for_timeout(2500)


if __name__ == "__main__":
    make(Path(__file__).parent / "pictures")
