"""The layers of a model in the order in which they answer, with their shapes, units and weights."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import is_point, within
from ..data import nesting
from ..data.nesting import Nested
from . import ops
from .axes import example_axis, first_tensor, holds_packed, likely_unit_axis, time_major, unit_axis, unpacked
from .batch_size import batch_size, fitting, said
from .mode import op_name
from .untouched import Untouched
from .unwrap import fed, layer_modules, unwrap


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
    each: bool = True
    """Whether it answers once for each example; not where examples are merged with frames or windows."""
    squashed: str = ""
    """The function, tanh or sigmoid, that follows at once in ``forward`` and is no module; its ends are nearly flat."""

    @property
    def normalises(self) -> bool:
        """Whether it only rescales its units."""
        return "Norm" in self.kind


class LayerTable(Sequence[Layer]):
    """All layers of a model in order; a name finds its layer: ``table["features.3"]``.

    Ops and what lies in an attention are no layers of the list, and found by their names too: ``table["op:block.softmax"]``.
    """

    def __init__(
        self, layers: Iterable[Layer], find: Callable[[str], Layer] | None = None, notes: tuple[str, ...] = ()
    ) -> None:
        self._layers, self._find = tuple(layers), find
        self.notes = notes
        """What a person should know of how the model is built, a sentence each."""
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
            if which not in self._by_name:
                raise not_found("layer", which, self._by_name)
            return self._by_name[which]
        return self._layers[which]

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
            return name in self._by_name
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


def layers(model: nn.Module, x: Nested, *, examples: int = 2) -> LayerTable:
    """Find a model's layers by running it once on at most so many of the examples.

    *Cost* one forward pass on two examples.
    *Raises* NotApplicable for a model that cannot be looked into.
    """
    plain = unwrap(model)
    return fitting(plain, fed(plain, nesting.select(x, slice(0, examples))), functools.partial(_surveyed, plain))


def _surveyed(plain: nn.Module, few: Nested) -> LayerTable:
    modules = layer_modules(plain)
    look = _LayerSurvey(modules, nesting.size(few), frozenset(map(id, plain.parameters())))
    look.graph = isinstance(plain, torch.fx.GraphModule)
    handles = []
    try:
        for path, module in modules.items():
            handles.append(nn.Module.register_forward_pre_hook(module, look.before(path)))
            handles.append(nn.Module.register_forward_hook(module, look.after(path)))
        with Untouched(plain), torch.no_grad(), look.followed:
            nesting.call(plain, few)
    finally:
        for handle in handles:
            handle.remove()
    size = batch_size(plain)
    notes = (*look.notes(), *([said(size)] if size is not None else []))
    return LayerTable(look.finished(), Finder(plain, few), notes)


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


_SQUASHING = ("tanh", "sigmoid")


class _FollowedLayers(TorchFunctionMode):
    """Remembers which layers' outputs went into a ReLU, tanh or sigmoid, and which weights are used that the model does not know of."""

    def __init__(self, own: frozenset[int]) -> None:
        super().__init__()
        self.own = own
        self.strangers: dict[int, nn.Parameter] = {}
        self.made_by: dict[tuple[int, int], list[int]] = {}
        self.layers: set[int] = set()
        self.squashed: dict[int, str] = {}
        self.open: list[nn.Module] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        for part in args:
            if isinstance(part, nn.Parameter) and id(part) not in self.own:
                self.strangers[id(part)] = part
        if args and isinstance(args[0], Tensor) and ops.rectifies(op_name(func), args, kwargs):
            self.layers.update(self.made_by.get(_state(args[0]), ()))
        name = op_name(func).removesuffix("_") if args and isinstance(args[0], Tensor) else ""
        # What a module of its own does is that module's.
        if name in _SQUASHING and not (self.open and isinstance(self.open[-1], (nn.Tanh, nn.Sigmoid))):
            self.squashed.update(dict.fromkeys(self.made_by.get(_state(args[0]), ()), name))
        return func(*args, **kwargs)


def _state(tensor: Tensor) -> tuple[int, int]:
    """A tensor as it is now: an in-place sum makes it another."""
    return id(tensor), 0 if tensor.is_inference() else tensor._version


class _LayerSurvey:
    """Collects the layers of one forward pass."""

    def __init__(self, modules: dict[str, nn.Module], examples: int, own: frozenset[int] = frozenset()) -> None:
        self.modules, self.examples = modules, examples
        self.late = time_major(modules)
        self.graph = False
        """The model is a graph of ops, in which no module is called."""
        self.followed = _FollowedLayers(own)
        self.found: list[Layer] = []
        self.outputs: list[Tensor] = []  # kept alive, so that no two share an id
        self.calls: dict[str, int] = {}
        self.inside: list[bool] = []
        self.axes: dict[tuple[int, ...], int] = {}

    def before(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            self.inside = [True for _ in self.inside]
            self.inside.append(False)
            self.followed.open.append(module)

        return hook

    def after(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            leaf = not self.inside.pop()
            self.followed.open.pop()
            self.calls[path] = call = self.calls.get(path, 0) + 1
            tensor, late = first_tensor(output), path in self.late
            if tensor is None and holds_packed(output):
                tensor, late = unpacked(output)[0], False
            if tensor is not None:
                self._add(path, module, call, leaf, tensor, late)

        return hook

    def _add(self, path: str, module: nn.Module, call: int, leaf: bool, tensor: Tensor, late: bool) -> None:
        sizes = list(tensor.shape)
        if sizes:
            axis = example_axis(tuple(sizes), self.examples, late, bool(self.late))
            sizes.insert(0, sizes.pop(axis))
        each = bool(sizes) and sizes[0] == self.examples
        shape = tuple(sizes)
        known = unit_axis(module, len(shape))
        axis = likely_unit_axis(shape, self.axes) if known is None else known
        self.axes.pop(shape, None)
        self.axes[shape] = axis
        parts = recurrent_parts(module) if call == 1 else ()
        layer = Layer(
            name=path if call == 1 else f"{path}#{call}",
            kind=type(module).__name__,
            shape=shape[1:],
            units=shape[axis] if 0 < axis < len(shape) else 1,
            unit_axis=axis,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            spatial=len(shape) >= 4,
            sequence=len(shape) == 3,
            order=0,
            call=call,
            path=path,
            leaf=leaf and not parts,
            weight=main_weight(path, module),
            rectified=False,
            loop=isinstance(module, nn.RNNCellBase) and call == 1,
            complex=tensor.is_complex(),
            each=each,
        )
        self.followed.made_by.setdefault(_state(tensor), []).append(len(self.found))
        self.outputs.append(tensor)
        self.found.append(layer)
        self.found += [_part(layer, module, part) for part in parts]

    def finished(self) -> Iterator[Layer]:
        """The layers, numbered, with those marked whose output went into a ReLU."""
        for order, layer in enumerate(self.found):
            yield dataclasses.replace(layer, order=order, rectified=order in self.followed.layers, squashed=self.followed.squashed.get(order, ""))

    def notes(self) -> Iterator[str]:
        """What a person should know of how the model is built."""
        strange = len(self.followed.strangers)
        if strange:
            yield (
                f"{strange} of the weights that the model uses are not among its parameters (of modules in a plain list, say), so "
                "they are neither stored nor trained with it: hold such modules in an nn.ModuleList"
            )
        if self.modules and not any(layer.shape for layer in self.found):
            way = "run its layers outside of vmap and functional_call"
            if self.graph:
                way = "torch.export.unflatten(program) gives an exported model its layers back"
            yield f"no layer answers once for each example, so activations are read of ops alone, such as op:linear; {way}"


def recurrent_parts(module: nn.Module) -> tuple[str, ...]:
    """The parts of a recurrent module: ``l0``, ``l0.reverse``, ``l1`` …; none for any other module."""
    if not isinstance(module, nn.RNNBase):
        return ()
    ways = ("", ".reverse") if module.bidirectional else ("",)
    return tuple(f"l{number}{way}" for number in range(module.num_layers) for way in ways)


def _part(whole: Layer, module: nn.Module, part: str) -> Layer:
    units = int(module.proj_size or module.hidden_size)  # type: ignore[arg-type]
    suffix = "_" + part.replace(".", "_")
    own = {name: p for name, p in module.named_parameters() if name.endswith(suffix)}
    return dataclasses.replace(
        whole,
        name=within(whole.name, part),
        shape=(*whole.shape[:-1], units),
        units=units,
        parameters=sum(parameter.numel() for parameter in own.values()),
        leaf=True,
        weight=within(whole.path, f"weight_ih{suffix}"),
        part=part,
    )


def main_weight(path: str, module: nn.Module) -> str | None:
    """The name, among the model's parameters, of a module's own weight with two axes or more (the largest, when it has
    several and none is called ``weight``); None without any.
    """
    own = {name: p for name, p in module.named_parameters(recurse=False) if p.ndim >= 2}
    if "parametrizations" in module._modules:
        inner = module._modules["parametrizations"].named_parameters()  # type: ignore[union-attr]
        own |= {f"parametrizations.{name}": parameter for name, parameter in inner if parameter.ndim >= 2}
    if not own:
        return None
    name = "weight" if "weight" in own else max(own, key=lambda name: own[name].numel())
    return within(path, name)
