"""Reads a run's database with NumPy alone, while another process writes it or after; what was read once is kept."""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import Damaged, not_found
from . import arrays, database, lock
from .envelope import Envelope
from .event import RecordedEvent
from .facts import fact
from .histogram import HistogramSeries
from .store_bytes import (
    HISTOGRAM,
    ROW,
    SCALAR,
    WIDE,
    Floats,
    HistogramBlock,
    Record,
    Row,
    RowBlock,
    Steps,
    unpack_scalars,
)
from .writer import TIME, last_step

if TYPE_CHECKING:
    from torch import Tensor

OWN = ("model", "parameters", "buffers", "weights", "layers", "model_error", "units")
"""The facts that belong to one architecture; all others are the whole run's."""

_READ = ("probe/loss", "probe/accuracy")
"""Numbers of the probe set's answers, which are told anew where these are read otherwise."""


class RunReader:
    """A run's record. Safe to use from several threads; sees what was committed when it is asked. Where another process
    keeps the database locked it waits so many seconds.

    *Raises* Unavailable where there is no run, Damaged where bytes do not match their checksum.
    """

    def __init__(self, path: str | Path, wait: float = 10.0) -> None:
        self.path, self._wait = Path(path), wait
        self._guard = threading.RLock()
        self._copy: Path | None = None
        self._born = ""
        self._open()

    def _open(self) -> None:
        self._database, self._copy = database.open_for_reading(self.path, self._wait)
        self._process, self._resting = os.getpid(), False
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[tuple[str, int], int] = {}
        self._columns: dict[int, tuple[tuple[int, ...], Any]] = {}
        self._records: dict[int, tuple[int, Record]] = {}
        self._facts: dict[str, tuple[str, Any]] = {}
        self._version: tuple[Any, int] | None = None
        self._facts_of: tuple[Any, int] | None = None
        self._models: dict[int, int] = {}
        self._models_of: tuple[Any, int] | None = None

    def close(self) -> None:
        """Let go of the files."""
        with self._guard:
            self._database.close()
            database.discard(self._copy)
            self._copy = None

    def rest(self) -> None:
        """Let go of the files until they are asked again; what was read is kept.

        Who looks now and then is not in the way of whoever moves, replaces or cuts the files short.
        """
        with self._guard:
            if self._copy is None and self._process == os.getpid():
                self._database.close()
                self._resting = True

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _moment(self) -> Iterator[Any]:
        """A short transaction, in which all that is read belongs to one moment."""
        with self._guard:
            if self._process != os.getpid():
                self._open()  # a forked child must not use its parent's connection
            elif self._resting:
                self._database, self._copy = database.open_for_reading(self.path, self._wait)
                self._resting = False
            with database.reading(self.path):
                self._database.bounded()
                self._database.execute("BEGIN")
                try:
                    self._recognize()
                    yield self._database
                finally:
                    if self._database.in_transaction:
                        self._database.execute("COMMIT")

    def _recognize(self) -> None:
        """Forget what was read when another run stands in the place of the one it was read from."""
        ((version,),) = self._database.execute("PRAGMA data_version")
        if (self._database, version) == self._version:
            return  # nothing was written since
        born = str(self._database.execute("SELECT value FROM meta WHERE key = 'created'").fetchone())
        if born != self._born:
            self._born = born
            self._forget()
        self._version = self._database, version

    @property
    def born(self) -> str:
        """Tells a run from another one that was recorded in its place."""
        return self._born

    def _rows(self, query: str, values: tuple[Any, ...] = (), types: database.Types = ()) -> list[Any]:
        with self._moment() as moment:
            return list(database.rows(moment, query, values, types))

    def _learn(self) -> None:
        """Read the names that came since: they are only ever added, so that no name is read twice."""
        with self._moment() as moment:
            known = next(reversed(self._numbers.values()), -1)
            query = "SELECT id, name, kind FROM names WHERE id > ? ORDER BY id"
            for number, name, each in database.rows(moment, query, (known,), (int, str, int)):
                self._numbers[name, each] = number

    def _names(self, kind: int) -> list[str]:
        """The names of a kind in the order they appeared."""
        self._learn()
        return [name for name, each in self._numbers if each == kind and name != TIME]

    def _number(self, name: str, kind: int) -> int:
        if (name, kind) not in self._numbers:
            names = self._names(kind)
            if (name, kind) not in self._numbers:
                raise not_found(("series", "histogram", "row")[kind], name, names)
        return self._numbers[name, kind]

    @property
    def series_names(self) -> list[str]:
        """Names of all scalar series: what was passed to step() first, in the order they appeared."""
        names = self._names(SCALAR)
        return sorted(names, key=lambda name: "/" in name)

    def has_series(self, name: str) -> bool:
        """Whether there is a scalar series of that name, told at once however many there are."""
        if (name, SCALAR) not in self._numbers:
            self._learn()
        return name != TIME and (name, SCALAR) in self._numbers

    @property
    def histogram_names(self) -> list[str]:
        """Names of all recorded histograms."""
        return self._names(HISTOGRAM)

    def series(self, name: str) -> tuple[Steps, Floats]:
        """Steps and values of a series; raises NotFound with the nearest names."""
        return self._valid(name, *self._scalars(self._number(name, SCALAR)))

    def _valid(self, name: str, steps: Steps, values: Any) -> tuple[Steps, Any]:
        """Without what was told of the probe set when its answers were read otherwise."""
        since = int(self.meta.get("reread", 0)) if name in _READ or name.startswith("examples/") else 0
        return (steps[steps >= since], values[steps >= since]) if since else (steps, values)

    def every_series(self) -> dict[str, tuple[Steps, Floats]]:
        """All series by name, as they were at one moment: much cheaper than one after the other."""
        names = {self._number(name, SCALAR): name for name in RunReader.series_names.fget(self)}  # type: ignore[attr-defined]
        blocks: dict[int, list[int]] = {number: [] for number in names}
        late: dict[int, tuple[list[int], list[float]]] = {number: ([], []) for number in names}
        with self._moment() as moment:
            for number, block in moment.execute("SELECT series, id FROM blocks ORDER BY first, id"):
                if number in blocks:
                    blocks[number].append(block)
            read = self._fresh(moment, blocks)
            stored = {number: self._joined(moment, number, SCALAR, tuple(own), read) for number, own in blocks.items()}
            tail = self._tail(moment)
        for step, record in tail:
            # Of a number that stands twice in a step the first counts.
            for number, value in dict(zip(record.numbers[::-1].tolist(), record.values[::-1].tolist(), strict=True)).items():
                if number in late:
                    late[number][0].append(step)
                    late[number][1].append(value)
        return {name: self._valid(name, *_with_tail(stored[number], *late[number])) for number, name in names.items()}

    def times(self, steps: Any = None) -> Floats:
        """Wall-clock times, in seconds since 1970: of all recorded steps, or of the given ones (NaN where unknown)."""
        known, values = self.clock()
        if steps is None:
            return values
        if not len(known):
            return np.full(len(steps), np.nan)
        return np.interp(np.asarray(steps, np.float64), known, values, left=np.nan, right=np.nan)

    def clock(self) -> tuple[Steps, Floats]:
        """All recorded steps, and the wall-clock time of each."""
        if (TIME, SCALAR) not in self._numbers:
            self._names(SCALAR)
        if (TIME, SCALAR) not in self._numbers:
            return np.zeros(0, np.int64), np.zeros(0)
        return self._scalars(self._numbers[TIME, SCALAR])

    def _scalars(self, number: int) -> tuple[Steps, Floats]:
        with self._moment() as moment:
            stored = self._stored(moment, number, SCALAR)
            tail = self._tail(moment)
        steps, values = [], []
        for step, record in tail:
            found = np.flatnonzero(record.numbers == number)
            if len(found):
                steps.append(step)
                values.append(record.values[found[0]])
        return _with_tail(stored, steps, values)

    def _stored(self, moment: Any, number: int, kind: int) -> Any:
        """A series as far as it lies in blocks; None when it has none yet."""
        ids = tuple(
            row[0] for row in moment.execute("SELECT id FROM blocks WHERE series = ? ORDER BY first, id", (number,))
        )
        return self._joined(moment, number, kind, ids)

    def _fresh(self, moment: Any, blocks: dict[int, list[int]]) -> dict[int, tuple[bytes, int]]:
        """The blocks of all series that came since they were read, by one question: one a block takes longer than all that is done with them."""
        held = {block for number in blocks for block in self._columns.get(number, ((), None))[0]}
        fresh = [block for ids in blocks.values() for block in ids if block not in held]
        query = "SELECT id, data, crc FROM blocks WHERE id BETWEEN ? AND ? AND series IN (SELECT id FROM names WHERE kind = ?)"
        values = (min(fresh), max(fresh), SCALAR) if fresh else (0, -1, SCALAR)
        return {block: (data, crc) for block, data, crc in database.rows(moment, query, values, (int, bytes, int)) if block not in held}

    def _joined(self, moment: Any, number: int, kind: int, ids: tuple[int, ...], read: Mapping[int, tuple[bytes, int]] | None = None) -> Any:
        """The blocks of a series, those that were read before and those that came since; some of these may have been ``read`` just now."""
        held_ids, held = self._columns.get(number, ((), None))
        if ids == held_ids:
            return held
        # A live run gains blocks at its end: only those are read, by one query, for one a block costs more than what is in it.
        keep = len(held_ids) if ids[: len(held_ids)] == held_ids and held is not None else 0
        new, wanted = dict[int, Any].fromkeys(ids[keep:]), "SELECT id, data, crc FROM blocks WHERE series = ? AND id >= ?"
        if read is None or not new.keys() <= read.keys():
            stored = database.rows(moment, wanted, (number, min(new, default=0)), (int, bytes, int))
            read = {block: (data, crc) for block, data, crc in stored if block in new}
        for block in new:
            data, crc = read[block]
            if zlib.crc32(data) != crc:
                raise Damaged(f"block {block} of {str(self.path)!r} does not match its checksum; see: diorama check")
            new[block] = unpack_scalars(data) if kind == SCALAR else WIDE[kind].unpack(data)
        parts = [*([held] if keep else []), *new.values()]
        found: Any
        if kind != SCALAR:
            joined: Any = WIDE[kind].joined
            found = joined(parts)
        else:
            found = parts[0] if len(parts) == 1 else tuple(np.concatenate([part[k] for part in parts]) for k in (0, 1))
        self._columns[number] = (ids, found)
        return found

    def _tail(self, moment: Any) -> list[tuple[int, Record]]:
        """The steps not yet in blocks."""
        ids = [row[0] for row in moment.execute("SELECT id FROM tail ORDER BY step, id")]
        missing = [row for row in ids if row not in self._records]
        if missing:
            wanted = "SELECT id, step, data, crc FROM tail WHERE id BETWEEN ? AND ?"
            values = (min(missing), max(missing))
            for row, step, data, crc in database.rows(moment, wanted, values, (int, int, bytes, int)):
                if zlib.crc32(data) != crc:
                    raise Damaged(f"step {step} of {str(self.path)!r} does not match its checksum; see: diorama check")
                self._records[row] = (step, Record.read(data))
        self._records = {row: self._records[row] for row in ids}
        return list(self._records.values())

    def envelope(
        self, name: str, start: float | None = None, stop: float | None = None, pixels: int = 1000
    ) -> Envelope:
        """A series between two steps in at most ``pixels`` columns, each with its exact lowest and highest value.

        NaN counts only where a column has nothing else. *Error* none: a spike of one step is always in it.
        """
        return Envelope.of(*self.series(name), start, stop, pixels)

    def histograms(self, name: str) -> HistogramSeries:
        """How a tensor's values were distributed at each step that was looked at; raises NotFound with the nearest
        names."""
        return HistogramSeries.of(self.distributions(name))

    def distributions(self, name: str) -> HistogramBlock:
        """The same as it is stored, in the bins of each step."""
        number = self._number(name, HISTOGRAM)
        with self._moment() as moment:
            stored = self._stored(moment, number, HISTOGRAM)
            tail = self._tail(moment)
        late = [(step, value) for step, record in tail if (value := record.histogram(number)) is not None]
        parts = [] if stored is None else [stored]
        if late:
            parts.append(HistogramBlock.of([step for step, _ in late], [value for _, value in late]))
        if not parts:
            raise not_found("histogram", name, self.histogram_names)
        return HistogramBlock.joined(parts)

    @property
    def row_names(self) -> list[str]:
        """Names of all recorded rows: one number for each example of the probe set at each look."""
        return self._names(ROW)

    def rows(self, name: str) -> tuple[Steps, Row]:
        """Steps (n,) and rows (n, numbers) of what is recorded of each example; raises NotFound with the nearest names."""
        block = self._lined(name)
        return block.steps, block.values

    def _lined(self, name: str) -> RowBlock:
        number = self._number(name, ROW)
        with self._moment() as moment:
            stored = self._stored(moment, number, ROW)
            tail = self._tail(moment)
        late = [(step, record.rows[number]) for step, record in tail if number in record.rows]
        parts = [] if stored is None else [stored]
        if late:
            parts.append(RowBlock.of([step for step, _ in late], [row for _, row in late]))
        if not parts:
            raise not_found("row", name, self.row_names)
        whole = RowBlock.joined(parts)
        return RowBlock(*self._valid(name, whole.steps, whole.values))

    @property
    def last_step(self) -> int:
        """The last committed step; -1 in a run without any."""
        with self._moment() as moment:
            return last_step(moment)

    @property
    def committed(self) -> int:
        """The last step that survives whatever happens to the training."""
        return self.last_step

    @property
    def events(self) -> list[RecordedEvent]:
        """All events, oldest first."""
        made = self._rows("SELECT sql FROM sqlite_master WHERE name = 'events'", (), (str,))
        columns = f"step, kind, name, text, old, new, time, {'sender' if 'sender' in made[0][0] else repr('')}"
        types = (int, str, str, str, str, str, (float, int), str)
        return [RecordedEvent(*row) for row in self._rows(f"SELECT {columns} FROM events ORDER BY id", (), types)]

    @property
    def meta(self) -> dict[str, Any]:
        """The run's facts: name, classes, task, layers, optimizer values and so on."""
        with self._moment() as moment:
            if self._facts_of != self._version:
                told = dict(database.rows(moment, "SELECT key, value FROM meta", (), (str, str)))
                kept = self._facts
                self._facts = {
                    key: kept[key] if key in kept and kept[key][0] == text else (text, fact(key, text))
                    for key, text in told.items()
                }
                self._facts_of = self._version
            return {key: value for key, (_, value) in self._facts.items()}

    @property
    def alive(self) -> bool:
        """Whether a training writes to the run now."""
        return lock.held(self.path)

    @property
    def paused(self) -> bool:
        """Whether the training waits for someone to let it go on."""
        return bool(self.meta.get("paused")) and self.alive

    def frozen(self, step: int | None = None) -> tuple[str, ...]:
        """The layers that were frozen on purpose during a step, by the command; now, where no step is given."""
        return tuple(
            layer
            for layer, since, until in self.meta.get("frozen") or ()
            if (until is None and (step is None or step > since))
            or (step is not None and until is not None and since < step <= until)
        )

    @property
    def dropped(self) -> int:
        """How many steps could not be recorded, because the store was blocked or full."""
        return int(self.meta.get("dropped", 0))

    @property
    def snapshots(self) -> list[int]:
        """Steps at which the weights are kept."""
        return list(self._snapshots())

    def _snapshots(self) -> dict[int, int]:
        """Which architecture each snapshot has, read anew only when something was written: every picture asks for it."""
        with self._moment() as moment:
            if self._models_of != self._version:
                self._models = dict(database.rows(moment, "SELECT step, model FROM snapshots ORDER BY step", (), (int, int)))
                self._models_of = self._version
            return self._models

    def model_at(self, step: int) -> int:
        """The number of the architecture that a snapshot belongs to."""
        known = self._snapshots()
        before = max((each for each in known if each <= step), default=None)
        return known[before] if before is not None else 0

    @property
    def models(self) -> dict[int, int]:
        """By the step of each snapshot, the number of the architecture that it belongs to."""
        return dict(self._snapshots())

    @property
    def reshaped(self) -> bool:
        """Whether acts gave units of this run other places."""
        meta = self.meta
        return any(own.get("units") for own in (meta, *(value for name, value in meta.items() if name.startswith("architecture-"))))

    def structure(self, step: int) -> dict[str, Any]:
        """What the network was made of at a step: ``model``, ``parameters``, ``layers``, ``model_error``."""
        meta = self.meta
        own = meta.get(f"architecture-{self.model_at(step)}") or {}
        return {name: own.get(name, meta.get(name)) for name in OWN}

    def state(self, step: int) -> dict[str, Tensor]:
        """Weights and buffers at a snapshot; raises NotFound for a step without one, Damaged for a broken file."""
        from . import snapshots

        name, *wanted = self._snapshot(step)
        return snapshots.read(self.path, name, (wanted[0], wanted[1]))

    def numbers(self, step: int) -> arrays.Numbers:
        """The real floating-point numbers among them as float32, without loading torch where NumPy has their types."""
        name, *wanted = self._snapshot(step)
        found = arrays.read(self.path, name, (wanted[0], wanted[1]))
        if found is None:
            found = {key: one.float().numpy() for key, one in self.state(step).items() if one.is_floating_point()}
        return found

    def _snapshot(self, step: int) -> tuple[str, int, int]:
        """The file of a snapshot, its size and checksum."""
        rows = self._rows("SELECT file, bytes, crc FROM snapshots WHERE step = ?", (step,), (str, int, int))
        if not rows:
            raise not_found("snapshot", step, map(str, self.snapshots))
        found: tuple[str, int, int] = rows[0]
        return found

    def live(self) -> tuple[int, dict[str, Tensor]] | None:
        """Step and weights of the rolling snapshot that a running training writes while someone looks."""
        from . import snapshots

        found = snapshots.read_live(self.path)
        return None if found is None else found[:2]

    def acknowledgement(self, command: int) -> dict[str, Any] | None:
        """What the training answered to a command; None while it has not. Of a refusal ``new`` is the error's kind."""
        types = (int, int, str, str, str, (float, int))
        rows = self._rows("SELECT step, ok, old, new, text, time FROM acknowledged WHERE id = ?", (command,), types)
        return dict(zip(("step", "ok", "old", "new", "text", "time"), rows[0], strict=True)) if rows else None

    @property
    def size(self) -> int:
        """Bytes that the run takes on disk."""
        total = 0
        for folder, _, files in os.walk(self.path):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(folder, file)).st_size
        return total

    def check(self) -> list[str]:
        """Read everything and verify every checksum: one sentence for each damage, nothing when all is well."""
        from . import checksums

        return checksums.damages(self.path)


def _with_tail(stored: tuple[Steps, Floats] | None, steps: list[int], values: list[float]) -> tuple[Steps, Floats]:
    """A series from its blocks and from the steps that are in none yet."""
    if not steps:
        return stored if stored is not None else (np.zeros(0, np.int64), np.zeros(0))
    late = (np.array(steps, np.int64), np.array(values, np.float64))
    if stored is None:
        return late
    return np.concatenate([stored[0], late[0]]), np.concatenate([stored[1], late[1]])
