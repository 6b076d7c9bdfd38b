"""The one hand that writes a run's database: packed steps in small groups, merged into column blocks as they pile up.

A step is one row, so it is there whole or not at all; a transaction moves it from the tail into blocks, so it is
never lost or doubled. Everything here runs on the writer thread.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import database
from .histogram import HistogramValue
from .lines import FEW, Line, Names, mapped
from .store_bytes import (
    HISTOGRAM,
    ROW,
    SCALAR,
    WIDE,
    HistogramBlock,
    Record,
    Row,
    RowBlock,
    Wide,
    pack_record,
    pack_scalars,
    split_record,
    unpack_scalars,
)

MERGE = 256
"""Steps in the tail that are merged into blocks at once."""
MANY = 64
"""Steps of one transaction that become blocks at once, with the tail before them: a loop of tiny steps brings hundreds."""
FANOUT = 16
"""Blocks of one size that are joined into the next size."""
LEVELS = 3
LARGEST = 8_000_000
"""Bytes that a block of histograms may take before it is left as it is."""
TIME = "\0time"
"""The hidden series of wall-clock times."""

Value = float | HistogramValue | Row
Entry = tuple[int, float, Mapping[str, Value]] | Line
_WIDE = frozenset({HistogramValue, np.ndarray})
Flat = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Steps that have numbers of the same series: which these are, the steps, and a table of a row a step."""


class Writer:
    """Writes to a run whose lock the process holds. Any method may raise sqlite3.Error (a full disk), and loses
    nothing then: the transaction is undone and may be tried again."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._database = database.open_for_writing(self.folder)
        rows = self._database.execute("SELECT id, name, kind FROM names")
        self._numbers = {(name, kind): number for number, name, kind in rows}
        self._layouts: dict[tuple[str, ...], tuple[bytes, struct.Struct]] = {}
        self._waiting = int(self._one("SELECT count(*) FROM tail"))
        self._apart: set[int] | None = None if self._waiting else set()
        """The series of which something waits in the tail, where that is of readings alone, whose numbers that all steps have lie in blocks
        already; None where whole steps wait there."""
        columns = [row[1] for row in self._database.execute("PRAGMA table_info(events)")]
        self._more = ("sender",) if "sender" in columns else ()  # a run of an earlier version that is taken up does not keep it
        self.last_step = last_step(self._database)

    def _one(self, query: str) -> Any:
        return self._database.execute(query).fetchone()[0]

    def write(
        self,
        steps: Sequence[Entry],
        events: Sequence[Mapping[str, Any]] = (),
        meta: Mapping[str, Any] | None = None,
        acknowledged: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Commit steps (number, time, values by name; or lines), events, facts and acknowledgements in one transaction."""
        numbers, many = dict(self._numbers), len(steps) >= MANY
        apart, merged = self._apart if many or not steps else None, False
        self._database.execute("BEGIN IMMEDIATE")
        try:
            if many:
                flat, rows, beside = self._parted(steps)
                merged = apart is None or self._waiting + len(rows) >= MANY or any(not apart.isdisjoint(part[0].tolist()) for part in flat)
                if merged:
                    self._merge(flat, rows)
                    apart, rows = set(), []
                else:
                    self._enter(rows=(), flat=flat)
                    apart = (apart or set()) | beside
            else:
                rows = [(entry[0], self._packed(entry[1], _values(entry))) for entry in steps]
            self._database.executemany(
                "INSERT INTO tail (step, data, crc) VALUES (?, ?, ?)",
                [(step, data, zlib.crc32(data)) for step, data in rows],
            )
            for event in events:
                told = {key: event.get(key, "") for key in ("step", "kind", "name", "text", "old", "new", *self._more)}
                told["time"] = event.get("time", time.time())
                self._database.execute(f"INSERT INTO events ({', '.join(told)}) VALUES ({', '.join('?' * len(told))})", list(told.values()))
            for key, value in (meta or {}).items():
                self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            for answer in acknowledged:
                self._database.execute(
                    "INSERT OR IGNORE INTO acknowledged VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [answer[key] for key in ("id", "step", "ok", "old", "new", "text", "time")],
                )
            self._database.execute("COMMIT")
        except BaseException:
            self._numbers = numbers
            self._layouts.clear()
            self._undo()
            raise
        self._waiting, self._apart = (0 if merged else self._waiting) + len(rows), apart
        if steps:
            self.last_step = max(self.last_step, max(entry[0] for entry in steps))

    def _undo(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def _packed(self, moment: float, values: Mapping[str, Value]) -> bytes:
        names = tuple(values)
        layout = self._layouts.get(names)
        if layout is not None and _WIDE.isdisjoint(map(type, values.values())):
            return layout[0] + layout[1].pack(moment, *values.values())
        data, _ = self._record({TIME: moment, **values})
        if _WIDE.isdisjoint(map(type, values.values())) and len(self._layouts) < 64:
            # Most steps carry the same few names: their head is made once.
            count = 1 + len(values)
            self._layouts[names] = (data[: len(data) - 8 * count], struct.Struct(f"<{count}d"))
        return data

    def _record(self, values: Mapping[str, Value]) -> tuple[bytes, set[int]]:
        """A record of these, and their series."""
        scalars, histograms, rows = dict[int, float](), dict[int, HistogramValue](), dict[int, Row]()
        for name, value in values.items():
            if isinstance(value, HistogramValue):
                histograms[self._number(name, HISTOGRAM)] = value
            elif isinstance(value, np.ndarray):
                rows[self._number(name, ROW)] = value
            else:
                scalars[self._number(name, SCALAR)] = value
        return pack_record(scalars, histograms, rows), {*scalars, *histograms, *rows}

    def _number(self, name: str, kind: int) -> int:
        number = self._numbers.get((name, kind))
        if number is None:
            row = self._database.execute("INSERT INTO names (name, kind) VALUES (?, ?)", (name, kind))
            number = self._numbers[name, kind] = int(row.lastrowid or 0)
        return number

    def merge(self, all_of_it: bool = False) -> bool:
        """Move the tail into blocks when enough steps wait there; join blocks that have become many."""
        if self._waiting < (1 if all_of_it else MERGE):
            return False
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._merge()
            self._database.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self._waiting, self._apart = 0, set()
        return True

    def _parted(self, entries: Sequence[Entry]) -> tuple[list[Flat], list[tuple[int, bytes]], set[int]]:
        """Many steps as tables of numbers; readings apart, packed without the numbers that other steps have too; and the series of these.

        *Meaning* a reading has a number or two of each of very many series. Each of them would be a block of its own, which costs several times
        what the reading itself does.
        """
        lines: dict[Names, list[Line]] = {}
        alike: dict[Names, tuple[list[int], list[tuple[float, ...]]]] = {}
        wide: list[tuple[int, float, Mapping[str, Value]]] = []
        for entry in entries:
            if type(entry[2]) is tuple:
                lines.setdefault(entry[2], []).append(entry)  # type: ignore[arg-type]
                continue
            step, moment, values = entry[0], entry[1], _values(entry)
            if len(values) >= FEW or not _WIDE.isdisjoint(map(type, values.values())):
                wide.append((step, moment, values))
            else:
                _put(alike, step, moment, values)
        common, rows, beside = {name for names in (*lines, *alike) for name in names}, [], set[int]()
        for step, moment, values in wide:
            _put(alike, step, moment, {name: value for name, value in values.items() if name in common and type(value) not in _WIDE})
            data, numbers = self._record({name: value for name, value in values.items() if name not in common or type(value) in _WIDE})
            if numbers:
                rows.append((step, data))
                beside |= numbers
        flat = [(self._named(names), np.array(at), np.array(values, np.float64)) for names, (at, values) in alike.items()]
        for names, some in lines.items():
            at, moments, _, *columns = zip(*some, strict=True)
            flat.append((self._named(names), np.array(at), np.array((moments, *columns), np.float64).T))
        return flat, rows, beside

    def _named(self, names: Names) -> np.ndarray:
        return np.array([self._number(name, SCALAR) for name in (TIME, *names)])

    def _merge(self, flat: Sequence[Flat] = (), more: Sequence[tuple[int, bytes]] = ()) -> None:
        """Within a transaction: the tail, and steps that never were in it, become blocks."""
        rows = self._database.execute("SELECT step, data FROM tail ORDER BY step, id").fetchall()
        self._enter([*rows, *more], flat)
        self._database.execute("DELETE FROM tail")

    def _enter(self, rows: Sequence[tuple[int, bytes]], flat: Sequence[Flat]) -> None:
        scalars, wide = _columns(rows, flat)
        for number, (steps, column) in scalars.items():
            self._block(number, 0, steps, pack_scalars(steps, column))
        for number, block in wide.items():
            self._block(number, 0, block.steps, block.pack())
        kinds = {number: kind for (_, kind), number in self._numbers.items()}
        for level in range(LEVELS):
            self._join(level, kinds)

    def _block(self, number: int, level: int, steps: np.ndarray, data: bytes) -> None:
        self._database.execute(
            "INSERT INTO blocks (series, level, first, last, count, data, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, level, int(steps[0]), int(steps[-1]), len(steps), data, zlib.crc32(data)),
        )

    def _join(self, level: int, kinds: Mapping[int, int]) -> None:
        many = self._database.execute(
            "SELECT series FROM blocks WHERE level = ? GROUP BY series HAVING count(*) >= ?", (level, FANOUT)
        ).fetchall()
        for (number,) in many:
            rows = self._database.execute(
                "SELECT id, data FROM blocks WHERE series = ? AND level = ? ORDER BY first, id", (number, level)
            ).fetchall()
            if sum(len(data) for _, data in rows) > LARGEST:
                continue
            if kinds[number] == SCALAR:
                parts = [unpack_scalars(data) for _, data in rows]
                steps = np.concatenate([part[0] for part in parts])
                packed = pack_scalars(steps, np.concatenate([part[1] for part in parts]))
            else:
                read: Any = WIDE[kinds[number]]
                block = read.joined([read.unpack(data) for _, data in rows])
                steps, packed = block.steps, block.pack()
            self._database.executemany("DELETE FROM blocks WHERE id = ?", [(row[0],) for row in rows])
            self._block(number, level + 1, steps, packed)

    def index_snapshot(self, step: int, file: str, size: int, crc: int, *, anchor: bool, model: int) -> None:
        """Enter a snapshot whose file stands in its place."""
        self._database.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)",
            (step, file, size, crc, time.time(), int(anchor), model),
        )

    def forget_snapshots(self, steps: Sequence[int]) -> None:
        """Take snapshots out of the index; their files may be deleted after that."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany("DELETE FROM snapshots WHERE step = ?", [(step,) for step in steps])
            self._database.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def index_file(self, name: str, size: int, crc: int) -> None:
        """Enter another file with its checksum."""
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, size, crc))

    def forget_file(self, name: str) -> None:
        """Take a file out of the index."""
        self._database.execute("DELETE FROM files WHERE name = ?", (name,))

    def snapshots(self) -> list[tuple[int, str, int, bool]]:
        """All snapshots: step, file, bytes, whether it is kept for good."""
        rows = self._database.execute("SELECT step, file, bytes, anchor FROM snapshots ORDER BY step")
        return [(step, file, size, bool(anchor)) for step, file, size, anchor in rows]

    def size(self) -> int:
        """Bytes of the database, with the pages that nothing is on any more."""
        return int(self._one("PRAGMA page_count")) * int(self._one("PRAGMA page_size"))

    def compact(self) -> None:
        """Merge what waits, and give back the pages that nothing is on any more."""
        self.merge(all_of_it=True)
        if int(self._one("PRAGMA freelist_count")):
            self._database.execute("VACUUM")

    def coarsen(self, apart: int) -> None:
        """Keep histograms and rows at multiples of so many steps alone; numbers stay."""
        self.merge(all_of_it=True)
        wide = {number: WIDE[kind] for (_, kind), number in self._numbers.items() if kind != SCALAR}
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for number, read in wide.items():
                rows = self._database.execute(
                    "SELECT id, level, data FROM blocks WHERE series = ? ORDER BY first, id", (number,)
                ).fetchall()
                for row, level, data in rows:
                    block = read.unpack(data)
                    kept = block.at(block.steps % apart == 0)
                    if len(kept) == len(block):
                        continue
                    self._database.execute("DELETE FROM blocks WHERE id = ?", (row,))
                    if len(kept):
                        self._block(number, level, kept.steps, kept.pack())
            self._database.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self.compact()

    def meta(self) -> dict[str, Any]:
        """All facts of the run."""
        return {key: json.loads(value) for key, value in self._database.execute("SELECT key, value FROM meta")}

    def close(self) -> None:
        """Merge what waits and close the database, so that no WAL is left."""
        try:
            self.merge(all_of_it=True)
        finally:
            self._database.close()

    def abandon(self) -> None:
        """Close without merging."""
        self._database.close()


def _put(alike: dict[Names, tuple[list[int], list[tuple[float, ...]]]], step: int, moment: float, values: Mapping[str, Value]) -> None:
    held = alike.setdefault(tuple(values), ([], []))
    held[0].append(step)
    held[1].append((moment, *values.values()))  # type: ignore[arg-type]


def _values(entry: Entry) -> Mapping[str, Value]:
    values = entry[2]
    return mapped(entry) if isinstance(values, tuple) else values  # type: ignore[arg-type]


def last_step(connection: sqlite3.Connection) -> int:
    """The last committed step; -1 when there is none."""
    found = connection.execute(
        "SELECT max(coalesce((SELECT max(step) FROM tail), -1), coalesce((SELECT max(last) FROM blocks), -1))"
    ).fetchone()
    return int(found[0])


def _columns(
    rows: Sequence[tuple[int, bytes]], flat: Sequence[Flat] = (),
) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], dict[int, Wide]]:
    """Turn packed steps into one column a series; ``flat``: steps of the same series as numbers, steps and a table."""
    alike: dict[bytes, tuple[list[int], list[bytes]]] = {}
    gathered: dict[int, tuple[list[int], list[HistogramValue]]] = {}
    lined: dict[int, tuple[list[int], list[Row]]] = {}
    for step, data in rows:
        head, body, more = split_record(data)
        held = alike.setdefault(head, ([], []))
        held[0].append(step)
        held[1].append(body)
        if more:
            record = Record.read(data)
            for number in record.histograms:
                value = record.histogram(number)
                if value is not None:
                    columns = gathered.setdefault(number, ([], []))
                    columns[0].append(step)
                    columns[1].append(value)
            for number, row in record.rows.items():
                beside = lined.setdefault(number, ([], []))
                beside[0].append(step)
                beside[1].append(row)
    parts = [
        (np.tile(np.frombuffer(head, "<u4"), len(held[0])), np.repeat(held[0], len(head) // 4),
         np.frombuffer(b"".join(held[1]), "<f8"))
        for head, held in alike.items()
    ] + [(np.tile(numbers, len(steps)), np.repeat(steps, len(numbers)), table.ravel()) for numbers, steps, table in flat]
    numbers, steps, values = (np.concatenate([part[k] for part in parts]) for k in range(3))
    order = np.lexsort((steps, numbers))
    numbers, steps, values = numbers[order].astype(np.int64), steps[order].astype(np.int64), values[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1 if len(numbers) else 0))
    scalars = {
        int(numbers[start]): (steps[start:stop], values[start:stop])
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True)
    }
    wide: dict[int, Wide] = {number: HistogramBlock.of(*columns) for number, columns in gathered.items()}
    return scalars, wide | {number: RowBlock.of(*columns) for number, columns in lined.items()}
