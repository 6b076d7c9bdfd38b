"""A browser, and a page on the server that stands in for the real one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import STATIC, Server
from playwright.sync_api import Browser, Page
from visits import Visit, demo, visiting


@pytest.fixture(autouse=True, scope="session")
def _built() -> None:
    """These tests look at the page as it was built."""
    if not (STATIC / "index.html").exists():
        pytest.fail("the page is not built: install the package, or run npm ci and npm run build in web/")


@pytest.fixture
def server() -> Iterator[Server]:
    """The stand-in server, with a made-up training."""
    with Server() as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:  # noqa: ARG001 - the visitor goes before the server does
    """A fresh visitor at 1440 × 900; a script error or a policy violation fails the test."""
    visit = Visit(browser)
    yield visit
    visit.leave()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the network that learns digits is recorded."""
    return tmp_path_factory.mktemp("live") / "digits"


@pytest.fixture(scope="module")
def live(recorded: Path) -> Iterator[str]:
    """The address of a page on a network that learns digits at this moment."""
    command = demo("digits", "--no-browser", "--port", "0", "--pace", "8", "--run", str(recorded))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        yield training.stdout.readline().strip()
        training.terminate()
        training.wait(120)


@pytest.fixture
def learning(browser: Browser, live: str) -> Iterator[Page]:
    """A visitor of the live page, who waited until it shows the network."""
    with visiting(browser, live) as page:
        yield page
