"""An exported HTML file in a real browser, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paper import PICTURES

from diorama.export.formats import html

pytestmark = pytest.mark.skipif(
    not (html.STATIC / "standalone.js").exists(), reason="the page is not built: run python hatch_build.py"
)


@pytest.mark.parametrize("name", ["tiles_not_finite", "lines", "text", "blocks", "heatmap"])
def test_an_exported_file_draws_and_answers_the_pointer_offline(name: str, browser: Any, tmp_path: Path) -> None:
    """The file draws under its own policy with nothing fetched and no complaint, and its marks tell what they are."""
    path = PICTURES[name].save(tmp_path / f"{name}.html")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.locator(".framed .frame-title", has_text=PICTURES[name].title).wait_for(timeout=30_000)
    body = page.locator(".framed .frame-body")
    box = body.bounding_box()
    assert box["height"] > 60
    tips = set()
    for share in (0.08, 0.2, 0.35, 0.5, 0.65):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.45)
        tips |= set(page.locator(".tip:visible").all_inner_texts())
    assert tips, "nothing answered the pointer"
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []
    page.close()


def test_choosing_in_a_file_marks_the_chosen(browser: Any, tmp_path: Path) -> None:
    """A click on a unit in the file rings it, without any server."""
    page = browser.new_page()
    page.goto(PICTURES["tiles"].save(tmp_path / "x.html").as_uri())
    option = page.locator("[role=option]").nth(3)
    option.click()
    assert option.get_attribute("aria-selected") == "true"
    page.close()
