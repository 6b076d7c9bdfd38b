"""The units that matter most to one unit or class: what feeds it, what it feeds, or what fires with it."""

from __future__ import annotations

import dataclasses
import functools
import heapq
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key, number_key, unit_key
from ...methods.cost import Cost
from ...model.connections import Connections
from ...model.layers import Layer
from ...scene import Scene
from ...scene.sets import classes_of
from ...scene.wiring import connected, weighted
from ..columns import answers
from ..derivation import Derivation, Plain, Stage

FEWEST = 0.02
"""A connection of less than this share of a unit's strongest leads nowhere."""
_ARRAYS = {"layer": np.int64, "unit": np.int64, "interest": np.float64, "hop": np.int64}


class NeighbourhoodDerivation(Derivation):
    """The units of greatest interest from where a unit or a class is: a part of a net of any size.

    *Meaning* ``interest`` is 1 for the start. By weights it is handed on along each connection times its share of the strongest:
    backwards, to what feeds the start, of all that the reading unit reads; forwards, to what it feeds, of all that lead from the
    unit into that layer. A unit counts as far as the best way to it is strong. Together it is the size of the correlation with the
    start's answers over the examples (of a class: with whether an example is of it). ``layer`` is an index among ``layers``, those
    with weights, ``unit`` the number there, ``hop`` how many connections away (negative: before the start); half of the units are
    before it, half behind, where there are so many. ``links`` are pairs of those units, ``strengths`` their signed shares of the
    strongest that the second one reads; ``of`` how many units each layer has; ``lost`` the layers of which it is not known what they read
    or who reads them.
    *Cost* by weights no pass; together one an example.
    *Source* van Ham & Perer 2009; Furnas 1986 (degree of interest).
    """

    version = 6

    start: str = knob("", "A unit or a class, such as unit:conv2/7 or class:3; by itself the first class, else the last layer's first unit.")
    edges: str = knob("weights", "What connects units: the weights, or how they go together over the examples.", choices=("weights", "together"))
    hops: int = knob(2, "How many connections away, in each direction.", low=1, high=8)
    units: int = knob(40, "The most units: those of greatest interest.", low=2, high=500)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """Where it starts is told: it belongs to the key."""
        made = super().asked(scene, options)
        assert isinstance(made, cls)
        if not made.start and scene.missing is None and not scene.function and (layers := weighted(scene)):
            start = number_key("class", 0) if _answering(scene, layers) is not None else unit_key(layers[-1].name, 0)
            return cls(**{**made.knobs(), "start": start})
        return made

    def fits(self, scene: Scene) -> str | None:
        """The network has layers with weights, and the start is one of its units or classes."""
        if scene.missing is not None:
            return scene.missing
        if scene.function:
            return "it looks for units, and a plain function has none"
        layers = weighted(scene)
        if not layers:
            return "no layer with weights answers once for each example, so there are no units to start from"
        _begun(scene, layers, self.start)
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass an example, where units are compared by what they answer."""
        return Cost(len(scene.live) if self.edges == "together" else 2)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The neighbourhood, at once."""
        layers = weighted(scene)
        start, class_ = _begun(scene, layers, self.start)
        if self.edges == "together":
            found = _together(scene, layers, start, class_, self.units)
        elif start is None:
            raise NotApplicable("no layer answers with one unit a class, so no weights lead from a class; choose edges=together, or a unit")
        else:
            found = _Spread(scene, layers).around(start, self.hops, self.units)
        yield Stage({"start": self.start, "layers": [one.name for one in layers], "of": np.array([one.units for one in layers]), **found})

    def check(self, scene: Scene, value: Plain) -> None:
        """Units that are there, and links between them."""
        layers = weighted(scene)
        if not isinstance(value, dict) or set(value) != {"start", "layers", "of", "links", "strengths", "lost", *_ARRAYS}:
            raise ValueError("start, layers, units, interest, hops, links, strengths and lost layers are wanted")
        lost = value["lost"]
        if not isinstance(lost, list) or not set(lost) <= set(value["layers"]):
            raise ValueError("lost layers are some of the layers")
        if value["start"] != self.start or value["layers"] != [one.name for one in layers]:
            raise ValueError("another start, or other layers")
        count = len(value["unit"])
        for name, kind in _ARRAYS.items():
            array = value[name]
            if not isinstance(array, np.ndarray) or array.shape != (count,) or array.dtype != kind:
                raise ValueError(f"a number a unit is wanted for {name}")
        sizes = np.array([one.units for one in layers])
        if not np.array_equal(value["of"], sizes) or count > self.units:
            raise ValueError("so many units are not there")
        layer, unit = value["layer"], value["unit"]
        if count and (min(layer.min(), unit.min()) < 0 or layer.max() >= len(sizes) or (unit >= sizes[layer]).any()):
            raise ValueError("units of the network are wanted")
        links, strengths = value["links"], value["strengths"]
        if not isinstance(links, np.ndarray) or links.ndim != 2 or links.shape[1] != 2 or links.dtype != np.int64:
            raise ValueError("links are pairs")
        if not isinstance(strengths, np.ndarray) or strengths.shape != (len(links),) or strengths.dtype != np.float64:
            raise ValueError("a strength is wanted for each link")
        if len(links) and (links.min() < 0 or links.max() >= count):
            raise ValueError("links join units that are told")


def _answering(scene: Scene, layers: list[Layer]) -> int | None:
    """The number of the layer whose units are the classes."""
    classes = len(scene.classes)
    if classes < 2 or scene.task not in ("classification", "multi_label") or layers[-1].units != classes:
        return None
    return len(layers) - 1 if answers(scene, layers[-1]) else None


def _begun(scene: Scene, layers: list[Layer], start: str) -> tuple[tuple[int, int] | None, int | None]:
    """The unit where it starts, and the class: one of the two may be none. *Raises* NotApplicable for what is not there."""
    key = Key.parse(start)
    if key.kind == "class":
        if key.number >= max(1, len(scene.classes)):
            raise NotApplicable(f"there are classes 0 to {len(scene.classes) - 1}, and none {key.number}")
        last = _answering(scene, layers)
        return ((last, key.number) if last is not None else None), key.number
    if key.kind != "unit":
        raise NotApplicable(f"a neighbourhood starts from a unit or a class, and {start!r} is none; try {unit_key(layers[-1].name, 0)}")
    name = scene.layers[key.name].name
    place = next((k for k, one in enumerate(layers) if one.name == name), None)
    if place is None:
        # What a norm or an activation hands on are the units of the last layer with weights before it.
        here = scene.layers[name]
        if here.unlike:
            raise NotApplicable(f"{name} {here.unlike}, so no neighbourhood starts there; start from a unit of {layers[-1].name}")
        earlier = [k for k, one in enumerate(layers) if one.order < here.order and one.units == here.units]
        if not earlier:
            names = ", ".join(one.name for one in layers[:4])
            raise NotApplicable(f"{name} has no weights of its own, and no layer before it has its units; start from a unit of {names}")
        place = earlier[-1]
    if key.number >= layers[place].units:
        raise NotApplicable(f"{name} has units 0 to {layers[place].units - 1}, and none {key.number}")
    return (place, key.number), None


@dataclasses.dataclass(frozen=True)
class _ReadStrengths:
    """How strongly each unit of a layer reads each stream, and the strongest of each unit."""

    values: np.ndarray
    streams: np.ndarray
    strongest: np.ndarray


def _shares(strengths: np.ndarray) -> np.ndarray:
    size: np.ndarray = np.abs(strengths)
    size /= size.max(initial=0) or 1.0
    return size


class _Spread:
    """Interest that spreads along the weights."""

    def __init__(self, scene: Scene, layers: list[Layer]) -> None:
        self.scene, self.layers = scene, layers
        self.wired: Connections = connected(scene)
        self.known: dict[tuple[int, int | None], _ReadStrengths] = {}

    @functools.cached_property
    def state(self) -> dict[str, np.ndarray]:
        """The weights, wanted where a layer is read for the first time alone."""
        return self.scene.parameters()

    def read(self, layer: int, source: int | None = None) -> _ReadStrengths:
        """What the units of a layer read; of a source that stands in some of the columns alone, or with a turned sign, by those."""
        source = source if source is not None and self.wired.parted[layer, source] else None
        if (layer, source) not in self.known:
            name = f"read/{self.layers[layer].name}" + (f"/{self.layers[source].name}" if source is not None else "")
            self.known[layer, source] = self.scene.once(name, lambda: self._read(layer, source))
        return self.known[layer, source]

    def _read(self, layer: int, source: int | None) -> _ReadStrengths:
        values, streams = self.wired.strengths(self.state, layer, source)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        return _ReadStrengths(values, streams, np.abs(values).max(1, initial=0) if len(streams) else np.zeros(len(values)))

    def around(self, start: tuple[int, int], hops: int, most: int) -> dict[str, Any]:
        """The units of greatest interest."""
        interest, away = {start: 1.0}, {start: 0}
        for sign, step in ((-1, self.before), (1, self.behind)):
            edge = {start: 1.0}
            for hop in range(1, hops + 1):
                reached: dict[tuple[int, int], float] = {}
                least = 0.0
                for unit, worth in edge.items():
                    for other, far in step(unit, worth, least, most):
                        reached[other] = max(reached.get(other, 0.0), far)
                    # What lies below so many others will not be kept, whatever comes: in a large network that is nearly all.
                    least = heapq.nlargest(most, reached.values())[-1] if len(reached) >= most else 0.0
                edge = {}
                for unit, worth in sorted(reached.items(), key=lambda one: (-one[1], one[0]))[:most]:
                    if worth > interest.get(unit, 0.0):
                        interest[unit], away[unit], edge[unit] = worth, sign * hop, worth
        ranked = sorted(interest, key=lambda unit: (-interest[unit], unit))
        sides = [[unit for unit in ranked if away[unit] * sign > 0] for sign in (-1, 1)]
        # Each side has half of the places, and what the other leaves free.
        before = max(most - 1 - len(sides[1]), (most - 1) // 2)
        kept = sorted([start, *sides[0][:before], *sides[1][: most - 1 - min(before, len(sides[0]))]])
        links, strengths = self.between(kept)
        return {
            "layer": np.array([unit[0] for unit in kept], np.int64), "unit": np.array([unit[1] for unit in kept], np.int64),
            "interest": np.array([interest[unit] for unit in kept]), "hop": np.array([away[unit] for unit in kept], np.int64),
            "links": links, "strengths": strengths, "lost": self.wired.lost,
        }

    def before(self, unit: tuple[int, int], worth: float, least: float, most: int) -> Iterator[tuple[tuple[int, int], float]]:
        """What a unit reads, its worth times the share of the strongest that it reads, the strongest first, none below the least."""
        parted = self.wired.parted[unit[0]]
        whole = self.read(unit[0])
        for source in (None, *np.flatnonzero(parted & self.wired.followed[unit[0]]).tolist()):
            read = self.read(unit[0], source)
            row = np.abs(read.values[unit[1]]) / (whole.strongest[unit[1]] or 1.0)
            for place in np.argsort(-row, kind="stable")[:most].tolist():
                share = float(row[place])
                if share < FEWEST or worth * share < least:
                    break
                layers, units = self.wired.writers(int(read.streams[place]), unit[0])
                for other in zip(layers.tolist(), units.tolist(), strict=True):
                    if source == other[0] or (source is None and not parted[other[0]]):
                        yield other, worth * share

    def behind(self, unit: tuple[int, int], worth: float, least: float, most: int) -> Iterator[tuple[tuple[int, int], float]]:
        """What reads a unit, its worth times the share of the strongest into each layer, the strongest first, none below the least."""
        stream = int(self.wired.writes[unit[0]][unit[1]])
        for layer in self.wired.readers(stream, unit[0]):
            read = self.read(layer, unit[0])
            place = int(np.searchsorted(read.streams, stream))
            if place == len(read.streams):
                continue
            column = _shares(read.values[:, place])
            for other in np.argsort(-column, kind="stable")[:most].tolist():
                share = float(column[other])
                if share < FEWEST or worth * share < least:
                    break
                yield (layer, other), worth * share

    def between(self, kept: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """All connections among some units, in their order."""
        pairs: list[np.ndarray] = []
        strengths: list[np.ndarray] = []
        written = np.array([self.wired.writes[layer][unit] for layer, unit in kept])
        layers = np.array([layer for layer, _ in kept])
        for target, (layer, unit) in enumerate(kept):
            read = self.read(layer)
            if not read.strongest[unit : unit + 1].any():
                continue
            places = np.minimum(np.searchsorted(read.streams, written), len(read.streams) - 1)
            known = (read.streams[places] == written) & (layers < layer) & self.wired.followed[layer, layers]
            row = np.where(known, read.values[unit, places] / read.strongest[unit], 0.0)
            for source in np.flatnonzero(known & self.wired.parted[layer, layers]).tolist():
                row[source] = self.read(layer, int(layers[source])).values[unit, places[source]] / read.strongest[unit]
            sources = np.flatnonzero(np.abs(row) >= FEWEST)
            pairs.append(np.column_stack([sources, np.full(len(sources), target)]))
            strengths.append(row[sources])
        found = np.concatenate([*pairs, np.zeros((0, 2), np.int64)]).astype(np.int64)
        return found, np.concatenate([*strengths, np.zeros(0)]).astype(np.float64)


def _together(scene: Scene, layers: list[Layer], start: tuple[int, int] | None, class_: int | None, most: int) -> dict[str, Any]:
    """The units whose answers over the examples go most with those of a unit, or with whether they are of a class."""
    if not scene.kinds:
        raise NotApplicable(f"it compares what units answer, and {scene.network.without}")
    sources = [scene.layers.handed(one) for one in layers]
    seen = scene.responses([one.name for one in sources])
    rows = [(seen[one.name].positive if one.rectified else seen[one.name].mean).double().numpy() for one in sources]
    count = len(scene.live)
    if any(len(row) != count for row in rows):
        raise NotApplicable("not all layers answer once for each example, so units cannot be compared; choose edges=weights")
    classes = classes_of(scene) if class_ is not None else None
    if class_ is not None and classes is not None and classes.ndim == 1:
        wanted = (np.asarray(classes) == class_).astype(float)
    elif start is not None:
        wanted = rows[start[0]][:, start[1]]
    else:
        raise NotApplicable("the examples have no classes to start from; start from a unit")
    flat = np.concatenate(rows, 1)
    layer = np.repeat(np.arange(len(rows)), [row.shape[1] for row in rows])
    unit = np.concatenate([np.arange(row.shape[1]) for row in rows])
    good = np.isfinite(flat).all(0)
    centred = np.where(good, flat, 0.0)
    centred -= centred.mean(0)
    own = np.nan_to_num(wanted - wanted.mean(), nan=0.0, posinf=0.0, neginf=0.0)
    size = np.linalg.norm(centred, axis=0) * np.linalg.norm(own)
    moving = size > 1e-9 * max(1e-300, float(np.abs(own).max(initial=0))) * np.maximum(np.abs(np.where(good, flat, 0.0)).max(0, initial=0), 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.where(moving, np.clip(own @ centred / np.where(moving, size, 1.0), -1, 1), 0.0)
    first = int(np.flatnonzero((layer == start[0]) & (unit == start[1]))[0]) if start is not None else -1
    worth = np.abs(alike)
    if first >= 0:
        worth[first] = 1.0
    order = np.argsort(-worth, kind="stable")
    if first >= 0:
        order = np.concatenate([[first], order[order != first]])
    chosen = np.sort(order[:most])
    chosen = chosen[(worth[chosen] > 0) | (chosen == first)]
    at = int(np.searchsorted(chosen, first)) if first >= 0 else -1
    others = np.flatnonzero(np.arange(len(chosen)) != at)
    joined = [(k, at) if chosen[k] < first else (at, k) for k in others.tolist()] if at >= 0 else []
    links = np.array(joined, np.int64).reshape(-1, 2)
    return {
        "layer": layer[chosen].astype(np.int64), "unit": unit[chosen].astype(np.int64), "interest": worth[chosen].astype(np.float64),
        "hop": np.where(np.arange(len(chosen)) == at, 0, np.where(chosen < first, -1, 1)).astype(np.int64), "links": links,
        "strengths": alike[chosen][others].astype(np.float64) if at >= 0 else np.zeros(0), "lost": [],
    }
