"""What people want of an optimizer's steps: values of single layers, clipping, a bent schedule; the loop sees nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import Tensor, nn

import diorama
from diorama.record import requests

SINCE, UNTIL, END = 4, 9, 12
"""Commands come after the first of these steps, and are taken back after the second."""
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}
OF_LAYER: dict[str, dict[str, Any]] = {
    "learning_rate": {"factor": 0.5, "layer": "0"},
    "optimizer_value": {"setting": "weight_decay", "value": 0.3, "layer": "0"},
}


pytestmark = pytest.mark.usefixtures("looking_at_once")


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def _gradients(model: nn.Module, generator: torch.Generator, scale: Callable[[Tensor], Tensor] = lambda loss: loss) -> None:
    x = torch.randn(16, 4, generator=generator)
    model.zero_grad()
    scale(nn.functional.cross_entropy(model(x), x[:, :3].argmax(1))).backward()


def _states(model: nn.Module, optimizer: Any, scheduler: Any) -> dict[str, Tensor]:
    found = dict(model.state_dict())
    for number, memory in optimizer.state_dict()["state"].items():
        found |= {f"{number}/{name}": torch.as_tensor(value) for name, value in memory.items()}
    return {**found, "rate": torch.tensor(scheduler.get_last_lr()[:1])}


def _steered(
    path: Path, optimizer: str, acts: dict[str, dict[str, Any]], make: Callable[[Any], Any] | None = None
) -> dict[str, Tensor]:
    """A training with acts that are in force for some steps, and then taken back."""
    model, generator = _net(), torch.Generator().manual_seed(1)
    made = (make or OPTIMIZERS[optimizer])(model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made, END)
    whole = [id(group) for group in made.param_groups]
    with diorama.watch(model, path, optimizer=made, every=1) as recorder:
        for step in range(1, END + 1):
            _gradients(model, generator)
            made.step()
            scheduler.step()
            sent = []
            if step == SINCE:
                sent = [requests.send(recorder.path, name, knobs) for name, knobs in acts.items()]
            if step == UNTIL:
                sent = [requests.send(recorder.path, "undo", {}) for _ in acts]
            recorder.step(loss=0.0)
            for number in sent:
                found = answered(recorder.path, number)
                assert found["ok"], found["text"]
            assert [id(group) for group in made.param_groups] == whole
            assert [len(group["params"]) for group in made.param_groups] == [4]
    return _states(model, made, scheduler)


def _reference(optimizer: str, before: Callable[[Any, nn.Module, int], None]) -> dict[str, Tensor]:
    """The same by hand: two groups from the start, whose values are set before each step and set back after it."""
    model, generator = _net(), torch.Generator().manual_seed(1)
    made = OPTIMIZERS[optimizer]([{"params": model[0].parameters()}, {"params": model[2].parameters()}])  # type: ignore[index]
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made, END)
    for step in range(1, END + 1):
        _gradients(model, generator)
        kept = [{name: value for name, value in group.items() if name != "params"} for group in made.param_groups]
        if SINCE < step <= UNTIL:
            before(made, model, step)
        made.step()
        for group, values in zip(made.param_groups, kept, strict=True):
            group.update(values)
        scheduler.step()
    return _states(model, made, scheduler)


def _assert_equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_layer_has_values_of_its_own(tmp_path: Path, optimizer: str) -> None:
    """Weights, moments and schedule end as those of an optimizer that had the layer in a group of its own all the time."""

    def before(made: Any, model: nn.Module, step: int) -> None:
        made.param_groups[0]["lr"] *= 0.5
        made.param_groups[0]["weight_decay"] = 0.3

    _assert_equal(_steered(tmp_path / "run", optimizer, OF_LAYER), _reference(optimizer, before))


def test_when_every_layer_has_its_own_value_none_is_left_over(tmp_path: Path) -> None:
    """Also where no weight of a group keeps the group's values, it steps once, and is as before afterwards."""

    def before(made: Any, model: nn.Module, step: int) -> None:
        made.param_groups[0]["lr"] *= 0.5
        made.param_groups[1]["betas"] = (0.5, made.param_groups[1]["betas"][1])

    acts = {"learning_rate": OF_LAYER["learning_rate"], "optimizer_value": {"setting": "betas.0", "value": 0.5, "layer": "2"}}
    _assert_equal(_steered(tmp_path / "run", "adam", acts), _reference("adam", before))


def test_the_inner_layer_counts(tmp_path: Path) -> None:
    """Of layers within each other the inner one's value is used, whichever was named first."""
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        for layer, factor in (("0.1", 0.25), ("0", 0.5)):
            requests.send(recorder.path, "learning_rate", {"layer": layer, "factor": factor})
        recorder.step(loss=0.0)
        before = [p.detach().clone() for p in model.parameters()]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        moved = [float((old - new.detach()).mean()) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == pytest.approx([0.5, 0.5, 0.25, 0.25, 1.0, 1.0])


@pytest.mark.parametrize(("knobs", "most"), [({"norm": 0.02}, None), ({"value": 0.003}, 0.003), ({"norm": 1e9}, None)])
def test_gradients_are_clipped(tmp_path: Path, knobs: dict[str, float], most: float | None) -> None:
    """As torch's own clipping just before the step; what is below the bound is not touched."""

    def before(made: Any, model: nn.Module, step: int) -> None:
        if most is None:
            nn.utils.clip_grad_norm_(model.parameters(), knobs["norm"])
        else:
            nn.utils.clip_grad_value_(model.parameters(), most)

    steered, by_hand = _steered(tmp_path / "run", "sgd", {"clip": knobs}), _reference("sgd", before)
    assert steered.keys() == by_hand.keys()
    for name, value in steered.items():
        torch.testing.assert_close(value, by_hand[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_under_a_scaler_the_unscaled_gradients_are_clipped(tmp_path: Path, fused: bool) -> None:
    """The update is that of the clipped gradient without a scaler; one that overflows skips its step as ever."""
    ended = []
    for scale in (1.0, 1024.0):
        model, generator = _net(), torch.Generator().manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1.0)
        with diorama.watch(model, tmp_path / f"run{scale}", optimizer=optimizer, state=[scaler]) as recorder:
            requests.send(recorder.path, "clip", {"norm": 0.02, "value": 0.01})
            recorder.step(loss=0.0)
            for _ in range(3):
                _gradients(model, generator, scaler.scale)
                scaler.step(optimizer)
                scaler.update()
            ended.append([p.detach().clone() for p in model.parameters()])
            model[0].weight.grad[0, 0] = float("inf")  # type: ignore[index,union-attr]
            kept = model[0].weight.detach().clone()  # type: ignore[index]
            if scaler.is_enabled():
                scaler.step(optimizer)
                assert torch.equal(kept, model[0].weight)  # type: ignore[index]
    for one, two in zip(*ended, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_what_a_closure_makes_is_clipped(tmp_path: Path) -> None:
    """A step that is given a closure uses the clipped gradients of it, and returns its loss."""
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        requests.send(recorder.path, "clip", {"value": 0.5})
        recorder.step(loss=0.0)
        before = model.weight.detach().clone()

        def closure() -> float:
            model.weight.grad = torch.tensor([[3.0, -0.25]])
            return 7.0

        assert optimizer.step(closure) == 7.0
        torch.testing.assert_close(before - model.weight, torch.tensor([[0.5, -0.25]]))


def test_a_schedule_is_bent_from_here_on(tmp_path: Path) -> None:
    """The factor follows the drawn line on top of the scheduler's rate and a constant factor; the scheduler sees nothing."""
    acts = {"learning_rate": {"factor": 2.0}, "schedule": {"steps": "0,2,4", "factors": "1,0.5,0"}}
    line = dict(zip(range(SINCE + 1, UNTIL + 1), (1.0, 0.75, 0.5, 0.25, 0.0), strict=True))

    def before(made: Any, model: nn.Module, step: int) -> None:
        for group in made.param_groups:
            group["lr"] *= 2.0 * line[step]

    _assert_equal(_steered(tmp_path / "run", "sgd", acts), _reference("sgd", before))
    run = diorama.open(tmp_path / "run")
    steps, rates = run.series("learning_rate")
    assert rates[steps == SINCE + 3][0] == pytest.approx(2 * 0.25 * 0.05 * (1 + torch.cos(torch.tensor((SINCE + 3) / END * torch.pi))))


def test_what_cannot_be_wished_is_refused(tmp_path: Path) -> None:
    """In one sentence each, and nothing is in force."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    optimizer = torch.optim.SGD([{"params": model[0].weight}, {"params": model[0].bias, "lr": 0.2}], 0.1)
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("learning_rate", {"layer": "2", "factor": 2}, "no optimizer"),
        ("learning_rate", {"layer": "1", "factor": 2}, "no weights"),
        ("learning_rate", {"layer": "0", "value": 2}, "has 2 learning rates|have 2 learning rates"),
        ("learning_rate", {"layer": "0", "group": 0, "factor": 2}, "either layer= or group="),
        ("optimizer_value", {"layer": "0", "setting": "beta", "value": 0.5}, "optimizer value"),
        ("schedule", {"steps": "0,1", "factors": "1"}, "as many factors"),
        ("schedule", {"steps": "1,0", "factors": "1,2"}, "rising"),
        ("schedule", {"steps": "0,1", "factors": "1,-2"}, "from 0 to 1e6"),
        ("clip", {"norm": 0}, "of at least|from 1e-12"),
    ]
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        sent = [requests.send(recorder.path, name, knobs) for name, knobs, _ in wrong]
        recorder.step(loss=0.0)
        assert not recorder.controls.factors.active
    run = diorama.open(tmp_path / "run")
    for number, (name, _, words) in zip(sent, wrong, strict=True):
        answer = run.acknowledgement(number)
        assert answer is not None
        assert not answer["ok"]
        assert any(word in answer["text"] for word in words.split("|")), (name, answer["text"])


def test_wishes_are_kept_in_a_checkpoint(tmp_path: Path) -> None:
    """What was in force when a checkpoint was taken is in force again when it is put back, and nothing else."""
    model = _net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer) as recorder:
        for name, knobs in {**OF_LAYER, "clip": {"norm": 2.0}, "schedule": {"steps": "0,9", "factors": "1,0"}}.items():
            requests.send(recorder.path, name, knobs)
        recorder.step(loss=0.0)
        kept = recorder.controls.kept()
        recorder.controls.let_go()
        assert not recorder.controls.factors.active
        recorder.controls.put_back(kept)
        assert recorder.controls.kept() == kept
        assert kept["layers"] == {"0": {"factor": 0.5, "weight_decay": 0.3}}


def test_a_value_that_a_scheduler_sets_too_is_said_to_be_brief(tmp_path: Path) -> None:
    """One of torch's before its first step, one's own once it has moved the value; for a layer the value holds, and nothing is said."""
    model = _net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, scheduler=scheduler) as recorder:
        sent = []
        for name, value, more in (("momentum", 0.5, {}), ("weight_decay", 0.1, {}), ("weight_decay", 0.2, {}), ("momentum", 0.3, {"layer": "0"})):
            if len(sent) == 2:
                optimizer.param_groups[0]["weight_decay"] = 0.05
            sent.append(requests.send(recorder.path, "optimizer_value", {"setting": name, "value": value, **more}))
            recorder.step(loss=0.0)
    answers = [diorama.open(tmp_path / "run").acknowledgement(number) for number in sent]
    assert all(answer is not None and answer["ok"] for answer in answers)
    assert ["it holds until the scheduler or the loop" in answer["text"] for answer in answers if answer is not None] == [True, False, True, False]
