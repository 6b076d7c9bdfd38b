"""Features of a layer: a sparse dictionary, what each of its features is on for, and what turning one up changes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Number, Table, Text
from ...core.numerals import percent
from ...core.picture import Check, Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken
from ...data.kinds import Tokens
from ...derive.derivations.dictionary import features, listed, of_plain, unfit
from ...model.directions import DICTIONARY
from ...model.layers import Layer, units_first
from ...model.own_places import Owners
from ...scene import Scene
from ...scene.directions import default_layer, feature
from ...scene.input import CurrentInput, last
from ...scene.layer_text import text_at
from .. import sections, texts
from ..samples import noted, which_run
from ..view import View
from ._direction import MovedExample

BEFORE, AFTER = 20, 6
"""So many tokens are shown before the place where a feature is strongest, and behind it."""


class DictionaryView(View):
    """Features of a layer: many directions, of which each activation is the sum of a few, found by a sparse dictionary.

    *Meaning* a unit often stands for several things; a feature that is seldom on stands more often for one. The table holds the
    features that are strongest on the input at hand, each with the example in which it is strongest; ``search`` looks for a text (or a
    class) where features are strongest. Choose a feature to see where it is on, and to turn it up or down by ``by`` lengths:
    one is its mean strength while it is on. Where the answer does not follow, the network does not use it.
    *Units* of the table those of the layer. The loss recovered is 1 where the network does as well on what the dictionary makes of the
    layer, 0 as badly as on zeros.
    *Error* measured on a quarter of the examples, held out. As many principal components stand beside it, and a dictionary of the network
    before it was trained: what that has too was not learnt.
    *Cost* two passes over the examples and up to a minute of learning, once for a layer and step; it is kept with the run.
    *Source* Bricken et al. 2023; Gao et al. 2024.
    """

    title = "Dictionary"
    question = "Which features does this layer write down, and what does each of them do?"
    family = "features"
    papers = ("Bricken et al. 2023, Towards Monosemanticity", "Gao et al. 2024, arXiv:2406.04093")
    rows = ("E3",)
    by_labels = True
    follows = ("layer", "direction", "example")
    input = True
    demo = "gpt"

    layer: str | None = knob(None, "The layer; the chosen one, else the last before the answer.", kind="layer", main=True)
    feature: int | None = knob(None, "The feature; the chosen one, or the strongest here, when left open.", kind="integer", low=0, main=True)
    by: float = knob(3.0, "How far the feature is turned up, or down; 0 changes nothing.", low=-20.0, high=20.0, unit="lengths", main=True)
    search: str = knob("", "Only features that are strongest at this text, or in examples of this class.")
    beside: bool = knob(True, "Also the dictionary of the network before it was trained.")
    limit: int = knob(24, "How many features are listed.", low=1, high=500)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer with several units, and examples to hold out."""
        if len(scene.live) < 4:
            return f"it learns from examples and holds a quarter out, which wants four of them, and there are {len(scene.live)}"
        try:
            return unfit(default_layer(scene))
        except NotApplicable as error:
            return str(error)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The dictionary when it has learnt; then the same of the untrained network beside it."""
        key = selection.one("direction")
        chosen = _parsed(key.name, scene) if key is not None else None
        layer = scene.layers[chosen[0]] if chosen is not None and self.layer in (None, chosen[0]) else self._layer(scene, selection)
        number = chosen[1] if chosen is not None and chosen[0] == layer.name else None
        number = self.feature if self.feature is not None else number
        for stage in scene.derive("dictionary", layer=layer.name).stream():
            if not stage.final:
                yield stage.progress
        shown = _ShownDictionary(scene, scene.current(selection), layer, stage.value)
        marks = tuple(self._marks(shown, number))
        first = scene.steps[0] if scene.steps else None
        before = first if self.beside and first is not None and scene.step is not None and first < scene.step else None
        yield self._drawn(selection, shown, marks, before, None, final=before is None)
        if before is None:
            return
        try:
            fresh = scene.alone(scene.cancel).at(before).derive("dictionary", layer=layer.name)
            for stage in fresh.stream():
                if not stage.final:
                    yield stage.progress
            yield self._drawn(selection, shown, marks, before, stage.value, final=True)
        except NotApplicable:
            # Then the layer had another shape, or was not there.
            yield self._drawn(selection, shown, marks, None, None, final=True)

    def _layer(self, scene: Scene, selection: Selection) -> Layer:
        if self.layer is None and not any(
            key.kind in ("layer", "unit") and scene.layers.has(key.name) and unfit(scene.layers[key.name]) is None for key in selection.a
        ):
            return default_layer(scene)
        return scene.layer(self.layer, selection, lambda one: unfit(one) is None, wanted="layer with several units for each example")

    def _marks(self, shown: _ShownDictionary, number: int | None) -> Iterator[Node]:
        order = shown.order(self.search)
        if number is None:
            number = int(order[0]) if len(order) else int(shown.order("")[0])
        yield shown.table(order[: self.limit], self.search)
        direction = feature(shown.scene, shown.layer.name, number, shown.value)
        yield from shown.one(number)
        moved = shown.moved = MovedExample(shown.scene, shown.current, direction, self.by)
        title = f"Feature {number} turned up or down at all places: what the network answers"
        yield Group(children=(moved.curves(), moved.answered()), direction="row", title=title)
        shown.number = number

    def _drawn(
        self, selection: Selection, shown: _ShownDictionary, marks: tuple[Node, ...], before: int | None, fresh: Any, *, final: bool,
    ) -> Picture:
        found, count = shown.value["measures"], len(shown.value["encoder"])
        words = f"{count} features of {spoken(shown.layer.name)}, at most {shown.value['active']} of them on at a place. "
        turned = shown.moved.told().partition("; ")[2]
        words += f"Feature {shown.number} on {shown.current.label}{': ' + turned if turned else '.'}"
        gap = shown.moved_by_nothing()
        checks: tuple[Check, ...] = ()
        # A layer that always answers the same has no variance to explain.
        if np.isfinite(found["explained"]):
            checks = (Check(
                name="explained", value=100 * found["explained"], unit="%", good=found["explained"] >= 0.9,
                sentence="of the variance of the layer on examples that the dictionary never learnt from.",
            ),)
        if np.isfinite(gap):
            checks += (Check(
                name="turned by nothing", value=gap, good=gap < 1e-4,
                sentence="The largest change of an answer where the feature is not turned at all, as a share of the answers' size.",
            ),)
        body = Group(children=(_measures(shown.value, before, fresh, labelled=shown.scene.live.y is not None), *marks))
        return self.picture(
            shown.scene, selection, f"Features of {spoken(shown.layer.name)}", body, words, checks=checks,
            note=noted(which_run(shown.scene, shown.layer.name)), final=final,
        )


class _ShownDictionary:
    """A dictionary, and what its features say of one input."""

    def __init__(self, scene: Scene, current: CurrentInput, layer: Layer, value: Any) -> None:
        self.scene, self.current, self.layer, self.value = scene, current, layer, value
        raw = scene.kept(current.x, [layer.name])[layer.name]
        found, owners = features(layer, of_plain(value), raw)[:1], Owners(scene.kind)
        owners.read(current.x)
        if len(raw) == 1 and (own := owners.own(units_first(layer, raw))) is not None:
            found[~own.cpu()] = 0  # what only fills a text up says nothing
        self.here: NDArray[np.float32] = found[0].numpy()
        self.strongest = self.here.max(0)
        self.number = 0
        self.moved: Any = None
        self.read = text_at(scene, layer.name) if layer.sequence or layer.loop else ""
        self._tokens = lru_cache(512)(lambda k: texts.tokens(_one(scene.live.shown([k])), self.read))
        self.text = any(isinstance(kind, Tokens) for kind in scene.kinds.values())

    def order(self, search: str) -> NDArray[np.int64]:
        """The features that were found, the strongest on this input first, then those that carry most."""
        rank = np.empty(len(self.strongest), np.int64)
        rank[listed(self.value)] = np.arange(len(rank))
        order = np.lexsort((rank, -self.strongest))
        order = order[self.value["top"][order, 0] >= 0] if (self.value["top"] >= 0).any() else order
        if not search:
            return order
        hits = np.array([self._hits(int(k), search.casefold()) for k in order], np.int64)
        return order[np.argsort(-hits, kind="stable")][: int((hits > 0).sum())]

    def _hits(self, number: int, search: str) -> int:
        """In how many of a feature's strongest examples that is found, near the place where it is strongest or as their class."""
        top, place = self.value["top"][number], self.value["place"][number]
        found = 0
        for example, at in zip(top.tolist(), place.tolist(), strict=True):
            if example >= 0:
                found += search in ("".join(self.near(example, at)) if self.text else " ".join(self.names(example))).casefold()
        return found

    def names(self, example: int) -> tuple[str, ...]:
        """The class of an example, or its number."""
        return sections.names(self.scene, np.array([example]))

    def near(self, example: int, place: int) -> tuple[str, str, str]:
        """What stands before a place of an example's text, at it, and behind it."""
        tokens = self._tokens(example)
        join = "" if texts.single(tokens) else " "
        parts = tokens[max(0, place - BEFORE) : place], tokens[place : place + 1], tokens[place + 1 : place + 1 + AFTER]
        before, at, after = (join.join(part).replace("\n", "↵").replace("\t", "⇥") for part in parts)
        return (before, at, after) if self._steps(example) else (join.join(tokens)[:80], "", "")

    def _steps(self, example: int) -> bool:
        """Whether each place of the layer is one of the text's tokens."""
        return len(self.here) > 1 and len(self._tokens(example)) <= len(self.here)

    def table(self, order: NDArray[np.int64], search: str) -> Node:
        """Features with how strong they are here, how often they are on, and where most."""
        if not len(order):
            return Number(label="no feature", note=f"no feature is strongest where “{search}” stands; look for something shorter")
        top = self.value["top"][order, 0]
        columns = [
            Column(name="feature", numbers=order.astype(float)),
            Column(name="here", numbers=self.strongest[order].astype(float), note="its largest value on the input at hand"),
            Column(name="how often", kind="share", numbers=self.value["frequency"][order], note="the share of all places where it is on"),
            Column(name="strength", numbers=self.value["strength"][order], note="its mean value while it is on"),
        ]
        if self.text and (top >= 0).all():
            where = [self.near(int(k), int(at)) for k, at in zip(top, self.value["place"][order, 0], strict=True)]
            told = tuple(f"{one[0]}⟦{one[1]}⟧{one[2]}" if one[1] else one[0] for one in where)
            columns.append(Column(name="strongest at", kind="text", texts=told))
        elif (top >= 0).all():
            columns.append(Column(name="strongest in", kind="text", texts=tuple(self.names(int(k))[0] for k in top)))
        keys = tuple(str(Key("direction", f"{DICTIONARY}/{self.layer.name}/{int(k)}")) for k in order)
        title = f"Features that are strongest where “{search}” stands" if search else f"Features on {self.current.label}, the strongest first"
        return Table(columns=tuple(columns), row_keys=keys, title=title)

    def one(self, number: int) -> Iterator[Node]:
        """Where one feature is on: in the text at hand, and in the examples in which it is strongest."""
        here = self.here[:, min(number, self.here.shape[1] - 1)].astype(float)
        tokens = texts.tokens(self.current.shown, self.read)
        if self.text and len(tokens) == len(here):
            yield Text(
                tokens=tuple(tokens), values=here, limits=magnitude(here), characters=texts.single(tokens),
                keys=tuple(number_key("token", k) for k in range(len(tokens))), title=f"Feature {number} on {self.current.label}",
            )
        top, place, value = (self.value[name][number] for name in ("top", "place", "value"))
        there = top >= 0
        if not there.any():
            yield Number(label=f"feature {number}", note="on in none of the examples")
        elif self.text:
            parts = [self.near(int(k), int(at)) for k, at in zip(top[there], place[there], strict=True)]
            told = [Column(name=name, kind="text", texts=tuple(one[k] for one in parts)) for k, name in enumerate(("before", "at", "after"))]
            columns = (*told, Column(name="value", numbers=value[there].astype(float)), Column(name="example", numbers=top[there].astype(float)))
            keys = tuple(number_key("example", int(k)) for k in top[there])
            yield Table(columns=columns, row_keys=keys, title=f"Where feature {number} is strongest")
        else:
            yield sections.gallery(self.scene, top[there], f"Where feature {number} is strongest", tuple(f"{one:.3g}" for one in value[there]))

    def moved_by_nothing(self) -> float:
        """The largest change of the answers where the example is not moved, as a share of their size; NaN of answers that are no numbers."""
        made = self.moved.scores[int(np.flatnonzero(self.moved.steps == 0)[0])].double()
        own = last(self.scene, self.current.x, self.scene.look(self.current.x)[0].detach().cpu())[0].double()
        if not own.numel():
            return 0.0
        fine = own.isfinite()  # an infinite answer has no share
        if not bool(fine.any()):
            return float("nan")
        return float((made - own).abs()[fine].max() / own.abs()[fine].max().clamp_min(1e-12))


def _parsed(name: str, scene: Scene) -> tuple[str, int] | None:
    """The layer and number of a feature's direction; None for another direction."""
    how, _, rest = name.partition("/")
    layer, _, number = rest.rpartition("/")
    return (layer, int(number)) if how == DICTIONARY and scene.layers.has(layer) and number.isdecimal() else None


def _measures(value: Any, before: int | None, fresh: Any, *, labelled: bool) -> Table:
    """The dictionary beside principal components, and beside that of the untrained network."""
    own = value["measures"]
    rows: list[tuple[Any, ...]] = [
        ("features of this dictionary", own["explained"], own["l0"], own["recovered"], own["dead"]),
        (f"{value['active']} principal components", own["components"], float(value["active"]), own["components_recovered"], np.nan),
    ]
    if before is not None and fresh is not None:
        name = "dictionary of the untrained network" if before == 0 else f"dictionary of step {before:,}, the first kept"
        rows.append((name, *(fresh["measures"][k] for k in ("explained", "l0", "recovered", "dead"))))
    told = (
        ("explained", "the share of the variance of held-out examples"), ("on at a place", "features (or components) of which an activation is made"),
        ("loss recovered", "1: the network does as well on what was rebuilt; 0: as badly as on zeros; of held-out examples"),
    )
    columns = [Column(name="made of", kind="text", texts=tuple(row[0] for row in rows))]
    columns += [Column(name=name, numbers=np.array([row[1 + k] for row in rows], float), note=note) for k, (name, note) in enumerate(told)]
    dead = tuple("" if np.isnan(row[4]) else percent(row[4]) for row in rows)
    columns.append(Column(name="dead", kind="text", texts=dead, note="the share of the features that are on nowhere"))
    said = "" if labelled else "The examples have no labels, so no loss can be compared: give the right answers, of texts the next tokens."
    return Table(columns=tuple(columns), title="What it is worth", caption=said)


def _one(shown: Any) -> Any:
    return {name: part[0] for name, part in shown.items()} if isinstance(shown, dict) else shown[0]
