"""What a language model learns from: its texts as the loss sees them, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.colour import magnitude
from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Table, Text
from ...core.picture import Check, Picture, Progress
from ...core.saying import percent
from ...core.selection import Selection, number_key
from ...derive.labels import complaints, labels, without_labels
from ...scene import Scene
from ..answers import visible
from ..view import View

Record = Mapping[str, Any]


class LearnsFromView(View):
    """The texts of a language model as its loss sees them: what is masked is struck out, what is learnt is coloured by its loss.

    *Meaning* a token's colour is what it cost to foresee it from those before it (of a masked language model, from those around
    it). Struck out: no place has to answer it. What is wrong is told first: no label left, labels shifted twice or not at all,
    an end token that is never trained, padding that is.
    *Units* nats.
    *Error* where the model computes its own loss, the check compares it with the mean of what is shown.
    *Cost* one forward pass an example.
    """

    title = "Learns from"
    question = "On which tokens is the loss really taken?"
    family = "process"
    rows = ("E10",)
    follows = ("example", "token")
    demo = "repeats"

    examples: int = knob(4, "So many texts; the chosen one comes first.", low=1, high=64, main=True)
    limit: int = knob(400, "The most tokens of each that are shown.", low=8, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a language model with labels."""
        return without_labels(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The texts when their passes are done."""
        chosen = selection.one("example")
        last = chosen.number + 1 if chosen is not None and chosen.number < len(scene.live) else 1
        value: list[Record] = []
        for stage in scene.derive("learns_from", examples=min(512, max(self.examples, last)), limit=max(self.limit, 8)).stream():
            value = stage.value
            if not stage.final:
                yield stage.progress
        yield self._picture(scene, selection, value, last - 1)

    def _picture(self, scene: Scene, selection: Selection, value: Sequence[Record], first: int) -> Picture:
        numbers = list(dict.fromkeys([first, *(one["example"] for one in value)]))[: self.examples]
        told = labels(scene, [first])
        wrong = complaints(scene)
        learnt = [one for one in value if one["learnt"]]
        largest = max((one["loss"] for one in learnt if np.isfinite(one["loss"])), default=1.0)
        texts = [self._text([one for one in value if one["example"] == number], number, largest) for number in numbers]
        marks: list[Node] = [*texts]
        special = _special(value)
        if special is not None:
            marks.append(special)
        mean = float(np.mean([one["loss"] for one in learnt])) if learnt else float("nan")
        share = len(learnt) / max(1, len(value))
        caption = f"The loss is taken on {len(learnt)} of {len(value)} tokens ({percent(share)}) of {len({one['example'] for one in value})} texts; "
        caption += f"their mean is {mean:.3g} nats." if np.isfinite(mean) else "no mean of them can be told."
        if not learnt:
            caption = f"The loss is taken on none of {len(value)} tokens."
        caption = f"{' '.join(wrong)} {caption}" if wrong else f"{caption} Struck out is what is masked; the brighter, the costlier."
        return self.picture(
            scene, selection, "What the loss is taken on", Group(children=tuple(marks)), caption, checks=_checks(told, learnt, first),
        )

    def _text(self, records: Sequence[Record], number: int, largest: float) -> Text:
        shown = records[: self.limit]
        single = all(len(one["text"]) <= 1 for one in shown)
        return Text(
            tokens=tuple(one["text"] if single else visible(one["text"]) for one in shown), values=np.array([one["loss"] for one in shown]),
            struck=np.array([not one["learnt"] for one in shown]), limits=magnitude([one["loss"] for one in shown], 0.0, largest, unit="nats"),
            keys=tuple(number_key("token", one["position"]) for one in shown), characters=single, title=f"example {number}",
        )


def _special(value: Sequence[Record]) -> Table | None:
    """The tokens that are no text, how often they stand there and how often they are learnt."""
    found: dict[str, list[Record]] = {}
    for one in value:
        if one["special"]:
            found.setdefault(one["text"], []).append(one)
    if not found:
        return None
    rows = [
        (text, own[0]["special"], len(own), sum(one["learnt"] for one in own), _mean([one["loss"] for one in own if one["learnt"]]))
        for text, own in found.items()
    ]
    return Table(
        columns=(
            Column(name="token", kind="text", texts=tuple(row[0] for row in rows)),
            Column(name="what it is", kind="text", texts=tuple("other" if row[1] == row[0] else row[1] for row in rows)),
            Column(name="times", numbers=np.array([float(row[2]) for row in rows])),
            Column(name="learnt", numbers=np.array([float(row[3]) for row in rows])),
            Column(name="mean loss", kind="text", texts=tuple(f"{row[4]:.3g} nats" if np.isfinite(row[4]) else "never learnt" for row in rows)),
        ),
        title="Tokens that are no text",
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _checks(told: Any, learnt: Sequence[Record], first: int) -> tuple[Check, ...]:
    """The model's own loss of the first text against the mean of what is shown of it."""
    own = [one["loss"] for one in learnt if one["example"] == first]
    if told.own is None or not own or not np.isfinite(told.own):
        return ()
    gap = abs(told.own - float(np.mean(own)))
    if not np.isfinite(gap):
        return ()
    return (Check(
        name="mean against the model's own loss", value=gap, good=gap < 1e-3 * max(1.0, abs(told.own)), unit="nats",
        sentence="How far the mean of what is shown of the first text is from the loss that the model computes itself.",
    ),)
