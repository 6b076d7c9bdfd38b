"""Losses and metrics of the usual tasks, as plain functions of a model's output and the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy in nats; classes are the last dimension, so that sequences (n, t, classes) work too."""
    return functional.cross_entropy(output.flatten(0, -2), y.flatten())


def share_right(output: Tensor, y: Tensor) -> float:
    """The share of likeliest answers that are right."""
    return float((output.argmax(-1) == y).float().mean())


def squared_error(output: Tensor, y: Tensor) -> Tensor:
    """The mean squared error; an output of one column stands for one value an example."""
    return functional.mse_loss(_values(output, y), y)


def absolute_error(output: Tensor, y: Tensor) -> float:
    """The mean absolute error, in the units of the labels."""
    return float((_values(output, y) - y).abs().mean())


def _values(output: Tensor, y: Tensor) -> Tensor:
    return torch.squeeze(output, -1) if output.ndim == y.ndim + 1 else output
