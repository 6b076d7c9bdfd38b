"""The units along every axis of every tensor of a pass, followed through the ops, and what tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .axes import first_tensor, tensors_in
from .ops import CONVOLUTIONS, LIKE, OPS, SCALED, named

Whole = NDArray[np.int64]
Axis = Whole | None
"""For each place along an axis the number of its unit; None where an axis counts no units."""
_JOINED = (
    named("function", "along", "softmax", "cast", "dropout", "handed_on", "sum", "factor", "mix", "extreme", "choice", "writes")
    - {"local_response_norm", "prelu"}
) | frozenset((
    "gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "isnan", "isfinite", "logical_and", "logical_or", "logical_not",
    "layer_norm", "rms_norm",
))
"""Ops in which tensors meet place by place."""
_REDUCED = frozenset(("mean", "sum", "nanmean", "amax", "amin", "max", "min", "prod", "logsumexp", "var", "std"))
"""Ops to which the order along an axis is all the same."""
_MOVED = frozenset((
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "t", "T", "mT",
    "movedim", "moveaxis", "swapaxes", "swapdims", "repeat", "repeat_interleave", "tile", "broadcast_to", "expand", "expand_as",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "getitem", "narrow", "select", "index_select", "flip", "fliplr",
    "flipud", "roll", "ravel", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "contiguous",
))
_POOLED = frozenset(name for name in OPS if "_pool" in name) | {"interpolate", "upsample"}


class Tracks:
    """The units along every axis of every tensor of a pass, and what tells them apart."""

    def __init__(self, model: nn.Module, axes: Mapping[str, int]) -> None:
        self.model, self.axes = model, axes
        self.parent: list[int] = []
        self.marks: defaultdict[int, set[int]] = defaultdict(set)
        """What tells a unit apart from others, where anything does: two units may change places where they have the same marks."""
        self.count = 0
        self.known: dict[int, list[Axis]] = {}
        self.alive: list[Tensor] = []
        self.uses: dict[tuple[str, int], Whole] = {}
        self.layers: dict[str, Axis] = {}
        self.names: dict[int, str] = {}
        self.output: list[Whole] = []

    def begin(self) -> None:
        """Know the weights and buffers by name, as they are during the pass."""
        for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
            self.names.setdefault(id(tensor), name)
            self.alive.append(tensor)

    # Units and what tells them apart.

    def fresh(self, size: int) -> Whole:
        """New units that may change places with one another."""
        first = len(self.parent)
        self.parent += range(first, first + size)
        found = np.arange(first, first + size)
        self.together(found)
        return found

    def together(self, units: Axis) -> None:
        """These units and no others are at one place: they are told apart from all others."""
        if units is not None:
            self.count += 1
            for unit in np.unique(units):
                self.marks[unit].add(self.count)

    def fix(self, *axes: Axis) -> None:
        """Each of these units is told apart from every other."""
        for units in axes:
            for unit in np.unique(units) if units is not None else ():
                self.count += 1
                self.marks[unit].add(self.count)

    def lose(self, *axes: Axis) -> None:
        """Nothing is known of what an op does with these units."""
        self.fix(*axes)

    def root(self, unit: int) -> int:
        """The unit that stands for all that move with it."""
        while self.parent[unit] != unit:
            self.parent[unit] = self.parent[self.parent[unit]]
            unit = self.parent[unit]
        return unit

    def join(self, one: Axis, other: Axis) -> Axis:
        """Two axes that meet place by place: their units move together; an axis without units holds the other's."""
        if one is None or other is None:
            self.fix(one, other)
            return None
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self.root(a), self.root(b)
            if a != b:
                self.parent[b] = a
        return one

    def of(self, tensor: Tensor) -> list[Axis]:
        """The units along each axis of a tensor."""
        found = self.known.get(id(tensor))
        if found is None:
            name = self.names.get(id(tensor))
            found = [None] * tensor.ndim
            if name is not None:
                found = [self.fresh(size) if size > 1 else None for size in tensor.shape]
                for axis, units in enumerate(found):
                    if units is not None:
                        self.uses[name, axis] = units
            self.made(tensor, found)
        return found

    def made(self, tensor: Tensor, axes: list[Axis]) -> None:
        """Note the units along a tensor's axes."""
        self.known[id(tensor)] = axes
        self.alive.append(tensor)

    # What ran.

    def closed(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        """A layer answered: note its units."""
        tensor = first_tensor(output)
        if name in self.axes and tensor is not None and 0 < self.axes[name] < tensor.ndim:
            self.layers.setdefault(name, self.of(tensor)[self.axes[name]])

    def ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran: what it does with the units."""
        results = list(tensors_in(result))
        given = [*tensors_in(args), *tensors_in(kwargs)]
        if not results or not any(axis is not None for tensor in given for axis in self.of(tensor)):
            return
        plain = name if name == "T" else name.rstrip("_")
        rule = self._rule(plain)
        axes = rule(plain, func, args, kwargs, given, results) if rule is not None else None
        if axes is None:
            for tensor in given:
                self.lose(*self.of(tensor))
            axes = [[None] * tensor.ndim for tensor in results]
        for tensor, found in zip(results, axes, strict=True):
            self.made(tensor, found)

    def _rule(self, name: str) -> Any:
        if name in _JOINED:
            return self._joined
        if name in _MOVED:
            return self._moved
        if name in _REDUCED:
            return self._reduced
        if name in LIKE and name.endswith("_like"):
            return self._alike
        if name in ("index_add", "index_copy"):
            return self._indexed
        if name == "pad":
            return self._padded
        if name in _POOLED:
            return self._pooled
        if name in SCALED or name in ("instance_norm", "group_norm", "prelu"):
            return self._normed
        if name in CONVOLUTIONS:
            return self._convolved
        return {
            "linear": self._linear, "addmm": self._addmm, "matmul": self._matmul, "mm": self._matmul, "bmm": self._matmul,
            "cat": self._cat, "concat": self._cat, "concatenate": self._cat, "stack": self._stack,
            "embedding": self._embedded, "embedding_bag": self._embedded,
        }.get(name)

    def _joined(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        return [self._broadcast(given, results[0])] if len(results) == 1 else None

    def _alike(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """A tensor of the same form, whose numbers are no unit's: they take the units of what they meet."""
        if name.startswith("rand"):
            return None
        return [[None if units is None else self.fresh(len(units)) for units in self.of(given[0])] for _ in results]

    def _indexed(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """Places along one axis are written to by their number; along all others both tensors meet."""
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(axis, int) or len(given) != 3 or given[0].ndim != given[2].ndim:
            return None
        own, other = list(self.of(given[0])), self.of(given[2])
        for place in range(len(own)):
            if place == axis % len(own):
                self.fix(own[place], other[place])
                own[place] = None
            else:
                own[place] = self.join(own[place], other[place])
        return [own]

    def _broadcast(self, given: list[Tensor], result: Tensor) -> list[Axis]:
        found: list[Axis] = []
        for axis in range(-result.ndim, 0):
            meet = []
            for tensor in given:
                if tensor.ndim < -axis:
                    continue
                if tensor.shape[axis] == result.shape[axis]:
                    meet.append(self.of(tensor)[axis])
                else:
                    self.fix(self.of(tensor)[axis])  # one unit that all others meet
            whole = meet[0] if meet else None
            for other in meet[1:]:
                whole = self.join(whole, other)
            found.append(whole)
        return found

    def _moved(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """An op that only moves numbers moves the units' numbers just so."""
        whole = given[0]
        for tensor in given[1:]:
            self.fix(*self.of(tensor))
        found: list[list[Axis]] = [[None] * tensor.ndim for tensor in results]
        for axis, units in enumerate(self.of(whole)):
            if units is None:
                continue
            shape = [-1 if k == axis else 1 for k in range(whole.ndim)]
            numbers = torch.from_numpy(units).to(whole.device).double().reshape(shape).expand(whole.shape).contiguous()
            moved = list(tensors_in(func(*_with(args, whole, numbers), **_with(kwargs, whole, numbers))))
            for place, tensor in enumerate(moved):
                self._placed(found[place], tensor.long().cpu().numpy(), axis if tensor.shape == whole.shape else None)
        return found

    def _placed(self, axes: list[Axis], numbers: Whole, stays: int | None) -> None:
        """Note along which axis of a result a set of units lies; ``stays`` is the axis where an op that keeps all axes leaves it."""
        along = varying(numbers)
        if len(along) != 1:
            self.fix(numbers.reshape(-1))
        elif axes[along[0]] is not None:
            self.fix(numbers.reshape(-1), axes[along[0]])
            axes[along[0]] = None
        else:
            axes[along[0]] = np.moveaxis(numbers, along[0], 0).reshape(numbers.shape[along[0]], -1)[:, 0].copy()

    def _reduced(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        whole = given[0]
        if len(given) > 1:
            return [self._broadcast(given, results[0])] if len(results) == 1 else None
        dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        if isinstance(dims, bool) or not isinstance(dims, int | tuple | list | None):
            return None
        every = range(whole.ndim) if dims is None else [dims] if isinstance(dims, int) else list(dims)
        gone = {axis % max(whole.ndim, 1) for axis in every}
        kept = [units for axis, units in enumerate(self.of(whole)) if axis not in gone]
        spread = [None if axis in gone else units for axis, units in enumerate(self.of(whole))]
        if len(results) > 1:
            self.fix(*(units for axis, units in enumerate(self.of(whole)) if axis in gone))  # it also says which one
        return [kept if tensor.ndim == len(kept) else spread for tensor in results]

    def _pooled(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """Axes that keep their length before the places keep their units."""
        whole, first = given[0], results[0]
        if first.ndim != whole.ndim:
            return None
        places = next((int(digit) for digit in name if digit.isdigit()), max(whole.ndim - 2, 0))
        held = whole.ndim - places
        own = self.of(whole)
        self.fix(*own[held:])
        return [[*own[:held], *(None for _ in range(places))] for _ in results]

    def _padded(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        """What is added is the same number everywhere: units that may change places with one another."""
        whole, padding = given[0], kwargs.get("pad", args[1] if len(args) > 1 else ())
        if kwargs.get("mode", args[2] if len(args) > 2 else "constant") != "constant" or not isinstance(padding, tuple | list):
            return None
        found = list(self.of(whole))
        for number in range(len(padding) // 2):
            low, high = padding[2 * number : 2 * number + 2]
            own = found[-1 - number]
            if own is None or (low == high == 0):
                continue
            if min(low, high) < 0:
                return None
            zeros = self.fresh(low + high)
            self.together(own)
            found[-1 - number] = np.concatenate([zeros[:low], own, zeros[low:]])
        return [found]

    def _normed(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        whole = given[0]
        own = list(self.of(whole))
        if whole.ndim < 2:
            return None
        for tensor in given[1:]:
            if tensor.ndim == 1 and tensor.shape[0] == whole.shape[1] > 1:
                own[1] = self.join(own[1], self.of(tensor)[0])
            else:
                self.fix(*self.of(tensor))
        if name == "group_norm":
            groups = kwargs.get("num_groups", args[1] if len(args) > 1 else None)
            if not isinstance(groups, int):
                return None
            for part in np.split(own[1], groups) if own[1] is not None else ():
                self.together(part)
        return [own] + [[None] * tensor.ndim for tensor in results[1:]]

    def _linear(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        x, weight, *bias = given
        if weight.ndim != 2:
            return None
        self.join(self.of(x)[-1], self.of(weight)[1])
        out = self.of(weight)[0]
        for tensor in bias:
            out = self.join(out, self.of(tensor)[0]) if out is not None else None
        return [[*self.of(x)[:-1], out]]

    def _addmm(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        if len(given) != 3:
            return None
        bias, x, weight = given
        self.join(self.of(x)[1], self.of(weight)[0])
        out = self.of(weight)[1]
        if bias.shape[-1] == results[0].shape[-1]:
            out = self.join(out, self.of(bias)[-1])
        return [[self.of(x)[0], out]]

    def _matmul(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        if len(given) != 2 or given[0].ndim < 2 or given[1].ndim < 2:
            return None
        one, other = (self.of(tensor) for tensor in given)
        self.join(one[-1], other[-2])
        alike = len(one) == len(other) and all(map(_same, one[:-2], other[:-2]))
        if not alike and any(axis is not None for axis in (*one[:-2], *other[:-2])):
            self.fix(*one[:-2], *other[:-2])
        return [[*(None for _ in range(results[0].ndim - 2)), one[-2], other[-1]]]

    def _convolved(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        x, weight, *bias = given
        places = weight.ndim - 2
        own, axes, channel = self.of(x), self.of(weight), x.ndim - places - 1
        groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
        self.fix(*axes[2:], *own[channel + 1 :])
        turned = "transpose" in name
        if groups == 1:
            self.join(own[channel], axes[0 if turned else 1])
            out = axes[1 if turned else 0]
        elif turned:
            return None
        elif weight.shape[1] == 1 and (held := own[channel]) is not None:
            out = self.join(np.repeat(held, weight.shape[0] // groups), axes[0])  # depthwise: a unit and its own maps
        else:
            self.fix(own[channel], axes[1])
            out = axes[0]
            for part in np.split(out, groups) if out is not None else ():
                self.together(part)
        for tensor in bias:
            out = self.join(out, self.of(tensor)[0]) if out is not None else None
        return [[*own[:channel], out, *(None for _ in range(places))]]

    def _cat(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        axis = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
        if not isinstance(axis, int):
            return None
        axis %= results[0].ndim
        parts = [(self.of(tensor), tensor) for tensor in given if tensor.ndim == results[0].ndim]
        found: list[Axis] = []
        for place in range(results[0].ndim):
            own = [axes[place] for axes, _ in parts]
            if place != axis:
                whole = own[0]
                for other in own[1:]:
                    whole = self.join(whole, other)
                found.append(whole)
            elif all(each is None for each in own):
                found.append(None)
            else:
                filled = []
                for units, (_, tensor) in zip(own, parts, strict=True):
                    if units is None:
                        units = self.fresh(tensor.shape[axis])
                        self.fix(units)
                    self.together(units)
                    filled.append(units)
                found.append(np.concatenate(filled))
        return [found]

    def _stack(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        if not isinstance(axis, int):
            return None
        found = self._broadcast(given, given[0])
        found.insert(axis % results[0].ndim, None)
        return [found]

    def _embedded(self, name: str, func: Any, args: Any, kwargs: Any, given: list[Tensor], results: list[Tensor]) -> Any:
        weight = next((tensor for tensor in given if tensor.is_floating_point() and tensor.ndim == 2), None)
        if weight is None or results[0].shape[-1] != weight.shape[1]:
            return None
        self.fix(self.of(weight)[0])
        return [[*(None for _ in range(results[0].ndim - 1)), self.of(weight)[1]]]

    # What was found.

    def end(self, output: Any) -> None:
        """What the model returns is read by its place."""
        for tensor in tensors_in(output):
            for units in self.of(tensor):
                if units is not None:
                    self.fix(units)
                    self.output.append(units)


def _same(one: Axis, other: Axis) -> bool:
    """Whether two axes count the same units, or none."""
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _with(value: Any, old: Tensor, new: Tensor) -> Any:
    if value is old:
        return new
    if isinstance(value, Mapping):
        return {name: _with(each, old, new) for name, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_with(each, old, new) for each in value)
    return value


def varying(numbers: Whole) -> list[int]:
    """The axes along which numbers differ."""
    return [axis for axis in range(numbers.ndim) if numbers.shape[axis] > 1 and (numbers != numbers.take([0], axis)).any()]
