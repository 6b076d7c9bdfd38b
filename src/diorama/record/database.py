"""The run's database: its tables, and how to open it for writing, for reading, and where nothing may be written.

Whoever reads expects that the file may come from anybody: it holds the tables below and nothing else (a view or a
trigger is a program), a value has a bounded size, and what takes longer than any honest run ends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.errors import Damaged, DioramaError, Unavailable
from . import files

NAME = "run.db"
FORMAT = 1
# Numbers of rows are never used again, so a reader may keep what it has read under them.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, UNIQUE (name, kind));
CREATE TABLE tail (id INTEGER PRIMARY KEY AUTOINCREMENT, step INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE blocks (id INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, level INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX blocks_of_series ON blocks (series, first);
CREATE TABLE events (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    text TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, time REAL NOT NULL, sender TEXT NOT NULL);
CREATE TABLE snapshots (step INTEGER PRIMARY KEY, file TEXT NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL,
    time REAL NOT NULL, anchor INTEGER NOT NULL, model INTEGER NOT NULL);
CREATE TABLE files (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE acknowledged (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, ok INTEGER NOT NULL, old TEXT NOT NULL,
    new TEXT NOT NULL, text TEXT NOT NULL, time REAL NOT NULL);
"""
EARLIER = """
CREATE TABLE tail (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE blocks (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, level INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, count INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    text TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, time REAL NOT NULL);
"""
"""Statements that runs of earlier versions were made with, besides those of ``TABLES``; add here what changes there."""
LARGEST_VALUE = 256_000_000
"""Bytes that one value may have: a step of a model with 100,000 tensors takes half of it."""
MOST_ROWS = 5_000_000
"""Rows that one question may give."""
PATIENCE = 5.0
"""Seconds of the processor that one reading transaction may take; honest ones take milliseconds."""
LARGEST_COPY = 4_000_000_000
"""Bytes of a database that is copied to be read, where its folder may only be read."""
_BESIDE = ("", "-wal", "-shm", "-journal")
_REMOTE = frozenset({
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "fuse.sshfs", "9p", "lustre", "gpfs", "beegfs", "ceph",
    "afs",
})


def create(folder: Path) -> None:
    """Make an empty database under a temporary name, close it, and only then give it its name."""
    temporary = folder / f".{NAME}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("BEGIN")
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
        connection.execute("COMMIT")
    finally:
        connection.close()
    os.replace(temporary, folder / NAME)


def open_for_writing(folder: Path) -> sqlite3.Connection:
    """The one writing connection; each transaction survives the death of the process."""
    connection = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False, timeout=20.0, factory=WritingConnection)
    connection.memory = folder / f"{NAME}-shm"
    # On network file systems the shared memory of a WAL does not work.
    connection.execute(f"PRAGMA journal_mode = {'TRUNCATE' if remote(folder) else 'WAL'}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 500")
    return connection


class WritingConnection(sqlite3.Connection):
    """A connection that outlives a file beside it that somebody cut short.

    SQLite keeps the index of its log in a file that it maps into memory: a process that touches a page behind the file's new end is ended
    by the system, and a training with it. A page that is there again holds zeros, and SQLite makes the index anew.
    """

    memory: Path | None = None
    """The file that is mapped."""
    _size = 0

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement; before one that begins a transaction the file is made whole."""
        if not self.in_transaction:
            self.mend()
        return super().execute(*args)

    def close(self) -> None:
        """Let go of the database, which looks at the file once more."""
        self.mend()
        super().close()

    def mend(self) -> None:
        """Make the file as long again as it was."""
        if self.memory is None:
            return
        with contextlib.suppress(OSError):  # it is not there (yet): then nothing of it is mapped, or what is mapped stays as it was
            size = os.stat(self.memory).st_size
            if size < self._size:
                os.truncate(self.memory, self._size)
            else:
                self._size = size


def remote(folder: Path) -> bool:
    """Whether a folder lies on a network file system, as far as the system tells."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    place = os.path.realpath(folder) + "/"
    inside = [(point, kind) for point, kind in mounts if place.startswith(point.rstrip("/") + "/")]
    return bool(inside) and max(inside, key=lambda mount: len(mount[0]))[1] in _REMOTE


class Connection(sqlite3.Connection):
    """A connection that only reads, and ends by itself what takes too long."""

    _until = float("inf")

    def __del__(self) -> None:
        """A reader that nobody closed lets go of its files; newer Pythons would warn of it."""
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def bounded(self, seconds: float = PATIENCE) -> None:
        """From now on what is asked may take so many seconds of this thread's processor time."""
        self._until = time.thread_time() + seconds

    def late(self) -> bool:
        """Whether it has taken longer (called by SQLite now and then, from the thread that asks)."""
        return time.thread_time() > self._until


def open_for_reading(folder: Path, wait: float = 10.0) -> tuple[Connection, Path | None]:
    """A reading connection, and the private copy that was needed for it, if one was.

    *Raises* Unavailable where there is no run, Damaged where its database cannot be read.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise Unavailable(f"the name of the folder {str(folder)!r} is not UTF-8; rename it to open the run") from None
    try:
        path = files.regular(folder, NAME)
        for suffix in _BESIDE[1:]:
            with contextlib.suppress(FileNotFoundError):
                files.regular(folder, NAME + suffix)
    except FileNotFoundError:
        why = f"there is no {NAME} in it" if folder.exists() else "there is no such folder"
        raise Unavailable(f"no run at {str(folder)!r}: {why}") from None
    with reading(folder):
        try:
            return _connected(path, "mode=ro", wait), None
        except sqlite3.OperationalError as error:
            if _code(error) not in (0, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            refused = error
        # A WAL needs a writable folder beside it: without one the file may be read as it is, with one a copy is read.
        try:
            return _aside(path)
        except (sqlite3.Error, OSError):
            raise refused from None


def _aside(path: Path) -> tuple[Connection, Path | None]:
    wal = path.with_name(NAME + "-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        return _connected(path, "mode=ro&immutable=1"), None
    if path.stat().st_size + wal.stat().st_size > LARGEST_COPY:
        raise OSError("too large to be copied")
    copy = Path(tempfile.mkdtemp(prefix="diorama-"))
    try:
        shutil.copyfile(path, copy / NAME)
        shutil.copyfile(wal, copy / (NAME + "-wal"))
        return _connected(copy / NAME, "mode=rw"), copy
    except BaseException:
        discard(copy)
        raise


def _connected(path: Path, options: str, wait: float = 10.0) -> Connection:
    address = f"file:{quote(os.path.abspath(path))}?{options}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, timeout=wait, factory=Connection
    )
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
        connection.set_progress_handler(connection.late, 20_000)
        connection.bounded()
        # No memory map: a file that is cut short under one ends the process that reads it.
        for setting in ("mmap_size = 0", "trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"):
            connection.execute(f"PRAGMA {setting}")
        found = _judged(connection)
    except BaseException:
        connection.close()
        raise
    if found > FORMAT:
        connection.close()
        raise Damaged("it was written by a newer diorama; update this one")
    return connection


def _judged(connection: sqlite3.Connection) -> int:
    """The number of the format. *Raises* Damaged where something else than the tables of a run is in the database."""
    known = _known()
    objects = list(rows(connection, "SELECT type, name, sql FROM sqlite_master", (), (str, str, (str, type(None)))))
    for kind, name, sql in objects:
        if _bare(sql or "") not in known or not (sql or (kind == "index" and name.startswith("sqlite_autoindex_"))):
            raise Damaged(f"it holds the {kind} {name!r}, which no run has")
    told = list(rows(connection, "SELECT value FROM meta WHERE key = 'format'", (), (str,)))
    if not told or not told[0][0].isascii() or not told[0][0].isdigit():
        raise Damaged(f"its format is {told[0][0][:40]!r}, which is no number" if told else "it names no format")
    return int(told[0][0][:9])


@functools.cache
def _known() -> frozenset[str]:
    """The statements that make the tables of a run, of this version and of earlier ones."""
    made = {"", "createtablesqlite_sequence(name,seq)"}  # by SQLite itself
    return frozenset(made | {_bare(statement) for statement in (TABLES + EARLIER).split(";")})


def _bare(statement: str) -> str:
    return "".join(statement.split()).lower()


Types = tuple[type | tuple[type, ...], ...]


def rows(connection: sqlite3.Connection, query: str, values: tuple[Any, ...], types: Types) -> Iterator[Any]:
    """The rows of a query, a bounded number, each value of its type: SQLite lets any value stand in any column.

    *Raises* Damaged for a value of another type.
    """
    for number, row in enumerate(connection.execute(query, values)):
        if number >= MOST_ROWS:
            raise Damaged(f"it has more than {MOST_ROWS:,} rows where a run has some thousand")
        if not all(map(isinstance, row, types)):
            value, kind = next((value, kind) for value, kind in zip(row, types, strict=True) if not isinstance(value, kind))
            raise Damaged(f"it holds {type(value).__name__} where a run holds {_named(kind)}")
        yield row


def _named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)


def _code(error: sqlite3.Error) -> int:
    """What SQLite calls the error; 0 where Python made it."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Whatever goes wrong with a database that is read becomes one sentence: Unavailable while it is busy, else Damaged."""
    where = f"the database of {str(folder)!r}"
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Unavailable(f"{where} is busy; try again") from error
        if code == sqlite3.SQLITE_INTERRUPT:
            raise Damaged(f"{where} takes more than {PATIENCE:g} s to read, which no honest run does") from error
        raise Damaged(f"{where} cannot be read: {error}") from error
    except DioramaError as error:
        if isinstance(error, Damaged) and where not in str(error) and str(error).startswith("it "):
            raise Damaged(f"{where} cannot be read: {error}") from error
        raise
    except (UnicodeError, OverflowError, ValueError, MemoryError, RecursionError) as error:
        raise Damaged(f"{where} cannot be read: {str(error) or type(error).__name__}") from error


def discard(copy: Path | None) -> None:
    """Remove a private copy."""
    if copy is not None:
        with contextlib.suppress(OSError):
            shutil.rmtree(copy)
