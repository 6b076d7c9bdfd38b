"""Whether a batch holds the very rows that the batch which was read before it held."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS, _COLUMNS = 1024, 256
"""Rows of a batch from which on it is not looked at, and numbers of a row that are compared."""
_DIFFERENT = 0.9
"""Rows of few different numbers are the same by chance: so many of a batch's rows have to differ from each other."""


class BatchMemory:
    """Remembers the rows of the batch that was read last, each as one number.

    *Error* of wide inputs every n-th number is compared; batches of more than 1,024 rows and of one row are not looked at.
    *Cost* a copy of at most 256 numbers a row, at due steps.
    """

    def __init__(self) -> None:
        self._last: frozenset[int] = frozenset()

    def told(self, x: Tensor | None) -> dict[str, float]:
        """``again``: the share of a batch's different rows that stood in the one that was read before; ``again_rows``: how many they are. Empty
        where rows are the same by chance, and of the first batch."""
        if x is None or x.ndim < 2 or x.is_complex() or not 1 < len(x) <= _ROWS or not x[0].numel():
            return {}
        flat = x.detach().reshape(len(x), -1)
        rows = flat[:, :: -(-flat.shape[1] // _COLUMNS)].to(torch.float64).cpu().numpy() + 0.0  # so that 0 is written in one way
        before, now = self._last, frozenset(hash(row.tobytes()) for row in rows)
        if len(now) < _DIFFERENT * len(x):
            self._last = frozenset()
            return {}
        self._last = now
        return {"again": len(now & before) / len(now), "again_rows": float(len(now))} if before else {}
