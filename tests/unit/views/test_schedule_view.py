"""A schedule that is drawn over the learning rate does to the training what the picture says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.marks import Lines, Number
from diorama.record import requests, rounds


def _buttons(picture: Any) -> dict[str, Any]:
    return {action.label: action for mark in picture.marks() if isinstance(mark, Number) for action in mark.actions}


def test_a_drawn_line_becomes_the_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn from right to left over past and future is sent as factors, and the recorded rate follows the drawn one."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        requests.send(recorder.path, "learning_rate", {"factor": 0.5})
        for _ in range(10):
            recorder.step(loss=1.0)
        run = diorama.open(recorder.path)
        while run.last_step < 10 or run.meta["optimizer"][0]["factor"] != 0.5:
            time.sleep(0.002)
            run = diorama.open(recorder.path)
        scene = run.scene("live") if run.snapshots else run.scene(0)
        picture = scene.view("schedule", line="18,0.4; 14,0.1; 10,0.05; 3,0.2")
        chart = next(mark for mark in picture.marks() if isinstance(mark, Lines))
        assert (chart.handle.kind, chart.handle.knob) == ("path", "line")
        send = _buttons(picture)["Bend the schedule so"]
        assert (send.command, send.knobs) == ("schedule", {"steps": "0,4,8", "factors": "0.5,1,4"})
        requests.send(recorder.path, send.command, send.knobs)
        for _ in range(12):
            recorder.step(loss=1.0)
        run = diorama.open(recorder.path)
        while not (run.meta.get("wishes") or {}).get("schedule"):
            run = diorama.open(recorder.path)
        held = run.scene(0).view("schedule", line="18,0.4; 14,0.1; 10,0.05; 3,0.2")
        assert any(mark.note == "The schedule is bent so: it is in force." for mark in held.marks() if isinstance(mark, Number))
        assert "Bend the schedule so" not in _buttons(held)
        assert "Bend the schedule so" in _buttons(run.scene(0).view("schedule", line="40,0.4; 36,0.1; 32,0.07"))
        late = scene.view("schedule", line="3,0.2; 4,0.1")
        assert not set(_buttons(late)) & {"Bend the schedule so"}
    run = diorama.open(tmp_path / "run")
    steps, rates = run.series("learning_rate")
    start = run.meta["wishes"]["schedule"]["start"]
    wanted = 0.1 * np.interp(steps[steps > start] - start, [0, 4, 8], [0.5, 1.0, 4.0])
    assert rates[steps > start] == pytest.approx(wanted)
    ended = run.scene().view("schedule")
    assert not _buttons(ended)
    assert next(mark for mark in ended.marks() if isinstance(mark, Lines)).handle is None


@pytest.mark.parametrize("line", ["4", "a,b", "1,2,3", "1,nan"])
def test_what_is_no_line_is_refused(tmp_path: Path, line: str) -> None:
    """A typed line that cannot be read says what one looks like."""
    from diorama.views.training.schedule import points

    with pytest.raises(diorama.UsageError, match="line wants"):
        points(line)
    assert len(points(";".join(f"{k},0.1" for k in range(60)))) == 24
