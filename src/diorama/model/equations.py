"""Products and what lies between them by their axes: which is summed over, which asks, and where one goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from . import ops

if TYPE_CHECKING:
    from .op_survey import OpRecord


def roles(product: OpRecord, axis: int = -1) -> tuple[int, int] | None:
    """Which tensors of a product of scores are the queries and the keys; this axis of the scores counts keys."""
    if product.op == "baddbmm":
        return 1, 2
    if product.op != "einsum":
        return (0, 1) if len(product.given) == 2 else None
    asked = places(product, axis)
    if asked is None:
        return None
    parts, _ = letters(product)
    key = next(k for k, part in enumerate(parts) if asked[1] in part)
    return 1 - key, key


def places(product: OpRecord, axis: int = -1) -> str | None:
    """The letters of an equation of scores that count those that ask and, on this axis of the result, those that are asked."""
    parts, result = letters(product)
    if len(parts) != 2 or len(result) < 2:
        return None
    key = result[axis]
    query = [part for part in parts if key not in part]
    if len(query) != 1:
        return None
    other = parts[1 - parts.index(query[0])]
    asking = [letter for letter in result if letter in query[0] and letter not in other]
    if not asking:
        return None
    # Heads that share their keys ask as well, as it seems: those that ask stand before those that are asked, or are as many.
    sizes = dict(zip(result, product.shapes[0], strict=True))
    as_many = [letter for letter in asking if sizes[letter] == sizes[key]]
    beside = result[axis % len(result) - 1]
    if len(asking) == 1 or (len(as_many) == 1 and (beside not in asking or sizes[beside] != sizes[key])):
        return (asking if len(asking) == 1 else as_many)[0] + key
    return beside + key if beside in asking and axis % len(result) else None


def arranged(product: OpRecord, asked: str) -> tuple[int, ...]:
    """What brings the scores of an equation into the order (…, heads, those that ask, those that are asked); empty where they have it."""
    _, result = letters(product)
    wanted = "".join(letter for letter in result if letter not in asked) + asked
    return () if wanted == result else tuple(result.index(letter) for letter in wanted)


def summed(product: OpRecord, place: int) -> int | None:
    """The axis of one of its tensors that a product sums over; None where that is none, or several."""
    ndim = len(product.taken[place])
    if product.op != "einsum":
        return ndim - 1 if place == 0 or ndim < 2 else ndim - 2
    parts, result = letters(product)
    own = [k for k, letter in enumerate(parts[place]) if letter not in result]
    return own[0] if len(own) == 1 else None


def moved(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    """For each axis of what an op answers that only moves axes, which one it was."""
    if name not in ops.TURNS or not args or not isinstance(args[0], torch.Tensor) or args[0].is_nested:
        return ()
    # As many axes, each of another size.
    probe = torch.empty(tuple(range(1, args[0].ndim + 1)), device="meta", dtype=torch.float32)
    try:
        with torch.no_grad():
            return tuple(size - 1 for size in func(probe, *args[1:], **kwargs).shape)
    except Exception:  # noqa: BLE001 - axes by name, say: then it is not known where they go
        return ()


def followed(op: OpRecord, before: Sequence[int], axis: int) -> int | None:
    """Where an axis of a tensor of this shape lies in what an op makes of it; None where that cannot be told."""
    if op.moved:
        return op.moved.index(axis)
    if op.op in ops.TURNS:
        return None
    shape = op.shapes[0]
    if len(shape) == len(before) and shape[axis] == before[axis] and op.op not in ("view", "reshape"):
        return axis
    rest = math.prod(before[axis + 1 :])
    found = [k for k in range(len(shape)) if shape[k] == before[axis] and math.prod(shape[k + 1 :]) == rest]
    return found[0] if found else None


def letters(record: OpRecord) -> tuple[list[str], str]:
    """The letters of an einsum's tensors and of its result, dots written out as capital letters of their own."""
    text = record.text.replace(" ", "")
    left, _, right = text.partition("->")
    parts = left.split(",")
    wide = max((len(shape) - len(part.replace("...", "")) for part, shape in zip(parts, record.taken, strict=False)
                if "..." in part), default=0)
    dots = "".join(chr(ord("Α") + k) for k in range(wide))
    if "->" not in text:
        once = sorted(letter for letter in set(left) - set(",.") if left.count(letter) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    written = []
    for part, shape in zip(parts, record.taken, strict=False):
        own = len(shape) - len(part.replace("...", ""))
        written.append(part.replace("...", dots[wide - own :] if own else ""))
    return written, right.replace("...", dots)


def order(record: OpRecord, part: str, place: int, asked: str = "") -> tuple[int, ...]:
    """What brings a product's tensor into the order (…, heads, steps, width); empty where it has it.

    ``asked`` are the letters of those that ask and those that are asked, where they are not the last two.
    """
    ndim = len(record.taken[place])
    if record.op != "einsum":
        return (*range(ndim - 2), ndim - 1, ndim - 2) if part == "key" else ()
    parts, result = letters(record)
    own, other = parts[place], parts[1 - place]
    if part == "value":
        steps = [letter for letter in own if letter in other and letter not in result]
        width = [letter for letter in own if letter not in other]
    else:
        steps = [(asked or result[-2:])[0 if part == "query" else 1]]
        width = [letter for letter in own if letter in other and letter not in result]
    if len(steps) != 1 or len(width) != 1:
        return ()
    lead = [letter for letter in (result if part != "value" else other) if letter in own and letter not in (*steps, *width)]
    wanted = [*lead, *steps, *width]
    return tuple(own.index(letter) for letter in wanted) if len(wanted) == ndim else ()
