"""The view matrix: the numbers are the units' own, in whatever order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Scatter
from diorama.core.picture import Picture
from diorama.record import requests, rounds
from diorama.scene import Scene
from diorama.views.relate._columns import standard


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Two layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3))


X = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
Y = torch.arange(30) % 3


def _map(picture: Picture) -> Heatmap:
    return next(mark for mark in picture.marks() if isinstance(mark, Heatmap))


def _numbers(keys: tuple[str, ...]) -> list[int]:
    return [int(key.split("/")[-1].split(":")[-1]) for key in keys]


@pytest.mark.parametrize("order", ["tree", "spectral", "peak", "mean", "index"])
def test_every_order_shows_the_same_numbers(net: nn.Module, order: str) -> None:
    """Each cell is its unit's answer to its example, in the unit's own standard deviations; examples stand by class."""
    shown = _map(Scene(net, X, Y).view("matrix", layer="0", order=order))
    units, examples = _numbers(shown.row_keys), _numbers(shown.column_keys)
    assert sorted(units) == list(range(9))
    assert Y[examples].tolist() == sorted(Y.tolist())
    answers = net[0](X).relu().detach().double().numpy().T
    spread = answers.std(1, keepdims=True)
    wanted = np.where(spread > 0, (answers - answers.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1), 0)
    np.testing.assert_allclose(shown.values, wanted[np.ix_(units, examples)], atol=1e-4)
    if order == "index":
        assert units == list(range(9))
    if order == "mean":
        assert (np.diff(answers.mean(1)[units]) <= 1e-6).all()
    if order == "peak":
        moved = shown.values[shown.values.any(1)]
        assert (np.diff(moved.argmax(1)) >= 0).all()


def test_layers_of_one_and_of_two_networks(net: nn.Module) -> None:
    """The matrix is that of the derivation similarity: of the network with itself, or against the other one."""
    scene = Scene(net, X, Y)
    shown = _map(scene.view("matrix", of="layers"))
    np.testing.assert_allclose(shown.values, scene.derive("similarity", layers="0+2", others="0+2").value, atol=1e-6)
    other = Scene(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), X, Y)
    beside = _map(scene.view("matrix", of="layers", other=other))
    assert beside.column_title == "layers of the other network"
    np.testing.assert_allclose(beside.values, scene.derive("similarity", other=other, layers="0+2", others="0+2").value, atol=1e-6)


def test_layers_that_have_nothing_in_common_are_said_to_be_unlike() -> None:
    """What few examples make alike by chance is taken out, which the caption says: plain sums of squares would tell of a quarter."""
    both = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))

    class Apart(nn.Module):
        """Two layers that read other columns."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(50, 10, bias=False), nn.Linear(50, 40, bias=False)
            with torch.no_grad():
                self.one.weight.copy_(torch.eye(50)[:10])
                self.other.weight.copy_(torch.eye(50)[10:])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.one(x), self.other(x)], 1)

    picture = Scene(Apart(), both).view("matrix", of="layers")
    a, b = (both[:, part].double().numpy() for part in (slice(0, 10), slice(10, 50)))
    a, b = a - a.mean(0), b - b.mean(0)
    plain = np.linalg.norm(a.T @ b) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert plain > 0.2
    assert abs(_map(picture).values[0, 1]) < 0.1
    assert "estimated without bias" in picture.caption


def test_places_of_an_input(net: nn.Module) -> None:
    """Cells over the places of a series; a network without places says so."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rnn = nn.GRU(2, 6, batch_first=True)
    x = torch.randn(4, 11, 2, generator=torch.Generator().manual_seed(2))
    shown = _map(Scene(rnn, x, outputs=0).view("matrix", of="places", order="index"))
    states = rnn(x[:1])[0][0].detach().double().numpy().T
    np.testing.assert_allclose(shown.values, (states - states.mean(1, keepdims=True)) / states.std(1, keepdims=True), atol=1e-4)
    with pytest.raises(NotApplicable, match="place by place"):
        Scene(net, X, Y).view("matrix", of="places")
    _check_cube(Scene(rnn, x, outputs=0).view("matrix", of="cube", order="peak", units=4), [shown.values], "place")
    answers = [net[:2](X).detach().double().numpy().T, net(X).detach().double().numpy().T]
    _check_cube(Scene(net, X, Y).view("matrix", of="cube"), [standard(rows) for rows in answers], "example")


def _check_cube(picture: Picture, layers: list[np.ndarray], along: str) -> None:
    """A dot for each unit and column of each layer, with its own number, those of a layer in one plane; where only some units are shown,
    it is those that vary."""
    cube = next(mark for mark in picture.marks() if isinstance(mark, Scatter))
    deep = np.unique(cube.points[:, 2])
    assert len(deep) == len(layers)
    for place, rows in zip(deep, layers, strict=True):
        (here,) = np.nonzero(cube.points[:, 2] == place)
        units = [int(cube.keys[k].rpartition("/")[2]) for k in here]
        columns = np.unique(cube.points[here, 0], return_inverse=True)[1]
        np.testing.assert_allclose(cube.values[here], rows[units, columns], atol=1e-4)
        assert len({*units}) == len({*cube.points[here, 1].tolist()}) == min(len(rows), 4 if along == "place" else 99)
        if along == "place":
            # From the top down each unit peaks where the one above does, or later.
            peaks = [rows[unit].argmax() for unit in dict.fromkeys(units)]
            assert peaks == sorted(peaks)
            heights = [float(cube.points[here[units.index(unit)], 1]) for unit in dict.fromkeys(units)]
            assert heights == sorted(heights, reverse=True)
    assert f"{along}s" in picture.caption


def test_units_over_a_training(tmp_path: Path) -> None:
    """A column a snapshot: the mean answer of each unit there, about its own mean over the training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    means = []
    with diorama.watch(model, tmp_path / "run", probe=(X, Y), optimizer=optimizer, snapshots=1) as recorder:
        for _ in range(3):
            means.append(model[0](X).relu().mean(0).detach().double().numpy())
            loss = nn.functional.cross_entropy(model(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    means.append(model[0](X).relu().mean(0).detach().double().numpy())
    run = diorama.open(tmp_path / "run")
    shown = _map(run.scene().view("matrix", of="training", layer="0", order="index"))
    assert _numbers(shown.column_keys) == list(run.snapshots)
    rows = np.stack([means[step] for step in run.snapshots], 1)
    np.testing.assert_allclose(shown.values, (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True), atol=1e-3)
    cube = next(mark for mark in run.scene().view("matrix", of="cube", order="index").marks() if isinstance(mark, Scatter))
    assert cube.labels[: len(run.snapshots)] == tuple(f"step {step}" for step in run.snapshots)
    np.testing.assert_allclose(cube.values[: shown.values.size], shown.values.ravel(), atol=1e-5)
    first = run.snapshots[0]
    assert _map(run.scene().view("matrix", of="layers", other=run.scene(step=first))).column_title == f"layers at step {first}"
    with pytest.raises(NotApplicable, match="only one moment"):
        Scene(model, X, Y).view("matrix", of="training")


def test_a_unit_has_one_row_over_a_training_wherever_acts_put_it(tmp_path: Path) -> None:
    """Unit 2 of before is unit 1 once another was removed; one that was added has numbers from then on, and no row through the cube."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    means: list[np.ndarray] = []

    def advance() -> None:
        means.append(model[0](X).relu().mean(0).detach().double().numpy())
        loss = nn.functional.cross_entropy(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.detach())

    with pytest.MonkeyPatch.context() as patch, diorama.watch(
        model, tmp_path / "run", probe=(X, Y), optimizer=optimizer, snapshots=1,
    ) as recorder:
        patch.setattr(rounds, "LOOK", 0.0)
        advance()
        advance()
        requests.send(tmp_path / "run", "remove_units", {"layer": "0", "units": "1"})
        requests.send(tmp_path / "run", "add_units", {"layer": "0", "count": 1, "how": "random"})
        advance()
        advance()
        means.append(model[0](X).relu().mean(0).detach().double().numpy())
    run = diorama.open(tmp_path / "run")
    picture = run.scene().view("matrix", of="training", layer="0", order="index")
    shown = _map(picture)
    rows = np.stack([mean[[0, 2, 3] if step < 3 else [0, 1, 2]] for step, mean in enumerate(means)], 1)[:, list(run.snapshots)]
    np.testing.assert_allclose(shown.values[:3], standard(rows), atol=1e-3)
    assert np.isnan(shown.values[3, 0])
    assert np.isfinite(shown.values[3, -1])
    assert "came later" in picture.caption
    cube = next(mark for mark in run.scene().view("matrix", of="cube", order="index").marks() if isinstance(mark, Scatter))
    assert {key for key in cube.keys if key.startswith("unit:0/")} == {"unit:0/0", "unit:0/1", "unit:0/2"}


def test_an_example_that_is_no_number_takes_no_other_with_it(net: nn.Module) -> None:
    """Of examples with a NaN the columns are left out, which the note says; the others are as without them."""
    broken = X.clone()
    broken[4, 1] = torch.nan
    picture, rest = Scene(net, broken, Y).view("matrix", layer="0", order="index"), np.delete(np.arange(30), 4)
    shown, plain = _map(picture), _map(Scene(net, X[rest], Y[rest]).view("matrix", layer="0", order="index"))
    np.testing.assert_allclose(shown.values, plain.values, atol=1e-6)
    assert _numbers(shown.column_keys) == [int(rest[k]) for k in _numbers(plain.column_keys)]
    assert picture.note == "1 of 30 examples left out, as answers to it are no finite numbers."
    assert "no likeness" in Scene(net, broken, Y).view("matrix", of="layers").note
    with pytest.raises(NotApplicable, match="there are 2; choose of=examples"):
        Scene(net, broken[:2], Y[:2]).view("matrix", of="layers")


def test_one_example_is_not_compared_with_itself() -> None:
    """A unit's own mean over one example is its answer, so there is nothing to see: a sentence says so."""
    one = Scene(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(1, 4), torch.tensor([1]))
    with pytest.raises(NotApplicable, match="there is one; use the view activations"):
        one.view("matrix")
