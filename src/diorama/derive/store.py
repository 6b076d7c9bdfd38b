"""Where derivations are kept: files in a run's folder, under a budget; one works, others wait, and nobody for a dead one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from pathlib import Path
from typing import Any

from ..core.errors import Damaged
from ..record.trust import sign, verify
from .plain_file import bytes_of, packed, unpacked

try:
    import fcntl
except ImportError:  # Windows has its own
    fcntl = None  # type: ignore[assignment]

FOLDER = "derived"
BUDGET = 1_000_000_000
"""Bytes that a run's derivations take at most; what was used longest ago goes first."""
PATIENCE = 10.0
"""A worker that was not heard of for so many seconds is not waited for, though it may live."""
WHOLE, PART = ".safetensors", ".part"


@dataclasses.dataclass(frozen=True)
class Name:
    """What a kept derivation is called: its kind, the weights that it looks at, and the key of all that it depends on."""

    kind: str
    weights: str
    key: str

    @property
    def stem(self) -> str:
        """The file's name without what says whether it is done."""
        return f"{self.kind}-{self.weights}-{self.key}"


class Claim:
    """The right to work on something, held until :meth:`free` or the end of the process, however it ends."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle, self._owner = path, handle, os.getpid()
        self._told = 0.0

    def alive(self) -> None:
        """Tell those who wait that the work goes on."""
        now = time.monotonic()
        if self._handle >= 0 and now - self._told > 1:
            self._told = now
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def free(self) -> None:
        """Let others work; does nothing in a forked child, to which it does not belong."""
        if self._handle >= 0 and self._owner == os.getpid():
            with contextlib.suppress(OSError):
                # Whoever opened it just before works beside another at worst; both write the same.
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
        self._handle = -1


class Store:
    """The derivations kept in one folder. It never raises for a folder that cannot be written: nothing is kept then."""

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self.folder, self.budget = folder, budget

    def path(self, name: Name, suffix: str = WHOLE) -> Path:
        """Where it is kept."""
        return self.folder / f"{name.stem}{suffix}"

    def has(self, name: Name) -> bool:
        """Whether it is kept, as far as can be told without reading it."""
        return self._usable() and self.path(name).is_file()

    def read(self, name: Name, suffix: str = WHOLE, *, used: bool = True) -> tuple[dict[str, Any], Any] | None:
        """The head and value that are kept, marked as ``used`` now; None where there are none that can be read."""
        path = self.path(name, suffix)
        found = self._read(path)
        if found is None or found[0].get("key") != name.key or found[0].get("kind") != name.kind:
            return None
        if used:
            with contextlib.suppress(OSError):
                os.utime(path)
        return found

    def write(self, name: Name, head: dict[str, Any], value: Any, suffix: str = WHOLE) -> bool:
        """Keep a value: beside and then renamed, so that a reader never sees half of it; then what is too much goes."""
        data = packed({**head, "kind": name.kind, "key": name.key}, value, sign)
        if len(data) > self.budget or self.folder.is_symlink():
            return False
        path = self.path(name, suffix)
        beside = path.with_name(f".{path.name}.{os.getpid():x}-{id(head):x}")
        try:
            self.folder.mkdir(exist_ok=True)
            beside.write_bytes(data)
            beside.replace(path)
        except OSError:
            return False  # in a folder that only allows reading, or on a full disk, it lasts as long as the scene
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        if suffix == WHOLE:
            with contextlib.suppress(OSError):
                self.path(name, PART).unlink(missing_ok=True)
        self._make_room(path)
        return True

    def open(self, path: Path) -> Any:
        """The value of a file in the folder, marked as used now; None where there is none that can be read."""
        found = self._read(path)
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        return found[1] if found is not None else None

    def listed(self, kind: str, weights: str) -> list[Path]:
        """The files of all whole derivations of a kind at some weights."""
        wanted = re.compile(re.escape(f"{kind}-{weights}-") + r"[0-9a-f]+" + re.escape(WHOLE))
        found = sorted(self.folder.iterdir()) if self._usable() else []
        return [path for path in found if wanted.fullmatch(path.name)]

    def claim(self, name: Name) -> Claim | None:
        """The right to work on it; None where another works on it now.

        *Raises* OSError where nothing can be written.
        """
        if self.folder.is_symlink():
            raise OSError(f"{self.folder} is a link")
        self.folder.mkdir(exist_ok=True)
        path = self._lock(name)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o644)
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            return None
        claim = Claim(path, handle)
        claim.alive()
        return claim

    def silent(self, name: Name) -> bool:
        """Whether the one who works on it was not heard of for long, or left without a word."""
        try:
            return time.time() - os.stat(self._lock(name), follow_symlinks=False).st_mtime > PATIENCE
        except OSError:
            return False

    def _lock(self, name: Name) -> Path:
        return self.folder / f".{name.stem}.lock"

    def _usable(self) -> bool:
        return self.folder.is_dir() and not self.folder.is_symlink() and os.access(self.folder, os.R_OK | os.X_OK)

    def _read(self, path: Path) -> tuple[dict[str, Any], Any] | None:
        try:
            return unpacked(bytes_of(path, self.budget), verify) if self._usable() else None
        except (OSError, Damaged):
            return None  # it can always be made again

    def _make_room(self, newest: Path) -> None:
        """Let go of what was used longest ago, while all together are too much; what a person named stays."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    if path.suffix in (WHOLE, PART) and path != newest:
                        told = path.stat(follow_symlinks=False)
                        found.append((told.st_mtime, told.st_size, path))
            room = self.budget - newest.stat().st_size
            for _, size, path in sorted(found, reverse=True):
                room -= size
                if room < 0:
                    with contextlib.suppress(OSError):
                        path.unlink()


def _lock(handle: int) -> None:
    if fcntl is not None:
        # Of the open file: closing another handle of it does not let go, and a dead process does.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
