"""Whoever is killed while commands fly: each is applied once or never, and the log says which."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from pathlib import Path

import pytest
from training import started, steered, steering

from diorama.record import requests
from diorama.record.reader import RunReader


def _judge(run: Path) -> int:
    """How many commands of a run were applied; fails where its steps and its log tell different things."""
    with contextlib.closing(sqlite3.connect(run / requests.NAME)) as file:
        sent = {number: (name, json.loads(knobs)) for number, name, knobs in file.execute("SELECT id, name, knobs FROM commands")}
    with RunReader(run) as reader:
        assert reader.check() == []
        answers = {number: answer for number in sent if (answer := reader.acknowledgement(number)) is not None and answer["ok"]}
        assert sum(event.kind == "command" for event in reader.events) == len(answers)
        # In the order of time: what was in force from which step on, also where the training was taken up again. Where a child begins, its
        # parent tells.
        wishes: list[tuple[float, int, float | None]] = [
            (event.time, event.step, None) for event in reader.events if event.kind == "resumed" and event.text.startswith("goes on")
        ]
        wishes += [
            (answer["time"], answer["step"], 0.01 * sent[number][1]["factor"])
            for number, answer in answers.items() if sent[number][0] == "learning_rate"
        ]
        born = (reader.meta.get("parent") or {"step": 0})["step"]
        for step, rate in zip(*(found.tolist() for found in reader.series("learning_rate")), strict=True):
            now = max((wish for wish in wishes if wish[1] < step), default=(0.0, 0, 0.01))[2]
            assert step <= born or now is None or rate == pytest.approx(now), (run.name, step)
        for answer in answers.values():
            assert not answer["new"].startswith("run") or (run.parent / answer["new"] / "run.db").is_file()
    return len(answers)


def test_commands_are_applied_once_or_never(tmp_path: Path) -> None:
    """Trainer and sender are killed again and again; what every run recorded at each step follows from its log alone."""
    chance = random.Random(3)
    for _ in range(2):
        newest = max(tmp_path.glob("run*"), key=lambda path: path.stat().st_mtime_ns, default=tmp_path / "run")
        trainer, sender = started(steered, str(newest)), started(steering, str(tmp_path))
        seen, until = len(list(tmp_path.glob("run*"))), time.monotonic() + 60
        # Killed in any state: while commands are applied, checkpoints written, and children made.
        while len(list(tmp_path.glob("run*"))) < seen + 1 + bool(seen) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.2))
        for process in chance.sample([trainer, sender], 2):
            process.kill()
            process.join()
    runs = sorted(tmp_path.glob("run*"))
    assert len(runs) > 2
    assert sum(_judge(run) for run in runs) > 10
