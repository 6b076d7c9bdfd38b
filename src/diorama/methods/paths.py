"""Ways through the space of inputs, and gradients averaged along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError
from ..data import kinds, nesting
from ..data.nesting import Nested
from ..model.targets import Target
from .baseline import Baseline
from .batches import Sizes, small
from .method import Look

BASELINES = ("zero", "low", "high", "mean")
RULES = ("gauss_legendre", "midpoint", "trapezoid", "left", "right")
BATCH = 8
"""So many inputs go through the model together: more do not make a pass cheaper, and take memory."""
Points = tuple[Tensor, ...]


def baseline_points(look: Look, x: Nested, points: Sequence[Tensor], wanted: str) -> Points:
    """Where a path starts, for each example: the given baseline, or one made from the example's own numbers."""
    if look.baseline is not None:
        given = look.points(look.baseline)
        for start, at in zip(given, points, strict=True):
            if start.shape[1:] != at.shape[1:] or len(start) not in (1, len(at)):
                raise UsageError(
                    f"a baseline wants one input of shape {(1, *at.shape[1:])}, or one for each of the {len(at)} examples of shape "
                    f"{tuple(at.shape)}, got shape {tuple(start.shape)}"
                )
        return tuple(start.detach().expand_as(at) for start, at in zip(given, points, strict=True))
    last = isinstance(look.kind, kinds.Image) and look.kind.layout == "NHWC"
    return tuple(_made(at.detach(), wanted, last) for at in points)


def begun(look: Look, wanted: str, scores: Tensor) -> Baseline:
    """A path's start in words, with the target there, (n,)."""
    words = {"zero": "zeros", "low": "each channel's lowest number", "high": "each channel's highest number", "mean": "each channel's mean"}[wanted]
    if isinstance(look.kind, kinds.Tokens):
        words = {"zero": "embeddings of zeros", "low": "each embedding's lowest number", "high": "each embedding's highest number"}.get(
            wanted, "each embedding's mean")
    words = words if look.baseline is None else "the given baseline"
    return Baseline(words, scores.detach(), look.task == "regression")


def _made(at: Tensor, wanted: str, channels_last: bool) -> Tensor:
    if wanted == "zero":
        return torch.zeros_like(at)
    if at.ndim < 3:
        places: tuple[int, ...] = tuple(range(1, at.ndim))
    else:
        places = tuple(range(1, at.ndim - 1)) if channels_last else tuple(range(2, at.ndim))
    if wanted == "mean":
        return at.mean(places, keepdim=True).expand_as(at)
    return (at.amin(places, keepdim=True) if wanted == "low" else at.amax(places, keepdim=True)).expand_as(at)


def nodes(rule: str, steps: int) -> tuple[list[float], list[float]]:
    """Places from 0 to 1 and weights that sum to 1, for an integral along a path."""
    if rule == "gauss_legendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return list((1 + places) / 2), list(weights / 2)
    if rule == "midpoint":
        return [(k + 0.5) / steps for k in range(steps)], [1 / steps] * steps
    if rule == "left":
        return [k / steps for k in range(steps)], [1 / steps] * steps
    if rule == "right":
        return [(k + 1) / steps for k in range(steps)], [1 / steps] * steps
    if steps == 1:
        raise UsageError("the trapezoid rule wants at least 2 steps, got 1")
    ends = [0.5, *[1.0] * (steps - 2), 0.5]
    return [k / (steps - 1) for k in range(steps)], [weight / (steps - 1) for weight in ends]


def averaged(
    look: Look,
    x: Nested,
    target: Target,
    place: Callable[[int], Points],
    weights: Sequence[float],
    reduce: Callable[[Tensor], Tensor] = lambda slopes: slopes,
) -> Points:
    """The weighted sum over turns of the slopes at ``place(turn)``, several turns in one pass.

    ``reduce`` changes the slopes before they are added.
    """
    turns = len(weights)
    count = nesting.size(x)
    at_once = max(1, BATCH // count) if small(x, BATCH) else 1
    total: list[Tensor] = []
    done = 0
    while done < turns:
        chunk = range(done, min(done + at_once, turns))
        done, sizes = chunk.stop, Sizes(len(chunk) * count)
        parts = [place(turn) for turn in chunk]
        points = tuple(torch.cat(part).requires_grad_() for part in zip(*parts, strict=True))
        repeated = nesting.join([x] * len(chunk))
        there = look.run(repeated, target, points, rules=(sizes,), grad=True)
        found = [
            (reduce(slopes).reshape(len(chunk), count, -1) * _column(weights, chunk, slopes)).sum(0)
            for slopes in look.gradients(there.value, points)
        ]
        total = [a + b for a, b in zip(total, found, strict=True)] if total else found
        look.progress(done, turns, f"{done} of {turns} steps")
        at_once = max(1, sizes.together(BATCH) // count)
    shapes: Iterator[Tensor] = iter(place(0))
    return tuple(part.reshape(next(shapes).shape) for part in total)


def _column(weights: Sequence[float], chunk: range, like: Tensor) -> Tensor:
    return torch.tensor([weights[turn] for turn in chunk], dtype=like.dtype, device=like.device)[:, None, None]
