"""A label of the probe set that the loop's loss leaves out: places that pull at nothing, and a label that is never asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.examples import Examples
from ..model.outputs import CLASSES, Reading

_EXAMPLES = 256
"""Examples of the probe set whose labels are counted."""
_SHARE = 0.003
"""A label of fewer of the probe set's is not told from one that happened not to come."""
_DUE = 30.0
"""So often a label was due, and never asked for."""
_NEAR = 2.0
"""The share of answers that the loss leaves out lies within this factor of the label's share in the probe set."""
_READINGS = 3
"""Batches that are read at least."""
_MOST = 4096
"""Labels are counted where they are below this."""


class UnaskedLabels:
    """Tells once which label of the probe set the training leaves out, as ``cross_entropy(…, ignore_index=2)`` does.

    *Meaning* of a batch the gradient tells each label, and is exactly nothing where a label is left out. A label that is frequent in the probe set
    and never among those told, where about as many answers are not asked for, is the one; where several come into question, nothing is said.
    *Cost* a count of the batch's labels, until so many were due; once a count of the probe set's.
    """

    def __init__(self, examples: Examples | None, reading: Reading | None, tell: Callable[[int, str], object]) -> None:
        self._tell, self._looks, self._left = tell, 0, 0.0
        self._shares = _shares(examples, reading)
        self._seen = np.zeros(0 if self._shares is None else len(self._shares))

    def look(self, labels: NDArray[np.int64] | None, habits: Mapping[str, float]) -> None:
        """One batch more: the labels that its gradient told, and the share of answers that are ``unasked``."""
        if self._shares is None or labels is None or "unasked" not in habits:
            return
        counts = np.bincount(labels[(labels >= 0) & (labels < len(self._shares))], minlength=len(self._shares))
        self._seen = self._seen + counts
        self._left, self._looks = self._left + habits["unasked"], self._looks + 1
        left = self._left / self._looks
        if self._looks < _READINGS:
            return
        due = self._shares * self._seen.sum() / max(1e-9, 1 - left)
        gone = np.flatnonzero((self._shares >= _SHARE) & (self._seen == 0))
        if not len(gone):
            self._shares = None  # all come
        elif len(gone) == 1 and due[gone[0]] >= _DUE and left / _NEAR < self._shares[gone[0]] < left * _NEAR:
            label, share = int(gone[0]), float(self._shares[gone[0]])
            self._shares = None
            self._tell(label, (
                f"label {label} is left out of the probe set's loss and accuracy: the training's loss pulls at none of {left:.0%} of its answers and "
                f"never asks for this label, which {share:.0%} of the probe set's labels are"
            ))


def _shares(examples: Examples | None, reading: Reading | None) -> NDArray[np.float64] | None:
    """The share of each label in the probe set; None where labels are no classes, or one alone."""
    if examples is None or reading is None or reading.task not in CLASSES or reading.criterion is not None:
        return None
    if reading.task == "multi_label":
        return None
    labels = examples.first(_EXAMPLES).y
    if labels is None:
        return None
    truth = reading.truth(labels)
    known = truth[truth >= 0].cpu().reshape(-1)
    if known.is_floating_point() or not len(known) or int(known.max()) >= _MOST:
        return None
    counts = torch.bincount(known.long()).double().numpy()
    return counts / counts.sum() if (counts > 0).sum() > 1 else None
