"""Whether the rows of attention weights are shares, and what is said of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.picture import Check
from ...model.plain_module import dtype_of
from ...scene import Scene

SUMS = 1e-4
"""Rows whose sums differ from 1 by less sum to 1."""


@dataclasses.dataclass(frozen=True)
class RowSums:
    """By how much the rows of some weights differ from 1 in their sum at most, but for those in which all is masked (NaN where no row is of
    numbers), and by how much they may: in numbers of few digits the rounding of their shares is seen."""

    worst: float
    close: float

    @classmethod
    def of(cls, scene: Scene, found: NDArray[np.float32]) -> RowSums:
        """Those of weights (heads, to, from) of a scene's network."""
        dtype, sums = dtype_of(scene.model), found.sum(2)
        close = max(SUMS, 2 * torch.finfo(dtype).eps) if dtype is not None and dtype.is_floating_point else SUMS
        return cls(float("nan") if np.isnan(sums).all() else float(np.abs(sums - 1).max(where=sums > 0.5, initial=0.0)), close)

    @property
    def said(self) -> str:
        """What a row is, within a sentence."""
        if np.isnan(self.worst):
            return "its shares are not numbers"
        return "a row sums to 1" if self.worst < self.close else "its shares need not sum to 1"

    def checks(self, word: str) -> tuple[Check, ...]:
        """The check beside the picture, where there is anything that was added up."""
        sentence = f"What each {word} takes from where are shares: rows sum to 1."
        return () if np.isnan(self.worst) else (
            Check(name="rows sum to 1 within", value=self.worst, sentence=sentence, good=self.worst < self.close),)
