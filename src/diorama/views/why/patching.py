"""Where in a network lies what tells two inputs apart, as a map of layers and positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import symmetric
from ...core.knobs import knob
from ...core.marks import Bars, Group, Heatmap, Node, Text
from ...core.numerals import counted
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection
from ...data import nesting
from ...data.kinds import Tokens
from ...data.text_places import beside
from ...data.tokens import visible
from ...derive.derivations.patching import WHERE, Pair, spots
from ...derive.streams import residual_stream, without_stream
from ...scene import Scene
from ...scene.input import endings
from .. import answers
from ..view import View
from ._positions import Positions, asked_of, said_at


class PatchingView(View):
    """How much of one input's answer comes back when its activations are put into another's pass, by layer and position.

    *Meaning* blue: what tells the two inputs apart is read there; a map that is blue at one word in the early layers and at the
    last position in the late ones shows where it is carried over. 1 is the answer of the clean input, 0 that of the other;
    orange moves away from it.
    *Units* shares of the difference between both answers.
    *Error* the check patches all positions of the stream at once: the other input's pass must then answer as the clean one.
    *Cost* one pass for each layer and position.
    *Source* Meng et al. 2022 (causal tracing); Wang et al. 2022.
    """

    title = "Patching"
    question = "Where does the network keep what tells two inputs apart?"
    family = "relationships"
    papers = ("Meng et al. 2022, arXiv:2202.05262", "Wang et al. 2022, arXiv:2211.00593")
    rows = ("E6",)
    follows = ("example",)
    demo = "repeats"

    corrupted: int | None = knob(
        None, "The input into whose pass activations of the chosen one are put; the second chosen one, or the most alike of those "
        "that are answered otherwise.", kind="example", main=True,
    )
    where: str = knob("stream", "The residual stream after each layer, or what each layer adds to it.", choices=WHERE, main=True)
    place: int | None = knob(None, "Of a network that writes on: the position whose answer is looked at; the last, before padding, when left open.",
                             kind="integer", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a residual stream of rows, and two examples."""
        if (reason := without_stream(scene, steps=True)) is not None:
            return reason
        return None if len(scene.live) > 1 else "it compares two inputs, and the probe set has one"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The map layer by layer, then the check."""
        clean, other = self._pair(scene, selection)
        options: dict[str, Any] = {"example": clean, "corrupted": other, "where": self.where, "place": self.place}
        pair = Pair(scene, scene.current(example=clean).x, scene.current(example=other).x, self.place)
        for stage in scene.derive("patching", **options).stream():
            if not stage.final:
                yield stage.progress
        found = stage.value
        yield self._picture(scene, selection, (clean, other), pair, found, None)
        whole = scene.derive("patching", **{**options, "where": "stream"}, positions="all").value
        yield self._picture(scene, selection, (clean, other), pair, found, whole)

    def _pair(self, scene: Scene, selection: Selection) -> tuple[int, int]:
        """The two examples: chosen or named, else the first, and the most alike of those that are answered otherwise."""
        chosen = [key.number for key in selection.all("example")]
        clean = chosen[0] if chosen else 0
        if self.corrupted is not None:
            return clean, self.corrupted
        if len(chosen) > 1 and chosen[1] != clean:
            return clean, chosen[1]
        return clean, self._unlike(scene, clean)

    def _unlike(self, scene: Scene, clean: int) -> int:
        """An example of the same form that differs at the fewest places, among those that are answered otherwise."""
        count = len(scene.live)
        if clean >= count:
            return 0
        given = answered(scene)
        unlike = np.flatnonzero(given != given[clean])
        unlike = unlike if len(unlike) else np.array([k for k in range(count) if k != clean])
        parts = [part for part in nesting.tensors(scene.live.x) if part.ndim]
        apart = sum((part[unlike] != part[clean]).reshape(len(unlike), -1).sum(1).double() for part in parts)
        return int(unlike[int(np.asarray(apart).argmin())])

    def _picture(
        self, scene: Scene, selection: Selection, numbers: tuple[int, int], pair: Pair, found: NDArray[np.float64], whole: Any,
    ) -> Picture:
        clean, other = (scene.current(example=number) for number in numbers)
        told, there = (said_at(scene, each, found.shape[1], pair.line.points[-1]) for each in (clean, other))
        names = spots(residual_stream(scene, pair.x), self.where)[1]
        columns = told.names
        differ = [k for k, (a, b) in enumerate(zip(told.names, there.names, strict=True)) if a != b]
        heat = Heatmap(
            values=found, limits=symmetric(np.clip(np.nan_to_num(found), -1.5, 1.5), 1.0, unit="share"), row_labels=names, column_labels=columns,
            column_keys=told.keys, column_title="position", size=18, title="Share of the clean answer that comes back",
        )
        best = np.unravel_index(int(np.nan_to_num(found, nan=-np.inf).argmax()), found.shape)
        asked = _asked(scene, pair)
        other_texts, left = _beside(scene, pair, told, numbers)
        marks: tuple[Node, ...] = (*other_texts, *_texts(told, there, numbers, differ), heat, _sides(pair, numbers))
        words = (
            f"Example {numbers[0]} against example {numbers[1]}: at each layer and position, what the first holds there is put into the "
            f"pass of the second; blue where the answer ({asked}) comes back, 1 as if the first had been given. "
        ) + (
            f"Most comes back at {names[int(best[0])]}, position {int(best[1])} (“{columns[int(best[1])]}”): {found[best]:.2f}."
            if np.isfinite(found[best]) else "The answers are not numbers, so no share of them can be told."
        )
        checks: tuple[Check, ...] = ()
        if whole is not None and np.isfinite(whole).all():
            gap = float(np.abs(whole - 1).max())
            checks = (Check(
                name="all positions patched", value=gap, good=gap < 1e-2,
                sentence="With all positions of the stream patched, how far at most the answer is from the clean input's, as a share.",
            ),)
        also = "" if len(scene.kinds) < 2 else "; what else was given may not be"
        return self.picture(
            scene, selection, "Where lies what tells the two apart?", Group(children=marks), words, checks=checks, final=whole is not None,
            note=left or ("" if differ or not told.tokens else f"Both texts are the same{also}."),
        )


def answered(scene: Scene) -> NDArray[Any]:
    """What each live example is answered with, as one number each: of a text the answer at its last token, before padding."""
    given = scene.answers().predictions
    rows = given.reshape(len(given), -1).numpy()
    ends = [-1 if end >= rows.shape[1] else end for end in endings(scene, scene.live.x) or []] or [-1] * len(rows)
    return np.asarray(rows[np.arange(len(rows)), ends])


def _asked(scene: Scene, pair: Pair) -> str:
    """The answer that is looked at, in words."""
    def name(number: int) -> str:
        if scene.task == "classification":
            return scene.classes[number] if number < len(scene.classes) else str(number)
        return answers.token(scene, number) if scene.task == "next_token" else str(number)

    if not np.isfinite([pair.clean, pair.corrupted]).all():
        return "what is answered"
    if not pair.answers:
        return "the number that is answered"
    if len(pair.answers) == 1:
        return f"the log-probability of “{name(pair.answers[0])}”"
    return f"the score of “{name(pair.answers[0])}” less that of “{name(pair.answers[1])}”"


def _beside(scene: Scene, pair: Pair, told: Positions, numbers: tuple[int, int]) -> tuple[tuple[Text, ...], str]:
    """The texts that stand at none of the positions of the map, with what differs in them; and what the map leaves out of those that do
    not come into its stream at the beginning, as an encoder's text does not."""
    kinds = {name: kind for name, kind in scene.kinds.items() if isinstance(kind, Tokens) and name not in beside(scene.kinds)}
    if len(kinds) < 2:
        return (), ""
    walked, marks, away = told.names[told.extra :], list[Text](), list[str]()
    within = asked_of(scene, pair.x, (pair.line.points[0],))[0]
    for name, kind in kinds.items():
        both = [tuple(visible(token) for token in kind.decode(nesting.named(x)[name])[0]) for x in (pair.x, pair.other)]
        if both[0] == walked:
            continue
        differ = [k for k, (one, two) in enumerate(zip(*both, strict=True)) if one != two]
        single = bool(kind.describe()["characters"])
        marks += [_text(words, differ, f"{name}, {which}", number, first=first, characters=single)
                  for words, which, number, first in zip(both, ("clean", "corrupted"), numbers, (True, False), strict=True)]
        if name not in within:
            away.append(f"{name} (in which {counted(len(differ), 'tokens')} {'differs' if len(differ) == 1 else 'differ'})" if differ else name)
    if not away:
        return tuple(marks), ""
    are = "comes" if len(away) == 1 else "come"
    return tuple(marks), (
        f"The map walks one residual stream. {' and '.join(away)} {are} into it from layers that do not lie on it, as an encoder's do not: they "
        "and their places are not patched, and what they bring in is first seen at the layer that reads them."
    )


def _texts(told: Positions, there: Positions, numbers: tuple[int, int], differ: list[int]) -> tuple[Text, ...]:
    """Both texts, with the tokens coloured in which they differ."""
    if not told.tokens:
        return ()
    return tuple(
        _text(each.names, differ, title, number, first=first, keys=each.keys, characters=each.characters)
        for each, number, title, first in zip((told, there), numbers, ("clean", "corrupted"), (True, False), strict=True)
    )


def _text(
    words: tuple[str, ...], differ: list[int], title: str, number: int, *, first: bool, keys: tuple[str, ...] = (), characters: bool = False,
) -> Text:
    """One text of the two, coloured where the other one has another token: blue in the first, orange in the second."""
    values = np.zeros(len(words))
    values[differ] = 1.0 if first else -1.0
    title = f"{title} (example {number}), {'blue' if first else 'orange'} where the two differ"
    return Text(tokens=words, values=values, limits=symmetric(np.ones(1), 1.0, "differs"), keys=keys, characters=characters, title=title)


def _sides(pair: Pair, numbers: tuple[int, int]) -> Bars:
    values = np.array([pair.clean, pair.corrupted])
    return Bars(
        values=values, labels=tuple(f"example {number}" for number in numbers), limits=symmetric(values),
        title="The answer that is looked at",
    )

