"""What counts as a difference."""

from __future__ import annotations

import numpy as np
import torch

from diorama.core.rounding import DOUBLE, SINGLE, alike, deviations, rounding
from diorama.model.statistics import Moments
from diorama.scene.probe import Responses


def test_a_few_last_places_are_no_difference_and_more_are() -> None:
    """Numbers some last places apart are the same, at any size and precision; a thousandth apart they are not."""
    for eps in (DOUBLE, SINGLE):
        for size in (1e-20, 1.0, 1e20):
            low, high = np.array([size, size, -size]), np.array([size * (1 + 8 * eps), size * 1.001, size])
            assert alike(low, high, eps).tolist() == [True, False, False]
    half = torch.finfo(torch.bfloat16).eps
    assert rounding(1.0, half) < 0.05
    assert not alike(torch.tensor(1.0), torch.tensor(1.1), half)


def test_infinities_and_no_numbers_are_not_alike() -> None:
    """What reaches infinity, or holds no number, did not stay the same."""
    inf, nan = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        assert not alike(np.array([1, -inf, nan]), np.array([inf, inf, nan])).any()
    assert alike(np.zeros(2), np.zeros(2)).all()


def test_equal_numbers_do_not_deviate() -> None:
    """A column of one number has deviation 0, which its rounded mean would not give; others have their own."""
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    rows[:, 1] = 0.1
    rows[:, 2] = 0.1 * (1 + SINGLE * rows[:, 2].clip(-4, 4))
    assert rows[:, 1].std() > 0
    found = deviations(rows)
    assert found[1:].tolist() == [0, 0]
    assert np.isclose(found[0], rows[:, 0].std())
    assert deviations(rows, DOUBLE)[2] > 0


def test_units_that_differ_by_rounding_alone_are_dead() -> None:
    """Probe and scan count a unit that says the same but for its last places as one that never changes."""
    values = 0.7 * (1 + 4 * SINGLE * torch.rand(20, 2, 9, generator=torch.Generator().manual_seed(0)))
    values[:, 1] += torch.linspace(0, 1e-3, 20)[:, None]
    moments = Moments.of(values)
    assert moments.still.tolist() == [True, False]
    assert moments.std[0] == 0 < moments.std[1]
    seen = Responses(values.amax(2), values.amin(2), values.mean(2), values.mean(2))
    assert seen.dead(rectified=False).tolist() == [True, False]
    assert not Moments.empty(3).still.any()
