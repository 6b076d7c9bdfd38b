"""Examples over the training, as pictures: what each went through, the map of the data, the likely mislabelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import NotApplicable
from ...core.marks import Bars, Column, Field, Group, Heatmap, Lines, Node, Series, Table
from ...core.numerals import being, counted, leading
from ...core.picture import Progress
from ...core.selection import number_key
from ...data.examples import Examples
from ...derive.derivations.margins import likely_wrong
from ...scene import Scene
from ...scene.sets import loss_unit, named
from .. import inputs
from ..changed_labels import changed_of_probe
from . import _doubtful_examples

MEASURES = ("loss", "margin", "likelihood")
LOOKS = 160
"""Columns of a history; of more looks some are left out, evenly."""
WORDS = ("no label", "never learnt", "forgotten", "learnt")
"""What became of an example, as its group says."""

Ints = NDArray[np.int64]


@dataclasses.dataclass
class PictureParts:
    """A picture's title, body and words."""

    title: str
    body: Node
    caption: str
    note: str = ""


class FollowedExamples:
    """Examples over a training, the live ones or all: the value of the derivation ``margins`` as a view reads it."""

    def __init__(self, scene: Scene, value: Mapping[str, Any], examples: Examples) -> None:
        self.scene, self.value, self.examples = scene, value, examples
        self.steps: Ints = value["steps"]
        self.known: NDArray[np.bool_] = value["known"]
        self.judged = "group" in value
        """There are right and wrong answers."""
        self.named = self.judged and scene.task == "classification"

    @classmethod
    def of(cls, scene: Scene, whole: bool = False, then: bool = False) -> Iterator[Progress | FollowedExamples]:
        """How far it is, and at the end the examples: over the whole training, or as they were ``then``, at the scene's step.

        *Raises* NotApplicable where nothing tells how they were.
        """
        try:
            derived = scene.derive("margins", whole=whole and len(scene.examples) > len(scene.live), then=then)
        except NotApplicable as error:
            raise NotApplicable(f"{error}; show=answers needs no history") from error
        if not derived.known and (passes := derived.cost.forward):
            yield Progress(done=0, total=1, note=f"{passes:,} passes: each example through the networks of snapshots that were not looked at")
        for stage in derived.stream():
            if stage.final:
                yield cls(scene, stage.value, scene.examples if whole else scene.live)
            else:
                yield stage.progress

    def order(self, sort: str, only: str, classes: set[int]) -> Ints:
        """Which examples, and in which order; those without a label are left out."""
        value, chosen = self.value, np.flatnonzero(self.known)
        if classes and self.named:
            chosen = chosen[np.isin(self._labels()[chosen], list(classes))]
        if self.judged and only == "wrong":
            chosen = chosen[value["group"][chosen] < 3]
        if self.judged and only == "changed":
            chosen = chosen[value["forgettings"][chosen] > 0]
        finite = np.isfinite(value["loss"])
        with np.errstate(invalid="ignore"):
            mean = np.where(finite, value["loss"], 0.0).sum(1) / finite.sum(1)
        ranks: dict[str, Any] = {"index": np.arange(len(mean), dtype=float), "loss": -mean, "doubt": -mean}
        if self.judged:
            ranks |= {"margin": value["aum"], "change": -value["forgettings"].astype(float), "doubt": -value["doubt"]}
        if self.named:
            ranks["class"] = self._labels() + (1 - value["doubt"]) / 4
        rank = ranks.get(sort)
        if rank is None:
            raise NotApplicable(f"a history is not sorted by {sort}; sort it by {', '.join(ranks)}")
        return chosen[np.argsort(np.where(np.isnan(rank), -np.inf, rank)[chosen], kind="stable")]

    def _labels(self) -> Ints:
        y = self.examples.y
        assert y is not None  # its losses are known
        found: Ints = (y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y)).long()).numpy()
        return found

    def _name(self, index: int) -> str:
        classes = self.scene.classes if self.scene.missing is None else self.scene.run.classes if self.scene.run else ()
        return classes[index] if 0 <= index < len(classes) else named(self.scene, index) if self.scene.missing is None else str(index)

    def _limit(self, array: NDArray[np.floating[Any]], measure: str) -> Limits:
        """Of the whole training and all examples, so that colours mean the same whatever is shown."""
        if measure == "likelihood":
            return magnitude(array, 0.0, 1.0, unit="probability")
        # One look at scores gone wild would leave all others one colour.
        finite = np.abs(array[np.isfinite(array)])
        high = float(np.quantile(finite, 0.98)) if len(finite) else 1.0
        unit = loss_unit(self.scene) if measure == "loss" else "logits"
        return magnitude(array, 0.0, high or 1.0, unit=unit) if measure == "loss" else symmetric(array, high or 1.0, unit=unit)

    # The pictures.

    def history(self, order: Ints, measure: str, limit: int) -> PictureParts:
        """Each example's loss, margin or likelihood at every look, and how many were learnt, forgotten, never learnt."""
        if measure != "loss" and not self.judged:
            raise NotApplicable(f"the answers of this network are numbers, which have no {measure}; choose measure=loss")
        array = self.value[measure]
        at = np.unique(np.linspace(0, len(self.steps) - 1, min(LOOKS, len(self.steps))).round().astype(int))
        shown = order[:limit]
        heat = Heatmap(
            values=array[np.ix_(shown, at)], limits=self._limit(array, measure), row_labels=tuple(map(self._row, shown.tolist())),
            column_labels=tuple(f"{step:,}" for step in self.steps[at]), row_keys=tuple(number_key("example", k) for k in shown.tolist()),
            column_keys=tuple(number_key("step", int(step)) for step in self.steps[at]), row_title="example", column_title="step",
            size=14,
        )
        caption = f"The {measure} of each example at {self._looks()}, a row an example. "
        body: Node = heat
        if self.judged:
            caption += self._became()
            body = Group(children=(self._shares(), heat))
        more = f"{len(shown)} of {counted(len(order), 'examples')} shown" if len(shown) < len(order) else ""
        return PictureParts("Examples over the training", body, caption.rstrip(), more)

    def _looks(self) -> str:
        steps = self.steps[self.steps > 0] if self.steps.max() > 0 else self.steps
        if len(steps) == 1:
            return f"one look at the probe set (step {int(steps[0]):,})"
        return f"{len(steps)} looks at the probe set (steps {int(steps[0]):,} to {int(steps[-1]):,})"

    def _row(self, k: int) -> str:
        if not self.judged:
            return str(k)
        label = f", {self._name(int(self._labels()[k]))}" if self.named else ""
        return f"{k}{label}: {WORDS[int(self.value['group'][k])]}"

    def _became(self) -> str:
        group = self.value["group"][self.known]
        total, lapsed = len(group), int((self.value["forgettings"][self.known] > 0).sum())
        told = ", ".join(f"{int((group == k).sum())} {WORDS[k]}" for k in (3, 2, 1))
        return (
            f"Of {total} examples with a label, at the last look (step {int(self.steps[-1]):,}): {told}. Learnt is right at that "
            f"look, forgotten was right before and is wrong there. {lapsed} became wrong at least once after having been right."
        )

    def _shares(self) -> Lines:
        """At each look: how many are right, how many were right before and are wrong, how many never were right."""
        # What an untrained network happens to say right is not learnt.
        whole = (self.value["right"][self.known] >= 0.5) & ((self.steps > 0) | (self.steps.max() <= 0))
        ever = np.logical_or.accumulate(whole, 1)
        parts = {"learnt": whole, "forgotten": ever & ~whole, "never learnt": ~ever}
        x = self.steps.astype(np.float64)
        series = tuple(
            Series(name=name, x=x, y=part.mean(0) if len(part) else np.full(len(x), np.nan), colour=colour)
            for (name, part), colour in zip(parts.items(), (2, 1, 3), strict=True)
        )
        cursor = float(self.scene.step) if self.scene.step is not None else None
        return Lines(
            title="share of the examples", series=series, x_range=(0.0, max(1.0, float(self.steps[-1]))), y_range=(0.0, 1.0), cursor=cursor,
            height=130,
        )

    def map(self, order: Ints) -> PictureParts:
        """The map of the data: how sure the network was of each label, against how much that changed."""
        self._classes_only("the map of the data tells how sure a network is of its labels")
        value = self.value
        x, y = value["spread"][order], value["confidence"][order]
        there = np.isfinite(x) & np.isfinite(y)
        order, x, y = order[there], x[there], y[there]
        # Every class alike is the bare paper: there is nothing but points here.
        plane = Field(
            values=np.full((2, 2, 3), 1 / 3), extent=(0.0, 0.5, 0.0, 1.0), classes=WORDS[1:],
            points=np.stack([x, y], 1), point_values=value["group"][order] - 1.0, point_keys=tuple(number_key("example", k) for k in order.tolist()),
            wrong=value["group"][order] < 3, x_title="spread of the label's probability over the looks",
            y_title="mean probability of the label", size=340,
        )
        easy, hard = int((y > 0.75).sum()), int((y < 0.25).sum())
        unsure = int(((x > 0.25) & (y >= 0.25) & (y <= 0.75)).sum())
        caption = (
            f"Each point is one of {counted(len(order), 'examples')}, over {self._looks()}: upwards how likely the network held its label in "
            f"the mean, to the right how much that changed. At the top, above 0.75, "
            f"{_are(easy)} easy; at the bottom, below 0.25, {_are(hard)} hard or mislabelled; about {unsure} to the right between them it wavers (a "
            "spread above 0.25). The colour says "
            "what became of each; crossed out is what is answered wrongly at the last look."
        )
        return PictureParts("Map of the data", plane, caption)

    def mislabelled(self, order: Ints, limit: int, chosen: Collection[int] = ()) -> PictureParts:
        """The examples whose label the training worked against, most doubtful first, and how many of each class; what may be done with the chosen."""
        self._classes_only("a likely wrong label is one that is less likely than another class")
        value, labels = self.value, self._labels()
        doubt = value["doubt"]
        # The probe set keeps its labels: what is trained as something else, or no longer, is judged already.
        changed = np.isin(order, list(changed_of_probe(self.scene.run, len(labels))))
        order, judged = order[~changed], order[changed]
        shown = order[:limit]
        rival = np.array([_most(value["answer"][k], int(labels[k])) for k in shown.tolist()], np.int64)
        table = Table(
            columns=(
                inputs.column(self.scene, shown.tolist()),
                inputs.numbers(self.scene, shown.tolist()),
                self._class("label", labels[shown]),
                self._class("answered instead", rival),
                Column(name="doubt", numbers=doubt[shown], signed=True),
                Column(name="area under the margin", numbers=value["aum"][shown], unit="logits", signed=True),
                Column(name="right", kind="share", numbers=value["correctness"][shown]),
                Column(name="times forgotten", numbers=value["forgettings"][shown].astype(float)),
                Column(name="became", kind="text", texts=tuple(WORDS[int(value["group"][k])] for k in shown)),
            ),
            row_keys=tuple(number_key("example", k) for k in shown.tolist()), sort="doubt", descending=True, flagged=doubt[shown] > 0, boxes=True,
        )
        suspected = order[doubt[order] > 0]
        total = int(self.known.sum())
        caption = (
            f"Examples whose label the network held for less likely than another class, most doubtful first. Of {len(order)} that are "
            f"looked at, {being(len(suspected), 'have', 'has')} a doubt above 0: in the mean over {self._looks()} another class was "
            "likelier than their label. "
        )
        if len(self.steps) >= _doubtful_examples.FEW and total == len(order) + len(judged):
            caption += f"{_doubtful_examples.estimated(likely_wrong(value, labels), len(suspected), self._name)} ".lstrip()
        caption += f"{_doubtful_examples.by_heart(value)} {_doubtful_examples.HARD}".lstrip()
        if len(judged):
            caption += f" {counted(len(judged), 'examples')} that the training was told to drop or relabel are left out; show=changed lists them."
        if (doubt[shown] <= 0).any():
            caption += f" {'Rows without a mark' if len(suspected) else 'The rows'} have none above 0, and only come nearest to it."
        body: Node = table
        if len(suspected):
            present = np.unique(labels[order])
            counts = np.array([(labels[suspected] == k).sum() for k in present], float)
            totals = [int((labels[order] == k).sum()) for k in present]
            most = [f"{self._name(int(k))} ({int(count)} of {total})" for k, count, total in zip(present, counts, totals, strict=True)]
            caption += f" Doubted most of all labels: {leading(counts.tolist(), most)}."
            ranked = np.argsort(-counts, kind="stable")[: min(20, int((counts > 0).sum()))]
            bars = Bars(
                values=counts[ranked], labels=tuple(self._name(int(k)) for k in present[ranked]), unit="examples",
                keys=tuple(number_key("class", int(k)) for k in present[ranked]), title="doubtful labels by class",
            )
            body = Group(children=(bars, table), direction="row")
            instead = np.array([_most(value["answer"][k], int(labels[k])) for k in suspected.tolist()], np.int64)
            acts = _doubtful_examples.ways(self.scene, suspected, instead, labels, chosen, len(self.steps), self._name)
            if acts is not None:
                body = Group(children=(acts, body))
        more = _doubtful_examples.shown(len(shown), len(order), int((doubt[shown] > 0).sum()), len(suspected))
        more += [f"{len(self.known) - total} examples have no label"] if total < len(self.known) else []
        if len(labels) < len(self.scene.examples):
            more.append(f"the first {len(labels)} of {len(self.scene.examples):,} examples are looked at; among=all looks at all, in every snapshot")
        return PictureParts("Likely mislabelled", body, caption, "; ".join(more))

    def _class(self, name: str, indices: Ints) -> Column:
        texts = tuple(self._name(int(k)) if k >= 0 else "" for k in indices)
        return Column(name=name, kind="class", numbers=indices.astype(float), texts=texts)

    def _classes_only(self, what: str) -> None:
        if not self.named:
            raise NotApplicable(f"{what}, and this network does not answer with one class; choose show=history")


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _most(answers: Ints, label: int) -> int:
    """The wrong answer that was given most often; −1 where there was none."""
    wrong = answers[(answers != label) & (answers >= 0)]
    return int(np.bincount(wrong).argmax()) if len(wrong) else -1
