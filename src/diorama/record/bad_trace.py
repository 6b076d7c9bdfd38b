"""Follows numbers that are NaN or infinite through a forward pass that is run again: who made those that came to the answer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.selection import without_call
from ..model.axes import example_axis, tensors_given, tensors_in
from ..model.mode import OpNames, Trail

EXAMPLES = 32
"""Examples of a batch that are named."""
OPS = 48
"""Ops of the pass that are told, with their largest numbers: the last ones up to the one that is concerned."""


class Batch(NamedTuple):
    """How many examples a pass was given, and where they are counted."""

    examples: int
    """0 where it is not known."""
    second: bool
    """Whether some of the tensors count them along their second axis."""
    late: frozenset[str]
    """Layers that do so."""

    def axis(self, shape: tuple[int, ...], layer: str = "") -> int | None:
        """The axis of a tensor that counts them; None where none does."""
        if not self.examples or not shape:
            return None
        axis = example_axis(shape, self.examples, without_call(layer) in self.late, self.second)
        return axis if shape[axis] == self.examples else None


def batch_of(given: Iterable[Tensor], answers: Iterable[Tensor], late: frozenset[str]) -> Batch:
    """How many examples there are: what the answers count along their first axis, where the input does so along its first or second; else
    what all inputs count along their first. Where a network has layers that put time first, and both would do, it is not known.
    """
    given = [tensor for tensor in given if tensor.ndim]
    first, second = {len(tensor) for tensor in given}, {tensor.shape[1] for tensor in given if tensor.ndim > 1}
    answer = next((tensor for tensor in answers if tensor.ndim), None)
    found, other = 0, False
    if answer is not None and len(answer) in first:
        doubt = late and any(tensor.shape[:2] == answer.shape[:2] for tensor in given if tensor.ndim > 1)
        found = 0 if doubt else len(answer)
    elif answer is not None and len(answer) in second:
        found, other = len(answer), True
    elif len(first) == 1 and not late:
        found = first.pop()
    return Batch(found, other or bool(late), late)


class BadNumbers(NamedTuple):
    """How many numbers of a tensor are NaN or infinite, and where."""

    shape: tuple[int, ...]
    number: int
    nan: int
    rows: tuple[list[int], ...]
    """The places that are concerned along the first axis, and along the second."""

    @property
    def share(self) -> float:
        """How many of all numbers."""
        return self.number / max(math.prod(self.shape), 1)

    def told(self, axis: int | None, weights: bool = False) -> dict[str, Any]:
        """As facts: with the examples, where an axis counts them, else with the rows of the first axis, or with those of a weight."""
        shape = " × ".join(map(str, self.shape)) or "one number"
        text = f"{self.number} of {math.prod(self.shape)} numbers ({self.nan} NaN, {self.number - self.nan} infinite) of shape {shape}"
        told: dict[str, Any] = {"count": self.number, "text": text}
        if len(self.shape) > 1:
            rows = self.rows[axis or 0]
            told |= {"rows" if axis is None else "examples": rows[:EXAMPLES], "concerned": len(rows), "of": self.shape[axis or 0]}
            if axis is None and weights:
                told["weights"] = True
        return told


def bad_of(tensor: Tensor) -> BadNumbers:
    """Count what is bad in a tensor."""
    with torch.no_grad():
        bad = ~torch.isfinite(tensor.detach())
        axes = (0, 1) if tensor.ndim > 1 else ()
        rows = tuple(torch.nonzero(bad.movedim(axis, 0).flatten(1).any(1)).flatten().tolist() for axis in axes)
        return BadNumbers(tuple(tensor.shape), int(bad.sum()), int(torch.isnan(tensor.detach()).sum()), rows)


def fine(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel() or tensor.is_meta:
        return True
    with torch.no_grad():
        return bool(torch.isfinite(tensor.detach()).all())


class BadOrigin(NamedTuple):
    """An op that made what is bad."""

    number: int
    """The op's place in the pass."""
    op: str
    layer: str
    bad: BadNumbers
    took: float
    """The largest finite number that it took."""
    put: bool
    """Whether it is an infinity that the code wrote there itself, as masks are made; these are no fault until something becomes NaN of them."""
    since: str
    """The op that put the infinities of which this one made it."""
    batched: bool
    """Whether it took something that came from the batch."""
    given: int = -1
    """The number of the tensor of the batch that held what it took; −1 where none did."""


class BadTrace:
    """Told of each op of a pass, it knows of everything bad which op made it.

    *Meaning* an op that takes something bad, and makes something bad, passes on; one that makes something finite of it ends it, as a
    softmax does with a mask of −∞. An infinity that the code wrote itself is no fault: told is the op that makes NaN of it, or
    that leaves it for a part of what it should have taken it from (the largest of nothing but masked numbers).
    *Cost* about that of the pass; all that is bad is held.
    """

    def __init__(self, trail: Trail, given: Iterable[Tensor]) -> None:
        self._trail, self._names = trail, OpNames(trail)
        self._origins = dict[int, BadOrigin]()
        self._held = list[Tensor]()
        """What is bad: as long as it lives, nothing else comes to lie in its place."""
        given, self._given = list(given), dict[int, BadNumbers]()
        self._batched = {_place(tensor) for tensor in given}
        for number, tensor in enumerate(given):
            if not fine(tensor):
                bad = self._given[number] = bad_of(tensor)
                self._origins[_place(tensor)] = BadOrigin(number - len(given), "", "", bad, 0.0, not bad.nan, "", True, number)
        self._loose = dict[int, BadOrigin]()
        """What no op has taken yet."""
        self.ops = list[list[Any]]()
        """Of each op its name, its largest finite number, and whether it made something bad."""

    def seen(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An op ran."""
        full = self._names.next(name)
        counted = self._names.count(name, result)
        taken = tensors_given(args, kwargs)
        for tensor in taken if self._loose else ():
            self._loose.pop(_place(tensor), None)
        made = list(tensors_in(result))
        if not made and name == "setitem" and isinstance(args[0], Tensor):
            made = [args[0]]
        batched, largest, bad = any(_place(tensor) in self._batched for tensor in taken), 0.0, list[Tensor]()
        for tensor in made:
            (self._batched.add if batched else self._batched.discard)(_place(tensor))
            size, well = largest_of(tensor)
            largest = max(largest, size)
            if not well:
                bad.append(tensor)
            elif tensor.numel() * tensor.element_size() == _bytes(tensor):
                self._origins.pop(_place(tensor), None)  # written over in place
        if bad:
            origin = self._origin(full, args, kwargs, taken, bad[0], batched)
            for tensor in bad:
                self._origins[_place(tensor)] = self._loose[_place(tensor)] = origin
            self._held += bad
        if counted or bad:
            self.ops.append([full, largest, bool(bad)])

    def _origin(self, full: str, args: Any, kwargs: Any, taken: list[Tensor], made: Tensor, batched: bool) -> BadOrigin:
        bad, place = bad_of(made), _place(made)
        # What an op wrote in place is not what it took, unless that was bad before.
        fed = [tensor for tensor in taken if (_place(tensor) != place or place in self._origins) and not fine(tensor)]
        known = [(origin, tensor) for tensor in fed if (origin := self._origins.get(_place(tensor))) is not None]
        real = [(origin, tensor) for origin, tensor in known if not origin.put]
        if real:
            nan = [origin for origin, tensor in real if bad.nan and torch.isnan(tensor).any()]
            return min(nan or [origin for origin, _ in real])
        took = max((largest_of(tensor)[0] for tensor in taken), default=0.0)
        old = min((origin for origin, _ in known), default=None)
        writes = not bad.nan and (_infinite(args) or _infinite(tuple(kwargs.values())) or _mask_logged(full, taken))
        if writes and old is not None and old.given < 0:
            old = None  # the last that wrote some is told
        if fed and any(torch.isnan(tensor).any() for tensor in fed):
            put = False
        elif fed:
            put = not bad.nan
            if put and old is not None and bad.share >= max(bad_of(tensor).share for tensor in fed):
                return old
        else:
            put = writes
        since = (old.since or old.op) if old is not None else ""
        return BadOrigin(len(self.ops), full, self._trail.here, bad, took, put, since, batched, -1 if old is None else old.given)

    def origin(self, answer: Tensor) -> BadOrigin | None:
        """Who made what is bad in an answer."""
        return self._origins.get(_place(answer))

    def kept(self) -> BadOrigin | None:
        """Who made something bad that no op took, as what a network keeps aside for the loss, or which part of the batch held NaN, which the
        loss may take too; None where nobody did.
        """
        given = [origin for origin in self._origins.values() if origin.number < 0]
        return min((origin for origin in (*self._loose.values(), *given) if not origin.put), default=None)

    def first(self) -> BadOrigin | None:
        """Who first made something bad that nobody wrote there by intention; None where nobody did."""
        return min((origin for origin in self._origins.values() if not origin.put), default=None)

    def held(self, number: int) -> BadNumbers | None:
        """What a tensor of the batch held that is bad."""
        return self._given.get(number)

    def told(self, origin: BadOrigin, batch: Batch) -> dict[str, Any]:
        """An origin as facts."""
        axis = batch.axis(origin.bad.shape, origin.layer) if origin.batched else None
        since = {"since": origin.since} if origin.since else {}
        facts = {"where": "forward", "layer": origin.layer, "op": origin.op, "took": origin.took, **since}
        return {**facts, **origin.bad.told(axis, weights=not origin.batched), "ops": self.ops[max(0, origin.number + 1 - OPS) : origin.number + 1]}


def largest_of(tensor: Tensor) -> tuple[float, bool]:
    """The largest finite magnitude, and whether all are finite."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel() or tensor.is_meta:
        return 0.0, True
    with torch.no_grad():
        size = tensor.detach().abs()
        finite = torch.isfinite(size)
        return float(torch.where(finite, size, torch.zeros_like(size)).max()), bool(finite.all())


def _place(tensor: Tensor) -> int:
    """Where its numbers lie, which views of it share."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except RuntimeError:  # sparse ones have several places
        return id(tensor)


def _bytes(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().nbytes()
    except RuntimeError:
        return -1


def _infinite(args: Any) -> bool:
    """Whether an infinite number stands among the arguments of an op, written there by the code."""
    for part in args:
        if isinstance(part, Tensor):
            found = not part.ndim and part.is_floating_point() and bool(torch.isinf(part))
        else:
            found = _infinite(part) if isinstance(part, tuple | list) else type(part) is float and math.isinf(part)
        if found:
            return True
    return False


def _mask_logged(full: str, taken: list[Tensor]) -> bool:
    """Whether it is the logarithm of a mask of zeros and ones, which is another way to write one of −∞."""
    name = full.rpartition(".")[2].partition("#")[0]
    return name in ("log", "log_") and bool(taken) and bool(((taken[0] == 0) | (taken[0] == 1)).all())
