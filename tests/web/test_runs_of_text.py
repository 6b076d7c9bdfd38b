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
        page.goto(f"{address}/?only=cells,curves")
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


AS_TOKENS = """() => {
  const whole = pictures.curves, cut = (array) => ({ ...array, data: array.data.slice(0, 40), shape: [40] });
  const series = [{ ...whole.body.series[0], x: cut(whole.body.series[0].x), y: cut(whole.body.series[0].y) }];
  const body = { ...whole.body, series, events: [], cursor: null, handle: null, x_kind: "number", x_key: "token", y_log: false };
  drawn.curves.update({ ...whole, body });
}"""
"""Lines over the tokens of the text."""


def test_a_brush_over_lines_chooses_tokens_as_the_text_does(tokens: sync_api.Locator) -> None:
    """Where places along lines are tokens, a drag chooses those in it and a click one, and no knob is set that would hold them."""
    page = tokens.page
    page.evaluate(AS_TOKENS)
    sheet = page.locator("#curves .sheet")
    box = sheet.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100, steps=4)
    page.mouse.up()
    many = _chosen(tokens)
    assert len(many) > 2
    assert many == list(range(many[0], many[-1] + 1))
    sheet.click(position={"x": box["width"] * 0.4, "y": 100})
    (one,) = _chosen(tokens)
    assert many[0] < one < many[-1]
    assert page.evaluate("told") == []
