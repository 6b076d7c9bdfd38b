"""Every mark in a browser, under the page's Content-Security-Policy: drawn, hovered, chosen by pointer and keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

from gallery import STATIC, serving  # noqa: E402 - after the skip
from pictures import HOSTILE, MAKERS  # noqa: E402
from reach import BY_POINTER_ALONE  # noqa: E402

from diorama.core.marks import MARKS  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (STATIC / "standalone.js").exists(), reason="the page is not built: python hatch_build.py"
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The gallery's address."""
    with serving() as found:
        yield found


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A fresh page that fails the test on any error or violation of the policy."""
    opened = browser.new_page(viewport={"width": 1000, "height": 800})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    violations = opened.evaluate("window.violations || []")
    opened.close()
    assert errors == []
    assert violations == []


def test_every_mark_is_in_some_picture() -> None:
    """The pictures of these tests use the whole vocabulary."""
    used = {type(mark).__name__.lower() for make in MAKERS.values() for mark in make().marks()}
    assert not set(MARKS) - used, "a mark without a sample in tests/web/pictures.py is drawn by the browser in no test"


def _show(page: sync_api.Page, address: str, only: str) -> sync_api.Locator:
    page.goto(f"{address}/?only={only}")
    page.wait_for_selector("body[data-ready]")
    return page.locator(f"#{only}")


SILENTLY_CUT = """() => [...document.querySelectorAll(".mark *")].filter((each) => {
  if (!each.clientWidth || each.scrollWidth <= each.clientWidth + 2) return false;
  if (each.matches(".standing .bar-label")) return true;
  const beyond = each.previousElementSibling;
  return ["auto", "scroll"].includes(getComputedStyle(each).overflowX)
    && !(each.dataset.more && (!each.matches(".table-scroller") || (!beyond.hidden && beyond.textContent.endsWith("→"))));
}).map((each) => each.className)"""


@pytest.fixture(scope="module")
def narrow(browser: sync_api.Browser) -> Iterator[dict[str, tuple[sync_api.Page, list[str]]]]:
    """A narrow page in light and one in dark, and the errors that each has raised."""
    pages: dict[str, tuple[sync_api.Page, list[str]]] = {}
    for scheme in ("light", "dark"):
        opened, errors = browser.new_page(viewport={"width": 420, "height": 800}, color_scheme=scheme), []
        opened.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        pages[scheme] = opened, errors
    yield pages
    for opened, _ in pages.values():
        opened.close()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_drawn(address: str, name: str, scheme: str, narrow: dict[str, tuple[sync_api.Page, list[str]]]) -> None:
    """Each picture draws without an error or a violation of the policy, inside its width, in light and dark; what is wider scrolls
    and says so, a table by the names of its hidden columns, no name under a bar is cut, and all that can be clicked is named and reached by keys."""
    opened, errors = narrow[scheme]
    errors.clear()
    place = _show(opened, address, name)
    assert place.get_attribute("data-theme") == scheme
    assert place.locator(".mark").count() >= 1
    assert opened.evaluate("violations") == []
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the picture is wider than the window"
    assert opened.evaluate(SILENTLY_CUT) == []
    assert scheme == "dark" or opened.evaluate(BY_POINTER_ALONE) == []
    assert errors == []


@pytest.mark.parametrize("name", ["bars", "cells", "table", "findings"])
def test_hostile_names_stay_text(page: sync_api.Page, address: str, name: str) -> None:
    """A name with markup is shown as it is written; no element comes of it."""
    place = _show(page, address, name)
    place.get_by_text(HOSTILE).first.hover()
    assert page.locator("img").count() == 0
    assert page.title() == "gallery"


def test_a_tile_tells_its_value_and_is_chosen(page: sync_api.Page, address: str) -> None:
    """Hovering a map tells the number under the pointer; a click chooses the unit, a second click lets it go."""
    place = _show(page, address, "activations")
    tile = place.locator('[data-key^="unit:conv1/"]').first
    tile.hover()
    assert "row" in page.locator(".tip").inner_text()
    tile.click()
    assert "selected" in (tile.get_attribute("class") or "")
    assert tile.get_attribute("aria-selected") == "true"
    tile.click()
    assert "selected" not in (tile.get_attribute("class") or "")


def test_the_keyboard_walks_tiles(page: sync_api.Page, address: str) -> None:
    """A grid of tiles is one tab stop; arrows move inside it and Enter chooses."""
    place = _show(page, address, "weights")
    tiles = place.locator(".tile")
    assert place.locator('.tile[tabindex="0"]').count() == 1
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.key") == "unit:conv1/7"
    page.keyboard.press("Enter")
    assert tiles.nth(7).get_attribute("aria-selected") == "true"


def test_a_range_is_chosen_with_shift(page: sync_api.Page, address: str) -> None:
    """A click and a click with Shift choose all between."""
    place = _show(page, address, "weights")
    place.locator(".tile").nth(2).click()
    place.locator(".tile").nth(5).click(modifiers=["Shift"])
    assert place.locator(".tile.selected").count() == 4


def test_choosing_a_class_dims_the_other_bars_and_marks_the_matrix(page: sync_api.Page, address: str) -> None:
    """One selection links all marks: the chosen bar stays, the others step back."""
    page.goto(f"{address}/?only=bars,confusion")
    page.wait_for_selector("body[data-ready]")
    page.locator('#bars [data-key="class:3"]').first.click()
    assert page.locator("#bars .bar.selected").count() == 2
    assert page.locator("#bars .bar.dimmed").count() == 18


def test_bars_of_a_mark_share_their_zero(page: sync_api.Page, address: str) -> None:
    """Tracks of lying bars begin and end at one place, however wide the numbers beside them are."""
    page.goto(f"{address}/?only=bars")
    page.locator(".bar-track").first.wait_for()
    ends = page.evaluate("""() => [...document.querySelectorAll(".bars:not(.standing)")].map((bars) =>
      new Set([...bars.querySelectorAll(".bar-track")].map((track) => {
        const box = track.getBoundingClientRect();
        return `${box.left.toFixed(1)} ${box.right.toFixed(1)}`;
      })).size)""")
    assert ends
    assert set(ends) == {1}


def test_lines_read_all_series(page: sync_api.Page, address: str) -> None:
    """The pointer over the curves tells the step and the value of each series; the keyboard does so too."""
    place = _show(page, address, "curves")
    sheet = place.locator(".sheet")
    box = sheet.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 80)
    text = page.locator(".tip").inner_text()
    assert "step" in text
    assert "train:" in text
    assert "held out:" in text
    assert place.locator(".reading-dot").count() == 2
    sheet.focus()
    page.keyboard.press("ArrowRight")
    assert "train:" in (sheet.get_attribute("aria-label") or "")


def test_updates_keep_the_canvases(page: sync_api.Page, address: str) -> None:
    """A picture of the same shape is drawn into the same canvases, so that nothing flickers."""
    _show(page, address, "activations")
    kept = page.evaluate(
        """() => {
          const before = [...document.querySelectorAll("canvas")];
          const picture = window.pictures.activations;
          drawn.activations.update(picture);
          const after = [...document.querySelectorAll("canvas")];
          return before.length === after.length && before.every((canvas, i) => canvas === after[i]);
        }"""
    )
    assert kept


def test_a_table_sorts_by_its_headers(page: sync_api.Page, address: str) -> None:
    """A click on a header sorts by it, a second one turns the order."""
    place = _show(page, address, "table")
    header = place.get_by_role("button", name="certainty")
    header.click()
    assert place.locator('th[aria-sort="descending"]').inner_text().startswith("certainty")
    first = place.locator("tbody tr").first.locator(".share-text").inner_text()
    header.click()
    last = place.locator("tbody tr").last.locator(".share-text").inner_text()
    assert first == last


def test_a_history_tells_its_range_and_chooses_its_step(page: sync_api.Page, address: str) -> None:
    """A number outside its range has an arrow and a word besides its colour; a click on its line chooses layer and step, Enter
    the step where it left the range."""
    place = _show(page, address, "health")
    cell = place.locator("tbody tr").nth(1).locator("td.outside").first
    assert cell.inner_text().strip().startswith("↑")
    assert "above the healthy range" in (cell.get_attribute("aria-label") or "")
    assert "not recorded" in (place.locator("tbody tr").nth(4).locator("td").nth(1).get_attribute("aria-label") or "")
    line = cell.locator(".history")
    box = line.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    assert "healthy: 0.00001 to 0.1" in page.locator(".tip").inner_text()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    chosen = page.evaluate("document.querySelector('#health tbody tr.selected').dataset.key")
    assert chosen == "layer:conv2"
    fold = place.get_by_role("button", name="unfold blocks.*.attn")
    assert fold.get_attribute("aria-expanded") == "false"
    place.locator("tbody tr").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.tagName") == "TD"


def test_cells_of_a_matrix_are_read_by_keyboard(page: sync_api.Page, address: str) -> None:
    """The matrix is one tab stop whose label tells the cell that the arrows reached, also in the next picture of it."""
    place = _show(page, address, "confusion")
    spot = place.locator(".spot").first
    spot.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    label = spot.get_attribute("aria-label") or ""
    assert "true 1" in label
    assert "answered 1" in label
    page.evaluate("drawn.confusion.update(pictures.confusion)")
    assert spot.get_attribute("aria-label") == label
    page.keyboard.press("Enter")
    assert spot.get_attribute("data-key") == "class:1"
    place.evaluate("(e) => e.style.cssText = 'height: 60px; overflow: auto'")
    [page.keyboard.press("ArrowDown") for _ in range(9)]
    assert spot.evaluate("(e) => e.getBoundingClientRect().bottom") <= place.evaluate("(e) => e.getBoundingClientRect().bottom")


def test_odd_values_are_counted(page: sync_api.Page, address: str) -> None:
    """NaN, infinite and clipped cells are counted in the legend."""
    text = _show(page, address, "weights").locator(".legend").inner_text()
    assert "1 NaN" in text
    assert "1 infinite" in text
    assert "2 beyond" in text


def test_handles_set_knobs(page: sync_api.Page, address: str) -> None:
    """A slider under a mark, a place dragged to on an image, and a click on a plane each set their knob; a drag over a plane all along."""
    place = _show(page, address, "handles")
    place.get_by_role("slider", name="strength").fill("1.5")
    plate = place.locator(".image-plate")
    plate.click(position={"x": 62, "y": 32})
    place.locator(".mark-field .sheet").first.click(position={"x": 60, "y": 40})
    told = page.evaluate("told")
    assert ["strength", 1.5] in told
    assert ["patch", "6,12"] in told
    assert told[-1][0] == "patch"
    assert 0 < float(told[-1][1].split(",")[0]) < 3
    box = place.locator(".mark-field .sheet").first.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 40, steps=4)
    page.mouse.up()
    along = [value for name, value in page.evaluate("told")[len(told) :] if name == "patch"]
    assert len(along) >= 4
    assert along == sorted(along, key=lambda value: float(value.split(",")[0]))
    assert float(along[-1].split(",")[0]) > float(told[-1][1].split(",")[0])


def test_dragging_over_curves_sets_the_range(page: sync_api.Page, address: str) -> None:
    """A drag over the curves sets the knob of their handle to first:last; a double click sets it back to all."""
    place = _show(page, address, "curves")
    box = place.locator(".sheet").bounding_box()
    assert box is not None
    y = box["y"] + 100
    page.mouse.move(box["x"] + 200, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, y, steps=4)
    page.mouse.up()
    knob, value = page.evaluate("told.at(-1)")
    first, last = map(int, value.split(":"))
    assert knob == "steps"
    assert 0 < first < last < 900
    place.locator(".sheet").dblclick(position={"x": 300, "y": 100})
    assert page.evaluate("told.at(-1)") == ["steps", ""]


def test_a_place_is_dragged_live_and_moved_by_arrows(page: sync_api.Page, address: str) -> None:
    """The handle on an image sets "row,column" all along the way, follows the pointer, and moves by arrow keys."""
    place = _show(page, address, "handles")
    box = place.locator(".image-plate").bounding_box()
    assert box is not None
    pixel = box["width"] / 24
    page.mouse.move(box["x"] + 3.5 * pixel, box["y"] + 2.5 * pixel)
    page.mouse.down()
    page.mouse.move(box["x"] + 10.5 * pixel, box["y"] + 20.5 * pixel, steps=6)
    page.mouse.up()
    told = page.evaluate("told")
    assert told[0] == ["patch", "2,3"]
    assert told[-1] == ["patch", "20,10"]
    assert len({value for _, value in told}) > 4
    handle = place.get_by_role("slider", name="patch")
    assert handle.get_attribute("aria-valuetext") == "row 20, column 10"
    handle.press("ArrowLeft")
    handle.press("Shift+ArrowUp")
    assert page.evaluate("told.at(-1)") == ["patch", "15,9"]
    for _ in range(12):
        handle.press("Shift+ArrowUp")
    assert handle.get_attribute("aria-valuetext") == "row 0, column 9"


def test_a_line_is_drawn_over_a_plane(page: sync_api.Page, address: str) -> None:
    """A stroke over a plane adds at most 64 places of it in the plane's own numbers; keys go on with it or lift the pen, Escape clears all."""
    place = _show(page, address, "handles")
    pad = place.get_by_role("application", name="way")
    assert pad.locator("path").first.get_attribute("d")
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.down()
    for step in range(81):
        page.mouse.move(box["x"] + (0.1 + 0.01 * step) * box["width"], box["y"] + (0.9 - 0.01 * step) * box["height"])
    page.mouse.up()
    knob, value = page.evaluate("told.at(-1)")
    before, _, stroke = value.partition("|")
    assert before == "0.5,0.5;1.5,1.5;2.5,1"
    points = [tuple(map(float, point.split(","))) for point in stroke.split(";")]
    assert knob == "way"
    assert 2 < len(points) <= 64
    assert points[0] == pytest.approx((0.3, 0.2), abs=0.05)
    assert points[-1] == pytest.approx((2.7, 1.8), abs=0.05)
    pad.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert len(page.evaluate("told.at(-1)")[1].split("|")[1].split(";")) == len(points) + 1
    page.keyboard.press("|")
    page.keyboard.press("Enter")
    assert page.evaluate("told.at(-1)")[1].count("|") == 2
    page.keyboard.press("Escape")
    assert page.evaluate("told.at(-1)") == ["way", ""]


def test_handles_of_a_file_stay_still(page: sync_api.Page, address: str) -> None:
    """Where nobody hears of knobs, handles are shown, do not move, and nothing goes wrong."""
    page.goto(f"{address}/?only=handles&deaf=1")
    page.wait_for_selector("body[data-ready]")
    place = page.locator("#handles")
    assert place.get_by_role("slider", name="strength").is_disabled()
    handle = place.get_by_role("slider", name="patch")
    before = handle.get_attribute("aria-valuetext")
    place.locator(".image-plate").click(position={"x": 10, "y": 10})
    place.locator(".path-pad.free").wait_for(state="detached")
    box = place.locator(".path-pad:not([hidden])").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    page.mouse.up()
    assert handle.get_attribute("aria-valuetext") == before
    assert page.evaluate("told") == []


def test_the_same_pixel_is_shown_in_all_pictures_of_a_grid(page: sync_api.Page, address: str) -> None:
    """The pointer on a pixel of one map shows a cross and the value there in every other map of that shape."""
    place = _show(page, address, "maps")
    plates = place.locator(".image-plate")
    plates.nth(1).hover(position={"x": 32, "y": 22})
    crosses = place.locator(".cross:not([hidden])")
    values = place.locator(".cross-value")
    assert crosses.count() == 3
    shown = [float(text.replace("\u2212", "-")) for text in values.all_inner_texts()]
    maps = page.evaluate(
        "pictures.maps.body.children.map((child) => (child.heat ?? child.pixels).data[4 * 24 + 6])"
    )
    assert shown == pytest.approx(maps[:3], rel=0.02)
    assert plates.nth(3).locator(".cross:not([hidden])").count() == 0
    page.mouse.move(2, 2)
    assert crosses.count() == 0


def test_alt_chooses_what_to_compare_with(page: sync_api.Page, address: str) -> None:
    """A click with Alt puts a class into set B beside the chosen one; a second one lets it go."""
    place = _show(page, address, "bars")
    place.locator('[data-key="class:7"]').first.click()
    two = place.locator('[data-key="class:2"]').first
    two.click(modifiers=["Alt"])
    assert "against" in (two.get_attribute("class") or "")
    assert "dimmed" not in (two.get_attribute("class") or "")
    assert "selected" in (place.locator('[data-key="class:7"]').first.get_attribute("class") or "")
    two.focus()
    page.keyboard.press("Alt+Enter")
    assert "against" not in (two.get_attribute("class") or "")


def test_a_loop_round_points_chooses_them(page: sync_api.Page, address: str) -> None:
    """A loop drawn by hand chooses what it holds in all three pictures; the pointer on a point shows its words and its picture.

    A few chosen points are joined from map to map.
    """
    place = _show(page, address, "scatter")
    sheet = place.locator(".mark-scatter .sheet").first
    box = sheet.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for x, y in ((box["width"] - 5, 5), (box["width"] - 5, box["height"] * 0.5), (5, box["height"] * 0.5)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    said = place.locator(".scatter-said").first
    # The zeros lie above the middle, but for the one without a place.
    assert said.inner_text() == "20 chosen"
    one = place.locator('.scatter-class[data-key="class:1"]').first
    one.click()
    assert "selected" in (one.get_attribute("class") or "")
    assert said.inner_text() == "40 chosen"
    one.click(modifiers=["Control"])
    assert said.inner_text() == "20 chosen"
    spot = sheet.locator(".spot")
    spot.focus()
    page.keyboard.press("ArrowUp")
    assert "the item" in (spot.get_attribute("aria-label") or "")
    assert place.locator(".joins line").count() >= 20
    page.keyboard.press("Enter")
    assert said.inner_text() == "1 chosen"
    [line] = place.locator(".joins line").all()
    ends = line.evaluate("(line) => [line.x1, line.y1].map((end) => end.baseVal.value)")
    at, origin = spot.bounding_box(), place.locator(".group:has(> .joins)").bounding_box()
    assert at is not None
    assert origin is not None
    assert ends == pytest.approx([at["x"] + at["width"] / 2 - origin["x"], at["y"] + at["height"] / 2 - origin["y"]], abs=1.5)
    at = spot.bounding_box()
    assert at is not None
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    assert page.locator(".tip .tip-picture").is_visible()


def test_lines_of_parallel_axes_are_chosen_and_read(page: sync_api.Page, address: str) -> None:
    """Each line is an item that the keyboard reaches, that tells its numbers, is chosen, and lets the others step back."""
    place = _show(page, address, "parallel")
    items = place.locator(".parallel-item")
    items.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert place.locator(".parallel-item.selected").get_attribute("data-key") == "run:r2"
    assert place.locator(".parallel-item.dimmed").count() == 5
    label = items.nth(2).get_attribute("aria-label") or ""
    assert label.startswith("run 2, learning rate: ")
    assert "batch: NaN" in label
    assert "2 without a number" in place.inner_text()
    assert items.nth(2).locator("path").last.get_attribute("d").count("M") == 2, "the line breaks at the missing number"


def test_a_patch_is_pointed_at_and_chosen(page: sync_api.Page, address: str) -> None:
    """The pointer on a patch of a picture rests on that patch's key, and a click chooses it alone; a cell chooses its own head."""
    place = _show(page, address, "heads")
    plate = place.locator(".image-plate").first
    box = plate.bounding_box()
    assert box is not None
    # The whole picture bears the key of its first patch.
    for x, first in ((0.1, True), (0.6, False)):
        plate.hover(position={"x": box["width"] * x, "y": box["height"] * 0.1})
        assert ("hovered" in (plate.get_attribute("class") or "")) == first
        plate.click(position={"x": box["width"] * x, "y": box["height"] * 0.1})
        assert ("selected" in (plate.get_attribute("class") or "")) == first
    spot = place.locator(".spot").nth(1)
    spot.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert spot.get_attribute("data-key") == "head:b.1/1"
    assert place.locator(".token-word.struck").count() == 2


def test_a_melody_is_heard(page: sync_api.Page, address: str) -> None:
    """Play gives every note its frequency, stop silences it, another melody silences the first, and silence cannot be played."""
    page.add_init_script("""
        window.heard = [];
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (at) { window.heard.push(this.frequency.value); return start.call(this, at); };
    """)
    shown = _show(page, address, "roll")
    own, plain, silent = (shown.locator(".roll-play").nth(k) for k in range(3))
    own.click()
    sync_api.expect(own).to_have_text("stop")
    heard = page.evaluate("window.heard")
    assert len(heard) == 16
    assert heard[5] == pytest.approx(440.0)
    assert heard[0] == pytest.approx(440 * 2 ** (-9 / 12))
    plain.click()
    sync_api.expect(own).to_have_text("play")
    sync_api.expect(plain).to_have_text("stop")
    assert len(page.evaluate("window.heard")) == 20
    plain.click()
    sync_api.expect(plain).to_have_text("play")
    sync_api.expect(silent).to_be_disabled()
