"""A browser, and a page on the server that stands in for the real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fake_server import STATIC, Server
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("the page's tests need Chromium: tests/install_browser.sh installs it on Debian")
    if not (STATIC / "index.html").exists():
        pytest.fail("the page is not built: install the package, or run npm ci and npm run build in web/")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*ARGUMENTS])
        yield browser
        browser.close()


class Visit:
    """A page that is looked at, and everything that went wrong in it."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        self.context = browser.new_context(reduced_motion="reduce", accept_downloads=True, **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def open(self, url: str) -> Page:
        """Open an address and wait until the shell stands."""
        self.page.goto(url)
        self.page.locator("h1", has_text="diorama").wait_for()
        return self.page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A fresh visitor at 1440 × 900; a script error or a policy violation fails the test."""
    visit = Visit(browser)
    yield visit
    visit.context.close()
    assert not visit.wrong, visit.wrong


@pytest.fixture
def server() -> Iterator[Server]:
    """The stand-in server, with a made-up training."""
    with Server() as server:
        yield server
