"""Every act under every optimizer: taken back at once it has never been, and new units learn while what was there keeps each bit."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import own_optimizers
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core import registry
from diorama.record.facts import fact
from diorama.record.requests import SentCommand
from diorama.record.side_facts import memory_told
from diorama.record.stand_in import stand_in
from diorama.training.optimizers import copies_of_weights

ACTS: dict[str, tuple[dict[str, Any], ...]] = {
    "zero": ({"unit": "body.0/2"},),
    "reinitialize": ({"unit": "body.0/2", "seed": 3}, {"layer": "body", "seed": 3}),
    "copy_unit": ({"unit": "body.0/2", "to": "body.0/4"},),
    "swap_units": ({"unit": "body.0/2", "to": "body.0/5"},),
    "scale_layer": ({"layer": "body", "factor": 0.7},),
    "edit_weight": ({"key": "weight:last/1,3", "value": 0.25},),
    "freeze": ({"layer": "body"},),
    "learning_rate": ({"factor": 0.5}, {"layer": "last", "factor": 3.0}),
    "optimizer_value": ({"setting": "weight_decay", "value": 0.3},),
    "clip": ({"norm": 1e-3},),
    "schedule": ({"steps": "0,5", "factors": "1,0.1"},),
    "rule": ({"when": "signal", "signal": "loss", "above": 1e9, "do": "pause"},),
    "add_units": tuple({"layer": "body.0", "count": 2, "how": how} for how in ("preserve", "split", "gradient", "random")),
    "remove_units": ({"layer": "body.4", "units": "1,3"},),
    "add_layer": ({"after": "body.4"},),
    "remove_layer": ({"layer": "body.4"},),
    "rewire": ({"source": "body.0", "target": "body.4"},),
}
ELSEWHERE = {"thaw", "unrule", "restore", "drop", "relabel", "weigh", "undo", "go_back", "branch", "twin"}
"""What takes another act back, is about examples or about time: each has tests of its own."""


class Lion(torch.optim.Optimizer):
    """An optimizer of somebody's own: the sign of a running mean of gradients."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                first, second = group["betas"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * (first * mean + (1 - first) * p.grad).sign())
                mean.mul_(second).add_(p.grad, alpha=1 - second)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.05),
    "Lion": lambda p: Lion(p, 0.003, weight_decay=0.1),
}
LOOPS = ("plain", "groups", "accumulated", "scaled")
"""One group; two with values of their own; two batches a step, and gradients kept as zeros; autocast with a gradient scaler."""
PLAN = [(name, knobs) for name, many in ACTS.items() for knobs in many]
SWEEP = bool(os.environ.get("DIORAMA_SWEEP"))
SOME = list(itertools.product(OPTIMIZERS, LOOPS)) if SWEEP else [(name, LOOPS[k % len(LOOPS)]) for k, name in enumerate(OPTIMIZERS)]
"""All of them in the sweep; else each optimizer in one loop, with a third of the acts."""


class _Net(nn.Module):
    """A block that normalizes and draws random numbers, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 6), nn.ReLU())
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class _Loop:
    """A training of one's own, and what is in it."""

    def __init__(self, optimizer: str, how: str, path: Path) -> None:
        torch.manual_seed(0)
        self.how, self.model, self.turn = how, _Net(), 0
        groups = [{"params": list(self.model.body.parameters())}, {"params": list(self.model.last.parameters()), "lr": 0.02}]
        self.optimizer = OPTIMIZERS[optimizer](groups if how == "groups" else self.model.parameters())
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.99)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=how == "scaled")
        self.generator = torch.Generator().manual_seed(1)
        x = torch.randn(16, 4, generator=self.generator)
        self.recorder = diorama.watch(
            self.model, path, probe=(x, x[:, :3].argmax(1)), optimizer=self.optimizer, scheduler=self.scheduler, state=[self.scaler],
            snapshots=10_000, every=10_000,
        )
        torch.manual_seed(2)

    def train(self) -> None:
        """One batch; with accumulation a step at every second."""
        x = torch.randn(16, 4, generator=self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.how == "scaled"):
            loss = nn.functional.cross_entropy(self.model(x), x[:, :3].argmax(1))
        self.scaler.scale(loss).backward()
        if self.how != "accumulated" or self.turn % 2:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            self.optimizer.zero_grad(set_to_none=self.how != "accumulated")
        self.turn += 1
        self.loss = loss
        """Bound, so that its graph lives over what is done between two steps."""
        self.recorder.step(loss=loss)

    def send(self, name: str, **knobs: Any) -> str:
        """A command between two steps; why it was refused, or nothing."""
        answers: list[dict[str, Any]] = []
        self.recorder.controls.note_together = lambda notes: answers.extend(value for kind, value in notes if kind == "acknowledged")
        self.recorder.controls.apply(SentCommand(1 + len(self.recorder.controls.acts.told()), name, knobs, "python"))
        return "" if answers[-1]["ok"] else str(answers[-1]["text"])

    def state(self) -> dict[str, Tensor]:
        """Weights, statistics, gradients, all that is remembered, and the random state."""
        found = {name: value.clone() for name, value in self.model.state_dict().items()}
        found |= {f"{name} grad": p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        for name, p in self.model.named_parameters():
            found |= {f"{name} {kind}": torch.as_tensor(value).clone() for kind, value in self.optimizer.state.get(p, {}).items()}
        rates = torch.tensor([[float(torch.as_tensor(value)) for value in (group["lr"], group.get("weight_decay", 0.0))]
                              for group in self.optimizer.param_groups])
        return {**found, "groups": rates, "scale": torch.tensor(self.scaler.get_scale()), "random": torch.get_rng_state()}


def _apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    return [name for name in one | two if name not in one or name not in two or not torch.equal(one[name], two[name])]


def test_every_act_stands_in_the_law() -> None:
    """A command that steers and is in no list fails here."""
    acts = {name for name, command in registry.commands.items() if command.steers} - {"pause", "resume", "step", "stop", "snapshot", "checkpoint"}
    assert acts - ELSEWHERE == set(ACTS)


@pytest.mark.parametrize(("optimizer", "how"), SOME, ids=lambda value: value)
def test_acts_of_every_kind_leave_no_trace_once_taken_back(tmp_path: Path, optimizer: str, how: str) -> None:
    """A training with every act and its undo ends bitwise as one without; then units are added, the rest keeps its bits, and they learn."""
    plan = PLAN if SWEEP else PLAN[list(OPTIMIZERS).index(optimizer) % 3::3]
    loops = [_Loop(optimizer, how, tmp_path / name) for name in ("steered", "alone")]
    random = [torch.get_rng_state()] * 2
    for name, knobs in [*plan, ("", {}), ("", {})]:
        for k, loop in enumerate(loops):
            torch.set_rng_state(random[k])
            loop.train()
            if not k and name:
                before = loop.state()
                assert not loop.send(name, **knobs), (name, knobs, loop.send(name, **knobs))
                told = loop.recorder.controls.acts.told()[-1]
                assert not loop.send("undo", command=told["command"]), (name, knobs)
                assert not _apart(before, loop.state()), (name, knobs)
            random[k] = torch.get_rng_state()
    steered, alone = loops
    torch.set_rng_state(random[0])
    before = steered.state()
    alone.recorder.close()
    assert not _apart(before, {**alone.state(), "random": random[1]})
    assert not steered.send("add_units", layer="body.0", count=2)
    survivors = steered.state()
    for name, old in before.items():
        now = survivors[name]
        for axis, size in enumerate(old.shape):
            now = now.narrow(axis, 0, size)
        assert torch.equal(now, old), name
    rows = {name: p.detach().clone() for name, p in steered.model.named_parameters()}
    for _ in range(4):
        steered.train()
    learnt = dict(steered.model.named_parameters())
    assert all((learnt["body.0.weight"][-2:] != rows["body.0.weight"][-2:]).any(1))
    assert (learnt["body.4.weight"][:, -2:] != rows["body.4.weight"][:, -2:]).any()
    steered.recorder.close()


SHAPES = {"add_units", "remove_units"}
LAYERS = {"add_layer", "remove_layer", "rewire"}
UNITS = {"zero", "reinitialize", "copy_unit", "swap_units"}
ON_WEIGHTS = UNITS | {"scale_layer", "edit_weight"}
OWN: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], set[str], str]] = {
    "Sharp": (own_optimizers.Sharp, set(), ""),
    "SharpByCopies": (own_optimizers.SharpByCopies, SHAPES | LAYERS | ON_WEIGHTS, "SharpByCopies keeps numbers of the shape of .* in 'old_p'"),
    "Lookahead": (own_optimizers.Lookahead, SHAPES | LAYERS | ON_WEIGHTS, "Lookahead keeps numbers of the shape of .* in 'slow'"),
    "SlowList": (own_optimizers.SlowList, SHAPES | LAYERS | ON_WEIGHTS, "SlowList keeps numbers of the shape of .* in 'slow'"),
    "ByWeight": (own_optimizers.ByWeight, SHAPES | LAYERS | UNITS, "ByWeight keeps numbers of the shape of .* in 'sums'"),
    "InGroups": (own_optimizers.InGroups, SHAPES | LAYERS | UNITS, "InGroups keeps numbers of the shape of .* in 'sums'"),
    "Flat": (own_optimizers.Flat, SHAPES | LAYERS | UNITS, "Flat remembers all weights as one"),
    "ScheduleFree": (own_optimizers.ScheduleFree, set(), ""),
    "Master": (own_optimizers.Master, set(), ""),
    "Averaging": (own_optimizers.Averaging, set(), ""),
    "Bytes": (own_optimizers.Bytes, SHAPES | UNITS, "Bytes remembers 'code' of .* in whole numbers"),
    "Statistics": (own_optimizers.Statistics, SHAPES | UNITS, "Statistics remembers 'rows' of .* in another shape"),
    "Beforehand": (own_optimizers.Beforehand, {"add_layer", "rewire"}, "Beforehand cannot step a weight that it did not know"),
    "fused": (lambda p: torch.optim.AdamW(p, torch.tensor(0.01), fused=True, amsgrad=True), set(), ""),
    "foreach": (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, foreach=True, maximize=True), set(), ""),
}
"""Optimizers of people's own, with the acts that are refused under each, and why."""
BY_ORDER = {"SlowList", "InGroups", "Flat"}
"""Those that find what they remember by a weight's place among all, so that no layer has values of its own."""


class _OwnLoop(_Loop):
    """A loop with an optimizer of somebody's own, which may want two passes a step."""

    def __init__(self, optimizer: Callable[[Any], torch.optim.Optimizer], path: Path) -> None:
        torch.manual_seed(0)
        self.how, self.model, self.turn = "plain", _Net(), 0
        self.optimizer, self.scaler = optimizer(self.model.parameters()), torch.amp.GradScaler("cpu", enabled=False)
        self.generator = torch.Generator().manual_seed(1)
        x = torch.randn(16, 4, generator=self.generator)
        self.recorder = diorama.watch(
            self.model, path, probe=(x, x[:, :3].argmax(1)), optimizer=self.optimizer, snapshots=10_000, every=10_000,
        )
        torch.manual_seed(2)

    def train(self) -> None:
        """One batch."""
        x = torch.randn(16, 4, generator=self.generator)
        steps = [each for name in ("first_step", "second_step") if (each := getattr(self.optimizer, name, None)) is not None]
        for step in steps or [self.optimizer.step]:
            self.optimizer.zero_grad()
            self.loss = nn.functional.cross_entropy(self.model(x), x[:, :3].argmax(1))
            self.loss.backward()
            step()
        self.recorder.step(loss=self.loss)

    def state(self) -> dict[str, Tensor]:
        """Also what is remembered in other places than the state."""
        return {**super().state(), **own_optimizers.memory(self.optimizer)}


@pytest.mark.parametrize("name", OWN)
def test_under_an_optimizer_of_ones_own_each_act_is_exact_or_refused(tmp_path: Path, name: str) -> None:
    """An act leaves no trace once taken back, or is refused with the reason and changes nothing; copies of weights go along, new units learn."""
    made, refused, why = OWN[name]
    plan = PLAN if SWEEP else PLAN[list(OWN).index(name) % 3::3]
    loop = _OwnLoop(made, tmp_path / "run")
    for _ in range(2):
        loop.train()
    for act, knobs in plan:
        before = loop.state()
        said = _beforehand(loop.recorder, act, knobs) if registry.commands[act].previewed else None
        answer = loop.send(act, **knobs)
        if said is not None and not why.startswith("Beforehand"):  # whose step the training alone can try
            assert said == answer, act
        if act in refused or name in BY_ORDER and act == "learning_rate" and "layer" in knobs:
            assert act not in refused or re.search(why, answer), (act, answer)
        else:
            assert not answer, (act, answer)
            told = loop.recorder.controls.acts.told()[-1]
            assert not loop.send("undo", command=told["command"]), (act, knobs)
        assert not _apart(before, loop.state()), (act, knobs)
        loop.train()
    answer = loop.send("learning_rate", layer="last", factor=3.0)
    assert bool(answer) == (name in BY_ORDER), answer
    assert not answer or "by their order" in answer or "as one" in answer
    if "scale_layer" not in refused:
        optimizer, last = loop.recorder.controls.subject.optimizers[0], loop.model.last.weight
        kinds = copies_of_weights(optimizer)
        assert not loop.send("scale_layer", layer="last", factor=1.5)
        assert all(torch.equal(optimizer.state[last][kind].to(last.dtype), last) for kind in kinds & optimizer.state[last].keys())
        assert kinds - {"ax"} == {"ScheduleFree": {"z", "x"}, "Master": {"master"}, "Averaging": {"average"}}.get(name, set())
    if "add_units" not in refused:
        assert not loop.send("add_units", layer="body.0", count=2)
        rows = loop.model.body[0].weight.detach().clone()  # type: ignore[index, union-attr, operator]
        loop.train()
        moved = loop.model.body[4].weight[:, -2:]  # type: ignore[index, union-attr]
        assert moved.any()
        assert (loop.model.body[0].weight[-2:] - rows[-2:]).abs().max() < 0.5 * rows[-2:].abs().max()  # type: ignore[index, union-attr]
    assert not loop.send("learning_rate", factor=0.0)
    loop.recorder._rest = 0  # it looks for commands by itself no sooner than it is time to
    loop.train()
    weights = {key: p.detach().clone() for key, p in loop.model.named_parameters()}
    if name not in ("ScheduleFree", "Averaging", "Lookahead", "SlowList"):  # which move weights without a learning rate
        loop.train()
        assert all(torch.equal(weights[key], p) for key, p in loop.model.named_parameters())
    loop.recorder.close()


def _beforehand(recorder: Any, act: str, knobs: dict[str, Any]) -> str:
    """What a preview would refuse an act with, which knows of the optimizer what the run tells; empty where it would not."""
    subject, content = recorder.controls.subject, recorder.controls.content
    told = fact("memory", json.dumps(memory_told(subject)))
    trial = stand_in(subject.model, content, subject.frozen.layers, told)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            registry.commands[act](**knobs).apply(trial)
    except diorama.DioramaError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "left"), [("Sharp", ""), ("Lookahead", "what Lookahead keeps in 'slow'"), ("SlowList", "what SlowList keeps in 'slow'")]
)
def test_going_back_names_what_no_checkpoint_holds(tmp_path: Path, name: str, left: str) -> None:
    """The memory of the optimizer inside a wrapper goes back bitwise; what lies beside it stays, and is named."""
    loop = _OwnLoop(OWN[name][0], tmp_path / "run")
    loop.train()
    assert not loop.send("checkpoint")
    loop.recorder._background.flush(10.0)
    optimizer = loop.recorder.controls.subject.optimizers[0]
    before = {key: value.clone() for key, value in {**loop.model.state_dict(), **own_optimizers.memory(optimizer.state)}.items()}
    loop.train()
    assert _apart(before, {**loop.model.state_dict(), **own_optimizers.memory(optimizer.state)})
    _, told = loop.recorder.controls.go_back(1, 0)[1:]
    assert (f"; {left} is as it is now" in told) == bool(left), told
    assert not _apart(before, {**loop.model.state_dict(), **own_optimizers.memory(optimizer.state)})


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("closed", [True, False], ids=["scripted", "Adafactor"])
def test_structure_that_cannot_change_is_refused_by_name(tmp_path: Path, closed: bool) -> None:
    """Beside a scripted module, and under an optimizer that remembers something of another shape, no act of structure changes anything."""
    torch.manual_seed(0)
    first: nn.Module = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    model = nn.Sequential(torch.jit.script(first) if closed else first, nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = (torch.optim.Adam if closed else torch.optim.Adafactor)(model.parameters(), lr=0.01)
    x = torch.randn(8, 4)
    with diorama.watch(model, tmp_path / "run", probe=(x, x[:, :3].argmax(1)), optimizer=optimizer) as recorder:
        nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        optimizer.step()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        answers: list[dict[str, Any]] = []
        recorder.controls.note_together = lambda notes: answers.extend(value for kind, value in notes if kind == "acknowledged")
        wanted: list[tuple[str, dict[str, Any]]] = [("add_units", {"layer": "1", "count": 2}), ("remove_units", {"layer": "1", "units": "1"})]
        if not closed:  # nor does an act on a unit whose memory goes with it
            wanted += [("zero", {"unit": "1/2"}), ("reinitialize", {"layer": "1"}), ("swap_units", {"unit": "1/2", "to": "1/3"})]
            wanted += [("copy_unit", {"unit": "1/2", "to": "1/3"})]
        if closed:
            wanted += [("add_layer", {"after": "1"}), ("remove_layer", {"layer": "1"}), ("rewire", {"source": "1", "target": "3"})]
        for number, (name, knobs) in enumerate(wanted, 1):
            recorder.controls.apply(SentCommand(number, name, knobs, "python"))
        assert not any(answer["ok"] for answer in answers)
        assert all(("is a scripted module" if closed else "Adafactor remembers") in answer["text"] for answer in answers), answers
        assert not _apart(before, model.state_dict())
