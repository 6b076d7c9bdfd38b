"""The worker process: takes jobs one at a time from its pipe, runs them, and sends what they yield.

Started by ``workers.ProcessWorker`` as ``python -m diorama.live.worker``; it ends when its pipe does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..core.blame import culprit, said
from ..core.errors import Cancelled, DioramaError, LeftOut
from ..core.log import details, write_log
from . import wire
from .memory import give_back

REST = 0.5
"""Seconds without a job after which a worker imports what it may need later."""

MEMORY = 0.7
"""The part of the machine's memory that one worker may have …"""
LEAST_MEMORY = 2_000_000_000
"""… and bytes that it may have in any case."""

Emit = Callable[..., None]
"""Send an event of the running job: ``emit({"event": …}, body)``."""


class Performer(Protocol):
    """What does the jobs: one object a worker, which keeps what it has loaded."""

    def warm(self, level: str) -> None:
        """Import and load ahead what jobs will need."""

    def idle(self, level: str) -> Iterator[None]:
        """Import what some jobs will need, a part each time it is asked for the next, while there is nothing to do yet."""

    def perform(self, job: dict[str, Any], emit: Emit, cancelled: Callable[[], bool]) -> dict[str, Any] | None:
        """Do one job; what it returns goes into its ``done`` event."""


def make_performer(name: str) -> Performer:
    """Make the performer that ``package.module:Class`` names."""
    module, _, attribute = name.partition(":")
    performer: Performer = getattr(importlib.import_module(module), attribute)()
    return performer


def run_job(performer: Performer, job: dict[str, Any], emit: Emit, cancelled: Callable[[], bool]) -> bool:
    """Do a job and report its end as an event; False when the worker should be replaced (its memory ran out)."""
    what = job.get("what", "this")
    starved = {
        "event": "error", "kind": "MemoryError", "leaving": True,
        "message": f"the memory was not enough for {what}; look at a smaller layer or fewer examples",
    }
    try:
        result = performer.perform(job, emit, cancelled)
        emit({"event": "done", "result": result or {}})
    except Cancelled:
        emit({"event": "cancelled"})
    except DioramaError as error:
        where = details(error, f"while computing {what}") if culprit(error) else ""
        emit({"event": "error", "kind": type(error).__name__, "message": f"{said(error)}{where}"})
    except MemoryError:
        emit(starved)
        return False
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a view that raises SystemExit must not end the server's worker silently
        if cancelled():
            emit({"event": "cancelled"})
        elif isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):  # torch has no class for it
            emit(starved)
            return False
        else:
            path = write_log(error, f"while computing {what}")
            emit({
                "event": "error",
                "kind": type(error).__name__,
                "message": f"{culprit(error) or what} failed: {type(error).__name__}: {error} (the details are in {path})",
            })
    return True


class _Commands:
    """Reads the pipe in a thread, so that a cancel arrives while a job runs."""

    def __init__(self, stream: BinaryIO) -> None:
        self.jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self._stream = stream
        threading.Thread(target=self._read, name="diorama-commands", daemon=True).start()

    def _read(self) -> None:
        while (message := wire.receive(self._stream)) is not None:
            header = message[0]
            if header["do"] == "cancel":
                self.cancelled.add(header["job"])
            else:
                self.jobs.put(header)
        os._exit(0)  # the server is gone: nobody wants what is running


def bound_memory() -> None:
    """Let this process have a part of the memory, so that what a run asks for cannot take the machine's.

    Linux alone counts what is asked for; where there is a GPU the driver's reservations would count too.
    """
    if not sys.platform.startswith("linux") or os.path.exists("/dev/nvidiactl"):
        return
    import resource

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    bound = max(LEAST_MEMORY, int(MEMORY * total))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > bound:
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def _private_output() -> BinaryIO:
    """Take standard output for messages, so that a view that prints does not break them."""
    sys.stdout.flush()
    output = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    return output


def main() -> None:
    """Serve jobs until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", LeftOut)  # the server says it, once for all workers
    output, lock = _private_output(), threading.Lock()
    commands = _Commands(sys.stdin.buffer)

    def send(header: dict[str, Any], body: bytes = b"") -> None:
        with lock:
            try:
                wire.send(output, header, body)
            except BrokenPipeError:
                os._exit(0)

    first = commands.jobs.get()
    sys.path[:] = first["path"]
    with contextlib.suppress(OSError, AttributeError):
        os.nice(first["nice"])
    bound_memory()
    performer = make_performer(first["performer"])
    performer.warm(first["level"])
    send({"event": "ready"})
    # Not in a thread of its own: of two that import at once what imports each other, Python may hand one of them half a module.
    ahead, rested = performer.idle(first["level"]), False
    wait: float | None = REST
    while True:
        try:
            job = commands.jobs.get(timeout=wait)
        except queue.Empty:
            rested = rested or next(ahead, ahead) is ahead
            if rested:
                give_back()
            wait = None if rested else 0
            continue
        number, wait = job["job"], REST

        def emit(header: dict[str, Any], body: bytes = b"", number: int = number) -> None:
            send({**header, "job": number}, body)

        def cancelled(number: int = number) -> bool:
            return number in commands.cancelled

        healthy = run_job(performer, job, emit, cancelled)
        commands.cancelled.discard(number)
        if not healthy:
            os._exit(3)


if __name__ == "__main__":
    main()
