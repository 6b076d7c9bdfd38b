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


_OWN = frozenset({"table commands", "table sqlite_sequence"})
_MOST = 1000
"""Commands that are read at one look; more wait for the next."""
_PATIENCE = 1.0
"""Seconds of the processor that one question may take; honest ones take a thousandth."""
_LONGEST = 100_000
"""Characters that the knobs of a command may take; a list of a thousand units takes five thousand."""


class _Connection(sqlite3.Connection):
    """A connection to a file that may come from anybody: it ends by itself what takes too long, and holds one table and nothing else."""

    def begin(self) -> _Connection:
        """Look what is in it. *Raises* sqlite3.DatabaseError for a trigger, say, which is a program."""
        until = time.thread_time() + _PATIENCE
        self.set_progress_handler(lambda: time.thread_time() > until, 20_000)
        self.execute("PRAGMA trusted_schema = OFF")
        for kind, name in self.execute("SELECT type, name FROM sqlite_master LIMIT 10"):
            if f"{kind} {name}" not in _OWN:
                raise sqlite3.DatabaseError(f"it holds the {kind} {name!r}, which no run has; the training puts such a file aside")
        return self


class SentCommand(NamedTuple):
    """A command as it was sent."""

    id: int
    name: str
    knobs: dict[str, Any]
    sender: str
    broken: str = ""
    """Why it cannot be read."""

    @classmethod
    def of(cls, number: int, name: Any, knobs: Any, sender: Any) -> SentCommand:
        """Read a row, whatever stands in it."""
        if not isinstance(name, str) or not isinstance(sender, str):
            return cls(number, "", {}, "", "its name or its sender is no text")
        if knobs is None:
            return cls(number, name, {}, sender, f"its knobs are no text of at most {_LONGEST:,} characters")
        try:
            read = json.loads(knobs)
        except (ValueError, TypeError, RecursionError):
            return cls(number, name, {}, sender, "its knobs are not JSON")
        if not isinstance(read, dict):
            return cls(number, name, {}, sender, "its knobs are no object")
        return cls(number, name, read, sender)


def create(folder: Path, after: int = 0) -> None:
    """Make the empty table, whose numbers begin after one."""
    with contextlib.closing(sqlite3.connect(folder / NAME, isolation_level=None)) as connection:
        connection.execute(_TABLE)
        if after:
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('commands', ?)", (after,))


def last(folder: Path) -> int:
    """The number of the last command that was sent; 0 where there is none, or the file cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(os.path.abspath(folder / NAME))}?mode=ro", uri=True, timeout=1.0)) as connection:
            found = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'commands'").fetchone()
            return int(found[0])
    except (sqlite3.Error, ValueError, TypeError):
        return 0


def send(folder: Path, name: str, knobs: Mapping[str, Any], sender: str = "python") -> int:
    """Put a command where the training finds it; returns its number. *Raises* Unavailable when it cannot be written."""
    try:
        with contextlib.closing(sqlite3.connect(folder / NAME, isolation_level=None, timeout=5.0, factory=_Connection)) as connection:
            connection.begin().execute(_TABLE)
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
        self._place = str(self._file)
        self._address = f"file:{quote(os.path.abspath(self._file))}?mode=ro"
        self._seen = 0
        self._began = 0.0
        """When the training began, while it is not known yet which commands are older."""
        self._state: tuple[int, int] = (0, 0)
        self.mended = False
        """Whether the file was found broken, put aside and made anew; whoever tells of it sets it back."""
        try:
            self._seen = int(self._read("SELECT coalesce(max(id), 0) FROM commands")[0][0])
        except sqlite3.OperationalError:
            self._began = time.time()  # it is missing, being written, or was left half written by one who was killed
        except (sqlite3.DatabaseError, ValueError, TypeError):
            self._mend()

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with contextlib.closing(
            sqlite3.connect(self._address, uri=True, isolation_level=None, timeout=0.05, factory=_Connection)
        ) as connection:
            try:
                return connection.begin().execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                    raise sqlite3.DatabaseError("it takes too long to read") from error
                raise

    def _rows(self) -> list[SentCommand]:
        if self._began:
            self._seen = int(self._read("SELECT coalesce(max(id), 0) FROM commands WHERE time < ?", (self._began,))[0][0])
            self._began = 0.0
        wanted = f"""SELECT id, name, CASE WHEN typeof(knobs) = 'text' AND length(knobs) <= {_LONGEST} THEN knobs END,
            sender FROM commands WHERE id > ? ORDER BY id LIMIT {_MOST}"""
        return [SentCommand.of(*row) for row in self._read(wanted, (self._seen,))]

    def _mend(self) -> None:
        """Nobody could send anything any more: the broken file goes aside, and an empty one takes its place."""
        with contextlib.suppress(OSError, sqlite3.Error):
            os.replace(self._file, self._file.with_name(f"{NAME}.broken"))
            create(self._file.parent, self._seen)
            self.mended, self._state = True, (0, 0)

    @property
    def changed(self) -> bool:
        """Whether something may have come since the last :meth:`take`, at the cost of one question to the system."""
        try:
            state = os.stat(self._place)
        except OSError:
            return False
        return (state.st_mtime_ns, state.st_size) != self._state

    def take(self) -> list[SentCommand]:
        """New commands, oldest first; costs one look at the file when there are none."""
        try:
            state = os.stat(self._place)
        except OSError:
            return []
        now = (state.st_mtime_ns, state.st_size)
        if now == self._state:
            return []
        try:
            found = self._rows()
        except sqlite3.OperationalError:
            return []  # being written: the next look finds it
        except sqlite3.Error:
            self._mend()
            return []
        # A file that changed within the clock's grain may change again without showing it.
        fresh = time.time_ns() - state.st_mtime_ns < 50_000_000
        self._state = (0, 0) if fresh or len(found) == _MOST else now
        if found:
            self._seen = found[-1].id
        return found


def watch(folder: Path) -> None:
    """Tell a training that someone looks at its live end; nothing happens in a folder that may only be read."""
    with contextlib.suppress(OSError), open(folder / WATCHING, "a"):
        os.utime(folder / WATCHING)


def watched(folder: Path, within: float) -> bool:
    """Whether someone looked at the live end within the last seconds."""
    try:
        return time.time() - os.stat(folder / WATCHING).st_mtime < within
    except OSError:
        return False
