"""Ways from one input to another, and what the network does along them."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...core.selection import Key, spoken
from ...data import nesting
from ...data.nesting import Nested
from ...data.text_places import last_asked
from ...model.edits import Edit
from ...model.layers import Layer, units_first
from ...model.targets import Target
from ..method import Look, Pass

BATCH = 8
"""So many places of a way go through the model together."""
FINE = 1e-3
"""A flip's place is known this exactly, as a share of the way."""
CARRIES = 1e-3
"""A layer carries the whole answer when nothing that goes round it changes the scores by more than this share."""
Points = tuple[Tensor, ...]


class InputWay:
    """The straight way from one input to another, and the base of the others; places on it go from 0 to 1.

    *Meaning* floating-point inputs are mixed as they are, tokens by their embeddings. Whole numbers that no embedding
    reads (masks, lengths) stay those of the start.
    *Raises* NotApplicable where the two inputs have different shapes, end at different tokens, or have no points in between.
    """

    title = "straight way"

    def __init__(self, look: Look, start: Nested, end: Nested) -> None:
        shapes = [[tuple(part.shape[1:]) for part in nesting.tensors(x)] for x in (start, end)]
        if shapes[0] != shapes[1]:
            first, last = (", ".join(" × ".join(map(str, shape)) for shape in found) for found in shapes)
            raise NotApplicable(f"a way wants two inputs of one shape, and these have {first} and {last}")
        self.look, self.start, self.end = look, look.floats(start), look.floats(end)
        self.at = asked_at(look, start, end)
        """At which place of the answer texts are asked."""
        self.ends: tuple[Points, Points] = (_still(look.points(self.start)), _still(look.points(self.end)))

    def points(self, places: Sequence[float]) -> Points:
        """What is put in at each place: inputs, or embeddings of tokens."""
        return tuple(a + _column(places, a) * (b - a) for a, b in zip(*self.ends, strict=True))

    def run(
        self, places: Sequence[float], target: Target | None = None, *, keep: Sequence[str] = (), grad: bool = False,
        edits: Sequence[Edit] = (), points: Points | None = None,
    ) -> Pass:
        """One pass at the places; ``points`` stand for those of the places, ``edits`` come on top of the look's own."""
        look = _edited(self.look, edits)
        taken = self.points(places) if points is None else points
        return look.run(_repeated(self.start, len(places)), target, taken, keep=keep, grad=grad)

    def slopes(self, value: Tensor, points: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The gradient of a number of a pass on the way by points of it."""
        return self.look.slopes(value, points)

    def inputs(self, places: Sequence[float]) -> Tensor | None:
        """The inputs on the way, (places, …); None where they are embeddings, or several."""
        if isinstance(self.start, Tensor) and self.start.is_floating_point():
            return self.points(places)[0]
        return None

    def after(self, layer: Layer) -> bool:
        """Whether what a layer answers comes from the way."""
        return True


class LayerWay(InputWay):
    """The way through a layer's space: its activations are mixed, and carried on through the rest of the network.

    *Meaning* the layer must carry the whole answer: with the activations of the end put into it, the start's input
    has to give the end's answer. Only codes are mixed; :meth:`found` looks for inputs that have such codes.
    *Raises* NotApplicable for a layer that part of the answer goes round.
    """

    def __init__(self, look: Look, start: Nested, end: Nested, layer: str) -> None:
        super().__init__(look, start, end)
        self.layer = look.layers[layer]
        if not self.layer.each:
            raise NotApplicable(f"{layer} {self.layer.unlike}, so codes of examples cannot be mixed there")
        self.title = f"way through {spoken(layer)}"
        seen = [look.run(x, keep=[layer]) for x in (start, end)]
        codes = tuple(there[layer].detach() for there in seen)
        if codes[0].shape != codes[1].shape or not codes[0].is_floating_point():
            raise NotApplicable(f"{layer} answers the two inputs with codes that cannot be mixed")
        self.codes: tuple[Tensor, Tensor] = (codes[0], codes[1])
        gap = _gap(self.run([1.0]).scores, seen[1].scores, seen[0].scores)
        if gap > CARRIES:
            raise NotApplicable(
                f"part of the answer goes round {layer} (a skip, a layer beside it, or a mask that is made of the input), so its codes alone do "
                "not lead to the end; choose a layer that everything goes through"
            )

    def code(self, places: Sequence[float]) -> Tensor:
        """The mixed activations."""
        return self.codes[0] + _column(places, self.codes[0]) * (self.codes[1] - self.codes[0])

    def run(
        self, places: Sequence[float], target: Target | None = None, *, keep: Sequence[str] = (), grad: bool = False,
        edits: Sequence[Edit] = (), points: Points | None = None,
    ) -> Pass:
        """One pass in which the mixed activations stand for the layer's own."""
        mixed = Edit(Key("layer", self.layer.name), patch=self.code(places))
        look = _edited(self.look, (mixed, *edits))
        return look.run(_repeated(self.start, len(places)), target, keep=keep, grad=grad)

    def slopes(self, value: Tensor, points: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The gradient of a number of a pass on the way by points of it."""
        return _edited(self.look, (Edit(Key("layer", self.layer.name), patch=self.code([0.0])),)).slopes(value, points)

    def inputs(self, places: Sequence[float]) -> Tensor | None:
        """None: there is no input behind a mixed code; see :meth:`found`."""
        return None

    def after(self, layer: Layer) -> bool:
        """Layers behind the mixed one."""
        return layer.order > self.layer.order and layer.path != self.layer.path

    def found(
        self, places: Sequence[float], steps: int = 60, begin: Tensor | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Inputs whose codes come as near as a search finds to the mixed ones, and how far off they are.

        *Meaning* the search goes down the squared distance of the codes from the straight mix of the inputs (or from
        ``begin``) on, within the inputs' valid range. The distance is a share of that between the codes of start and end.
        *Cost* ``steps`` forward and backward passes of all places. *Source* Mahendran & Vedaldi 2015, without a prior.
        """
        if super().inputs([0.0]) is None:
            return None
        wanted, whole = self.code(places), (self.codes[1] - self.codes[0]).norm().clamp_min(1e-12)
        kind = self.look.kind
        valid = None if kind is None or isinstance(kind, dict) else kind.valid_range()
        low, high = valid if valid is not None else (-math.inf, math.inf)
        x = (super().points(places)[0] if begin is None else begin).detach().clone()
        best, nearest = x.clone(), torch.full((len(x),), math.inf, device=x.device)
        for step in range(steps + 1):
            point = x.detach().requires_grad_()
            code = self.look.run(point.detach(), points=[point], keep=[self.layer.name], grad=True)[self.layer.name]
            gaps = (code - wanted).flatten(1).norm(dim=1) / whole
            nearer = gaps.detach() < nearest
            best = torch.where(_wide(nearer, x), x, best)
            nearest = torch.where(nearer, gaps.detach(), nearest)
            if step == steps:
                break
            slope = torch.nan_to_num(self.look.gradients(gaps.square(), [point])[0])
            # Polyak's step: as far as the slope says that the distance lasts. It changes no pixel without need.
            far = gaps.detach().square() / slope.flatten(1).square().sum(1).clamp_min(1e-20)
            x = (x - _wide(far, x) * slope).clamp(low, high)
        return best, nearest


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A place where the answer changes: just before it the one, just behind it the other."""

    place: float
    before: Tensor
    after: Tensor


def asked_at(look: Look, *texts: Nested) -> int:
    """The place at which texts are asked what comes next: their last token, before padding; -1 where none follows, or they are no texts.

    *Raises* NotApplicable where the texts end at different tokens, as what lies between them ends nowhere.
    """
    ends = set[int]()
    for x in texts if look.task == "next_token" else ():
        found = None if look.kind is None else last_asked(look.kind, x)
        ends |= {-1} if found is None else set(found.tolist())
    if len(ends) > 1:
        places = nesting.first(texts[0]).shape[1]
        said = " and ".join(f"place {end}" for end in sorted(end % places for end in ends))
        raise NotApplicable(f"these texts end at {said}, and what lies between them ends nowhere; choose texts of one length")
    return ends.pop() if ends else -1


def decided(look: Look, scores: Tensor, at: int = -1) -> Tensor:
    """What the network answers at each place of the way, texts ``at`` one of theirs: a row that changes where the answer flips, (n, numbers).

    The class, the likeliest next token, the labels; nothing for plain numbers. On the CPU.
    """
    scores = scores.detach().cpu()
    if look.task == "next_token":
        return scores[:, at].argmax(-1)[:, None]
    if look.task in ("classification", "multi_label"):
        return look.reading.predictions(scores).reshape(len(scores), -1).long()
    return torch.zeros(len(scores), 1, dtype=torch.long)


def answers(look: Look, scores: Tensor, at: int = -1) -> Tensor:
    """Probabilities of classes, labels or (of texts, ``at`` a place) next tokens, of a segmentation the share of its places that each class has,
    or the numbers of a regression, (n, answers).
    """
    if look.task == "next_token":
        return look.reading.probabilities(scores)[:, at]
    if look.task in ("classification", "multi_label"):
        return look.reading.probabilities(scores).reshape(len(scores), -1)
    if look.task == "segmentation":
        given = look.reading.predictions(scores).reshape(len(scores), -1)
        return torch.stack([(given == k).float().mean(1) for k in range(look.reading.width(scores))], 1)
    return scores.float().reshape(len(scores), -1)


def flips(way: InputWay, places: Sequence[float], decisions: Tensor) -> list[Crossing]:
    """Every change of the answer that shows between neighbouring places, found by halving the way between them.

    *Error* ``FINE``; an answer that comes and goes between two places is not seen.
    *Cost* about six passes of one input a flip.
    """
    found: list[Crossing] = []
    for left, right in zip(range(len(places) - 1), range(1, len(places)), strict=True):
        low, before, wanted = places[left], decisions[left], decisions[right]
        # What lies behind a flip may be a third answer, which gives way to the next one further on.
        while not torch.equal(before, wanted) and len(found) < 64:
            high, after = places[right], wanted
            while high - low > FINE:
                middle = (low + high) / 2
                here = decided(way.look, way.run([middle]).scores, way.at)[0]
                if torch.equal(here, before):
                    low = middle
                else:
                    high, after = middle, here
            found.append(Crossing((low + high) / 2, before, after))
            low, before = high, after
    return found


def walk(way: InputWay, places: Sequence[float], layers: Sequence[Layer]) -> Iterator[tuple[list[float], Pass]]:
    """Passes along the way, a few places each, with the layers' activations."""
    for first in range(0, len(places), BATCH):
        chunk = list(places[first : first + BATCH])
        yield chunk, way.run(chunk, keep=[layer.name for layer in layers])


def effects(
    way: InputWay, layers: Sequence[Layer], target: Target, low: float, high: float, steps: int = BATCH
) -> dict[str, Tensor]:
    """What the change of each unit between two places did to the target there, by layer, (units,).

    *Meaning* the unit's slope times its change, added up over the steps and over its places: the units of a layer that
    everything goes through sum to the change of the target.
    *Cost* ``steps`` forward and backward passes and as many forward ones.
    *Source* Dhamdhere, Sundararajan & Yan 2018 (arXiv:1805.12233), equation 1, along any way.
    """
    names = [layer.name for layer in layers]
    edges = [low + (high - low) * k / steps for k in range(steps + 1)]
    middles = [(a + b) / 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    at = way.run(edges, keep=names)
    there = way.run(middles, target, keep=names, grad=True)
    if not there.value.requires_grad:
        return {layer.name: torch.zeros(layer.units) for layer in layers}
    ways = way.slopes(there.value.sum(), [there[name] for name in names])
    found = {}
    for layer, slope in zip(layers, ways, strict=True):
        if slope is None:
            found[layer.name] = torch.zeros(layer.units)
            continue
        values = units_first(layer, at[layer.name].detach())
        moved = units_first(layer, slope).conj() * (values[1:] - values[:-1])
        moved = moved.real if moved.is_complex() else moved
        found[layer.name] = moved.flatten(2).sum((0, 2)) if moved.ndim > 2 else moved.sum(0)
    return {name: part.detach().cpu() for name, part in found.items()}


def put_back(way: InputWay, layer: Layer, unit: int, low: float, high: float, target: Target) -> float:
    """The target at the later place when one unit alone is set back to what it was at the earlier one."""
    was = units_first(layer, way.run([low], keep=[layer.name])[layer.name].detach())[:, unit]
    edit = Edit(Key("unit", layer.name, (unit,)), patch=was)
    return float(way.run([high], target, edits=[edit]).value.detach()[0])


def _still(points: Points) -> Points:
    return tuple(point.detach() for point in points)


def _column(places: Sequence[float], like: Tensor) -> Tensor:
    return _wide(torch.tensor(list(places), dtype=like.dtype, device=like.device), like)


def _wide(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def _repeated(x: Nested, count: int) -> Nested:
    return nesting.select(x, [0] * count)


def _edited(look: Look, edits: Sequence[Edit]) -> Look:
    if not edits:
        return look
    changed = copy.copy(look)
    changed.edits = (*look.edits, *edits)
    return changed


def _gap(came: Tensor, wanted: Tensor, other: Tensor) -> float:
    """How far scores are from those wanted, as a share of the way from the others; 0 where they are not numbers."""
    far = (wanted - other).detach().abs().amax().clamp_min(1e-6 * wanted.detach().abs().amax().clamp_min(1e-6))
    gap = float((came - wanted).detach().abs().amax() / far)
    return gap if math.isfinite(gap) else 0.0


def parsed(text: str) -> list[tuple[float, float]]:
    """The places of a drawn path, from "x,y;x,y;…".

    *Raises* UsageError for anything else.
    """
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        numbers = part.split(",")
        try:
            x, y = (float(number) for number in numbers)
        except ValueError:
            raise UsageError(f"a path is written x,y;x,y;… with two numbers a place, got {part!r}") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UsageError(f"a path goes through places that are numbers, got {part!r}")
        found.append((x, y))
    if len(found) > 64:
        raise UsageError(f"a path has at most 64 places, got {len(found)}")
    return found
