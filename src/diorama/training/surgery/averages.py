"""What a training's own code keeps beside a network, averaged copies and what gathers its gradients: found among all that lives in the process."""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_NAMED = re.compile(r"EMA|Ema(?![a-z])|^ema|SWA|Swa(?![a-z])|[Aa]verag|Polyak|[Ss]hadow")
"""What classes that average weights are called."""


def averages(model: nn.Module, state: Sequence[Any]) -> str:
    """The class of an averaged copy of a model; empty where none can be found.

    *Meaning* looked at is what the training keeps (``state``), and whatever lives whose class is named for an average (EMA, SWA, averaged
    …). It is one where it holds a module, a list or a dictionary of tensors with the shapes of the model's parameters.
    A plain copy in a variable cannot be told from one that is kept for another purpose, and is not.
    """
    own = list(model.parameters())
    for thing in (*state, *_named()):
        for held in _held(thing):
            if _alike(held, own) or _alike(held, [p for p in own if p.requires_grad]):
                return type(thing).__name__
    return ""


def gathered(model: nn.Module) -> bool:
    """Whether a ``DistributedDataParallel`` holds weights of a model: it gathers gradients in rows laid out for the shapes that it began with."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    kind, own = nn.parallel.DistributedDataParallel, {id(parameter) for parameter in model.parameters()}
    living = gc.get_referrers(kind, *kind.__subclasses__())
    return any(isinstance(each, kind) and any(id(parameter) in own for parameter in each.parameters()) for each in living)


def _named() -> Iterator[Any]:
    """All that lives whose class is named for an average."""
    order: list[type] = [object]
    known = set(order)
    for kind in order:  # there are far fewer classes than things
        fresh: list[type] = type.__subclasses__(kind)
        for one in fresh:
            if one not in known:
                known.add(one)
                order.append(one)
    kinds = tuple(kind for kind in order if _tells(kind.__name__))
    # The collector finds what refers to a class several times as fast as a walk over all that lives.
    yield from (thing for thing in gc.get_referrers(*kinds) if type(thing) in kinds)


@functools.cache
def _tells(name: str) -> bool:
    """Whether a class of this name is one for an average."""
    return _NAMED.search(name) is not None


def _held(thing: Any) -> Iterator[list[Tensor]]:
    """The tensors of a thing: its own as a module, and those of each of its attributes."""
    inner = vars(thing) if hasattr(thing, "__dict__") else {}
    children = inner.get("_modules") or {}
    for each in (thing, *inner.values(), *children.values()):
        if isinstance(each, nn.Module):
            yield list(each.parameters())
        elif type(each) in (list, tuple, dict) or isinstance(each, Mapping):
            found = list(each.values() if isinstance(each, Mapping) else each)
            if found and all(isinstance(tensor, Tensor) for tensor in found):
                yield found


def _alike(held: Sequence[Tensor], own: Sequence[Tensor]) -> bool:
    """Whether these are copies of parameters, and not the parameters themselves."""
    return bool(own) and len(held) == len(own) and all(
        one.shape == other.shape and one is not other for one, other in zip(held, own, strict=True)
    )
