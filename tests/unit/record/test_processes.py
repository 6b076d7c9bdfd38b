"""A training of several processes: what one of them is told, all of them do or none."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import diorama

_RANK = """
import os, sys, json, threading, torch
from torch import nn
import torch.distributed as dist
import diorama
from diorama.record import requests, rounds
rounds.LOOK = 0.0
rank, world, port, kind, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
if kind == "ddp":
    wrapped = nn.parallel.DistributedDataParallel(model)
else:
    from torch.distributed.fsdp import fully_shard
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (world,))
    wrapped = fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
generator = torch.Generator().manual_seed(rank)
with diorama.watch(wrapped, path, probe=torch.zeros(4, 4), optimizer=optimizer, every=2) as recorder:
    for step in range(STEPS):
        if optimizer.param_groups[0]["momentum"] == 0.25 and "acted" in ORDERS:  # once a rule has set it
            ORDERS[step], ORDERS[step + 20] = ORDERS.pop("acted"), [("stop", {})]
        for name, knobs in ORDERS.get(step, ()) if rank == 0 else ():
            requests.send(recorder.path, name, knobs)
        if rank == 0 and step == 2 and ALONE:
            for name, knobs in (("drop", {"examples": "3"}), ("add_units", {"layer": "0"}), ("go_back", {"step": 0}), ("snapshot", {})):
                requests.send(recorder.path, name, knobs)
        if step == DIES and rank == 1:
            os._exit(7)
        x = torch.randn(8, 4, generator=generator)
        loss = nn.functional.cross_entropy(wrapped(x), x[:, :3].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)
assert "diorama-ranks" not in [thread.name for thread in threading.enumerate()]
local = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
group = optimizer.param_groups[0]
sums, values = [float(p.detach().double().sum()) for p in local], [group[name] for name in ("lr", "momentum", "weight_decay")]
print(json.dumps(sums if kind == "ddp" else values), flush=True)
"""


def _train(
    world: int, kind: str, path: Path, orders: Mapping[int | str, object] = {}, steps: int = 6, dies: int = -1  # noqa: B006 - read alone
) -> list[list[float]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = f"ORDERS, ALONE, STEPS, DIES = {dict(orders)!r}, {not orders}, {steps}, {dies}\n{_RANK}"
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["torch.distributed.fsdp", "torch.nn.parallel", "diorama.record.recorder"])
    told = [path.with_name(f"rank{rank}.json") for rank in range(world)]
    ranks = [
        started.Process(target=_rank, args=(script, [str(rank), str(world), port, kind, str(path)], said))
        for rank, said in enumerate(told)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    if dies >= 0:
        return []
    assert [rank.exitcode for rank in ranks] == [0] * world
    return [json.loads(said.read_text()) for said in told]


def _rank(script: str, arguments: list[str], said: Path) -> None:
    """One process of a training; what it says last goes to a file.

    It ends with all it holds: where a ``DistributedDataParallel`` is freed, torch waits for a thread of gloo while it holds Python's lock,
    and that thread may wait for the lock (seen in torch 2.13 without diorama as well).
    """
    sys.argv = ["rank", *arguments]
    held = {"__name__": "__main__"}
    with said.open("w") as out, contextlib.redirect_stdout(out):
        exec(compile(script, "rank", "exec"), held)
    os._exit(0)


@pytest.mark.parametrize("world", [3])
def test_what_would_part_the_processes_is_refused(tmp_path: Path, world: int) -> None:
    """In a DDP run commands that change one process alone are refused, with the way out, and all weights stay equal."""
    sums = _train(world, "ddp", tmp_path / "run")
    assert all(each == pytest.approx(sums[0], abs=1e-12) for each in sums)
    run = diorama.open(tmp_path / "run")
    answers = [run.acknowledgement(number) for number in range(1, 5)]
    assert [bool(answer and answer["ok"]) for answer in answers] == [False, False, False, True]
    assert all(f"one of the {world} processes" in answer["text"] for answer in answers[:3] if answer)
    assert run.last_step == 6


ORDERS = {
    2: [("learning_rate", {"factor": 0.1}), ("freeze", {"layer": "0"})], 30: [("thaw", {"layer": "0"}), ("reinitialize", {"unit": "0/2"})],
    60: [("clip", {"norm": 0.01}), ("schedule", {"steps": "0,20", "factors": "1,3"}), ("scale_layer", {"layer": "2", "factor": 7.0})],
    90: [("undo", {}), ("zero", {"unit": "0/99"}), ("rule", {"when": "signal", "signal": "loss", "above": -1.0, "steps": 5, "do": "zero",
                                                             "with_knobs": "unit=0/1"})],
    140: [("stop", {})],
}


def test_all_processes_apply_a_command_after_the_same_step(tmp_path: Path) -> None:
    """Optimizer values, weights, undo, a rule and the end reach every process of a DDP run at one step: their weights stay equal."""
    first, second = _train(2, "ddp", tmp_path / "run", ORDERS, 100_000)
    assert first == second
    run = diorama.open(tmp_path / "run")
    told = {event.name: event.step for event in run.events if event.kind == "command"}
    assert set(told) == {"learning_rate", "freeze", "thaw", "reinitialize", "clip", "schedule", "scale_layer", "undo", "rule", "zero", "stop"}
    assert run.meta["ended"]["how"] == "stopped"
    assert run.last_step == told["stop"]
    assert [name for name in told if told[name] <= 2] == []
    assert not [event.text for event in run.events if event.kind == "warning"]
    refused = run.acknowledgement(9)
    assert refused is not None
    assert not refused["ok"]


_BY_LAYERS = """
class ByLayers(diorama.plugins.Command):
    shared = True
    def apply(self, training):
        table = training.subject.table
        if table is None:
            raise diorama.plugins.NotApplicable("no layers are known here")
        with torch.no_grad():
            training.subject.model.get_parameter(table["2"].weight).mul_(0.5)
        return diorama.plugins.Applied("1", "0.5", "halved " + " ".join(table.names))
diorama.commands.register("by_layers", ByLayers)
"""


def test_a_command_that_goes_by_the_layers_does_so_in_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that do not record know them, so that no process does otherwise."""
    before, after = _RANK.split("rank, world", 1)
    monkeypatch.setattr(sys.modules[__name__], "_RANK", f"{before}import diorama.plugins\n{_BY_LAYERS}\nrank, world{after}")
    first, second = _train(2, "ddp", tmp_path / "run", {2: [("by_layers", {})], 30: [("stop", {})]}, 100_000)
    assert first == second
    run = diorama.open(tmp_path / "run")
    answer = run.acknowledgement(1)
    assert answer is not None
    assert answer["ok"]
    assert answer["text"].startswith("halved 0 1 2")
    assert not [event.text for event in run.events if event.kind == "warning"]


_PARTS = """
class Parts(diorama.plugins.Command):
    shared = True
    def apply(self, training):
        if dist.get_rank() == 1:
            raise diorama.plugins.NotApplicable("not here")
        return diorama.plugins.Applied("1", "2", "done")
diorama.commands.register("parts", Parts)
"""


def test_the_sender_is_told_where_another_process_did_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told back names the process, of that command alone; so does an event, for all who look on."""
    before, after = _RANK.split("rank, world", 1)
    monkeypatch.setattr(sys.modules[__name__], "_RANK", f"{before}import diorama.plugins\n{_PARTS}\nrank, world{after}")
    orders = {2: [("learning_rate", {"factor": 0.1}), ("parts", {})], 30: [("learning_rate", {"factor": 0.5})], 60: [("stop", {})]}
    _train(2, "ddp", tmp_path / "run", orders, 100_000)
    run = diorama.open(tmp_path / "run")
    texts = [str((run.acknowledgement(number) or {}).get("text")) for number in (1, 2, 3)]
    parted = "process 1 did otherwise with a command than this one: their weights may have parted"
    assert [parted in text for text in texts] == [False, True, False]
    assert [event.text for event in run.events if (event.kind, event.name) == ("warning", "processes")] == [parted]


def test_a_process_that_dies_holds_no_command_up(tmp_path: Path) -> None:
    """Where one dies while a command waits, the other ends as it would without diorama, and the command is not applied by half."""
    _train(2, "ddp", tmp_path / "run", {3: [("learning_rate", {"factor": 0.1})]}, 8, dies=3)
    run = diorama.open(tmp_path / "run")
    answer = run.acknowledgement(1)
    assert answer is None or not answer["ok"]
    assert not run.alive


def test_a_sharded_training_is_recorded_as_far_as_it_goes(tmp_path: Path) -> None:
    """FSDP2 trains to its end; numbers are recorded, what is left out is an event at the start; commands on the optimizer's values, and rules that
    send such, reach all processes alike, others are refused before anything changes."""
    seen = {"when": "signal", "signal": "loss", "above": -1.0, "steps": 10**9, "do": "optimizer_value"}
    orders = [
        ("learning_rate", {"factor": 0.0}), ("optimizer_value", {"setting": "weight_decay", "value": 0.125}),
        ("rule", {**seen, "steps": 5, "with_knobs": "setting=momentum; value=0.25"}), ("rule", {**seen, "signal": "never"}),
        ("zero", {"unit": "0/1"}), ("learning_rate", {"layer": "0", "factor": 0.5}), ("swap_units", {"unit": "0/1", "to": "0/2"}),
        ("copy_unit", {"unit": "0/1", "to": "0/2"}), ("reinitialize", {"layer": "0"}), ("optimizer_value", {"layer": "0", "value": 0.5}),
        ("rule", {**seen, "do": "zero", "with_knobs": "unit=0/1"}), ("rule", {**seen, "do": "drop", "with_knobs": "examples=3"}),
    ]
    good = [True] * 3 + [False] * 9  # a series that was never read is refused by the process that records, before the others hear of it
    after = [("unrule", {"rule": 1}), ("undo", {"command": 1})]
    ends = _train(2, "fsdp", tmp_path / "run", {3: orders, "acted": after}, 100_000)
    run = diorama.open(tmp_path / "run")
    assert run.series("loss")[0].tolist() == [*range(1, run.last_step + 1)]
    assert run.meta["ended"]["how"] == "stopped"
    answers = [run.acknowledgement(number) for number in range(1, len(orders) + 1)]
    assert [bool(answer and answer["ok"]) for answer in answers] == good, answers
    assert "series" in str(answers[3])
    assert all("spread by FSDP" in str(answer) for answer in answers[4:-1])
    assert "one of the 2 processes" in str(answers[-1])
    rates = run.series("learning_rate")[1].tolist()
    assert 0.0 in rates
    assert rates[-1] == pytest.approx(0.1)
    assert ends[0] == ends[1] == [pytest.approx(0.1), 0.25, 0.125]  # the optimizer of every process holds the same values
    told = [event.name for event in run.events if event.kind == "command"]
    assert told.count("optimizer_value") > 1 and {"rule", "unrule", "undo"} <= {*told}  # noqa: PT018 - one log
    assert not [event.text for event in run.events if (event.kind, event.name) == ("warning", "processes")]  # the other applied the same
    assert {"weights/0.weight/norm", "gradients/0.weight/norm", "updates/2.bias/ratio"} <= {*run.series_names}
    assert run.snapshots == []
    assert "spread over processes" in run.events[0].text
    assert run.check() == []
