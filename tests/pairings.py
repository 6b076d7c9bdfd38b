"""What is tried of two long lists: all pairs in a sweep, else a part in which each member of both comes as often as any other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def pairs(names: str, first: Sequence[Any], second: Sequence[Any], share: int, label: Callable[[Any], str] = str) -> pytest.MarkDecorator:
    """Parametrize a test by one of ``share`` pairs; with ``DIORAMA_SWEEP`` by all of them. ``names`` as pytest wants them."""
    share = 1 if os.environ.get("DIORAMA_SWEEP") else share
    tried = [(a, b) for i, a in enumerate(first) for k, b in enumerate(second) if (i + k) % share == 0]
    return pytest.mark.parametrize(names, tried, ids=[f"{label(a)}-{label(b)}" for a, b in tried])


def turn(metafunc: pytest.Metafunc, fixture: str, values: Sequence[Any]) -> None:
    """Make a fixture for a test once, of the one of these values whose turn it is among the tests of a file; in a sweep of each.

    For faults that are planted in several networks: each is planted in one, and each network has as many of them as any other.
    """
    tests = [name for name in vars(metafunc.module) if name.startswith("test_")]
    at = tests.index(metafunc.function.__name__) % len(values)
    metafunc.parametrize(fixture, values if os.environ.get("DIORAMA_SWEEP") else [values[at]], indirect=True)
