"""Which units of a model may change places without changing what it answers, found by following every axis through the ops."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import nesting
from ..data.nesting import Nested
from .axes import tensors_in
from .batch_size import whole
from .duplicate import duplicate
from .mode import OpMode, Trail
from .plain_module import fed, named_modules, unwrap
from .preservation import Preservation
from .tracks import Tracks, Whole

_ALIKE = 1e-3
"""So much of the largest score may differ by rounding when units change places."""


@dataclasses.dataclass(frozen=True)
class GroupAxis:
    """An axis of a weight or buffer along which a group's units lie: ``places[unit]`` are those of one unit."""

    name: str
    axis: int
    places: Whole  # (units, places of each)


@dataclasses.dataclass(frozen=True)
class UnitGroup:
    """Units that may change places with one another, everywhere at once: a layer's, or all that a residual sum joins."""

    units: int
    uses: tuple[GroupAxis, ...]
    layers: tuple[tuple[str, Whole], ...]
    """The layers that answer with these units: ``places[unit]`` along the layer's axis of units."""


@dataclasses.dataclass(frozen=True)
class Permutations:
    """All groups of a model. ``tied`` layers have units that stay as they are told apart outside (classes, say); of
    ``unknown`` layers it could not be found what hangs on their units."""

    groups: tuple[UnitGroup, ...]
    tied: frozenset[str]
    note: str = ""

    def moved(self, state: Mapping[str, Any], orders: Sequence[Whole]) -> dict[str, Any]:
        """The weights with the units of each group in another order: unit ``u`` becomes what ``orders[g][u]`` was."""
        found = dict(state)
        for name, index in self.indices(state, orders).items():
            for axis, order in index.items():
                found[name] = taken(found[name], axis, order)
        return found

    def indices(self, state: Mapping[str, Any], orders: Sequence[Whole]) -> dict[str, dict[int, Whole]]:
        """By weight and axis, which place comes to each place."""
        found: dict[str, dict[int, Whole]] = {}
        for group, order in zip(self.groups, orders, strict=True):
            for use in group.uses:
                if use.name in state:
                    index = found.setdefault(use.name, {}).setdefault(use.axis, np.arange(state[use.name].shape[use.axis]))
                    index[use.places] = use.places[order]
        return found


def taken(weight: Any, axis: int, places: Whole) -> Any:
    """A tensor or an array with other places along an axis."""
    if isinstance(weight, Tensor):
        return weight.index_select(axis, torch.from_numpy(places).to(weight.device))
    return np.take(weight, places, axis)


def permutations(model: nn.Module, x: Nested, axes: Mapping[str, int]) -> Permutations:
    """Find the groups by running the model once; ``axes`` gives the axis of units of each layer that is to be told of.

    *Meaning* a group that changes the answers when its units change places is left out, so that those which are given hold.
    The inputs of a grouped convolution, of a head of attention and of a recurrent layer stay where they are.
    *Cost* one forward pass on two examples, and one more for the check (one a group where it fails).
    *Source* Ainsworth et al. 2022, Git Re-Basin, section 2 and appendix A.
    """
    plain = unwrap(model)
    few = whole(plain, fed(plain, nesting.select(x, slice(0, 2))))
    follow = Tracks(plain, axes)
    trail = Trail(named_modules(plain), closed=follow.closed)
    with Preservation(plain), trail, torch.no_grad(), OpMode().on_op(follow.ran):
        follow.begin()
        output = nesting.call(plain, few)
    follow.end(output)
    return _holding(plain, few, _groups(follow))


def _holding(model: nn.Module, x: Nested, found: Permutations) -> Permutations:
    """Those groups whose units can indeed change places: tried all at once, one by one where that fails."""
    if not found.groups:
        return found
    try:
        other = duplicate(model)
    except Exception as error:  # a model that cannot be copied is matched by what its layers answer
        return Permutations((), found.tied, f"the model cannot be copied ({type(error).__name__}), so its weights cannot be put in another order")
    state = {name: value.detach().clone() for name, value in other.state_dict().items() if isinstance(value, Tensor)}
    draw = np.random.default_rng(0)
    orders = [draw.permutation(group.units) for group in found.groups]
    want = _answer(other, x)

    def same(moved: Sequence[int]) -> bool:
        tried = [order if k in moved else np.arange(len(order)) for k, order in enumerate(orders)]
        other.load_state_dict(found.moved(state, tried), strict=False)
        return all(_alike(one, each) for one, each in zip(want, _answer(other, x), strict=True))

    every = range(len(orders))
    if same(every):
        return found
    kept = [k for k in every if same([k])]
    if kept and not same(kept):
        kept = []
    left_out = len(orders) - len(kept)
    note = f"{left_out} of {len(orders)} sets of units change the answer when they change places, so their layers are matched one by one"
    return Permutations(tuple(found.groups[k] for k in kept), found.tied, note)


def _answer(model: nn.Module, x: Nested) -> list[Tensor]:
    with Preservation(model), torch.no_grad():
        return [part.double() for part in tensors_in(nesting.call(model, x)) if part.is_floating_point()]


def _alike(one: Tensor, other: Tensor) -> bool:
    scale = one.abs().max() if one.numel() else one.new_zeros(())
    return bool(((one - other).abs() <= _ALIKE * scale + 1e-9).all() | ~torch.isfinite(scale))


def _groups(tracks: Tracks) -> Permutations:
    """The groups, in the order in which their units were first met."""
    told: dict[int, set[int]] = {}
    for unit in range(len(tracks.parent)):
        told.setdefault(tracks.root(unit), set()).update(tracks.marks.get(unit, ()))
    counts: dict[int, dict[tuple[str, int], list[int]]] = {}
    for use, units in tracks.uses.items():
        _placed(tracks, counts, use, units)
    shown: dict[int, dict[tuple[str, int], list[int]]] = {}
    for name, along in tracks.layers.items():
        if along is not None:
            _placed(tracks, shown, (name, 0), along)
    alike: dict[Any, list[int]] = {}
    for root in sorted(told):
        if root in counts:
            shape = tuple((use, len(places)) for use, places in counts[root].items())
            alike.setdefault((frozenset(told[root]), shape), []).append(root)
    found = []
    for (_, shape), roots in alike.items():
        if len(roots) < 2:
            continue
        uses = tuple(GroupAxis(name, axis, np.array([counts[root][name, axis] for root in roots])) for (name, axis), _ in shape)
        layers = []
        for name in {name: None for root in roots for name, _ in shown.get(root, ())}:
            places = [shown.get(root, {}).get((name, 0), []) for root in roots]
            if len({len(each) for each in places}) == 1:
                layers.append((name, np.array(places)))
        found.append(UnitGroup(len(roots), uses, tuple(layers)))
    last = {tracks.root(int(unit)) for units in tracks.output for unit in units}
    tied = {
        name for name, along in tracks.layers.items()
        if along is not None and all(tracks.root(int(unit)) in last for unit in along)
    }
    return Permutations(tuple(found), frozenset(tied))


def _placed(tracks: Tracks, into: dict[int, dict[tuple[str, int], list[int]]], use: tuple[str, int], units: Whole) -> None:
    for place, unit in enumerate(units.tolist()):
        into.setdefault(tracks.root(unit), {}).setdefault(use, []).append(place)
