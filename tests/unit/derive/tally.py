"""A derivation for tests: it counts, says what it did, and waits where it is told to. Also a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

import diorama
from diorama.core.knobs import knob
from diorama.derive import work
from diorama.derive.derivation import Derivation, Stage
from diorama.methods.cost import Cost
from diorama.run import Run
from diorama.scene import Scene


class Tally(Derivation):
    """Sums of the examples' numbers, one stage an example."""

    start: float = knob(0.0, "What it counts from.")
    wait: str = knob("", "A file that is waited for after the third stage.")

    made: ClassVar[list[int]] = []
    closed: ClassVar[list[bool]] = []
    """What was computed in this process, and what was closed."""

    def cost(self, scene: Scene) -> Cost:
        """Nothing is passed through the model."""
        return Cost(0)

    def stages(self, scene: Scene, begun: Any = None, before: Any = None) -> Iterator[Stage]:
        """One stage an example."""
        rows = scene.live.x.numpy().reshape(len(scene.live), -1)
        done, total = (int(begun["done"]), np.array(begun["sum"])) if begun else (0, np.full(rows.shape[1], self.start))
        if not begun and before is not None:
            total = total + before["sum"]
        try:
            for k in range(done, len(rows)):
                if scene.cancel is not None:
                    scene.cancel()
                type(self).made.append(k)
                total = total + rows[k]
                state = {"done": k + 1, "sum": total, "process": begun["process"] if begun else os.getpid()}
                yield Stage(state, k + 1, len(rows), state=lambda state=state: state)  # type: ignore[misc]
                while self.wait and k == 2 and not Path(self.wait).exists():
                    time.sleep(0.01)
        finally:
            type(self).closed.append(True)

    def check(self, scene: Scene, value: Any) -> None:
        """A sum a column."""
        if set(value) != {"done", "sum", "process"} or value["sum"].shape != (scene.live.x[0].numel(),):
            raise ValueError("no tally")


def recorded(folder: Path, x: Any = None) -> Run:
    """A run of two snapshots with ten examples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(1)) if x is None else x
    y = torch.arange(len(x)) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, folder, probe=(x, y), optimizer=optimizer, snapshots=1) as recorder:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.detach())
    return diorama.open(folder)


if __name__ == "__main__":
    # tally.py RUN WAIT: derive it, and everything is written at once.
    work.SHORT = work.SHARE = 0.0
    diorama.derivations.register("tally", Tally)
    diorama.open(sys.argv[1]).scene().derive("tally", wait=sys.argv[2]).value  # noqa: B018 - it is made
