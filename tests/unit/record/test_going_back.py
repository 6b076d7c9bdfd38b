"""A living training goes back to a checkpoint: it stands as it stood, bit by bit, and goes on in a run of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.record import checkpoints, controls, requests, rounds, run_folder
from diorama.run import Run
from diorama.training.trainer import Trainer

Plan = dict[int, list[tuple[str, dict[str, Any]]]]
"""Commands, by the number of the loop's turn after which they are sent."""


@pytest.fixture(autouse=True)
def _looks_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LOOK", 0.0)


class _Training:
    """A small network with everything that a training has besides its weights."""

    def __init__(self, draws: bool) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.model.register_buffer("own", torch.zeros(2), persistent=False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 0.01, betas=(0.8, 0.9))
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 30)
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        self.trainer = Trainer(self.model, self.optimizer, x, (x[:, 0] > 0).long(), nn.functional.cross_entropy, batch=8)
        self.generators = (torch.Generator().manual_seed(3), np.random.default_rng(4), random.Random(5))
        self.seen: list[int] = []
        self.draws = draws
        """The loop draws its batches by itself."""
        self.ago = 0

    @property
    def state(self) -> list[Any]:
        """What the recorder is given besides."""
        return [*self.generators, self.seen] if self.draws else [self.trainer, *self.generators, self.seen]

    def advance(self, turn: int) -> dict[str, float]:
        """One step, which uses and moves all of it."""
        own, array, plain = self.generators
        noise = torch.rand((), generator=own) + float(array.random()) + plain.random()
        noise = noise + torch.rand(()) + random.random() + float(np.random.random())
        with torch.no_grad():
            self.model.own += noise  # type: ignore[operator]
            self.model[0].bias += 1e-3 * noise  # type: ignore[operator]
        self.seen.append(turn)
        if self.draws:
            self.trainer.step = turn
        told = self.trainer.advance()
        self.scheduler.step()
        return told

    def standing(self) -> list[Any]:
        """All that it consists of, as values."""
        memory = self.optimizer.state_dict()
        tensors = [*self.model.state_dict().values(), *self.model.buffers(), self.generators[0].get_state(), torch.get_rng_state()]
        tensors += [value for each in memory["state"].values() for value in each.values()]
        plain = (memory["param_groups"], self.scheduler.last_epoch, random.getstate(), len(self.seen),
                 self.generators[2].getstate(), self.generators[1].bit_generator.state, str(np.random.get_state()))
        return [*(tensor.clone() for tensor in tensors), plain]


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(one, other, strict=True)
    )


def _trained(path: Path, plan: Plan, turns: int, draws: bool = False, began: Callable[[_Training], None] = lambda t: None) -> Any:
    """Train; what is seen after each turn: the recorder's step, its run, and the whole training."""
    torch.manual_seed(7)
    random.seed(8)
    np.random.seed(9)
    training = _Training(draws)
    began(training)
    told: list[tuple[int, str, list[Any]]] = []
    probe = training.trainer.x[:8], training.trainer.y[:8]
    with diorama.watch(
        training.model, path, probe=probe, optimizer=training.optimizer, scheduler=training.scheduler,
        state=training.state, every=2,
    ) as recorder:
        for turn in range(turns):
            numbers = training.advance(turn)
            for name, knobs in plan.get(turn + 1, ()):
                requests.send(recorder.path, name, knobs)
            recorder.step(**numbers)
            told.append((recorder.number, recorder.path.name, training.standing()))
    return told


def _answers(run: Run) -> list[str]:
    return [event.text for event in run.events if event.kind == "command"]


def test_the_built_in_training_goes_on_as_it_did_the_first_time(tmp_path: Path) -> None:
    """After steering and going back every step is bitwise that of a run left alone: in the child, which reads as one line."""
    plan: Plan = {
        5: [("checkpoint", {})], 6: [("learning_rate", {"factor": 9.0}), ("freeze", {"layer": "4"})],
        9: [("optimizer_value", {"setting": "weight_decay", "value": 0.5})], 11: [("pause", {}), ("go_back", {"step": 5})],
    }
    alone = {number: standing for number, _, standing in _trained(tmp_path / "alone", {}, 14)}

    def waited(self: Any, meanwhile: Any) -> None:
        self.resume()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controls.Controls, "wait", waited)
        told = _trained(tmp_path / "run", plan, 20)
    assert not _same(told[9][2], alone[10])
    assert [(number, name) for number, name, _ in told[9:13]] == [(10, "run"), (5, "run-2"), (6, "run-2"), (7, "run-2")]
    assert all(_same(standing, alone[number]) for number, name, standing in told if name == "run-2")
    run, child = diorama.open(tmp_path / "run"), diorama.open(tmp_path / "run-2")
    assert [each.path.name for each in run.children] == ["run-2"]
    assert child.parent is not None
    assert child.parent.path == run.path
    assert child.series("loss")[0].tolist() == [*range(1, 15)]
    assert child.check() == run.check() == []
    assert run.last_step == 11
    assert "the same batches come again" in _answers(run)[-1]
    with pytest.raises(diorama.Unavailable, match="goes on in 'run-2'"):
        run.command("pause")


def test_a_training_goes_back_to_before_a_command(tmp_path: Path) -> None:
    """Of two acts between the same steps the first stays, and the second is as if it had not been; without its checkpoint nothing changes."""
    acts = [("scale_layer", {"layer": "0", "factor": 2.0}), ("zero", {"unit": "4/1"})]
    first = _trained(tmp_path / "first", {5: acts[:1]}, 9)
    told = _trained(tmp_path / "run", {5: acts, 7: [("go_back", {"command": 9})], 8: [("go_back", {"command": 2})],
                                         10: [("go_back", {"command": 1})]}, 11)
    assert not _same(told[6][2], first[6][2])
    assert [(number, name) for number, name, _ in told[6:9]] == [(7, "run"), (5, "run-2"), (6, "run-2")]
    assert [(number, name) for number, name, _ in told[9:]] == [(5, "run-3"), (6, "run-3")]
    assert _same(told[8][2], first[5][2])
    assert torch.equal(2.0 * told[9][2][0], first[4][2][0])
    run, child, last = (diorama.open(tmp_path / name) for name in ("run", "run-2", "run-3"))
    assert [(act["command"], act["run"], act["state"]) for act in child.meta["acts"]] == [(1, "run", "for good")]
    assert last.meta["acts"] == []
    assert child.acknowledgement(1) is None
    assert child.acknowledgement(5) is not None
    assert "went back to step 5, after command 1 (scale_layer), before command 2 (zero), in" in _answers(run)[-1]
    assert "went back to step 5, before command 1 (scale_layer), in" in _answers(child)[-1]
    assert "of these commands there is one: 1, 2" in str((run.acknowledgement(3) or {})["text"])


def test_in_a_loop_that_draws_its_batches_all_else_goes_back(tmp_path: Path) -> None:
    """Weights, buffers, memory, schedule and generators are as they were, and the answer says that the batches go on."""
    plan: Plan = {
        1: [("freeze", {"layer": "0"})], 2: [("freeze", {"layer": "4"}), ("thaw", {"layer": "0"})], 4: [("checkpoint", {})],
        6: [("thaw", {"layer": "4"})], 9: [("go_back", {"step": 4})],
    }
    told = _trained(tmp_path / "run", plan, 12, draws=True)
    assert _same(told[8][2], told[3][2])
    assert not _same(told[9][2], told[4][2])
    answer = _answers(diorama.open(tmp_path / "run"))[-1]
    assert "the batches go on as the loop draws them" in answer
    assert "Generator" in answer
    child = diorama.open(tmp_path / "run-2")
    # What was read before then is judged by what was frozen then, and is so again: else it would be told as a layer that hardly moves.
    assert child.meta["frozen"] == [["0", 1, 2], ["4", 2, None]]
    assert [child.frozen(step) for step in (2, 3, 4, 5)] == [("0",), ("4",), ("4",), ("4",)]


def test_gathered_gradients_go_back(tmp_path: Path) -> None:
    """Between two passes of one step of the optimizer they are in the checkpoint, also after steps that were only written down; after it none are."""
    # After the first going back the record is one step behind the loop.
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer, kept, seen = torch.optim.SGD(model.parameters(), 0.1), dict[int, Tensor](), dict[int, Tensor]()
    x = torch.randn(12, 8, 3)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=100, snapshots=100) as recorder:
        for number in range(1, 13):
            if (number - 1) % 4 == 0:
                optimizer.zero_grad()
            model(x[number - 1]).square().mean().backward()
            if number % 4 == 0:
                optimizer.step()
            assert model.weight.grad is not None
            kept[number] = model.weight.grad.clone()
            for name, knobs in {
                6: [("checkpoint", {})], 7: [("go_back", {"step": 6})], 8: [("checkpoint", {})], 9: [("go_back", {"step": 7})],
            }.get(number, list[tuple[str, dict[str, Any]]]()):
                requests.send(recorder.path, name, knobs)
                recorder._rest = 0
            recorder.step(loss=0.0)
            seen[number] = model.weight.grad.clone()
    assert torch.equal(seen[7], kept[6])
    assert not torch.equal(kept[7], kept[6])
    assert not seen[9].any()


@pytest.mark.parametrize("draws", [False, True])
def test_batches_are_left_out(tmp_path: Path, draws: bool) -> None:
    """With skip= the next batches leave no trace in weights and memory, are not counted, and training goes on after them."""
    plan: Plan = {4: [("checkpoint", {})], 6: [("go_back", {"step": 4, "skip": 2})]}
    told = _trained(tmp_path / "run", plan, 10, draws)
    child = diorama.open(tmp_path / "run-2")
    assert child.last_step == told[-1][0] == (6 if draws else 8)
    weights = len(_Training(draws).model.state_dict())
    if draws:
        assert [number for number, *_ in told[5:]] == [4, 4, 4, 5, 6]
        assert _same(told[7][2][:weights], told[3][2][:weights])
        assert not _same(told[8][2][:weights], told[3][2][:weights])
    else:
        assert [number for number, *_ in told[5:]] == [4, 5, 6, 7, 8]
        assert child.series("loss")[1][4] != diorama.open(tmp_path / "run").series("loss")[1][4]
    assert "the next 2 are left out" in _answers(diorama.open(tmp_path / "run"))[-1]


def test_what_cannot_go_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without a checkpoint, a network of another shape and a child that cannot be written are refused whole."""
    kept: list[_Training] = []
    begun = run_folder.begin_child
    failing: list[int] = []

    def fails(*args: Any, **kwargs: Any) -> Any:
        if not failing:
            return begun(*args, **kwargs)
        raise diorama.Unavailable("the disk is full")

    monkeypatch.setattr("diorama.record.way_back.begin_child", fails)
    standing: list[list[Any]] = []
    step = checkpoints.Checkpoints.copy

    def at(self: Any, number: int) -> checkpoints.CheckpointCopy:
        standing.append(kept[0].standing())
        failing.append(1)
        return step(self, number)

    monkeypatch.setattr(checkpoints.Checkpoints, "copy", at)
    plan: Plan = {3: [("checkpoint", {})], 5: [("go_back", {"step": 2})], 7: [("go_back", {"step": 3})]}
    told = _trained(tmp_path / "run", plan, 8, began=kept.append)
    assert [name for _, name, _ in told] == ["run"] * 8
    assert _same(standing[1], told[6][2])
    run = diorama.open(tmp_path / "run")
    refused = [run.acknowledgement(number) for number in (2, 3)]
    assert [each["text"] for each in refused if each] == ["no checkpoint at step 2; there are: 3", "the disk is full"]
    assert not any(each["ok"] for each in refused if each)
    assert run.children == []


def test_a_network_that_has_changed_its_shape_stays(tmp_path: Path) -> None:
    """Going back over a change of shape is refused with what changed."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with diorama.watch(model, tmp_path / "run", probe=torch.randn(4, 3)) as recorder:
        requests.send(recorder.path, "checkpoint", {})
        recorder.step(loss=1.0)
        model[0], model[1] = nn.Linear(3, 5), nn.Linear(5, 2)
        requests.send(recorder.path, "go_back", {"step": 1})
        recorder.step(loss=1.0)
        recorder.step(loss=1.0)
    answer = diorama.open(tmp_path / "run").acknowledgement(2)
    assert answer is not None
    assert not answer["ok"]
    assert "another shape then: 0.weight (4, 3) → (5, 3)" in answer["text"]


def test_a_checkpoint_of_an_earlier_version_has_its_weights_in_the_snapshot(tmp_path: Path) -> None:
    """A checkpoint without weights is completed from the snapshot of its step."""
    model = nn.Linear(3, 2)
    with diorama.watch(model, tmp_path / "run", probe=torch.randn(4, 3)) as recorder:
        recorder.step(loss=1.0)
        subject = recorder.controls.subject
    found = checkpoints.load_whole(tmp_path / "run", 1, subject)
    weight = found["weights"]["parameters"]["weight"].clone()
    pack = {name: value for name, value in found.items() if name not in ("weights", "steering")}
    file = next((tmp_path / "run" / "checkpoints").glob("*.pt"))
    torch.save(pack, file)
    file.with_suffix(".sig").write_text(checkpoints.trust.sign(file.read_bytes()))
    again = checkpoints.load_whole(tmp_path / "run", 1, subject)
    assert torch.equal(again["weights"]["parameters"]["weight"], weight)
