"""Five hundred different commands that make no sense, to plain, scripted and sharded nets: each is refused with a sentence, and no weight moves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import diorama
from diorama.core import registry
from diorama.core.knobs import Knob, knobs_of
from diorama.model.plain_module import local
from diorama.record import requests, rounds

COUNT = {"plain": 250, "scripted": 125, "sharded": 125}
"""How many different ones a training refuses: of a plain net, of one with a scripted part, and of one whose weights FSDP spreads over processes."""
NUMBERS = [float("nan"), float("inf"), -float("inf"), -1, -0.5, 1e300, "many", None, [], {}, [[1]], "", "-1", True]
NAMES = [
    "", "nowhere", "0/99", "unit:0/99999999999", "0", "1/0", "op:relu/1", "0/1@2,3", "layer:0", "../0/1", "0/1,2", 7, None, ["0"], {}, "\0",
    "é" * 300,
]
KEYS = ["", "weight:0/99,0", "weight:0/0,0,0,0", "weight:nowhere/0", "unit:0/1", "weight:0.bias/6", "weight:1/0", "weight:0/-1", 5, None]
LISTS = ["1,0", "a", "nan,1", "-5,3", [], [float("nan")], {}, "1e400", "999999999", [[0]], -1, None, "0,1,2,3,4,5"]
FREE = {"pause", "resume", "step", "stop", "snapshot", "checkpoint", "go_back", "branch", "undo", "rule", "unrule"}
"""Commands that change no weight, or that have tests of their own."""


def _wrong(knob: Knob, chance: random.Random) -> Any:
    if knob.name == "key":
        return chance.choice(KEYS)
    if knob.kind in ("number", "integer", "flag", "step", "example"):
        return chance.choice(NUMBERS)
    if knob.kind in ("numbers", "units", "examples"):
        return chance.choice(LISTS)
    return chance.choice(NAMES)


def _digest(model: nn.Module, optimizer: Any) -> str:
    found = hashlib.sha256()
    memory = [value for state in optimizer.state.values() for value in state.values()]
    for tensor in [*model.state_dict().values(), *memory]:
        found.update(local(torch.as_tensor(tensor).detach()).numpy().tobytes())
    return found.hexdigest() + str([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """A group of this one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture(params=COUNT)
def training(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recorded net between two steps, whose optimizer remembers something."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    torch.manual_seed(0)
    with _alone() if request.param == "sharded" else contextlib.nullcontext():
        yield from _training(request.param, tmp_path)


def _training(kind: str, tmp_path: Path) -> Any:
    relu: Any = nn.ReLU()
    if kind == "scripted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            relu = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))
    model = nn.Sequential(nn.Linear(4, 6), relu, nn.Linear(6, 3))
    if kind == "sharded":
        fully_shard(model)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x = torch.randn(8, 4)
    with diorama.watch(model, tmp_path / "run", probe=(x, x[:, :3].argmax(1)), optimizer=optimizer) as recorder:
        nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        optimizer.step()
        recorder.step(loss=0.0)
        yield model, optimizer, recorder, COUNT[kind]


def test_five_hundred_senseless_commands_change_nothing(training: Any) -> None:
    """So many different ones are refused, each in a sentence, and after each all weights, memories and values are what they were before it; what
    makes sense by chance is an act that is taken back, to the bit."""
    model, optimizer, recorder, count = training
    chance = random.Random(count)
    names = [name for name in registry.commands if name not in FREE]
    before = _digest(model, optimizer)
    sent: dict[str, tuple[str, str]] = {}
    number = 0
    while len(sent) < 1.15 * count:  # some make sense by chance
        number += 1
        name = chance.choice([*names, "no_such_command"]) if number % 20 else "zero"
        knobs = {}
        if name in registry.commands:
            known = knobs_of(registry.commands[name]).values()
            knobs = {knob.name: _wrong(knob, chance) for knob in known if chance.random() < 0.8}
        if not number % 25:
            knobs["no_such_knob"] = 1
        sent[f"{name} {json.dumps(knobs, sort_keys=True)}"] = name, json.dumps(knobs)
    answers: dict[int, dict[str, Any]] = {}
    note = recorder.controls.note_together
    stands = [before]

    def listen(notes: list[tuple[str, dict[str, Any]]]) -> None:
        (answer,) = [value for kind, value in notes if kind == "acknowledged"]
        answers[answer["id"]] = answer
        now = _digest(model, optimizer)
        assert answer["ok"] or now == stands[-1], answer
        stands.append(now)
        note(notes)

    recorder.controls.note_together = listen
    with sqlite3.connect(recorder.path / requests.NAME) as connection:
        rows = [(number, *each, "python") for number, each in enumerate(sent.values(), 1)]
        connection.executemany("INSERT INTO commands (id, name, knobs, sender, time) VALUES (?, ?, ?, ?, 0)", rows)
    connection.close()
    recorder.step(loss=0.0)
    assert [*answers] == [*range(1, len(sent) + 1)]  # none is lost, each is answered once
    refused = [(told, answer["text"]) for told, answer in zip(sent, answers.values(), strict=True) if not answer["ok"]]
    assert len(refused) >= count
    assert not [(told, text) for told, text in refused if "failed:" in text or "\n" in text or len(text.split()) < 3]
    for act in list(recorder.controls.acts.told())[::-1]:
        if act["state"] == "in force":
            recorder.controls.take_back(act["command"])
    assert _digest(model, optimizer) == before
    assert not recorder.controls.factors.active
    assert not recorder.controls.subject.frozen.layers
