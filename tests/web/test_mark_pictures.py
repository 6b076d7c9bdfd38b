"""The browser halves of the marks draw what they drew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

from gallery import STATIC, serving  # noqa: E402 - after the skip
from mark_pictures import HERE, difference, drawn, shown, wanted  # noqa: E402
from pictures import MAKERS  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (STATIC / "standalone.js").exists(), reason="the page is not built: python hatch_build.py"
)


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One page with all pictures."""
    with serving() as address:
        opened = shown(browser, address)
        yield opened
        opened.close()


@pytest.mark.parametrize("name", MAKERS)
def test_a_mark_is_drawn_as_it_was(page: Any, name: str) -> None:
    """A picture in the browser equals the kept one, up to fonts; made by python tests/web/mark_pictures.py CHROMIUM."""
    assert not difference(drawn(page, name), wanted(name))


def test_the_texts_of_a_graph_are_whole(page: Any) -> None:
    """Python measures as the browser writes: below the greatest width no text of a block is cut, nor has it much room left."""
    measured = page.evaluate("""() => [...document.querySelectorAll(".graph .block")].map((block) => {
      const texts = [...block.querySelectorAll(".block-label, .block-detail, .block-warning")].filter((text) => text.textContent);
      const range = document.createRange();
      const widths = texts.map((text) => (range.selectNodeContents(text), range.getBoundingClientRect().width));
      const cut = Math.max(...texts.map((text) => text.scrollWidth - text.clientWidth));
      return [block.offsetWidth, block.classList.contains("container"), cut, Math.max(...widths)];
    })""")
    assert len(measured) > 5
    for width, container, cut, text in measured:
        assert width >= 260 or cut <= 0
        assert container or width <= 44 or text + 18 - 2 <= width <= text + 18 + 24


def test_another_picture_is_told(page: Any) -> None:
    """The comparison tells a picture whose values changed, and one whose colours are those of another theme."""
    turned = """() => {
      const { body } = pictures.bars;
      const other = (node) => node.children ? { ...node, children: node.children.map(other) }
        : { ...node, values: { ...node.values, data: node.values.data.slice().reverse() } };
      drawn.bars.update({ ...pictures.bars, body: other(body) });
    }"""
    page.evaluate(turned)
    assert difference(drawn(page, "bars"), wanted("bars"))
    page.evaluate("drawn.bars.update(pictures.bars)")
    assert not difference(drawn(page, "bars"), wanted("bars"))
    assert difference(255 - wanted("activations"), wanted("activations"))


def test_every_kept_picture_has_its_sample() -> None:
    """No kept picture outlives the sample that it shows, and none is empty."""
    assert {path.stem for path in HERE.glob("*.png")} == set(MAKERS)
    assert all(np.ptp(wanted(name)) > 40 for name in MAKERS)
