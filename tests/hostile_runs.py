"""Run folders as they should not be: a seeded generator of damaged, foreign and hostile ones, each made of a good run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Chance = random.Random
Mutation = Callable[[Path, Chance], str]
MUTATIONS: list[Mutation] = []

FILES = [
    "run.db", "run.db-wal", "run.db-shm", "run.db-journal", "commands.db", "lock", "watching", "model-0.pkl",
    "model-0.sig", "probe.safetensors", "live.safetensors", "snapshots", "snapshots/000000000.safetensors",
    "snapshots/{last:09d}.safetensors", "checkpoints", "derived",
]
VALUES: list[Any] = [
    b"", b"\xff\xfe", b"\0" * 40, "", "abc", "\u202e", "<img src=x onerror=alert(1)>", -1, 2**63 - 1, -(2**63), 1e308,
    float("inf"), "9" * 5000, "../../../etc/passwd", "/dev/zero", "a\0b", "x" * 100_000,
]
FACTS = [
    "{", "", "null", "[]", "5", "-1", "1e999", "NaN", '"\\ud800"', '["\\udfff"]', '{"a": "\\ud800"}', "[" * 3000,
    "9" * 400, "[null]", "[[[]]]", '{"kind": 5}', '[{"name": 3}]', '[{}]', '"x"', "true", '[1, 2]', '[["a", "b", "c"]]',
]


def mutation(make: Mutation) -> Mutation:
    """Enter a way of breaking a run."""
    MUTATIONS.append(make)
    return make


def mutated(good: Path, place: Path, seed: int) -> tuple[Path, str]:
    """A copy of a good run that was broken in one or two ways; where it stands, and what was done to it."""
    chance = Chance(seed)
    name = f"bad{seed}"
    if chance.random() < 0.1:
        odd = [b"\xff\xfe", b"a\nb", b"<b>", b"%2e%2e%2f", "\u202egnp".encode(), b"'\"`$(x)", b"x" * 200, b"\xed\xa0\x80"]
        name = os.fsdecode(f"bad{seed}".encode() + chance.choice(odd))
    folder = place / name
    shutil.copytree(good, folder)
    done = []
    for make in chance.sample(MUTATIONS, chance.choice([1, 1, 1, 2])):
        # What an earlier mutation took away, or made a terabyte long, cannot be broken again.
        with contextlib.suppress(OSError, sqlite3.Error, IndexError, ValueError, MemoryError):
            done.append(make(folder, chance))
    return folder, f"seed {seed}: {'; '.join(done)}"


@contextlib.contextmanager
def _database(folder: Path) -> Any:
    with contextlib.closing(sqlite3.connect(folder / "run.db", isolation_level=None)) as connection:
        yield connection


@mutation
def a_fact(folder: Path, chance: Chance) -> str:
    """A fact is not JSON, of another type, or not text."""
    with _database(folder) as connection:
        keys = [key for (key,) in connection.execute("SELECT key FROM meta")]
        key, value = chance.choice([*keys, "format", "classes", "name"]), chance.choice(FACTS)
        stored = chance.choice([value, value, value, b"\xff", value.encode()])
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, CAST(? AS TEXT))", (key, stored))
    return f"fact {key} = {stored[:30]!r}"


@mutation
def a_format(folder: Path, chance: Chance) -> str:
    """The format is no number, none of ours, or not there."""
    value = chance.choice(["abc", "", "99", "-1", "1e3", "٣", "1" * 5000, None])
    with _database(folder) as connection:
        if value is None:
            connection.execute("DELETE FROM meta WHERE key = 'format'")
        else:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (value,))
    return f"format {value and value[:9]!r}"


@mutation
def a_value(folder: Path, chance: Chance) -> str:
    """A value of another type, or far out, stands in a table."""
    with _database(folder) as connection:
        table = chance.choice(["names", "tail", "blocks", "events", "snapshots", "files", "meta"])
        column = chance.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
        value = chance.choice(VALUES)
        limit = chance.choice(["", f" WHERE {column} = (SELECT {column} FROM {table} LIMIT 1)"])
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{limit}", (value,))
    return f"{table}.{column} = {str(value)[:20]!r}"


@mutation
def a_lying_block(folder: Path, chance: Chance) -> str:
    """A packed record says more numbers, other bins or other steps than it has, under the right checksum."""
    with _database(folder) as connection:
        table = chance.choice(["blocks", "tail", "blocks"])
        rows = connection.execute(f"SELECT id, data FROM {table}").fetchall()
        number, data = chance.choice(rows)
        broken = bytearray(data)
        for _ in range(chance.choice([1, 1, 3])):
            at = chance.randrange(0, min(len(broken), 40), 2)
            word = chance.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\1\0\0\0", b"\0\0\0\x80"])
            broken[at : at + 4] = word
        if chance.random() < 0.3:
            broken = broken[: chance.randrange(len(broken))]
        row = (bytes(broken), zlib.crc32(broken), number)
        connection.execute(f"UPDATE {table} SET data = ?, crc = ? WHERE id = ?", row)
    return f"{table} {number} lies"


@mutation
def a_schema(folder: Path, chance: Chance) -> str:
    """Views, triggers, virtual tables and computed columns stand in the database, or a table is missing."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"
    columns = "1 AS step, 'k' AS kind, 'n' AS name, 't' AS text, 'o' AS old, 'w' AS new, 1.0 AS time"
    statement = chance.choice([
        f"DROP TABLE events; CREATE VIEW events AS {endless} x AS id, {columns} FROM c",
        f"DROP TABLE snapshots; CREATE VIEW snapshots AS {endless} x AS step, 'f' AS file, 1 AS bytes, 1 AS crc, "
        "1.0 AS time, 0 AS anchor, 0 AS model FROM c",
        f"ALTER TABLE meta RENAME TO facts; CREATE VIEW meta AS {endless} max(x) AS value, 'format' AS key FROM c",
        "DROP TABLE names; CREATE VIEW names AS SELECT 1 AS id, CAST(zeroblob(900000000) AS TEXT) AS name, 0 AS kind",
        "CREATE TRIGGER grow AFTER INSERT ON tail BEGIN INSERT INTO tail SELECT NULL, step, data, crc FROM tail; END",
        "CREATE VIRTUAL TABLE search USING fts5(a)",
        "CREATE VIRTUAL TABLE box USING rtree(a, b, c)",
        "DROP TABLE files; CREATE TABLE files (name TEXT AS (hex(zeroblob(400000000))), bytes INTEGER, crc INTEGER)",
        "DROP TABLE tail", "DROP TABLE meta", "DROP TABLE snapshots", "DROP INDEX blocks_of_series",
        "CREATE TABLE more (a)", "CREATE INDEX dear ON events (hex(zeroblob(100000000)))",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE tail (id' WHERE name = 'tail'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2 WHERE type = 'table'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'blocks'",
        "PRAGMA user_version = 7; PRAGMA application_id = 7",
    ])
    with _database(folder) as connection:
        for part in statement.split("; " if "TRIGGER" not in statement else "\n"):
            connection.execute(part)
    return statement[:60]


@mutation
def some_bytes(folder: Path, chance: Chance) -> str:
    """Bytes of a file are flipped, cut off, blanked, random, or more."""
    file = _some_file(folder, chance)
    data = bytearray(file.read_bytes())
    how = chance.choice(["flipped", "cut", "blanked", "random", "longer", "empty", "half zero"])
    if how == "flipped":
        for _ in range(chance.choice([1, 5, 100])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "blanked":
        start = chance.randrange(len(data))
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif how == "random":
        data = bytearray(chance.randbytes(len(data)))
    elif how == "longer":
        data += chance.randbytes(5000)
    else:
        data = bytearray() if how == "empty" else data[: len(data) // 2] + bytes(len(data) // 2)
    file.write_bytes(data)
    return f"{file.relative_to(folder)} {how}"


@mutation
def a_page(folder: Path, chance: Chance) -> str:
    """Some bytes of one page of the database are others: its tree leads astray."""
    file = folder / "run.db"
    data = bytearray(file.read_bytes())
    page = chance.randrange(len(data) // 8192)
    for _ in range(chance.choice([1, 4, 16])):
        data[page * 8192 + chance.randrange(100 if page else 300)] = chance.randrange(256)
    file.write_bytes(data)
    return f"page {page} of run.db"


@mutation
def beside_the_database(folder: Path, chance: Chance) -> str:
    """A log or journal stands beside the database that is none of its own."""
    name = chance.choice(["run.db-wal", "run.db-shm", "run.db-journal"])
    heads = [struct.pack(">II", 0x377F0682, 3007000), bytes.fromhex("d9d505f920a163d7"), b""]
    (folder / name).write_bytes(chance.choice(heads) + chance.randbytes(chance.choice([0, 100, 40_000])))
    return f"{name} of random bytes"


@mutation
def no_file(folder: Path, chance: Chance) -> str:
    """Where a file should be stands a pipe, a folder, a socket, a link, or something without end; or nothing."""
    name = chance.choice(FILES).format(last=_last(folder))
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    how = chance.choice(["pipe", "folder", "socket", "link", "loop", "device", "secret", "vast", "gone", "pipe"])
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
            bound.bind(path.name)
        os.chdir(here)
    elif how == "vast":
        path.write_bytes(b"SQLite format 3\0" if name == "run.db" else b"")
        os.truncate(path, 1 << 40)
    elif how != "gone":
        goals = {"link": "nowhere", "loop": path.name, "device": "/dev/zero", "secret": "/etc/passwd"}
        path.symlink_to(goals[how])
    return f"{name} is {how}"


@mutation
def a_way_out(folder: Path, chance: Chance) -> str:
    """The index names files that lie elsewhere, or are none."""
    os.mkfifo(folder / "pipe")
    names = ["../../etc/passwd", "/etc/passwd", "/dev/zero", "pipe", "", ".", "snapshots", "a\0b", "x" * 5000, "run.db"]
    name = chance.choice(names)
    table, column = chance.choice([("snapshots", "file"), ("files", "name")])
    with _database(folder) as connection:
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (name,))
    return f"{table}.{column} = {name[:20]!r}"


@mutation
def a_lying_header(folder: Path, chance: Chance) -> str:
    """A file of tensors says other shapes, types, places and names than it has, under the right checksum."""
    names = ["snapshots/000000000.safetensors", f"snapshots/{_last(folder):09d}.safetensors", "probe.safetensors"]
    name = chance.choice(names)
    data = (folder / name).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    first = chance.choice([key for key in header if key != "__metadata__"])
    about = header[first]
    how = chance.choice(["shape", "dtype", "place", "length", "text", "shared", "names", "metadata", "much", "nan"])
    if how == "shape":
        about["shape"] = chance.choice([[2**40], [-1], [], [0], [2**63], about["shape"][::-1], [1, *about["shape"]]])
    elif how == "dtype":
        about["dtype"] = chance.choice(["F64", "I8", "BF16", "X", "F8_E4M3", 5])
    elif how == "place":
        about["data_offsets"] = chance.choice([[0, 2**50], [2**63, 2**64], [8, 0], [0], [1, 2], "x"])
    elif how == "shared":
        shared = chance.choice(["{", '{"a": "nowhere"}', '{"a": ["b"]}', "[]", '"x"', "[" * 3000])
        header["__metadata__"] = {**header.get("__metadata__", {}), "shared": shared}
    elif how == "names":
        header["\u202e" * 50] = header.pop(first)
    elif how == "metadata":
        odd = ["{", "null", "[]", '{"shape": {"a": "b"}}', '{"shape": [[[[]]]], "kind": {"kind": "image"}}', "[" * 3000]
        header["__metadata__"] = dict.fromkeys(["examples", "shared", "step"], chance.choice(odd))
    elif how == "much":
        header |= {f"t{k}": about for k in range(2000)}
    elif how == "nan":
        body = b"\xff" * len(body)
    text = json.dumps(header).encode()
    size = chance.choice([2**63, 2**64 - 1, 0, len(text) + 10**9]) if how == "length" else len(text)
    text = chance.choice([b"{", b"null", b"[" * 5000, b"\xff\xfe"]) if how == "text" else text
    data = struct.pack("<Q", size) + text + body
    (folder / name).write_bytes(data)
    crc = zlib.crc32(data)
    with _database(folder) as connection:
        connection.execute("UPDATE snapshots SET bytes = ?, crc = ? WHERE file = ?", (len(data), crc, name))
        connection.execute("UPDATE files SET bytes = ?, crc = ? WHERE name = ?", (len(data), crc, name))
    return f"{name} lies about its {how}"


@mutation
def something_derived(folder: Path, chance: Chance) -> str:
    """What views keep with a run is not what it says, or is a pipe, a link, or without end."""
    (folder / "derived").mkdir(exist_ok=True)
    kept = sorted(file for file in (folder / "derived").rglob("*") if file.is_file())
    if not kept:
        kept = [folder / "derived" / f"{chance.choice(['scan', 'decoder', 'direction'])}-{chance.randbytes(6).hex()}.safetensors"]
    file = chance.choice(kept)
    file.unlink(missing_ok=True)
    how = chance.choice(["pipe", "bytes", "header", "link", "vast", "folder"])
    if how == "pipe":
        os.mkfifo(file)
    elif how == "bytes":
        file.write_bytes(chance.randbytes(3000))
    elif how == "header":
        told = {"__metadata__": {"scan": chance.choice(FACTS)}, "a": {"dtype": "F64", "shape": [2**30], "data_offsets": [0, 8]}}
        text = json.dumps(told).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    elif how == "link":
        file.symlink_to("/dev/zero")
    elif how == "vast":
        file.touch()
        os.truncate(file, 1 << 40)
    else:
        file.mkdir()
    return f"derived: {how}"


@mutation
def many_rows(folder: Path, chance: Chance) -> str:
    """A table has many more rows than a training would write."""
    with _database(folder) as connection:
        table = chance.choice(["events", "names", "snapshots"])
        rest = {
            "events": "INSERT INTO events SELECT NULL, n, 'x', 'x', 'x', 'x', 'x', 1.0 FROM c",
            "names": "INSERT INTO names SELECT NULL, 'name' || n, 0 FROM c",
            "snapshots": "INSERT OR IGNORE INTO snapshots SELECT n, 'snapshots/' || n, 1, 1, 1.0, 0, 0 FROM c",
        }[table]
        count = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) "
        connection.execute(count + rest)
    return f"5,000 rows of {table}"


def _last(folder: Path) -> int:
    numbers = [int(file.name[:9]) for file in (folder / "snapshots").glob("*.safetensors") if file.name[:9].isdigit()]
    return max(numbers, default=0)


def _some_file(folder: Path, chance: Chance) -> Path:
    found = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return folder / "run.db" if chance.random() < 0.5 else chance.choice(found)
