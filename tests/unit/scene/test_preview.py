"""What an act would change is told beforehand, and comes true."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import nn

import diorama
from diorama.core.marks import Heatmap, Number
from diorama.core.selection import Selection
from diorama.record import requests, rounds
from diorama.record.snapshots import read_live
from diorama.scene.preview import preview

ACTS: dict[str, dict[str, Any]] = {
    "zero": {"unit": "0/2"},
    "reinitialize": {"unit": "0/2", "seed": 3},
    "copy_unit": {"unit": "0/2", "to": "0/4"},
    "swap_units": {"unit": "0/1", "to": "0/5"},
    "scale_layer": {"layer": "0", "factor": 0.3},
    "edit_weight": {"key": "weight:2/1,3", "value": 2.5},
    "add_units": {"layer": "0", "count": 2, "how": "split"},
    "remove_units": {"layer": "0", "units": "1,2"},
}


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recorded classifier between two steps, with a probe set."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(40, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with diorama.watch(model, tmp_path / "run", probe=(x, x[:, :3].argmax(1)), optimizer=optimizer) as recorder:
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), x[:, :3].argmax(1))
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
        yield model, recorder, x


def _sent(recorder: Any, name: str, knobs: dict[str, Any]) -> dict[str, Any]:
    number = requests.send(recorder.path, name, knobs)
    recorder.step(loss=0.0)
    return answered(recorder.path, number)


@pytest.mark.parametrize("name", ACTS)
def test_what_is_told_beforehand_comes_true(training: Any, name: str) -> None:
    """Loss, accuracy and turned answers are those of the model after the act; asking changes neither it nor random numbers."""
    model, recorder, x = training
    y = x[:, :3].argmax(1)
    kept, before = {key: value.clone() for key, value in model.state_dict().items()}, model(x).argmax(1)
    scene = diorama.Scene(model, x, y)
    state = torch.get_rng_state()
    told = preview(scene, name, ACTS[name])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())
    answer = _sent(recorder, name, ACTS[name])
    assert answer["ok"], answer["text"]
    if name not in ("add_units", "remove_units"):  # they tell of the optimizer too
        assert answer["text"] == told.text
    scores = model(x).detach()
    assert told.loss == pytest.approx(float(nn.functional.cross_entropy(scores, y)), rel=1e-4)
    assert told.accuracy == pytest.approx(float((scores.argmax(1) == y).float().mean()))
    assert told.turned == int((scores.argmax(1) != before).sum())


def test_a_run_previews_from_its_newest_weights(training: Any) -> None:
    """run.preview says what it would be, refuses what the training would, and what changes no answer."""
    _, recorder, _ = training
    _sent(recorder, "snapshot", {})
    run = diorama.open(recorder.path)
    while not run.snapshots or run.snapshots[-1] < recorder.number:
        recorder.step(loss=0.0)
    told = run.preview("zero", unit="0/2")
    assert told.step == run.snapshots[-1]
    assert str(told).startswith("loss ")
    assert told.text.startswith("zeroed unit 2 of layer 0 (")
    assert run.preview("edit_weight", key="weight:0/2,1", value=3.0).text.startswith("edited weight 2, 1 of layer 0: ")
    for wrong, words in (({"unit": "0/9"}, "numbered from 0 to 5"), ({"unit": "1/2"}, "no weights of its own"), ({"unit": "7/2"}, "no layer")):
        with pytest.raises(diorama.DioramaError, match=words):
            run.preview("zero", **wrong)
    with pytest.raises(diorama.NotApplicable, match="changes no answer at once"):
        run.preview("pause")
    _sent(recorder, "freeze", {"layer": "0"})
    for name, knobs, what in (
        ("add_units", {"layer": "0"}, "the new units do not learn"), ("reinitialize", {"layer": "0"}, "they do not learn"),
        ("learning_rate", {"layer": "0", "factor": 0.5}, "it does not learn"),
    ):
        beforehand = run.preview(name, **knobs).text if name != "learning_rate" else _sent(recorder, name, knobs)["text"]
        assert beforehand.endswith(f"; layer 0 is frozen, so {what} before it is thawed")
    assert "0 is frozen" in _sent(recorder, "add_units", {"layer": "0"})["text"]
    assert "frozen" not in _sent(recorder, "remove_units", {"layer": "0", "units": "0"})["text"]


def test_the_page_offers_acts_and_takes_them_back(training: Any) -> None:
    """The view tells what can be done with the selection, and of each act done how it is taken back, while it trains."""
    _, recorder, _ = training
    _sent(recorder, "freeze", {"layer": "0"})
    done = _sent(recorder, "zero", {"unit": "0/2"})
    _sent(recorder, "snapshot", {})
    run = diorama.open(recorder.path)
    while len(run.meta.get("acts", [])) < 2 or run.snapshots[-1] < done["step"]:
        recorder.step(loss=0.0)
    scene = run.scene()
    labels = {}
    for keys in (("unit:0/1",), ("unit:0/3", "unit:0/1"), ("layer:0",), ("weight:2/1,3",), ("layer:1",), ()):
        picture = scene.view("acts", select=Selection.of(*keys))
        offered = [group for group in picture.body.children if group.title == "What can be changed"]
        labels[keys] = [(each.actions[0].command if each.actions else "") for group in offered for each in group.children]
        assert all(each.note for group in offered for each in group.children)
    assert labels == {
        ("unit:0/1",): ["zero", "reinitialize"],
        ("unit:0/3", "unit:0/1"): ["zero", "reinitialize", "copy_unit", "swap_units"],
        ("layer:0",): ["scale_layer", "scale_layer", "reinitialize", "thaw", "learning_rate", "learning_rate"],
        ("weight:2/1,3",): ["edit_weight"] * 3,
        ("layer:1",): [""],
        (): [],
    }
    acts = picture.body.children[-1].children
    assert [[(action.command, action.knobs["command"]) for action in each.actions] for each in acts] == [
        [(name, number) for name in ("undo", "twin")] for number in (2, 1)
    ]
    for keys, shown in (("unit:0/1", True), ("layer:0", True), ("example:3", False)):
        inspected = scene.view("inspector", select=Selection.of(keys))
        assert any(getattr(each, "title", "") == "What can be changed" for each in inspected.body.children) is shown
    recorder.close()
    picture = diorama.open(recorder.path).scene().view("acts", select=Selection.of("unit:0/1"))
    assert {action.command for each in picture.body.children[-1].children for action in each.actions} == {"twin"}
    assert len(picture.body.children) == 1


def test_a_weight_is_clicked_typed_and_tried(training: Any) -> None:
    """The acts of a unit show its weights one by one; a typed number for one tells what comes of it, and its button sends just that."""
    _, recorder, _ = training
    _sent(recorder, "snapshot", {})
    run = diorama.open(recorder.path)
    while not run.snapshots or run.snapshots[-1] < recorder.number:
        recorder.step(loss=0.0)
    scene = run.scene(run.snapshots[-1])
    cells = next(mark for mark in scene.view("acts", unit="2/1").marks() if isinstance(mark, Heatmap))
    assert cells.cell_keys == tuple(f"weight:2/1,{k}" for k in range(6))
    assert cells.values.ravel().tolist() == pytest.approx(scene.model[2].weight[1].tolist())
    marks = list(scene.view("acts", weight="2/1,3", value=2.5).marks())
    field = next(mark for mark in marks if mark.handle is not None)
    assert (field.handle.knob, field.handle.value) == ("value", "2.5")
    told = preview(scene, "edit_weight", {"key": "weight:2/1,3", "value": 2.5})
    send = next(mark for mark in marks if isinstance(mark, Number) and mark.label == "With 2.5")
    assert send.note == f"{told}."
    answer = _sent(recorder, send.actions[0].command, send.actions[0].knobs)
    assert answer["text"] == told.text
    looked = scene.view("inspector", weight="2/1,3")
    assert any(isinstance(mark, Heatmap) for mark in looked.marks())
    tried = [mark.label for mark in scene.view("acts", tried="zero", with_knobs="unit=0/2").marks() if isinstance(mark, Number)]
    refused = [mark.note for mark in scene.view("acts", tried="zero", with_knobs='{"unit": "0/9"}').marks() if isinstance(mark, Number)]
    assert tried[0].startswith("It would be so: zeroed")
    assert "numbered from 0 to 5" in refused[0]


def test_weights_that_an_act_changed_while_the_training_waits_are_shown(training: Any) -> None:
    """A run that is asked for its newest weights gives those after the act, in the same step, before it goes on."""
    model, recorder, _ = training
    run, sent = diorama.open(recorder.path), []

    def person() -> None:
        run.command("pause")
        for knobs in ({"unit": "0/2"}, {"unit": "0/3"}):
            sent.append(run.command("zero", **knobs))
            sent.append(run.preview("zero", unit="0/1"))
        run.command("resume")

    thread = threading.Thread(target=person)
    thread.start()
    while thread.is_alive():
        recorder.step(loss=0.0)
    assert len(sent) == 4
    done, told = sent[2:]
    assert told.step == done.step == sent[0].step
    weights = read_live(recorder.path)
    assert weights is not None
    assert float(weights[1]["0.weight"][2:4].abs().sum()) == 0.0
    assert float(model[0].weight[2:4].detach().abs().sum()) == 0.0


def test_a_preview_refuses_what_the_training_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same sentence: where an optimizer remembers other shapes, all weights as one, was not told, or a layer is frozen."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    x = torch.randn(8, 4)
    asked: dict[str, Any] = {"layer": "0", "count": 1}

    def made(name: str, kind: Any) -> Any:
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        optimizer = kind(model.parameters()) if kind is not None else None
        return model, optimizer, diorama.watch(model, tmp_path / name, probe=(x, x[:, :3].argmax(1)), optimizer=optimizer)

    for name, kind, before in (("adafactor", torch.optim.Adafactor, ()), ("lbfgs", torch.optim.LBFGS, ()), ("none", None, ()),
                               ("frozen", torch.optim.SGD, ("2",))):
        model, optimizer, recorder = made(name, kind)
        with recorder:
            def closure(model: Any = model) -> Any:
                model.zero_grad()
                loss = nn.functional.cross_entropy(model(x), x[:, :3].argmax(1))
                loss.backward()
                return loss

            for _ in range(2):
                loss = closure()
                if optimizer is not None:
                    optimizer.step(closure)
                recorder.step(loss=loss)
            for layer in before:
                assert _sent(recorder, "freeze", {"layer": layer})["ok"]
            answer = _sent(recorder, "add_units", asked)
            assert not answer["ok"], name
            recorder._tell_held()
            _sent(recorder, "snapshot", {})
            run = diorama.open(recorder.path)
            while not run.snapshots or run.snapshots[-1] < recorder.number:
                recorder.step(loss=0.0)
            with pytest.raises(diorama.DioramaError) as told:
                run.preview("add_units", **asked)
            assert str(told.value) == answer["text"]
