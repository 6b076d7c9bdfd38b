"""Shapley values by sampling orders in which parts come in."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox, PartsScore
from .kernel_shap import exact


class ShapleySampling(BlackBox):
    """Each part's mean gain for the target when it comes in, over random orders of the parts.

    *Error* exact where the passes allow all sets of the parts (2 to the power of their number; up to seven parts by itself): then
    they are all asked for. Else it falls with the square root of ``samples``: ``checks["sampling error"]`` is the largest standard
    error, as a share of the largest value. The parts' values sum to the whole change in any case.
    *Cost* one forward pass a part and sample, or a set.
    """

    source: ClassVar[str] = "Castro, Gómez and Tejada, Polynomial calculation of the Shapley value based on sampling, 2009"
    sums: ClassVar[bool] = True

    samples: int = knob(20, "Random orders that are averaged.", low=1, high=10000, main=True)

    def passes(self, parts: int) -> int:
        """One a part and sample, or a set where all of them are tried."""
        return min(parts * self.samples + 1, 1 << min(parts, 30))

    def explain(self, run: PartsScore, present: Tensor) -> Tensor:
        """Let the parts come in one by one, in many orders; all sets where that is no more work."""
        count = present.shape[1]
        if 2**count <= count * self.samples + 1:
            return exact(run, present)
        empty, into = run(torch.zeros_like(present)), torch.ones(count, count, device=present.device).tril()
        mean, spread = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        for turn in range(1, self.samples + 1):
            order = torch.randperm(count)
            rows = torch.zeros_like(into)
            rows[:, order] = into
            gains = torch.zeros_like(mean)
            gains[order] = torch.cat([empty, run(rows.to(present))]).double().cpu().diff()
            off = gains - mean
            mean += off / turn
            spread += off * (gains - mean)
        if self.samples > 1:
            error = (spread / (self.samples - 1) / self.samples).sqrt().max()
            run.error = float(error / mean.abs().max()) if mean.any() else 0.0
        return mean.to(present)[None]
