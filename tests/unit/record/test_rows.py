"""Rows of numbers, one for each example of the probe set, in the store: as they were, in blocks, along a line, thinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diorama.core.errors import Damaged, NotFound
from diorama.record import database
from diorama.record.lineage import Line, told
from diorama.record.reader import RunReader
from diorama.record.store_bytes import Record, RowBlock, pack_record
from diorama.record.writer import MERGE, Writer


def _written(folder: Path, steps: range, width: int = 5, parent: tuple[Path, int] | None = None) -> Path:
    folder.mkdir()
    database.create(folder)
    writer = Writer(folder)
    for step in steps:
        row = np.arange(width, dtype=np.float32) + step
        row[0] = np.nan if step % 2 else -0.0
        writer.write([(step, 0.0, {"loss": float(step), "examples/loss": row})], meta=told(*parent) if parent else {"created": 1})
        writer.merge()
    writer._database.close()
    return folder


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """From blocks and from the tail, every bit of every row; numbers beside them are not touched."""
    folder = _written(tmp_path / "run", range(1, MERGE + 20))
    with RunReader(folder) as reader:
        assert reader.row_names == ["examples/loss"]
        steps, rows = reader.rows("examples/loss")
        assert steps.tolist() == list(range(1, MERGE + 20))
        np.testing.assert_array_equal(rows[:, 1:], steps[:, None] + np.arange(1, 5))
        assert np.isnan(rows[::2, 0]).all()
        assert np.signbit(rows[1::2, 0]).all()
        assert reader.series("loss")[1].tolist() == steps.tolist()
        assert reader.check() == []
        with pytest.raises(NotFound, match="examples/loss"):
            reader.rows("examples/los")


def test_rows_are_thinned_with_histograms(tmp_path: Path) -> None:
    """Under a budget rows stay at multiples of some steps alone, and numbers all stay."""
    folder = _written(tmp_path / "run", range(1, 41))
    writer = Writer(folder)
    writer.coarsen(8)
    writer.close()
    with RunReader(folder) as reader:
        assert reader.rows("examples/loss")[0].tolist() == [8, 16, 24, 32, 40]
        assert len(reader.series("loss")[0]) == 40


def test_rows_along_a_line(tmp_path: Path) -> None:
    """A run that goes on from another has that one's rows up to the step at which it was left."""
    parent = _written(tmp_path / "parent", range(1, 11))
    child = _written(tmp_path / "child", range(7, 13), 6, (parent, 6))
    with Line(child) as line:
        steps, rows = line.rows("examples/loss")
        assert line.row_names == ["examples/loss"]
    assert steps.tolist() == list(range(1, 13))
    np.testing.assert_array_equal(rows[:, 4], steps + 4)
    assert np.isnan(rows[:6, 5]).all()  # of an example that it did not have


def test_what_is_no_row_is_refused() -> None:
    """A record or block that ends too early, or holds more than it says, is damaged; one without rows reads as always."""
    record = pack_record({1: 2.0}, {}, {2: np.ones(3, np.float32)})
    assert Record.read(record).rows[2].tolist() == [1, 1, 1]
    assert Record.read(pack_record({1: 2.0}, {})).rows == {}
    block = RowBlock.of([1, 2], [np.ones(3, np.float32), np.zeros(3, np.float32)]).pack()
    assert RowBlock.unpack(block).values.shape == (2, 3)
    for wrong in (record[:-12], record[:-4] + b"\0" * 5):
        with pytest.raises(Damaged):
            Record.read(wrong)
    for wrong in (block[:-1], block + b"\0", b"\xff" * 8 + block[8:]):
        with pytest.raises(Damaged):
            RowBlock.unpack(wrong)
