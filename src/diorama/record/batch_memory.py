"""Whether a batch holds the very rows that the batches which came before it held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .own_hooks import OwnHook

_ROWS, _COLUMNS = 1024, 256
"""Rows of a batch from which on it is not looked at, and numbers of a row that are compared."""
_DIFFERENT = 0.9
"""Rows of few different numbers are the same by chance: so many of a batch's rows have to differ from each other."""
_WAITED = 8
"""Calls of the network that may come before the next pass with gradients."""


class BatchMemory:
    """Remembers the rows of the batch that was read last, each as one number, and sees whether the next step's are the same.

    *Meaning* readings lie at multiples of a number of steps, and batches in a fixed order come again after as many: only the batch of the step right
    behind a reading tells one batch for ever from that.
    *Error* of wide inputs every n-th number is compared; batches of more than 1,024 rows and of one row are not looked at.
    *Cost* a copy of at most 256 numbers a row, at due steps and the step behind each.
    """

    def __init__(self) -> None:
        self._last: frozenset[int] = frozenset()
        self._behind: float | None = None
        self._handle: Any = None

    def told(self, x: Tensor | None, model: nn.Module, first: Callable[[Any, Any], Tensor | None]) -> dict[str, float]:
        """``again``: the share of a batch's different rows that stood in the one that was read before, and in that of the step behind it;
        ``again_rows``: how many they are. Empty where rows are the same by chance, and of the first batch.

        ``first`` finds the input among what the model is called with.
        """
        self.disarm()
        now, before, behind = _rows_of(x), self._last, self._behind
        self._last, self._behind = now, None
        if not now:
            return {}
        self._wait(model, first)
        return {} if not before or behind is None else {"again": min(behind, len(now & before) / len(now)), "again_rows": float(len(now))}

    def disarm(self) -> None:
        """Wait for no pass any more."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _wait(self, model: nn.Module, first: Callable[[Any, Any], Tensor | None]) -> None:
        waited = 0

        def seen(module: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal waited
            waited += 1
            if torch.is_grad_enabled():
                self.disarm()
                if rows := _rows_of(first(args, kwargs)):
                    self._behind = len(rows & self._last) / len(rows)
            elif waited >= _WAITED:
                self.disarm()

        self._handle = model.register_forward_pre_hook(OwnHook(seen), with_kwargs=True)


def _rows_of(x: Tensor | None) -> frozenset[int]:
    """Each different row as one number; empty where they cannot be told apart."""
    if x is None or x.ndim < 2 or x.is_complex() or not 1 < len(x) <= _ROWS or not x[0].numel():
        return frozenset()
    flat = x.detach().reshape(len(x), -1)
    rows = flat[:, :: -(-flat.shape[1] // _COLUMNS)].to(torch.float64).cpu().numpy() + 0.0  # so that 0 is written in one way
    found = frozenset(hash(row.tobytes()) for row in rows)
    return found if len(found) >= _DIFFERENT * len(x) else frozenset()
