"""What a network writes with a pen: as a plain loop writes it, and where it says the pen may go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Field, Lines, Tiles
from diorama.core.picture import Picture
from diorama.data.strokes import points
from diorama.model.mixtures import PARTS
from diorama.run import Run
from diorama.scene import Scene
from diorama.scene.made_strokes import penning
from diorama.views.answers import number_name

FIRST = torch.tensor([-3.0, 1.0, 0.0])


class _Pen(nn.Module):
    """Two ways on, up and down, a step to the right of the last; the pen is lifted where it went down; all with weights of its own."""

    def __init__(self, plain: bool = False, lift: float = 0.0) -> None:
        super().__init__()
        told = [lift, 0.4, -0.4, 1.0, 1.0, 0.8, -0.8, -1.2, -1.0, -1.5, -0.9, 0.6, -0.3]
        self.told = nn.Parameter(torch.tensor([1.0, 0.5, lift] if plain else told))
        self.turn = nn.Linear(3, len(self.told), bias=False)
        nn.init.zeros_(self.turn.weight)
        nn.init.constant_(self.turn.weight[0 if not plain else 2], 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.told + self.turn(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None])


def _scene(model: nn.Module | None = None, **told: Any) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(6, 9, 3)
    x[..., 2] = (x[..., 2] > 0.5).float()
    x[:, 0] = FIRST
    return Scene((model or _Pen()).eval(), x, x.roll(-1, 1), task="regression", criterion=_loss, **told)


def _loss(output: Tensor, y: Tensor) -> Tensor:
    return output.square().mean((1, 2)) + 0 * y.sum()


def _fields(picture: Picture) -> tuple[Field, Field]:
    first, second = (mark for mark in picture.marks() if isinstance(mark, Field))
    return first, second


def test_it_writes_what_a_plain_loop_writes() -> None:
    """Each step is drawn by the same luck from the mixture at the last place, whatever the number of samples beside it."""
    model = _Pen().eval()
    scene = _scene(model)
    *_, found = penning(scene, scene.examples.x[1:2, :3], length=7, samples=2, seed=5, parts=PARTS)
    generator = np.random.default_rng([5, 1])
    rows = scene.examples.x[1:2, :3].double()
    for _ in range(7):
        with torch.no_grad():
            numbers = model(rows.float())[0, -1].double().numpy()
        curve, lift, one, other = *generator.random(2), *generator.standard_normal(2)
        weights = np.exp(numbers[1:3]) / np.exp(numbers[1:3]).sum()
        k = int(curve > weights[0])
        rho = np.tanh(numbers[11 + k])
        x = numbers[3 + k] + np.exp(numbers[7 + k]) * one
        y = numbers[5 + k] + np.exp(numbers[9 + k]) * (rho * one + np.sqrt(1 - rho**2) * other)
        step = torch.tensor([x, y, float(lift < 1 / (1 + np.exp(-numbers[0])))])
        rows = torch.cat([rows, step[None, None]], 1)
    np.testing.assert_allclose(found.rows[1], rows[0].numpy(), atol=1e-5)
    assert found.begun == 3
    assert found.said.lift.shape == (10,)


def test_colour_is_the_density_beside_its_highest() -> None:
    """Behind the chosen point a cell's colour is its density, seen through a window, as a share of the highest; ink ends at that point."""
    scene = _scene()
    picture = scene.view("strokes", begin=4, length=3, token=2, samples=1)
    whole, near = _fields(picture)
    rows = scene.examples.x[0, :4]
    with torch.no_grad():
        told = scene.model(rows[None])[0, 2].double().numpy()
    at, size = points(rows.numpy())[2], near.values.shape[0]
    low = np.array([near.extent[0], near.extent[2]])
    cell = (near.extent[1] - near.extent[0]) / size
    np.testing.assert_allclose(low + cell * size / 2, at, rtol=1e-5)
    weights = np.exp(told[1:3]) / np.exp(told[1:3]).sum()
    grid = np.stack(np.meshgrid(*(low[k] + cell * (np.arange(size) + 0.5) for k in range(2))), -1) - at
    wanted = np.zeros((size, size))
    for k in range(2):
        across, up, rho = np.exp(told[7 + k]), np.exp(told[9 + k]), np.tanh(told[11 + k])
        spread = np.array([[across**2, rho * across * up], [rho * across * up, up**2]]) + (0.6 * cell) ** 2 * np.eye(2)
        wanted += weights[k] * stats.multivariate_normal([told[3 + k], told[5 + k]], spread).pdf(grid)
    np.testing.assert_allclose(near.values, wanted / wanted.max(), atol=1e-4)
    assert picture.checks[0].value == pytest.approx(wanted.sum() * cell**2, abs=1e-3)
    assert near.outline is not None
    assert len(near.outline) == int((rows[:2, 2] == 0).sum())
    assert whole.points is not None
    assert len(whole.points) == 7
    assert whole.point_keys[2] == "token:2"
    assert float(whole.values.max()) == 1.0


def test_places_tell_pen_and_surprise() -> None:
    """The lines hold, point by point, the probability that the pen is lifted and minus the log density of the step that came."""
    scene = _scene()
    pen, surprise = (mark for mark in scene.view("strokes", begin=9, samples=1).marks() if isinstance(mark, Lines))
    with torch.no_grad():
        told = scene.model(scene.examples.x[:1])[0].double()
    np.testing.assert_allclose(pen.series[0].y, told[:-1, 0].sigmoid(), atol=1e-6)
    np.testing.assert_allclose(pen.series[1].y, scene.examples.x[0, 1:, 2])
    assert not pen.events
    weights, step = told[3, 1:3].softmax(0).numpy(), scene.examples.x[0, 4, :2].double().numpy()
    density = 0.0
    for k in range(2):
        across, up, rho = float(told[3, 7 + k].exp()), float(told[3, 9 + k].exp()), float(told[3, 11 + k].tanh())
        spread = [[across**2, rho * across * up], [rho * across * up, up**2]]
        density += weights[k] * stats.multivariate_normal([float(told[3, 3 + k]), float(told[3, 5 + k])], spread).pdf(step)
    assert surprise.series[0].y[3] == pytest.approx(-np.log(density), abs=1e-5)


def test_it_begins_with_a_drawn_line() -> None:
    """A line drawn over the paper is what it begins with, in steps of the usual length, and stays where it was drawn."""
    scene = _scene()
    whole, _ = _fields(scene.view("strokes", line="-2,0;2,0", length=2, samples=1))
    assert whole.points is not None
    assert whole.points[0].tolist() == [-2, 0]
    begun = len(whole.points) - 2
    assert whole.points[begun - 1].tolist() == pytest.approx([2, 0], abs=1e-5)
    assert whole.handle is not None
    assert (whole.handle.knob, whole.handle.kind, whole.handle.value) == ("line", "strokes", "-2,0;2,0")


def test_a_network_of_plain_steps_is_followed() -> None:
    """Three numbers a place are one next step: no colour, no surprise, one dot where it leads, and the picture says so."""
    plain = _scene(_Pen(plain=True))
    picture = plain.view("strokes", begin=2, length=3, samples=2)
    whole, near = _fields(picture)
    assert whole.points is not None
    assert near.points is not None
    assert not whole.values.any()
    assert len(near.points) == 1
    assert near.points[0] == pytest.approx(whole.points[2], abs=1e-5)
    assert "one next step" in picture.caption
    last = plain.scores(plain.live.batch([0]))[0, -1].tolist()
    assert f"a step of {last[0]:.2g} to the right and {last[1]:.2g} upwards" in plain.view("answer").caption
    assert "lifting the pen behind the last point" in plain.view("attribution", method="gradient").caption
    assert len([mark for mark in picture.marks() if isinstance(mark, Lines)]) == 1
    assert [number_name(plain, k, 27) for k in (0, 4, 26)] == [
        "how far to the right behind point 0", "how far upwards behind point 1", "lifting the pen behind point 8",
    ]
    mixture = _scene()
    width = mixture.scores(mixture.live.batch([0])).shape[-1]
    assert number_name(mixture, 2 * width, 9 * width) == "lifting the pen behind point 2"
    assert number_name(mixture, 2 * width + 1, 9 * width) == f"number 1 of {width} behind point 2"
    assert number_name(mixture, 3, 5) == "output 3"
    for scene in (plain, mixture):
        morph = scene.view("morph", select=diorama.Selection.of("example:0", against=["example:1"]))
        assert "behind point" in " ".join([morph.caption, *(mark.title for mark in morph.marks())]), morph.caption


@pytest.mark.parametrize(("plain", "told"), [(False, 0.2), (True, 0.9)])
def test_lifting_is_a_score_or_a_probability(plain: bool, told: float) -> None:
    """The knob lifting says how the number of the pen is read, of mixtures and of plain steps."""
    scene = _scene(_Pen(plain, told))
    chances = {}
    for way in ("score", "probability"):
        chances[way] = next(mark for mark in scene.view("strokes", begin=9, samples=1, lifting=way).marks() if isinstance(mark, Lines)).series[0].y
    with torch.no_grad():
        wanted = scene.model(scene.examples.x[:1])[0, :-1, 2 if plain else 0]
    np.testing.assert_allclose(chances["score"], wanted.sigmoid(), atol=1e-6)
    np.testing.assert_allclose(chances["probability"], wanted.clamp(1e-6, 1 - 1e-6), atol=1e-6)


def test_what_is_missing_is_said() -> None:
    """Other inputs, other answers and a wrong order of parts are refused in a sentence that tells what is wanted."""
    with pytest.raises(NotApplicable, match="dx, dy and 1 where the pen is lifted"):
        Scene(nn.Linear(4, 2), torch.rand(8, 4)).view("strokes")
    x = _scene().examples.x
    with pytest.raises(NotApplicable, match=r"6 k \+ 1 .* 9 × 5; outputs="):
        Scene(nn.Linear(3, 5), x, x, task="regression", criterion=_loss).view("strokes")
    with pytest.raises(UsageError, match="each of lift weights"):
        _scene().view("strokes", parts="lift weights x y")


def test_numbers_that_are_none_stop_the_pen() -> None:
    """Where what the network says are not numbers it writes no further, what was written stays, and the picture says so."""

    class Breaks(_Pen):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.shape[1] < 6 else super().forward(x) * float("nan")

    picture = _scene(Breaks()).view("strokes", begin=3, length=9, samples=2)
    whole, _ = _fields(picture)
    assert whole.points is not None
    assert len(whole.points) == 6
    assert "not numbers" in picture.note


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pen that goes further to the right at each step of its training."""
    path: Path = tmp_path_factory.mktemp("strokes") / "run"
    model, scene = _Pen(plain=True), _scene()
    with diorama.watch(model, path, probe=scene.examples, task="regression", criterion=_loss, every=1, snapshots=1) as recorder:
        for step in range(4):
            with torch.no_grad():
                model.told[0] = float(step)
            recorder.step(loss=1.0)
    return diorama.open(path)


def test_moments_stand_below_each_other(run: Run) -> None:
    """Every chosen moment writes with its own weights, the oldest first, and the picture's own stands above."""
    picture = run.scene(2).view("strokes", count=20, length=4, samples=3)
    whole, _ = _fields(picture)
    tiles = [mark for mark in picture.marks() if isinstance(mark, Tiles)]
    assert [mark.title for mark in tiles] == ["step 0", "step 1", "step 2 (the first is shown above)", "step 3", "step 4"]
    assert all(len(mark.images) == 3 for mark in tiles)
    assert whole.points is not None
    np.testing.assert_allclose(np.diff(whole.points[:, 0]), 1.0, atol=1e-5)
