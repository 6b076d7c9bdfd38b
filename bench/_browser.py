"""The machine's own Chromium, for benchmarks of what a person sees."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@contextmanager
def opened(script: str = "", density: float = 1) -> Iterator[Page]:
    """An empty page, as wide as a notebook's screen; ``script`` runs in it before anything that it loads. ``density`` is device pixels a pixel."""
    found = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("this is measured in Chromium, which is not installed")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 900}, device_scale_factor=density)
        if script:
            page.add_init_script(script)
        yield page
        browser.close()
