"""What is written can be read: while it is written, after merges, from a read-only folder, and when it is damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diorama.core.errors import Damaged, NotFound, Unavailable
from diorama.record import database
from diorama.record.lines import StepLines, mapped
from diorama.record.past import Past
from diorama.record.reader import RunReader
from diorama.record.reduction import reduce
from diorama.record.writer import Writer


def _written(folder: Path, steps: int, merge: bool = True) -> Writer:
    folder.mkdir(exist_ok=True)
    database.create(folder)
    writer = Writer(folder)
    for start in range(0, steps, 20):
        rows = []
        for step in range(start, min(start + 20, steps)):
            values = {"loss": 1.0 / (step + 1)}
            if step % 10 == 0:
                values |= {"probe/loss": float(step), "weights": reduce({"w": torch.arange(100.0) * step})["w"]}
            rows.append((step, 1000.0 + step, values))
        writer.write(rows)
        if merge:
            writer.merge()
    return writer


@pytest.mark.parametrize("steps", [1, 19, 256, 300, 5000, 9000])
def test_series_are_the_same_in_the_tail_in_blocks_and_between(tmp_path: Path, steps: int) -> None:
    """However much was merged, each series has all its steps once, in order."""
    writer = _written(tmp_path / "run", steps)
    with RunReader(tmp_path / "run") as reader:
        for _ in range(2):
            found, values = reader.series("loss")
            assert np.array_equal(found, np.arange(steps))
            assert np.array_equal(values, 1 / np.arange(1.0, steps + 1))
            assert np.array_equal(reader.series("probe/loss")[0], np.arange(0, steps, 10))
            assert np.array_equal(reader.times([0]), [1000.0])
            histograms = reader.histograms("weights")
            assert np.array_equal(histograms.steps, np.arange(0, steps, 10))
            assert np.array_equal(histograms.high, 99.0 * np.arange(0, steps, 10))
            every = reader.every_series()
            assert list(every) == reader.series_names
            assert all(np.array_equal(every[name], reader.series(name)) for name in every)
            assert reader.last_step == steps - 1
            assert reader.check() == []
            writer.merge(all_of_it=True)
    writer.close()
    assert not (tmp_path / "run" / "run.db-wal").exists()


def test_all_series_are_read_by_as_many_questions_however_many_there_are(tmp_path: Path) -> None:
    """A question a block takes longer than what is done with it; blocks that came since are read alone."""
    database.create(tmp_path)
    writer, counts = Writer(tmp_path), []
    for round_ in range(2):
        steps = range(200 * round_, 200 * (round_ + 1))
        writer.write([(step, 1000.0 + step, {f"s{k}": float(k * step) for k in range(40)}) for step in steps])
        writer.merge(all_of_it=True)
        with RunReader(tmp_path) as reader:
            asked: list[str] = []
            reader._database.set_trace_callback(asked.append)
            every = reader.every_series()
            counts.append(sum("FROM blocks" in query for query in asked))
            assert all(every[f"s{k}"][1].tolist() == [float(k * step) for step in range(steps.stop)] for k in range(40))
    assert max(counts) <= 3
    writer.close()


@pytest.mark.parametrize("seed", range(4))
def test_readings_between_many_steps_are_read_in_order(tmp_path: Path, seed: int) -> None:
    """Whatever the groups are in which steps come, with readings of many numbers among them and numbers that are told now and then, each series has
    its steps once, in order; and readings of a fast loop are no blocks of their own."""
    random = np.random.default_rng(seed)
    writer, expected, step, readings = _written(tmp_path, 0), dict[str, dict[int, float]](), 0, 0
    weights = reduce({"w": torch.arange(100.0)})["w"]
    for _ in range(12):
        entries: list[Any] = []
        for _ in range(int(random.choice([3, 70, 200]))):
            reads = random.random() < 0.02
            often = 0.5 if reads else 0.004
            moment, plain = 1000.0 + step, {"loss": step + 0.5, "rate": 0.1} | ({"now and then": -1.0 * step} if random.random() < often else {})
            if reads:
                readings += 1
                plain |= {f"reading {k}": float(k * step) for k in range(20)}
                entries.append((step, moment, {**plain, "weights": weights}))
            else:
                entries.append((step, moment, tuple(plain), *plain.values()) if random.random() < 0.9 else (step, moment, plain))
            for name, value in plain.items():
                expected.setdefault(name, {})[step] = value
            step += 1
        writer.write(entries)
        if random.random() < 0.1:
            writer.merge()
        with RunReader(tmp_path) as reader:
            assert reader.last_step == step - 1
            assert np.array_equal(reader.times(), 1000.0 + np.arange(step))
            every = reader.every_series()
            for name, values in expected.items():
                for found in (reader.series(name), every[name]):
                    assert found[0].tolist() == [*values]
                    assert found[1].tolist() == [*values.values()]
            assert len(reader.histograms("weights").steps) == readings if readings else True
            assert reader.check() == []
    writer.close()


def test_readings_of_a_fast_loop_share_a_block(tmp_path: Path) -> None:
    """Forty readings, one in each of forty groups, are fewer than forty blocks a series: most of what they cost was to write these."""
    writer = _written(tmp_path, 0)
    for start in range(0, 4000, 100):
        steps: list[Any] = [(step, 0.0, ("loss",), 0.5) for step in range(start, start + 99)]
        writer.write([*steps, (start + 99, 0.0, {"loss": 0.5, **{f"reading {k}": 0.5 for k in range(20)}})])
    with sqlite3.connect(tmp_path / "run.db") as connection:
        assert connection.execute("SELECT count(*) FROM blocks").fetchone()[0] < 200
    with RunReader(tmp_path) as reader:
        assert reader.series("reading 3")[0].tolist() == list(range(99, 4000, 100))
    writer.close()


@pytest.mark.parametrize("count", [3, 200])
def test_lines_are_read_as_what_they_were_made_of(tmp_path: Path, count: int) -> None:
    """Steps handed over as lines, mapped, and with other names between them are there whole and in order, few and many in one transaction."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    handed: list[Any] = []
    lines = StepLines([("learning_rate", optimizer, 0)], (handed, [], {}))
    writer = _written(tmp_path, 0)
    steps: list[Any] = []
    for step in range(count):
        told: dict[str, Any] = {"loss": torch.tensor(step + 0.5), "whole": step} | ({"third": -0.0} if step % 3 == 0 else {})
        assert lines.hand(step, 1000.0 + step, told)
        line = handed.pop()
        steps.append((step, 1000.0 + step, mapped(line)) if step % 5 == 1 else line)
    for odd in ({"learning_rate": 1.0}, {"word": "none"}, {"two": torch.ones(2)}, {"large": 10**400}, {str(k): 0.0 for k in range(8)}):
        assert not lines.hand(count, 0.0, odd)
    assert not handed
    writer.write(steps)
    writer.close()
    with RunReader(tmp_path) as reader:
        counted = np.arange(count)
        for name, wanted in {"loss": counted + 0.5, "whole": counted, "learning_rate": np.full(count, 0.5)}.items():
            assert np.array_equal(reader.series(name), [counted, wanted])
        found, values = reader.series("third")
        assert np.array_equal(found, counted[::3])
        assert np.signbit(values).all()
        assert np.array_equal(reader.times(), 1000.0 + counted)
        assert reader.last_step == count - 1
        assert reader.check() == []


def test_a_record_as_it_stood_ends_with_its_step(tmp_path: Path) -> None:
    """Whatever findings may read of an earlier step tells nothing later: series, clock, histograms, rows, events."""
    writer = _written(tmp_path / "run", 100)
    late = {"late": 1.0, "probe/losses": np.arange(4, dtype=np.float32)}
    events = [{"step": step, "kind": "note", "name": str(step), "time": 1000.0 + step} for step in (50, 60)]
    writer.write([(step, 1000.0 + step, late) for step in range(100, 104)], events)
    writer.close()
    with RunReader(tmp_path / "run") as reader:
        whole, past = Past(reader), Past(reader, 55)
        assert whole.series_names == ["loss", "late", "probe/loss"]
        assert past.series_names == ["loss", "probe/loss"]
        assert not past.has_series("late")
        past.series_names.clear()
        assert past.has_series("loss")  # what one finding does to its list is not what the next one reads
        assert len(past.series("late")[0]) == 0
        assert (past.series("loss")[0][-1], whole.series("loss")[0][-1]) == (55, 99)
        assert (past.clock()[0][-1], past.times()[-1], past.last_step) == (55, 1055.0, 55)
        assert past.histograms("weights").steps.tolist() == [0, 10, 20, 30, 40, 50]
        assert past.histograms("weights").high.tolist() == [99.0 * step for step in (0, 10, 20, 30, 40, 50)]
        assert len(past.rows("probe/losses")[0]) == 0
        assert len(whole.rows("probe/losses")[0]) == 4
        assert [event.step for event in past.events] == [50]
        assert [event.step for event in whole.events] == [50, 60]
        with pytest.raises(NotFound):
            past.series("loss/nothing")


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    """A reader that is kept open sees each commit, also across merges, and after the log's index, which both map into memory, was cut short."""
    writer = _written(tmp_path / "run", 10)
    with RunReader(tmp_path / "run") as reader:
        for step in range(10, 700):
            writer.write([(step, 0.0, {"loss": float(step)})])
            writer.merge()
            if step in (100, 300):
                os.truncate(tmp_path / "run" / "run.db-shm", 0)
                continue
            if step % 97 == 0:
                steps, _ = reader.series("loss")
                assert np.array_equal(steps, np.arange(step + 1))
    writer.close()


def test_the_snapshots_are_those_of_now(tmp_path: Path) -> None:
    """A reader that knows them asks again when one came or went, also after it let go of the files, and reads them once until then."""
    writer = _written(tmp_path / "run", 10)
    with RunReader(tmp_path / "run") as reader:
        for step, model in ((0, 0), (4, 0), (9, 1)):
            writer.index_snapshot(step, "snapshots.file", 1, 0, anchor=False, model=model)
            assert reader.snapshots[-1] == step
            reader.rest()
        assert reader.models == {0: 0, 4: 0, 9: 1}
        assert [reader.model_at(step) for step in (0, 5, 9, 30)] == [0, 0, 1, 1]
        reader.snapshots.clear()
        asked = list[str]()
        reader._database.set_trace_callback(asked.append)
        assert reader.snapshots == [0, 4, 9]
        assert not any("snapshots" in query for query in asked)
        reader._database.set_trace_callback(None)
        writer.forget_snapshots([9])
        assert reader.snapshots == [0, 4]
        assert reader.model_at(9) == 0
    writer.close()


def test_names_that_come_later_are_found_and_each_is_read_once(tmp_path: Path) -> None:
    """A reader that is kept open learns of a new series or histogram; asking again costs none of the rows that it knows."""
    writer = _written(tmp_path / "run", 10)
    with RunReader(tmp_path / "run") as reader:
        asked: list[str] = []
        assert reader.has_series("loss")
        assert not reader.has_series("late")
        assert not reader.has_series("weights")
        writer.write([(10, 0.0, {"late": 1.0, "other": reduce({"w": torch.arange(9.0)})["w"]})])
        assert reader.has_series("late")
        assert reader.series_names[-2:] == ["late", "probe/loss"]
        assert reader.histogram_names == ["weights", "other"]
        reader._database.set_trace_callback(asked.append)
        for _ in range(50):
            assert reader.has_series("loss")
            assert reader.has_series("late")
        assert not asked
        assert not reader.has_series("never")
        assert [query for query in asked if "names WHERE id >" in query]
    writer.close()


def test_the_envelope_never_loses_a_spike(tmp_path: Path) -> None:
    """One odd step among thousands is in the envelope exactly, at every width."""
    (tmp_path / "run").mkdir()
    database.create(tmp_path / "run")
    writer = Writer(tmp_path / "run")
    values = np.random.default_rng(0).random(5000)
    values[1234], values[4321] = 1e6, -7.0
    values[77] = np.nan
    writer.write([(step, 0.0, {"loss": float(value)}) for step, value in enumerate(values)])
    writer.close()
    with RunReader(tmp_path / "run") as reader:
        for pixels in (1, 10, 333, 4999):
            found = reader.envelope("loss", pixels=pixels)
            assert len(found.steps) <= pixels
            assert np.nanmax(found.high) == 1e6
            assert np.nanmin(found.low) == -7.0
        part = reader.envelope("loss", 1000, 1299, 10)
        starts = [*part.steps, 1300]
        for k, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            assert (part.low[k], part.high[k]) == (values[start:stop].min(), values[start:stop].max())
        assert np.array_equal(reader.envelope("loss", 10, 19, 100).mean, values[10:20])


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt series names those that exist."""
    _written(tmp_path / "run", 5).close()
    with RunReader(tmp_path / "run") as reader:
        with pytest.raises(NotFound, match="'loss'"):
            reader.series("los")
        with pytest.raises(NotFound, match="weights"):
            reader.histograms("weight")
    with pytest.raises(Unavailable, match="no run"):
        RunReader(tmp_path / "nothing")


@pytest.mark.parametrize("left_open", [False, True])
def test_a_read_only_folder_opens(tmp_path: Path, left_open: bool) -> None:
    """A run that can't be written to is read as it is, or from a private copy where a WAL was left."""
    writer = _written(tmp_path / "run", 50, merge=False)
    if not left_open:
        writer.close()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "copy" / "run.db-shm").unlink(missing_ok=True)
    original = sqlite3.connect

    def refused(address: object, *rest: object, **options: object) -> sqlite3.Connection:
        # Whoever runs the tests may write anywhere, so the system's refusal is played.
        if "copy" in str(address) and str(address).endswith("mode=ro"):
            raise sqlite3.OperationalError("unable to open database file")
        return original(address, *rest, **options)  # type: ignore[call-overload,no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.sqlite3, "connect", refused)
        with RunReader(tmp_path / "copy") as reader:
            assert reader.last_step == 49
    if left_open:
        writer.close()


def test_a_flipped_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    """check() names a damaged block, and reading it raises Damaged instead of giving wrong numbers."""
    _written(tmp_path / "run", 600).close()
    connection = sqlite3.connect(tmp_path / "run" / "run.db")
    data, number = connection.execute("SELECT data, id FROM blocks ORDER BY length(data) DESC LIMIT 1").fetchone()
    broken = bytearray(data)
    broken[len(broken) // 2] ^= 4
    connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (bytes(broken), number))
    connection.commit()
    connection.close()
    with RunReader(tmp_path / "run") as reader:
        assert len(reader.check()) == 1
        with pytest.raises(Damaged, match="checksum"):
            _read_all(reader)


def test_a_flipped_byte_in_the_newest_steps_is_noticed(tmp_path: Path) -> None:
    """Steps that are not merged yet have a checksum of their own: a wrong number in one is Damaged, not drawn."""
    _written(tmp_path / "run", 19, merge=False).abandon()
    connection = sqlite3.connect(tmp_path / "run" / "run.db")
    number, data = connection.execute("SELECT id, data FROM tail WHERE step = 7").fetchone()
    loss = struct.pack("<d", 1 / 8)
    assert loss in data
    connection.execute("UPDATE tail SET data = ? WHERE id = ?", (data.replace(loss, struct.pack("<d", 1 / 9)), number))
    connection.commit()
    connection.close()
    with RunReader(tmp_path / "run") as reader:
        assert reader.check() == ["step 7 does not match its checksum"]
        with pytest.raises(Damaged, match="step 7 .*checksum"):
            reader.series("loss")


def _read_all(reader: RunReader) -> None:
    for name in reader.series_names:
        reader.series(name)
    for name in reader.histogram_names:
        reader.histograms(name)


def test_a_refused_transaction_leaves_nothing(tmp_path: Path) -> None:
    """A group that could not be committed is not half there, and can be written again."""
    writer = _written(tmp_path / "run", 5)
    with pytest.raises(struct.error):
        writer.write([(5, 0.0, {"loss": 1.0}), (6, 0.0, {"other": object()})])  # type: ignore[dict-item]
    with RunReader(tmp_path / "run") as reader:
        assert reader.last_step == 4
        writer.write([(5, 0.0, {"loss": 1.0, "other": 2.0})])
        assert reader.series("other")[1].tolist() == [2.0]
    writer.close()


def test_a_forked_reader_opens_its_own_connection(tmp_path: Path) -> None:
    """A child process may go on with its parent's reader."""
    _written(tmp_path / "run", 5).close()
    with RunReader(tmp_path / "run") as reader:
        child = os.fork()
        if child == 0:
            os._exit(0 if reader.last_step == 4 else 1)
        assert os.waitpid(child, 0)[1] == 0
