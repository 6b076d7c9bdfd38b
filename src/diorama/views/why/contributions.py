"""Which layers and heads speak for an answer: what each adds to its score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core import registry
from ...core.colour import symmetric
from ...core.marks import Bars, Group, Heatmap, Node
from ...core.picture import Check, Picture, Progress
from ...core.selection import Key, Selection
from ...derive.derivations.contributions import added
from ...scene import Scene
from ...scene.input import CurrentInput
from .. import answers
from ..view import View

LISTED = 40
"""So many layers are drawn as bars at most: those that add the most."""


class ContributionsView(View):
    """What each layer, and each head of an attention, adds to the score of the chosen answer.

    *Meaning* blue speaks for the answer, orange against it; all bars and the constant sum to its score. The sizes that the last
    norm divides by are held as they are. A head that only prepares what later layers read adds little by itself: patching and
    lesions tell that.
    *Units* those of the score.
    *Error* the check tells how far the sum of all is from the score.
    *Cost* two forward passes, and one a head up to its layer.
    *Source* Elhage et al. 2021; Wang et al. 2022.
    """

    title = "Contributions"
    question = "Which layers and heads speak for this answer?"
    family = "relationships"
    papers = ("Elhage et al. 2021, “A mathematical framework for transformer circuits”", "Wang et al. 2022, arXiv:2211.00593")
    rows = ("E6",)
    follows = ("example", "class", "token")
    input = True
    demo = "repeats"

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a residual stream without norms on it."""
        reason: str | None = registry.derivations["contributions"]().fits(scene)
        return reason

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The layers at once, then the heads."""
        current = scene.current(selection)
        chosen, token = selection.one("class"), selection.one("token")
        asked = {"answer": chosen.number if chosen is not None else None, "place": None}
        if token is not None and scene.task == "next_token":
            asked["place"] = token.number
        if current.index is None:
            stages = added(scene, current.x, asked["answer"], asked["place"])
        else:
            stages = scene.derive("contributions", example=current.index, answer=asked["answer"], place=asked["place"]).stream()
        value: Any = None
        for stage in stages:
            first = value is None
            value = stage.value
            if first and not stage.final and stage.total > 2:
                yield self._picture(scene, selection, current, value, final=False)
            if not stage.final:
                yield stage.progress
        yield self._picture(scene, selection, current, value, final=True)

    def _picture(self, scene: Scene, selection: Selection, current: CurrentInput, value: Any, *, final: bool) -> Picture:
        # Of scores that are no numbers none is the largest.
        known = np.isfinite(value["score"])
        name = f"“{_name(scene, value['answer'])}”" if known else "an answer"
        terms = value["values"]
        order = np.sort(np.argsort(-np.abs(np.nan_to_num(terms)), kind="stable")[:LISTED])
        labels = (*(value["layers"][k] for k in order), "constant")
        bars = np.array([*terms[order], value["constant"]])
        marks: list[Node] = [Bars(values=bars, labels=labels, limits=symmetric(bars), title=f"What each layer adds to {name}")]
        if value["heads"].size:
            marks.append(_heads(value))
        gap = abs(float(terms.sum()) + value["constant"] - value["score"])
        parts = np.nan_to_num(np.abs(terms))
        best = int(parts.argmax())
        where = f" at position {value['place']}" if scene.task == "next_token" else ""
        good = gap < 1e-3 * max(1.0, float(parts.max()))
        bent = "what follows the last layer is not linear, and a bar is its slope there times what a layer adds"
        sums = "the sum of all bars" if good else f"while all bars sum to {float(terms.sum()) + value['constant']:.3g}, as {bent}"
        caption = (
            f"{current.label.capitalize()}: the score of {name}{where} is {value['score']:.3g}, {sums}; "
            f"most is {'taken' if terms[best] < 0 else 'added'} by {value['layers'][best]} ({terms[best]:+.3g})."
        )
        if not known:
            caption = f"{current.label.capitalize()}: the scores{where} are not numbers, so no layer's part in them can be told."
        told = np.isfinite(gap)
        checks = (Check(
            name="sum against the score", value=gap, good=good,
            sentence="How far the sum of what all layers add, and the constant, is from the score itself.",
        ),) if told else ()
        return self.picture(
            scene, selection, f"Which layers speak for {name}?", Group(children=tuple(marks), direction="row"), caption, checks=checks,
            final=final, note="" if len(order) == len(terms) else f"{len(order)} of {len(terms)} layers shown: those that add the most.",
        )


def _heads(value: Any) -> Heatmap:
    """A row an attention, a column a head: what each adds."""
    values = value["heads"]
    keys = tuple(str(Key("head", name, (head,))) for name in value["attentions"] for head in range(values.shape[1]))
    return Heatmap(
        values=values, limits=symmetric(values), row_labels=tuple(value["attentions"]), column_labels=tuple(map(str, range(values.shape[1]))),
        cell_keys=keys, column_title="head", numbers=values.shape[1] <= 16, size=18, title="What each head adds",
    )


def _name(scene: Scene, number: int) -> str:
    if scene.task == "next_token":
        return answers.token(scene, number)
    if scene.task == "classification" and number < len(scene.classes):
        return scene.classes[number]
    return f"output {number}"
