"""Which classes are taken for which."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude, symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Heatmap, Table
from ...core.numerals import being, leading
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...scene import Scene
from ...scene.sets import classless, named
from .. import inputs, run_series
from ..samples import few, first_examples, looking
from ..similar_units import alike
from ..view import View

TASKS = ("classification", "segmentation", "multi_label")
FEW = 12
"""So many classes have their numbers written into the cells."""

Floats = NDArray[np.float64]


class ConfusionView(View):
    """How often each class is answered with each class: rows are the truth, columns the network's answer.

    *Meaning* the diagonal is what is answered rightly; a bright cell beside it is a mix-up of two classes. Of several labels
    each row tells how often it was found, missed, and said where it was not. A segmentation counts places. Compared with another
    step or network, blue cells have grown and orange ones shrunk. Classes beyond ``most`` are folded into one row and column, the
    least mixed-up first. A chosen cell shows its examples.
    *Units* the share of a row's examples (of a segmentation, places), or their number.
    *Error* none; the check is the share answered rightly, of a segmentation the mean intersection over union.
    *Cost* one pass over the first 512 examples of the probe set, or as many as ``examples`` says; two where two are compared.
    """

    title = "Confusion"
    question = "Which classes does the network take for one another?"
    answers = True
    family = "process"
    papers = ("Bruckner 2014, ml-o-scope",)
    rows = ("C12", "E13")
    by_labels = True
    follows = ("class",)

    share: bool = knob(True, "Show the share of each row rather than the number of examples.", main=True)
    errors: bool = knob(False, "Leave out the diagonal, so that rare mix-ups show.", main=True)
    order: str = knob(
        "auto", "Classes by number, classes that are mixed up side by side, or so where there are many.",
        choices=("auto", "number", "similarity"), main=True,
    )
    since: int | None = knob(None, "Show what changed since this earlier step.", kind="step")
    most: int = knob(40, "The most classes that are shown: the most mixed-up; all others are folded into one.", low=2, high=400)
    limit: int = knob(24, "The most examples of a chosen cell.", low=1, high=200)
    examples: int = first_examples()

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a classifier and the truth."""
        if scene.task not in TASKS:
            return f"it compares answered classes with true ones, and {classless(scene)}"
        return "it needs the truth of each example; pass y, or probe=(x, y)" if scene.examples.y is None else None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        scene = scene.first(self.examples)
        before = scene.at(self.since) if self.since is not None and self.since != scene.step else scene.other
        before = before.first(self.examples) if before is not None else None
        yield from looking(scene)
        if before is not None and (before.task != scene.task or before.examples.y is None):
            raise NotApplicable("the other network answers another question, or has no truth, so their mix-ups cannot be compared")
        if scene.task == "multi_label":
            yield self._labels(scene, selection, before)
            return
        found = _Counts.of(scene)
        then = _Counts.of(before, found.size) if before is not None else None
        if then is not None and then.size > found.size:
            found = _Counts.of(scene, then.size)
        shown, folded = self._chosen(found.counts if then is None else found.counts + then.counts)
        counts = _folded(found.counts, shown, folded)
        values = self._values(counts) if then is None else self._values(counts) - self._values(_folded(then.counts, shown, folded))
        names = tuple(scene.classes[k] if k < len(scene.classes) else str(k) for k in shown)
        keys = tuple(number_key("class", int(k)) for k in shown)
        if len(folded):
            names, keys = (*names, f"{len(folded)} others"), (*keys, "")
        unit = "share" if self.share else found.unit
        limits = symmetric(values, 1.0 if self.share and not self.errors else None, unit=unit)
        if then is None:
            limits = magnitude(values, 0, 1.0 if self.share and not self.errors else None, unit=unit)
        heat = Heatmap(
            values=values, limits=limits, row_labels=names, column_labels=names, row_keys=keys, column_keys=keys, row_title="truth",
            column_title="answer", square=True, numbers=len(names) <= FEW, size=22 if len(names) <= FEW else 10,
        )
        notes = [*run_series.reservations(scene), *few(scene)]
        notes += [f"{len(folded)} of {found.size} classes, the least mixed-up, are folded into one row and column"] if len(folded) else []
        absent = int((found.counts.sum(0) + found.counts.sum(1) == 0).sum())
        notes += [f"{absent} of {found.size} classes do not occur"] if absent and found.size > self.most else []
        hint = "Click a cell to see its examples." if scene.task == "classification" and found.total else ""
        caption = _caption(found, scene) if then is None else _changed(found, then, scene, before)
        cell = self._cell(scene, selection, found) if scene.task == "classification" else None
        body = heat if cell is None else Group(children=(heat, cell))
        checks: tuple[Check, ...] = ()
        if scene.task == "segmentation":
            checks = (Check(
                name="mean intersection over union", value=_overlap(found.counts),
                sentence="the mean over the classes that occur of places of both truth and answer by places of either",
            ),)
        yield self.picture(scene, selection, "Confusion", body, caption, note="; ".join(notes), checks=checks, hint=hint)

    def _values(self, counts: Floats) -> Floats:
        values = counts / np.maximum(1, counts.sum(1, keepdims=True)) if self.share else counts.copy()
        if self.errors:
            np.fill_diagonal(values, 0)
        return values

    def _chosen(self, counts: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The classes that are shown, in order, and those that are folded into one."""
        size = len(counts)
        mixed = counts - np.diag(np.diag(counts))
        weight = mixed.sum(0) + mixed.sum(1) + 1e-6 * (counts.sum(0) + counts.sum(1))
        shown = np.arange(size)
        if size > self.most:
            shown = np.sort(np.argsort(-weight, kind="stable")[: self.most])
            shown = shown[(counts.sum(0) + counts.sum(1))[shown] > 0]
        left = counts.sum(0) + counts.sum(1) > 0 if size > self.most else np.ones(size, bool)
        left[shown] = False
        folded = np.flatnonzero(left)
        if (self.order == "similarity" or (self.order == "auto" and size > FEW)) and len(shown) > 2 and mixed.any():
            # Two classes are alike where they are taken for the same, each also for itself.
            both = (mixed + mixed.T + np.diag(2 * np.maximum(1, np.diag(counts))))[np.ix_(shown, shown)]
            shown = shown[alike(both / np.sqrt(np.maximum(1e-12, (both**2).sum(1, keepdims=True))))]
        return shown, folded

    def _cell(self, scene: Scene, selection: Selection, found: _Counts) -> Table | None:
        """The examples of the chosen cell: of two chosen classes the truth and the answer; of one all its examples, wrong first."""
        chosen = [key.number for key in selection.all("class")]
        if not chosen:
            return None
        row = chosen[-2] if len(chosen) > 1 else chosen[-1]
        if len(chosen) > 1:
            members = np.flatnonzero((found.truth == row) & (found.given == chosen[-1]))
            title = f"{named(scene, row)} that is taken for {named(scene, chosen[-1])}"
        else:
            members = np.flatnonzero(found.truth == row)
            members = members[np.argsort(found.given[members] == row, kind="stable")]
            title = f"examples of {named(scene, row)}, wrong ones first"
        shown = found.numbers[members[: self.limit]]
        answers = found.given[members[: self.limit]]
        if not len(shown):
            return Table(columns=(Column(name="example", kind="text", texts=()),), title=f"no example is {title}")
        texts = tuple(named(scene, int(k)) for k in answers)
        of = f", {len(shown)} of {len(members)}" if len(shown) < len(members) else ""
        return Table(
            columns=(
                inputs.column(scene, shown.tolist()), inputs.numbers(scene, shown.tolist()),
                Column(name="answer", kind="class", numbers=answers.astype(float), texts=texts),
            ),
            row_keys=tuple(number_key("example", int(k)) for k in shown), flagged=answers != row, title=title + of,
        )

    def _labels(self, scene: Scene, selection: Selection, before: Scene | None) -> Picture:
        """Of several labels: how often each was found, missed, and said where it was not."""
        shares, counts = _label_shares(scene)
        then = _label_shares(before)[0] if before is not None else None
        if then is not None and then.shape != shares.shape:
            raise NotApplicable("the other network has other labels, so their mix-ups cannot be compared")
        values = (shares if self.share else counts) if then is None else shares - then
        weight = counts[:, 1] + counts[:, 2]
        shown = np.arange(len(values))
        if len(values) > self.most:
            shown = np.argsort(-weight, kind="stable")[: self.most]
        values = values[shown]
        names = tuple(scene.classes[k] if k < len(scene.classes) else str(k) for k in shown)
        limits = symmetric(values, 1.0, unit="share") if then is not None else magnitude(
            values, 0, 1.0 if self.share else None, unit="share" if self.share else "examples"
        )
        heat = Heatmap(
            values=values, limits=limits, row_labels=names, column_labels=("found", "missed", "said wrongly", "rightly not said"),
            row_keys=tuple(number_key("class", int(k)) for k in shown), row_title="label", numbers=len(names) <= FEW, size=22,
        )
        found, missed, wrong, _ = counts.sum(0)
        caption = (
            f"Each row is a label: of the examples that have it, how many the network found and missed; of those that do not, how many it "
            f"gave it to and left. Of {int(found + missed)} labels {being(int(found))} found, {int(missed)} missed; {being(int(wrong))} said wrongly."
        )
        if weight.any():
            worst = leading(weight.tolist(), [named(scene, k) for k in range(len(weight))])
            many = (weight == weight.max()).sum() > 1
            caption += f" Most often wrong {'are' if many else 'is'} {worst}, {_times(weight.max())}{' each' if many else ''}."
        if then is not None:
            caption += f" Shown is what changed since {_where(scene, before)}."
        notes = [f"the {len(shown)} labels with most mistakes of {len(counts)}"] if len(shown) < len(counts) else []
        return self.picture(scene, selection, "Confusion", heat, caption, note="; ".join([*notes, *few(scene)]))


@dataclasses.dataclass
class _Counts:
    """What was answered with what: a matrix, and where each example has one class, which example it was."""

    counts: Floats
    truth: NDArray[np.int64]
    given: NDArray[np.int64]
    numbers: NDArray[np.int64]
    unit: str
    missing: int

    @property
    def size(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> int:
        return len(self.truth)

    @classmethod
    def of(cls, scene: Scene, least: int = 0) -> _Counts:
        y = scene.live.y
        assert y is not None  # fits() has seen it
        truth, given = scene.reading.truth(y).numpy(), scene.answers().predictions.numpy()
        numbers = np.broadcast_to(np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1)), truth.shape)
        known = truth >= 0
        truth, given, numbers = truth[known], given[known], numbers[known]
        size = max(len(scene.classes), least, int(truth.max(initial=0)) + 1, int(given.max(initial=0)) + 1)
        answered = given >= 0
        # One number a pair: a segmentation has millions of places.
        pairs = truth[answered].astype(np.int64) * size + given[answered]
        counts = np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.float64)
        unit = "places" if scene.task == "segmentation" else "examples"
        return cls(counts, truth, given, numbers, unit, int((~answered).sum()))


def _folded(counts: Floats, shown: NDArray[np.int64], folded: NDArray[np.int64]) -> Floats:
    """The shown classes, and all folded ones as one at the end."""
    whole = counts[np.ix_(shown, shown)]
    if not len(folded):
        return whole
    made = np.zeros((len(shown) + 1, len(shown) + 1))
    made[:-1, :-1] = whole
    made[-1, :-1] = counts[np.ix_(folded, shown)].sum(0)
    made[:-1, -1] = counts[np.ix_(shown, folded)].sum(1)
    made[-1, -1] = counts[np.ix_(folded, folded)].sum()
    return made


def _overlap(counts: Floats) -> float:
    """The mean intersection over union of the classes that occur."""
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    there = either > 0
    return float((both[there] / either[there]).mean()) if there.any() else float("nan")


def _label_shares(scene: Scene) -> tuple[Floats, Floats]:
    y = scene.live.y
    assert y is not None  # fits() has seen it
    truth, known, said = scene.reading.truth(y).numpy(), scene.reading.known(y).numpy(), scene.answers().predictions.numpy()
    cells = [truth & said, truth & ~said, ~truth & said, ~truth & ~said]
    counts = np.stack([(cell & known).sum(0) for cell in cells], 1).astype(np.float64)
    have, lack = np.maximum(1, counts[:, :2].sum(1, keepdims=True)), np.maximum(1, counts[:, 2:].sum(1, keepdims=True))
    return np.concatenate([counts[:, :2] / have, counts[:, 2:] / lack], 1), counts


def _share(right: float, found: _Counts) -> str:
    """How many lie there; of a single one a share says nothing."""
    if found.total == 1:
        return f"the only one of the {found.unit} is{'' if right else ' not'}"
    return f"{100 * right:.1f} % of {found.total:,} {found.unit} are"


def _caption(found: _Counts, scene: Scene) -> str:
    counts = found.counts
    mixed = counts - np.diag(np.diag(counts))
    right = np.trace(counts) / max(1, found.total)
    said = f"Rows are the truth, columns the answers: {_share(right, found)} on the diagonal. "
    if found.missing:
        said += f"{found.missing:,} of them have no answer, as their scores are not numbers. "
    if not mixed.any():
        return said.rstrip() if found.missing == found.total else said + "No class is taken for another."
    row, column = np.unravel_index(mixed.argmax(), mixed.shape)
    others = int((mixed == mixed.max()).sum()) - 1
    beside = f", and so are {others} more pairs as often" if others > 1 else ", and so is one more pair as often" if others else ""
    most = f"{named(scene, int(row))} is taken for {named(scene, int(column))} most often, {_times(mixed.max())}{beside}."
    return said + most


def _times(count: float) -> str:
    return "once" if int(count) == 1 else f"{int(count):,} times"


def _where(scene: Scene, before: Scene | None) -> str:
    assert before is not None
    name = run_series.other_name(scene, before)
    return name if run_series.at_another_step(scene, before) or before.step is None else f"{name} at step {before.step:,}"


def _changed(found: _Counts, then: _Counts, scene: Scene, before: Scene | None) -> str:
    change = found.counts - then.counts
    right = [100 * np.trace(each.counts) / max(1, each.total) for each in (found, then)]
    said = (
        f"What differs from {_where(scene, before)}: blue cells have more {found.unit} here, orange ones fewer. {right[0]:.1f} % are right here, "
        f"{right[1]:.1f} % there. "
    )
    np.fill_diagonal(change, 0)
    if not change.any():
        return said + "No mix-up has become more or less."
    for sign, word in ((1, "grew"), (-1, "shrank")):
        row, column = np.unravel_index((sign * change).argmax(), change.shape)
        if sign * change[row, column] > 0:
            equal = int((sign * change == sign * change[row, column]).sum()) - 1
            beside = f", as did {equal} more" if equal else ""
            pair = f"{named(scene, int(row))} for {named(scene, int(column))}"
            said += f"The mix-up of {pair} {word} most, by {int(abs(change[row, column])):,}{beside}. "
    return said.rstrip()
