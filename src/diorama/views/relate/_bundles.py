"""Connections between two columns of clusters in bundles: blocks of the strengths, else from cluster to cluster."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.numerals import percent
from ...core.selection import spoken
from ...derive.strengths import beyond
from ...scene import Scene
from ._columns import Cluster, MapColumn

MOST = 12
"""So many bundles between two columns, the strongest."""
NAMED = 3
"""Of so many pairs of layers at most the names are said."""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Some connections between two columns, and the links that stand for them: from, to, and strength relative to the strongest."""

    id: str
    pair: int
    gap: int
    """It stands behind the column of this number."""
    number: int
    joint: bool
    targets: np.ndarray
    sources: np.ndarray
    shares: tuple[float, float]
    links: tuple[tuple[str, str, float], ...]
    told: str
    keys: tuple[str, ...]
    open: bool


def bundled(
    columns: Sequence[MapColumn], pairs: Sequence[Mapping[str, Any]], threshold: float, opened: Collection[str],
    held: Sequence[Mapping[str, Any]] | None = None,
) -> list[Bundle]:
    """The bundles of all pairs of columns; what is still hands nothing on.

    Those that carry less than a part of what the strongest between the same columns does are left out, and so are in each the weak
    ones of its links. Where clusters are held, whose strengths at their own step are ``held``, lines run from cluster to cluster,
    beside the strongest of that step: bundles would be others at every step.
    """
    places = {column.layer: place for place, column in enumerate(columns)}
    made: list[tuple[list[Bundle], float]] = []
    for number, pair in enumerate(pairs):
        strengths = _plain(pair)
        before, after = columns[places[pair["source"]]], columns[places[pair["target"]]]
        if held is not None:
            hushed = np.where(_moving(after, strengths, 0)[:, None] & _moving(before, strengths, 1), strengths, 0.0)
            made.append(_direct(number, hushed, before, after, threshold, _plain(held[number])))
        elif pair["means"].size > 1:
            made.append(_blocks(number, pair, strengths, before, after, threshold, opened))
        else:
            made.append(_direct(number, strengths, before, after, threshold, strengths))
    # Branches that are read side by side are drawn by one measure.
    strongest: dict[tuple[str, str], float] = {}
    for pair, (_, scale) in zip(pairs, made, strict=True):
        group = pair["target"], pair["how"]
        strongest[group] = max(strongest.get(group, 0.0), scale)
    return [
        _scaled(bundle, places[pair["target"]] - 1, scale / (strongest[pair["target"], pair["how"]] or 1.0))
        for pair, (bundles, scale) in zip(pairs, made, strict=True) for bundle in bundles
    ]


def _scaled(bundle: Bundle, gap: int, scale: float) -> Bundle:
    """A bundle in its gap, whose links are relative to the strongest of all into the same column."""
    return dataclasses.replace(bundle, gap=gap, links=tuple((source, target, value * scale) for source, target, value in bundle.links))


def _plain(pair: Mapping[str, Any]) -> np.ndarray:
    return np.nan_to_num(np.asarray(pair["strengths"], np.float64))


def _moving(column: MapColumn, strengths: np.ndarray, axis: int) -> np.ndarray:
    """Which of the units that have strengths are not still."""
    moving: np.ndarray = np.asarray(column.scores.any(1))[: strengths.shape[axis]]
    return moving


def _inside(cluster: Cluster, count: int) -> np.ndarray:
    """Which of the units that have strengths are in a cluster."""
    inside = np.zeros(count, bool)
    inside[cluster.members[cluster.members < count]] = True
    return inside


def _blocks(
    number: int, pair: Mapping[str, Any], strengths: np.ndarray, before: MapColumn, after: MapColumn, threshold: float, opened: Collection[str]
) -> tuple[list[Bundle], float]:
    made = []
    befores, afters = ([one for one in column.clusters if not one.still] for column in (before, after))
    rows, columns = (pair[side] == np.arange(count)[:, None] for side, count in zip(("rows", "columns"), pair["means"].shape, strict=True))
    # Of all blocks at once: what comes from each cluster into each, and from each to each cluster.
    come = _sums(rows @ strengths, columns, befores)
    gone = _sums(columns @ strengths.T, rows, afters).swapaxes(0, 1)
    for row, column in np.ndindex(*pair["means"].shape):
        targets, sources = rows[row], columns[column]
        entering, leaving = (
            [(cluster.id, float(value)) for cluster, value in zip(clusters, sums[row, column], strict=True)]
            for clusters, sums in ((befores, come), (afters, gone))
        )
        made.append((row * pair["means"].shape[1] + column, targets, sources, entering, leaving))
    made = [each for each in made if each[3] and each[4]]
    most = max((abs(value) for *_, entering, leaving in made for _, value in entering + leaving), default=0.0) or 1.0
    # What a bundle carries: of what enters by one cluster and is taken back by another nothing is left.
    carried = [abs(sum(value for _, value in entering)) for *_, entering, _ in made]
    strongest = max(carried, default=0.0)
    found = []
    for k in np.argsort([-value for value in carried], kind="stable")[:MOST].tolist():
        block, targets, sources, entering, leaving = made[k]
        if carried[k] < threshold * strongest or not carried[k]:
            continue
        name = f"{number}:{block}"
        links = [(one, name, value / most) for one, value in _strong(entering, threshold)]
        links += [(name, one, value / most) for one, value in _strong(leaving, threshold)]
        inner = strengths[np.ix_(targets, sources)]
        shares = float(inner[inner > 0].sum()), float(-inner[inner < 0].sum())
        told = (
            f"{int(sources.sum())} units of {pair['source']} to {int(targets.sum())} of {pair['target']}, "
            f"mean {inner.mean():.3g}; the blocks explain {percent(max(0.0, pair['explained']))} of all"
        )
        found.append(Bundle(
            name, number, 0, block, True, np.flatnonzero(targets), np.flatnonzero(sources), shares, tuple(links), told, (), name in opened,
        ))
    return found, most


def _sums(sums: np.ndarray, blocks: np.ndarray, clusters: Sequence[Cluster]) -> np.ndarray:
    """Sums over some units of one side, (their blocks, units of the other side), summed up by that side's blocks and clusters."""
    inside = np.array([_inside(cluster, sums.shape[1]) for cluster in clusters]).reshape(-1, sums.shape[1])
    return np.asarray((sums[:, None] * blocks) @ inside.T.astype(float))


def _strong(links: Sequence[tuple[str, float]], threshold: float) -> list[tuple[str, float]]:
    """Those of one side of a bundle that are at least such a part of its strongest."""
    most = max(abs(value) for _, value in links)
    return [(one, value) for one, value in links if value and abs(value) >= threshold * most]


def _direct(
    number: int, strengths: np.ndarray, before: MapColumn, after: MapColumn, threshold: float, beside: np.ndarray
) -> tuple[list[Bundle], float]:
    """Lines from cluster to cluster, relative to the strongest by the strengths ``beside``."""
    sums, scale = [], 0.0
    for source, target in itertools.product(before.clusters, after.clusters):
        if not source.still and not target.still:
            block = np.ix_(_inside(target, len(strengths)), _inside(source, strengths.shape[1]))
            sums.append((source.id, target.id, float(strengths[block].sum())))
            scale = max(scale, abs(float(beside[block].sum())))
    most = scale or 1.0
    links = tuple((source, target, value / most) for source, target, value in sums if abs(value) / most >= max(threshold, 1e-9))
    none = np.zeros(0, np.int64)
    made = [Bundle(f"{number}:all", number, 0, 0, False, none, none, (0.0, 0.0), links, "", (), False)]
    return made if links else [], most


def correlated(pairs: Sequence[Mapping[str, Any]], what: str) -> str:
    """A sentence on which connections (``what``: "lines", "springs") are no weights but correlations; nothing where all are weights.

    *Meaning* of blocks of layers, of layers that stand apart and of heads there are no weights from the one to the other directly.
    """
    said = [f"{spoken(pair['source'])} and {spoken(pair['target'])}" for pair in pairs if pair["how"] == "together"]
    if not said:
        return ""
    if len(said) == len(pairs):
        return f" All {what} are correlations of answers over the examples, none is a weight."
    between = f"{'; '.join(said)}," if len(said) <= NAMED else f"{len(said)} of {len(pairs)} pairs of layers"
    return f" Between {between} {what} are correlations of answers over the examples, no weights."


def past_said(scene: Scene, layers: Sequence[str], pairs: Sequence[Mapping[str, Any]], apart: Sequence[int], what: str) -> list[str]:
    """A clause (of ``what``: "lines", "springs") for each two layers of which the later is made of the earlier without a line.

    *Meaning* it comes past a neighbour that is not made of it.
    """
    found = []
    for number in apart:
        source, beside = pairs[number]["source"], pairs[number]["target"]
        if (reached := beyond(scene, layers, pairs, pairs[number])) is not None:
            found.append(
                f"what {spoken(source)} makes comes to {spoken(reached)}, past {spoken(beside)}: where there are no weights "
                f"from unit to unit {what} run between neighbours alone, so that none is drawn for it"
            )
    return found
