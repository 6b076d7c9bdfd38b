"""An optimizer that the loop has put another in the place of is told from one that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import nn

import diorama
from diorama.record import idle_optimizers, requests
from diorama.record.findings.idle_optimizer import IdleOptimizer
from diorama.record.recorder import Recorder

pytestmark = pytest.mark.usefixtures("looking_at_once")
Loop = Iterator[None]


class _Wrapped:
    """A wrapper that steps the optimizer inside it."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner, self.param_groups = inner, inner.param_groups

    def step(self) -> None:
        self.inner.step()


def _pass(model: nn.Module) -> None:
    model(torch.ones(2, 3)).square().mean().backward()


def _each(model: nn.Sequential, told: Any, period: int = 1, clear: bool = True) -> Loop:
    """A step of the record after each pass, one of the optimizer at each so many."""
    for number in range(1, 61):
        _pass(model)
        if number % period == 0:
            told.step()
            model.zero_grad(set_to_none=clear)
        yield


def _told_before(model: nn.Sequential, told: Any) -> Loop:
    for _ in range(60):
        _pass(model)
        yield
        told.step()


def _left_out(model: nn.Sequential, told: Any) -> Loop:
    """A scaler leaves out all steps from the tenth on."""
    for number in range(60):
        _pass(model)
        if number < 10:
            told.step()
        yield


def _closure(model: nn.Sequential, told: Any) -> Loop:
    def loss() -> Any:
        model.zero_grad()
        found = model(torch.ones(2, 3)).square().mean()
        found.backward()
        return found

    for _ in range(20):
        told.step(loss)
        yield


def _two(model: nn.Sequential, told: Any) -> Loop:
    """One steps each time, the other at each seventh."""
    for number in range(60):
        _pass(model)
        told[0].step()
        if number % 7 == 0:
            told[1].step()
        yield


def _shared(model: nn.Sequential, told: Any) -> Loop:
    """Two that hold the same weights, one after the other."""
    for number in range(60):
        _pass(model)
        told[number >= 20].step()
        yield


def _averaged(model: nn.Sequential, told: Any) -> Loop:
    """Gradients are added up over ten steps, and an average is put in within them, and taken out."""
    for number in range(60):
        _pass(model)
        if number % 10 == 9:
            told.step()
        elif number % 10 in (3, 5):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 if number % 10 == 3 else -0.1)
        yield


def _replaced(model: nn.Sequential, told: Any) -> Loop:
    """Another is made after ten steps."""
    for number in range(60):
        if number == 10:
            told = torch.optim.Adam(model.parameters(), 0.01)
        _pass(model)
        told.step()
        yield


def _sgd(model: nn.Sequential) -> Any:
    return torch.optim.SGD(model.parameters(), 0.01)


def _halves(model: nn.Sequential) -> Any:
    return [torch.optim.SGD(part.parameters(), 0.01) for part in (model[0], model[1])]


LOOPS: dict[str, tuple[Callable[[nn.Sequential], Any], Callable[[nn.Sequential, Any], Loop]]] = {
    "steps each time": (_sgd, _each),
    "gradients are added up": (_sgd, lambda model, told: _each(model, told, 8)),
    "the record comes first": (_sgd, _told_before),
    "steps are left out": (_sgd, _left_out),
    "by a closure": (lambda model: torch.optim.LBFGS(model.parameters(), 0.1, max_iter=2), _closure),
    "in a wrapper": (lambda model: _Wrapped(_sgd(model)), _each),
    "one in seven": (_halves, _two),
    "the same weights": (lambda model: [_sgd(model), _sgd(model)], _shared),
    "an average is put in": (_sgd, _averaged),
}


def _watched(path: Path, make: Callable[[nn.Sequential], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Recorder, nn.Sequential, Any]:
    monkeypatch.setattr(idle_optimizers, "_SHARE", float("inf"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    told = make(model)
    return diorama.watch(model, path, optimizer=told, every=1000, snapshots=1000), model, told


@pytest.mark.parametrize("name", LOOPS)
def test_one_that_waits_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever a loop does with the optimizers that it told of, none of them is called idle at any step."""
    make, loop = LOOPS[name]
    recorder, model, told = _watched(tmp_path / "run", make, monkeypatch)
    with recorder:
        for _ in loop(model, told):
            recorder.step(loss=0.0)
            assert not recorder.controls.idle.idle


def test_one_that_was_replaced_is_told_and_asked_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since when it steps no more; its rate is not recorded, commands on it say what to do, and do their work once that is done."""
    recorder, model, told = _watched(tmp_path / "run", _sgd, monkeypatch)
    sent = {"learning_rate": {"factor": 0.5}, "optimizer_value": {"setting": "momentum", "value": 0.5}, "clip": {"norm": 1.0},
            "schedule": {"steps": "0,9", "factors": "1,0"}, "learning_rate of a layer": {"factor": 0.5, "layer": "0"}, "go_back": {}}
    with recorder:
        for _ in _replaced(model, told):
            recorder.step(loss=0.0)
        asked = [requests.send(recorder.path, name.partition(" ")[0], knobs) for name, knobs in sent.items()]
        recorder.step(loss=0.0)
        recorder._tell_held()
        recorder.changed(optimizer=torch.optim.Adam(model.parameters(), 0.01))
        good = requests.send(recorder.path, "learning_rate", {"factor": 0.5})
        recorder.step(loss=0.0)
        assert answered(recorder.path, good)["ok"]
        run = diorama.open(recorder.path)
        for number in asked:
            refused = run.acknowledgement(number)
            assert refused is not None
            assert "SGD, which this run was told of, has not stepped since step 10" in refused["text"]
            assert "pass the one that steps to recorder.changed(optimizer=…)" in refused["text"]
        found = IdleOptimizer()(run)  # type: ignore[arg-type]
        assert [(each.step, each.severity) for each in found] == [(10, 0.8)]
        steps, _ = run.series("learning_rate")
        assert 10 <= max(step for step in steps.tolist() if step < 61) < 20
        assert steps.max() == 62


def test_gradients_that_wait_over_an_act_are_told(tmp_path: Path) -> None:
    """An act between the passes of one step of the optimizer says what becomes of their gradients; after that step nothing is said."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    said = []
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        for number, _ in enumerate(_each(model, optimizer, 2, clear=False)):
            sent = requests.send(recorder.path, "scale_layer", {"layer": "0", "factor": 1.5}) if number in (5, 6) else None
            recorder.step(loss=0.0)
            if sent is not None:
                said.append(sent)
    run = diorama.open(recorder.path)
    texts = [str((run.acknowledgement(number) or {})["text"]) for number in said]
    assert ["gradients gathered since" in text for text in texts] == [False, True]


@pytest.mark.parametrize(("period", "told"), [(1, "Since step 10 no step of SGD"), (3, "Since step 14 at the latest no step of SGD")])
def test_its_last_step_is_told_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: int, told: str) -> None:
    """One that stepped each time is told at its last step, though no look was made there; of another, the look is the latest."""
    recorder, model, optimizer = _watched(tmp_path / "run", _sgd, monkeypatch)
    look = recorder.controls.idle.look
    monkeypatch.setattr(recorder.controls.idle, "look", lambda number: look(number) if number % 7 == 0 else None)
    with recorder:
        for number in range(1, 120):
            _pass(model)
            if number > 10:
                with torch.no_grad():
                    model[0].weight.add_(0.01)
            elif number % period == 0:
                optimizer.step()
            recorder.step(loss=0.0)
    assert [each.text.partition(" was seen")[0] for each in IdleOptimizer()(diorama.open(recorder.path))] == [told]  # type: ignore[arg-type]


class _Halving(torch.optim.Optimizer):
    """Changes the gradients themselves."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for each in self.param_groups[0]["params"]:
            each.sub_(each.grad.mul_(0.5), alpha=0.1)


def _clipped(parameters: Any) -> torch.optim.Optimizer:
    """The loop's own hook, which comes after all others, limits what the optimizer takes."""
    optimizer, held = torch.optim.SGD(parameters, 0.1), []

    def clip(*told: Any) -> None:
        held.append(nn.utils.clip_grad_value_(optimizer.param_groups[0]["params"], 1e-3))

    torch.optim.Optimizer.register_step_pre_hook(optimizer, clip)
    return optimizer


@pytest.mark.parametrize("made", [torch.optim.SGD, torch.optim.Adam, _Halving, _clipped, lambda p: torch.optim.LBFGS(p, max_iter=2)])
def test_gradients_wait_from_a_pass_to_a_step(tmp_path: Path, made: Callable[[Any], torch.optim.Optimizer]) -> None:
    """Whatever an optimizer, or a hook on it, does with the gradients: after its step none waits, after another pass some do."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = made(model.parameters())
    waits: list[tuple[bool, bool]] = []

    def passed() -> torch.Tensor:
        model.zero_grad(set_to_none=False)
        loss: torch.Tensor = model(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        for number in range(1, 30):
            passed()
            before = recorder.controls.idle.waiting(number)
            if isinstance(optimizer, torch.optim.LBFGS):
                optimizer.step(passed)  # type: ignore[arg-type]
            else:
                optimizer.step()
            waits.append((before, recorder.controls.idle.waiting(number)))
            recorder.step(loss=0.0)
        left = recorder._observer.first_bad
        assert left is not None
        assert left.pair is not None  # of which most steps are told
    assert waits == [(True, False)] * 29
