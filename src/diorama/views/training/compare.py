"""Two networks, or several, side by side: what they answer, which of their units are the same, and what lies between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import Limits
from ...core.errors import Cancelled, DioramaError, NotApplicable
from ...core.knobs import build, knob
from ...core.marks import Bars, Column, Group, Lines, Node, Series, Table
from ...core.numerals import joined, plain
from ...core.picture import Picture, Progress
from ...core.selection import Selection, layer_key, number_key, spoken, unit_key
from ...scene import Scene
from ...scene.sets import named
from .. import inputs, run_series
from ..changed_labels import called, changed_of_probe, wrong
from ..validation_measures import PassedValue, held_back
from ..view import View
from ._other_network import OtherNetwork, done_apart, mean
from .curves import CurvesView
from .distributions import DistributionsView

Floats = NDArray[np.float64]
LAYERS = 40
"""So many layers are drawn as bars: those that differ most."""
HELD_BACK = 4
"""So many of the loops' numbers of examples held back stand in the table."""
ACTS = 12
"""So many acts that only one of two networks has are listed: the newest."""
DRAWN = 3
"""Of so many others the layers, units and ways are shown; of all of them the answers."""


class CompareView(View):
    """What differs between this network and others: curves, answers, layers and units, and the loss on the way between them.

    *Meaning* units are matched by the assignment that fits best, not by their numbers: two trainings from different starts learn
    alike units in another order. A layer whose matched units correlate near 1 does the same in both. A barrier near 0 after
    matching says that two networks about as good are one solution; a high one, that they are two. Without a chosen run it compares
    with the run's first step.
    *Units* correlations over the probe set; losses as the training measures them.
    *Cost* a pass an example in each network; then for each place on the way one or two of the examples that it is ``walked`` with.
    """

    title = "Compare"
    question = "What differs between this network and another one?"
    family = "process"
    papers = (
        "Ainsworth et al. 2022, Git Re-Basin", "Entezari et al. 2022, The role of permutation invariance", "Li et al. 2016, Convergent learning",
        "Jordan et al. 2022, REPAIR",
    )
    rows = ("D9",)
    by_labels = True
    follows = ("layer",)

    how: str = knob("weights", "Match units by the weights, or by what they answer.", choices=("weights", "activations"), main=True)
    since: int | None = knob(None, "Compare with this step of the same run.", kind="step", main=True)
    walked: int = knob(256, "The loss on the way is that of so many examples, the first of the live ones.", low=2, high=512)
    places: int = knob(5, "Points on the straight way between two networks.", low=3, high=65)
    anew: bool = knob(True, "On the way, estimate the statistics of batch norm anew on the probe set.")
    limit: int = knob(24, "The most examples, and the most units, that are listed.", low=1, high=512)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """There is a second network, or another step."""
        if not scene.others and len(scene.steps) < 2:
            return "it compares two networks: choose a second run or step beside the run's name (other= in Python)"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The answers at once, then layers and units, then the way between the two as it is walked."""
        beside = [OtherNetwork(scene, other, self.how, self.places, self.anew, self.walked) for other in self._others(scene)]
        if scene._examples is None:
            yield self._recorded(scene, selection, beside)
            return
        head: list[Node] = [_numbers(scene, beside), *_acts(scene, beside)]
        tail: list[Node] = [
            *_examples(scene, beside, self.limit), *_learning(scene, beside, selection), *_spreads(scene, beside, selection),
        ]
        yield self._drawn(scene, selection, beside, [*head, *tail], final=False)
        chosen = selection.one("layer")
        for one in beside[:DRAWN]:
            yield from one.match()
            yield self._drawn(scene, selection, beside, [*head, *_layers(beside, self.limit, chosen), *tail], final=False)
        rest = [*_layers(beside, self.limit, chosen), *tail]
        for one in beside[:DRAWN]:
            for done in one.walk():
                yield Progress(done=done, total=1.0, note=f"between this network and {one.name}")
                yield self._drawn(scene, selection, beside, [*head, *_way(beside), *rest], final=False)
        yield self._drawn(scene, selection, beside, [*head, *_way(beside), *rest], final=True)

    def _recorded(self, scene: Scene, selection: Selection, beside: list[OtherNetwork]) -> Picture:
        """Without examples there are curves and distributions alone."""
        marks: list[Node] = [*_acts(scene, beside), *_learning(scene, beside, selection), *_spreads(scene, beside, selection)]
        if not marks:
            raise NotApplicable("two steps of one run are compared on examples, and the run was recorded without a probe set (probe=)")
        beside[0].notes.append("without a probe set (probe=) neither answers nor units are compared")
        return self._drawn(scene, selection, beside, marks, final=True)

    def _others(self, scene: Scene) -> tuple[Scene, ...]:
        if self.since is not None:
            return (*scene.others, scene.at(self.since))
        if scene.others:
            return scene.others
        first, last = scene.steps[0], scene.steps[-1]
        return (scene.alone(scene.cancel).at(first if scene.step != first else last),)

    def _drawn(self, scene: Scene, selection: Selection, beside: list[OtherNetwork], marks: list[Node], final: bool) -> Picture:
        notes = list(dict.fromkeys(note for one in beside for note in one.notes))
        if len(beside) > DRAWN and final:
            notes.append(f"layers, units and ways are shown for the first {DRAWN} of {len(beside)} others")
        labels = _labels(scene, beside) if scene.missing is None and scene._examples is not None else None
        title = f"Beside {beside[0].name}" if len(beside) == 1 else f"Beside {len(beside)} others"
        return self.picture(
            scene, selection, title, Group(children=tuple(marks)), " ".join(one.sentence(labels) for one in beside[:DRAWN]),
            checks=tuple(check for one in beside[:DRAWN] for check in one.checks()), note="; ".join(notes), final=final,
        )


def _acts(scene: Scene, beside: list[OtherNetwork]) -> Iterator[Node]:
    """What people and rules did to one of two trainings and not to the other."""
    for one in beside[:DRAWN]:
        apart = done_apart(scene, one.other)
        if not apart:
            continue
        shown = apart[-ACTS:]
        yield Table(
            title=f"Done here or in {one.name} alone" + (f": the newest {len(shown)} of {len(apart)}" if len(shown) < len(apart) else ""),
            columns=(
                Column(name="where", kind="text", texts=tuple("here" if mine else one.name for mine, _ in shown)),
                Column(name="after step", kind="text", texts=tuple(f"{act['step']:,}" for _, act in shown)),
                Column(name="what", kind="text", texts=tuple(act["text"].partition(";")[0] for _, act in shown)),
            ),
            caption="What differs may come of any of these, not of one of them alone." if len(apart) > 1 else "",
        )


def _learning(scene: Scene, beside: list[OtherNetwork], selection: Selection) -> Iterator[Node]:
    """The curves of all runs overlaid."""
    if scene.run is not None and any(not one.same_run for one in beside):
        yield from _body(build(CurvesView, {}), scene, selection)


def _spreads(scene: Scene, beside: list[OtherNetwork], selection: Selection) -> Iterator[Node]:
    """The distributions of all runs overlaid."""
    if scene.run is not None and any(not one.same_run and one.other.run is not None for one in beside):
        yield from _body(build(DistributionsView, {"form": "bands"}), scene, selection)


def _body(view: View, scene: Scene, selection: Selection) -> Iterator[Node]:
    try:
        for picture in view.pictures(scene, selection):
            if isinstance(picture, Picture):
                body = picture.body
                yield body if body.title or isinstance(body, Group) else msgspec.structs.replace(body, title=picture.title)
    except DioramaError as error:
        if isinstance(error, Cancelled):
            raise


@dataclasses.dataclass(frozen=True)
class _ComparedRow:
    name: str
    step: float
    loss: float
    right: float
    relabelled: float
    parameters: float
    differ: float
    held_back: dict[str, PassedValue]


def _numbers(scene: Scene, beside: list[OtherNetwork]) -> Node:
    """A row a network: where it stands and how well it answers these examples."""

    labels = _labels(scene, beside)

    def row(name: str, looked: Scene, answers: Any, differ: float) -> _ComparedRow:
        loss = right = relabelled = float("nan")
        if answers is not None:
            known = slice(None) if answers.known is None else answers.known
            loss, right = answers.loss, answers.accuracy
            relabelled = mean((answers.predictions == labels)[known].double().numpy()) if labels is not None else relabelled
        count = sum(p.numel() for p in looked.model.parameters()) if looked.missing is None else float("nan")
        step = float(looked.step) if looked.step is not None else float("nan")
        return _ComparedRow(name, step, loss, right, relabelled, float(count), differ,
                            held_back(looked.run, step if np.isfinite(step) else np.inf))

    here = f"step {scene.step}" if beside[0].same_run else run_series.label(scene.run, [one.other.run for one in beside]) or scene.name
    told = [one.turned for one in beside if one.turned is not None and one.turned.total]
    what = told[0].what if told else "examples"
    rows = [row(f"{here} (here)", scene, scene.answers() if scene.task else None, 0.0 if told else float("nan"))]
    counts = [float(one.turned.count) if one.turned is not None and one.turned.total else float("nan") for one in beside]
    rows += [row(one.name, one.other, one.answers, count) for one, count in zip(beside, counts, strict=True)]
    columns = [
        Column(name="network", kind="text", texts=tuple(one.name for one in rows)),
        _told("step", [one.step for one in rows], ",.0f"),
        _told("loss", [one.loss for one in rows], ".3g"),
        _told("right", [one.right for one in rows], ".1%"),
        _told("right by the changed labels", [one.relabelled for one in rows], ".1%"),
        *_held_back(rows),
        _told("answers that differ" if what == "examples" else f"{what} answered differently", [one.differ for one in rows], ",.0f"),
        _told("parameters", [one.parameters for one in rows], ",.0f"),
    ]
    keys = tuple(number_key("step", int(one.step)) if np.isfinite(one.step) else "" for one in rows)
    return Table(title="The networks, on these examples", columns=tuple(filter(None, columns)), row_keys=keys if any(keys) else ())


def _held_back(rows: list[_ComparedRow]) -> Iterator[Column | None]:
    """The numbers of examples that the loops held back, each as it was last passed by the step at which the network stands."""
    names = list(dict.fromkeys(name for row in rows for name in row.held_back))
    for name in names[:HELD_BACK]:
        there = [row.held_back.get(name) for row in rows]
        steps = {one.step for one in there if one is not None}
        column = _told(name, [one.value if one is not None else float("nan") for one in there], ".3g")
        if column is not None:
            at = f"at step {steps.pop():,}" if len(steps) == 1 else "at steps " + ", ".join(f"{one.step:,}" if one else "–" for one in there)
            column = msgspec.structs.replace(column, note=f"Passed by the loop, by its name of examples held back: its newest value, {at}.")
        yield column


def _labels(scene: Scene, beside: list[OtherNetwork]) -> Tensor | None:
    """The labels that the data of one of the trainings have now, where commands changed some of the probe set's; else None."""
    if scene.task != "classification" or scene.live.y is None:
        return None
    labels = scene.reading.truth(scene.live.y).clone()
    for run in (scene.run, *(one.other.run for one in beside)):
        now = {k: label for k, label in changed_of_probe(run, len(labels)).items() if label is not None}
        if now:
            labels[torch.tensor(list(now))] = torch.tensor(list(now.values()))
            return labels
    return None


def _told(name: str, values: list[float], form: str) -> Column | None:
    """A column of numbers, with a dash where there is none; none where there are none at all."""
    if not np.isfinite(values).any():
        return None
    if np.isfinite(values).all():
        return Column(name=name, kind="share" if "%" in form else "number", numbers=np.array(values))
    texts = (plain(format(value, form)) if np.isfinite(value) else "–" for value in values)
    return Column(name=name, kind="text", texts=tuple(texts))


def _examples(scene: Scene, beside: list[OtherNetwork], limit: int) -> Iterator[Node]:
    """The examples that are answered differently, the most certain changes first."""
    compared = [one for one in beside if one.differ is not None]
    if not compared or scene.task != "classification":
        return
    differ = np.any(np.array([one.differ for one in compared]), axis=0)
    mine = scene.answers()
    sure = mine.confidence.double().numpy() if mine.confidence is not None else np.zeros(len(differ))
    order = np.flatnonzero(differ)
    total = len(order)
    order = order[np.argsort(-np.nan_to_num(sure[order]), kind="stable")][:limit]
    if not total:
        return

    def column(name: str, indices: NDArray[np.int64]) -> Column:
        return Column(name=name, kind="class", numbers=indices.astype(float), texts=tuple(named(scene, int(k)) for k in indices))

    columns = [inputs.column(scene, order.tolist()), inputs.numbers(scene, order.tolist())]
    y = scene.live.y
    if y is not None:
        truth = scene.reading.truth(y).numpy()[order]
        columns.append(Column(name="truth", kind="class", numbers=truth.astype(float), texts=called(scene, order, truth)))
    columns.append(column("answer here", mine.predictions.numpy()[order]))
    columns += [column(f"answer of {one.name}", one.answers.predictions.numpy()[order]) for one in compared]
    if mine.losses is not None:
        columns += [
            Column(name=f"loss of {one.name} beyond this", numbers=(one.answers.losses - mine.losses).double().numpy()[order], signed=True)
            for one in compared if one.answers.losses is not None
        ]
    missed = wrong(scene)
    missed = missed[order] if missed is not None else None
    title = f"Answered differently: {len(order)} of {total}" if len(order) < total else "Answered differently"
    yield Table(
        title=title, columns=tuple(columns), row_keys=tuple(number_key("example", int(k)) for k in order), flagged=missed,
        caption="Flagged are those that are wrong here." if missed is not None else "",
    )


def _layers(beside: list[OtherNetwork], limit: int, chosen: Any) -> Iterator[Node]:
    """How alike each layer answers, and the units that differ most."""
    for one in beside[:DRAWN]:
        if one.value is None or not (ranked := one.ranked()):
            continue
        shown = ranked[:LAYERS]
        order = {name: k for k, name in enumerate(one.value["layers"])}
        shown = sorted(shown, key=lambda pair: order[pair[0]])
        layers = one.value["layers"]
        yield Bars(
            title=f"How alike layers answer here and in {one.name}"
            + (f": the {len(shown)} of {len(ranked)} that differ most" if len(shown) < len(ranked) else ""),
            values=np.array([mean for _, mean in shown]), labels=tuple(spoken(name) for name, _ in shown),
            keys=tuple(layer_key(name) for name, _ in shown),
            reference=np.array([mean(layers[name]["by_index"]) for name, _ in shown]), limits=Limits(low=-1.0, high=1.0),
            caption="The mean correlation of matched units over the examples, in the order of the network; the tick is that of units "
            "of the same number." + _matched({name: str(layers[name]["how"]) for name, _ in shown}),
        )
        yield from _units(one, limit, chosen)


def _matched(how: dict[str, str]) -> str:
    """Which layers were matched otherwise than by their weights."""
    said = ""
    for way, words in (("activations", "what units answer"), ("index", "number")):
        names = [spoken(name) for name, one in how.items() if one == way]
        if names:
            which = "all" if len(names) == len(how) else joined(names if len(names) < 5 else [*names[:3], f"{len(names) - 3} more"])
            said += f" Matched by {words}: {which}."
    return said


def _units(one: OtherNetwork, limit: int, chosen: Any) -> Iterator[Node]:
    assert one.value is not None
    known = {name for name, _ in one.ranked()}
    names = [name for name in one.value["layers"] if (name in known if chosen is None else name == chosen.layer)] or list(known)
    rows = [
        (name, unit, int(partner), float(correlation), float(index))
        for name in names
        for layer in [one.value["layers"][name]]
        for unit, (partner, correlation, index) in enumerate(zip(layer["units"], layer["correlation"], layer["by_index"], strict=True))
        if partner < 0 or np.isfinite(correlation)
    ]
    rows.sort(key=lambda row: (row[2] >= 0, row[3]))
    rows = rows[:limit]
    if not rows:
        return
    where = f" of {spoken(names[0])}" if chosen is not None and len(names) == 1 else ""
    yield Table(
        title=f"Units{where} that differ most from their partners in {one.name}",
        columns=(
            Column(name="unit here", kind="text", texts=tuple(f"{spoken(name)}/{unit}" for name, unit, *_ in rows)),
            Column(name="partner there", kind="text", texts=tuple(f"{spoken(name)}/{p}" if p >= 0 else "none" for name, _, p, *_ in rows)),
            Column(name="correlation", numbers=np.array([row[3] for row in rows]), signed=True),
            Column(name="of the same number", numbers=np.array([row[4] for row in rows]), signed=True),
        ),
        row_keys=tuple(unit_key(name, unit) for name, unit, *_ in rows),
    )


def _way(beside: list[OtherNetwork]) -> Iterator[Node]:
    """The loss between the networks, as they are and with their units matched."""
    series = []
    for number, one in enumerate(beside[:DRAWN]):
        for way, word in ((one.before, "as it is"), (one.after, "units matched")):
            if way is not None and (way is not one.before or word == "as it is"):
                x, y = way.visited
                if len(x):
                    colour = number if len(beside) > 1 else int(way is one.before)
                    group = one.name if len(beside) > 1 else ""
                    series.append(Series(name=word, x=x, y=y, colour=colour, dash=way is one.before, group=group))
    if not series:
        return
    yield Lines(
        title="Loss on the straight way", series=tuple(series), x_title="from this network (0) to the other (1)", y_title="loss",
        x_kind="number", x_range=(0.0, 1.0), height=190,
        caption="The weights between the two networks, place by place; where no hill stands between two that are about as good, they are one "
        "solution."
        + (f" The loss is that of the first {beside[0].examples} examples." if beside[0].examples < len(beside[0].scene.live) else ""),
    )
