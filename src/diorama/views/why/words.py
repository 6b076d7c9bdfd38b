"""Which words made the answer: a text coloured by what each word speaks for, and the rest of the input beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core import registry
from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob, title_of
from ...core.marks import Bars, Group, Node, Text
from ...core.numerals import percent
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...data import nesting
from ...data.kinds import Tokens
from ...data.text_places import beside as stand_beside
from ...data.text_places import ends
from ...methods.attribute import aim, attributions
from ...methods.attribution_picture import doubted, missed, on_one_scale, silent
from ...methods.baseline import measured_from, slight, slight_note
from ...methods.method import Attribution, Look
from ...model.capture import Capture
from ...model.targets import Target, called
from ...scene import Scene
from ...scene.input import CurrentInput, ending, text_input
from ...scene.layer_text import in_place, text_at
from .. import answers
from ..view import View
from ._other_parts import other_parts, plain_pictures, shares
from ._question import looking
from ._word import Word, grouped
from ._word_row import ReadText, listed, other_texts, table

TOP = 3
DRAWS = 8
"""The check hides so many random choices of words."""


class WordsView(View):
    """Which words made this answer: each coloured by how much it speaks for or against, and listed with its value.

    *Meaning* blue words speak for the chosen answer, orange ones against it; where a network writes on, the words
    before a token are coloured by how much they made that token likely (choose a token to ask about it). Tokens that
    are parts of a word are put together, and their values added. What else the network takes, such as a picture that a
    question is about, is coloured by the same method below the words, and once more by a second method beside it.
    *Units* those of the score, for methods whose values sum to it; else the method's own.
    *Error* the check replaces the embeddings of the strongest tenth of the words by zeros, and for comparison those of
    random others: the answer's score should fall much further. Methods disagree; look at more than one.
    *Cost* the method's, the second one's, and eleven forward passes for the check.
    *Source* Arras et al. 2017, "What is relevant in a text document?"; with pictures Goyal et al. 2016.
    """

    title = "Words"
    question = "Which words made this answer?"
    family = "features"
    papers = ("Arras et al. 2017, doi:10.1371/journal.pone.0181142", "Li et al. 2016, arXiv:1506.01066", "Goyal et al. 2016, arXiv:1608.08974")
    rows = ("A17", "A22")
    follows = ("example", "class", "token")
    input = True
    demo = "topics"

    method: str = knob(
        "auto", "The method that says how much each word matters; auto takes integrated gradients, and for a network that "
        "writes on input × gradient, as integrals along long texts are rough; where no gradient leads back, or a text without words has "
        "nearly the same score, occlusion.",
        choices=lambda: ("auto", *sorted(registry.methods)), main=True,
    )
    group: str = knob(
        "auto", "Colour words, or single tokens; auto takes tokens where the network writes on, else words.",
        choices=("auto", "words", "tokens"), main=True,
    )
    beside: str = knob(
        "auto", "A second method, whose words and pictures stand beside those of the first; auto takes occlusion where the network "
        "takes more than a text.", choices=lambda: ("auto", "none", *sorted(registry.methods)),
    )
    place: int | None = knob(
        None, "For a network that writes on: the token that is explained; the chosen one, or the one that comes next. Of tags and "
        "translations: the place.", kind="integer", low=0,
    )
    listed: int = knob(10, "How many words each list holds.", low=1, high=100)
    limit: int = knob(600, "The most tokens that are shown.", low=1, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs tokens, and an answer to explain."""
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it colours the words of a text, and the inputs are no tokens; use the view attribution"
        return None if scene.task else "what the network answers is not known; say it with task="

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """A picture for each refinement of the method, then the check."""
        current = scene.current(selection)
        look = looking(scene, current)
        scores = look.scores(current.x).cpu()
        asked = self._asked(scene, selection, current, look, scores)
        found: Attribution | None = None
        for found in self._attributed(scene, look, current, asked):
            if np.nan_to_num(_values(scene, current, found)[asked.until :]).any():
                # A network that reads both ways has heard what comes later too.
                asked = dataclasses.replace(asked, until=len(_ids(scene, current)))
            yield self._picture(scene, selection, current, scores, asked, found, None, final=False)
        if found is None:
            raise NotApplicable(f"{title_of(registry.methods[self.method])} gave no values")
        second, missing = self._second(scene, look, current, asked, found)
        yield Progress(done=1, total=2, note="hiding words")
        check = _hidden(scene, look, current, asked, found, self._words(scene, current, asked, found))
        yield self._picture(scene, selection, current, scores, asked, found, check, second, missing, final=True)

    def _attributed(self, scene: Scene, look: Look, current: CurrentInput, asked: ExplainedTarget) -> Iterator[Attribution]:
        """By the method; by itself a quick one, or occlusion where no gradient leads back to the words."""
        name, instead = self.method, ""
        if name == "auto":
            name = "input_x_gradient" if scene.task == "next_token" else "integrated_gradients"
            try:
                *_, found = attributions(look, current.x, asked.target, registry.methods[name]())
                if not slight(found):
                    yield found
                    return
                one = slight_note(found, advice=False)
                name, instead = "occlusion", f"{title_of(registry.methods[name])} would explain next to nothing here: {one[0].lower()}{one[1:]}"
            except NotApplicable:
                name = "occlusion"
        for found in attributions(look, current.x, asked.target, registry.methods[name]()):
            yield dataclasses.replace(found, note=" ".join(filter(None, (found.note, instead))))

    def _second(
        self, scene: Scene, look: Look, current: CurrentInput, asked: ExplainedTarget, found: Attribution
    ) -> tuple[Attribution | None, str]:
        """What the second method says; where it does not fit, why not."""
        name = self.beside if self.beside != "auto" else "occlusion" if len(scene.kinds) - len(stand_beside(scene.kinds)) > 1 else "none"
        if name in ("none", found.method):
            return None, ""
        try:
            *_, second = attributions(look, current.x, asked.target, registry.methods[name]())
        except (NotApplicable, UsageError) as error:
            return None, f"{title_of(registry.methods[name])} is not shown beside: {error}."
        return second, ""

    def _asked(
        self, scene: Scene, selection: Selection, current: CurrentInput, look: Look, scores: Tensor
    ) -> ExplainedTarget:
        ids = _ids(scene, current)
        chosen = selection.one("class")
        if scene.task != "next_token":
            number = chosen.number if chosen is not None else None
            at = (*ends(scene.kind, current.x, scores.shape[1]), -1)[0] if scores.ndim == 3 else None
            flat = scores.reshape(1, -1) if scores.ndim < 3 else scores[:, -1 if at is None else at]
            if number is None:
                number = 0 if scene.task == "regression" else int(_best(scene, flat))
            if number >= max(2, flat.shape[1]):
                raise UsageError(f"the model has answers 0 to {flat.shape[1] - 1}, got {number}")
            if scene.task == "regression":
                return ExplainedTarget(_output(look, number, at), "the answer" if flat.shape[1] == 1 else f"output {number}", len(ids))
            name = called(number, scene.classes, scene.task)
            return ExplainedTarget(aim(look, current.x, number), name if chosen is not None else _known(flat, name), len(ids))
        end = ending(scene, current.x)
        length = len(ids) if end is None else end + 1
        if in_place(scene):
            return self._tag(scene, selection, look, scores, length, scores.shape[1])
        own = scene.live.y is not None and scene.live.y.ndim == 2 and scene.live.y.shape[1] == scores.shape[1] != len(ids)
        if own or text_at(scene) not in ("", _name(scene)):
            # A translator's answer has places of its own: what stands there is none of the tokens that it read.
            other = Selection(tuple(key for key in selection.a if key.kind != "token"), selection.b)
            return self._tag(scene, other, look, scores, scores.shape[1] if end is None else end + 1, len(ids))
        place = self._place(selection, length, min(len(ids), scores.shape[1]))
        row = scores[0, place - 1]
        follows = scores.shape[1] == len(ids) and place not in (length, len(ids))
        number = chosen.number if chosen is not None else ids[place] if follows else int(row.nan_to_num(0).argmax())
        if number >= scores.shape[-1]:
            raise UsageError(f"the model knows tokens 0 to {scores.shape[-1] - 1}, got {number}")
        name = answers.token(scene, number)
        return ExplainedTarget(_next(look, place - 1, number), name if chosen is not None or follows else _known(row, name), place, place)

    def _tag(self, scene: Scene, selection: Selection, look: Look, scores: Tensor, length: int, until: int) -> ExplainedTarget:
        """What is answered at a token itself, or at a place of a translation, for which every word of the text may speak."""
        key, chosen = selection.one("token"), selection.one("class")
        place = min(max(0, self.place if self.place is not None else key.number if key is not None else length - 1), scores.shape[1] - 1)
        number = chosen.number if chosen is not None else int(scores[0, place].nan_to_num(0).argmax())
        if number >= scores.shape[-1]:
            raise UsageError(f"the model has answers 0 to {scores.shape[-1] - 1}, got {number}")
        name = answers.token(scene, number)
        name = name if chosen is not None else _known(scores[0, place], name)
        return ExplainedTarget(_next(look, place, number), name, until, place + 1, tag=True)

    def _place(self, selection: Selection, length: int, last: int) -> int:
        key = selection.one("token")
        place = self.place if self.place is not None else key.number if key is not None else length
        # Nothing comes before the first token.
        return min(max(1, place), last)

    def _words(self, scene: Scene, current: CurrentInput, asked: ExplainedTarget, found: Attribution) -> list[Word]:
        kind = _kind(scene)
        tokens = [kind.token(number) for number in _ids(scene, current)]
        return grouped(tokens, _values(scene, current, found), None if self._single(scene) else kind)

    def _single(self, scene: Scene) -> bool:
        return self.group == "tokens" or (self.group == "auto" and scene.task == "next_token")

    def _picture(
        self, scene: Scene, selection: Selection, current: CurrentInput, scores: Tensor, asked: ExplainedTarget, found: Attribution,
        check: tuple[float, float, float] | None, second: Attribution | None = None, missing: str = "", *, final: bool,
    ) -> Picture:
        words = self._words(scene, current, asked, found)
        before = [word for word in words if word.first < asked.until]
        values = np.array([word.value for word in before])
        limits = symmetric(values) if found.signed else magnitude(values)
        shown, cut = self._shown(scene, current, words, asked, found, limits)
        single = self._single(scene)
        trusted = second if second is not None and doubted(found) and not doubted(second) else found
        lists = self._lists(scene, current, asked, trusted, told=trusted is not found)
        top = _top(scene, scores, asked)
        if second is not None:
            again = self._words(scene, current, asked, second)
            spread = np.array([word.value for word in again if word.first < asked.until])
            twin, _ = self._shown(scene, current, again, asked, second, symmetric(spread) if second.signed else magnitude(spread))
            both = ((shown, found), (twin, second))
            columns = [msgspec.structs.replace(one, title=title_of(registry.methods[by.method])) for one, by in both]
            shown = Group(children=(*columns, *plain_pictures(scene, current)), direction="row")
        body = Group(children=(shown, Group(children=(top, *lists), direction="row")))
        note = " ".join(part for part in (found.note, cut, missing) if part)
        return self.picture(
            scene, selection, f"Which {'tokens' if single else 'words'} made {asked.name if asked.name == NO_ANSWER else f'“{asked.name}”'}?", body,
            _caption(scene, current, asked, found, second, self._texts(scene, current, asked, found), "token" if single else "word"),
            checks=_checks(found, check), note=note, final=final,
        )

    def _texts(self, scene: Scene, current: CurrentInput, asked: ExplainedTarget, found: Attribution) -> list[ReadText]:
        """All texts that are read, with what a method says of their words: of the explained one those before what is asked about."""
        words = [word for word in self._words(scene, current, asked, found) if word.first < asked.until]
        own = ReadText(_name(scene), words, _kind(scene), keyed=True)
        return [own, *other_texts(scene, current, found, own.name, single=self._single(scene))]

    def _lists(self, scene: Scene, current: CurrentInput, asked: ExplainedTarget, found: Attribution, *, told: bool) -> list[Node]:
        """The words of all texts that speak most for the answer, and most against it; ``told``: by which method."""
        read, single = self._texts(scene, current, asked, found), self._single(scene)
        speaks = f"Speak most for {asked.name}" if found.signed else f"Matter most for {asked.name}"
        against = f"Speak most against {asked.name}" if found.signed else "Matter least"
        by = f", by {title_of(registry.methods[found.method])}" if told else ""
        rows = [listed(read, self.listed, single=single, signed=found.signed, least=least) for least in (False, True)]
        return [table(some, f"{title}{by}", several=len(read) > 1) for some, title in zip(rows, (speaks, against), strict=True) if some]

    def _shown(
        self, scene: Scene, current: CurrentInput, words: Sequence[Word], asked: ExplainedTarget, found: Attribution, limits: Limits
    ) -> tuple[Text | Group, str]:
        """The text with what else the network takes below it, and what of the text is cut."""
        text, cut = self._text(scene, words, asked, limits, pale=doubted(found))
        others = other_parts(scene, current, found, _name(scene))
        return Group(children=on_one_scale((text, *others))) if others else text, cut

    def _text(
        self, scene: Scene, words: Sequence[Word], asked: ExplainedTarget, limits: Limits, *, pale: bool
    ) -> tuple[Text, str]:
        tokens = [word.text for word in words]
        told = [(word.value, word.first) for word in words]
        keys = [number_key("token", *dict.fromkeys((word.first, word.last))) for word in words]
        if asked.place is not None and not asked.tag and asked.place >= words[-1].last + 1:
            # One place more, for what is expected after the end.
            tokens, told = [*tokens, f"→ {asked.name}"], [*told, (0.0, asked.until)]
            keys = [*keys, number_key("token", asked.place)]
        behind = next((k for k, word in enumerate(words) if word.first >= asked.until), len(tokens))
        # The words before what is asked about, and a few behind it.
        stop = min(len(tokens), max(behind + 20, self.limit))
        start = max(0, stop - self.limit)
        cut = f"{stop - start} of {len(tokens)} words or tokens shown." if stop - start < len(tokens) else ""
        # Words behind what is asked about have no say in it.
        shown = np.array([value if word_first < asked.until else 0.0 for value, word_first in told[start:stop]])
        single = all(len(word.text) <= 1 for word in words)
        text = Text(
            tokens=tuple(tokens[start:stop]), values=shown, limits=limits, keys=tuple(keys[start:stop]),
            characters=single and scene.task == "next_token", doubted=pale,
        )
        return text, cut


NO_ANSWER = "an answer"
"""What is explained where scores are no numbers, of which none is the largest."""


def _known(scores: Tensor, name: str) -> str:
    """What the largest of some scores is called; an answer, where none is a number."""
    return name if bool(scores.isfinite().any()) else NO_ANSWER


@dataclasses.dataclass(frozen=True)
class ExplainedTarget:
    """What is explained: a target, what to call it, and before which token it is decided."""

    target: Target
    name: str
    until: int
    place: int | None = None
    """Of a network that writes on: the token that is explained; of one that tags tokens or translates, one more."""
    tag: bool = False


def _kind(scene: Scene) -> Tokens:
    kind = scene.kinds[_name(scene)]
    assert isinstance(kind, Tokens)
    return kind


def _name(scene: Scene) -> str:
    """The name of the part of an input that holds the tokens: the text, and no mask that comes before it."""
    found = text_input(scene.kind)
    return found[0] if found is not None else next(name for name, kind in scene.kinds.items() if isinstance(kind, Tokens))


def _part(scene: Scene, x: nesting.Nested) -> Tensor:
    found = nesting.named(x)[_name(scene)]
    assert isinstance(found, Tensor)
    return found


def _ids(scene: Scene, current: CurrentInput) -> list[int]:
    return [int(number) for number in _part(scene, current.x)[0].reshape(-1)]


def _values(scene: Scene, current: CurrentInput, found: Attribution) -> NDArray[np.float64]:
    values = _part(scene, found.values)[0].detach().double().cpu().reshape(-1).numpy()
    return np.asarray(values, np.float64)


def _best(scene: Scene, scores: Tensor) -> int:
    if scene.task == "multi_label":
        return int(scores[0].nan_to_num(0).argmax())
    return int(scene.reading.predictions(scores).reshape(-1)[0])


def _output(look: Look, number: int, at: int | None) -> Target:
    """One of the numbers that are answered, of those at each token ``at`` one of these."""

    def take(output: Any, kept: Capture) -> Tensor:
        scores = look.reading.scores(output)
        scores = scores if at is None or scores.ndim != 3 else scores[:, at]
        return scores.reshape(len(scores), -1)[:, number]

    return Target("the answer", (), take)


def _next(look: Look, row: int, number: int) -> Target:
    """The score of a token at one place of the output."""

    def take(output: Any, kept: Capture) -> Tensor:
        return look.reading.scores(output)[:, row, number]

    return Target(f"token {number} after place {row}", (), take)


def _top(scene: Scene, scores: Tensor, asked: ExplainedTarget) -> Bars:
    """The likeliest answers with their scores."""
    if scene.task == "regression":
        return answers.bars(scene, scores)
    row = scores[0, asked.place - 1] if asked.place is not None else scores[0]
    chance = scene.reading.probabilities(row[None, None] if asked.place is not None else row[None]).reshape(-1)
    count = min(TOP, len(chance))
    order = [int(k) for k in chance.nan_to_num(0).argsort(descending=True, stable=True)[:count]]
    name = (lambda k: answers.token(scene, k)) if asked.place is not None else (lambda k: scene.classes[k])
    plain = row.reshape(-1)
    notes = tuple(f"score {float(plain[k]):.3g}" for k in order) if len(plain) == len(chance) else ()
    return Bars(
        values=chance[order].double().numpy(), labels=tuple(name(k) for k in order),
        keys=tuple(number_key("class", k) for k in order), colours=() if asked.place is not None else tuple(order),
        limits=magnitude(chance.numpy(), 0, 1, "probability"), unit="probability", notes=notes,
        strong=order.index(next((k for k in order if name(k) == asked.name), order[0])), title=f"Likeliest {count}",
    )


def _hidden(
    scene: Scene, look: Look, current: CurrentInput, asked: ExplainedTarget, found: Attribution, words: Sequence[Word]
) -> tuple[float, float, float] | None:
    """How far the target falls when the embeddings of the words that speak most for it are zeros, and random ones.

    The fall, the mean of the random falls, and the largest of them; None where the text is short, or its embeddings are not to be had.
    """
    x = current.x
    before = [word for word in words if word.first < asked.until]
    names = list(nesting.named(x))
    if look.function or len(before) < 4:
        return None
    try:
        points = [point.detach() for point in look.points(x)]
    except NotApplicable:
        return None
    if len(points) != len(names):
        return None
    values = np.nan_to_num(np.array([word.value for word in before]))
    count = max(1, round(len(before) / 10))
    generator = np.random.default_rng(0)
    order = np.argsort(-values, kind="stable")
    chosen = [order[:count], *(generator.choice(order[count:], count, replace=False) for _ in range(DRAWS))]
    every = [point.repeat(1 + len(chosen), *[1] * (point.ndim - 1)) for point in points]
    rows = every[names.index(_name(scene))]
    for k, places in enumerate(chosen):
        for place in places:
            rows[k + 1, before[place].first : before[place].last + 1] = 0
    whole = look.run(nesting.select(x, [0] * len(rows)), asked.target, every).value.detach().double().cpu()
    falls = (whole[0] - whole[1:]).numpy()
    return float(falls[0]), float(falls[1:].mean()), float(falls[1:].max())


def _checks(found: Attribution, hidden: tuple[float, float, float] | None) -> tuple[Check, ...]:
    made = []
    gap = found.checks.get("completeness")
    if gap is not None and np.isfinite(gap):
        made.append(Check(
            name="completeness", value=gap, good=None if slight(found) else gap < 0.05,
            sentence="The gap between the sum of all values and what they should sum to, as a share of it.",
        ))
    if hidden is not None and all(np.isfinite(hidden)):
        fall, random, most = hidden
        made.append(Check(
            name="hiding the strongest tenth", value=fall, good=fall > most,
            sentence=f"How far the score falls without the words that speak most for it; without as many random others {random:.3g} "
            f"on the average, {most:.3g} at most.",
        ))
    return tuple(made)


def _caption(
    scene: Scene, current: CurrentInput, asked: ExplainedTarget, found: Attribution, second: Attribution | None, read: Sequence[ReadText], noun: str
) -> str:
    name = title_of(registry.methods[found.method])
    others = [part for part in scene.kinds if part != _name(scene) and part not in silent(found)]
    also = f", and what else it is given ({', '.join(others)})," if others else ""
    what = f"Each {noun} of {current.label}{also} is coloured by what it says for (blue) or against (orange) {asked.name}"
    if not found.signed:
        what = f"Each {noun} of {current.label}{also} is the brighter the more it matters for {asked.name}"
    if asked.place is not None:
        what += f", its answer at place {asked.place - 1}" if asked.tag else f", the token at place {asked.place}"
    said = f"{what}, by {name}{measured_from(found)}{'' if second is None else f', beside it by {title_of(registry.methods[second.method])}'}. "
    values = np.array([word.value for text in read for word in text.words])
    if others and "completeness" in found.checks and found.summed is None and (parts := shares(scene, found)):
        said += "Of all that is said, " + ", ".join(f"{percent(share)} is said by {part}" for part, share in parts.items()) + ". "
    elif not doubted(found) and found.signed and np.isfinite(values).all() and np.abs(values).sum() > 0:
        of = "" if len(read) > len(others) else " of the words"
        said += f"{100 * values[values > 0].sum() / np.abs(values).sum():.0f} % of all that is said{of} speaks for it. "
    if missed(found):
        other = second is not None and not doubted(second)
        lists = f", and the lists are those of {title_of(registry.methods[second.method])}" if second and other else ", and the lists follow it"
        said += f"What {name} says is doubted here, as the checks tell: it is drawn pale{lists}. "
    return said + ("The lists put all occurrences of a word together." if noun == "word" else "The lists show tokens where they stand.")
