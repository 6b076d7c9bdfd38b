"""Ops as exported graphs and torch's own kernels call them, as the functions that everyone else calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_KERNELS: dict[Any, str] = {
    getattr(torch, name): name for name in ("batch_norm", "instance_norm", "layer_norm", "group_norm", "embedding")
}
"""Functions of torch whose arguments stand in another order than those of the function of that name in ``nn.functional``."""
_WORDS = {"self": "input", "indices": "input", "train": "training"}
_FAST = frozenset({"cudnn_enable", "cudnn_enabled"})
"""Arguments that only choose the kernel."""


def is_overload(func: Any) -> bool:
    """Whether an op is called by its schema, or in a kernel's order of arguments."""
    return isinstance(func, torch._ops.OpOverload) or (inspect.isbuiltin(func) and func in _KERNELS)


def usual(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The same call of the function in ``nn.functional``, where that is another; the call as it is where it is none."""
    found = _function(func)
    if found is None:
        return func, args, kwargs
    function, words = found
    if len(args) > len(words):
        return func, args, kwargs
    named = dict(zip(words, args, strict=False)) | {_WORDS.get(name, name): value for name, value in kwargs.items()}
    if function is F.embedding and named.get("padding_idx") == -1:
        named["padding_idx"] = None
    given = {name: value for name, value in named.items() if name not in _FAST}
    # Positions as everyone writes them, so that rules find their arguments where they look for them.
    order, front = list(inspect.signature(function).parameters), []
    for name in order:
        if name not in given:
            break
        front.append(given.pop(name))
    return function, tuple(front), given


@functools.lru_cache(maxsize=1024)
def _function(func: Any) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
    """The function in ``nn.functional`` that an overload stands for, and what its own arguments are called there."""
    overload = getattr(torch.ops.aten, _KERNELS[func]).default if func in _KERNELS else func
    if overload.namespace != "aten":
        return None
    function = getattr(F, overload.__name__.partition(".")[0], None)
    if not inspect.isfunction(function):
        return None
    words = tuple(_WORDS.get(part.name, part.name) for part in overload._schema.arguments)
    known = inspect.signature(function).parameters
    return (function, words) if all(word in known or word in _FAST for word in words) else None
