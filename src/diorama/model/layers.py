"""The layers of a model in the order in which they answer, with their shapes, units and weights."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload
from urllib.parse import unquote

from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import Key, is_point, within
from ..data import nesting
from ..data.nesting import Nested
from .batch_size import fitting
from .plain_module import fed, unwrap


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of a module (or one direction of one layer of a recurrent module) and what it returns."""

    name: str
    """The module's path; ``#2`` marks the second call of a reused module, ``.l0.reverse`` a part of a recurrent one. It is
    empty for the model itself, and ``op:…`` for an op."""
    kind: str
    """The module's class."""
    shape: tuple[int, ...]
    """Of what it returned for one example, without the batch."""
    units: int
    """Channels, neurons or cells."""
    unit_axis: int
    """The axis that counts units, when axis 0 counts examples."""
    parameters: int
    """Numbers that training may change, in the module and all below it."""
    spatial: bool
    """It returns maps: units with two or more axes of places."""
    sequence: bool
    """It returns a vector at each of many steps, or units along one axis of places."""
    order: int
    """Its turn among all layers: when its output was ready."""
    call: int
    """1 for the first call of its module in a forward pass."""
    path: str
    """The path of its module."""
    leaf: bool
    """No other layer ran inside it."""
    weight: str | None
    """The name of its main weight (two axes or more) among the model's parameters."""
    rectified: bool
    """A ReLU follows at once, as a module or a function."""
    part: str = ""
    """Of a recurrent module: which of its layers and directions, such as ``l1.reverse``."""
    loop: bool = False
    """It is a recurrent cell, which the model calls step by step."""
    complex: bool = False
    """It returns complex numbers, of which views show the magnitude."""
    reason: str = ""
    """Why none of its rows is one example's, to be read behind its name; empty where each example has one."""
    sometimes: bool = False
    """Whether it runs depends on the input."""
    squashed: str = ""
    """The function, tanh or sigmoid, that follows at once in ``forward`` and is no module; its ends are nearly flat."""

    @property
    def each(self) -> bool:
        """Whether it answers every input, and once for each example; not where examples are merged with frames or windows."""
        return not (self.reason or self.sometimes)

    @property
    def unlike(self) -> str:
        """Why it cannot be read example by example, to stand behind its name; empty where it can."""
        return self.reason or ("runs for some inputs only" if self.sometimes else "")

    @property
    def normalises(self) -> bool:
        """Whether it only rescales its units."""
        return "Norm" in self.kind


class LayerTable(Sequence[Layer]):
    """All layers of a model in order; a name finds its layer: ``table["features.3"]``.

    Ops and what lies in an attention are no layers of the list, and found by their names too: ``table["op:block.softmax"]``.
    """

    def __init__(
        self, layers: Iterable[Layer], find: Callable[[str], Layer] | None = None, notes: tuple[str, ...] = (), mixing: str = "",
        steps: frozenset[int] = frozenset(), dropped: tuple[tuple[str, float], ...] = (),
    ) -> None:
        self._layers, self._find = tuple(layers), find
        self.notes = notes
        """What a person should know of how the model is built, a sentence each."""
        self.mixing = mixing
        """That the answer to an example depends on what else is in its batch, in a sentence; empty where it does not."""
        self.steps = steps
        """How many steps the sequences had that came in while the layers were found."""
        self.dropped = dropped
        """Modules in whose own forward pass a function drops in training, and which share; the model itself has no name."""
        self._by_name = {layer.name: layer for layer in self._layers}

    @overload
    def __getitem__(self, which: int | str) -> Layer: ...
    @overload
    def __getitem__(self, which: slice) -> LayerTable: ...
    def __getitem__(self, which: int | str | slice) -> Layer | LayerTable:
        if isinstance(which, slice):
            return LayerTable(self._layers[which])
        if isinstance(which, str):
            if which not in self._by_name and self._find is not None and is_point(which):
                return self._find(which)
            if (own := self._own(which)) is None:
                raise not_found("layer", which, self._by_name)
            return self._by_name[own]
        return self._layers[which]

    def _own(self, name: str) -> str | None:
        """The name of a layer that is called so, perhaps as keys write it: with its kind, or percent-encoded."""
        if name in self._by_name:
            return name
        bare = name.removeprefix("layer:")
        for text in (bare, unquote(bare)):
            if text in self._by_name:
                return text
        # Of a key that was read, where the name has a percent sign of its own.
        return next((own for own in self._by_name if "%" in own and unquote(own) == name), None)

    def keyed(self, key: Key) -> Key:
        """A key of a layer or a unit with the layer's own name: what looks like a place may belong to the name.

        *Raises* NotFound for a layer that is not there.
        """
        whole = f"{key.name}@{','.join(map(str, key.place))}"
        if key.kind == "layer" and key.place and not self.has(key.name) and self.has(whole):
            return dataclasses.replace(key, name=self[whole].name, place=())
        return dataclasses.replace(key, name=self[key.name].name)

    def look_in(self, model: Callable[[], nn.Module | None]) -> None:
        """Where ops are looked for once the model in which the layers were found is gone."""
        if isinstance(self._find, Finder):
            self._find.at_hand = model

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __contains__(self, item: object) -> bool:
        return self.has(item) if isinstance(item, str) else item in self._layers

    def has(self, name: str) -> bool:
        """Whether there is a layer, or an op or the like, of that name."""
        if name in self._by_name or self._find is None or not is_point(name):
            return self._own(name) is not None
        try:
            return bool(self._find(name))
        except (UsageError, NotApplicable):
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all layers."""
        return tuple(self._by_name)

    @property
    def leaves(self) -> LayerTable:
        """The layers in which no other layer runs."""
        return LayerTable(layer for layer in self if layer.leaf)

    @property
    def with_weights(self) -> LayerTable:
        """The layers that have a weight of two axes or more, each module once."""
        return LayerTable(layer for layer in self if layer.weight is not None and layer.call == 1)

    @property
    def spatial(self) -> LayerTable:
        """The layers that return maps."""
        return LayerTable(layer for layer in self if layer.spatial)

    @property
    def recurrent(self) -> LayerTable:
        """The parts of recurrent modules: one for each layer and direction."""
        return LayerTable(layer for layer in self if layer.part)

    @property
    def stepwise(self) -> LayerTable:
        """All that keeps states from step to step: the parts of recurrent modules, and cells that loops call."""
        return LayerTable(layer for layer in self if layer.part or layer.loop)

    def handed(self, layer: Layer) -> Layer:
        """Where a layer's values are as the next layer gets them, but for a ReLU: behind the normalisation that follows at once."""
        plain = layer.leaf and layer.weight is not None and not layer.normalises and not layer.rectified
        after = next((one for one in self.leaves if one.order > layer.order), None) if plain else None
        return after if after is not None and after.normalises and after.shape == layer.shape else layer

    def __repr__(self) -> str:
        head = ("layer", "kind", "shape", "units", "parameters")
        rows = [
            (item.name, item.kind, " × ".join(map(str, item.shape)), str(item.units), f"{item.parameters:,}")
            for item in self
        ]
        widths = [max(len(row[k]) for row in [head, *rows]) for k in range(5)]
        turn: tuple[Callable[[str, int], str], ...] = (str.ljust, str.ljust, str.ljust, str.rjust, str.rjust)
        lines = ["  ".join(turn[k](row[k], widths[k]) for k in range(5)).rstrip() for row in [head, *rows]]
        return "\n".join(lines)


def by_unit(layer: Layer, tensor: Tensor) -> Tensor:
    """A layer's activations with the units on axis 1: (n, units, …); of complex numbers their magnitudes."""
    found = units_first(layer, tensor)
    return found.abs() if found.is_complex() else found


def units_first(layer: Layer, tensor: Tensor) -> Tensor:
    """A layer's own numbers, as they are, with the units on axis 1."""
    if tensor.ndim == 1:
        return tensor[:, None]
    axis = layer.unit_axis if layer.unit_axis < tensor.ndim else tensor.ndim - 1
    return tensor if axis == 1 else tensor.movedim(axis, 1)


SURVEYED = 32
"""So many examples at most tell how a network treats them that picks or sorts its rows, or chooses its layers by the input."""


def layers(model: nn.Module, x: Nested, *, examples: int = 2) -> LayerTable:
    """Find a model's layers by running it on so many of the examples.

    *Cost* one forward pass on two examples, and one that tells whether they are answered each for itself; three on up to 32
    and four on one where the network picks or sorts rows or chooses its layers by its input.
    *Raises* NotApplicable for a model that cannot be looked into.
    """
    from .survey import surveyed  # which makes layers, so that this knows it only when asked

    plain = unwrap(model)
    more = fed(plain, nesting.select(x, slice(0, max(examples, SURVEYED))))
    return fitting(plain, nesting.select(more, slice(0, examples)), functools.partial(surveyed, plain, more))


class Finder:
    """What finds the points of a model that lie between its layers; it keeps no model alive.

    Where the model in which layers were found is gone, the one at hand is asked: another snapshot of the same architecture.
    """

    def __init__(self, model: nn.Module, x: Nested) -> None:
        self._known, self._x = weakref.ref(model), x
        self.at_hand: Callable[[], nn.Module | None] = lambda: None

    def __call__(self, name: str) -> Layer:
        from .points import points  # points are layers, so that this knows them only when asked

        model = self._known() or self.at_hand()
        if model is None:
            raise NotApplicable(f"the model in which {name} was to be found is gone; ask the layers of the one at hand")
        return points(unwrap(model), self._x)[name]


def recurrent_parts(module: nn.Module) -> tuple[str, ...]:
    """The parts of a recurrent module: ``l0``, ``l0.reverse``, ``l1`` …; none for any other module."""
    if not isinstance(module, nn.RNNBase):
        return ()
    ways = ("", ".reverse") if module.bidirectional else ("",)
    return tuple(f"l{number}{way}" for number in range(module.num_layers) for way in ways)


def main_weight(path: str, module: nn.Module) -> str | None:
    """The name, among the model's parameters, of a module's own weight with two axes or more (the largest, when it has
    several and none is called ``weight``); None without any.
    """
    if not module._parameters and not module._modules and type(module).named_parameters is nn.Module.named_parameters:
        return None  # as of most modules, told at once
    own = {name: p for name, p in module.named_parameters(recurse=False) if p.ndim >= 2}
    if "parametrizations" in module._modules:
        inner = module._modules["parametrizations"].named_parameters()  # type: ignore[union-attr]
        own |= {f"parametrizations.{name}": parameter for name, parameter in inner if parameter.ndim >= 2}
    if not own:
        return None
    name = "weight" if "weight" in own else max(own, key=lambda name: own[name].numel())
    return within(path, name)
