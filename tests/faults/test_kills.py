"""A training that is killed leaves a run that opens, with everything that was acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

from kills import kill_many


def test_killed_trainings_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After SIGKILLs at random moments, also in start-up and with a live reader, every run opens whole."""
    kills = int(os.environ.get("DIORAMA_KILLS", "7"))
    found = kill_many(tmp_path, kills)
    assert found["kills"] == kills
    assert found["opened"] == found["runs"] >= kills * 0.7
    assert {name: found[name] for name in ("lost", "partial", "damaged", "reader_errors")} == dict.fromkeys(
        ("lost", "partial", "damaged", "reader_errors"), 0
    )
