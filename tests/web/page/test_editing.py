"""Painting on an input: what is painted reaches the views exactly, and every state can be come back to."""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np
from fake_server import Server
from playwright.sync_api import Locator, Page, expect
from visits import Visit, settled


def _easel(page: Page) -> Locator:
    page.locator("[data-view=answer] .drawn").wait_for()
    page.get_by_role("button", name="Edit", exact=True).click()
    pad = page.get_by_role("application", name="The input")
    pad.locator("canvas").wait_for()
    return pad


def _settled(page: Page, server: Server) -> None:
    settled(page, lambda: len(server.training.requests))


def _sent(server: Server) -> np.ndarray:
    """The pixels that the answer was last asked with."""
    sent: dict[str, Any] = server.asked("answer")[-1]["input"]
    pixels = np.frombuffer(base64.b64decode(sent["pixels"]), np.uint8)
    return pixels.reshape(sent["height"], sent["width"], sent["channels"])


def _drag(page: Page, pad: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one pixel of an 8 × 8 input to another."""
    box = pad.bounding_box()
    assert box
    (x0, y0), (x1, y1) = ((box["x"] + x * box["width"] / 8, box["y"] + y * box["height"] / 8) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=5)
    page.mouse.up()


def test_painting_reaches_the_views_pixel_by_pixel(visit: Visit, server: Server) -> None:
    """A stroke changes the pixels under it and no other; undo, redo and reset lead back and forth to the very same."""
    page = visit.open(server.url)
    pad = _easel(page)
    own = server.training.digits[0]
    asked = len(server.asked("answer"))
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()
    assert all(request["input"] is None for request in server.asked("answer")[:asked])
    page.get_by_role("slider", name="brush").fill("1")
    page.get_by_role("slider", name="grey").fill("255")
    _drag(page, pad, (1.5, 2.5), (6.5, 2.5))
    expect(page.get_by_role("heading", name="Activations of the pixels")).to_be_visible()
    expect(page.get_by_text("differ from example 0")).to_be_visible()
    _settled(page, server)
    sent = _sent(server)[..., 0]
    assert server.asked("answer")[-1]["input"]["example"] == 0
    assert (sent[2, 1:7] == 255).all()
    assert (np.delete(sent, 2, 0) == np.delete(own, 2, 0)).all()
    page.keyboard.press("Control+z")
    expect(page.get_by_role("heading", name="Activations of example 0")).to_be_visible()
    page.keyboard.press("Control+Shift+z")
    expect(page.get_by_role("heading", name="Activations of the pixels")).to_be_visible()
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("differ from example 0")).to_be_visible()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text("looking at your own edit")).to_be_visible()
    page.get_by_role("button", name="back to the examples").click()
    assert server.asked("weights")[0] == server.asked("weights")[-1]


def test_every_tool_does_its_work(visit: Visit, server: Server) -> None:
    """Eraser, smear, warp, shift, rotate and brightness each change the pixels as they say, also in colour."""
    server.training.coloured = True
    page = visit.open(server.url)
    pad = _easel(page)
    own = np.stack([(d := server.training.digits[0]), 255 - d, d // 2], 2)

    def after(tool: str, act: Any) -> np.ndarray:
        page.get_by_role("button", name=tool, exact=True).click()
        act()
        expect(page.get_by_text("differ from example 0")).to_be_visible()
        _settled(page, server)
        return _sent(server)

    def back() -> None:
        page.get_by_role("button", name="Reset").click()
        expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()

    moved = after("Shift", lambda: _drag(page, pad, (3.5, 3.5), (5.5, 4.5)))
    assert (moved[1:, 2:] == own[:-1, :-2]).all()
    back()
    turned = after("Rotate", lambda: page.get_by_role("slider", name="angle").fill("90"))
    assert (np.abs(turned.astype(int) - np.rot90(own, -1)) <= 1).all()
    back()
    lighter = after("Brightness", lambda: page.get_by_role("slider", name="brightness").fill("0.2"))
    assert (np.abs(lighter.astype(int) - np.minimum(own.astype(int) + 51, 255)) <= 1).all()
    back()
    for tool in ("Eraser", "Smear", "Warp"):
        changed = after(tool, lambda: _drag(page, pad, (2.5, 3.5), (4.5, 3.5)))
        assert (changed != own).any((1, 2)).sum() >= 1
        back()
    page.get_by_role("button", name="Pen", exact=True).click()
    page.get_by_label("colour").fill("#ff8000")
    page.get_by_role("slider", name="brush").fill("1")
    painted = after("Pen", lambda: _drag(page, pad, (4.5, 4.5), (4.5, 4.5)))
    assert painted[4, 4].tolist() == [255, 128, 0]


def test_a_warp_handle_is_moved_and_taken_away_by_keys(visit: Visit, server: Server) -> None:
    """A click sets a handle that changes nothing, arrows pull it, Delete takes it and what it did away."""
    page = visit.open(server.url)
    pad = _easel(page)
    page.get_by_role("button", name="Warp", exact=True).click()
    _drag(page, pad, (3.5, 3.5), (3.5, 3.5))
    handle = page.get_by_role("button", name="Handle 1")
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()
    handle.press("ArrowRight")
    handle.press("ArrowRight")
    expect(page.get_by_text("differ from example 0")).to_be_visible()
    _settled(page, server)
    assert abs(int(_sent(server)[3, 5, 0]) - int(server.training.digits[0][3, 3])) <= 2
    handle.press("Delete")
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()


def test_a_patch_of_another_example(visit: Visit, server: Server) -> None:
    """With the patch in hand a clicked example is what is cut from, not what is looked at; a press lays the part in."""
    page = visit.open(server.url)
    pad = _easel(page)
    page.get_by_role("button", name="Patch", exact=True).click()
    source = page.get_by_role("application", name="The part that is pasted")
    source.wait_for()
    page.locator(".examples [data-key='example:9']").click()
    expect(page.get_by_role("spinbutton", name="of example")).to_have_value("9")
    assert "select" not in page.url
    _drag(page, source, (2.5, 1.5), (4.5, 4.5))
    expect(page.get_by_text("3 × 4 pixels")).to_be_visible()
    _drag(page, pad, (2.5, 3.0), (2.5, 3.0))
    expect(page.get_by_text("differ from example 0")).to_be_visible()
    _settled(page, server)
    assert (_sent(server)[1:5, 1:4, 0] == server.training.digits[9][1:5, 2:5]).all()
    page.get_by_role("button", name="Pen", exact=True).click()
    page.locator(".examples [data-key='example:9']").click()
    expect(page.get_by_role("heading", name="Activations of example 9")).to_be_visible()
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()


def test_painting_by_keys(visit: Visit, server: Server) -> None:
    """E opens the easel, arrows move the brush, Space puts it down, Shift paints on the way, Escape leaves."""
    page = visit.open(server.url)
    page.locator("[data-view=answer] .drawn").wait_for()
    page.keyboard.press("e")
    pad = page.get_by_role("application", name="The input")
    pad.focus()
    page.get_by_role("slider", name="brush").fill("1")
    pad.press("ArrowLeft")
    pad.press("Space")
    pad.press("Shift+ArrowUp")
    pad.press("Shift+ArrowUp")
    expect(page.get_by_text("differ from example 0")).to_be_visible()
    _settled(page, server)
    assert (_sent(server)[2:5, 3, 0] == _sent(server)[4, 3, 0]).all()
    pad.press("Escape")
    expect(pad).to_have_count(0)


def test_a_slow_view_is_asked_no_faster_than_it_answers(visit: Visit, server: Server) -> None:
    """While a stroke goes on, a view that takes its time has one question in flight, and ends with the last state."""
    server.training.slow["answer"] = 0.25
    page = visit.open(server.url)
    pad = _easel(page)
    before, began = len(server.asked("answer")), time.monotonic()
    box = pad.bounding_box()
    assert box
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + 10 + 5 * step, box["y"] + 10 + 5 * step)
        page.wait_for_timeout(20)
    page.mouse.up()
    _settled(page, server)
    asked = server.asked("answer")[before:]
    # However slow this machine is: each answer takes a quarter of a second, and the next question waits for it. Two wait for
    # nothing: the first, and the one by which the end of the stroke is shown.
    assert 2 <= len(asked) <= (time.monotonic() - began) / 0.25 + 2
    shown = page.locator("[data-view=answer] canvas.pixels").first.evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0)"
    )
    painted = pad.locator("canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0)"
    )
    assert _sent(server).ravel().tolist() == painted
    assert len(shown) == len(painted)
