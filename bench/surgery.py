"""What surgery costs: a tenth more units in a layer of a ResNet-18 beside one of its training steps, without and with its checkpoint.

By the clock, and by the processor time of the thread that trains, which other work on the machine hardly changes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from bench.nets import ResNet18
from diorama.record.recorder import Recorder
from diorama.record.requests import SentCommand
from diorama.training.surgery.units import add_units, remove_units


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Seconds of one step of the training, by the clock and of its thread."""
    began, worked = time.perf_counter(), time.thread_time()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    return time.perf_counter() - began, time.thread_time() - worked


def asked(recorder: Recorder, number: int, name: str, **knobs: Any) -> tuple[float, float, float]:
    """Seconds that the loop waits for a command with its checkpoint, those of its thread, and until that is written."""
    recorder._background.flush(60.0)
    began, worked = time.perf_counter(), time.thread_time()
    good = recorder.controls.apply(SentCommand(number, name, knobs, "python"))
    waited, spent = time.perf_counter() - began, time.thread_time() - worked
    assert good, name
    recorder._background.flush(60.0)
    return waited, spent, time.perf_counter() - began


def spread(values: Sequence[float]) -> str:
    """The median with the middle half."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def main(rounds: int = 5) -> None:
    """Steps, surgery alone, and the command with its checkpoint by turns, on batch 4 at 224²; ratios to a step with their spread."""
    for layer, count in (("layer1.0.conv1", 6), ("layer3.0.conv1", 26), ("layer4.1.conv1", 51)):
        torch.manual_seed(0)
        model = ResNet18().train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        x, y = torch.randn(4, 3, 224, 224), torch.arange(4)
        alone: list[float] = []
        waited: list[float] = []
        written: list[float] = []
        spent: list[float] = []
        steps: list[float] = []
        with tempfile.TemporaryDirectory() as folder, diorama.watch(
            model, Path(folder) / "run", probe=(x, y), optimizer=optimizer, every=10**6, snapshots=10**6
        ) as recorder:
            step(model, optimizer, x, y)
            for k in range(rounds):
                one, other = (step(model, optimizer, x, y) for _ in range(2))
                steps.append((one[0] + other[0]) / 2)
                works = (one[1] + other[1]) / 2
                began = time.perf_counter()
                done = add_units(model, x, layer, count, optimizers=[optimizer])
                alone.append((time.perf_counter() - began) / steps[-1])
                remove_units(model, x, layer, done.units, optimizers=[optimizer])
                step(model, optimizer, x, y)
                whole, work, until = asked(recorder, 2 * k + 1, "add_units", layer=layer, count=count)
                waited.append(whole / steps[-1])
                spent.append(work / works)
                written.append(until / steps[-1])
                asked(recorder, 2 * k + 2, "undo")
        print(f"{layer} +{count}: a step {statistics.median(steps):.3f} s; in steps: surgery alone {spread(alone)}, with its checkpoint "
              f"{spread(waited)} ({spread(spent)} by the thread's own time), until that is written {spread(written)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else 3 if "--quick" in sys.argv else 5)
