"""The overview and the findings of 100 layers over 100,000 steps, against reading the same bytes bare."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.record import database
from diorama.record.writer import Writer
from diorama.run import Run
from diorama.scene.moment import Moment

LAYERS = 100
FIRST, ALL = 1.0, 2.0
"""Seconds that the first picture and all findings may take, on one core."""


def written(folder: Path, steps: int, every: int) -> None:
    """A run of plausible numbers: a loss at every step, and all that is read of each layer at every tenth."""
    database.create(folder)
    writer = Writer(folder)
    names = [f"layer{1 + number // 25}.{number % 25 // 5}.conv{1 + number % 5}" for number in range(LAYERS)]
    facts = {
        "layers": [
            {"name": name, "kind": "Conv2d", "units": 16, "weight": f"{name}.weight", "order": order, "leaf": True, "rectified": True}
            for order, name in enumerate(names)
        ],
        "parameters": [[f"{name}.weight", [16, 16, 3, 3], "torch.float32"] for name in names],
    }
    writer.write([], meta=facts)
    series = [
        *(f"{kind}/{name}.weight/{last}" for name in names for kind, last in
          (("updates", "norm"), ("updates", "ratio"), ("updates", "moved"), ("gradients", "norm"), ("weights", "norm"))),
        *(f"activations/{name}/{last}" for name in names for last in ("mean", "std", "dead")),
    ]
    generator = np.random.default_rng(0)
    level = 10 ** generator.normal(-1, 0.2, len(series))
    group = []
    for step in range(1, steps + 1):
        values = {"loss": 2.0 * 0.99997**step}
        if step % every == 0:
            values |= dict(zip(series, (level * (0.4 + 0.2 * generator.random(len(series)))).tolist(), strict=True))
        group.append((step, float(step), values))
        if len(group) == 256:
            writer.write(group)
            writer.merge()
            group = []
    writer.write(group)
    writer.close()


def taken(work: Callable[[], object]) -> float:
    """Seconds of the CPU, so that other work on the machine does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def first(folder: Path) -> Picture:
    """The first picture of the overview, from a run that was not opened before."""
    return next(iter(Moment(Run(folder), None).stream("health", select=Selection())))


def whole(folder: Path) -> list[Picture]:
    """All of its pictures."""
    return list(Moment(Run(folder), None).stream("health", select=Selection()))


def main() -> int:
    """Measure; 1 when a goal is missed."""
    steps = 20_000 if "--quick" in sys.argv else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        written(folder, steps, 10)
        Run(folder).findings()  # what is imported on the way is not counted
        list(Moment(Run(folder), None).stream("health", select=Selection()))
        bare = lambda: (folder / "run.db").read_bytes()  # noqa: E731 - one line says it
        size = (folder / "run.db").stat().st_size
        good = True
        for what, work, limit in (
            ("first picture of the overview", lambda: first(folder), FIRST), ("whole overview", lambda: whole(folder), None),
            ("all findings", lambda: Run(folder).findings(), ALL),
        ):
            times, ratios = [], []
            for _ in range(5):
                times.append(taken(work))
                ratios.append(times[-1] / max(taken(bare), 1e-4))
            middle = statistics.median(times)
            goal = "" if limit is None else f", goal ≤ {limit:g} s"
            print(
                f"{what} of {LAYERS} layers, {steps:,} steps ({size / 1e6:.0f} MB): {middle:.2f} s{goal}; "
                f"{statistics.median(ratios):.0f} × reading the bytes bare ({min(ratios):.0f}–{max(ratios):.0f})"
            )
            good &= limit is None or middle <= limit
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
