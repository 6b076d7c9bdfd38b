"""Inputs of one's own: drawn and uploaded. The training is made up."""

from __future__ import annotations

import io

from fake_server import Server
from PIL import Image
from playwright.sync_api import expect
from visits import Visit, until


def test_drawing_asks_no_faster_than_answered(visit: Visit, server: Server) -> None:
    """What is drawn reaches the views that look at the input while it is drawn, coalesced; undo and clear work."""
    page = visit.open(server.url)
    page.locator("[data-view=weights] .drawn").wait_for()
    before, weights = len(server.asked("activations")), len(server.asked("weights"))
    box = page.get_by_label("Drawing pad").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(box["x"] + 20 + step, box["y"] + 20 + step)
    page.mouse.up()
    expect(page.get_by_role("heading", name="Activations of the drawing")).to_be_visible()
    drawn = [request["input"] for request in server.asked("activations")[before:]]
    assert 1 <= len(drawn) <= 45
    assert drawn[-1]["kind"] == "drawing"
    assert drawn[-1]["width"] == drawn[-1]["height"]
    assert len(server.asked("weights")) == weights
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("heading", name="Activations of example 0")).to_be_visible()
    assert server.asked("activations")[-1]["input"] is None
    pad = page.get_by_label("Drawing pad")
    pad.press("Shift+ArrowDown")
    expect(page.get_by_role("heading", name="Activations of the drawing")).to_be_visible()
    pad.press("Escape")


def test_a_file_as_input(visit: Visit, server: Server) -> None:
    """An uploaded picture becomes the input; a file that holds none says what could be."""
    page = visit.open(server.url)
    red = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(red, "png")
    page.locator("input[type=file]").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": red.getvalue()}
    )
    expect(page.get_by_text("looking at your own image")).to_be_visible()
    expect(page.get_by_role("heading", name="Activations of the image")).to_be_visible()
    assert server.asked("activations")[-1]["input"]["kind"] == "image"
    page.locator("input[type=file]").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    expect(page.get_by_role("log")).to_contain_text("a.txt is no picture, and this network takes a picture (png, jpeg)")
    page.get_by_role("button", name="back to the examples").click()
    expect(page.get_by_role("heading", name="Activations of example 0")).to_be_visible()


def test_each_part_of_an_input_is_made_by_itself(visit: Visit, server: Server) -> None:
    """A question begins with the example's own and is typed over, its picture is painted on; each goes back to the example without the other."""
    server.training.several = True
    page = visit.open(server.url)
    field = page.get_by_role("textbox", name="question")
    expect(field).to_have_value("is it a 0")
    field.fill("is it a 7")
    expect(page.get_by_text("looking at your own question")).to_be_visible()
    typed = {"kind": "text", "text": "is it a 7"}
    page.get_by_role("button", name="Edit", exact=True).click()
    pad = page.get_by_role("application", name="The input")
    pad.locator("canvas").wait_for()
    pad.click()
    expect(page.get_by_text("looking at your own question and image")).to_be_visible()
    expect(page.get_by_role("heading", name="Activations of the parts")).to_be_visible()
    # The first answer to the question alone bears the same heading.
    until(page, lambda: "image" in server.asked("activations")[-1]["input"]["parts"])
    made = server.asked("activations")[-1]["input"]
    assert made["kind"] == "parts"
    assert made["example"] == 0
    assert made["parts"]["question"] == typed
    assert made["parts"]["image"]["kind"] == "pixels"
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text("looking at your own question ·")).to_be_visible()
    expect(field).to_have_value("is it a 7")
    field.fill("")
    expect(page.get_by_role("heading", name="Activations of example 0")).to_be_visible()
    expect(page.get_by_text("looking at your own")).to_have_count(0)
    expect(field).to_have_value("")
    field.blur()
    expect(field).to_have_value("is it a 0")


def test_a_text_that_is_too_long_is_said_to_be_so(visit: Visit, server: Server) -> None:
    """A pasted book is not sent, and the field holds again what it held; a mask beside a text is no text to be typed."""
    server.training.several = True
    page = visit.open(server.url)
    field = page.get_by_role("textbox", name="question")
    expect(page.locator(".tray textarea")).to_have_count(1)
    expect(field).to_have_value("is it a 0")
    field.fill("is it a 7")
    expect(page.get_by_text("looking at your own question")).to_be_visible()
    field.evaluate("field => { field.value = 'ab '.repeat(20000); field.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(page.get_by_role("log")).to_contain_text("Your text has 60,000 characters; at most 50,000 are looked at")
    expect(field).to_have_value("is it a 7")
    # What is pasted by hand is refused before it stands in the field, which a browser would draw for a minute.
    stayed = field.evaluate(
        "field => field.dispatchEvent(new InputEvent('beforeinput', { data: 'x'.repeat(70000), bubbles: true, cancelable: true }))"
    )
    assert not stayed
    expect(page.get_by_role("log")).to_contain_text("Your text has 70,000 characters")
    inputs = [request["input"] for request in server.asked("activations") if request["input"]]
    assert all(len(made["parts"]["question"]["text"]) < 100 for made in inputs)


def test_answer_and_truth_of_a_segmentation_are_seen(visit: Visit, server: Server) -> None:
    """Also on a narrow page both pictures are there, what is above them stands in one line, and each class is named beside its share."""
    server.training.segmented = True
    page = visit.open(server.url)
    answer = page.locator(".tray .answer")
    for width in (1440, 900):
        page.set_viewport_size({"width": width, "height": 900})
        for title in ("answer", "truth"):
            named = answer.locator(".mark-title", has_text=title)
            expect(named).to_be_visible()
            told, whole = named.bounding_box(), named.locator("xpath=ancestor::*[@data-mark='image'][1]").bounding_box()
            assert told
            assert whole
            assert told["height"] < 24, title
            assert whole["width"] >= 40, title
        for name in ("ground", "disc", "square"):
            label, share = answer.locator(".bar-label", has_text=name), answer.locator(".bar", has_text=name).locator(".bar-value")
            expect(share).to_have_text({"ground": "70 %", "disc": "20 %", "square": "10 %"}[name])
            expect(label).to_be_visible()
            assert label.evaluate("one => one.scrollWidth <= one.clientWidth + 1"), name
