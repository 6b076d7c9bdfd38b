"""A decision tree that imitates a network: fitted to its answers, measured on examples that it was not fitted to."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Question:
    """A feature that a tree may ask for: what it is called, and its key."""

    label: str
    key: str = ""


@dataclasses.dataclass(frozen=True)
class Imitation:
    """A fitted tree, and the examples that it was fitted to and measured on.

    ``kept`` are the numbers of the examples whose features and answers are numbers; ``fitted`` and ``held`` places among them.
    """

    tree: Any
    features: Floats
    answers: NDArray[Any]
    """What the network answers: classes, or numbers in (n, outputs)."""
    kept: Whole
    fitted: Whole
    held: Whole

    @property
    def classes(self) -> bool:
        """It imitates a choice among classes."""
        return self.answers.dtype.kind == "i"

    def says(self, places: Whole) -> NDArray[Any]:
        """What the tree answers."""
        found: NDArray[Any] = self.tree.predict(self.features[places])
        return found if self.classes else found.reshape(len(places), -1)

    def simplest(self, places: Whole) -> NDArray[Any]:
        """What a tree without a question answers: the most frequent answer, or the mean."""
        own = self.answers[self.fitted]
        if self.classes:
            return np.full(len(places), np.bincount(own).argmax())
        return np.broadcast_to(own.mean(0), (len(places), own.shape[1]))

    def agreement(self, said: NDArray[Any], wanted: NDArray[Any]) -> float:
        """The share of equal answers; of numbers the share of their variance that is told (R², which may be negative)."""
        if not len(said):
            return float("nan")
        if self.classes:
            return float((said == wanted).mean())
        rest = np.square(wanted - said).sum()
        spread = np.square(wanted - wanted.mean(0)).sum()
        return float(1 - rest / spread) if spread > 0 else float("nan")

    def leaves(self) -> Whole:
        """The leaf of each kept example."""
        found: Whole = np.asarray(self.tree.apply(self.features), np.int64)
        return found

    def path(self, place: int) -> list[int]:
        """The nodes that a kept example passes, from the root to its leaf."""
        inside, node, found = self.tree.tree_, 0, [0]
        while inside.children_left[node] >= 0:
            # As scikit-learn asks it: in single precision.
            low = np.float32(self.features[place, inside.feature[node]]) <= inside.threshold[node]
            node = int((inside.children_left if low else inside.children_right)[node])
            found.append(node)
        return found


def imitated(features: Floats, answers: NDArray[Any], depth: int, held: float, seed: int) -> Imitation | None:
    """Fit a tree to some of the examples and hold the others back; None where fewer than ten can be used.

    *Source* Craven & Shavlik 1996; Breiman et al. 1984, by scikit-learn.
    """
    from sklearn import tree

    sound = np.isfinite(features).all(1) & (np.abs(features) < np.finfo(np.float32).max).all(1)
    sound &= answers >= 0 if answers.dtype.kind == "i" else np.isfinite(answers).all(1)
    kept = np.flatnonzero(sound)
    if len(kept) < 10:
        return None
    order = np.random.default_rng(seed).permutation(len(kept))
    count = max(2, round(held * len(kept)))
    kind = tree.DecisionTreeClassifier if answers.dtype.kind == "i" else tree.DecisionTreeRegressor
    fitted, rest = np.sort(order[count:]), np.sort(order[:count])
    rows, wanted = features[kept], answers[kept]
    with warnings.catch_warnings():
        # Of many classes and few examples it asks whether these are numbers to be predicted: they are classes.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        made = kind(max_depth=depth, random_state=seed).fit(rows[fitted], wanted[fitted])
    return Imitation(made, rows, wanted, kept, fitted, rest)
