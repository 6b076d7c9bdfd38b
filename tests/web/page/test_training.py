"""The page on real trainings: live, at every snapshot, with everything that a person does to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from visits import PATIENCE, Visit, drawn, settled

import diorama
from diorama.server.serve import Page as Served

SMALL = {"gpt": {"width": 16, "layers": 1}}
"""Knobs of demos whose views draw once they have made all of what takes them long."""
OPENED = list(dict.fromkeys(shown.demo for shown in (*diorama.views.values(), *diorama.methods.values()) if shown.demo))
"""Demos that an entry of the catalogue opens on."""
DRAWN_OR_GONE = """name => {
    const card = document.querySelector(`main article[data-view="${name}"]`)
    card?.scrollIntoView({block: "center"})
    return !card || card.querySelector(".drawn")
}"""


# Long tests go first, and on one worker: each worker that takes some of these trains a network of its own beside them.
pytestmark = pytest.mark.timeout(900)


def _draw_a_three(page: Page) -> None:
    box = page.get_by_label("Drawing pad").bounding_box()
    assert box
    x, y, side = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.3 * side, y + 0.25 * side)
    page.mouse.down()
    for across, down in ((0.5, 0.15), (0.7, 0.3), (0.5, 0.48), (0.72, 0.65), (0.5, 0.85), (0.28, 0.75)):
        page.mouse.move(x + across * side, y + down * side, steps=4)
    page.mouse.up()


def test_every_view_of_the_room_is_drawn_live(learning: Page) -> None:
    """While the network learns, every view of the room shows a picture, none an error, and the steps go on."""
    names = learning.locator("main article").evaluate_all("cards => cards.map(card => card.dataset.view)")
    assert {"health", "curves", "activations", "confusion"} <= set(names)
    for name in names:
        # A card without anything to tell any more may go while the network learns.
        learning.wait_for_function(DRAWN_OR_GONE, arg=name, timeout=PATIENCE)
        expect(learning.locator(f"main article[data-view='{name}'] .failure")).to_have_count(0)
    for panel in ("map", "answer"):
        drawn(learning.locator(f"[data-view={panel}]"))
    step = learning.locator("header .step b")
    before = step.inner_text()
    expect(step).not_to_have_text(before, timeout=PATIENCE)


def test_a_drawing_is_seen_while_the_training_runs(learning: Page) -> None:
    """A drawn three reaches the activations, the map and the answer, and the network says three once it has learned."""
    learned = re.compile(r"^([3-9]\d\d|\d+,\d+)$")
    expect(learning.locator("header .step b")).to_have_text(learned, timeout=PATIENCE)
    _draw_a_three(learning)
    for text in ("Activations of your drawing", "your drawing"):
        expect(learning.get_by_text(text).first).to_be_visible(timeout=PATIENCE)
    expect(learning.locator("[data-view=answer] .strong")).to_contain_text("3", timeout=PATIENCE)


def test_the_past_is_one_key_away(learning: Page) -> None:
    """At step 0 and half-way every view in sight is drawn as the network was then."""
    slider = learning.get_by_role("slider", name="Step of the training")
    slider.press("Home")
    expect(learning.get_by_text(re.compile("step 0 of"))).to_be_visible()
    drawn(learning.locator("[data-view=activations]"))
    learning.keyboard.press("Shift+ArrowRight")
    expect(learning.get_by_text(re.compile("step 0 of"))).to_be_hidden()
    for view in ("health", "curves", "activations", "confusion"):
        card = learning.locator(f"[data-view={view}]")
        expect(card).to_have_attribute("aria-busy", "false", timeout=PATIENCE)
        drawn(card)


def test_pausing_halving_and_resuming(learning: Page) -> None:
    """Pause holds the training, the halved rate is acknowledged and marked on the time axis, resume lets it go on."""
    step = learning.locator("header .step b")
    marked = learning.locator(".event.command")
    before = marked.count()
    learning.get_by_role("button", name="Pause", exact=True).click()
    expect(learning.get_by_role("button", name="Resume", exact=True)).to_be_visible(timeout=PATIENCE)
    settled(learning, step.inner_text, 30)
    held = step.inner_text()
    learning.get_by_role("button", name="Steer the training").click()
    learning.get_by_role("button", name="× 0.5").click()
    expect(learning.get_by_role("log")).to_contain_text("learning rate", timeout=PATIENCE)
    learning.keyboard.press("Escape")
    expect(marked).not_to_have_count(before, timeout=PATIENCE)
    expect(step).to_have_text(held)
    learning.get_by_role("button", name="Resume", exact=True).click()
    expect(step).not_to_have_text(held, timeout=PATIENCE)


def test_a_map_becomes_the_selected_unit(learning: Page) -> None:
    """A clicked map is told about in the inspector, and lit in the weights too; the training is held, so that nothing moves."""
    learning.get_by_role("button", name="Pause", exact=True).click()
    expect(learning.get_by_role("button", name="Resume", exact=True)).to_be_visible(timeout=PATIENCE)
    settled(learning, learning.locator("header .step b").inner_text)
    learning.locator("[data-view=activations] [data-key='unit:conv2/3']").click()
    drawn(learning.locator("[data-view=inspector]"))
    expect(learning.locator("[data-view=inspector]")).to_contain_text("conv2/3", timeout=PATIENCE)
    learning.get_by_role("navigation", name="More views of this room").get_by_role("button", name="Weights", exact=True).click()
    expect(learning.locator("[data-view=weights] [data-key='unit:conv2/3']")).to_have_class(
        re.compile("selected"), timeout=PATIENCE
    )
    learning.keyboard.press("Escape")


def test_what_is_wrong_is_answered_and_both_ways_are_compared(learning: Page, recorded: Path) -> None:
    """A layer that died stands at the top and is drawn anew; filters are added and taken back; the training goes back, branches at half the
    rate, and both runs stand side by side."""
    page, run = learning, diorama.open(recorded)
    page.get_by_role("button", name="Enlarge Findings").click()
    if run.paused:
        page.get_by_role("button", name="Resume", exact=True).click()
    for unit in range(8):
        run.command("edit_weight", key=f"weight:conv1.bias/{unit}", value=-100.0, wait=60.0)
    findings = page.locator("[data-view=findings]")
    expect(findings.locator("[data-key]").first).to_contain_text("100 % of conv1 is dead", timeout=PATIENCE)
    findings.locator("[data-key]").first.click()
    findings.get_by_role("button", name="Reinitialize conv1").click()
    page.get_by_role("button", name="Steer the training").click()
    changed = page.get_by_role("region", name="What was changed").locator("li")
    expect(changed.first).to_contain_text("reinitialized conv1")
    chosen = page.get_by_role("region", name="What is selected")
    chosen.locator("summary", has_text="Add units").click()
    chosen.get_by_label("count").fill("3")
    chosen.get_by_label("count").press("Enter")
    chosen.get_by_role("button", name="Add units").click()
    expect(changed.first).to_contain_text("added 3 units to conv1 (8 → 11)")
    expect(findings.locator("[data-key]").filter(has_text="100 % of conv1 is dead")).to_have_count(0, timeout=PATIENCE)
    changed.first.get_by_role("button", name="Take back").click()
    page.get_by_role("button", name="Take back only this act").click()
    page.get_by_role("button", name="Steer the training").click()
    expect(changed.first).to_have_class(re.compile("gone"))
    page.locator("summary", has_text="Time").click()
    before = str(run.meta["acts"][-1]["step"])
    page.get_by_label("checkpoint", exact=True).select_option(before)
    page.get_by_role("button", name=f"Go back to step {int(before):,}").click()
    chooser = page.get_by_role("button", name="Choose a run")
    expect(chooser).to_contain_text("digits-2", timeout=PATIENCE)
    page.get_by_role("button", name="Steer the training").click()
    expect(changed.first).to_contain_text("reinitialized conv1")
    expect(changed.first).to_contain_text(" of digits; taken back only by going back to before it")
    expect(page.get_by_role("button", name="Branch off from step")).to_be_visible()  # the fold stays as it was left
    page.get_by_label("learning rate factor of the branch").fill("0.5")
    page.get_by_label("learning rate factor of the branch").press("Enter")
    page.get_by_role("button", name="Branch off from step").click()
    beside = page.locator("main article[data-view=compare]")
    expect(beside).to_contain_text("digits-3", timeout=PATIENCE)
    expect(chooser).to_contain_text("↔ digits-3")
    drawn(beside)
    expect(changed).to_have_count(0)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page on one short run of every demo that the catalogue opens on, each named like its demo."""
    folder = tmp_path_factory.mktemp("demos")
    for name in OPENED:
        diorama.demos[name](**SMALL.get(name, {}), pace=0.0).run(folder / name, steps=12)
    page = diorama.serve(folder)
    yield page
    page.close()


def test_every_address_of_the_catalogue_opens(browser: Browser, demos: Served) -> None:
    """Each entry opens on its own demo with a picture, from its address alone."""
    visit = Visit(browser, viewport={"width": 1440, "height": 420})  # what is not in sight is not computed
    visit.page.set_default_timeout(PATIENCE)
    page = visit.open(demos.url)
    opened, explained = set(), set()
    for name in OPENED:
        page.goto(demos.url.split("?")[0] + f"#run={name}&room=catalogue")
        page.locator("[data-entry]").first.wait_for()
        expect(page.locator("[data-entry] a").nth(3)).to_be_visible(timeout=PATIENCE)
        listed = page.locator("[data-entry]").evaluate_all(
            "all => all.map(one => [one.dataset.entry, [...one.querySelectorAll('a')].map(link => link.getAttribute('href'))])"
        )
        page.goto("about:blank")
        for identity, links in listed:
            kind, _, which = identity.partition("-")
            shown = diorama.views[which] if kind == "view" else diorama.methods[which]
            if shown.demo != name:
                continue
            view = shown if kind == "view" else diorama.views[shown.view]
            assert len(links) == 1, f"{identity} should open on {name}"
            opened.add(identity)
            if kind == "method":
                assert links[0].endswith(f"&view={view.name}&k.{view.name}.method={which}")
                if (name, view.name) in explained:
                    continue  # another value of a knob, in a view that a method's address has opened
                explained.add((name, view.name))
            place = f"[data-view={view.name}]"
            if view.panel or page.locator(place).count() or name not in page.url:
                page.goto("about:blank")  # from its address alone; and the catalogue draws nothing meanwhile
                page.goto(demos.url.split("?")[0] + links[0])
            else:
                page.evaluate("address => { location.hash = address }", links[0])
            if view.panel == "inspector":
                # It is folded until something is selected.
                expect(page.get_by_role("button", name="Open Inspector")).to_be_visible(timeout=PATIENCE)
            else:
                drawn(page.locator(place))
    visit.context.close()
    methods = {f"method-{name}" for name, method in diorama.methods.items() if method.demo}
    assert opened == {f"view-{name}" for name in diorama.views} | methods
    assert not visit.wrong, visit.wrong
