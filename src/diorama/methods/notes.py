"""What must be said beside an input or a map that is constant, zero or not finite, or that leaves something out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import nesting
from ..data.nesting import Nested
from ..model.hidden import OWN_SLOPE
from ..model.targets import Target

if TYPE_CHECKING:
    from .method import Looking


def numbers_note(x: Nested, values: Nested, signed: bool = True, depends: Callable[[], bool] = bool) -> str:
    """What a reader must know about an input or a map that is constant, zero or not finite; mostly nothing.

    ``depends`` tries whether the target changes with the input; it is asked where a map is zero everywhere.
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
        if depends():
            said.append("The map is zero everywhere, though the target changes with the input: what this method follows is flat, cancels out "
                        "(along embeddings before a norm, say) or is hidden here (quantized, rounded or detached numbers); use occlusion or lime.")
        else:
            why = "the target does not depend on this input here" if signed else "nothing here speaks for the target"
            said.append(f"The map is zero everywhere: {why}.")
    return " ".join(said)


def _bounds(part: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest number of each example; both not-a-number where any is."""
    if len(part) == 1:
        low, high = part.detach().aminmax()
        return low[None], high[None]
    low, high = part.detach().reshape(len(part), -1).aminmax(dim=1)
    return low, high


def left_out(look: Looking, target: Target) -> str:
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
