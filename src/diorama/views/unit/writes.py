"""What a network writes, from noise to language: samples at moments of its training, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Alternative, Bars, Group, Node, Roll, Text
from ...core.numerals import joined, percent
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken
from ...data.kinds import Tokens
from ...data.melodies import is_mark
from ...data.nesting import each, named
from ...data.text_places import last_asked, worded
from ...derive.labels import role
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.layer_text import answered_text, answers_on, source_texts, tags
from ...scene.made_text import WrittenText, WrittenToken, writing
from ...scene.states import told
from .. import answers, melodies, texts
from ..samples import noted
from ..view import View

GUESSES = 5


class WritesView(View):
    """What the network writes by itself, symbol by symbol, at several moments of its training side by side.

    *Meaning* every symbol is drawn with the probabilities that the network gives, then read before the next one is drawn. The brighter a
    symbol, the likelier the network held it; where a unit is chosen, its value at that place colours it instead. Below each stands what
    was likeliest there; choose a symbol to see its chances as bars. Melodies stand as rolls and can be heard. A low temperature makes the
    network repeat what it is surest of, a high one makes it daring. It goes on with ``prime``, with a text that you type, or with the
    beginning of the chosen example; a network that reads a source beside what it says writes a translation of the example's source.
    *Units* probabilities.
    *Error* one sample is one draw of luck: look at more seeds before you judge. All moments have the same luck.
    *Cost* one forward pass a symbol and moment, of at most as many symbols as the examples have.
    *Source* Graves 2013; Karpathy, Johnson & Fei-Fei 2015.
    """

    title = "Writes"
    question = "What does the network write, and how did it learn to?"
    family = "process"
    papers = ("Graves 2013, arXiv:1308.0850", "Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078")
    rows = ("D6", "A4")
    follows = ("example", "unit", "token")
    input = True
    demo = "text"

    temperature: float = knob(0.7, "Below 1 surer, above it more daring; 0 always writes the likeliest symbol.", low=0.0, high=5.0, main=True)
    prime: str = knob("", "The text that it goes on with; the chosen example's beginning, or what you typed, when left empty.", main=True)
    length: int = knob(160, "How many symbols it writes.", low=1, high=2000)
    count: int = knob(6, "How many moments of the training are set side by side.", low=1, high=40)
    begin: int = knob(12, "With so many symbols of the example it begins, where no text is given.", low=1, high=1000)
    seed: int = knob(0, "The luck with which symbols are drawn, the same at every moment.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs tokens, and a network that says which comes next."""
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it lets a network write, and its inputs are no tokens"
        if scene.task != "next_token":
            return f"it lets a network write, and this one does not say what comes next (its task is {scene.task or 'not known'})"
        if tags(scene):
            return "it lets a network write, and this one names a class for each token, not what comes next"
        if (found := answered_text(scene)) is None:
            return "it lets a network write on, and which of the texts that this one reads it writes is not known"
        if not answers_on(scene):
            return "it lets a network write on, and this one answers each token at its own place, not what comes next"
        read, y = named(scene.live.x)[found[0]], scene.live.y
        if y is not None and y.ndim == 2 and y.shape[1] != read.shape[1]:
            return (
                f"it lets a network write on, and this one answers at {y.shape[1]} places to {read.shape[1]} tokens: it translates all at once; "
                "the view answer shows what it says"
            )
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """This moment first, symbol by symbol; then the others, the oldest first."""
        current = scene.current(selection)
        unit = _unit(scene, selection)
        found: dict[int | None, WrittenText] = {}
        moments: list[int | None] = [scene.step, *(step for step in self._moments(scene) if step != scene.step)]
        for number, step in enumerate(moments):
            at = scene if step == scene.step else scene.at(int(step or 0))
            for found[step] in self._written(at, current, unit):
                yield Draft(lambda: self._picture(scene, selection, current, unit, found, final=False))
            if len(moments) > 1:
                yield Progress(done=number + 1, total=len(moments), note="moments of the training")
            yield self._picture(scene, selection, current, unit, found, final=number + 1 == len(moments))

    def _moments(self, scene: Scene) -> list[int]:
        """Snapshots from the first to the last, closer together early on, where more is learnt."""
        steps = scene.steps
        if not steps or scene.step is None:
            return []
        wanted = np.geomspace(1, 1 + steps[-1] - steps[0], self.count) - 1 + steps[0]
        near = [min(steps, key=lambda step: abs(step - one)) for one in wanted]
        return sorted(set(near))

    def _written(self, scene: Scene, current: CurrentInput, unit: Key | None) -> Iterator[WrittenText]:
        """What a moment writes; the whole at once where it was written before."""
        name, kind = answered_text(scene) or ("", texts.kind(scene))
        ids = named(current.x)[name]
        words = worded(scene.kind, current.x, name) if ids.ndim == 2 else None
        inside = slice(None) if words is None else slice(int(words[0].long().argmax()), words.shape[1] - int(words[0].flip(0).long().argmax()))
        # Padding is no beginning; what has a number for each token, such as a mask, begins with the text too.
        others = [named(current.x)[one] for one in source_texts(scene, name)]
        goes = [part for part in named(current.x).values() if part.shape[:2] == ids.shape and not any(part is other for other in others)]
        like = each(current.x, lambda part: part[:, inside] if ids.ndim == 2 and any(part is one for one in goes) else part)
        # A text that says its end is written on where it is asked for its last word: behind its end nothing was learnt.
        asked = last_asked(scene.kind, current.x, name) if ids.ndim == 2 else None
        whole = [int(number) for number in ids[0].reshape(-1).tolist()][inside.start : inside.stop if asked is None else int(asked[0]) + 1]
        # A translation begins with its first symbol alone, which says no more than that one is wanted.
        begin = 1 if others and current.index is not None else self.begin
        first = kind.encode(self.prime)[0].tolist() if self.prime else whole if current.index is None and not others else whole[:begin]
        window = max(int(kind.length or ids[0].numel()), 1)
        size = scene.reading.width(scene.scores(current.x)) if not scene.classes else len(scene.classes)
        ends: frozenset[int] = scene.keep(f"writes/ends/{size}", lambda: _ends(kind, size, melodies.sounds(scene)))
        layer = unit.name if unit is not None else ""
        source = tuple(tuple(other.reshape(-1).tolist()) for other in others)
        key = f"writes/{scene.step}/{scene.edits!r}/{source}/{first}/{self.temperature}/{self.length}/{self.seed}/{layer}"
        memory = scene.keep("writes", _WrittenTexts) if scene.step in scene.steps and scene.moved is None else scene.once("writes", _WrittenTexts)
        if key in memory.texts:
            yield memory.texts[key]
            return
        text: WrittenText | None = None
        # What is said is read whole from its beginning on, so that it ends where those of the examples do.
        most = min(self.length, max(1, window - len(first) + 1)) if others else self.length
        for text in writing(
            scene, like, name, tuple(first), length=most, window=window, temperature=self.temperature, seed=self.seed, layer=layer, ends=ends,
        ):
            yield text
        if text is not None:
            memory.put(key, text)

    def _picture(
        self, scene: Scene, selection: Selection, current: CurrentInput, unit: Key | None, found: dict[int | None, WrittenText], *, final: bool,
    ) -> Picture:
        own = found[scene.step]
        name, kind = answered_text(scene) or ("", texts.kind(scene))
        chosen = self._chosen(selection, own)
        marks: list[Node] = [self._text(scene, own, unit)]
        heard, pitches = melodies.sounds(scene), melodies.span([_words(kind, text) for text in found.values()])
        if heard:
            marks.insert(0, self._roll(scene, own, unit, scene.step, pitches))
        if chosen is not None:
            marks.append(_bars(scene, own.places[chosen], f"What could have stood at place {len(own.begin) + chosen}", self.temperature))
        moments = sorted((step for step in found if step is not None), key=int)
        if len(moments) > 1:
            samples: list[Node] = [
                self._roll(scene, found[step], unit, step, pitches) if heard else self._sample(scene, found[step], unit, step) for step in moments
            ]
            marks.append(Group(children=tuple(samples), direction="grid"))
        before = kind.joined([kind.token(number) for number in own.begin[-40:]])
        before = before.strip() or "".join(map(texts.visible, before))
        caption = f"{len(own.places)} symbols that the network wrote behind “{before}” at temperature {self.temperature:g}."
        if unit is not None:
            caption += f" Blue where unit {unit.number} of {spoken(unit.name)} is positive when the symbol is decided, orange where it is negative."
        elif own.places:
            chances = np.array([place.chance for place in own.places])
            mean = percent(float(np.exp(np.log(chances.clip(1e-300)).mean())))
            caption += f" The brighter, the likelier the network held it: {mean} in the geometric mean."
        if len(moments) > 1:
            caption += f" Below, what it wrote at {len(moments)} steps of its training, with the same luck."
        if source := source_texts(scene, name):
            said = texts.kind(scene, source[0])
            tokens = named(current.x)[source[0]][0].reshape(-1).tolist()
            caption = f"Of “{said.joined([said.token(number) for number in tokens if not said.pads(number)])[:80].strip()}”: {caption}"
        note = noted(*self._shorter(kind, current, own, found, final=final, translates=bool(source)))
        return self.picture(scene, selection, "What the network writes", Group(children=tuple(marks)), caption, note=note, final=final)

    def _shorter(
        self, kind: Tokens, current: CurrentInput, own: WrittenText, found: dict[int | None, WrittenText], *, final: bool, translates: bool = False,
    ) -> Iterator[str]:
        """Why texts are shorter than they were asked for."""
        if any(text.broken for text in found.values()):
            yield "At some moments its scores are not numbers, so it writes nothing."
        if not self.prime and current.index is not None and len(own.begin) < self.begin and not translates:
            whole = "" if _says_its_end(kind, current) else "all "
            yield f"It begins with {whole}{len(own.begin)} symbols of the example, which are fewer than the {self.begin} asked for."
        ended = {step: text for step, text in found.items() if text.places and len(text.places) < self.length and not text.broken}
        if translates:
            stopped = [text for text in ended.values() if role(kind, text.places[-1].token) != "end"]
            if final and stopped:
                yield f"It stops after {len(stopped[0].places)} symbols: translations of the examples have no more."
            ended = {step: text for step, text in ended.items() if not any(text is one for one in stopped)}
        if final and ended:
            lasts = sorted({f"“{kind.token(text.places[-1].token)}”" for text in ended.values()})
            which = f"one of {', '.join(lasts)}" if len(lasts) > 1 else lasts[0]
            steps = [f"{step:,}" for step in sorted(step for step in ended if step is not None)]
            at = f" at step{'s' if len(steps) > 1 else ''} {joined(steps)} of the training" if steps else ""
            yield f"A text ends where {which} is drawn, as it is before {self.length} symbols{at}."

    def _chosen(self, selection: Selection, own: WrittenText) -> int | None:
        """Which written place is looked into: the chosen token's, else the last."""
        if not own.places:
            return None
        key = selection.one("token")
        at = key.number - len(own.begin) if key is not None else -1
        return at if 0 <= at < len(own.places) else len(own.places) - 1

    def _text(self, scene: Scene, own: WrittenText, unit: Key | None) -> Text:
        kind = _said(scene)
        words = tuple(kind.token(place.token) for place in own.places)
        values, limits = _values(own, unit)
        under = tuple(
            tuple(
                Alternative(texts.visible(kind.token(number)), chance)
                for number, chance in zip(place.tokens[:GUESSES], place.chances[:GUESSES], strict=True)
            )
            for place in own.places
        )
        return Text(
            tokens=words, values=values, limits=limits, alternatives=under,
            keys=tuple(number_key("token", len(own.begin) + k) for k in range(len(words))), characters=texts.single(words), title=_when(scene.step),
        )

    def _sample(self, scene: Scene, text: WrittenText, unit: Key | None, step: int) -> Text:
        kind = _said(scene)
        words = tuple(kind.token(place.token) for place in text.places)
        values, limits = _values(text, unit)
        said = f"{_when(step)} (shown above)" if step == scene.step else _when(step)
        return Text(tokens=words, values=values, limits=limits, characters=texts.single(words), title=said)


    def _roll(self, scene: Scene, text: WrittenText, unit: Key | None, step: int | None, pitches: tuple[float, float]) -> Roll:
        """What it wrote, to be heard: the notes of the beginning are the reader's, and stand in the text alone."""
        values, limits = _values(text, unit)
        words = _words(_said(scene), text)
        own = step == scene.step
        keys = tuple(number_key("token", len(text.begin) + k) for k in range(len(words))) if own else ()
        return melodies.roll(words, _when(step), values=values, limits=limits, keys=keys, pitches=pitches, height=160 if own else 110)


def _said(scene: Scene) -> Tokens:
    found = answered_text(scene)
    return found[1] if found is not None else texts.kind(scene)


class _WrittenTexts:
    """Texts that were written before, the newest few."""

    def __init__(self) -> None:
        self.texts: dict[str, WrittenText] = {}

    def put(self, key: str, text: WrittenText) -> None:
        """Keep one more; the oldest goes."""
        self.texts[key] = text
        while len(self.texts) > 120:
            del self.texts[next(iter(self.texts))]


def _ends(kind: Tokens, size: int, melodic: bool) -> frozenset[int]:
    """The tokens with which a text is over; a melody is with any mark in brackets. None where nobody says what tokens are called."""
    if kind.vocabulary is None and kind.decode_with is None:
        return frozenset()
    return frozenset(number for number in range(size) if role(kind, number) == "end" or (melodic and is_mark(kind.token(number))))


def _says_its_end(kind: Tokens, current: CurrentInput) -> bool:
    """Whether a token of an input ends a text, so that it is written on from before its last word."""
    numbers = {int(number) for part in named(current.x).values() if not part.is_floating_point() for number in part.unique()}
    return any(kind.ends(number) for number in numbers)


def _unit(scene: Scene, selection: Selection) -> Key | None:
    """The chosen unit, where its layer says something at every place."""
    key = selection.one("unit")
    if key is None or key.name not in told(scene) or scene.layers[key.name].loop:
        return None
    if key.number >= scene.layers[key.name].units:
        raise UsageError(f"{key.name} has units 0 to {scene.layers[key.name].units - 1}, got {key.number}")
    return key


def _values(text: WrittenText, unit: Key | None) -> tuple[np.ndarray, Limits]:
    """A value for each symbol that was written."""
    if unit is not None:
        values = np.array([float(place.units[unit.number]) if place.units is not None else math.nan for place in text.places])
        bounded = bool((np.abs(np.nan_to_num(values)) <= 1).all())
        return values, symmetric(values, 1.0 if bounded else None)
    values = np.array([place.chance for place in text.places])
    return values, magnitude(values, 0.0, 1.0, "probability", unit="probability")


def _words(kind: Tokens, text: WrittenText) -> list[str]:
    return [kind.token(place.token) for place in text.places]


def _bars(scene: Scene, place: WrittenToken, title: str, temperature: float) -> Bars:
    """The likeliest symbols at a place: how likely each was to be drawn, and as a tick how likely the network itself held it."""
    labels = tuple(answers.token(scene, number) for number in place.tokens)
    drawn = np.array(place.drawn)
    strong = place.tokens.index(place.token) if place.token in place.tokens else None
    return Bars(
        values=drawn, labels=labels, reference=None if temperature == 1 else np.array(place.chances), strong=strong,
        limits=magnitude(drawn, 0.0, float(np.max([drawn, place.chances])) or 1.0, "probability"), unit="probability", horizontal=False, title=title,
        caption="" if temperature == 1 else f"Bars: at temperature {temperature:g}; ticks: the network's own probabilities.",
    )


def _when(step: int | None) -> str:
    return "now" if step is None else f"step {step:,}"
