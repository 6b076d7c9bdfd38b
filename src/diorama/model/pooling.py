"""Attention without queries of its own: a softmax over the scores of places, then the sum of these places, weighed by it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from . import equations, ops

if TYPE_CHECKING:
    from .op_survey import OpRecord

_DEEP = 16
"""So many ops may lie between a softmax and its scores, and between it and the sum."""
_BEFORE = ops.LOCAL | ops.FORM
"""What may lie between what scores places and the softmax: a function, a mask, form."""
_AFTER = ops.KEEPS_PATTERN | ops.FORM | {"expand_as", "broadcast_to", "repeat"}


@dataclasses.dataclass(frozen=True)
class Pooling:
    """A softmax over places and the sum that it weighs.

    *Meaning* scores may come of a sum of keys and queries (Bahdanau), of the places alone (as in readers of documents), of a
    product, or of any function that gives one number a place. Shares of the units of a layer, such as of classes or of a
    mixture's experts, are none: their scores are a layer's own units.
    """

    pattern: str
    """The op that answers the shares: the softmax, or a division behind it that lets them sum to one again."""
    scores: str
    out: str
    values: str
    """The op that made what is summed up; empty where none did."""
    order: tuple[int, ...]
    """Brings the places that are weighed to the last axis."""
    hops: bool
    """Several are asked at once by a layer of as many units, and these are heads."""


def leading_to(record: OpRecord, records: Mapping[str, OpRecord], through: Collection[str]) -> Iterator[OpRecord]:
    """The ops whose results come to what an op takes, the nearest first, on ways that go through ops of these names alone."""
    line, seen = [(record, 0)], {record.name}
    while line:
        at, depth = line.pop(0)
        for source in at.given:
            made = records.get(ops.plain(source)) if source else None
            if made is None or made.name in seen or depth > _DEEP:
                continue
            seen.add(made.name)
            yield made
            if made.op.removesuffix("_") in through:
                line.append((made, depth + 1))


class PoolingSearch:
    """Looks for poolings among the ops of a pass; ``users`` are for each op those that take it, and as which tensor."""

    def __init__(self, records: Mapping[str, OpRecord], users: Mapping[str, Sequence[tuple[OpRecord, int]]]) -> None:
        self.records, self.users = records, users

    def around(self, softmax: OpRecord) -> Pooling | None:
        """The pooling that a softmax is a part of; None where it is none."""
        shape = softmax.shapes[0]
        if softmax.axis is None or not 2 <= len(shape) <= 4:
            return None
        axis = softmax.axis % len(shape)
        places = shape[axis]
        if places < 2 or softmax.layouts[0].axis == axis:
            return None
        scored = self.scored(softmax)
        summed = self.summed(softmax, places, axis)
        if scored is None or summed is None:
            return None
        scores, units = scored
        # As many units as shares, or several times as many: what is shared out is units, not places.
        if units > 1 and units % places == 0:
            return None
        pattern, out, values, at = summed
        order = (*(k for k in range(len(shape)) if k != at), at)
        if len(shape) == 4 and units == shape[-1] > 1 and axis == at == 2:
            # Scores by a layer with a unit a head, which are the last axis.
            order = (0, 3, 1, 2)
        elif not self.told(softmax, scores, axis):
            return None
        return Pooling(pattern, scores.name, out.name, values, order if at != len(shape) - 1 else (), units > 1)

    def told(self, softmax: OpRecord, scores: OpRecord, axis: int) -> bool:
        """Whether those that ask lie where they are looked for, before the places that are weighed, as far as an equation says."""
        shape = softmax.shapes[0]
        if scores.op != "einsum" or len(shape) != 4 or scores.shapes[0] != shape or not all(_varies(scores, k) for k in (0, 1)):
            return True
        asked, rest = equations.places(scores, axis), [k for k in range(4) if k != axis]
        return asked is not None and equations.letters(scores)[1][rest[-1]] == asked[0]

    def scored(self, softmax: OpRecord) -> tuple[OpRecord, int] | None:
        """The nearest op that makes one number of many on the way to a softmax, and of how many units it is."""
        for made in leading_to(softmax, self.records, _BEFORE):
            units = self.units(made)
            if units is not None:
                return made, units
        return None

    def units(self, record: OpRecord) -> int | None:
        """How many units an op has that makes numbers of many: 1 where it compares; None of an op that does not."""
        if record.op in ops.named("weights"):
            return record.shapes[0][1 if record.op in ops.CONVOLUTIONS else -1]
        if record.op in ops.SCORES:
            fixed = [k for k, layout in enumerate(record.arguments) if layout.axis is None]
            if record.op == "baddbmm" or len(fixed) != 1 or len(record.taken) != 2:
                return 1
            return _own(record, fixed[0])
        if record.op == "sum":
            made = self.records.get(ops.plain(record.given[0])) if record.given else None
            return 1 if made is not None and made.op.removesuffix("_") in ("mul", "multiply") else None
        return None

    def summed(self, softmax: OpRecord, places: int, along: int) -> tuple[str, OpRecord, str, int] | None:
        """What holds the shares at last, the op that sums up what they weigh, what made that, and the axis of places of the first.

        *Meaning* the sum runs over the axis that the softmax does, as far as that can be followed.
        """
        many = math.prod(softmax.shapes[0])
        line: list[tuple[OpRecord, int | None, str, int]] = [(softmax, along, softmax.name, along)]
        seen = {softmax.name}
        for _ in range(_DEEP * 4):
            if not line:
                return None
            at, axis, pattern, there = line.pop(0)
            for user, place in self.users.get(at.name, ()):
                name = user.op.removesuffix("_")
                if user.op in ops.PRODUCTS:
                    fits = len(user.taken) == 2 and _contracted(user, place) == places and _varies(user, 1 - place)
                    if fits and (axis is None or equations.summed(user, place) in (axis, None)):
                        return pattern, user, user.given[1 - place], there
                    continue
                if name in ("mul", "multiply") and len(user.taken) == 2 and math.prod(user.shapes[0]) > many:
                    out = self.added(user, places)
                    if out is not None:
                        return pattern, out, user.given[1 - place], there
                elif name in _AFTER and user.name not in seen:
                    seen.add(user.name)
                    to = None if axis is None else equations.followed(user, at.shapes[0], axis)
                    changes = name in ops.RESCALES and not (place and name in ops.DIVIDES)
                    if changes and to is not None and user.shapes[0] == softmax.shapes[0]:
                        line.append((user, to, user.name, to))
                    else:
                        line.append((user, to, pattern, there))
        return None

    def added(self, product: OpRecord, places: int) -> OpRecord | None:
        """The sum over the places of what shares were multiplied with."""
        line, seen = [product], {product.name}
        while line:
            for user, _ in self.users.get(line.pop(0).name, ()):
                if user.op == "sum" and math.prod(user.taken[0]) == places * math.prod(user.shapes[0]):
                    return user
                if user.op in ops.FORM and user.name not in seen:
                    seen.add(user.name)
                    line.append(user)
        return None


def _own(record: OpRecord, place: int) -> int:
    """Of how many units a tensor is that is the same for all examples, in a product: what it brings to the result."""
    shape = record.taken[place]
    if record.op == "einsum":
        left, _, right = record.text.replace(" ", "").partition("->")
        part, other = left.split(",")[place], left.split(",")[1 - place]
        if "..." in left or not right or len(part) != len(shape):
            return 1
        return math.prod(side for letter, side in zip(part, shape, strict=True) if letter in right and letter not in other)
    return 1 if len(shape) < 2 else shape[-1] if place else shape[-2]


def _contracted(record: OpRecord, place: int) -> int:
    """Over how many numbers of a tensor a product sums."""
    shape = record.taken[place]
    if record.op == "einsum":
        left, _, right = record.text.replace(" ", "").partition("->")
        part = left.split(",")[place]
        if "..." in left or not right or len(part) != len(shape):
            return 0
        return math.prod(side for letter, side in zip(part, shape, strict=True) if letter not in right)
    return shape[-1] if place == 0 or len(shape) < 2 else shape[-2]


def _varies(record: OpRecord, place: int) -> bool:
    """Whether what a product takes differs from example to example, as far as that is known."""
    return place >= len(record.arguments) or record.arguments[place].axis is not None
