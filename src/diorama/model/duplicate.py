"""A model's double, which may be changed while the model stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def duplicate(model: _Module, memo: dict[int, Any] | None = None) -> _Module:
    """A deep copy of a model. What torch itself refuses to copy is copied too.

    *Meaning* results of a pass that a module keeps (attention weights, the weight of an old ``weight_norm``) come as plain
    numbers, without the graph that made them; sparse weights stay sparse.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for tensor in tensors_within(vars(module), set()):
            if id(tensor) in memo or (tensor.is_leaf and tensor.layout is torch.strided):
                continue
            plain = tensor.detach().clone()
            memo[id(tensor)] = nn.Parameter(plain, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else plain
    return copy.deepcopy(model, memo)


def tensors_within(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dicts; other modules are asked by themselves."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_within(each, seen)
