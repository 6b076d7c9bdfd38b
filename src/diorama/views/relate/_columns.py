"""Clusters of units as columns of boxes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.colour import Limits, symmetric
from ...core.marks import Network, Vertex
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Key, layer_key, spoken, unit_key
from ...methods.grouping import ordered
from ...scene import Scene

WIDE, GAP, BETWEEN, HEAD, LABEL, NOTE = 108.0, 84.0, 8.0, 34.0, 17.0, 15.0
"""The width of a box, between columns, between boxes, and the heights of a heading, of a label and of a note."""
ROW, LOWEST, HIGHEST = 3.0, 22.0, 110.0
"""A unit's row in a box, and the bounds of a box's picture."""
PATCHES, UNIT = 88.0, 26.0
LINE = 13.0
"""A line of words in a box."""
WIDEST = 64
"""So many columns of a matrix at most."""
OPENED = 24
"""So many units of an open cluster are shown by themselves."""
ALONE = 12
"""So many answers of a network at most are shown each by itself."""
SIGMAS = 3.0
TELLS = 0.05
"""A unit tells classes apart where more than this share of the variance of its answers goes with the class, beyond chance."""
NO_CLASS = "no class"
"""What a cluster is called whose units tell no class from the others."""
JOINT, TALL = 9.0, 24.0
"""The width and height of a bundle's bar."""


@dataclasses.dataclass
class Cluster:
    """Some units of a layer: their places among the units that are told, most alike side by side."""

    id: str
    members: np.ndarray
    label: str
    best: int | None
    still: bool
    bad: int
    """How many of its units answer with no numbers."""
    shut: int
    """How many of them never pass the ReLU behind their layer."""
    open: bool
    flat: bool
    """Drawn without its matrix: of what is still there is nothing to see."""


@dataclasses.dataclass
class MapColumn:
    """A layer's clusters, in order of the classes that they serve."""

    layer: str
    units: np.ndarray
    scores: np.ndarray
    """(units, columns): how far each mean answer is above the unit's own mean, in standard deviations of its answers to the examples."""
    clusters: list[Cluster]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    recurrent: bool
    open: bool


def grouped(
    scene: Scene, edges: str, told: Mapping[str, Any], make: Callable[[dict[str, Any], list[dict[str, Any]]], Picture] | None = None
) -> Generator[Progress | Draft, None, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The values of the derivations ``clusters`` and ``biclusters`` of the same layers; until they are there, how far they are.

    ``make`` draws what is known by then of a network that takes long: clusters by the examples so far, then the blocks between the first
    layers. What comes soon comes whole: lines that go and come at each step of a training would flicker.
    """
    found: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    long = False
    for stage in scene.derive("clusters", **told).stream():
        found = stage.value or found
        if not stage.final:
            yield stage.progress
            long = long or (stage.value is not None and stage.done < stage.total)
        if long and stage.value is not None and make is not None:
            yield Draft(lambda value=stage.value: make(value, []))  # type: ignore[misc]
    for stage in scene.derive("biclusters", edges=edges, **told).stream():
        pairs = stage.value["pairs"] if stage.value is not None else pairs
        if not stage.final:
            # The examples are behind: what is left is told of all the work.
            behind = found["examples"]
            yield Progress(done=behind + stage.done, total=behind + stage.total, note=stage.note)
            if long and make is not None and pairs:
                yield Draft(lambda pairs=pairs: make(found, pairs))  # type: ignore[misc]
    return found, pairs


def columned(
    found: Mapping[str, Any], opened: Collection[str], recurrent: Collection[str], held: Mapping[str, Any] | None,
    shut: Sequence[np.ndarray],
) -> list[MapColumn]:
    """All layers as columns, from the value of the derivation ``clusters``; in the clusters of another step's value, ``held``, where it is given.

    Then every box has the units and the place that it has at that step. ``shut`` says of each layer's units which never pass the ReLU behind.
    """
    by_class = found["by"] != "example"
    chosen = _chosen(held or found, by_class)
    names, keys = (tuple(found[told][k] for k in chosen) for told in ("columns", "keys"))
    columns = []
    for number, (part, kept) in enumerate(zip(found["layers"], (held or found)["layers"], strict=True)):
        scores = beside_spread(part)
        then = beside_spread(kept) if held else scores
        tells, told = telling(part), telling(kept)
        clusters: list[tuple[tuple[bool, int, int], Cluster]] = []
        ranks = np.argsort(kept["order"])
        labels = _each(kept, found) if number and number == len(found["layers"]) - 1 else kept["cluster"]
        for label in range(-1, int(labels.max()) + 1):
            members = np.flatnonzero(labels == label)
            if not len(members):
                continue
            members = members[np.argsort(ranks[members], kind="stable")]
            still = not scores[members].any() if held else label < 0
            bad = int(np.isnan(scores[members]).all(1).sum())
            # A cluster most of whose units do not tell the classes apart has the name of none.
            named = by_class and not still and 2 * tells[members].sum() >= len(members)
            served, best = _served(scores[members].mean(0), found["columns"]) if named else ("", None)
            served = served or (NO_CLASS if by_class and not still and not named and found["by"] == "class" else "")
            known = 2 * told[members].sum() >= len(members)
            first = (_served(then[members].mean(0), found["columns"])[1] if held and known else best) if by_class and label >= 0 else None
            box = f"{number}/{label}"
            clusters.append((
                (label < 0, first or 0, -len(members)),
                Cluster(box, members, served, best, still, bad, int(shut[number][members].sum()), box in opened, flat=still and not held),
            ))
        clusters.sort(key=lambda one: one[0])
        columns.append(MapColumn(
            part["layer"], part["units"], scores[:, chosen], [cluster for _, cluster in clusters], names, keys, part["layer"] in recurrent,
            f"own/{number}" in opened,
        ))
    return columns


def _each(part: Mapping[str, Any], found: Mapping[str, Any]) -> np.ndarray:
    """The answers themselves, where there is one a class and they are few, each by itself; else the clusters."""
    count = len(part["units"])
    alone = found["by"] == "class" and count == len(found["columns"]) <= ALONE
    return np.where(part["cluster"] < 0, -1, np.arange(count)) if alone else part["cluster"]


def standard(profile: np.ndarray) -> np.ndarray:
    """Each row in standard deviations about its own mean; zeros where it does not vary, NaN where it is no number."""
    with np.errstate(invalid="ignore"):
        centred = profile - profile.mean(1, keepdims=True)
        spread = centred.std(1, keepdims=True)
        moving = spread > 1e-6 * np.abs(profile).max(1, keepdims=True, initial=0)
        return np.where(np.isnan(spread), np.nan, np.where(moving, centred / np.where(moving, spread, 1.0), 0.0))


def beside_spread(part: Mapping[str, Any]) -> np.ndarray:
    """Each row about its own mean in standard deviations of the unit's answers to the examples; zeros and NaN as in :func:`standard`.

    *Meaning* a unit whose answers differ within a class as much as between the classes is near to nothing.
    """
    plain = standard(part["profile"])
    with np.errstate(invalid="ignore", divide="ignore"):
        beside = part["profile"].std(1, keepdims=True) / part["spread"][:, None]
        return np.where(np.isfinite(beside), plain * beside, plain)


def telling(part: Mapping[str, Any]) -> np.ndarray:
    """Which units tell the classes apart: those of whose variance over the examples more than a little goes with the class."""
    told: np.ndarray = part["share"] >= TELLS
    return told


def _chosen(found: Mapping[str, Any], by_class: bool) -> np.ndarray:
    """The columns of the matrices: all classes, else those that units differ about most; of many examples some, like ones together."""
    count = len(found["columns"])
    if by_class:
        if count <= WIDEST:
            return np.arange(count)
        spread = sum(np.nan_to_num(standard(part["profile"])).var(0) for part in found["layers"])
        return np.sort(np.argsort(-np.asarray(spread), kind="stable")[:WIDEST])
    some = np.linspace(0, count - 1, min(count, WIDEST)).round().astype(int)
    rows = np.concatenate([np.nan_to_num(standard(part["profile"]))[:, some] for part in found["layers"]]).T
    return np.asarray(some[ordered(rows)])


def _served(mean: np.ndarray, names: Sequence[str]) -> tuple[str, int | None]:
    """The classes that a cluster answers to most: those near the best one, at most three."""
    if not np.isfinite(mean).all() or mean.max() <= 0:
        return "", None
    order = np.argsort(-mean, kind="stable")
    near = [int(k) for k in order[:3] if mean[k] >= 0.6 * mean[order[0]]]
    return ", ".join(names[k] for k in near), int(order[0])


Shown = Mapping[str, np.ndarray] | Mapping[str, tuple[str, ...]]
"""By cluster what drives it: a picture, or lines of words."""


LIT = 1.0
"""Clusters that answer to what is chosen by so many standard deviations more than their own mean are lit; others step back."""


def drawn(columns: Sequence[MapColumn], bundles: Sequence[Any], patches: Shown | None, lit: Collection[str] = ()) -> Network:
    """Boxes in columns, with the bundles between them; where some are lit, the others are pale."""
    heights = [_height(column, patches) for column in columns]
    between = Counter(bundle.gap for bundle in bundles if bundle.joint)
    tallest = max(*heights, *(count * (TALL + 4) for count in between.values()), 0)
    vertices: list[Vertex] = []
    places: list[tuple[float, float, float, float]] = []
    at: dict[str, int] = {}

    def put(vertex: Vertex, x: float, y: float, width: float, height: float) -> None:
        if vertex.id:
            at[vertex.id] = len(vertices)
        vertices.append(vertex)
        places.append((x, y, width, height))

    for number, column in enumerate(columns):
        x = number * (WIDE + GAP)
        count = len(column.units)
        put(Vertex(
            form="heading", label=spoken(_plain(column.layer)), note=f"{count:,} {_what(column)}{'s' if count > 1 else ''}",
            keys=(layer_key(_plain(column.layer)),) if column.layer else (), id=f"own/{number}", expandable=column.recurrent, open=column.open,
        ), x, 0, WIDE, HEAD - 4)
        y = HEAD + (tallest - heights[number]) / 2
        for cluster in column.clusters:
            high = _high(cluster, patches)
            put(_box(column, cluster, patches, bool(lit) and cluster.id not in lit), x, y, WIDE, high)
            y += high + (2 if cluster.open else BETWEEN)
            if cluster.open:
                for member in cluster.members[:OPENED]:
                    put(_unit(column, int(member)), x + 10, y, WIDE - 10, UNIT)
                    y += UNIT + 2
                y += BETWEEN
    _put_joints(bundles, places, at, put)
    links, strengths = [], []
    for bundle in bundles:
        for source, target, strength in bundle.links:
            if source in at and target in at:
                links.append((at[source], at[target]))
                strengths.append(strength)
    return Network(
        vertices=tuple(vertices), places=np.array(places, np.float32), links=np.array(links, np.int32).reshape(-1, 2),
        strengths=np.array(strengths, np.float32), strongest=1.0, limits=_limits(columns), column_labels=columns[0].names,
        column_keys=columns[0].keys,
        extent=(len(columns) * (WIDE + GAP) - GAP, max(HEAD + tallest, *(y + height + 1 for _, y, _, height in places))),
    )


def _put_joints(bundles: Sequence[Any], places: list[tuple[float, float, float, float]], at: Mapping[str, int], put: Any) -> None:
    """Bars half-way between the columns, each as high as what it joins, none over another."""
    for gap in sorted({bundle.gap for bundle in bundles if bundle.joint}):
        mine = [bundle for bundle in bundles if bundle.gap == gap and bundle.joint]
        wanted = []
        for bundle in mine:
            ends = [places[at[name]] for link in bundle.links for name in link[:2] if name in at]
            wanted.append(float(np.mean([y + height / 2 for _, y, _, height in ends])) if ends else HEAD)
        order = np.argsort(wanted, kind="stable")
        tops = np.array(wanted)[order] - TALL / 2
        for k in range(1, len(tops)):
            tops[k] = max(tops[k], tops[k - 1] + TALL + 4)
        # As far up as they were pushed down, on the whole.
        tops = np.maximum(tops - (tops.mean() - (np.array(wanted) - TALL / 2).mean()), HEAD + np.arange(len(tops)) * (TALL + 4))
        x = gap * (WIDE + GAP) + WIDE + GAP / 2 - JOINT / 2
        for place, k in zip(tops, order, strict=True):
            bundle = mine[int(k)]
            put(Vertex(
                form="joint", id=bundle.id, told=bundle.told, shares=bundle.shares, expandable=True, open=bundle.open, keys=bundle.keys,
            ), x, float(place), JOINT, TALL)


def key_of(layer: str, unit: int) -> str:
    """The key of a unit, or of a head where the layer is the weights of an attention."""
    return str(Key("head", _plain(layer), (unit,))) if layer.startswith("pattern:") else unit_key(layer, unit)


def keys_of(layer: str, units: np.ndarray) -> tuple[str, ...]:
    """The keys of many units: what stands before their numbers is spelled once."""
    before = key_of(layer, 0)[:-1]
    return tuple(f"{before}{unit}" for unit in units.tolist())


def _plain(layer: str) -> str:
    """The attention's name, of the point that holds its weights."""
    return layer.removeprefix("pattern:")


def _what(column: MapColumn) -> str:
    return "head" if column.layer.startswith("pattern:") else "unit"


def _height(column: MapColumn, patches: Shown | None) -> float:
    total = 0.0
    for cluster in column.clusters:
        total += _high(cluster, patches) + BETWEEN
        total += (min(len(cluster.members), OPENED) * (UNIT + 2) + 2) if cluster.open else 0
    return total - BETWEEN


def _high(cluster: Cluster, patches: Shown | None) -> float:
    if cluster.open or cluster.flat:
        return LABEL + NOTE
    if patches is not None and isinstance(patches.get(cluster.id), tuple):
        return LABEL + LINE * max(1, len(patches[cluster.id])) + NOTE + 4
    picture = PATCHES if patches is not None else min(HIGHEST, max(LOWEST, ROW * len(cluster.members)))
    return LABEL + picture + NOTE + 4


def _box(column: MapColumn, cluster: Cluster, patches: Shown | None, pale: bool) -> Vertex:
    count = len(cluster.members)
    pixels: np.ndarray | None = None
    words: tuple[str, ...] = ()
    if not cluster.open and not cluster.flat:
        told = patches.get(cluster.id) if patches is not None else column.scores[cluster.members].astype(np.float32)
        pixels, words = (None, told) if isinstance(told, tuple) else (told, ())
    return Vertex(
        label=cluster.label or (("no numbers" if cluster.bad == count else "still") if cluster.still else "mixed"), id=cluster.id,
        note=f"{count:,} {_what(column)}{'s' if count > 1 else ''}", words=words,
        told=_stillness(count, cluster.bad, cluster.shut) if cluster.still else "",
        keys=keys_of(column.layer, column.units[cluster.members]), pixels=pixels, colour=cluster.best,
        faded=cluster.still or pale, expandable=True, open=cluster.open,
    )


def _stillness(count: int, bad: int, shut: int) -> str:
    """Why units are still: those that answer the same to everything, or that nothing hears of, and those whose answers are no numbers."""
    if bad == count:
        return "their answers are no numbers"
    if shut == count:
        return "they never pass the ReLU behind"
    told = f"they answer the same to everything, or ({bad:,} of {count:,}) with no numbers" if bad else "they answer the same to everything"
    return f"{told}; {shut:,} of {count:,} never pass{'es' * (shut == 1)} the ReLU behind" if shut else told


def _unit(column: MapColumn, member: int) -> Vertex:
    unit = int(column.units[member])
    return Vertex(
        label=f"{_what(column)} {unit}", keys=(key_of(column.layer, unit),), pixels=column.scores[member : member + 1].astype(np.float32),
    )


def _limits(columns: Sequence[MapColumn]) -> Limits:
    """The same at every step."""
    return symmetric(np.concatenate([column.scores.ravel() for column in columns]), SIGMAS, "σ")
