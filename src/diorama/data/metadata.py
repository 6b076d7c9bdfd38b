"""What a user knows of examples beside inputs and labels: numbers or words by name, one an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError

Column = Tensor | tuple[str, ...]
"""Numbers (float64, NaN where unknown) or words."""


def columns(told: Any, count: int) -> dict[str, Column]:
    """Metadata as they are kept. *Raises* UsageError where a name has not one value for each example."""
    if told is None:
        return {}
    if not isinstance(told, Mapping):
        raise UsageError(f"metadata wants a dict of names, each with one value an example, got a {type(told).__name__}")
    found: dict[str, Column] = {}
    for name, values in told.items():
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(list(values))
        if array.ndim != 1 or len(array) != count:
            came = f"{len(array)}" if array.ndim == 1 else f"an array of shape {array.shape}"
            raise UsageError(f"metadata wants one number or word an example: {str(name)!r} has {came} for {count} examples")
        found[str(name)] = torch.from_numpy(array.astype(np.float64)) if array.dtype.kind in "iuf" else tuple(map(str, array.tolist()))
    return found


def taken(column: Column, indices: Any) -> Column:
    """The values of some examples."""
    if isinstance(column, Tensor):
        return column[torch.as_tensor(indices)] if not isinstance(indices, slice) else column[indices]
    numbers = range(len(column))[indices] if isinstance(indices, slice) else np.arange(len(column))[np.asarray(indices)].reshape(-1)
    return tuple(column[int(k)] for k in numbers)


def flat(told: Mapping[str, Column], into: dict[str, Tensor]) -> list[list[Any]]:
    """Put the columns among tensors, words as numbers; what tells their names and words."""
    about: list[list[Any]] = []
    for number, (name, column) in enumerate(told.items()):
        words = None if isinstance(column, Tensor) else list(dict.fromkeys(column))
        places = {word: k for k, word in enumerate(words or ())}
        into[f"metadata.{number}"] = column if isinstance(column, Tensor) else torch.tensor([places[word] for word in column])
        about.append([name, words])
    return about


def read(about: Any, tensors: Mapping[str, Tensor], count: int) -> dict[str, Column]:
    """What :func:`flat` told. *Raises* ValueError where it is none."""
    found: dict[str, Column] = {}
    for number, (name, words) in enumerate(about or ()):
        column = tensors[f"metadata.{number}"]
        if tuple(column.shape) != (count,) or not isinstance(name, str):
            raise ValueError(f"metadata {name!r} of another length")
        if words is None:
            found[name] = column.double()
            continue
        if column.is_floating_point() or (count and not 0 <= int(column.min()) <= int(column.max()) < len(words)):
            raise ValueError(f"metadata {name!r} names words that are not there")
        found[name] = tuple(str(words[int(k)]) for k in column)
    return found
