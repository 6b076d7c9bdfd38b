"""What must be said beside an input or a map that is constant, zero or not finite, or that leaves something out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.rounding import SINGLE, alike, rounding
from ..data import nesting
from ..data.nesting import Nested
from ..model.hidden_ops import OWN_SLOPE
from ..model.targets import Target

if TYPE_CHECKING:
    from .method import Look


_FLAT = (
    "what this method follows is flat, cancels out (along embeddings before a norm, say), is like the baseline it is compared with, or is hidden "
    "here (quantized, rounded or detached numbers); use occlusion, lime or another baseline."
)
_NAUGHT = (
    "this method weighs numbers by how far they are from zero or from a baseline, and these are there already; use gradient or another baseline."
)
_COVERED = "what this method puts in the place of the input's parts changes nothing here; use another baseline, larger parts, or gradient."
CANCELLED = 1e-3
"""Of slopes along embeddings of d numbers with signs by chance a share of 1/√d is left in their sum: less than this is left where something
takes out what they have in common."""
FLAT = (_FLAT, _NAUGHT, _COVERED)
"""Why a map may be zero everywhere although the target changes with the input."""


def numbers_note(x: Nested, values: Nested, signed: bool = True, flat: Callable[[], str] = str) -> str:
    """What a reader must know about an input or a map that is constant, zero or not finite; mostly nothing.

    ``flat`` says why a map may be zero although the target changes with the input, or nothing where it does not; it is asked where a map is zero
    everywhere.
    """
    said = []
    given = [part for part in nesting.tensors(x) if part.is_floating_point() and part.numel()]
    parts = [_bounds(part) for part in given]
    if any(not bool(torch.isfinite(torch.cat(ends)).all()) for ends in parts):
        said.append("The input holds numbers that are not finite.")
    elif parts and not any(bool(end.any()) for ends in parts for end in ends):
        said.append("The input is zero everywhere.")
    elif parts and all(torch.equal(*ends) for ends in parts) and all(part[0].numel() > 1 for part in given):
        said.append("The input is the same everywhere.")
    maps = [_bounds(part) for part in nesting.tensors(values) if part.numel()]
    if any(not bool(torch.isfinite(torch.cat(ends)).all()) for ends in maps):
        said.append("The map holds numbers that are not finite.")
    elif not any(bool(end.any()) for ends in maps for end in ends):
        if why := flat():
            why = _NAUGHT if why == _FLAT and said and "zero" in said[0] else why  # what covers weighs nothing
            said.append(f"The map is zero everywhere, though the target changes with the input: {why}")
        else:
            why = "the target does not depend on this input here" if signed else "nothing here speaks for the target"
            said.append(f"The map is zero everywhere: {why}.")
    elif len(maps) == 1 and nesting.first(values)[0].numel() > 1 and _flat(*maps[0]):
        said.append("The map is the same everywhere: by this method no part of the input counts more than another here.")
    return " ".join(said)


def cancelled(left: float) -> str:
    """What must be said where next to nothing is left of numbers along embeddings in their sums by token; mostly nothing.

    Where nothing is left at all, :func:`numbers_note` says so of the map.
    """
    return "" if left == 0 or not left < CANCELLED else (
        "Less than a thousandth of what the single numbers of the embeddings say is left in the sums of the tokens, since the rest cancels out, as "
        "it does before a norm: these values say little of what the tokens do; use occlusion, lime or integrated_gradients."
    )


def flatness(look: Look, x: Nested, target: Target, group: str) -> str:
    """Why a map may be zero everywhere although the target is another one for another input; nothing where it is the same for all that are tried.

    *Meaning* tried are numbers at half their size and beside themselves, and tokens in reverse order, one everywhere, and one that is not there.
    *Cost* up to five passes, where nothing changes the target.
    """
    changes: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda part: part / 2 if part.is_floating_point() else part.flip(1),
        lambda part: part + _step(part) if part.is_floating_point() else part[:, :1].expand_as(part),
        lambda part: part - _step(part) if part.is_floating_point() else part[:, -1:].expand_as(part),
        lambda part: part if part.is_floating_point() or part.dtype == torch.bool else _others(part),
    )
    with torch.no_grad():
        here = look.run(x, target).value.detach()
    for change in changes:
        other = nesting.each(x, lambda part: change(part) if part.ndim > 1 else part / 2 if part.is_floating_point() else part.flip(0))  # noqa: B023
        try:
            with torch.no_grad():
                there = look.run(other, target).value.detach()
        except Exception:  # noqa: BLE001 - a token that the model has not is none to be tried
            continue
        apart = (here - there).abs() > rounding(torch.maximum(here.abs(), there.abs()), torch.finfo(here.dtype).eps)
        if bool((apart & here.isfinite() & there.isfinite()).any()):
            return _COVERED if group in ("black box", "input modification") else _FLAT
    return ""


def _step(part: Tensor) -> Tensor:
    """How far numbers are moved: by their size, and by one where all are zero."""
    size = part.detach().abs().amax()
    shares = torch.linspace(0.5, 1, part[0].numel(), device=part.device).to(part.dtype).reshape(part[0].shape)
    return torch.where(size > 0, size, torch.ones_like(size)) * shares


def _others(part: Tensor) -> Tensor:
    """Tokens that each take the place of another: 1 where a text is all 0, else 0."""
    return torch.where(part == 0, 1, 0).to(part.dtype)


def _flat(low: Tensor, high: Tensor) -> bool:
    """Whether the lowest and the highest number of each example are the same but for rounding."""
    return bool(alike(low, high, torch.finfo(low.dtype).eps if low.is_floating_point() else SINGLE).all())


def _bounds(part: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest number of each example; both not-a-number where any is."""
    if len(part) == 1:
        low, high = part.detach().aminmax()
        return low[None], high[None]
    low, high = part.detach().reshape(len(part), -1).aminmax(dim=1)
    return low, high


def left_out(look: Look, target: Target) -> str:
    """What slopes leave out of a target: ways from the input that the model itself takes out of autograd, and functions
    that say themselves what their slope is; mostly nothing.

    *Cost* one forward pass of two examples, once for a model.
    """
    if look.function:
        return ""
    ways, told = dict(look.hidden.detached), [own for own in look.hidden.found if own.startswith(OWN_SLOPE)]
    where = sorted({ways[name] for name in target.keep or ("",) if name in ways})
    says = "say" if len(told) > 1 else "says"
    said = f"Slopes in this model are what {' and '.join(told[:3])} {says} they are, and need not be those of its answer." if told else ""
    if not where:
        return said
    return (f"{said} Part of what the input does reaches the target through numbers that are detached, computed under no_grad, rounded or "
            f"quantized in {' and '.join(where)}: no slope goes that way, so the map leaves it out; occlusion follows it.").strip()
