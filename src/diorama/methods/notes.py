"""What must be said beside an input or a map that is constant, zero or not finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..data import nesting
from ..data.nesting import Nested


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
            said.append("The map is zero everywhere, though the target changes with the input: what this method follows is flat "
                        "or hidden here (quantized, rounded or detached numbers, say); use occlusion or lime.")
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
