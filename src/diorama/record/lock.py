"""One writing process a run: a record lock that the system lets go of when the process dies, however it dies."""

from __future__ import annotations

import os
import stat
import struct
import sys
from pathlib import Path

from ..core.errors import Unavailable

try:
    import fcntl
except ImportError:  # Windows has its own
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
_held: dict[tuple[int, int], int] = {}
"""By device and file number: the process that locked it. A lock of one's own cannot be asked for, and closing any other
handle of the file would let go of it, so this process remembers what it holds."""


class RunLock:
    """The right to write to a run, held from :meth:`take` to :meth:`free` or to the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._handle = -1
        self._identity = (0, 0)
        self.folder = folder

    def take(self) -> None:
        """Take the lock, or raise Unavailable when another recorder has it."""
        path = self.folder / NAME
        if held(self.folder):
            raise Unavailable(f"another training writes to {str(self.folder)!r}; end it, or choose another folder")
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                _lock_on_windows(self._handle)
        except OSError as error:
            os.close(self._handle)
            where = str(self.folder)
            raise Unavailable(f"another training writes to {where!r}, or it cannot be locked: {error}") from error
        state = os.fstat(self._handle)
        self._identity = (state.st_dev, state.st_ino)
        _held[self._identity] = os.getpid()

    def free(self) -> None:
        """Let go of the lock; does nothing in a forked child, to which it does not belong."""
        if self._handle >= 0 and _held.pop(self._identity, 0) == os.getpid():
            os.close(self._handle)
        self._handle = -1


def held(folder: Path) -> bool:
    """Whether a living process writes to the run."""
    path = folder / NAME
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(state.st_mode):
        return False  # nobody's lock, and opening a pipe may wait for ever
    if _held.get((state.st_dev, state.st_ino)) == os.getpid():
        return True
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            return False
    try:
        return _asked(handle)
    except OSError:
        return False
    finally:
        os.close(handle)


def _asked(handle: int) -> bool:
    """Ask the system who holds the lock, without taking it even for a moment."""
    if fcntl is None:
        return _locked_on_windows(handle)
    if sys.platform == "darwin":
        layout = "qqihh"
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(layout, 0, 0, 0, fcntl.F_WRLCK, 0))
        return bool(struct.unpack(layout, answer)[3] != fcntl.F_UNLCK)
    layout = "hhlli"
    question = struct.pack(layout, fcntl.F_WRLCK, 0, 0, 0, 0).ljust(32, b"\0")
    answer = fcntl.fcntl(handle, fcntl.F_GETLK, question)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _lock_on_windows(handle: int) -> None:
    import msvcrt

    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _locked_on_windows(handle: int) -> bool:
    import msvcrt

    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return True
    msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
    return False
