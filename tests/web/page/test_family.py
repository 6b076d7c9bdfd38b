"""Time in the page: going back, branches, twins, and the family of runs."""

from __future__ import annotations

from fake_run import act
from fake_server import Server
from playwright.sync_api import expect
from visits import Visit, until


def test_going_back_and_branching(visit: Visit, server: Server) -> None:
    """Going back and a demo's branch are one click; a script is started after its line was read, and both runs are then compared."""
    way = {"line": "python train.py --deep", "folder": "/home/me", "at_once": False, "refused": ""}
    acts = [act(7, 300, "added 3 units"), act(9, 400, "clip 1", plain=True, checkpoint=False)]
    server.training.family = {"checkpoints": [100, 400], "way": way, "acts": acts}
    page = visit.open(server.url)
    page.get_by_role("button", name="Steer the training").click()
    page.locator("summary", has_text="Time").click()
    page.get_by_role("button", name="Keep a checkpoint").click()
    page.get_by_label("checkpoint", exact=True).select_option("100")
    page.get_by_label("batches to leave out").fill("1")
    page.get_by_label("batches to leave out").press("Enter")
    page.get_by_role("button", name="Go back to step 100").click()
    page.get_by_label("learning rate factor of the branch").fill("0.5")
    page.get_by_label("learning rate factor of the branch").press("Enter")
    page.get_by_role("button", name="Branch off from step 100").click()
    expect(page.get_by_role("alertdialog")).to_contain_text("python train.py --deep again in /home/me")
    assert [name for name, _ in server.training.commands] == ["checkpoint", "go_back"]
    page.get_by_role("button", name="Start it").click()
    expect(page.get_by_role("button", name="Choose a run")).to_contain_text("↔ older/digits")
    server.training.family["way"] = {**way, "at_once": True}
    server.push()
    page.get_by_role("button", name="Steer the training").click()
    twin = page.get_by_role("button", name="Compare with the run without command 7")
    expect(twin).to_have_text("compare with the run without it and the act after it")
    twin.click()
    until(page, lambda: len(server.training.commands) == 4)
    assert server.training.commands[1:] == [
        ("go_back", {"step": 100, "skip": 1}), ("branch", {"step": 100, "factor": 0.5, "consent": True}), ("twin", {"command": 7}),
    ]


def test_a_branch_that_begins_late_is_compared_when_it_does(visit: Visit, server: Server) -> None:
    """A busy machine starts a training so slowly that the answer comes before the run: it stands beside the other as soon as it is there."""
    server.training.family = {"checkpoints": [100, 400], "way": {"line": "", "folder": "", "at_once": True, "refused": ""}}
    server.training.child = "digits-2"
    page = visit.open(server.url)
    page.get_by_role("button", name="Steer the training").click()
    page.locator("summary", has_text="Time").click()
    page.get_by_role("button", name="Branch off from step").click()
    expect(page.get_by_role("log")).to_contain_text("branch at step")
    chooser = page.get_by_role("button", name="Choose a run")
    expect(chooser).not_to_contain_text("↔")
    server.training.runs.append({"name": "digits-2", "steps": 400, "alive": True, "title": "a CNN on digits"})
    server.push()
    expect(chooser).to_contain_text("↔ digits-2")
    server.training.runs.append({"name": "digits-3", "steps": 1, "alive": True, "title": "a CNN on digits"})
    server.push()
    page.get_by_role("button", name="Choose a run").click()
    expect(page.get_by_text("digits-3").first).to_be_visible()
    expect(chooser).not_to_contain_text("digits-3")


def test_a_chosen_checkpoint_stays_chosen(visit: Visit, server: Server) -> None:
    """The list is renewed while the training goes on: what was chosen stays, and where it is kept no more that is said, and none taken for it."""
    server.training.family = {"checkpoints": [100, 400, 1200], "way": {"line": "", "folder": "", "at_once": True, "refused": ""}}
    page = visit.open(server.url)
    page.get_by_role("button", name="Steer the training").click()
    page.locator("summary", has_text="Time").click()
    chooser = page.get_by_label("checkpoint", exact=True)
    expect(page.get_by_role("button", name="Go back to step 400")).to_be_visible()
    chooser.select_option("100")
    server.training.family["checkpoints"] = [100, 1200, 1300]
    server.push()
    expect(chooser.locator("option")).to_have_text(["100", "1,200", "1,300"])
    expect(chooser).to_have_value("100")
    expect(page.get_by_role("button", name="Go back to step 100")).to_be_visible()
    server.training.family["checkpoints"] = [1200, 1300, 1400]
    server.push()
    expect(page.get_by_text("The checkpoint of step 100, which was chosen, is not kept any more: choose another.")).to_be_visible()
    expect(page.get_by_role("button", name="Go back to step")).to_have_count(0)
    chooser.select_option("1300")
    page.get_by_role("button", name="Go back to step 1,300").click()
    until(page, lambda: server.training.commands == [("go_back", {"step": 1300, "skip": 0})])


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


def test_a_later_undo_is_asked_about(visit: Visit, server: Server) -> None:
    """An act on weights that have learnt on since is taken back alone or by going back, as the person says; a plain value at once."""
    server.training.family = {"acts": [act(7, 300, "added 3 units"), act(9, 400, "clip 1", plain=True, checkpoint=False)]}
    page = visit.open(server.url)
    page.get_by_role("button", name="Steer the training").click()
    page.get_by_role("button", name="Take back command 9").click()
    until(page, lambda: server.training.commands == [("undo", {"command": 9})])
    page.get_by_role("button", name="Take back command 7").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("gone on since step 300, to step 812")
    expect(question).to_contain_text("own difference goes; what was learnt since stays")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.get_by_role("button", name="Steer the training").click()
    for answer, sent in (("Take back only this act", ("undo", {"command": 7})), ("Go back to before it", ("go_back", {"command": 7}))):
        page.get_by_role("button", name="Take back command 7").click()
        question.get_by_role("button", name=answer).click()
        until(page, lambda sent=sent: server.training.commands[-1] == sent)
        page.get_by_role("button", name="Steer the training").click()
    server.training.last, server.training.paused = 300, True
    server.push()
    page.get_by_role("button", name="Take back command 7").click()
    until(page, lambda: len(server.training.commands) == 4)
    assert server.training.commands[-1] == ("undo", {"command": 7})
    server.training.family["acts"][0]["blocked"] = "command 9 (clip) changed the same weights later; take that back first"
    server.push()
    expect(page.get_by_text("not taken back as it stands: command 9 (clip) changed the same weights later")).to_be_visible()
    expect(page.get_by_role("button", name="Take back command 7")).to_have_count(0)
    page.get_by_role("button", name="Go back to before command 7").click()
    until(page, lambda: server.training.commands[-1] == ("go_back", {"command": 7}))


def test_steering_begins_with_what_is_selected(visit: Visit, server: Server) -> None:
    """What the selection fills in stands first, a search finds any command, a rule in force is ended from its list, all by keys."""
    server.training.family = {"rules": [{"rule": 2, "text": "if loss is not finite: pause", "fired": 3, "last": 640}]}
    page = visit.open(server.url)
    page.locator("[data-view=activations] [data-key='unit:conv2/3']").click()
    page.get_by_role("button", name="Steer the training").press("Enter")
    chosen = page.get_by_role("region", name="What is selected")
    expect(chosen.locator("summary")).to_have_text(["Zeroconv2/3", "Freezeconv2"])
    chosen.locator("summary").first.press("Enter")
    server.training.family["frozen"] = ["conv1"]  # the training tells something new, and what was unfolded stays so
    server.training.last += 1
    server.push()
    expect(page.locator("header .step b")).to_have_text("813")
    chosen.get_by_role("button", name="Zero").press("Enter")
    page.locator("summary", has_text="Rules").press("Enter")
    expect(page.get_by_text("came true 3 times, at step 640 last")).to_be_visible()
    page.get_by_role("button", name="End rule 2").press("Enter")
    page.get_by_label("Find a command").fill("freeze")
    expect(page.locator("[data-command]")).to_have_count(1)
    page.get_by_label("Find a command").fill("freezer")
    expect(page.get_by_text("No command is called so.")).to_be_visible()
    until(page, lambda: len(server.training.commands) == 2)
    assert server.training.commands == [("zero", {"unit": "conv2/3"}), ("unrule", {"rule": 2})]
