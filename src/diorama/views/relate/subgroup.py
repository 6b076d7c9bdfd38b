"""A part of a class against the rest of it: what sets it apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...core.colour import symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Node, Table
from ...core.numerals import being, counted
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, spoken, unit_key
from ...data import kinds
from ...derive.derivations.shared import properties
from ...methods.neighbours import separation, split
from ...scene import Scene
from ...scene.directions import codes, default_layer, lacking
from ...scene.sets import classes_of, members, named
from .. import inputs
from ..samples import broken, first_examples, looked_at, looking, noted, reached, which_run
from ..view import View
from ._mean_pictures import means

MANY = 20_000
"""So many examples at most: all of two parts are compared with one another."""
LEAST = 6
"""A class of fewer examples is not split."""
CLEAR = 0.25
"""From this separation on two parts are told to be two."""


@dataclasses.dataclass(frozen=True)
class _ExamplePart:
    """A part of the live examples, and what it is compared with."""

    inside: NDArray[np.int64]
    rest: NDArray[np.int64]
    outside: NDArray[np.int64]
    whole: str
    found: bool
    own: int | None = None
    """How many of a chosen part are of the class that it is compared with; None where all are."""


class SubgroupView(View):
    """A part of a class beside the rest of it: their mean pictures, the units, columns and metadata that differ most, and who is nearest outside.

    *Meaning* draw a loop round a part of a class in the projection, and it is compared with the rest of that class; with nothing
    chosen, it is the part of the class that falls most clearly into two. Numbers are differences of means, in standard deviations.
    *Units* standard deviations over the examples of both parts.
    *Error* the separation (silhouette) is 1 where the two parts lie apart in the layer, and 0 where they are mixed.
    *Cost* one forward pass an example.
    *Source* Rousseeuw 1987 (silhouette); Rauber et al. 2017 (hidden sub-clusters).
    """

    title = "What sets them apart"
    question = "What do some examples of a class have that the others lack?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("B4",)
    by_labels = True
    follows = ("layer", "class", "example")

    layer: str | None = knob(
        None, "The layer whose units are compared; by itself the chosen one, else the last before the answer.", kind="layer", main=True,
    )
    count: int = knob(8, "So many units, columns and nearest examples.", low=1, high=40)
    examples: int = first_examples(4, MANY)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer that answers once an example, and some examples."""
        count = len(scene.live)
        few = f"two parts are compared, and there {'are' if count > 1 else 'is'} {counted(count, 'examples')}" if count < 4 else None
        return lacking(scene) or few

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        scene = scene.first(reached(selection, self.examples, MANY))
        key = selection.one("layer")
        layer = scene.layers[self.layer or (key.name if key is not None else default_layer(scene).name)]
        yield from looking(scene, [layer.name])
        rows = codes(scene, layer.name)
        if len(rows) != len(scene.live):
            raise NotApplicable("examples are compared in a layer that answers once for each of them")
        part = self._part(scene, selection, rows)
        both = np.concatenate([part.inside, part.rest])
        apart = separation(rows[both], np.arange(len(both)) < len(part.inside))
        units = _differences(rows[part.inside], rows[part.rest])
        order = np.argsort(-np.abs(units), kind="stable")[: self.count]
        near = self._nearest(rows, part)
        known, told = self._columns(scene, part)
        marks: list[Node] = [*means(scene, part.inside, part.rest, ("Mean of this part", "Mean of the rest")), *known]
        values = units[order]
        no = "No class falls" if classes_of(scene) is not None else "The examples do not fall"
        marks.append(Bars(
            title=f"Units of {spoken(layer.name)}", values=values, labels=tuple(f"unit {k}" for k in order), unit="σ",
            limits=symmetric(values, unit="σ"), keys=tuple(unit_key(layer.name, int(k)) for k in order),
        ))
        marks.append(self._table(scene, rows, part, near))
        yield self.picture(
            scene, selection, f"What sets a part of {part.whole} apart", Group(children=tuple(marks), direction="row"),
            self._said(scene, layer.name, part, order, units, told, near),
            checks=(Check(
                name="separation", value=apart, good=apart > CLEAR,
                sentence="The silhouette of the two parts in the layer: 1 where they lie apart, 0 where they are mixed.",
            ),),
            note=noted(
                "" if apart > CLEAR or not part.found else f"{no} clearly into two in {spoken(layer.name)}: this is the clearest of them.",
                looked_at(scene), broken(scene, [layer.name]), which_run(scene, layer.name),
            ),
        )

    def _part(self, scene: Scene, selection: Selection, rows: NDArray[np.float64]) -> _ExamplePart:
        """What was chosen against the rest of the class that most of it belongs to; else the part that is found."""
        everything, classes = np.arange(len(rows)), classes_of(scene)
        groups = np.zeros(len(rows), np.int64) if classes is None or classes.ndim != 1 else classes
        chosen = members(scene, selection.all("example"))
        if len(chosen) < 2:
            wanted = [key.number for key in selection.all("class")] if classes is not None else []
            return _found(scene, rows, groups, wanted, classes is not None)
        numbers, counts = np.unique(groups[chosen], return_counts=True)
        number = int(numbers[counts.argmax()])
        rest = np.setdiff1d(everything[groups == number], chosen)
        whole = f"class {named(scene, number)}" if classes is not None else "the examples"
        if len(rest) < 2:  # the whole class was chosen: it is compared with all others
            rest, whole = np.setdiff1d(everything, chosen), "the examples"
        if len(rest) < 2:
            raise NotApplicable("all examples are chosen, so there is nothing to compare them with; choose a part of them")
        own = int(counts.max()) if len(numbers) > 1 and whole != "the examples" else None
        return _ExamplePart(chosen, rest, np.setdiff1d(everything, np.concatenate([chosen, rest])), whole, found=False, own=own)

    def _nearest(self, rows: NDArray[np.float64], part: _ExamplePart) -> NDArray[np.int64]:
        """Who else lies nearest to the middle of the part: of another class, where there is one, else of the rest."""
        others = part.outside if len(part.outside) else part.rest
        away = np.linalg.norm(rows[others] - rows[part.inside].mean(0), axis=1)
        found: NDArray[np.int64] = others[np.argsort(away, kind="stable")[: self.count]]
        return found

    def _columns(self, scene: Scene, part: _ExamplePart) -> tuple[list[Node], str]:
        """Which columns and metadata differ most, and what the first of them says; of pictures the
        metadata, as their means are seen, and which property of theirs differs most."""
        names, rows = properties(scene, np.concatenate([part.inside, part.rest]))
        seen = ""
        if isinstance(scene.kind, kinds.Image):
            seen = _pictured(names, _differences(rows[: len(part.inside)], rows[len(part.inside) :]), scene)
            told = [k for k, name in enumerate(names) if name.split(": ")[0] in scene.live.metadata]
            names, rows = [names[k] for k in told], rows[:, told]
        if not names:
            return [], seen
        differences = _differences(rows[: len(part.inside)], rows[len(part.inside) :])
        order = np.argsort(-np.abs(differences), kind="stable")[: self.count]
        first, values = names[order[0]], differences[order]
        bars = Bars(
            title="Columns" if isinstance(scene.kind, kinds.Table) else "What is known of them", values=values, unit="σ",
            labels=tuple(names[k] for k in order), limits=symmetric(values, unit="σ"),
        )
        far, side = abs(values[0]), "higher" if values[0] > 0 else "lower"
        return [bars], f" Of what is known of them “{first}” differs most: {far:.1f} σ {side} in this part.{seen}" if far else seen

    def _table(self, scene: Scene, rows: NDArray[np.float64], part: _ExamplePart, near: NDArray[np.int64]) -> Table:
        """Typical examples of both parts, and the nearest outside."""
        typical = [members_[np.argsort(np.linalg.norm(rows[members_] - rows[members_].mean(0), axis=1), kind="stable")[: self.count // 2 or 1]]
                   for members_ in (part.inside, part.rest)]
        shown = np.concatenate([*typical, near])
        words = ["in this part"] * len(typical[0]) + ["in the rest"] * len(typical[1]) + ["nearest outside"] * len(near)
        classes = classes_of(scene)
        columns = [inputs.column(scene, [int(k) for k in shown], scene.live), Column(name="where", kind="text", texts=tuple(words))]
        if classes is not None and classes.ndim == 1:
            columns.append(Column(name="class", kind="text", texts=tuple(named(scene, int(classes[k])) for k in shown)))
        return Table(title="Examples", columns=tuple(columns), row_keys=tuple(number_key("example", int(k)) for k in shown))

    def _said(
        self, scene: Scene, layer: str, part: _ExamplePart, order: NDArray[np.int64], units: NDArray[np.float64], told: str,
        near: NDArray[np.int64],
    ) -> str:
        rows = codes(scene, layer)[np.concatenate([part.inside, part.rest])]
        if part.found and (rows == rows[:1]).all():
            return f"{spoken(layer)} answers the same to all of {part.whole}, so no part falls off: these are two halves by number."
        begin = "The part that falls off most clearly" if part.found else "The chosen part"
        if part.own is None:
            said = f"{begin}: {len(part.inside)} of {part.whole} against {counted(len(part.rest), 'others')}."
        else:
            few = f"{counted(len(part.inside), 'examples')}, of which {being(part.own)} of {part.whole}"
            said = f"{begin}: {few}, against {counted(len(part.rest), 'others')} of that class."
        if len(order) and abs(units[order[0]]) > 0:
            most = units[order[0]]
            said += f" Unit {order[0]} of {spoken(layer)} tells them apart most: {abs(most):.1f} σ {'higher' if most > 0 else 'lower'} in this part."
        said += told
        if len(near):
            said += f" Nearest outside is example {near[0]}."
        return said


def _found(scene: Scene, rows: NDArray[np.float64], groups: NDArray[np.int64], wanted: list[int], known: bool) -> _ExamplePart:
    """The smaller part of the class that falls most clearly into two, of the chosen classes or of all."""
    best: tuple[float, int, NDArray[np.int64], NDArray[np.int64]] | None = None
    for number in wanted or [int(k) for k in np.unique(groups) if k >= 0]:
        inside = np.flatnonzero(groups == number)
        if len(inside) < min(LEAST, len(rows)) or not (rows[inside] != rows[inside[0]]).any():
            continue
        second = split(rows[inside])
        apart = separation(rows[inside], second)
        if best is None or apart > best[0]:
            small = second if second.sum() * 2 <= len(inside) else ~second
            best = apart, number, inside[small], inside[~small]
    if best is None:  # nothing differs, or all classes are small: the halves of the largest one, which the separation tells to be none
        number = (wanted or [int(np.bincount(np.maximum(groups, 0)).argmax())])[0]
        inside = np.flatnonzero(groups == number)
        inside = inside if len(inside) >= 2 else np.arange(len(rows))
        best = 0.0, number, inside[: len(inside) // 2], inside[len(inside) // 2 :]
    _, number, part, rest = best
    outside = np.setdiff1d(np.arange(len(rows)), np.concatenate([part, rest]))
    return _ExamplePart(part, rest, outside, f"class {named(scene, number)}" if known else "the examples", found=True)


def _pictured(names: list[str], differences: NDArray[np.float64], scene: Scene) -> str:
    """Which property of the pictures themselves differs most, in words: colour, for one, which the eye may miss among the means."""
    own = [k for k, name in enumerate(names) if name.split(": ")[0] not in scene.live.metadata]
    if not own or not np.abs(differences[own]).max():
        return ""
    best = max(own, key=lambda k: abs(differences[k]))
    side = "higher" if differences[best] > 0 else "lower"
    return f" Of the pictures “{names[best]}” differs most: {abs(differences[best]):.1f} σ {side} in this part."


def _differences(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The difference of the means of each column, in standard deviations over both; 0 where nothing varies."""
    with np.errstate(invalid="ignore"):  # a column with numbers that are none differs by nothing that can be told
        spread = np.concatenate([one, other]).std(0)
        apart = one.mean(0) - other.mean(0)
    return np.where(spread > 1e-12 * np.maximum(1e-300, np.abs(other.mean(0))), apart / np.where(spread > 0, spread, 1.0), 0.0)
