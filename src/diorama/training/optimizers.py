"""Optimizers as the recorder meets them: the one that works inside a wrapper, found by what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import LBFGS, Optimizer

from ..core.errors import NotApplicable, UsageError

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


def check_apart(optimizers: Sequence[Any], what: str) -> None:
    """*Raises* NotApplicable where an optimizer remembers numbers of all its weights in one row, wherever it keeps that: what is then done to
    one of them would leave the row of another length, or its numbers at other weights' places. ``what`` cannot be done.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, LBFGS) or _joined(optimizer):
            raise NotApplicable(f"{type(optimizer).__name__} remembers all weights as one, so {what} while it trains; nearest: SGD, Adam or AdamW")


def check_shapes(optimizers: Sequence[Any], weights: Mapping[str, Tensor], what: str) -> None:
    """*Raises* NotApplicable where an optimizer remembers of one of these weights, by name, what has another shape than it: it cannot be told
    which of that is whose number's. ``what`` cannot be done.
    """
    for optimizer in optimizers:
        for name, weight in weights.items():
            for kind, value in remembered(optimizer, weight).items():
                if not _fits(value, weight):
                    raise NotApplicable(f"{type(optimizer).__name__} remembers {kind!r} of {name} in another shape than the weight's, so {what} "
                                        "while it trains; nearest: SGD, Adam or AdamW")


def remembered(optimizer: Any, weight: Tensor) -> dict[str, Any]:
    """What an optimizer remembers of a weight, by what that is; empty before its first step."""
    state = getattr(optimizer, "state", None)
    found = state.get(weight) if isinstance(state, Mapping) else None
    return found if isinstance(found, dict) else {}


def begun(optimizer: Any, weight: Tensor, kind: str) -> float:
    """What an optimizer remembers of each number of a weight before its first step."""
    group: dict[str, Any] = next((g for g in optimizer.param_groups if any(weight is p for p in g["params"])), {})
    if kind == "step_size":
        return float(group.get("lr", 0.0))  # Rprop
    return float(group.get("initial_accumulator_value", 0.0)) if kind == "sum" else 0.0  # Adagrad


def _fits(value: Any, weight: Tensor) -> bool:
    if isinstance(value, Tensor):
        return value.numel() <= 1 or value.shape == weight.shape
    if isinstance(value, list | tuple):
        return not any(isinstance(each, Tensor) for each in value)
    return True


def _joined(optimizer: Any) -> bool:
    state = getattr(optimizer, "state", None)
    if not isinstance(state, Mapping):
        return False
    for group in optimizer.param_groups:
        sizes = [parameter.numel() for parameter in group["params"]]
        doubled = sum(2 * p.numel() if p.is_complex() else p.numel() for p in group["params"])
        if len(sizes) > 1 and any(
            each.ndim == 1 and each.numel() in (sum(sizes), doubled)
            for parameter in group["params"] if parameter in state and parameter.numel() not in (sum(sizes), doubled)
            for each in _within(state[parameter], _DEPTH)
        ):
            return True
    return False


def _within(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in what an optimizer remembers of one weight."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _within(each, depth - 1)
