"""Time in the page: going back, branches, twins, and the family of runs."""

from __future__ import annotations

from fake_server import Server
from playwright.sync_api import expect
from visits import Visit, until


def test_going_back_and_branching(visit: Visit, server: Server) -> None:
    """Going back and a demo's branch are one click; a script is started after its line was read, and both runs are then compared."""
    way = {"line": "python train.py --deep", "folder": "/home/me", "at_once": False, "refused": ""}
    server.training.family = {"checkpoints": [100, 400], "way": way, "acted": True}
    page = visit.open(server.url)
    page.get_by_role("button", name="Steer the training").click()
    page.get_by_role("button", name="Keep a checkpoint").click()
    page.get_by_label("checkpoint", exact=True).select_option("100")
    page.get_by_label("batches to leave out").fill("1")
    page.get_by_label("batches to leave out").press("Enter")
    page.get_by_role("button", name="Go back to step 100").click()
    page.get_by_label("learning rate factor of the branch").fill("0.5")
    page.get_by_label("learning rate factor of the branch").press("Enter")
    page.get_by_role("button", name="Branch off from step 100").click()
    expect(page.get_by_role("alert")).to_contain_text("python train.py --deep again in /home/me")
    assert [name for name, _ in server.training.commands] == ["checkpoint", "go_back"]
    page.get_by_role("button", name="Start it").click()
    expect(page.get_by_role("button", name="Choose a run")).to_contain_text("↔ older/digits")
    server.training.family["way"] = {**way, "at_once": True}
    server.push()
    page.get_by_role("button", name="Compare with the run left alone").click()
    until(page, lambda: len(server.training.commands) == 4)
    assert server.training.commands[1:] == [
        ("go_back", {"step": 100, "skip": 1}), ("branch", {"step": 100, "factor": 0.5, "consent": True}), ("twin", {"consent": False}),
    ]


def test_the_page_follows_a_training_that_goes_back(visit: Visit, server: Server) -> None:
    """The page goes with it into the child, which stands below its parent where runs are chosen; an ended run still branches."""
    page = visit.open(server.url)
    chooser = page.get_by_role("button", name="Choose a run")
    expect(chooser).to_contain_text("digits")
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    server.training.runs[1] |= {"name": "digits-2", "parent": "digits", "left": 100}
    server.training.family = {"heir": "digits-2", "checkpoints": [100], "way": {"line": "", "folder": "", "at_once": False,
                                                                                 "refused": "it runs in a notebook"}}
    server.training.alive = False
    server.push()
    expect(chooser).to_contain_text("digits-2")
    chooser.click()
    expect(page.locator(".list button").nth(1)).to_contain_text("digits-2 from step 100")
    expect(page.locator(".list svg.rails path")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Train on from here").click()
    expect(page.get_by_text("No branch can be started from here: it runs in a notebook")).to_be_visible()
