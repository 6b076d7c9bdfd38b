"""LIME: a sparse linear model around one input."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox, PartsScore
from ..patches import BATCH

Floats = NDArray[np.float64]
GROUPS = 10
"""The sets are fitted without each of so many groups of them in turn, which tells how far the fit depends on the draws."""


class Lime(BlackBox):
    """The weights of a sparse linear model fitted to the answers for random sets of parts, near sets counting more.

    *Meaning* nearness is exp(−d² / width²), d the cosine distance between which parts are present, as in the paper.
    The penalty is measured by the standard deviation of the answers, so that it does not matter in which unit they come.
    *Error* that of other draws: ``checks["sampling error"]`` is the largest standard error of a weight, as a share of the largest weight, by
    leaving out a tenth of the sets in turn (Efron & Stein 1981). How far the linear model is from the network it does not tell.
    *Cost* one forward pass a sample, and eleven fits.
    """

    title: ClassVar[str] = "LIME"
    rows: ClassVar[tuple[str, ...]] = ("A18",)
    source: ClassVar[str] = "Ribeiro, Singh and Guestrin, “Why Should I Trust You?”, KDD 2016, algorithm 1; Captum"

    samples: int = knob(500, "Random sets of parts that are asked for.", low=2, high=100000, log=True, main=True)
    width: float = knob(0.5, "How quickly far sets lose weight, as a cosine distance.", low=0.01, high=100.0)
    alpha: float = knob(0.001, "The lasso's penalty, as a share of how far the answers spread: larger leaves fewer parts.",
                        low=0.0, high=100.0)

    def passes(self, parts: int) -> int:
        """One a sample."""
        return self.samples

    def explain(self, run: PartsScore, present: Tensor) -> Tensor:
        """Fit the weighted lasso."""
        from captum._utils.models.linear_model import SkLearnLasso
        from captum.attr import Lime as Captum
        from captum.attr._core.lime import get_exp_kernel_similarity_function
        from sklearn.exceptions import ConvergenceWarning

        near = get_exp_kernel_similarity_function("cosine", kernel_width=self.width)
        asked: list[tuple[Floats, ...]] = []

        class ScaledLasso(SkLearnLasso):  # type: ignore[misc]  # Captum's, untyped
            """A lasso whose penalty grows with the answers."""

            def fit(self, train_data: Any, **options: Any) -> Any:
                spread = float(torch.cat([answers for _, answers, *_ in train_data]).double().std(correction=0))
                self.construct_kwargs["alpha"] *= spread or 1.0
                asked.append(tuple(torch.cat(part).double().cpu().numpy() for part in zip(*train_data, strict=True)))
                return super().fit(train_data, **options)

        model = ScaledLasso(alpha=self.alpha, max_iter=10_000)
        fitted = Captum(run, interpretable_model=model, similarity_func=near)
        with warnings.catch_warnings():
            # Few samples of many parts leave the lasso's last digits open, which nobody needs.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found: Tensor = fitted.attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
            run.error = sampling_error(*asked[0], **model.construct_kwargs)
        return found


def sampling_error(rows: Floats, answers: Floats, near: Floats, **lasso: Any) -> float:
    """The largest standard error of a weight of a lasso that is fitted to random sets, as a share of the largest weight.

    *Meaning* by the jackknife over groups: how far the weights move as each group of sets is left out.
    It counts that other draws leave out other parts.
    *Shapes* rows (sets, parts) of zeros and ones, answers and nearness (sets,).
    *Source* Efron & Stein 1981, "The jackknife estimate of variance"; Shao & Wu 1989 (of several at a time).
    """
    from sklearn.linear_model import Lasso

    answers, near = answers.reshape(-1), near.reshape(-1)
    groups = min(GROUPS, len(rows))
    fitted = []
    for group in range(groups):
        left = np.arange(len(rows)) % groups != group
        fitted.append(Lasso(**lasso).fit(rows[left], answers[left], sample_weight=near[left]).coef_)
    weights = np.array(fitted)
    error = np.sqrt((groups - 1) / groups * ((weights - weights.mean(0)) ** 2).sum(0)).max()
    largest = np.abs(weights.mean(0)).max()
    return float(error / largest) if largest > 0 else 0.0
