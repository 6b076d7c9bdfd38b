"""What a run may take on disk, and what goes first where it would take more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import Damaged
from . import checkpoints, files, snapshots
from .snapshots import MOST, Plan
from .writer import Writer

_OWN = ("derived", "live.safetensors")
"""What views and watchers leave in the folder, which counts apart."""
_OFTEN = 16
"""Snapshots after which all is counted again."""
_HALVINGS = 20
_SPARE = 16_384
"""Bytes for what is told after all was counted last, in a budget that has room for them."""
_NEAR = 0.75
"""The part of the budget from which on the database is kept compact: merging what waits there makes it larger for a while."""


class Budget:
    """Keeps a run's folder within so many bytes.

    *Meaning* first go the snapshots between, then old checkpoints, then the first snapshot, then every other histogram;
    the last snapshot, the numbers and what was kept by hand stay. Files that views derive are not counted.
    Everything but :meth:`refuses` and :meth:`warning` is called on the writer's thread.
    """

    def __init__(self, most: int, plan: Plan, coarsened: Callable[[int], None]) -> None:
        self._most, self._plan, self._coarsened = most, plan, coarsened
        self._room = most - min(_SPARE, most // 16)
        self._rest = 0
        """Bytes beside the snapshots when they were last counted."""
        self._held = 0
        self._count = self._since = _OFTEN
        self._apart = 1

    def warning(self, model: int, optimizer: int) -> str:
        """What will not fit, in a sentence for the beginning: sizes of a snapshot and of the optimizer's state."""
        if 2 * model + optimizer <= self._most:
            return ""
        parts = ["only the last snapshot is kept"] if 2 * model > self._most else []
        parts.append("no checkpoints are taken, so the training cannot go back")
        return (f"the budget of {said_size(self._most)} is small for this network, whose snapshots take {said_size(model)} each: "
                f"{' and '.join(parts)}; say budget= to have more")

    def refuses(self, checkpoint: int, snapshot: int) -> bool:
        """Whether a checkpoint of so many bytes cannot be kept beside the last snapshot."""
        return checkpoint + snapshot > self._most

    def took(self, writer: Writer, size: int) -> None:
        """Something of so many bytes was written: give up what is too much."""
        self._held, self._count, self._since = self._held + size, self._count + 1, self._since + 1
        if self._since >= _OFTEN or self._held + self._rest > self._most or self._count > MOST:
            self._since = 0
            self.keep(writer)

    def keep(self, writer: Writer) -> None:
        """Count all, and give up what is too much."""
        self._rest = self._beside(writer)
        if self._held + self._rest > _NEAR * self._most:
            writer.compact()
            self._rest = self._beside(writer)
        kept = {step: (file, size, anchor) for step, file, size, anchor in writer.snapshots()}
        room = self._room - self._rest
        self._forget(writer, kept, self._plan.superfluous([(s, size, a) for s, (_, size, a) in kept.items()], room))
        for old in checkpoints.automatic(writer.folder):  # each once: one that cannot be deleted stays
            if not self._over(kept):
                break
            checkpoints.forget(writer, old)
            self._rest = self._beside(writer)
        while self._over(kept) and len(kept) > 1 and (first := min(kept)) in (0, *(s for s in kept if not kept[s][2])):
            self._forget(writer, kept, [first])
        for _ in range(_HALVINGS):
            if not self._over(kept) or not self._coarser(writer):
                break
        self._held, self._count = sum(size for _, size, _ in kept.values()), len(kept)

    def _over(self, kept: dict[int, tuple[str, int, bool]]) -> bool:
        return sum(size for _, size, _ in kept.values()) + self._rest > self._room

    def _forget(self, writer: Writer, kept: dict[int, tuple[str, int, bool]], steps: Sequence[int]) -> None:
        if not steps:
            return
        writer.forget_snapshots(steps)
        for step in steps:
            # The index may come from anybody: a file that it names elsewhere is not the run's to give up.
            with contextlib.suppress(OSError, Damaged):
                os.unlink(files.own(writer.folder, snapshots.FOLDER) / Path(kept.pop(step)[0]).name)

    def _coarser(self, writer: Writer) -> bool:
        """Give up what was read between since, or else every other reading's histograms; whether some could go."""
        if self._apart > 1 and self._gone(writer):
            return True
        if self._apart > max(10, writer.last_step):
            return False
        self._apart = max(10, 2 * self._apart)
        if self._gone(writer):
            self._coarsened(self._apart)
        return True

    def _gone(self, writer: Writer) -> bool:
        """Keep the histograms at multiples of so many steps; whether that made the database smaller."""
        before = writer.size()
        writer.coarsen(self._apart)
        self._rest -= before - writer.size()
        return writer.size() < before

    def _beside(self, writer: Writer) -> int:
        """Bytes of everything but the snapshots."""
        total = writer.size()
        for entry in os.scandir(writer.folder):
            if entry.name in (snapshots.FOLDER, *_OWN) or entry.name.startswith("run.db"):
                continue
            total += _taken(Path(entry.path))
        return total


def _taken(path: Path) -> int:
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_taken(inside) for inside in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


def said_size(count: float) -> str:
    """Bytes as people write them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def state_size(optimizers: Sequence[Any]) -> int:
    """Bytes of what optimizers hold beside the weights; before their first step as much as their kind will hold."""
    total = 0
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            many = 2 if "betas" in group else 1 if group.get("momentum") else 0
            for parameter in group["params"]:
                held = optimizer.state.get(parameter, {}) if hasattr(optimizer, "state") else {}
                tensors = [value for value in held.values() if hasattr(value, "numel")] if isinstance(held, dict) else []
                each = parameter.numel() * parameter.element_size()
                total += sum(t.numel() * t.element_size() for t in tensors) if tensors else many * each
    return total
