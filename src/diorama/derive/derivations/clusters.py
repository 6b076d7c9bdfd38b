"""Which units of each layer do the same: clusters by what they answer to the classes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import several, together
from ...data.tokens import Tokens, visible
from ...methods.cost import Cost
from ...methods.grouping import clusters, matched, ordered
from ...model.layers import Layer, by_unit
from ...model.outputs import CLASSES
from ...model.own_places import Owners
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.input import text_input
from ..attended_tokens import AttendedTokens, heads_of
from ..columns import columns
from ..derivation import Derivation, Plain, Stage
from ..strengths import JOINED

Floats = NDArray[np.float64]
BATCH, FIRST = 64, 8
"""Examples in a pass; the first passes are smaller, so that something is seen soon of a large network."""
SOON, SHARE = 1.0, 12.0
"""Seconds until what has been seen so far is told, and how many times as long as that took until it is told again."""
BINS = 10
"""A truth of plain numbers is cut into so many parts with as many examples each."""


class ClustersDerivation(Derivation):
    """Units of each layer that answer to the same classes, as clusters; and how units of neighbouring layers go together.

    *Meaning* ``layers`` is a list, each with its ``layer``; the ``units`` that are told (all, or those that vary most);
    their ``profile``, units × ``columns``: the mean answer to each class (of texts and segmentations at the steps and places
    of that class; of numbers to each tenth of the truth; else to each example; of weights of attention, whose units are heads, how much more
    than by chance each looks at each token); the ``cluster`` of each, −1 for one that says
    nothing; an ``order`` that puts like ones side by side; and how clear the clusters are (``silhouette``, −1 to 1).
    ``spread`` is how far each unit's answers to the examples lie apart (their standard deviation), and ``share`` how much of that goes with
    the column, 0 to 1: without what chance gives as many groups (ε², Kelley 1935); 1 where columns are examples or tokens.
    ``together`` holds for each layer but the first the correlations with the units of the one before over the examples.
    ``examples`` is how many are counted: one that is answered with no numbers is left out.
    *Cost* one pass an example.
    *Source* Liu et al. 2017, CNNVis, sections 5.1 and 5.2; Ward 1963.
    """

    on = "examples"
    version = 6

    layers: str | None = knob(None, "Several layers with + between; by itself up to eight that stand for the whole network.")
    inside: str = knob("", "A module: layers inside it alone.")
    count: int = knob(0, "Clusters of a layer; 0: as many as are clearest, up to eight.", low=0, high=64)
    by: str = knob("class", "What units are compared by: their mean answer to each class, or the answer to each example.",
                   choices=("class", "example"))
    examples: int = knob(1500, "How many examples of the probe set are looked at.", low=1, high=100_000)
    units: int = knob(1024, "The most units of a layer that are told: those that vary most.", low=1, high=100_000)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """Layers that were not named are: they belong to the key."""
        made = super().asked(scene, options)
        assert isinstance(made, cls)
        if scene.missing is None and not scene.function and made.layers is None:
            try:
                chosen = together([layer.name for layer in columns(scene.layers, made.inside)])
            except NotApplicable:
                return made
            return cls(**{**made.knobs(), "layers": chosen})
        return made

    def fits(self, scene: Scene) -> str | None:
        """The network can be looked into, and its layers answer once for each example."""
        if scene.missing is not None:
            return scene.missing
        if scene.function:
            return "it groups units, and a plain function has none"
        if not scene.kinds:
            return f"it groups units by what they answer, and {scene.network.without}"
        if self.layers is None:
            return "no layer answers once for each example, so there are no units to group"
        for name in self.names:
            if unlike := scene.layers[name].unlike:
                return f"{name} {unlike}, so its units cannot be grouped"
        return None

    @property
    def names(self) -> list[str]:
        """The layers that are asked."""
        return several(self.layers) if self.layers else [""]

    def cost(self, scene: Scene) -> Cost:
        """A pass an example."""
        return Cost(min(self.examples, len(scene.examples)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """One pass over the examples, then the clusters."""
        count = min(self.examples, len(scene.examples))
        seen = AttendedTokens(scene, self.names, count) if heads_of(self.names) else SeenAnswers(scene, self.names, count, self.by)
        began, rest = time.perf_counter(), SOON
        for done in seen.over():
            value = None
            if time.perf_counter() - began >= rest and done < seen.count and isinstance(seen, SeenAnswers):
                began = time.perf_counter()
                value = self._told(seen, before, joined=False)
                rest, began = SHARE * (time.perf_counter() - began), time.perf_counter()
            yield Stage(value, float(done), float(seen.count), f"{done} of {seen.count} examples")
        yield Stage(self._told(seen, before), float(seen.count), float(seen.count))

    def _told(self, seen: SeenAnswers | AttendedTokens, before: Plain, *, joined: bool = True) -> dict[str, Any]:
        """The value, from what has been seen so far; how layers go together is left out where only the clusters are shown."""
        parts, kept = [], []
        for number, name in enumerate(self.names):
            rows = seen.profile(name)
            answers = seen.answers(name)
            units = seen.varying(name, self.units)
            profile = rows[units]
            spread, share = seen.spread(name)
            found = clusters(profile, self.count)
            labels = found.labels
            if before is not None and len(before["layers"]) > number and len(before["layers"][number]["cluster"]) == len(labels):
                labels = matched(labels, before["layers"][number]["cluster"])
            parts.append({
                "layer": name, "units": units, "profile": profile, "cluster": labels, "order": ordered(profile),
                "silhouette": found.silhouette, "spread": spread[units], "share": share[units],
            })
            kept.append(answers[:, units])
        together_ = [_correlated(after, earlier) for earlier, after in zip(kept, kept[1:], strict=False)] if joined else []
        columns_ = seen.columns()
        return {
            "columns": [text for text, _ in columns_], "keys": [key for _, key in columns_], "by": seen.by, "layers": parts,
            "together": together_, "examples": seen.told,
        }

    def check(self, scene: Scene, value: Plain) -> None:
        """A part for each layer, whose arrays fit one another."""
        if not isinstance(value, dict) or set(value) != {"columns", "keys", "by", "layers", "together", "examples"}:
            raise ValueError("columns, keys, by, layers, together and examples are wanted")
        if value["by"] not in ("class", "range", "example", "token") or not isinstance(value["examples"], int):
            raise ValueError("a number of examples is wanted, and what units are compared by")
        for name in ("columns", "keys"):
            if not isinstance(value[name], list) or not all(isinstance(text, str) for text in value[name]):
                raise ValueError("names are wanted for the columns")
        if len(value["keys"]) != len(value["columns"]):
            raise ValueError("each column has a key")
        if not isinstance(value["layers"], list) or [part["layer"] for part in value["layers"]] != self.names:
            raise ValueError("a part for each layer is wanted")
        sizes = [_checked(part, scene.layers[part["layer"]], len(value["columns"])) for part in value["layers"]]
        wanted = [(min(after, JOINED), min(earlier, JOINED)) for earlier, after in zip(sizes, sizes[1:], strict=False)]
        joined = value["together"]
        if not isinstance(joined, list) or len(joined) != len(wanted):
            raise ValueError("correlations of each two neighbours are wanted")
        for each, shape in zip(joined, wanted, strict=True):
            if not isinstance(each, np.ndarray) or each.shape != shape or each.dtype != np.float32:
                raise ValueError(f"correlations of shape {shape} are wanted")


def _checked(part: Any, layer: Layer, wide: int) -> int:
    """How many units a part tells of; ValueError where it is none."""
    if set(part) != {"layer", "units", "profile", "cluster", "order", "silhouette", "spread", "share"} or not isinstance(part["silhouette"], float):
        raise ValueError("units, profile, cluster, order and silhouette are wanted")
    units = part["units"]
    if not isinstance(units, np.ndarray) or units.dtype != np.int64 or units.ndim != 1 or not 0 < len(units) <= layer.units:
        raise ValueError("units' numbers are wanted")
    if units.min() < 0 or units.max() >= layer.units:
        raise ValueError(f"{layer.name} has units 0 to {layer.units - 1}")
    for name in ("cluster", "order"):
        each = part[name]
        if not isinstance(each, np.ndarray) or each.shape != units.shape or each.dtype != np.int64:
            raise ValueError(f"a whole number a unit is wanted for {name}")
    if (np.sort(part["order"]) != np.arange(len(units))).any() or part["cluster"].min() < -1 or part["cluster"].max() >= len(units):
        raise ValueError("an order and clusters are wanted")
    for name in ("spread", "share"):
        each = part[name]
        if not isinstance(each, np.ndarray) or each.shape != units.shape or each.dtype != np.float64:
            raise ValueError(f"a number a unit is wanted for {name}")
    profile = part["profile"]
    if not isinstance(profile, np.ndarray) or profile.shape != (len(units), wide) or profile.dtype != np.float64:
        raise ValueError("a number is wanted for each unit and column")
    return len(units)


class SeenAnswers:
    """What the units answer to some examples: to each of them, and to each class."""

    def __init__(self, scene: Scene, names: list[str], count: int, by: str) -> None:
        self.scene, self.count = scene, count
        self.sources = {name: scene.layers.handed(scene.layers[name]) for name in names}
        y = scene.examples.y
        self.truth = scene.reading.truth(y[:count]).cpu() if y is not None and scene.task in CLASSES else None
        self.places = self.truth is not None and self.truth.ndim > 1
        self.classes = self._classes() if by == "class" else np.zeros(0, np.int64)
        self.by = "class" if len(self.classes) > 1 else "range" if by == "class" and self._numbers() is not None else "example"
        self._each: dict[str, list[Floats]] = {name: [] for name in names}
        self._sums: dict[str, Floats] = {}
        self._sizes = np.zeros(len(self.classes))
        self._sound = np.zeros(0, bool)
        self.seen = 0
        """So many of the examples have been looked at; what is told is of these."""

    def _classes(self) -> NDArray[np.int64]:
        """The classes that are there, by number."""
        if self.truth is None:
            return np.zeros(0, np.int64)
        found = self.truth[self.truth >= 0]
        return np.unique(found.numpy()).astype(np.int64)

    def _numbers(self) -> Floats | None:
        """One number an example, where the truth is that."""
        y = self.scene.examples.y
        if y is None or self.scene.task != "regression" or y[: self.count].numel() != self.count or self.count < 2 * BINS:
            return None
        found = y[: self.count].reshape(-1).double().cpu().numpy()
        return found if np.isfinite(found).all() and np.ptp(found) > 0 else None

    def over(self) -> Iterator[int]:
        """Look at the examples, batch by batch."""
        owners = Owners(self.scene.kind)
        by_source = {source.name: source for source in self.sources.values()}
        while self.seen < self.count:
            start, stop = self.seen, min(self.seen + min(BATCH, max(FIRST, self.seen)), self.count)
            x = fed(self.scene.model, self.scene.examples.batch(list(range(start, stop)), self.scene.device))
            told = self.truth[start:stop] if self.places and self.by == "class" else None  # type: ignore[index]
            marked = None if told is None else torch.from_numpy(np.searchsorted(self.classes, told.numpy())), told
            kept = self.scene.kept(
                owners.read(x), by_source, reduce=lambda name, tensor: self._reduced(by_source[name], tensor, marked, owners)  # noqa: B023 - used at once
            )
            for name, source in self.sources.items():
                means, sums = kept[source.name]
                self._each[name].append(means)
                if sums is not None:
                    self._sums[name] = self._sums.get(name, 0.0) + sums
            if told is not None:
                known = told[told >= 0].numpy()
                self._sizes += np.bincount(np.searchsorted(self.classes, known), minlength=len(self.classes))
            self.seen = stop
            yield stop

    def _reduced(
        self, layer: Layer, tensor: Tensor, marked: tuple[Tensor | None, Tensor | None], owners: Owners
    ) -> tuple[Floats, Floats | None]:
        values = by_unit(layer, tensor).float()
        values = values.clamp_min(0) if layer.rectified else values
        means = owners.mean(values)
        index, told = marked
        sums = None
        if index is not None and told is not None:
            laid = _laid(values, tuple(told.shape[1:])).movedim(1, -1).reshape(-1, values.shape[1])
            known = (told >= 0).reshape(-1)
            laid, flat = laid[known.to(laid.device)], index.reshape(-1)[known].to(laid.device)
            sums = torch.zeros(len(self.classes), laid.shape[1], device=laid.device).index_add_(0, flat, laid).double().cpu().numpy()
            # In the last row the sum of all squares.
            sums = np.concatenate([sums, laid.double().square().sum(0).cpu().numpy()[None]])
        return means.double().cpu().numpy(), sums

    def sound(self) -> NDArray[np.bool_]:
        """Which of the examples seen are answered with numbers, by every unit that answers with numbers to half of them."""
        if len(self._sound) != self.seen:
            good = np.ones(self.seen, bool)
            for each in self._each.values():
                found = np.isfinite(np.concatenate(each))
                good &= found[:, 2 * found.sum(0) >= len(found)].all(1)
            self._sound = good if good.any() else np.ones(self.seen, bool)
        return self._sound

    @property
    def told(self) -> int:
        """So many examples are counted."""
        return self.seen if self.places else int(self.sound().sum())

    def answers(self, name: str) -> Floats:
        """The mean answer of each unit to each example that is answered with numbers, (examples, units)."""
        rows: Floats = np.concatenate(self._each[name])[self.sound()]
        return rows

    def profile(self, name: str) -> Floats:
        """Units × columns."""
        rows = self.answers(name)
        if self.by == "example":
            return rows.T.copy()
        if self.places and self.by == "class":
            there = self._sizes > 0
            return (self._sums[name][:-1][there] / self._sizes[there, None]).T.copy()
        # A class that answers with no number has none as its mean.
        marks, rows = self._marked(), np.where(np.isfinite(rows), rows, np.nan)
        return np.stack([rows[marks == k].mean(0) for k in np.unique(marks[marks >= 0])], 1)

    def spread(self, name: str) -> tuple[Floats, Floats]:
        """How far each unit's answers lie apart, and the share of their variance that goes with the columns beyond chance."""
        profile = self.profile(name)
        if self.by == "example":
            with np.errstate(invalid="ignore"):
                return profile.std(1), np.ones(len(profile))
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.places and self.by == "class":
                sizes = self._sizes[self._sizes > 0]
                count = float(sizes.sum())
                mean = profile @ sizes / count
                whole = np.maximum(self._sums[name][-1] - count * mean**2, 0.0)
            else:
                marks, rows = self._marked(), np.where(np.isfinite(self.answers(name)), self.answers(name), np.nan)[self._marked() >= 0]
                sizes = np.unique(marks[marks >= 0], return_counts=True)[1].astype(np.float64)
                count, mean = float(sizes.sum()), rows.mean(0)
                whole = np.square(rows - mean).sum(0)
            between = np.square(profile - mean[:, None]) @ sizes
            within = np.maximum(whole - between, 0.0) / max(count - len(sizes), 1.0)
            share = np.where(whole > 0, np.clip((between - (len(sizes) - 1) * within) / whole, 0.0, 1.0), 0.0)
        # Of one example a class nothing is known of what lies within.
        return np.sqrt(whole / count), np.ones(len(profile)) if count <= len(sizes) else share

    def _marked(self) -> NDArray[np.int64]:
        """The columns of the examples that are counted."""
        return self._marks()[: self.seen][self.sound()]

    def _marks(self) -> NDArray[np.int64]:
        """The column of each example; −1 for those whose class is not known."""
        numbers = self._numbers()
        if self.by == "range" and numbers is not None:
            ranks = np.argsort(np.argsort(numbers, kind="stable"), kind="stable")
            return ranks * BINS // len(numbers)
        assert self.truth is not None
        told = self.truth.numpy()
        return np.where(told >= 0, np.searchsorted(self.classes, told), -1)

    def varying(self, name: str, most: int) -> NDArray[np.int64]:
        """The units that vary most over the examples, by number; all where there are no more."""
        return _varying(self.answers(name), most)

    def _name(self, number: int) -> str:
        """What a class is called: of a network that writes, the token."""
        names = self.scene.classes
        if number < len(names):
            return visible(names[number])
        read = text_input(self.scene.kind)
        kind = read[1] if read is not None else next((kind for kind in self.scene.kinds.values() if isinstance(kind, Tokens)), None)
        return visible(kind.token(number)) if kind is not None and self.scene.task == "next_token" else str(number)

    def columns(self) -> list[tuple[str, str]]:
        """A name and a key for each column; no key where it is no class and no example."""
        if self.by == "class":
            name = self._name
            there = self._sizes > 0 if self.places else np.isin(np.arange(len(self.classes)), self._marked())
            return [(name(k), f"class:{k}") for k in self.classes[there].tolist()]
        numbers = self._numbers()
        if self.by == "range" and numbers is not None:
            marks = self._marks()
            return [(f"about {np.median(numbers[marks == k]):.3g}", "") for k in np.unique(self._marked())]
        return [(str(k), f"example:{k}") for k in np.flatnonzero(self.sound())]


def _laid(values: Tensor, places: tuple[int, ...]) -> Tensor:
    """A layer's values (n, units, …) at the places of the truth: those of the nearest place, the same everywhere where it has none."""
    if values.ndim == 2:
        return values.reshape(*values.shape, *(1,) * len(places)).expand(*values.shape, *places)
    if tuple(values.shape[2:]) == places:
        return values
    if values.ndim - 2 == len(places) <= 3:
        return F.interpolate(values, places, mode="nearest")
    return _laid(values.flatten(2).mean(2), places)


def _varying(answers: Floats, most: int) -> NDArray[np.int64]:
    """The units that vary most over the examples, by number; all where there are no more."""
    count = answers.shape[1]
    if count <= most:
        return np.arange(count)
    spread = np.where(np.isfinite(answers).all(0), answers, 0.0).var(0)
    return np.sort(np.argsort(-spread, kind="stable")[:most])


def _correlated(after: Floats, earlier: Floats) -> NDArray[np.float32]:
    """Pearson's correlation of each unit of one layer with each of another over the examples; 0 for one that is still."""
    sides = []
    for rows in (after[:, :JOINED], earlier[:, :JOINED]):
        numbers = np.where(np.isfinite(rows).all(0), rows, 0.0)
        centred = numbers - numbers.mean(0)
        size = np.linalg.norm(centred, axis=0)
        moving = size > 1e-6 * np.maximum(np.linalg.norm(numbers, axis=0), math.ulp(1.0))
        sides.append(np.where(moving, centred / np.where(moving, size, 1.0), 0.0))
    found: NDArray[np.float32] = np.clip(sides[0].T @ sides[1], -1, 1).astype(np.float32)
    return found
