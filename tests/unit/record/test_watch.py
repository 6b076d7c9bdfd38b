"""watch() refuses what is wrong before the first step, and records without a trace in the training."""

from __future__ import annotations

import copy
import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotFound, Unavailable, Untrusted, UsageError
from diorama.record import background, look_pace, models, prober, snapshots, trust
from diorama.record import copies as copies_module
from diorama.record.recorder import watch
from diorama.record.snapshots import Plan
from diorama.record.weights import load_weights
from diorama.run import open_run


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    return x, x[:, :3].argmax(1)


def _train(model: nn.Module, steps: int, **options: Any) -> Any:
    """Train; with a path= in the options, recorded."""
    path = options.pop("path", None)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x, y = _data()
    recorder = watch(model, path, probe=(x, y), optimizer=optimizer, **options) if path is not None else None
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
    if recorder is not None:
        recorder.close()
    return recorder


def test_recording_leaves_the_training_bitwise_as_it_was(tmp_path: Path) -> None:
    """Weights, buffers, modes and all random generators are those of the unrecorded training; no hook is left."""
    plain, recorded = _network(), _network()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(1)
    _train(plain, 30)
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(1)
    _train(recorded, 30, path=tmp_path / "run", every=3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, recorded.state_dict()[name]), name
    assert all(module.training for module in recorded.modules())
    assert not any(module._forward_hooks for module in recorded.modules())


def test_signals_are_what_they_say(tmp_path: Path) -> None:
    """Gradients are those that the optimizer used; updates and their ratios are what the whole step changed, with and without its hooks:
    also what the loop does to the weights after it, which is no fault of weights that no optimizer holds."""
    for given in (True, False):
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD([model.weight], 0.1)
        x, y = _data()
        path = tmp_path / f"run{given}"
        with watch(model, path, optimizer=optimizer if given else None, every=1) as recorder:
            for _ in range(3):
                before = copy.deepcopy(model.state_dict())
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
                with torch.no_grad():
                    model.weight.clamp_(-0.3, 0.3)
                    model.bias.add_(0.1)
                recorder.step()
        run = open_run(path)
        assert not [found for found in run.findings() if found.finding == "not_in_optimizer"]
        update = model.weight.detach() - before["weight"]
        values = {name: run.series(name)[1][-1] for name in run.series_names}
        assert values["updates/weight/norm"] == pytest.approx(float(update.norm()), rel=1e-5)
        assert values["updates/weight/ratio"] == pytest.approx(float(update.norm() / before["weight"].norm()), rel=1e-5)
        assert values["gradients/weight/norm"] == pytest.approx(float(model.weight.grad.norm()), rel=1e-5)
        assert values["weights/weight/norm"] == pytest.approx(float(model.weight.detach().norm()), rel=1e-5)
        assert run.histograms("updates/weight").high[-1] == pytest.approx(float(update.max()), rel=1e-5)


def test_dead_units_are_seen(tmp_path: Path) -> None:
    """Units that a ReLU silences are counted, on the batch that is trained on."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].bias[:2] = -1000.0
    _train(model, 5, path=tmp_path / "run", every=1)
    run = open_run(tmp_path / "run")
    assert (run.series("activations/0/dead")[1] >= 0.25).all()
    assert run.histograms("activations/1").low.min() == 0
    assert "activations/1/probe" in run.histogram_names


def test_step_zero_and_the_end_are_always_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first snapshot is before any training and the last one after it; the probe is looked at in both, and between where time allows."""
    monkeypatch.setattr(look_pace, "SHARE", 1e9)  # however busy the machine is
    model = _network()
    before = copy.deepcopy(model.state_dict())
    _train(model, 37, path=tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert (run.snapshots[0], run.snapshots[-1]) == (0, 37)
    assert all(torch.equal(run.state(0)[name], before[name]) for name in before)
    assert all(torch.equal(run.state(37)[name], value) for name, value in model.state_dict().items())
    steps, _ = run.series("probe/accuracy")
    assert (steps[0], steps[-1]) == (0, 37)
    assert len(steps) >= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": (torch.randn(4, 7), torch.zeros(4).long())}, "cannot take the probe set"),
        ({"probe": (torch.randn(4, 4), torch.zeros(3).long())}, "same number of examples"),
        ({"probe": (torch.randn(4, 4), torch.full((4,), 9)), "task": "classification"}, "do not go with y"),
        ({"every": 0}, "every wants"),
        ({"snapshots": "often"}, "snapshots wants"),
        ({"budget": -1}, "budget wants"),
        ({"optimizer": "sgd"}, "optimizer wants"),
        ({"ranks": "some"}, "ranks wants"),
        ({"classes": ["a"]}, "describe the probe set"),
        ({"data": "/no/such/file"}, "data wants"),
        ({"signals": {"weights": {"evry": 2}}}, "evry"),
        ({"signals": 3}, "signals wants"),
        ({"scheduler": object()}, "scheduler wants"),
        ({"state": [torch.utils.data.DataLoader([1, 2])]}, "a DataLoader would be stored with all its data in every checkpoint; pass its generator"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_wrong_use_is_refused_before_the_first_step(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Each mistake raises at once, says what is wrong, and leaves no run behind."""
    with pytest.raises(UsageError, match=message):
        watch(_network(), tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    """A folder with other things in it is refused; one that cannot be made says why."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="is no run"):
        watch(_network(), tmp_path / "mine")
    with pytest.raises(Unavailable, match="cannot be written"):
        watch(_network(), tmp_path / "mine" / "thesis.txt" / "run")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_only_the_wanted_rank_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process of a distributed training gets a recorder that does nothing."""
    monkeypatch.setenv("RANK", "1")
    with watch(_network(), tmp_path / "run") as recorder:
        recorder.step(loss=1.0)
    assert not (tmp_path / "run").exists()


def test_tied_weights_and_the_stored_model_come_back(tmp_path: Path) -> None:
    """A model whose layers share a weight is opened from its run with the weight still shared."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).relu())

    model = Tied()
    with watch(model, tmp_path / "run", probe=_data()[0]):
        pass
    run = open_run(tmp_path / "run")
    found = run.module()
    assert found.a.weight is found.b.weight
    found.load_state_dict(run.state(0))
    x = _data()[0]
    assert torch.equal(found(x), model(x))


def test_a_model_of_someone_else_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this user's signature the pickle's code does not run; the record still opens, and trust= loads it."""
    with watch(_network(), tmp_path / "run"):
        pass
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    run = open_run(tmp_path / "run")
    with pytest.raises(Untrusted, match="--trust"):
        run.module()
    assert run.series_names
    assert isinstance(open_run(tmp_path / "run", trust=True).module(), nn.Sequential)
    assert open_run(tmp_path / "run", model=_network).module()[0].in_features == 4
    data = models.file_of(tmp_path / "run", 0).read_bytes()
    signature = trust.sign(data)
    assert trust.verify(data, signature)
    assert not trust.verify(data + b"x", signature)
    key = trust.key_file()
    assert key.stat().st_mode & 0o777 == 0o600
    for mode in (0o640, 0o620, 0o610, 0o604, 0o602, 0o601):
        os.chmod(key, mode)
        assert trust.key() is None
        assert not trust.verify(data, signature)
    os.chmod(key, 0o400)
    assert trust.verify(data, signature)


def test_a_model_that_cannot_be_pickled_still_records(tmp_path: Path) -> None:
    """The run says why its model is missing and what to do."""
    model = _network()
    model.handle = threading.Lock()  # type: ignore[assignment]
    with watch(model, tmp_path / "run") as recorder:
        recorder.step(loss=1.0)
    run = open_run(tmp_path / "run")
    with pytest.raises(Unavailable, match="could not be stored"):
        run.module()
    assert run.series("loss")[1].tolist() == [1.0]


def test_snapshots_are_dense_at_first_then_even_and_within_budget() -> None:
    """600 steps give at least 20; a long run keeps at most 240, its first and last, and those kept by hand."""
    plan, kept = Plan("auto", 10**12), [(0, 1, True)]
    for step in range(1, 100_001):
        if plan.due(step, 1e9):
            plan.taken(step)
            kept.append((step, 1, step == kept[5][0] if len(kept) > 5 else False))
            gone = set(plan.superfluous(kept))
            kept = [each for each in kept if each[0] not in gone]
        if step == 600:
            assert len(kept) >= 20
            assert [each[0] for each in kept[:4]] == [0, 1, 2, 3]
    steps = [each[0] for each in kept]
    assert 100 < len(steps) <= snapshots.MOST
    assert steps[0] == 0
    late = np.diff([step for step in steps if step > 20_000])
    assert late.max() <= 4 * np.median(late)
    small = Plan("auto", 10)
    assert len([s for s in range(50) if s not in small.superfluous([(s, 2, False) for s in range(50)])]) == 5
    by_hand = set(range(50)) - set(small.superfluous([(s, 2, s in (7, 31)) for s in range(50)]))
    assert {0, 7, 31, 49} < by_hand
    assert len(by_hand) == 5


def test_snapshots_cost_a_small_share_of_the_training() -> None:
    """Where writing them takes long they come seldom, but for steps that somebody asked for."""
    plan, asked = Plan("auto", 10**12), Plan(10, 10**12)
    for each in (plan, asked):
        each.taken(0, seconds=1.0)
    assert not plan.due(100, elapsed=0.2 / snapshots.SHARE)
    assert plan.due(100, elapsed=1.0 / snapshots.SHARE)
    assert asked.due(100, elapsed=20.0)


def test_weights_load_from_safe_files_only(tmp_path: Path) -> None:
    """safetensors and tensor-only .pt load; a .pt with code and other files are refused with the way out."""
    state = _network().state_dict()
    torch.save({"state_dict": state}, tmp_path / "safe.pt")
    assert torch.equal(load_weights(tmp_path / "safe.pt")["0.weight"], state["0.weight"])
    torch.save(_network(), tmp_path / "code.pt")
    with pytest.raises(Untrusted, match="safetensors"):
        load_weights(tmp_path / "code.pt")
    with pytest.raises(UsageError, match="ending in"):
        load_weights(tmp_path / "weights.pkl")
    with pytest.raises(Unavailable):
        load_weights(tmp_path / "none.pt")


def test_signals_can_be_changed(tmp_path: Path) -> None:
    """A signal can be left out or read at its own pace."""
    _train(_network(), 12, path=tmp_path / "run", every=2, signals={"weights": None, "gradients": {"every": 6}})
    run = open_run(tmp_path / "run")
    assert not any(name.startswith("weights/") for name in run.series_names)
    assert run.series("gradients/0.weight/norm")[0].tolist() == [6, 12]
    assert run.series("updates/0.weight/norm")[0].tolist() == [2, 4, 6, 8, 10, 12]


@pytest.mark.filterwarnings("ignore:diorama could not record")
def test_a_record_that_cannot_be_written_is_told_as_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be packed costs the steps that are written with it; which, the run tells, with all that was told meanwhile."""
    plain = background._plain

    def packed(values: dict[str, Any]) -> dict[str, Any]:
        if values.get("odd") == 2.0:
            raise TypeError("cannot be packed")
        return plain(values)

    monkeypatch.setattr(background, "_plain", packed)
    with watch(_network(), tmp_path / "run", every=1) as recorder:
        for number in range(3):
            recorder.step(odd=number + 1.0)
        recorder._event("note", "mine", "told beside it")
    run = open_run(tmp_path / "run")
    (gap,) = (event for event in run.events if event.kind == "gap")
    assert int(gap.old) <= 2 <= int(gap.new)
    assert run.dropped == int(gap.new) - int(gap.old) + 1
    assert [event.text for event in run.events if event.name == "mine"] == ["told beside it"]


def test_a_flipped_byte_in_a_snapshot_is_told(tmp_path: Path) -> None:
    """check() names the file; the scene's state refuses it."""
    _train(_network(), 5, path=tmp_path / "run")
    run = open_run(tmp_path / "run")
    file = sorted((tmp_path / "run" / "snapshots").glob("*"))[-1]
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert run.check() == [f"snapshots/{file.name} does not match its checksum"]
    with pytest.raises(diorama.Damaged):
        run.state(5)
    with pytest.raises(NotFound):
        run.state(3333)


def _held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let no snapshot but the first be written until the event is set."""
    go, take = threading.Event(), copies_module.take_snapshot

    def waiting(*what: Any, **how: Any) -> int:
        go.wait(120)
        return take(*what, **how)

    monkeypatch.setattr(copies_module, "take_snapshot", waiting)
    return go


def test_snapshots_at_asked_steps_are_all_written_however_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a number of steps every multiple is there, though the writer stands still while the training runs on."""
    go = _held(monkeypatch)
    model = _network()
    with watch(model, tmp_path / "run", probe=_data(), snapshots=2) as recorder:
        for _ in range(21):
            recorder.step()
        go.set()
    assert open_run(tmp_path / "run").snapshots == [0, *range(2, 21, 2), 21]


def test_snapshots_that_find_no_room_are_told_and_the_last_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded: too many snapshots are given up, told as one span, and the last step has its own."""
    go = _held(monkeypatch)
    model = _network()
    with watch(model, tmp_path / "run", probe=_data(), snapshots=1) as recorder:
        monkeypatch.setattr("diorama.record.background.JOB_BYTES", 2 * snapshots.size_of(model.state_dict()))
        for _ in range(9):
            recorder.step()
        go.set()
    run = open_run(tmp_path / "run")
    assert run.snapshots == [0, 1, 2, 9]
    told = [event for event in run.events if event.kind == "gap"]
    assert [(event.old, event.new) for event in told] == [("3", "8")]
    assert told[0].text == "6 snapshots between steps 3 and 8 are missing: the store could not keep up"


@pytest.mark.parametrize("every", ["auto", 1])
def test_a_model_is_not_copied_for_a_snapshot_that_finds_no_room(
    every: str | int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the writer stands still, weights are copied for what may wait and for the last step, and for nothing else."""
    go = _held(monkeypatch)
    model, copies, copied = _network(), [], snapshots.copied
    with watch(model, tmp_path / "run", probe=_data(), snapshots=every) as recorder:
        monkeypatch.setattr("diorama.record.background.JOB_BYTES", 1)
        monkeypatch.setattr(snapshots, "copied", lambda model: copies.append(recorder.number) or copied(model))
        for _ in range(9):
            recorder.step()
        go.set()
    assert copies == [1, 9]
    assert open_run(tmp_path / "run").snapshots == [0, 1, 9]


@pytest.mark.filterwarnings("ignore:diorama could not record")
def test_a_step_between_readings_keeps_every_form_of_number(tmp_path: Path) -> None:
    """Numbers of all forms, the learning rates of two groups under a schedule and later commands are recorded at each step; what is none is
    told once each."""
    model = _network()
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.5}, {"params": model[4].parameters(), "lr": 0.25}])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    recorder = watch(model, tmp_path / "run", optimizer=optimizer, every=1000, snapshots=1000)
    rested = 0
    for step in range(1, 21):
        optimizer.step()
        rested += step < recorder._rest
        recorder.step(
            plain=step + 0.5, whole=step, tensor=torch.tensor(step + 0.5, requires_grad=True), one=torch.tensor([step]),
            array=np.float32(step), bad=float("nan"), **{f"word{step % 2}": "none"},
        )
        schedule.step()
    recorder.close()
    assert rested > 10
    run = open_run(tmp_path / "run")
    assert sorted(event.text[:14] for event in run.events if event.name == "not recorded") == ["step(word0=…) ", "step(word1=…) "]
    counted = np.arange(1, 21)
    for name, wanted in {
        "plain": counted + 0.5, "whole": counted, "tensor": counted + 0.5, "one": counted, "array": counted,
        "learning_rate": 0.5 * 0.5 ** (counted - 1.0), "learning_rate/1": 0.25 * 0.5 ** (counted - 1.0),
    }.items():
        steps, values = run.series(name)
        np.testing.assert_array_equal(steps[steps > 0], counted)
        np.testing.assert_allclose(values[steps > 0], wanted)
    assert np.isnan(run.series("bad")[1]).all()


@pytest.mark.filterwarnings("error")
def test_computed_weights_and_empty_batches_leave_no_layer_out(tmp_path: Path) -> None:
    """Layers whose weights are computed from others are read as plain ones are, and an empty batch says nothing of a layer."""
    torch.manual_seed(0)
    weight_norm = torch.nn.utils.parametrizations.weight_norm
    model = nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.Tanh(), weight_norm(nn.Linear(8, 3)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, tmp_path / "run", optimizer=optimizer, every=1) as recorder:
        for count in (4, 0, 4):
            optimizer.zero_grad()
            loss = model(torch.randn(count, 4)).square().sum()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = open_run(tmp_path / "run")
    for layer in ("0", "1", "2"):
        steps, values = run.series(f"activations/{layer}/mean")
        assert steps.tolist() == [1, 3], layer
        assert np.isfinite(values).all()
    assert not [event for event in run.events if "activations" in event.text]


@pytest.mark.parametrize("hidden", [True, False])
def test_what_cannot_be_looked_into_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool) -> None:
    """Layers that run inside vmap are left out, said beforehand; a first look at the probe set that fails is told, and the training goes on."""
    model, x = nn.ModuleList([nn.Linear(4, 3)]), torch.randn(6, 4)
    model.forward = lambda rows: torch.vmap(model[0])(rows) if hidden else model[0](rows)  # type: ignore[method-assign]
    if not hidden:
        monkeypatch.setattr(prober.Prober, "look", lambda self, whole: 1 / 0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, tmp_path / "run", probe=(x, torch.arange(6) % 3), optimizer=optimizer, every=1) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = open_run(tmp_path / "run")
    assert run.series("loss")[0].tolist() == [1, 2, 3]
    assert any("vmap" in event.text for event in run.events) == hidden
    assert any(event.name == "not recorded" for event in run.events) != hidden


class _Unclear(nn.Module):
    """Two answers whose form nothing tells but the numbers: at first they lie between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, 0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x).exp().log()


def test_answers_that_turn_out_to_be_no_probabilities_are_read_anew(tmp_path: Path) -> None:
    """What was told of the probe set when they were taken for probabilities is left out with an event, and all steps are read alike."""
    torch.manual_seed(0)
    model, x, y = _Unclear(), torch.randn(8, 4), (torch.arange(16).reshape(8, 2) % 3 == 0).float()
    optimizer = torch.optim.SGD(model.parameters(), 3.0)
    with watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=5) as recorder:
        for _ in range(10):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
            optimizer.step()
            recorder.step()
    run = open_run(tmp_path / "run")
    steps, loss = run.series("probe/loss")
    assert steps[0] > 0
    assert run.rows("examples/loss")[0].tolist() == steps.tolist() == run.every_series()["probe/loss"][0].tolist()
    assert loss[-1] == pytest.approx(nn.functional.binary_cross_entropy_with_logits(model(x), y).item(), rel=1e-4)
    assert [event.step for event in run.events if "no probabilities" in event.text] == [steps[0]]
    assert {run.scene(step=step).reading.form for step in run.snapshots} == {"scores"}
