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
ARRAYS = {"layer": "i", "unit": "i", "expected": "f", "area": "f", "cost": "f", "others": "f", "lost": "f"}


class ServingDerivation(Derivation):
    """Which units serve a class: what silencing each costs it, and what it costs the others, measured.

    *Meaning* of all units of the hidden layers, those are silenced one by one that are expected to cost most to first order, and those
    that tell the class from the others best. ``cost`` is how much the loss over examples of the class rises, ``others`` over all others;
    ``lost`` how much less of the class is answered rightly, with what becomes right taken off. ``area`` tells the class from others by the
    unit alone: the area under the curve, 0.5 by chance. A recurrent unit is silenced at each of its steps, and expected to cost what the
    slope by its strength at all of them says.
    *Shapes* one number a silenced unit, the dearest for the class first; ``layers`` names what ``layer`` counts, ``of`` how many there are.
    *Units* those of the loss.
    *Cost* a pass forward and back an example of the class; one pass an example for each silenced unit.
    *Source* Morcos et al. 2018 (lesions); Molchanov et al. 2017, equation 6 (the expected cost).
    """

    version = 3

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
        """A pass an example and unit."""
        return Cost((self.count + 2) * min(self.examples, len(scene.live)), len(scene.live))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Unit by unit."""
        layers = hidden(scene)
        chosen, own = self._examples(scene)
        yield Stage(None, 0.0, self.count + 1.0, "what each unit is expected to cost")
        expected = self._expected(scene, layers, chosen[own])
        values = {one.name: finite(scene.responses([one.name])[one.name].mean.double().numpy())[chosen] for one in layers}
        areas = np.concatenate([area(values[one.name], own) for one in layers])
        each = np.concatenate([np.full(one.units, k) for k, one in enumerate(layers)])
        unit = np.concatenate([np.arange(one.units) for one in layers])
        by_area = np.argsort(-np.abs(areas - 0.5), kind="stable")[: max(1, self.count // 4)]
        by_cost = np.argsort(-expected, kind="stable")
        candidates = list(dict.fromkeys([*by_cost[: self.count - len(by_area)].tolist(), *by_area.tolist(), *by_cost.tolist()]))[: self.count]
        base, answers = losses(scene, chosen)
        rightly, (share, count) = right(scene, chosen, answers), weights(scene, chosen)
        told: list[tuple[int, float, float, float]] = []
        for number, k in enumerate(candidates):
            edit = Edit(Key("unit", layers[each[k]].name, (int(unit[k]),)), lesion=True)
            after, answers = losses(scene, chosen, (edit,))
            rise, fewer = after - base, rightly - right(scene, chosen, answers)
            told.append((k, _mean(rise[own], share[own]), _mean(rise[~own], share[~own]), _mean(fewer[own], count[own])))
            final = number == len(candidates) - 1
            yield Stage(
                self._value(layers, each, unit, expected, areas, told), number + 1.0 + final, self.count + 1.0,
                f"{number + 1} of {len(candidates)} units silenced",
            )

    def _value(
        self, layers: list[Layer], each: np.ndarray, unit: np.ndarray, expected: Floats, areas: Floats,
        told: list[tuple[int, float, float, float]],
    ) -> dict[str, Plain]:
        told = sorted(told, key=lambda one: -one[1])
        which = np.array([one[0] for one in told])
        cost, others, lost = (np.array([one[k] for one in told]) for k in (1, 2, 3))
        return {
            "layers": [one.name for one in layers], "of": len(unit), "layer": each[which], "unit": unit[which], "expected": expected[which],
            "area": areas[which], "cost": cost, "others": others, "lost": lost,
        }

    def _examples(self, scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Examples whose class is known, half of them of the class where there are so many; and which are of it."""
        classes = np.asarray(classes_of(scene))
        mine, rest = np.flatnonzero(classes == self.of_class), np.flatnonzero((classes != self.of_class) & (classes >= 0))
        mine = mine[: max(self.examples // 2, 1)]
        spread = rest[np.linspace(0, len(rest) - 1, min(len(rest), self.examples - len(mine))).astype(int)]
        chosen = np.sort(np.concatenate([mine, spread]))
        return chosen, classes[chosen] == self.of_class

    def _expected(self, scene: Scene, layers: list[Layer], mine: NDArray[np.int64]) -> Floats:
        """How much the loss over the class would rise without each unit, to first order."""
        reading, number = scene.reading, self.of_class

        def chance(output: object, _: object) -> Tensor:
            probabilities = reading.probabilities(reading.scores(output))
            return probabilities[:, number].clamp_min(1e-30).log()

        target = Target("the logarithm of the probability of the class", (), chance)
        total = np.zeros(sum(one.units for one in layers))
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
                parts.append((product.flatten(2).sum(2) if product.ndim > 2 else product).sum(0).cpu().numpy())
            total += np.concatenate(parts)
        return finite(total / len(mine))

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each silenced unit."""
        layers = hidden(scene)
        if not isinstance(value, dict) or set(value) != {"layers", "of", *ARRAYS} or value["layers"] != [one.name for one in layers]:
            raise ValueError("layers and numbers are wanted")
        if type(value["of"]) is not int or value["of"] != sum(one.units for one in layers):
            raise ValueError("how many units there are is wanted")
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
