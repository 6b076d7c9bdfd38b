"""Ops that write into what they read, as the ops without that they stand for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

Call = tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any], bool]


def out_of_place(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """An op's name, function and arguments without the writing, and whether it writes into its first argument."""
    if name.endswith("_") and not name.startswith("_"):
        base = name[:-1]
        for place in (Tensor, torch, F):
            plain = getattr(place, base, None)
            if plain is not None:
                return base, plain, args, kwargs, True
        return base, func, args, kwargs, False
    if func.__class__.__name__ == "function" and _writes(func):
        call = inspect.signature(func).bind(*args, **kwargs)
        if call.arguments.get("inplace"):
            call.arguments["inplace"] = False
            return name, func, call.args, call.kwargs, True
    if name in ("matmul", "rmatmul") and getattr(func, "__name__", "") == "__rmatmul__":
        return "matmul", torch.matmul, (args[1], args[0]), {}, False
    if getattr(func, "__name__", "") in ("__rsub__", "__rdiv__", "__rtruediv__"):
        return {"sub": "rsub", "rsub": "rsub"}.get(name, "rdiv"), func, args, kwargs, False
    return name, func, args, kwargs, False


def writes(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an op writes its result into its first argument and returns that."""
    if name.endswith("_") and not name.startswith("_"):
        return True
    if func.__class__.__name__ != "function" or not _writes(func):
        return False
    return bool(inspect.signature(func).bind(*args, **kwargs).arguments.get("inplace"))


@functools.lru_cache(maxsize=512)
def _writes(func: Callable[..., Any]) -> bool:
    try:
        return "inplace" in inspect.signature(func).parameters
    except (TypeError, ValueError):
        return False
