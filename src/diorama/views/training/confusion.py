"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.colour import magnitude
from ...core.knobs import knob
from ...core.marks import Heatmap
from ...core.picture import Picture, Progress
from ...core.selection import Selection, number_key
from ...scene import Scene
from ..view import View

MANY = 40
"""Beyond so many classes only those are shown that occur."""


class Confusion(View):
    """How often each class is answered with each class: rows are the truth, columns the network's answer.

    *Meaning* the diagonal is what is answered rightly; a bright cell beside it is a mix-up of two classes.
    *Units* the share of a row's examples, or their number.
    *Cost* one pass over the first 512 examples of the probe set.
    """

    title = "Confusion"
    question = "Which classes does the network take for one another?"
    answers = True
    family = "process"
    papers = ("Bruckner 2014, ml-o-scope",)
    rows = ("C12",)

    share: bool = knob(True, "Show the share of each row rather than the number of examples.", main=True)
    errors: bool = knob(False, "Leave out the diagonal, so that rare mix-ups show.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a classifier and the truth."""
        if scene.task != "classification":
            return "it compares answered classes with true ones, and this model is not a classifier"
        return "it needs the truth of each example; pass y, or probe=(x, y)" if scene.examples.y is None else None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        answers = scene.answers()
        y = scene.live.y
        assert y is not None  # fits() has seen it
        truth, given = scene.reading.truth(y).numpy(), answers.predictions.numpy()
        truth, given = truth[truth >= 0], given[truth >= 0]
        size = max(len(scene.classes), int(truth.max(initial=0)) + 1, int(given.max(initial=0)) + 1)
        counts = np.zeros((size, size))
        answered = given >= 0
        np.add.at(counts, (truth[answered], given[answered]), 1)
        right = np.trace(counts) / max(1, len(truth))
        present = np.flatnonzero(counts.sum(0) + counts.sum(1)) if size > MANY else np.arange(size)
        counts = counts[np.ix_(present, present)]
        values = counts / np.maximum(1, counts.sum(1, keepdims=True)) if self.share else counts.copy()
        if self.errors:
            np.fill_diagonal(values, 0)
        names = tuple(scene.classes[k] if k < len(scene.classes) else str(k) for k in present)
        keys = tuple(number_key("class", int(k)) for k in present)
        few = len(present) <= 12
        high = 1.0 if self.share and not self.errors else None
        heat = Heatmap(
            values=values, limits=magnitude(values, 0, high, unit="share" if self.share else "examples"),
            row_labels=names, column_labels=names, row_keys=keys, column_keys=keys, row_title="truth",
            column_title="answer", square=True, numbers=few, size=22 if few else 10,
        )
        note = f"the {len(present)} of {size} classes that occur" if len(present) < size else ""
        missing = int((~answered).sum())
        yield self.picture(
            scene, selection, "Confusion", heat, _caption(counts, names, right, len(truth), missing), note=note
        )


def _caption(counts: np.ndarray, names: tuple[str, ...], right: float, total: int, missing: int) -> str:
    mixed = counts - np.diag(np.diag(counts))
    said = f"Rows are the truth, columns the answers: {100 * right:.1f} % of {total} examples are on the diagonal. "
    if missing:
        said += f"{missing} of them have no answer, as their scores are not numbers. "
    if not mixed.any():
        return said.rstrip() if missing == total else said + "No class is taken for another."
    row, column = np.unravel_index(mixed.argmax(), mixed.shape)
    return said + f"{names[row]} is taken for {names[column]} most often, {int(mixed[row, column])} times."
