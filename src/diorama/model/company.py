"""Whether each example is answered for itself: passes with the same examples in other places, and beside others, tell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import torch
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
    """Of each row of an answer its size and a few sums that hardly two rows share, (n, 4), and how coarse its numbers are."""

    rows: Tensor
    eps: float

    def alike(self, other: Print, mine: Sequence[int], others: Sequence[int]) -> Tensor:
        """Whether these rows and those of the other are the same, one by one, (len,) bool."""
        if len(self.rows) <= max(mine) or len(other.rows) <= max(others):
            return torch.zeros(len(mine), dtype=torch.bool)
        size = torch.maximum(self.rows[:, 0].max(), other.rows[:, 0].max())
        near: Tensor = (self.rows[list(mine)] - other.rows[list(others)]).abs() <= max(LOOSE, 16 * self.eps) * size + 1e-12
        return near.all(1)

    def among(self, other: Print) -> bool:
        """Whether every row is one of the other's."""
        count = range(len(self.rows))
        return all(bool(self.alike(other, [k] * len(other.rows), range(len(other.rows))).any()) for k in count)


def fingerprinted(tensor: Tensor) -> Print | None:
    """What is remembered of an answer with the examples on its first axis; None of one that has no rows of numbers."""
    if tensor.is_nested or tensor.is_quantized or tensor.layout is not torch.strided or not tensor.ndim or not tensor.numel():
        return None
    eps = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() or tensor.is_complex() else 0.0
    plain = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    rows = plain.reshape(len(plain), -1)
    # An odd stride, so that it does not keep to one column of a map.
    rows = rows[:, :: rows.shape[1] // PLACES | 1].float().nan_to_num(0, 0, 0)
    sums = [(rows * wave).sum(1) for wave in _waves(rows.shape[1], rows.device)]
    return Print(torch.stack([rows.square().mean(1).sqrt(), *sums], 1).cpu(), eps)


@functools.lru_cache(maxsize=16)
def _waves(count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Sums of waves differ between two rows about as much as the rows do, however long they are; means would not."""
    places = torch.arange(count, device=device, dtype=torch.float32)
    return tuple(torch.cos(places * turn + 1) / count**0.5 for turn in (0.7, 1.9, 2.6))


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
