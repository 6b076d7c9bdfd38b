"""Third parties' plug-ins on their way in: each is imported aside, so that a list waits for none that takes long.

A package's plug-ins come one after the other, as they may share modules, and another package's only when whoever asked has stopped waiting:
two threads import at once only where one of them is slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .deadline import within
from .errors import DioramaError

PATIENCE = 10.0
"""Seconds for which a list waits for one import of a third party's."""
LEAST = 1.0
"""Seconds for which each is waited for where others have used up the patience."""
BRIEF = 0.2
"""Seconds for which one of a package that is known to take long is waited for: what is quick of it comes at once when the slow one has come."""
LONGEST = 300.0
"""Seconds after which an import is ended, where Python can end it."""
TICK = 1.0
"""Seconds between two words about what is waited for."""

Hear = Callable[[str], None]


class Waits:
    """For how long one waits, for each and for all together, and who is told what is waited for."""

    def __init__(self, most: float) -> None:
        self.most = self.left = most
        self.hear: Hear = lambda _: None


class Arrival:
    """An import that runs in a thread of its own."""

    def __init__(self, package: str, what: str, load: Callable[[], None]) -> None:
        self.package, self.what = package, what
        self.done = threading.Event()
        self._load, self._began = load, time.monotonic()

    @property
    def told(self) -> str:
        """For how long it has been imported, in words."""
        return f"still being imported ({self.seconds:.0f} s)"

    @property
    def seconds(self) -> float:
        """For how long it has been imported."""
        return time.monotonic() - self._began

    def awaited(self) -> bool:
        """Wait until it has come, or has taken as many seconds in all as one waits here; whether it has come."""
        waits, began = _WAITS.get() or Waits(PATIENCE), time.monotonic()
        patience = BRIEF if self.package in _SLOW else max(min(LEAST, waits.most), min(waits.most, self.seconds + waits.left))
        try:
            while not self.done.wait(max(0.0, min(TICK, patience - self.seconds))):
                if self.seconds >= patience:
                    return self.done.is_set()
                waits.hear(f"{self.what} is {self.told}")
            return True
        finally:
            waits.left -= time.monotonic() - began

    def run(self) -> None:
        """Import it, in its thread."""
        _HERE.arrival = self
        try:
            self._load()
        finally:
            with _LOCK:
                _BUSY.pop(self.package, None)
            self.done.set()


_BUSY: dict[str, Arrival] = {}
"""What is being imported, by package."""
_SLOW: set[str] = set()
_WAITS: ContextVar[Waits | None] = ContextVar("_WAITS", default=None)
_HERE = threading.local()
_LOCK = threading.Lock()


def begun(package: str, what: str, load: Callable[[], None]) -> Arrival:
    """The import of a package's that runs; where none does, this one, which begins now."""
    with _LOCK:
        busy = _BUSY.get(package)
        if busy is not None:
            return busy
        arrival = _BUSY[package] = Arrival(package, what, load)
    threading.Thread(target=arrival.run, name=f"diorama-import-{package}", daemon=True).start()
    return arrival


def bounded(what: str, load: Callable[[], object]) -> object:
    """What an import gives. *Raises* Faulty, which names it, where it takes longer than anybody waits."""
    return within(LONGEST, f"importing {what}", load)


def here() -> bool:
    """Whether this thread imports one: it must wait for no other, which might wait for it."""
    return getattr(_HERE, "arrival", None) is not None


def expect(packages: Iterable[str]) -> None:
    """Do not wait for packages of which another process has seen that they take long; they come when they come."""
    wanted = set(packages)
    _SLOW.difference_update(_SLOW - wanted)
    _SLOW.update(wanted)


@contextmanager
def waiting(seconds: float | None = None) -> Iterator[Waits]:
    """Within, lists made in this thread wait so long for an import, and for all together, but a moment for each; they say once a second what
    they wait for."""
    waits = Waits(PATIENCE if seconds is None else seconds)
    token = _WAITS.set(waits)
    try:
        yield waits
    finally:
        _WAITS.reset(token)


def wants_main_thread(error: BaseException) -> bool:
    """Whether an import failed for being in a thread of its own, as one that handles signals or wants its thread's event loop does."""
    text = str(error)
    return not isinstance(error, DioramaError) and ("main thread" in text or "event loop in thread" in text)
