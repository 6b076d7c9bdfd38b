"""The running means and variances of batch norm, estimated anew for weights that were never trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data import nesting
from ..data.nesting import Nested
from .batch_size import batch_size, found, parts, whole


def normalized(model: nn.Module) -> list[Any]:
    """The batch norms of a model that keep running statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]


def _pass(model: nn.Module, norms: list[Any], x: Nested) -> None:
    """Run a batch, or full batches of its examples."""
    size = batch_size(model)
    if size is None:
        before = [buffer.clone() for module in norms for buffer in module.buffers()]
        try:
            nesting.call(model, x)
            return
        except Exception as error:
            size = found(model, x, error)
            if size is None:
                raise
        for buffer, old in zip((buffer for module in norms for buffer in module.buffers()), before, strict=True):
            buffer.copy_(old)  # the pass that failed may have come that far
    full = [batch for part, batch in parts(x, size) if part.real == size]
    for batch in full or [whole(model, x)]:
        nesting.call(model, batch)


def reestimate(model: nn.Module, batches: Iterable[Nested], check: Callable[[], None] | None = None) -> None:
    """Set the running statistics of a model of one's own to the mean over batches; all else runs in eval mode.

    *Meaning* between two networks the mean of their running variances is larger than the variance of the mean network, so that
    activations shrink layer by layer; with statistics of its own the network in between answers as it can.
    *Cost* one pass a batch. Batches of one example are left out. A model that takes one number of examples alone gets as many full
    batches of them as there are, as what is filled in would count.
    *Source* Jordan et al. 2022, REPAIR, section 4.
    """
    norms = normalized(model)
    before = [(module, module.momentum) for module in norms]
    model.eval()
    try:
        for module in norms:
            module.reset_running_stats()
            module.momentum = None  # the plain mean over batches
            module.train()
        with torch.no_grad():
            for x in batches:
                if check is not None:
                    check()
                if nesting.size(x) > 1:
                    _pass(model, norms, x)
    finally:
        for module, momentum in before:
            module.momentum = momentum
            module.eval()
