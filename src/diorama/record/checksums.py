"""Reads every byte of a run and compares it with its checksum."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

from ..core.errors import DioramaError
from . import database, files
from .facts import fact
from .store_bytes import SCALAR, WIDE, Record, unpack_scalars


def damages(path: Path) -> list[str]:
    """One sentence for each thing that is not as it was written."""
    try:
        connection, copy = database.open_for_reading(path)
    except DioramaError as error:
        return [str(error)]
    try:
        connection.bounded(float("inf"))  # every byte of a large run is read, which takes its time
        with database.reading(path):
            return [
                *_database(connection), *_facts(connection), *_rows(connection), *_index(connection),
                *_files(connection, path),
            ]
    except DioramaError as error:
        return [str(error)]
    finally:
        connection.close()
        database.discard(copy)


def _database(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA integrity_check").fetchall()
    return [f"the database is damaged: {text}" for (text,) in rows if text != "ok"]


def _rows(connection: sqlite3.Connection) -> list[str]:
    found = []
    asked = "SELECT step, data, crc FROM tail"
    for step, data, crc in database.rows(connection, asked, (), (int, bytes, int)):
        if zlib.crc32(data) != crc or not _reads(Record.read, data):
            found.append(f"step {step} does not match its checksum")
    kinds = dict(database.rows(connection, "SELECT id, kind FROM names", (), (int, int)))
    names = dict(database.rows(connection, "SELECT id, name FROM names", (), (int, str)))
    asked = "SELECT series, first, last, data, crc FROM blocks"
    for series, first, last, data, crc in database.rows(connection, asked, (), (int, int, int, bytes, int)):
        kind = kinds.get(series, SCALAR)
        read = WIDE[kind].unpack if kind in WIDE else unpack_scalars
        if zlib.crc32(data) != crc or not _reads(read, data):
            found.append(f"{names.get(series, 'a series')!r} from step {first} to {last} does not match its checksum")
    return found


def _facts(connection: sqlite3.Connection) -> list[str]:
    found = []
    for key, text in database.rows(connection, "SELECT key, value FROM meta", (), (str, str)):
        try:
            fact(key, text)
        except DioramaError as error:
            found.append(f"the database cannot be read: {error}")
    return found


def _index(connection: sqlite3.Connection) -> list[str]:
    """The other tables, each value of its type."""
    for query, types in (
        ("SELECT step, kind, name, text, old, new, time FROM events", (int, str, str, str, str, str, (float, int))),
        ("SELECT step, time, anchor, model FROM snapshots", (int, (float, int), int, int)),
        ("SELECT step, ok, old, new, text, time FROM acknowledged", (int, int, str, str, str, (float, int))),
    ):
        for _ in database.rows(connection, query, (), types):
            pass
    return []


def _reads(read: object, data: bytes) -> bool:
    try:
        read(data)  # type: ignore[operator]
    except DioramaError:
        return False
    return True


def _files(connection: sqlite3.Connection, path: Path) -> list[str]:
    told = {name: _file(path, name, size, crc) for name, (size, crc) in _indexed(connection).items()}
    if any(told.values()):
        # A running training may have thinned or replaced them since the index was read.
        now = _indexed(connection)
        told = {name: _file(path, name, *now[name]) if said and name in now else "" for name, said in told.items()}
    return [said for said in told.values() if said]


def _indexed(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    types = (str, int, int)
    wanted = [
        *database.rows(connection, "SELECT file, bytes, crc FROM snapshots ORDER BY step", (), types),
        *database.rows(connection, "SELECT name, bytes, crc FROM files ORDER BY name", (), types),
    ]
    return {name: (size, crc) for name, size, crc in wanted}


def _file(path: Path, name: str, size: int, crc: int) -> str:
    """What is wrong with a file of the run; nothing when it is as it was written."""
    try:
        file = files.regular(path, name)
        same = os.stat(file).st_size == size and checksum(file) == (size, crc)
    except FileNotFoundError:
        return f"{name} is missing"
    except DioramaError as error:
        return str(error)
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return "" if same else f"{name} does not match its checksum"


def checksum(file: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with open(file, "rb") as stream:
        while part := stream.read(1 << 20):
            crc = zlib.crc32(part, crc)
            size += len(part)
    return size, crc
