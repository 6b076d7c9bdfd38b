"""Runs of a text are chosen in a browser by drawing over their tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

from gallery import STATIC, serving  # noqa: E402 - after the skip

pytestmark = pytest.mark.skipif(
    not (STATIC / "standalone.js").exists(), reason="the page is not built: python hatch_build.py"
)


@pytest.fixture
def tokens(browser: sync_api.Browser) -> Iterator[sync_api.Locator]:
    """The tokens of a text that can be chosen."""
    with serving() as address:
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.goto(f"{address}/?only=cells")
        page.wait_for_selector("body[data-ready]")
        yield page.locator("#cells .mark-text").first.locator(".token.choosable")
        page.close()


def _chosen(tokens: sync_api.Locator) -> list[int]:
    found: list[int] = tokens.evaluate_all("all => all.flatMap((each, k) => each.classList.contains('selected') ? [k] : [])")
    return found


def test_tokens_that_are_drawn_over_are_chosen(tokens: sync_api.Locator) -> None:
    """Either way, instead of what was chosen; what the browser marked meanwhile is let go. By keyboard Shift and Enter choose all from the last."""
    mouse, keyboard = tokens.page.mouse, tokens.page.keyboard
    for one, other in ((2, 5), (4, 3)):
        first, last = tokens.nth(one).bounding_box(), tokens.nth(other).bounding_box()
        assert first is not None
        assert last is not None
        mouse.move(first["x"] + first["width"] / 2, first["y"] + 5)
        mouse.down()
        mouse.move(last["x"] + last["width"] / 2, last["y"] + 5, steps=3)
        mouse.up()
        assert _chosen(tokens) == list(range(min(one, other), max(one, other) + 1))
        assert tokens.page.evaluate("getSelection().toString()") == ""
    tokens.nth(7).click()
    assert _chosen(tokens) == [7]
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    keyboard.press("Shift+Enter")
    assert _chosen(tokens) == [7, 8, 9]
