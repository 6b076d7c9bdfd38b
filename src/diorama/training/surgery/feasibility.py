"""Whether a network can be given another shape at all, and the few examples on which that is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.batch_size import fitting
from ...model.plain_module import dtype_of, fed, quantized, spread, unwrap
from ...model.preservation import Preservation
from ...model.surroundings import as_built
from .averages import averages

T = TypeVar("T")
_NUMBERS = 200_000
"""So many numbers of the examples at most are used."""


def ready(
    model: nn.Module, x: Nested, state: Sequence[Any], look: Callable[[nn.Module, Nested], T]
) -> tuple[nn.Module, Nested, T]:
    """The plain model, the few examples on which a change is tried, and what a first look at the two finds, which runs the model.

    *Cost* that of the look. *Raises* NotApplicable for what cannot be changed, and what the look raises.
    """
    if name := spread(model):
        raise NotApplicable(
            f"the weights are spread over processes by {name}, so none can be given another shape; end the training, and change the script"
        )
    plain = unwrap(model)
    if closed := [path for path, module in plain.named_modules() if isinstance(module, torch.jit.ScriptModule)]:
        raise NotApplicable(f"{closed[0] or 'the model'} is a scripted module, whose inside is closed; pass the module it was made from")
    if packed := quantized(plain):
        raise NotApplicable(f"{packed[0]} is quantized, so its weights cannot be given another shape; train in floating point")
    if name := averages(plain, state):
        raise NotApplicable(
            f"an averaged copy of weights of these shapes ({name}) lives in this process; if it is this model's, it would keep the old shape "
            "and break: end the averaging first, or remove the copy; if it is another model's, of an earlier training say, delete that"
        )
    size = max(sum(part.numel() for part in nesting.tensors(x)) // max(nesting.size(x), 1), 1)
    count = min(max(_NUMBERS // size, 2), 8)

    few, found = fitting(plain, fed(plain, nesting.select(x, slice(0, count))), lambda few: (few, look(plain, few)))
    return plain, few, found


def ran(model: nn.Module, few: Nested) -> None:
    """The look that only runs the model."""
    with Preservation(model), torch.no_grad(), as_built(dtype_of(model)):
        nesting.call(model, few)
