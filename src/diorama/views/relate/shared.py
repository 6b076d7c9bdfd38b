"""What misread examples share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.colour import symmetric
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Node, Table
from ...core.numerals import counted
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, spoken, unit_key
from ...data import kinds
from ...derive.derivations.shared import FEWEST, SHUFFLES, unshared
from ...scene import Scene
from ...scene.sets import classes_of, members, named, several
from .. import inputs
from ..samples import broken, first_examples, looked_at, looking, noted, reached, unanswered
from ..view import View
from ._mean_pictures import means

MANY = 20_000
"""So many examples at most: who is in is shuffled among them many times."""
CHANCE = 0.05
"""What chance does less often than this is no chance."""
MEANS = {"chosen": "the chosen examples", "misread": "the misread examples", "hardest": "the examples with the largest losses"}


class SharedView(View):
    """What misread examples have that others of the same classes lack: in the inputs themselves, and in what a layer says of them.

    *Meaning* a bar is how well a property tells them apart: 1 where each of them has more of it than any other of its class, −1
    less, 0 as by chance. Properties of pictures are brightness, contrast and colour, as a whole and by ninths, and where the middle
    of their light lies; of tables the columns; of texts their tokens.
    By itself the view takes all misread examples (else the tenth with the largest losses); choose some, and it takes those.
    *Units* the rank-biserial correlation, over all pairs of one class.
    *Error* of many properties some differ by chance: the check says how often the best of all does as well when who is misread is shuffled.
    *Cost* one forward pass an example.
    *Source* Kerby 2014; van Elteren 1960; Westfall & Young 1993.
    """

    title = "What they share"
    question = "What do these misread examples share?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("D4",)
    by_labels = True
    follows = ("layer", "example")

    layer: str | None = knob(
        None, "The layer whose units are compared; by itself the chosen one, else the last before the answer.", kind="layer", main=True,
    )
    count: int = knob(10, "So many properties, units and examples.", low=1, high=100)
    examples: int = first_examples(8, MANY)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A truth, and examples enough."""
        return unshared(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        scene = scene.first(reached(selection, self.examples, MANY))
        yield from looking(scene)
        chosen = members(scene, selection.all("example"))
        # One or two chosen examples are what other views look at.
        told = "+".join(number_key("example", int(k)) for k in chosen) if len(chosen) >= FEWEST else ""
        key = selection.one("layer")
        layer = self.layer or (key.name if key is not None and scene.layers.has(key.name) and scene.layers[key.name].each else None)
        value = scene.derive("shared", a=told, layer=layer).value
        pictures = means(scene, value["inside"], value["rest"], ("Their mean", "Mean of the others"))
        marks: list[Node] = [*([Group(children=tuple(pictures), direction="column")] if pictures else [])]
        if value["how"] == "unanswered":
            yield self.picture(
                scene, selection, "What misread examples share", self._table(scene, value),
                "What misread examples share cannot be told: the losses of too few examples are numbers.",
                note=noted(unanswered(scene), looked_at(scene)),
            )
            return
        given, units = value["inputs"], value["units"]
        # What tells all of them apart is ordered by how far.
        order, most = (np.lexsort((-np.abs(part["gaps"]), -np.abs(part["effects"])))[: self.count] for part in (given, units))
        whole = symmetric(np.array([-1.0, 1.0]))
        # One mark, so that a length says the same of an input and of a unit, and names have the room of both.
        name = spoken(value["layer"])
        marks.append(Bars(
            title=f"How well each tells them apart, {'of the inputs and ' if len(order) else ''}of {name}", limits=whole,
            values=np.concatenate([given["effects"][order], units["effects"][most]]),
            labels=(*(value["names"][k] for k in order), *(f"{name}/{k}" for k in most)),
            keys=(*("" for _ in order), *(unit_key(value["layer"], int(k)) for k in most)),
            notes=(*(_odds(given, k) for k in order), *(_odds(units, k) for k in most)),
        ))
        marks.append(self._table(scene, value))
        yield self.picture(
            scene, selection, f"What {MEANS[value['how']]} share", Group(children=tuple(marks), direction="row"),
            self._said(scene, value, order, most), checks=self._checks(scene, value),
            note=noted(self._noted(scene, value), unanswered(scene), broken(scene, [value["layer"]]), looked_at(scene)),
        )

    def _said(self, scene: Scene, value: dict[str, Any], order: np.ndarray, most: np.ndarray) -> str:
        inside, classes = value["inside"], classes_of(scene)
        rest = f"{len(value['rest']):,} other{'s' if len(value['rest']) > 1 else ''}"
        who = f"{MEANS[value['how']]} ({len(inside)}, against {rest}{' of their classes' if value['within'] else ''})"
        said = f"{who[0].upper()}{who[1:]}"
        if value["how"] == "misread" and (many := several(scene)):
            said = f"{said[:-1]}; misread are those with fewer than half of their {many} right)"
        found = []
        for part, numbers in (("inputs", order), ("units", most)):
            told, k = value[part], int(numbers[0]) if len(numbers) else -1
            if k >= 0 and told["chances"][k] < CHANCE:
                what = value["names"][k] if part == "inputs" else f"of unit {k} of {spoken(value['layer'])}"
                ways = ("a higher", "a lower") if part == "inputs" and _measured(scene, what) else ("more", "less")
                found.append(f"{ways[int(told['effects'][k] <= 0)]} {what} (effect {told['effects'][k]:+.2f})")
        said += f" share {' and '.join(found)}." if found else " share nothing of what was measured, beyond what chance does."
        if classes is not None and classes.ndim == 1:
            numbers, counts = np.unique(np.asarray(classes)[inside], return_counts=True)
            top = int(counts.argmax())
            said += f" {counts[top] / len(inside):.0%} of them are {named(scene, int(numbers[top]))}."
        return said

    def _checks(self, scene: Scene, value: dict[str, Any]) -> tuple[Check, ...]:
        found = []
        within = " within the classes" if value["within"] else ""
        for name, chances, what in (
            ("inputs by chance", value["inputs"]["chances"], "properties"), ("units by chance", value["units"]["chances"], "units"),
        ):
            if len(chances):
                least = float(chances.min())
                found.append(Check(
                    name=name, value=least, good=least < CHANCE,
                    sentence=f"How often the best of all {len(chances)} {what} does as well when who is in is shuffled{within}, "
                    f"of {SHUFFLES} times and this one.",
                ))
        return tuple(found)

    def _noted(self, scene: Scene, value: dict[str, Any]) -> str:
        classes, told = classes_of(scene), []
        if value["how"] == "hardest":
            told.append(f"{_unread(scene)}: the {len(value['inside']):,} with the largest losses are taken.")
        if classes is not None and classes.ndim == 1 and not value["within"]:
            told.append("Fewer than two others are of their classes: they are compared with all others, so that what tells classes apart counts too.")
        return " ".join(told)

    def _table(self, scene: Scene, value: dict[str, Any]) -> Table:
        """Those with the largest losses, with truth and answer."""
        losses = np.nan_to_num(scene.losses().double().numpy()[value["inside"]])
        which = [int(k) for k in value["inside"][np.argsort(-losses, kind="stable")[: self.count]]]
        columns = [inputs.column(scene, which, scene.live)]
        classes = classes_of(scene)
        if classes is not None and classes.ndim == 1:
            given = scene.predictions().numpy()
            columns.append(Column(name="is", kind="text", texts=tuple(named(scene, int(np.asarray(classes)[k])) for k in which)))
            columns.append(Column(name="answer", kind="text", texts=tuple(named(scene, int(given[k])) for k in which)))
        columns.append(Column(name="loss", numbers=scene.losses().double().numpy()[which]))
        return Table(title="Some of them", columns=tuple(columns), row_keys=tuple(number_key("example", k) for k in which))


def _unread(scene: Scene) -> str:
    """Why no misread examples are compared: answers are neither right nor wrong, or so few are, or all but so few."""
    right = scene.answers().right
    if right is None or right.ndim != 1:
        return "An answer is not right or wrong as a whole here"
    wrong, count = int((right.numpy() < 0.5).sum()), len(scene.live)
    if wrong < count - wrong:
        few = f"Only {wrong}" if wrong else "None"
        return f"{few} of the {counted(count, 'examples')} {'is' if wrong < 2 else 'are'} misread, too few to compare"
    return f"{wrong:,} of the {counted(count, 'examples')} are misread, too many to compare with others"


def _measured(scene: Scene, name: str) -> bool:
    """Whether a property is a number that is high or low; of words, light and what is so or not there is more or less."""
    told = scene.live.metadata
    return name in told or (name.partition(": ")[0] not in told and not isinstance(scene.kind, kinds.Image | kinds.Tokens))


def _odds(told: dict[str, np.ndarray], k: int) -> str:
    return f"{told['gaps'][k]:+.1f} σ" if told["chances"][k] < CHANCE else "may be chance"
