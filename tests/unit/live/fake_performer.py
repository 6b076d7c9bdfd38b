"""A performer whose jobs do what their message says: yield, sleep, spin, crash. Workers import it by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from diorama.core.errors import Cancelled, NotApplicable

NAME = "fake_performer:FakePerformer"


class FakePerformer:
    """Stands in for views."""

    def warm(self, level: str) -> None:
        """Nothing to import, unless the level says that starting fails."""
        if level == "broken":
            raise RuntimeError("this worker never starts")

    def idle(self, level: str) -> Iterator[None]:
        """Nothing to import later either."""
        yield from ()

    def perform(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Do what the job's ``act`` says."""
        act = getattr(self, job["act"])
        return act(job, emit, cancelled)

    def echo(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Send each of the job's frames, then say who did it."""
        for frame in job.get("frames", []):
            emit({"event": "picture"}, frame.encode())
        return {"process": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "nice": os.nice(0)}

    def count(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Go on until cancelled, telling how far it is."""
        for k in range(10_000):
            if cancelled():
                raise Cancelled("stopped")
            emit({"event": "progress", "done": k, "total": 10_000})
            time.sleep(0.01)

    def deaf(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Never ask whether anyone still wants it."""
        emit({"event": "progress", "done": 0, "total": 1})
        time.sleep(600)

    def stuck(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Never come to the end of loading."""
        time.sleep(600)

    def vast(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Ask for more memory than a worker may have."""
        return {"bytes": len(bytearray(int(0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))))}

    def leave(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """End the process from inside."""
        os._exit(7)

    def hungry(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Ask for more memory than there is."""
        raise MemoryError

    def bug(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Have a fault."""
        raise KeyError("forgotten")

    def exit(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Leave as scripts leave."""
        raise SystemExit(0)

    def unfit(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Not fit."""
        raise NotApplicable("this needs images; use text")

    def noisy(self, job: dict[str, Any], emit: Callable[..., None], cancelled: Callable[[], bool]) -> Any:
        """Print as views of third parties do."""
        print("x" * 100_000)
        os.write(1, b"y" * 1000)
        emit({"event": "picture"}, b"whole")
        return {}
