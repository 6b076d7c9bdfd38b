"""What a command changed is taken back: the newest act, or any, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import nn

import diorama
from diorama.core import registry
from diorama.core.knobs import knob
from diorama.core.marks import Bars
from diorama.record import acts, requests
from diorama.record.acts import Act, Acts, Reversal
from diorama.record.commands import Command, Outcome
from diorama.record.recorder import Recorder

pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Steered:
    """A recorded net that stands between two steps and answers each command at once."""

    def __init__(self, path: Path) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        self.optimizer = torch.optim.SGD(
            [{"params": self.model[0].parameters()}, {"params": self.model[2].parameters(), "lr": 0.2}], 0.1, momentum=0.5
        )
        self.recorder: Recorder = diorama.watch(self.model, path / "run", optimizer=self.optimizer)
        self.run = diorama.open(path / "run")

    def send(self, name: str, **knobs: Any) -> dict[str, Any]:
        """Send a command; the answer, as it is acknowledged."""
        number = requests.send(path := self.recorder.path, name, knobs)
        self.recorder.step(loss=0.0)
        return answered(path, number)

    @property
    def factors(self) -> list[float]:
        """The factors on the learning rates."""
        return [group.factor for group in self.recorder.controls.factors.groups]


@pytest.fixture
def steered(tmp_path: Path) -> Any:
    made = _Steered(tmp_path)
    yield made
    made.recorder.close()


def test_acts_are_taken_back_newest_first(steered: _Steered) -> None:
    """Without a number the newest act in force goes; then the one before it; then none is left, and a sentence says so."""
    steered.send("learning_rate", factor=0.5)
    steered.send("optimizer_value", setting="momentum", value=0.9, group=1)
    steered.send("freeze", layer="0")
    assert steered.recorder.controls.subject.frozen.layers == ("0",)
    answer = steered.send("undo")
    assert steered.recorder.controls.subject.frozen.layers == ()
    assert answer["text"].startswith("took back command 3, freeze of step 3 (froze layer 0")
    assert "momentum 0.9 → 0.5" not in steered.send("undo")["text"]
    assert [group["momentum"] for group in steered.optimizer.param_groups] == [0.5, 0.5]
    assert steered.factors == [0.5, 0.5]
    steered.send("undo")
    assert steered.factors == [1.0, 1.0]
    refused = steered.send("undo")
    assert not refused["ok"]
    assert "nothing is in force" in refused["text"]
    steered.recorder.close()
    assert [event.name for event in steered.run.events if event.kind == "command"][-3:] == ["undo"] * 3


def test_an_older_act_is_taken_back_under_a_newer_one(steered: _Steered) -> None:
    """What a later act set stays in force; when that one goes too, all is as before the first."""
    steered.send("learning_rate", factor=0.5)
    steered.send("learning_rate", factor=0.25, group=1)
    told = steered.send("undo", command=1)["text"]
    assert "a later command" not in told
    assert told.endswith("what was set since for 1 of its 2 values stays in force")
    assert steered.factors == [1.0, 0.25]
    steered.send("learning_rate", factor=4, group=1)
    assert "a later command set the same" in steered.send("undo", command=2)["text"]
    assert steered.factors == [1.0, 4.0]
    steered.send("undo")
    assert steered.factors == [1.0, 1.0]


def test_a_thaw_is_taken_back(steered: _Steered) -> None:
    """The layer is frozen again, and taking back its freeze lets it learn."""
    steered.send("freeze", layer="0")
    steered.send("thaw", layer="0")
    steered.send("undo")
    assert steered.recorder.controls.subject.frozen.layers == ("0",)
    steered.send("undo", command=1)
    assert steered.recorder.controls.subject.frozen.layers == ()


@pytest.mark.parametrize(("number", "word"), [(1, "taken back already"), (2, "no command 2"), (99, "in force now: 4")])
def test_what_cannot_be_taken_back_says_why(steered: _Steered, number: int, word: str) -> None:
    """An act that was taken back, a command that is no act, and a number that is none."""
    steered.send("freeze", layer="0")
    steered.send("snapshot")
    steered.send("undo")
    steered.send("freeze", layer="2")
    refused = steered.send("undo", command=number)
    assert not refused["ok"]
    assert word in refused["text"]
    assert steered.recorder.controls.subject.frozen.layers == ("2",)


def test_the_page_is_told_which_acts_are_in_force(steered: _Steered) -> None:
    """The record says of each act its number, step, sentence and whether it is in force."""
    steered.send("freeze", layer="0")
    steered.send("learning_rate", factor=0.5)
    steered.send("undo", command=1)
    steered.recorder.close()
    told = steered.run.meta["acts"]
    assert [(each["command"], each["step"], each["name"], each["state"]) for each in told] == [
        (1, 1, "freeze", "taken back"), (2, 2, "learning_rate", "in force"),
    ]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest act that keeps something can no longer be taken back, and says so."""
    monkeypatch.setattr(acts, "KEPT", 100)
    kept = Acts()

    class _Large(Reversal):
        size = 60

        def back(self, training: Any, later: Any) -> str:
            return ""

    for number in (1, 2):
        kept.add(Act(number, 0, "zero", "", _Large()))
    assert [each["state"] for each in kept.told()] == ["for good", "in force"]
    with pytest.raises(diorama.NotApplicable, match="no longer in memory"):
        kept.find(1)
    assert kept.find(None).number == 2


class _Way(Reversal):
    """A way back that fails once."""

    def __init__(self) -> None:
        self.tries = 0

    def back(self, training: Any, later: Any) -> str:
        """Say so."""
        self.tries += 1
        if self.tries == 1:
            raise RuntimeError("too early")
        return ""


class _Shrink(Command):
    """Makes weights smaller, and does what its knob says."""

    family = "weights"
    does: str = knob("", "What.")

    def apply(self, training: Any) -> Outcome:
        """Change."""
        training.subject.model[0].weight.mul_(0.5)
        if self.does == "raise":
            raise KeyError("half way")
        if self.does == "misuse":
            Bars(values=[1, 2], labels=("a", "b"))  # type: ignore[arg-type]
        return Outcome("", "", "shrunk", _Way() if self.does == "way" else None)


@pytest.fixture
def shrinking(steered: _Steered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Steered:
    """One that knows somebody's command."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setitem(registry.commands._loaded, "shrink", type("Mine", (_Shrink,), {"name": "shrink", "__module__": __name__}))
    return steered


def test_a_way_back_that_fails_can_be_tried_again(shrinking: _Steered, tmp_path: Path) -> None:
    """The answer says what failed and where, the log has the details; an older act goes first, and the second try succeeds."""
    shrinking.send("freeze", layer="0")
    shrinking.send("shrink", does="way")
    said = shrinking.send("undo")["text"]
    assert said.startswith("command 2 (shrink) could not be taken back: its way back failed")
    assert "RuntimeError: too early in test_undo.py, line" in said
    assert "undo command=2 tries it again" in said
    assert "Traceback" in (tmp_path / "diorama" / "diorama.log").read_text()
    assert "took back command 1, freeze" in shrinking.send("undo")["text"]
    assert "took back command 2, shrink" in shrinking.send("undo")["text"]


@pytest.mark.parametrize("does", ["raise", "", "misuse"])
def test_what_has_no_way_back_says_so_at_once(shrinking: _Steered, does: str) -> None:
    """A command that broke off, and one without a way back, name the checkpoint before them, and undo names them."""
    before = shrinking.model[0].weight.detach().clone()
    said = shrinking.send("shrink", does=does)["text"]
    if does == "misuse":
        assert "the command 'shrink' wants mending: Bars.values wants an array of 1 dimensions" in said
        assert "in test_undo.py, line" in said
        return
    assert ("'half way' in test_undo.py, line" if does else "it cannot be taken back: the command gives no way back") in said
    assert "go_back command=1 stands before it" in said
    assert f"command 1 (shrink) {'broke off' if does else 'gave no way back'}" in shrinking.send("undo")["text"]
    assert f"it {'broke off' if does else 'gave no way back'}" in shrinking.send("undo", command=1)["text"]
    shrinking.send("go_back", command=1)
    assert torch.equal(shrinking.model[0].weight, before)
