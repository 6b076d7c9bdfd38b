"""What findings said of a record is forgotten as soon as anything of it is another, and is asked once until then."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama import plugins
from diorama.core import registry
from diorama.data import changes_file
from diorama.record.recorder import Recorder
from diorama.run import Run


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def _watched(folder: Path, model: nn.Module) -> tuple[Recorder, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), 1e-9)
    probe = torch.randn(12, 4), torch.arange(12) % 2
    return diorama.watch(model, folder, probe=probe, optimizer=optimizer, every=5), optimizer


def _go_on(recorder: Recorder, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, loss: float | None = None) -> None:
    for _ in range(steps):
        error = model(torch.randn(8, 4)).square().mean()
        error.backward()
        optimizer.step()
        optimizer.zero_grad()
        recorder.step(loss=float(error.detach()) if loss is None else loss)
    while recorder.committed < recorder.number:
        time.sleep(0.01)


def _said(run: Run, step: int | None = None) -> Any:
    return run.judged(step), run.unjudged(step)


def _agrees(run: Run, folder: Path) -> Any:
    """What is said of all steps and of some, by a run that was asked before and by one that reads all anew."""
    for step in (None, 20, 100, None):
        moment = None
        while moment != run.moment:  # a training that goes on may write between the two
            moment = run.moment
            kept, anew = _said(run, step), _said(diorama.open(folder), step)
        assert kept == anew
    return _said(run)


def test_what_is_kept_is_what_would_be_said_anew(tmp_path: Path) -> None:
    """After steps, a command, a loss that becomes NaN, the end, and of another run in the same place."""
    folder, model = tmp_path / "run", _network()
    recorder, optimizer = _watched(folder, model)
    _go_on(recorder, model, optimizer, 30)
    run = diorama.open(folder)
    said = [_agrees(run, folder)]
    _go_on(recorder, model, optimizer, 200)
    said.append(_agrees(run, folder))
    sent = threading.Thread(target=run.command, args=("learning_rate",), kwargs={"factor": 0.5, "wait": 60.0})
    sent.start()
    while sent.is_alive():
        _go_on(recorder, model, optimizer, 5)
    sent.join()
    _agrees(run, folder)
    _go_on(recorder, model, optimizer, 5, float("nan"))
    said.append(_agrees(run, folder))
    recorder.close()
    _agrees(run, folder)
    assert all(one != other for one, other in zip(said, said[1:], strict=False))  # else this test could not fail
    shutil.rmtree(folder)
    recorder, optimizer = _watched(folder, other := _network())
    _go_on(recorder, other, optimizer, 12)
    recorder.close()
    assert _agrees(diorama.open(folder), folder) != said[-1]


@pytest.fixture
def ended(tmp_path: Path) -> Run:
    """A training that nobody writes to any more."""
    model = _network()
    recorder, optimizer = _watched(tmp_path / "ended", model)
    _go_on(recorder, model, optimizer, 200)
    recorder.close()
    return diorama.open(tmp_path / "ended")


def test_own_findings_are_asked_once_and_others_each_time(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nobody knows what third parties' look at; at another step, and after examples were relabelled, all are asked."""
    asked = list[str]()

    class Mine(plugins.Finding):
        """Finds nothing."""

        def __call__(self, run: plugins.RunReader) -> list[plugins.Diagnosis]:
            """Nothing."""
            asked.append("mine")
            return []

    own = registry.findings["dead_units"]
    judge = own.__call__
    monkeypatch.setattr(own, "__call__", lambda self, run: (asked.append("own"), judge(self, run))[1])
    diorama.findings.register("mine", Mine)
    try:
        for _ in range(3):
            ended.judged()
        assert sorted(asked) == ["mine"] * 3 + ["own"]
        ended.judged(50)
        assert asked.count("own") == 2
        changes_file.write_rows(ended.path / changes_file.NAME, [])
        ended.judged()
        assert asked.count("own") == 3
    finally:
        diorama.findings._loaded.pop("mine")


def test_who_writes_into_a_finding_changes_no_later_one(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its action's knobs are a dict of its own, at the first time and later."""
    told = plugins.Diagnosis("dead_units", 0.5, "A title", "A text.", "seen", action=("learning_rate", {"factor": 0.5}))
    monkeypatch.setattr(registry.findings["dead_units"], "__call__", lambda self, run: [told])
    for _ in range(3):
        (found,) = [one for one in ended.findings() if one.finding == "dead_units"]
        assert found.action == ("learning_rate", {"factor": 0.5})
        found.action[1]["factor"] = -1.0
