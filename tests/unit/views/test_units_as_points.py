"""Units as points: their correlation is NumPy's, what they serve is what was planted, and what is chosen lights its units."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from torch import nn

import diorama
from diorama.core.marks import Scatter
from diorama.core.picture import Draft
from diorama.core.selection import Selection
from diorama.methods.correlation import Comoments, as_rows, mutual_rank
from diorama.scene import Scene
from diorama.views.relate.units import UnitsView


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 90), max_size=4))
def test_correlation_is_numpys_however_it_streams(seed: int, cuts: list[int]) -> None:
    """Added in any blocks, also of columns whose mean is far from 0, the correlations are those of NumPy over all rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 5)) + 10.0 ** rng.integers(-2, 6, 5)
    gathered = Comoments(5)
    for block in np.split(rows, sorted(cuts)):
        gathered.add(block)
    np.testing.assert_allclose(gathered.pearson(), np.corrcoef(rows.T), atol=1e-7)


def test_a_unit_that_never_changes_goes_with_none() -> None:
    """Its correlation with others is 0, with itself 1; no number is missing."""
    rows = np.random.default_rng(0).normal(size=(50, 3))
    rows[:, 1] = 0.1
    found = Comoments(3).add(rows[:20]).add(rows[20:]).pearson()
    assert found[1].tolist() == [0, 1, 0]
    assert found[0, 2] == pytest.approx(np.corrcoef(rows[:, 0], rows[:, 2])[0, 1])
    assert Comoments(2).pearson().tolist() == [[1, 0], [0, 1]]


def test_mutual_rank_counts_partners() -> None:
    """It is the geometric mean of the places that two units have among each other's best partners."""
    correlation = np.corrcoef(np.random.default_rng(0).normal(size=(7, 30)))
    found = mutual_rank(correlation)
    for a in range(7):
        for b in range(7):
            places = [1 + sum(correlation[x, c] > correlation[x, y] for c in range(7) if c not in (x, y)) for x, y in ((a, b), (b, a))]
            assert found[a, b] == pytest.approx(0 if a == b else np.sqrt(places[0] * places[1]))


def test_distances_become_points() -> None:
    """Distances that points can have are had to rounding; where all are 0 the points are one."""
    apart = squareform(pdist(np.random.default_rng(0).normal(size=(12, 4))))
    np.testing.assert_allclose(squareform(pdist(as_rows(apart))), apart, atol=1e-9)
    assert not as_rows(np.zeros((4, 4))).any()


def _planted() -> tuple[Scene, np.ndarray]:
    """Twelve units of which four each answer to one of three classes, and one that never changes."""
    y = torch.arange(60) % 3
    x = nn.functional.one_hot(y, 3).float() + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    groups = np.arange(12) % 3
    net = nn.Sequential(nn.Linear(3, 13), nn.ReLU(), nn.Linear(13, 3))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
        for unit, group in enumerate(groups):
            net[0].weight[unit, group] = 1 + unit / 10
    return Scene(net, x, y), groups


def test_planted_units_stand_together_and_serve_their_class() -> None:
    """Units of a planted group are nearer to each other than to any other, and are coloured by the class they were made for."""
    scene, groups = _planted()
    value = scene.derive("units", layer="0").value
    codes = scene.activations("0")["0"].double().numpy()
    np.testing.assert_allclose(value["correlation"][:12, :12], np.corrcoef(codes[:, :12].T), atol=1e-6)
    assert value["serves"][:12].argmax(1).tolist() == groups.tolist()
    apart = squareform(pdist(value["points"][:12]))
    same = groups[:, None] == groups
    assert apart[same].max() < apart[~same].min()
    picture = scene.view("units", layer="0")
    assert isinstance(picture.body, Scatter)
    assert np.asarray(picture.body.values).tolist() == [*groups.tolist(), -1]
    assert picture.body.keys[4] == "unit:0/4"
    assert "never changes" in picture.body.labels[12]
    assert "1 of 13 units never changes" in picture.caption
    assert {check.name for check in picture.checks} == {"trustworthiness"}


@pytest.mark.parametrize("select", ["class:1", "+".join(f"example:{i}" for i in range(1, 60, 3))])
def test_what_is_chosen_lights_its_units(select: str) -> None:
    """A class, or its examples drawn round by hand, leaves its units as they are; all others are pale."""
    scene, groups = _planted()
    picture = scene.view("units", layer="0", select=select)
    assert isinstance(picture.body, Scatter)
    assert np.asarray(picture.body.faded).tolist() == [*(groups != 1).tolist(), True]
    assert "4 of them answer to" in picture.caption


@pytest.mark.parametrize("method", sorted(diorama.projections))
@pytest.mark.parametrize("by", ["pearson", "mutual rank"])
def test_few_units_are_placed_by_any_algorithm(method: str, by: str) -> None:
    """Layers of one to four units are points too, in two and three dimensions."""
    for count in (1, 2, 4):
        scene = Scene(nn.Sequential(nn.Linear(3, count), nn.Linear(count, 2)), torch.randn(9, 3))
        for dimensions in (2, 3):
            points = scene.derive("units", layer="0", method=method, by=by, dimensions=dimensions).value["points"]
            assert points.shape == (count, dimensions)
            assert np.isfinite(points).all()


def test_many_units_are_told_to_be_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more units than can be placed every so manieth is, and the picture says how many of how many."""
    monkeypatch.setattr("diorama.derive.derivations.units.MOST", 10)
    scene = Scene(nn.Sequential(nn.Linear(3, 25), nn.Linear(25, 2)), torch.randn(9, 3))
    picture = scene.view("units", layer="0")
    assert isinstance(picture.body, Scatter)
    assert len(picture.body.points) == 10
    assert picture.body.keys[-1] == "unit:0/24"
    assert re.search("10 of 25 units", picture.caption)


def test_units_follow_a_training(tmp_path: Path) -> None:
    """The map of a step is laid onto that of the step before: no turn or mirroring brings it nearer."""
    scene, _ = _planted()
    net, optimizer = scene.model, torch.optim.SGD(scene.model.parameters(), 0.5)
    x, y = scene.examples.x, scene.examples.y
    assert isinstance(y, torch.Tensor)
    with diorama.watch(net, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(3):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    run = diorama.open(tmp_path / "run")
    # Until it is there, the maps on the way are seen, and said to be that.
    way = [one.make() for one in UnitsView(layer="0").pictures(run.scene(3), Selection()) if isinstance(one, Draft)]
    assert [re.search(r"at step \d, on the way|$", picture.note)[0] for picture in way if picture][:4] == [  # type: ignore[index]
        *(f"at step {step}, on the way" for step in range(3)), "",
    ]
    before, after = (run.scene(step).derive("units", layer="0").value["points"] for step in (2, 3))
    a, b = after - after.mean(0), before - before.mean(0)
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-9)
    assert np.sum(a * b) == pytest.approx(np.linalg.svd(a.T @ b, compute_uv=False).sum(), rel=1e-6)


def test_of_one_class_no_unit_serves_it_best() -> None:
    """Where all examples are of one class, units have no colour and are not said to serve any."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(20, 4)
    picture = Scene(net, x, torch.ones(20, dtype=torch.long), classes=("u", "v", "w")).view("units", layer="0")
    assert "serves" not in picture.caption
    assert next(mark for mark in picture.marks() if isinstance(mark, Scatter)).labels == ()


def test_a_unit_behind_a_shut_relu_serves_no_class() -> None:
    """What never passes the ReLU behind is grey, serves nothing, is not lit by what is chosen, and the caption says how many do so."""
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] + 0.1 * torch.randn(60, 3)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3).repeat(2, 1))
        model[0].bias.copy_(torch.tensor([0.0, 0, 0, -9, -9, -9]))
    scene = Scene(model, x, y)
    plain, lit = scene.view("units", layer="0"), scene.view("units", layer="0", select="class:1")
    mark = plain.body
    assert isinstance(mark, Scatter)
    assert mark.values.tolist() == [0, 1, 2, -1, -1, -1]
    assert ["serves" in label for label in mark.labels] == 3 * [True] + 3 * [False]
    assert "3 of 6 units never pass the ReLU behind" in plain.caption
    assert "1 of them answers to 1" in lit.caption
    # Those of whom one answers are all six, so this comes before the three are counted.
    assert lit.caption.index("1 of them answers to 1") < lit.caption.index("3 of 6 units never pass")
    # A norm between them changes nothing in it; where no ReLU follows, the same answers are heard.
    normed = Scene(nn.Sequential(model[0], nn.BatchNorm1d(6), *model[1:]).eval(), x, y).view("units", layer="0")
    assert "3 of 6 units never pass the ReLU behind" in normed.caption
    bare = Scene(nn.Sequential(model[0], nn.Linear(6, 3)), x, y).view("units", layer="0")
    assert "ReLU" not in bare.caption
