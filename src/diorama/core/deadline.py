"""An end to work of a third party's that would go on for ever."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .errors import Faulty

Made = TypeVar("Made")


class _Overdue(BaseException):
    """Raised in the thread whose time is over; no ``except Exception`` of its code keeps it."""


def within(seconds: float, what: str, make: Callable[[], Made]) -> Made:
    """What is made in this thread in so many seconds. *Raises* Faulty, which names ``what``, between two lines of Python where it takes longer:
    a call that waits outside of Python, as ``time.sleep`` does, is ended when it returns.
    """
    thread, raised_in = ctypes.c_ulong(threading.get_ident()), ctypes.pythonapi.PyThreadState_SetAsyncExc
    done, lock = threading.Event(), threading.Lock()
    over = False

    def watch() -> None:
        nonlocal over
        if not done.wait(seconds):
            with lock:
                if not done.is_set():
                    over = True
                    raised_in(thread, ctypes.py_object(_Overdue))

    def ended() -> None:
        with lock:
            done.set()
            if over:
                raised_in(thread, None)  # where it came at the very end: what is made is made

    try:
        threading.Thread(target=watch, name="diorama-deadline", daemon=True).start()
        found = make()
        ended()
    except _Overdue:
        raise Faulty(f"{what} took longer than {seconds:g} seconds and was ended") from None
    finally:
        done.set()
    return found


@contextmanager
def overdue(seconds: float, say: Callable[[], object]) -> Iterator[None]:
    """Within, something is said once, from a thread of its own, where it takes longer than so many seconds."""
    timer = threading.Timer(seconds, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
