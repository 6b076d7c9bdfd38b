"""Large maps with their channels last in memory, as convolutions on a CPU are quickest, whatever the model's own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .axes import transformed

LEAST = 1 << 17
"""Numbers that a map must have to be worth another order; those that are in it already stay so."""
_LAST = torch.channels_last


class ChannelsLastRule:
    """A rule for an OpMode: from the first large map on, 2-D convolutions read and write with the channels last.

    *Meaning* values, shapes and gradients are those of the model's own order, but for rounding; only strides differ. Where
    a model asks for a view that this order does not have, the map goes back to the usual one.
    *Cost* one copy of each convolution's weight, kept as long as this rule; weights that are no parameters are copied each time.
    """

    def __init__(self) -> None:
        self._weights: dict[int, tuple[Tensor, int, Tensor]] = {}

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "view":
            return _viewed(func, args, kwargs)
        if name != "conv2d" or len(args) < 2:
            return NotImplemented
        arranged = self.arranged(args[0], args[1])
        return NotImplemented if arranged is None else func(*arranged, *args[2:], **kwargs)

    def arranged(self, x: Any, weight: Any) -> tuple[Tensor, Tensor] | None:
        """A convolution's input and weight with the channels last; None where that is not worth while."""
        if not isinstance(x, Tensor) or not isinstance(weight, Tensor) or x.ndim != 4 or weight.ndim != 4:
            return None
        if transformed(x) or transformed(weight):
            return None
        if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
            return None
        last = x.is_contiguous(memory_format=_LAST)
        if last and x.is_contiguous() and x.shape[1] > 1:
            # One place: both orders are the same.
            return None
        if not last and x.numel() < LEAST:
            return None
        return (x if last else x.contiguous(memory_format=_LAST)), self._turned(weight)

    def _turned(self, weight: Tensor) -> Tensor:
        if weight.is_contiguous(memory_format=_LAST) or (weight.requires_grad and torch.is_grad_enabled()):
            return weight
        if not isinstance(weight, nn.Parameter):
            # Made anew for each pass, as a parametrized weight is: to keep them all would fill the memory.
            return weight.detach().contiguous(memory_format=_LAST)
        known = self._weights.get(id(weight))
        if known is None or known[0] is not weight or known[1] != weight._version:
            made = weight.detach().contiguous(memory_format=_LAST)
            known = self._weights[id(weight)] = (weight, weight._version, made)
        return known[2]


def _viewed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A view of a map whose channels lie last; the map itself goes back to the usual order where it has none."""
    x = args[0] if args else None
    if not isinstance(x, Tensor) or x.ndim != 4 or x.is_contiguous() or not x.is_contiguous(memory_format=_LAST):
        return NotImplemented
    try:
        return func(*args, **kwargs)
    except RuntimeError:
        # Not a copy beside it: what is written into the view must be seen in the map.
        x.data = x.data.contiguous()
        return func(*args, **kwargs)
