"""The next step of a pen: densities and draws beside scipy's, temperature, and plain steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from diorama.core.errors import UsageError
from diorama.model.mixtures import PARTS, NextStep, curves

CURVES = 3


def _output(seed: int = 0) -> Tensor:
    return torch.randn(2, 4, 6 * CURVES + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _parts(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """One place's numbers as Graves 2013 writes them: equations 18 to 22."""
    lift, weight, x, y, across, up, rho = numbers[0], *numbers[1:].reshape(6, CURVES)
    return {
        "lift": 1 / (1 + np.exp(-lift)), "weights": np.exp(weight) / np.exp(weight).sum(), "means": np.stack([x, y], 1),
        "spreads": np.exp(np.stack([across, up], 1)), "rho": np.tanh(rho),
    }


def _normals(told: dict[str, np.ndarray]) -> list[stats.rv_continuous]:
    found = []
    for mean, (across, up), rho in zip(told["means"], told["spreads"], told["rho"], strict=True):
        found.append(stats.multivariate_normal(mean, [[across**2, rho * across * up], [rho * across * up, up**2]]))
    return found


def test_losses_are_those_of_the_paper() -> None:
    """Density and loss at every place are scipy's bivariate normals, weighted, and the pen's cross-entropy (Graves 2013, 23 to 26)."""
    output = _output()
    steps = torch.cat([torch.randn(2, 4, 2, dtype=torch.float64), torch.tensor([0.0, 1.0]).double().repeat(4).reshape(2, 4, 1)], -1)
    said = NextStep.of(output)
    for example, place in np.ndindex(2, 4):
        told = _parts(output[example, place].numpy())
        step = steps[example, place].numpy()
        density = sum(weight * one.pdf(step[:2]) for weight, one in zip(told["weights"], _normals(told), strict=True))
        assert float(said.logs(steps[..., :2])[example, place].exp()) == pytest.approx(density)
        pen = told["lift"] if step[2] else 1 - told["lift"]
        assert float(said.losses(steps)[example, place]) == pytest.approx(-np.log(density) - np.log(pen))


def test_parts_may_come_in_another_order() -> None:
    """The same numbers in another order say the same, once the order is told; lifting may be told as a probability."""
    output, order = _output(), ("x", "y", "spread_x", "spread_y", "correlation", "weights", "lift")
    sizes = [1 if name == "lift" else CURVES for name in PARTS]
    pieces = dict(zip(PARTS, output.split(sizes, -1), strict=True))
    step = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    wanted = NextStep.of(output).losses(step)
    torch.testing.assert_close(NextStep.of(torch.cat([pieces[name] for name in order], -1), order).losses(step), wanted)
    pieces["lift"] = pieces["lift"].sigmoid()
    told = NextStep.of(torch.cat([pieces[name] for name in PARTS], -1), probability=True)
    torch.testing.assert_close(told.losses(step), wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_draws_follow_the_density(temperature: float) -> None:
    """Draws have the mean, covariance and share of lifted pens of the mixture, its variances multiplied by the temperature."""
    output, count = _output(3)[0, :1], 20_000
    generator = np.random.default_rng(0)
    luck = torch.from_numpy(np.column_stack([generator.random((count, 2)), generator.standard_normal((count, 2))]))
    drawn = NextStep.of(output).at(temperature).times(count).drawn(luck).numpy()
    told = _parts(output[0].numpy())
    weights = told["weights"] ** (1 / temperature) / (told["weights"] ** (1 / temperature)).sum()
    mean = weights @ told["means"]
    within = sum(weight * temperature * one.cov for weight, one in zip(weights, _normals(told), strict=True))
    apart = told["means"] - mean
    wanted = within + (weights[:, None] * apart).T @ apart
    np.testing.assert_allclose(drawn[:, :2].mean(0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), wanted, rtol=0.1, atol=0.1)
    assert drawn[:, 2].mean() == pytest.approx(1 / (1 + np.exp(-float(output[0, 0]) / temperature)), abs=0.02)


def test_no_temperature_leaves_no_luck() -> None:
    """At temperature 0 every draw is the middle of the likeliest curve, and the pen is lifted where that is likelier."""
    output = _output()[0]
    luck = torch.rand(4, 4, dtype=torch.float64)
    drawn = NextStep.of(output).at(0.0).drawn(luck)
    for place in range(4):
        told = _parts(output[place].numpy())
        assert drawn[place].tolist() == pytest.approx([*told["means"][told["weights"].argmax()], float(told["lift"] > 0.5)])


def test_a_window_widens_a_curve_by_its_own_variance() -> None:
    """Seen through a window, the covariance of a curve is its own and the window's square on the diagonal."""
    output = _output(5)[0, :1]
    wide = NextStep.of(output).widened(0.7)
    told = _parts(output[0].numpy())
    at = np.array([0.2, 0.5])
    density = sum(
        weight * stats.multivariate_normal(mean, one.cov + 0.49 * np.eye(2)).pdf(at)
        for weight, mean, one in zip(told["weights"], told["means"], _normals(told), strict=True)
    )
    assert float(wide.logs(torch.from_numpy(at)).exp()) == pytest.approx(density)


def test_three_numbers_are_one_step() -> None:
    """A plain step is drawn as it is told, costs its squared distance and the pen, and has no density; other numbers are no step."""
    said = NextStep.of(torch.tensor([[0.5, -1.0, 2.0]]))
    assert said.drawn(torch.tensor([[0.9, 0.5, 3.0, -3.0]]))[0].tolist() == pytest.approx([0.5, -1.0, 1.0])
    assert float(said.losses(torch.tensor([0.5, 1.0, 1.0]))) == pytest.approx(4 + np.log1p(np.exp(-2.0)))
    with pytest.raises(UsageError, match="no density"):
        said.logs(torch.zeros(2))
    assert [curves(width) for width in (1, 3, 6, 7, 8, 13, 49)] == [None, 0, None, 1, None, 2, 8]
    with pytest.raises(UsageError, match="6 k \\+ 1, got 5"):
        NextStep.of(torch.zeros(1, 5))
