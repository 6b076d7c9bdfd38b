"""Which unit is which while a network changes its shape: each keeps the number that it was born with, wherever it comes to lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...core.errors import Damaged
from ...core.selection import Key, without_call

Ints = NDArray[np.int64]
_MOST = 1 << 26
Spans = list[tuple[int, int]]
"""Whole numbers in a row, as the first of each run and how many; -1 for places that held nothing before."""
Births = dict[str, Spans]
"""The numbers along the units of a layer (``layer:conv1``) or an axis of a weight (``weight:conv1.weight:1``); others have 0, 1, 2, …"""


class Rearrangement(msgspec.Struct):
    """Where the units of one layer, or along one axis of a weight, were before an act."""

    before: int
    """How many there were."""
    old: Spans


def layer_place(name: str) -> str:
    """What the units of a layer are kept under."""
    return f"layer:{name}"


def weight_place(name: str, axis: int) -> str:
    """What the units along an axis of a weight are kept under."""
    return f"weight:{name}:{axis}"


def spans(numbers: Sequence[int] | Ints) -> Spans:
    """Numbers as runs."""
    found: Spans = []
    for number in np.asarray(numbers, np.int64).tolist():
        if found and number == (found[-1][0] + found[-1][1] if found[-1][0] >= 0 else -1):
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((number, 1))
    return found


def numbers(runs: Iterable[Sequence[int]]) -> Ints:
    """The numbers of runs. *Raises* Damaged for more than any layer has: they may come from anybody."""
    runs = list(runs)
    if sum(count for _, count in runs) > _MOST:
        raise Damaged(f"units are numbered beyond {_MOST:,}")
    parts = [np.full(count, -1) if first < 0 else np.arange(first, first + count) for first, count in runs]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def after(births: Mapping[str, Spans], moved: Mapping[str, Rearrangement], born: int) -> Births:
    """The numbers after an act whose new units are born with ``born`` and those that follow it."""
    found = dict(births)
    for place, change in moved.items():
        was = numbers(births[place]) if place in births else numbers([(0, change.before)])
        if len(was) != change.before:
            was = numbers([(0, change.before)])  # the loop itself changed it: nobody knows which is which
        old = numbers(change.old)
        now = np.where(old < 0, born + np.cumsum(old < 0) - 1, was[np.maximum(old, 0)])
        found[place] = spans(now)
    return found


def whole(structures: Sequence[Mapping[str, Any]]) -> list[Births]:
    """The numbers of each structure of a network, in all places in which one of them has others than 0, 1, 2, …"""
    places = dict.fromkeys(place for structure in structures for place in structure.get("units") or {})
    found = []
    for structure in structures:
        sizes = {layer_place(layer["name"]): layer["units"] for layer in structure.get("layers") or ()}
        for name, shape, *_ in structure.get("parameters") or ():
            sizes |= {weight_place(name, axis): size for axis, size in enumerate(shape)}
        own = structure.get("units") or {}
        found.append({place: own.get(place) or [(0, sizes[place])] for place in places if place in own or place in sizes})
    return found


def followed(key: Key, then: Mapping[str, Any], now: Mapping[str, Any]) -> Key | None:
    """The key of the same unit or weight in another structure of the network; None where it is not there.

    ``then`` and ``now`` are the facts ``units``, ``layers`` and ``parameters`` of the structure of each.
    """
    if not key.index or key.kind not in ("unit", "weight", "head"):
        return key
    if key.kind != "weight":
        name = _layer(key.name, then, now)
        size = next((layer["units"] for layer in now.get("layers") or () if layer["name"] == name), None)
        places = [(layer_place(name), size if key.kind == "unit" else None)]
    else:
        path = without_call(key.name)
        shapes = {parameter: shape for parameter, shape, *_ in now.get("parameters") or ()}
        name = next((one for one in (key.name, f"{path}.weight", path) if one in shapes), key.name)
        places = [(weight_place(name, axis), size) for axis, size in enumerate(shapes.get(name, ()))]
    index = [
        _place(number, place, size, then.get("units") or {}, now.get("units") or {})
        for number, (place, size) in zip(key.index, places, strict=False)
    ]
    if any(number is None for number in index):
        return None
    return Key(key.kind, key.name, (*(number for number in index if number is not None), *key.index[len(index):]), key.place)


def _layer(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    known = {**(then.get("units") or {}), **(now.get("units") or {})}
    return name if layer_place(name) in known else without_call(name)


def _place(number: int, place: str, size: int | None, then: Mapping[str, Any], now: Mapping[str, Any]) -> int | None:
    """Where the unit is now that was at a place then."""
    if place in then:
        number = next((first + number - at for first, count, at in _runs(then[place]) if at <= number < at + count), -1)
    if place in now:
        return next((at + number - first for first, count, at in _runs(now[place]) if 0 <= first <= number < first + count), None)
    return number if number >= 0 and (size is None or number < size) else None


def _runs(spans: Iterable[Sequence[int]]) -> Iterable[tuple[int, int, int]]:
    """Each run with the place at which it begins."""
    at = 0
    for first, count in spans:
        yield first, count, at
        at += count
