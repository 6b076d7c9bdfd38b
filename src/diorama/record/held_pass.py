"""A forward pass that is held until its step is over, so that it can be run again, and what its run tells."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..model.axes import tensors_in
from .bad_trace import BadNumbers, BadOrigin, BadTrace, Batch, bad_of, fine


class HeldPass(NamedTuple):
    """A forward pass that can be run again."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    random: Tensor | None
    """The state of the generator before it; None where passes were seen to draw nothing."""
    device_random: Tensor | None
    lower: torch.dtype | None
    """The type of its autocast."""
    versions: tuple[int, ...]
    """How often its tensors had been written to; nothing of a step's first pass, so that usual steps need not ask."""


class Rerun(NamedTuple):
    """What a pass that was run again tells."""

    found: dict[str, Any] | None
    batch: Batch
    altered: bool
    """Whether the network writes into its batch, so that what it was given is not held."""
    differs: bool
    """Whether it answered otherwise when it was run once more."""


BOXES = (dict, list)
"""What a network may take things out of."""


def unboxed(value: Any) -> Any:
    """Copies of the dicts and lists in it, with the same things in them; what is of another kind is left."""
    if type(value) in (dict, list, tuple):
        parts = value.items() if type(value) is dict else enumerate(value)
        held = {key: unboxed(part) for key, part in parts}
        return held if type(value) is dict else type(value)(held.values())
    return copy.copy(value) if isinstance(value, MutableMapping) else value


def versions_of(args: Any, kwargs: Any) -> tuple[int, ...]:
    """How often each tensor of a batch was written to."""
    return tuple(tensor._version for tensor in tensors_in((args, kwargs)))


def overwritten(passes: tuple[HeldPass, ...]) -> list[bool]:
    """Of each pass whether its tensors were written to since. Of a step's first pass it is not known how often they had been:
    one that shares a tensor which anybody wrote to with a later pass counts as written to.
    """
    lists = [list(tensors_in((each.args, each.kwargs))) for each in passes]
    changed = [bool(each.versions) and each.versions != tuple(t._version for t in held) for each, held in zip(passes, lists, strict=True)]
    later = {id(tensor) for held in lists[1:] for tensor in held}
    if passes and not passes[0].versions:
        changed[0] = any(id(tensor) in later and tensor._version for tensor in lists[0])
    return changed


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same, but for what kernels round."""
    pairs = list(zip(tensors_in(one), tensors_in(other), strict=False))
    return all(a.shape == b.shape and torch.allclose(a.double(), b.double(), 1e-3, 1e-6, equal_nan=True) for a, b in pairs if not a.is_complex())


def in_batch(each: HeldPass, batch: Batch) -> dict[str, Any] | None:
    """What the batch itself holds that is bad; None where it holds nothing."""
    inputs = list(tensors_in((each.args, each.kwargs)))
    return next((_input(n, len(inputs), bad_of(tensor), batch) for n, tensor in enumerate(inputs) if not fine(tensor)), None)


def _input(number: int, of: int, bad: BadNumbers, batch: Batch) -> dict[str, Any]:
    return {"where": "input", "tensor": f"input {number}" if of > 1 else "the input", **bad.told(batch.axis(bad.shape))}


def blamed(trace: BadTrace, answers: list[Tensor], batch: Batch, given: int) -> dict[str, Any] | None:
    """The op, or which of the ``given`` tensors, whose bad numbers came to the answers; None where these are finite, and nothing bad was
    kept aside.
    """
    answers = [answer for answer in answers if answer.is_floating_point() or answer.is_complex()]
    bad = [(number, answer) for number, answer in enumerate(answers, start=1) if not fine(answer)]
    origins = [(number, origin) for number, answer in bad if (origin := trace.origin(answer)) is not None]
    if origins:
        number, origin = min(origins, key=lambda pair: (pair[1].put, pair[1]))
        known = len(bad) == len(answers) or any(not answer.ndim for _, answer in bad)  # one number is a loss that the network works out itself
        doubt = {"doubt": "put"} if origin.put else {} if known else {"doubt": f"output {number} of {len(answers)}"}
        return {**_told(trace, origin, batch, given), **doubt}
    if bad:
        return {"where": "unknown", "text": "the answers were NaN or infinite"}
    origin = trace.kept() if answers else trace.first()
    return None if origin is None else {**_told(trace, origin, batch, given), "doubt": "aside"}


def _told(trace: BadTrace, origin: BadOrigin, batch: Batch, given: int) -> dict[str, Any]:
    held = trace.held(origin.given)
    return trace.told(origin, batch) if held is None else _input(origin.given, given, held, batch)
