"""Models that take one number of examples alone: others are filled up to it, and what was filled in is cut off again."""

from __future__ import annotations

import dataclasses
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from ..core.blame import model_failed
from ..core.errors import DioramaError
from ..core.rounding import rounding
from ..data import nesting
from ..data.nesting import Nested
from .axes import tensors_in, with_tensor
from .mode import WithoutModes
from .plain_module import dtype_of, fed
from .preservation import Preservation
from .recurrent_kernels import States
from .surroundings import NeutralSurroundings, as_built

T = TypeVar("T")
LARGEST = 512
"""The largest number of examples to which a model may be bound, and be looked at all the same."""
_ROOM = 1 << 27
"""Numbers that an input may hold while the size is sought."""
_SIZES: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
_JOINED: Any = WeakTensorKeyDictionary()
"""Of an activation that was put together from several passes: the activations as they lie on the way to the output."""


@dataclasses.dataclass(frozen=True, eq=False)
class FilledBatch:
    """The pass that runs holds these rows of an input of ``count`` examples; those behind the first ``real`` are filled in."""

    rows: Tensor
    real: int
    count: int

    def select(self, tensor: Tensor) -> Tensor:
        """The rows of what holds one for each example of the whole input; anything else as it is."""
        return tensor[self.rows.to(tensor.device)] if tensor.ndim and len(tensor) == self.count else tensor


_NOW: ContextVar[FilledBatch | None] = ContextVar("filled", default=None)


def filled() -> FilledBatch | None:
    """What the pass that runs holds, where it is a part of an input."""
    return _NOW.get()


def batch_size(model: nn.Module) -> int | None:
    """The one number of examples that a model is known to take; None where it takes any, or has not failed yet."""
    return _SIZES.get(model)


def said(size: int) -> str:
    """The sentence that tells it."""
    examples = "1 example" if size == 1 else f"{size} examples"
    return f"the model does not take any number of examples: it is given {examples} at a time, filled up where there are fewer, and cut again"


def whole(model: nn.Module, x: Nested) -> Nested:
    """An input as a model takes it to find out how it is built: its examples again and again, where their number is bound."""
    size = batch_size(model)
    return x if size is None or nesting.size(x) == size else repeated(x, size)


def fitting(model: nn.Module, x: Nested, run: Callable[[Nested], T]) -> T:
    """What is found by running a model on examples, whose number does not matter.

    *Raises* what the model raises, where another number of examples would not help.
    """
    if batch_size(model) is not None:
        return run(whole(model, x))
    try:
        return run(x)
    except Exception as error:
        if found(model, x, error) is None:
            raise
    return run(whole(model, x))


def found(model: nn.Module, x: Nested, error: Exception) -> int | None:
    """The number of examples that a model takes which failed on these; None where there is none, or it mixes them.

    *Cost* nothing for a model that does not fail; one forward pass for each number that is tried, and one more.
    """
    if isinstance(error, DioramaError | TypeError | MemoryError) or model_failed(error) is None:
        return None
    own, room = nesting.size(x), sum(part.numel() for part in nesting.tensors(x))
    with WithoutModes(), NeutralSurroundings():
        ready = fed(model, x)
        for size in _candidates(str(error)):
            if size != own and size * room <= _ROOM * own and _takes(model, repeated(ready, size), size):
                _SIZES[model] = size
                return size
    return None


def _candidates(error: str) -> list[int]:
    """The numbers that an error names, and usual ones."""
    named = [int(word) for word in re.findall(r"(?<![\w.])\d{1,3}(?!\d)", error)[:12]]
    return [size for size in dict.fromkeys((*named, 1, *(2**k for k in range(1, 9)))) if 0 < size <= LARGEST]


def _takes(model: nn.Module, x: Nested, size: int) -> bool:
    """Whether a model runs on so many examples, and answers each for itself: in another order it answers in that order, and
    beside others (those that stand at its end, halved) the first is answered as before.
    """
    turned = [*range(1, size), 0]
    try:
        with Preservation(model), torch.no_grad(), as_built(dtype_of(model)):
            # A network whose state, say, is made for so many examples would stretch a single one to them.
            first = [part for part in tensors_in(nesting.call(model, x)) if part.ndim and len(part) == size]
            again = [part for part in tensors_in(nesting.call(model, nesting.select(x, turned))) if part.ndim and len(part) == size]
            beside = [part for part in tensors_in(nesting.call(model, _beside_others(x, size))) if part.ndim and len(part) == size]
    except Exception:  # noqa: BLE001 - whatever a model says of a number of examples that it does not take
        return False
    return bool(first) and len(first) == len(again) == len(beside) and all(
        _alike(one[turned], other) and _alike(one[:1], third[:1]) for one, other, third in zip(first, again, beside, strict=True)
    )


def _beside_others(x: Nested, size: int) -> Nested:
    """The first example beside other examples than before: all the last one, its real numbers halved."""

    def others(part: Tensor) -> Tensor:
        if part.ndim and len(part) == size and part.is_floating_point() and size > 1:
            return torch.cat([part[:1], part[-1:].mul(0.5).expand(size - 1, *part.shape[1:])])
        return part

    return nesting.each(nesting.select(x, [0] + [size - 1] * (size - 1)), others)


def _alike(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(one.double().abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return torch.allclose(one.double(), other.double(), 1e-3, float(rounding(scale, torch.finfo(one.dtype).eps)), equal_nan=True)


def repeated(x: Nested, size: int) -> Nested:
    """So many examples: those that there are, again and again."""
    return nesting.select(x, torch.arange(size) % nesting.size(x))


def parts(x: Nested, size: int) -> Iterator[tuple[FilledBatch, Nested]]:
    """An input in batches of one size, the last one filled up with its last example."""
    count = nesting.size(x)
    for start in range(0, count, size):
        rows = torch.arange(start, start + size).clamp_max(count - 1)
        with WithoutModes():
            part = nesting.select(x, rows)
        yield FilledBatch(rows, min(size, count - start), count), part


def called(model: nn.Module, x: Nested) -> Any:
    """What a model answers to an input of any number of examples."""
    size = batch_size(model)
    if size is None or nesting.size(x) == size:
        return nesting.call(model, x)
    own = []
    for part, batch in parts(x, size):
        with holding(part):
            own.append((part, nesting.call(model, batch)))
    return joined(own)


def real(tensor: Tensor) -> Tensor:
    """What a layer answered in the pass that runs, without the rows that were filled in."""
    part = filled()
    return tensor if part is None else _together([(part, tensor)])


@contextmanager
def holding(part: FilledBatch) -> Iterator[None]:
    """Within, the pass that runs is known to be this part of an input."""
    token = _NOW.set(part)
    try:
        yield
    finally:
        _NOW.reset(token)


def joined(own: list[tuple[FilledBatch, Any]]) -> Any:
    """What the parts of an input gave, as one answer to the input: filled rows are cut off, what counts no example is the first's."""
    if not own or own[0][1] is None:
        return None
    streams = [list(tensors_in(value)) for _, value in own]
    answer = own[0][1]
    with WithoutModes():
        for k, tensor in enumerate(streams[0]):
            answer = with_tensor(answer, tensor, _together([(part, stream[k]) for (part, _), stream in zip(own, streams, strict=True)]))
    return answer


def _together(own: list[tuple[FilledBatch, Tensor]]) -> Tensor:
    size = len(own[0][0].rows)
    shape = own[0][1].shape
    axis = next((axis for axis in (0, 1) if len(shape) > axis and shape[axis] == size), None)
    if axis is None or any(len(tensor.shape) != len(shape) or tensor.shape[axis] != size for _, tensor in own):
        return own[0][1]
    with WithoutModes():
        sizes = [max(tensor.shape[k] for _, tensor in own) for k in range(len(shape))]
        # Packed sequences end where the longest of their own batch ends; zeros follow.
        cut = [_lengthened(tensor.narrow(axis, 0, part.real), sizes, axis) for part, tensor in own]
        return torch.cat(cut, axis) if len(cut) > 1 else cut[0]


def _lengthened(tensor: Tensor, sizes: list[int], axis: int) -> Tensor:
    missing = [0 if k == axis else size - own for k, (size, own) in enumerate(zip(sizes, tensor.shape, strict=True))]
    return functional.pad(tensor, [n for gap in reversed(missing) for n in (0, gap)]) if any(missing) else tensor


def kept(own: list[tuple[FilledBatch, Tensor]]) -> Tensor:
    """An activation that was kept in each part, put together; gradients by it are those by its parts (``sources``)."""
    with WithoutModes():
        made = _together(own)
        if made is own[0][1] or not made.requires_grad:
            return made
        made = made.view_as(made) if made._base is not None else made
    _JOINED[made] = own
    return made


def sources(point: Tensor) -> list[tuple[FilledBatch, Tensor]] | None:
    """The activations that a point was put together from; None where it lies on the way to the output itself."""
    found: list[tuple[FilledBatch, Tensor]] | None = _JOINED.get(point)
    return found


def states(own: list[tuple[FilledBatch, States]]) -> States:
    """The states of a recurrent layer for all examples, from those of the parts that went through the model."""

    def through(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: joined([(part, one[name]) for (part, _), one in zip(own, found, strict=True)]) for name in found[0]}

    running = None
    if own[0][1].running is not None:
        running = joined([(part, one.mask) for part, one in own])
    return States(through([one for _, one in own]), running, lambda: through([one.terms for _, one in own]))
