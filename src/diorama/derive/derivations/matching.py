"""Which units of two networks are the same, whatever their numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import scipy
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import build, knob
from ...data import nesting
from ...methods.cost import Cost
from ...model.layers import Layer, by_unit
from ...model.own_places import Owners
from ...model.permutations import Permutations, UnitGroup, permutations, taken
from ...model.statistics import sampled
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
PLACES = 16
"""So many places of each map are compared."""
MOST = 2048
"""Layers of more units are not compared by what they answer."""
ROUNDS = 100
"""Rounds over all groups, at most: each only ever gains."""


class MatchingDerivation(Derivation):
    """Units of two networks matched by the assignment that fits best, not by their numbers.

    *Meaning* ``layers``: for each, ``units`` (unit k here is unit ``units[k]`` there; −1 for one without a partner) and their
    ``correlation`` over the probe set, beside ``by_index``, that of units of the same number; ``how`` they were matched.
    ``weights`` says which places of which axis of the other network's weights are to be taken, so that its units stand in the
    order of this one's; it then answers as before. ``cosine`` is how alike the weights of the same shape in both are, ``before`` and ``after``,
    over so many ``numbers`` of this network's ``total``.
    *Cost* one pass an example in both networks.
    *Source* Ainsworth, Hayase & Srinivasa 2022, Git Re-Basin, algorithm 1; Li et al. 2016, Convergent learning; Kuhn 1955.
    """

    version = 4

    how: str = knob("weights", "Match by the weights (Git Re-Basin), or by what units answer to the probe set.",
                    choices=("weights", "activations"))
    seed: int = knob(0, "What the order of the rounds is drawn from.", low=0)
    beside: Scene | None = dataclasses.field(default=None, compare=False, repr=False)
    """The other network."""

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """It takes the scene's other one."""
        made: Self = build(cls, options)
        return dataclasses.replace(made, beside=scene.other)

    def fits(self, scene: Scene) -> str | None:
        """There are two networks that can be looked into."""
        if scene.missing is not None:
            return scene.missing
        if self.beside is None:
            return "it matches two networks: choose a second run or step to compare with (other= in Python)"
        if self.beside.missing is not None:
            return self.beside.missing
        if scene.function or self.beside.function:
            return "it matches units of networks, and a plain function has none; compare their answers in the view compare"
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass an example in each."""
        return Cost(2 * len(scene.live))

    def material(self, scene: Scene) -> dict[str, Any]:
        """The other network's weights."""
        other = self.beside
        return {"other": other.fingerprint, "edits": [edit.named() for edit in other.edits]} if other is not None else {}

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """By the weights as soon as they are matched, then how alike the matched units answer."""
        assert self.beside is not None  # fits() has seen it
        other = self.beside.alone(scene.cancel)
        names = tuple(layer.name for layer in scene.layers.leaves if layer.units > 1 and layer.each and _same(layer, other))
        moving, note = _moving(scene, other)
        total = float(len(scene.live) + 1)
        yield Stage(None, 0.0, total, "comparing what units answer")
        names, apart = _by_example(scene, other, names)
        crossed = _CrossCorrelations(tuple(name for name in names if max(scene.layers[name].units, other.layers[name].units) <= MOST))
        reason = ""
        try:
            for done in crossed.over(scene, other):
                yield Stage(None, float(done), total, "comparing what units answer")
        except (DioramaError, RuntimeError) as error:
            if isinstance(error, DioramaError) and scene.cancel is not None:
                scene.cancel()
            crossed, reason = _CrossCorrelations(()), f"the other network does not take these examples ({_short(error)}), so only weights are matched"
        mine, theirs = scene.parameters(), other.parameters()
        orders = self._orders(moving, mine, theirs, crossed)
        layers = _by_layer(scene, moving, orders, crossed, names, self.how)
        ordered = moving.moved(theirs, orders)
        shared = [name for name in mine if name in theirs and mine[name].shape == theirs[name].shape and mine[name].dtype.kind == "f"]
        yield Stage({
            "layers": layers, "weights": _weights(moving, orders, theirs),
            "cosine": {
                "before": _cosine(mine, theirs, shared), "after": _cosine(mine, ordered, shared), "numbers": _count(mine, shared),
                "total": _count(mine, mine),
            },
            "note": "; ".join(filter(None, [note, apart, reason])),
        }, total, total)

    def _orders(self, moving: Permutations, mine: Mapping[str, Any], theirs: Mapping[str, Any], crossed: _CrossCorrelations) -> list[Whole]:
        by_answers = [_assigned(_joint(group, crossed)) for group in moving.groups]
        if self.how == "activations" and crossed.names:
            return by_answers
        matcher = WeightMatching(moving, mine, theirs)
        starts = [matcher.forward(), matcher.same()] + ([by_answers] if crossed.names else [])
        ended = [matcher.descended(start, self.seed) for start in starts]
        return max(ended, key=matcher.overlap)

    def check(self, scene: Scene, value: Plain) -> None:
        """A partner at most once for each unit, correlations between −1 and 1, places that lie on their axes."""
        if set(value) != {"layers", "weights", "cosine", "note"} or not isinstance(value["note"], str):
            raise ValueError("layers, weights, cosine and a note are wanted")
        for name, one in value["layers"].items():
            if not scene.layers.has(name):
                raise ValueError(f"the network has no layer {name!r}")
            units, count = one["units"], scene.layers[name].units
            partners = units[units >= 0]
            if units.shape != (count,) or len(set(partners.tolist())) != len(partners) or not isinstance(one["how"], str):
                raise ValueError(f"{name} wants one partner at most for each of {count} units")
            for told in (one["correlation"], one["by_index"]):
                if told.shape != (count,) or not (np.abs(told[np.isfinite(told)]) <= 1 + 1e-6).all():
                    raise ValueError(f"{name} wants {count} correlations")
        weights = scene.parameters()
        for one in value["weights"]:
            if sorted(one["places"].tolist()) != list(range(weights[one["name"]].shape[one["axis"]])):
                raise ValueError("the places of an axis are wanted once each")
        cosine = value["cosine"]
        if set(cosine) != {"before", "after", "numbers", "total"} or not all(isinstance(cosine[name], float) for name in ("before", "after")):
            raise ValueError("two cosines are wanted")
        if not (isinstance(cosine["numbers"], int) and isinstance(cosine["total"], int) and 0 <= cosine["numbers"] <= cosine["total"]):
            raise ValueError("how many numbers a cosine is over is wanted")


def reordered(weights: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """The other network's weights with its units in the order of this one's: it answers as before."""
    found = dict(weights)
    for one in value["weights"]:
        found[one["name"]] = taken(found[one["name"]], one["axis"], np.array(one["places"]))
    return found


class WeightMatching:
    """Coordinate descent over the groups: each in turn gets the order in which its weights overlap most, the others held."""

    def __init__(self, moving: Permutations, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        self.groups = moving.groups
        names = {use.name for group in self.groups for use in group.uses if use.name in mine and not _statistic(use.name)}
        self.mine = {name: np.asarray(mine[name], np.float64) for name in names}
        self.theirs = {name: np.asarray(theirs[name], np.float64) for name in names}
        self.axes: dict[str, dict[int, list[tuple[int, Whole]]]] = {}
        for number, group in enumerate(self.groups):
            for use in group.uses:
                if use.name in names:
                    self.axes.setdefault(use.name, {}).setdefault(use.axis, []).append((number, use.places))

    def same(self) -> list[Whole]:
        """Every unit where it is."""
        return [np.arange(group.units) for group in self.groups]

    def forward(self) -> list[Whole]:
        """One group after the other, each by those weights whose other axes are settled."""
        orders = self.same()
        settled: set[int] = set()
        waiting = list(range(len(self.groups)))
        while waiting:
            ready = {number: uses for number in waiting if (uses := self._settled(number, settled))}
            number = max(ready, key=lambda one: self._size(ready[one], one)) if ready else waiting[0]
            orders[number] = _assigned(self._overlaps(number, orders, ready.get(number)))
            settled.add(number)
            waiting.remove(number)
        return orders

    def descended(self, orders: list[Whole], seed: int) -> list[Whole]:
        """Rounds over the groups in a drawn order until none gains."""
        orders, draw = list(orders), np.random.default_rng(seed)
        for _ in range(ROUNDS):
            gained = False
            for number in draw.permutation(len(self.groups)).tolist():
                overlaps = self._overlaps(number, orders)
                found = _assigned(overlaps)
                rows = np.arange(len(found))
                gain = overlaps[rows, found].sum() - overlaps[rows, orders[number]].sum()
                if gain > 1e-9 * max(1.0, np.abs(overlaps).max()):
                    orders[number], gained = found, True
            if not gained:
                break
        return orders

    def overlap(self, orders: list[Whole]) -> float:
        """The sum of products of all weights with those that come to their places."""
        return float(sum((self.mine[name] * self._moved(name, orders, None)).sum() for name in self.mine))

    def _settled(self, number: int, settled: set[int]) -> frozenset[tuple[str, int]]:
        def known(name: str, axis: int) -> bool:
            return all(one in settled for other, parts in self.axes[name].items() if other != axis for one, _ in parts)

        uses = ((use.name, use.axis) for use in self.groups[number].uses if use.name in self.mine)
        return frozenset(use for use in uses if known(*use))

    def _size(self, uses: frozenset[tuple[str, int]], number: int) -> float:
        """How many numbers tell each unit."""
        return float(sum(self.mine[name].size / self.mine[name].shape[axis] for name, axis in uses))

    def _overlaps(self, number: int, orders: list[Whole], only: frozenset[tuple[str, int]] | None = None) -> Floats:
        group = self.groups[number]
        found = np.zeros((group.units, group.units))
        for use in group.uses:
            if use.name not in self.mine or (only is not None and (use.name, use.axis) not in only):
                continue
            one = np.moveaxis(self.mine[use.name], use.axis, 0)[use.places].reshape(group.units, -1)
            other = np.moveaxis(self._moved(use.name, orders, use.axis), use.axis, 0)[use.places].reshape(group.units, -1)
            found += one @ other.T
        return found

    def _moved(self, name: str, orders: list[Whole], but: int | None) -> Floats:
        """The other's weight with every axis but one in its order."""
        found = self.theirs[name]
        for axis, parts in self.axes.get(name, {}).items():
            if axis != but:
                index = np.arange(found.shape[axis])
                for number, places in parts:
                    index[places] = places[orders[number]]
                found = np.take(found, index, axis)
        return found


class _CrossCorrelations:
    """Correlations of each unit here with each unit there, by layer, over examples and places."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.sums: dict[str, list[Floats]] = {}
        self.count: dict[str, int] = {}

    def over(self, scene: Scene, other: Scene) -> Iterator[int]:
        """Look at the examples in both networks, batch by batch; yields how many were seen."""
        if not self.names:
            return
        for chosen, x in scene.batches():

            def rows(looked: Scene, start: int = chosen.start, x: Any = x) -> Mapping[str, Floats]:
                owners = Owners(looked.kind)

                def take(layer: str, tensor: Tensor) -> Floats:
                    units = by_unit(looked.layers[layer], tensor)
                    seen = owners.each(units, start, lambda part, first: sampled(part, first, PLACES))
                    found: Floats = seen.T.double().cpu().numpy()
                    return found

                return looked.kept(owners.read(nesting.to(x, looked.device)), self.names, reduce=take)

            one, two = rows(scene), rows(other)
            for name in self.names:
                self._add(name, one[name], two[name])
            yield chosen.stop

    def _add(self, name: str, a: Floats, b: Floats) -> None:
        if a.shape[1] != b.shape[1] or not a.shape[1]:
            return
        if name not in self.sums:
            # Sums about the first value, so that a large mean costs no digits.
            self.sums[name] = [a[:, :1], b[:, :1], *(np.zeros(len(each)) for each in (a, b, a, b)), np.zeros((len(a), len(b)))]
            self.count[name] = 0
        first, second, *sums = self.sums[name]
        a, b = a - first, b - second
        with np.errstate(invalid="ignore", over="ignore"):
            for total, part in zip(sums, (a.sum(1), b.sum(1), (a * a).sum(1), (b * b).sum(1), a @ b.T), strict=True):
                total += part
        self.count[name] += a.shape[1]

    def of(self, name: str) -> Floats | None:
        """(units here, units there), NaN for one that does not vary; None for a layer that was not compared."""
        if name not in self.sums:
            return None
        _, _, a, b, aa, bb, ab = self.sums[name]
        n = self.count[name]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            covariance = ab / n - np.outer(a / n, b / n)
            one, two = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
            one[one <= 1e-12 * aa / n], two[two <= 1e-12 * bb / n] = np.nan, np.nan  # what does not vary, but for rounding
            found: Floats = covariance / np.sqrt(np.outer(one, two))
        return np.clip(found, -1.0, 1.0)


def _moving(scene: Scene, other: Scene) -> tuple[Permutations, str]:
    """The groups of both; none where the two are not of one make, with the reason."""
    mine, theirs = scene.parameters(), other.parameters()
    if {name: each.shape for name, each in mine.items()} != {name: each.shape for name, each in theirs.items()}:
        return Permutations((), frozenset()), "the two networks are built differently, so layers of the same name are matched by what they answer"
    found = scene.keep("permutations", lambda: _permutations(scene))
    return found, found.note


def _permutations(scene: Scene) -> Permutations:
    axes = {layer.name: layer.unit_axis for layer in scene.layers if layer.each and not layer.part}
    try:
        return permutations(scene.model, scene.current(example=0).x if len(scene.live) < 2 else _two(scene), axes)
    except (DioramaError, RuntimeError, ValueError, IndexError, TypeError) as error:
        # A model whose ops cannot be followed is matched by what its layers answer.
        return Permutations((), frozenset(), f"what hangs on its units could not be followed ({_short(error)})")


def _two(scene: Scene) -> Any:
    return next(iter(scene.batches()))[1]


def _by_example(scene: Scene, other: Scene, names: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The layers whose answers to the first examples can be laid beside each other, and which others cannot, in a sentence.

    What an expert answers hangs on which rows the network sends it, and so on the examples: a pass tells.
    """
    x = next(iter(scene.batches()))[1]
    left: list[str] = []
    while names:
        try:
            for looked in (scene, other):
                looked.kept(nesting.to(x, looked.device), names, reduce=lambda _, tensor: tensor.ndim)
        except NotApplicable as error:
            refused = [name for name in names if str(error).startswith(f"{name} ")]
            if not refused:
                break
            left.append(max(refused, key=len))
            names = tuple(name for name in names if name != left[-1])
            continue
        except (DioramaError, RuntimeError):
            pass  # the pass over all examples says what it is
        break
    if not left:
        return names, ""
    told = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
    does = "does" if len(left) == 1 else "do"
    return names, f"{told} {does} not answer once for each example, so {'its' if len(left) == 1 else 'their'} units are not laid beside each other"


def _same(layer: Layer, other: Scene) -> bool:
    return other.layers.has(layer.name) and other.layers[layer.name].each


def _statistic(name: str) -> bool:
    """Running means and variances are no weights: they follow, and do not decide."""
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def _joint(group: UnitGroup, crossed: _CrossCorrelations) -> Floats:
    """How alike a group's units answer, over all its layers."""
    found = np.zeros((group.units, group.units))
    for name, places in group.layers:
        one = crossed.of(name)
        if one is not None:
            first = np.nan_to_num(one)
            for k in range(places.shape[1]):
                found += first[np.ix_(places[:, k], places[:, k])] / places.shape[1]
    return found


def _assigned(overlaps: Floats) -> Whole:
    """The column of each row in the assignment of largest sum."""
    rows, columns = scipy.optimize.linear_sum_assignment(np.nan_to_num(overlaps), maximize=True)
    found = np.full(len(overlaps), -1)
    found[rows] = columns
    return found


def _by_layer(
    scene: Scene, moving: Permutations, orders: list[Whole], crossed: _CrossCorrelations, names: tuple[str, ...], how: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    grouped = {layer: number for number, group in enumerate(moving.groups) for layer, _ in group.layers}
    for name in names:
        count, alike = scene.layers[name].units, crossed.of(name)
        units = np.arange(count)
        told = "index"
        if name in grouped:
            for group, order in zip(moving.groups, orders, strict=True):
                for layer, places in group.layers:
                    if layer == name:
                        units[places] = places[order]
            told = how if crossed.names or how == "weights" else "weights"
        elif name not in moving.tied and alike is not None:
            units, told = _assigned(alike), "activations"
        rows, there = np.arange(count), units >= 0
        correlation, by_index = np.full(count, np.nan), np.full(count, np.nan)
        if alike is not None:
            correlation[there] = alike[rows[there], units[there]]
            few = min(alike.shape)
            by_index[:few] = np.diag(alike)
        found[name] = {"units": units, "correlation": correlation, "by_index": by_index, "how": told}
    return found


def _weights(moving: Permutations, orders: list[Whole], theirs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "axis": axis, "places": places}
        for name, index in moving.indices(theirs, orders).items() for axis, places in index.items()
    ]


def _cosine(one: Mapping[str, Any], other: Mapping[str, Any], names: list[str]) -> float:
    weights = [name for name in names if not _statistic(name)]
    product = sum(float((np.asarray(one[n], np.float64) * other[n]).sum()) for n in weights)
    lengths = [sum(float(np.square(np.asarray(side[n], np.float64)).sum()) for n in weights) for side in (one, other)]
    if not np.isfinite([product, *lengths]).all():
        return float("nan")
    return product / float(np.sqrt(lengths[0] * lengths[1])) if min(lengths) > 0 else 0.0


def _count(weights: Mapping[str, Any], names: Iterable[str]) -> int:
    """How many numbers learnt weights are."""
    return sum(int(np.asarray(weights[name]).size) for name in names if not _statistic(name))


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 120 else text[:119] + "…"
