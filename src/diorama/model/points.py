"""Points: every place in a model that can be read and changed, also those between its modules.

A layer is a point whose key is its name. What an op answers is one as well (``op:block.softmax``), and so are the queries,
keys, values and patterns of an attention (``query:block.attn``) and the sums of a residual stream (``residual:block.2``).
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import without_call
from ..data import nesting
from ..data.nesting import Nested
from . import equations, ops, patterns
from .changes import switches
from .example_axis import Layout
from .layers import Layer
from .op_survey import OpRecord, surveyed
from .plain_module import unwrap

Slot = Literal["result", "argument", "inside"]
_REMEMBERED = 4
"""Forms of input for which a model's ops are remembered."""


@dataclasses.dataclass(frozen=True)
class Point(Layer):
    """What an op answers or is given: a layer whose name is its key (``op:block.softmax``)."""

    op: str = ""
    """The op, by its name in the graph."""
    slot: Slot = "result"
    number: int = 0
    """Which of several results, or which argument."""
    layout: Layout = dataclasses.field(default_factory=Layout)

    @property
    def whole(self) -> str:
        """Why the point has no examples and units of its own and can be edited only whole; empty where it has."""
        return self.layout.reason

    def read(self, tensor: Tensor, examples: int) -> Tensor:
        """The activation with the examples on the first axis.

        *Raises* NotApplicable where examples cannot be told apart.
        """
        if self.whole:
            raise NotApplicable(f"{self.name} can only be edited whole: {self.whole}")
        return self.layout.apart(tensor, examples)


class Points:
    """The points of a model that lie between its modules, found by running it with two and with three examples.

    *Cost* two forward passes, once for each model and form of input.
    """

    def __init__(self, model: nn.Module, x: Nested) -> None:
        self.records = surveyed(model, x)
        self.attention = patterns.find(self.records)
        self._found: dict[str, Point] = {}

    @property
    def ops(self) -> tuple[str, ...]:
        """The names of all ops, in the order in which they run."""
        return tuple(self.records)

    def __getitem__(self, name: str) -> Point:
        """The point of a name such as ``op:block.softmax``; a short ending stands for the only op that ends so.

        *Raises* NotFound for one that is not there; UsageError where several end so, and lists them.
        """
        if name not in self._found:
            kind, _, rest = name.partition(":")
            if kind == "op":
                self._found[name] = self.of_op(rest)
            elif kind == "residual":
                self._found[name] = self.of_residual(rest)
            elif kind in patterns.PARTS:
                self._found[name] = self.of_attention(kind, rest)
            else:
                raise not_found("layer", name, self.ops)
        return self._found[name]

    def of_op(self, name: str) -> Point:
        """The point of an op's result, by its name in the graph or a short ending."""
        plain = ops.plain(name)
        number = int(name[len(plain) + 1 :]) if plain != name else 0
        record = self.records[self._full(plain)]
        if number >= len(record.shapes):
            raise UsageError(f"op:{record.name} has the results 0 to {len(record.shapes) - 1}, got {number}")
        return _point(record, number)

    def of_attention(self, part: str, label: str) -> Point:
        """The queries, keys, values or the pattern of an attention, with its heads as units, however it is written.

        *Shapes* (n, heads, t, width), of a pattern (n, heads, queries, keys).
        """
        site = self.site(part, label)
        name = f"{part}:{site.label}"
        if not site.kernel:
            point = self._written(name, part, site)
            if not site.pooled and len(point.shape) > 3 and not point.whole:
                pattern, key = (self._written(name, one, site).shape for one in ("pattern", "key"))
                if len(pattern) > 3 and (len(key) < len(pattern) or any(a < b for a, b in zip(key[:-2], pattern[:-2], strict=True))):
                    # Queries in groups, each with keys of its own: all of them are heads.
                    return _folded(point)
            return point
        record = self.records[site.kernel]
        number = patterns.PARTS.index(part)
        if record.heads:
            shapes = patterns.kernel_shapes(record)
            return _headed(name, record, shapes[number], Layout(), (), "inside", number)
        if part != "pattern":
            return _headed(name, record, record.taken[number], record.arguments[number], (), "argument", number)
        shape = (*record.taken[0][:-1], record.taken[1][-2])
        return _headed(name, record, shape, record.arguments[0], (), "inside", number)

    def _written(self, name: str, part: str, site: patterns.Site) -> Point:
        """A part of an attention that no kernel runs, with all axes that it has."""
        if part == "pattern":
            record = self.records[site.softmax]
            return _headed(name, record, record.shapes[0], record.layouts[0], site.order, asks=site.asks)
        product = self.records[site.out if part == "value" else site.scores]
        number = {"query": site.query, "key": site.key, "value": site.value}[part]
        order = equations.order(product, part, number, site.asked if part != "value" else "")
        return _headed(name, product, product.taken[number], product.arguments[number], order, "argument", number)

    def heads(self, site: patterns.Site) -> str:
        """The part of an attention that no kernel runs in which its heads are told apart: not the values where they are shared."""
        if site.pooled:
            return "pattern"
        values, pattern = self[f"value:{site.label}"], self[f"pattern:{site.label}"]
        return "pattern" if values.whole or values.units != pattern.units else "value"

    def site(self, part: str, label: str) -> patterns.Site:
        """The attention of a label, a part of which is asked for. *Raises* NotApplicable where the model runs none that is recognised."""
        known = self.attention.by_label
        if not known:
            unknown = f"; not recognised: {', '.join(self.attention.unknown)}" if self.attention.unknown else ""
            raise NotApplicable(f"the model runs no attention that is recognised, which would be {patterns.WOULD_BE}{unknown}")
        site = known[self._ending(label, known, "attention", part)]
        if site.pooled and part != "pattern":
            raise NotApplicable(f"{site.label} makes its scores without a product of queries and keys, so it has a pattern alone")
        return site

    def of_residual(self, layer: str) -> Point:
        """The sum of a residual stream that a layer's answer goes into, or that a block ends with."""
        found = self.records[patterns.residual(self.records, layer)]
        return dataclasses.replace(_point(found), name=f"residual:{layer}")

    def _full(self, name: str) -> str:
        return self._ending(name, self.records, "op", "op")

    @staticmethod
    def _ending(name: str, known: Mapping[str, Any], what: str, prefix: str) -> str:
        """The only name that ends so; of a key that was read also one that has percent signs of its own."""
        if name in known:
            return name
        found = [full for full in known if unquote(full) == name]
        found = found or [full for full in known if any(text.endswith(f".{name}") for text in (full, without_call(full), unquote(full)))]
        if len(found) == 1:
            return found[0]
        if found:
            said = ", ".join(f"{prefix}:{full}" for full in found[:12]) + (" …" if len(found) > 12 else "")
            raise UsageError(f"{len(found)} {what}s end in {name!r}: {said}; name one of them")
        raise not_found(what, name, known)


def _headed(
    name: str, record: OpRecord, raw: Sequence[int], layout: Layout, order: tuple[int, ...] = (), slot: Slot = "result",
    number: int = 0, asks: bool = False,
) -> Point:
    """The point of a part of an attention, whose units are heads."""
    if layout.axis is not None:
        axis = order.index(layout.axis) if order else layout.axis
        layout = dataclasses.replace(layout, order=order, axis=axis, single=len(raw) + layout.merged + asks < 4, asks=asks)
    else:
        layout = dataclasses.replace(layout, order=order)
    shape = tuple(layout.apart(torch.empty(tuple(raw), device="meta"), 2).shape)
    whole, unit_axis = layout.axis is None, max(0, len(shape) - 3)
    return Point(
        name=name, kind=name.partition(":")[0], shape=shape if whole else shape[1:], units=1 if whole else shape[unit_axis],
        unit_axis=unit_axis, parameters=0, spatial=len(shape) >= 4, sequence=False, order=record.order, call=1,
        path=record.here, leaf=True, weight=None, rectified=False, op=record.name, slot=slot, number=number, layout=layout,
    )


def _folded(point: Point) -> Point:
    """A part of an attention with all axes before its last two as one of heads."""
    folded = point.shape[:-2]
    shape = (math.prod(folded), *point.shape[-2:])
    return dataclasses.replace(point, shape=shape, units=shape[0], unit_axis=1, layout=dataclasses.replace(point.layout, folded=folded))


def _point(record: OpRecord, number: int = 0) -> Point:
    """The point of one of an op's results."""
    layout, unit_axis, raw = record.layouts[number], record.units[number], record.shapes[number]
    shape = tuple(layout.apart(torch.empty(raw, device="meta"), 2).shape)
    shape = shape[1:] if layout.axis is not None else shape
    return Point(
        name=f"op:{record.name}" + (f".{number}" if number else ""), kind=record.op, shape=shape,
        units=shape[unit_axis - 1] if 0 < unit_axis <= len(shape) and not layout.reason else 1, unit_axis=unit_axis,
        parameters=record.parameters, spatial=len(shape) >= 3, sequence=len(shape) == 2, order=record.order, call=1,
        path=record.here, leaf=True, weight=None, rectified=record.rectified, op=record.name, number=number, layout=layout,
    )


Parts = tuple[Any, ...]
_KNOWN: weakref.WeakKeyDictionary[nn.Module, OrderedDict[tuple[Any, ...], Points]] = weakref.WeakKeyDictionary()
_COPIES: weakref.WeakKeyDictionary[nn.Module, tuple[weakref.ref[nn.Module], Parts]] = weakref.WeakKeyDictionary()
"""Of models that are copies of others: of which, and the modules that they had then."""


def copied(model: nn.Module, original: nn.Module) -> None:
    """Tell that a model is another with other weights: what is found of one holds of both, as long as the copy keeps its modules."""
    first = _COPIES.get(original)
    _COPIES[model] = (first[0] if first is not None else weakref.ref(original), switches(model))


def points(model: nn.Module, x: Nested) -> Points:
    """The points of a model for inputs of this form; found once, and remembered, also for its copies with other weights."""
    model = unwrap(model)
    forms = tuple((tuple(part.shape[1:]), part.dtype) for part in nesting.tensors(x))
    original, parts = _COPIES.get(model, (lambda: None, ()))
    own = switches(model)
    holder = (original() if parts == own else None) or model
    key = (forms, type(x), own if holder is model else switches(holder))
    known = _KNOWN.setdefault(holder, OrderedDict())
    if key not in known:
        known[key] = Points(model, x)
        while len(known) > _REMEMBERED:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]
