"""Where the units of a network come to lie when some are added or removed: for every weight that hangs on them, by axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...model.tracks import Whole
from .widths import AxisUnits, Role, Widths

NEW = -1
"""In an order: a place that held nothing before."""


@dataclasses.dataclass(frozen=True)
class Order:
    """Along one axis of a weight: ``old[place]`` is where it was before, NEW for a new unit's."""

    role: Role
    old: Whole
    fresh: NDArray[np.int64]
    """Of each new unit, its places: (new units, places of each)."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which places hold what was there before."""
        return np.asarray(self.old != NEW)

    def inverse(self, size: int) -> Order:
        """The order that takes it back; what was removed comes back as new, one unit a place."""
        old = np.full(size, NEW)
        old[self.old[self.kept]] = np.flatnonzero(self.kept)
        return Order(self.role, old, np.flatnonzero(old == NEW)[:, None])


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """Another number of units, as it shows in every weight, buffer and layer."""

    layer: str
    weights: Mapping[str, Mapping[int, Order]]
    """By the name of a weight or buffer, and by axis."""
    layers: Mapping[str, Whole]
    """By layer, where each of its units was before: NEW for a new one. Only layers that change are in it."""
    before: Mapping[str, Mapping[int, Whole]]
    """By weight and axis, the set of units at each place before."""
    groups: Mapping[str, int]
    """Modules that normalize groups of channels, with the number of groups that they will have."""
    counts: Mapping[str, int]
    """By layer, how many units it had before."""
    heads: Mapping[str, Whole]
    """By module of attention, where each of its heads was before."""
    added: int = 0
    """New sets of units that come and go together."""

    def survivors(self, name: str, axis: int) -> dict[int, Whole]:
        """Of a weight's axis, the places of each set of units that new ones may be copied from."""
        sets, new = self.before[name][axis], self.weights[name][axis].fresh
        sizes = zip(*np.unique(sets, return_counts=True), strict=True)
        return {int(unit): np.flatnonzero(sets == unit) for unit, size in sizes if size == new.shape[1]}

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The other layers that change with it."""
        return tuple(name for name in self.layers if name != self.layer)


def grown(widths: Widths, layer: str, count: int) -> Arrangement:
    """More units at the end of a layer, and wherever they lead.

    *Raises* UsageError where units come in sets that ``count`` does not fill, NotApplicable where the layer's width is fixed.
    """
    along = widths.places(layer)
    free = [unit for unit in along.tolist() if not widths.reason(unit)]
    if not free:
        raise NotApplicable(
            f"units of {layer!r} cannot be added: {widths.reason(int(along[-1]))}{widths.instead(layer)}"
        )
    last = free[-1]
    each = int((along == last).sum())
    if count % each:
        raise UsageError(
            f"units of {layer!r} come in sets of {each} (a head, a group, or one of each group), got {count}; "
            f"nearest: {max(count // each, 1) * each}"
        )
    sets = count // each
    return _arranged(widths, layer, lambda units: _with_more(units, last, sets), sets)


def without(widths: Widths, layer: str, units: Iterable[int]) -> Arrangement:
    """Fewer units, named by their places in a layer.

    *Raises* UsageError for a unit that is not there or has to go with others, NotApplicable where a width is fixed or
    nothing would be left.
    """
    along = widths.places(layer)
    wanted = list(dict.fromkeys(units))
    for unit in wanted:
        if not 0 <= unit < len(along):
            raise UsageError(f"{layer!r} has units 0 to {len(along) - 1}, got {unit}")
    gone = {int(along[unit]) for unit in wanted}
    for unit in gone:
        if widths.reason(unit):
            raise NotApplicable(
                f"units of {layer!r} cannot be removed: {widths.reason(unit)}{widths.instead(layer, layer)}"
            )
    whole = np.flatnonzero(np.isin(along, list(gone))).tolist()
    if missing := [unit for unit in whole if unit not in wanted]:
        raise UsageError(
            f"units {_listed(wanted)} of {layer!r} come and go only with {_listed(missing)} (a head, a group, or one of "
            f"each group); nearest: {_listed(whole)}"
        )
    if len(whole) == len(along):
        raise NotApplicable(f"{layer!r} would have no unit left; nearest: remove all but one")
    found = _arranged(widths, layer, lambda units: _with_less(units, gone), 0)
    emptied = [name for name, old in found.layers.items() if not len(old)]
    if emptied:
        raise NotApplicable(f"{emptied[0]!r} would have no unit left; nearest: remove fewer units")
    return found


def _arranged(
    widths: Widths, layer: str, change: Callable[[AxisUnits], tuple[Whole, NDArray[np.int64]]], sets: int
) -> Arrangement:
    weights: dict[str, dict[int, Order]] = {}
    before: dict[str, dict[int, Whole]] = {}
    for use in widths.found():
        old, fresh = change(use.units)
        if len(old) == len(use.units.sets):
            continue
        weights.setdefault(use.name, {})[use.axis] = Order(use.role, old, fresh)
        before.setdefault(use.name, {})[use.axis] = use.units.sets
    layers, counts = {}, {}
    for name, along in widths.layers.items():
        if along is not None:
            old, _fresh = change(widths.along(along))
            if len(old) != len(along):
                layers[name], counts[name] = old, len(along)
    groups = {}
    for path, own, size in widths.groups:
        old, _fresh = change(widths.along(own))
        if len(old) != len(own):
            if not _whole(old, size):
                raise NotApplicable(
                    f"units of {layer!r} cannot change in number: GroupNorm ({path}) normalizes {size} channels together, and not all of such "
                    f"a group would be new or from one that was{widths.instead(layer)}"
                )
            groups[path] = len(old)
    heads = {}
    for path in dict.fromkeys(name.rpartition(".")[0] for name in layers):
        if (inner := widths.heads_of(path)) in layers:
            own = widths.places(inner)
            size = int((own == own[0]).sum())
            heads[path], counts[path] = np.where(layers[inner][::size] == NEW, NEW, layers[inner][::size] // size), len(own) // size
    return Arrangement(layer, weights, layers, before, groups, counts, heads, sets)


def _with_more(units: AxisUnits, last: int, sets: int) -> tuple[Whole, NDArray[np.int64]]:
    """After each run of places of a set so many more of the same length; a run ends where its first member comes again, and where the
    next group of a convolution begins, as that reads as many of each group."""
    if not (units.sets == last).any():
        return np.arange(len(units.sets)), np.zeros((sets, 0), np.int64)
    old: list[int] = []
    fresh: list[list[int]] = [[] for _ in range(sets)]
    place = 0
    whole, members, first = units.sets.tolist(), units.members.tolist(), units.first.tolist()
    while place < len(whole):
        end = place + 1
        while end < len(whole) and whole[end] == whole[place] and (
            members[end] == members[end - 1] or not (members[end] == members[place] or first[end])
        ):
            end += 1
        old += range(place, end)
        if whole[place] == last:
            for own in fresh:
                own += range(len(old), len(old) + end - place)
                old += [NEW] * (end - place)
        place = end
    return np.array(old, np.int64), np.array(fresh, np.int64)


def _whole(old: Whole, size: int) -> bool:
    """Whether each group of so many channels is new, or one that was there before."""
    if len(old) % size:
        return False
    groups = old.reshape(-1, size)
    was = (groups[:, 0] % size == 0) & (groups == groups[:, :1] + np.arange(size)).all(1)
    return bool((was | (groups == NEW).all(1)).all())


def _with_less(units: AxisUnits, gone: set[int]) -> tuple[Whole, NDArray[np.int64]]:
    return np.flatnonzero(~np.isin(units.sets, list(gone))), np.zeros((0, 0), np.int64)


def _listed(units: Sequence[int], most: int = 8) -> str:
    return ", ".join(map(str, units[:most])) + (" …" if len(units) > most else "")


def moved(tensor: Tensor, orders: Mapping[int, Order], fill: float = 0.0) -> Tensor:
    """A tensor in another arrangement, bit by bit what it was; new places hold one number. Strides keep their order."""
    found = tensor.detach()
    for axis, order in orders.items():
        index = torch.from_numpy(np.maximum(order.old, 0)).to(found.device)
        found = found.index_select(axis, index)
        if not order.kept.all():
            found.index_fill_(axis, torch.from_numpy(np.flatnonzero(~order.kept)).to(found.device), fill)
    return _laid(found, tensor)


def _laid(found: Tensor, like: Tensor) -> Tensor:
    """In the same order in memory as another tensor."""
    for ndim, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if like.ndim == ndim and like.is_contiguous(memory_format=layout) and not like.is_contiguous():
            return found.contiguous(memory_format=layout)
    return found.contiguous()
