"""A matrix of signed strengths as blocks: groups of its rows crossed with groups of its columns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

STARTS, ROUNDS = 3, 40
"""So many beginnings of each number of groups, and rounds of each: a round only ever lowers the error."""
MOVES = 15
"""So often at most the middles move, from which rounds begin."""
LARGEST = 256
"""Groups are counted on so many rows and columns at most; the others join the nearest."""


@dataclasses.dataclass(frozen=True)
class BlockGroups:
    """The group of each row and of each column, and the mean of each block, (groups of rows, groups of columns).

    ``explained`` is the share of the matrix's variance that the blocks' means explain.
    """

    rows: Whole
    columns: Whole
    means: Floats
    explained: float


def biclusters(matrix: Floats, rows: int = 0, columns: int = 0, most: int = 6, seed: int = 0) -> BlockGroups:
    """Group rows and columns so that the matrix is as near as can be to one number a block; signs count.

    Double k-means: rows and columns are assigned in turn, from k-means of the singular vectors. Where the numbers of groups are
    left open (0), they have the largest integrated likelihood of a latent block model with one variance. NaN and
    infinities count as zero.

    *Error* every round lowers the squared error; of :data:`STARTS` beginnings the best is taken.
    *Source* Govaert & Nadif 2003; Vichi 2001; Keribin et al. 2015 for the number of groups.
    """
    whole = np.nan_to_num(np.asarray(matrix, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if not whole.size:
        return BlockGroups(np.zeros(whole.shape[0], np.int64), np.zeros(whole.shape[1], np.int64), np.zeros((1, 1)), 0.0)
    steps = [-(-side // LARGEST) for side in whole.shape]
    part = whole[:: steps[0], :: steps[1]]
    draw = np.random.default_rng(seed)
    left, sizes, right = np.linalg.svd(part, full_matrices=False)
    fits: dict[tuple[int, int], _Fit] = {}
    spaces = _Spaces(left * sizes, right.T * sizes, draw)

    def fit(k: int, m: int) -> _Fit:
        if (k, m) not in fits:
            starts = [*spaces.drawn(k, m)]
            if (k - 1, m) in fits:
                one = fits[k - 1, m]
                starts += [(rows, one.columns) for rows in _split(part - one.expected, one.rows)]
            if (k, m - 1) in fits:
                one = fits[k, m - 1]
                starts += [(one.rows, columns) for columns in _split((part - one.expected).T, one.columns)]
            apart = {(rows.tobytes(), columns.tobytes()): (rows, columns) for rows, columns in starts}
            fits[k, m] = min((_alternated(part, *start, k, m) for start in apart.values()), key=lambda found: found.error)
        return fits[k, m]

    told = [min(wanted, side) for wanted, side in zip((rows, columns), part.shape, strict=True)]
    # Groups of one row each would explain everything, and say nothing.
    top = [wanted or max(1, min(most, side // 2)) for wanted, side in zip(told, part.shape, strict=True)]
    best = _grown(fit, told, top)
    found = _settled(whole, best, steps)
    return _numbered(whole, *found)


_STEPS = ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2))


@dataclasses.dataclass(frozen=True)
class _Fit:
    rows: Whole
    columns: Whole
    means: Floats
    error: float
    likelihood: float

    @property
    def expected(self) -> Floats:
        """The matrix that the blocks' means make."""
        return self.means[self.rows][:, self.columns]


def _grown(fit: Callable[[int, int], _Fit], told: list[int], top: list[int]) -> _Fit:
    """More groups of rows, of columns or of both, as long as one of them is likelier, or until there are as many as were told."""
    at = (1, 1)
    best = fit(*at)
    while True:
        steps = [(a, b) for a, b in _STEPS if at[0] + a <= top[0] and at[1] + b <= top[1]]
        if not steps:
            return best
        tried = [((at[0] + a, at[1] + b), fit(at[0] + a, at[1] + b)) for a, b in steps]
        place, likelier = max(tried, key=lambda each: each[1].likelihood)
        if likelier.likelihood <= best.likelihood:
            missing = [wanted > count for wanted, count in zip(told, at, strict=True)]
            if not any(missing):
                return best
            place = (at[0] + missing[0], at[1] + missing[1])
            likelier = fit(*place)
        best, at = likelier, place


class _Spaces:
    """The rows and the columns by their singular vectors, from whose k-means rounds begin; the same means serve many pairs of numbers of groups."""

    def __init__(self, rows: Floats, columns: Floats, draw: np.random.Generator) -> None:
        self._spaces, self._draw = (rows, columns), draw
        self._kept: dict[tuple[int, int, int], Whole] = {}

    def drawn(self, k: int, m: int) -> Iterator[tuple[Whole, Whole]]:
        """Beginnings: the first vectors hold the blocks, a few more let unequal ones through."""
        for start in range(STARTS if max(k, m) > 1 else 1):
            deep = max(1, min(k, m) + start - 1)
            yield self._grouped(0, k, deep), self._grouped(1, m, deep)

    def _grouped(self, side: int, count: int, deep: int) -> Whole:
        if (side, count, deep) not in self._kept:
            self._kept[side, count, deep] = _means(self._spaces[side][:, :deep], count, self._draw)
        return self._kept[side, count, deep]


def _split(left: Floats, labels: Whole) -> Iterator[Whole]:
    """One group more: each in turn is split along the direction in which what is not yet explained is largest."""
    count = int(labels.max()) + 1
    for group in range(count):
        members = np.flatnonzero(labels == group)
        if len(members) < 2:
            continue
        along = np.linalg.eigh(left[members] @ left[members].T)[1][:, -1]
        apart = labels.copy()
        apart[members[along > along.mean()]] = count
        yield apart


def _means(space: Floats, count: int, draw: np.random.Generator) -> Whole:
    """K-means of a few rows, from rows that chance draws far from one another; it ends where nothing moves any more."""
    if count <= 1 or len(space) <= count:
        return np.arange(len(space)) % max(1, count)
    found = _moved(space, _far(space, count, draw))
    # Fewer different rows than groups, or a group that lost its last row.
    return np.argsort(np.argsort(space[:, 0], kind="stable"), kind="stable") * count // len(space) if found is None else found


def _far(space: Floats, count: int, draw: np.random.Generator) -> Floats | None:
    """Some rows, each drawn by the square of its distance to those before it (Arthur & Vassilvitskii 2007); None where there are not so many."""
    chosen = [int(draw.integers(len(space)))]
    away = np.full(len(space), np.inf)
    least = 1e-18 * (float(np.square(space).max()) or 1.0)
    while len(chosen) < count:
        away = np.minimum(away, np.square(space - space[chosen[-1]]).sum(1))
        summed = np.cumsum(np.where(away > least, away, 0.0))
        if not summed[-1] > 0:
            return None
        chosen.append(int(np.searchsorted(summed, draw.random() * summed[-1], side="right")))
    return space[np.minimum(chosen, len(space) - 1)]


def _moved(space: Floats, middles: Floats | None) -> Whole | None:
    """The nearest middle of each row, each middle moved to the mean of its rows; None where one is left without any."""
    labels = np.full(len(space), -1)
    for _ in range(MOVES if middles is not None else 0):
        found = (np.square(middles).sum(1) - 2 * space @ middles.T).argmin(1)  # type: ignore[arg-type, union-attr]
        if (found == labels).all():
            break
        labels = found
        belongs = np.eye(len(middles))[labels]  # type: ignore[arg-type]
        sizes = belongs.sum(0)
        if not sizes.all():
            return None
        middles = belongs.T @ space / sizes[:, None]
    return None if middles is None else labels


def _alternated(matrix: Floats, rows: Whole, columns: Whole, k: int, m: int) -> _Fit:
    power, error = float(np.square(matrix).sum()), math.inf
    second = np.eye(m)[columns]
    sums, sizes = matrix @ second, second.sum(0)
    for _ in range(ROUNDS):
        first = np.eye(k)[rows]
        means = first.T @ sums / np.maximum(np.outer(first.sum(0), sizes), 1)
        # A row's distance to a group: over all columns, each against the mean of its block.
        rows = (np.square(means) @ sizes - 2 * sums @ means.T).argmin(1)
        first = np.eye(k)[rows]
        across, counts = first.T @ matrix, first.sum(0)
        means = across @ second / np.maximum(np.outer(counts, sizes), 1)
        columns = (counts @ np.square(means) - 2 * across.T @ means).argmin(1)
        second = np.eye(m)[columns]
        sums, sizes = matrix @ second, second.sum(0)
        cells = np.outer(counts, sizes)
        means = first.T @ sums / np.maximum(cells, 1)
        # What the blocks leave of the sum of squares, without the matrix that they make.
        now = max(0.0, power - float((cells * np.square(means)).sum()))
        if now >= error - 1e-12 * max(1.0, abs(now)):
            break
        error = now
    return _Fit(rows, columns, means, now, _likelihood(now, rows, columns, k, m, 1e-12 * power))


def _block_means(matrix: Floats, rows: Whole, columns: Whole, k: int, m: int) -> Floats:
    first, second = np.eye(k)[rows], np.eye(m)[columns]
    counts = np.outer(first.sum(0), second.sum(0))
    found: Floats = first.T @ matrix @ second / np.maximum(counts, 1)
    return found


def _likelihood(error: float, rows: Whole, columns: Whole, k: int, m: int, least: float = 0.0) -> float:
    """The integrated complete likelihood, up to a constant; groups that are empty are paid for as well."""
    n, d = len(rows), len(columns)
    spread = max(error, least, 1e-300) / (n * d)
    told = -0.5 * n * d * math.log(spread)
    for labels, count in ((rows, k), (columns, m)):
        shares = np.bincount(labels, minlength=count) / len(labels)
        told += len(labels) * float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
        told -= (count - 1) / 2 * math.log(len(labels))
    return told - (k * m + 1) / 2 * math.log(n * d)


def _settled(whole: Floats, best: _Fit, steps: list[int]) -> tuple[Whole, Whole]:
    """The groups of all rows and columns, from those of some."""
    if steps == [1, 1]:
        return best.rows, best.columns
    k, m = int(best.rows.max()) + 1, int(best.columns.max()) + 1
    part = whole[:: steps[0], :: steps[1]]
    means = _block_means(part, best.rows, best.columns, k, m)
    sizes = np.bincount(best.columns, minlength=m)
    rows = (np.square(means) @ sizes - 2 * whole[:, :: steps[1]] @ np.eye(m)[best.columns] @ means.T).argmin(1)
    sizes = np.bincount(rows, minlength=k)
    columns = (sizes @ np.square(means) - 2 * whole.T @ np.eye(k)[rows] @ means).argmin(1)
    return rows, columns


def _numbered(whole: Floats, rows: Whole, columns: Whole) -> BlockGroups:
    """Groups without holes, in the order in which they are met, and what they explain."""
    rows, columns = (_met(labels) for labels in (rows, columns))
    k, m = int(rows.max()) + 1, int(columns.max()) + 1
    means = _block_means(whole, rows, columns, k, m)
    total = float(np.square(whole - whole.mean()).sum())
    left = float(np.square(whole - means[rows][:, columns]).sum())
    return BlockGroups(rows, columns, means, 1 - left / total if total > 0 else 0.0)


def _met(labels: Whole) -> Whole:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)
