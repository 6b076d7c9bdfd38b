"""Residuals of a regression: their numbers against scikit-learn and plain loops, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Field, Lines
from diorama.scene import Scene
from diorama.views.training.residuals import _caption, by_chance, trend

COLUMNS = ("age", "height", "weight")


class _First(nn.Module):
    """It knows only the first column."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 1)
        with torch.no_grad():
            self.out.weight.copy_(torch.tensor([[2.0, 0.0, 0.0]]))
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


def _scene(slope: float = 3.0, bias: float = 0.0, count: int = 240) -> Scene:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    y = 2 * x[:, 0] + slope * x[:, 1] + bias + 0.5 * torch.randn(count, generator=generator)
    table = diorama.Table(columns=COLUMNS, mean=(40.0, 170.0, 70.0), std=(10.0, 8.0, 12.0))
    return Scene(_First(), x, y, inputs=table, task="regression")


def test_residuals_are_answer_less_truth() -> None:
    """Every example is a point at its answer and its residual; R² is scikit-learn's."""
    scene = _scene()
    picture = scene.view("residuals")
    plane = next(mark for mark in picture.marks() if isinstance(mark, Field))
    answer, truth = scene.predictions().reshape(-1).double().numpy(), scene.live.y.double().numpy()
    assert plane.points == pytest.approx(np.stack([answer, answer - truth], 1))
    assert plane.point_keys[7] == "example:7"
    assert picture.checks[0].value == pytest.approx(r2_score(truth, answer))


def test_the_column_that_was_not_learnt_comes_first() -> None:
    """A column that the network ignores is named with its share, and is drawn first, in its own units; where nothing is left to
    learn no column is named."""
    picture = _scene().view("residuals")
    charts = [mark for mark in picture.marks() if isinstance(mark, Lines)]
    assert [mark.x_title for mark in charts][:2] == ["answer", "height"]
    assert "depends most on height" in picture.caption
    mean = charts[1].series[1]
    assert (np.diff(mean.y) < 0).all()
    assert 150 < mean.x.min() < mean.x.max() < 190
    assert "depends on no column" in _scene(0.0).view("residuals").caption
    assert "neither too high nor too low" in _scene(0.0).view("residuals").caption
    assert "2 too low" in _scene(0.0, 2.0).view("residuals").caption


def test_bins_and_their_share() -> None:
    """Means and quartiles are those of the examples in each bin, and the share is adjusted eta squared, by plain loops."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=200)
    residual = values**2 + generator.normal(0, 0.3, 200)
    found = trend("x", values, residual, 5)
    order = np.argsort(values)
    parts = [residual[order[k * 40 : (k + 1) * 40]] for k in range(5)]
    assert found.mean == pytest.approx([part.mean() for part in parts])
    assert found.low == pytest.approx([np.quantile(part, 0.25) for part in parts])
    assert found.high == pytest.approx([np.quantile(part, 0.75) for part in parts])
    within = sum((value - part.mean()) ** 2 for part in parts for value in part) / 195
    assert found.explained == pytest.approx(1 - within / residual.var(ddof=1))
    assert np.mean([trend("x", generator.permutation(values), residual, 5).explained for _ in range(50)]) < 0.03
    draw = np.random.default_rng(0)
    shuffled = [draw.permutation(residual) for _ in range(99)]
    columns = [values, np.where(values > 1, np.nan, np.round(values)), np.ones(200)]
    wanted = max(trend("x", column, one, 5).explained for one in shuffled for column in columns[:2])
    assert by_chance(columns, residual, 5) == pytest.approx(wanted)


def test_noise_is_not_called_a_lesson() -> None:
    """Of residuals that depend on none of eight columns hardly any are said to, though the best column tells much of most of them."""
    generator, small, found = np.random.default_rng(0), 0, 0
    for _ in range(12):
        columns, residual = list(generator.normal(size=(8, 100))), generator.normal(size=100)
        best = max(trend("x", column, residual, 10).explained for column in columns)
        small, found = small + (best < 0.05), found + (best > by_chance(columns, residual, 10))
    assert small < 6
    assert found <= 1


def test_few_values_and_numbers_that_are_none() -> None:
    """A column of few values has one bin a value, a constant one has none; examples without numbers are left out and counted."""
    residual = np.arange(12.0)
    assert trend("x", np.repeat([0.0, 1.0, 5.0], 4), residual, 10).x.tolist() == [0, 1, 5]
    assert not len(trend("x", np.ones(12), residual, 10).x)
    scene = _scene()
    y = scene.live.y.clone()
    y[:3] = float("nan")
    picture = Scene(_First(), scene.live.x, y, task="regression").view("residuals")
    assert "3 examples have no answer or no truth" in picture.caption


def test_several_numbers_and_no_regression() -> None:
    """The knob chooses one of several predicted numbers; a classifier is told what to look at instead."""
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    two = Scene(nn.Linear(4, 2), x, torch.randn(40, 2), task="regression")
    assert two.view("examples").caption.endswith("Each row is one example: what the network answers, how far off (its loss).")
    assert two.view("residuals", output=1).caption.startswith("Of 2 outputs this is output 1. ")
    with pytest.raises(NotApplicable, match="0 to 1, not 2"):
        two.view("residuals", output=2)
    with pytest.raises(NotApplicable, match="confusion"):
        Scene(nn.Linear(4, 2), x, torch.arange(40) % 2).view("residuals")


def test_the_caption_says_where_answers_are_too_high() -> None:
    """Of the number that tells most: near which of its values answers are too high and too low in the mean; of the answer itself, what betters it."""
    own = trend("answer", np.linspace(0, 1, 100), np.zeros(100), 5)
    age = np.repeat([20.0, 40.0, 60.0], 20)
    residual = np.repeat([-2.0, 0.5, 3.0], 20)
    told = _caption(residual, [trend("age", age, residual, 10)], own, 0.0, 0)
    assert "blue ones are answered too high, orange ones too low" in told
    assert "answers are 3 too high in the mean where it is near 60, and 2 too low in the mean where it is near 20." in told
    assert "The network has not learnt all that it tells." in told
    told = _caption(residual, [], trend("answer", age, residual, 10), 0.0, 0)
    assert "The residual depends most on the answer itself" in told
    assert "A line or a scale laid over the answers would better them." in told
