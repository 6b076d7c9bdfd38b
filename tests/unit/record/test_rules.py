"""Rules set ahead: each kind comes true when it should and not before, acts at most once in its steps, and says why."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from patience import answered
from torch import nn

import diorama
from diorama.core import registry
from diorama.record import requests
from diorama.record.recorder import Recorder
from diorama.record.rules import Rules, SetRule
from diorama.training.surgery.births import Rearrangement

pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Ruled:
    """A recorded net that stands between two steps and answers each command at once."""

    def __init__(self, path: Path) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        x = torch.randn(8, 4)
        self.x = x
        self.recorder: Recorder = diorama.watch(self.model, path / "run", probe=x, optimizer=self.optimizer, every=1)
        self.run = diorama.open(path / "run")

    def send(self, name: str, **knobs: Any) -> dict[str, Any]:
        """Send a command as Python does; the answer, as it is acknowledged."""
        number = requests.send(path := self.recorder.path, name, registry.commands[name].gathered(knobs))
        self.step()
        return answered(path, number)

    def step(self, loss: float = 1.0, **more: float) -> None:
        """One step of a loop that learns nothing."""
        self.model(self.x).sum().backward()
        self.optimizer.zero_grad()
        self.optimizer.step()
        self.recorder.step(loss=loss, **more)

    @property
    def factor(self) -> float:
        """The factor on the learning rate."""
        return self.recorder.controls.factors.groups[0].factor

    def events(self) -> list[tuple[str, str, str]]:
        """All events so far, once they are written."""
        self.recorder.close()
        return [(event.kind, event.name, event.text) for event in diorama.open(self.recorder.path).events]


@pytest.fixture
def ruled(tmp_path: Path) -> Any:
    made = _Ruled(tmp_path)
    yield made
    made.recorder.close()


def test_a_rule_acts_in_the_training_and_says_why(ruled: _Ruled) -> None:
    """A signal that stays above a number halves the rate once in those steps; reason and command are events, and it is taken back."""
    answer = ruled.send("rule", when="signal", signal="loss", above=2.0, steps=3, do="learning_rate", factor=0.5)
    told = "rule 1: if loss is above 2 for 3 steps: learning_rate (factor=0.5, again=True)"
    assert answer["text"] == f"{told}; each time it acts on top of the last, without end: times= bounds that"
    for loss in (3.0, 3.0, 1.0, 3.0, 3.0, 3.0):
        ruled.step(loss)
    assert ruled.factor == 1.0
    ruled.step(3.0)
    assert ruled.factor == 0.5
    at = ruled.recorder.number
    assert [(rule["fired"], rule["last"]) for rule in ruled.recorder.controls.rules.told()] == [(1, at)]
    assert ruled.send("undo")["text"].startswith("took back command 2, learning_rate")
    assert ruled.factor == 1.0
    assert ruled.send("unrule", rule=1)["ok"]
    assert not ruled.recorder.controls.rules.known
    assert f"rule 1 came true: loss has been so since step {at - 3}, 3 at step {at}" in [text for kind, _, text in ruled.events() if kind == "rule"]


def test_who_goes_back_meets_the_rules_of_then(ruled: _Ruled) -> None:
    """A rule that has ended since is in force again, as it stood then; one that was set since stays, as it may be what goes back."""
    for low in (9.0, 8.0):
        ruled.send("rule", when="signal", signal="loss", above=low, steps=3, do="pause")
    ruled.send("checkpoint")
    step = ruled.recorder.number
    ruled.send("unrule", rule=1)
    ruled.send("rule", when="not_finite", do="pause")
    assert set(ruled.recorder.controls.rules.known) == {2, 3}
    assert ruled.send("go_back", step=step)["ok"]
    assert set(ruled.recorder.controls.rules.known) == {1, 2, 3}
    assert ruled.recorder.controls.rules.known[1].above == 9.0
    assert [rule["rule"] for rule in ruled.recorder.controls.held()["rules"]] == [1, 2, 3]


def test_a_rate_is_halved_again_and_again(ruled: _Ruled) -> None:
    """Each time a rule on the learning rate comes true the rate is halved once more; trying it beforehand left no trace."""
    ruled.send("rule", when="signal", signal="loss", above=2.0, steps=2, do="learning_rate", factor=0.5)
    assert ruled.factor == 1.0
    for _ in range(8):
        ruled.step(3.0)
    fired = ruled.recorder.controls.rules.told()[0]["fired"]
    assert fired > 1
    assert ruled.factor == 0.5**fired
    assert any(text.endswith(f"; it has acted {fired} times") for kind, _, text in ruled.events() if kind == "rule")


def test_a_rule_acts_as_often_as_it_may(ruled: _Ruled) -> None:
    """One on top of the last says that it has no end; with times= it has one."""
    knobs = {"when": "signal", "signal": "loss", "above": 2.0, "steps": 0, "do": "learning_rate", "factor": 0.5}
    assert "without end: times= bounds that" in ruled.send("rule", **knobs)["text"]
    ruled.send("unrule", rule=1)
    assert ruled.send("rule", **knobs, times=2)["text"].endswith("(factor=0.5, again=True), 2 times at most")
    for _ in range(9):
        ruled.step(3.0)
    assert ruled.factor == 0.25
    assert not ruled.send("rule", **knobs, times=0)["ok"]


def test_a_rule_that_changes_nothing_rests(ruled: _Ruled) -> None:
    """What is so already is no act; the rule waits until its condition was false once, and then acts where there is something to change."""
    ruled.send("rule", when="signal", signal="loss", above=2.0, steps=0, do="clip", with_knobs="norm=1")
    known = ruled.recorder.controls.rules.known[1]
    for _ in range(9):
        ruled.step(3.0)
    assert (known.fired, known.resting, SetRule.of(known.kept()).resting) == (2, True, True)
    assert [act.name for act in ruled.recorder.controls.acts.in_force] == ["rule", "clip"]
    ruled.step(1.0)
    assert not known.resting
    assert ruled.send("clip", norm=2.0)["ok"]
    for _ in range(4):
        ruled.step(3.0)
    assert known.fired == 4
    texts = [text for kind, name, text in ruled.events() if (kind, name) == ("command", "clip")]
    assert sum(text.endswith("so nothing changed; rule 1 waits until its condition was false once") for text in texts) == 2


@pytest.mark.parametrize(
    ("when", "bounds", "seen", "rests"),
    [
        ("signal", {"above": 2.0}, [3.0, 3.0], True), ("signal", {"above": 2.0}, [3.0, 1.0], False),
        ("not_fallen", {}, [3.0, 3.0, 4.0], True), ("not_fallen", {}, [3.0, 2.0], False),
        ("not_finite", {}, [math.nan, math.inf], True), ("not_finite", {}, [math.nan, 1.0], False),
    ],
)
def test_it_rests_as_long_as_its_condition_holds(when: str, bounds: dict[str, float], seen: list[float], rests: bool) -> None:
    """Of each kind; a step without a reading says nothing of it."""
    rules = Rules()
    rules.put(SetRule(1, when, "loss", None, 0, bounds.get("above"), None, "pause", {}), True)
    rules.judge(1, {"loss": seen[0]})
    rules.rest("rule 1")
    for step, value in enumerate(seen[1:]):
        rules.judge(2 + 2 * step, {"loss": value})
        rules.judge(3 + 2 * step, {})
    assert rules.known[1].resting == rests
    assert rules.rest("page") == rules.rest("rule 7") == ""


def test_a_loss_that_is_no_number_pauses_at_once(ruled: _Ruled) -> None:
    """A rule on what is not finite lets the training wait before its next step."""
    ruled.send("rule", when="not_finite", do="pause")
    ruled.recorder.controls.wait = lambda meanwhile: ruled.recorder.controls.resume()  # type: ignore[method-assign]
    ruled.step(2.0)
    ruled.step(math.nan)
    told = ruled.events()
    assert [name for kind, name, _ in told if kind == "command"] == ["rule", "pause"]
    assert any(kind == "rule" and "loss was nan at step 3" in text for kind, _, text in told)


def test_dead_units_are_drawn_anew(ruled: _Ruled) -> None:
    """A unit that is dead for so many steps, and no other, gets a new start."""
    with torch.no_grad():
        ruled.model[0].weight[2] = 0.0
        ruled.model[0].bias[2] = -1.0
    before = ruled.model[0].weight.detach().clone()
    ruled.send("rule", when="dead_units", layer="0", steps=3, do="reinitialize")
    for _ in range(3):
        ruled.step()
    assert torch.equal(ruled.model[0].weight, before)
    ruled.step()
    changed = (ruled.model[0].weight != before).any(1)
    assert changed.tolist() == [False, False, True, False, False, False]


def test_a_layer_with_dead_units_is_drawn_anew_where_it_is_named(ruled: _Ruled) -> None:
    """Where the command is told a layer, all of it gets a new start."""
    with torch.no_grad():
        ruled.model[0].bias[2] = -99.0
    before = ruled.model[0].weight.detach().clone()
    ruled.send("rule", when="dead_units", layer="0", steps=3, do="reinitialize", with_knobs="layer=0; seed=7")
    for _ in range(4):
        ruled.step()
    assert bool((ruled.model[0].weight != before).any(1).all())


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"when": "signal", "signal": "loss"}, "above= or below="), ({"when": "signal", "above": 1.0}, "wants signal="),
        ({"when": "dead_units"}, "wants layer="), ({"do": "paus"}, "nearest"), ({"do": "unrule"}, "another command"),
        ({"do": "learning_rate", "factor": -1}, "factor wants"), ({"do": "learning_rate", "fact": 1}, "factor"),
        ({"with_knobs": "factor"}, "factor=0.5"), ({"with_knobs": "factor=0.5, layer=0"}, "; between knobs"), ({"with_knobs": "{"}, "factor=0.5"),
        ({"do": "reinitialize"}, "wants unit="),
        ({"when": "never"}, "no choice of when"),
        ({"when": "signal", "signal": "los", "above": 1.0}, "nearest: 'loss'"), ({"when": "not_fallen", "signal": "val_loss"}, "once it was read"),
        ({"when": "dead_units", "layer": "9", "do": "reinitialize"}, "no layer named '9'"), ({"above": 1.0}, "says nothing in a rule on not_finite"),
        ({"when": "dead_units", "layer": "0", "do": "reinitialize", "above": 1.0}, "never more than 1"),
        ({"when": "signal", "signal": "activations/0/dead", "below": 0.0}, "never below 0"),
        ({"when": "signal", "signal": "learning_rate", "below": -1.0}, "never below -1"),
        ({"do": "freeze", "with_knobs": "layer=9"}, "freeze would be refused: no layer"), ({"do": "branch"}, "started by a person"),
        ({"do": "optimizer_value", "with_knobs": "setting=betas.0; value=0.5"}, "optimizer_value would be refused: no optimizer value"),
        ({"do": "add_units", "with_knobs": "layer=2"}, "add_units would be refused: units of '2' cannot be added"),
        ({"do": "drop", "with_knobs": "examples=3"}, "drop would be refused"),
        ({"steps": -1}, "steps wants"), ({"when": "signal", "signal": "loss", "above": math.nan}, "above wants"),
    ],
)
def test_wrong_rules_are_refused(ruled: _Ruled, knobs: dict[str, Any], said: str) -> None:
    """Each with a sentence, and no rule is in force."""
    answer = ruled.send("rule", **knobs)
    assert not answer["ok"]
    assert said in answer["text"]
    assert not ruled.recorder.controls.rules.known
    assert not ruled.send("unrule", rule=1)["ok"]


def test_a_signal_that_does_not_fall_is_waited_for(tmp_path: Path) -> None:
    """It acts when no new lowest value came for so many steps, then waits as long again; steps without a reading say nothing."""
    rules = Rules()
    rules.put(SetRule(1, "not_fallen", "probe/loss", None, 10, None, None, "learning_rate", {"factor": 0.5}), True)
    fired = []
    for step in range(60):
        loss = max(1.0 - 0.1 * step, 0.5)
        rules.judge(step, {"probe/loss": loss} if step % 2 == 0 else {"loss": 1.0})
        fired += [(step, due.do, due.knobs) for due in rules.taken()]
    assert [step for step, *_ in fired] == [16, 26, 36, 46, 56]


def test_a_layer_with_too_few_dead_units_is_left_alone() -> None:
    """With above= a rule acts from that share of dead units on, with a command on the layer once; units keep their time where they move."""
    rules = Rules()
    rules.put(SetRule(1, "dead_units", None, "a", 4, 0.3, None, "learning_rate", {"factor": 0.5}), True)
    fired = []
    for step in range(12):
        if step == 4:  # a unit comes before the others, and one behind them goes: what was seen of each goes with it
            rules.follow({"layer:a": Rearrangement(4, [(-1, 1), (0, 3)])})
        silent = torch.tensor([False, True, True, False] if step >= 4 else [True, step >= 3, False, False])
        rules.judge(step, {}, {"a": SimpleNamespace(silent=silent)})  # type: ignore[dict-item]
        fired += [(step, due.reason) for due in rules.taken()]
    assert [step for step, _ in fired] == [7, 11]
    assert "50% of a was dead in each reading of 4 steps up to step 7" in fired[0][1]
