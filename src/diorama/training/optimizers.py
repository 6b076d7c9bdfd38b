"""Optimizers as the recorder meets them: the one that works inside a wrapper, found by what it can do."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from ..core.errors import NotApplicable, UsageError
from ..model.plain_module import local

_DEPTH = 6
"""Wrappers within wrappers that are looked through."""
_SUMS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg", "sum", "prev")
"""What optimizers call sums of gradients, which are no copies of weights however near they come: weight decay alone makes momentum of them."""


_around: weakref.WeakKeyDictionary[Any, list[weakref.ref[Any]]] = weakref.WeakKeyDictionary()
"""By the optimizer that does the work what was found around it, which may remember something of the weights too."""


def hooked(thing: Any) -> Optimizer | None:
    """The optimizer that does the work, where its steps can be followed by hooks: the innermost that holds all weights of those around it.

    *Meaning* wrappers such as sharpness-aware ones have a ``step`` of their own, but a loop may never call it.
    """
    return _inside(thing, _DEPTH, ())


def _inside(thing: Any, depth: int, around: tuple[Any, ...]) -> Optimizer | None:
    if not depth or any(thing is each for each in around) or not hasattr(thing, "step"):
        return None
    own = isinstance(thing, Optimizer) and isinstance(getattr(thing, "_optimizer_step_pre_hooks", None), dict)
    held = _weights(thing) if own else set()
    for inner in [value for value in getattr(thing, "__dict__", {}).values() if hasattr(value, "param_groups")]:
        if held <= _weights(inner) and (found := _inside(inner, depth - 1, (*around, thing))) is not None:
            return found
    if own:
        if around:  # it may be met alone as well
            _around[thing] = [weakref.ref(each) for each in around]
        return cast(Optimizer, thing)
    return None


def _weights(optimizer: Any) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def beyond(optimizers: Sequence[Any], known: Sequence[Any] = ()) -> list[str]:
    """What optimizers, and those around them, keep in other places than their ``state_dict``, in words; of ``known`` ones it is kept elsewhere."""
    found = []
    for optimizer in optimizers:
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        places = _Places(weights)
        for holder in _holders(optimizer):
            own = _attributes(holder)
            if holder is not optimizer:
                for weight in weights:
                    own |= remembered(holder, weight)
            kinds = [
                repr(kind) for kind, value in own.items()
                if any(each.numel() > 1 and not places.hold(each) for each in _within(value, _DEPTH))
            ]
            if kinds and not any(holder is each for each in known):
                found.append(f"what {type(holder).__name__} keeps in {', '.join(kinds)}")
    return found


def _attributes(holder: Any) -> dict[str, Any]:
    return {kind: value for kind, value in getattr(holder, "__dict__", {}).items() if kind not in ("state", "param_groups")}


def _holders(optimizer: Any) -> Iterator[Any]:
    """An optimizer, and what is around it."""
    yield optimizer
    for each in _around.get(optimizer, ()) if isinstance(optimizer, Optimizer) else ():
        if (wrapper := each()) is not None:
            yield wrapper


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
    """*Raises* NotApplicable where an optimizer, or what is around it, remembers numbers of all its weights in one row, wherever it keeps
    that: what is then done to one of them would leave the row of another length, or its numbers at other weights' places. ``what`` cannot
    be done.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, LBFGS) or _joined(optimizer):
            raise NotApplicable(f"{type(optimizer).__name__} remembers all weights as one, so {what} while it trains; nearest: SGD, Adam or AdamW")


def check_shapes(optimizers: Sequence[Any], weights: Mapping[str, Tensor], what: str) -> None:
    """*Raises* NotApplicable where an optimizer remembers of one of these weights, by name, what has another shape than it, or whole numbers
    that stand for others: it cannot be told which of that is whose number's. ``what`` cannot be done.
    """
    for optimizer in optimizers:
        for name, weight in weights.items():
            for kind, value in remembered(optimizer, weight).items():
                if (how := unlike(value, weight)):
                    raise NotApplicable(f"{type(optimizer).__name__} remembers {kind!r} of {name} {UNLIKE[how]}, so {what} while it trains; "
                                        "nearest: SGD, Adam or AdamW")
    check_elsewhere(optimizers, weights, what)


def check_elsewhere(optimizers: Sequence[Any], weights: Mapping[str, Tensor], what: str, *, near: bool = False) -> None:
    """*Raises* NotApplicable where an optimizer, or what is around it, keeps what has the shape of one of these weights elsewhere than in its
    ``state`` of that weight: an act would leave it as it is. What lies in the very memory of the weight itself is no memory of it.

    With ``near`` only what is a copy of the weight by its numbers, to which it may bring the weight back.

    *Cost* a walk through the optimizers' attributes, a millisecond.
    """
    for optimizer in optimizers:
        for name, holder, kind, tensors in elsewhere(optimizer, weights):
            if not near or not all(far(each, weights[name]) for each in tensors):
                raise NotApplicable(
                    f"{type(holder).__name__} keeps numbers of the shape of {name} in {kind!r}, and whose they are cannot be told, so {what} "
                    "while it trains; nearest: SGD, Adam or AdamW"
                )


def elsewhere(optimizer: Any, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Any, str, list[Tensor]]]:
    """By the name of each weight: who keeps what has its shape elsewhere than in its ``state`` of it, what that is, and the tensors.

    *Cost* a walk through what is kept, once for all weights.
    """
    places = _Places(weights.values())
    holders = [(holder, _StateHolder(holder, places)) for holder in _holders(optimizer)]
    for name, weight in weights.items():
        for holder, kept in holders if weight.numel() > 1 else ():
            own = kept.alike(weight)
            if holder is not optimizer:
                own |= {kind: places.apart(_within(value, _DEPTH), weight) for kind, value in remembered(holder, weight).items()}
            for kind, found in own.items():
                if found:
                    yield name, holder, kind, found


class _Places:
    """The memory in which weights lie: looked up once, since many tensors are asked for."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._weights = weights
        self._at: set[int] | None = None

    def hold(self, one: Tensor) -> bool:
        """Whether a tensor is a weight, or lies in the memory of one."""
        if isinstance(one, nn.Parameter):
            return True
        if self._at is None:
            self._at = {weight.data_ptr() for weight in self._weights}
        return one.data_ptr() in self._at

    def apart(self, tensors: Iterable[Tensor], weight: Tensor) -> list[Tensor]:
        """Those of the weight's shape that lie elsewhere."""
        return [each for each in tensors if each.shape == weight.shape and not self.hold(each)]


class _StateHolder:
    """The tensors that an optimizer, or who is around it, keeps besides its ``state``, by what they are and by shape."""

    def __init__(self, holder: Any, places: _Places) -> None:
        self._places, self._found = places, dict[torch.Size, dict[str, list[Tensor]]]()
        own = _attributes(holder)
        for group in getattr(holder, "param_groups", ()):
            own |= {kind: value for kind, value in group.items() if kind != "params"}
        self._tensors = {kind: tensors for kind, value in own.items() if (tensors := list(_within(value, _DEPTH)))}

    def alike(self, weight: Tensor) -> dict[str, list[Tensor]]:
        """Those of a weight's shape that lie in no weight's memory."""
        if weight.shape not in self._found:
            self._found[weight.shape] = {kind: self._places.apart(tensors, weight) for kind, tensors in self._tensors.items()}
        return dict(self._found[weight.shape])


def stands_around(optimizer: Any, wrapper: Any) -> None:
    """Let a thing be what is around an optimizer."""
    _around[optimizer] = [weakref.ref(wrapper)]


def check_steps(optimizer: Any, parameter: Tensor, group: Mapping[str, Any]) -> None:
    """*Raises* NotApplicable where an optimizer of somebody's own cannot step a weight that it meets for the first time: a twin of it tries."""
    if type(optimizer).__module__.startswith("torch.optim") or not isinstance(optimizer, Optimizer):
        return
    alone = nn.Parameter(parameter.detach().clone())
    alone.grad = torch.ones_like(alone)
    twin = object.__new__(type(optimizer))
    twin.__dict__ = {kind: copy.copy(value) if isinstance(value, dict | list | set) else value for kind, value in vars(optimizer).items()}
    twin.__dict__.pop("step", None)  # a scheduler's, that counts the steps of the one it is of
    twin.state, twin.param_groups = defaultdict(dict), [{**group, "params": [alone]}]
    twin._optimizer_step_pre_hooks, twin._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
    try:
        twin.step()
    except Exception as error:
        raise NotApplicable(
            f"{type(optimizer).__name__} cannot step a weight that it did not know when it was made ({type(error).__name__}: {error}), so none "
            "can come while it trains; nearest: SGD, Adam or AdamW"
        ) from error


def far(one: Tensor, weight: Tensor) -> bool:
    """Whether a tensor is no copy of a weight, by its numbers."""
    distance, length = _distance(one, weight)
    return not one.is_floating_point() or bool(distance >= 0.25 * length)


def _distance(one: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """How far a tensor is from a weight, and how long that is, squared."""
    mine = local(weight.detach())
    return (local(one) - mine).abs().double().square().sum(), mine.abs().double().square().sum()


def copies_of_weights(optimizer: Any) -> frozenset[str]:
    """What an optimizer of somebody's own remembers that is a copy of the weights, such as slow or averaged ones, by what that is.

    *Meaning* told by its numbers: over all weights together it lies nearer to them than half their length, as no sum of gradients does. Of
    PyTorch's own optimizers it is known: ``ax`` of ASGD.
    """
    if type(optimizer).__module__.startswith("torch.optim"):
        return frozenset({"ax"})
    apart: dict[str, list[Tensor]] = {}
    for group in getattr(optimizer, "param_groups", ()):
        for weight in group["params"]:
            for kind, value in remembered(optimizer, weight).items():
                if kind not in _SUMS and isinstance(value, Tensor) and value.ndim and value.shape == weight.shape and value.is_floating_point():
                    apart.setdefault(kind, []).append(torch.stack(_distance(value, weight)).cpu())
    return frozenset(kind for kind, each in apart.items() if float((total := torch.stack(each).sum(0))[0]) < 0.25 * float(total[1]))


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


UNLIKE = {"shape": "in another shape than the weight's", "whole": "in whole numbers, which stand for others", "several": "as several tensors"}
"""How what is remembered of a weight may be unlike it."""


def unlike(value: Any, weight: Tensor) -> str:
    """How something that is remembered of a weight is unlike it, by a name of :data:`UNLIKE`; empty where a part of it goes with each of the
    weight's numbers."""
    if isinstance(value, Tensor):
        if value.numel() > 1 and value.shape != weight.shape:
            return "shape"
        if value.numel() > 1 and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool):
            return "whole"
        return ""
    held = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return "several" if any(isinstance(each, Tensor) for each in held) else ""


def check_order(optimizers: Sequence[Any], what: str) -> None:
    """*Raises* NotApplicable where an optimizer finds what it remembers of a weight by the weight's place among all: in a list of tensors of the
    weights' shapes, or in one row. Whatever puts weights into other groups gives one the memory of another. ``what`` cannot be done.
    """
    check_apart(optimizers, what)
    for optimizer in optimizers:
        groups = optimizer.param_groups
        weights = [parameter for group in groups for parameter in group["params"]]
        shapes, places = {tuple(weight.shape) for weight in weights if weight.numel() > 1}, _Places(weights)
        kept = {kind: value for group in groups for kind, value in group.items() if kind != "params"} | _attributes(optimizer)
        for kind, value in kept.items():
            if any(tuple(each.shape) in shapes and not places.hold(each) for row in _rows(value, _DEPTH) for each in row):
                raise NotApplicable(
                    f"{type(optimizer).__name__} keeps tensors of the weights' shapes in {kind!r}, whose weights it finds by their order, so {what} "
                    "while it trains; nearest: SGD, Adam or AdamW"
                )


def _rows(value: Any, depth: int) -> Iterator[list[Tensor]]:
    """The tensors of each list, in whatever lies around it."""
    if isinstance(value, list | tuple):
        yield [each for each in value if isinstance(each, Tensor)]
    if depth and isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _rows(each, depth - 1)


def _joined(optimizer: Any) -> bool:
    groups = [group["params"] for group in optimizer.param_groups]
    rows = [_lengths(weights) for weights in groups]  # once: there may be tens of thousands of weights
    for weights, lengths in zip(groups, rows, strict=True):
        if len(weights) > 1 and any(
            _is_row(each, [lengths]) for parameter in weights if parameter.numel() not in lengths
            for each in _within(remembered(optimizer, parameter), _DEPTH)
        ):
            return True
    kept: list[Any] = [value for group in optimizer.param_groups for kind, value in group.items() if kind != "params"]
    for holder in _holders(optimizer):
        kept += _attributes(holder).values()
        if holder is not optimizer:
            kept += [remembered(holder, weight) for weights in groups for weight in weights]
    every = [weight for weights in groups for weight in weights]
    shapes, rows = {tuple(weight.shape) for weight in every}, [*rows, _lengths(every)]
    return any(tuple(each.shape) not in shapes and _is_row(each, rows) for value in kept for each in _within(value, _DEPTH))


def _lengths(weights: Sequence[Tensor]) -> set[int]:
    """How many numbers these weights have together; with both parts of complex ones, and without those that do not learn."""
    found = set()
    for own in (weights, [weight for weight in weights if weight.requires_grad]):
        found |= {sum(p.numel() for p in own), sum(2 * p.numel() if p.is_complex() else p.numel() for p in own)}
    return found - {0, 1}


def _is_row(each: Tensor, rows: Sequence[set[int]]) -> bool:
    """Whether a tensor has a number for each of the weights of a group, one after another: alone, or several such rows. ``rows`` are the
    groups' :func:`_lengths`."""
    return 0 < each.ndim <= 2 and any(each.shape[-1] in lengths for lengths in rows)


def _within(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in what an optimizer remembers of one weight."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _within(each, depth - 1)
