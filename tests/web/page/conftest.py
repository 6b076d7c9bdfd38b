"""A browser, and a page on the server that stands in for the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_server import STATIC, Server
from playwright.sync_api import Browser
from visits import Visit


@pytest.fixture(autouse=True, scope="session")
def _built() -> None:
    """These tests look at the page as it was built."""
    if not (STATIC / "index.html").exists():
        pytest.fail("the page is not built: install the package, or run npm ci and npm run build in web/")


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
