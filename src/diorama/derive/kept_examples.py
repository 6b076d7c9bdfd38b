"""Of examples that can't be read again, those that a scan shows: the strongest and weakest of its units."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import nesting
from ..data.examples import Examples
from ..data.nesting import Nested
from ..model.scan import Scan

ROOM = 64_000_000
"""Bytes of examples that are kept with a scan at most; of each unit the first ones go before all second ones, and so on."""

_LIST, _PADDED, _POSITIONAL, _NAMES = "#list", "#padded", "#positional", "#names"
"""What lists of inputs and packed sequences are named among plain data."""


class KeptExamples:
    """Examples by their numbers. Those of a loader are held while it runs, since it hands each over only once."""

    def __init__(self, start: int, held: bool) -> None:
        self._next, self._held = start, held
        self._x: list[tuple[int, Nested]] = []
        self._y: dict[int, Any] = {}
        self._bytes = 0

    def add(self, x: Nested, y: Tensor | None) -> None:
        """Take in a batch."""
        for k in range(nesting.size(x)):
            one = nesting.each(nesting.select(x, slice(k, k + 1)), lambda part: part.detach().cpu().clone())
            self._x.append((self._next, one))
            self._bytes += _size(one)
            if y is not None and y.ndim:
                self._y[self._next] = y[k].item() if y[k].numel() == 1 else None
            self._next += 1

    def prune(self, scan: Scan) -> None:
        """Let go of what no unit is driven by, where there is much."""
        if self._held and self._bytes > 2 * ROOM:
            self._keep(scan)

    def _keep(self, scan: Scan) -> None:
        known = dict(self._x)
        kept = [(int(number), known[int(number)]) for number in _numbers(scan) if int(number) in known]
        sizes = np.cumsum([_size(one) for _, one in kept])
        fitting = int(np.searchsorted(sizes, ROOM, side="right"))
        self._x, self._bytes = sorted(kept[:fitting], key=lambda each: each[0]), int(sizes[fitting - 1]) if fitting else 0

    def plain(self, scan: Scan, examples: Examples | None) -> dict[str, Any]:
        """Numbers, inputs and labels of the shown examples as plain data; of ``examples`` where these are there."""
        if examples is not None:
            size = max(1, _size(examples.batch([0])))
            numbers = np.sort(_numbers(scan)[: ROOM // size])
            rows = (numbers - scan.start).tolist()
            y = examples.y
            labels = [y[k].item() if y[k].numel() == 1 else None for k in rows] if y is not None else []
            x = examples.batch(rows) if rows else None
        else:
            self._keep(scan)
            numbers = np.array([number for number, _ in self._x], np.int64)
            labels = [self._y.get(int(number)) for number in numbers] if self._y else []
            x = nesting.join([one for _, one in self._x]) if self._x else None
        return {"numbers": numbers, "labels": labels, "x": None if x is None else to_plain(x)}


def to_plain(x: Nested) -> Any:
    """Tensors in tuples and dicts as arrays in lists and dicts."""
    if isinstance(x, dict):
        parts = {str(name): to_plain(part) for name, part in x.items()}
        return {_PADDED: parts} if isinstance(x, nesting.PaddedSequence) else parts
    if isinstance(x, tuple | list):
        listed = [to_plain(part) for part in x]
        if isinstance(x, nesting.Positional):
            return {_POSITIONAL: listed, _NAMES: list(x.names)}
        return {_LIST: listed} if isinstance(x, list) else listed
    if not isinstance(x, Tensor):
        return x
    return (x.float() if x.dtype == torch.bfloat16 else x).detach().cpu().numpy()


def of_plain(value: Any) -> Nested:
    """What :func:`to_plain` was made of. *Raises* ValueError for anything else."""
    if isinstance(value, dict):
        if set(value) == {_LIST}:
            return list(of_plain(value[_LIST]))
        if set(value) == {_POSITIONAL, _NAMES}:
            return nesting.Positional((of_plain(part) for part in value[_POSITIONAL]), value[_NAMES])
        if set(value) == {_PADDED}:
            return nesting.PaddedSequence(of_plain(value[_PADDED]))  # type: ignore[arg-type]
        return {name: of_plain(part) for name, part in value.items()}
    if nesting.constant(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, list):
        return tuple(of_plain(part) for part in value)
    if not isinstance(value, np.ndarray):
        raise ValueError("inputs are arrays")
    return torch.from_numpy(value.copy())


def _numbers(scan: Scan) -> np.ndarray:
    """The numbers of all shown examples once each, those first that are first of some unit."""
    lists = [part.examples for one in scan.values() for part in (one.top, one.bottom) if part is not None]
    if not lists:
        return np.zeros(0, np.int64)
    widest = max(each.shape[1] for each in lists)
    ranked = [each[:, rank] for rank in range(widest) for each in lists if rank < each.shape[1]]
    found, first = np.unique(np.concatenate(ranked), return_index=True)
    ordered: np.ndarray = found[np.argsort(first, kind="stable")]
    return ordered[ordered >= 0]


def _size(x: Nested) -> int:
    return sum(part.numel() * part.element_size() for part in nesting.tensors(x))
