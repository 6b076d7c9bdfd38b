"""A network that judges what another one makes, as in a GAN: how well it tells them apart, as its passes of one step show."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .own_hooks import OwnHook

_PASSES = 6
"""Passes of a step that are looked at."""
_MOST = 4096
"""Answers of a pass that are looked at."""
_EVEN = 0.05
"""Examples of its own of either kind that a judge has at least, as a share."""


@dataclasses.dataclass
class _JudgedPass:
    """The answers of one pass, one number an example, and the gradient that came to them."""

    answers: Tensor
    made: bool
    """Whether what it judged was made by a network that learns by it."""
    gradient: Tensor | None = None


class Judging:
    """Follows the passes of a step, each with one number an example for an answer.

    *Meaning* a network judges what another makes where a step has passes of both kinds: inputs that another network made and learns by (the
    gradient goes on to it), and inputs that are data, by which the judge itself learns. How sure it is, is told where its loss is that of
    logits (binary cross-entropy), which the gradient at the answers says; once seen it is taken to stay.
    """

    def __init__(self) -> None:
        self._passes: list[_JudgedPass] = []
        self._logits = False

    def clear(self) -> None:
        """A step begins."""
        self._passes = []

    def see(self, x: Tensor | None, scores: Tensor) -> None:
        """A pass with gradients, whose answers are these."""
        if x is None or not x.ndim or not scores.requires_grad or scores.is_leaf or len(self._passes) >= _PASSES:
            return
        if scores.numel() != len(scores) or len(scores) != len(x):
            return
        seen = _JudgedPass(scores.detach().reshape(-1)[:_MOST].clone(), x.requires_grad and not x.is_leaf)
        self._passes.append(seen)

        def keep(gradient: Tensor) -> None:
            if seen.gradient is None:
                seen.gradient = gradient.detach().reshape(-1)[:_MOST].clone()

        scores.register_hook(OwnHook(keep))  # type: ignore[no-untyped-call]

    def finish(self) -> dict[str, float]:
        """``judge``: 1 where a network judges; ``fooled``: how likely it holds what is made for real, in the mean; ``apart``: the share of its
        own examples that it answers rightly."""
        passes = [(one, one.gradient) for one in self._passes if one.gradient is not None]
        self._passes = []
        if len({one.made for one, _ in passes}) < 2:
            return {}
        numbers = [(one.made, _array(one.answers), _array(gradient)) for one, gradient in passes]
        self._logits |= any(of_one_number(answers, slopes)[0] is not None for _, answers, slopes in numbers)
        if not self._logits:
            return {"judge": 1.0}
        made = np.concatenate([answers for made, answers, _ in numbers if made])
        answers, slopes = (np.concatenate([each[k] for each in numbers if not each[0]]) for k in (1, 2))
        # Of an answer that is sure and right the gradient may be nothing at all.
        labels = np.where(slopes == 0, answers > 0, slopes < 0)
        found = {"judge": 1.0, "fooled": float(_chances(made).mean())}
        if _EVEN < labels.mean() < 1 - _EVEN:
            found["apart"] = float((labels == (answers > 0)).mean())
        return found


def of_one_number(
    scores: NDArray[np.float64], slopes: NDArray[np.float64]
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Labels and probabilities of answers of one number, where their gradient is that of a binary cross-entropy of logits."""
    chance = _chances(scores)
    labels = (slopes < 0).astype(np.int64)
    scale = slopes / np.where(chance == labels, np.inf, chance - labels)
    usual = float(np.median(scale))
    clear = np.abs(chance - labels) > 1e-3
    if usual <= 0 or not clear.any() or np.abs(scale[clear] / usual - 1).max() > 1e-2 or np.ptp(scores) < 1e-6:
        return None, None
    return labels, np.stack([1 - chance, chance], 1)


def _chances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = 1 / (1 + np.exp(-scores))
    return found


def _array(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.to(torch.float64).cpu().numpy()
    return found
