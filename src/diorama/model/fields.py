"""Receptive fields: which part of the input each place of a layer can see, from the network's own operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..data import nesting
from ..data.nesting import Nested
from . import reaches
from .axes import first_tensor
from .batch_size import whole
from .hidden_ops import hidden
from .layers import Layer, LayerTable
from .mode import OpMode, Trail
from .plain_module import fed, layer_modules, unwrap
from .preservation import Preservation
from .reaches import Reach


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """What each place of a layer's maps can see of the input, one pair of arrays an axis of the input.

    *Meaning* a place sees nothing outside its box; inside it, holes of dilated kernels are counted in. ``ways`` says
    which axis of a unit's map runs along that axis of the input; None where every place sees the same.
    """

    sizes: tuple[int, ...]
    """Of the input's axes."""
    ways: tuple[int | None, ...]
    low: tuple[NDArray[np.int64], ...]
    high: tuple[NDArray[np.int64], ...]

    def box(self, place: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """The first place and the one behind the last that a place sees, for each axis of the input; (0, 0): nothing."""
        found = []
        for way, low, high in zip(self.ways, self.low, self.high, strict=True):
            at = 0 if way is None else place[way]
            first, last = int(low[at]), int(high[at])
            found.append((first, last + 1))
        # What lies in padding along one axis sees nothing at all.
        return tuple(found) if all(last > first for first, last in found) else ((0, 0),) * len(found)

    @property
    def whole(self) -> bool:
        """Every place sees the whole input."""
        return all(
            bool((low == 0).all() and (high == size - 1).all())
            for low, high, size in zip(self.low, self.high, self.sizes, strict=True)
        )

    @property
    def largest(self) -> tuple[int, ...]:
        """The size of the largest box, for each axis of the input."""
        return tuple(max(int((high - low).max()) + 1, 1) for low, high in zip(self.low, self.high, strict=True))


def fields(
    model: nn.Module, x: Nested, table: LayerTable, axes: Sequence[int] = (2, 3)
) -> dict[str, ReceptiveField]:
    """The receptive fields of all layers, by following where each operation of one forward pass reads.

    *Meaning* ``axes`` are the places' axes of the (first) input: (2, 3) of a batch of images. Convolutions (also
    dilated, strided, transposed), pooling (also adaptive), padding, cropping, resizing, normalization, sums, joins and
    means are followed exactly; from an operation that is not known, each place sees all that went in. Where the model runs
    what no op shows, nothing is followed.
    *Shapes* as the layer's own; layers that depend on no such input are left out.
    *Cost* one forward pass of one example, and one with gradients once for a model.
    """
    plain = unwrap(model)
    ready = whole(plain, fed(plain, x))
    if hidden(plain, ready):
        return {}
    tracer = _Tracer(table)
    with Preservation(plain), torch.no_grad(), Trail(layer_modules(plain), closed=tracer.closed) as trail:
        trail.restart()
        return tracer.run(plain, ready, axes)


class _Tracer:
    """Follows one forward pass."""

    def __init__(self, table: LayerTable) -> None:
        self.table = table
        self.known: Any = WeakTensorKeyDictionary()
        self.found: dict[str, ReceptiveField] = {}
        self.sizes: tuple[int, ...] = ()

    def run(self, model: nn.Module, x: Nested, axes: Sequence[int]) -> dict[str, ReceptiveField]:
        first = nesting.first(x)
        if any(axis >= first.ndim for axis in axes):
            return {}
        self.sizes = tuple(int(first.shape[axis]) for axis in axes)
        self.known[first] = tuple(reaches.pixel(axis, int(first.shape[axis])) for axis in axes)
        with OpMode().on_op(self.op):
            nesting.call(model, x)
        return self.found

    def op(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """What the results of one operation can see."""
        sources = [(tensor, self.known[tensor]) for tensor in _tensors((args, kwargs)) if tensor in self.known]
        if not sources:
            return
        # Writing into a part of a tensor returns nothing; the tensor sees both from then on.
        outputs = [tensor for tensor in _tensors(args[0] if name == "setitem" else result) if tensor.ndim]
        for number, output in enumerate(outputs):
            if output.is_floating_point() or output.is_complex():
                made = tuple(
                    reaches.after(name, args, kwargs, [(t, spans[k]) for t, spans in sources], output, number)
                    for k in range(len(self.sizes))
                )
                self.known[output] = made

    def closed(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        """A module has answered: keep what its output can see."""
        tensor = first_tensor(output)
        if tensor is None or name not in self.table.names:
            return
        spans: tuple[Reach, ...] | None = self.known.get(tensor)
        if spans is not None:
            self.found[name] = self._field(self.table[name], tensor, spans)

    def _field(self, layer: Layer, tensor: Tensor, spans: tuple[Reach, ...]) -> ReceptiveField:
        axis = layer.unit_axis if layer.unit_axis < tensor.ndim else tensor.ndim - 1
        places = [k for k in range(1, tensor.ndim) if k != axis]
        ways, low, high = [], [], []
        for span in spans:
            kept = span if span.axis is None or span.axis in places else span.collapsed()
            ways.append(None if kept.axis is None else places.index(kept.axis))
            low.append(kept.low)
            high.append(kept.high)
        return ReceptiveField(self.sizes, tuple(ways), tuple(low), tuple(high))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
