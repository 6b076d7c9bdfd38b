"""Between which ends the inputs of a batch lie: the first one's, and those of the one of several that is furthest from what networks learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data.nesting import named

_NUMBERS = 2**20
"""Of larger inputs every n-th number is read."""
_FAR = 10.0
"""How much larger than 1, or smaller, an input's numbers are at least, for it to be told beside the first one."""
Range = tuple[float, float, float, float]
"""Lowest, highest, mean, standard deviation."""


def given(args: Any, kwargs: Any, order: Sequence[str] = ()) -> list[tuple[str | int, Tensor]]:
    """The real inputs of a call, each with its name or its place, also where all are given by keyword, which then stand in ``order``."""
    found: list[tuple[str | int, Tensor]] = list(enumerate(named(args).values()))
    found += list(named(in_order(kwargs, order)).items()) if isinstance(kwargs, Mapping) else []
    return [(key, tensor) for key, tensor in found if tensor.is_floating_point() and tensor.numel()]


def in_order(kwargs: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Inputs that come by name, those first that another set of inputs names first: a call may turn them as it likes."""
    return {name: kwargs[name] for name in (*(name for name in order if name in kwargs), *(name for name in kwargs if name not in order))}


def range_of(x: Tensor) -> Range:
    """The ends, mean and standard deviation of an input's numbers."""
    part = x.detach().reshape(-1)
    part = part[:: max(1, part.numel() // _NUMBERS)].float()
    return float(part.min()), float(part.max()), float(part.mean()), float(part.std(correction=0))


def furthest(inputs: list[tuple[str | int, Tensor]], order: list[str]) -> dict[str, float]:
    """``input``: which of several inputs, by its place in the ``order`` of their names, lies furthest from numbers that differ by about 1, as
    ``input/low``, ``input/high`` and ``input/std`` tell; nothing where there is one, or none does."""
    if len(inputs) < 2:
        return {}
    worst, told = _FAR, {}
    for key, tensor in inputs:
        place = order.index(key) if isinstance(key, str) and key in order else key
        low, high, _, std = range_of(tensor)
        largest = max(abs(low), abs(high))
        far = max(std, 1 / largest if largest > 0 else 0.0)
        if isinstance(place, int) and far > worst:
            worst, told = far, {"input": float(place), "input/low": low, "input/high": high, "input/std": std}
    return told
