"""Where the first number that is NaN or infinite came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.marks import Column, Group, Node, Number, Table
from ...core.picture import Picture, Progress
from ...core.selection import Selection, as_key, layer_key, number_key
from ...record.findings.not_finite import place_told
from ..view import View

if TYPE_CHECKING:
    from ...scene import Scene


class FirstBadView(View):
    """Where the first number that is NaN or infinite came from: the step, the layer, the op, and the examples of the batch;
    and how large the numbers were that the ops before it made.

    *Meaning* numbers that grow from op to op say that the weights or the inputs are too large; one op that makes it out of
    ordinary numbers (a logarithm of 0, a division by 0) has to be guarded. An infinity that the code wrote itself, as masks are made,
    is a fault only where something comes of it: told is who made what came to the answers. *Error* the step's batch was run again with the
    same weights and random numbers before the optimizer could spread it (with others, which is then said, where a network began to
    draw some after the last reading), and once more: where a network answers otherwise then, writes into its batch, or the loop did, it is
    said that the pass could not be repeated. A loss is not run again, so of it only this is known, that the answers were finite. On an
    accelerator steps of less than 20 ms are looked at only where readings are due.
    """

    title = "First bad number"
    question = "Where did the first NaN or infinity come from?"
    family = "process"
    papers = ()
    rows = ("E11",)
    needs = "record"
    follows = ("layer",)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        run = scene.run
        if run is None:
            return
        fact = run.meta.get("first_bad")
        if not isinstance(fact, Mapping) or not isinstance(fact.get("step"), int):
            yield self.picture(scene, selection, self.title, *_nothing(run.meta.get("gradient_overflow"), run.findings()))
            return
        marks = [_headline(fact), *_ops(fact)]
        body = marks[0] if len(marks) == 1 else Group(children=tuple(marks))
        caption = f"{place_told(fact)} It is step {fact['step']}; "
        before = [step for step in run.snapshots if step < fact["step"]]
        caption += f"the last snapshot before it is at step {before[-1]}." if before else "no snapshot lies before it."
        if fact.get("ops"):
            caption += " The table holds the ops that ran before it, in order, each with the largest finite number that it made."
        yield self.picture(scene, selection, self.title, body, caption)


def _nothing(overflow: Any, findings: list[Any]) -> tuple[Node, str]:
    """What is said where no place is known: nothing was bad, or it could not be traced."""
    if any(found.finding == "not_finite" for found in findings):
        said = "Numbers were NaN or infinite, and it was not traced where that began: the recorder follows the batch where it knows the optimizer "
        said += "and reads activations, and this step was not seen so. The finding tells which numbers, and since when."
        return Number(label="Not traced", tone="warn"), said
    said = "Every number that was looked at was finite: the gradients of the first and last layers at each step, and all that readings hold."
    if isinstance(overflow, Mapping) and not overflow.get("scale"):
        said += f" At step {overflow.get('step')} gradients were not, and no optimizer stepped, so no weight took them."
        return Number(label="NaN or infinite gradients, not taken", tone="warn"), said
    if isinstance(overflow, Mapping):
        said += f" The gradient scaler left step {overflow.get('step')} out, since gradients overflowed at its scale; a few of these are usual."
    return Number(label="No NaN, no infinity", tone="good"), said


def _headline(fact: Mapping[str, Any]) -> Number:
    place = fact.get("op") or fact.get("tensor") or {"loss": "the loss", "input": "the batch"}.get(str(fact.get("where")), "not found")
    layer = str(fact.get("layer", ""))
    key = layer_key(layer) if layer else number_key("step", int(fact["step"]))
    return Number(label=f"Step {fact['step']}: {place}", tone="bad", key=key, note=str(fact.get("text", "")))


def _ops(fact: Mapping[str, Any]) -> list[Node]:
    """The ops up to the one that made it, each with the largest number."""
    rows = [(str(name), float(size), bool(bad)) for name, size, bad in fact.get("ops", ())]
    if not rows:
        return []
    sizes = np.array([size for _, size, _ in rows])
    return [Table(
        columns=(
            Column(name="op", kind="text", texts=tuple(name for name, _, _ in rows)),
            Column(name="largest number", numbers=sizes, note="The largest finite magnitude that the op made."),
            Column(name="made", kind="text", texts=tuple("NaN or infinite" if bad else "finite" for _, _, bad in rows)),
        ),
        row_keys=tuple(str(as_key("op", name)) for name, _, _ in rows), flagged=np.array([bad for _, _, bad in rows]), title="Ops of the pass",
    )]
