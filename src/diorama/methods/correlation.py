"""How units go together: the correlation of what they answer, from blocks of answers that are never held at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.rounding import deviations
from .placement import Floats


class Comoments:
    """Means and products of deviations of columns, added block by block.

    *Source* Chan, Golub & LeVeque 1979: blocks are merged by their means, so nothing is lost where means are large.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean = np.zeros(columns)
        self.products = np.zeros((columns, columns))

    def add(self, block: Floats) -> Comoments:
        """Take in more rows (n, columns)."""
        count = len(block)
        if count:
            mean = block.mean(0)
            away, apart = block - mean, mean - self.mean
            self.products += away.T @ away + np.outer(apart, apart) * (self.count * count / (self.count + count))
            self.mean += apart * (count / (self.count + count))
            self.count += count
        return self

    def pearson(self) -> Floats:
        """The correlation of each pair of columns, (columns, columns): 0 for one that never changes, 1 with itself."""
        spread = np.sqrt(np.diag(self.products))
        # What is left of a column that never changes is rounding of its mean.
        still = spread <= 1e-12 * np.sqrt(max(1, self.count)) * np.maximum(np.abs(self.mean), 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.clip(self.products / spread / spread[:, None], -1, 1)
        found[still], found[:, still] = 0.0, 0.0
        np.fill_diagonal(found, 1.0)
        return found


def mutual_rank(correlation: Floats) -> Floats:
    """How far down the list of each other's best partners two units stand, (units, units): 0 for itself, 1 for the best, the geometric mean of both.

    *Source* Obayashi & Kinoshita 2009.
    """
    against = -correlation.copy()
    np.fill_diagonal(against, -np.inf)
    order = np.argsort(against, 1, kind="stable")
    ranks = np.empty(correlation.shape)
    np.put_along_axis(ranks, order, np.arange(len(correlation), dtype=float)[None].repeat(len(correlation), 0), 1)
    found: Floats = np.sqrt(ranks * ranks.T)
    return found


def as_rows(distances: Floats) -> Floats:
    """Points whose distances are these, as far as any are, (n, dimensions).

    *Source* Torgerson 1952 (classical scaling): what no distances can be is left out.
    """
    count = len(distances)
    middle = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * middle @ distances**2 @ middle)
    good = values > 1e-9 * max(1e-300, float(values.max(initial=0.0)))
    found: Floats = (vectors * np.sqrt(np.maximum(values, 0)))[:, good][:, ::-1]
    return found if found.shape[1] else np.zeros((count, 1))


def served(answers: Floats, classes: NDArray[np.int64], count: int) -> Floats:
    """How much more each unit answers to each class than on average, in its standard deviations, (units, classes); NaN for an absent class."""
    spread = deviations(answers)
    z = (answers - answers.mean(0)) * (spread != 0) / np.where(spread > 0, spread, 1.0)
    found = np.full((answers.shape[1], count), np.nan)
    for number in range(count):
        if (classes == number).any():
            found[:, number] = z[classes == number].mean(0)
    return found
