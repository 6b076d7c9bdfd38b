"""A browser, and a page on the server that stands in for the real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from fake_server import STATIC, Server
from playwright.sync_api import Browser, sync_playwright
from visits import Visit

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


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
