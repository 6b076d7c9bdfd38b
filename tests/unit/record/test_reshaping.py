"""Commands that add and remove units of a training that is watched: recorded, taken back, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record import requests
from diorama.record.recorder import Recorder

pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Training:
    """A small convolutional net with batch norm, AdamW and a schedule, in a loop of its own."""

    def __init__(self, path: Path, *, probe: bool = True, told: bool = True) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)
        )
        self.x, self.y = torch.randn(16, 1, 6, 6), torch.arange(16) % 3
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-2)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 20)
        self.recorder: Recorder = diorama.watch(
            self.model, path / "run", probe=(self.x, self.y) if probe else None, optimizer=self.optimizer if told else None,
            every=1, snapshots=1,
        )
        self.run = diorama.open(path / "run")

    def step(self) -> Tensor:
        """One step; the loss stays bound while the recorder hears of it."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.recorder.step(loss=loss)
        return loss

    def send(self, name: str, **knobs: Any) -> dict[str, Any]:
        """Send a command and let the training apply it without a step of its own; the answer."""
        number = requests.send(path := self.recorder.path, name, knobs)
        self.recorder.step()
        return answered(path, number)

    def all(self) -> list[Tensor]:
        """All weights, statistics and memories."""
        found = [tensor.detach().clone() for tensor in self.model.state_dict().values()]
        for state in self.optimizer.state.values():
            found += [value.clone() for value in state.values()]
        return found


@pytest.fixture
def training(tmp_path: Path) -> Any:
    made = _Training(tmp_path)
    yield made
    made.recorder.close()


def test_units_are_added_and_removed_in_a_watched_training(training: _Training) -> None:
    """The loop trains on with its own optimizer; each architecture has its snapshots, and both are read again."""
    training.step()
    loss = training.step()
    answer = training.send("add_units", layer="0", count=2)
    assert answer["ok"], answer["text"]
    assert (answer["old"], answer["new"]) == ("4", "6")
    assert answer["text"].startswith("added 2 units to layer 0 (4 → 6); layer 1, layer 2, layer 3, layer 4 changed with it")
    assert training.model[0].weight.shape == (6, 1, 3, 3)
    assert loss.isfinite()
    for _ in range(3):
        training.step()
    assert training.model[5].weight[:, 64:].any()
    removed = training.send("remove_units", layer="0", units=[1, 5])["text"]
    assert removed.startswith("removed 2 units from layer 0 (6 → 4)")
    assert removed.endswith("in layer 0, layer 1, layer 2, layer 3: units 2–4 are 1–3 now; in layer 4: units 32–79 are 16–63 now")
    training.step()
    training.step()
    training.recorder.close()
    run = training.run
    assert [event.name for event in run.events if event.kind == "command"] == ["add_units", "remove_units"]
    assert sum(event.kind == "architecture" for event in run.events) == 2
    widths = [dict(run.scene(step=step).model.named_parameters())["0.weight"].shape[0] for step in (1, 5, run.snapshots[-1])]
    assert widths == [4, 6, 4]
    last = run.scene(step=run.snapshots[-1])
    assert last.layers["0"].units == 4
    # Of 0, 1, 2, 3 and the new 4, 5 those left are 0, 2, 3 and 4; what reads them is flattened, sixteen places a unit.
    for key, between, first in (
        ("unit:0/1", "unit:0/2", "unit:0/2"), ("unit:0/3@1,2", "unit:0/4@1,2", "None"), ("weight:5/2,17", "weight:5/2,33", "weight:5/2,33"),
        ("weight:1.bias/2", "weight:1.bias/3", "weight:1.bias/3"), ("weight:7/2,1", "weight:7/2,1", "weight:7/2,1"),
    ):
        assert [str(run.followed(key, step)) for step in (run.last_step, 5, 1)] == [key, between, first], key
        assert first == "None" or str(run.followed(first, run.last_step, of=1)) == key
    assert run.followed("unit:0/1", run.last_step, of=5) is None
    assert run.followed("unit:0/4", 1, of=5) is None
    chart = last.view("weight_series", select=["weight:0/1,0,0,0"]).body.children[0]
    places = [1 if run.model_at(step) == 2 else 2 for step in run.snapshots]
    assert chart.series[0].y.tolist() == [float(run.state(step)["0.weight"][k, 0, 0, 0]) for step, k in zip(run.snapshots, places, strict=True)]
    film = {frame.step: frame for frame in last.view("weights", select=["unit:0/3"]).frames()}
    assert film
    assert min(film) == min(step for step in run.snapshots if run.model_at(step))
    assert [entry[0] for entry in run.moves] == [min(s for s in run.snapshots if run.model_at(s) == k) for k in range(3)]


@pytest.mark.parametrize("how", ["preserve", "split", "gradient", "random"])
def test_undone_at_once_the_training_is_as_without(tmp_path: Path, how: str) -> None:
    """Units added and taken back before the next step leave weights, moments and generators bit by bit, and the training
    ends as one that was left alone."""
    touched, alone = _Training(tmp_path / "touched"), _Training(tmp_path / "alone")
    for each in (touched, alone):
        torch.manual_seed(1)
        each.step()
        each.step()
        if each is touched:
            answer = each.send("add_units", layer="0", count=2, how=how)
            assert answer["ok"], answer["text"]
            assert answer["text"].count("split from") == (how == "split")
            assert each.send("undo")["text"].endswith("bit by bit")
        for _ in range(3):
            each.step()
        each.recorder.close()
    assert all(torch.equal(one, other) for one, other in zip(touched.all(), alone.all(), strict=True))


def test_undone_at_once_removed_units_are_back(training: _Training) -> None:
    """Units that were removed and taken back are there with their weights and moments."""
    training.step()
    training.step()
    before = training.all()
    assert training.send("remove_units", layer="5", units="0,3")["ok"]
    assert training.model[5].weight.shape[0] == 6
    training.send("undo")
    assert all(torch.equal(one, other) for one, other in zip(training.all(), before, strict=True))


def test_undone_later_only_the_act_is_taken_back(training: _Training) -> None:
    """After steps, added units go and the others keep what they learnt; removed ones come back as they were."""
    training.step()
    removed = training.model[5].weight[3].detach().clone()
    training.send("remove_units", layer="5", units="3")
    training.step()
    training.step()
    learnt = training.model[5].weight.detach().clone()
    assert "training has gone on" in training.send("undo")["text"]
    assert torch.equal(training.model[5].weight[3], removed)
    assert torch.equal(training.model[5].weight[[0, 1, 2, 4, 5, 6, 7]], learnt)
    training.send("add_units", layer="5", count=1)
    training.step()
    learnt = training.model[5].weight.detach().clone()
    training.send("undo")
    assert torch.equal(training.model[5].weight, learnt[:8])
    training.step()


def test_split_units_give_back_what_they_took(training: _Training) -> None:
    """Taken back after steps, the outgoing weights of a split unit are joined again to its survivor's."""
    training.step()
    text = training.send("add_units", layer="5", count=1, how="split")["text"]
    parent = int(text.rpartition("split from ")[2])
    training.step()
    joined = (training.model[7].weight[:, parent] + training.model[7].weight[:, 8]).detach().clone()
    training.send("undo")
    assert torch.equal(training.model[7].weight[:, parent], joined)


def test_acts_on_the_same_weights_are_taken_back_newest_first(training: _Training) -> None:
    """A later act on the same weights has to go first, and the sentence names it."""
    training.step()
    training.send("add_units", layer="0", count=1)
    training.send("add_units", layer="0", count=1)
    refused = training.send("undo", command=1)
    assert not refused["ok"]
    assert "command 2 (add_units) changed the same weights later" in refused["text"]
    assert training.send("undo")["ok"]
    assert training.send("undo", command=1)["ok"]
    assert training.model[0].weight.shape[0] == 4
    assert training.send("edit_weight", key="weight:0/1", scale=0.5)["ok"]  # command 6
    assert training.send("add_units", layer="0", count=1)["ok"]
    assert "command 7 (add_units) gave 0.weight another shape later, or took it away" in training.send("undo", command=6)["text"]
    assert training.send("undo")["ok"]
    assert training.send("undo", command=6)["ok"]
    assert training.send("edit_weight", key="weight:1.bias/1", value=0.5)["ok"]
    assert training.send("remove_layer", layer="1")["ok"]
    assert "command 12 (remove_layer) gave 1.bias another shape later" in training.send("undo", command=11)["text"]


def test_an_act_on_other_weights_is_in_no_way(training: _Training) -> None:
    """A layer that came elsewhere later stays where units are taken back; one that is as wide as they are has to go first, and that is told."""
    training.step()
    training.send("add_units", layer="0", count=1)
    training.step()
    training.send("add_layer", after="6")
    training.step()
    assert all("blocked" not in act for act in training.recorder.controls.acts.told())
    answer = training.send("undo", command=1)
    assert answer["ok"], answer["text"]
    assert training.model[0].weight.shape[0] == 4
    training.step()
    training.send("add_units", layer="5", count=1)
    training.step()
    assert training.recorder.controls.acts.told()[1]["blocked"] == "command 4 (add_units) gave the layer another width later; take that back first"
    assert "command 4 (add_units) gave the layer another width later" in training.send("undo", command=2)["text"]
    training.send("add_layer", after="1")
    refused = training.send("undo", command=4)
    assert refused["ok"], refused["text"]
    training.send("add_units", layer="0", count=1)
    assert training.send("add_layer", after="0")["ok"]
    refused = training.send("undo", command=8)
    assert not refused["ok"]
    assert "command 9 (add_layer) changed layers later, and with the units of layer 0 as they were the model no longer runs" in refused["text"]
    assert training.model[0].weight.shape[0] == 5
    training.step()


@pytest.mark.parametrize(("name", "knobs", "word"), [
    ("add_units", {"layer": "7"}, "the model's answer"),
    ("add_units", {"layer": "nowhere"}, "no layer named 'nowhere'"),
    ("add_units", {"layer": "0", "count": 0}, "count wants"),
    ("add_units", {"layer": "0", "how": "magic"}, "no choice of how"),
    ("remove_units", {"layer": "0"}, "at least one number"),
    ("remove_units", {"layer": "0", "units": "0,9"}, "units 0 to 3, got 9"),
    ("remove_units", {"layer": "0", "units": "0,1,2,3"}, "no unit left"),
])
def test_what_cannot_be_done_changes_nothing(training: _Training, name: str, knobs: dict[str, Any], word: str) -> None:
    """Each refusal is a sentence with the way out, and no weight has changed."""
    training.step()
    before = training.all()
    try:
        refused = training.send(name, **knobs)
        assert not refused["ok"]
        said = refused["text"]
    except diorama.UsageError as error:
        said = str(error)
    assert word in said
    assert all(torch.equal(one, other) for one, other in zip(training.all(), before, strict=True))


def test_units_that_a_frozen_layer_reads_are_refused(training: _Training) -> None:
    """Outgoing weights that are kept from learning would stay zero for good."""
    training.step()
    training.send("freeze", layer="5")
    assert "thaw '5' first" in training.send("add_units", layer="0")["text"]
    training.send("thaw", layer="5")
    assert training.send("add_units", layer="0")["ok"]


@pytest.mark.parametrize(("lacks", "word"), [({"probe": False}, "pass probe="), ({"told": False}, "pass optimizer=")])
def test_what_was_not_told_is_asked_for(tmp_path: Path, lacks: dict[str, bool], word: str) -> None:
    """Without a probe set nothing can be tried, and without the optimizer its moments would break."""
    training = _Training(tmp_path, **lacks)
    training.step()
    assert word in training.send("add_units", layer="0")["text"]
    training.recorder.close()


def test_layers_come_and_go_in_a_watched_training(training: _Training) -> None:
    """A layer is added, learns, is recorded under its name, and is taken back; another one goes and is taken back."""
    training.step()
    answer = training.send("add_layer", after="2")
    assert answer["ok"], answer["text"]
    assert answer["text"].startswith("added the layer 2_added after layer 2")
    training.step()
    training.step()
    refused = training.send("remove_layer", layer="5")
    assert "only a layer that keeps its input's shape" in refused["text"]
    assert training.send("remove_layer", layer="1")["ok"]
    training.step()
    training.step()
    assert "take that back first" in training.send("undo", command=1)["text"]
    assert training.send("undo")["ok"]
    assert training.send("undo")["ok"]
    training.step()
    assert [name for name, _ in training.model.named_children()] == [str(k) for k in range(8)]
    training.recorder.close()
    run = training.run
    assert "2_added" in [layer.name for layer in run.scene(step=4).layers]
    assert "2_added" not in [layer.name for layer in run.scene(step=run.snapshots[-1]).layers]


def test_a_layer_undone_at_once_leaves_the_training_as_without(tmp_path: Path) -> None:
    """A layer that is taken back before the next step leaves weights, moments and generators bit by bit."""
    touched, alone = _Training(tmp_path / "touched"), _Training(tmp_path / "alone")
    for each in (touched, alone):
        torch.manual_seed(1)
        each.step()
        if each is touched:
            assert each.send("add_layer", after="5", how="residual")["ok"]
            assert each.send("undo")["ok"]
        each.step()
        each.recorder.close()
    assert all(torch.equal(one, other) for one, other in zip(touched.all(), alone.all(), strict=True))
