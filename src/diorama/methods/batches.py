"""How many inputs go through a model together: enough to be quick, few enough for the memory and for a wish to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data import nesting
from ..data.nesting import Nested

if TYPE_CHECKING:
    from .method import Look

LARGEST = 1 << 26
"""Numbers that one op may answer with: a quarter of a gigabyte, which a convolution makes in about a second."""
HELD = 1 << 28
"""Numbers that a pass may hold for its way back: a gigabyte."""
QUICK = 1 << 23
"""Numbers of one map, 32 MB, up to which more examples make a pass there and back cheaper for each: larger maps get new memory
from the system each time, which takes as long as working on them."""
_LARGER, _MORE = 24, 128
"""Where a network's layers are not known: its largest one has at most so many numbers for each of the input's, all have
at most so many."""


class Sizes:
    """A rule for an OpMode that changes nothing, and sees how much of what depends on the points goes through a model."""

    def __init__(self, count: int) -> None:
        self._count, self._largest, self._held = count, 1, 1

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].requires_grad:
            self._largest = max(self._largest, args[0].numel())
            self._held += args[0].numel()
        return NotImplemented

    def together(self, most: int) -> int:
        """How many examples are quickest in one pass there and back, from what one pass showed."""
        return max(1, min(most, QUICK * self._count // self._largest, HELD * self._count // self._held))


def together(look: Look, x: Nested, most: int, *, grad: bool = False) -> int:
    """How many inputs like these go through the model in one pass, at least 1 and at most ``most``.

    *Meaning* with ``grad`` all layers' answers are held for the way back, else the largest counts.
    *Cost* nothing for small inputs; for large ones the layers are found out, one forward pass for a new model.
    """
    own = _own(x)
    room = HELD if grad else LARGEST
    if most * own * (_MORE if grad else _LARGER) <= room:
        return most
    if look.function:
        return max(1, min(most, room // (own * _LARGER)))
    sizes = [math.prod(layer.shape) for layer in look.layers.leaves]
    needed = own + (sum(sizes) if grad else max(sizes, default=0))
    return max(1, min(most, room // needed))


def small(x: Nested, count: int) -> bool:
    """Whether so many inputs like these make no map that is too large to be quick."""
    return count * _own(x) * _LARGER <= QUICK


def _own(x: Nested) -> int:
    return sum(math.prod(part.shape[1:]) for part in nesting.tensors(x))


def pieces(look: Look, x: Nested, *, grad: bool = False) -> Iterator[slice]:
    """The examples in parts that go through the model together; mostly one part that holds all."""
    count = nesting.size(x)
    size = together(look, x, count, grad=grad)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
