"""What the page is told about a run, now and at every change; read with the record's reader, so without torch."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DioramaError
from ..record.nature import nature
from ..record.reader import Reader
from .scenes import live_mark

_EVENTS = 2000
"""The newest events that the page is told of."""


@dataclasses.dataclass(frozen=True)
class Pulse:
    """What changes when a run has something new to show."""

    committed: int
    live: tuple[int, ...]
    alive: bool
    events: int


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
        self._reader: Reader | None = None
        self._made = 0
        self._touched = 0.0

    def _open(self) -> Reader:
        made = _made(self.path)
        if self._reader is None or made != self._made:
            if self._reader is not None:
                self._reader.close()
                self.anatomy = None
            self._reader, self._made = Reader(self.path), made
        return self._reader

    @property
    def identity(self) -> int:
        """Tells a run from one that was recorded anew under its name."""
        return self._made

    def close(self) -> None:
        """Let go of the run's files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def poll(self) -> bool:
        """Look at the run; True when it has changed since the last look."""
        try:
            reader = self._open()
            self.snapshots = reader.snapshots
            self.models = reader.model_at(self.snapshots[-1]) if self.snapshots else 0
            seen = Pulse(reader.committed, live_mark(self.path), reader.alive, len(reader.events))
        except (DioramaError, OSError):
            return False  # it is being made, or gone: the next look tells
        changed, self.pulse = seen != self.pulse, seen
        return changed

    def watch(self) -> None:
        """Tell the training, once a second, that someone looks at its live end."""
        now = time.monotonic()
        if self.pulse is None or not self.pulse.alive or now - self._touched < 0.8:
            return
        self._touched = now
        try:
            place = os.path.join(self.path, "watching")
            with open(place, "a"):
                os.utime(place)
        except OSError:
            return  # a folder that may only be read has no live end to write

    def summary(self) -> dict[str, Any]:
        """The run in the list of runs."""
        found = {"name": self.name, "steps": 0, "alive": False, "title": self.name}
        idle = self._reader is None
        try:
            reader = self._open()
            title = str(reader.meta.get("name") or self.name)
            found |= {"steps": max(reader.committed, 0), "alive": reader.alive, "title": title}
        except (DioramaError, OSError) as error:
            found["error"] = str(error)
        if idle:
            self.close()  # a folder may hold more runs than a process may open files
        return found

    def state(self) -> dict[str, Any]:
        """Everything the page must know of the run at this moment."""
        reader = self._open()
        meta, anatomy = reader.meta, self.anatomy or {}
        steps = self.snapshots = reader.snapshots
        layers = anatomy.get("layers") or _layers(meta)
        task = anatomy.get("task") or meta.get("task") or ""
        inputs = anatomy.get("input") or meta.get("inputs") or {}
        events = [{"step": e.step, "kind": e.kind, "name": e.name, "text": e.text} for e in reader.events[-_EVENTS:]]
        return {
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
            "input": inputs,
            "nature": nature(inputs, task, (layer["kind"] for layer in layers)),
            "examples": meta.get("examples", 0),
            "layers": layers,
            "series": reader.series_names,
            "histograms": reader.histogram_names,
            "model": anatomy.get("model"),
            "fits": anatomy.get("fits", {}),
            "known": self.anatomy is not None,
            "seconds_a_step": _pace(reader),
        }


def _layers(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers as the training wrote them down, for a model that has not been looked into."""
    named = ("name", "units", "kind", "shape")
    return [{name: layer.get(name) for name in named} for layer in meta.get("layers") or []]


def _pace(reader: Reader) -> float | None:
    """Seconds that a step takes lately; None before there are two."""
    times = reader.times()[-50:]
    gaps = np.diff(times)
    return round(float(np.median(gaps)), 6) if len(gaps) else None


def _made(path: Path) -> int:
    try:
        return os.stat(path / "run.db").st_ino
    except OSError:
        return 0
