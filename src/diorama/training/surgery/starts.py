"""What the weights of new units are at first: fresh, a share of a survivor's, or such that they learn fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...model.tracks import Whole
from .arrangement import Arrangement, Order, moved

How = Literal["preserve", "split", "gradient", "random"]
HOWS: tuple[How, ...] = ("preserve", "split", "gradient", "random")


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer by its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


FAINT = 3e-4
"""The share of a tied weight's size at which new units begin that it alone makes and reads: what they add to an answer is of its square."""


def masks(tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """The tensors that say which numbers of a weight count, as ``torch.nn.utils.prune`` keeps them."""
    return frozenset(name for name in tensors if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in tensors)


def tied_alone(change: Arrangement, owned: Mapping[str, Tensor]) -> str:
    """The weight that both makes and reads new units which no other weight makes; empty where there is none.

    *Meaning* such a unit cannot have incoming weights and outgoing ones of zero: of zeros it never learns.
    """
    roles = {
        (name, order.role) for name, orders in change.weights.items() if owned[name].ndim > 1
        for order in orders.values() if order.fresh.size and name not in masks(owned)
    }
    both = [name for name, role in roles if role == "both"]
    return min(both) if both and not any(role == "makes" for _, role in roles) else ""


def started(model: nn.Module, change: Arrangement, how: How, draw: torch.Generator, faint: float = 0.0) -> dict[str, Tensor]:
    """All tensors that change, in their new arrangement, with the new units' numbers.

    *Meaning* ``preserve`` draws what makes a new unit and zeroes what reads it; ``random`` draws both; for ``gradient`` see
    :mod:`.slopes`. What is drawn has the size of what is there. Of a norm a new unit has scale 1 and shift 0. A mask lets all numbers of
    new units through. What is drawn where one weight makes and reads them has the share ``faint`` of its size.
    """
    owned = tensors_of(model)
    found = {name: moved(owned[name], orders) for name, orders in change.weights.items()}
    if how == "split":
        _split(found, change, draw)
        return found
    hidden = masks(owned)
    for name, orders in change.weights.items():
        tensor, scale = found[name], _size(owned[name])
        if name in hidden:
            _shown(tensor, orders)
            continue
        for axis, order in orders.items():
            if order.role in ("makes", "each") and order.fresh.size:
                _filled(tensor, axis, order, _fresh(model, name, owned[name], tensor, axis, order, scale, draw))
        for axis, order in orders.items():
            if order.role in ("reads", "both") and order.fresh.size:
                share = 1.0 if how == "random" else faint if order.role == "both" else 0.0
                value = _drawn(tensor, axis, order, scale * share, draw) if share else tensor.new_zeros(())
                _filled(tensor, axis, order, value)
    return found


def _shown(mask: Tensor, orders: Mapping[int, Order]) -> None:
    """Let a mask hide nothing of new units."""
    for axis, order in orders.items():
        if order.fresh.size:
            _filled(mask, axis, order, mask.new_ones(()))


def _index(order: Order, device: torch.device) -> Tensor:
    return torch.from_numpy(order.fresh.reshape(-1)).to(device)


def _filled(tensor: Tensor, axis: int, order: Order, value: Tensor) -> None:
    index = _index(order, tensor.device)
    shape = [len(index) if k == axis else size for k, size in enumerate(tensor.shape)]
    tensor.index_copy_(axis, index, value.to(tensor).expand(shape))


def _fresh(
    model: nn.Module, name: str, old: Tensor, tensor: Tensor, axis: int, order: Order, scale: float, draw: torch.Generator
) -> Tensor:
    path, _, local = name.rpartition(".")
    owner = model.get_submodule(path)
    norm = "Norm" in type(owner).__name__
    if "bias" in local or local == "running_mean":
        return tensor.new_zeros(())
    if local == "running_var" or (norm and local == "weight"):
        return tensor.new_ones(())
    if old.ndim == 1 or not (old.is_floating_point() or old.is_complex()):
        mean = old.detach().to(torch.complex128 if old.is_complex() else torch.float64).mean()
        return mean.to(old.dtype)  # a scale, a slope: as the others have it on average
    return _drawn(tensor, axis, order, scale, draw)


def _drawn(tensor: Tensor, axis: int, order: Order, scale: float, draw: torch.Generator) -> Tensor:
    shape = [order.fresh.size if k == axis else size for k, size in enumerate(tensor.shape)]
    return torch.randn(shape, generator=draw, dtype=torch.complex64 if tensor.is_complex() else torch.float32) * scale


def _size(tensor: Tensor) -> float:
    """The size of what is there: root mean square; where all is zero or not finite, that of a fresh layer."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel():
        return 0.0
    found = float(tensor.detach().abs().double().square().mean().sqrt())
    return found if 0 < found < math.inf else 1 / math.sqrt(max(tensor.numel() // max(tensor.shape[0], 1), 1))


# A share of a survivor.


def parents(found: Mapping[str, Tensor], change: Arrangement) -> list[int]:
    """The surviving units that new ones may be split from: those that are read most first."""
    shared: set[int] | None = None
    found_in = {(name, axis): change.survivors(name, axis) for name, axes in change.weights.items() for axis in axes}
    for own in found_in.values():
        shared = set(own) if shared is None else shared & set(own)
    if not shared:
        raise NotApplicable(f"no unit of {change.layer!r} has the same places as a new one; nearest: how='preserve'")
    if any(order.role == "both" for orders in change.weights.values() for order in orders.values()):
        raise NotApplicable(
            f"a weight that is tied both makes and reads the units of {change.layer!r}, so none can be split; nearest: how='preserve'"
        )
    strength = dict.fromkeys(shared, 0.0)
    hidden = masks(found)
    for name, orders in change.weights.items():
        for axis, order in orders.items():
            if order.role == "reads" and name not in hidden:
                for unit in shared:
                    index = torch.from_numpy(places_now(order, found_in[name, axis][unit])).to(found[name].device)
                    strength[unit] += float(found[name].index_select(axis, index).abs().double().square().sum())
    return sorted(shared, key=lambda unit: (-strength[unit], unit))


def places_now(order: Order, places: Whole) -> Whole:
    """Where places of before lie now."""
    there = np.full(int(max(order.old.max(), places.max())) + 1, -1)
    there[order.old[order.kept]] = np.flatnonzero(order.kept)
    return there[places]


def divided(model: nn.Module, change: Arrangement) -> list[int]:
    """The survivors that ``split`` divides, one for each set of new units."""
    owned = tensors_of(model)
    ranked = parents({name: moved(owned[name], orders) for name, orders in change.weights.items()}, change)
    return [ranked[number % len(ranked)] for number in range(change.added)]


def _split(found: Mapping[str, Tensor], change: Arrangement, draw: torch.Generator) -> None:
    """Net2Net, with a share of its own for every outgoing weight, so that no optimizer keeps the twins alike."""
    ranked, hidden = parents(found, change), masks(found)
    for number in range(change.added):
        parent = ranked[number % len(ranked)]
        for wanted in (("makes", "each"), ("reads",)):
            for name, orders in change.weights.items():
                for axis, order in orders.items():
                    if order.role not in wanted:
                        continue
                    tensor = found[name]
                    source = torch.from_numpy(places_now(order, change.survivors(name, axis)[parent])).to(tensor.device)
                    target = torch.from_numpy(order.fresh[number]).to(tensor.device)
                    whole = tensor.index_select(axis, source)
                    if order.role == "reads" and name not in hidden:
                        share = (0.25 + 0.5 * torch.rand(whole.shape, generator=draw)).to(whole)
                        tensor.index_copy_(axis, target, whole * share)
                        tensor.index_copy_(axis, source, whole - whole * share)
                    else:
                        tensor.index_copy_(axis, target, whole)
