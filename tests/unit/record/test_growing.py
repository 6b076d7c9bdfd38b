"""A network that changes its shape while it is trained is seen right before, at and after the change."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.run import Run

GROWN = 20
"""The step after which the hidden layer has nine units instead of eight."""


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def _grow_by_data(model: nn.Sequential) -> None:
    first, last = model[0], model[2]
    generator = torch.Generator().manual_seed(1)
    first.weight.data = torch.cat([first.weight.data, torch.randn(1, 4, generator=generator)])
    first.bias.data = torch.cat([first.bias.data, torch.ones(1)])
    last.weight.data = torch.cat([last.weight.data, torch.randn(3, 1, generator=generator)], 1)
    for parameter in model.parameters():
        parameter.grad = None


def _grow_by_module(model: nn.Sequential) -> None:
    wide, narrow = nn.Linear(4, 9), nn.Linear(9, 3)
    with torch.no_grad():
        wide.weight[:8], wide.bias[:8] = model[0].weight, model[0].bias
        narrow.weight[:, :8], narrow.bias[:] = model[2].weight, model[2].bias
    model[0], model[2] = wide, narrow


def _train(path: Path, grow: Any, told: bool = False, steps: int = 40, model: Any = None, **more: Any) -> dict[int, Any]:
    """Train, growing after step 20; the weights after every step."""
    model = model if model is not None else _network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = _data()
    seen = {}
    options = {"every": 5, "snapshots": 10, **more}
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, **options) as recorder:
        start = recorder.number
        for step in range(start + 1, start + steps + 1):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
            seen[step] = {name: value.clone() for name, value in model.state_dict().items()}
            if step == GROWN and grow is not None:
                del loss  # autograd remembers the old shapes as long as a graph lives
                grow(model)
                if grow is _grow_by_module:
                    optimizer = torch.optim.SGD(model.parameters(), 0.1)
                if told or grow is _grow_by_module:
                    recorder.changed(optimizer=optimizer)
    return seen


@pytest.fixture(scope="module", params=[_grow_by_data, _grow_by_module], ids=["data", "module"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[int, Any]]:
    """A run whose network grew, and its weights after every step."""
    path = tmp_path_factory.mktemp("grown") / "run"
    seen = _train(path, request.param)
    return diorama.open(path), seen


def test_a_snapshot_goes_with_its_architecture(grown: tuple[Run, dict[int, Any]]) -> None:
    """Before and at the change the model has eight units, after it nine, with the weights of that very step."""
    run, seen = grown
    assert [run.model_at(step) for step in (0, 10, GROWN)] == [0, 0, 0]
    assert run.model_at(30) == run.model_at(40) == 1
    after = next(step for step in run.snapshots if step > GROWN)
    assert after <= GROWN + 5, "the change is noticed at the next reading, which brings a snapshot"
    for step in [step for step in run.snapshots if step]:
        scene = run.scene(step)
        units = 8 if step <= GROWN else 9
        assert scene.layers["0"].units == units
        for name, value in scene.model.state_dict().items():
            assert torch.equal(value, seen[step][name]), (step, name)
        assert [each for each in run.structure(step)["layers"] if each["name"] == "0"][0]["units"] == units


def test_the_change_is_an_event_and_the_run_is_whole(grown: tuple[Run, dict[int, Any]]) -> None:
    """One event says what changed, nothing was warned of, every checksum holds, and no step is missing."""
    run, _ = grown
    events = [event for event in run.events if event.kind == "architecture"]
    assert len(events) == 1
    assert "0.weight (8, 4) → (9, 4)" in events[0].text
    assert run.check() == []
    assert run.dropped == 0
    assert run.series("loss")[0].tolist() == [*range(1, 41)]


def test_signals_follow_the_change(grown: tuple[Run, dict[int, Any]]) -> None:
    """Weights, gradients and updates of the grown layer are those of the loop, at each reading before and after."""
    run, seen = grown
    steps = run.histograms("weights/0.weight").steps
    counts = [int(run.histograms("weights/0.weight").statistics[k, 4]) for k in range(len(steps))]
    assert counts == [32 if step <= GROWN else 36 for step in steps]
    for kind in ("gradients", "updates"):
        told, norms = run.series(f"{kind}/0.weight/norm")
        assert told.tolist() == [*range(5, 41, 5)], kind
        for step, norm in zip(told, norms, strict=True):
            before = seen.get(int(step) - 1, {}).get("0.weight")
            if kind == "updates" and step != GROWN + 1 and before is not None:
                assert norm == pytest.approx(float((seen[int(step)]["0.weight"] - before).norm()), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", [*diorama.views])
def test_every_view_before_at_and_after(grown: tuple[Run, dict[int, Any]], name: str) -> None:
    """Each view that fits is drawn at a step before, at and after the change, or says in its own words why not."""
    run, _ = grown
    for step in (10, GROWN, run.snapshots[-1]):
        scene = run.scene(step)
        if diorama.views[name].fits(scene) is not None:
            continue
        with contextlib.suppress(NotApplicable):
            assert next(iter(scene.stream(name)))


def test_a_film_across_the_change(grown: tuple[Run, dict[int, Any]]) -> None:
    """A film of the unit that came later has the steps at which it exists, and one of the layer has all."""
    run, _ = grown
    last = run.scene()
    new = [frame.provenance.step for frame in last.view("card", unit="0/8").frames()]
    assert new == [step for step in run.snapshots if step > GROWN]
    layer = [frame.provenance.step for frame in last.view("weights", layer="0").frames()]
    assert layer == run.snapshots


def test_it_is_taken_up_again(tmp_path: Path) -> None:
    """A grown training that is taken up goes on under its architecture; the steps before the change stay as they were."""
    seen = _train(tmp_path / "run", _grow_by_data)
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    model.load_state_dict(seen[40])
    _train(tmp_path / "run", None, steps=10, model=model)
    run = diorama.open(tmp_path / "run")
    assert [run.model_at(step) for step in (0, GROWN, 40, 50)] == [0, 0, 1, 1]
    assert run.scene(10).layers["0"].units == 8
    assert run.scene(50).layers["0"].units == 9
    assert run.check() == []


def test_the_live_end_has_the_new_shape(tmp_path: Path) -> None:
    """Whoever looks at the live end right after a change sees the grown network, before it has a snapshot."""
    from diorama.record import requests

    model, (x, y) = _network(), _data()
    with diorama.watch(model, tmp_path / "run", probe=(x, y), every=1000, snapshots=1000) as recorder:
        recorder.step(loss=1.0)
        run = diorama.open(tmp_path / "run")
        (tmp_path / "run" / requests.WATCHING).touch()
        _grow_by_data(model)
        for _ in range(200):
            recorder.step(loss=1.0)
            (tmp_path / "run" / requests.WATCHING).touch()
            live = run.live()
            if live is not None and len(live[1]["0.weight"]) == 9:
                break
            time.sleep(0.01)
        assert run.scene("live").layers["0"].units == 9


def test_what_only_looks_like_a_change(tmp_path: Path) -> None:
    """Parameters put in each other's place and growing buffers are followed without another architecture."""
    model, (x, y) = _network(), _data()
    model.register_buffer("cache", torch.zeros(1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=2, snapshots=2) as recorder:
        for step in range(1, 9):
            model[0].weight = nn.Parameter(torch.full((8, 4), float(step)))
            model.cache = torch.zeros(step)
            recorder.step(loss=1.0)
    run = diorama.open(tmp_path / "run")
    assert [run.model_at(step) for step in run.snapshots] == [0] * 5
    weights = run.histograms("weights/0.weight")
    assert weights.statistics[:, 2].tolist() == pytest.approx([float(weights.statistics[0, 2]), 2, 4, 6, 8])
    assert len(run.scene(6).model.cache) == 6
    assert not [event for event in run.events if event.kind == "architecture"]


def test_a_training_that_changes_at_every_step(tmp_path: Path) -> None:
    """A network that grows at each step is followed without a warning, and its loop is not disturbed."""
    model, (x, y) = _network(), _data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with diorama.watch(model, tmp_path / "run", probe=(x, y), every=1, snapshots=1) as recorder:
            for _ in range(12):
                _grow_by_data(model)
                recorder.step(loss=1.0)
    run = diorama.open(tmp_path / "run")
    assert [run.scene(step).layers["0"].units for step in run.snapshots] == [*range(8, 21)]
    assert run.check() == []


def test_changed_with_something_that_is_no_optimizer(tmp_path: Path) -> None:
    """changed(optimizer=…) never stops a training: what is no optimizer is warned of, and the old one stays."""
    model, (x, y) = _network(), _data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer) as recorder:
        with pytest.warns(RuntimeWarning, match="optimizer wants"):
            recorder.changed(optimizer=7)
        assert recorder.controls.subject.optimizers == (optimizer,)


def _told(recorder: Any, model: nn.Sequential, changes: dict[int, Any], steps: int) -> None:
    """Train on, with what is done by hand before some steps, each told with an optimizer made anew."""
    x, y = _data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(1, steps + 1):
        if step in changes:
            changes[step]()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            recorder.changed(optimizer=optimizer)
        x = x.to(next(model.parameters()).dtype)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)


def test_a_change_told_where_hooks_of_a_reading_are_on(tmp_path: Path) -> None:
    """What is stored, copied or pickled between steps holds none of the recorder's hooks, and the new network is stored."""
    model, copies = _network(), []

    def insert() -> None:
        model.insert(2, nn.Linear(8, 8))
        copies.append(pickle.loads(pickle.dumps(copy.deepcopy(model))))
        copies.append(pickle.loads(pickle.dumps(model)))

    with diorama.watch(model, tmp_path / "run", probe=_data(), optimizer=torch.optim.SGD(model.parameters(), 0.1), every=2) as recorder:
        _told(recorder, model, {2: insert, 4: insert}, 5)
        assert all(torch.equal(made(_data()[0]).isfinite(), torch.ones(24, 3, dtype=torch.bool)) for made in copies)
    run = diorama.open(tmp_path / "run")
    assert len(run.scene(step=5).model) == 5
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in run.scene(step=5).model.modules())
    assert [event.kind for event in run.events] == ["architecture", "architecture"]


def test_a_changed_network_that_cannot_be_stored_is_told(tmp_path: Path, capsys: Any) -> None:
    """On the terminal and in the run, as one that cannot be from the first."""
    model = _network()

    def spoil() -> None:
        model.append(nn.Linear(3, 3))
        model.lock = threading.Lock()

    with diorama.watch(model, tmp_path / "run", probe=_data(), optimizer=torch.optim.SGD(model.parameters(), 0.1)) as recorder:
        _told(recorder, model, {2: spoil}, 3)
    run = diorama.open(tmp_path / "run")
    assert "the model cannot be stored" in capsys.readouterr().err
    assert any("the model cannot be stored" in event.text for event in run.events)


class _Keeping(nn.Linear):
    """Keeps what it answered last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = super().forward(x)
        return self.last


def test_what_is_told_of_a_change_by_hand(tmp_path: Path) -> None:
    """An attribute or a hook that is told makes an architecture of its own, nothing new makes none, and another type is no other module."""
    model, x = nn.Sequential(_Keeping(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval(), _data()[0]
    model(x[:2])

    def forget() -> None:
        model[0].register_forward_hook(lambda module, args, output: output * 0)

    changes = {2: lambda: None, 4: lambda: setattr(model[1], "p", 0.1), 6: forget, 8: model.double}
    with diorama.watch(model, tmp_path / "run", probe=_data(), optimizer=torch.optim.SGD(model.parameters(), 0.1), snapshots=1) as recorder:
        _told(recorder, model, changes, 8)
    run = diorama.open(tmp_path / "run")
    parts = "0.weight float32 → float64, 0.bias float32 → float64, 2.weight float32 → float64, 2.bias float32 → float64"
    assert [(event.step, event.text.removeprefix("the network changed: ")) for event in run.events if event.kind == "architecture"] == [
        (4, "1 Dropout(p=0.5, inplace=False) → Dropout(p=0.1, inplace=False)"), (6, "attributes, hooks or code, and no parameter"), (8, parts),
    ]
    assert run.scene(step=5).model(x).std(0).min() > 0
    assert float(run.scene(step=6).model(x).std(0).max().detach()) == pytest.approx(0)


def test_layers_that_become_other_ones_within_a_reading_are_not_called_unreadable(tmp_path: Path, capsys: Any) -> None:
    """A module of the same shape in the place of another costs that reading, and none says that layers cannot be read."""
    model, (x, y) = _network(), _data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for step in range(5):
            if step == 2:
                model[0] = nn.Linear(4, 8)
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step()
    assert "activations" not in capsys.readouterr().err
    assert list(diorama.open(tmp_path / "run").series("activations/2/mean")[0]) == [1, 2, 4, 5]
