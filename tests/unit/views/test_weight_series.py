"""Single weights over a training: the numbers of the snapshots, and which moved most, against plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Lines
from diorama.core.picture import Picture
from diorama.record.facts import learnable
from diorama.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five steps with a snapshot at each; one weight of the second layer is pushed far by hand."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    path = tmp_path_factory.mktemp("weights") / "run"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    with diorama.watch(model, path, probe=(x, torch.arange(16) % 2), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model[2].weight[1, 3] += 1.0
            recorder.step(loss=loss.detach())
    return diorama.open(path)


def _lines(picture: Picture) -> Lines:
    found = picture.body.children[0] if hasattr(picture.body, "children") else picture.body
    assert isinstance(found, Lines)
    return found


def test_the_most_moved_come_first_with_their_numbers_at_every_snapshot(run: Run) -> None:
    """Each line is what the snapshots hold; they are the largest differences between first and last, found with NumPy."""
    lines = _lines(run.scene().view("weight_series", count=5))
    states = [run.state(step) for step in run.snapshots]
    apart = {
        (name.removesuffix(".weight"), at): abs(float(states[-1][name][at] - states[0][name][at]))
        for name in states[0] for at in np.ndindex(*states[0][name].shape)
    }
    wanted = sorted(apart, key=lambda one: -apart[one])[:5]
    assert [series.key for series in lines.series] == [f"weight:{name}/{','.join(map(str, at))}" for name, at in wanted]
    assert lines.series[0].key == "weight:2/1,3"
    np.testing.assert_allclose(lines.series[0].y, [float(state["2.weight"][1, 3]) for state in states], rtol=1e-6)
    np.testing.assert_array_equal(lines.series[0].x, run.snapshots)


def test_running_statistics_are_no_weights(tmp_path: Path) -> None:
    """Those of a batch norm move far and are not among the weights, nor are they in a record that does not say what is a buffer."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x = 1000 * torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    with diorama.watch(model, tmp_path / "run", probe=(x, torch.arange(16) % 2), optimizer=optimizer, snapshots=1) as recorder:
        for _ in range(3):
            model(x).square().mean().backward()
            optimizer.step()
            recorder.step()
    count = sum(weight.numel() for weight in model.parameters())
    run = diorama.open(tmp_path / "run")
    picture = run.scene().view("weight_series", count=100)
    assert picture.caption.startswith(f"The {count} of the {count} weights ")
    own = {f"weight:{name}" for name in ("0", "0.bias", "1", "1.bias", "2", "2.bias")}
    assert {str(series.key).partition("/")[0] for series in _lines(picture).series} <= own
    assert learnable({**run.meta, "buffers": None}) == learnable(run.meta)
    assert len(learnable(run.meta)) == 6


def test_chosen_weights_and_layers_are_followed(run: Run) -> None:
    """A chosen weight stands alone, here and in the inspector; a layer keeps its own; what is not there is a sentence."""
    scene = run.scene(3)
    lines = _lines(scene.view("weight_series", select=["weight:0.bias/2", "weight:0/1,2"]))
    np.testing.assert_allclose(lines.series[0].y, [float(run.state(step)["0.bias"][2]) for step in run.snapshots], rtol=1e-6)
    assert [series.key for series in lines.series] == ["weight:0.bias/2", "weight:0/1,2"]
    assert lines.cursor == 3.0
    inspected = scene.view("inspector", select=["weight:0/1,2"]).body.children  # type: ignore[union-attr]
    assert [mark.series[0].key for mark in inspected if isinstance(mark, Lines)] == ["weight:0/1,2"]
    assert {series.key[:9] for series in _lines(scene.view("weight_series", layer="0")).series} <= {"weight:0/", "weight:0."}
    for options in ({"select": ["weight:0/9,9"]}, {"layer": "1"}):
        with pytest.raises(NotApplicable, match="follow"):
            scene.view("weight_series", **options)  # type: ignore[arg-type]


def test_weights_that_are_no_numbers_leave_gaps(tmp_path: Path) -> None:
    """A run whose weights became NaN is drawn with what there was before."""
    model = nn.Sequential(nn.Linear(3, 2))
    with diorama.watch(model, tmp_path / "run", probe=torch.zeros(2, 3), every=1, snapshots=1) as recorder:
        for k in range(3):
            with torch.no_grad():
                model[0].weight += 1.0 if k < 2 else float("nan")
            recorder.step(loss=1.0)
    series = _lines(diorama.open(tmp_path / "run").scene().view("weight_series", select=["weight:0/0,0"])).series[0]
    assert np.isnan(series.y[-1])
    assert series.y[1] - series.y[0] == pytest.approx(1.0)


def test_weights_of_another_shape_are_counted_and_not_compared(tmp_path: Path) -> None:
    """Where a layer got a unit by the training's own code, the sentences count what is followed, what is not, and how many weights a step has."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, torch.arange(16) % 2), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for step in range(4):
            if step == 2:
                grown = {"0.weight": torch.zeros(1, 3), "0.bias": torch.zeros(1), "2.weight": torch.zeros(2, 1)}
                for name, more in grown.items():
                    weight = model.get_parameter(name)
                    weight.grad, weight.data = None, torch.cat([weight.data, more], 1 if name == "2.weight" else 0)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            recorder.step()
    scene = diorama.open(tmp_path / "run").scene()
    said = scene.view("weight_series").caption
    assert said.startswith("The 2 of the 2 weights that moved most")
    assert "30 other weights are not compared: the shape that they belong to, or the units in it, changed in between." in said
    assert "many of the 12 to 15 weights lie" in scene.view("distributions", layer="0").caption
