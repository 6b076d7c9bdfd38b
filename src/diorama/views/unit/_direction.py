"""A direction looked at: what lies along it, which units make it up, and what an example becomes that is moved along it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.colour import symmetric
from ...core.marks import Bars, Column, Event, Group, Lines, Node, Number, Ridges, RidgeSet, Series, Table
from ...core.selection import Key, layer_key, spoken, unit_key
from ...model.directions import Direction, finite
from ...model.layers import by_unit
from ...model.own_places import Owners
from ...scene import Scene
from ...scene.directions import codes, recipes
from ...scene.input import CurrentInput, last
from ...scene.sets import words
from .. import answers, crops, sections
from ..sets import Sets

FARTHEST, PLACES = 3.0, 25
SHOWN = 9
TOLD = 4
"""So many classes have a curve."""
BINS = 30


class MovedExample:
    """An example moved along a direction, to several places at once."""

    def __init__(self, scene: Scene, current: CurrentInput, direction: Direction, by: float) -> None:
        self.scene, self.current, self.direction, self.by = scene, current, direction, by
        layer = scene.layers[direction.layer]
        raw: Tensor = scene.kept(current.x, [direction.layer])[direction.layer]
        owners = Owners(scene.kind)
        owners.read(current.x)
        values = by_unit(layer, raw)[:1].double()
        self.code = finite((owners.mean(values) if values.ndim > 1 else values[:, None]).cpu().numpy()[0])
        self.at = float(direction.values(self.code[None])[0])
        far = max(FARTHEST, abs(by))
        self.steps = np.unique(np.append(np.linspace(-far, far, PLACES), [0.0, by]))
        patch = direction.moved(raw, torch.from_numpy(self.steps).float(), layer.unit_axis)
        batch = crops.repeated(current.x, len(self.steps))
        edited = scene.edit(layer_key(direction.layer), patch=patch)
        scores = edited.look(batch)[0].detach().cpu()
        self.scores = last(scene, current.x, scores)
        told = scene.task in ("classification", "next_token") and self.scores.ndim == 2 and self.scores.shape[1] > 1
        self.answers = torch.where(self.scores.isnan().any(1), -1, self.scores.argmax(1)).tolist() if told else []

    @property
    def classes(self) -> bool:
        """The model answers with classes."""
        return self.scene.task in ("classification", "multi_label") and self.scores.ndim == 2

    def curves(self) -> Lines:
        """What the network answers, over how far the example is moved."""
        values, unit = self.scores.float().reshape(len(self.steps), -1), "answer"
        if self.scene.task in ("classification", "multi_label", "next_token"):
            values, unit = 100 * self.scene.reading.probabilities(self.scores).reshape(len(self.steps), -1), "probability, %"
        top = values.nan_to_num(0).amax(0).argsort(descending=True, stable=True)[:TOLD]
        series = tuple(
            Series(name=self._name(int(k)), x=self.steps, y=values[:, int(k)].double().numpy(),
                   colour=int(k) if values.shape[1] <= 10 else n)
            for n, k in enumerate(top.sort().values)
        )
        events = tuple(
            Event(x=float(self.steps[k - 1 : k + 1].mean()), label=self._name(self.answers[k]), kind="flip")
            for k in range(1, len(self.answers)) if self.answers[k] != self.answers[k - 1]
        )
        return Lines(
            series=series, x_title="lengths along the direction", x_kind="number", y_title=unit, events=events,
            cursor=self.by, height=170, title=f"{self.current.label.capitalize()} moved along it: what the network answers",
        )

    def answered(self) -> Node:
        """The answer where the knob stands, beside that to the example as it is."""
        at = int(np.flatnonzero(self.steps == self.by)[0])
        own = self.scores[at : at + 1, None] if self.scene.task == "next_token" else self.scores[at : at + 1]
        if self.classes or self.scene.task == "next_token":
            bars = answers.bars(self.scene, own, horizontal=True)
            return Group(children=(bars,), title=f"Moved by {self.by:g}")
        return Number(label=f"moved by {self.by:g}", value=float(self.scores[at].reshape(-1)[0]))

    def neighbours(self) -> Node:
        """The real examples that are nearest to where it has moved."""
        rows = codes(self.scene, self.direction.layer)
        wanted = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
        found = []
        for by in wanted:
            away = np.linalg.norm(rows - (self.code + by * self.direction.step * self.direction.vector), axis=1)
            if self.current.index is not None and self.current.index < len(away):
                away[self.current.index] = np.inf
            found.append(int(np.argmin(away)))
        notes = tuple("where it is" if by == 0 else _signed(by) for by in wanted)
        return sections.gallery(self.scene, np.array(found), "The examples nearest to where it has moved", notes)

    def told(self) -> str:
        """In words, what becomes of the answer."""
        said = f"{self.current.label.capitalize()} lies at {self.at:.2g}".replace("-", "−")
        if not self.answers:
            return said + "."
        here = int(np.flatnonzero(self.steps == 0)[0])
        turns = [k for k in range(len(self.steps)) if self.answers[k] != self.answers[here]]
        if not turns and self.answers[here] < 0:
            return f"{said}; there, and wherever it is moved, its answer is no number."
        if not turns:
            return f"{said}; moved along it, its answer stays {self._quoted(self.answers[here])}."
        k = min(turns, key=lambda k: abs(self.steps[k]))
        by = _signed(self.steps[k])
        return f"{said}; moved by {by} it turns from {self._quoted(self.answers[here])} into {self._quoted(self.answers[k])}."

    def _quoted(self, number: int) -> str:
        """A name within a sentence: a token may be a full stop, or a word of its own."""
        name = self._name(number)
        return f"“{name}”" if self.scene.task == "next_token" and number >= 0 else name

    def _name(self, number: int) -> str:
        if number < 0:
            return "nothing that is a number"
        if self.scene.task == "next_token":
            return answers.token(self.scene, number)
        if self.classes and number < len(self.scene.classes):
            return self.scene.classes[number]
        return f"output {number}" if self.scores.reshape(len(self.steps), -1).shape[1] > 1 else "answer"


def _signed(by: float) -> str:
    """A number of lengths of a direction in words."""
    return f"{by:+.2g} lengths".replace("-", "−")


def spread(scene: Scene, direction: Direction, sets: Sets | None) -> Ridges:
    """How the examples of both sets lie along a direction."""
    along = direction.values(codes(scene, direction.layer))
    parts = [(direction.name, along, 0)]
    if sets is not None:
        parts = [(sets.names[0], along[sets.a], 0), (sets.names[1], along[sets.b], 1)]
    fine = np.concatenate([part[np.isfinite(part)] for _, part, _ in parts])
    low, high = (float(fine.min()), float(fine.max())) if len(fine) else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    ridges = []
    for name, part, colour in parts:
        counts, edges = np.histogram(part[np.isfinite(part)], BINS, (low, high))
        density = counts / max(1, counts.sum()) / np.diff(edges)
        ridges.append(RidgeSet(name=name, steps=np.array([scene.step or 0]), edges=edges, density=density[None], colour=colour))
    return Ridges(sets=tuple(ridges), x_title="lengths along the direction", title="How the examples lie along it", height=110)


def ends(scene: Scene, direction: Direction) -> Iterator[Node]:
    """The examples that lie farthest along it, on both sides."""
    along = np.nan_to_num(direction.values(codes(scene, direction.layer)))
    order = np.argsort(-along, kind="stable")
    for title, chosen in (("Farthest along it", order[:SHOWN]), ("Farthest the other way", order[::-1][:SHOWN])):
        yield sections.gallery(scene, chosen, title, tuple(f"{along[k]:.2f}" for k in chosen))


def parts(direction: Direction) -> Bars:
    """The units that make up most of it."""
    order = np.argsort(-np.abs(direction.vector), kind="stable")[:10]
    return Bars(
        values=direction.vector[order], labels=tuple(f"{spoken(direction.layer)}/{int(k)}" for k in order),
        keys=tuple(unit_key(direction.layer, int(k)) for k in order), limits=symmetric(direction.vector[order]),
        title="The units that it is made of",
    )


def kept(scene: Scene) -> Table | None:
    """The directions that are kept with the run."""
    known = recipes(scene)
    if not known:
        return None
    rows = list(known.values())
    told = ["to {} from {}".format(*(words(scene, map(Key.parse, part)) for part in (one.a, one.b))) for one in rows]
    return Table(
        columns=(
            Column(name="kept", kind="text", texts=tuple(one.name for one in rows)),
            Column(name="layer", kind="text", texts=tuple(one.layer for one in rows)),
            Column(name="by", kind="text", texts=tuple(one.how for one in rows)),
            Column(name="leads", kind="text", texts=tuple(told)),
        ),
        row_keys=tuple(str(Key("direction", one.name)) for one in rows), title="Directions kept with this run",
    )


def along(scene: Scene, directions: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
    """The largest value along each direction in each live example, and the place where it is: each (n, directions)."""
    layer = scene.layers[directions[0].layer]
    ways = torch.from_numpy(np.stack([one.vector for one in directions])).float()
    high, place = [], []
    owners = Owners(scene.kind)

    def take(name: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
        units = by_unit(layer, tensor).float().nan_to_num(0, 0, 0)
        own, flat = owners.own(units), units.flatten(2) if units.ndim > 2 else units[:, :, None]
        found = torch.einsum("nup,du->ndp", flat, ways.to(flat))
        best = (found if own is None else found.masked_fill(~own[:, None], -torch.inf)).max(2)
        return best.values.cpu(), best.indices.cpu()

    for _, x in scene.batches():
        found = scene.kept(owners.read(x), [layer.name], reduce=take)[layer.name]
        high.append(found[0])
        place.append(found[1])
    values = torch.cat(high).double().numpy()
    for k, one in enumerate(directions):
        values[:, k] = (values[:, k] - one.offset) / one.step
    return values, torch.cat(place).numpy()


def crops_of(scene: Scene, direction: Direction, high: np.ndarray, place: np.ndarray, count: int = 4) -> crops.ChosenExamples:
    """The examples in which a direction is strongest somewhere, with what lies there."""
    layer = scene.layers[direction.layer]
    sides = tuple(side for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)
    order = [int(k) for k in np.argsort(-high, kind="stable")[:count]]
    places = [tuple(int(n) for n in np.unravel_index(int(place[k]), sides)) if sides else () for k in order]
    field = crops.field_of(scene, layer)
    shape = field.largest if field is not None else (1, 1)
    boxes = [crops.box_of(field, at) for at in places]
    pixels = np.asarray(scene.live.shown(order))
    return crops.ChosenExamples(order, [float(high[k]) for k in order], places, pixels, boxes, shape)
