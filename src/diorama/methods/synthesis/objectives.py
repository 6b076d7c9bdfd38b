"""What a synthesis aims at, as values that can be added, subtracted and weighted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...core.selection import Key, spoken
from ...data.nesting import Nested
from ...data.text_places import at_ends
from ...model.capture import Capture
from ...model.directions import Direction
from ...model.layers import Layer, LayerTable, by_unit
from ...model.outputs import Reading
from ...model.targets import Target, called
from ..method import Look


@dataclasses.dataclass(frozen=True)
class SeenPass:
    """What one forward pass of inputs showed: the output (None where the pass ended early) and the layers that were kept."""

    output: Any
    look: Capture
    looking: Look
    """What it was looked with."""
    x: Nested

    @property
    def table(self) -> LayerTable:
        """The layers."""
        return self.looking.layers

    @property
    def reading(self) -> Reading:
        """How the output is read."""
        return self.looking.reading

    def units(self, layer: str) -> Tensor:
        """A kept layer's activations with the units on axis 1."""
        known, found = self.table[layer], self.look[layer]
        if known.reason and len(found) != 1:
            raise NotApplicable(f"{layer} {known.reason}, so what several inputs do there cannot be told apart; make one at a time")
        return by_unit(known, found)

    def scores(self) -> Tensor:
        """The scores of the output, (n, classes): at the last token of a text, the mean over the places of a map."""
        scores = self.reading.scores(self.output)
        if scores.ndim == 1:
            return scores[:, None]
        if scores.ndim == 3:
            return at_ends(self.looking.kind, self.x, scores)
        return scores.flatten(2).mean(2) if scores.ndim > 3 else scores


Take = Callable[[SeenPass], Tensor]


@dataclasses.dataclass(frozen=True)
class Objective:
    """One number for each input of a batch, which a synthesis makes as large as it can.

    *Meaning* objectives are values: ``unit("conv3", 4) - 0.5 * class_(2) + diversity("conv3")``; a tensor (n,) weighs
    each input of the batch on its own.
    *Shapes* (n,).
    """

    text: str
    keep: tuple[str, ...]
    take: Take = dataclasses.field(repr=False)
    answers: bool = False
    """It needs the model's answer, not only the layers that it keeps."""
    absolute: bool = False
    """Its slope is taken as it is; otherwise it is brought to one size, so that priors weigh the same for all units."""
    own: Take | None = dataclasses.field(default=None, repr=False)
    """Where the inputs of a batch have objectives of their own, see :meth:`across`."""

    def __call__(self, seen: SeenPass) -> Tensor:
        """The value for each input."""
        return self.take(seen)

    def across(self, seen: SeenPass) -> Tensor:
        """What every input of any batch is worth to each of the objectives, (inputs, objectives)."""
        return self.take(seen)[:, None] if self.own is None else self.own(seen)

    def of_some(self, numbers: Sequence[int]) -> Objective:
        """The objectives with the numbers alone, for a batch of as many inputs."""

        index, wide = torch.tensor(list(numbers))[:, None], max(numbers) + 1

        def take(seen: SeenPass) -> Tensor:
            values = self.across(seen)
            return values.expand(-1, max(values.shape[1], wide)).gather(1, index.to(values.device))[:, 0]

        return dataclasses.replace(self, take=take, own=None)

    def __add__(self, other: Objective) -> Objective:
        return self._with(other, f"{self} + {other}", lambda a, b: a + b)

    def __sub__(self, other: Objective) -> Objective:
        return self._with(other, f"{self} − {other}", lambda a, b: a - b)

    def __mul__(self, weight: float | Tensor) -> Objective:
        told = f"{weight:g} · " if isinstance(weight, float | int) else ""
        return self._changed(f"{told}{self}", lambda values: weight * values)

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self._changed(f"− {self}", lambda values: -values)

    def __str__(self) -> str:
        return self.text

    def _changed(self, text: str, by: Callable[[Tensor], Tensor]) -> Objective:
        return dataclasses.replace(self, text=text, take=lambda seen: by(self.take(seen)), own=lambda seen: by(self.across(seen)))

    def _with(self, other: Objective, text: str, both: Callable[[Tensor, Tensor], Tensor]) -> Objective:
        if not isinstance(other, Objective):
            raise UsageError(f"an objective is added to an objective, got {type(other).__name__}")
        return Objective(
            text, tuple(dict.fromkeys((*self.keep, *other.keep))), lambda seen: both(self.take(seen), other.take(seen)),
            self.answers or other.answers, self.absolute and other.absolute,
            lambda seen: both(self.across(seen), other.across(seen)),
        )

    @classmethod
    def of(
        cls, value: Any, table: LayerTable, reading: Reading, classes: Sequence[str] = ()
    ) -> Objective:
        """Read an objective: a class (index or name), a key (``"conv3/4"``, ``"unit:conv3/4@2,2"``, ``"layer:conv3"``),
        a pair (the first minus the second), a target, or a callable from the model's output to (n,) numbers.

        *Raises* NotFound or UsageError for a class, layer, unit or place that is not there.
        """
        if isinstance(value, Objective):
            return value
        if isinstance(value, Direction):
            return dataclasses.replace(direction(value.layer, torch.from_numpy(value.vector)), text=value.name)
        if isinstance(value, tuple | list):
            if len(value) != 2:
                raise UsageError(f"a difference wants two objectives, got {len(value)}")
            first, second = (cls.of(part, table, reading, classes) for part in value)
            return first - second
        if isinstance(value, str) and value in table.names and value not in classes:
            return norm(value)
        key = value if isinstance(value, Key) else _key(value, classes)
        if key is not None and key.kind == "layer":
            table[key.name]
            return norm(key.name)
        if key is not None and key.kind == "unit":
            check_unit(table[key.name], key)
            return woken(unit(key.name, key.number, key.place or None), key.name, [key.number], table)
        if key is not None and key.kind == "class":
            return class_(key.number, classes, reading.task)
        target = Target.of(value, classes, outputs=reading.outputs, layers=table, task=reading.task)
        return Objective(str(target), target.keep, lambda seen: target(seen.output, seen.look), not target.keep)

    def until(self, table: LayerTable) -> str | None:
        """The layer after which a forward pass may end; None where the answer is needed."""
        if self.answers or not self.keep:
            return None
        return max(self.keep, key=lambda name: table[name].order)


def _key(value: Any, classes: Sequence[str]) -> Key | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Key("class", "", (value,))
    if isinstance(value, str):
        if value in classes:
            return Key("class", "", (list(classes).index(value),))
        if value.isdecimal():
            return Key("class", "", (int(value),))
        if value.partition(":")[0] in ("unit", "layer", "class"):
            return Key.parse(value)
        if "/" in value:
            return Key.parse(f"unit:{value}")
    return None


def check_unit(layer: Layer, key: Key) -> None:
    """Refuse a unit or a place that the layer does not have."""
    if key.number >= layer.units:
        raise UsageError(f"{layer.name} has units 0 to {layer.units - 1}, got {key.number}")
    sides = places(layer)
    if key.place and (len(key.place) != len(sides) or any(k >= n for k, n in zip(key.place, sides, strict=True))):
        raise UsageError(f"the places of {layer.name} have shape {sides}, got {str(key)!r}")


def places(layer: Layer) -> tuple[int, ...]:
    """The shape of a unit's map; empty for a single number."""
    return tuple(side for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def at_place(values: Tensor, axes: int, place: Sequence[int]) -> Tensor:
    """Values at one place, whose position stands on the axes after the first ones."""
    for position in place:
        values = values.select(axes, position)
    return values


def unit(layer: str, number: int, place: Sequence[int] | None = None) -> Objective:
    """A unit: its mean over all its places, or its value at one."""
    return units(layer, [number], place)


def channel(layer: str, number: int) -> Objective:
    """A feature map's mean over all its places."""
    return units(layer, [number])


def neuron(layer: str, number: int, place: Sequence[int] | None = None) -> Objective:
    """A feature map at one place, the middle one when left open."""

    def take(seen: SeenPass) -> Tensor:
        values = seen.units(layer)[:, number]
        return at_place(values, 1, place if place is not None else [side // 2 for side in values.shape[1:]])

    return Objective(f"{spoken(layer)}/{number}@" + (",".join(map(str, place)) if place else "middle"), (layer,), take)


def units(layer: str, numbers: Sequence[int], place: Sequence[int] | None = None) -> Objective:
    """A unit of its own for each input of a batch (or one for all): a whole layer in one pass."""
    said = f"{spoken(layer)}/{numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} units of {spoken(layer)}"
    index = torch.tensor(list(numbers))

    def take(seen: SeenPass) -> Tensor:
        values = seen.units(layer)
        if len(numbers) == 1:
            own = values[:, numbers[0]]
        else:
            if len(numbers) != len(values):
                raise UsageError(f"{len(numbers)} units want as many inputs, got {len(values)}")
            own = values[torch.arange(len(values), device=values.device), index.to(values.device)]
        return at_place(own, 1, place) if place is not None else _mean(own)

    def own(seen: SeenPass) -> Tensor:
        values = seen.units(layer)
        chosen = values[:, index.to(values.device)]
        return at_place(chosen, 2, place) if place is not None else chosen.flatten(2).mean(2) if chosen.ndim > 2 else chosen

    at = "@" + ",".join(map(str, place)) if place is not None else ""
    return Objective(said + at, (layer,), take, own=own)


def peaks(layer: str, numbers: Sequence[int]) -> Objective:
    """Units, each by its value at the place where it responds most."""
    index = torch.tensor(list(numbers))

    def own(seen: SeenPass) -> Tensor:
        values = seen.units(layer)
        values = values[:, index.to(values.device)]
        return values.flatten(2).amax(2) if values.ndim > 2 else values

    def take(seen: SeenPass) -> Tensor:
        values = own(seen)
        return values[:, 0] if len(numbers) == 1 else values.diagonal()

    said = f"{spoken(layer)}/{numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} units of {spoken(layer)}"
    return Objective(f"the peak of {said}", (layer,), take, own=own)


def woken(objective: Objective, layer: str, numbers: Sequence[int], table: LayerTable) -> Objective:
    """The same objective of units behind a ReLU, with the slope that lies before the ReLU where a unit is off at all
    places: its value stays what it is, but what would switch it on is followed.

    *Source* after the redirected ReLU of Olah, Mordvintsev & Schubert 2017.
    """
    here = table[layer]
    source = next((one.name for one in reversed(table.leaves) if one.order < here.order), None)
    if here.kind not in ("ReLU", "ReLU6") or source is None or table[source].shape != here.shape:
        return objective
    if not table[source].rectified:
        return objective
    index = torch.tensor(list(numbers))

    def take(seen: SeenPass) -> Tensor:
        value, after, before = objective(seen), seen.units(layer), seen.units(source)
        rows = torch.arange(len(value), device=value.device)
        own = index.to(value.device).expand(len(value))
        off = (after[rows, own].flatten(1) if after.ndim > 2 else after[rows, own][:, None]).amax(1) <= 0
        follow = _mean(before[rows, own])
        return value + torch.where(off, follow - follow.detach(), torch.zeros_like(follow))

    def every(seen: SeenPass) -> Tensor:
        value = objective.across(seen)
        after, before = (seen.units(name)[:, index.to(value.device)] for name in (layer, source))
        off = (after.flatten(2).amax(2) if after.ndim > 2 else after) <= 0
        follow = before.flatten(2).mean(2) if before.ndim > 2 else before
        return value + torch.where(off, follow - follow.detach(), torch.zeros_like(follow))

    return dataclasses.replace(objective, keep=tuple(dict.fromkeys((*objective.keep, source))), take=take, own=every)


def norm(layer: str) -> Objective:
    """How strongly a whole layer responds: half the mean square of its activations, as deep dream amplifies."""
    return Objective(f"all of {spoken(layer)}", (layer,), lambda seen: seen.look[layer].abs().flatten(1).square().mean(1) / 2)


def class_(number: int, classes: Sequence[str] = (), task: str = "classification") -> Objective:
    """A class: its score and, as long as another class is ahead, its log-probability.

    *Meaning* a score alone may rise while others rise more; where the model answers with probabilities, their
    logarithm is taken, whose slope does not vanish.
    """
    return answers([number], classes, task)


def answers(numbers: Sequence[int], classes: Sequence[str] = (), task: str = "classification") -> Objective:
    """A class of its own for each input of a batch (or one for all)."""

    def own(seen: SeenPass) -> Tensor:
        scores = seen.scores()
        wide = 2 if scores.shape[1] == 1 and seen.reading.task == "classification" else scores.shape[1]
        for number in numbers:
            if number >= wide:
                raise UsageError(f"the model has classes 0 to {wide - 1}, got {number}")
        if scores.shape[1] == 1:
            return scores * _sign(numbers, wide, scores)
        chosen = scores[:, list(numbers)]
        if seen.reading.task not in ("classification", "next_token"):
            return chosen
        if seen.reading.form == "probabilities":
            return chosen.clamp_min(1e-30).log()
        if seen.reading.form == "log_probabilities":
            return chosen
        return chosen + scores.log_softmax(1)[:, list(numbers)]

    def take(seen: SeenPass) -> Tensor:
        values = own(seen)
        return values[:, 0] if len(numbers) == 1 else values.diagonal()

    return Objective(called(numbers[0], classes, task) if len(numbers) == 1 else f"{len(numbers)} classes", (), take, answers=True, own=own)


def measured_as(reading: Reading, key: Key, table: LayerTable) -> str:
    """What the value of the objective of a unit, class or layer is, in words."""
    if key.kind == "unit":
        return "mean activation over all places" if places(table[key.name]) and not key.place else "activation"
    if key.kind != "class":
        return {"layer": "half of the layer's mean square", "direction": "mean length along the direction"}.get(key.kind, "objective")
    if reading.task not in ("classification", "next_token") or reading.form == "values":
        return "score"
    if reading.form in ("probabilities", "log_probabilities"):
        return "logarithm of the probability"
    return "score plus the logarithm of the probability"


def _sign(numbers: Sequence[int], wide: int, scores: Tensor) -> Tensor:
    """One score for two classes speaks for the second and against the first; one number of a regression for itself."""
    signs = [1.0 if wide == 1 or number == 1 else -1.0 for number in numbers]
    return torch.tensor(signs, dtype=scores.dtype, device=scores.device)[None]


def direction(layer: str, vector: Tensor, cosine: float = 0.0, place: Sequence[int] | None = None) -> Objective:
    """A direction among a layer's units: the mean of the projections of all its places on it.

    *Meaning* with ``cosine`` above 0 the projection is weighted by that power of the angle's cosine, so that going
    far in the direction counts only while going nowhere else.
    *Shapes* ``vector`` (units,), or (n, units) for a direction of its own for each input.
    """
    way = vector.detach().float()
    way = way / way.norm(dim=-1, keepdim=True).clamp_min(1e-12)

    def own(seen: SeenPass) -> Tensor:
        values = seen.units(layer)
        if way.shape[-1] != values.shape[1]:
            raise UsageError(f"a direction in {layer} has {values.shape[1]} numbers, got {way.shape[-1]}")
        values = at_place(values, 2, place) if place is not None else values
        along = torch.einsum("nu...,ku->nk...", values, way.to(values).reshape(-1, way.shape[-1]))
        if cosine:
            shares = along / values.norm(dim=1, keepdim=True).clamp_min(1e-6)
            along = along * shares.clamp_min(0.1) ** cosine
        return along.flatten(2).mean(2) if along.ndim > 2 else along

    def take(seen: SeenPass) -> Tensor:
        values = own(seen)
        return values[:, 0] if values.shape[1] == 1 else values.diagonal()

    return Objective(f"a direction in {spoken(layer)}", (layer,), take, own=own)


def difference(first: Objective, second: Objective) -> Objective:
    """The first minus the second."""
    return first - second


def diversity(layer: str) -> Objective:
    """How unlike the inputs of a batch look to a layer: minus the mean cosine between their correlations of units.

    *Meaning* for each input, G = A Aᵀ over the places (the style matrix), brought to length one; its value is minus
    the mean of ⟨G, G'⟩ over the others. 0 for a single input.
    *Source* Olah, Mordvintsev & Schubert 2017, "Feature Visualization", on diversity.
    """

    def take(seen: SeenPass) -> Tensor:
        values = seen.units(layer).flatten(2) if seen.units(layer).ndim > 2 else seen.units(layer)[:, :, None]
        if len(values) < 2:
            return values.sum((1, 2)) * 0
        grams = (values @ values.transpose(1, 2)).flatten(1)
        grams = grams / grams.norm(dim=1, keepdim=True).clamp_min(1e-12)
        alike = grams @ grams.T
        alike = alike - torch.diag(alike.diagonal())
        mean: Tensor = alike.sum(1) / (len(values) - 1)
        return -mean

    def own(seen: SeenPass) -> Tensor:
        # Examples are not unlike each other on purpose, so none is worth anything here.
        return torch.zeros(len(seen.units(layer)), 1, device=seen.units(layer).device)

    return Objective(f"diversity in {spoken(layer)}", (layer,), take, own=own)


def match(layer: str, code: Tensor, size: float | None = None) -> Objective:
    """Nearness to another input's code: minus the squared distance, as a share of the square of ``size``, left open of
    the code's own length.

    *Shapes* ``code`` (1, …) or (n, …) as the layer answers, without the units moved.
    *Source* Mahendran & Vedaldi 2015, equation 2.
    """
    wanted = code.detach()
    own = wanted.float().flatten(1).square().sum(1) if size is None else torch.tensor([size**2])
    share = own.clamp_min(1e-12)

    def take(seen: SeenPass) -> Tensor:
        got = seen.look[layer]
        if got.shape[1:] != wanted.shape[1:]:
            raise NotApplicable(f"the code has shape {tuple(wanted.shape[1:])}, and {layer} answers {got.shape[1:]}")
        far: Tensor = (got - wanted.to(got)).flatten(1).square().sum(1) / share.to(got)
        return -far

    return Objective(f"the code in {spoken(layer)}", (layer,), take, absolute=True)


def each(parts: Sequence[Objective]) -> Objective:
    """An objective of its own for each input of a batch; costs their sum, so use :func:`units` for units."""

    def take(seen: SeenPass) -> Tensor:
        return torch.stack([part(seen)[k] for k, part in enumerate(parts)])

    keep = tuple(dict.fromkeys(name for part in parts for name in part.keep))
    return Objective(
        f"{len(parts)} objectives", keep, take, any(part.answers for part in parts),
        all(part.absolute for part in parts), lambda seen: torch.cat([part.across(seen) for part in parts], 1),
    )
