"""Which units or heads can be lost: what silencing each of them costs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Lines, Node, Series, Table
from ...core.numerals import counted
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Key, Selection, spoken, unit_key
from ...data.nesting import Nested
from ...derive.heads import attention_layers, without
from ...derive.scans import seen_each
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.outputs import CLASSES
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.input import worded
from ...scene.probe import asked_places
from ...scene.turned_answers import turned_between
from ..units import ShownLayer, main_layers, shown
from ..view import View

POINTS = 10
"""Numbers of units that are lost together, for the curve."""


@dataclasses.dataclass(frozen=True)
class _Probe:
    """What is asked with units silenced: some live examples and their truth."""

    x: Nested
    y: Tensor | None
    count: int


class LesionsView(View):
    """Which units can be lost: every unit or head silenced in turn, ranked by how much worse the network then answers.

    *Meaning* a unit that costs nothing by itself may still be needed once others are gone: the curve silences the
    cheapest units together, more and more of them, in the order of what each costs alone. A negative cost means that
    the network answers better without the unit. Without a truth the cost is how far the answers move. Heads of attentions are
    silenced alike: what each hands on is zero.
    *Units* the loss's own (nats for a classifier), over the same examples; *changed* is the share of answers that
    change: of texts and maps, of tokens and places.
    *Cost* one forward pass of the examples for each unit or head; what it will take is said first.
    """

    title = "Which units can be lost"
    question = "Which units or heads does the network need, and which can be lost?"
    family = "features"
    papers = (
        "Morcos et al. 2018, arXiv:1803.06959", "LeCun, Denker & Solla 1990, Optimal Brain Damage",
        "Michel, Levy & Neubig 2019, “Are sixteen heads really better than one?”, arXiv:1905.10650",
    )
    rows = ("D10",)
    by_labels = True
    follows = ("layer",)

    layer: str | None = knob(
        None, "The layer whose units are silenced; by itself the chosen one, else all but the last.", kind="layer", main=True
    )
    of: str = knob("units", "What is silenced: units of layers, or heads of attentions.", choices=("units", "heads"), main=True)
    by: str = knob("zero", "What stands in for a silenced unit: zero, or its mean over the examples.",
                   choices=("zero", "mean"), main=True)
    examples: int = knob(128, "How many of the live examples are asked.", low=1, high=512)
    limit: int = knob(1024, "The most units that are silenced.", low=1, high=100_000)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """A picture of those that are silenced so far, and the curve of units that are lost together at the end."""
        bits = yield from (self._heads(scene, selection) if self.of == "heads" else self._units(scene, selection))
        whole, bits = bits, bits[: self.limit]
        probe = self._probe(scene)
        began = time.perf_counter()
        base = _Answer.of(scene, probe, ())
        one_pass = time.perf_counter() - began
        costs: list[_Cost] = []
        done: list[_Bit] = []
        refused: dict[str, str] = {}
        """Layers whose units cannot be silenced, which do not take the others with them, and why."""
        for k, one in enumerate(bits):
            left = one_pass * (len(bits) - k)
            if k % 8 == 0:
                note = f"{len(bits)} {self.of} silenced one by one, {probe.count} examples each: about {left:.0f} s"
                yield Progress(done=k, total=len(bits), note=note, seconds=left)
            if one.name in refused:
                continue
            try:
                costs.append(_Answer.of(scene, probe, (one.edit,)).against(base))
            except NotApplicable as error:
                refused[one.name] = str(error)
                continue
            done.append(one)
            if len(costs) > 1:
                yield Draft(lambda: self._picture(scene, selection, done, costs, base, probe, None))
        if not done:
            raise NotApplicable("; ".join(refused.values()) or f"there are no {self.of} to silence")
        together = self._together(scene, done, costs, base, probe)
        total = sum(one.name not in refused for one in whole)
        yield self._picture(scene, selection, done, costs, base, probe, together, total, refused)

    def _layers(self, scene: Scene, selection: Selection) -> list[ShownLayer]:
        name = self.layer or next((key.name for key in reversed(selection.a) if key.kind == "layer"), None)
        if name is not None:
            return [shown(scene, scene.layers[name])]
        layers = main_layers(scene)
        if not layers:
            raise NotApplicable("the model has no layer whose units could be silenced")
        return layers[:-1] if len(layers) > 1 else layers

    def _units(self, scene: Scene, selection: Selection) -> Generator[Progress, None, list[_Bit]]:
        layers = self._layers(scene, selection)
        if self.by == "mean":
            yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}, for the means")
        standing = self._standing(scene, layers)
        return [
            _Bit(one.name, f"{spoken(one.name)}/{unit}", unit_key(one.name, unit), _silenced(one, unit, standing))
            for one in layers for unit in range(one.layer.units)
        ]

    def _heads(self, scene: Scene, selection: Selection) -> Generator[Progress, None, list[_Bit]]:
        """The heads of all attentions, or of those in the chosen layer."""
        yield Progress(done=0, total=1, note="one pass, for the attentions")
        layers = [one for one in attention_layers(scene) if len(one.shape) == 3 and not one.rows]
        if not layers:
            raise NotApplicable(without(scene) or "the attentions of this model have no heads that could be silenced")
        chosen = self.layer or next((key.name for key in reversed(selection.a) if key.kind == "layer"), None)
        inside = [one for one in layers if chosen is None or one.name == chosen or one.name.startswith(f"{chosen}.")]
        found = []
        for one in inside or layers:
            for label in one.labels:
                keys = [Key("head", label, (head,)) for head in range(one.shape[0])]
                found += [_Bit(label, f"{spoken(label)}, head {key.number}", str(key), Edit(key, lesion=True)) for key in keys]
        return found

    def _standing(self, scene: Scene, layers: Sequence[ShownLayer]) -> dict[str, np.ndarray]:
        if self.by == "zero":
            return {}
        found = seen_each(scene, [one.source for one in layers])
        return {name: each.statistics.moments.mean for name, each in found.items()}

    def _probe(self, scene: Scene) -> _Probe:
        count = min(self.examples, len(scene.live))
        y = scene.live.y
        x = fed(scene.model, scene.live.batch(list(range(count)), scene.device))
        wanted = scene.reading.wanted(x, y[:count]) if y is not None and scene.task else None
        if wanted is not None and not bool(scene.reading.labelled(wanted).any()):
            wanted = None
        return _Probe(x, wanted, count)

    def _together(
        self, scene: Scene, units: Sequence[_Bit], costs: Sequence[_Cost], base: _Answer, probe: _Probe,
    ) -> tuple[np.ndarray, list[_Cost]]:
        """The cheapest units silenced together: how many, and what it costs."""
        order = np.argsort(np.nan_to_num([cost.loss for cost in costs], nan=np.inf), kind="stable")
        counts = np.unique(np.linspace(0, len(units), min(POINTS, len(units)) + 1).round().astype(int))
        found = []
        for count in counts:
            edits = [units[int(k)].edit for k in order[:count]]
            found.append(_Answer.of(scene, probe, edits).against(base))
        return counts, found

    def _picture(
        self, scene: Scene, selection: Selection, units: Sequence[_Bit], costs: Sequence[_Cost],
        base: _Answer, probe: _Probe, together: tuple[np.ndarray, list[_Cost]] | None, total: int = 0,
        refused: Mapping[str, str] | None = None,
    ) -> Picture:
        loss = np.array([cost.loss for cost in costs])
        order = np.argsort(-np.nan_to_num(loss, nan=np.inf), kind="stable")
        marks: list[Node] = [] if together is None else [_curve(*together, probe, self.of)]
        marks.append(_table(units, costs, order, self.of.removesuffix("s")))
        bar = 0.01 * (abs(base.loss) or 1.0)
        free = int((loss <= bar).sum())
        what = "loss" if probe.y is not None else "answer"
        dear = int((loss > bar).sum())
        each = f"Each of {len(costs):,} {self.of}" if len(costs) != 1 else f"The one {self.of.removesuffix('s')}"
        asked = f"{probe.count} examples" if probe.count != 1 else "one example"
        caption = (
            f"{each} silenced in turn, on {asked}: {free} of them can each be lost for less "
            f"than a hundredth of the {what}, {dear} cost{'s' * (dear == 1)} more, first the dearest."
        ) if np.isfinite(base.loss) else (
            f"{each} silenced in turn, on {asked}: what they cost cannot be told, as the "
            f"{what} without a lesion is no number."
        )
        checks: tuple[Check, ...] = ()
        if together is not None:
            cheap = [one for one, cost in zip(units, loss, strict=True) if cost <= bar]
            caption += f"{_dead(scene, cheap, self.of)} The curve silences the cheapest together."
            at = int(np.searchsorted(together[0], free, side="right") - 1)
            checks = () if not free or not np.isfinite(together[1][at].loss) else (
                Check(
                    name="together", value=together[1][at].loss,
                    sentence=f"cost when {int(together[0][at])} of the {free} cheap {self.of} are silenced at once.",
                ),
            )
        note = f"{len(units)} of {total} {self.of} were silenced; choose a layer for the others" if total > len(units) else ""
        note = "; ".join(filter(None, (note, *(f"without {name}: {why}" for name, why in (refused or {}).items()))))
        return self.picture(
            scene, selection, f"Which {self.of} can be lost", Group(children=tuple(marks)), caption, checks=checks, note=note,
            final=together is not None, idle={"by": "a head is silenced: what it hands on is zero"} if self.of == "heads" else None,
        )


@dataclasses.dataclass(frozen=True)
class _Bit:
    """A unit or a head: the layer in which it lies, what to call it, its key, and how it is silenced."""

    name: str
    said: str
    key: str
    edit: Edit


@dataclasses.dataclass(frozen=True)
class _Cost:
    """What a lesion changes: the loss (or how far the answers move), and the share of answers that change."""

    loss: float
    changed: float
    right: float


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What the network answers with some units silenced."""

    scores: Tensor
    predictions: Tensor | None
    loss: float
    right: float
    told: bool
    task: str
    places: Tensor | None
    """Where texts and maps are asked for an answer."""

    @classmethod
    def of(cls, scene: Scene, probe: _Probe, edits: Sequence[Edit]) -> _Answer:
        """One forward pass."""
        with Capture(scene.model, edits=(*scene.edits, *edits), cancel=scene.cancel) as look:
            scores = scene.reading.scores(look(probe.x)).detach().cpu()
        reading = scene.reading
        named = scene.task in (*CLASSES, "multi_label")
        predictions = reading.predictions(scores) if named else None
        told = probe.y is not None
        loss = right = float("nan")
        if probe.y is not None:
            y = probe.y.cpu()  # as the scores: a probe set may lie on an accelerator
            loss = reading.loss(scores, y)
            right = reading.mean(reading.right(scores, y), y, loss=False) if named else right
        words = worded(scene.kind, probe.x) if scene.task == "next_token" else None
        wanted = probe.y.cpu() if probe.y is not None else None
        places = asked_places(reading, predictions, wanted, words) if predictions is not None else None
        return cls(scores, predictions, loss if told else 0.0, right, told, scene.task, places)

    def against(self, base: _Answer) -> _Cost:
        """What differs from the answers of the whole network."""
        now, before = (each if each.is_complex() else each.double() for each in (self.scores, base.scores))
        apart = (now - before).abs().double()
        if base.task == "next_token" and base.places is not None:
            apart = apart[base.places]
        moved = float(apart.mean())
        changed = float("nan")
        if self.predictions is not None and base.predictions is not None:
            one_each = base.task in CLASSES  # of several labels each is one
            changed = (
                turned_between(base.task, base.predictions, self.predictions, base.places).share if one_each
                else float((self.predictions != base.predictions).float().mean())
            )
        return _Cost(self.loss - base.loss if self.told else moved, changed, self.right - base.right)


def _dead(scene: Scene, cheap: Sequence[_Bit], of: str) -> str:
    """A sentence on how many of the cheap units never pass the ReLU behind them: these are no news; nothing where there are none."""
    sources = {one.name: scene.layers.handed(scene.layers[one.name]) for one in cheap} if of == "units" else {}
    rectified = {name: source for name, source in sources.items() if source.rectified}
    if not rectified:
        return ""
    seen = scene.responses(sorted({source.name for source in rectified.values()}))
    dead = {name: seen[source.name].dead(True) for name, source in rectified.items()}
    count = sum(bool(dead[one.name][Key.parse(one.key).number]) for one in cheap if one.name in dead)
    if not count:
        return ""
    over = f"on any of {counted(len(scene.live), 'examples')}"
    return f" {count} of the cheap ones {'are' if count > 1 else 'is'} dead: never above zero behind the ReLU, {over}."


def _silenced(one: ShownLayer, unit: int, standing: dict[str, np.ndarray]) -> Edit:
    key = Key("unit", one.source.name, (unit,))
    mean = standing.get(one.source.name)
    value = float(mean[unit]) if mean is not None else 0.0
    return Edit(key, value=value) if value and np.isfinite(value) else Edit(key, lesion=True)


def _curve(counts: np.ndarray, found: Sequence[_Cost], probe: _Probe, what: str) -> Lines:
    share = 100 * counts / max(1, counts[-1])
    told = probe.y is not None and np.isfinite([cost.right for cost in found]).all()
    y = np.array([100 * cost.right if told else cost.loss for cost in found])
    title = "change in % right" if told else "cost"
    line = Series(name="the cheapest together", x=share.astype(np.float64), y=y)
    return Lines(
        series=(line,), x_title=f"% of {what} silenced", x_kind="number", y_title=title, height=150,
        title="What is lost together",
    )


def _table(units: Sequence[_Bit], costs: Sequence[_Cost], order: np.ndarray, what: str) -> Table:
    best = [int(k) for k in order]
    columns = [
        Column(name=what, kind="text", texts=tuple(units[k].said for k in best)),
        Column(name="cost", numbers=np.array([costs[k].loss for k in best]), signed=True),
    ]
    for name, field in (("changed", "changed"), ("right", "right")):
        values = np.array([getattr(costs[k], field) for k in best])
        if np.isfinite(values).any():
            kind = {"kind": "share"} if field == "changed" else {"signed": True}
            columns.append(Column(name=name, numbers=values if field == "changed" else 100 * values, **kind))  # type: ignore[arg-type]
    return Table(
        columns=tuple(columns), row_keys=tuple(units[k].key for k in best), sort="cost",
        descending=True, title=f"What silencing one {what} costs",
    )
