"""The target's value while an input is covered, or uncovered, place by place in the order of a map."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..attribute import only
from ..batches import together
from ..cost import Cost
from ..method import Look
from ..patches import BATCH, Covers, laid_out

Fill = Literal["constant", "mean", "blur"]


@dataclasses.dataclass(frozen=True)
class Curve:
    """The target's value at growing shares of places, and the area under it.

    *Shapes* shares (steps + 1,), values (n, steps + 1), areas (n,).
    *Units* values as the target's, or probabilities of the predicted or wanted class; areas are means over the shares.
    """

    shares: np.ndarray
    values: np.ndarray
    areas: np.ndarray
    sentence: str = ""


def cost(x: Nested, steps: int = 20) -> Cost:
    """How many forward passes a curve takes."""
    return Cost(nesting.size(x) * (steps + 1))


def curve(
    look: Look, x: Nested, target: Target, values: Nested, *, insert: bool, steps: int, fill: Fill, value: float
) -> Curve:
    """Cover (or uncover) the places of highest value first."""
    shares = np.linspace(0.0, 1.0, steps + 1)
    rows = []
    for k in range(nesting.size(x)):
        rows.append(_one(look, x, only(target, k), values, k, shares, insert, fill, value))
        look.progress(k + 1, nesting.size(x), "examples")
    made = np.stack(rows)
    widths = np.diff(shares)
    areas = ((made[:, 1:] + made[:, :-1]) / 2 * widths).sum(1)
    return Curve(shares, made, areas)


def _one(
    look: Look, x: Nested, target: Target, values: Nested, example: int, shares: np.ndarray, insert: bool,
    fill: Fill, value: float,
) -> np.ndarray:
    own = nesting.select(x, [example])
    laid = laid_out(own, look.kind)
    maps = list(nesting.tensors(nesting.select(values, [example])))
    heat = [laid_out(_swapped(own, part.number, maps[part.number]), look.kind)[k].image for k, part in enumerate(laid)]
    flat = torch.cat([part.float().sum(1).reshape(-1) for part in heat])
    # Numbers that are not finite come last, whatever they are.
    order = torch.argsort(torch.nan_to_num(flat, nan=-torch.inf, posinf=-torch.inf), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    covers = [
        Covers(fill, part.image, value=value, sigma=max(1.0, min(part.image.shape[2:]) / 8), pixels=part.pixels, depth=part.depth).whole(
            0
        )
        for part in laid
    ]
    counts = torch.tensor(np.round(shares * len(order)), device=order.device)
    found = []
    batch = together(look, own, BATCH)
    for start in range(0, len(counts), batch):
        changed_places = rank < counts[start : start + batch, None]
        there = changed_places if insert else ~changed_places
        parts = [part.expand(len(there), *part.shape[1:]) for part in nesting.tensors(own)]
        first = 0
        for part, cover in zip(laid, covers, strict=True):
            size = part.image.shape[2] * part.image.shape[3]
            mask = there[:, first : first + size].reshape(-1, 1, *part.image.shape[2:])
            parts[part.number] = part.back(torch.where(mask, part.image, cover))
            first += size
        fresh = iter(parts)
        found.append(look.run(nesting.each(own, lambda part, fresh=fresh: next(fresh)), target).value.detach())  # type: ignore[misc]
    numbers: np.ndarray = torch.cat(found).float().cpu().numpy()
    return numbers


def _swapped(x: Nested, number: int, other: Tensor) -> Nested:
    """The input with one of its tensors replaced by another of its shape."""
    parts = iter([other if k == number else part for k, part in enumerate(nesting.tensors(x))])
    return nesting.each(x, lambda part: next(parts))
