"""A phrase of a text, the cells that are on through it, and where in the corpus the same cells are on together."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.marks import Column, Group, Handle, Lines, Node, Series, Table, Text
from ...core.numerals import percent
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken
from ...data.kinds import Tokens
from ...data.padding import pads
from ...derive.derivations.matches import bounds
from ...derive.phrases import THRESHOLD, Levels, PhraseSearch, chosen, levels_of, reached
from ...scene import Scene
from ...scene.layer_text import legible, misplaced, text_at
from ...scene.states import hidden, told
from .. import texts
from ..view import View

COLOURED, FAINT = 12, 40
"""So many chosen cells are drawn in colour, and so many others."""
FEW = 5
"""Where fewer cells are on, a threshold is told at which so many are."""
STRETCHES = 40
"""In a text without words a phrase begins at one of so many tokens from its middle on."""
NEAR = 24
"""So many tokens on both sides of a match are shown."""


class MatchesView(View):
    """Choose a phrase: the cells that are on through it, and the phrases of the corpus in which the same cells are on together.

    *Meaning* each line is what one cell says along the text; those at or over the threshold through the whole phrase are coloured. Below
    stand the stretches of all texts over which the same cells are on together, those of most cells first: what they have in common
    is what the cells may stand for. An annotation (parts of speech, or whatever ``Tokens(annotations=)`` tells of each token; or a
    property of the text) stands under the phrase and beside each match. Choose the phrase by its tokens, by brushing the lines, or as ``span``.
    *Error* none: the search finds what comparing every stretch of every text would find, with values in 200 steps.
    *Cost* one forward pass of the probe set for a layer's first search, which is kept; after that a fraction of a second.
    *Source* Strobelt et al. 2018, LSTMVis.
    """

    title = "Matches"
    question = "Where else in the texts are the same cells on?"
    family = "features"
    papers = ("Strobelt et al. 2018, arXiv:1606.07461",)
    rows = ("A6", "B2")
    follows = ("layer", "example", "token")
    input = True
    demo = "text"

    layer: str | None = knob(None, "The layer; the chosen one, or the last recurrent one, when left open.", kind="layer")
    span: str | None = knob(
        None, "The phrase, from its first token to behind its last; the chosen tokens, or a word at which some cells are on, when left open.",
        kind="span", main=True,
    )
    threshold: float | None = knob(
        None, f"From which share of the layer’s scale on a cell is on; {THRESHOLD}, or where fewer than {FEW} cells are on the share at which "
        "so many are, when left open; 200 steps.", kind="number", low=0.0, high=1.0, main=True,
    )
    sharp: bool = knob(False, "Choose only cells that are off just before the phrase and just behind it.")
    annotation: str = knob("", "What is told of each token: an annotation of your own (the first by itself) or a property of the text.", kind="text")
    limit: int = knob(50, "How many matches are shown.", low=1, high=2000)
    around: int = knob(200, "How many tokens of the text are shown.", low=2, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs texts, and a layer that answers at each token."""
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it looks for phrases of texts, and the inputs are no tokens"
        return None if told(scene) else "it compares what a layer says at each token, and no layer does"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The phrase with its cells; then with its matches."""
        seen = self._seen(scene, selection)
        for stage in scene.derive("levels", layer=seen.layer).stream():
            if not stage.final:
                yield stage.progress
        scale, levels = float(stage.value["scale"]), stage.value["levels"]
        own = levels_of(seen.values, scale)
        if seen.span is None:
            wanted = THRESHOLD if self.threshold is None else self.threshold
            seen = dataclasses.replace(seen, span=_word(seen.tokens, lambda start, stop: len(chosen(own, start, stop, wanted, self.sharp))))
        start, stop = seen.place
        seen = dataclasses.replace(seen, threshold=self._threshold(own, start, stop))
        cells = chosen(own, start, stop, seen.threshold, self.sharp)
        if seen.example is None:
            found: Any = PhraseSearch(levels, cells, seen.threshold, stop - start, self.limit).found()
        else:
            found = scene.derive(
                "matches", layer=seen.layer, example=seen.example, span=f"{start}:{stop}", threshold=seen.threshold, sharp=self.sharp,
                limit=self.limit,
            ).value
            cells = found["cells"]
        yield self._drawn(scene, selection, seen, cells, scale, found)

    def _seen(self, scene: Scene, selection: Selection) -> SeenPhrase:
        good = set(told(scene))
        named = self.layer is not None or any(key.name in good for kind in ("unit", "layer") if (key := selection.one(kind)) is not None)
        layer = scene.layer(self.layer, selection, lambda one: one.name in good, wanted="layer that answers at each token").name
        layer = layer if named else legible(scene)
        if reason := misplaced(scene, layer):
            raise NotApplicable(f"{spoken(layer)} {reason}; choose a layer that answers at each token")
        current = scene.current(selection)
        values = hidden(scene, layer, current.x)[0].double().numpy()
        tokens = texts.tokens(current.shown, text_at(scene, layer))[: values.shape[1]]
        if len(tokens) != values.shape[1]:
            raise UsageError(f"{layer} answers at {values.shape[1]} places, and the text has {len(tokens)} tokens; choose another layer")
        places = [place for key in selection.all("token") for place in key.numbers if place < len(tokens)]
        span = (min(places), max(places) + 1) if places else None
        if self.span is not None:
            span = bounds(self.span, len(tokens))
        return SeenPhrase(layer, current.label, current.index, tokens, values, span)

    def _drawn(self, scene: Scene, selection: Selection, seen: SeenPhrase, cells: Any, scale: float, found: Any) -> Picture:
        start, stop = seen.place
        first = min(max(0, (start + stop - self.around) // 2), max(0, len(seen.tokens) - self.around))
        last = min(len(seen.tokens), max(stop, first + self.around))
        first = min(first, start)
        level = round(seen.threshold * 200) / 200 * scale
        on = (seen.values[cells] >= level).mean(0) if len(cells) else np.zeros(len(seen.tokens))
        marks: list[Node] = [
            Text(
                tokens=tuple(seen.tokens[first:last]), values=on[first:last] if len(cells) else None, limits=magnitude(on, 0.0, 1.0),
                characters=texts.single(seen.tokens), keys=tuple(number_key("token", k) for k in range(first, last)),
                title="The text, by the share of the cells that are on",
            ),
            _lines(seen, cells, level, (first, last), typed=self.span is not None),
        ]
        read = text_at(scene, seen.layer)
        annotation = self.annotation or next(iter(texts.kind(scene, read).annotations), "")
        if annotation:
            marks.insert(1, _annotated(scene, annotation, seen, on, (first, last)))
        phrase = _shown(seen.tokens[start:stop])
        words = f"The phrase “{phrase}” of {seen.label}, {_places(start, stop)}, in {spoken(seen.layer)}"
        lower = self._lower(seen, cells, scale)
        if len(cells):
            marks.append(_table(scene, found, annotation, read))
            verb = "is" if len(cells) == 1 else "are"
            words += f": {len(cells)} of {len(seen.values)} cells {verb} on, at {level:.3g} or more, through all of it. "
            words += "The table holds the stretches over which the same cells are on together, most cells first."
            words += _shared(scene, found, annotation, read) if annotation else ""
            words += f" So few tell little of a phrase: at a threshold of {lower:.3g}, {FEW} are on." if lower else ""
        else:
            words += f": no cell is at {level:.3g} or more through all of it. Lower the threshold"
            words += f" (at {lower:.3g}, {FEW} are on), or choose a shorter phrase." if lower else ", or choose a shorter phrase."
        note = f"tokens {first} to {last - 1} of {len(seen.tokens)}" if last - first < len(seen.tokens) else ""
        hint = "" if self.span is None else "The phrase stands under “span”: empty it to choose one by its tokens."
        return self.picture(scene, selection, f"Where the cells of “{phrase}” are on", Group(children=tuple(marks)), words, note=note, hint=hint)

    def _threshold(self, own: Levels, start: int, stop: int) -> float:
        """What was asked for; else the usual one, or where fewer cells are on the one at which some more are, so that a phrase has matches."""
        if self.threshold is not None:
            return self.threshold
        if self.sharp or len(chosen(own, start, stop, THRESHOLD, False)) >= FEW:
            return THRESHOLD
        found = reached(own, start, stop, FEW)
        return THRESHOLD if math.isnan(found) else min(found, THRESHOLD)

    def _lower(self, seen: SeenPhrase, cells: Any, scale: float) -> float:
        """The threshold at which some more cells are on; 0 where enough are, or none is."""
        if len(cells) >= FEW or self.sharp:
            return 0.0
        found = reached(levels_of(seen.values, scale), *seen.place, FEW)
        return found if found < seen.threshold else 0.0


@dataclasses.dataclass(frozen=True)
class SeenPhrase:
    """A text, what a layer says along it, and the phrase."""

    layer: str
    label: str
    example: int | None
    tokens: list[str]
    values: NDArray[np.float64]
    """(cells, tokens)."""
    span: tuple[int, int] | None
    """None where nobody chose one."""
    threshold: float = THRESHOLD

    @property
    def place(self) -> tuple[int, int]:
        """The phrase, once there is one."""
        if self.span is None:
            raise UsageError("no phrase was chosen")
        return self.span


def _word(tokens: list[str], on: Callable[[int, int], int]) -> tuple[int, int]:
    """The first word from the middle of a text on through which some cells are ``on``; where there is none, as in a text without blanks, a stretch
    of three tokens, two or one; else the word with most, or the token there.

    What fills a text up is none of it.
    """
    own = [k for k, token in enumerate(tokens) if not pads(token)] or list(range(len(tokens)))
    middle = (own[0] + own[-1] + 1) // 2
    words = [word for begin, end in ((middle, own[-1] + 1), (own[0], middle)) for word in _words(tokens, begin, end)]
    counts = [on(*word) for word in words]
    enough = next((word for word, count in zip(words, counts, strict=True) if count >= FEW), None)
    if enough is not None:
        return enough
    if not max(counts, default=0):
        short = [(start, start + long) for long in (3, 2, 1) for start in range(middle, min(middle + STRETCHES, own[-1] + 2 - long))]
        best = max(short, key=lambda stretch: min(on(*stretch), FEW), default=None)  # the longest of those at which enough are on
        return best if best is not None and on(*best) else words[0] if words else (middle, middle + 1)
    return words[counts.index(max(counts))] if words else (middle, middle + 1)


def _words(tokens: list[str], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The words of more than two letters that begin in a part of a text."""
    for start in range(begin, end):
        if tokens[start].isalpha() and (not start or not tokens[start - 1].isalpha()):
            stop = start
            while stop < len(tokens) and tokens[stop].isalpha() and texts.single(tokens[start : stop + 1]):
                stop += 1
            if stop - start > 2:
                yield start, stop


def _places(start: int, stop: int) -> str:
    """Where a phrase stands, in words."""
    return f"token {start}" if stop == start + 1 else f"tokens {start} to {stop - 1}"


def _shown(tokens: list[str]) -> str:
    """A phrase on one line, its middle left out where it is long."""
    text = "".join(tokens) if texts.single(tokens) else " ".join(token.strip() or token for token in tokens)
    text = text.replace("\n", "↵").replace("\t", "⇥")
    return text if len(text) <= 40 else f"{text[:20]}…{text[-19:]}"


def _lines(seen: SeenPhrase, cells: Any, level: float, part: tuple[int, int], *, typed: bool) -> Lines:
    """What the cells say along the text: the chosen in colour, some others faint, and the threshold.

    A brush chooses tokens, as the text does; where the span is typed it moves that.
    """
    first, last = part
    x = np.arange(first, last, dtype=float)
    strong = sorted(cells.tolist(), key=lambda cell: -float(np.nan_to_num(seen.values[cell, seen.place[0] : seen.place[1]]).mean()))[:COLOURED]
    others = [cell for cell in range(len(seen.values)) if cell not in set(cells.tolist())][:FAINT]
    # The others are the ground behind the threshold, and bear its name and colour: forty names would hide the chosen ones.
    series = [Series(name="threshold", x=x, y=seen.values[cell, first:last], faint=True, colour=8) for cell in others]
    series += [Series(name=f"cell {cell}", x=x, y=seen.values[cell, first:last], colour=k) for k, cell in enumerate(strong)]
    series.append(Series(name="threshold", x=np.array([first, last - 1.0]), y=np.array([level, level]), dash=True, colour=8))
    title = f"Cells along the text: {len(strong)} of the {len(cells)} chosen" if len(cells) > len(strong) else "Cells along the text"
    return Lines(
        series=tuple(series), x_title="token", x_kind="number", y_title="value", title=title, height=200,
        x_key="token",
        handle=Handle(knob="span", kind="range", low=float(first), high=float(last), value=f"{seen.place[0]}:{seen.place[1]}") if typed else None,
    )


def _annotated(scene: Scene, name: str, seen: SeenPhrase, on: Any, part: tuple[int, int]) -> Text:
    """What an annotation tells of the text, a word for each stretch, coloured as the text is."""
    first, last = part
    told = texts.stretches(texts.annotated(scene, name, seen.tokens, text_at(scene, seen.layer))[first:last])
    values = np.array([on[first + start : first + stop].mean() for _, start, stop in told])
    return Text(
        tokens=tuple(f"{word} " for word, _, _ in told), values=values, limits=magnitude(on, 0.0, 1.0),
        title=f"{name}, stretch by stretch",
        keys=tuple(str(Key("token", "", tuple(dict.fromkeys((first + start, first + stop - 1))))) for _, start, stop in told),
    )


def _read(scene: Scene, found: Any, name: str) -> dict[int, list[str]]:
    """The texts in which matches lie, token by token; of several that of a name."""
    return {example: texts.tokens(_one(scene.examples.shown([example])), name) for example in dict.fromkeys(found["example"].tolist())}


def _shared(scene: Scene, found: Any, name: str, read: str) -> str:
    """Which word an annotation has more often in the matches than in the texts around them, by the difference of shares."""
    inside: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    told = {example: texts.annotated(scene, name, tokens, read) for example, tokens in _read(scene, found, read).items()}
    for words in told.values():
        whole.update(words)
    for example, start, end in zip(found["example"].tolist(), found["start"].tolist(), found["end"].tolist(), strict=True):
        inside.update(told[example][start:end])
    if not inside:
        return ""
    share = {word: (count / inside.total(), whole[word] / whole.total()) for word, count in inside.items()}
    word, (here, all_over) = max(share.items(), key=lambda item: item[1][0] - item[1][1])
    return (
        f" {percent(here)} of the tokens of matches bear “{word}” ({name}), as do {percent(all_over)} of those of the texts in which they lie."
    )


def _table(scene: Scene, found: Any, annotation: str, read: str) -> Table:
    """The matches with what stands around them."""
    rows, shown, told = [], _read(scene, found, read), []
    for example, start, end in zip(found["example"].tolist(), found["start"].tolist(), found["end"].tolist(), strict=True):
        tokens = shown[example]
        if annotation:
            told.append(" ".join(word for word, _, _ in texts.stretches(texts.annotated(scene, annotation, tokens, read)[start:end])))
        rows.append((_joined(tokens[max(0, start - NEAR) : start]), _blanks(_joined(tokens[start:end])), _joined(tokens[end : end + NEAR])))
    columns = (
        Column(name="cells on", kind="share", numbers=found["score"].astype(float), note="the share of the chosen cells that are on together"),
        Column(name="before", kind="text", texts=tuple(row[0] for row in rows)),
        Column(name="match", kind="text", texts=tuple(row[1] for row in rows)),
        Column(name="after", kind="text", texts=tuple(row[2] for row in rows)),
        *((Column(name=annotation, kind="text", texts=tuple(told), note="what it tells of the match, stretch by stretch"),) if annotation else ()),
        Column(name="example", numbers=found["example"].astype(float)),
        Column(name="token", numbers=found["start"].astype(float)),
        Column(name="length", numbers=(found["end"] - found["start"]).astype(float)),
    )
    return Table(columns=columns, row_keys=tuple(number_key("example", k) for k in found["example"].tolist()), title="Matches")


def _one(shown: Any) -> Any:
    return {name: part[0] for name, part in shown.items()} if isinstance(shown, dict) else shown[0]


def _joined(tokens: list[str]) -> str:
    text = "".join(tokens) if texts.single(tokens) else " ".join(tokens)
    return text.replace("\n", "↵").replace("\t", "⇥")


def _blanks(text: str) -> str:
    """A match with signs for the blanks at its ends, which a table would swallow."""
    inner = text.strip(" ")
    start = len(text) - len(text.lstrip(" ")) if inner else len(text)
    return "␣" * start + inner + "␣" * (len(text) - start - len(inner))
