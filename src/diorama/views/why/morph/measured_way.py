"""What is measured along one way from an input to another: answers, flips, activity, read-outs, units, maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.errors import NotApplicable
from ....core.rounding import summed
from ....data import nesting
from ....methods.attribute import attributions
from ....methods.method import Look, Method
from ....methods.perturbation.morph import (
    Crossing,
    InputWay,
    LayerWay,
    answers,
    decided,
    effects,
    flips,
    put_back,
    walk,
)
from ....methods.readout import ReadOut, fit, pooled
from ....model.layers import Layer, by_unit
from ....model.own_places import Owners
from ....model.plain_module import fed
from ....model.targets import Target
from ....scene import Scene
from ....scene.input import stretches
from ...units import ShownLayer, main_layers

Floats = NDArray[np.float64]
DEEP = 10
"""So many layers are read out; of more, evenly spread ones."""
UNITS = 10
STRIP = 6
QUICK = 20
"""Steps of a search that begins between two inputs that were found already."""
BATCH = 64


@dataclasses.dataclass
class MeasuredWay:
    """One way, with whatever has been found out about it so far."""

    way: InputWay
    places: list[float]
    answers: Floats
    decisions: Tensor
    flips: list[Crossing]
    changed: Floats | None = None
    """Of a segmentation: the share of its places that have another class than at the start."""
    active: dict[str, Floats] = dataclasses.field(default_factory=dict)
    means: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    depth: dict[str, tuple[Floats, ReadOut]] = dataclasses.field(default_factory=dict)
    units: list[UnitChange] = dataclasses.field(default_factory=list)
    margins: tuple[float, float] = (0.0, 0.0)
    """The target just before and just behind the flip."""
    accounted: tuple[str, float] | None = None
    """The deepest layer, and the share of the target's change that its units sum to."""
    maps: tuple[Any, Any] | None = None
    """The inputs on both sides of the flip, and their attributions."""
    embedded: Tensor | None = None
    """For tokens: slope times embedding on both sides, (2, tokens)."""
    strip: Tensor | None = None
    """Inputs at evenly spread places and on both sides of the flip."""
    strip_gaps: Tensor | None = None
    """How far their codes are from the mixed ones, for a way through a layer's space."""
    known: list[int] = dataclasses.field(default_factory=list)
    """The classes that the read-outs know."""

    @property
    def flip(self) -> float | None:
        """Where the answer first changes."""
        return self.flips[0].place if self.flips else None

    def sides(self, window: float) -> tuple[float, float]:
        """The places on both sides of the flip; start and end where nothing flips."""
        if self.flip is None:
            return 0.0, 1.0
        return max(0.0, self.flip - window), min(1.0, self.flip + window)


@dataclasses.dataclass(frozen=True)
class UnitChange:
    """What a unit did across the flip."""

    layer: str
    number: int
    before: float
    after: float
    effect: float
    alone: float
    """The target behind the flip, with this unit alone set back."""


def travelled(way: InputWay, count: int) -> MeasuredWay:
    """The answers along a way and the places where they flip."""
    places = [k / (count - 1) for k in range(count)]
    scores = torch.cat([there.scores.detach() for _, there in walk(way, places, ())])
    decisions = decided(way.look, scores, way.at).cpu()
    found = answers(way.look, scores, way.at).double().cpu().numpy()
    changed = None
    if way.look.task == "segmentation":
        given = way.look.reading.predictions(scores).reshape(len(scores), -1)
        changed = (given != given[:1]).double().mean(1).cpu().numpy()
    return MeasuredWay(way, places, found, decisions, flips(way, places, decisions), changed)


def followed(scene: Scene) -> list[ShownLayer]:
    """The layers that are looked into: those that learn something, without embeddings and the one that answers."""
    found = [one for one in main_layers(scene) if "Embedding" not in one.layer.kind and one.layer.weight is not None]
    if len(found) > 1:
        found = found[:-1]
    if len(found) <= DEEP:
        return found
    return [found[round(k * (len(found) - 1) / (DEEP - 1))] for k in range(DEEP)]


def look_inside(told: MeasuredWay, layers: Sequence[ShownLayer], reads: dict[str, ReadOut]) -> None:
    """Activity, mean activations and read-outs along a way; one more walk."""
    chosen = [one for one in layers if told.way.after(one.source)]
    found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {one.name: [] for one in chosen}
    owners = Owners(told.way.look.kind)
    for places, there in walk(told.way, told.places, [one.source for one in chosen]):
        owners.read(nesting.join([told.way.start] * len(places)))
        for one in chosen:
            values = _units(one, there[one.source.name])
            active = owners.mean((values > 0).float()).mean(1)
            means = owners.mean(values)
            cells = reads[one.name].mean.numel() // values.shape[1] if one.name in reads else None
            found[one.name].append((active, means, pooled(values, owners.own(values), cells)))
    for name, parts in found.items():
        active, means, rows = (torch.cat(part) for part in zip(*parts, strict=True))
        told.active[name], told.means[name] = active.double().numpy(), means
        if name in reads:
            told.depth[name] = reads[name](rows).double().numpy(), reads[name]


def _units(one: ShownLayer, raw: Tensor) -> Tensor:
    """A captured activation with its units at 1, as the next layer gets it."""
    return one.values(by_unit(one.source, raw.detach())).cpu()


def read_outs(scene: Scene, layers: Sequence[ShownLayer], without: Sequence[int]) -> tuple[dict[str, ReadOut], list[int]]:
    """A linear read-out of each layer, fitted on the live examples but those in ``without``; and the classes it knows."""
    if scene.task not in ("classification", "regression"):
        return {}, []
    y = scene.reading.truth(scene.live.y) if scene.live.y is not None else scene.predictions()
    if y.reshape(len(y), -1).shape[1] != 1:
        return {}, []
    y = y.reshape(len(y))
    known: list[int] = []
    if scene.task == "classification":
        known = sorted({int(k) for k in y if k >= 0})
        without = [*without, *(y < 0).nonzero()[:, 0].tolist()]
        y = torch.searchsorted(torch.tensor(known), y.long())
        if len(known) < 2:
            return {}, known
    leave = torch.zeros(len(y), dtype=torch.bool)
    leave[[k for k in without if k < len(y)]] = True
    names = tuple(one.name for one in layers)
    rows = scene.once(f"morph/rows/{names}", lambda: _rows(scene, layers))
    made = {name: fit(rows[name], y, len(known), leave) for name in names}
    return {name: read for name, read in made.items() if read is not None}, known


def _rows(scene: Scene, layers: Sequence[ShownLayer]) -> dict[str, Tensor]:
    table = {one.source.name: one for one in layers}
    parts: dict[str, list[Tensor]] = {name: [] for name in table}
    owners, words = Owners(scene.kind), stretches(scene.kind, scene.live.x)
    longest = max((one.stop - one.start for one in words or ()), default=0)

    def row(name: str, tensor: Tensor) -> Tensor:
        values = _units(table[name], tensor)
        # A batch of texts that fill all places has as many cells as those with padding.
        along = any(part.ndim == 2 and part.shape[1] == values.shape[-1] for part in nesting.tensors(scene.live.x))
        return pooled(values, owners.own(values), longest if words and along and values.ndim == 3 else None)

    for first in range(0, len(scene.live), BATCH):
        chosen = list(range(first, min(first + BATCH, len(scene.live))))
        x = fed(scene.model, scene.live.batch(chosen))
        kept = scene.kept(owners.read(x), table, reduce=row)
        for name, value in kept.items():
            parts[name].append(value)
    return {table[name].name: torch.cat(value) for name, value in parts.items()}


def weigh_units(told: MeasuredWay, layers: Sequence[ShownLayer], target: Target, window: float) -> None:
    """The units that did most to the target across the flip, and what each of them does alone."""
    chosen = [one for one in layers if told.way.after(one.source)]
    sources = [one.source for one in chosen]
    low, high = told.sides(window)
    ends = told.way.run([low, high], target, keep=[layer.name for layer in sources])
    before, after = (float(value) for value in ends.value.detach())
    told.margins = before, after
    if not chosen:
        return
    done = effects(told.way, sources, target, low, high)
    ranked = sorted(
        ((float(value), one, unit) for one in chosen for unit, value in enumerate(done[one.source.name])),
        key=lambda row: -abs(np.nan_to_num(row[0])),
    )[:UNITS]
    if after != before:
        # Both directions of a recurrent layer count as one.
        deepest = [layer for layer in sources if layer.path == sources[-1].path]
        whole = sum(float(done[layer.name].sum()) for layer in deepest)
        told.accounted = deepest[-1].path, whole / (after - before)
    told.units = []
    owners = Owners(told.way.look.kind)
    owners.read(nesting.join([told.way.start] * 2))
    for effect, one, unit in ranked:
        values = owners.mean(_units(one, ends[one.source.name]).double())[:, unit]
        alone = put_back(told.way, one.source, unit, low, high, target)
        told.units.append(UnitChange(one.name, unit, float(values[0]), float(values[1]), effect, alone))


def map_sides(told: MeasuredWay, target: Target, method: Method, window: float) -> None:
    """The attributions of the target to the inputs on both sides of the flip.

    *Raises* NotApplicable where the method does not fit.
    """
    x = told.strip[-2:] if isinstance(told.way, LayerWay) and told.strip is not None else None
    if x is None:
        x = told.way.inputs(told.sides(window))
    if x is None:
        return
    *_, last = attributions(told.way.look, x, target, method)
    told.maps = x, last


def embedded_sides(told: MeasuredWay, target: Target, window: float) -> Tensor | None:
    """For tokens: slope times embedding at both sides of the flip, summed over the embedding, (2, tokens)."""
    if isinstance(told.way, LayerWay):
        return None
    points = tuple(point.requires_grad_() for point in told.way.points(told.sides(window)))
    there = told.way.run([0.0, 0.0], target, points=points, grad=True)
    slopes = told.way.look.gradients(there.value, points)
    found = [summed(slope * point.detach(), -1, torch.finfo(slope.dtype).eps) for slope, point in zip(slopes, points, strict=True)]
    return found[0].detach().cpu() if found and found[0].ndim == 2 else None


def strip_places(told: MeasuredWay, window: float) -> list[float]:
    """Evenly spread places, and the two sides of the flip."""
    return [k / (STRIP - 1) for k in range(STRIP)] + list(told.sides(window))


def between(strip: Tensor, at: float) -> Tensor:
    """The mix of the two inputs of a strip that stand next to a place, as a batch of one."""
    left = min(int(at * (STRIP - 1)), STRIP - 2)
    share = at * (STRIP - 1) - left
    return (1 - share) * strip[left : left + 1] + share * strip[left + 1 : left + 2]


def nearest_tokens(look: Look, points: Tensor, like: Tensor, size: int) -> list[int]:
    """The tokens whose embeddings lie nearest to given ones (tokens, width)."""
    length = like.shape[1]
    rows = -(-size // length)
    numbers = torch.arange(rows * length).clamp_max(size - 1).reshape(rows, length).to(like)
    table = look.points(numbers)[0].detach().reshape(rows * length, -1)[:size]
    return [int(k) for k in torch.cdist(points.float(), table.float()).argmin(1)]


def carried(look: Look, start: Any, end: Any, layer: Layer | None, table: Sequence[Layer]) -> LayerWay:
    """The way through the named layer, else through an early one that everything goes through.

    *Raises* NotApplicable where there is none.
    """
    if layer is not None:
        return LayerWay(look, start, end, layer.name)
    last = max((one.order for one in table), default=0)
    fitting = [one for one in table if not one.part and one.order < last and "Embedding" not in one.kind]
    weighty = [one for one in fitting if one.leaf and one.weight is not None]
    # One that others with something to say come after: a third of the way in.
    middle = (len(weighty) - 2) / 3
    ranked = sorted(range(len(weighty)), key=lambda k: abs(k - middle))
    for one in (*(weighty[k] for k in ranked), *fitting):
        try:
            return LayerWay(look, start, end, one.name)
        except NotApplicable:
            continue
    texts = any(not part.is_floating_point() for part in nesting.tensors(start))
    raise NotApplicable(
        "between these two inputs no layer carries the whole answer (what goes round it, as a skip or a mask of padding, stays that of the start), "
        f"so there is no way through a layer's space{'; between texts of one length there may be one' if texts else ''}"
    )


def same(a: Any, b: Any) -> bool:
    """Whether two inputs are equal."""
    return all(torch.equal(x, y) for x, y in zip(nesting.tensors(a), nesting.tensors(b), strict=True))
