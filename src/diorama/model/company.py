"""Whether each example is answered for itself: passes with the same examples in other places, and beside others, tell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOOSE = 0.01
"""So far apart, by the size of a layer's answers, two answers to one example are no longer the same: kernels round, and quantized
layers choose their steps by the batch."""
PLACES = 4096
"""So many numbers of a row are looked at, or up to three times as many; all of a shorter one."""

MERGED = "does not answer once for each example"
PICKED = "answers rows that the network picks, and not once for each example"
SORTED = "answers in another order than that of the examples, as the network sorts its rows"


@dataclasses.dataclass(frozen=True)
class Print:
    """Of each row of an answer its size and a few sums that hardly two rows share, (n, 4), and how coarse its numbers are.

    NumPy's, as they are few: a call of PyTorch's costs more than their sums.
    """

    rows: NDArray[np.float32]
    eps: float

    def alike(self, other: Print, mine: Sequence[int], others: Sequence[int]) -> NDArray[np.bool_]:
        """Whether these rows and those of the other are the same, one by one, (len,) bool."""
        if len(self.rows) <= max(mine) or len(other.rows) <= max(others):
            return np.zeros(len(mine), bool)
        size = max(self.rows[:, 0].max(), other.rows[:, 0].max())
        near = np.abs(self.rows[list(mine)] - other.rows[list(others)]) <= max(LOOSE, 16 * self.eps) * size + 1e-12
        return np.asarray(near.all(1))

    def among(self, other: Print) -> bool:
        """Whether every row is one of the other's."""
        count = range(len(self.rows))
        return all(bool(self.alike(other, [k] * len(other.rows), range(len(other.rows))).any()) for k in count)


def fingerprinted(tensor: Tensor) -> Print | None:
    """What is remembered of an answer with the examples on its first axis; None of one that has no rows of numbers."""
    if tensor.is_nested or tensor.is_quantized or tensor.layout is not torch.strided or not tensor.ndim or not tensor.numel():
        return None
    eps = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() or tensor.is_complex() else 0.0
    plain = tensor.detach()
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    rows = plain.reshape(len(plain), -1)
    # An odd stride, so that it does not keep to one column of a map.
    numbers = rows[:, :: rows.shape[1] // PLACES | 1].float().cpu().numpy()
    with np.errstate(all="ignore"):
        told = _told(numbers)
        if not np.isfinite(told).all():
            told = _told(np.nan_to_num(numbers, nan=0, posinf=0, neginf=0))
    return Print(told, eps)


def _told(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    told = np.empty((len(rows), 4), np.float32)
    told[:, 0] = np.sqrt(np.einsum("nk,nk->n", rows, rows) / rows.shape[1])
    told[:, 1:] = rows @ _waves(rows.shape[1])
    return told


@functools.lru_cache(maxsize=16)
def _waves(count: int) -> NDArray[np.float32]:
    """Sums of waves differ between two rows about as much as the rows do, however long they are; means would not. (count, 3)."""
    places = np.arange(count, dtype=np.float32)[:, None]
    waves: NDArray[np.float32] = (np.cos(places * np.array([0.7, 1.9, 2.6], np.float32) + 1) / count**0.5).astype(np.float32)
    return waves


def sorted_rows(before: Print | None, turned: Print | None) -> bool:
    """Whether an answer's rows are those of examples, and not at their places; ``turned`` is the answer to the examples turned by one place."""
    if before is None or turned is None or len(before.rows) != len(turned.rows):
        return False
    count = len(before.rows)
    after = [(k + 1) % count for k in range(count)]
    return not bool(turned.alike(before, range(count), after).all()) and turned.among(before)


def mixed(before: Print | None, beside: Print | None) -> bool:
    """Whether the last example is answered otherwise; ``beside`` is the answer where others stand in all places but the last."""
    if before is None or beside is None or len(before.rows) != len(beside.rows):
        return False
    if np.array_equal(before.rows[-1], beside.rows[-1]):
        return False
    last = [len(before.rows) - 1]
    return not bool(beside.alike(before, last, last).all())


def unmoved(before: Print | None, beside: Print | None) -> bool:
    """Whether the first example is answered as before though another stands there: what does not follow the examples may have as many
    rows as there are of them by chance."""
    return before is not None and beside is not None and len(before.rows) > 1 and bool(beside.alike(before, [0], [0]).all())


def same(many: Print | None, row: int, one: Print | None) -> bool:
    """Whether a single example is answered as it is in a row among others; so where nothing is known of it."""
    return many is None or one is None or row >= len(many.rows) or bool(one.alike(many, [0], [row]).all())


def said(layers: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What a person should know of a network with layers that have no row for each example, a sentence each."""
    found = []
    for reason, names in layers.items():
        if names:
            some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            found.append(f"{reason} {some}, so views that compare examples leave {'it' if len(names) == 1 else 'them'} out")
    return tuple(found)
