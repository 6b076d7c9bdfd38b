"""How a recording begins: into which folder, with which optimizer and state, and what it says that it will lack."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import Unavailable, UsageError
from diorama.record import lock


def _network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def _train(model: nn.Module, path: Path, steps: int = 8, optimizer: Any = None, **more: Any) -> Any:
    x, y = _data()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, **more) as recorder:
        for _ in range(steps):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return recorder


# Into which folder.


def test_a_script_that_is_run_again_is_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second training from new weights is recorded beside the first one, which stays as it was, in one line."""
    first = _train(_network(), tmp_path / "run")
    before = (tmp_path / "run" / "run.db").read_bytes()
    again = _train(_network(), tmp_path / "run", steps=3)
    third = _train(nn.Linear(4, 3), tmp_path / "run", steps=2)
    assert [recorder.path.name for recorder in (first, again, third)] == ["run", "run-2", "run-3"]
    assert (tmp_path / "run" / "run.db").read_bytes() == before
    assert [diorama.open(recorder.path).last_step for recorder in (first, again, third)] == [8, 3, 2]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "run-2" in said[0]
    assert "resume=True" in said[0]


def test_the_weights_it_ended_with_take_it_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model with the last snapshot's weights goes on where the run ended; resume=True does so with any weights."""
    model = _network()
    _train(model, tmp_path / "run")
    loaded = _network(1)
    loaded.load_state_dict(model.state_dict())
    assert _train(loaded, tmp_path / "run").number == 16
    assert _train(_network(2), tmp_path / "run", resume=True).number == 24
    assert diorama.open(tmp_path / "run").series("loss")[0].tolist() == [*range(1, 25)]
    assert capsys.readouterr().err == ""


def test_first_weights_take_nothing_up(tmp_path: Path) -> None:
    """A training that died before its second snapshot is not mixed with the same script run again."""
    model, (x, y) = _network(), _data()
    recorder = diorama.watch(model, tmp_path / "run", probe=(x, y), snapshots=1000)
    recorder.step(loss=1.0)
    recorder._background.close()
    recorder._lock.free()
    recorder.closed = True
    assert diorama.open(tmp_path / "run").snapshots == [0]
    assert _train(_network(), tmp_path / "run", steps=1).path.name == "run-2"


def test_a_run_with_nan_weights_is_taken_up(tmp_path: Path) -> None:
    """Weights are compared bit by bit, so that a broken training is known again too."""
    model = _network()
    _train(model, tmp_path / "run")
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    _train(model, tmp_path / "run", resume=True)
    assert _train(model, tmp_path / "run", steps=1).path.name == "run"


# With which optimizer.


class _Accelerated(torch.optim.Optimizer):
    """As Accelerate wraps: an Optimizer by name, whose own constructor never ran."""

    def __init__(self, inner: Any) -> None:
        self.optimizer = inner

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)


class _ScheduleFree:
    """As schedule-free optimizers wrap: no Optimizer at all, but one inside."""

    def __init__(self, base: Any) -> None:
        self.base = base

    @property
    def param_groups(self) -> Any:
        return self.base.param_groups

    def zero_grad(self, *_: bool) -> None:
        self.base.zero_grad()

    def step(self, closure: Any = None) -> None:
        self.base.step(closure)


class _Own:
    """An optimizer of somebody's own, with nothing of PyTorch's in it."""

    def __init__(self, parameters: Any) -> None:
        self.param_groups = [{"params": [*parameters], "lr": 0.1}]

    def zero_grad(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter -= 0.1 * parameter.grad

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("wrap", [_Accelerated, _ScheduleFree, lambda o: _Accelerated(_ScheduleFree(o)), _Own])
def test_wrapped_optimizers_are_recorded_as_plain_ones(tmp_path: Path, wrap: Any) -> None:
    """Whatever steps the weights, gradients, updates and the learning rate are those that a plain SGD gives."""
    plain, wrapped = _network(), _network()
    _train(plain, tmp_path / "plain", 6, every=2)
    inner = wrapped.parameters() if wrap is _Own else torch.optim.SGD(wrapped.parameters(), 0.1)
    _train(wrapped, tmp_path / "wrapped", 6, wrap(inner), every=2)
    one, other = diorama.open(tmp_path / "plain"), diorama.open(tmp_path / "wrapped")
    for name in ("gradients/0.weight/norm", "updates/0.weight/norm", "updates/2.bias/ratio", "learning_rate"):
        assert other.series(name)[0].tolist() == one.series(name)[0].tolist(), name
        assert other.series(name)[1].tolist() == pytest.approx(one.series(name)[1].tolist(), rel=1e-5), name


def test_what_is_no_optimizer_is_refused(tmp_path: Path) -> None:
    """Before the first step, by the name of its type."""
    with pytest.raises(UsageError, match="optimizer wants a torch.optim.Optimizer or several, got function"):
        diorama.watch(_network(), tmp_path / "run", optimizer=lambda: None)


# With which state.


def test_a_loader_is_no_state(tmp_path: Path) -> None:
    """What would put a data set into each checkpoint, or cannot be stored, is refused with the way out."""
    x, y = _data()
    data = torch.utils.data.TensorDataset(x, y)
    for state in ([torch.utils.data.DataLoader(data)], data, [torch.zeros(20_000_000)], (k for k in range(3))):
        with pytest.raises(UsageError, match="generator or sampler"):
            diorama.watch(_network(), tmp_path / "run", state=state)
    assert not (tmp_path / "run").exists()
    diorama.watch(_network(), tmp_path / "run", state=[torch.Generator(), {"epoch": 3}]).close()


# What it lacks.


@pytest.mark.parametrize("how", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrized_models_are_stored(tmp_path: Path, how: str) -> None:
    """A model whose weights are computed from others is stored as architecture and plain weights."""
    torch.manual_seed(0)
    parametrized = getattr(torch.nn.utils.parametrizations, how)(nn.Linear(4, 6))
    model, (x, _) = nn.Sequential(parametrized, nn.ReLU(), nn.Linear(6, 3)), _data()
    _train(model, tmp_path / "run")
    run = diorama.open(tmp_path / "run")
    assert run.meta["model_error"] == ""
    stored = run.scene().model.eval()
    with torch.no_grad():
        torch.testing.assert_close(stored(x), model.eval()(x))
    assert type(stored[0].parametrizations.weight[0]) is type(model[0].parametrizations.weight[0])


def test_what_a_run_will_lack_is_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that cannot be stored, and state that no snapshot holds, is told on the terminal and as an event, while it can still be mended."""
    model = _network()
    model.held = (k for k in range(3))
    model[1].__class__ = type("Remembering", (nn.ReLU,), {"get_extra_state": lambda module: {"calls": 3}})
    model._register_state_dict_hook(lambda module, state, prefix, about: [state.pop("0.bias"), None][1])
    _train(model, tmp_path / "run", 2)
    events = [event for event in diorama.open(tmp_path / "run").events if event.kind == "warning"]
    assert [event.step for event in events] == [0, 0, 0]
    for event, words in zip(events, ("no tensor (1._extra_state)", "leaves weights out that are trained (0.bias)", "cannot be stored"), strict=True):
        assert words in event.text
    told = capsys.readouterr().err
    assert all(event.text in told for event in events)


# The lock.

_HOLDER = """
import multiprocessing, os, shutil, sys, time
from pathlib import Path
from diorama.record.lock import RunLock, held
folder = Path(sys.argv[1])
lock = RunLock(folder); lock.take()
def work():
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)
child = multiprocessing.get_context("fork").Process(target=work, daemon=True); child.start()
shutil.copytree(folder, folder.parent / "copy")
assert held(folder)
os.write(1, b"copied\\n")
time.sleep(60)
"""


def test_the_lock_outlives_a_copy_and_not_its_process(tmp_path: Path) -> None:
    """A trainer that copies its own folder keeps the lock; once it is killed the run is free, forked workers or not."""
    import os
    import signal

    from diorama.record.lock import RunLock, held

    folder = tmp_path / "run"
    folder.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    said = [holder.stdout.readline().strip() for _ in range(2)]  # both have come so far
    said.remove("copied")
    child = int(said[0])
    try:
        assert held(folder)
        with pytest.raises(Unavailable, match="another training"):
            RunLock(folder).take()
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # its forked worker still lives
        assert not held(folder)
        lock = RunLock(folder)
        lock.take()
        assert held(folder)
        lock.free()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


@pytest.mark.filterwarnings("ignore:diorama could not record")
@pytest.mark.usefixtures("looking_at_once")
def test_a_folder_that_is_moved_while_it_is_written_to_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands to the new place are refused with the reason, and reach the training once it is back; clocks that are set change no duration."""
    model, now = nn.Linear(2, 1), time.time
    with diorama.watch(model, tmp_path / "run", optimizer=torch.optim.SGD(model.parameters(), 0.1)) as recorder:
        for there, here in ((tmp_path / "run", tmp_path / "moved"), (tmp_path / "moved", tmp_path / "run")):
            there.rename(here)
            recorder._told_at = 0.0
            recorder.step(loss=0.0)
            run = diorama.open(here)
            while bool(run.meta.get("moved")) is not (here.name == "moved"):
                time.sleep(0.001)
            with pytest.raises(diorama.Unavailable, match="was moved, renamed or deleted .* put it back" if here.name == "moved" else "no answer"):
                run.command("learning_rate", factor=0.5, wait=0.0)
            monkeypatch.setattr(time, "time", lambda: now() + 86400.0)
    assert 0 <= diorama.open(tmp_path / "run").info()["seconds"] < 3600
    assert any("was moved" in event.text for event in diorama.open(tmp_path / "run").events)


@pytest.mark.usefixtures("looking_at_once")
def test_a_run_that_is_deleted_while_it_is_written_says_that_nothing_is_kept(tmp_path: Path) -> None:
    """No step counts as committed from then on, and the terminal says so once, also where it was told of another trouble before."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with diorama.watch(nn.Linear(2, 1), tmp_path / "run") as recorder:
            recorder.step(loss="none")
            while recorder.committed < 1:
                time.sleep(0.001)
            shutil.rmtree(tmp_path / "run")
            for _ in range(3):
                recorder._told_at = 0.0
                recorder.step(loss=0.0)
            while recorder.committed != -1:
                time.sleep(0.001)
        assert recorder.committed == -1
    assert len([each for each in said if "was deleted while its training writes" in str(each.message)]) == 1
    assert not (tmp_path / "run" / "run.db").exists()


def test_what_a_full_disk_left_out_is_told_beside_the_record(tmp_path: Path) -> None:
    """In room that was taken before; a training that goes on from there begins without it."""
    taken = lock.RunLock(tmp_path)
    taken.take()
    size = (tmp_path / lock.NAME).stat().st_size
    taken.tell(20, 400, "disk I/O\nerror")
    assert lock.told(tmp_path) == ""  # of its own process it is not read: closing the file may let go of it
    taken.free()
    assert lock.told(tmp_path) == "the steps after 20 could not be written, nor what was due at them (disk I/O error)"
    assert (tmp_path / lock.NAME).stat().st_size == size
    taken.take()
    taken.free()
    assert lock.told(tmp_path) == ""


class _Inside(nn.Module):
    """Its layers run inside vmap, one example at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Row by row."""
        out: torch.Tensor = torch.vmap(lambda row: self.c(self.a(row).relu()))(x)
        return out


def test_layers_under_vmap_are_told_to_be_unread_without_a_probe_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, while it trains; the view of activations says the same, not that they will come."""
    model, x = _Inside(), torch.randn(8, 6)
    with diorama.watch(model, tmp_path / "run", every=1) as recorder:
        for _ in range(3):
            recorder.step(loss=model(x).sum())
    assert capsys.readouterr().err.count("no layer answers once for each example") == 1
    with pytest.raises(diorama.NotApplicable, match="outside of vmap"):
        diorama.open(tmp_path / "run").scene(3).view("distributions", of="activations")
