"""A run that goes on from another one is read as one line with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.live.shelf import find_runs
from diorama.live.state import Tracker
from diorama.record import lineage
from diorama.record.past import Past
from diorama.record.store import RunReader, Writer
from diorama.run import Run


def _train(path: Path, start: int, stop: int, units: int, parent: Path | None = None) -> None:
    """Steps after the first up to the last, whose loss is the step and a hundredth a unit."""
    torch.manual_seed(units)
    model = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 3))
    with diorama.watch(model, path, probe=torch.randn(6, 4), every=2, snapshots=5) as recorder:
        recorder.number = start
        for step in range(start + 1, stop + 1):
            with torch.no_grad():
                model[0].bias.fill_(step + units / 100)
            recorder.step(loss=step + units / 100)
    if parent is not None:
        writer = Writer(path)
        writer.write([], meta=lineage.told(parent, start))
        writer.close()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps, a child from step 10 with more units, and a grandchild from step 15 of that."""
    folder = tmp_path_factory.mktemp("family")
    _train(folder / "first", 0, 20, 5)
    _train(folder / "second", 10, 20, 6, folder / "first")
    _train(folder / "third", 15, 25, 7, folder / "second")
    return folder


def _units(step: int) -> int:
    return 5 if step <= 10 else 6 if step <= 15 else 7


def test_a_line_is_read_from_root_to_leaf(family: Path) -> None:
    """Series, histograms, snapshots, times and models of each step are those of the run that the step belongs to."""
    run = diorama.open(family / "third")
    steps, loss = run.series("loss")
    assert steps.tolist() == [*range(1, 26)]
    assert loss.tolist() == [pytest.approx(step + _units(step) / 100) for step in range(1, 26)]
    assert run.has_series("loss")
    assert not run.has_series("lost")
    assert run.snapshots == [0, 5, 10, 15, 20, 25]
    for step in run.snapshots[1:]:
        scene = run.scene(step)
        assert scene.layers["0"].units == _units(step)
        assert float(scene.model[0].bias[0].detach()) == pytest.approx(step + _units(step) / 100)
        assert {name: shape for name, shape, _ in run.structure(step)["parameters"]}["0.bias"] == [_units(step)]
    weights = run.histograms("weights/0.bias")
    assert weights.statistics[:, 4].tolist() == [_units(int(step)) for step in weights.steps]
    assert weights.steps.tolist() == [0, *range(2, 26, 2)]
    # Also as they are stored, and as they stood after a step of an ancestor.
    assert run.distributions("weights/0.bias").steps.tolist() == weights.steps.tolist()
    assert Past(run, 9).statistics("weights/0.bias").tolist() == weights.statistics[weights.steps <= 9].tolist()
    assert len(run.times()) == len(run.clock()[0])
    assert run.last_step == 25
    assert run.check() == []


def test_each_end_of_the_line(family: Path) -> None:
    """Every run knows its parent and its children, and one without them reads as it always did."""
    first, second, third = (diorama.open(family / name) for name in ("first", "second", "third"))
    assert first.parent is None
    assert isinstance(third.parent, Run)
    assert [run.name for run in (second.parent, third.parent) if run] == ["first", "second"]
    assert [[run.name for run in each.children] for each in (first, second, third)] == [["second"], ["third"], []]
    assert first.snapshots == RunReader(family / "first").snapshots
    assert first.series("loss")[0].tolist() == [*range(1, 21)]


def test_the_page_slides_along_the_line(family: Path) -> None:
    """The state that the page is told has the snapshots and series of the whole line."""
    tracker = Tracker("third", family / "third")
    tracker.poll()
    state = tracker.state()
    assert [state.first, state.last] == [0, 25]
    assert list(state.snapshots) == [0, 5, 10, 15, 20, 25]
    assert not tracker.poll()
    kept = family / "third" / "checkpoints" / "000000022.auto.pt"  # while a training waits, nothing else tells of it
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    assert tracker.poll()
    assert 22 in tracker.state().checkpoints
    kept.unlink()
    assert tracker.poll()
    assert 22 not in tracker.state().checkpoints
    tracker.close()
    assert set(find_runs([family / "first"])) == {"first", "second", "third"}  # whatever they are called


@pytest.mark.parametrize(
    ("parent", "words"),
    [
        ({"run": "gone", "step": 10}, "cannot be read"),
        ({"run": "../family/first", "step": 10}, "beside this one"),
        ({"run": "/", "step": 10}, "beside this one"),
        ({"run": "child", "step": 10}, "ancestor of itself"),
        ({"run": "third", "step": 10}, "ancestor of itself"),
    ],
)
def test_a_broken_line_is_told_and_the_run_is_read(
    family: Path, tmp_path: Path, parent: dict[str, Any], words: str
) -> None:
    """Parents that are missing, elsewhere or in a circle end the line in a sentence; what the run holds is there."""
    place = tmp_path / "family"
    shutil.copytree(family, place)
    (place / "second").rename(place / "child")
    for name, fact in (("child", parent), ("third", {"run": "child", "step": 15})):
        writer = Writer(place / name)
        writer.write([], meta={"parent": fact})
        writer.close()
    run = diorama.open(place / "child")
    steps = run.series("loss")[0].tolist()
    assert words in run.broken or words in diorama.open(place / "third").broken
    assert [*range(11, 21)] == [step for step in steps if step > 10][:10]
    assert run.scene(20).layers["0"].units == 6
    assert any(words in text for text in [*run.check(), *diorama.open(place / "third").check()])
