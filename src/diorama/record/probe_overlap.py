"""What a batch shares with the probe set: rows that are the same, and how often each token stands in either."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.examples import Examples
from ..model.axes import first_tensor

_ROWS, _COLUMNS = 256, 256
"""Rows of a batch, and numbers of a row, that are compared."""
COMPARED = 2**12
"""Examples of the probe set, which are its first ones, that rows are compared with."""
_PROBE = 512
"""Examples of it whose tokens are counted, and by which it is told which numbers tell rows apart."""
_HANDS = 3
"""Into so many parts the numbers of a row are dealt; each part alone tells rows apart …"""
_APART = 0.98
"""… but for so few, where rows are the same by no chance."""
_DIFFERENT = 20
"""Different rows of the probe set from which on something is said."""
_VOCABULARY = 2**18
_TEXTS = 400
"""Tokens on either side from which on how often each stands there is compared."""


class ProbeOverlap:
    """Compares the batches that are read with the probe set.

    *Meaning* discrete rows are the same by chance. Where each of three parts of a row, none with a number of another, tells the rows of the
    probe set apart by itself, all of them agree in a row that is the same and in no other; elsewhere nothing is said of twins.
    *Error* of wide inputs every n-th number is compared, of large batches the first rows, of a probe set its first 4,096 examples.
    *Cost* once, some 20 µs an example of the probe set that is compared; at due steps
    one copy of at most 256 × 256 numbers, and a count of the batch's tokens.
    """

    def __init__(self, examples: Examples | None) -> None:
        x = None if examples is None else first_tensor(examples.first(COMPARED).x)
        self._shape = None if x is None else x.shape[1:]
        self._known = set(_known(x) or ())
        self._met: set[int] = set()
        self._tokens = None if x is None else _counted(x[:_PROBE])
        self._seen = np.zeros(0)

    def told(self, x: Tensor | None) -> dict[str, float]:
        """``twins``: the share of a batch's rows that are rows of the probe set too; ``met``: the share of the probe set's different rows that
        were met in a batch so far. Of texts ``tokens``: the share of tokens that would have to be others for each to stand in the batches so
        far as often as in the probe set; ``tokens_ranked``: the same of the most frequent token of each, the second and so on, whichever they
        are; ``tokens_chance``: how large the first would be by chance."""
        if x is None or self._shape is None or x.ndim < 2:
            return {}
        found: dict[str, float] = {}
        if self._known and x.shape[1:] == self._shape and (rows := _rows(x, _ROWS)) is not None:
            signs = _signs(rows)
            self._met |= self._known.intersection(signs)
            found = {"twins": sum(sign in self._known for sign in signs) / len(signs), "met": len(self._met) / len(self._known)}
        if self._tokens is not None and (counts := _counted(x)) is not None:
            self._seen = _sum(self._seen, counts)
            found |= _unlike(self._seen, self._tokens)
        return found


def again(examples: Examples) -> float | None:
    """The share of the probe set's rows that stand there before already; None where rows may be the same by chance."""
    signs = _known(first_tensor(examples.first(COMPARED).x))
    return None if signs is None else 1 - len(set(signs)) / len(signs)


def _known(x: Tensor | None) -> list[int] | None:
    """A sign for each row of the probe set; None where parts of the rows do not tell them apart, each by itself."""
    few = None if x is None else _rows(x, _PROBE)
    if x is None or few is None or few.shape[1] < _HANDS:
        return None
    ordered = np.sort(few, 0)
    order = np.argsort(-(np.diff(ordered, axis=0) != 0).sum(0), kind="stable")  # what tells most is dealt first
    whole, parts = list[int](), [set[int]() for _ in range(_HANDS)]
    for start in range(0, len(x), _PROBE):
        rows = _rows(x[start : start + _PROBE], _PROBE)
        assert rows is not None  # as the first ones are
        whole += _signs(rows)
        for k, part in enumerate(parts):
            part.update(_signs(rows[:, order[k::_HANDS]]))
    different = len(set(whole))
    return whole if different >= _DIFFERENT and all(len(part) >= _APART * different for part in parts) else None


def _rows(x: Tensor, most: int) -> NDArray[np.float64] | None:
    """Some rows with some of their numbers; None of what has no rows of numbers."""
    if x.ndim < 2 or x.is_complex() or not x.numel():
        return None
    flat = x.detach()[:most].reshape(min(most, len(x)), -1)
    part = flat[:, :: -(-flat.shape[1] // _COLUMNS)]
    return part.double().cpu().numpy() + 0.0  # so that 0 is written in one way


def _signs(rows: NDArray[np.float64]) -> list[int]:
    return [hash(row.tobytes()) for row in rows]


def _counted(x: Tensor) -> NDArray[np.float64] | None:
    """How often each token stands in texts; None of what is none."""
    if x.ndim != 2 or x.dtype not in (torch.int64, torch.int32) or not x.numel() or bool(x.min() < 0) or bool(x.max() >= _VOCABULARY):
        return None
    return torch.bincount(x.detach().reshape(-1).cpu()).double().numpy()


def _sum(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    long = max(len(one), len(other))
    return _padded(one, long) + _padded(other, long)


def _padded(counts: NDArray[np.float64], long: int) -> NDArray[np.float64]:
    return np.pad(counts, (0, long - len(counts)))


def _unlike(seen: NDArray[np.float64], probe: NDArray[np.float64]) -> dict[str, float]:
    here, there = float(seen.sum()), float(probe.sum())
    if min(here, there) < _TEXTS:
        return {}
    long = max(len(seen), len(probe))
    p, q = _padded(seen, long) / here, _padded(probe, long) / there
    both = (seen.sum() * p + probe.sum() * q) / (here + there)
    chance = np.sqrt(both * (1 - both) * (1 / here + 1 / there) * 2 / np.pi).sum() / 2
    return {
        "tokens": float(np.abs(p - q).sum() / 2), "tokens_ranked": float(np.abs(np.sort(p) - np.sort(q)).sum() / 2),
        "tokens_chance": float(chance),
    }
