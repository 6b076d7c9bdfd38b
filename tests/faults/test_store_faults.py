"""A store that is blocked, full or shared: the training goes on, and what was acknowledged can be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from training import advance, batch, network

from diorama.core.errors import DioramaError, Unavailable
from diorama.record import background
from diorama.record.budget import Budget
from diorama.record.reader import RunReader
from diorama.record.recorder import watch
from diorama.record.snapshots import Plan
from diorama.record.writer import Writer
from diorama.run import open_run

SCRIPT = Path(__file__).with_name("training.py")


def test_a_blocked_store_never_makes_the_training_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process blocks the store, steps are dropped whole and counted, and an event tells of the gap."""
    monkeypatch.setattr(background, "LIMIT", 50)
    recorder = watch(network(), tmp_path / "run", probe=batch(0))
    recorder.step(loss=1.0)
    _until(lambda: recorder.committed == 1)
    blocker = sqlite3.connect(tmp_path / "run" / "run.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    longest = 0.0
    for _ in range(400):
        began = time.perf_counter()
        recorder.step(loss=2.0)
        longest = max(longest, time.perf_counter() - began)
    assert recorder.dropped > 100
    assert recorder.committed == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    _until(lambda: recorder.committed > 1)
    recorder.step(loss=3.0)
    recorder.close()
    with RunReader(tmp_path / "run") as reader:
        steps, _ = reader.series("loss")
        assert len(steps) + reader.dropped == recorder.number == 402
        assert len(np.unique(steps)) == len(steps)
        gap = next(event for event in reader.events if event.kind == "gap")
        assert int(gap.old) > 1
        assert not set(range(int(gap.old), int(gap.new) + 1)) & set(steps.tolist())
        assert reader.check() == []


def _until(true: object, patience: float = 120.0) -> None:
    until = time.monotonic() + patience
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="a small file system is mounted by root alone")
def test_a_full_disk_costs_one_warning_and_recording_resumes(tmp_path: Path) -> None:
    """On a 16 MB disk that fills up the loop goes on, what is committed is readable, and freed space is used again."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this machine does not let a small file system be mounted")
    try:
        _fill_and_free(small)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def _fill_and_free(small: Path) -> None:
    model = network()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with watch(model, small / "run", probe=batch(0), every=1) as recorder:
            recorder.step(loss=1.0)
            _until(lambda: recorder.committed == 1)
            free = os.statvfs(small)
            ballast = small / "ballast"
            with open(ballast, "wb") as file:
                try:
                    file.write(b"\1" * (free.f_bavail * free.f_frsize - 20_000))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    pass
            for _ in range(300):
                recorder.step(loss=2.0)
                time.sleep(0.002)
            full = recorder.committed
            with RunReader(small / "run") as reader:
                assert reader.last_step >= full
                assert len(reader.series("loss")[0]) == reader.last_step
            assert full < recorder.number
            ballast.unlink()
            recorder.step(loss=3.0)
            _until(lambda: recorder.committed > full)
    assert len([each for each in said if issubclass(each.category, RuntimeWarning)]) == 1
    with RunReader(small / "run") as reader:
        assert reader.last_step == recorder.number
        assert reader.check() == []


def test_a_second_writer_is_refused_before_its_first_step(tmp_path: Path) -> None:
    """Two trainings never write to one run: the second says so at once, in this process and in another."""
    with watch(network(), tmp_path / "run", probe=batch(0)) as recorder:
        recorder.step(loss=1.0)
        with pytest.raises(Unavailable, match="another training"):
            watch(network(), tmp_path / "run")
        other = subprocess.run(
            [sys.executable, str(SCRIPT), str(tmp_path / "run"), "2", "0"], capture_output=True, text=True
        )
        assert other.returncode == 1
        assert "another training writes" in other.stderr
        recorder.step(loss=2.0)
    with RunReader(tmp_path / "run") as reader:
        assert reader.series("loss")[1].tolist() == [1.0, 2.0]


def test_a_training_is_taken_up_again_after_its_end(tmp_path: Path) -> None:
    """On an existing run steps go on from the last committed one, and none is doubled."""
    for _ in range(2):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with watch(model, tmp_path / "run", probe=batch(0), optimizer=optimizer, resume=True) as recorder:
            for step in range(1, 31):
                recorder.step(loss=advance(model, optimizer, step))
    with RunReader(tmp_path / "run") as reader:
        assert reader.series("loss")[0].tolist() == list(range(1, 61))
        assert [event.kind for event in reader.events].count("resumed") == 1
        assert reader.snapshots[0] == 0
        assert reader.snapshots[-1] == 60


@pytest.mark.parametrize("planted", ["snapshots", "checkpoints", "index", "lock", "origin.json", "model-1.pkl", ".probe.safetensors"])
def test_a_run_that_leads_elsewhere_has_nothing_written_or_deleted_there(tmp_path: Path, planted: str) -> None:
    """A run from anybody may hold links, or an index that names files of others: taken up, it is refused or goes on, and what lies there stays."""
    run, victim = tmp_path / "run", tmp_path / "victim"
    victim.mkdir()
    names = ("000000002.safetensors", "letter.txt", "000000001.auto.pt")
    for name in names:
        (victim / name).write_text("mine")

    def record(width: int, **told: Any) -> None:
        model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with watch(model, run, probe=torch.ones(4, 3), optimizer=optimizer, snapshots=1, resume=True, **told) as recorder:
            for _ in range(4):
                recorder.step(loss=1.0)

    record(4)
    if planted == "index":
        with contextlib.closing(sqlite3.connect(run / "run.db")) as connection, connection:
            connection.execute("UPDATE snapshots SET file = '../victim/letter.txt' WHERE step = 2")
    else:
        if (run / planted).is_dir():
            shutil.rmtree(run / planted)
        (run / planted).unlink(missing_ok=True)
        (run / planted).symlink_to(victim / "letter.txt" if "." in planted or planted == "lock" else victim)
    with warnings.catch_warnings(), contextlib.suppress(DioramaError):
        warnings.simplefilter("ignore", RuntimeWarning)
        record(7, budget=2000)
    assert sorted(file.name for file in victim.iterdir()) == sorted(names)
    assert all((victim / name).read_text() == "mine" for name in names)


@pytest.mark.timeout(20)
def test_a_budget_does_not_wait_for_what_cannot_be_deleted(tmp_path: Path) -> None:
    """Where an old checkpoint cannot be deleted, what else can go goes, and the writer comes to its end."""
    with watch(network(), tmp_path / "run", snapshots=1) as recorder:
        for _ in range(3):
            recorder.step(loss=1.0)
    stuck = tmp_path / "run" / "checkpoints" / "000000000.auto.pt"
    (stuck / "inside").mkdir(parents=True)
    writer = Writer(tmp_path / "run")
    Budget(2000, Plan(1, 2000), lambda apart: None).keep(writer)
    assert [step for step, *_ in writer.snapshots()] == [3]
    writer.close()
    assert stuck.is_dir()


def test_another_network_in_the_same_run_is_another_architecture(tmp_path: Path) -> None:
    """A run that goes on with other layers numbers their model anew, and every snapshot keeps the one that it goes with."""
    for width in (4, 7, 7):
        model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))
        with watch(model, tmp_path / "run", snapshots=2, resume=True) as recorder:
            for _ in range(3):
                recorder.step(loss=1.0)
        with contextlib.closing(sqlite3.connect(tmp_path / "run" / "run.db")) as connection, connection:
            # As after a crash: the last snapshot was not written, and going on begins with one.
            connection.execute("DELETE FROM snapshots WHERE step = (SELECT max(step) FROM snapshots)")
    with RunReader(tmp_path / "run") as reader:
        assert [(step, reader.model_at(step)) for step in reader.snapshots] == list(zip((0, 2, 3, 4, 6, 8), (0, 0, 1, 1, 1, 1), strict=True))
        assert reader.check() == []
    run = open_run(tmp_path / "run")
    assert [run.module(step)[0].out_features for step in run.snapshots] == [4, 4, 7, 7, 7, 7]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_signals_end_a_recorded_training_as_any_other(tmp_path: Path, number: int, code: int) -> None:
    """SIGTERM and SIGINT keep their exit codes; the run opens with all that was called committed."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "run"), "100000", "0.001"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    committed = next(step for line in process.stdout if (step := int(line)) >= 60)
    process.send_signal(number)
    assert process.wait(120) == code
    process.stdout.close()
    with RunReader(tmp_path / "run") as reader:
        steps, _ = reader.series("loss")
        assert len(steps) >= committed
        assert np.array_equal(steps, np.arange(1, len(steps) + 1))
        assert not reader.alive
        assert reader.check() == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader_leave_the_record_alone(tmp_path: Path, method: str) -> None:
    """With DataLoader workers of each kind nothing hangs and no step is lost or doubled."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    data = TensorDataset(*batch(1))
    with warnings.catch_warnings(), watch(model, tmp_path / "run", probe=batch(0), optimizer=optimizer) as recorder:
        warnings.simplefilter("ignore")
        workers = 2 if method == "fork" else 1
        for _ in range(1 if workers == 1 else 2):
            for x, y in DataLoader(data, 4, num_workers=workers, multiprocessing_context=method):
                loss = torch.nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
        child = os.fork()
        if child == 0:
            recorder.step(loss=99.0)
            recorder.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        recorder.step(loss=0.0)
    with RunReader(tmp_path / "run") as reader:
        steps, loss = reader.series("loss")
        assert steps.tolist() == list(range(1, recorder.number + 1))
        assert 99.0 not in loss
        assert reader.check() == []
