"""A visitor of the page."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from reach import BY_POINTER_ALONE

PATIENCE = 150_000
"""Milliseconds: a busy machine computes slowly, and no test asserts a time."""
SOON = 60_000
"""Milliseconds for what the page does by itself, on a machine that has other things to do."""

expect.set_options(timeout=SOON)


def demo(*arguments: str) -> list[str]:
    """The command that trains a demo."""
    return [sys.executable, "-m", "diorama", "demo", *arguments]


def drawn(card: Locator) -> None:
    """Wait until a view shows a picture and no error."""
    expect(card.locator(".drawn").first).to_be_visible(timeout=PATIENCE)
    expect(card.locator(".failure")).to_have_count(0)


def until(page: Page, true: Callable[[], object]) -> None:
    """Wait until something holds that no element of the page tells."""
    for _ in range(SOON // 50):
        if true():
            return
        page.wait_for_timeout(50)
    assert true()


def settled(page: Page, asked: Callable[[], object], tenths: int = 6) -> None:
    """Wait until no view is at work and nothing new was asked for some tenths of a second."""
    before, quiet = asked(), 0
    while quiet < tenths:
        page.wait_for_timeout(100)
        now = asked()
        busy = page.locator("[data-view][aria-busy=true]").count()
        before, quiet = now, quiet + 1 if now == before and not busy else 0


@contextlib.contextmanager
def held(page: Page) -> Iterator[None]:
    """Hold the page's clock still (it was installed before the page opened), so that no time passes between what is done here."""
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    yield
    page.clock.resume()


class Visit:
    """A page that is looked at, and everything that went wrong in it."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        self.context = browser.new_context(reduced_motion="reduce", accept_downloads=True, **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(SOON)
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

    def leave(self) -> None:
        """Go, from whatever the test has made of the page: nothing went wrong in it, and all that can be clicked is named and reached by keys."""
        unreached = [] if self.page.is_closed() else self.page.evaluate(BY_POINTER_ALONE)
        self.context.close()
        assert not self.wrong, self.wrong
        assert not unreached, unreached


@contextlib.contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Page]:
    """A visitor of a real page, patient, who waited until it shows the network; what went wrong in it fails the test."""
    visit = Visit(browser)
    visit.page.set_default_timeout(PATIENCE)
    page = visit.open(url)
    page.locator("[data-view=activations] .drawn").wait_for()
    yield page
    visit.leave()
