"""The finding `label_noise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, series

if TYPE_CHECKING:
    from ..reader import RunReader

_AS_SURE = 0.76
"""A wrong answer is so sure beside a right one where being wrong has little to do with doubt."""


class LabelNoise(Finding):
    """Wrong answers to the training's own examples that are as sure as the right ones.

    *Meaning* a model is less sure where an example is hard. Where an answer's being wrong has nothing to do with doubt, the
    label is as good as drawn by chance: part of the labels is likely wrong. The share of wrong answers estimates how many,
    before the model learns them by heart.
    """

    wrong: float = knob(0.07, "The share of wrong answers from which on it is told.", low=0.0, high=1.0)
    order: float = knob(0.72, "Below which chance that a right answer is surer than a wrong one.", low=0.5, high=1.0)
    window: int = knob(10, "Readings that are pooled.", low=2)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding, at the first readings that show it."""
        steps, count = series(run, "batch/count")
        places = {int(step): k for k, step in enumerate(steps)}
        at, order = series(run, "batch/order")
        rows = [places.get(int(step), -1) for step in at]
        known = np.array([k >= 0 for k in rows], bool)
        if known.sum() < self.window:
            return []
        rows = np.array(rows)[known]
        accuracy, sure = series(run, "batch/accuracy")[1], series(run, "batch/wrong_sure")[1]
        certain = series(run, "batch/right_sure")[1]
        if len(accuracy) != len(steps) or len(sure) != len(at) or len(certain) != len(at):
            return []
        n, right = count[rows], accuracy[rows]
        wrongs, rights = n * (1 - right), n * right
        total = {
            "pairs": wrongs * rights, "above": wrongs * rights * order[known], "wrong": wrongs, "n": n,
            "sure": wrongs * sure[known], "certain": rights * certain[known], "right": rights,
        }
        pooled = {name: _moving(values, self.window) for name, values in total.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = pooled["above"] / pooled["pairs"]
            error = 0.6 / np.sqrt(np.maximum(np.minimum(pooled["wrong"], pooled["right"]), 1.0))
            share = pooled["wrong"] / pooled["n"]
            believed, firm = pooled["sure"] / pooled["wrong"], pooled["certain"] / pooled["right"]
        labels = float(np.mean(series(run, "batch/labels")[1]))
        noisy = (
            (chance < self.order) & (share >= self.wrong) & (share < 0.6 * (1 - labels)) & (pooled["wrong"] >= 40)
            & (believed > _AS_SURE * firm) & (firm > 0.6)
        )
        # A window that shares no reading with another one is a second witness.
        hits = np.flatnonzero(noisy)
        if not len(hits) or hits[-1] - hits[0] < self.window:
            return []
        k = int(hits[0])
        first = int(at[known][k])
        return [Found(
            self.name, float(min(0.85, 0.5 + share[hits].max())), "Some labels are likely wrong",
            f"About {share[k]:.0%} of the training's answers were wrong around step {int(at[known][k + self.window - 1])}, and as sure as the right "
            f"ones ({believed[k]:.0%} against {firm[k]:.0%} on average): where it is wrong has little to do with doubt.",
            f"chance that a right answer is surer than a wrong one: {chance[k]:.2f} (± {error[k]:.2f}), where hard examples give "
            f"0.75 to 0.95; {int(pooled['wrong'][k])} wrong answers", (), None, first,
            "Likely; what is drawn by chance in the inputs themselves looks alike.",
            "Look at examples whose label the model contradicts with certainty, and relabel or drop them.", "examples",
        )]


def _moving(values: np.ndarray, width: int) -> np.ndarray:
    """Sums of so many neighbours."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(sums[width:] - sums[:-width])
