"""The healthy ranges of what is recorded of a layer."""

import numpy as np

from diorama.record import ranges


def test_ends_stand_beside_what_they_are_multiples_of() -> None:
    """An end is a multiple of its reference, and open where the reference is nothing or not a number."""
    low, high = ranges.ACTIVATION_SPREAD.ends(np.array([2.0, 0.0, np.nan]))
    assert low.tolist() == [2e-4, -np.inf, -np.inf]
    assert high.tolist() == [2e4, np.inf, np.inf]
    assert ranges.GRADIENT.ends(1.0)[1] == np.inf


def test_units_that_were_silent_from_the_beginning_are_no_fault() -> None:
    """A share of dead units may stay what it was, may not grow, and is a fault where nothing is left alive."""
    assert ranges.dead_ends(np.array([0.4, 0.4]))[1].tolist() == [0.45, 0.45]
    assert ranges.dead_ends(np.array([0.0, 0.2]))[1][1] < 0.2
    assert ranges.dead_ends(np.array([1.0, 1.0]))[1][1] < 1.0
