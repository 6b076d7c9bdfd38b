"""An exported HTML file in a real browser, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper import PICTURES

from diorama.core.marks import Scatter
from diorama.core.marks.scatter import MANY
from diorama.core.picture import Picture
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


@pytest.mark.parametrize("webgl", [True, False])
def test_very_many_points_are_drawn_in_a_file(webgl: bool, browser: Any, tmp_path: Path) -> None:
    """Of very many points a part is drawn while they move, and the picture says so; without WebGL they are counted, and drawn nearer by."""
    points = np.random.default_rng(0).normal(0, 1, (MANY + 1, 2)).astype(np.float32)
    path = Picture(title="Many", body=Scatter(points=points, kind="example")).save(tmp_path / "many.html")
    page = browser.new_page(viewport={"width": 600, "height": 600})
    complaints: list[str] = []
    # What the browser's own driver says of itself is no complaint of ours.
    page.on("console", lambda message: "GL Driver Message" not in message.text and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    if not webgl:
        page.add_init_script("""const own = HTMLCanvasElement.prototype.getContext;
            HTMLCanvasElement.prototype.getContext = function (kind, ...told) { return kind === "webgl" ? null : own.call(this, kind, ...told); };""")
    page.goto(path.as_uri())
    said = page.locator(".scatter-said")
    said.wait_for(state="attached", timeout=30_000)
    webgl = webgl and page.evaluate("document.createElement('canvas').getContext('webgl') !== null")
    if webgl:
        page.locator(".sheet-cloud").wait_for(state="attached", timeout=30_000)
        assert said.inner_text() == ""
    else:
        said.filter(has_text="100,001 points as how many lie where, for there is no WebGL here").wait_for(timeout=30_000)
        assert page.locator(".sheet-cloud").count() == 0
    # Read at once, before the picture comes to rest.
    moving = page.evaluate("""() => { const sheet = document.querySelector(".sheet"), { left, top } = sheet.getBoundingClientRect();
        sheet.dispatchEvent(new WheelEvent("wheel", { ctrlKey: true, deltaY: -600, clientX: left + 180, clientY: top + 180, cancelable: true }));
        return document.querySelector(".scatter-said").textContent; }""")
    assert moving == "one in 4 of 100,001 points is drawn while it moves"
    page.locator(".scatter-said:empty").wait_for(state="attached")
    if webgl:
        page.evaluate("document.querySelector('.sheet-cloud').getContext('webgl').getExtension('WEBGL_lose_context').loseContext()")
        page.locator(".sheet-cloud").wait_for(state="detached")
        assert page.evaluate("""() => { const sheet = document.querySelector(".sheet-canvas");
            return sheet.getContext("2d").getImageData(180, 180, 40, 40).data.some((byte) => byte > 0); }"""), "drawn by other means"
    assert complaints == []
    page.close()
