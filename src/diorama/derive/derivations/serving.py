"""Which units a class cannot do without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.knobs import knob
from ...core.selection import Key
from ...methods.cost import Cost
from ...methods.method import Look
from ...model.directions import finite
from ...model.edits import Edit
from ...model.layers import Layer, by_unit
from ...model.plain_module import fed
from ...model.targets import Target
from ...model.weight_modules import answering
from ...scene import Scene
from ...scene.sets import classes_of, unlabelled
from ..columns import answers
from ..derivation import Derivation, Plain, Stage
from ..losses import losses, right, weights

Floats = NDArray[np.float64]
BATCH = 64
TRIED, FEW = 256, 16
"""So many units at most are silenced on so few examples of the class first, which tells whom to silence on all."""
ARRAYS = {
    "layer": "i", "unit": "i", "expected": "f", "tried": "f", "drawn": "b", "area": "f", "cost": "f", "others": "f", "lost": "f",
}
UNSURE = 1e-5
"""What is left of a probability beside 1 is no more exact than this, so that odds are told no further."""
NUMBERS = ("of", "first", "few", "own", "rest")


class ServingDerivation(Derivation):
    """Which units serve a class: what silencing each costs it, and what it costs the others, measured.

    *Meaning* each unit of the hidden layers is silenced on few examples of the class first (``tried``: how much their loss rises); of
    more than 256 units those that are expected to cost most to first order, by the loss and by the odds of the class, which do not run out where
    an answer is sure, and some at random. Those that cost most there are silenced on all examples, with those that tell the class from the others
    best, and with some at random of all that remain (``drawn``), which tell what was passed over. ``cost`` is how much
    the loss over examples of the class rises, ``others`` over all others; ``lost`` how much less of the class is answered rightly, with what
    becomes right taken off. ``area`` tells the class from others by the unit alone: the area under the curve, 0.5 by chance. A recurrent
    unit is silenced at each of its steps, and expected to cost what the slope by its strength at all of them says.
    *Shapes* one number a silenced unit, the dearest for the class first; ``layers`` names what ``layer`` counts, ``of`` how many there are,
    ``first`` how many were silenced on ``few`` examples; ``own`` and ``rest`` count the examples of the class and of others.
    *Units* those of the loss; ``tried`` is NaN where a unit was not.
    *Cost* a pass forward and back an example of the class; 16 passes for each unit, of 256 at most; one pass an example for each silenced unit.
    *Source* Morcos et al. 2018 (lesions); Molchanov et al. 2017, equation 6 (the expected cost).
    """

    version = 4

    of_class: int = knob(0, "The class, by its number.", low=0)
    count: int = knob(24, "So many units are silenced.", low=1, high=500)
    examples: int = knob(256, "So many examples at most.", low=8, high=100_000)

    def fits(self, scene: Scene) -> str | None:
        """A classifier with examples of the class and of others."""
        if (reason := scene.missing or unserved(scene)) is not None:
            return reason
        classes = np.asarray(classes_of(scene))
        if not 0 < (classes == self.of_class).sum() < (classes >= 0).sum():
            return f"it compares a class with the others, and the probe set has no examples of class {self.of_class}, or of no other"
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass an example and unit, and those by which units are chosen."""
        few = min(TRIED, sum(one.units for one in hidden(scene))) * FEW
        return Cost((self.count + 2) * min(self.examples, len(scene.live)) + few, len(scene.live))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """First all units on few examples, then unit by unit on all."""
        layers = hidden(scene)
        chosen, own = self._examples(scene)
        base, answers = losses(scene, chosen)
        few = _spread(chosen[own][np.argsort(base[own], kind="stable")], FEW)
        yield Stage(None, 0.0, self.count + 2.0, "what each unit is expected to cost")
        expected, odds = self._expected(scene, layers, chosen[own])
        values = {one.name: finite(scene.responses([one.name])[one.name].mean.double().numpy())[chosen] for one in layers}
        areas = np.concatenate([area(values[one.name], own) for one in layers])
        units = [(one, unit) for one in layers for unit in range(one.units)]
        first, tried = _first(expected, odds), np.full(len(units), np.nan)
        start = losses(scene, few)[0]
        for number, k in enumerate(first):
            tried[k] = _mean(losses(scene, few, (_silenced(*units[k]),))[0] - start, weights(scene, few)[0])
            yield Stage(None, (number + 1) / len(first), self.count + 2.0, f"{number + 1} of {len(first)} units silenced on few examples")
        candidates, drawn = self._candidates(tried, areas, expected)
        rightly, (share, count) = right(scene, chosen, answers), weights(scene, chosen)
        said = {
            "layers": [one.name for one in layers], "of": len(units), "first": len(first), "few": len(few), "own": int(own.sum()),
            "rest": int((~own).sum()),
        }
        told: list[tuple[int, float, float, float]] = []
        for number, k in enumerate(candidates):
            after, answers = losses(scene, chosen, (_silenced(*units[k]),))
            rise, fewer = after - base, rightly - right(scene, chosen, answers)
            told.append((k, _mean(rise[own], share[own]), _mean(rise[~own], share[~own]), _mean(fewer[own], count[own])))
            final = number == len(candidates) - 1
            yield Stage(
                said | self._value(layers, {"expected": expected, "tried": tried, "area": areas, "drawn": drawn}, told),
                number + 1.0 + final, self.count + 2.0, f"{number + 1} of {len(candidates)} units silenced",
            )

    def _candidates(self, tried: Floats, areas: Floats, expected: Floats) -> tuple[list[int], NDArray[np.bool_]]:
        """Who is silenced on all examples; and who of them was drawn at random from all that nothing spoke for."""
        by_area = np.argsort(-np.abs(areas - 0.5), kind="stable")[: max(1, self.count // 4)]
        by_cost = np.lexsort((-expected, -np.nan_to_num(tried, nan=-np.inf)))
        some = self.count // 6
        chosen = list(dict.fromkeys([*by_cost[: self.count - len(by_area) - some].tolist(), *by_area.tolist()]))
        dice = np.random.default_rng(0)
        left = dice.permutation(np.setdiff1d(np.arange(len(areas)), chosen))[:some]
        drawn = np.zeros(len(areas), bool)
        drawn[left] = True
        return list(dict.fromkeys([*chosen, *left.tolist(), *by_cost.tolist()]))[: self.count], drawn

    def _value(self, layers: list[Layer], known: dict[str, np.ndarray], told: list[tuple[int, float, float, float]]) -> dict[str, Plain]:
        told = sorted(told, key=lambda one: -one[1])
        which = np.array([one[0] for one in told])
        each = np.concatenate([np.full(one.units, k) for k, one in enumerate(layers)])
        unit = np.concatenate([np.arange(one.units) for one in layers])
        cost, others, lost = (np.array([one[k] for one in told]) for k in (1, 2, 3))
        return {
            "layer": each[which], "unit": unit[which], "cost": cost, "others": others, "lost": lost,
            **{name: numbers[which] for name, numbers in known.items()},
        }

    def _examples(self, scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Examples whose class is known, half of them of the class where there are so many of both; and which are of it."""
        classes = np.asarray(classes_of(scene))
        mine, rest = np.flatnonzero(classes == self.of_class), np.flatnonzero((classes != self.of_class) & (classes >= 0))
        mine = _spread(mine, max(self.examples // 2, self.examples - len(rest)))
        chosen = np.sort(np.concatenate([mine, _spread(rest, self.examples - len(mine))]))
        return chosen, classes[chosen] == self.of_class

    def _expected(self, scene: Scene, layers: list[Layer], mine: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """How much the loss over the class would rise without each unit, to first order, and how much its odds would change.

        Where a network is sure of its answer the loss is flat, however much a unit is needed; the logarithm of the odds is not.
        """
        reading, number = scene.reading, self.of_class

        def chance(output: object, _: object) -> Tensor:
            probabilities = reading.probabilities(reading.scores(output))
            return probabilities[:, number].clamp_min(1e-30).log()

        target = Target("the logarithm of the probability of the class", (), chance)
        total = np.zeros((2, sum(one.units for one in layers)))
        # A cell that is silenced says nothing to its own next step either: what it is worth is the slope by a factor at each of its steps.
        factors = {one.name: torch.ones(one.units, device=scene.device, requires_grad=True) for one in layers if one.part}
        plain = [one.name for one in layers if not one.part]
        edits = (*scene.edits, *(Edit(Key("layer", name), scale=factor) for name, factor in factors.items()))
        for start in range(0, len(mine), BATCH):
            x = fed(scene.model, scene.live.batch(mine[start : start + BATCH].tolist(), scene.device))
            look = Look(
                scene.model, x=x, kind=scene.kind, reading=reading, classes=scene.classes, table=scene.layers, cancel=scene.cancel,
                edits=edits,
            )
            there = look.run(x, target, keep=plain, grad=True)
            points = [factors[one.name] if one.part else there[one.name] for one in layers]
            parts = []
            for one, value, slope in zip(layers, points, look.gradients(there.value, points), strict=True):
                product = (by_unit(one, (value * slope).detach()) if not one.part else slope[None]).double()
                product = product.flatten(2).sum(2) if product.ndim > 2 else product
                # A cell's slope is of the whole batch.
                unsure = (1 - there.value.detach().double().exp()).clamp_min(UNSURE).to(product.device)
                by_odds = product / (unsure[:, None] if not one.part and len(product) == len(unsure) else unsure.mean())
                parts.append(torch.stack([product.sum(0), by_odds.sum(0)]).cpu().numpy())
            total += np.concatenate(parts, 1)
        return finite(total[0] / len(mine)), finite(total[1] / len(mine))

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each silenced unit."""
        layers = hidden(scene)
        if not isinstance(value, dict) or set(value) != {"layers", *NUMBERS, *ARRAYS} or value["layers"] != [one.name for one in layers]:
            raise ValueError("layers and numbers are wanted")
        if type(value["of"]) is not int or value["of"] != sum(one.units for one in layers):
            raise ValueError("how many units there are is wanted")
        if any(type(value[name]) is not int or value[name] < 0 for name in NUMBERS):
            raise ValueError("counts of units and examples are wanted")
        count = min(self.count, value["of"])
        for name, kind in ARRAYS.items():
            if not isinstance(value[name], np.ndarray) or value[name].dtype.kind != kind or value[name].shape != (count,):
                raise ValueError(f"{name} of another shape")
        if any(not 0 <= k < len(layers) or not 0 <= unit < layers[k].units for k, unit in zip(value["layer"], value["unit"], strict=True)):
            raise ValueError("units of the layers are wanted")


def unserved(scene: Scene) -> str | None:
    """Why units cannot be said to serve a class; None where they can."""
    if (reason := unlabelled(scene, "it asks what a class loses")) is not None:
        return reason
    classes = np.asarray(classes_of(scene))
    if len(np.unique(classes[classes >= 0])) < 2:
        return "it compares a class with the others, and wants examples of at least two classes"
    if hidden(scene):
        return None
    wants = "it silences units between input and answer, and"
    if any(one.complex for one in _weighing(scene)):
        return f"{wants} those of this network answer with complex numbers, whose cost it cannot expect"
    return f"{wants} the network has no layer there that answers once an example"


def _weighing(scene: Scene) -> list[Layer]:
    """The layers that learn something of their own."""
    return [one for one in scene.layers.leaves if one.weight is not None and not one.normalises]


def hidden(scene: Scene) -> list[Layer]:
    """The layers whose units are silenced: all that learn something of their own, but for the one whose units are the answers, and what
    other heads come behind it; each behind the norm that follows at once."""
    found = [one for one in _weighing(scene) if one.shape and one.each and not one.complex]
    if not found:
        return []

    def made() -> list[str]:
        leading = answering(scene.model, scene.reading, found, fed(scene.model, scene.live.batch([0], scene.device))) or found
        end = leading[-1].order if answers(scene, leading[-1]) else np.inf
        return [one.name for one in found if one.order < end]

    kept = [scene.layers.handed(scene.layers[name]) for name in scene.once("serving/hidden", made)]
    return list({one.name: one for one in kept if one.each and not one.complex}.values())


def _silenced(layer: Layer, unit: int) -> Edit:
    return Edit(Key("unit", layer.name, (unit,)), lesion=True)


def _spread(those: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """So many at most, evenly from first to last."""
    found: NDArray[np.int64] = those[np.linspace(0, len(those) - 1, min(len(those), max(count, 1))).astype(int)]
    return found


def _first(expected: Floats, odds: Floats) -> list[int]:
    """The units that are silenced on few examples: all, or those that either estimate puts first in turn, and for an eighth any."""
    if len(expected) <= TRIED:
        return list(range(len(expected)))
    orders = (np.argsort(-numbers, kind="stable").tolist() for numbers in (expected, np.abs(odds)))
    best = list(dict.fromkeys(k for both in zip(*orders, strict=True) for k in both))
    kept = TRIED - TRIED // 8
    return [*best[:kept], *np.random.default_rng(1).permutation(np.array(best[kept:]))[: TRIED - kept].tolist()]


def area(values: Floats, own: NDArray[np.bool_]) -> Floats:
    """How well each column tells some rows from the others: the area under the curve, ties counted half."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    inside, outside = int(own.sum()), int((~own).sum())
    found: Floats = (ranks[own].sum(0) - inside * (inside + 1) / 2) / (inside * outside)
    return found


def _mean(values: Floats, share: Floats) -> float:
    good = np.isfinite(values) & (share > 0)
    return float(np.average(values[good], weights=share[good])) if good.any() else float("nan")
