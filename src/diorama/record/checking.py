"""Reads every byte of a run and compares it with its checksum."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from pathlib import Path

from ..core.errors import DioramaError
from . import database
from .packing import HISTOGRAM, HistogramBlock, Record, unpack_scalars


def damages(path: Path) -> list[str]:
    """One sentence for each thing that is not as it was written."""
    try:
        connection, copy = database.open_for_reading(path)
    except DioramaError as error:
        return [str(error)]
    try:
        return [*_database(connection), *_rows(connection), *_files(connection, path)]
    except sqlite3.Error as error:
        return [f"the database cannot be read: {error}"]
    finally:
        connection.close()
        database.discard(copy)


def _database(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA integrity_check").fetchall()
    return [f"the database is damaged: {text}" for (text,) in rows if text != "ok"]


def _rows(connection: sqlite3.Connection) -> list[str]:
    found = []
    for step, data, crc in connection.execute("SELECT step, data, crc FROM tail"):
        if zlib.crc32(data) != crc or not _reads(Record.read, data):
            found.append(f"step {step} does not match its checksum")
    kinds = dict(connection.execute("SELECT id, kind FROM names"))
    names = dict(connection.execute("SELECT id, name FROM names"))
    for series, first, last, data, crc in connection.execute("SELECT series, first, last, data, crc FROM blocks"):
        read = HistogramBlock.unpack if kinds.get(series) == HISTOGRAM else unpack_scalars
        if zlib.crc32(data) != crc or not _reads(read, data):
            found.append(f"{names.get(series, 'a series')!r} from step {first} to {last} does not match its checksum")
    return found


def _reads(read: object, data: bytes) -> bool:
    try:
        read(data)  # type: ignore[operator]
    except DioramaError:
        return False
    return True


def _files(connection: sqlite3.Connection, path: Path) -> list[str]:
    found = []
    wanted = [
        *connection.execute("SELECT file, bytes, crc FROM snapshots ORDER BY step").fetchall(),
        *connection.execute("SELECT name, bytes, crc FROM files ORDER BY name").fetchall(),
    ]
    for name, size, crc in wanted:
        try:
            same = checksum(path / name) == (size, crc)
        except FileNotFoundError:
            # A running training may have thinned its snapshots since the index was read.
            query = "SELECT file FROM snapshots WHERE file = ? UNION SELECT name FROM files WHERE name = ?"
            if connection.execute(query, (name, name)).fetchone():
                found.append(f"{name} is missing")
            continue
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
            continue
        if not same:
            # A running training may have replaced it since.
            query = "SELECT bytes, crc FROM snapshots WHERE file = ? UNION SELECT bytes, crc FROM files WHERE name = ?"
            now = connection.execute(query, (name, name)).fetchone()
            with contextlib.suppress(OSError):
                same = now is None or checksum(path / name) == tuple(now)
            if not same:
                found.append(f"{name} does not match its checksum")
    return found


def checksum(file: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with open(file, "rb") as stream:
        while part := stream.read(1 << 20):
            crc = zlib.crc32(part, crc)
            size += len(part)
    return size, crc
