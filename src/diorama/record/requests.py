"""The commands that people send to a running training: written by servers and command lines, read by the trainer."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..core.errors import Unavailable

NAME = "commands.db"
WATCHING = "watching"
_TABLE = """CREATE TABLE IF NOT EXISTS commands (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    knobs TEXT NOT NULL, sender TEXT NOT NULL, time REAL NOT NULL)"""


class Request(NamedTuple):
    """A command as it was sent."""

    id: int
    name: str
    knobs: dict[str, Any]
    sender: str


def create(folder: Path) -> None:
    """Make the empty table."""
    with contextlib.closing(sqlite3.connect(folder / NAME, isolation_level=None)) as connection:
        connection.execute(_TABLE)


def send(folder: Path, name: str, knobs: Mapping[str, Any], sender: str = "python") -> int:
    """Put a command where the training finds it; returns its number. *Raises* Unavailable when it cannot be written."""
    try:
        with contextlib.closing(sqlite3.connect(folder / NAME, isolation_level=None, timeout=5.0)) as connection:
            connection.execute(_TABLE)
            row = connection.execute(
                "INSERT INTO commands (name, knobs, sender, time) VALUES (?, ?, ?, ?)",
                (name, json.dumps(dict(knobs)), sender, time.time()),
            )
            return int(row.lastrowid or 0)
    except sqlite3.Error as error:
        raise Unavailable(f"the command cannot be written to {str(folder)!r}: {error}") from error


class Inbox:
    """The trainer's side: what has come since the training began, each at most once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        self._address = f"file:{quote(os.path.abspath(self._file))}?mode=ro"
        self._seen = 0
        self._state: tuple[int, int] = (0, 0)
        self._seen = max((request.id for request in self._rows()), default=0)

    def _rows(self) -> list[Request]:
        with contextlib.closing(
            sqlite3.connect(self._address, uri=True, isolation_level=None, timeout=0.05)
        ) as connection:
            rows = connection.execute(
                "SELECT id, name, knobs, sender FROM commands WHERE id > ? ORDER BY id", (self._seen,)
            ).fetchall()
        return [Request(number, name, json.loads(knobs), sender) for number, name, knobs, sender in rows]

    def take(self) -> list[Request]:
        """New commands, oldest first; costs one look at the file when there are none."""
        try:
            state = os.stat(self._file)
        except OSError:
            return []
        now = (state.st_mtime_ns, state.st_size)
        if now == self._state:
            return []
        try:
            found = self._rows()
        except (sqlite3.Error, ValueError):
            return []  # being written: the next look finds it
        # A file that changed within the clock's grain may change again without showing it.
        fresh = time.time_ns() - state.st_mtime_ns < 50_000_000
        self._state = (0, 0) if fresh else now
        if found:
            self._seen = found[-1].id
        return found


def watched(folder: Path, within: float) -> bool:
    """Whether someone looked at the live end within the last seconds."""
    try:
        return time.time() - os.stat(folder / WATCHING).st_mtime < within
    except OSError:
        return False
