"""Whoever is killed while commands fly: each is applied once or never, and the log says which."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import sqlite3
import time
from pathlib import Path

import pytest
from training import started, steered, steering

from diorama.record import requests
from diorama.record.reader import RunReader

FAMILIES = 25 if os.environ.get("DIORAMA_SWEEP") else 1
"""Families of runs; in the sweep two hundred processes are killed."""


def _judge(run: Path) -> int:
    """How many commands of a run were applied; fails where its steps and its log tell different things."""
    with contextlib.closing(sqlite3.connect(run / requests.NAME)) as file:
        sent = {number: (name, json.loads(knobs)) for number, name, knobs in file.execute("SELECT id, name, knobs FROM commands")}
    with RunReader(run) as reader:
        assert reader.check() == []
        answers = {number: answer for number in sent if (answer := reader.acknowledgement(number)) is not None and answer["ok"]}
        assert sum(event.kind == "command" for event in reader.events) == len(answers)
        # In the order of time: what was in force from which step on, also where the training was taken up again. Where a child begins, its
        # parent tells; where it was killed before it said so, what it says that is in force once it is taken up.
        said = [event for event in reader.events if event.kind == "resumed"]
        begun: float | None = 0.01
        if reader.meta.get("parent") and said:
            told = re.search(r"learning rate × ([\d.]+)", said[0].text)
            begun = None if said[0].text.startswith("goes on") else 0.01 * float(told[1] if told else 1)
        wishes: list[tuple[float, int, float | None]] = [(event.time, event.step, None) for event in said if event.text.startswith("goes on")]
        wishes += [
            (answer["time"], answer["step"], 0.01 * sent[number][1]["factor"])
            for number, answer in answers.items() if sent[number][0] == "learning_rate"
        ]
        born = (reader.meta.get("parent") or {"step": 0})["step"]
        rates = reader.series("learning_rate") if reader.has_series("learning_rate") else ()  # one that was killed before its first step
        for step, rate in zip(*(found.tolist() for found in rates), strict=True):
            now = max((wish for wish in wishes if wish[1] < step), default=(0.0, 0, begun))[2]
            assert step <= born or now is None or rate == pytest.approx(now, rel=1e-5), (run.name, step)
        for answer in answers.values():
            assert not answer["new"].startswith("run") or (run.parent / answer["new"] / "run.db").is_file()
    return len(answers)


def test_commands_are_applied_once_or_never(tmp_path: Path) -> None:
    """Trainer and sender are killed again and again; what every run recorded at each step follows from its log alone."""
    chance = random.Random(3)
    for family in range(FAMILIES):
        folder = tmp_path / str(family)
        folder.mkdir()
        for _ in range(2 if FAMILIES == 1 else 4):
            newest = max(folder.glob("run*"), key=lambda path: path.stat().st_mtime_ns, default=folder / "run")
            trainer, sender = started(steered, str(newest)), started(steering, str(folder))
            seen, until = len(list(folder.glob("run*"))), time.monotonic() + 60
            # Killed in any state: while commands are applied, checkpoints written, and children made.
            while len(list(folder.glob("run*"))) < seen + 1 + bool(seen) and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.2))
            for process in chance.sample([trainer, sender], 2):
                process.kill()
                process.join()
        runs = sorted(folder.glob("run*"))
        assert len(runs) > 2
        assert sum(_judge(run) for run in runs) > 10


def test_what_was_sent_before_a_training_is_old_also_where_it_cannot_be_read(tmp_path: Path) -> None:
    """A sender that was killed, or writes, locks the commands; once they are read again those from before the training are not applied."""
    requests.create(tmp_path)
    requests.send(tmp_path, "pause", {})
    with contextlib.closing(sqlite3.connect(tmp_path / requests.NAME, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        inbox = requests.Inbox(tmp_path)
        assert inbox.take() == []
        writer.execute("ROLLBACK")
    requests.send(tmp_path, "resume", {})
    assert [request.name for request in inbox.take()] == ["resume"]
