"""What goes well raises no alarm, at no step of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from healthy import KINDS, drawn

import diorama
from diorama.record.findings import ALARM

COUNT = 100 if os.environ.get("DIORAMA_SWEEP") else 9


@pytest.mark.parametrize("number", range(COUNT), ids=lambda number: f"{number}-{KINDS[number % len(KINDS)].__name__}")
def test_a_healthy_training_raises_no_alarm_at_any_step(tmp_path: Path, number: int) -> None:
    """No finding of a healthy training is an alarm, judged after each reading by what was known then."""
    for path in drawn(number, tmp_path / "run"):
        run = diorama.open(path)
        alarms = [
            (step, found.finding, round(found.severity, 2), found.evidence)
            for step in range(0, run.last_step + 1, 10)
            for found in run.findings(step)
            if found.severity >= ALARM
        ]
        assert not alarms
