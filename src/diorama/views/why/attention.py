"""Where the heads of a network look: all heads of a layer, one of them large, and what kind of head each is."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.colour import Limits, magnitude
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.marks import Box, Group, Heatmap, Image, Node, Text, Tiles
from ...core.numerals import percent
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, spoken
from ...data.padding import pads
from ...data.text_places import beside
from ...derive.heads import (
    HELD,
    MEANINGS,
    MEASURES,
    AttentionLayer,
    attention_layers,
    gathered,
    means,
    named,
    said_twice,
    telling,
    weights,
    without,
)
from ...model.points import points
from ...scene import Scene
from ...scene.input import CurrentInput
from .. import inputs
from ..view import View
from ._head_kinds import curves, kinds_of_heads, measured_over_training, overview, risen
from ._positions import Positions, along, answered, answers, asked_of, of_features, positions, translates
from ._row_sums import RowSums

SMALL, LARGE = 48, 192
"""A small map shows at most so many stretches a side, and a large one."""
MOST = HELD
"""Longer inputs are put together into so many stretches."""
OPENED = "No layer is chosen: this one has the head that looks most sharply at others than itself and the first token."
AT_LAST = " at the newest step of the training."
AUTO = "auto"
"""The measure that fits what is shown."""
HEADS = 24
"""At most so many heads of a vision transformer are laid over the picture."""


class AttentionView(View):
    """Where each head of an attention looks: every head small, one large, and what it takes for the token under the pointer.

    *Meaning* a row is a token that asks, a column one that is asked: the brighter a cell, the more of what the row's token takes
    in comes from there. Weights say where a head looks, not how much that matters for the answer: silence a head, or look at
    attributions, to learn that. The map of all layers says what kind of head each is. Rollout follows the attention of all
    layers up to this one, as if half of each layer went round it. ``training`` is a line a head: the measure at up to twenty-four
    snapshots, such as when heads of induction come to be.
    *Units* shares: a row sums to 1. Rows of padding are left out.
    *Error* the check tells how far any row's sum is from 1.
    *Cost* one forward pass; eight more for the map of all heads, once a step, and four for the measure of induction; those at every snapshot for
    ``training``.
    *Source* Vaswani et al. 2017; Clark et al. 2019; Olsson et al. 2022; Abnar & Zuidema 2020, equation 1 (rollout).
    """

    title = "Attention"
    question = "Where does each head look?"
    family = "relationships"
    papers = ("Vaswani et al. 2017, arXiv:1706.03762", "Clark et al. 2019, arXiv:1906.04341", "Olsson et al. 2022, arXiv:2209.11895",
              "Abnar & Zuidema 2020, arXiv:2005.00928", "Bahdanau, Cho & Bengio 2015, arXiv:1409.0473")
    rows = ("A20", "A21", "E15")
    follows = ("layer", "head", "example", "token")
    hovers = ("token",)
    input = True
    demo = "repeats"

    layer: str | None = knob(
        None, "The attention, or the block that holds it; the chosen one, or that of the most telling head (of rollout the last).",
        kind="layer", main=True,
    )
    head: int | None = knob(None, "The head that is shown large; the chosen one, or the one that looks at the fewest tokens.",
                            kind="integer", low=0)
    show: str = knob("weights", "The weights of the heads; rollout: all layers up to this one, multiplied; or the measure over the training.",
                     choices=("weights", "rollout", "training"), main=True)
    measure: str = knob(AUTO, "What the map of all heads, or the lines over the training, show; auto: entropy, over the training induction in texts.",
                        choices=(AUTO, *MEASURES), main=True)
    limit: int = knob(600, "The most tokens of a text that are shown.", low=1, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs attention."""
        return without(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The layer's heads at once; then the map of all heads. Or one picture of all heads over the training."""
        if self.show == "training":
            yield from self._over_training(scene, selection)
            return
        current = scene.current(selection)
        layers = attention_layers(scene, current.x)
        layer, chosen = self._asked(layers, selection)
        known = kinds_of_heads(scene, self._measure(scene))
        told: _ShownWeights | None = None
        if layer is not None:
            told = self._seen(scene, current, layers, layer, chosen)
        elif (newest := (yield from _newest(scene, layers))) is not None:
            told = self._seen(scene, current, layers, newest, chosen, opened=True, newest=True)
        if told is not None and not known.known:
            yield self._picture(scene, selection, told, None)
        for stage in known.stream():
            if told is None:
                told = self._seen(scene, current, layers, layers[most_telling(stage.value, layers)], chosen, opened=True)
                if not stage.final:
                    yield self._picture(scene, selection, told, None)
            if stage.final:
                yield self._picture(scene, selection, told, stage.value)
            else:
                yield stage.progress

    def _seen(
        self, scene: Scene, current: CurrentInput, layers: Sequence[AttentionLayer], layer: AttentionLayer, chosen: int | None, opened: bool = False,
        newest: bool = False,
    ) -> _ShownWeights:
        found = self._found(scene, current, layers, layer)
        asking, asked = _told(scene, current, layer, found)
        found = _unpadded(found, asking)
        return _ShownWeights(current, layer, found, self._head(found, chosen), asking, asked, opened, newest)

    def _over_training(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        measure = self._measure(scene)
        for found in measured_over_training(scene, measure):
            if isinstance(found, Progress):
                yield found
                continue
            steps, heads, values = found
            if not heads:
                raise NotApplicable(f"{measure} applies to no head of this network; choose another measure")
            yield self.picture(
                scene, selection, "What the heads became", curves(scene, selection, measure, steps, heads, values),
                risen(measure, steps, heads, values),
            )

    def _measure(self, scene: Scene) -> str:
        """The one that is named, else that of whose rise one wants to know, or the one that costs least."""
        if self.measure != AUTO:
            return self.measure
        return "induction" if self.show == "training" and said_twice(scene) is not None else "entropy"

    def _asked(self, layers: Sequence[AttentionLayer], selection: Selection) -> tuple[AttentionLayer | None, int | None]:
        """The layer, and the head of it that was chosen: named by a knob, else chosen, else left open; rollout goes through all of them."""
        layer, head = None, None
        if self.layer is not None:
            layer = named(layers, self.layer)
        elif len(layers) == 1 or self.show == "rollout":
            layer = layers[-1]
        for key in selection.a:
            try:
                own = named(layers, key.name) if key.kind in ("head", "layer", "unit") and key.name else None
            except UsageError:
                continue
            if own is None or (self.layer is not None and own != layer):
                continue
            layer = own
            head = _number(own, key) if key.kind == "head" else head
        return layer, self.head if self.head is not None else head

    def _found(
        self, scene: Scene, current: CurrentInput, layers: Sequence[AttentionLayer], layer: AttentionLayer
    ) -> NDArray[np.float32]:
        """The weights (heads, to, from), or the rollout as one head."""
        if self.show == "weights":
            return _weights(scene, current, layer)
        chain: NDArray[np.float32] | None = None
        for each in means(scene, current.x, layers[: layers.index(layer) + 1], MOST):
            if each.shape[0] != each.shape[1] or (chain is not None and chain.shape != each.shape):
                continue
            step = each + np.eye(len(each), dtype=np.float32)
            step /= step.sum(1, keepdims=True)
            chain = step if chain is None else step @ chain
        if chain is None:
            raise NotApplicable(f"rollout follows a sequence that attends to itself, and {layer.name} looks at another; show the weights")
        return chain[None]

    def _head(self, found: NDArray[np.float32], chosen: int | None) -> int:
        if self.show == "rollout":
            return 0
        if chosen is not None:
            if chosen >= len(found):
                raise UsageError(f"the attention has heads 0 to {len(found) - 1}, got {chosen}")
            return chosen
        return int(np.nan_to_num(_spread(found), nan=np.inf).argmin())

    def _picture(self, scene: Scene, selection: Selection, shown: _ShownWeights, kinds: Any) -> Picture:
        current, layer, found, head, asking, asked = shown.current, shown.layer, shown.found, shown.head, shown.asking, shown.asked
        place = _place(selection, asking, found.shape[1])
        place = None if place is not None and np.isnan(found[head, place]).all() else place  # of padding there is no row
        small = _small(layer, found, head, self.show == "rollout", len(asked.names))
        large = _large(found[head], asking, asked, self._name(head))
        row = found[head, place] if place is not None else _mean(found[head])
        over: list[Node] = []
        if asked.grid is not None:
            over = [_pictured(found, asked, place, head, self.show == "rollout")]
        elif asked.tokens:
            over = [self._text(row, asked, asking.gathered(MOST)[place] if place is not None else "", place, found.shape[1] == 1)]
        beside: tuple[Node, ...] = (small,) if kinds is None else (small, overview(kinds, self._measure(scene)))
        marks: list[Node] = [*over, Group(children=(large, Group(children=beside)), direction="row")]
        sums = RowSums.of(scene, found)
        return self.picture(
            scene, selection, f"Where {'attention leads up to' if self.show == 'rollout' else 'the heads of'} {spoken(layer.name)}"
            + ("" if self.show == "rollout" else " look"), Group(children=tuple(marks)),
            self._caption(current, found, head, asking, asked, place, kinds, self._measure(scene), sums.said), checks=sums.checks(asked.word),
            final=kinds is not None,
            note=" ".join(filter(None, (shown.opening, _note(found, asking, asked)))),
            hint="" if place is not None or found.shape[1] == 1 or not (asked.tokens or asked.grid) else (
                f"Point at a {'patch' if asked.grid else 'token'} to see what it takes from where."
            ),
        )

    def _name(self, head: int) -> str:
        return "rollout" if self.show == "rollout" else f"head {head}"

    def _text(self, row: NDArray[np.float32], asked: Positions, asks: str, place: int | None, alone: bool) -> Node:
        """The text, each token coloured by what the one that ``asks`` takes from it."""
        count, edges = len(asked.names), asked.edges(MOST)
        sizes = np.diff(edges)
        values = np.repeat(row / sizes, sizes)
        # The row that asks stands at the same place of the text, where that asks itself.
        stop = min(count, max(self.limit, int(edges[min(place, len(sizes) - 1) + 1]) if place is not None else 0))
        start = max(0, stop - self.limit)
        title = f"what “{asks}” takes" if asks else "what the one that asks takes" if alone else "what all tokens take, on average"
        shown = f", tokens {start} to {stop - 1} of {count}" if stop - start < count else ""
        return Text(
            tokens=asked.names[start:stop], values=values[start:stop], limits=magnitude(values[start:stop], 0.0),
            keys=asked.keys[start:stop], characters=asked.characters, title=title + shown,
        )

    def _caption(
        self, current: CurrentInput, found: NDArray[np.float32], head: int, asking: Positions, asked: Positions, place: int | None,
        kinds: Any, measure: str, shares: str,
    ) -> str:
        what = asked.word
        words = f"{current.label.capitalize()}: each row of a map is a {what} that asks, each column one that is asked, and {shares}."
        if what == "place" and not along(current, len(asked.names)):
            words += " As many places as these the input does not have: they may be windows of it, or features."
        if found.shape[1] == 1:
            words = f"{current.label.capitalize()}: one asks, such as a question as a whole, and each column is a {what} that is asked."
        if place is not None or found.shape[1] == 1:
            row = found[head, place or 0]
            most = int(np.nan_to_num(row).argmax())
            who = f"“{asking.gathered(MOST)[place]}”" if place is not None else "It"
            words += f" {who} takes most ({percent(float(row[most]))}) from “{asked.gathered(MOST)[most]}”."
        if kinds is not None:
            words += f" The last map has a row a layer and a column a head: {MEANINGS[measure].replace('token', what)}."
        return words


@dataclasses.dataclass(frozen=True)
class _ShownWeights:
    """One layer's weights of an input, and what stands at their positions."""

    current: CurrentInput
    layer: AttentionLayer
    found: NDArray[np.float32]
    head: int
    asking: Positions
    asked: Positions
    opened: bool = False
    """The layer was left open, and is the most telling one."""
    newest: bool = False
    """It is that at the newest step."""

    @property
    def opening(self) -> str:
        """Why this layer is shown, where it was left open."""
        return (OPENED[:-1] + AT_LAST if self.newest else OPENED).replace("token", self.asked.word) if self.opened else ""


def _newest(scene: Scene, layers: Sequence[AttentionLayer]) -> Generator[Progress, None, AttentionLayer | None]:
    """At an earlier step of a training the layer that tells most at its newest, so that who goes back in time sees one layer become what it is.

    None at the newest step itself, and where the network had other layers then.
    """
    if not scene.steps or scene.step == scene.steps[-1]:
        return None
    stage = None
    for stage in kinds_of_heads(scene.at(scene.steps[-1]), "entropy").stream():
        if not stage.final:
            yield stage.progress
    if stage is None or stage.value["layers"] != [layer.name for layer in layers]:
        return None
    return layers[most_telling(stage.value, layers)]


def most_telling(kinds: Any, layers: Sequence[AttentionLayer]) -> int:
    """The layer with the head that looks most sharply at others than itself and the first token; the first of several, and where none is told."""
    return int(telling(kinds["values"], layers).argmax())


def _weights(scene: Scene, current: CurrentInput, layer: AttentionLayer) -> NDArray[np.float32]:
    """Of an example of the probe set the derivation, which is kept; of an input of one's own at once."""
    if current.index is None:
        return weights(scene, current.x, layer, MOST)
    return np.asarray(scene.derive("attention", layer=layer.name, example=current.index, most=MOST).value)


def _told(scene: Scene, current: CurrentInput, layer: AttentionLayer, found: NDArray[np.float32]) -> tuple[Positions, Positions]:
    """What asks and what is asked: two sequences where they are of different inputs."""
    full = attention_sides(layer)
    of: tuple[tuple[str, ...], ...] = ((), ())
    if len(scene.kinds) - len(beside(scene.kinds)) > 1:
        of = asked_of(scene, current.x, layer.sides)
        # What asks has heard of the other sequence in the layers before: it is of the one that is not asked.
        own = tuple(name for name in of[0] if name not in of[1])
        of = (own or of[0][-1:], of[1][-1:] if not own else of[1])
    if not layer.pooled and full[0] == full[1]:
        wide = points(scene.model, current.x)[layer.sides[0]].shape[-1]
        if wide == full[1] and of_features(scene, current.x, layer.points[0], wide):
            both = Positions(tuple(f"feature {k}" for k in range(wide)), wide, features=True)
            return both, both
    asked = positions(scene, current, full[1], of[1])
    # Of a text as short as its translation the shape does not tell: that of the probe set's does.
    if layer.rows:
        return (answered(scene, current) if answers(scene) == full[0] else Positions(tuple(f"step {k}" for k in range(full[0])))), asked
    places = translates(scene)
    if places is not None and full[0] == places and attention_sides(named(attention_layers(scene), layer.name))[0] == places:
        return answered(scene, current), asked
    return positions(scene, current, full[0], of[0]), asked


def attention_sides(layer: AttentionLayer) -> tuple[int, int]:
    """How many positions ask, and how many are asked."""
    return layer.shape[-2], layer.shape[-1]


def _unpadded(found: NDArray[np.float32], asking: Positions) -> NDArray[np.float32]:
    """The weights without the rows of padding, which are no numbers: nobody reads what padding asks for."""
    padding = _padding(asking)
    fits = found.shape[1] == len(padding) and padding.any()
    return np.where(padding[:, None], np.float32(np.nan), found) if fits else found


def _padding(asking: Positions) -> NDArray[np.bool_]:
    """Which positions are padding; none where all are."""
    found = np.array([pads(name) for name in asking.names], bool)
    return found & ~found.all()


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over the rows of tokens."""
    there = ~np.isnan(rows).all(1)
    mean: NDArray[np.float32] = rows[there if there.any() else slice(None)].mean(0)
    return mean


def _spread(found: NDArray[np.float32]) -> NDArray[np.float64]:
    """The entropy of each head, in nats: its mean over the rows of tokens."""
    # Head by head: of a long text each is some megabytes, and all of them many.
    return np.array([_mean(-(head * np.log(np.maximum(head, 1e-30))).sum(1)[:, None])[0] for head in found], np.float64)


def _number(layer: AttentionLayer, key: Key) -> int:
    """The place of a head's key among all heads of a layer, whose attentions may have several heads each."""
    each = layer.heads // (1 if layer.rows else len(layer.labels))
    return layer.labels.index(key.name) * each + key.number if key.name in layer.labels and not layer.rows else key.number


def _key(layer: AttentionLayer, head: int) -> str:
    each = layer.heads // (1 if layer.rows else len(layer.labels))
    site, own = divmod(head, each)
    return str(Key("head", layer.labels[min(site, len(layer.labels) - 1)], (own,)))


def _place(selection: Selection, asking: Positions, rows: int) -> int | None:
    """The row of the chosen token; None where none is, or it is not in this text."""
    key = selection.one("token")
    if rows == 1 and len(asking.names) == 1:  # one asks, and no token of the text is it
        return None
    if key is None or key.number + asking.extra >= len(asking.names):
        return None
    return int(np.searchsorted(asking.edges(MOST), key.number + asking.extra, side="right")) - 1


def _less(pattern: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """The same in fewer stretches; rows of padding count for nothing in theirs."""
    padding = np.isnan(pattern).all(-1, keepdims=True)
    if not padding.any():
        return np.concatenate([gathered(torch.tensor(head[None]), most).numpy() for head in pattern])
    less = gathered(torch.tensor(np.where(padding, np.float32(0), pattern)), most).numpy()
    there = np.broadcast_to(~padding / np.float32(pattern.shape[-1]), pattern.shape)
    share = gathered(torch.tensor(there), most).sum(-1, keepdim=True).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(share > 0, less / share, np.float32(np.nan))


def _limits(values: NDArray[np.float32]) -> Limits:
    """One scale for all heads of a layer, so that they can be compared: from none to twice what a row's largest share mostly is.

    The first tokens of a text that only looks back have few to ask, and would take the whole scale for themselves.
    """
    rows = np.nan_to_num(values[~np.isnan(values).all(-1)]).max(-1, initial=0.0)
    if not rows.size:
        return magnitude(values, 0.0, 1.0, unit="share")
    return magnitude(values, 0.0, max(min(float(rows.max()), 2 * float(np.median(rows))), 1e-6), unit="share")


def _small(layer: AttentionLayer, found: NDArray[np.float32], head: int, rollout: bool, count: int) -> Tiles:
    # How widely a head looks is counted in tokens: over stretches of them it is another number.
    images, notes = _less(found, SMALL), () if found.shape[2] < count else tuple(f"{value:.2f} nats" for value in _spread(found))
    return Tiles(
        images=images, limits=_limits(images), labels=("rollout",) if rollout else tuple(f"head {k}" for k in range(len(found))),
        notes=notes, keys=() if rollout else tuple(_key(layer, k) for k in range(len(found))),
        size=72, title="All heads and their entropy" if notes else "All heads",
        badges=tuple("shown" if k == head and len(found) > 1 else "" for k in range(len(found))),
    )


def _large(pattern: NDArray[np.float32], asking: Positions, asked: Positions, name: str) -> Heatmap:
    values = _less(pattern[None], LARGE)[0]
    rows, columns = values.shape
    whole = rows == len(asking.names)
    return Heatmap(
        values=values, limits=_limits(values), row_labels=asking.gathered(MOST, LARGE), column_labels=asked.gathered(MOST, LARGE),
        row_keys=asking.keys if whole else (), row_title="asks", column_title="is asked", square=rows == columns,
        size=max(2, min(14, 420 // max(rows, 1))), title=name,
    )


def _pictured(found: NDArray[np.float32], asked: Positions, place: int | None, head: int, rollout: bool) -> Group:
    """What the patch under the pointer takes from where, a picture a head; patches are chosen on the first, large one."""
    assert asked.grid is not None
    assert asked.pixels is not None
    height, width = asked.pixels.shape[:2]
    rows, columns = asked.grid
    row = found[:, place] if place is not None else found[:, 0] if asked.extra else found.mean(1)
    if row.shape[1] != asked.extra + rows * columns:
        raise NotApplicable(f"a picture of {rows} × {columns} patches is too large to lay each head's attention over it")
    shares = row[:, asked.extra :].reshape(-1, rows, columns)
    down, across = (np.arange(side) * count // side for side, count in ((height, rows), (width, columns)))
    heat = shares[:, down][:, :, across]
    # A head's largest share, not a pixel row's: a head that looks at one patch leaves nearly all rows empty.
    limits, own = _limits(shares.reshape(len(shares), -1)), asked.keys[asked.extra :]
    grey = inputs.grey(asked.pixels) if asked.pixels.ndim == 2 else None
    boxes: tuple[Box, ...] = ()
    if place is not None and place >= asked.extra:
        at, x = divmod(place - asked.extra, columns)
        boxes = (Box(x=x * width / columns, y=at * height / rows, width=width / columns, height=height / rows),)
    alone = "the one that asks" if found.shape[1] == 1 else "all patches, on average"
    told = asked.names[place] if place is not None else asked.names[0] if asked.extra else alone
    told = f"the {told}" if told == "class token" else told
    large = Image(
        pixels=asked.pixels, limits=grey, heat=heat[head], heat_limits=limits, patches=asked.grid, patch_keys=own, boxes=boxes,
        size=224, label=f"{'rollout' if rollout else f'head {head}'}: what {told} takes",
    )
    small = tuple(
        Image(pixels=asked.pixels, limits=grey, heat=heat[k], heat_limits=limits, patches=asked.grid, patch_keys=own, size=96,
              label=f"head {k}") for k in range(min(len(found), HEADS))
    )
    return Group(children=(large, Group(children=small, direction="grid")) if len(found) > 1 else (large,), direction="row")



def _note(found: NDArray[np.float32], asking: Positions, asked: Positions) -> str:
    count = max(len(asking.names), len(asked.names))
    shown = max(found.shape[1:])
    told = []
    padding = int(_padding(asking).sum()) if found.shape[1] == len(asking.names) else 0
    if padding:
        told.append(f"The rows of {padding} padding tokens are left out: nobody reads what they ask for." if padding > 1 else
                    "The row of a padding token is left out: nobody reads what it asks for.")
    if shown < count:
        told.append(f"{count} positions are put together into {shown} stretches: means over rows, sums over columns.")
    if shown > LARGE:
        told.append(f"The large map shows them in {len(asked.edges(MOST, LARGE)) - 1} stretches, small ones in fewer.")
    empty = int((found.sum(2) < 0.5).all(0).sum())
    if empty:
        told.append(f"{empty} positions attend to nothing, as all is masked for them.")
    if asked.grid is not None and len(found) > HEADS:
        told.append(f"{HEADS} of {len(found)} heads are laid over the picture.")
    return " ".join(told)


