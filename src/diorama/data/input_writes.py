"""Models that write into what they are given: nobody's own numbers are changed by a look at a model."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_WRITERS: weakref.WeakSet[Any] = weakref.WeakSet()
_LEAF = "leaf Variable that requires grad"
"""What torch says of a write into an input whose slope is wanted."""


def known(model: Callable[..., Any]) -> bool:
    """Whether a model was seen to write into its input."""
    if not _WRITERS:  # mostly so, and every pass asks: a model that is asked for what it lacks looks long
        return False
    try:
        return _owner(model) in _WRITERS
    except TypeError:  # what cannot be held weakly is asked anew each time
        return False


def note(model: Callable[..., Any]) -> None:
    """Remember that a model writes into its input."""
    with contextlib.suppress(TypeError):
        _WRITERS.add(_owner(model))


def _owner(model: Callable[..., Any]) -> Any:
    """What lasts: a method is made anew each time that it is named."""
    return getattr(model, "__self__", model)


def copied(tensor: Tensor) -> Tensor:
    """A copy that a model may write into. Slopes go through it, so that who follows them op by op sees it made; nobody else does."""
    if tensor.requires_grad:
        return tensor.clone()
    with torch._C.DisableTorchFunction():
        return tensor.clone()


class InputCopy:
    """What tensors hold before a pass, so that it can be put back.

    Those that are made of others while something is traced, compiled or mapped over, hold nothing of their own and are passed over.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._kept: list[tuple[Tensor, int, Tensor]] = []
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return
        with torch._C.DisableTorchFunction():  # what is detached leaves no trace, in whichever mode
            self._kept = [(tensor, tensor._version, tensor.detach().clone()) for tensor in tensors if _own(tensor)]

    def restored(self, error: Exception | None = None) -> bool:
        """Put back what was written over; whether anything was, or whether that is what the pass failed by."""
        with torch._C.DisableTorchFunction():
            found = [(tensor, before) for tensor, version, before in self._kept if tensor._version != version]
            for tensor, before in found:
                tensor.detach().copy_(before)
        return bool(found) or (error is not None and bool(self._kept) and isinstance(error, RuntimeError) and _LEAF in str(error))


def _own(tensor: Tensor) -> bool:
    """Whether a tensor has numbers of its own, and tells when they are written over."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_meta and tensor.layout == torch.strided
    return plain and not tensor.is_inference() and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
