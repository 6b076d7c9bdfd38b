"""Most steps of a loop are written down by one function, and no number is another for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.record import recorder as recorders
from diorama.record.recorder import Recorder, watch
from diorama.record.side_facts import memory_told
from diorama.run import open_run


@pytest.mark.filterwarnings("ignore:diorama could not record")
def test_most_steps_of_a_loop_are_written_down_by_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of all forms and other names now and then are recorded as the whole step records them; it is called for few steps, and again after
    the end; a class of somebody's own that does more at each step does so."""
    whole, own = list[int](), list[int]()
    put = Recorder._put

    class Own(Recorder):
        def step(self, **scalars: Any) -> None:
            own.append(self.number)
            super().step(**scalars)

    monkeypatch.setattr(Recorder, "_put", lambda self, number, *told: whole.append(number) or put(self, number, *told))
    told: list[dict[str, Any]] = [{"loss": torch.tensor(k + 0.5), "right": k, "rate": k / 8} for k in range(60)]
    told[30], told[31], told[40] = {"other": 1.0}, {"loss": 3}, {**told[40], "loss": np.float32(7.5)}
    told[50] = {**told[50], "loss": torch.tensor([1.5]), "rate": "none"}
    for kind, folder in ((Recorder, "run"), (Own, "own")):
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        with monkeypatch.context() as patch:
            patch.setattr(recorders, "Recorder", kind)
            recorder = watch(model, tmp_path / folder, optimizer=optimizer, every=1000, snapshots=1000)
        recorder._rounds.due = lambda now: False
        for scalars in told:
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.5
            recorder.step(**scalars)
        assert ("step" in vars(recorder)) == (kind is Recorder)
        recorder.close()
        assert "step" not in vars(recorder)
        run = open_run(tmp_path / folder)
        for name in ("loss", "right", "rate", "other"):
            wanted = {k + 1: float(scalars[name]) for k, scalars in enumerate(told) if scalars.get(name, "none") != "none"}
            steps, values = run.series(name)
            assert dict(zip(steps.tolist(), values.tolist(), strict=True)) == wanted
        steps, values = run.series("learning_rate")
        assert values[steps > 0].tolist() == [0.5 * 0.5**k for k in range(1, 61)]
        assert 0 < len(whole) < 12 if kind is Recorder else len(own) == 60


def test_what_cannot_be_read_never_reaches_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that fails as it is read is warned of once, and the next steps are recorded."""
    model = nn.Linear(2, 1)
    with watch(model, tmp_path / "run", optimizer=torch.optim.SGD(model.parameters(), 0.5), every=1000, snapshots=1000) as recorder:
        recorder._rounds.due = lambda now: False
        for _ in range(5):
            recorder.step(loss=torch.tensor(1.5))
        with monkeypatch.context() as patch:
            patch.setattr(Tensor, "tolist", lambda self: (_ for _ in ()).throw(RuntimeError("out of order")))
            with pytest.warns(match="out of order"):
                recorder.step(loss=torch.tensor(2.5))
        recorder._rest = 0
        for _ in range(3):
            recorder.step(loss=torch.tensor(3.5))
    assert open_run(tmp_path / "run").series("loss")[1].tolist()[-3:] == [3.5] * 3


def test_what_an_optimizer_holds_is_looked_up_in_time_that_does_not_grow_with_the_square_of_the_weights() -> None:
    """Of four times as many weights it takes four times as long, not sixteen: the calls that are made of each weight are counted."""
    calls: dict[int, int] = {}
    for count in (50, 200):
        weights = {f"w{k}": nn.Parameter(torch.randn(2)) for k in range(count)}
        optimizer = torch.optim.SGD(weights.values(), 0.1, momentum=0.9)
        optimizer.kept = [torch.randn(2) for _ in range(3)]  # type: ignore[attr-defined]
        for weight in weights.values():
            weight.grad = torch.zeros(2)
        optimizer.step()
        called = 0

        def count_call(frame: Any, event: str, argument: Any) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            found = memory_told(SimpleNamespace(optimizers=(optimizer,), parameters=weights))
        finally:
            sys.setprofile(None)
        calls[count] = called
        assert found[0]["joined"] is False
        assert found[0]["elsewhere"][0]["of"] == [*weights]
    assert calls[200] < 5 * calls[50]


def test_a_step_that_was_taken_before_tells_the_rate_of_the_optimizer_that_steps_now(tmp_path: Path) -> None:
    """A loop may hold ``step`` itself; another optimizer's rate is recorded all the same."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    recorder = watch(model, tmp_path / "run", optimizer=optimizer, every=1000, snapshots=1000)
    for k in range(60):
        if k == 10:
            assert "step" in vars(recorder)
            held = recorder.step
        if k == 30:
            optimizer = torch.optim.SGD(model.parameters(), 0.25)
            recorder.changed(optimizer=optimizer)
        optimizer.step()
        (recorder.step if k < 10 else held)(loss=float(k))
    recorder.close()
    steps, values = open_run(tmp_path / "run").series("learning_rate")
    assert values[steps > 0].tolist() == [0.5] * 30 + [0.25] * 30
