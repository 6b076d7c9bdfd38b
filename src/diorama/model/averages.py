"""The running means and variances of batch norm, estimated anew for weights that were never trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data import nesting
from ..data.nesting import Nested


def normalized(model: nn.Module) -> list[Any]:
    """The batch norms of a model that keep running statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]


def reestimate(model: nn.Module, batches: Iterable[Nested], check: Callable[[], None] | None = None) -> None:
    """Set the running statistics of a model of one's own to the mean over batches; all else runs in eval mode.

    *Meaning* between two networks the mean of their running variances is larger than the variance of the mean network, so that
    activations shrink layer by layer; with statistics of its own the network in between answers as it can.
    *Cost* one pass a batch. Batches of one example are left out.
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
                    nesting.call(model, x)
    finally:
        for module, momentum in before:
            module.momentum = momentum
            module.eval()
