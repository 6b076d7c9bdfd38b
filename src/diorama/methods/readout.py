"""What a layer knows: a linear read-out, fitted on examples and measured on others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..model.own_places import alike_long

WIDTH = 512
"""A layer's maps are averaged over a grid so coarse that an example has about so many numbers."""
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5)
"""How strongly large weights may be held down; the one that reads unseen examples best is taken."""
DIRECTIONS = 96
"""Read-outs look along so many of a layer's main directions at most."""
_HELD_OUT = 4
Floats = NDArray[np.float64]


def pooled(units: Tensor, own: Tensor | None = None, places: int | None = None) -> Tensor:
    """A layer's answers (n, units, …) as one row an example: maps and sequences averaged over a coarse grid.

    ``own`` (n, places) are the places that each example has itself, of which alone a sequence's are taken; ``places``: as many cells as such a
    sequence would have, so that rows of long and short texts go together.
    """
    values = units.float()
    if values.ndim < 3:
        return values.reshape(len(values), -1)
    cells = max(1, WIDTH // values.shape[1])
    if values.ndim == 4:
        side = max(1, int(cells**0.5))
        return F.adaptive_avg_pool2d(values, (min(side, values.shape[2]), min(side, values.shape[3]))).flatten(1)
    flat = values.flatten(2)
    wide = min(cells, places or flat.shape[2])
    return torch.cat([F.adaptive_avg_pool1d(part, wide) for _, _, part in alike_long(flat, own)]).flatten(1)


@dataclasses.dataclass(frozen=True)
class ReadOut:
    """A linear reading of a layer: probabilities of classes, or numbers.

    *Meaning* ``held_out`` is measured on examples that took no part in the fit: the share read rightly for classes,
    the explained share of the variance (R²) for numbers; ``chance`` is what knowing nothing of the layer gives.
    """

    mean: Tensor
    basis: Tensor
    weights: Tensor
    held_out: float
    chance: float
    fitted: int
    measured: int
    classes: int
    strength: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Read rows (n, numbers): probabilities (n, classes), or numbers (n, 1)."""
        scores = _scores(_projected(rows, self.mean, self.basis), self.weights)
        return (scores.softmax(1) if self.classes else scores).float()


def split(y: Tensor, leave_out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which examples are fitted on and which are held out: every fourth of each class, in order.

    ``leave_out`` (n,) marks examples that take part in neither.
    """
    order = torch.argsort(y.reshape(len(y), -1)[:, 0], stable=True)
    if leave_out is not None:
        order = order[~leave_out[order]]
    out = torch.arange(len(order)) % _HELD_OUT == _HELD_OUT - 1
    return order[~out], order[out]


def fit(rows: Tensor, y: Tensor, classes: int, leave_out: Tensor | None = None) -> ReadOut | None:
    """Fit a read-out of rows (n, numbers): multinomial logistic regression for classes, ridge regression for 0 classes.

    *Meaning* the weights are held down by the strength that reads a quarter of the fitted examples best when it is
    fitted on the others. None where there are too few examples or the rows are not finite.
    *Source* Alain & Bengio 2016 (arXiv:1610.01644).
    """
    chosen, held = split(y, leave_out)
    if len(chosen) < 8 or not len(held) or not bool(torch.isfinite(rows).all()) or not bool(torch.isfinite(y).all()):
        return None
    inner, check = (chosen[part] for part in split(y[chosen]))
    tried = _fitted(rows[inner], y[inner], classes, STRENGTHS)
    measured = [_measured(one, rows[check], y[check], classes) for one in tried]
    best = max(range(len(tried)), key=measured.__getitem__)
    whole = _fitted(rows[chosen], y[chosen], classes, STRENGTHS[best : best + 1])[0]
    if classes:
        chance = float((y[held] == y[chosen].mode().values).float().mean())
        right = float((_scores(_projected(rows[held], *whole[:2]), whole[2]).argmax(1) == y[held]).float().mean())
    else:
        chance, right = 0.0, _measured(whole, rows[held], y[held], classes)
    return ReadOut(*whole, right, chance, len(chosen), len(held), classes, STRENGTHS[best])


Fitted = tuple[Tensor, Tensor, Tensor]
"""Mean, basis and weights."""


def _fitted(rows: Tensor, y: Tensor, classes: int, strengths: Sequence[float]) -> list[Fitted]:
    """One read-out a strength: the rows' own main directions are enough, as weights across them would be zero."""
    mean = rows.double().mean(0)
    centred = rows.double() - mean
    scale = centred.square().sum(1).mean().sqrt().clamp_min(1e-12)
    _, values, directions = torch.linalg.svd(centred / scale, full_matrices=False)
    basis = directions[values > 1e-7 * values.amax().clamp_min(1e-12)][:DIRECTIONS].T / scale
    z = _projected(rows, mean, basis)
    if not classes:
        return [(mean, basis, _ridge(z, y, strength)) for strength in strengths]
    made, weights = [], np.zeros((z.shape[1] + 1, classes))
    for strength in strengths:
        weights = _logistic(z.numpy(), y.long().numpy(), strength, weights)
        made.append((mean, basis, torch.from_numpy(weights)))
    return made


def _ridge(z: Tensor, y: Tensor, strength: float) -> Tensor:
    target = y.double().reshape(len(y), -1)[:, :1]
    gram = z.T @ z + strength * len(z) * torch.eye(z.shape[1], dtype=z.dtype)
    return torch.cat([torch.linalg.solve(gram, z.T @ (target - target.mean())), target.mean().reshape(1, 1)])


def _logistic(z: Floats, y: NDArray[np.int64], strength: float, start: Floats) -> Floats:
    """Mean cross-entropy plus half the strength times the squared weights, brought down by L-BFGS."""
    right = np.eye(start.shape[1])[y]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(start.shape)
        scores = z @ weights[:-1] + weights[-1]
        logs = scores - scipy.special.logsumexp(scores, 1, keepdims=True)
        wrong = (np.exp(logs) - right) / len(z)
        slope = np.concatenate([z.T @ wrong + strength * weights[:-1], wrong.sum(0, keepdims=True)])
        return -float((logs * right).sum()) / len(z) + strength / 2 * float((weights[:-1] ** 2).sum()), slope.ravel()

    found = scipy.optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 1e-6})
    weights: Floats = found.x.reshape(start.shape)
    return weights


def _measured(found: Fitted, rows: Tensor, y: Tensor, classes: int) -> float:
    """How well unseen examples are read: minus the cross-entropy of classes, R² of numbers."""
    scores = _scores(_projected(rows, *found[:2]), found[2])
    if classes:
        return -float(F.cross_entropy(scores, y.long()))
    target = y.double().reshape(len(y), -1)[:, :1]
    spread = (target - target.mean()).square().mean().clamp_min(1e-12)
    return 1 - float((scores - target).square().mean() / spread)


def _projected(rows: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    return (rows.double() - mean) @ basis


def _scores(z: Tensor, weights: Tensor) -> Tensor:
    return z @ weights[:-1] + weights[-1]
