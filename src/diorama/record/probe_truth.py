"""Whether the probe set's labels are given in the form in which the loop's loss has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import nesting
from ..data.examples import Examples
from ..model.outputs import Reading
from .unasked_labels import UnaskedLabels

_MOST = 256
"""Texts of the probe set that are compared with their labels."""
_SAME = 0.95
"""Labels are tokens from this share on."""
_OTHER = 0.9
"""A text of which more tokens repeat the one before them does not tell the two forms apart."""
_READINGS = 2
"""Batches that agree."""


class ProbeTruth:
    """Of texts whose labels are the very tokens that are read at their places: tells once that the loop's are the next ones.

    *Meaning* who shifts labels in the loop hands the probe set over unshifted, as the data set has it: ``probe=(x, x)``. Held against these, a sound
    network gets ever worse. The first batches that are read tell what the loop does, and the answers to the probe set are read so from there on.
    *Cost* one comparison of some texts with their labels, once.
    """

    def __init__(self, examples: Examples | None, reading: Reading | None, tell: Callable[[Reading], object], unasked: UnaskedLabels) -> None:
        """``unasked`` looks at the same batches for a label that the loop's loss leaves out."""
        self._tell, self._agree, self._unasked = tell, 0, unasked
        self._reading = reading if reading is not None and _unshifted(examples, reading) else None

    def look(self, habits: Mapping[str, float], labels: NDArray[np.int64] | None) -> None:
        """One batch more, by its ``shifted``, ``copied`` and ``unasked``, and the labels that its gradient told."""
        if self._reading is None:
            self._unasked.look(labels, habits)
        shifted, copied = habits.get("shifted"), habits.get("copied")
        if self._reading is None or shifted is None or copied is None:
            return
        self._agree = self._agree + 1 if shifted >= _SAME and copied < _OTHER else 0
        if self._agree < _READINGS:
            return
        why = (
            "the probe set's labels are the tokens at their own places and the loop's are the next ones, so each place's answer is held against the "
            "next token of the probe set"
        )
        reading, self._reading = self._reading, None
        self._tell(dataclasses.replace(reading, ahead=True, guessed=(*reading.guessed, why)))


def _unshifted(examples: Examples | None, reading: Reading) -> bool:
    """Whether labels of a text are what is read at their own places, and nobody has said so."""
    if examples is None or examples.y is None or reading.task != "next_token" or reading.ahead or reading.criterion is not None:
        return False
    few = examples.first(_MOST)
    y = few.y
    assert isinstance(y, Tensor)
    truth = reading.truth(y)
    known = truth >= 0
    if not bool(known.any()):
        return False
    for part in nesting.tensors(few.x):
        if part.shape == truth.shape and part.dtype in (torch.int64, torch.int32):
            same = (part.to(truth.device) == truth)[known]
            # A mask is ones wherever a label is known; tokens are several.
            if float(same.double().mean()) >= _SAME and int(truth[known].min()) < int(truth[known].max()):
                return True
    return False
