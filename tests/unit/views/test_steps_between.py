"""A step that has no snapshot is shown by the one before it, and the picture says so."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import diorama


def test_a_picture_names_the_snapshot_that_it_shows(tmp_path: Path) -> None:
    """Between two snapshots, behind the last and at one of them."""
    model = nn.Linear(3, 2)
    with diorama.watch(model, tmp_path / "run", probe=(torch.randn(8, 3), torch.arange(8) % 2), snapshots=4, every=2) as recorder:
        for _ in range(10):
            recorder.step(loss=1.0)
    run = diorama.open(recorder.path)
    last = run.snapshots[-1]
    there, between = 4, 6
    assert there in run.snapshots
    assert between not in run.snapshots
    before = max(step for step in run.snapshots if step < between)
    assert "no snapshot" not in run.scene(step=there).view("weights").note
    assert f"Step {between} has no snapshot; this is step {before}, the newest before it." in run.scene(step=between).view("weights").note
    assert f"Step 999 has no snapshot; this is step {last}" in run.scene(step=999).view("weights").note
    assert "no snapshot" not in run.scene(step=between).at(there).view("weights").note
    assert "no snapshot" not in run.scene().view("weights").note
