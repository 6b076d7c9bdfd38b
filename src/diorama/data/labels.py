"""Where the label of an item lies that a data set gives, and how another takes its place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError

NAMES = ("label", "labels", "target", "targets", "y")
"""What the label is called in an item that is a dict, the first that is there."""


class Label:
    """The label of an item: where it lies, what it is, and an item with another.

    ``place`` is its key or number in the item; left out, it is the second of two, what a dict calls so, and of three or more (a data set of
    several tensors) the last where it alone is a single number.
    """

    def __init__(self, place: str | int | None = None) -> None:
        if place is not None and (isinstance(place, bool) or not isinstance(place, str | int)):
            raise UsageError(f"label wants the name or the number of the label in an item of the data set, got {place!r}")
        self.place = place

    def of(self, item: Any, many: bool = False) -> Any:
        """The label; None where there is none. ``many``: of a batch of items."""
        place = self._found(item, many)
        return None if place is None else item[place]

    def inputs(self, item: Any, many: bool = False) -> Any:
        """What is left of an item (or a batch of ``many``) without its label: one input, or several."""
        place = self._found(item, many)
        if place is None:
            return item
        if isinstance(item, dict):
            rest = {name: part for name, part in item.items() if name != place}
            return next(iter(rest.values())) if len(rest) == 1 else rest
        rest = [part for k, part in enumerate(item) if k != place % len(item)]  # type: ignore[assignment, operator]
        return rest[0] if len(rest) == 1 else tuple(rest)

    def changed(self, item: Any, label: float) -> Any:
        """The item with another label, of the type that it had; the item that was given stays as it is."""
        place = self._found(item)
        if place is None:
            return item
        return self.replaced(item, like(item[place], label))

    def replaced(self, item: Any, new: Any, many: bool = False) -> Any:
        """The item, or a batch of ``many``, with this in the place of its label."""
        place = self._found(item, many)
        if isinstance(item, dict):
            copied = dict(item) if type(item) is dict else item.copy()
            copied[place] = new
            return copied
        parts = list(item)
        parts[place] = new  # type: ignore[index]
        if isinstance(item, list):
            return parts
        return type(item)._make(parts) if hasattr(item, "_make") else tuple(parts)

    def _found(self, item: Any, many: bool = False) -> str | int | None:
        if isinstance(item, dict):
            if self.place is not None:
                return self.place if self.place in item else None
            return next((name for name in NAMES if name in item), None)
        if isinstance(item, tuple | list):
            if isinstance(self.place, int):
                return self.place if -len(item) <= self.place < len(item) else None
            if self.place is not None or len(item) < 2:
                return None
            if len(item) == 2:
                return 1
            # A number, a date and a place may stand beside one another: which is the truth is clear only where there is one such part.
            return len(item) - 1 if [_single(part, many) for part in item] == [False] * (len(item) - 1) + [True] else None
        return None


def _single(part: Any, many: bool) -> bool:
    """Whether a part of an item is one number; of ``many`` items, one for each."""
    if isinstance(part, Tensor | np.ndarray):
        return part.ndim > 0 and math.prod(part.shape) == len(part) if many else math.prod(part.shape) == 1
    return not many and isinstance(part, bool | int | float | np.generic)


def form_of(label: Any) -> tuple[str, float, int]:
    """What a label looks like, the number that stands for it (NaN: none), and how many classes it tells apart."""
    if isinstance(label, bool | int | np.integer | np.bool_):
        return "whole", float(label), 0
    if isinstance(label, float | np.floating):
        return "real", float(label), 0
    if isinstance(label, np.ndarray):
        label = torch.from_numpy(label) if label.dtype.kind in "biuf" else None
    if not isinstance(label, Tensor) or label.is_complex():
        return "none", math.nan, 0
    if label.numel() == 1 and label.ndim <= 1:
        whole = not label.is_floating_point()
        return "whole" if whole else "real", float(label.reshape(()).item()), 0
    if label.ndim == 1 and bool(((label == 0) | (label == 1)).all()) and int(label.sum()) == 1:
        return "one-hot", float(label.argmax()), len(label)
    return "none", math.nan, 0


def like(old: Any, label: float) -> Any:
    """A label in the form of another: a number, an array or a tensor of one, or 1 at its place."""
    if isinstance(old, bool | int | float):
        return type(old)(label)
    if isinstance(old, np.generic):
        return type(old)(label)  # type: ignore[call-overload]
    if isinstance(old, np.ndarray):
        new = np.zeros_like(old)
        new[... if old.size == 1 else int(label)] = label if old.size == 1 else 1
        return new
    if isinstance(old, Tensor):
        if old.numel() == 1:
            return torch.full_like(old, label)
        hot = torch.zeros_like(old)
        hot[int(label)] = 1
        return hot
    return old
