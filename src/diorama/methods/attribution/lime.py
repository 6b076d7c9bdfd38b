"""LIME: a sparse linear model around one input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ..black_box import BlackBox
from ..patches import BATCH


class Lime(BlackBox):
    """The weights of a sparse linear model fitted to the answers for random sets of parts, near sets counting more.

    *Meaning* nearness is exp(−d² / width²), d the cosine distance between which parts are present, as in the paper.
    The penalty is measured by the standard deviation of the answers, so that it does not matter in which unit they come.
    *Cost* one forward pass a sample.
    """

    rows: ClassVar[tuple[str, ...]] = ("A18",)
    source: ClassVar[str] = "Ribeiro, Singh and Guestrin, “Why Should I Trust You?”, KDD 2016, algorithm 1; Captum"

    samples: int = knob(500, "Random sets of parts that are asked for.", low=2, high=100000, log=True, main=True)
    width: float = knob(0.5, "How quickly far sets lose weight, as a cosine distance.", low=0.01, high=100.0)
    alpha: float = knob(0.001, "The lasso's penalty, as a share of how far the answers spread: larger leaves fewer parts.",
                        low=0.0, high=100.0)

    def passes(self, parts: int) -> int:
        """One a sample."""
        return self.samples

    def explain(self, run: Callable[[Tensor], Tensor], present: Tensor) -> Tensor:
        """Fit the weighted lasso."""
        from captum._utils.models.linear_model import SkLearnLasso
        from captum.attr import Lime as Captum
        from captum.attr._core.lime import get_exp_kernel_similarity_function
        from sklearn.exceptions import ConvergenceWarning

        near = get_exp_kernel_similarity_function("cosine", kernel_width=self.width)
        class Scaled(SkLearnLasso):  # type: ignore[misc]  # Captum's, untyped
            """A lasso whose penalty grows with the answers."""

            def fit(self, train_data: Any, **options: Any) -> Any:
                spread = float(torch.cat([answers for _, answers, *_ in train_data]).double().std(correction=0))
                self.construct_kwargs["alpha"] *= spread or 1.0
                return super().fit(train_data, **options)

        model = Scaled(alpha=self.alpha, max_iter=10_000)
        fitted = Captum(run, interpretable_model=model, similarity_func=near)
        with warnings.catch_warnings():
            # Few samples of many parts leave the lasso's last digits open, which nobody needs.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found: Tensor = fitted.attribute(present, n_samples=self.samples, perturbations_per_eval=BATCH)
        return found
