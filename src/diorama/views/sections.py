"""What there is to say about a unit, a layer, an example or a class: the sections of the inspector."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..core.colour import magnitude, symmetric
from ..core.errors import NotApplicable
from ..core.marks import Bars, Column, Group, Image, Lines, Node, Number, Ridges, RidgeSet, Series, Table, Text, Tiles
from ..core.numerals import counted, plain
from ..core.selection import Key, Selection, number_key, spoken, unit_key
from ..data.kinds import Tokens
from ..data.padding import folded
from ..scene import Scene
from ..scene.input import asked, pictured
from ..scene.sets import named
from . import answers, inputs, kernels
from .changed_labels import called
from .units import ShownLayer, look, maps, shown, traced

BINS = 40


def truths(scene: Scene) -> np.ndarray | None:
    """The true classes of the live examples, (n,); None for other tasks or without a truth."""
    y = scene.live.y
    return scene.reading.truth(y).numpy() if y is not None and scene.task == "classification" else None


def classless(scene: Scene) -> str:
    """Why :func:`truths` knows of no classes, in words that go on after "as"."""
    if scene.task == "multi_label":
        return "an example may have several labels"
    if scene.task == "classification":
        return "the examples' classes are not known"
    return "the examples have no classes"


def names(scene: Scene, indices: np.ndarray) -> tuple[str, ...]:
    """Class names where the truth is known, else the examples' numbers."""
    truth = truths(scene)
    return called(scene, indices, truth[indices]) if truth is not None else tuple(map(str, indices))


def gallery(scene: Scene, order: np.ndarray, title: str, notes: tuple[str, ...] = ()) -> Node:
    """Examples as tiles where they are pictures, else as the rows of a table."""
    images = inputs.thumbnails(pictured(scene.live, order.tolist()))
    keys = tuple(number_key("example", int(k)) for k in order)
    if images is not None:
        limits = inputs.grey(images) if images.ndim == 3 else None
        return Tiles(
            images=images, limits=limits, labels=names(scene, order), notes=notes, keys=keys, title=title, size=72
        )
    columns = [inputs.column(scene, order.tolist())]
    columns += [Column(name="value", kind="text", texts=notes)] if notes else []
    return Table(columns=tuple(columns), row_keys=keys, title=title)


class UnitSection:
    """One unit: its response to the current input, its weights, and what the probe set says of it."""

    def __init__(self, scene: Scene, key: Key, selection: Selection) -> None:
        self.scene, self.number, self.layer = scene, key.number, key.name
        self.current = scene.current(selection)
        self.chosen = selection.one("class")
        self.shown: ShownLayer = shown(scene, scene.layers[key.name])
        self.title = f"{spoken(key.name)}/{key.number}{self.shown.normalised}"
        self._share: float | None = None
        self._of = 0

    def caption(self, probed: bool = False) -> str:
        """What is seen, for a newcomer."""
        size = self.shown.layer
        said = f"Unit {self.number}{answers.stands_for(self.scene, size, self.number)}, one of {size.units} of {spoken(self.layer)}"
        said += f" ({self.shown.words})" if self.shown.words else ""
        said += f", on {self.current.label}."
        if probed and self._share is not None:
            said += f" It is off for {100 * self._share:.0f} % of {counted(self._of, 'examples')}."
        return said

    def quick(self) -> list[Node]:
        """Its map on the current input, and its weights."""
        try:
            marks = [self.response(look(self.scene, [self.shown], self.current.x)[self.layer][0])]
        except NotApplicable as error:  # it has no row, or several, of this example
            marks = [Number(label=f"on {self.current.label}", note=str(error))]
        weights = self.weights()
        marks += [weights] if weights is not None else []
        return [Group(children=tuple(marks), direction="row")]

    def response(self, values: Tensor) -> Node:
        """Its map on the current input, its course over steps, or its number."""
        own = values[self.number]
        title = f"on {self.current.label}"
        key = unit_key(self.layer, self.number)
        if own.ndim >= 2:
            pixels = maps(own[None])[0]
            limits = self.shown.limits(values.numpy())
            # A map that was averaged down has no places of its own to choose.
            place = key if pixels.shape == tuple(own.shape) else ""
            return Image(pixels=pixels, limits=limits, key=key, place_key=place, title=title, caption=self.shown.sliced(), size=120)
        if own.ndim == 1:
            kind = next(iter(self.scene.kinds.values()))
            if isinstance(kind, Tokens) and len(own) == len(self.current.shown):
                words, means = folded(self.current.shown, own.numpy(), mean=True)
                return Text(
                    tokens=words, values=means, limits=self.shown.limits(own.numpy()), title=title,
                    characters=all(len(word) <= 1 for word in self.current.shown),
                )
            line = Series(name=self.title, x=np.arange(len(own), dtype=np.float64), y=own.double().numpy())
            return Lines(series=(line,), x_title=inputs.along(kind), x_kind="number", title=title, height=120)
        return Number(label=title, value=float(own), key=key)

    def weights(self) -> Node | None:
        """Its incoming weights as a picture, where they can be one."""
        try:
            found = kernels.kernel(self.scene, self.layer, Selection())
        except (NotApplicable, LookupError):
            return None
        if found.tokens or found.units != self.shown.layer.units:
            return None
        own, limit = found.values[self.number], symmetric(found.values).high
        title = "weights"
        if found.form == "filters":
            plane = own.mean(0)
            if plane.size == 1 and len(own) > 1:
                # A filter of one place has no picture: its mean over the channels would be one number in one colour.
                row = own.reshape(1, -1)
                return Image(pixels=row, limits=symmetric(row), title=title, caption=f"one for each of {len(own)} input channels", size=120)
            if len(own) == 3:
                half = np.nan_to_num(np.moveaxis(own, 0, 2) / (2 * (limit or 1.0))) + 0.5
                return Image(pixels=np.rint(np.clip(half, 0, 1) * 255).astype(np.uint8), title=title, size=120)
            slices = found.words.partition(", averaged over ")[2]
            parts = [f"the mean over {len(own)} input channels" if len(own) > 1 else "", f"averaged over {slices}" if slices else ""]
            told = ", ".join(filter(None, parts))
            return Image(pixels=plane, limits=symmetric(plane), title=title, caption=told, size=120)
        plane = own if own.ndim == 2 else own[None]
        return Image(pixels=plane, limits=symmetric(plane, limit or None), title=title, size=120)

    def probed(self, count: int) -> list[Node]:
        """Its strongest examples, its mean by class, its distribution, and how often it is off."""
        seen, how = traced(self.scene, self.shown)
        high, mean = seen.high[:, self.number].double().numpy(), seen.mean[:, self.number].double().numpy()
        ran = ~np.isnan(high) if how else np.ones(len(high), bool)
        total = int(ran.sum())
        order = np.argsort(-np.nan_to_num(high, nan=-np.inf), kind="stable")[: min(count, total)]
        notes = tuple(plain(f"{high[k]:.3g}") for k in order)
        told = f"Fires most for: top {len(order)} of {counted(total, 'examples')}"
        marks: list[Node] = [_asked(how, ran)] if how else []
        if not total:
            return marks
        marks.append(gallery(self.scene, order, told + (" that it is run for" if total < len(ran) else ""), notes))
        truth = truths(self.scene)
        truth = np.where(ran, truth[: len(ran)], -1) if truth is not None else None
        if truth is not None and (truth >= 0).any():
            marks += self._of_class(high, truth, count)
            marks.append(self._by_class(mean, truth))
        high = high[ran]
        marks.append(_distribution(high, self.title, self.scene.step))
        if self.shown.rectified:
            self._share, self._of = float((high <= 0).mean()), total
            dead = self._share == 1
            note = "dead: it never responds" if dead else f"of {total} examples"
            marks.append(
                Number(label="off", value=100 * self._share, unit="%", tone="bad" if dead else "plain", note=note)
            )
        return marks

    def _of_class(self, high: np.ndarray, truth: np.ndarray, count: int) -> list[Node]:
        """The examples of the chosen class for which it fires most, where one is chosen beside it and found."""
        if self.chosen is None:
            return []
        own = np.flatnonzero(truth == self.chosen.number)
        order = own[np.argsort(-np.nan_to_num(high[own], nan=-np.inf), kind="stable")][:count]
        if not len(order):
            return []
        title = f"Of {self.scene.classes[self.chosen.number]} it fires most for: top {len(order)} of {counted(len(own), 'examples')}"
        return [gallery(self.scene, order, title, tuple(plain(f"{high[k]:.3g}") for k in order))]

    def _by_class(self, mean: np.ndarray, truth: np.ndarray) -> Bars:
        present = np.unique(truth[truth >= 0])
        values = np.array([mean[truth == k].mean() for k in present])
        if len(present) > answers.MOST:
            best = np.argsort(-np.nan_to_num(values, nan=-np.inf))[: answers.MOST]
            present, values = present[best], values[best]
        limits = magnitude(values, 0) if (np.nan_to_num(values) >= 0).all() else symmetric(values)
        return Bars(
            values=values, labels=tuple(self.scene.classes[int(k)] for k in present), limits=limits,
            keys=tuple(number_key("class", int(k)) for k in present), colours=tuple(int(k) for k in present),
            title="By class: mean activation",
        )


class LayerSection:
    """One layer: what it is, how its weights are spread, and what each of its units does."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name
        self.shown = shown(scene, scene.layers[name])

    def caption(self) -> str:
        """What is seen."""
        layer = self.shown.layer
        size = " × ".join(map(str, layer.shape))
        each = "row that it is given" if self.shown.source.unlike else "example"
        return f"{spoken(self.name)} is a {layer.kind} with {layer.units} units; it puts out {size} numbers for each {each}."

    def quick(self) -> list[Node]:
        """Its numbers, and the distribution of its weights."""
        layer = self.shown.layer
        marks: list[Node] = [
            Number(label="units", value=layer.units), Number(label="parameters", value=layer.parameters),
        ]
        group: list[Node] = [Group(children=tuple(marks), direction="row")]
        weight = self.scene.parameters().get(layer.weight or "")
        if weight is not None:
            group.append(_distribution(weight.reshape(-1), "weights", self.scene.step))
        return group

    def probed(self) -> list[Node]:
        """A table of its units."""
        seen, how = traced(self.scene, self.shown)
        ran = ~seen.high.isnan().all(1).numpy() if how else np.ones(len(seen.high), bool)
        said: list[Node] = [_asked(how, ran)] if how else []
        if not ran.any():
            return said
        high, mean = seen.high.double().numpy()[ran], seen.mean.double().numpy()[ran]
        units = np.arange(high.shape[1])[:512]
        columns = [
            Column(name="unit", numbers=units.astype(float)),
            Column(name="mean", numbers=mean.mean(0)[units], signed=not self.shown.rectified),
            Column(name="largest", numbers=high.max(0)[units], signed=not self.shown.rectified),
        ]
        if self.shown.rectified:
            columns.append(Column(name="off", kind="share", numbers=(high <= 0).mean(0)[units]))
        truth = truths(self.scene)
        truth = truth[: len(ran)][ran] if truth is not None else None
        if truth is not None and (truth >= 0).any():
            present = np.unique(truth[truth >= 0])
            best = present[np.stack([mean[truth == k].mean(0) for k in present]).argmax(0)][units]
            texts = tuple(self.scene.classes[int(k)] for k in best)
            columns.append(Column(name="most for", kind="class", numbers=best.astype(float), texts=texts))
        keys = tuple(unit_key(self.name, int(unit)) for unit in units)
        return [*said, Table(columns=tuple(columns), row_keys=keys, title="Units", sort="unit")]


def of_example(scene: Scene, selection: Selection) -> tuple[str, list[Node], str]:
    """An example or the current input: what it is, the answer, the loss."""
    current = scene.current(selection)
    scores = scene.scores(current.x)
    told = asked(scene, current.x, scores)
    marks: list[Node] = [inputs.drawn(scene, current, 160)]
    truth, loss = None, None
    y = scene.examples.y
    if y is not None and current.index is not None and scene.task:
        own = y[current.index : current.index + 1]
        truth = answers.truth(scene, own)
        wanted = scene.reading.wanted(current.x, own)
        if wanted is not None and bool(scene.reading.labelled(wanted)):
            loss = float(scene.reading.losses(scores, wanted)[0])
    marks.append(answers.drawn(scene, told, truth, horizontal=True, size=160))
    if loss is not None:
        marks.append(Number(label="loss", value=loss))
    caption = f"The network answers {answers.said(scene, told)}"
    if truth is not None and scene.task == "classification" and current.index is not None:
        caption += f"; the truth is {called(scene, [current.index], [int(truth)])[0]}"
    return current.label.capitalize(), marks, caption + "."


def of_class(scene: Scene, number: int, count: int) -> tuple[str, list[Node], str]:
    """A class: how much of it is found, what it is taken for, and its worst examples."""
    truth = truths(scene)
    if truth is None:
        raise NotApplicable("a class can be looked at where a classifier's truth is known; pass y, or probe=(x, y)")
    found = scene.answers()
    given = found.predictions.numpy()
    own = np.flatnonzero(truth == number)
    name = scene.classes[number]
    recall = float((given[own] == number).mean()) if len(own) else float("nan")
    claimed = given == number
    precision = float((truth[claimed] == number).mean()) if claimed.any() else float("nan")
    numbers: list[Node] = [
        Number(label="found", value=100 * recall, unit="%", note="of its examples are answered rightly (recall)"),
        Number(
            label="right", value=100 * precision, unit="%", note="of the answers with this class are right (precision)"
        ),
    ]
    marks: list[Node] = [Group(children=tuple(numbers), direction="row")]
    taken = np.bincount(given[own][given[own] >= 0], minlength=len(scene.classes))
    order = np.argsort(-taken, kind="stable")[: min(5, int((taken > 0).sum()))]
    if len(order):
        marks.append(
            Bars(
                values=taken[order].astype(float),
                labels=tuple(scene.classes[int(k)] for k in order),
                keys=tuple(number_key("class", int(k)) for k in order),
                colours=tuple(int(k) for k in order),
                limits=magnitude(taken, 0),
                title="Answered as",
                unit="examples",
            )
        )
    losses = found.losses.numpy() if found.losses is not None else np.zeros(len(truth))
    worst = own[np.argsort(-np.nan_to_num(losses[own], nan=np.inf), kind="stable")][:count]
    if len(worst):
        notes = tuple(f"as {named(scene, int(given[k]))}" for k in worst)
        marks.append(gallery(scene, worst, "Its examples, largest loss first", notes))
    return name, marks, f"{name}: {len(own)} of {len(truth)} examples are of this class."


def _asked(how: str, ran: np.ndarray) -> Number:
    """How the numbers of a layer were found whose rows are not the examples', and for how many it is run."""
    return Number(label="run for", value=float(ran.sum()), unit=f"of {counted(len(ran), 'examples')}", note=how)


def _distribution(values: np.ndarray, name: str, step: int | None) -> Ridges:
    """One distribution as a ridge."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(finite, BINS, (low, high))
    density = counts / max(1, counts.sum()) / np.diff(edges)
    ridge = RidgeSet(name=name, steps=np.array([step or 0]), edges=edges, density=density[None])
    return Ridges(sets=(ridge,), title=f"Distribution of {name}", height=80)
