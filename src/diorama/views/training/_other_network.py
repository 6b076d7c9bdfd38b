"""Another network beside this one: its answers, its units matched with this one's, and the way that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import Cancelled, DioramaError, NotApplicable
from ...core.numerals import being, counted, plain
from ...core.picture import Check, Progress
from ...core.selection import spoken
from ...derive.derivations.matching import reordered
from ...model.averages import normalized
from ...scene import Scene
from ...scene.turned_answers import TurnedAnswers, turned
from .. import run_series
from . import _straight_way
from ._mean_loss import uncounted

Floats = NDArray[np.float64]
FLAT = 1e-4
"""A rise of no more than this share of the loss is none."""
ALIKE = 0.99
"""Layers whose matched units correlate more than this in the mean do the same."""
WHOLE = 0.5
"""Weights are called alike, or not, where at least this share of them can be compared."""


def done_apart(here: Scene, there: Scene) -> list[tuple[bool, dict[str, Any]]]:
    """Acts in force up to the step of one of two networks and not of the other, each with whether it is the first one's; oldest first."""
    mine, theirs = (_done(scene) for scene in (here, there))
    found = [(True, act) for key, act in mine.items() if key not in theirs] + [(False, act) for key, act in theirs.items() if key not in mine]
    return sorted(found, key=lambda each: each[1]["step"])


def _done(scene: Scene) -> dict[tuple[str, int], dict[str, Any]]:
    """By the run in which it was done and its number."""
    run, step = scene.run, scene.step
    if run is None or step is None:
        return {}
    return {
        (str(run.path.parent / (act.get("run") or run.path.name)), act["command"]): act for act in run.meta.get("acts") or ()
        if act["state"] != "taken back" and act["step"] <= step
    }


def called(scene: Scene, other: Scene) -> str:
    """What tells one of the networks beside a scene from it and from the others: a step of the same run, else its run, with the step where that
    run stands there at several."""
    run = other.run
    if run is None or run_series.at_another_step(scene, other):
        return run_series.other_name(scene, other)
    name = run_series.label(run, [scene.run, *(one.run for one in scene.others)])
    several = any(one.run is not None and one.run.path == run.path and one.step != other.step for one in scene.others)
    return f"{name} at step {other.step}" if several else name


class OtherNetwork:
    """Another network, looked at with this one's examples."""

    def __init__(self, scene: Scene, other: Scene, how: str, places: int, anew: bool, examples: int) -> None:
        self.scene, self.how, self.places, self.anew, self.notes = scene, how, places, anew, list[str]()
        self.examples = min(examples, len(scene.live)) if scene._examples is not None else 0
        same_run = scene.run is not None and other.run is not None and scene.run.path == other.run.path
        self.same_run = same_run
        self.other = other.alone(scene.cancel)
        self.name = called(scene, other)
        self.value: dict[str, Any] | None = None
        self.before: _straight_way.WeightWay | None = None
        self.after: _straight_way.WeightWay | None = None
        self.turned: TurnedAnswers | None = None
        self.differ: NDArray[np.bool_] | None = None
        """The examples of which some answer is another one."""
        self.answers: Any = None
        self.estimated = False
        """Batch norm has statistics of its own on the way."""
        self._look()

    def _look(self) -> None:
        """Its answers to this one's examples, and why they cannot be compared."""
        scene, other = self.scene, self.other
        if scene._examples is None:
            return  # the view says it once
        if other.missing is not None:
            self.notes.append(f"{self.name} cannot be looked into: {other.missing}")
            return
        own = other._examples is not None and other.live.fingerprint == scene.live.fingerprint
        classes = other.classes if other._examples is not None else scene.classes
        if not own:
            self.other = other = other.on(scene.examples)
        try:
            if other.task != scene.task:
                self.notes.append(f"{self.name} answers another question ({other.task or 'unknown'} rather than {scene.task or 'unknown'})")
                return
            if scene.task == "classification" and scene.classes != classes:
                some = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
                self.notes.append(f"{self.name} has other classes ({some}), so its answers are not compared")
                return
            answers = other.answers()
        except Cancelled:
            raise
        except (DioramaError, RuntimeError, ValueError, IndexError) as error:
            text = " ".join(str(error).split()).rstrip(".")
            self.notes.append(f"{self.name} does not take these examples ({text[:140]}); its curves alone are compared")
            return
        if not own:
            self.notes.append(f"{self.name} was recorded with other examples; both are looked at with this run's")
        mine = scene.answers()
        if mine.predictions.shape != answers.predictions.shape:
            self.notes.append(f"{self.name} answers in another shape, so its answers are not compared")
            return
        self.answers = answers
        if left := uncounted(scene):
            self.notes.append(left.removesuffix("."))
        self.turned = turned(scene, answers)
        if self.turned is not None:
            self.differ = self.turned.examples.numpy()

    def match(self) -> Iterator[Progress]:
        """Find which units are the same."""
        if self.answers is None:
            return
        try:
            derived = self.scene.derive("matching", other=self.other, how=self.how)
        except NotApplicable as error:
            self.notes.append(str(error))
            return
        for stage in derived.stream():
            yield stage.progress
            if stage.final:
                self.value = stage.value
        if self.value is not None and not self.value["layers"]:
            names = {layer.name for layer in self.other.layers.leaves}
            shared = any(layer.name in names for layer in self.scene.layers.leaves)
            why = f"none of the layers that {self.name} shares with this network answers with several units for each example" if shared else (
                f"{self.name} has no layer in common with this network"
            )
            self.notes.append(f"{why}, so {'only weights' if shared and self.value['weights'] else 'no units'} are matched")
            if not shared:
                self.value = None
                return
        if self.value and self.value["note"]:
            self.notes.append(self.value["note"])
        if self.value and not np.isfinite(self.value["cosine"]["after"]):
            self.notes.append("some weights are no numbers, so how alike those of the two are cannot be told")

    def walk(self) -> Iterator[float]:
        """Follow the loss to the other network, as it is and with its units matched."""
        if self.value is None:
            return
        scene, mine = self.scene, self.scene.answers()
        theirs = {name: value for name, value in self.other.model.state_dict().items() if isinstance(value, Tensor)}
        own = {name: value for name, value in scene.model.state_dict().items() if isinstance(value, Tensor)}
        if {name: value.shape for name, value in theirs.items()} != {name: value.shape for name, value in own.items()}:
            return  # the matching has said that they are built differently
        if mine.losses is None:
            self.notes.append("between the two there is no loss to follow, as the examples have no truth or the task is unknown")
            return
        if any(value.is_complex() or value.is_quantized for value in own.values()):
            self.notes.append("weights that are complex or quantized have no straight way between them")
            return
        ordered = reordered(theirs, self.value)
        self.estimated = self.anew and bool(normalized(scene.model))
        walk = _straight_way.walked(scene, theirs, self.places, self.anew, self.examples)
        self.before = next(walk)
        yield 0.5 / self.places
        if not self.value["layers"] and not self.value["weights"]:
            for number in range(1, self.places + 1):
                self.before = next(walk, self.before)
                yield number / self.places
            self.after = self.before
            return
        # Both begin at this network.
        matched = _straight_way.walked(scene, ordered, self.places, self.anew, self.examples, float(self.before.losses[0]))
        self.after = next(matched)
        for number in range(1, self.places):
            self.before = next(walk)
            yield (number + 0.5) / self.places
            self.after = next(matched)
            yield (number + 1) / self.places

    def moment(self) -> str:
        """That the two do not stand at the same step, where they are two trainings; else nothing."""
        here, there = self.scene.step, self.other.step
        if self.same_run or here is None or there is None or here == there:
            return ""
        return f"{self.name} stands at step {there:,}, this network at step {here:,}: what differs may come of the steps between."

    def sentence(self, changed_labels: Tensor | None = None) -> str:
        """What differs, in words; who is right also by the labels that commands gave to the data, where they did."""
        told = [self.moment()] if self.moment() else []
        if self.turned is not None and not self.turned.total:
            told.append(f"Neither this network nor {self.name} answers: their scores are no numbers.")
        elif self.turned is not None:
            changed = self.turned.count
            said = f"Of {self.turned.of} this network and {self.name} answer {changed:,} differently"
            mine, theirs = self.scene.answers().right, self.answers.right
            if changed and mine is not None and theirs is not None and self.scene.task == "classification":
                said += f": {_alone(mine > 0.5, theirs > 0.5)}"
                if changed_labels is not None:
                    mine, theirs = (each.predictions == changed_labels for each in (self.scene.answers(), self.answers))
                    said += f"; by the changed labels {_alone(mine, theirs)}"
            told.append(f"{said}.{self._unanswered()}")
        if self.value is not None and (ranked := self.ranked()):
            name, alike = ranked[0]
            told.append(
                f"Matched units of every layer answer alike (mean correlation {alike:.3f} at least)." if alike > ALIKE and len(ranked) > 1 else
                f"Matched units of {spoken(name)} differ most from those of {self.name} (mean correlation {alike:.2f})." if len(ranked) > 1 else
                f"Matched units of {spoken(name)} correlate with those of {self.name} by {alike:.2f} in the mean."
            )
        if self.before is not None and self.after is not None and not np.isnan(self.after.losses).any():
            told.append(self._hill(self.before, self.after))
        return " ".join(told) if len(told) > bool(self.moment()) else " ".join([*told, f"Of {self.name} only the record is laid beside."])

    def _unanswered(self) -> str:
        """Of which examples one of the two has no answer, where each has one: that is no other opinion."""
        if self.scene.task != "classification":
            return ""
        pairs = ((self.scene.answers(), "here"), (self.answers, "there"))
        lost = [(int((each.predictions < 0).sum()), where) for each, where in pairs]
        return "".join(f" {counted(count, 'examples')} {'have' if count > 1 else 'has'} no answer {where}, as the scores are not numbers."
            for count, where in lost if count)

    def _hill(self, before: _straight_way.WeightWay, after: _straight_way.WeightWay) -> str:
        """What the loss does on the straight way: of a barrier it is said what it rises above, and between which losses."""
        ends = " to ".join(f"{loss:,.0f} {where}" if loss >= 1000 else f"{loss:.3g} {where}" for loss, where in (
            (before.losses[0], "here"), (before.losses[-1], "there"),
        ))
        least = FLAT * max(abs(before.losses[0]), abs(before.losses[-1]))
        hills = [f"by up to {plain(f'{way.barrier:.3g}')}" if way.barrier > least else "nowhere" for way in (before, after)]
        if hills[0] == hills[1] == "nowhere":
            return f"On the straight way between their weights there is no barrier: nowhere does the loss rise above the line from {ends}."
        if before is after:
            return f"On the straight way between their weights the loss rises above the line from {ends}: {hills[0]} (the barrier)."
        return (
            f"On the straight way between their weights the loss rises above the line from {ends}: {hills[0]} as they are, and {hills[1]} with "
            "units matched (the barrier)."
        )

    def ranked(self) -> list[tuple[str, float]]:
        """Layers with weights, with the mean correlation of their matched units, the least alike first."""
        assert self.value is not None
        layers = self.value["layers"]
        learnt = [name for name in layers if self.scene.layers[name].parameters] or list(layers)
        means = [(name, mean(layers[name]["correlation"])) for name in learnt]
        return sorted(((name, mean) for name, mean in means if np.isfinite(mean)), key=lambda pair: pair[1])

    def checks(self) -> Iterator[Check]:
        """How alike all weights are, and the barriers."""
        if self.value is not None:
            cosine = self.value["cosine"]
            which = "all weights" if cosine["numbers"] == cosine["total"] else (
                f"the {cosine['numbers']:,} of {cosine['total']:,} weights that have the same shape in both"
            )
            # Of networks of unlike widths the little that has one shape, such as the last bias, says nothing of the whole.
            if cosine["numbers"] >= WHOLE * cosine["total"] and np.isfinite(cosine["after"]):
                yield Check(
                    name=f"weights alike ({self.name})", value=cosine["after"],
                    sentence=f"The cosine of {which} after matching; {cosine['before']:.3g} before." if self.value["layers"] else
                    f"The cosine of {which}, as they are.",
                )
        if self.after is not None and not np.isnan(self.after.losses).any():
            yield Check(
                name=f"barrier ({self.name})", value=self.after.barrier,
                sentence="How far the loss rises above the straight line between its two ends"
                + (", after matching" if self.after is not self.before else "")
                + ("; at every place batch norm has statistics estimated on the probe set." if self.estimated else "."),
            )


def mean(values: Floats) -> float:
    """The mean of the finite ones; not a number without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _alone(mine: Tensor, theirs: Tensor) -> str:
    """How many examples one of two networks alone answers rightly."""
    return f"{being(int((mine & ~theirs).sum()))} right here alone, {int((theirs & ~mine).sum()):,} there alone"
