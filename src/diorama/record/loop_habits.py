"""What a loop does with the network at a batch, a loss with the answers and the data with the labels, as the batch itself tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..model.unwrap import local

_FEW = 64
"""Numbers of a gradient that are kept to be found again."""
_TRIED = 4
"""Parameters that are tried for a gradient that is not nothing, from the last layer on."""
_SUM = 1e-3
"""Probabilities sum to 1 within this, since they may have half the digits."""
_ROWS = 8
"""Examples from which on their order tells something."""


class Leftovers:
    """Whether gradients of the step before are still there when those of the next one come to the answers.

    *Meaning* they add up over all steps: somebody forgot to set them to nothing.
    *Cost* a few numbers are copied at due steps.
    """

    def __init__(self) -> None:
        self.found: bool | None = None
        """None where nothing could be said."""
        self._kept: tuple[Tensor, Tensor] | None = None

    def arm(self, stepped: Sequence[Tensor] | None) -> None:
        """Remember a gradient of the step that has just ended, of parameters by which the optimizer steps; None where nothing can be said."""
        self.found, self._kept = None, None
        if stepped is None:
            return
        with_gradient = [parameter for parameter in stepped if parameter.grad is not None]
        for parameter in with_gradient[::-1][:_TRIED]:
            few = _few(parameter)
            if few is not None and bool(few.any()) and bool(few.isfinite().all()):
                self._kept = (parameter, few.clone())
                return
        self.found = False  # they were set to nothing as soon as the step was over

    def look(self) -> None:
        """The first gradient of the step comes to the answers; no parameter has got its own yet."""
        if self._kept is None or self.found is not None:
            return
        parameter, few = self._kept
        now = _few(parameter)
        self.found = now is not None and now.shape == few.shape and bool((now == few).all())
        self._kept = None


def _few(parameter: Tensor) -> Tensor | None:
    """The first numbers of a parameter's gradient; None where it has none that lies in memory as usual."""
    gradient = parameter.grad
    return None if gradient is None or gradient.layout != torch.strided else local(gradient.detach()).reshape(-1)[:_FEW]


def in_evaluation(model: nn.Module) -> dict[str, float]:
    """``eval``: 1 where the whole network stands in evaluation mode; nothing where its layers work alike in both."""
    if not model.training:
        return {"eval": 1.0} if any(map(_has_modes, model.modules())) else {}
    return {"eval": 0.0}


def _has_modes(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    return isinstance(module, _BatchNorm) or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0)


def form_of(
    scores: NDArray[np.float64], slopes: NDArray[np.float64] | None, labels: NDArray[np.int64], whole: bool,
) -> dict[str, float]:
    """``form``: 1 where the scores of a cross-entropy are probabilities already, 2 where a negative log-likelihood is given
    probabilities whose logarithm was not taken, 3 where they sum to 1 over the examples of the batch; 0 else.

    ``whole`` says that the rows are all there are. Of one score it is 1 where all lie between 0 and 1, which few logits do.
    """
    if slopes is None or not np.isfinite(scores).all():
        return {}
    if scores.shape[1] == 1:
        inside = (scores >= 0).all() and (scores <= 1).all()
        return {"form": float(inside and len(scores) >= _ROWS)}
    single = bool(((slopes != 0).sum(1) <= 1).all())
    if _shares(scores, 1):
        if not single:
            return {"form": 1.0}
        at = slopes[np.arange(len(slopes)), np.maximum(labels, 0)][labels >= 0]
        chance = scores[np.arange(len(scores)), np.maximum(labels, 0)][labels >= 0]
        # Of a logarithm that was taken, the gradient is the larger the smaller the probability is.
        alike = len(at) >= _ROWS and np.ptp(at) <= 1e-4 * np.abs(at).max() and np.ptp(chance) > 1e-3
        return {"form": 2.0 if alike else 0.0}
    chances = np.exp(np.minimum(scores, 1.0))
    if whole and len(scores) >= 4 and (_shares(scores, 0) or _shares(chances, 0)) and not _shares(chances, 1):
        return {"form": 3.0}
    return {"form": 0.0}


def _shares(values: NDArray[np.float64], axis: int) -> bool:
    """Whether the values are shares that sum to 1 along an axis, and no two of these are alike."""
    return bool((values >= 0).all() and np.abs(values.sum(axis) - 1).max() < _SUM and np.ptp(values) > 0)


def copied(tokens: Tensor | None, labels: NDArray[np.int64]) -> dict[str, float]:
    """``copied``: the share of labels that are the very token that is read at their place."""
    if tokens is None or len(tokens) != len(labels) or not (known := labels >= 0).any():
        return {}
    return {"copied": float((tokens.cpu().numpy()[known] == labels[known]).mean())}


def cut(scores: NDArray[np.float64]) -> dict[str, float]:
    """``cut``, ``cut_at`` and ``cut_side``: the share of answers that are the same number, that number, and whether it is the lowest (−1)
    or the highest (1) of the batch.

    Of one number an example; several answers that are the same to the last digit come from a function that cuts.
    """
    if scores.shape[1] != 1 or len(scores) < _ROWS or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return {}
    low, high = float(scores.min()), float(scores.max())
    at_low, at_high = float((scores == low).mean()), float((scores == high).mean())
    return {"cut": max(at_low, at_high), "cut_at": low if at_low >= at_high else high, "cut_side": -1.0 if at_low >= at_high else 1.0}


def pulled_alike(scores: NDArray[np.float64], slopes: NDArray[np.float64] | None) -> dict[str, float]:
    """``alike``: 1 where the loss pulls at each answer by what it is, and by nothing of its own: the larger the answer, the more.

    *Meaning* of a loss of one answer and one true value the pull goes by how far they lie apart, so that the order is another
    one; where each answer is compared with all true values of the batch, it is the same.
    """
    if slopes is None or scores.shape[1] != 1 or not np.isfinite(scores).all() or not np.isfinite(slopes).all():
        return {}
    answers, pulls = scores[:, 0], slopes[:, 0]
    if len(np.unique(answers)) < _ROWS or np.ptp(pulls) <= 1e-6 * np.abs(pulls).max():
        return {}
    rising = np.diff(pulls[np.argsort(answers, kind="stable")])
    return {"alike": float(rising.min() >= -1e-6 * np.ptp(pulls))}
