"""An input as a layer holds it: place by place, and as few groups of units that are on together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...data import nesting
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...methods.grouping import factored
from ...methods.method import Look
from ...model.directions import finite
from ...model.edits import Edit
from ...model.layers import Layer, by_unit
from ...model.targets import Target
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

STEPS = 32
"""So many points of the way from nothing to the layer's answer: the midpoints of equal pieces."""
TOGETHER = 8
ANSWERED = ("classification", "multi_label", "regression")
ARRAYS = ("values", "attribution", "weights", "groups", "added")


class PartsDerivation(Derivation):
    """An input as a layer holds it: what its units answer at each place, what that adds to an answer, and few non-negative groups of it.

    *Meaning* ``values`` is what the units answer, behind the ReLU that follows at once; ``attribution`` what each unit adds at each
    place to the score of the answer, by integrated gradients from a layer that says nothing. ``groups`` are directions among the
    units and ``weights`` how much of each lies at a place: their products sum to the positive part of ``values``, but for the share
    ``left``; ``added`` is what each group adds to the answer.
    *Shapes* values and attribution (units, rows, columns); weights (groups, rows, columns); groups (groups, units); added (groups,).
    The attribution is empty where the network has no score to add to.
    *Units* attributions those of the score.
    *Error* attribution sums to ``score`` less ``without``, the score with the layer at zero: midpoints, of second order.
    *Cost* one forward pass, and 32 forward and backward passes.
    *Source* Olah et al. 2018, The Building Blocks of Interpretability; Sundararajan et al. 2017; Lee & Seung 1999.
    """

    on = "examples"

    layer: str = knob("", "The layer, one with maps.", kind="layer")
    example: int = knob(0, "The example of the probe set.", low=0)
    answer: int | None = knob(None, "The class whose score is added to; the likeliest when left open.", kind="integer", low=0)
    groups: int = knob(4, "So many groups at most.", low=1, high=12)

    def fits(self, scene: Scene) -> str | None:
        """The layer has maps, and the example is there."""
        if scene.missing is not None:
            return scene.missing
        if (reason := unmapped(scene, scene.layers[self.layer])) is not None:
            return reason
        count = len(scene.examples)
        return None if self.example < count else f"the probe set has examples 0 to {count - 1}, got {self.example}"

    def cost(self, scene: Scene) -> Cost:
        """A pass, and some back."""
        return Cost(STEPS + 2, STEPS)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """What each place answers and adds, then the groups."""
        yield from decomposed(scene, scene.current(example=self.example).x, self.layer, self.answer, self.groups)

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each unit, place and group."""
        layer = scene.layers[self.layer]
        if not isinstance(value, dict) or set(value) != {*ARRAYS, "left", "score", "without", "answer"}:
            raise ValueError("values, attribution and groups are wanted")
        if any(not isinstance(value[name], np.ndarray) or value[name].dtype != np.float64 for name in ARRAYS):
            raise ValueError("arrays of numbers are wanted")
        count, shape = len(value["groups"]), _shape(layer)
        wanted = {"values": shape, "weights": (count, *shape[1:]), "groups": (count, shape[0]), "added": (count,)}
        told = value["attribution"].size > 0
        wanted["attribution"] = shape if told else (0, *shape[1:])
        if any(value[name].shape != each for name, each in wanted.items()) or count > self.groups:
            raise ValueError("arrays of other shapes")
        if any(type(value[name]) is not float for name in ("left", "score", "without")) or type(value["answer"]) is not int:
            raise ValueError("the score and its answer are wanted")


def unmapped(scene: Scene, layer: Layer) -> str | None:
    """Why a layer's places are none of a picture; None where they are."""
    if not layer.spatial or len(layer.shape) != 3 or not layer.each:
        return f"it wants a layer that answers with flat maps, and {layer.name} does not; choose a convolution"
    if layer.complex:
        return f"it takes sums of units, and those of {layer.name} are complex numbers; choose a layer behind their magnitude"
    return None


def _shape(layer: Layer) -> tuple[int, ...]:
    return (layer.units, *(side for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis))


def decomposed(scene: Scene, x: Nested, name: str, answer: int | None = None, groups: int = 4) -> Iterator[Stage]:
    """The stages for one input."""
    layer = scene.layers[name]
    source = scene.layers.handed(layer)
    rectified = source.rectified or layer.kind in ("ReLU", "ReLU6")
    look = Look(
        scene.model, x=x, kind=scene.kind, reading=scene.reading, classes=scene.classes, table=scene.layers, cancel=scene.cancel,
        edits=scene.edits,
    )
    scores, kept = scene.look(x, [source.name])
    raw = kept[source.name].detach()
    raw = raw.clamp_min(0) if rectified else raw
    values = by_unit(source, raw)[0].double().cpu().numpy()
    target, number = _target(scene, scores, answer)
    score = without = float("nan")
    attribution = np.zeros((0, *values.shape[1:]))
    if target is not None:
        try:
            score, without, slope = _integrated(look, x, source, raw, target)
            with np.errstate(invalid="ignore", over="ignore"):
                attribution = values * slope
        except NotApplicable:
            number = -1
    value: dict[str, Any] = {
        "values": values, "attribution": attribution, "weights": np.zeros((0, *values.shape[1:])), "groups": np.zeros((0, len(values))),
        "added": np.zeros(0), "left": 1.0, "score": score, "without": without, "answer": number,
    }
    yield Stage(value, 1.0, 2.0, "groups of units that are on together")
    rows = np.maximum(finite(values), 0).reshape(len(values), -1).T
    try:
        found = factored(rows, groups)
    except NotApplicable:
        yield Stage(value, 2.0, 2.0)
        return
    weights = found.weights.T.reshape(-1, *values.shape[1:])
    slope = attribution / np.where(values != 0, values, 1.0) if attribution.size else np.zeros_like(values)
    with np.errstate(invalid="ignore", over="ignore"):
        added = np.einsum("ghw,gu,uhw->g", weights, found.parts, slope)
    yield Stage({**value, "weights": weights, "groups": found.parts, "added": added, "left": found.left}, 2.0, 2.0)


def _target(scene: Scene, scores: Tensor, answer: int | None) -> tuple[Target | None, int]:
    """What is added to; None where the network has no scores of classes or numbers."""
    if scene.task not in ANSWERED or scores.ndim < 2:
        return None, -1
    if answer is None:
        flat = scores[0].flatten(1).mean(1) if scores.ndim > 2 else scores[0]
        answer = int(flat.nan_to_num(-torch.inf).argmax()) if len(flat) > 1 else int(scene.task == "classification" and float(flat[0]) > 0)
    reading = scene.reading
    return Target.of(answer, scene.classes, outputs=reading.outputs, layers=scene.layers, task=scene.task), answer


def _integrated(look: Look, x: Nested, source: Layer, raw: Tensor, target: Target) -> tuple[float, float, np.ndarray]:
    """The score, the score with the layer at zero, and the mean slope on the way between (units, rows, columns)."""
    shares = (torch.arange(STEPS, dtype=raw.dtype, device=raw.device) + 0.5) / STEPS
    total = torch.zeros_like(raw[0], dtype=torch.float64, device="cpu")
    for chosen in torch.split(shares, TOGETHER):
        at = (chosen.reshape(-1, *[1] * (raw.ndim - 1)) * raw).requires_grad_()
        values = _asked(look, x, source, at, target, grad=True)
        if not values.requires_grad:
            raise NotApplicable("the score does not depend on the layer in a differentiable way")
        (slope,) = look.gradients(values, (at,))
        total += slope.double().sum(0).cpu()
    with torch.no_grad():
        both = _asked(look, x, source, torch.cat([raw, torch.zeros_like(raw)]), target, grad=False)
    mean = by_unit(source, (total / STEPS)[None])[0].numpy()
    return float(both[0]), float(both[1]), mean


def _asked(look: Look, x: Nested, source: Layer, at: Tensor, target: Target, *, grad: bool) -> Tensor:
    """The target with each row of ``at`` in the layer's place."""
    many = nesting.each(x, lambda part: part.expand(len(at), *part.shape[1:]).clone())
    own = look.on(many, slice(None))
    own.edits = (*look.edits, Edit(Key("layer", source.name), patch=at))
    return own.run(many, target, grad=grad).value
