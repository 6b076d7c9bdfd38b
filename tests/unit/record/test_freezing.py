"""A frozen layer is not moved by anything, and goes on after it is thawed as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotFound
from diorama.record import requests

SINCE, UNTIL = 5, 12
"""Frozen after the first, thawed after the second step."""


pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Net(nn.Module):
    """Three layers, the second of which normalizes too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.block(torch.relu(self.first(x)))))


class _Careless(torch.optim.Optimizer):
    """An optimizer of somebody's own that asks no gradient whether it is there."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.05})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state["sum"] = state.get("sum", 0.0) + parameter.grad
            parameter -= 0.05 * state["sum"]


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05),
}


def _loop(model: nn.Module, optimizer: Any, each: Callable[[int], None], hold: Callable[[int], Any] = lambda _: ()) -> None:
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 21):
        x = torch.randn(16, 4, generator=generator)
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        for parameter in hold(step):
            parameter.grad = None
        optimizer.step()
        each(step)


def _send(run: Path, step: int) -> None:
    if step in (SINCE - 1, UNTIL - 1):
        requests.send(run, "freeze" if step < SINCE else "thaw", {"layer": "block"})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frozen_layer_is_as_if_its_steps_had_not_been(tmp_path: Path, name: str) -> None:
    """Weights and the optimizer's memory end bitwise as those of a twin whose layer was left out of these steps."""
    model, twin = _Net(), _Net()
    optimizer, other = OPTIMIZERS[name](model.parameters()), OPTIMIZERS[name](twin.parameters())
    seen = {}
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=1, snapshots=1) as recorder:

        def each(step: int) -> None:
            _send(tmp_path / "run", step)
            recorder.step(loss=0.0)
            seen[step] = {key: value.clone() for key, value in model.state_dict().items()}

        _loop(model, optimizer, each)
    kept: dict[str, torch.Tensor] = {}

    def as_it_was(step: int) -> None:
        if step == SINCE - 1:
            kept.update({key: value.clone() for key, value in twin.block[1].state_dict().items()})
        elif SINCE <= step < UNTIL:
            twin.block[1].load_state_dict({**twin.block[1].state_dict(), **{k: v for k, v in kept.items() if "r" in k}})

    _loop(twin, other, as_it_was, lambda step: twin.block.parameters() if SINCE <= step < UNTIL else ())
    for key, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    one, two = optimizer.state_dict()["state"], other.state_dict()["state"]
    for number, state in two.items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(one[number][key]), torch.as_tensor(value)), (number, key)
    frozen = [key for key in seen[1] if key.startswith("block")]
    assert all(torch.equal(seen[SINCE - 1][key], seen[UNTIL - 1][key]) for key in frozen)
    assert not torch.equal(seen[UNTIL - 1]["block.0.weight"], seen[UNTIL]["block.0.weight"])
    assert not torch.equal(seen[SINCE]["first.weight"], seen[SINCE + 1]["first.weight"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_it_is_written_down(tmp_path: Path) -> None:
    """Both commands are events, the record says which steps were frozen on purpose, and the layer's updates are 0."""
    model = _Net()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=1) as recorder:

        def each(step: int) -> None:
            _send(tmp_path / "run", step)
            recorder.step(loss=0.0)

        _loop(model, optimizer, each)
    run = diorama.open(tmp_path / "run")
    assert [(event.step, event.name) for event in run.events if event.kind == "command"] == [
        (SINCE - 1, "freeze"), (UNTIL - 1, "thaw")
    ]
    assert [bool(run.frozen(step)) for step in (SINCE - 1, SINCE, UNTIL - 1, UNTIL)] == [False, True, True, False]
    assert run.frozen() == ()
    steps, norms = run.series("updates/block.0.weight/norm")
    assert [step for step, norm in zip(steps, norms, strict=True) if norm == 0] == [*range(SINCE, UNTIL)]


@pytest.mark.parametrize("kind", ["careless", "lbfgs", "closure", "untold"])
def test_no_loop_is_disturbed(tmp_path: Path, kind: str) -> None:
    """Optimizers of one's own, closures and loops without a told optimizer go on, and do not move the layer."""
    model = _Net()
    make = {
        "careless": _Careless, "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
    }.get(kind, OPTIMIZERS["momentum"])
    optimizer = make(model.parameters())
    told = None if kind == "untold" else optimizer
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), x[:, :3].argmax(1))
        loss.backward()
        return loss

    with diorama.watch(model, tmp_path / "run", optimizer=told) as recorder:
        requests.send(tmp_path / "run", "freeze", {"layer": "block"})
        for step in range(1, 6):
            if kind in ("lbfgs", "closure"):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            recorder.step(loss=0.0)
            if step == 1:
                kept = {key: value.clone() for key, value in model.state_dict().items()}
    assert diorama.open(tmp_path / "run").frozen() == ("block",)
    moved = [key for key, value in model.state_dict().items() if not torch.equal(kept[key], value)]
    assert moved
    assert not [key for key in moved if key.startswith("block")]


def test_what_cannot_be_frozen_is_refused(tmp_path: Path) -> None:
    """Layers that are not there, without weights, frozen already or the last to learn: each in one sentence."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with diorama.watch(model, tmp_path / "run") as recorder:
        run = diorama.open(tmp_path / "run")
        with pytest.raises(NotFound, match="no layer named '7' among"):
            run.command("freeze", layer="7")
        told = []
        for name, layer in (("freeze", "1"), ("freeze", "0"), ("freeze", "0"), ("freeze", "2"), ("thaw", "2"), ("thaw", "0")):
            number = requests.send(tmp_path / "run", name, {"layer": layer})
            recorder.step(loss=0.0)
            told.append(number)
    answers = [run.acknowledgement(number) for number in told]
    texts = [("" if answer["ok"] else answer["text"]) for answer in answers if answer]
    for text, word in zip(texts, ("no weights", "", "frozen already", "nothing would learn", "was not frozen", ""), strict=True):
        assert word in text
        assert bool(word) == bool(text)


def test_a_layer_that_grows_stays_frozen(tmp_path: Path) -> None:
    """A frozen layer that is given another shape by hand is frozen as it is then."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with diorama.watch(model, tmp_path / "run") as recorder:
        requests.send(tmp_path / "run", "freeze", {"layer": "0"})
        recorder.step(loss=0.0)
        model[0], model[2] = nn.Linear(4, 7), nn.Linear(7, 3)
        kept = model[0].weight.clone()
        recorder.changed()
        with torch.no_grad():
            model[0].weight += 1
        recorder.step(loss=0.0)
        assert torch.equal(model[0].weight, kept)


class _Pair(nn.Module):
    """A maker and a judge of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maker, self.judge = (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, last)) for last in (4, 1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.judge(self.maker(z))


@pytest.mark.parametrize("kind", ["pair", "in the backward pass"])
def test_a_graph_outlives_the_steps_of_other_optimizers(tmp_path: Path, kind: str) -> None:
    """Where one optimizer steps before another's backward pass is over, a frozen layer stands still, and the others move as they would."""
    models = []
    for steered in (True, False):
        model, draw = _Pair(), torch.Generator().manual_seed(1)
        frozen = tuple(model.maker[2].parameters())
        if kind == "pair":
            optimizers = [torch.optim.Adam(part.parameters(), 0.05) for part in (model.judge, model.maker)]
        else:
            each = {parameter: torch.optim.SGD([parameter], 0.1, momentum=0.9) for parameter in model.parameters()}
            optimizers = list(each.values())

            def stepped(parameter: torch.Tensor, each: Any = each, held: Any = () if steered else frozen) -> None:
                if all(parameter is not other for other in held):
                    each[parameter].step()
                each[parameter].zero_grad()

            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(stepped)
        with diorama.watch(model, tmp_path / str(steered), optimizer=optimizers) as recorder:
            if steered:
                recorder._subject.frozen.freeze("maker.2")
                recorder._observer.prepare(1)
            for _ in range(3):
                z = torch.randn(8, 4, generator=draw)
                if kind == "pair":
                    made = model.maker(z)
                    optimizers[0].zero_grad()
                    (model.judge(made.detach()).square().mean() - model.judge(torch.randn(8, 4, generator=draw)).mean()).backward()
                    optimizers[0].step()
                    optimizers[1].zero_grad()
                    (-model.judge(made).mean()).exp().backward()
                    for parameter in () if steered else frozen:
                        parameter.grad = None
                    optimizers[1].step()
                else:
                    model(z).square().mean().backward()
                recorder.step(loss=0.0)
        models.append(model.state_dict())
    for name, weight in models[1].items():
        assert torch.equal(models[0][name], weight), name
        assert torch.equal(_Pair().state_dict()[name], weight) == name.startswith("maker.2."), name
