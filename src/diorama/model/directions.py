"""Directions among a layer's units: fitted from two sets of examples, or found as the bases of all of them."""

from __future__ import annotations

import dataclasses
import random
import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import NotApplicable, UsageError
from ..core.rounding import deviations
from ..core.selection import spoken
from .axes import first_tensor
from .capture import Capture
from .layers import LayerTable
from .targets import Target, units_of

How = Literal["means", "probe", "pca", "nmf", "dictionary"]
FITTED: tuple[How, ...] = ("means", "probe")
BASES: tuple[How, ...] = ("pca", "nmf")
DICTIONARY: How = "dictionary"
"""What a feature of a layer's dictionary adds."""
FOLDS = 5
ROWS = 8192
"""A base is found from at most so many places of all examples."""
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Direction:
    """A direction among a layer's units.

    *Meaning* an activation's value along it is the projection on ``vector`` minus ``offset``, in units of ``step``: of a
    direction between two sets, 0 lies half-way between their means, and a step leads from one mean to the other; of a
    base, 0 is the mean and a step one standard deviation; of a dictionary's feature, a step is its mean strength while it is on.
    *Shapes* ``vector`` (units,), of length one.
    """

    name: str
    layer: str
    vector: Floats
    offset: float = 0.0
    step: float = 1.0
    how: How = "means"
    sets: tuple[str, str] = ("", "")
    """What it leads to and from."""
    accuracy: float | None = None
    """The share of held-out examples that it puts on their side, the mean over both sets."""
    share: float | None = None
    """Of a base: the part of the layer's variance that it holds."""

    def values(self, codes: Floats) -> Floats:
        """How far each code (n, units) lies along it, in steps."""
        found: Floats = (codes @ self.vector - self.offset) / self.step
        return found

    def target(self, table: LayerTable | None = None) -> Target:
        """Its value, the mean over all places of the layer, as what is explained."""
        way = torch.from_numpy(self.vector)

        def take(output: object, look: Capture) -> Tensor:
            units = units_of(look[self.layer], self.layer, table)
            along = torch.einsum("nu...,u->n...", units, way.to(units))
            mean = along.flatten(1).mean(1) if along.ndim > 1 else along
            return (mean - self.offset) / self.step

        return Target(f"the direction {self.name}", (self.layer,), take, take)

    def moved(self, activation: Tensor, by: Tensor, axis: int) -> Tensor:
        """An activation (1, …) with its units on ``axis``, moved by so many lengths each (n,), at all its places."""
        first = first_tensor(activation)
        assert first is not None
        shape = [1] * first.ndim
        shape[axis] = len(self.vector)
        way = (torch.from_numpy(self.vector) * self.step).to(first).reshape(shape)
        return first + by.to(first).reshape(-1, *[1] * (first.ndim - 1)) * way

    def __repr__(self) -> str:
        said = f", {100 * self.accuracy:.0f} % of held-out examples" if self.accuracy is not None else ""
        return f"<Direction {self.name} in {self.layer} ({self.how}{said})>"


def finite(codes: Any) -> Floats:
    """Codes of which what is not a finite number counts as nothing."""
    found: Floats = np.nan_to_num(np.asarray(codes, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return found


def fitted(name: str, layer: str, a: Floats, b: Floats, how: How = "means", sets: tuple[str, str] = ("A", "B")) -> Direction:
    """The direction from set B to set A, each (n, units): the difference of their means, or a linear probe.

    *Meaning* the difference of means says what A has more of than B, also what comes along with it; a probe (logistic
    regression on standardized units) what tells them apart best, and nothing that others tell already.
    *Error* ``accuracy`` is measured on examples that were left out, five times a fifth: 0.5 is chance.
    *Raises* NotApplicable where the sets do not differ.
    """
    if how not in FITTED:
        raise UsageError(f"a direction between two sets is fitted by {' or '.join(FITTED)}, got {how!r}")
    a, b = (finite(part) for part in (a, b))
    if not len(a) or not len(b):
        raise UsageError("a direction wants at least one example in both sets")
    vector = _way(a, b, how)
    size = float(np.linalg.norm(vector))
    if not size > 0:
        raise NotApplicable(f"in {layer} the two sets have the same mean, so there is no direction between them")
    vector = vector / size
    ends = float((a @ vector).mean()), float((b @ vector).mean())
    step = ends[0] - ends[1]
    step = step if step > 0 else float(np.concatenate([a, b]).std(0).mean()) or 1.0
    return Direction(name, layer, vector, sum(ends) / 2, step, how, sets, _held_out(a, b, how))


def _way(a: Floats, b: Floats, how: How) -> Floats:
    if how == "means":
        difference: Floats = a.mean(0) - b.mean(0)
        return difference
    x, y = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
    spread = deviations(x)
    spread[spread == 0] = 1
    with warnings.catch_warnings():
        # Sets that can be told apart have no end of the fit; the penalty decides where it stops.
        warnings.simplefilter("ignore")
        probe = _scikit_learn()[0].LogisticRegression(class_weight="balanced", max_iter=500).fit((x - x.mean(0)) / spread, y)
    weights: Floats = probe.coef_[0] / spread
    return weights


def _held_out(a: Floats, b: Floats, how: How) -> float | None:
    """The mean share of both sets that a direction fitted without them puts on their side; None for too few."""
    folds = min(FOLDS, len(a), len(b))
    if folds < 2:
        return None
    dice = np.random.default_rng(0)
    parts = [np.array_split(dice.permutation(len(each)), folds) for each in (a, b)]
    right = np.zeros(2)
    for k in range(folds):
        train = [np.delete(each, own[k], 0) for each, own in zip((a, b), parts, strict=True)]
        way = _way(train[0], train[1], how)
        middle = sum(float((each @ way).mean()) for each in train) / 2
        right += [(a[parts[0][k]] @ way > middle).sum(), (b[parts[1][k]] @ way < middle).sum()]
    return float((right / [len(a), len(b)]).mean())


def based(layer: str, rows: Floats, how: How, count: int = 8, seed: int = 0) -> tuple[list[Direction], str]:
    """The main directions of many activations (n, units) of a layer, strongest first, and a note on them.

    *Meaning* ``pca``: at right angles, each holding as much of what is left of the variance as it can. ``nmf``: parts of
    which every activation is a sum, none of them ever taken away; for activations that are never negative.
    *Source* Pearson 1901; Lee & Seung 1999, as scikit-learn makes them.
    """
    if how not in BASES:
        raise UsageError(f"a base is found by {' or '.join(BASES)}, got {how!r}")
    rows = finite(rows)
    if len(rows) > ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:ROWS])]
    count = min(count, rows.shape[1], len(rows))
    if not deviations(rows).any():
        raise NotApplicable(f"{layer} answers the same to all examples, so it has no directions")
    vectors, note = _pca(rows, count) if how == "pca" else _nmf(layer, rows, count, seed)
    total = float(rows.var(0).sum())
    found = []
    for number, vector in enumerate(vectors):
        along = rows @ vector
        offset, step = float(along.mean()), float(along.std()) or 1.0
        share = step**2 / total if how == "pca" else None
        found.append(Direction(f"{how}/{layer}/{number}", layer, vector, offset, step, how, share=share))
    return found, note


def _pca(rows: Floats, count: int) -> tuple[Floats, str]:
    found = _scikit_learn()[1].PCA(count, svd_solver="full").fit(rows)
    share = 100 * float(found.explained_variance_ratio_.sum())
    return found.components_, f"The {count} directions hold {share:.3g} % of the variance of {rows.shape[1]} units."


def _nmf(layer: str, rows: Floats, count: int, seed: int) -> tuple[Floats, str]:
    if (rows < 0).any():
        raise NotApplicable(f"{spoken(layer)} has negative activations, and parts are found of positive ones; use pca, or a ReLU's layer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = _scikit_learn()[1].NMF(count, init="nndsvda", random_state=seed, max_iter=300)
        weights = made.fit_transform(rows)
    sizes = np.linalg.norm(made.components_, axis=1)
    order = np.argsort(-(weights.mean(0) * sizes), kind="stable")
    order = order[sizes[order] > 0]
    left = float(np.linalg.norm(rows - weights @ made.components_) / np.linalg.norm(rows))
    note = f"The {len(order)} parts leave {100 * left:.3g} % of the activations' length unexplained."
    return made.components_[order] / sizes[order][:, None], note


def _scikit_learn() -> tuple[Any, Any]:
    # Importing it draws from Python's random numbers, which belong to the user; and it takes a second.
    state = random.getstate()
    try:
        from sklearn import decomposition, linear_model
    finally:
        random.setstate(state)
    return linear_model, decomposition
