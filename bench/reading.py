"""Reading a record: 1,000,000 scalar points and 10,000 histograms, against TensorBoard's EventAccumulator."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from diorama.record import database
from diorama.record.reader import RunReader
from diorama.record.reduction import reduce
from diorama.record.writer import Writer

warnings.filterwarnings("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402 - it warns
from torch.utils.tensorboard import SummaryWriter  # noqa: E402

KEEP_ALL = {"scalars": 0, "histograms": 0, "tensors": 0}


def taken(work: Callable[[], object]) -> float:
    """Seconds of the CPU, so that other work on the machine does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def write_scalars(folder: Path, count: int, theirs: int) -> None:
    """The same noisy loss in both formats; TensorBoard's may be shorter, as its time grows in proportion."""
    values = np.random.default_rng(0).random(count)
    (folder / "ours").mkdir()
    database.create(folder / "ours")
    writer = Writer(folder / "ours")
    for start in range(0, count, 256):
        writer.write([(step, float(step), {"loss": float(values[step])}) for step in range(start, min(start + 256, count))])
        writer.merge()
    writer.close()
    other = SummaryWriter(str(folder / "theirs"))
    for step in range(theirs):
        other.add_scalar("loss", values[step], step)
    other.close()


def write_histograms(folder: Path, count: int, theirs: int) -> None:
    """The same changing tensors in both formats."""
    generator = torch.Generator().manual_seed(0)
    (folder / "ours").mkdir()
    database.create(folder / "ours")
    writer = Writer(folder / "ours")
    other = SummaryWriter(str(folder / "theirs"))
    for step in range(count):
        tensor = torch.randn(2000, generator=generator) * (0.1 + step / count)
        writer.write([(step, float(step), {"weights": reduce({"w": tensor})["w"]})])
        writer.merge()
        if step < theirs:
            other.add_histogram("weights", tensor, step)
    writer.close()
    other.close()


def compare(folder: Path, what: str, count: int, theirs: int, read: Callable[[RunReader], object], limit: float) -> bool:
    """Time both from cold objects, several times ours."""

    def ours() -> None:
        with RunReader(folder / "ours") as reader:
            read(reader)

    def other() -> None:
        EventAccumulator(str(folder / "theirs"), KEEP_ALL).Reload()

    times, ratios = [], []
    slow = taken(other) * count / theirs
    for _ in range(9):
        times.append(taken(ours))
        ratios.append(slow / times[-1])
    low, mid, high = statistics.quantiles(ratios, n=4)
    print(f"{count:,} {what}: {statistics.median(times) * 1e3:.1f} ms, EventAccumulator {slow:.1f} s; "
          f"{mid:,.0f} × as fast (middle half {low:,.0f}–{high:,.0f}), goal ≥ {limit:.0f} ×")
    return mid >= limit


def main() -> int:
    """Measure; 1 when a goal is missed."""
    quick = "--quick" in sys.argv
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scalars"
        folder.mkdir()
        theirs = 50_000 if quick else 1_000_000
        write_scalars(folder, 1_000_000, theirs)
        good &= compare(folder, "scalar points", 1_000_000, theirs, lambda reader: reader.series("loss"), 500)
        with RunReader(folder / "ours") as reader:
            reader.series("loss")
            print(f"their exact envelope in 1,000 columns: {taken(lambda: reader.envelope('loss')) * 1e3:.1f} ms more")
        folder = Path(name) / "histograms"
        folder.mkdir()
        theirs = 1_000 if quick else 10_000
        write_histograms(folder, 10_000, theirs)
        good &= compare(folder, "histograms", 10_000, theirs, lambda reader: reader.histograms("weights"), 500)
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
