"""The recorders of this process that are open: closed where it ends, and left alone in a forked child."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recorder import Recorder

_open: weakref.WeakSet[Recorder] = weakref.WeakSet()
_orphans: list[Recorder] = []
add, discard = _open.add, _open.discard


@atexit.register
def _close_all() -> None:
    for recorder in list(_open):
        recorder.close()


def _forked() -> None:
    """In a forked child the recorder, its thread and its connection belong to the parent: nothing may touch them."""
    for recorder in list(_open):
        _orphans.append(recorder)
        recorder.closed = True
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
