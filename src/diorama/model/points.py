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
from . import attention, equations, ops, patterns
from .apart import Layout, alike, grown
from .axes import likely_unit_axis, tensors_in
from .batch_size import batch_size, found, whole
from .changes import switches
from .layers import Layer
from .mode import OpMode, OpNames, Trail, without_modes
from .shorter import shorter
from .surroundings import Neutral, as_built
from .untouched import Untouched
from .unwrap import dtype_of, fed, named_modules, unwrap

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


@dataclasses.dataclass(frozen=True)
class OpRecord:
    """One op of a forward pass: what it was given, what it answered, and where its examples lie."""

    name: str
    op: str
    here: str
    """The layer that calls it; empty in the model itself."""
    given: tuple[str, ...]
    """For each tensor that it takes, the op that made it (``chunk.1`` of several results), or empty."""
    shapes: tuple[tuple[int, ...], ...]
    """Of its results, with two examples."""
    taken: tuple[tuple[int, ...], ...]
    """Of the tensors that it takes, with two examples."""
    layouts: tuple[Layout, ...]
    units: tuple[int, ...]
    """The axes that count units, with the examples in front."""
    parameters: int
    order: int
    """The number of layers that had answered before."""
    arguments: tuple[Layout, ...] = ()
    """Of the tensors that it takes, where it is a product or an attention."""
    text: str = ""
    """An equation, of einsum."""
    heads: int = 0
    """Of torch's multi-head attention."""
    extra: int = 0
    """Keys that torch's multi-head attention adds to those it is given."""
    axis: int | None = None
    """The axis over which a softmax runs."""
    moved: tuple[int, ...] = ()
    """Of an op that only moves axes: for each axis of its result, which one it was."""
    rectified: bool = False


class Points:
    """The points of a model that lie between its modules, found by running it with two and with three examples.

    *Cost* two forward passes, once for each model and form of input.
    """

    def __init__(self, model: nn.Module, x: Nested) -> None:
        self.records = _surveyed(model, x)
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
            raise NotApplicable(f"the model runs no attention, which would be {patterns.WOULD_BE}{unknown}")
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


def _surveyed(model: nn.Module, x: Nested) -> dict[str, OpRecord]:
    """Every op of a model by its name, from one pass with two examples and one with three."""
    few = whole(model, fed(model, x))
    last = nesting.size(few) - 1
    if batch_size(model) is not None:
        return _bound(model, few)
    two = _OpSurvey(model, 2)
    try:
        two.run(nesting.select(few, [0, min(1, last)]))
    except Exception as error:  # noqa: BLE001 - a model that is bound to a number of examples
        found(model, few, error)
        return _bound(model, whole(model, few))
    briefly = _briefly(model, few, two.records)
    if briefly is not None:
        return briefly
    three = _OpSurvey(model, 3, two.records)
    try:
        # The third example is the first once more: where examples share an axis with something, this tells them apart.
        three.run(nesting.select(few, [0, min(1, last), 0]))
    except Exception:  # noqa: BLE001 - a model that is bound to its number of examples
        return {name: _guessed(record, 2) for name, record in two.records.items()}
    return {name: _placed(record, three.records.get(name)) for name, record in two.records.items()}


def _briefly(model: nn.Module, few: Nested, two: Mapping[str, OpRecord]) -> dict[str, OpRecord] | None:
    """Of long texts: their ops, with the layouts that two passes over their beginnings show; None where these run other ops."""
    less = shorter(few, {size for record in two.values() for shape in (*record.shapes, *record.taken) for size in shape})
    if less is None:
        return None
    last, brief = nesting.size(less) - 1, _OpSurvey(model, 2)
    try:
        brief.run(nesting.select(less, [0, min(1, last)]))
        three = _OpSurvey(model, 3, brief.records)
        three.run(nesting.select(less, [0, min(1, last), 0]))
    except Exception:  # noqa: BLE001 - a model that is bound to the length of its texts
        return None
    if list(two) != list(three.records) or list(two) != list(brief.records):
        return None
    pairs = [(record, three.records[name]) for name, record in two.items()]
    if not all(_same_op(record, brief.records[record.name], again) for record, again in pairs):
        return None
    return {record.name: _placed(record, again) for record, again in pairs}


def _same_op(long: OpRecord, two: OpRecord, three: OpRecord) -> bool:
    """Whether an op of a long text is that of a short one, but for the length, and its examples lie in the same way."""
    for own in (two, three):
        if (long.op, long.here, long.given, long.axis, long.moved, long.text, long.heads) != (
            own.op, own.here, own.given, own.axis, own.moved, own.text, own.heads
        ):
            return False
        if [len(shape) for shape in (*long.shapes, *long.taken)] != [len(shape) for shape in (*own.shapes, *own.taken)]:
            return False
    layouts = zip((*long.shapes, *(long.taken if three.arguments else ())), (*three.layouts, *three.arguments), strict=True)
    return all(
        layout.axis is None or (shape[layout.axis] % 2 == 0 and (shape[layout.axis] > 2) == layout.merged) for shape, layout in layouts
    )


def _bound(model: nn.Module, few: Nested) -> dict[str, OpRecord]:
    count = nesting.size(few)
    own = _OpSurvey(model, count)
    own.run(few)
    return {name: _guessed(record, count) for name, record in own.records.items()}


def _guessed(record: OpRecord, examples: int) -> OpRecord:
    """Where a model takes no other number of examples: the first axis counts them if it has so many places."""
    reason = "its first axis does not count the examples, and the model takes no other number of them"
    layouts = tuple(Layout() if shape[:1] == (examples,) else Layout(None, reason=reason) for shape in record.shapes)
    return dataclasses.replace(record, layouts=layouts, arguments=tuple(Layout() for _ in record.taken))


def _placed(record: OpRecord, again: OpRecord | None) -> OpRecord:
    """An op with its layouts, as the pass with three examples showed them."""
    if again is None or len(again.layouts) != len(record.shapes):
        reason = "whether the op runs depends on the examples"
        return dataclasses.replace(record, layouts=tuple(Layout(None, reason=reason) for _ in record.shapes))
    return dataclasses.replace(record, layouts=again.layouts, units=again.units, rectified=again.rectified, arguments=again.arguments)


class _OpSurvey:
    """One forward pass that notes every op."""

    def __init__(self, model: nn.Module, examples: int, before: Mapping[str, OpRecord] | None = None) -> None:
        self.model, self.examples, self.before = model, examples, before
        self.records: dict[str, OpRecord] = {}
        self.trail = Trail(named_modules(model), closed=self._closed)
        self.names = OpNames(self.trail)
        self.maker: dict[int, str] = {}
        self.unit: dict[int, tuple[tuple[int, ...], int]] = {}
        self.axes: dict[tuple[int, ...], int] = {}
        self.alive: dict[int, weakref.ref[Tensor]] = {}
        """Those whose id is known: it goes with the tensor, so that no other is taken for it."""
        self.answered = 0
        self.drawn = False
        """Random numbers were drawn, so that equal examples need not stay equal."""

    def run(self, x: Nested) -> None:
        """Run the model on so many examples."""
        look, built = OpMode().on_op(self._ran), as_built(dtype_of(self.model))
        with without_modes(), Neutral(), Untouched(self.model), self.trail, torch.no_grad(), built, look:
            nesting.call(self.model, x)
        self.maker.clear()
        self.unit.clear()
        self.alive.clear()

    def _closed(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        self.answered += 1

    def _ran(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        full = self.names.next(name)
        counted = self.names.count(name, result)
        results = list(tensors_in(result))
        given = [*tensors_in(args), *tensors_in(kwargs)]
        if name in ops.ALIASES or not counted:
            for made in results:
                self._made(made, self.maker.get(id(given[0]), "") if given else "")
            return
        if name in ops.NOTHING_DONE and any(made is source for made in results for source in given):
            return
        self.drawn |= name in ops.NOISE
        layouts = tuple(self._layout(full, k, made, name) for k, made in enumerate(results))
        units = tuple(self._unit(name, made, layout, given) for made, layout in zip(results, layouts, strict=True))
        if ops.rectifies(name, args, kwargs) and given:
            source = ops.plain(self.maker.get(id(given[0]), ""))
            if source in self.records:
                self.records[source] = dataclasses.replace(self.records[source], rectified=True)
        self.records[full] = OpRecord(
            full, name, self.trail.here, tuple(self.maker.get(id(source), "") for source in given),
            tuple(map(_shape, results)), tuple(map(_shape, given)), layouts, units,
            sum(source.numel() for source in given if isinstance(source, nn.Parameter)), max(0, self.answered - 1),
            text=args[0] if name == "einsum" and args and isinstance(args[0], str) else "",
            axis=ops.axis_of(args, kwargs) if name in ops.SOFTMAX else None,
            moved=equations.moved(name, func, args, kwargs), **self._inside(full, name, args, kwargs, given),
        )
        for k, made in enumerate(results):
            self._made(made, f"{full}.{k}" if k else full)

    def _inside(self, full: str, name: str, args: Any, kwargs: Any, given: Sequence[Tensor]) -> dict[str, Any]:
        """What only products and attentions are asked: where the examples of their arguments lie, how many heads there are."""
        if name == "multi_head_attention_forward":
            call = attention.bound(args, kwargs)
            return {"heads": call["num_heads"], "extra": int(call["bias_k"] is not None) + int(call["add_zero_attn"])}
        if name not in (*ops.SCORES, *attention.KERNELS):
            return {}
        before = self.before.get(full) if self.before is not None else None
        if before is None or len(before.taken) != len(given):
            return {"arguments": tuple(Layout(None, reason="its form depends on the examples") for _ in given)}
        pairs = zip(before.taken, given, strict=True)
        return {"arguments": tuple(
            grown(two, three) if len(two) == three.ndim else Layout(None, reason="its form depends on the examples")
            for two, three in pairs
        )}

    def _made(self, tensor: Tensor, name: str) -> None:
        number = id(tensor)
        self.maker[number] = name
        if number not in self.alive:
            self.alive[number] = weakref.ref(tensor, lambda _: self._gone(number))

    def _gone(self, number: int) -> None:
        self.alive.pop(number, None)
        self.maker.pop(number, None)
        self.unit.pop(number, None)

    def _layout(self, full: str, number: int, tensor: Tensor, name: str) -> Layout:
        """Where the examples lie, from how the shape grew with their number."""
        if tensor.is_nested:
            return Layout(None, reason="its examples have several lengths")
        if self.before is None:
            return Layout()
        known = self.before.get(full)
        if known is None or number >= len(known.shapes) or len(known.shapes[number]) != tensor.ndim:
            return Layout(None, reason="its form depends on the examples")
        layout = grown(known.shapes[number], tensor)
        if layout.axis is None or layout.merged:
            return layout
        first, third = tensor.select(layout.axis, 0), tensor.select(layout.axis, 2)
        if name in ops.REORDERS and not layout.axis or not (self.drawn or alike(first, third)):
            # As where sequences are sorted by their lengths to be packed.
            return Layout(None, reason="its examples stand in another order")
        return layout

    def _unit(self, name: str, tensor: Tensor, layout: Layout, given: Sequence[Tensor]) -> int:
        """The axis that counts units: known by the op, or as in what it was given, or likely."""
        if layout.axis is None:
            return min(1, tensor.ndim - 1) if tensor.ndim and not tensor.is_nested else 0
        shape = tuple(layout.apart(torch.empty(tensor.shape, device="meta"), self.examples).shape)
        axis = ops.unit_axis(name, len(shape))
        for source in given if axis is None else ():
            known = self.unit.get(id(source))
            if known is not None and known[0] == shape:
                axis = known[1]
                break
        if axis is None:
            axis = likely_unit_axis(shape, self.axes)
        self.axes.pop(shape, None)
        self.axes[shape] = axis
        self.unit[id(tensor)] = (shape, axis)
        return axis


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor; none of a nested one, whose rows have several lengths."""
    return () if tensor.is_nested else tuple(tensor.shape)
