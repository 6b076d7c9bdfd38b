"""What goes well raises no alarm, at no step of it, whenever there was time to look at the probe set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from healthy_trainings import drawn, kind_of

import diorama
from diorama.core.registry import findings
from diorama.record.findings import ALARM
from diorama.record.look_pace import LookPace
from diorama.record.past import Past

SWEEP = bool(os.environ.get("DIORAMA_SWEEP"))
NUMBERS = range(112) if SWEEP else (*range(9), 100, 101)
PACES = 20 if SWEEP else 3
"""As many ways in which the looks may fall."""


class _SomeLooks:
    """A record without some of its looks at the probe set, as of a training that had less time for them."""

    def __init__(self, run: Any, kept: np.ndarray) -> None:
        self._run, self._kept = run, kept
        self._series = {
            name: self._some(*found) if name.startswith("probe/") else found for name, found in run.every_series().items()
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def every_series(self) -> dict[str, Any]:
        """All series; what looks told, of those that are kept."""
        return self._series

    def rows(self, name: str) -> Any:
        """What was told of each example at these looks."""
        return self._some(*self._run.rows(name))

    def _some(self, steps: Any, values: Any) -> Any:
        there = np.isin(steps, self._kept)
        return steps[there], values[there]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{number}-{kind_of(number).__name__}")
def test_a_healthy_training_raises_no_alarm_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No finding of a healthy training is an alarm, judged after each reading by what was known then; neither is one where looks were few, and
    happened when they did by chance."""
    monkeypatch.setattr(LookPace, "affordable", lambda pace, number: number % 10 == 0)
    monkeypatch.setattr(LookPace, "rests", lambda pace, number: (True, number, np.inf))
    for path in drawn(number, tmp_path / "run"):
        run = diorama.open(path)
        alarms = [
            (step, found.finding, round(found.severity, 2), found.evidence)
            for step in range(0, run.last_step + 1, 10)
            for found in run.findings(step)
            if found.severity >= ALARM
        ]
        assert not alarms
        assert not _alarms_by_chance(run)


def _alarms_by_chance(run: diorama.Run) -> list[tuple[int, str, str]]:
    """Alarms of what rests on looks, where these happen by chance, judged after each of them."""
    looks = run.rows("examples/answer")[0] if "examples/answer" in run.row_names else np.zeros(0, np.int64)
    asked = [kind for kind in findings.values() if any("examples/" in one or "probe/" in one for one in kind.rests)]
    found = []
    for seed in range(PACES) if len(looks) else ():
        draw = np.random.default_rng(seed)
        kept = looks[(draw.random(len(looks)) < draw.uniform(0.15, 0.8)) | (np.arange(len(looks)) == 0)]
        record: Any = _SomeLooks(run, kept)
        found += [
            (int(step), one.finding, one.evidence)
            for step in kept for kind in asked for one in kind()(Past(record, int(step))) if one.severity >= ALARM
        ]
    return found
