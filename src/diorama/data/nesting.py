"""Inputs may be one tensor, a tuple (``model(*x)``) or a dict (``model(**x)``); dimension 0 is the example in all of
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError

Nested = Tensor | tuple[Any, ...] | dict[str, Any]
"""One tensor, or a tuple or dict of them."""


def tensors(x: Nested) -> Iterator[Tensor]:
    """All tensors of an input, in order."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, dict):
        for part in x.values():
            yield from tensors(part)
    elif isinstance(x, (tuple, list)):
        for part in x:
            yield from tensors(part)


def each(x: Nested, change: Callable[[Tensor], Tensor]) -> Nested:
    """The same structure with every tensor changed."""
    if isinstance(x, dict):
        return {name: each(part, change) for name, part in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(each(part, change) for part in x)
    return change(x)


def first(x: Nested) -> Tensor:
    """The first tensor of an input."""
    for tensor in tensors(x):
        return tensor
    raise UsageError(f"an input holds at least one tensor, got {type(x).__name__} without any")


def size(x: Nested) -> int:
    """How many examples an input holds."""
    return int(first(x).shape[0])


def select(x: Nested, indices: Any) -> Nested:
    """The examples at the indices (a number keeps the batch dimension), in the same structure."""
    if isinstance(indices, (int, np.integer)):
        indices = [int(indices)]
    if isinstance(indices, (range, tuple)):
        indices = list(indices)
    if isinstance(indices, np.ndarray):
        indices = torch.from_numpy(np.ascontiguousarray(indices))
    return each(x, lambda tensor: tensor[indices])


def to(x: Nested, device: Any) -> Nested:
    """The input on a device (None leaves it where it is)."""
    return x if device is None else each(x, lambda tensor: tensor.to(device))


def join(parts: list[Nested]) -> Nested:
    """Several inputs of one structure, one after the other."""
    head = parts[0]
    if isinstance(head, dict):
        return {name: join([part[name] for part in parts]) for name in head}  # type: ignore[index, call-overload]
    if isinstance(head, (tuple, list)):
        return tuple(join([part[k] for part in parts]) for k in range(len(head)))  # type: ignore[index]
    return torch.cat(parts)  # type: ignore[arg-type]


def call(model: Callable[..., Any], x: Nested) -> Any:
    """Give an input to a model: a tuple as ``model(*x)``, a dict as ``model(**x)``."""
    if isinstance(x, dict):
        return model(**x)
    if isinstance(x, (tuple, list)):
        return model(*x)
    return model(x)


def as_tensors(x: Any) -> Nested:
    """Arrays, lists and tensors, also nested in tuples and dicts, as tensors; shares memory where it can."""
    if isinstance(x, Tensor):
        return x.detach()
    if isinstance(x, dict):
        if not x:
            raise UsageError("an input given as a dict needs at least one entry, got none")
        return {str(name): as_tensors(part) for name, part in x.items()}
    if isinstance(x, tuple):
        if not x:
            raise UsageError("an input given as a tuple needs at least one entry, got none")
        return tuple(as_tensors(part) for part in x)
    try:
        array = np.asarray(x)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        return torch.from_numpy(np.array(array) if not array.flags.writeable else np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        raise UsageError(f"examples want numbers in arrays or tensors, got {type(x).__name__}: {error}") from None


def real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor's numbers to be shown, on the CPU: of complex numbers the magnitude."""
    plain = tensor.detach()
    return (plain.abs() if plain.is_complex() else plain).to("cpu", dtype)
