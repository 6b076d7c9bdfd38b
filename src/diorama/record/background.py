"""The writer thread: takes records over a bounded queue, so that the training never waits for the store."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .histogram import HistogramValue
from .lines import FEW, LIMIT, MANY, Line, Waiting
from .writer import Value, Writer

BYTES = 256_000_000
"""What waiting steps may take in memory."""
JOB_BYTES = 256_000_000
"""What waiting snapshots and checkpoints may take; one may always wait."""
PERIOD = 0.25
"""Seconds between two groups of steps that are written, as long as not too many wait."""
_NAP = 0.01
_WRITTEN = frozenset({float, HistogramValue, np.ndarray})
Pending = Mapping[str, Any]
Entry = tuple[int, float, Pending] | Line
Job = Callable[[Writer], None]


class Background:
    """Owns the writer. The training's side is :meth:`put`, :attr:`waiting`, :meth:`note` and :meth:`do`, none of which ever waits. ``gone`` says
    whether what is written is kept nowhere, since somebody deleted the run."""

    def __init__(self, writer: Writer, gone: Callable[[], bool] = lambda: False) -> None:
        self._writer, self._gone = writer, gone
        self._steps: deque[Entry] = deque()
        self._notes: deque[tuple[str, Any]] = deque()
        self._jobs: deque[tuple[Job, int]] = deque()
        self._jobs_in = self._jobs_out = 0
        self._group: list[Entry] = []
        self._wide: list[Pending] = []
        """The steps of many values in the group that is being written."""
        self._told: list[tuple[str, Any]] = []
        self._bytes_in = self._bytes_out = 0
        self._wake = threading.Event()
        self._ending = False
        self._gaps: dict[str, tuple[int, int, int]] = {}
        self.waiting: Waiting = (self._steps, self._group, self._gaps)
        """What waits for the writer, and stays these three: in a loop of tiny steps lines are put there without a call."""
        self.dropped = 0
        self.committed = writer.last_step
        self.seconds_a_reading = 0.0
        """What writing one reading of many values has taken on this thread lately, in seconds."""
        self.at_end: Job = _nothing
        """What is done when all is written."""
        self.trouble: str | None = None
        """What went wrong last, for the training to warn of; it does so once."""
        self._thread = threading.Thread(target=self._run, name="diorama-writer", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def put(self, step: int, moment: float, values: Pending) -> bool:
        """Hand over a step; False when it had to be dropped."""
        steps = self._steps
        waiting, few = len(steps), len(values) < FEW
        if few and waiting < MANY and waiting + len(self._group) < LIMIT and not self._gaps:
            steps.append((step, moment, values))
            return True
        size = 0 if few else _size(values)
        if waiting + len(self._group) >= LIMIT or (size and self._bytes_in - self._bytes_out + size > BYTES):
            self.dropped += 1
            self.miss("records", step)
            return False
        if self._gaps and "records" in self._gaps:
            self._close_gap("records")
        self._bytes_in += size
        steps.append((step, moment, values))
        # The writer comes by itself: to wake it more often would cost a loop of tiny steps more than writing does.
        if waiting >= MANY and not self._wake.is_set():
            self._wake.set()
        return True

    def miss(self, what: str, step: int) -> None:
        """Remember that something of a step is not written; told as one span once it is over."""
        first, _, count = self._gaps.get(what, (step, step, 0))
        self._gaps[what] = (first, step, count + 1)

    def met(self, what: str, step: int) -> None:
        """Something is written again: tell of what was missed before it, which this step is no part of any more."""
        if what not in self._gaps:
            return
        first, last, count = self._gaps[what]
        if last == step:
            self._gaps[what] = (first, step - 1, count - 1)
        self._close_gap(what)

    def _close_gap(self, what: str) -> None:
        first, last, count = self._gaps.pop(what)
        if not count:
            return
        span = f"at step {first}" if first == last else f"between steps {first} and {last}"
        self.note("events", {
            "step": first, "kind": "gap", "name": "dropped", "time": time.time(), "old": str(first), "new": str(last),
            "text": f"{count} {what} {span} are missing: the store could not keep up",
        })
        self.note("meta", {"dropped": self.dropped})

    def note(self, kind: str, value: Mapping[str, Any]) -> None:
        """Hand over an event, facts ("meta") or an acknowledgement; these are never dropped."""
        self._notes.append((kind, value))
        self._wake.set()

    def note_together(self, notes: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Hand over several, of which all or none are written, whenever the process ends."""
        self._notes.extend(notes)
        self._wake.set()

    def do(self, job: Job, size: int, sure: bool = False) -> bool:
        """Hand over other writing, such as a snapshot of ``size`` bytes; False when too much waits already."""
        if not sure and not self.room(size):
            return False
        self._jobs_in += size
        self._jobs.append((job, size))
        self._wake.set()
        return True

    def room(self, size: int) -> bool:
        """Whether so many bytes may wait beside what waits already; asked before they are copied."""
        waiting = self._jobs_in - self._jobs_out
        return waiting == 0 or waiting + size <= JOB_BYTES

    @property
    def busy(self) -> bool:
        """Whether large writing waits or goes on."""
        return self._jobs_in > self._jobs_out

    def flush(self, patience: float) -> None:
        """Wait until no large writing waits; for that long at most."""
        until = time.monotonic() + patience
        while self.busy and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(_NAP)

    def close(self, patience: float = 60.0) -> bool:
        """Write everything and end; False when the store did not let it within the patience."""
        for what in [*self._gaps]:
            self._close_gap(what)
        self._ending = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        return not self._thread.is_alive() and self.trouble is None

    # The thread's side.

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                ending = self._ending
                good = self._turn(ending)
            except Exception as error:  # the thread outlives whatever happens in it
                good, ending = False, self._ending
                self.trouble = f"{type(error).__name__}: {error}"
            failures = 0 if good else failures + 1
            if ending and (failures > 3 or (good and not self._left())):
                break
            if not good:
                time.sleep(min(1.0, 0.1 * failures))
        if self._guarded(lambda: self.at_end(self._writer)):
            self._guarded(self._commit)  # what it told
        if not self._guarded(self._writer.close):
            with contextlib.suppress(sqlite3.Error):
                self._writer.abandon()

    def _turn(self, ending: bool) -> bool:
        """Write what waits, or wait for it; False when the store refused."""
        if not ending and not self._wake.is_set() and not self._group:
            self._wake.wait(PERIOD)
        self._wake.clear()
        if not self._guarded(self._commit):
            return False
        worked = self._guarded(self._work)
        return self._guarded(self._writer.merge) and worked

    def _left(self) -> bool:
        return bool(self._steps or self._notes or self._jobs or self._group or self._told)

    def _guarded(self, task: Callable[[], object]) -> bool:
        try:
            task()
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"
            return False
        return True

    def _commit(self) -> None:
        """One group in one transaction; what could not be committed is tried again with the next group."""
        while True:
            while self._steps:
                self._group.append(self._steps.popleft())
            self._wide = [values for entry in self._group if not isinstance(values := entry[2], tuple) and len(values) >= FEW]
            while self._notes:
                self._told.append(self._notes.popleft())
            if not self._group and not self._told:
                return
            try:
                self._write()
            except (sqlite3.Error, OSError):
                raise
            except Exception as error:
                # A record that cannot be packed would block all that follow; what was told beside it is told all the same.
                steps, told = [entry[0] for entry in self._group], self._told
                self._release()
                if steps:
                    self.dropped += len(steps)
                    self._told = [*told, ("meta", {"dropped": self.dropped}), ("events", {
                        "step": steps[0], "kind": "gap", "name": "dropped", "time": time.time(), "old": str(steps[0]), "new": str(steps[-1]),
                        "text": f"{len(steps)} records from step {steps[0]} to {steps[-1]} are missing: {type(error).__name__}: {error}"[:300],
                    })]
                raise
            self.committed = -1 if self._gone() else self._writer.last_step
            self._release()
            if len(self._steps) < MANY:
                return

    def _write(self) -> None:
        meta: dict[str, Any] = {}
        for kind, value in self._told:
            if kind == "meta":
                meta.update(value)
        began = time.thread_time()
        self._writer.write(
            [_ready(entry) for entry in self._group],
            events=[value for kind, value in self._told if kind == "events"],
            meta=meta,
            acknowledged=[value for kind, value in self._told if kind == "acknowledged"],
        )
        if readings := len(self._wide):
            # A number of a reading costs about what a whole step without one does; merging it into blocks as much again.
            many = sum(map(len, self._wide))
            share = many / (many + len(self._group))
            self.seconds_a_reading = 2 * share * (time.thread_time() - began) / readings

    def _release(self) -> None:
        self._bytes_out += sum(map(_size, self._wide))
        self._group.clear()
        self._wide, self._told = [], []

    def _work(self) -> None:
        while self._jobs:
            job, size = self._jobs.popleft()
            try:
                job(self._writer)
            finally:
                self._jobs_out += size


def _nothing(writer: Writer) -> None:
    """Nothing is left to do."""


def _size(values: Pending) -> int:
    """What a step takes in memory, roughly."""
    if len(values) < FEW:
        return 0
    return 200 + sum(map(_bytes, values.values()))


def _bytes(value: Any) -> int:
    if isinstance(value, HistogramValue):
        return 150 + 4 * len(value.counts)
    return 16 + 4 * len(value) if isinstance(value, np.ndarray) else 16


def _ready(entry: Entry) -> Any:
    values = entry[2]
    return entry if isinstance(values, tuple) else (entry[0], entry[1], _plain(values))


def _plain(values: Pending) -> Mapping[str, Value]:
    """Numbers that were left on an accelerator are fetched here, not on the training's time."""
    if _WRITTEN.issuperset(map(type, values.values())):
        return values
    return {
        name: value if isinstance(value, HistogramValue | np.ndarray) else float(value.double() if isinstance(value, Tensor) else value)
        for name, value in values.items()
    }
