"""Which acts of structure are in force, as plain data: another training is given the same structure by them, without a pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from torch import nn

from ...core.errors import Damaged, NotApplicable
from ...model.plain_module import named_modules, unwrap
from . import layers
from .births import Births, Rearrangement, after, layer_place, spans, weight_place
from .graft import Graft, given_shape
from .recipe import LayerRecipe
from .starts import tensors_of

Shapes = dict[str, tuple[int, ...]]


class Revision(msgspec.Struct):
    """What an act of structure did, but for the numbers in the weights."""

    kind: Literal["units", "came", "went"]
    tensors: Mapping[str, tuple[list[int] | None, list[int] | None]]
    """Each weight and buffer that it changed: its shape before and after, None where it was not there."""
    sizes: dict[str, dict[str, tuple[int, int]]] = {}
    """What modules tell of their width, before and after."""
    layer: str = ""
    """The layer that came or went …"""
    after: str = ""
    """… and the one that it followed."""
    recipe: LayerRecipe | None = None
    groups: list[tuple[int, int]] = []
    """Of each parameter that came or went, the optimizer and the group in which it learns."""
    moved: dict[str, Rearrangement] = {}
    """Where units were before, of each layer and along each axis of a weight."""
    born: int = 0
    """The number with which the first new unit of each is born."""


@dataclasses.dataclass(eq=False)
class _LiveRevision:
    """A revision, and what went with it, where it went from the model that is there."""

    revision: Revision
    changed: layers.ChangedLayer | None = None


def of_units(graft: Graft) -> Revision:
    """What a change of shape did."""
    tensors = {name: (list(before), list(after)) for name, (before, after) in graft.shapes.items()}
    change = graft.change
    moved = {layer_place(name): Rearrangement(change.counts[name], spans(old)) for name, old in {**change.layers, **change.heads}.items()}
    for name, orders in change.weights.items():
        moved |= {weight_place(name, axis): Rearrangement(len(change.before[name][axis]), spans(order.old)) for axis, order in orders.items()}
    return Revision("units", tensors, graft.sizes, moved=moved)


def shapes_of(model: nn.Module) -> Shapes:
    """The shape of every weight and buffer."""
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(unwrap(model)).items()}


def of_layer(changed: layers.ChangedLayer, optimizers: Sequence[Any], before: Shapes) -> Revision:
    """What the coming or going of a layer did to a network of these shapes."""
    now = shapes_of(changed.model)
    tensors = {
        name: tuple(None if each.get(name) is None else list(each[name]) for each in (before, now))
        for name in {**before, **now} if before.get(name) != now.get(name)
    }
    numbers = {id(optimizer): number for number, optimizer in enumerate(optimizers)}
    groups = [(numbers[id(each.optimizer)], each.group) for each in changed.memories]
    return Revision(
        "came" if changed.came else "went", tensors, {}, changed.layer, changed.anchor, changed.recipe, groups  # type: ignore[arg-type]
    )


def read(told: Any) -> list[Revision]:
    """Revisions from plain data. *Raises* Damaged for what are none."""
    try:
        return msgspec.convert(told, list[Revision])
    except msgspec.ValidationError as error:
        raise Damaged(f"the acts of structure cannot be read: {error}") from error


class Journal:
    """The acts of structure in force of one training, oldest first."""

    def __init__(self) -> None:
        self._kept: list[_LiveRevision] = []
        self._born = 0
        """The number with which the next unit is born."""

    def add(self, revision: Revision, changed: layers.ChangedLayer | None = None) -> None:
        """One more is in force. What optimizers remembered of a layer that went is not held here."""
        if changed is not None:
            memories = [dataclasses.replace(each, state=None) for each in changed.memories]
            changed = dataclasses.replace(changed, memories=memories)
        revision.born = max((self._born, *(_next(each) for each in self.revisions), *(each.before for each in revision.moved.values())))
        self._born = _next(revision)
        self._kept.append(_LiveRevision(revision, changed))

    @property
    def births(self) -> Births:
        """The number with which each unit was born, where it is not its place."""
        found: Births = {}
        for revision in self.revisions:
            found = after(found, revision.moved, revision.born)
        return found

    def drop(self, revision: Revision) -> None:
        """One was taken back."""
        self._kept = [each for each in self._kept if each.revision is not revision]

    @property
    def revisions(self) -> list[Revision]:
        """Those in force, oldest first."""
        return [each.revision for each in self._kept]

    def told(self) -> list[dict[str, Any]]:
        """As plain data."""
        found: list[dict[str, Any]] = msgspec.to_builtins(self.revisions)
        return found

    def has(self, model: nn.Module, then: Sequence[Revision]) -> None:
        """Take over these revisions where nothing else is in force, and a network that was built anew has their shapes already."""
        now, left = shapes_of(model), dict[str, Any]()
        for revision in then:
            left |= {name: None if becomes is None else tuple(becomes) for name, (_, becomes) in revision.tensors.items()}
        if not self._kept and left and all(now.get(name) == shape for name, shape in left.items()):
            self._kept = [_LiveRevision(each) for each in then]

    def shapes(self, model: nn.Module, then: Sequence[Revision]) -> Shapes:
        """Of every weight and buffer the shape that it would have under other revisions.

        *Raises* NotApplicable where they are not those of this network.
        """
        found = shapes_of(model)
        back, ahead = self._way(then)
        for kept in reversed(back):
            if kept.revision.kind == "went" and kept.changed is None:
                raise NotApplicable(f"the layer {kept.revision.layer!r}, which was removed since, is held no longer by this process")
            _turned(found, kept.revision, 1, 0)
        for revision in ahead:
            _turned(found, revision, 0, 1)
        return found

    def groups(self, counts: list[list[int]], then: Sequence[Revision]) -> list[list[int]]:
        """How many parameters each group of each optimizer would hold."""
        back, ahead = self._way(then)
        found = [list(each) for each in counts]
        for revision, way in [*((kept.revision, -1) for kept in back), *((each, 1) for each in ahead)]:
            for optimizer, group in revision.groups:
                if optimizer < len(found) and group < len(found[optimizer]):
                    found[optimizer][group] += way if revision.kind == "came" else -way
        return found

    def stand(self, model: nn.Module, then: Sequence[Revision], optimizers: Sequence[Any]) -> bool:
        """Give a network the structure that it has under other revisions; what the weights hold is put into them later.

        Returns whether anything changed. Ask :meth:`shapes` first.
        """
        plain, shapes = unwrap(model), self.shapes(model, then)
        back, ahead = self._way(then)
        if not (back or ahead):
            return False
        kept = self._kept[: len(self._kept) - len(back)]
        for each in reversed(back):
            _back(plain, each, optimizers)
        for revision in ahead:
            kept.append(_LiveRevision(revision, _done(plain, revision, optimizers)))
        for name, tensor in tensors_of(plain).items():
            if name in shapes and tuple(tensor.shape) != shapes[name]:
                given_shape(tensor, shapes[name])
        self._kept = kept
        return True

    def _way(self, then: Sequence[Revision]) -> tuple[list[_LiveRevision], list[Revision]]:
        """What is to be taken back, and what is to be done after that."""
        same = 0
        while same < min(len(then), len(self._kept)) and self._kept[same].revision == then[same]:
            same += 1
        return self._kept[same:], list(then[same:])


def _next(revision: Revision) -> int:
    """The first number with which no unit of an act was born."""
    fresh = (sum(count for first, count in each.old if first < 0) for each in revision.moved.values())
    return revision.born + max(fresh, default=0)


def _turned(found: Shapes, revision: Revision, of: int, to: int) -> None:
    """What a revision does to shapes, forth or back."""
    for name, way in revision.tensors.items():
        was, becomes = way[of], way[to]
        if found.get(name) != (None if was is None else tuple(was)):
            raise NotApplicable(f"an act of structure wants {name} to be {_shown(was)}, and it is {_shown(found.get(name))}")
        if becomes is None:
            del found[name]
        else:
            found[name] = tuple(becomes)


def _shown(shape: Sequence[int] | None) -> str:
    return "absent" if shape is None else str(tuple(shape))


def _done(model: nn.Module, revision: Revision, optimizers: Sequence[Any]) -> layers.ChangedLayer | None:
    """Do again what a revision did, but for the numbers."""
    if revision.kind == "came":
        assert revision.recipe is not None
        name = layers.come(model, revision.after, revision.recipe, revision.groups, optimizers).layer
        if name != revision.layer:
            raise NotApplicable(f"the layer {revision.layer!r} would be called {name!r} here")
    elif revision.kind == "went":
        return layers.go(model, revision.layer, optimizers)
    else:
        _told(model, revision.sizes, 1)
    return None


def _back(model: nn.Module, kept: _LiveRevision, optimizers: Sequence[Any]) -> None:
    revision = kept.revision
    if revision.kind == "came":
        layers.go(model, revision.layer, optimizers)
    elif kept.changed is not None:
        kept.changed.back()
    else:
        _told(model, revision.sizes, 0)


def before(model: nn.Module, revision: Revision) -> None:
    """Give a copy of a network the shapes from before a change of units; the weights that get another one are zeros."""
    _told(model, revision.sizes, 0)
    own = tensors_of(model)
    for name, (was, _) in revision.tensors.items():
        given_shape(own[name], was or ())


def _told(model: nn.Module, sizes: Mapping[str, Mapping[str, tuple[int, int]]], which: int) -> None:
    """Let modules tell of the width that they have."""
    known = named_modules(model)
    for path, own in sizes.items():
        for size, value in own.items():
            if path in known and hasattr(known[path], size):
                setattr(known[path], size, value[which])
