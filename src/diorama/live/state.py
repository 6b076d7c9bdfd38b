"""What the page is told about a run, now and at every change; read with the record's reader, so without torch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..core import protocol
from ..core.errors import Damaged, DioramaError, Unavailable
from ..core.log import write_log
from ..core.numerals import plain
from ..data import changes_file
from ..record import checkpoints, files, origin, requests
from ..record.arrays import live_stand
from ..record.lineage import Line
from ..record.nature import nature
from ..record.reader import RunReader
from .scenes import live_mark

_EVENTS = 2000
"""The newest events that the page is told of."""
WAIT = 0.3
"""Seconds that one run may let the others wait, when another process keeps its database locked."""
REST, LONGEST_REST = 2.0, 60.0
"""Seconds after which a run that could not be read is tried again, and at most, when it goes on so."""


@dataclasses.dataclass(frozen=True)
class Pulse:
    """What changes when a run has something new to show."""

    committed: int
    live: tuple[int, ...]
    alive: bool
    events: int
    command: int
    """The last command that was applied before the live weights were written."""
    checkpoints: int
    """When one was written or given up last: also while the training waits, and nothing else changes."""


class Tracker:
    """Follows one run: keeps its reader open, and knows when it has changed."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.pulse: Pulse | None = None
        self.anatomy: dict[str, Any] | None = None
        self.snapshots: list[int] = []
        self.told = 0.0
        self.changed = True
        """Whether its followers have not been told yet."""
        self.models = 0
        """How many architectures the run has had."""
        self.wrong = ""
        """Why the run cannot be read; empty when it can."""
        self._reader: Line | None = None
        self._made = 0
        self._live: tuple[object, int] = (None, 0)
        """What was seen of the live weights, and the last command before them."""
        self._stood: tuple[object, dict[str, str]] = (None, {})
        self._touched = 0.0
        self._again, self._rest = 0.0, 0.0
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Line]:
        """The run's reader for a moment. *Raises* only DioramaError, and for a while at once what it raised before."""
        with self._lock:
            if self.wrong and time.monotonic() < self._again:
                raise Damaged(self.wrong)
            began = time.monotonic()
            try:
                made = _made(self.path)
                if self._reader is None or made != self._made:
                    if self._reader is not None:
                        self._reader.close()
                        self.anatomy = None
                    self._reader, self._made = Line(self.path, WAIT), made
                try:
                    yield self._reader
                finally:
                    self._reader.rest()
                self.wrong, self._rest = "", 0.0
            except Exception as error:
                self._fail(error, time.monotonic() - began)
                raise Damaged(self.wrong) from error

    def _fail(self, error: Exception, took: float) -> None:
        """Remember what is wrong, and rest before the next look: the other runs have their time."""
        self.wrong = str(error)
        if not isinstance(error, DioramaError | OSError):
            path = write_log(error, f"while looking at {self.path}")
            self.wrong = f"this run cannot be read: {type(error).__name__}: {error} (the details are in {path})"
        self._rest = min(LONGEST_REST, max(2 * self._rest, REST, 20 * took))
        self._again = time.monotonic() + self._rest

    @property
    def identity(self) -> str:
        """Tells a run from one that was recorded anew under its name."""
        return f"{self._made} {self._reader.born if self._reader is not None else ''}"

    def close(self) -> None:
        """Let go of the run's files."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def poll(self) -> bool:
        """Look at the run; True when it has changed since the last look."""
        before = self.wrong
        try:
            with self._looking() as reader:
                self.snapshots = reader.snapshots
                self.models = reader.model_at(self.snapshots[-1]) if self.snapshots else 0
                live = live_mark(self.path)
                if live != self._live[0]:
                    self._live = live, (live_stand(self.path) or (0, self._live[1]))[1]
                seen = Pulse(reader.committed, live, reader.alive, len(reader.events), self._live[1], _kept(self.path))
        except DioramaError:
            return self.wrong != before  # it is being made, gone, or damaged: a later look tells
        changed, self.pulse = seen != self.pulse or bool(before), seen
        return changed

    def watch(self) -> None:
        """Tell the training, once a second, that someone looks at its live end."""
        now = time.monotonic()
        if self.pulse is None or not self.pulse.alive or now - self._touched < 0.8:
            return
        self._touched = now
        requests.watch(Path(self.path))

    def summary(self) -> protocol.RunEntry:
        """The run in the list of runs; one that cannot be read says why."""
        found = protocol.RunEntry(name=self.name, steps=0, alive=False, title=self.name)
        idle = self._reader is None
        try:
            with self._looking() as reader:
                title = str(reader.meta.get("name") or self.name)
                found = msgspec.structs.replace(
                    found, steps=max(reader.committed, 0), alive=reader.alive, title=title, **self._standing(reader)
                )
                if at := reader.meta.get("parent"):
                    found = msgspec.structs.replace(found, parent=at["run"], left=at["step"])
        except DioramaError as error:
            found = msgspec.structs.replace(found, error=str(error))
        if idle:
            self.close()  # a folder may hold more runs than there is room for what was read of them
        return found

    def _standing(self, reader: RunReader) -> dict[str, str]:
        """How far the run came, in a word, and what is wrong with it, in a sentence; read again only after new steps."""
        mark = (reader.committed, reader.alive)
        if self._stood[0] != mark:
            self._stood = mark, _standing(reader)
        return self._stood[1]

    def state(self) -> protocol.RunState:
        """Everything the page must know of the run at this moment. *Raises* Damaged where the record says what no run says."""
        with self._looking() as reader:
            return self._told(reader)

    def _told(self, reader: Line) -> protocol.RunState:
        meta, anatomy = reader.meta, self.anatomy or {}
        steps = self.snapshots = reader.snapshots
        layers = anatomy.get("layers") or _layers(meta)
        task = anatomy.get("task") or meta.get("task") or ""
        inputs = anatomy.get("input") or meta.get("inputs") or {}
        events = [{"step": e.step, "kind": e.kind, "name": e.name, "text": e.label} for e in reader.events[-_EVENTS:]]
        told = {
            "first": steps[0] if steps else 0,
            "last": max(reader.committed, 0),
            "snapshots": steps,
            "alive": reader.alive,
            "paused": reader.paused,
            "events": events,
            "dropped": reader.dropped,
            "optimizer": meta.get("optimizer", []),
            "classes": anatomy.get("classes") or meta.get("classes") or [],
            "task": task,
            "input": inputs if isinstance(inputs.get("kind"), str) or not inputs else {"parts": inputs},
            "nature": nature(inputs, task, (layer["kind"] for layer in layers)),
            "examples": meta.get("examples", 0),
            "layers": layers,
            "series": reader.series_names,
            "histograms": reader.histogram_names,
            "model": anatomy.get("model"),
            "fits": anatomy.get("fits", {}),
            "pairs": anatomy.get("pairs", []),
            "properties": anatomy.get("properties", []),
            "known": self.anatomy is not None,
            "seconds_a_step": _pace(reader),
            "checkpoints": sorted(checkpoints.along(reader)),
            "heir": _heir(meta),
            "steered": meta.get("steered"),
            "way": _way(self.path),
            "acts": _acts(meta, self.path),
            "rules": meta.get("rules") or [],
            "moves": [{"since": step, "births": births} for step, births in reader.moves],
            "frozen": list(reader.frozen()),
            "bend": (meta.get("wishes") or {}).get("schedule"),
        }
        try:
            return msgspec.convert(told, protocol.RunState)
        except msgspec.ValidationError as error:
            raise Damaged(f"the record of {self.name} cannot be read: {error}") from error


def _relabelled(reader: RunReader) -> bool:
    """Whether examples of the probe set are trained under another label than the one by which they are counted."""
    if not (reader.meta.get("steered") or {}).get("relabelled"):
        return False
    try:
        return bool(changes_file.relabelled(changes_file.read_rows(files.regular(reader.path, changes_file.NAME))))
    except (DioramaError, OSError):
        return False


def _standing(reader: RunReader) -> dict[str, str]:
    found, names = {}, reader.series_names
    last = {name: reader.series(name)[1] for name in ("probe/accuracy", "accuracy", "probe/loss", "loss") if name in names}
    for name in ("probe/accuracy", "accuracy"):
        if name in last and len(last[name]) and "score" not in found:
            found["score"] = f"{100 * float(last[name][-1]):.1f} %{' by the old labels' if name[:6] == 'probe/' and _relabelled(reader) else ''}"
    for name in ("loss", "probe/loss"):
        if name in last and len(last[name]):
            value = float(last[name][-1])
            if not np.isfinite(value):
                found["wrong"] = "its loss is not a number"
            found.setdefault("score", plain(f"loss {value:.3g}"))
    ended = reader.meta.get("ended")
    if not reader.alive and "wrong" not in found and reader.committed > 0:
        how = ended.get("how", "") if isinstance(ended, dict) else "cut off"
        if how not in ("finished", "scene"):
            found["wrong"] = f"it was {how or 'cut off'}"
    return found


def _layers(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers as the training wrote them down, for a model that has not been looked into."""
    named = ("name", "units", "kind", "shape")
    return [{name: layer.get(name) for name in named} for layer in meta.get("layers") or []]


def _acts(meta: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """What commands changed, and which of them have a checkpoint from before; earlier versions did not tell which are plain values."""
    acts = meta.get("acts") or []
    kept = checkpoints.before_each(path, acts)
    acts = [{name: value for name, value in act.items() if name != "settings"} for act in acts]
    return [{"plain": False, "run": "", **act, "checkpoint": act["command"] in kept} for act in acts]


def _kept(path: Path) -> int:
    try:
        return (path / checkpoints.FOLDER).stat().st_mtime_ns
    except OSError:
        return 0


def _heir(meta: dict[str, Any]) -> str | None:
    """The folder of the run in which the training goes on."""
    ended = meta.get("ended")
    child = ended.get("child") if isinstance(ended, dict) else None
    return child if isinstance(child, str) else None


def _way(path: Path) -> dict[str, Any] | None:
    """How the training is started again; None where that was not written down."""
    try:
        found = origin.read(path)
    except Unavailable:
        return None
    except DioramaError as error:
        return {"line": "", "folder": "", "at_once": False, "refused": str(error)}
    return {"line": found.shown, "folder": found.folder, "at_once": found.at_once, "refused": found.refused}


def _pace(reader: RunReader) -> float | None:
    """Seconds that a step takes lately; None before there are two."""
    times = reader.times()[-50:]
    gaps = np.diff(times)
    return round(float(np.median(gaps)), 6) if len(gaps) else None


def _made(path: Path) -> int:
    try:
        return os.stat(path / "run.db").st_ino
    except OSError:
        return 0
