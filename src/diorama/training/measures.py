"""Losses and metrics of the usual tasks, as plain functions of a model's output and the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..model.mixtures import NextStep


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


def stroke_losses(output: Tensor, y: Tensor) -> Tensor:
    """What the next steps of a pen cost in each example, (n,): nats a place, as :class:`NextStep` reads outputs."""
    return NextStep.of(output).losses(y).mean(-1)


def stroke_loss(output: Tensor, y: Tensor) -> Tensor:
    """The mean of :func:`stroke_losses`."""
    return stroke_losses(output, y).mean()


def pen_right(output: Tensor, y: Tensor) -> float:
    """The share of lifted pens that are held likelier than not."""
    lifted = y[..., 2] > 0.5
    return float((NextStep.of(output).lift > 0)[lifted].float().mean()) if bool(lifted.any()) else float("nan")


def _values(output: Tensor, y: Tensor) -> Tensor:
    return torch.squeeze(output, -1) if output.ndim == y.ndim + 1 else output
