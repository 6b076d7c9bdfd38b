"""When a training looks for commands, and when it does all else that is done now and then."""

from __future__ import annotations

from pathlib import Path

import pytest

from diorama.record import requests, rounds
from diorama.record.rounds import LATEST, LOOK, Rounds


class Machine:
    """The clocks of a machine that is busy with other work: the loop has a part of the processor alone."""

    def __init__(self, share: float) -> None:
        self.now, self.share = 100.0, share

    def thread_time(self) -> float:
        """What the loop had of the processor."""
        return self.now * self.share


def _rounds(folder: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> tuple[Rounds, Machine]:
    machine = Machine(share)
    monkeypatch.setattr(rounds, "time", machine)
    requests.create(folder)
    inbox = requests.Inbox(folder)
    inbox.take()
    inbox._state = _seen(folder)  # as once the clock's grain is over
    found = Rounds(inbox, lambda: False)
    found.begin(machine.now)
    found.rest(float("inf"))
    return found, machine


def _seen(folder: Path) -> tuple[int, int]:
    state = (folder / requests.NAME).stat()
    return state.st_mtime_ns, state.st_size


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2])
def test_rounds_go_by_what_the_loop_has_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """A loop that has a fifth of a busy machine makes as many rounds in a second of the processor as one that has it all."""
    found, machine = _rounds(tmp_path, monkeypatch, share)
    steps = made = 0
    while machine.thread_time() < 100.0 * share + 2.0:
        machine.now += 0.0003 / share
        steps += 1
        if machine.now >= found.until and not found.still(machine.now):
            made += 1
            found.begin(machine.now)
            found.rest(float("inf"))
    assert made <= 2.0 / LOOK
    assert steps > 6000


def test_who_waits_for_the_machine_looks_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that uses next to nothing of the processor, since it waits for data, makes its rounds by the clock."""
    found, machine = _rounds(tmp_path, monkeypatch, 0.001)
    machine.now += LATEST * 0.9
    assert found.still(machine.now)
    machine.now += LATEST * 0.2
    assert not found.still(machine.now)


def test_a_command_is_seen_at_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody sends is due at the next look by the clock, whatever the loop has of the processor."""
    found, machine = _rounds(tmp_path, monkeypatch, 0.001)
    machine.now += LOOK * 1.1
    assert found.still(machine.now)
    requests.send(tmp_path, "pause", {})
    machine.now += LOOK * 1.1
    assert machine.now >= found.until
    assert not found.still(machine.now)
    assert found.due(machine.now)


def test_what_else_is_due_is_no_matter_of_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the time up to which nothing but commands was due, a step is not like the last, though nobody has sent anything."""
    found, machine = _rounds(tmp_path, monkeypatch, 0.001)
    found.rest(machine.now + 2 * LOOK)
    machine.now += 1.2 * LOOK
    assert found.still(machine.now)
    machine.now += LOOK
    assert not found.still(machine.now)
