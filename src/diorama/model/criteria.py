"""Losses that a user's criterion tells, and means over examples of which some count for more than others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]


def mean(values: Tensor, known: Tensor) -> Tensor:
    """The mean of each example's known values, (n,); NaN where none is known."""
    values, known = values.reshape(len(values), -1), known.reshape(len(values), -1)
    return torch.where(known, values, 0).sum(1) / known.sum(1)


def weighted(values: Tensor, weights: Tensor) -> float:
    """The mean of values (n,) that count for so much each; NaN where none counts for anything."""
    weights = weights.to(values.device).reshape(-1)
    own = weights > 0
    return float((values.reshape(-1)[own].double() * weights[own]).sum() / weights[own].sum()) if bool(own.any()) else float("nan")


def told_by(criterion: Criterion, scores: Tensor, y: Tensor) -> Tensor:
    """What a criterion says, where its own numbers (weights of classes, say) lie."""
    own = next((one for one in (*criterion.buffers(), *criterion.parameters())), None) if isinstance(criterion, nn.Module) else None
    found: Tensor = criterion(scores, y) if own is None else criterion(scores.to(own.device), y.to(own.device)).to(scores.device)
    return found


def each_by(criterion: Criterion, scores: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """The loss of each example: what a criterion says of each, else what it says of that one alone; ``known`` is what of the truth counts."""
    whole = told_by(criterion, scores, y)
    if whole.ndim and len(whole) == len(scores):
        told = whole.detach().reshape(len(scores), -1).float()
        known = known.to(told.device).reshape(len(scores), -1)
        return mean(told, known) if known.shape == told.shape else told.mean(1)
    single = [told_by(criterion, scores[k : k + 1], y[k : k + 1]).detach().float().mean() for k in range(len(scores))]
    return torch.stack(single) if single else scores.new_zeros(0)


def class_weights(criterion: Criterion | None) -> Tensor | None:
    """The weights of the classes by which a criterion of torch's averages: alone, an example has none."""
    weighs = isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss) and criterion.reduction == "mean"
    return criterion.weight if weighs and isinstance(criterion.weight, Tensor) else None  # type: ignore[union-attr]
