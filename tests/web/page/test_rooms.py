"""The rooms Unit and Why as a person walks through them, on a network that has learned something."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from reach import CUT_RINGS
from visits import PATIENCE, drawn, visiting

import diorama


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page on a network that has learned digits, so that its units respond."""
    folder = tmp_path_factory.mktemp("learned")
    diorama.demos["digits"](pace=0.0).run(folder / "digits", steps=140)
    page = diorama.serve(folder)
    yield page.url
    page.close()


@pytest.fixture
def there(browser: Browser, learned: str) -> Iterator[Page]:
    """A visitor of that network in the room where it trained."""
    with visiting(browser, learned) as page:
        yield page


def _open(page: Page, place: str) -> None:
    page.goto(page.url.split("#")[0] + "#" + place)


def _pixels(card: Locator, which: int = 0) -> str:
    """What a canvas of a card shows."""
    return str(card.locator("canvas.pixels").nth(which).evaluate("canvas => canvas.toDataURL()"))


def _rested(card: Locator) -> None:
    drawn(card)
    expect(card).to_have_attribute("aria-busy", "false", timeout=PATIENCE)


def test_a_clicked_map_fills_the_card_and_time_brings_it_back_to_noise(there: Page) -> None:
    """A map clicked in one room is on the card of the next; at step 0 the same unit asks for something else. Rings are whole."""
    there.locator("[data-view=activations] [data-key='unit:conv2/3']").wait_for()
    assert not there.evaluate(CUT_RINGS)
    there.locator("[data-view=activations] [data-key='unit:conv2/3']").click()
    there.get_by_role("button", name="Unit", exact=True).click()
    card = there.locator("[data-view=card]")
    for text in ("conv2/3", "what it sees there", "deconvnet", "Fires most for", "what it asks for"):
        expect(card).to_contain_text(text, timeout=PATIENCE)
    wished = there.locator("[data-view=synthesis]")
    there.get_by_role("slider", name="Step of the training").press("ArrowLeft")
    _rested(wished)
    late = _pixels(wished)
    there.get_by_role("slider", name="Step of the training").press("Home")
    expect(there.get_by_text(re.compile("step 0 of"))).to_be_visible()
    _rested(wished)
    assert _pixels(wished) != late
    expect(card.locator("h2")).to_have_text("conv2/3")
    _rested(card)


def test_one_key_switches_the_whole_grid(there: Page) -> None:
    """G leads from maps to synthesized pictures, strongest examples, what excites them here, and round again."""
    _open(there, "room=unit&mode=input&view=scan&select=layer:conv1")
    scan = there.locator("[data-view=scan]")
    _rested(scan)
    show = scan.locator("header").get_by_label("show")
    for choice in ("synthesized", "top", "deconvnet", "activations"):
        there.keyboard.press("g")
        expect(show).to_have_value(choice)
        _rested(scan)
        expect(scan.locator(".tile")).to_have_count(8)
    there.keyboard.press("Shift+G")
    expect(show).to_have_value("deconvnet")
    assert "k.scan.show=deconvnet" in there.url


def test_the_maps_follow_the_camera_and_one_stays_in_sight(there: Page) -> None:
    """With the camera on, the maps change by themselves; a clicked one is shown large; Stop leaves the last picture."""
    _open(there, "room=unit&mode=input&view=scan")
    scan = there.locator("[data-view=scan]")
    _rested(scan)
    there.get_by_role("button", name="Webcam").click()
    expect(scan.locator("h2")).to_contain_text("your picture", timeout=PATIENCE)
    seen = {_pixels(scan)}
    for _ in range(600):
        there.wait_for_timeout(100)
        seen.add(_pixels(scan))
        if len(seen) >= 3:
            break
    assert len(seen) >= 3
    scan.locator("[data-key='unit:conv1/2']").last.click()
    expect(scan.get_by_text("conv1/2")).to_be_visible(timeout=PATIENCE)
    there.get_by_role("button", name="Stop", exact=True).last.click()
    expect(there.get_by_text("looking at your own")).to_be_visible()


def test_maps_are_compared_by_pixel_and_by_class(there: Page) -> None:
    """The pointer's pixel is read in every map; a class under the pointer shows its maps, a click keeps them."""
    _open(there, "room=why&select=example:3&step=100")
    why = there.locator("[data-view=attribution]")
    _rested(why)
    plates = why.locator(".image-plate")
    plates.nth(1).hover()
    expect(why.locator(".cross-value:visible")).to_have_count(plates.count())
    other = there.locator("[data-view=answer] .bar").nth(8)
    other.hover()
    expect(why).to_contain_text("speaks for 8", timeout=PATIENCE)
    other.click()
    there.mouse.move(5, 500)
    expect(why).to_contain_text("speaks for 8")
    _rested(why)


def test_an_edit_a_patch_and_a_morph_move_what_is_shown(there: Page) -> None:
    """A stroke is followed by the maps; the occluder is dragged by hand; the slider of a morph leads along its way."""
    _open(there, "room=why&mode=input&select=example:3&step=100")
    why = there.locator("[data-view=attribution]")
    _rested(why)
    there.keyboard.press("e")
    easel = there.locator(".editor canvas").first
    box = easel.bounding_box()
    assert box
    there.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    there.mouse.down()
    there.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"], steps=6)
    there.mouse.up()
    expect(why).to_contain_text(re.compile("your edit of example 3", re.I), timeout=PATIENCE)
    there.keyboard.press("Escape")
    _open(there, "room=why&view=occluder&select=example:3&step=100")
    patch = there.locator("[data-view=occluder]")
    _rested(patch)
    handle = patch.get_by_role("slider").first
    before = handle.get_attribute("aria-valuetext")
    plate = patch.locator(".image-plate").first.bounding_box()
    assert plate
    there.mouse.move(plate["x"] + 0.2 * plate["width"], plate["y"] + 0.2 * plate["height"])
    there.mouse.down()
    there.mouse.move(plate["x"] + 0.4 * plate["width"], plate["y"] + 0.3 * plate["height"], steps=5)
    there.mouse.up()
    expect(handle).not_to_have_attribute("aria-valuetext", str(before))
    _rested(patch)
    _open(there, "room=why&view=morph&select=example:3&step=100")
    morph = there.locator("[data-view=morph]")
    _rested(morph)
    morph.locator(".slide-control:visible").first.fill("0.25")
    expect(morph).to_contain_text("at 0.25", timeout=PATIENCE)
    _rested(morph)
