"""Kernel SHAP: Shapley values by one weighted regression."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox, PartsScore
from ..patches import BATCH


class KernelShap(BlackBox):
    """Shapley values of the parts, from a linear model fitted to answers for random sets of parts.

    *Error* exact where ``samples`` allow all sets of the parts (2 to the power of their number): then they are all asked
    for, and Shapley's own formula is taken. Else the error falls with the square root of ``samples``: ``checks["sampling error"]`` is the
    largest standard error, as a share of the largest value (White 1980: that of a fit to draws which it does not meet). ``checks`` says too
    how nearly the values sum to the whole change.
    *Cost* one forward pass a sample, or a set.
    """

    title: ClassVar[str] = "Kernel SHAP"
    rows: ClassVar[tuple[str, ...]] = ("A18",)
    source: ClassVar[str] = (
        "Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017, theorem 2; Captum"
    )
    sums: ClassVar[bool] = True

    samples: int = knob(500, "Random sets of parts that are asked for.", low=2, high=100000, log=True, main=True)

    def passes(self, parts: int) -> int:
        """One a sample, or a set where all of them are tried."""
        return min(self.samples, 1 << min(parts, 20))

    def explain(self, run: PartsScore, present: Tensor) -> Tensor:
        """Fit the weighted linear model, or try all sets."""
        if 2 ** present.shape[1] <= self.samples:
            return exact(run, present)
        from captum.attr import KernelShap as Captum

        rows: list[Tensor] = []
        answers: list[Tensor] = []

        def asked(sets: Tensor) -> Tensor:
            answer: Tensor = run(sets)
            rows.append(sets.detach().double().cpu())
            answers.append(answer.detach().double().cpu())
            return answer

        found: Tensor = Captum(asked).attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
        run.error = sampling_error(torch.cat(rows), torch.cat(answers), found.detach()[0].double().cpu())
        return found


def sampling_error(rows: Tensor, answers: Tensor, values: Tensor) -> float:
    """The largest standard error of values that were fitted to the answers for random sets, as a share of the largest value.

    *Meaning* the values sum to the whole change, so that all but one of them are free; what the fit misses is not noise but what parts
    do together, which is why each row counts with its own miss. 1 where there are no more sets than values: they determine none.
    *Shapes* rows (sets, parts) of zeros and ones, answers (sets,), values (parts,).
    *Source* White 1980, “A heteroskedasticity-consistent covariance matrix estimator”, with the correction for few draws.
    """
    count, inside = rows.shape[1], (rows.sum(1) > 0) & (rows.sum(1) < rows.shape[1])
    empty = answers[rows.sum(1) == 0].mean()
    free = rows[inside, :-1] - rows[inside, -1:]
    spare = len(free) - (count - 1)
    if spare < 1 or torch.linalg.matrix_rank(free) < count - 1:
        return 1.0
    missed = answers[inside] - empty - rows[inside] @ values
    apart = torch.linalg.inv(free.T @ free)
    spread = apart @ (free.T @ (free * missed[:, None] ** 2)) @ apart * (len(free) / spare)
    error = torch.cat([spread.diagonal(), spread.sum()[None]]).clamp_min(0).sqrt().max()
    return float(error / values.abs().max()) if values.any() else 0.0


def exact(run: PartsScore, present: Tensor) -> Tensor:
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
