"""Which examples of the training data taught the network its answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.knobs import knob, numbers_written
from ...core.marks import Action, Bars, Column, Group, Node, Number, Table
from ...core.numerals import counted, joined
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, spoken
from ...derive.derivations.influence import InfluenceDerivation
from ...scene import Scene
from ...scene.input import asked
from ...scene.other_data import truth
from ...scene.sets import named
from .. import answers, inputs
from ..changed_labels import changed_of_probe, steered_probe
from ..view import View

_SLOW = 5.0
"""Seconds beyond which the cost is told before anything else."""


class InfluenceView(View):
    """The training examples that taught the network its answer to an example, and those that spoke against it.

    *Meaning* a proponent's own training step makes the loss of this answer smaller, an opponent's makes it larger, summed over
    the snapshots up to this step. The last layer before this answer tells it exactly (where several lead there at once one of them,
    which is named); all layers by a random projection, with its error. It is about single steps, not about what a training without the
    example would have come to: drop the example and branch to see.
    *Units* learning rate times the product of two gradients: nats of loss that a step of plain gradient descent takes away.
    *Error* none for the last layer; else the standard error beside each number.
    *Cost* one forward pass a training example and snapshot, of all layers also a backward pass; told before it starts. The next
    answer costs one pass a snapshot.
    """

    title = "Influence"
    question = "Which training examples taught it this answer?"
    family = "process"
    papers = ("Pruthi et al. 2020, arXiv:2002.08484",)
    rows = ("E8",)
    by_labels = True
    follows = ("example",)
    input = True

    data: str = knob("", "A file of the training data, or probe; by itself what the training named, else the probe set.", kind="text", main=True)
    layers: str = knob("last", "The last layer, exactly, or all layers, by a random projection.", choices=("last", "all"), main=True)
    what: str = knob("answer", "What it was taught: the answer that it gives, or the truth.", choices=("answer", "truth"))
    snapshots: int = knob(8, "The most snapshots, up to this step, evenly chosen.", low=1, high=1000)
    most: int = knob(2000, "The most training examples; of more an even choice is looked at.", low=1, high=10_000_000)
    dimensions: int = knob(2048, "Numbers kept of a gradient of all layers; the error falls with their root.", low=16, high=1_000_000)
    limit: int = knob(12, "So many proponents, and so many opponents.", low=1, high=200)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs labels, a task, and gradients."""
        if scene.edits or scene.moved is not None:
            return "gradients are those of the training, in which there are neither edits nor moved weights; take them back"
        if not scene.task:
            return "what the network answers is not known, so an answer has no loss; say it with task="
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The ranking after each snapshot, the last exact; how far it is in between."""
        current = scene.current(selection)
        knobs = {name: getattr(self, name) for name in ("data", "layers", "what", "snapshots", "most", "dimensions")}
        own: dict[str, Any] = {"input": current.x} if current.index is None else {"example": current.index}
        alone = scene.alone(scene.cancel)
        derived = alone.derive("influence", **knobs, **own)
        made = derived.derivation
        assert isinstance(made, InfluenceDerivation)
        if not derived.known:
            began = time.perf_counter()
            scores = scene.scores(current.x)
            cost, one = derived.cost, time.perf_counter() - began
            yield Progress(done=0, total=1, note=cost.said(one), seconds=cost.seconds(one) if cost.seconds(one) > _SLOW else None)
        else:
            scores = scene.scores(current.x)
        # The answer itself is the same on all pictures: it is asked for and drawn once.
        drawn = inputs.drawn(scene, current), answers.drawn(scene, asked(scene, current.x, scores))
        question = self._asked(scene, made, current.label, scores)
        for stage in derived.stream():
            if stage.value is not None:
                yield self._ranked(scene, selection, made, stage.value, stage.final, drawn, question)
            if not stage.final:
                yield stage.progress

    def _ranked(
        self, scene: Scene, selection: Selection, made: InfluenceDerivation, value: dict[str, Any], final: bool, drawn: tuple[Node, ...],
        question: str,
    ) -> Picture:
        current, scores = scene.current(selection), value["scores"]
        examples = made.examples(scene)
        known = truth(scene, examples.y)
        labels = None if known is None else known.numpy()[value["rows"]]
        itself = value["rows"] == current.index if made.probe and current.index is not None else np.zeros(len(scores), bool)
        order = np.argsort(-scores, kind="stable")
        order = order[np.isfinite(scores[order]) & ~itself[order]]
        best, worst = order[scores[order] > 0][: self.limit], order[scores[order] < 0][::-1][: self.limit]
        tables = [
            self._table(scene, made, value, chosen, labels, title)
            for chosen, title in ((best, "proponents: their steps strengthen the answer"), (worst, "opponents: theirs weaken it"))
            if len(chosen)
        ]
        head = list(drawn)
        if labels is not None and len(order):
            head.append(self._classes(scene, scores[order], labels[order]))
        offer = self._offer(scene, value["rows"][best]) if made.probe and final and len(best) else ()
        body = Group(children=(
            Group(children=tuple(head), direction="row"), *offer, *([Group(children=tuple(tables), direction="row")] if tables else []),
        ))
        shown = len(value["steps"])
        checks: tuple[Check, ...] = ()
        if made.layers == "all" and len(best):
            checks = (Check(
                name="error of the projection", value=float(value["error"][best].mean() / np.abs(scores[best]).mean()),
                sentence="the standard error of the shown proponents' numbers, as a share of them; more dimensions make it smaller",
            ),)
        caption = (
            f"{question} Proponents are examples of {made.words(scene)} whose own training step makes "
            f"that loss smaller, opponents make it larger: summed over {shown} snapshot{'s' if shown > 1 else ''}, "
            + (_where(value["last"], value["own"]) if made.layers == "last" else "in all layers, by a random projection.")
            + ("" if value["own"] else " Of several learning rates their mean was taken, as it is not known which of them was theirs.")
        )
        if made.probe and (data := steered_probe(scene.run)):
            part = f"The first {data['probe']:,} of" if data["probe"] < len(scene.examples) else "All examples of"
            caption += f" {part} the probe set are among what it is trained on; what else is there is not looked at."
        elif made.probe:
            held = scene.run is not None and scene.run.meta.get("steered")
            why = "was in the training's memory alone (name a file of it as data)" if held else "is not known here (say it with data=)"
            caption += f" What it was trained on {why}, so the probe set stands in for it: this is what such examples would teach."
        if not tables and np.isfinite(scores[~itself]).all():
            caption += (
                " No example has any influence: one of the two gradients is zero everywhere." if len(order)
                else " There is no other example that could have taught it anything."
            )
        notes = [] if final else ["so far"]
        if len(scores) < value["total"]:
            notes.append(f"{len(scores):,} of {value['total']:,} examples were looked at, evenly chosen")
        if itself.any():
            notes.append("the example itself is left out")
        if bad := int((~np.isfinite(scores) & ~itself).sum()):
            notes.append(f"{counted(bad, 'examples')} {'has' if bad == 1 else 'have'} an influence that is no number")
        title = f"What taught it the answer to {current.label}"
        return self.picture(scene, selection, title, body, caption, checks=checks, note="; ".join(notes), final=final)

    def _offer(self, scene: Scene, rows: NDArray[np.int64]) -> tuple[Number, ...]:
        """The click that drops the proponents from a running training, where its data hold them."""
        if scene.run is None or not scene.run.alive or not (data := steered_probe(scene.run)):
            return ()
        known = rows[rows < data["probe"]]
        kept = known[~np.isin(known, list(changed_of_probe(scene.run, len(scene.examples))))]
        knobs: dict[str, str | float | int | bool] = {"examples": numbers_written(kept.tolist(), "examples"), "of": "probe"}
        return (Number(
            label="Does the answer turn without them?",
            note="Dropped, they are trained on no more; the list of what was changed then offers the run that keeps them, to compare."
            if len(kept) else "The proponents are dropped or relabelled already, or were not looked for in the data.",
            actions=(Action(command="drop", label=f"Drop the proponents ({len(kept)})", knobs=knobs),) if len(kept) else (),
        ),)

    def _asked(self, scene: Scene, made: InfluenceDerivation, label: str, scores: Tensor) -> str:
        if scene.task == "classification" and made.what == "answer":
            answer = int(scene.reading.predictions(scores)[0])
            if answer < 0:
                return f"The scores of {label} are not numbers, so there is no answer; this is the loss of its truth."
            return f"The loss of answering {label} with {named(scene, answer)}, as the network does."
        return f"The loss of {label} against its truth."

    def _table(
        self, scene: Scene, made: InfluenceDerivation, value: dict[str, Any], chosen: NDArray[np.int64], labels: Any, title: str
    ) -> Table:
        rows = value["rows"][chosen]
        columns = [inputs.column(scene, rows.tolist(), made.examples(scene)), Column(name="number", numbers=rows.astype(float))]
        if labels is not None:
            texts = tuple(named(scene, int(k)) for k in labels[chosen])
            columns.append(Column(name="label", kind="class", numbers=labels[chosen].astype(float), texts=texts))
        columns.append(Column(name="influence", numbers=value["scores"][chosen], signed=True))
        if made.layers == "all":
            columns.append(Column(name="error", numbers=value["error"][chosen]))
        keys = tuple(number_key("example", int(k)) for k in rows) if made.probe else ()
        return Table(columns=tuple(columns), row_keys=keys, title=title)

    def _classes(self, scene: Scene, scores: NDArray[np.float64], labels: NDArray[np.int64]) -> Bars:
        """The sum of all influences by the examples' class, the strongest first."""
        present = np.unique(labels[labels >= 0])
        sums = np.array([scores[labels == k].sum() for k in present])
        strongest = np.argsort(-np.abs(sums), kind="stable")[:10]
        return Bars(
            values=sums[strongest], labels=tuple(named(scene, int(k)) for k in present[strongest]),
            keys=tuple(number_key("class", int(k)) for k in present[strongest]), title="together, by their label",
        )


def _where(last: list[str], exact: bool) -> str:
    """In which layer influence is exact, in words; and which others lead to the answer beside it."""
    exactly = ", exactly" * exact
    if len(last) < 2:
        return f"in the last layer, {spoken(last[0])}{exactly}."
    some = [spoken(name) for name in last[1:4]] + ([f"{len(last) - 4} more"] if len(last) > 4 else [])
    return (
        f"in {spoken(last[0])} alone{exactly}. The answer is made from {joined(some)} as well, where what examples taught is not looked at; "
        "choose layers=all for that."
    )
