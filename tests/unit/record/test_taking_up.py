"""A training that is taken up again: what people wanted of it is in force, as if it had never been interrupted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.record import requests, rounds

WISHES: list[tuple[str, dict[str, Any]]] = [
    ("learning_rate", {"factor": 0.5}), ("learning_rate", {"factor": 0.3, "layer": "2"}), ("clip", {"norm": 0.05}),
    ("schedule", {"steps": "0,6,14", "factors": "1,0.4,0.9"}), ("freeze", {"layer": "4"}), ("scale_layer", {"layer": "0", "factor": 1.5}),
    ("rule", {"when": "not_fallen", "signal": "told", "steps": 4, "do": "learning_rate", "with_knobs": "factor=0.1"}),
]
BREAK, END = 7, 16


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LOOK", 0.0)


class _Script:
    """A script of one's own with a scheduler, which keeps all that it needs to go on."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 0.05)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 30)

    def again(self) -> _Script:
        """The script, started again with what it kept."""
        other = _Script()
        for mine, kept in ((other.model, self.model), (other.optimizer, self.optimizer), (other.scheduler, self.scheduler)):
            mine.load_state_dict(copy.deepcopy(kept.state_dict()))
        return other

    def train(self, path: Path, steps: range, sent: list[tuple[str, dict[str, Any]]], **more: Any) -> list[Tensor]:
        """Train so many steps, with commands that are sent before the first."""
        told = []
        with diorama.watch(self.model, path, optimizer=self.optimizer, scheduler=self.scheduler, **more) as recorder:
            for name, knobs in sent:
                requests.send(recorder.path, name, knobs)
            for step in steps:
                x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
                self.optimizer.zero_grad()
                nn.functional.cross_entropy(self.model(x), x[:, :3].argmax(1)).backward()
                self.optimizer.step()
                self.scheduler.step()
                recorder.step(told=float(max(0, 5 - step)))
                told.append(torch.cat([each.detach().flatten() for each in self.model.parameters()]))
        return told


def test_all_wishes_are_in_force_again(tmp_path: Path) -> None:
    """Factors, own values of a layer, clipping, a bend, a frozen layer and a rule half-way to acting: each step is bitwise the same."""
    whole = _Script().train(tmp_path / "whole", range(END), WISHES)
    script = _Script()
    first = script.train(tmp_path / "run", range(BREAK), WISHES)
    rest = script.again().train(tmp_path / "run", range(BREAK, END), [], resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, first + rest, strict=True))
    for name in ("whole", "run"):
        run = diorama.open(tmp_path / name)
        assert [(rule["fired"], rule["last"]) for rule in run.meta["rules"]] == [(2, 14)]
        assert [act["name"] for act in run.meta["acts"]][:7] == [name for name, _ in WISHES]
        told = run.info()["optimizer"][0]
        assert told["in_force"] == run.series("learning_rate")[1][-1] == pytest.approx(told["learning_rate"] * told["factor"] * told["bent"])
        assert told["bent"] not in (0, 1)
    text = next(event.text for event in run.events if event.kind == "resumed")
    assert text == ("taken up again after step 7; in force again: learning rate × 0.5, own values of 2, 4 frozen, clipping, the bent schedule, "
                    "rule 1")
    assert [each[1:] for each in run.meta["frozen"]] == [[1, None]]


def test_a_run_that_was_left_by_going_back_is_taken_up_as_it_was_left(tmp_path: Path) -> None:
    """Going back lets go of all wishes; the record of the run that is left still tells what was in force in it, not what its child began with."""
    _Script().train(tmp_path / "run", range(2), [("checkpoint", {}), *WISHES, ("go_back", {})])
    assert diorama.open(tmp_path / "run").meta["ended"]["child"] == "run-2"
    _Script().train(tmp_path / "run", range(1), [], resume=True)
    text = next(event.text for event in diorama.open(tmp_path / "run").events if event.kind == "resumed")
    assert text.endswith("; in force again: learning rate × 0.5, own values of 2, 4 frozen, clipping, the bent schedule, rule 1")


def test_a_child_whose_training_is_killed_at_birth_has_what_was_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written behind the folder's making: taken up again it has the wishes of its checkpoint all the same."""
    def killed(self: Any, begun: Any) -> None:
        begun.writer.abandon()
        begun.lock.free()
        raise RuntimeError("killed")

    script = _Script()
    with diorama.watch(script.model, tmp_path / "run", optimizer=script.optimizer) as recorder:
        for name, knobs in [*WISHES, ("checkpoint", {}), ("go_back", {})]:
            requests.send(recorder.path, name, knobs)
        monkeypatch.setattr(diorama.record.recorder.Recorder, "_start", killed)
        recorder.step(loss=1.0)
    monkeypatch.undo()
    _Script().train(tmp_path / "run-2", range(1), [], resume=True)
    text = next(event.text for event in diorama.open(tmp_path / "run-2").events if event.kind == "resumed")
    assert "learning rate × 0.5, own values of 2, 4 frozen, clipping, the bent schedule" in text


def test_what_was_done_before_is_known_and_for_good(tmp_path: Path) -> None:
    """Acts on weights from before are listed still and are not undone, which says what to do instead; new ones have numbers of their own."""
    script = _Script()
    script.train(tmp_path / "run", range(3), [("scale_layer", {"layer": "0", "factor": 2.0}), ("zero", {"unit": "4/1"})])
    other = script.again()
    with diorama.watch(other.model, tmp_path / "run", optimizer=other.optimizer, scheduler=other.scheduler) as recorder:
        with pytest.raises(diorama.NotApplicable, match="taken up again since; go back in time instead"):
            recorder.controls.take_back(1)
        requests.send(recorder.path, *WISHES[2])
        recorder.step()
        assert [(act["command"], act["state"]) for act in recorder.controls.acts.told()] == [(1, "for good"), (2, "for good"), (3, "in force")]
        requests.send(recorder.path, "undo", {})
        recorder.step()
        assert recorder.controls.factors.clip is None


@pytest.mark.parametrize("way", ["taken up", "gone back"])
def test_plain_values_are_taken_back_as_ever(tmp_path: Path, way: str) -> None:
    """After the training was taken up again or went back, each goes singly, whichever first: as if it had not been."""
    sent = [*WISHES, ("learning_rate", {"factor": 0.25})]
    script = _Script()
    if way == "taken up":
        script.train(tmp_path / "run", range(2), sent)
        script = script.again()
    with diorama.watch(script.model, tmp_path / "run", optimizer=script.optimizer, scheduler=script.scheduler, resume=True) as recorder:
        for each in [*sent, ("checkpoint", {}), ("undo", {"command": 1}), ("go_back", {})] if way == "gone back" else []:
            requests.send(recorder.path, *each)
        recorder.step(told=1.0)
        controls = recorder.controls
        assert [act["state"] for act in controls.acts.told()] == ["for good" if name == "scale_layer" else "in force" for name, _ in sent]
        controls.take_back(1)
        assert controls.factors.groups[0].factor == 0.25
        controls.take_back(None)
        assert controls.factors.groups[0].factor == 1.0
        for act in controls.acts.in_force:
            if act.name != "scale_layer":
                controls.take_back(act.number)
        assert controls.wishes() == {"layers": {}, "clip": None, "schedule": None}
        assert controls.subject.frozen.layers == ()
        assert not controls.rules.known


def test_a_record_that_tells_nonsense_stops_no_training(tmp_path: Path) -> None:
    """What cannot be taken up is said, none of it is in force, and the training goes on."""
    script = _Script()
    script.train(tmp_path / "run", range(3), WISHES)
    spoilt: dict[str, Any] = {"rules": [{"kept": {"number": "x"}}], "optimizer": [{"factor": 0.5}]}
    with diorama.watch(script.model, tmp_path / "run", optimizer=script.optimizer) as recorder:
        assert "not any more" in recorder.controls.take_up(spoilt)
        assert not recorder.controls.factors.active
        assert "not any more" in recorder.controls.take_up({"wishes": {"schedule": 3}})
