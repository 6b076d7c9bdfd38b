"""A run's record as it stood after an earlier step: what could be known then, and nothing later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .packing import Floats, Steps
    from .reader import RunReader


class Past:
    """What findings read of a run, up to and with one step."""

    def __init__(self, run: RunReader, step: int) -> None:
        self._run, self._step = run, step
        self._cut: dict[str, tuple[Steps, Floats]] = {}
        self._names: list[str] | None = None

    @property
    def series_names(self) -> list[str]:
        """Names of the series that had a number by then."""
        if self._names is None:
            self._names = [name for name in self._run.series_names if len(self.series(name)[0])]
        return self._names

    def series(self, name: str) -> tuple[Steps, Floats]:
        """Steps and values of a series until then."""
        if name not in self._cut:
            steps, values = self._run.series(name)
            stop = int(np.searchsorted(steps, self._step, "right"))
            self._cut[name] = steps[:stop], values[:stop]
        return self._cut[name]

    @property
    def meta(self) -> dict[str, Any]:
        """The run's facts; what has a step of its own only if it was before."""
        facts = self._run.meta
        first = facts.get("first_bad")
        if isinstance(first, dict) and int(first.get("step", 0)) > self._step:
            facts = {name: value for name, value in facts.items() if name != "first_bad"}
        return facts

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._run.path

    @property
    def born(self) -> str:
        """Which run it is."""
        return self._run.born

    def state(self, step: int) -> dict[str, Tensor]:
        """Weights and buffers at a snapshot."""
        return self._run.state(step)

    @property
    def snapshots(self) -> list[int]:
        """Steps of snapshots until then."""
        return [step for step in self._run.snapshots if step <= self._step]

    @property
    def last_step(self) -> int:
        """The last step that was committed by then."""
        return min(self._step, self._run.last_step)

    def frozen(self, step: int | None = None) -> tuple[str, ...]:
        """The layers that were frozen on purpose during a step; then, where none is given."""
        return self._run.frozen(self._step if step is None else min(step, self._step))
