"""What the pointer rests on, drags and compares. The training is made up."""

from __future__ import annotations

import re
import time
from urllib.parse import unquote

from fake_server import Server
from playwright.sync_api import expect
from visits import Visit, held, settled, until


def test_a_class_under_the_pointer_is_tried_out(visit: Visit, server: Server) -> None:
    """Resting on a class's bar shows its maps without choosing it; leaving brings the chosen class's maps back."""
    visit.page.clock.install()
    page = visit.open(server.url + "#room=why&select=class:7")
    title = page.locator("[data-view=why] h2")
    expect(title).to_have_text("Why for 7")
    bars = page.locator("[data-view=answer] .bar")
    bars.nth(2).hover()
    expect(title).to_have_text("Why for 2")
    assert unquote(page.url).endswith("select=class:7")
    asked = len(server.asked("activations"))
    page.mouse.move(700, 300)
    expect(title).to_have_text("Why for 7")
    box = bars.nth(4).bounding_box()
    assert box
    with held(page):  # however long the two moves take here, for the page the pointer passes within 50 ms
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.clock.run_for(50)
        page.mouse.move(700, 300)
    settled(page, lambda: len(server.training.requests))
    assert all(request["selection"] != "class:4" for request in server.asked("why"))
    assert len(server.asked("activations")) == asked


def test_two_sets_are_chosen_and_let_go(visit: Visit, server: Server) -> None:
    """Alt puts a second class into set B, the inspector names both sets, and each chip lets its class go."""
    page = visit.open(server.url + "#room=why&select=class:7")
    title = page.locator("[data-view=why] h2")
    bars = page.locator("[data-view=answer] .bar")
    bars.nth(2).click(modifiers=["Alt"])
    page.mouse.move(700, 500)
    expect(title).to_have_text("Why for 7 rather than class:2")
    assert unquote(page.url).endswith("select=class:7|class:2")
    expect(bars.nth(2)).to_have_class(re.compile("against"))
    chosen = page.get_by_role("group", name="Selection")
    expect(chosen).to_contain_text("rather than")
    bars.nth(3).click(modifiers=["Alt"])
    page.mouse.move(700, 500)
    expect(title).to_have_text("Why for 7 rather than class:3")
    chosen.get_by_role("button", name="Compare with class 3 no more").click()
    expect(title).to_have_text("Why for 7")
    bars.nth(5).click(modifiers=["Alt"])
    page.mouse.move(700, 500)
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_text("choose what to compare with")).to_be_visible()


def test_a_dragged_handle_asks_one_at_a_time(visit: Visit, server: Server) -> None:
    """A place dragged over a picture asks live, no faster than it is answered, and stays where it was let go."""
    server.training.slow["moved"] = 0.15
    page = visit.open(server.url + "#room=play")
    card = page.locator("[data-view=moved]")
    plate = card.locator(".image-plate")
    plate.wait_for()
    box = plate.bounding_box()
    assert box
    before, began = len(server.asked("moved")), time.monotonic()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(box["x"] + 5 + step * box["width"] / 44, box["y"] + 5 + step * box["height"] / 44)
        page.wait_for_timeout(15)
    page.mouse.up()
    handle = card.get_by_role("slider", name="at")
    where = str(handle.get_attribute("aria-valuetext"))
    row, column = re.findall(r"\d+", where)
    expect(card.locator("h2")).to_have_text(f"At {row},{column}")
    expect(handle).to_have_attribute("aria-valuetext", where)
    asked = server.asked("moved")[before:]
    assert 2 <= len(asked) <= (time.monotonic() - began) / 0.15 + 1
    assert asked[-1]["knobs"]["at"] == f"{row},{column}"
    until(page, lambda: f"k.moved.at={row}%2C{column}" in page.url)
    card.get_by_role("slider", name="share").fill("0.25")
    expect(card.locator(".number-value").first).to_have_text("0.25")
    card.get_by_role("slider", name="turns").press("ArrowRight")
    expect(card.locator(".number-value").last).to_have_text("1")
    until(page, lambda: "k.moved.turns=1" in page.url)


def test_the_same_pixel_in_all_maps(visit: Visit, server: Server) -> None:
    """The pointer on a pixel of one map shows a cross and its value in the other one."""
    page = visit.open(server.url + "#room=why")
    plates = page.locator("[data-view=why] .image-plate")
    plates.first.hover()
    expect(plates.nth(1).locator(".cross-value")).to_be_visible()
    page.mouse.move(5, 500)
    expect(plates.nth(1).locator(".cross-value")).to_be_hidden()


def test_the_first_start_says_what_it_does(visit: Visit, server: Server) -> None:
    """While the server still lists its views, the page says so with how far it is, and then opens by itself."""
    server.preparing = True
    page = visit.open(server.url)
    expect(page.get_by_role("heading", name="The first start takes a moment")).to_be_visible()
    expect(page.get_by_text("reading the views")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "40")
    server.preparing = False
    expect(page.locator("[data-view=curves] .drawn")).to_be_visible()
