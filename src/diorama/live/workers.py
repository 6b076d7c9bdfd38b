"""The two kinds of worker: a process of its own, or a thread for a model that only lives here."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.log import log_path
from . import wire
from .worker import make_performer, run_job

Heard = Callable[["Worker", dict[str, Any], bytes], None]
"""What a worker calls with each of its events, from a thread of its own."""
_LOADING = threading.Lock()
"""Threads of this process load one after the other, and all that they can before they do anything: of two that import at once what
imports each other, Python may hand one of them half a module."""


LINES = 32
"""So many of its last looks a worker is known by."""


class Worker:
    """One worker of a lane: does one job at a time."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.ready = False
        self.dead = False
        self.job: Any = None
        self.since = 0.0
        """When its job began."""
        self.recent: list[str] = []
        """What it has loaded, by the affinity of its last jobs; the newest last."""

        self.lines: list[str] = []
        """The looks that it made last, each by what it is called whenever it is made again; the newest last."""

    def remember(self, affinity: str, line: str = "") -> None:
        """Note what it now has loaded, and what it looks at."""
        self.recent = [*[one for one in self.recent if one != affinity][-5:], affinity]
        if line:
            self.lines = [*[one for one in self.lines if one != line][-(LINES - 1) :], line]

    def spent(self) -> tuple[float, bool] | None:
        """Seconds of the processor that it has had, and whether it wants more just now; None where the system does not tell."""
        return None

    @abstractmethod
    def start(self, message: dict[str, Any]) -> None:
        """Give it a job."""

    @abstractmethod
    def cancel(self, number: int) -> None:
        """Ask it to stop a job."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""


class ProcessWorker(Worker):
    """A worker process at low priority with one torch thread. A view that crashes takes only this process with it."""

    def __init__(self, heard: Heard, performer: str, level: str, nice: int) -> None:
        super().__init__(heard)
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **single, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with log_path().open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "diorama.live.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
            )
        self._lock = threading.Lock()
        self._send({"do": "begin", "path": sys.path, "performer": performer, "level": level, "nice": nice})
        threading.Thread(target=self._listen, name="diorama-worker", daemon=True).start()

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs."""
        return self._process.poll()

    def spent(self) -> tuple[float, bool] | None:
        try:
            # The name of the program stands in parentheses and may hold any; the state, and the times in ticks, come behind it.
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] in ("R", "D")
        except (OSError, ValueError, IndexError, AttributeError):
            return None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while (message := wire.receive(self._process.stdout)) is not None:
                self.heard(self, *message)
        code = self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError), self._lock:
            if self._process.stdin is not None:
                self._process.stdin.close()
        self.heard(self, {"event": "ended", "code": code}, b"")

    def _send(self, header: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._lock:  # it died: the listener reports that
            wire.send(self._process.stdin, header)

    def start(self, message: dict[str, Any]) -> None:
        self._send(message)

    def cancel(self, number: int) -> None:
        self._send({"do": "cancel", "job": number})

    def kill(self) -> None:
        self.dead = True
        self._process.kill()


class ThreadWorker(Worker):
    """A thread of this process, for models that cannot be pickled. It cannot be killed: a stuck one is left behind."""

    def __init__(self, heard: Heard, performer: str, level: str) -> None:
        super().__init__(heard)
        self._jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._performer, self._level = performer, level
        threading.Thread(target=self._serve, name="diorama-local-worker", daemon=True).start()

    def _serve(self) -> None:
        performer = make_performer(self._performer)
        with _LOADING:
            performer.warm(self._level)
            for _ in performer.idle(self._level):
                pass
        self.heard(self, {"event": "ready"}, b"")
        while (job := self._jobs.get()) is not None:
            number = job["job"]

            def emit(header: dict[str, Any], body: bytes = b"", number: int = number) -> None:
                if not self.dead:
                    self.heard(self, {**header, "job": number}, body)

            def cancelled(number: int = number) -> bool:
                return self.dead or number in self._cancelled

            run_job(performer, job, emit, cancelled)
            self._cancelled.discard(number)

    def start(self, message: dict[str, Any]) -> None:
        self._jobs.put(message)

    def cancel(self, number: int) -> None:
        self._cancelled.add(number)

    def kill(self) -> None:
        self.dead = True
        self._jobs.put(None)
        self.heard(self, {"event": "ended", "code": 0}, b"")
