"""Which layer settled when."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Heatmap, Lines, Node, Series, Table
from ...core.numerals import joined
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, layer_key, number_key, spoken, without_call
from ...scene import Scene
from ...scene.weight_planes import sampled
from ..view import View
from ._end_distance import Moves, SettledAnswers, answered, moves, settled

Floats = NDArray[np.float64]
MANY = 40
"""At most so many layers are drawn."""
_SHOWN = {
    "weights": "distance to the end",
    "representation": "CKA to the end",
    "neighbours": "CKA to the one before",
}


class ConvergenceView(View):
    """Which layer settled when: how far its weights, and what it makes of the probe set, still are from the end.

    *Meaning* the weights of a layer are all that it learns, biases with them; what it merely keeps (buffers) counts for
    nothing. A layer has settled where its distance to its last weights stays below a share of the way from its first to its
    last ones, and below half of what a layer that goes on at one speed would have left there: such a one has not settled. Its
    representation has settled where linear CKA to that of the last snapshot stays above a bound. The line of a layer is as thick
    as the part of its travelled way that lies there. Frozen answers do not change any more.
    *Error* the end is the last snapshot so far: in a running training it moves on, and nothing has settled for good. Between
    snapshots nothing is known; at most 24 of them are looked at.
    *Cost* a reading of each snapshot; where the model can be run, one pass an example and snapshot.
    """

    title = "Convergence"
    question = "Which layer settled when, and which is still moving?"
    family = "process"
    papers = ("Raghu et al. 2017, SVCCA", "Kornblith et al. 2019", "Nguyen, Raghu & Kornblith 2021")
    rows = ("C20",)
    needs = "snapshot"

    measure: str = knob("weights", "What the heat map shows.", choices=tuple(_SHOWN), main=True)
    order: str = knob("settled", "Rank layers by when they settled, or leave them in their places.", choices=("settled", "network"), main=True)
    within: float = knob(0.1, "Weights have settled within this share of their way.", low=0.001, high=0.9)
    alike: float = knob(0.95, "A representation has settled at this CKA to the end.", low=0.1, high=0.999)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs the snapshots of a training."""
        if scene.run is None:
            return "it compares the snapshots of a training, and this model was not opened from a run"
        if len(scene.steps) < 2:
            return "it compares snapshots, and this run has only one; let it train on, or record with snapshots="
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The weights at once, then what the layers answer, from the end backwards."""
        steps = sampled(scene.steps)
        found: Moves = scene.keep(f"convergence/moves/{steps}", lambda: moves(scene, steps))
        why = scene.missing
        if why is None and scene.run is not None and scene.run.examples is None:
            why = "it has no probe set"
        if why is not None:
            if self.measure != "weights":
                raise NotApplicable(f"what layers answer cannot be looked at: {why}; choose the weights instead")
            yield self._picture(scene, selection, found, None, final=True, note="only weights are known here")
            return
        edits = [edit.named() for edit in scene.edits]
        known: dict[str, SettledAnswers] = scene.keep(f"convergence/answered/{steps}/{edits}", dict)
        if "all" not in known:
            begun = known.get("so far")
            yield self._picture(scene, selection, found, begun, final=False)
            try:
                for told in answered(scene, steps, begun):
                    done = len(steps) - told.down_to
                    yield Progress(done=done, total=len(steps), note=f"snapshot {done} of {len(steps)}")
                    known["so far"] = told
                    if 1 < done < len(steps):
                        yield Draft(functools.partial(self._picture, scene, selection, found, told, final=False))
                known["all"] = known.pop("so far")
            except NotApplicable as reason:
                yield self._picture(scene, selection, found, None, final=True, note=f"only weights are shown: {reason}")
                return
        yield self._picture(scene, selection, found, known["all"], final=True)

    def _picture(
        self, scene: Scene, selection: Selection, found: Moves, told: SettledAnswers | None, final: bool, note: str = ""
    ) -> Picture:
        steps = found.steps
        when = settled(found.share, steps, self.within, paced=True)
        names = found.layers if self.measure == "weights" or told is None else told.layers
        values = found.share if self.measure == "weights" or told is None else told.to_end if self.measure == "representation" else told.to_next
        if self.measure == "weights" or told is None:
            at = when
        elif self.measure == "representation":
            at = settled(values, steps, self.alike, below=False)
        else:
            at = settled(np.nan_to_num(values[:, 1:], nan=-1.0), steps[1:], self.alike, below=False)
        rows = _ranked(at, values, self.order == "network")[:MANY]
        children: list[Node] = [self._map(names, values, rows, steps, told is None)]
        children.append(_paths(found, _ranked(when, found.share, self.order == "network")[:MANY], scene.step))
        if told is not None and told.frozen is not None and np.isfinite(told.frozen).any():
            children.append(_frozen(told.frozen, told.of, steps, scene.step))
        children.append(self._table(found, when, told, steps))
        return self.picture(
            scene, selection, "Convergence", Group(children=tuple(children)), self._caption(scene, found, when, told, final),
            checks=self._checks(told, steps, final),
            note="; ".join(filter(None, [note, f"the first {MANY} of {len(names)} layers are drawn" if len(names) > MANY else ""])),
            final=final,
        )

    def _map(self, names: Sequence[str], values: Floats, rows: Sequence[int], steps: Sequence[int], weights: bool) -> Heatmap:
        shown = "weights" if weights else self.measure
        chosen = values[list(rows)]
        return Heatmap(
            values=chosen, limits=magnitude(chosen, 0.0, 1.0),
            row_labels=tuple(spoken(names[k]) for k in rows), row_keys=tuple(layer_key(names[k]) for k in rows),
            column_labels=tuple(map(str, steps)), column_keys=tuple(number_key("step", step) for step in steps),
            row_title="layer", column_title=f"step · {_SHOWN[shown]}",
        )

    def _table(self, found: Moves, when: Sequence[int | None], told: SettledAnswers | None, steps: Sequence[int]) -> Table:
        order = _ranked(when, found.share, self.order == "network")
        represented = dict(zip(told.layers, settled(told.to_end, steps, self.alike, below=False), strict=True)) if told is not None else {}
        by_layer: dict[str, int | None] = {}
        for name, step in represented.items():
            by_layer.setdefault(without_call(name), step)
        names = [found.layers[k] for k in order]
        columns = [
            Column(name="layer", kind="text", texts=tuple(name or spoken("") for name in names)),
            _when(
                "weights settled", [when[k] for k in order], [bool(np.isfinite(found.share[k]).all()) for k in order],
                f"the snapshot from which on they stay within {self.within:g} of their way, and half of what is left to a layer of one speed",
            ),
        ]
        if told is not None and np.isfinite(told.to_end).any():
            columns.append(_when(
                "representation settled", [by_layer.get(name) for name in names], [name in by_layer for name in names],
                f"the step from which on a CKA of {self.alike:g} or more to the last snapshot; a dash: it does not answer once for each example",
            ))
        columns += [
            Column(name="moved", numbers=found.distance[order, 0], note="the distance from its first weights to its last, biases counted"),
            Column(
                name="straightness", kind="share", numbers=found.straight[order],
                note="that distance as a share of the way travelled from snapshot to snapshot",
            ),
        ]
        return Table(columns=tuple(columns), row_keys=tuple(layer_key(name) for name in names))

    def _caption(self, scene: Scene, found: Moves, when: Sequence[int | None], told: SettledAnswers | None, final: bool) -> str:
        moving = [k for k in range(len(when)) if not found.still[k]]
        still = [found.layers[k] for k in range(len(when)) if found.still[k]]
        dated = sorted((step, found.layers[k]) for k in moving if (step := when[k]) is not None)
        said = ["Each layer's line is thick where its weights moved fast."]
        if dated:
            first, last = ([name for step, name in dated if step == at] for at in (dated[0][0], dated[-1][0]))
            said.append(f"{_some(first)} settled first, {_moment(found.steps, dated[0][0])}.")
            if dated[-1][0] > dated[0][0]:
                said.append(f"{_some(last)} settled last of those that did, {_moment(found.steps, dated[-1][0])}.")
        unsettled = [found.layers[k] for k in moving if when[k] is None and np.isfinite(found.share[k]).all()]
        if unsettled:
            verb = "was" if len(unsettled) == 1 else "were"
            said.append(f"{_some(unsettled)} {verb} still moving towards the last snapshot.")
        if still:
            said.append(f"{_some(still)} never moved.")
        lost = [found.layers[k] for k in range(len(when)) if not np.isfinite(found.share[k]).all()]
        if lost:
            whose = "its" if len(lost) == 1 else "their"
            said.append(f"{_some(lost)} cannot be followed throughout: {whose} weights changed their shape or are not numbers.")
        if scene.run is not None and scene.run.alive:
            said.append("The training runs on, so the end is only the newest snapshot.")
        if not final:
            said.append("What layers answer is being looked at, from the end backwards.")
        return " ".join(said)

    def _checks(self, told: SettledAnswers | None, steps: Sequence[int], final: bool) -> tuple[Check, ...]:
        if told is None or not final or told.frozen is None or len(told.frozen) < 2 or not np.isfinite(told.frozen[-2]):
            return ()
        return (Check(
            name="frozen answers", value=float(told.frozen[-2]),
            sentence=f"The share of answers ({told.of}) that at step {steps[-2]} are those of the end, step {steps[-1]}: near 1, few changed.",
        ),)


def _paths(found: Moves, order: Sequence[int], step: int | None) -> Lines:
    """A line for each layer, as thick as the share of its way that it travelled in a step there."""
    steps = np.asarray(found.steps, np.float64)
    gaps = np.diff(steps)
    rate = np.nan_to_num(found.moved[:, 1:] / gaps, nan=0.0, posinf=0.0)
    rate = rate / np.maximum(rate.max(1, initial=0.0, keepdims=True), 1e-300)
    # Each stretch between two snapshots is as thick as its own rate: flat from its start to its end.
    x = np.repeat(steps, 2)[1:-1]
    series = []
    for place, k in enumerate(order):
        thick = 0.45 * np.repeat(rate[k], 2)
        middle = np.full(len(x), float(len(order) - place))
        series.append(Series(
            name=f"{place + 1}. {spoken(found.layers[k])}", x=x, y=middle, low=middle - thick - 0.015, high=middle + thick + 0.015,
            key=layer_key(found.layers[k]), colour=place,
        ))
    return Lines(
        series=tuple(series), y_title="layers", y_range=(0.3, len(order) + 0.7), y_ticks=False,
        x_range=(float(steps[0]), float(steps[-1])), cursor=None if step is None else float(step), height=max(120, min(420, 22 * len(order))),
    )


def _frozen(frozen: Floats, of: str, steps: Sequence[int], step: int | None) -> Lines:
    known = np.isfinite(frozen)
    series = Series(name="answers that do not change any more", x=np.asarray(steps, np.float64)[known], y=frozen[known])
    return Lines(
        title=f"Frozen answers, of {of}", series=(series,),
        y_title="frozen answers", y_range=(0.0, 1.02), x_range=(float(steps[0]), float(steps[-1])),
        cursor=None if step is None else float(step), height=120,
    )


def _ranked(when: Sequence[int | None], values: Floats, network: bool) -> list[int]:
    """Layers by when they settled; of those that did not, the nearest to it first."""
    if network:
        return list(range(len(when)))
    means = np.nan_to_num(values, nan=np.inf).mean(1)
    return sorted(range(len(when)), key=lambda k: (step if (step := when[k]) is not None else np.inf, means[k]))


def _when(name: str, when: Sequence[int | None], known: Sequence[bool], note: str) -> Column:
    """The steps at which layers settled, in words where one has not."""
    told = [step for step in when if step is not None]
    if len(told) == len(when):
        return Column(name=name, numbers=np.array(told, np.float64), note=note)
    texts = ("–" if not sure else "not yet" if step is None else f"{step:,}" for step, sure in zip(when, known, strict=True))
    return Column(name=name, kind="text", texts=tuple(texts), note=note)


def _moment(steps: Sequence[int], step: int) -> str:
    """When something was first seen at a snapshot: it came about since the one before."""
    before = max((one for one in steps if one < step), default=step)
    return f"at step {step}" if step - before <= 1 else f"between steps {before} and {step}"


def _some(names: Sequence[str]) -> str:
    """Layers at the start of a sentence."""
    if names[0] in ("", spoken("")):
        return "The model"
    first = [spoken(name) for name in names[:3]]
    return joined([*first, f"{len(names) - 3} more"] if len(names) > 3 else first)
