"""The bytes of the store: one packed record a step, and column blocks that hold one series over many steps.

All numbers are little-endian and stand as they were: NaN payloads, infinities and −0.0 survive.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Damaged
from .histogram import BINS, MAGNITUDES, STATISTICS, HistogramValue

SCALAR, HISTOGRAM, ROW = 0, 1, 2
_RECORD = struct.Struct("<II")
_HISTOGRAM = struct.Struct("<hhHH")
_BLOCK = struct.Struct("<IIhhHH")
_ROWS = struct.Struct("<II")

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
Row = NDArray[np.float32]
"""One number for each of several things, such as the examples of the probe set."""


def pack_record(
    scalars: Mapping[int, float], histograms: Mapping[int, HistogramValue], rows: Mapping[int, Row] | None = None
) -> bytes:
    """One step as bytes: scalars by series number, then histograms, then rows of numbers."""
    count = len(scalars)
    parts = [
        _RECORD.pack(count, len(histograms)),
        struct.pack(f"<{count}I", *scalars.keys()),
        b"\0\0\0\0" * (count % 2),
        struct.pack(f"<{count}d", *scalars.values()),
    ]
    for number, value in histograms.items():
        body = value.counts.astype("<u4", copy=False).tobytes()
        head = _HISTOGRAM.pack(value.floor, value.start, len(value.counts), 0)
        parts += [struct.pack("<II", number, len(body) // 4), head, value.statistics.astype("<f8").tobytes(), body]
        parts.append(b"\0" * (-len(body) % 8))
    for number, row in (rows or {}).items():
        parts += [_ROWS.pack(number, len(row)), row.astype("<f4", copy=False).tobytes(), b"\0\0\0\0" * (len(row) % 2)]
    return b"".join(parts)


def split_record(data: bytes) -> tuple[bytes, bytes, bool]:
    """The packed series numbers of a step's scalars, their packed values, and whether histograms or rows follow."""
    try:
        count, _ = _RECORD.unpack_from(data)
    except struct.error as error:
        raise Damaged(f"a step's record cannot be read: {error}") from error
    start = 8 + 4 * (count + count % 2)
    if len(data) < start + 8 * count:
        raise Damaged(f"a step's record cannot be read: {len(data)} bytes where {start + 8 * count} were written")
    return data[8 : 8 + 4 * count], data[start : start + 8 * count], len(data) > start + 8 * count


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A step read back: series numbers with their values, where each histogram lies, and rows of numbers."""

    numbers: NDArray[np.uint32]
    values: Floats
    histograms: dict[int, tuple[int, bytes]]
    rows: dict[int, Row]

    @classmethod
    def read(cls, data: bytes) -> Record:
        """Read what :func:`pack_record` wrote."""
        try:
            count, more = _RECORD.unpack_from(data)
            numbers = np.frombuffer(data, "<u4", count, 8)
            start = 8 + 4 * (count + count % 2)
            values = np.frombuffer(data, "<f8", count, start)
            offset, found = start + 8 * count, {}
            for _ in range(more):
                number, length = struct.unpack_from("<II", data, offset)
                found[number] = (offset + 8, data)
                offset += 8 + _HISTOGRAM.size + 8 * STATISTICS + -(-length // 2) * 8
            rows = {}
            while offset < len(data):
                number, width = _ROWS.unpack_from(data, offset)
                rows[number] = np.frombuffer(data, "<f4", width, offset + 8)
                offset += 8 + -(-width // 2) * 8
        except (struct.error, ValueError) as error:
            raise Damaged(f"a step's record cannot be read: {error}") from error
        return cls(numbers, values, found, rows)

    def histogram(self, number: int) -> HistogramValue | None:
        """The histogram of a series at this step, if there is one."""
        place = self.histograms.get(number)
        if place is None:
            return None
        offset, data = place
        try:
            floor, start, length, _ = _HISTOGRAM.unpack_from(data, offset)
            offset += _HISTOGRAM.size
            statistics = np.frombuffer(data, "<f8", STATISTICS, offset)
            counts = np.frombuffer(data, "<u4", length, offset + 8 * STATISTICS)
        except (struct.error, ValueError) as error:
            raise Damaged(f"a histogram cannot be read: {error}") from error
        if not 0 <= floor <= MAGNITUDES or abs(start) > BINS or length > BINS:
            raise Damaged(f"no histogram has {length:,} bins from {start} on, round {floor}")
        return HistogramValue(counts, start, floor, statistics)


def pack_scalars(steps: Steps, values: Floats) -> bytes:
    """A block of one scalar series; evenly spaced steps take no room."""
    apart = np.diff(steps)
    stride = int(apart[0]) if len(apart) and (apart == apart[0]).all() else 0 if len(apart) else 1
    head = struct.pack("<Iiq", len(steps), stride, int(steps[0]))
    return head + (b"" if stride else steps.astype("<i8").tobytes()) + values.astype("<f8", copy=False).tobytes()


def unpack_scalars(data: bytes) -> tuple[Steps, Floats]:
    """Steps and values of a block; both share the block's memory where they can."""
    try:
        count, stride, first = struct.unpack_from("<Iiq", data)
        if len(data) != 16 + 8 * count * (1 if stride else 2):
            raise ValueError(f"{len(data):,} bytes do not hold {count:,} numbers")
        if stride:
            if not -(2**62) < first + stride * count < 2**62:
                raise ValueError(f"no step is {first + stride * count:,}")
            steps = np.arange(first, first + stride * count, stride, dtype=np.int64)
            return steps, np.frombuffer(data, "<f8", count, 16)
        return np.frombuffer(data, "<i8", count, 16), np.frombuffer(data, "<f8", count, 16 + 8 * count)
    except (struct.error, ValueError) as error:
        raise Damaged(f"a block of numbers cannot be read: {error}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class HistogramBlock:
    """Histograms of one series over steps, in one common window of compressed bins."""

    steps: Steps
    floors: NDArray[np.int16]
    statistics: Floats
    start: int
    counts: NDArray[np.unsignedinteger]

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, chosen: NDArray[np.bool_]) -> HistogramBlock:
        """Some of the steps."""
        return HistogramBlock(
            self.steps[chosen], self.floors[chosen], self.statistics[chosen], self.start, self.counts[chosen]
        )

    @classmethod
    def of(cls, steps: Sequence[int], values: Sequence[HistogramValue]) -> HistogramBlock:
        """Lay histograms of several steps into one window."""
        filled = [value for value in values if len(value.counts)]
        start = min((value.start for value in filled), default=0)
        stop = max((value.start + len(value.counts) for value in filled), default=start)
        counts = np.zeros((len(values), stop - start), np.uint32)
        for row, value in zip(counts, values, strict=True):
            row[value.start - start : value.start - start + len(value.counts)] = value.counts
        floors = np.array([value.floor for value in values], np.int16)
        statistics = np.stack([value.statistics for value in values])
        return cls(np.array(steps, np.int64), floors, statistics, start if stop > start else 0, counts)

    @classmethod
    def joined(cls, blocks: Sequence[HistogramBlock]) -> HistogramBlock:
        """Several blocks as one."""
        if len(blocks) == 1:
            return blocks[0]
        filled = [block for block in blocks if block.counts.shape[1]]
        start = min((block.start for block in filled), default=0)
        stop = max((block.start + block.counts.shape[1] for block in filled), default=start)
        dtype = np.result_type(*(block.counts.dtype for block in blocks))
        counts = np.zeros((sum(map(len, blocks)), stop - start), dtype)
        row = 0
        for block in blocks:
            at = block.start - start if block.counts.shape[1] else 0
            counts[row : row + len(block), at : at + block.counts.shape[1]] = block.counts
            row += len(block)
        return cls(
            np.concatenate([block.steps for block in blocks]),
            np.concatenate([block.floors for block in blocks]),
            np.concatenate([block.statistics for block in blocks]),
            start,
            counts,
        )

    def pack(self) -> bytes:
        """The block as bytes; counts in the narrowest type that holds them."""
        most = int(self.counts.max()) if self.counts.size else 0
        width = 1 if most < 2**8 else 2 if most < 2**16 else 4
        rows, bins = self.counts.shape
        head = _BLOCK.pack(rows, bins, self.start, width, 0, 0)
        counts = self.counts.astype(f"<u{width}")
        parts = [self.steps.astype("<i8"), self.statistics.astype("<f8"), counts, self.floors.astype("<i2")]
        return head + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    @classmethod
    def unpack(cls, data: bytes) -> HistogramBlock:
        """Read what :meth:`pack` wrote."""
        try:
            rows, bins, start, width, _, _ = _BLOCK.unpack_from(data)
            if bins > BINS or abs(start) > BINS or width not in (1, 2, 4):
                raise ValueError(f"no histogram has {bins:,} bins from {start} on")
            offset = _BLOCK.size
            steps = np.frombuffer(data, "<i8", rows, offset)
            offset += 8 * rows
            statistics = np.frombuffer(data, "<f8", rows * STATISTICS, offset).reshape(rows, STATISTICS)
            offset += 8 * rows * STATISTICS
            counts = np.frombuffer(data, f"<u{width}", rows * bins, offset).reshape(rows, bins)
            floors = np.frombuffer(data, "<i2", rows, offset + width * rows * bins)
            if len(floors) and not 0 <= int(floors.min()) <= int(floors.max()) <= MAGNITUDES:
                raise ValueError("no histogram has such a floor")
        except (struct.error, ValueError, TypeError) as error:
            raise Damaged(f"a block of histograms cannot be read: {error}") from error
        return cls(steps, floors, statistics, start, counts)


@dataclasses.dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of numbers of one series over steps; where a step has fewer than another, NaN follows."""

    steps: Steps
    values: Row
    """(steps, numbers)."""

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, chosen: NDArray[np.bool_]) -> RowBlock:
        """Some of the steps."""
        return RowBlock(self.steps[chosen], self.values[chosen])

    @classmethod
    def of(cls, steps: Sequence[int], rows: Sequence[Row]) -> RowBlock:
        """Rows of several steps."""
        return cls.joined([cls(np.array([step], np.int64), row[None]) for step, row in zip(steps, rows, strict=True)])

    @classmethod
    def joined(cls, blocks: Sequence[RowBlock]) -> RowBlock:
        """Several blocks as one."""
        if len(blocks) == 1:
            return blocks[0]
        values = np.full((sum(map(len, blocks)), max(block.values.shape[1] for block in blocks)), np.nan, np.float32)
        row = 0
        for block in blocks:
            values[row : row + len(block), : block.values.shape[1]] = block.values
            row += len(block)
        return cls(np.concatenate([block.steps for block in blocks]), values)

    def pack(self) -> bytes:
        """The block as bytes."""
        return _ROWS.pack(*self.values.shape) + self.steps.astype("<i8").tobytes() + self.values.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> RowBlock:
        """Read what :meth:`pack` wrote."""
        try:
            count, width = _ROWS.unpack_from(data)
            if len(data) != 8 + 8 * count + 4 * count * width:
                raise ValueError(f"{len(data):,} bytes do not hold {count:,} rows of {width:,}")
            steps = np.frombuffer(data, "<i8", count, 8)
            return cls(steps, np.frombuffer(data, "<f4", count * width, 8 + 8 * count).reshape(count, width))
        except (struct.error, ValueError) as error:
            raise Damaged(f"a block of rows cannot be read: {error}") from error


Wide = HistogramBlock | RowBlock
WIDE: Mapping[int, type[HistogramBlock] | type[RowBlock]] = {HISTOGRAM: HistogramBlock, ROW: RowBlock}
"""How blocks of what is more than one number a step are read, by kind."""
