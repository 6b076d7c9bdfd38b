"""The first texts of a batch as the loss of a language model has them: what it read, which labels it was held against, what each cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PLACES = 512
"""So many places are read at most, of one text or of several …"""
SCORES = 2**23
"""… and so many scores: of a large vocabulary fewer places."""
MASKED = -100
"""The label of a place that is held against nothing."""


@dataclasses.dataclass(frozen=True)
class BatchTexts:
    """Some texts of a batch: ``tokens``, ``labels`` (−100: masked) and ``losses`` in nats, each (texts, places).

    *Meaning* a label is what the gradient at the scores of its place tells: that of a cross-entropy is negative at the label alone,
    and nothing where the place does not count. So it is the label after whatever masks and shifts the loop made.
    """

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    losses: NDArray[np.float64]

    def rows(self) -> dict[str, NDArray[np.float32]]:
        """As rows of numbers; the first of the tokens is how many places each text has."""
        tokens = np.concatenate([[self.tokens.shape[1]], self.tokens.ravel()])
        found = {"texts/tokens": tokens, "texts/labels": self.labels.ravel(), "texts/losses": self.losses.ravel()}
        return {name: row.astype(np.float32) for name, row in found.items()}

    @classmethod
    def of_rows(cls, rows: Mapping[str, NDArray[np.float32]]) -> BatchTexts | None:
        """What :meth:`rows` told; None for rows that do not fit together, as a damaged record has."""
        told = {name: row[np.isfinite(row)] for name, row in rows.items()}
        length = int(told["texts/tokens"][0]) if len(told["texts/tokens"]) else 0
        tokens, labels, losses = told["texts/tokens"][1:], told["texts/labels"], rows["texts/losses"][: len(told["texts/labels"])]
        if length < 1 or not len(tokens) or len(tokens) % length or len(labels) != len(tokens) or len(losses) != len(tokens):
            return None
        shape = (-1, length)
        return cls(tokens.astype(np.int64).reshape(shape), labels.astype(np.int64).reshape(shape), losses.astype(np.float64).reshape(shape))


class TextReader:
    """Reads the first texts of a batch, from the scores of its forward pass and their gradient.

    *Cost* a few reductions over at most :data:`SCORES` scores, which are looked at where they lie.
    """

    def __init__(self, tokens: Tensor, scores: Tensor) -> None:
        length = max(1, min(tokens.shape[1], PLACES, SCORES // scores.shape[2]))
        self._part = (slice(0, max(1, min(PLACES, SCORES // scores.shape[2]) // length)), slice(0, length))
        self._tokens, self._version = tokens[self._part].detach().clone(), scores._version
        self._scores: Tensor | None = scores.detach()[self._part]
        self._found: tuple[Tensor, ...] | None = None

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any], scores: Tensor) -> TextReader | None:
        """Where scores (n, places, vocabulary) answer a text (n, places) that went in."""
        if scores.ndim != 3 or scores.shape[2] < 2 or not scores.numel():
            return None
        order = {"decoder_input_ids": 0, "input_ids": 1}
        for part in _tensors([*args, *(kwargs[name] for name in sorted(kwargs, key=lambda name: order.get(name, 2)))]):
            whole = not part.is_floating_point() and not part.is_complex() and part.dtype != torch.bool
            if whole and part.shape == scores.shape[:2]:
                return cls(part, scores)
        return None

    def backward(self, gradient: Tensor) -> None:
        """The gradient at the scores: from it follow the labels."""
        kept, self._scores = self._scores, None  # they are let go with the pass
        if kept is None or kept._version != self._version:
            return  # scores that were written over meanwhile tell no loss
        slopes, scores = gradient.detach()[self._part].float(), kept.float()
        lowest, labels = slopes.min(-1)
        size, below = slopes.abs().sum(-1), (slopes < 0).sum(-1)
        whole = scores.logsumexp(-1)
        best, answers = scores.max(-1)
        losses = whole - scores.gather(-1, labels[..., None])[..., 0]
        # A place that is learnt to the last digit has no gradient either.
        learnt = (size == 0) & (best - whole > -1e-6)
        good = (size == 0) | ((below == 1) & (((slopes.sum(-1)).abs() <= 2e-2 * size) | (lowest.abs() >= size * (1 - 1e-3))))
        labels = torch.where(size > 0, labels, torch.where(learnt, answers, MASKED))
        losses = torch.where(size > 0, losses, torch.where(learnt, whole - best, 0.0))
        self._found = (labels, losses, good)

    def finish(self) -> BatchTexts | None:
        """What was read; None without a gradient, and of a loss that is no cross-entropy."""
        if self._found is None:
            return None
        labels, losses, good = self._found
        if not bool(good.all()):
            return None
        return BatchTexts(self._tokens.long().cpu().numpy(), labels.cpu().numpy(), losses.double().cpu().numpy())


def _tensors(parts: Sequence[Any]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, Mapping):
            yield from _tensors(list(part.values()))
        elif isinstance(part, list | tuple):
            yield from _tensors(list(part))
