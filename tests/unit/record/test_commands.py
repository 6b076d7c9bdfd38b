"""Commands reach a running training, are applied between two steps, and are answered."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from diorama.core import registry
from diorama.core.errors import DioramaError, NotApplicable, NotFound, NotRun, Unavailable, UsageError
from diorama.core.knobs import knobs_of
from diorama.record import controls, database, requests
from diorama.record.recorder import Stopped, watch
from diorama.run import Acknowledgement, Run, open_run
from diorama.training.surgery import layers, starts, units
from diorama.views import run_series


class _Training:
    """A loop on a thread of its own, whose scheduler halves the learning rate every ten steps."""

    def __init__(self, path: Path, optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD) -> None:
        model = nn.Linear(3, 2)
        self.optimizer = optimizer(model.parameters(), lr=0.1)
        self.used: list[float] = []
        self.scheduled: list[float] = []
        self.recorder = watch(model, path, optimizer=self.optimizer)
        self.ended = threading.Event()
        self.quit = False
        self.error: BaseException | None = None
        self.model = model
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 10, 0.5)
        x = torch.randn(4, 3)
        self.optimizer.register_step_pre_hook(lambda o, *_: self.used.append(float(o.param_groups[0]["lr"])))
        try:
            with self.recorder as recorder:
                while not self.quit:
                    self.optimizer.zero_grad()
                    loss = self.model(x).square().mean()
                    loss.backward()
                    self.optimizer.step()
                    scheduler.step()
                    self.scheduled.append(scheduler.get_last_lr()[0])
                    recorder.step(loss=loss)
                    time.sleep(0.005)
        except BaseException as error:
            self.error = error
        self.ended.set()

    def end(self) -> None:
        """Let it end."""
        self.quit = True
        if not self.recorder.stopped and not self.recorder.closed:
            self.recorder.controls.resume()
        assert self.ended.wait(120)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[_Training]:
    running = _Training(tmp_path / "run")
    yield running
    running.end()


def _run(training: _Training) -> Run:
    return open_run(training.recorder.path)


def test_a_learning_rate_factor_survives_the_scheduler_which_never_sees_it(training: _Training) -> None:
    """After factor=0.5 each step uses half of what the schedule says, and the schedule is as without it."""
    run = _run(training)
    answer = run.command("learning_rate", factor=0.5, wait=120)
    assert float(answer.new) == pytest.approx(float(answer.old) / 2, rel=1e-4)
    until = answer.step + 25
    while training.recorder.number < until and not training.ended.is_set():
        time.sleep(0.01)
    training.end()
    steps, rates = run.series("learning_rate")
    for step in range(answer.step + 1, until):
        assert training.scheduled[step - 1] == pytest.approx(0.1 * 0.5 ** (step // 10))
        assert training.used[step - 1] == pytest.approx(0.5 * training.scheduled[step - 2])
    assert rates[steps == until - 1][0] == pytest.approx(0.5 * training.scheduled[until - 2])
    assert [event.name for event in run.events if event.kind == "command"] == ["learning_rate"]


def test_pause_step_and_resume(training: _Training) -> None:
    """A paused training does exactly the steps it is allowed, and goes on when resumed."""
    run = _run(training)
    paused = run.command("pause", wait=120)
    assert (paused.old, paused.new) == ("running", "paused")
    time.sleep(0.2)
    assert training.recorder.number == paused.step
    assert run.paused
    run.command("step", count=3, wait=120)
    _until(lambda: training.recorder.number == paused.step + 3)
    time.sleep(0.2)
    assert training.recorder.number == paused.step + 3
    assert run.command("resume", wait=120).new == "running"
    _until(lambda: training.recorder.number > paused.step + 5)


def _until(true: Callable[[], Any]) -> None:
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_stop_ends_the_with_block_quietly(training: _Training) -> None:
    """The block ends without an exception, and the run says that it was stopped."""
    run = _run(training)
    run.command("stop", wait=120)
    assert training.ended.wait(120)
    assert training.error is None
    assert run.meta["ended"]["how"] == "stopped"
    with pytest.raises(Unavailable, match="no training"):
        run.command("pause")


def test_stop_outside_a_with_block_raises_from_step(tmp_path: Path) -> None:
    """Without the block step() raises Stopped, the only exception that it raises."""
    recorder = watch(nn.Linear(2, 2), tmp_path / "run")
    recorder.controls.stop()
    with pytest.raises(Stopped):
        recorder.step(loss=1.0)
    recorder.close()


def test_wrong_commands_are_refused_with_a_reason(training: _Training) -> None:
    """Unknown names and knobs are refused at once, impossible values by the training; nothing changes."""
    run = _run(training)
    with pytest.raises(NotFound, match="pause"):
        run.command("paus")
    with pytest.raises(NotFound, match="factor"):
        run.command("learning_rate", facter=1)
    with pytest.raises(UsageError, match="momentum"):
        run.command("optimizer_value", setting="momentun", value=0.5, wait=120)
    with pytest.raises(UsageError, match="below 1"):
        run.command("optimizer_value", setting="momentum", value=1.5, wait=120)
    assert training.optimizer.param_groups[0]["momentum"] == 0
    assert run.command("optimizer_value", setting="momentum", value=0.5, wait=120).new == "0.5"
    assert training.optimizer.param_groups[0]["momentum"] == 0.5


class _Unfit(NotApplicable):
    """A plug-in's own kind of one."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (NotApplicable, NotApplicable), (NotRun, NotRun), (_Unfit, NotApplicable), (UsageError, UsageError), (NotFound, NotFound),
        (Unavailable, Unavailable), (ZeroDivisionError, DioramaError),
    ],
)
def test_a_refusal_comes_as_what_it_is(
    training: _Training, monkeypatch: pytest.MonkeyPatch, raised: type[Exception], told: type[DioramaError]
) -> None:
    """What a command raised while it was applied is raised where it was sent, as the same kind; what failed by itself is called no wrong knob."""

    def apply(self: object, controls: object) -> None:
        raise raised("this network has no such layer")

    monkeypatch.setattr(registry.commands["learning_rate"], "apply", apply)
    with pytest.raises(DioramaError, match="this network has no such layer") as found:
        _run(training).command("learning_rate", factor=0.5, wait=120)
    assert type(found.value) is told


def test_a_snapshot_on_command_is_kept_with_a_checkpoint(training: _Training) -> None:
    """The weights and the optimizer of that step can be read back."""
    from diorama.record import checkpoints

    run = _run(training)
    answer = run.command("snapshot", wait=120)
    _until(lambda: answer.step in run.snapshots and answer.step in run.checkpoints)
    assert set(run.state(answer.step)) == {"weight", "bias"}
    assert checkpoints.load(run.path, answer.step)["optimizers"][0]["param_groups"][0]["initial_lr"] == 0.1
    training.end()
    assert run.check() == []


def test_a_pause_whose_page_is_gone_ends_by_itself(training: _Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody looks any more, a pause made by the page is over, and an event says so."""
    monkeypatch.setattr(controls, "PATIENCE", 0.5)
    run = _run(training)
    (run.path / requests.WATCHING).touch()
    paused = run.command("pause", wait=120, sender="page")
    old = time.time() - 60
    os.utime(run.path / requests.WATCHING, (old, old))
    _until(lambda: training.recorder.number > paused.step)
    _until(lambda: any(event.kind == "resumed" and "by itself" in event.text for event in run.events))


def test_the_history_says_who_sent_a_command(training: _Training) -> None:
    """The page, Python, the command line and rules are told apart wherever a command is told of."""
    run = _run(training)
    for sender in ("page", "python", "command line", "rule 3"):
        run.command("learning_rate", factor=0.5, wait=120, sender=sender)
    _until(lambda: sum(event.kind == "command" for event in run.events) == 4)
    labels = [event.label.removeprefix(event.text) for event in run.events if event.kind == "command"]
    assert labels == [" (from the page)", " (from Python)", " (from the command line)", " (by rule 3)"]
    assert [label.endswith(end) for (_, _, kind, label), end in zip(run_series.events(run), labels, strict=False) if kind == "command"] == [True] * 4


def test_a_run_that_kept_no_senders_is_read_and_taken_up(tmp_path: Path) -> None:
    """Its events stand as they are, and more come without a sender."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        recorder.step(loss=1.0)
    earlier = next(each for each in database.EARLIER.split(";") if "TABLE events" in each)
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / database.NAME)) as connection:
        connection.execute("DROP TABLE events")
        connection.execute(earlier)
        connection.execute("INSERT INTO events (step, kind, name, text, old, new, time) VALUES (1, 'command', 'pause', 'paused', '', '', 0.0)")
        connection.commit()
    assert [(event.label, event.sender) for event in open_run(tmp_path / "run").events] == [("paused", "")]
    with watch(model, tmp_path / "run", optimizer=optimizer, resume=True) as recorder:
        recorder.step(loss=1.0)
    assert [event.kind for event in open_run(tmp_path / "run").events][:2] == ["command", "resumed"]


def test_an_optimizer_step_that_raises_leaves_the_learning_rate(tmp_path: Path) -> None:
    """A factor is taken off again also when the optimizer's step failed."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        recorder.controls.groups()[0].factor = 0.5

        def broken() -> torch.Tensor:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            optimizer.step(broken)
        recorder.step(loss=0.0)
        assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    "row", [("pause", "{", "python"), ("pause", "[1]", "python"), ("pause", "1" * 200_000, "x"), (b"\xff", "{}", b"\0"),
            ("pause", b"\xff\xfe", "python")]
)
def test_a_broken_row_blocks_no_other_command(training: _Training, row: tuple[Any, ...]) -> None:
    """A row that cannot be read is refused by its number, and those that follow are applied."""
    run = _run(training)
    with sqlite3.connect(run.path / requests.NAME) as connection:
        number = connection.execute("INSERT INTO commands (name, knobs, sender, time) VALUES (?, ?, ?, 0)", row).lastrowid
    connection.close()
    assert run.command("learning_rate", factor=0.5, wait=30).step
    answer = run.acknowledgement(number or 0)
    assert answer is not None
    assert not answer["ok"]


def test_a_broken_file_of_commands_is_made_anew(training: _Training) -> None:
    """Bytes that are no database, a trigger and an endless view are put aside, which is told, and commands arrive again, under new numbers;
    none of them runs, here or where a command is sent."""
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    foreign = (
        "",
        "CREATE TRIGGER t AFTER INSERT ON commands BEGIN INSERT INTO commands SELECT NULL, 'stop', '{}', 'x', 0; END",
        f"DROP TABLE commands; CREATE VIEW commands AS {endless} SELECT i AS id, 'stop' AS name, '' AS knobs, '' AS sender, 0 AS time FROM n",
    )
    run = _run(training)
    run.command("learning_rate", factor=0.5, wait=30)
    for number, script in enumerate(foreign):
        if script:
            (beside := run.path / f"beside-{number}").mkdir()
            requests.create(beside)
            for folder in (beside, run.path):
                with contextlib.closing(sqlite3.connect(folder / requests.NAME)) as connection:
                    connection.executescript(script)
            with pytest.raises(Unavailable, match="which no run has"):
                requests.send(beside, "stop", {})
        else:
            (run.path / requests.NAME).write_bytes(b"no database at all" * 999)
        until = time.monotonic() + 30
        while sum(event.kind == "warning" for event in run.events) <= number and time.monotonic() < until:
            time.sleep(0.02)
        assert run.command("learning_rate", factor=0.25 / (number + 1), wait=30).new
        assert (run.path / "commands.db.broken").is_file()
    assert training.error is None


def test_a_pause_from_the_page_ends_when_its_server_is_gone(
    training: _Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page's connection sends is known as the page's: when nobody looks any more, the training goes on."""
    from diorama.live.hub import Hub
    from diorama.live.session import Session

    monkeypatch.setattr(controls, "PATIENCE", 0.3)
    told: list[Any] = []
    hub = Hub([training.recorder.path.parent])
    session = Session(hub, told.append, lambda *_: None)
    session.receive('{"do": "command", "id": 1, "run": "run", "name": "pause", "knobs": {}}')
    run, until = _run(training), time.monotonic() + 30
    while not any(event.name == "resume" for event in run.events) and time.monotonic() < until:
        time.sleep(0.02)
    plain = [msgspec.to_builtins(event) for event in told]
    assert [event["ok"] for event in plain if event.get("event") == "command"] == [True]
    assert "went on by itself" in run.events[-1].text
    assert not training.recorder.controls.paused


def test_a_branch_that_has_not_begun_is_named_to_who_asked(training: _Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine too busy to start it in time: the page is told what the run will be called in its list, beside the one it came of."""
    from diorama.live.hub import Hub

    path = training.recorder.path
    hub, answer = Hub([path.parent.parent]), Acknowledgement(0, "400", "run-2", "a branch is being started")
    monkeypatch.setattr("diorama.run.Run.command", lambda *_, **__: answer)
    assert hub.command(f"{path.parent.name}/{path.name}", "branch", {}) == ("a branch is being started", f"{path.parent.name}/run-2")
    assert hub.command(f"{path.parent.name}/{path.name}", "pause", {})[1] is None


def test_who_sends_a_command_waits_for_no_torch() -> None:
    """Reading the knobs of all commands imports no torch; what they offer of surgery is what surgery has."""
    line = "import sys; from diorama.core import registry; [registry.commands[n] for n in registry.commands]; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout == "False\n"
    offered = {name: knobs_of(registry.commands[name]) for name in ("add_units", "add_layer")}
    assert tuple(offered["add_units"]["how"].choices) == starts.HOWS
    assert offered["add_units"]["count"].high == units.MOST
    assert tuple(offered["add_layer"]["how"].choices) == layers.STARTS
