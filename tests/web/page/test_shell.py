"""The page as a person uses it: places, panels, time, touching the training. The training is made up."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fake_server import Server
from playwright.sync_api import expect
from visits import Visit, held, settled, until


def asked(server: Server, view: str) -> list[dict[str, Any]]:
    """What the page has asked of a view so far."""
    return [request for request in server.training.requests if request["view"] == view]


def test_everything_stands_on_one_screen(visit: Visit, server: Server) -> None:
    """At 1440 × 900 map, room, inspector and tray are in sight, and the page itself does not scroll."""
    page = visit.open(server.url)
    for name in ("structure", "curves", "findings", "activations", "weights", "confusion"):
        expect(page.locator(f"[data-view={name}] .drawn")).to_be_in_viewport()
    for name in ("Network", "Inspector", "Input"):
        expect(page.get_by_role("complementary", name=name)).to_be_in_viewport()
    assert page.evaluate(
        "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
    )


def test_rooms_without_views_are_hidden(visit: Visit, server: Server) -> None:
    """A room that holds no view has no tab; the others do, and the catalogue stands at the end."""
    page = visit.open(server.url)
    tabs = page.get_by_role("navigation", name="Rooms").get_by_role("button")
    expect(tabs).to_have_text(["Training", "Why", "How do they relate?", "Play", "Catalogue"])


def test_an_address_holds_the_place(visit: Visit, server: Server) -> None:
    """Run, step, mode, knobs and selection stand in the address, and opening it brings them all back."""
    page = visit.open(server.url)
    page.locator("[data-view=activations] [data-key='unit:conv2/7']").click()
    page.get_by_role("radio", name="this input").click()
    page.locator("[data-view=activations] select").select_option("number")
    page.keyboard.press("Escape")
    page.get_by_role("slider", name="Step of the training").press("Home")
    page.locator("[data-view=activations] [data-key='unit:conv3/2']").click()
    address = page.url
    assert "step=0" in address
    assert "mode=input" in address
    assert "select=unit%3Aconv3%2F2" in address
    assert "k.activations.sort=number" in address
    visit.page.goto("about:blank")
    page = visit.open(address)
    expect(page.locator("[data-view=activations] [data-key='unit:conv3/2']")).to_have_class("tile choosable selected")
    expect(page.locator("[data-view=activations] select")).to_have_value("number")
    expect(page.get_by_role("radio", name="this input")).to_be_checked()
    expect(page.get_by_text("step 0 of 812")).to_be_visible()


def test_only_views_that_follow_ask_again(visit: Visit, server: Server) -> None:
    """A chosen example makes the views ask that follow examples, and no other."""
    page = visit.open(server.url)
    expect(page.locator("[data-view=confusion] .drawn")).to_be_visible()
    settled(page, lambda: len(server.training.requests))
    before = {view: len(server.asked(view)) for view in ("activations", "weights", "confusion", "curves")}
    page.locator(".examples [data-key='example:5']").click()
    expect(page.get_by_role("heading", name="Activations of example 5")).to_be_visible()
    settled(page, lambda: len(server.training.requests))
    after = {view: len(server.asked(view)) for view in before}
    assert after == {**before, "activations": before["activations"] + 1}


def test_choosing_one_more_and_none(visit: Visit, server: Server) -> None:
    """A click chooses one, Ctrl one more or less, Shift a range, the chip lets one go, Escape all."""
    page = visit.open(server.url)
    tile = lambda n: page.locator(f"[data-view=activations] [data-key='unit:conv1/{n}']")  # noqa: E731
    chosen = page.locator("[data-view=activations] .selected")
    tile(1).click()
    tile(3).click(modifiers=["Control"])
    expect(chosen).to_have_count(2)
    tile(5).click(modifiers=["Shift"])
    expect(chosen).to_have_count(4)
    page.get_by_role("button", name="Let go of unit 4 of conv1").click()
    expect(chosen).to_have_count(3)
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    expect(page.get_by_role("button", name="Open Inspector")).to_be_visible()
    assert "select" not in page.url


def test_time_by_keyboard(visit: Visit, server: Server) -> None:
    """Arrows move by one snapshot, with Shift by ten; L goes back to the live end; the views follow."""
    page = visit.open(server.url)
    expect(page.get_by_text("step 812 of 812")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("step 810 of 812")).to_be_visible()
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_text("step 710 of 812")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("step 720 of 812")).to_be_visible()
    expect(page.locator("[data-view=weights]")).to_have_attribute("aria-busy", "false")
    assert server.asked("weights")[-1]["step"] == 720
    page.keyboard.press("l")
    expect(page.get_by_role("button", name="live", exact=True)).to_have_attribute("aria-pressed", "true")


def test_playing_runs_to_the_live_end(visit: Visit, server: Server) -> None:
    """Space plays over the snapshots, waiting for their pictures, and ends at the live end."""
    server.training.last = 60
    visit.page.clock.install()
    page = visit.open(server.url)
    page.locator("[data-view=weights] .drawn").wait_for()
    with held(page):
        page.keyboard.press(" ")
        expect(page.get_by_role("button", name="Stop playing")).to_be_visible()
    expect(page.get_by_role("button", name="Play over")).to_be_visible()
    expect(page.get_by_text("step 60 of 60")).to_be_visible()
    steps = [request["step"] for request in server.asked("weights")]
    assert {0, 10, 20, 30, 40, 50} <= set(steps)


def test_steering(visit: Visit, server: Server) -> None:
    """Pause, one step, the learning rate, another value and stop reach the training and are acknowledged."""
    page = visit.open(server.url)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("pause at step 812")
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
    page.get_by_role("button", name="Steer the training").click()
    page.get_by_role("button", name="Do one step").click()
    page.get_by_role("button", name="× 0.5").click()
    page.get_by_label("learning rate value").fill("0.02")
    page.get_by_label("learning rate value").press("Enter")
    page.get_by_label("momentum").fill("0.8")
    page.get_by_label("momentum").press("Enter")
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.get_by_role("log")).to_contain_text("the disk is full")
    page.get_by_role("button", name="Stop …").click()
    page.get_by_role("button", name="Stop for good").click()
    expect(page.get_by_role("log")).to_contain_text("stop at step 812")
    assert server.training.commands == [
        ("pause", {}),
        ("step", {}),
        ("learning_rate", {"factor": 0.5}),
        ("learning_rate", {"value": 0.02}),
        ("optimizer_value", {"setting": "momentum", "value": 0.8}),
        ("snapshot", {}),
        ("stop", {}),
    ]


def test_chosen_examples_are_changed_in_the_training(visit: Visit, server: Server) -> None:
    """Examples that are chosen, or all of a class, are dropped, relabelled, weighed and restored in the training; what is not there says so."""
    server.training.steered = {
        "examples": 1000, "dropped": 2, "relabelled": 1, "weighed": 0, "probe": 64, "matched": 60, "labels": "whole",
    }
    page = visit.open(f"{server.url}#select=example%3A4-6%2Bexample%3A9")
    acts = page.get_by_role("region", name="In the training's data")
    expect(acts).to_contain_text("Of 1,000 examples 2 are dropped, 1 relabelled, 0 weighed (save the list); 60 of the probe set's 64 are among them.")
    acts.get_by_role("button", name="Drop").click()
    acts.get_by_label("new label").select_option("7")
    acts.get_by_role("button", name="Relabel").click()
    acts.get_by_label("weight").fill("0.5")
    acts.get_by_role("button", name="Weigh").click()
    acts.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("log")).to_contain_text("restore at step 812")
    chosen = {"examples": "4-6,9", "of": "probe"}
    assert server.training.commands == [
        ("drop", chosen), ("relabel", {**chosen, "label": 7}), ("weigh", {**chosen, "weight": 0.5}), ("restore", chosen),
    ]
    page.goto(f"{server.url}#select=class%3A3")
    acts.get_by_role("button", name="Drop").click()
    until(page, lambda: server.training.commands[-1] == ("drop", {"labelled": "3"}))
    server.training.steered = {**server.training.steered, "matched": 0}
    page.goto(f"{server.url}#select=example%3A4")
    page.reload()
    expect(acts).to_contain_text("None of the probe set's 64 examples was found among the 1,000")


def test_an_action_of_a_finding(visit: Visit, server: Server) -> None:
    """What a finding offers to do is one click away."""
    page = visit.open(server.url)
    page.get_by_role("button", name="Halve the rate").click()
    expect(page.get_by_role("log")).to_contain_text("learning_rate at step 812")
    assert server.training.commands == [("learning_rate", {"factor": 0.5})]


def test_the_connection_comes_back(visit: Visit, server: Server) -> None:
    """A lost connection says so, comes back by itself, and every view is asked for again."""
    page = visit.open(server.url)
    page.locator("[data-view=weights] .drawn").wait_for()
    settled(page, lambda: len(server.training.requests))
    before = len(server.asked("weights"))
    server.cut()
    for _ in range(100):  # it may not have noticed yet
        page.wait_for_timeout(100)
        if len(server.asked("weights")) > before:
            break
    expect(page.get_by_role("button", name="live", exact=True)).to_be_visible()
    expect(page.locator("[data-view=weights]")).to_have_attribute("aria-busy", "false")
    assert len(server.asked("weights")) == before + 1
    server.training.last = 820
    server.push()
    expect(page.get_by_text("step 820 of 820")).to_be_visible()


def test_errors_are_calm_text(visit: Visit, server: Server) -> None:
    """A view that fails says why and what to do in its place; one that does not fit stays out of the room."""
    page = visit.open(server.url + "#room=relate")
    broken = page.locator("[data-view=broken]")
    expect(broken.get_by_role("status")).to_contain_text("No layer named 'conv9' among the model's 3; nearest: 'conv3'")
    expect(broken.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("[data-view=misfit]")).to_have_count(0)
    page.get_by_role("button", name="Add a view").click()
    expect(page.get_by_role("button", name="Misfit")).to_be_disabled()


def test_long_work_says_so_and_is_cancelled(visit: Visit, server: Server) -> None:
    """Long work shows its cost, its progress and what is left, and ends when cancelled."""
    page = visit.open(server.url + "#room=relate")
    slow = page.locator("[data-view=slow]")
    expect(slow).to_contain_text("256 forward passes")
    expect(slow).to_contain_text("s left")
    expect(slow.get_by_role("progressbar")).to_have_count(1)
    slow.get_by_role("button", name="cancel").click()
    expect(slow.get_by_role("status")).to_contain_text("cancelled")
    expect(slow.get_by_role("progressbar")).to_have_count(0)
    slow.get_by_role("button", name="Try again").click()
    expect(slow).to_contain_text("256 forward passes")


def test_views_are_taken_out_and_added(visit: Visit, server: Server) -> None:
    """A view is taken out, another added a second time under its own name; both are remembered, and undone at once."""
    page = visit.open(server.url)
    confusion = page.locator("[data-view=confusion]")
    confusion.hover()
    confusion.get_by_role("button", name="All about Confusion").click()
    confusion.get_by_role("button", name="Take out Confusion").click()
    expect(confusion).to_have_count(0)
    page.get_by_role("button", name="Add a view").click()
    page.get_by_role("dialog", name="Add a view").get_by_role("button", name="Weights").click()
    expect(page.locator("[data-view=weights]")).to_have_count(2)
    page.locator("[data-view=weights] select").last.select_option("conv3")
    expect(page.get_by_role("heading", name="Weights of conv3")).to_be_visible()
    assert "k.weights~2.layer=conv3" in page.url
    page.reload()
    expect(page.locator("[data-view=weights]")).to_have_count(2)
    expect(page.locator("[data-view=confusion]")).to_have_count(0)
    page.get_by_role("button", name="Arrange as it was").click()
    expect(page.locator("[data-view=confusion]")).to_have_count(1)
    expect(page.locator("[data-view=weights]")).to_have_count(1)


def test_a_view_is_enlarged(visit: Visit, server: Server) -> None:
    """An enlarged view fills the middle, has an address, and Escape or Back leaves it."""
    page = visit.open(server.url)
    card = page.locator("[data-view=weights]")
    card.hover()
    card.get_by_role("button", name="Enlarge Weights").click()
    expect(page.locator("main article")).to_have_count(1)
    assert "view=weights" in page.url
    page.go_back()
    expect(page.locator("main article")).to_have_count(6)
    page.go_forward()
    expect(page.locator("main article")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("main article")).to_have_count(6)


def test_how_it_is_made_and_saving(visit: Visit, server: Server) -> None:
    """A view tells how it was made and is saved as a file, also where it is narrow; a format that fails says why."""
    page = visit.open(server.url)
    card = page.locator("[data-view=weights]")
    card.locator(".drawn").wait_for()
    card.hover()
    card.get_by_role("button", name="All about Weights").click()
    about = page.get_by_role("dialog", name="All about Weights")
    expect(about.get_by_label("layer")).to_be_visible()
    about.get_by_text("How is it made?").click()
    expect(about.locator("dl")).to_contain_text("step")
    about.get_by_text("Save it as a file").click()
    with page.expect_download() as download:
        about.get_by_role("button", name="png").click()
    assert download.value.suggested_filename == "digits-weights.png"
    card.get_by_role("button", name="Enlarge Weights").click()
    card.get_by_role("button", name="How is Weights made?").click()
    expect(page.get_by_role("dialog", name="How is Weights made?")).to_contain_text("step")
    page.keyboard.press("Escape")
    card.get_by_role("button", name="Save Weights").click()
    expect(page.get_by_role("button", name="md Numbers with words beside.")).to_be_visible()  # of a third party
    expect(page.get_by_role("button", name="png")).to_have_count(1)
    page.get_by_role("button", name="pdf").click()
    expect(page.get_by_role("log")).to_contain_text("no printer here; save a svg")
    visit.wrong = [line for line in visit.wrong if "422" not in line]


def test_panels_fold_and_are_resized(visit: Visit, server: Server) -> None:
    """Panels fold by key and are resized by their edge with the pointer and by keyboard; both are remembered."""
    page = visit.open(server.url)
    panel = page.get_by_role("complementary", name="Network")
    edge = page.get_by_role("separator", name="Width of Network")
    expect(edge).to_have_attribute("aria-valuenow", "260")
    edge.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuenow", "276")
    box = edge.bounding_box()
    assert box
    page.mouse.move(box["x"] + 2, 400)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, 400)
    page.mouse.up()
    expect(edge).to_have_attribute("aria-valuenow", "320")
    page.locator("[data-view=activations] [data-key='unit:conv1/1']").click()
    expect(page.locator("[data-view=inspector]")).to_be_visible()
    page.keyboard.press("i")
    page.reload()
    expect(page.get_by_role("separator", name="Width of Network")).to_have_attribute("aria-valuenow", "320")
    expect(page.get_by_role("button", name="Open Inspector")).to_be_visible()
    assert panel.bounding_box()["width"] == pytest.approx(320)  # type: ignore[index]


def test_drawers_at_900(visit: Visit, server: Server) -> None:
    """At 900 pixels the map and the inspector are drawers over the room, one at a time, and nothing overflows."""
    visit.page.set_viewport_size({"width": 900, "height": 900})
    page = visit.open(server.url)
    expect(page.locator("[data-view=structure]")).to_have_count(0)
    page.get_by_role("button", name="Network map").click()
    expect(page.locator("[data-view=structure]")).to_be_in_viewport()
    page.get_by_role("button", name="Inspector", exact=True).click()
    expect(page.get_by_text("Nothing is selected")).to_be_in_viewport()
    expect(page.locator("[data-view=structure]")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    bar = page.locator("header").first
    assert bar.evaluate("bar => bar.scrollWidth <= bar.clientWidth")


def test_theme(visit: Visit, server: Server) -> None:
    """The theme follows the system, then what was chosen, and is remembered."""
    page = visit.open(server.url)
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Theme: system").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    page.get_by_role("button", name="Theme: light").click()
    expect(root).to_have_attribute("data-theme", "dark")


def test_comparing_with_a_second_run(visit: Visit, server: Server) -> None:
    """Other runs and steps travel beside every request, and in set B of the selection; each can be taken out again."""
    page = visit.open(server.url)
    page.get_by_role("button", name="Choose a run").click()
    page.get_by_label("compare with run").select_option("older/digits")
    page.get_by_role("dialog").get_by_label("step").fill("40")
    page.get_by_role("dialog").get_by_label("step").press("Enter")
    expect(page).to_have_url(re.compile("step%3A40"))
    expect(page.locator("[data-view=weights]")).to_have_attribute("aria-busy", "false")
    until(page, lambda: server.asked("weights")[-1]["other"] == {"run": "older/digits", "step": 40})
    assert server.asked("weights")[-1]["selection"] == ""
    own = server.asked("weights")[-1]["run"]
    page.get_by_label("compare with one more run").select_option(own)
    both = [{"run": "older/digits", "step": 40}, {"run": own, "step": 0}]
    until(page, lambda: server.asked("weights")[-1]["other"] == both)
    page.get_by_role("button", name="compare no more with older/digits").click()
    until(page, lambda: server.asked("weights")[-1]["other"] == {"run": own, "step": 0})


def test_long_selections_are_kept_by_the_server(visit: Visit, server: Server) -> None:
    """A selection too long for an address is stored, named in the address, and comes back from it; it keeps the page with its run."""
    page = visit.open(server.url)
    tiles = page.locator(".examples [data-key]")
    tiles.first.click()
    tiles.nth(63).click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("select=%40"))
    address = page.url
    visit.page.goto("about:blank")
    page = visit.open(address)
    expect(page.locator(".examples .selected")).to_have_count(64)
    for run in server.training.runs:  # the training has ended, and another one begins
        run["alive"] = not run["alive"]
    server.push()
    expect(page).to_have_url(re.compile("run=digits&"))


def test_a_training_in_sight_is_not_left_for_another(visit: Visit, server: Server) -> None:
    """Where a second training begins, the page stays with the one that it shows, also if nothing was chosen in it."""
    page = visit.open(server.url)
    name = page.get_by_role("button", name="Choose a run")
    expect(name).to_contain_text("digits")
    server.training.runs.insert(0, {"name": "begun", "steps": 1, "alive": True, "title": "another"})
    server.push()
    name.click()
    expect(page.get_by_text("begun").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(name).not_to_contain_text("begun")


def test_empty_states(visit: Visit, server: Server) -> None:
    """Without a run the page shows the lines to add; an unknown run and one before its first step say so."""
    runs, server.training.runs = server.training.runs, []
    page = visit.open(server.url)
    expect(page.get_by_text("with diorama.watch(model")).to_be_visible()
    server.training.runs = runs
    server.push()
    expect(page.locator("[data-view=weights] .drawn")).to_be_visible()
    page = visit.open(server.url + "#run=gone")
    page.reload()
    expect(page.get_by_text("There is no run named “gone” here")).to_be_visible()


def test_hostile_names_are_text(visit: Visit, server: Server) -> None:
    """Markup in the names of runs, classes and events is shown as it is, and runs nothing."""
    bad = "<img src=x onerror=alert(1)>"
    server.training.classes = [bad, *server.training.classes[1:]]
    server.training.runs[0]["name"] = bad
    server.training.events = [{"step": 5, "kind": "command", "name": bad, "text": bad}]
    page = visit.open(server.url)
    page.locator("[data-view=confusion] .drawn").wait_for()
    expect(page.get_by_role("button", name="Choose a run")).to_contain_text(bad)
    page.locator(".event").first.hover()
    expect(page.get_by_role("tooltip").first).to_contain_text(bad)
    assert page.locator("img").count() == 0


def test_keys_and_glossary(visit: Visit, server: Server) -> None:
    """ "?" lists the keys, Escape closes them; a term explains itself on hover."""
    page = visit.open(server.url)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("one snapshot back or on")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_text("filter", exact=True).hover()
    expect(page.get_by_text("a small picture that a unit looks for")).to_be_visible()


def test_the_catalogue_finds(visit: Visit, server: Server) -> None:
    """The catalogue finds by a word, orders by paper, opens a view, and names the demo for what does not fit."""
    page = visit.open(server.url + "#room=catalogue")
    entries = page.locator("[data-entry]")
    expect(entries).to_have_count(14)
    expect(page.get_by_role("region", name="Features")).to_be_visible()
    page.get_by_role("radio", name="by paper").click()
    expect(page.get_by_role("region", name="Karpathy 2014")).to_contain_text("Activations")
    page.get_by_role("searchbox").fill("misfit")
    expect(entries).to_have_count(1)
    expect(entries).to_contain_text("it colours text, and this network reads images")
    expect(entries).to_contain_text("diorama demo text")
    page.get_by_role("searchbox").fill("weights")
    page.get_by_role("link", name="Weights").click()
    expect(page.get_by_role("heading", name="Weights of conv1")).to_be_visible()
    expect(page.locator("main article")).to_have_count(1)
