"""Optimizers as the recorder meets them: the one that works inside a wrapper, found by what it can do."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from ..core.errors import UsageError

_DEPTH = 6
"""Wrappers within wrappers that are looked through."""


def hooked(thing: Any) -> Optimizer | None:
    """The optimizer itself where its steps can be followed by hooks, else the one inside that does its work."""
    return _inside(thing, _DEPTH, set())


def _inside(thing: Any, depth: int, seen: set[int]) -> Optimizer | None:
    if isinstance(thing, Optimizer) and isinstance(getattr(thing, "_optimizer_step_pre_hooks", None), dict):
        return thing
    if not depth or id(thing) in seen or not hasattr(thing, "step"):
        return None
    seen.add(id(thing))
    for inner in [value for value in getattr(thing, "__dict__", {}).values() if hasattr(value, "param_groups")]:
        found = _inside(inner, depth - 1, seen)
        if found is not None:
            return found
    return None


def told_optimizers(value: Any) -> tuple[Any, ...]:
    """The optimizers that a user named, each as the one whose steps can be followed.

    Accelerate, Apex and schedule-free libraries hand out wrappers that step another optimizer; that one is taken. What
    has groups of parameters and steps but no optimizer of PyTorch inside is taken as it is: its values can be read.

    *Raises* UsageError for what is no optimizer.
    """
    given = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    found: list[Any] = []
    for each in given:
        inner = hooked(each)
        alike = isinstance(getattr(each, "param_groups", None), list) and callable(getattr(each, "step", None))
        if inner is None and not alike:
            raise UsageError(f"optimizer wants a torch.optim.Optimizer or several, got {type(each).__name__}")
        chosen = each if inner is None else inner
        if not any(chosen is known for known in found):
            found.append(chosen)
    return tuple(found)
