"""The attention layers of a scene, what each head of them takes from where, and numbers that say what kind of head it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import NotApplicable, not_found
from ..data import nesting
from ..data.kinds import Tokens
from ..data.nesting import Nested
from ..model.patterns import WOULD_BE
from ..model.points import Points, points
from ..scene.input import text_input

if TYPE_CHECKING:
    from ..scene import Scene

Floats = NDArray[np.float32]
MEASURES = ("entropy", "distance", "previous", "first", "itself", "marks", "induction")
"""What is measured of every head, in this order."""
MEANINGS: Mapping[str, str] = {
    "entropy": "how widely a head looks, in nats: 0 is one token only, and the logarithm of their number is all alike",
    "distance": "how many tokens away a head looks, on average",
    "previous": "the share of its attention that a head gives to the token just before",
    "first": "the share of its attention that a head gives to the first token",
    "itself": "the share of its attention that a head gives to the very token that asks",
    "marks": "the share of its attention that a head gives to tokens without a letter or digit",
    "induction": "on random tokens said twice: the share that a head gives to the token after the last time that the same one came",
}
REPEATS = 4
"""So many sequences of random tokens, each said twice, are shown to the network for the measure of induction."""
LENGTH = 256
"""The tokens of such a sequence at most."""
CELLS = 150_000_000
"""Weights of all heads that are measured at most: of long texts fewer examples."""
HELD = 1024
"""Of longer texts the weights are put together into so many stretches, where a view shows them."""
_LEAST = 1e-30
"""A share below which none is felt in an entropy."""
_ROWS = 128
"""Rows of a head that are measured at once."""
_ROOM = 4_000_000
"""Weights that are worked on at once."""


@dataclasses.dataclass(frozen=True)
class AttentionLayer:
    """One attention of a pass: its name, the points that hold its weights, and its sites' labels (several of heads in a loop)."""

    name: str
    labels: tuple[str, ...]
    shape: tuple[int, ...] = ()
    """The weights of one example, as the survey saw them: of all that ask, one after the other, where they are rows."""
    rows: bool = False
    """Its sites are the steps of a loop, each of which asks once; else heads."""
    pooled: bool = False
    """It has patterns, and no queries and keys."""
    values: str = ""
    """Of one that is pooled: the op that made what is weighed."""

    @property
    def points(self) -> tuple[str, ...]:
        """The names of the points that hold its weights, in the order of its heads."""
        return tuple(f"pattern:{label}" for label in self.labels)

    @property
    def sides(self) -> tuple[str, str]:
        """Points that follow from the input that asks, and from the one that is asked."""
        one = self.labels[0]
        if not self.pooled:
            return f"query:{one}", f"key:{one}"
        return f"pattern:{one}", f"op:{self.values}" if self.values else f"pattern:{one}"

    @property
    def heads(self) -> int:
        """How many heads it has."""
        return int(np.prod(self.shape[:-2])) * (1 if self.rows else len(self.labels))

    @property
    def cells(self) -> int:
        """How many weights of one example it has."""
        return self.heads * int(np.prod(self.shape[-2:]))

    def whole(self, parts: Sequence[Tensor]) -> Tensor:
        """What its sites hold of one example, each (heads, to, from), as one."""
        return torch.cat(list(parts), 1 if self.rows else 0)


def attention_layers(scene: Scene, x: Nested | None = None) -> tuple[AttentionLayer, ...]:
    """The attentions of a scene's model in order, those left out whose weights cannot be told apart by example."""
    known = _points(scene, x)
    found: dict[int, AttentionLayer] = {}
    for site in known.attention:
        point = known[f"pattern:{site.label}"]
        if point.whole or len(point.shape) < 2:
            continue
        own = found.get(site.group) or AttentionLayer(site.label, (), tuple(point.shape), pooled=site.pooled, values=site.values)
        own = dataclasses.replace(own, labels=(*own.labels, site.label))
        if site.steps and len(own.labels) > 1:
            own = dataclasses.replace(own, rows=True, shape=(*own.shape[:-2], len(own.labels), own.shape[-1]))
        found[site.group] = own
    return tuple(found.values())


def without(scene: Scene) -> str | None:
    """Why no attention of the scene can be shown; None where there is some."""
    if scene.function:
        return "it looks inside a model, and this one is a plain function"
    if attention_layers(scene):
        return None
    unknown = _points(scene, None).attention.unknown
    more = f" (not recognised: {', '.join(unknown)})" if unknown else ""
    return f"the model runs no attention that is recognised, which would be {WOULD_BE}{more}"


def named(layers: Sequence[AttentionLayer], name: str | None) -> AttentionLayer:
    """The attention of a name, of its ending, or the first one inside the block of that name; the first where none is said.

    *Raises* NotFound for a name that leads to none.
    """
    if not layers:
        raise NotApplicable(f"the model runs no attention that is recognised, which would be {WOULD_BE}")
    if not name:
        return layers[0]
    tests: tuple[Callable[[str], bool], ...] = (
        lambda label: label == name, lambda label: label.startswith(f"{name}."), lambda label: label.endswith(f".{name}"),
        lambda label: name.startswith(f"{label}."),
    )
    for test in tests:
        for layer in layers:
            if any(test(label) for label in layer.labels):
                return layer
    raise not_found("attention", name, [layer.name for layer in layers])


def weights(scene: Scene, x: Nested, layer: AttentionLayer, most: int = 0) -> Floats:
    """The attention of one example, (heads, to, from); every row sums to 1, but for those in which all is masked.

    *Meaning* with ``most``, longer texts are put together into so many stretches: means over those that ask, sums over
    those that are asked, so that rows still sum to 1. Attention in windows has the heads of all windows one after another.
    """
    less = 0 if layer.rows else most
    kept = scene.kept(x, layer.points, reduce=lambda name, tensor: gathered(by_head(tensor), less))
    return gathered(layer.whole([kept[name] for name in layer.points]), most).numpy()


def telling(values: NDArray[np.float64], layers: Sequence[AttentionLayer]) -> NDArray[np.float64]:
    """How much the most telling head of each layer tells, from measures (measures, layers, heads); −∞ where none is told.

    *Meaning* how far a head's entropy lies below that of one that looks everywhere alike, times the share of its attention that goes
    neither to the first token nor to the one that asks: a head that always looks there is sharp and tells nothing of a text.
    """
    spread, idle = values[MEASURES.index("entropy")], np.nan_to_num(values[[MEASURES.index("first"), MEASURES.index("itself")]]).max(0)
    widest = np.log([[max(2, layer.shape[-1])] for layer in layers])
    found: NDArray[np.float64] = np.nan_to_num((1 - spread / widest) * (1 - idle), nan=-np.inf).max(1)
    return found


@dataclasses.dataclass
class HeldWeights:
    """The weights of the most telling layer of one example, caught while the heads of all layers are measured: they need no pass of their own.

    *Meaning* no more than those of one layer are held at a time.
    """

    example: int
    layer: str = ""
    most: int = HELD
    found: Floats | None = None
    best: float = -np.inf

    def see(self, layer: AttentionLayer, measures: NDArray[np.float64], pattern: Tensor) -> None:
        """The measures (heads, measures) of a layer and its weights (heads, to, from), in the order of the pass; of equals the first stays."""
        worth = float(telling(measures.T[:, None], [layer])[0])
        if worth > self.best or self.found is None:
            self.layer, self.best, self.found = layer.name, worth, gathered(pattern, self.most).numpy()


def held_weights(scene: Scene, layer: str, example: int, most: int) -> Floats | None:
    """What was caught of a layer's weights; None where it was another layer, or nothing was measured yet."""
    held: HeldWeights | None = scene.memory.get("attention/held")
    fits = held is not None and (held.layer, held.example, held.most) == (layer, example, most)
    return held.found if held is not None and fits else None


def means(scene: Scene, x: Nested, layers: Sequence[AttentionLayer], most: int = 0) -> list[Floats]:
    """The attention of one example averaged over the heads of each layer, (to, from) each, put together as in :func:`weights`.

    *Cost* one forward pass for all layers; of one layer at a time all heads are held.
    """
    steps = {point for layer in layers if layer.rows for point in layer.points}

    def summed(name: str, tensor: Tensor) -> Tensor:
        heads = by_head(tensor)
        return gathered(heads) if name in steps else gathered(heads.detach().float().sum(0, keepdim=True), most)

    kept = scene.kept(x, [point for layer in layers for point in layer.points], reduce=summed)
    found = []
    for layer in layers:
        parts = [kept[point] for point in layer.points]
        found.append((gathered(layer.whole(parts), most).sum(0) / layer.heads).numpy())
    return found


def by_head(tensor: Tensor) -> Tensor:
    """The weights of the first example as (heads, to, from), however many axes lie between."""
    return tensor[0].reshape(-1, *tensor.shape[-2:])


def gathered(pattern: Tensor, most: int = 0) -> Tensor:
    """Weights (heads, to, from) put together into at most so many stretches a side, head by head; rows still sum to 1.

    *Meaning* stretches are of one length but for the last (:func:`stretch`): where some were longer, what falls to them would be more by that alone.
    """
    if not most or max(pattern.shape[-2:]) <= most:
        return pattern.detach().float().cpu().clone()
    made = []
    for head in pattern:
        rows = head.detach().float()
        for axis, joined in ((0, torch.mean), (1, torch.sum)):  # whole rows first: those lie together in memory
            if rows.shape[axis] > most:
                parts = rows.split(stretch(rows.shape[axis], most), axis)
                rows = torch.stack([joined(part, axis) for part in parts], axis)
        made.append(rows.cpu())
    return torch.stack(made)


def stretch(count: int, most: int) -> int:
    """How many of ``count`` neighbours are put together so that there are at most so many stretches."""
    return -(-count // most)


def measured(pattern: Tensor, marks: Tensor | None = None, *, itself: bool = True) -> NDArray[np.float64]:
    """The measures of each head of some weights (heads, to, from): (heads, measures), NaN where one does not apply.

    ``itself``: a sequence looks at itself where as many ask as are asked; the steps of a loop do not.

    *Meaning* as :data:`MEANINGS` says; means over the rows that attend to anything. The last, induction, is left open.
    """
    found = np.full((len(pattern), len(MEASURES)), np.nan)
    to, count = pattern.shape[-2:]
    places = torch.arange(count, dtype=torch.float32, device=pattern.device)
    away = (places[:, None] - places[None]).abs() if itself and to == count else None
    for head, rows in enumerate(pattern.detach()):
        rows = rows.float()
        sums = rows.sum(1)
        told = sums > 0.5
        if bool(told.any()) and bool(sums.isfinite().all()):
            found[head, : len(MEASURES) - 1] = _of_head(rows, told, away, marks)
    return found


def _of_head(rows: Tensor, told: Tensor, away: Tensor | None, marks: Tensor | None) -> list[float]:
    count = rows.shape[1]
    signed = bool(rows.amin() < 0)
    spread, far = rows.new_empty(len(rows)), rows.new_empty(len(rows))
    # Some rows at a time, which stay in the processor's cache, and of a text that only looks back without what lies ahead.
    for start in range(0, len(rows), _ROWS):
        stop = min(start + _ROWS, len(rows))
        some = rows[start:stop]
        if stop < count and not signed and float(some[:, stop:].amax()) == 0:
            some = some[:, :stop]
        # A third of the time of entr, which is asked where a head weighs with numbers that are no shares.
        spread[start:stop] = torch.special.entr(some).sum(1) if signed else -(some.clamp_min(_LEAST).log_().mul_(some)).sum(1)
        if away is not None:
            far[start:stop] = (some * away[start:stop, : some.shape[1]]).sum(1)
    given = [float(spread[told].mean())]
    if away is None:
        given += [np.nan, np.nan, float(rows[told, 0].mean()), np.nan]
    else:
        later = told[1:]
        before = rows.diagonal(-1)[later]
        given += [
            float(far[told].mean()), float(before.mean()) if len(before) else np.nan,
            float(rows[1:, 0][later].mean()) if bool(later.any()) else np.nan, float(rows.diagonal()[told].mean()),
        ]
    return [*given, float((rows @ marks.to(rows))[told].mean()) if marks is not None and len(marks) == count else np.nan]


def looked_back(pattern: Tensor, period: int) -> Tensor:
    """How much each head of weights (heads, t, t) takes, in the second of two equal stretches, from the token that came after
    the same one in the first: (heads,).

    *Source* Olsson et al. 2022, "In-context learning and induction heads", the prefix-matching score.
    """
    # Of the place t in the second stretch, the same token stood at t − period, and what came after it at t − period + 1.
    places = torch.arange(period, 2 * period, device=pattern.device)
    return pattern[:, places, places - period + 1].double().mean(1)


def said_twice(scene: Scene, seed: int = 0, *, bound: bool = False) -> tuple[Nested, int] | None:
    """Sequences of random tokens that are said twice, as the model takes them, and their period; None where it reads no tokens.

    *Meaning* the tokens are drawn from those that the live examples hold. Of long texts a short one is made, but for a model
    that is ``bound`` to the length of its own.
    """
    found = token_input(scene)
    if found is None:
        return None
    name, _ = found
    x = scene.live.batch([0] * REPEATS, scene.device)
    own = nesting.named(x)[name]
    if not isinstance(own, Tensor) or own.ndim != 2 or own.is_floating_point() or own.shape[1] < 8:
        return None
    # A text of any length will do, unless the model, or another input, is bound to its own.
    length = own.shape[1] if bound or not isinstance(x, Tensor) else min(own.shape[1], LENGTH)
    period = length // 2
    seen = nesting.named(scene.live.first(64).x)[name]
    assert isinstance(seen, Tensor)
    known = torch.unique(seen)
    generator = torch.Generator().manual_seed(seed)
    drawn = known[torch.randint(0, len(known), (REPEATS, period), generator=generator)]
    rest = known[torch.randint(0, len(known), (REPEATS, length - 2 * period), generator=generator)]
    fresh = torch.cat([drawn, drawn, rest], 1).to(own)
    return nesting.each(x, lambda part: fresh if part is own else part), period


def token_input(scene: Scene) -> tuple[str, Tokens] | None:
    """The name and kind of the input that holds tokens; None where there is none, or several are read."""
    return text_input(scene.kind)


def marks_of(scene: Scene, x: Nested) -> list[Tensor | None]:
    """For each example of a batch, which of its tokens hold no letter and no digit; None where the inputs are no tokens."""
    found = token_input(scene)
    if found is None:
        return [None] * nesting.size(x)
    name, kind = found
    part: Any = nesting.named(x)[name]
    if not isinstance(part, Tensor) or part.ndim != 2 or (kind.vocabulary is None and kind.decode_with is None):
        return [None] * nesting.size(x)
    return [torch.tensor([not any(map(str.isalnum, token)) for token in row], device=part.device) for row in kind.decode(part)]


def at_once(layers: Sequence[AttentionLayer]) -> int:
    """So many examples are looked at in one pass: their weights of one layer fit into the room for them."""
    largest = max((int(np.prod(layer.shape)) for layer in layers), default=1)
    return int(max(1, min(16, _ROOM // max(1, largest))))


def examples(layers: Sequence[AttentionLayer], wanted: int) -> int:
    """Of so many examples those whose weights can be measured within the bound; one at least."""
    cells = sum(layer.cells for layer in layers)
    return max(1, min(wanted, CELLS // max(1, cells)))


def _points(scene: Scene, x: Nested | None) -> Points:
    return points(scene.model, x if x is not None else scene.network.few())
