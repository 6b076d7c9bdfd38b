"""Where two networks differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.colour import magnitude
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Node, Table
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, layer_key, number_key, spoken
from ...derive.derivations.differences import beside, uncompared
from ...model.outputs import CLASSES
from ...scene import Scene
from ...scene.sets import classes_of, named
from .. import inputs
from ..run_series import other_name
from ..samples import first_examples, looked_at, noted, part
from ..view import View

HALF = 0.5
"""A layer whose weights carry so much of the difference is said to hold it."""


class DifferencesView(View):
    """Where two networks differ: on which examples, of which classes, and in which layer.

    *Meaning* each bar is how far this network's answers move when one layer has the other's weights, the last one how far
    the other network's answers lie: a layer whose bar is as long holds the difference. Beside it how alike both place the examples,
    layer by layer (linear CKA, estimated without bias): where it falls, they begin to read the examples differently. The other network is
    the one that is compared with, by itself this run at its first snapshot.
    *Units* half the sum of the differences of probabilities: 0 the same, 1 nothing in common; else the distance of the numbers.
    *Error* layers of separately trained networks count their units otherwise, so that the other's weights do not fit among them: then
    every bar is long, and the likeness tells where they part.
    *Cost* a pass an example in each network, and one for each layer.
    *Source* Kornblith et al. 2019; Zhang, Bengio & Singer 2019.
    """

    title = "Where two differ"
    question = "Where do two models differ?"
    family = "relationships"
    papers = ("Kornblith et al. 2019, arXiv:1905.00414", "Zhang, Bengio & Singer 2019, arXiv:1902.01996")
    rows = ("D4",)
    by_labels = True

    count: int = knob(10, "So many examples and classes.", low=1, high=100)
    layers: int = knob(40, "So many layers at most, spread over the network.", low=1, high=400)
    examples: int = first_examples(2)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Two networks."""
        return uncompared(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The answers and likenesses, then the layers one by one."""
        scene = scene.first(self.examples)
        for stage in scene.derive("differences", layers=self.layers).stream():
            if stage.final:
                yield self._picture(scene, selection, stage.value, final=True)
            else:
                yield stage.progress
                if stage.value is not None:  # there is none while another process works on it
                    yield Draft(lambda value=stage.value: self._picture(scene, selection, value, final=False))  # type: ignore[misc]

    def _picture(self, scene: Scene, selection: Selection, value: dict[str, Any], *, final: bool) -> Picture:
        other = beside(scene)
        assert other is not None
        name = other_name(scene, other)
        names, answers = value["layers"], value["answers"]
        both = np.isfinite(answers)
        whole = float(answers[both].mean()) if both.any() else float("nan")
        marks: list[Node] = []
        there = np.flatnonzero(np.isfinite(value["swapped"]))
        if len(there):
            bars = np.r_[value["swapped"][there], whole]
            # Beside the bar stands its number, and how far the weights lie apart.
            moves = [f"{value['swapped'][k]:.2f}" for k in there]
            far = [f" ({value['weights'][k]:.0%})" if np.isfinite(value["weights"][k]) else "" for k in there]
            weights = tuple(f"{move}{part}" for move, part in zip(moves, far, strict=True))
            marks.append(Bars(
                title=f"How far answers move with the weights of {name} in one layer (how far these differ)", values=bars,
                limits=magnitude(bars, 0.0),
                labels=(*(spoken(names[k]) for k in there), f"all of {name}"), notes=(*weights, ""),
                keys=(*(layer_key(names[k]) if scene.layers.has(names[k]) else "" for k in there), ""),
                strong=len(there),
            ))
        known = np.flatnonzero(np.isfinite(value["alike"]))
        if len(known):
            marks.append(Bars(
                title="How alike both place the examples (CKA)", values=value["alike"][known], limits=magnitude(value["alike"], 0.0, 1.0),
                labels=tuple(spoken(names[k]) for k in known), keys=tuple(layer_key(names[k]) for k in known),
            ))
        marks += self._by_class(scene, answers)
        marks.append(self._table(scene, other, name, answers))
        check = Check(
            name="apart", value=whole, good=whole < 0.05,
            sentence=f"How far the answers of both lie apart over {'all examples' if both.all() else 'these examples'}: 0 where they are the same.",
        )
        return self.picture(
            scene, selection, f"Where it differs from {name}", Group(children=tuple(marks), direction="row"),
            self._said(scene, name, value, whole), checks=(check,) if np.isfinite(whole) else (), final=final,
            note=noted(looked_at(scene), _left_out(answers)),
        )

    def _said(self, scene: Scene, name: str, value: dict[str, Any], whole: float) -> str:
        names, swapped, alike = value["layers"], value["swapped"], value["alike"]
        if not np.isfinite(whole):
            return f"The answers of both are not numbers, so how far they lie apart from those of {name} cannot be told."
        if not whole > 1e-6 and scene.other is None and scene.step is not None and name == f"step {scene.step}":
            return "This is the first snapshot, and no other network is chosen, so it is compared with itself. Choose a later step, or another run."
        if not whole > 1e-6:
            both, every = int(np.isfinite(value["answers"]).sum()), len(value["answers"])
            return f"Both answer the same to {part(both, every, 'examples') if both < every else f'all {both} examples'}."
        apart = f"by {whole:.0%} of their probability" if scene.task in CLASSES else f"by {whole:.2g}"
        said = f"The answers differ from those of {name} {apart} on average."
        moved = np.flatnonzero(np.isfinite(swapped))
        if len(moved):
            k = int(moved[swapped[moved].argmax()])
            if not swapped[k] > 0:
                said += " What both have and could be tried is the same."
            elif swapped[k] < HALF * whole:
                none = "No layer alone holds" if len(moved) == len(names) else "Of what could be tried none alone holds"
                said += (
                    f" {none} the difference: "
                    f"{spoken(names[k])}, with the other's weights, moves them by {swapped[k] / whole:.0%} of that."
                )
            elif (swapped[moved] >= HALF * whole).sum() == 1:
                said += f" {spoken(names[k])} holds it: with the other's weights there alone, they move by {swapped[k] / whole:.0%} of that."
            else:
                count = int((swapped[moved] >= HALF * whole).sum())
                most = f"{spoken(names[k])} ({swapped[k] / whole:.0%})"
                said += f" {count} layers move them by half of that or more with the other's weights, most {most}."
        if only := value["only"]:
            some = f"{', '.join(map(spoken, only[:3]))}{f' and {len(only) - 3} more' if len(only) > 3 else ''}"
            said += f" Only one of the two has {some}, or has it in another shape: what that holds cannot be tried."
        known = np.flatnonzero(np.isfinite(alike))
        if len(known) > 1:
            falls = np.diff(alike[known])
            if falls.min() < -0.05:
                k = int(falls.argmin())
                before, there = (float(alike[known[n]]) for n in (k, k + 1))
                said += f" What they make of the examples parts most at {spoken(names[known[k + 1]])} (CKA {before:.2f} before, {there:.2f} there)."
        return said

    def _by_class(self, scene: Scene, answers: np.ndarray) -> list[Node]:
        """Of which classes the answers differ most."""
        classes = classes_of(scene)
        if classes is None or classes.ndim != 1:
            return []
        classes = np.asarray(classes)
        both = np.isfinite(answers)
        present = [int(k) for k in np.unique(classes[both]) if k >= 0]
        means = np.array([float(answers[both & (classes == k)].mean()) for k in present])
        order = np.argsort(-means, kind="stable")[: self.count]
        if not len(order):
            return []
        return [Bars(
            title="By class", values=means[order], limits=magnitude(means, 0.0), labels=tuple(named(scene, present[k]) for k in order),
            keys=tuple(number_key("class", present[k]) for k in order),
        )]

    def _table(self, scene: Scene, other: Scene, name: str, answers: np.ndarray) -> Table:
        """The examples on which the answers differ most."""
        order = np.argsort(-np.nan_to_num(answers), kind="stable")
        told = order[np.isfinite(answers[order])]
        which = [int(k) for k in (told if len(told) else order)[: self.count]]
        columns = [inputs.column(scene, which, scene.live)]
        if scene.task == "classification":
            both = scene.predictions().numpy(), other.on(scene.live).first(len(scene.live)).predictions().numpy()
            columns += [
                Column(name=title, kind="text", texts=tuple(named(scene, int(part[k])) for k in which))
                for title, part in (("here", both[0]), (name, both[1])) if part.ndim == 1
            ]
        columns.append(Column(name="apart", numbers=answers[which]))
        return Table(title="Where they differ most", columns=tuple(columns), row_keys=tuple(number_key("example", k) for k in which))


def _left_out(answers: np.ndarray) -> str:
    """How many examples one of both answers with no number, where some do and not all."""
    bad = int((~np.isfinite(answers)).sum())
    return "" if bad in (0, len(answers)) else (
        f"{part(bad, len(answers), 'examples')} {'are' if bad > 1 else 'is'} answered by one of both with no finite number and left out"
    )
