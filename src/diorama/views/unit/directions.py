"""Directions among a layer's units: fitted from two sets, kept under a name, moved along; and the bases of a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Image, Node, Number, Table, Tiles
from ...core.numerals import counted
from ...core.picture import Check, Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken
from ...data.kinds import Table as TableKind
from ...model.directions import BASES, DICTIONARY, Direction, fitted
from ...scene import Scene
from ...scene.directions import base, codes, default_layer
from ...scene.directions import keep as keep_direction
from .. import crops, inputs
from ..samples import noted, which_run
from ..sets import Sets, two_sets
from ..view import View
from . import _preferred_inputs
from ._direction import MovedExample, along, crops_of, ends, kept, parts, spread
from ._preferred_inputs import PreferredInputs


class DirectionsView(View):
    """A direction that leads from one set of examples to another: what lies along it, and what moving along it changes.

    *Meaning* choose two classes, or examples for set A and set B: a linear probe, or the difference of the means, finds
    the direction in which a layer's units tell them apart. Held-out examples say whether it is more than chance (50 %).
    Moved along it, in the layer, the example at hand should turn into what the direction stands for: where the answer
    does not follow, the network does not use it. Given a name it is kept with the run: a target of attribution and
    synthesis, an order of the examples, fitted anew at every step. PCA and NMF show a layer's own main directions.
    *Units* of the moves: 1 is the distance between the means of the sets (of a base, one standard deviation).
    *Error* a probe may find what the network itself never uses, and directions of few examples are chance.
    *Cost* one pass over the live examples; a base is found from 16 places of each; the pictures take 96 steps.
    *Source* Kim et al. 2018 (concept directions), Alain & Bengio 2016 (probes), Olah et al. 2018 (bases by NMF).
    """

    title = "Directions"
    question = "Is there a direction in this layer that stands for a concept, and what happens along it?"
    family = "features"
    papers = (
        "Kim et al. 2018, arXiv:1711.11279", "Alain & Bengio 2016, arXiv:1610.01644",
        "Olah et al. 2018, The Building Blocks of Interpretability",
    )
    rows = ("D7",)
    by_labels = True
    follows = ("direction", "class", "example", "layer")
    input = True

    how: str = knob(
        "means", "From two sets by the difference of their means or by a linear probe; or a layer's main directions.",
        choices=("means", "probe", "pca", "nmf"), main=True,
    )
    layer: str | None = knob(None, "The layer; by itself the chosen one, else the last before the answer.", kind="layer", main=True)
    keep: str = knob("", "Keep the direction between the two sets with the run, under this name.")
    by: float = knob(1.0, "How far the example is moved.", low=-10.0, high=10.0, unit="lengths")
    count: int = knob(8, "Directions of a base that are shown.", low=1, high=12)
    synthesize: bool = knob(True, "Also the pictures that directions ask for.")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First what lies along it and what moving changes, then the pictures it asks for, as they form."""
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        chosen = self._chosen(selection)
        how = self.how
        sets: Sets | None = None
        if chosen is None and how not in BASES:
            try:
                sets = two_sets(scene, selection)
            except NotApplicable:
                if selection.a or selection.b:
                    raise
                how = "pca"
        try:
            if chosen is None and how in BASES:
                yield from self._base(scene, selection, how)
                return
            direction = scene.direction(chosen.name) if chosen is not None else self._fitted(scene, selection, sets)
        except NotApplicable as error:
            if how == "nmf":
                raise
            # A layer that is dead, or not a number, is a moment of a training like any other.
            body = Number(label="no direction", tone="warn", note=str(error))
            yield self.picture(scene, selection, "Directions", body, "In this layer, at this moment, there is none to be found.")
            return
        yield from self._one(scene, selection, direction, sets)

    def _chosen(self, selection: Selection) -> Key | None:
        """The chosen direction, unless classes were chosen after it."""
        key = next((key for key in reversed(selection.a) if key.kind in ("direction", "class")), None)
        return key if key is not None and key.kind == "direction" and not selection.b else None

    def _layer(self, scene: Scene, selection: Selection) -> str:
        key = selection.one("layer")
        name = self.layer or (key.name if key is not None else default_layer(scene).name)
        return scene.layers[name].name

    def _fitted(self, scene: Scene, selection: Selection, sets: Sets | None) -> Direction:
        assert sets is not None
        layer = self._layer(scene, selection)
        if self.keep:
            a, b = (tuple(map(str, keys)) for keys in sets.keys)
            if not a:
                a, b = b, a
            return keep_direction(scene, self.keep, a, b, layer=layer, how=self.how)  # type: ignore[arg-type]
        rows = codes(scene, layer)
        name = f"from {sets.names[1]} to {sets.names[0]}"
        return fitted(name, layer, rows[sets.a], rows[sets.b], self.how, sets.names)  # type: ignore[arg-type]

    # One direction.

    def _one(
        self, scene: Scene, selection: Selection, direction: Direction, sets: Sets | None
    ) -> Iterator[Picture | Progress]:
        moved = MovedExample(scene, scene.current(selection), direction, self.by)
        rest = tuple(self._marks(scene, direction, sets, moved))
        whole = self.synthesize
        yield self._pictured(scene, selection, direction, moved, rest, None, final=not whole)
        if not whole:
            return
        both = [direction, _turned(direction)]
        formed: PreferredInputs | None = None
        note = ""
        try:
            for formed in _preferred_inputs.of_directions(scene, both):
                yield Progress(done=formed.step, total=formed.steps, note="the input that it asks for forms")
                if not formed.done:
                    yield self._pictured(scene, selection, direction, moved, rest, formed)
        except NotApplicable as error:
            note = str(error)
        yield self._pictured(scene, selection, direction, moved, rest, formed, note, final=True)

    def _marks(self, scene: Scene, direction: Direction, sets: Sets | None, moved: MovedExample) -> Iterator[Node]:
        yield Group(children=(moved.curves(), moved.answered()), direction="row")
        yield moved.neighbours()
        yield from ends(scene, direction)
        yield Group(children=(spread(scene, direction, sets), parts(direction)), direction="row")
        table = kept(scene)
        if table is not None:
            yield table

    def _pictured(
        self, scene: Scene, selection: Selection, direction: Direction, moved: MovedExample, rest: tuple[Node, ...],
        formed: PreferredInputs | None, note: str = "", *, final: bool = False,
    ) -> Picture:
        first: list[Node] = []
        stage = formed.stage if formed is not None else None
        current = inputs.drawn(scene, moved.current, 120)
        if stage is not None and isinstance(stage.kind, TableKind):
            current = _preferred_inputs.mark(stage, moved.current.shown, moved.current.label)
        if formed is not None and formed.inputs[0] is not None:
            titles = ("what it asks for", "what its opposite asks for")
            first = [
                _preferred_inputs.mark(formed.stage, one.shown, title, size=120)
                for one, title in zip(formed.inputs, titles, strict=True) if one is not None
            ]
        elif self.synthesize and not note and isinstance(current, Image):
            first = [Image(pixels=np.full(current.pixels.shape[:2], crops.GREY, np.uint8), limits=inputs.grey(np.zeros(1)),
                           title=title, size=120) for title in ("what it asks for", "what its opposite asks for")]
        row = [current, *first, *([_accuracy(direction)] if direction.accuracy is not None else [])]
        several = scene.kinds and next(iter(scene.kinds.values())).word in ("image", "table")
        body: list[Node] = [Group(children=tuple(row), direction="row" if several else "column"), *rest]
        caption = f"The direction {_between(direction)} in {spoken(direction.layer)}, by {_WAYS[direction.how]}"
        caption += f"; {_held_out(direction)}" if direction.accuracy is not None else ""
        caption += ". " + moved.told()
        checks: tuple[Check, ...] = ()
        if direction.accuracy is not None:
            sentence = "of held-out examples lie on the side of their set, the mean over both sets; 50 % is chance."
            value = 100 * direction.accuracy
            checks = (Check(name="held out", value=value, unit="%", sentence=sentence, good=direction.accuracy > 0.75),)
        return self.picture(
            scene, selection, _titled(direction), Group(children=tuple(body)), caption, checks=checks,
            note=noted(note, which_run(scene, direction.layer)), final=final,
        )

    # A base.

    def _base(self, scene: Scene, selection: Selection, how: str) -> Iterator[Picture | Progress]:
        layer = self._layer(scene, selection)
        found, about = base(scene, layer, how)  # type: ignore[arg-type]
        note = ""
        found = found[: self.count]
        high, place = along(scene, found)
        if crops.only_pictures(scene, "", "") is not None or crops.field_of(scene, scene.layers[layer]) is None:
            body = _listed(scene, found, high)
            yield self._based(scene, selection, layer, how, (body,), about, final=True)
            return
        groups = [crops_of(scene, one, high[:, k], place[:, k]) for k, one in enumerate(found)]
        formed: PreferredInputs | None = None
        try:
            if self.synthesize:
                yield self._based(scene, selection, layer, how, _tiles(scene, found, groups, None), about)
                for formed in _preferred_inputs.of_directions(scene, found):
                    yield Progress(done=formed.step, total=formed.steps, note="the pictures that they ask for form")
                    if not formed.done:
                        yield self._based(scene, selection, layer, how, _tiles(scene, found, groups, formed), about)
        except NotApplicable as error:
            note = f"{str(error).capitalize()}."
        yield self._based(scene, selection, layer, how, _tiles(scene, found, groups, formed), about, note=note, final=True)

    def _based(
        self, scene: Scene, selection: Selection, layer: str, how: str, marks: tuple[Node, ...], about: str, *,
        note: str = "", final: bool = False,
    ) -> Picture:
        words = _WAYS[how]  # type: ignore[index]
        caption = f"The main directions of {spoken(layer)} by {words}, strongest first: what each asks for, and the four examples in "
        caption += f"which it is strongest somewhere. {about} Choose one to look along it."
        table = kept(scene)
        body = Group(children=(*marks, *((table,) if table is not None else ())))
        note = noted(note, which_run(scene, layer))
        return self.picture(scene, selection, f"Main directions of {spoken(layer)}", body, caption, note=note, final=final)


_WAYS = {
    "means": "the difference of the means", "probe": "a linear probe", "pca": "principal components",
    "nmf": "non-negative parts", DICTIONARY: "a sparse dictionary",
}


def _turned(direction: Direction) -> Direction:
    """The same direction the other way."""
    return dataclasses.replace(direction, vector=-direction.vector, offset=-direction.offset)


def _between(direction: Direction) -> str:
    way = f"from {direction.sets[1]} to {direction.sets[0]}"
    return f"{direction.name}, {way}" if _named(direction) and direction.how not in (*BASES, DICTIONARY) else direction.name


def _named(direction: Direction) -> bool:
    """A person gave it a name, or it is a base's."""
    return direction.name != f"from {direction.sets[1]} to {direction.sets[0]}"


def _titled(direction: Direction) -> str:
    return _between(direction).replace("from ", "From ") if not _named(direction) else _between(direction)


def _held_out(direction: Direction) -> str:
    return f"it is right for {100 * (direction.accuracy or 0):.0f} % of held-out examples"


def _accuracy(direction: Direction) -> Number:
    value = 100 * (direction.accuracy or 0.0)
    tone = "good" if value > 75 else "warn"
    return Number(label="held out", value=value, unit="%", tone=tone, note="of left-out examples on the right side; 50 is chance")  # type: ignore[arg-type]


def _keys(found: list[Direction]) -> tuple[str, ...]:
    return tuple(str(Key("direction", one.name)) for one in found)


def _shares(found: list[Direction]) -> tuple[str, ...]:
    return tuple(f"{100 * one.share:.3g} %" if one.share is not None else "" for one in found)


def _tiles(
    scene: Scene, found: list[Direction], groups: list[crops.ChosenExamples], formed: PreferredInputs | None
) -> tuple[Node, ...]:
    labels = tuple(one.name.rpartition("/")[2] for one in found)
    first = []
    if formed is not None and formed.inputs[0] is not None:
        pixels = formed.pictures()
        first.append(
            Tiles(images=pixels, limits=formed.limits(pixels), labels=labels, keys=_keys(found), notes=_shares(found),
                  title="What each asks for", size=80, columns=8)
        )
    best = crops.mosaic(groups, 4, 48)
    tiles = Tiles(
        images=best, limits=crops.limits_of(best), labels=labels, keys=_keys(found),
        notes=() if first else _shares(found), title="Where each is strongest", size=80, columns=8,
    )
    return (*first, tiles)


def _listed(scene: Scene, found: list[Direction], high: np.ndarray) -> Table:
    """A base of a layer that is not shown by pictures: its directions with the example in which each is strongest."""
    best = [int(k) for k in high.argmax(0)]
    texts = inputs.texts(scene, best)
    return Table(
        columns=(
            Column(name="direction", kind="text", texts=tuple(one.name for one in found)),
            Column(name="share", kind="share", numbers=np.array([one.share or 0.0 for one in found])),
            Column(name="largest weight", kind="text", texts=tuple(
                f"unit {int(np.abs(one.vector).argmax())}: {one.vector[np.abs(one.vector).argmax()]:.2f}" for one in found)),
            Column(name="strongest in", kind="text", texts=tuple(number_key("example", k) for k in best)),
            Column(name="which is", kind="text", texts=texts),
        ),
        row_keys=_keys(found), title="Main directions",
    )
