"""What a record says nothing of is named, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo import ZOO

import diorama
from diorama.core import registry
from diorama.core.marks import Number
from diorama.record import evidence
from diorama.record.past import Past
from diorama.record.recorder import Recorder
from diorama.run import Run


class _AskedRecord(Past):
    """Notes whether anything that a finding asked for was there."""

    there = False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "snapshots" and found:
            self.there = True
        return found

    def series(self, name: str) -> Any:
        """Steps and values."""
        found = super().series(name)
        self.there |= bool(len(found[0]))
        return found

    def rows(self, name: str) -> Any:
        """Steps and rows."""
        found = super().rows(name)
        self.there |= bool(len(found[0]))
        return found


_BY_FACTS = ("frozen_layer", "idle_optimizer", "mixed_examples", "momentum_too_high", "not_in_optimizer", "padding")
"""Findings that go by what the run says of itself at its beginning."""


def _run(path: Path, number: int, optimizer: bool, steps: int) -> Run:
    model, x = ZOO[number]()
    stepped = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or [torch.zeros(1, requires_grad=True)], 1e-4)
    with diorama.watch(model, path, optimizer=stepped if optimizer else None, every=2) as recorder:
        for _ in range(steps):
            loss = _loss(model(*x) if isinstance(x, tuple) else model(**x) if isinstance(x, dict) else model(x))
            if loss.requires_grad:
                loss.backward()
                stepped.step()
                stepped.zero_grad()
            recorder.step(loss=loss)
    return diorama.open(path)


def _loss(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return (output.abs() if output.is_complex() else output.float()).square().mean()
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else vars(output).values()
    return sum((_loss(part) for part in parts if isinstance(part, torch.Tensor | tuple | list)), torch.zeros(()))


@pytest.mark.parametrize(("first", "optimizer"), [(0, True), (3, False)])
def test_a_finding_whose_readings_are_missing_is_named(tmp_path: Path, first: int, optimizer: bool) -> None:
    """Over the zoo: whatever is not named as unjudged found a reading that it asks for, and the line counts just those that are named."""
    for number in range(first, len(ZOO), 18):
        run = _run(tmp_path / str(number), number, optimizer, 4)
        named = {lack.finding: lack for lack in run.unjudged()}
        for name, finding in registry.findings.items():
            if name not in named and name not in _BY_FACTS:
                record = _AskedRecord(run)
                finding()(record)
                assert record.there, (ZOO[number].name, name)
        assert {name for name, lack in named.items() if lack.why.startswith("no optimizer")} == (
            set() if optimizer else {"frozen_layer", "idle_optimizer", "momentum_too_high", "not_in_optimizer", "weight_decay_too_strong"}
        )
        if "batch/accuracy" in run.series_names:
            assert not any(lack.why.startswith("no labels") for lack in named.values())
        assert named["stalled_learning"] == ("stalled_learning", evidence.TOO_FEW, "4 of 200", True)
        assert named["overfitting"].why == "there is no probe set: watch(probe=(x, y))"
        marks = [mark for mark in run.scene().view("findings").marks() if isinstance(mark, Number)]
        count, judged = sum(lack.about for lack in named.values()), len(registry.findings) - len(named)
        assert marks[-1].label == f"{count} of {count + judged} faults could not be looked for"
        assert "stalled learning (4 of 200)" in marks[-1].note


def test_a_record_of_nothing_judges_nothing(tmp_path: Path) -> None:
    """Each finding is named, and none is said to be well."""
    with diorama.watch(torch.nn.Linear(2, 2), tmp_path / "run"):
        pass
    run = diorama.open(tmp_path / "run")
    assert {lack.finding for lack in run.unjudged()} == set(registry.findings) - {"duplicated_units", "not_finite"}
    assert not any(mark.tone == "good" for mark in run.scene().view("findings").marks() if isinstance(mark, Number))


def _train(
    recorder: Recorder,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[torch.Tensor],
    labels: Sequence[torch.Tensor],
    steps: int,
) -> None:
    """`steps` steps of cross-entropy, through the batches in turn."""
    for step in range(steps):
        turn = step % len(batches)
        loss = torch.nn.functional.cross_entropy(model(batches[turn]), labels[turn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)


@pytest.mark.parametrize(("places", "looks"), [(True, False), (True, True), (False, False)])
def test_green_wants_readings_and_reasons_are_so(places: bool, looks: bool, tmp_path: Path) -> None:
    """Nothing is said to be well while what was asked waits for readings, though the training is over; true values and labels that are there
    are not said to be missing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(48, 1, 8, 8, generator=generator)
    y = (x[:, 0] > 0).long() if places else (x.mean((1, 2, 3)) > 0).long()
    rest = [] if places else [torch.nn.Flatten(), torch.nn.Linear(128, 2)]
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), *rest)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x[32:], y[32:]), optimizer=optimizer, every=5) as recorder:
        recorder._prober.affordable = lambda number: looks and number % 5 == 0  # type: ignore[union-attr,method-assign]
        _train(recorder, model, optimizer, x[:32].split(16), y[:32].split(16), 80)
    run = diorama.open(tmp_path / "run")
    assert ("overfitting" in {lack.finding for lack in run.unjudged() if lack.why == evidence.TOO_FEW}) is not looks
    picture = run.scene().view("findings")
    marks = [mark for mark in picture.marks() if isinstance(mark, Number)]
    assert not any(mark.tone == "good" for mark in marks)  # stalled learning waits for 200 steps in any case
    assert any(mark.label == "Little can be told of this training" for mark in marks) is not looks
    note = marks[-1].note
    assert "no true values" not in note
    assert "No labels" not in note
    assert ("true values are a class a place" in note) is places
    assert looks or "of a smaller probe set there are more" in note
    assert f"{marks[-1].label.partition(' ')[0]} faults could not be looked for" in picture.caption


def test_what_is_judged_follows_the_readings(tmp_path: Path) -> None:
    """With the readings of a whole training nothing is left open; as it stood at an earlier step more is, and is counted."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(288, 6, generator=generator)
    y = (x[:, 0] + x[:, 1] > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x[256:], y[256:]), optimizer=optimizer, every=10) as recorder:
        recorder._prober.affordable = lambda number: True  # type: ignore[union-attr,method-assign]
        _train(recorder, model, optimizer, x[:256].split(32), y[:256].split(32), 200)
    run = diorama.open(tmp_path / "run")
    assert [lack for lack in run.unjudged() if lack.about] == []
    assert any(mark.tone == "good" for mark in run.scene().view("findings").marks() if isinstance(mark, Number))
    early = {lack.finding: lack for lack in run.unjudged(20) if lack.about}
    assert early["dead_units"].seen == "2 of 3"
    assert {lack.finding for lack in run.unjudged() if not lack.about} >= {"judge_too_strong", "dropout_too_strong", "gradient_overflow"}
    assert "could not be looked for" in run.scene(step=0).view("health").note
    assert "could not be looked for" not in run.scene().view("health").note


def test_labels_that_were_read_are_not_called_unknown(tmp_path: Path) -> None:
    """Of texts the labels are read, and no place of a picture: the one is not given as the reason for the other."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(8, 6), torch.nn.Flatten(), torch.nn.Linear(24, 3))
    probe = torch.randint(8, (30, 4)), torch.arange(30) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=probe, optimizer=optimizer, every=1) as recorder:
        for _ in range(40):
            loss = torch.nn.functional.cross_entropy(model(torch.randint(8, (32, 4))), torch.randint(3, (32,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = diorama.open(tmp_path / "run")
    assert "batch/labels" in run.series_names
    (why,) = [lack.why for lack in run.unjudged() if lack.finding == "shortcut"]
    assert why == "the inputs are neither pictures nor columns of numbers"
