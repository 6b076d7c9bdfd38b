"""The run's database: its tables, and how to open it for writing, for reading, and where nothing may be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote

from ..core.errors import Damaged, Unavailable

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
    text TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE snapshots (step INTEGER PRIMARY KEY, file TEXT NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL,
    time REAL NOT NULL, anchor INTEGER NOT NULL, model INTEGER NOT NULL);
CREATE TABLE files (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE acknowledged (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, ok INTEGER NOT NULL, old TEXT NOT NULL,
    new TEXT NOT NULL, text TEXT NOT NULL, time REAL NOT NULL);
"""
_REMOTE = frozenset({
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "fuse.sshfs", "9p", "lustre", "gpfs", "beegfs", "ceph",
    "afs",
})  # fmt: skip


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
    connection = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False, timeout=20.0)
    # On network file systems the shared memory of a WAL does not work.
    connection.execute(f"PRAGMA journal_mode = {'TRUNCATE' if remote(folder) else 'WAL'}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 500")
    return connection


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


def open_for_reading(folder: Path) -> tuple[sqlite3.Connection, Path | None]:
    """A reading connection, and the private copy that was needed for it, if one was.

    *Raises* Unavailable where there is no run, Damaged where its database cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        raise Unavailable(f"no run at {str(folder)!r}: there is no {NAME} in it")
    try:
        return _connected(path, "mode=ro"), None
    except sqlite3.OperationalError as error:
        refused = error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"the database of {str(folder)!r} cannot be read: {error}") from error
    # A WAL needs a writable folder beside it: without one the file may be read as it is, with one a copy is read.
    try:
        wal = path.with_name(NAME + "-wal")
        if not wal.exists() or wal.stat().st_size == 0:
            return _connected(path, "mode=ro&immutable=1"), None
        copy = Path(tempfile.mkdtemp(prefix="diorama-"))
        shutil.copyfile(path, copy / NAME)
        shutil.copyfile(wal, copy / (NAME + "-wal"))
        return _connected(copy / NAME, "mode=rw"), copy
    except (sqlite3.Error, OSError):
        raise Damaged(f"the database of {str(folder)!r} cannot be read: {refused}") from refused


def _connected(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(os.path.abspath(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        connection.execute("PRAGMA mmap_size = 1073741824")
        found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    if found is None or int(found[0]) > FORMAT:
        connection.close()
        raise sqlite3.DatabaseError("it was written by a newer diorama; update this one")
    return connection


def discard(copy: Path | None) -> None:
    """Remove a private copy."""
    if copy is not None:
        with contextlib.suppress(OSError):
            shutil.rmtree(copy)
