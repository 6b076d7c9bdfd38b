"""Kernel SHAP: Shapley values by one weighted regression."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox, PartsAsked
from ..patches import BATCH


class KernelShap(BlackBox):
    """Shapley values of the parts, from a linear model fitted to answers for random sets of parts.

    *Error* exact where ``samples`` allow all sets of the parts (2 to the power of their number): then they are all asked
    for, and Shapley's own formula is taken. Else the error falls with ``samples``. ``checks`` says how nearly the values
    sum to the whole change.
    *Cost* one forward pass a sample, or a set.
    """

    rows: ClassVar[tuple[str, ...]] = ("A18",)
    source: ClassVar[str] = (
        "Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017, theorem 2; Captum"
    )
    sums: ClassVar[bool] = True

    samples: int = knob(500, "Random sets of parts that are asked for.", low=2, high=100000, log=True, main=True)

    def passes(self, parts: int) -> int:
        """One a sample, or a set where all of them are tried."""
        return min(self.samples, 1 << min(parts, 20))

    def explain(self, run: PartsAsked, present: Tensor) -> Tensor:
        """Fit the weighted linear model, or try all sets."""
        if 2 ** present.shape[1] <= self.samples:
            return exact(run, present)
        from captum.attr import KernelShap as Captum

        found: Tensor = Captum(run).attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
        return found


def exact(run: PartsAsked, present: Tensor) -> Tensor:
    """Shapley's formula over all sets of the parts: the mean gain of each over all orders in which they come in."""
    count = present.shape[1]
    sets = torch.arange(2**count)
    members = (sets[:, None] >> torch.arange(count)) & 1
    answers = run(members.to(present)).double().cpu()
    sizes = members.sum(1)
    shares = torch.tensor([1 / (count * math.comb(count - 1, size)) for size in range(count)], dtype=torch.float64)
    found = []
    for part in range(count):
        without = sets[members[:, part] == 0]
        found.append((shares[sizes[without]] * (answers[without + 2**part] - answers[without])).sum())
    run.exact = True
    return torch.stack(found).to(present)[None]
