"""What the network receives, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.knobs import knob
from ...core.marks import Group
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...scene import Scene
from ...scene.input import asked, ending
from ...scene.layer_text import in_place
from .. import answers, inputs
from ..changed_labels import called
from ..view import View


class AnswerView(View):
    """The input as the network receives it, and its answer: the probability of each class, or its numbers.

    *Meaning* a tick marks the truth of an example; a long bar elsewhere is a confident mistake.
    *Cost* one forward pass of one example.
    """

    title = "Answer"
    question = "What does the network answer?"
    family = "features"
    rows = ("A1", "A16")
    by_labels = True
    answers = True
    follows = ("example",)
    input = True
    panel = "answer"

    size: int = knob(64, "Width of the input's picture in pixels of the screen.", low=16, high=512)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one forward pass."""
        current = scene.current(selection)
        scores, end = asked(scene, current.x), ending(scene, current.x)
        y = scene.examples.y
        truth = None
        if y is not None and current.index is not None:
            truth = answers.truth(scene, y[current.index : current.index + 1])
        body = Group(
            children=(inputs.drawn(scene, current, self.size), answers.drawn(scene, scores, truth, size=self.size)), direction="row"
        )
        told = (
            f"; the truth is {called(scene, [current.index], [int(truth)])[0]}"
            if truth is not None and scene.task == "classification" and current.index is not None
            else ""
        )
        caption = f"What the network receives of {current.label}, and its answer: {answers.said(scene, scores)}{told}."
        if scene.task == "segmentation":
            caption += " The picture's colours are the class that each place is answered with."
        where = "at" if in_place(scene) else "behind"
        note = f"Asked {where} the text's last token, at place {end}: padding follows." if end is not None else ""
        yield self.picture(scene, selection, "Answer", body, caption, note=note)
