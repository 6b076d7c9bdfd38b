"""One writing process a run: a lock that the system lets go of when the process dies, however it dies.

On Linux it is an open-file-description lock, which survives that the process opens and closes the file elsewhere; a
forked child closes its copy. macOS and other systems have a record lock of the process, Windows a locked byte.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import sys
import weakref
from pathlib import Path

from ..core.errors import DioramaError, Unavailable
from . import files

try:
    import fcntl
except ImportError:  # Windows has its own
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
_TOLD = 512
"""Bytes in which it is told what could not be written."""
_OPEN_FILE = fcntl is not None and sys.platform == "linux"
"""Whether the lock belongs to the open file. One that belongs to the process, as on macOS, is let go of when the process
closes the file anywhere, as a copy of the run folder does."""
_taken: weakref.WeakSet[RunLock] = weakref.WeakSet()
_held: dict[tuple[int, int], int] = {}
"""By device and file number: the process that locked it. Where a lock belongs to the process, its own cannot be asked
for, so it is remembered here."""


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
        try:
            # A link would lead to another's file, which is written to.
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        except OSError as error:
            raise Unavailable(f"{str(path)!r} cannot be opened: {error}; put it out of the way, or record into another folder") from error
        try:
            if _OPEN_FILE:
                fcntl.fcntl(self._handle, fcntl.F_OFD_SETLK, _record(fcntl.F_WRLCK))
            elif fcntl is not None:
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
        self.tell(0, 0, "")  # takes the room in which it is told on a full disk what could not be written
        _taken.add(self)

    def tell(self, committed: int, number: int, why: str) -> None:
        """Write down, in the place of what was written before, which steps are missing of so many, or that none is."""
        text = f"the steps after {committed} could not be written, nor what was due at them ({why})" if committed < number else ""
        data = " ".join(text.split()).encode()[:_TOLD]
        with contextlib.suppress(OSError):
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, data.ljust(_TOLD))

    @property
    def away(self) -> str | None:
        """What is to be said where the run's folder is no longer where this process writes; None while it is."""
        try:
            state = os.stat(self.folder / NAME)
            here = (state.st_dev, state.st_ino) == self._identity
        except OSError:
            here = False
        if self.gone:
            return (f"the run's folder {str(self.folder)!r} was deleted while its training writes there: nothing of this run is kept any more, "
                    "whatever is recorded; record into another folder")
        return None if here else (
            f"the run's folder was moved, renamed or deleted while its training writes to {str(self.folder)!r}: numbers go with "
            "a folder that was moved, but snapshots, checkpoints and commands do not; put it back, or end the training and move it then"
        )

    @property
    def gone(self) -> bool:
        """Whether the run's folder was deleted: the file that is held lies in no folder any more, nor does what is written beside it."""
        try:
            return self._handle >= 0 and os.fstat(self._handle).st_nlink == 0
        except OSError:
            return False

    def free(self) -> None:
        """Let go of the lock; does nothing in a forked child, to which it does not belong."""
        if self._handle >= 0 and _held.pop(self._identity, 0) == os.getpid():
            os.close(self._handle)
        self._handle = -1
        _taken.discard(self)

    def leave(self) -> None:
        """Close the copy of the handle that a forked child has: the lock would live as long as the child."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def told(folder: Path) -> str:
    """What is missing of a run because it could not be written; nothing where all was."""
    try:
        state = os.stat(folder / NAME)
        if _held.get((state.st_dev, state.st_ino)) == os.getpid():
            return ""  # who closes the file here may let go of the lock
        text = files.content(folder, NAME, 8 * _TOLD).decode(errors="replace").strip()
    except (OSError, ValueError, DioramaError):
        return ""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:_TOLD])


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
    answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK if _OPEN_FILE else fcntl.F_GETLK, _record(fcntl.F_WRLCK))
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _record(kind: int) -> bytes:
    """The whole file, as the system's ``struct flock`` says it."""
    return struct.pack("hhlli", kind, 0, 0, 0, 0).ljust(32, b"\0")


def _forked() -> None:
    """A forked child must not keep its parent's locks."""
    for lock in list(_taken):
        lock.leave()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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
