"""What a language model learns from: its texts as the loss sees them, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Table, Text
from ...core.numerals import counted, percent
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...data.kinds import Tokens
from ...data.tokens import visible
from ...derive.derivations.learns_from import records
from ...derive.labels import Labels, complaints, faults, labels, without_labels
from ...record.batch_texts import BatchTexts
from ...scene import Scene
from ...scene.layer_text import answered_text, offset, tags
from ..view import View

Record = Mapping[str, Any]


class LearnsFromView(View):
    """The texts of a language model as its loss sees them: what is masked is struck out, what is learnt is coloured by its loss.

    *Meaning* a token's colour is what it cost to foresee it from those before it (of a masked language model, from those around
    it). Struck out: no place has to answer it. What is wrong is told first: no label left, labels shifted twice or not at all,
    an end token that is never trained, padding that is.
    ``examples`` are those of the probe set. ``batch`` are texts of the last batch that the recorder read by the step in sight: their labels
    and losses are those of the training's own loss, after whatever the loop masked and shifted.
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

    of: str = knob("examples", "Texts of the probe set, or of a batch as the training's own loss had it.", choices=("examples", "batch"), main=True)
    examples: int = knob(4, "So many texts; the chosen one comes first.", low=1, high=64, main=True)
    limit: int = knob(400, "The most tokens of each that are shown.", low=8, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a language model with labels."""
        return None if scene.missing is None and _recorded(scene) and not tags(scene) else without_labels(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The texts when their passes are done; those of a batch at once."""
        if self.of == "batch" or without_labels(scene) is not None:
            yield self._batch(scene, selection)
            return
        chosen = selection.one("example")
        last = chosen.number + 1 if chosen is not None and chosen.number < len(scene.live) else 1
        value: list[Record] = []
        for stage in scene.derive("learns_from", examples=min(512, max(self.examples, last)), limit=max(self.limit, 8)).stream():
            value = stage.value
            if not stage.final:
                yield stage.progress
        yield self._picture(scene, selection, value, last - 1)

    def _batch(self, scene: Scene, selection: Selection) -> Picture:
        """The texts of the last batch that was read."""
        step, told = _read_batch(scene)
        kind = (answered_text(scene) or ("", Tokens()))[1]
        tokens, targets = torch.from_numpy(told.tokens), torch.from_numpy(told.labels)
        moved = offset(tokens, targets)
        found = Labels(kind, tokens, targets, torch.from_numpy(told.losses), moved)
        numbers = range(len(tokens))
        value = records(found, numbers, tokens.shape[1])
        learnt = [one for one in value if one["learnt"]]
        largest = max((one["loss"] for one in learnt if np.isfinite(one["loss"])), default=1.0)
        marks: list[Node] = [
            self._text([one for one in value if one["example"] == number], f"text {number} of the batch", largest, keyed=False)
            for number in numbers[: self.examples]
        ]
        special = _special(value)
        marks += [] if special is None else [special]
        wrong = faults(kind, tokens, targets, moved, read=True)
        words = f"The first {len(numbers)} text{'s' if len(numbers) > 1 else ''} of the batch at step {step}, as the training’s own loss had them"
        count = sum(one["learnt"] or one["special"] != "padding" for one in value)
        words += f": it is taken on {len(learnt)} of {count} tokens ({percent(len(learnt) / max(1, count))})"
        mean = float(np.mean([one["loss"] for one in learnt])) if learnt else float("nan")
        words += f"; their mean is {mean:.3g} nats." if np.isfinite(mean) else "."
        words = f"{' '.join(wrong)} {words}" if wrong else f"{words} {_struck(value, moved)}"
        note = self._left_out(value, numbers[: self.examples], len(numbers))
        return self.picture(scene, selection, "What the loss is taken on", Group(children=tuple(marks)), words, note=note)

    def _picture(self, scene: Scene, selection: Selection, value: Sequence[Record], first: int) -> Picture:
        numbers = list(dict.fromkeys([first, *(one["example"] for one in value)]))[: self.examples]
        told = labels(scene, [first])
        wrong = complaints(scene)
        learnt = [one for one in value if one["learnt"]]
        largest = max((one["loss"] for one in learnt if np.isfinite(one["loss"])), default=1.0)
        texts = [self._text([one for one in value if one["example"] == number], f"example {number}", largest) for number in numbers]
        marks: list[Node] = [*texts]
        special = _special(value)
        if special is not None:
            marks.append(special)
        mean = float(np.mean([one["loss"] for one in learnt])) if learnt else float("nan")
        words = [one for one in value if one["learnt"] or one["special"] != "padding"]
        share = len(learnt) / max(1, len(words))
        caption = f"The loss is taken on {len(learnt)} of {len(words)} tokens ({percent(share)}) of {len({one['example'] for one in value})} texts; "
        caption += f"their mean is {mean:.3g} nats." if np.isfinite(mean) else "no mean of them can be told."
        if not learnt:
            caption = f"The loss is taken on none of {len(words)} tokens."
        caption = f"{' '.join(wrong)} {caption}" if wrong else f"{caption} {_struck(value, told.offset)}"
        return self.picture(
            scene, selection, "What the loss is taken on", Group(children=tuple(marks)), caption, checks=_checks(told, learnt, first),
            note=self._left_out(value, numbers, len({one["example"] for one in value})),
        )

    def _left_out(self, value: Sequence[Record], shown: Sequence[int], count: int) -> str:
        """What is counted and not shown: whole texts, and of each the tokens behind the first so many."""
        longest = max((sum(one["example"] == number for one in value) for number in shown), default=0)
        told = [f"{len(shown)} of {counted(count, 'texts')} shown"] if len(shown) < count else []
        told += [f"of each the first {self.limit} tokens"] if longest > self.limit else []
        return ", ".join(told) + "; all are counted" if told else ""

    def _text(self, told: Sequence[Record], title: str, largest: float, *, keyed: bool = True) -> Text:
        shown = told[: self.limit]
        single = all(len(one["text"]) <= 1 for one in shown)
        return Text(
            tokens=tuple(one["text"] if single else visible(one["text"]) for one in shown), values=np.array([one["loss"] for one in shown]),
            struck=np.array([not one["learnt"] for one in shown]), limits=magnitude([one["loss"] for one in shown], 0.0, largest, unit="nats"),
            keys=tuple(number_key("token", one["position"]) for one in shown) if keyed else (), characters=single, title=title,
        )


def _struck(value: Sequence[Record], moved: int | None) -> str:
    """What is struck out, in a sentence: tokens that are masked, padding, and where a place answers the next token, the first of each text."""
    out = [one for one in value if not one["learnt"]]
    starts = {one["special"] == "padding" for one in out if not one["position"]}
    first = moved == 1 and False in starts
    rest = {one["special"] == "padding" for one in out if one["position"] or one["special"] == "padding" or not first}
    told = [words for padding, words in ((False, "what is masked"), (True, "padding")) if padding in rest]
    which = "of texts that no padding precedes" if True in starts else "of each text"
    told += [f"the first token {which}, which is not predicted, as nothing stands before it"] if first else []
    struck = f"Struck out is {' and '.join(part for part in (', '.join(told[:-1]), *told[-1:]) if part)}; the" if told else "The"
    return f"{struck} brighter, the costlier."


def _recorded(scene: Scene) -> bool:
    """Whether the training wrote down texts of its batches."""
    return scene.run is not None and answered_text(scene) is not None and "texts/tokens" in scene.run.row_names


def _read_batch(scene: Scene) -> tuple[int, BatchTexts]:
    """The last batch that was read by the step in sight, and its step. *Raises* NotApplicable where there is none."""
    if not _recorded(scene):
        raise NotApplicable(
            "the training wrote down no texts of its batches: they are read by watch() where the model answers a text place by place, with a "
            "cross-entropy; choose of=examples"
        )
    assert scene.run is not None
    rows = {name: scene.run.rows(name) for name in ("texts/tokens", "texts/labels", "texts/losses")}
    steps = rows["texts/tokens"][0]
    before = np.flatnonzero(steps <= scene.step) if scene.step is not None else np.arange(len(steps))
    if not len(before):
        raise NotApplicable(f"the first batch was read at step {int(steps[0])}; choose a later step, or of=examples")
    step = int(steps[before[-1]])
    told = BatchTexts.of_rows({name: values[np.flatnonzero(at == step)[-1]] for name, (at, values) in rows.items() if (at == step).any()})
    if told is None:
        raise NotApplicable(f"what was written down of the batch at step {step} cannot be read; choose another step")
    return step, told


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
