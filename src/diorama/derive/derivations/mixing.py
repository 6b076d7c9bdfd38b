"""Which classes lie among one another in each layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import knob
from ...core.selection import layer_key
from ...methods.cost import Cost
from ...model.layers import Layer
from ...model.ops import FORM
from ...model.plain_module import fed
from ...model.weight_modules import answering
from ...scene import Scene
from ...scene.sets import classes_of, unlabelled
from ..class_overlap import INPUT, among, laid_out, lots
from ..columns import columns
from ..derivation import Derivation, Plain, Stage

Floats = NDArray[np.float64]
OUTPUT, ANSWER = "output", "the scores"
FOLLOWED = 64
"""So many pairs of classes are followed through all layers: those that are mixed most at the end."""
TRACED, STEPS = 12, 24
"""Of so many pairs it is found where between two layers they begin to mix, among so many ops."""
ARRAYS = {"pairs": "i", "mixed": "f", "confused": "f", "starts": "i"}


class MixingDerivation(Derivation):
    """Which pairs of classes lie among one another, layer by layer: of an example's nearest of both, the share of the other class.

    *Meaning* ``mixed`` is 0 where two classes lie apart and 0.5 where they are fully mixed, whatever their sizes, since a neighbour counts by
    one over the examples of its class: a plain count says another share where one class is larger. ``confused`` is the
    share of each of the two that is answered as the other. ``pairs`` are classes by number, those first that are mixed most at the end.
    Of an example of a class of few no more count than there are others of its class. Examples to which a layer, or the network, answers
    with what is no number are left out there: NaN where too few of a class are left. ``starts`` is the layer at which each pair begins to
    mix, −1 where none does; ``began`` that layer, or an op before it, such as a pooling: of the pairs that are mixed most, else empty.
    ``means`` are the layers that answer in more steps to some examples than to others: of these the mean over the steps counts.
    *Shapes* pairs (pairs, 2), mixed (layers, pairs), confused (pairs, 2), starts (pairs,); ``layers`` by name, the input before them
    where it is numbers, and behind them the scores where these are not what the last layer answers.
    *Cost* one forward pass an example, and a second where a pair begins to mix; more where what the layers say takes more than half a gigabyte.
    *Source* the neighbourhood hit of Paulovich et al. 2008, for two classes at a time and of equal weight.
    """

    version = 5

    near: int = knob(5, "So many nearest examples count, of a class of fewer as many as it has beside the example.", low=1, high=50)
    layers: int = knob(10, "So many layers at most.", low=2, high=24)

    def fits(self, scene: Scene) -> str | None:
        """A classifier, and two classes with two examples each."""
        return scene.missing or unclassed(scene)

    def cost(self, scene: Scene) -> Cost:
        """One pass an example for each lot of layers that are held at once."""
        table = self._followed(scene)
        passes = scene.once(f"mixing/lots/{self.layers}/{len(scene.live)}", lambda: len(lots(scene, [table[-1], *table[:-1]])))
        return Cost(len(scene.live) * passes)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The last layer first, since it tells which pairs are followed; then all."""
        table = self._followed(scene)
        told = scene.scores()
        scores = (told.abs() if told.is_complex() else told).flatten(1 if told.ndim > 1 else 0).reshape(len(told), -1).double().numpy()
        classes = np.asarray(classes_of(scene))
        present = [int(k) for k in np.unique(classes) if k >= 0 and (classes == k).sum() > 1]
        pairs = [(a, b) for i, a in enumerate(present) for b in present[i + 1 :]]
        count, shares, means = len(table) + 1, dict[str, Floats](), list[str]()
        for name, rows in laid_out(scene, [table[-1], *table[:-1]], scores.shape[1]):
            if not shares:
                own = rows.rows is not None and _alike(rows.rows.astype(np.float64), scores)
                end = among(rows if own else scores, classes, pairs, self.near)
                order = np.argsort(-np.nan_to_num(end, nan=-1.0), kind="stable")[:FOLLOWED]
                pairs = [pairs[k] for k in order]
                if not own:
                    shares[ANSWER] = end[order]
            shares[name] = among(rows, classes, pairs, self.near)
            means += [name] if rows.mean else []
            yield Stage(None, float(len(shares)), float(count + (ANSWER in shares)), f"{len(shares)} of {count} layers")
        names = [name for name in (INPUT, *(one.name for one in table), ANSWER) if name in shares]
        mixed = np.stack([shares[name] for name in names])
        answers = scene.predictions().numpy()
        confused = np.array([[_answered(answers[classes == a], b), _answered(answers[classes == b], a)] for a, b in pairs])
        # Of layers beside one another none makes what another says, so no pair begins to mix there.
        ways = np.array([[_leads(scene, a, b) for b in names] for a in names])
        starts = np.array([-1 if (start := started(mixed[:, k], ways)) is None else start for k in range(len(pairs))], np.int64)
        yield Stage({
            "layers": names, "means": sorted(means, key=names.index),
            "pairs": np.array(pairs, np.int64), "mixed": mixed, "confused": confused, "starts": starts,
            "began": self._began(scene, names, classes, pairs, mixed, starts[:TRACED].tolist(), ways),
        })

    def _began(
        self, scene: Scene, names: list[str], classes: NDArray[np.int64], pairs: list[tuple[int, int]], mixed: Floats, starts: list[int],
        ways: NDArray[np.bool_],
    ) -> list[str]:
        """Where each of the first pairs begins to mix: the first of what lies between the layer before and the one where it shows."""
        spans = {
            start: steps(scene, names[max(np.flatnonzero(ways[:start, start]).tolist(), default=start - 1)], names[start])
            for start in dict.fromkeys(starts) if start > 0
        }
        found = [""] * len(pairs)
        between = {one.name: one for span in spans.values() for one in span}
        inside = {start: {one.name for one in span} for start, span in spans.items()}
        for name, rows in laid_out(scene, list(between.values())):
            open_ = [k for k, start in enumerate(starts) if start > 0 and not found[k] and name in inside[start]]
            if not open_:
                continue
            for k, share in zip(open_, among(rows, classes, [pairs[k] for k in open_], self.near), strict=True):
                if share > (float(np.nanmin(mixed[: starts[k], k])) + float(mixed[-1, k])) / 2:
                    found[k] = name
        return [found[k] or names[starts[k]] if k < len(starts) and starts[k] >= 0 else "" for k in range(len(pairs))]

    def _followed(self, scene: Scene) -> list[Layer]:
        """The layers on the way to the answer; those of other heads say nothing of it."""
        def made() -> list[str]:
            found = columns(scene.layers, most=self.layers)
            return [one.name for one in answering(scene.model, scene.reading, found, fed(scene.model, scene.live.batch([0], scene.device)))]

        return [scene.layers[name] for name in scene.once(f"mixing/followed/{self.layers}", made)]

    def check(self, scene: Scene, value: Plain) -> None:
        """A number for each layer and pair."""
        if not isinstance(value, dict) or set(value) != {"layers", "means", "began", *ARRAYS}:
            raise ValueError("layers, pairs and numbers are wanted")
        names = [INPUT, *(one.name for one in self._followed(scene))]
        if value["layers"] not in (names, names[1:], [*names, ANSWER], [*names[1:], ANSWER]):
            raise ValueError("the network's layers are wanted")
        if not isinstance(value["means"], list) or not set(value["means"]) <= set(names):
            raise ValueError("the layers whose means are compared are wanted")
        count = len(value["pairs"]) if isinstance(value["pairs"], np.ndarray) else 0
        shapes = {"pairs": (count, 2), "mixed": (len(value["layers"]), count), "confused": (count, 2), "starts": (count,)}
        for name, kind in ARRAYS.items():
            array = value[name]
            if not isinstance(array, np.ndarray) or array.dtype.kind != kind or array.shape != shapes[name]:
                raise ValueError(f"{name} of another shape")
        if not isinstance(value["began"], list) or len(value["began"]) != count or not all(isinstance(name, str) for name in value["began"]):
            raise ValueError("where each pair begins to mix is wanted")
        if not count or value["pairs"].min() < 0 or value["pairs"].max() >= len(scene.classes):
            raise ValueError("pairs of classes are wanted")


def _answered(answers: NDArray[np.int64], other: int) -> float:
    """The share of some answers that name another class; NaN where there is no answer."""
    told = answers[answers >= 0]
    return float((told == other).mean()) if len(told) else float("nan")


def _alike(last: Floats, scores: Floats) -> bool:
    """Whether scores are what a layer answers, as it is or as probabilities of it."""
    if last.shape != scores.shape:
        return False
    whole = np.isfinite(last).all(1) & np.isfinite(scores).all(1)
    last, scores = last[whole], scores[whole]
    shares = np.exp(last - last.max(1, keepdims=True, initial=-np.inf))
    shares /= shares.sum(1, keepdims=True)
    with np.errstate(over="ignore"):
        single = 1 / (1 + np.exp(-last))
    ways = ((last, scores), (last - last.mean(1, keepdims=True), scores - scores.mean(1, keepdims=True)), (shares, scores), (single, scores))
    return any(np.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in ways)


def _leads(scene: Scene, one: str, other: str) -> bool:
    """Whether a layer's answer is among what another's is made of; the input leads to all, and all to the scores."""
    return one == INPUT or other == ANSWER or scene.graph.leads(layer_key(one), layer_key(other))


def unclassed(scene: Scene) -> str | None:
    """Why classes cannot be told apart; None where they can: a classifier, and two classes with two examples each."""
    if (reason := unlabelled(scene, "it compares classes")) is not None:
        return reason
    classes = np.asarray(classes_of(scene))
    counts = np.bincount(classes[classes >= 0], minlength=1)
    if (counts > 1).sum() < 2:
        return "it compares classes, and wants at least two examples of each of two classes"
    return None


def steps(scene: Scene, before: str, at: str) -> list[Layer]:
    """What lies between a layer and a later one and answers for each example, in order; of a later one that is a block also what is in it."""
    table = scene.layers
    inside = at != ANSWER and table.has(at) and table[at].leaf
    found: dict[str, Layer] = {}
    for node in scene.graph.between(INPUT if before == INPUT else layer_key(before), OUTPUT if at == ANSWER else layer_key(at)):
        # A module that is one op goes by its own name.
        if node.is_op and node.kind.rstrip("_") in FORM:
            continue  # it puts the same numbers in another order, which mixes nothing
        module = node.parent.removeprefix("layer:")
        name = module if module and table.has(module) and table[module].leaf else node.key
        if name == at or (inside and module == at) or not table.has(name):
            continue
        one = table[name]
        if one.each and one.shape and one.units:
            found[one.name] = one
        if len(found) == STEPS:
            break
    return list(found.values())


def started(mixed: Floats, ways: NDArray[np.bool_] | None = None) -> int | None:
    """The layer at which a pair that lay apart begins to mix, from its numbers layer by layer; None where it never lay apart, or does not mix.

    *Meaning* behind the layer where it lies apart most, the first beyond half of the way to where it ends. ``ways`` says which layers
    (rows) lead to which; by itself each to all behind it.
    """
    lowest = int(len(mixed) - 1 - np.argmin(np.nan_to_num(mixed[::-1], nan=np.inf)))
    low, last = float(mixed[lowest]), float(mixed[-1])
    if not last - low >= RISE:
        return None
    later = range(lowest + 1, len(mixed))
    return next((k for k in later if mixed[k] > (low + last) / 2 and (ways is None or ways[lowest, k])), len(mixed) - 1)


RISE = 0.1
"""A pair that is mixed more by so much has begun to mix."""
