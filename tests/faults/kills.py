"""Kills trainings at random moments, and looks at what is left of their runs."""

from __future__ import annotations

import random
import shutil
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from training import acknowledged, endless, started

from diorama.core.errors import DioramaError
from diorama.record.reader import RunReader


def kill_many(folder: Path, kills: int, seed: int = 1) -> dict[str, int]:
    """Kill that many trainings, a fifth of them while they begin; counts what went wrong."""
    chance = random.Random(seed)
    result = {"kills": 0, "runs": 0, "opened": 0, "lost": 0, "partial": 0, "damaged": 0, "reader_errors": 0}
    begin = _startup(folder)
    for number in range(kills):
        run, board = folder / f"run{number}", folder / f"board{number}"
        seen = acknowledged(board)
        process = started(endless, str(run), str(board))
        follower = _Follower(run)
        early = number % 5 == 0
        if early:
            time.sleep(chance.uniform(0.0, 1.2 * begin))
        else:
            _wait_for(seen, process)
            time.sleep(chance.uniform(0.0, 0.6))
        process.kill()
        process.join()
        follower.stop()
        result["kills"] += 1
        result["reader_errors"] += follower.errors
        committed = struct.unpack("<qq", seen[:16])[0]
        if run.exists():
            result["runs"] += 1
            _judge(run, committed, result)
        elif committed >= 0:
            result["lost"] += 1
        shutil.rmtree(run, ignore_errors=True)
    return result


def _startup(folder: Path) -> float:
    """How long a training takes to its first step."""
    began = time.monotonic()
    process = started(endless, str(folder / "first"), str(folder / "first.board"))
    _wait_for(acknowledged(folder / "first.board"), process)
    process.kill()
    process.join()
    return time.monotonic() - began


def _wait_for(seen: Any, process: Any) -> None:
    until = time.monotonic() + 120
    while struct.unpack("<qq", seen[:16])[1] == 0 and time.monotonic() < until and process.is_alive():
        time.sleep(0.002)


def _judge(run: Path, committed: int, result: dict[str, int]) -> None:
    try:
        with RunReader(run) as reader:
            result["opened"] += 1
            result["lost"] += int(reader.last_step < committed)
            result["damaged"] += int(bool(reader.check()))
            if "step" in reader.series_names:
                result["partial"] += int(not _whole(reader))
            reader.state(reader.snapshots[-1])
    except DioramaError:
        result["damaged"] += 1


def _whole(reader: RunReader, live: bool = False) -> bool:
    """Every step is there once, with all its numbers; while it is written, up to what the first look saw."""
    steps, values = reader.series("step")
    twice_steps, twice = reader.series("twice")
    loss_steps, loss = reader.series("loss")
    if live:
        twice_steps, twice, loss_steps = twice_steps[: len(steps)], twice[: len(steps)], loss_steps[: len(steps)]
    alone = np.arange(1, len(steps) + 1)
    return (
        np.array_equal(steps, alone) and np.array_equal(steps, twice_steps) and np.array_equal(steps, loss_steps)
        and np.array_equal(values, steps) and np.array_equal(twice, 2.0 * steps) and bool(np.isfinite(loss).all())
    )


class _Follower:
    """Reads the run all the time, from before it is there."""

    def __init__(self, run: Path) -> None:
        self.errors = 0
        self._run, self._ending = run, False
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        reader, last = None, -1
        while not self._ending:
            time.sleep(0.01)
            try:
                if reader is None:
                    if not self._run.exists():
                        continue
                    reader = RunReader(self._run)
                now = reader.last_step
                if now < last or ("step" in reader.series_names and not _whole(reader, live=True)):
                    self.errors += 1
                last = now
            except Exception as error:
                self.errors += 1
                print(f"live reader: {type(error).__name__}: {error}", flush=True)
        if reader is not None:
            reader.close()

    def stop(self) -> None:
        self._ending = True
        self._thread.join()
