"""Acts of structure are done again where a training stands at another moment: going back, branches, and runs that are taken up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from patience import answered
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record import requests, rounds
from diorama.record.recorder import Recorder

pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Net(nn.Module):
    """Convolutions with norms in a sequence, and dense layers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.hidden, self.head = nn.Linear(144, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of three classes."""
        return self.head(torch.relu(self.hidden(self.features(x).flatten(1))))  # type: ignore[no-any-return]


class _Training:
    """A network, AdamW in two groups and a schedule, in a loop of its own, with a generator in ``state``."""

    def __init__(self, path: Path, **told: Any) -> None:
        torch.manual_seed(0)
        self.model, self.draw = _Net(), torch.Generator().manual_seed(1)
        self.optimizer = torch.optim.AdamW(
            [{"params": self.model.features.parameters()}, {"params": [*self.model.hidden.parameters(), *self.model.head.parameters()]}], 1e-2,
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 40)
        x = torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(2))
        self.recorder: Recorder = diorama.watch(
            self.model, path, probe=(x, torch.arange(6) % 3), optimizer=self.optimizer, scheduler=self.schedule, state=[self.draw],
            every=10, **told,
        )

    def step(self, count: int = 1) -> None:
        """Train on batches that the generator draws; the loss stays bound."""
        for _ in range(count):
            x = torch.randn(8, 1, 6, 6, generator=self.draw)
            loss = F.cross_entropy(self.model(x), (x.mean((1, 2, 3)) * 50).long().remainder(3))
            self.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.recorder.step(loss=loss)

    def send(self, name: str, **knobs: Any) -> str:
        """A command at the end of the next step; what was answered."""
        path = self.recorder.path
        number = requests.send(path, name, knobs)
        self.step()
        found = answered(path, number)
        assert found["ok"], found["text"]
        return str(found["text"])

    def standing(self) -> dict[str, Any]:
        """Names, weights, moments, sizes and random numbers."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        return {
            "state": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "memory": {
                (k, names[id(p)]): {kind: value.clone() for kind, value in self.optimizer.state[p].items()}
                for k, group in enumerate(self.optimizer.param_groups) for p in group["params"]
            },
            "sizes": {path: module.extra_repr() for path, module in self.model.named_modules()},
            "draw": self.draw.get_state(),
        }


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


_ACTS: list[tuple[str, dict[str, Any]]] = [
    ("add_units", {"layer": "features.0", "count": 2}),
    ("add_layer", {"after": "hidden", "how": "residual"}),
    ("rewire", {"source": "features.0", "target": "features.3"}),
    ("add_units", {"layer": "hidden", "count": 3}),
    ("remove_units", {"layer": "features.3", "units": "1,2"}),
    ("add_layer", {"after": "features.5"}),
    ("remove_layer", {"layer": "features.2"}),
]


class _Past(NamedTuple):
    """A run in which every act was done, and how its training stood at each checkpoint, at its end, and after going back to each."""

    path: Path
    moments: dict[int, Any]
    ended: Any
    back: dict[int, Any]
    kept: bool
    """Whether parameters stayed the objects that they were."""
    child: Path
    """The last of the runs in which it went back."""


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> _Past:
    """A training after each act with a checkpoint, which then goes back act by act."""
    path = tmp_path_factory.mktemp("past") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "LOOK", 0.0)
        training = _Training(path)
        training.step()
        training.send("checkpoint")
        moments = {training.recorder.number: training.standing()}
        for name, knobs in _ACTS:
            training.send(name, **knobs)
            training.send("checkpoint")
            moments[training.recorder.number] = training.standing()
        training.step()
        owned = dict(training.model.named_parameters())
        requests.send(path, "go_back", {})  # to the last checkpoint
        training.optimizer.zero_grad()
        ended = training.standing()
        training.recorder.step()
        back = {max(moments): training.standing()}
        for step in sorted(moments)[-2::-1]:
            training.step()
            training.send("go_back", step=step)
            assert training.recorder.number == step
            back[step] = training.standing()
        training.step()
        assert training.recorder.dropped == 0
        training.recorder.close()
    kept = all(owned[name] is p for name, p in training.model.named_parameters() if name in owned)
    return _Past(path, moments, ended, back, kept, training.recorder.path)


def test_going_back_over_acts_of_structure_is_bitwise(past: _Past) -> None:
    """A training goes back act by act: weights, moments, sizes, generators and objects are those of then, and it trains on."""
    assert sorted(past.back) == sorted(past.moments)
    for step, moment in past.moments.items():
        assert _alike(past.back[step], moment), step
    assert past.kept
    assert diorama.open(past.child).check() == []


def test_a_branch_of_a_fresh_script_does_the_acts_again(past: _Past) -> None:
    """watch(parent=) gives a fresh model the structure of then, and the next loss is that of the run it left; it goes back over its acts."""
    first, *_, last = past.moments
    for step in past.moments:
        again = _Training(past.path, parent=(past.path, step))
        assert _alike(again.standing(), past.moments[step]), step
        again.step()
        if step == last:
            again.send("go_back", step=first)
            assert _alike(again.standing(), past.moments[first])
        again.recorder.close()
        with diorama.open(again.recorder.path) as branch:
            assert branch.check() == []
            assert step == last or branch.series("loss")[1][step] == diorama.open(past.path).series("loss")[1][step]


def test_a_fresh_script_takes_a_changed_run_up(past: _Past, tmp_path: Path) -> None:
    """resume=True stands a fresh model where the run ended, and it can go back over the acts from there."""
    shutil.copytree(past.path, tmp_path / "run")
    again = _Training(tmp_path / "run", resume=True)
    assert again.recorder.path == tmp_path / "run"
    assert _alike(again.standing(), past.ended)
    again.step()
    again.send("go_back", step=min(past.moments))
    assert _alike(again.standing(), past.moments[min(past.moments)])
    again.recorder.close()
    text = [event.text for event in diorama.open(tmp_path / "run").events if event.kind == "resumed"]
    assert "acts of structure were done again" in text[-1]


def test_a_script_that_builds_the_changed_network_itself_goes_on(past: _Past, tmp_path: Path) -> None:
    """A model that has the structure of then already is taken as it is, in a branch and where it takes the run up."""
    shutil.copytree(past.path, tmp_path / "run")
    grown, step = _Training(tmp_path / "run", parent=(tmp_path / "run", min(past.moments))), sorted(past.moments)[1]
    grown.recorder.close()
    for told in ({"parent": (tmp_path / "run", step)}, {"resume": True}):
        torch.manual_seed(0)
        model = _Net()
        model.features[0], model.features[1] = nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(3, 6)
        model.features[3] = nn.Conv2d(6, 4, 3, padding=1)
        optimizer = torch.optim.AdamW(
            [{"params": model.features.parameters()}, {"params": [*model.hidden.parameters(), *model.head.parameters()]}], 1e-2,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
        recorder = diorama.watch(
            model, tmp_path / "run", probe=torch.randn(4, 1, 6, 6), optimizer=optimizer, scheduler=schedule, state=[torch.Generator()], **told,
        )
        recorder.step()
        recorder.close()
        if "parent" in told:
            assert _alike(dict(model.state_dict()), past.moments[step]["state"])
            assert recorder.controls.subject.journal.told() != []


def test_an_act_that_was_taken_back_is_not_done_again(tmp_path: Path) -> None:
    """What undo took back is in no branch; and a training goes forth to an act that it has since taken back."""
    training = _Training(tmp_path / "run")
    training.step()
    training.send("add_layer", after="hidden")
    training.send("add_units", layer="features.0", count=2)
    training.send("checkpoint")
    step, moment = training.recorder.number, training.standing()
    training.send("undo")
    training.send("undo")
    training.send("checkpoint")
    undone, without = training.recorder.number, training.standing()
    training.send("go_back", step=step)
    assert _alike(training.standing(), moment)
    training.recorder.close()
    again = _Training(tmp_path / "run", parent=(tmp_path / "run", undone))
    assert _alike(again.standing(), without)
    again.recorder.close()


def test_another_network_is_refused_before_it_changes(past: _Past) -> None:
    """A network on which the acts were not done is left as it is, with what does not fit."""
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    optimizer = torch.optim.AdamW(other.parameters())
    with pytest.raises(diorama.NotApplicable, match=r"features.0.weight to be \(4, 1, 3, 3\), and it is absent"):
        diorama.watch(other, past.path, optimizer=optimizer, parent=(past.path, max(past.moments)))
    assert _alike(before, other.state_dict())
