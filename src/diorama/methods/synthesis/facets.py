"""The facets of a unit: groups among the examples that excite it most, and the mean picture of each to start from."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...model.layers import by_unit
from ..method import Look
from .engine import values_of
from .objectives import Objective

TOP = 60
"""So many of the examples that excite most are grouped, at most a quarter of all."""
MEAN = 15
"""A start is the mean of so many examples, those nearest the middle of their group."""
_WIDTH = 50
_ROUNDS = 30
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Facets:
    """Groups of the examples that excite a unit most.

    *Shapes* ``members`` the examples' indices in each group, the nearest to its middle first; ``starts`` (groups, …)
    the means of the nearest, as inputs of the made part; ``apart`` how far the groups' middles lie from each other,
    as a share of the spread inside them.
    """

    members: tuple[tuple[int, ...], ...]
    starts: Tensor
    apart: float
    code: str


def facets(
    look: Look, objective: Objective, x: Nested, part: int, count: int, layer: str | None, *, top: int = TOP
) -> Facets:
    """Group the examples that excite most by their codes in a layer (None: by the inputs themselves).

    *Meaning* codes are centred, reduced to their main 50 directions, and grouped by k-means, begun with examples far
    from each other.
    *Cost* a forward pass of the examples, and one of the top ones.
    *Source* Nguyen, Yosinski & Clune 2016, "Multifaceted feature visualization", section 2; without their t-SNE, which
    moves groups apart that are not.
    """
    total = nesting.size(x)
    values = torch.cat([
        values_of(look, objective, nesting.select(x, slice(k, k + _BATCH))).cpu() for k in range(0, total, _BATCH)
    ])
    few = min(top, max(count, total // 4), total)
    best = values.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)[:few]
    chosen = nesting.select(x, best)
    own = list(nesting.tensors(chosen))[part].float()
    codes = own.flatten(1).cpu() if layer is None else _codes(look, layer, chosen)
    groups, apart = grouped(codes, min(count, few))
    members, starts = [], []
    for order in groups:
        members.append(tuple(int(best[k]) for k in order))
        starts.append(own[order[: max(1, min(MEAN, len(order)))]].mean(0))
    return Facets(tuple(members), torch.stack(starts), apart, layer or "the inputs")


def _codes(look: Look, layer: str, x: Nested) -> Tensor:
    """Each example's activations in a layer, maps averaged over at most 4 × 4 places."""
    with look.opened([layer], until=layer) as capture:
        capture(x)
        units = by_unit(look.layers[layer], capture[layer]).float().cpu()
    if units.ndim == 4:
        sides = [min(4, side) for side in units.shape[2:]]
        units = torch.nn.functional.adaptive_avg_pool2d(units, (sides[0], sides[1]))
    return units.flatten(1).nan_to_num(0, 0, 0)


def grouped(codes: Tensor, count: int) -> tuple[list[list[int]], float]:
    """k-means of rows: the members of each group, nearest to its middle first, the largest group first; and how far
    the middles lie from each other, as a share of the spread inside the groups.
    """
    centred = codes.double() - codes.double().mean(0)
    if centred.shape[1] > _WIDTH:
        u, s, _ = torch.linalg.svd(centred, full_matrices=False)
        centred = (u * s)[:, :_WIDTH]
    middles = _far_apart(centred, count)
    for _ in range(_ROUNDS):
        nearest = torch.cdist(centred, middles).argmin(1)
        fresh = torch.stack([
            centred[nearest == k].mean(0) if bool((nearest == k).any()) else middles[k] for k in range(len(middles))
        ])
        if torch.equal(fresh, middles):
            break
        middles = fresh
    far = torch.cdist(centred, middles)
    nearest = far.argmin(1)
    found = []
    for k in range(len(middles)):
        inside = (nearest == k).nonzero()[:, 0]
        if len(inside):
            found.append([int(i) for i in inside[far[inside, k].argsort(stable=True)]])
    found.sort(key=len, reverse=True)
    spread = float(far.min(1).values.mean())
    between = float(torch.pdist(middles).mean()) if len(middles) > 1 else 0.0
    return found, between / max(spread, 1e-12)


def _far_apart(rows: Tensor, count: int) -> Tensor:
    """Rows far from each other: the one farthest from the middle, then always the farthest from those chosen."""
    chosen = [int(rows.norm(dim=1).argmax())]
    while len(chosen) < count:
        far = torch.cdist(rows, rows[chosen]).min(1).values
        chosen.append(int(far.argmax()))
    return rows[chosen].clone()
