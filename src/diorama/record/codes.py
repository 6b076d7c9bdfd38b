"""What the code of a variational autoencoder still tells of its inputs: means and spreads that a network hands out beside its answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..model.axes import tensors_in
from ..model.random_code import Place, drawn, place_of
from .own_hooks import OwnHook

_MOST = 4
"""Tensors beside the answer that are looked at."""
_ROWS, _WIDE = 4096, 4096
"""Examples of a batch, and numbers of a code, up to which it is read."""
_ALIKE = 0.8
"""The share of the gradient at a code that must go as a KL term's does, for it to be taken for one …"""
_AGREE = 1.5
"""… and how far the factors of the two halves may lie apart."""
_ACTIVE = 0.01
"""The variance of a number's mean over the examples from which on it tells something of them (Burda et al. 2016)."""


class _HandedCodes(NamedTuple):
    values: Tensor
    gradients: list[Tensor]


class Codes:
    """Follows what a network hands out beside its answer, where the loss pulls it to a standard normal distribution.

    *Meaning* a KL term's gradient is a factor times the mean, and half that factor times variance less one at the log-variance: two tensors
    of one shape whose gradients go like that, with one factor, are the means and log-variances of a code; so are two from which the answer is
    made as mean + noise · exp(log-variance), also where the KL term has pressed both to nothing. Once seen they are taken to stay.
    *Cost* at due steps: copies of these two and of their gradients.
    *Source* Kingma & Welling 2014, appendix B; the numbers that are active after Burda, Grosse & Salakhutdinov 2016, section 2.
    """

    def __init__(self) -> None:
        self._parts: list[_HandedCodes] = []
        self._pair: tuple[int, int] | None = None

    def clear(self) -> None:
        """A step begins."""
        self._parts = []

    def see(self, output: Any, scores: Tensor, beside: Iterable[Tensor] = ()) -> None:
        """A pass with gradients, that answered this; ``beside`` are tensors that are no noise: inputs, parameters and buffers."""
        if isinstance(output, Tensor):
            return
        pairs = drawn(scores, beside) if self._pair is None and scores.requires_grad else []
        beside = (one for one in tensors_in(output) if one is not scores and one.requires_grad and not one.is_leaf and one.is_floating_point())
        places: list[Place] = []
        for one in itertools.islice((one for one in beside if one.ndim == 2 and len(one) > 1), _MOST):
            if len(one) > _ROWS or one.shape[1] > _WIDE:
                continue
            gradients: list[Tensor] = []
            self._parts.append(_HandedCodes(one.detach().clone(), gradients))
            places.append(place_of(one))
            one.register_hook(OwnHook(lambda gradient, kept=gradients: kept.append(gradient.detach().clone())))  # type: ignore[no-untyped-call]
        known = [pair for pair in pairs if pair[0] in places and pair[1] in places]
        if known:
            self._pair = places.index(known[0][0]), places.index(known[0][1])

    def finish(self) -> dict[str, float]:
        """``code``: the share of the code's numbers whose mean differs from example to example; nothing where no code is known."""
        parts, self._parts = self._parts, []
        read = [(part.values.double(), sum(each.double() for each in part.gradients)) for part in parts]
        pulled = [(k, values, slope) for k, (values, slope) in enumerate(read) if isinstance(slope, Tensor)]
        for (i, mean, down), (j, log, widen) in itertools.permutations(pulled, 2):
            if self._pair is None and mean.shape == log.shape:
                one, other = _factor(down, mean), _factor(widen, (log.exp() - 1) / 2)
                if one and other and max(one / other, other / one) < _AGREE:
                    self._pair = i, j
        if self._pair is None or self._pair[0] >= len(read):
            return {}
        mean = read[self._pair[0]][0]
        return {"code": float((mean.var(0) > _ACTIVE).double().mean())} if bool(mean.isfinite().all()) else {}


def _factor(gradient: Tensor, pulled: Tensor) -> float | None:
    """By which positive factor the gradient goes with what a KL term pulls at; None where it goes another way."""
    size = float(pulled.square().sum())
    left = float(gradient.square().sum())
    if not size > 0 or not left > 0 or not torch.isfinite(gradient).all():
        return None
    factor = float((gradient * pulled).sum()) / size
    return factor if factor > 0 and float((gradient - factor * pulled).square().sum()) < (1 - _ALIKE) * left else None
