"""Weights that no pass over the few examples ran: whether they are as wide as units that come or go cannot be followed, and may be so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...core.errors import NotApplicable
from ...core.selection import spoken
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import tensors_in
from ...model.preservation import Preservation
from ...model.tracks import Whole
from .starts import tensors_of
from .trial import MODES
from .widths import Widths

_SAID = 4
"""So many modules are named at most."""


def check_ran(model: nn.Module, few: Nested, widths: Widths, layer: str) -> None:
    """*Raises* NotApplicable where weights that no pass ran are as wide as something that the units of a layer are in: an expert that no
    example is sent to, a part that the loop alone calls. They would keep their shape, and break where they do meet these units.

    *Cost* next to nothing where every weight was followed; else two forward passes.
    """
    apart = _unfollowed(model, widths)
    if not _as_wide(apart, widths, layer):
        return
    ran = _given(model, few)
    apart = [each for each in apart if each.name not in ran]
    if found := _as_wide(apart, widths, layer):
        told = ", ".join(map(spoken, found[:_SAID])) + (f" and {len(found) - _SAID} more" if len(found) > _SAID else "")
        near = widths.nearest(but=layer, fit=lambda other: not _as_wide(apart, widths, other))
        is_wide, it, hangs = ("is", "it", "it hangs") if len(found) == 1 else ("are", "them", "they hang")
        raise NotApplicable(
            f"units of {layer!r} cannot change in number: {told} {is_wide} as wide and did not run on the {nesting.size(few)} examples on which "
            f"it is tried, so whether {hangs} on these units cannot be told (where other examples run {it}, begin the probe set with those)"
            f"{near and f'; nearest: {near}'}"
        )


class _UnfollowedWeight(NamedTuple):
    """A weight or buffer whose axes were not followed, with the module that it is of; itself where that is the whole model."""

    name: str
    module: str
    sizes: frozenset[int]


def _unfollowed(model: nn.Module, widths: Widths) -> list[_UnfollowedWeight]:
    known, found = {name for name, _ in widths.uses}, []
    with Preservation(model):  # wrappers within have no names there, as in the pass that was followed
        for name, tensor in tensors_of(model).items():
            if name in known or not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
                continue
            path = name.rpartition(".")[0]
            axes = 2 if isinstance(model.get_submodule(path), nn.modules.conv._ConvNd) else tensor.ndim
            found.append(_UnfollowedWeight(name, path or name, frozenset(tensor.shape[:axes])))
    return found


def _as_wide(weights: Sequence[_UnfollowedWeight], widths: Widths, layer: str) -> list[str]:
    """The modules of these weights of which one is as wide as something that the units of a layer lie along."""
    wide = set(_wide(widths, np.unique(widths.places(layer)))) if weights else set()
    return list(dict.fromkeys(each.module for each in weights if wide & each.sizes))


def _wide(widths: Widths, mine: Whole) -> Iterable[int]:
    """How many numbers lie along each axis on which units are, and in one example of such a tensor."""
    for tensor in widths.alive:
        for units in widths.known.get(id(tensor), ()):
            if units is not None and np.isin(widths.along(units).sets, mine).any():
                yield len(units)
                if tensor.ndim > 2 and id(tensor) not in widths.names:
                    yield tensor[0].numel()


class _GivenTensors(TorchFunctionMode):
    """Which of some tensors any op was given."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.found: set[str] = set()

    def __torch_function__(self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        for tensor in (*tensors_in(args), *tensors_in(kwargs)):
            if (name := self.names.get(id(tensor))) is not None:
                self.found.add(name)
        return func(*args, **kwargs)


def _given(model: nn.Module, few: Nested) -> set[str]:
    """The weights and buffers that some op of a pass in eval or train mode was given."""
    found: set[str] = set()
    for mode in MODES:
        with Preservation(model, mode), torch.no_grad():
            names = {id(tensor): name for name, tensor in tensors_of(model).items()}  # buffers are others within
            with _GivenTensors(names) as given:
                nesting.call(model, few)
            found |= given.found
    return found
