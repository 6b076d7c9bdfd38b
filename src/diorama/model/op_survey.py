"""Every op of a forward pass, and where its examples lie: found by passes with unlike numbers of examples."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data import nesting
from ..data.nesting import Nested
from . import attention, equations, ops
from .axes import likely_unit_axis, tensors_in
from .batch_size import batch_size, found, whole
from .example_axis import Layout, alike, grown
from .mode import OpMode, OpNames, Trail, WithoutModes
from .plain_module import dtype_of, fed, named_modules
from .preservation import Preservation
from .short_texts import shorter
from .surroundings import NeutralSurroundings, as_built


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


def surveyed(model: nn.Module, x: Nested) -> dict[str, OpRecord]:
    """Every op of a model by its name, from one pass with two examples and one with three."""
    few = whole(model, fed(model, x))
    last = nesting.size(few) - 1
    if batch_size(model) is not None:
        return _bound(model, few)
    briefly = _briefly(model, few)
    if briefly is not None:
        return briefly
    two = OpSurvey(model, 2)
    try:
        two.run(nesting.select(few, [0, min(1, last)]))
    except Exception as error:  # noqa: BLE001 - a model that is bound to a number of examples
        found(model, few, error)
        return _bound(model, whole(model, few))
    three = OpSurvey(model, 3, two.records)
    try:
        # The third example is the first once more: where examples share an axis with something, this tells them apart.
        three.run(nesting.select(few, [0, min(1, last), 0]))
    except Exception:  # noqa: BLE001 - a model that is bound to its number of examples
        return {name: _guessed(record, 2) for name, record in two.records.items()}
    return {name: _placed(record, three.records.get(name)) for name, record in two.records.items()}


def _briefly(model: nn.Module, few: Nested) -> dict[str, OpRecord] | None:
    """Of long texts: the ops of a pass with one of them, with the layouts that two passes over the beginnings of two and of three
    show; None for what is no long text, and where these run other ops.
    """
    if shorter(few) is None:
        return None
    one, two = OpSurvey(model, 1), OpSurvey(model, 2)
    try:
        one.run(nesting.select(few, [0]))
        sizes = {size for record in one.records.values() for shape in (*record.shapes, *record.taken) for size in shape}
        less = shorter(few, sizes)
        if less is None:
            return None
        last = nesting.size(less) - 1
        two.run(nesting.select(less, [0, min(1, last)]))
        three = OpSurvey(model, 3, two.records)
        three.run(nesting.select(less, [0, min(1, last), 0]))
    except Exception:  # noqa: BLE001 - a model that is bound to the length of its texts, or to a number of them
        return None
    if list(one.records) != list(three.records) or list(one.records) != list(two.records):
        return None
    found = {}
    for name, record in one.records.items():
        brief, again = two.records[name], three.records[name]
        long = _doubled(record, brief, again)
        if long is None or not _same_op(long, brief, again):
            return None
        found[name] = _placed(long, again)
    return found


def _doubled(one: OpRecord, two: OpRecord, three: OpRecord) -> OpRecord | None:
    """An op of one long text as it is of two: the axes that grew from two short ones to three are twice as long; None where
    it has no such form.
    """
    def grow(long: Sequence[tuple[int, ...]], fewer: Sequence[tuple[int, ...]], more: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(size * 2 if a != b else size for size, a, b in zip(*shapes, strict=True)) for shapes in zip(long, fewer, more, strict=True)
        )

    try:
        return dataclasses.replace(
            one, shapes=grow(one.shapes, two.shapes, three.shapes), taken=grow(one.taken, two.taken, three.taken)
        )
    except ValueError:
        return None


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
    own = OpSurvey(model, count)
    own.run(few)
    return {name: _guessed(record, count) for name, record in own.records.items()}


def _guessed(record: OpRecord, examples: int) -> OpRecord:
    """Where a model takes no other number of examples: the first axis counts them if it has so many places."""
    reason = "its first axis does not count the examples, and the model takes no other number of them"
    layouts = tuple(
        known if known.reason else Layout() if shape[:1] == (examples,) else Layout(None, reason=reason)
        for known, shape in zip(record.layouts, record.shapes, strict=True)
    )
    return dataclasses.replace(record, layouts=layouts, arguments=tuple(Layout() for _ in record.taken))


def _placed(record: OpRecord, again: OpRecord | None) -> OpRecord:
    """An op with its layouts, as the pass with three examples showed them."""
    if again is None or len(again.layouts) != len(record.shapes):
        reason = "whether the op runs depends on the examples"
        return dataclasses.replace(record, layouts=tuple(Layout(None, reason=reason) for _ in record.shapes))
    return dataclasses.replace(record, layouts=again.layouts, units=again.units, rectified=again.rectified, arguments=again.arguments)


class OpSurvey:
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
        with WithoutModes(), NeutralSurroundings(), Preservation(self.model), self.trail, torch.no_grad(), built, look:
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
        self.drawn |= name in ops.DRAWS and ops.draws(name, args, kwargs)
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
        if name in ops.UNWRITTEN:
            return Layout(None, reason="its memory is not written yet, so that its numbers mean nothing")
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
