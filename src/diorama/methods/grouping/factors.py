"""Few non-negative parts of which rows that are never negative are sums."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import NDArray

from ...core.errors import NotApplicable
from ..placement import own_dice

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class GroupedFactors:
    """Parts of rows, those that hold most first.

    *Shapes* ``weights`` (rows, parts): how much of each part is in a row; ``parts`` (parts, columns), each of length one.
    ``left`` is the share of the rows' length that no part holds.
    """

    weights: Floats
    parts: Floats
    left: float


def factored(rows: Floats, count: int) -> GroupedFactors:
    """Rows as sums of at most ``count`` parts, none of which is ever taken away.

    *Raises* NotApplicable where all rows are zero; ValueError for negative numbers.
    *Source* Lee & Seung 1999, as scikit-learn makes them.
    """
    with own_dice():
        from sklearn.decomposition import NMF
    size = float(np.abs(rows).max(initial=0.0))
    if not size > 0:
        raise NotApplicable("nothing responds here, so there are no parts to find")
    count = min(count, *rows.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = NMF(count, init="nndsvda", random_state=0, max_iter=400)
        weights = made.fit_transform(rows / size) * size
    sizes = np.linalg.norm(made.components_, axis=1)
    order = np.argsort(-(weights.sum(0) * sizes), kind="stable")
    order = order[(sizes[order] > 0) & (weights.sum(0)[order] > 0)]
    weights, parts = weights[:, order] * sizes[order], made.components_[order] / sizes[order][:, None]
    return GroupedFactors(weights, parts, float(np.linalg.norm(rows - weights @ parts) / np.linalg.norm(rows)))
