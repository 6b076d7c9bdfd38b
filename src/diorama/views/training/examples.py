"""The examples of the probe set with what the network answers, and what changed between two steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Node, Table, Tiles
from ...core.numerals import being, counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection, number_key
from ...scene import Scene
from ...scene.directions import codes
from ...scene.input import pictured
from ...scene.sets import loss_unit, names, several
from ...scene.turned_answers import turned
from .. import inputs, run_series
from ..answers import number_title
from ..changed_labels import called, of_numbers, relabelled, wrong
from ..samples import few, first_examples, looking, unanswered
from ..view import View
from ._changed_examples import changed
from ._followed_examples import MEASURES, FollowedExamples, PictureParts

SORTS = ("auto", "index", "loss", "margin", "class", "change", "direction", "doubt")
SHOWN = ("answers", "history", "map", "mislabelled", "changed")


class ExamplesView(View):
    """Examples of the probe set with the network's answer, its loss and the truth; and what became of each over the training.

    *Meaning* a large loss is a wrong or unsure answer; the margin is how far the best answer is ahead of the next one.
    Flagged rows are answered wrongly or, when two steps are compared, answered otherwise than before. Over the training
    (``show``): the history of each example, with how many are learnt, forgotten and never learnt; and, over the looks up to the
    step, the map of the data, mean likelihood of the label against its spread, and the likely mislabelled, by doubt: how much likelier
    than its label another class was in the mean, with about how many of them are truly wrong. While it trains, those of them that are
    chosen, and no others, are dropped or relabelled as answered instead.
    *Units* losses in nats (cross-entropy) or squared units of the target; margins of the history in logits.
    *Error* average precision of planted wrong labels on digits 0.93 to 0.99 (``bench/label_noise.py``); a hard example looks
    the same as a mislabelled one.
    *Cost* one pass over the first 512 examples, or as many as ``examples`` says; two when steps are compared. Over the training
    none where it recorded twelve looks or more, not all of them late, else one pass over them at each snapshot besides; of all examples of a larger
    probe set one pass over them a snapshot.
    """

    title = "Examples"
    question = "Which examples does the network get wrong, which did it forget, and which are mislabelled?"
    papers = (
        "Toneva et al. 2019, arXiv:1812.05159", "Swayamdipta et al. 2020, arXiv:2009.10795", "Pleiss et al. 2020, arXiv:2001.10528",
    )
    by_labels = True
    answers = True
    family = "process"
    follows = ("class", "example", "direction")

    show: str = knob(
        "answers", "The answers now; or over the training: each example's history, the map of the data, the likely mislabelled, or "
        "those that were changed.",
        choices=SHOWN, main=True,
    )
    measure: str = knob("loss", "What a history shows of each example.", choices=MEASURES)
    sort: str = knob(
        "auto", "Order: by number, worst loss first, least sure first, by class, most changed first, along the chosen "
        "direction, or of a history most doubtful label first; auto is doubt for the likely mislabelled, and else loss.",
        choices=SORTS, main=True,
    )
    among: str = knob(
        "first", "Over the training: the first 512 examples of the probe set, at which the training looked; or all, at every snapshot.",
        choices=("first", "all"),
    )
    since: int | None = knob(None, "Compare with the answers at this earlier step.", kind="step", main=True)
    only: str = knob("all", "All examples, only those answered wrongly, or only those whose answer changed.",
                     choices=("all", "wrong", "changed"))
    limit: int = knob(48, "The most examples that are shown.", low=1, high=512)
    examples: int = first_examples()
    layout: str = knob("table", "A table with numbers, or a strip of pictures.", choices=("table", "strip"))

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples; over the training at once, where it was recorded."""
        if self.show == "changed":
            told = changed(scene, self.limit)
            yield self.picture(scene, selection, told.title, told.body, told.caption, note=told.note, idle=self._idle())
            return
        if self.show != "answers":
            yield from self._over_training(scene, selection)
            return
        if not scene.task:
            yield self._plain(scene, selection)
            return
        scene = scene.first(self.examples)
        yield from looking(scene)
        before = self._before(scene)
        facts = _ExampleFacts(scene, before, self._along(scene, selection))
        if self.only == "wrong" and facts.right is None:
            raise NotApplicable("numbers are neither right nor wrong, only nearer or farther; choose only=all, and sort by loss")
        order = self._order(facts, selection)
        total = len(order)
        order = self._shown(facts, order)
        node = self._strip(scene, facts, order) if self.layout == "strip" else self._table(scene, facts, order)
        notes = [*run_series.reservations(scene), *_alone(scene), *few(scene)]
        notes += [f"{len(order):,} of {total:,} examples shown"] if len(order) < total else []
        notes += [f"none is {self.only}"] if not total and self.only != "all" else []
        caption = self._caption(scene, facts, before, strip=isinstance(node, Tiles))
        yield self.picture(scene, selection, "Examples", node, caption, note="; ".join(notes), idle=self._idle())

    def _idle(self) -> dict[str, str]:
        """The knobs that are for other things to show."""
        only = {
            "answers": ("measure",), "history": ("since", "layout"), "map": ("measure", "since", "layout", "sort", "limit"),
            "mislabelled": ("measure", "since", "layout"), "changed": ("measure", "since", "layout", "sort", "only"),
        }
        shown = {"measure": ("history",), "since": ("answers",), "layout": ("answers",), "sort": ("answers", "history", "mislabelled"),
                 "limit": ("all but map",), "only": ("all but changed",)}
        return {name: f"it is for show: {' or '.join(shown[name])}" for name in only[self.show]}

    def _over_training(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        for found in FollowedExamples.of(scene, self.among == "all", then=self.show != "history"):
            if isinstance(found, Progress):
                yield found
                continue
            by = "doubt" if self.show == "mislabelled" and self.sort == "auto" else self._by
            order = found.order(by, self.only, {key.number for key in selection.all("class")})
            if not len(order):
                raise NotApplicable("no example with a label is left; choose only=all, or no class")
            told = self._told(found, order, selection)
            # The likely mislabelled leave out what was changed, and say so.
            notes = of_numbers(scene.run, scene.step if self.show == "map" else None) if self.show != "mislabelled" else []
            note = "; ".join(filter(None, (*notes, told.note)))
            yield self.picture(scene, selection, told.title, told.body, told.caption, note=note, idle=self._idle())

    @property
    def _by(self) -> str:
        return "loss" if self.sort == "auto" else self.sort

    def _told(self, found: FollowedExamples, order: NDArray[np.int64], selection: Selection) -> PictureParts:
        if self.show == "history":
            return found.history(order, self.measure, self.limit)
        chosen = {number for key in selection.all("example") for number in key.numbers}
        return found.map(order) if self.show == "map" else found.mislabelled(order, self.limit, chosen)

    def _plain(self, scene: Scene, selection: Selection) -> Picture:
        order = np.arange(min(self.limit, len(scene.live)))
        keys = tuple(number_key("example", int(k)) for k in order)
        table = Table(columns=(inputs.column(scene, order.tolist()),), row_keys=keys)
        caption = "The examples that every view looks at; what the network answers is not known: say it with task=."
        return self.picture(scene, selection, "Examples", table, caption)

    def _along(self, scene: Scene, selection: Selection) -> NDArray[np.float64] | None:
        """How far each example lies along the chosen direction."""
        key = selection.one("direction")
        if key is None and self.sort == "direction":
            raise NotApplicable(
                "sorting along a direction wants one: choose it in the view directions, or direction='pca/LAYER/0'"
            )
        if key is None:
            return None
        chosen = scene.direction(key.name)
        return chosen.values(codes(scene, chosen.layer))

    def _before(self, scene: Scene) -> Scene | None:
        if self.since is not None and self.since != scene.step:
            return scene.at(self.since)
        return scene.other.first(self.examples) if scene.other is not None else None

    def _order(self, facts: _ExampleFacts, selection: Selection) -> NDArray[np.int64]:
        chosen = np.arange(facts.count)
        classes = {key.number for key in selection.all("class")}
        if classes and facts.truth is not None and facts.truth.ndim == 1:
            chosen = chosen[np.isin(facts.truth.numpy(), list(classes))]
        if self.only == "wrong":
            chosen = chosen[facts.wrong[chosen]]
        if self.only == "changed":
            chosen = chosen[facts.flipped[chosen]]
        if self.sort == "index":
            return chosen
        return chosen[np.argsort(self._rank(facts)[chosen], kind="stable")]

    def _shown(self, facts: _ExampleFacts, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first of them; by class as many of each, so that every class is seen."""
        if self.sort != "class" or len(order) <= self.limit:
            return order[: self.limit]
        rank = self._rank(facts)[order]
        place = np.zeros(len(order), np.int64)
        for value in np.unique(rank):
            own = rank == value
            place[own] = np.arange(own.sum())
        return order[np.sort(np.argsort(place, kind="stable")[: self.limit])]

    def _rank(self, facts: _ExampleFacts) -> NDArray[np.float64]:
        """What the examples are sorted by, ascending; NaN comes first, as it is the worst."""
        if self.sort == "change":
            if facts.change is None:
                raise NotApplicable("sorting by change wants two steps; set since to an earlier one")
            return _worst_first(-np.abs(facts.change))
        if self.sort == "direction" and facts.along is not None:
            return _worst_first(-facts.along)
        if self.sort == "class":
            told = facts.truth.numpy() if facts.truth is not None and facts.flat_truth else facts.answer
            return told.astype(float)
        if self.sort == "doubt":
            raise NotApplicable("doubt is told over the training; choose show=mislabelled, or show=history")
        if self.sort == "margin" and facts.margin is not None:
            return _worst_first(facts.margin)
        if facts.loss is not None:
            # What has no label has no loss, and comes last; a loss that is not a number is the worst.
            return np.where(facts.known, _worst_first(-facts.loss), np.inf)
        return _worst_first(facts.margin) if facts.margin is not None else np.arange(facts.count, dtype=float)

    def _caption(self, scene: Scene, facts: _ExampleFacts, before: Scene | None, *, strip: bool) -> str:
        if facts.right is None:
            mean = f"Mean loss {scene.answers().loss:.3g}. " if np.isfinite(scene.answers().loss) else "Their mean loss is no number. "
            mean = "" if facts.loss is None or not facts.known.any() else mean
        else:
            count = int(facts.known.sum())
            of = counted(count, "texts" if (what := several(scene)) == "tokens" else "examples")
            of = f"the {what} of {of}" if what else of
            mean = f"{100 * scene.answers().accuracy:.1f} % of {of} are answered rightly. " if count else ""
            if facts.new and count:
                by_now = f"and {100 * (1 - facts.wrong[facts.known].mean()):.1f} % with the new labels of {len(facts.new)} of them"
                mean = mean.removesuffix(". ") + f" by the labels that the probe set came with, {by_now}. "
            mean += f"{bare} " if (bare := unanswered(scene)) else ""
            if count < facts.count:
                mean += f"{being(facts.count - count, 'have', 'has')} no label that counts. "
        if strip:
            mean += f"Below each stands {'what the network answers, not its label' if facts.named else 'its number'}. "
        if strip and before is None:
            return mean.rstrip()
        if before is None:
            told = ["what the network answers"] * (facts.named or scene.task == "regression") + ["how sure it is"] * (facts.sure is not None)
            told += ["how much of it is right"] * (facts.right is not None and not facts.named)
            told += ["how far off (its loss)"] * (facts.loss is not None)
            return mean + f"Each row is one example: {', '.join(told)}." if told else mean + "Each row is one example."
        gained = int((~facts.wrong & facts.flipped).sum())
        lost = int((facts.wrong & facts.flipped & ~facts.wrong_before).sum())
        parts: tuple[int, int] | None = None
        if not facts.named and facts.right is not None and facts.right_before is not None:
            # An answer of several labels or places is rarely right as a whole.
            apart = np.where(facts.flipped, facts.right - facts.right_before, 0)
            parts = int((apart > 0).sum()), int((apart < 0).sum())
        if facts.turned is None or not facts.turned.total:
            return mean.rstrip()  # plain numbers, or answers of another shape: none is the same or another one
        count, whole = facts.turned.count, facts.turned.what != "examples"
        if not facts.earlier:
            where = f" at step {before.step}" if before.step is not None else ""
            differ = f"the answers at {count:,} of {facts.turned.of} differ" if whole else being(count, "answers differ", "answer differs")
            mean += f"Compared with {run_series.other_name(scene, before)}{where}, {differ}: "
            if parts is not None:
                return mean + f"more of {parts[0]:,} is right here, less of {parts[1]:,}."
            return mean + f"{being(gained)} right here alone, {lost:,} there alone."
        changed = f"the answers at {count:,} of {facts.turned.of} changed" if whole else f"{counted(count, 'answers')} changed"
        mean += f"Compared with step {before.step}, {changed}: "
        if parts is not None:
            return mean + f"more of {parts[0]:,} is right now, less of {parts[1]:,}."
        return mean + f"{being(gained)} right now, {being(lost, 'were', 'was')} right before."

    def _table(self, scene: Scene, facts: _ExampleFacts, order: NDArray[np.int64]) -> Table:
        columns = [inputs.column(scene, order.tolist()), *facts.columns(order)]
        by = {"loss": "loss", "margin": "margin", "class": "truth", "change": "change", "direction": "along"}.get(self._by, "")
        names = {column.name for column in columns}
        return Table(
            columns=tuple(columns), row_keys=tuple(number_key("example", k) for k in order),
            sort=by if by in names else "", descending=self._by in ("loss", "change", "direction"),
            flagged=(facts.flipped if facts.before is not None else facts.wrong)[order],
        )

    def _strip(self, scene: Scene, facts: _ExampleFacts, order: NDArray[np.int64]) -> Node:
        images = inputs.thumbnails(pictured(scene.examples, order.tolist()))
        if images is None:
            return self._table(scene, facts, order)
        told = facts.truth if facts.flat_truth else None
        labels = names(scene, facts.answer[order].tolist()) if facts.named else tuple(map(str, order.tolist()))
        return Tiles(
            images=images, limits=None if images.ndim == 4 else inputs.grey(images), labels=labels,
            keys=tuple(number_key("example", k) for k in order),
            badges=tuple("wrong" if facts.wrong[k] else "relabel" if k in facts.new else "" for k in order) if told is not None else (),
        )


def _alone(scene: Scene) -> list[str]:
    """Where the loss of all is not the mean of what the criterion says of each example by itself."""
    found, y = scene.answers(), scene.reading.wanted(scene.live.x, scene.live.y)
    if scene.reading.criterion is None or found.losses is None or y is None:
        return []
    own = found.losses.double()[found.known] if found.known is not None else found.losses.double()
    if not len(own) or abs(float(own.mean()) - found.loss) <= _NEAR * max(abs(found.loss), 1e-6):
        return []
    return [f"a loss here is what the criterion says of one example by itself; of all together it says {found.loss:.3g}, which is not their mean"]


_NEAR = 0.01
"""Two means no farther apart, as a share, are told as one."""


class _ExampleFacts:
    """What is known of each live example, as arrays."""

    def __init__(self, scene: Scene, before: Scene | None, along: NDArray[np.float64] | None = None) -> None:
        self.scene, self.before, self.along = scene, before, along
        run = before.run if before is not None else None
        self.earlier = run is not None and scene.run is not None and run.path == scene.run.path
        """It is compared with another step of the same training, not with another network."""
        now = scene.answers()
        then = before.answers() if before is not None else None
        self.count = len(scene.live)
        self.named = scene.task == "classification"
        self.predictions = now.predictions
        self.answer = now.predictions.numpy() if self.named else np.arange(self.count)
        self.loss, self.margin, self.right, self.sure = (
            _floats(v) for v in (now.losses, now.margin, now.right, now.confidence)
        )
        y = scene.live.y
        self.truth = scene.reading.truth(y) if y is not None else None
        self.flat_truth = self.named and self.truth is not None
        known = now.known
        self.known = np.ones(self.count, bool) if known is None else known.numpy()
        """Which examples have a label that says something."""
        self.new = relabelled(scene)
        """The class that an example was given since, by its number."""
        by_now = wrong(scene)
        self.wrong = by_now if by_now is not None else np.zeros(self.count, bool)
        self.loss_before = _floats(then.losses) if then is not None else None
        self.change = self.loss - self.loss_before if self.loss is not None and self.loss_before is not None else None
        self.answer_before = then.predictions if then is not None else None
        self.right_before = _floats(then.right) if then is not None else None
        self.wrong_before = (
            then.right.numpy() < 0.5 if then is not None and then.right is not None else np.zeros(self.count, bool)
        )
        if then is not None and then.right is not None:
            for k, label in self.new.items():
                self.wrong_before[k] = int(then.predictions[k]) != label
        self.turned = turned(scene, then, now) if then is not None else None
        self.flipped = np.zeros(self.count, bool)
        """Which examples have another answer, of texts and maps at some place."""
        if self.turned is not None:
            self.flipped = self.turned.examples.numpy()

    def columns(self, order: NDArray[np.int64]) -> list[Column]:
        """The columns beside the example itself."""
        found = [inputs.numbers(self.scene, order.tolist())]
        if self.named:
            found.append(self._class("answer", self.answer[order]))
            if self.truth is not None:
                told = "The label, and the one that it was given since: by that it is flagged." if set(order.tolist()) & set(self.new) else ""
                truth = self.truth.numpy()[order]
                texts = called(self.scene, order, truth)
                found.append(Column(name="truth", kind="class", numbers=truth.astype(float), texts=texts, note=told))
        elif self.scene.task == "regression":
            found += _values(self.scene, "answer", self.predictions[order])
            found += _values(self.scene, "truth", self.truth[order]) if self.truth is not None else []
        if self.sure is not None:
            found.append(Column(name="sure", kind="share", numbers=self.sure[order]))
        if self.right is not None and not self.named:
            found.append(Column(name="right", kind="share", numbers=self.right[order]))
        if self.loss is not None:
            found.append(Column(name="loss", numbers=self.loss[order], unit=loss_unit(self.scene)))
        if self.margin is not None:
            found.append(Column(name="margin", numbers=self.margin[order]))
        if self.along is not None:
            found.append(Column(name="along", numbers=self.along[order], signed=True))
        if self.named and self.answer_before is not None:
            name = "answer before" if self.earlier else "answer there"
            found.append(self._class(name, self.answer_before.numpy()[order]))
        if self.change is not None:
            found.append(Column(name="change", numbers=self.change[order], signed=True))
        return found

    def _class(self, name: str, indices: NDArray[np.int64]) -> Column:
        each = indices.tolist()
        return Column(
            name=name, kind="class", numbers=indices.astype(float), texts=names(self.scene, each) if self.named else tuple(map(str, each))
        )


def _values(scene: Scene, name: str, values: Tensor) -> list[Column]:
    flat = values.float().reshape(len(values), math.prod(values.shape[1:]))[:, :4].numpy()
    names = [name] if flat.shape[1] == 1 else [f"{name} {number_title(scene, k).removeprefix('output ')}" for k in range(flat.shape[1])]
    return [Column(name=each, numbers=flat[:, k]) for k, each in enumerate(names)]


def _floats(values: Tensor | None) -> NDArray[np.float64] | None:
    return None if values is None else values.to(torch.float64).numpy()


def _worst_first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), -np.inf, values)
