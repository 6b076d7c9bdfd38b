"""The lists of words that speak most for an answer, and most against it, out of all texts that a network reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ...core.marks import Column, Table
from ...core.selection import number_key
from ...data import nesting
from ...data.kinds import Tokens
from ...data.text_places import beside
from ...data.tokens import visible
from ...methods.attribution_picture import by_place, silent
from ...methods.method import Attribution
from ...scene import Scene
from ...scene.input import CurrentInput
from ._word import Word, grouped

NEAR = 7
"""So many tokens on both sides of a listed one are shown."""


@dataclasses.dataclass(frozen=True)
class ReadText:
    """The words of one of the texts that a network reads, with their values."""

    name: str
    words: Sequence[Word]
    kind: Tokens
    keyed: bool = False
    """Its tokens are those that the selection's keys mean."""


@dataclasses.dataclass(frozen=True)
class WordRow:
    """One line of a list: a word with the sum of its values, or one token where it stands."""

    text: str
    value: float
    words: list[Word]
    of: ReadText
    near: str = ""


def other_texts(scene: Scene, current: CurrentInput, found: Attribution, name: str, *, single: bool) -> list[ReadText]:
    """The texts beside the one of a ``name``, with what a method says of their words; no masks of them."""
    values, x, left = nesting.named(found.values), nesting.named(current.x), silent(found) | beside(scene.kinds)
    made = []
    for other, kind in scene.kinds.items():
        if other == name or other in left or other not in values or not isinstance(kind, Tokens):
            continue
        numbers = by_place(np.atleast_1d(values[other][0].detach().double().cpu().numpy()), kind)
        if numbers.ndim == 1:
            tokens = [kind.token(int(number)) for number in x[other][0].reshape(-1)]
            made.append(ReadText(other, grouped(tokens, numbers, None if single else kind), kind))
    return made


def listed(texts: Sequence[ReadText], count: int, *, single: bool, signed: bool, least: bool) -> list[WordRow]:
    """The words with the largest (or smallest) values, all occurrences in a text together; single tokens one by one."""
    found: list[WordRow] = []
    for text in texts:
        if single:
            between = text.kind.joined(["", ""])
            found += [WordRow(word.text, word.value, [word], text, _near(text.words, k, between)) for k, word in enumerate(text.words)]
            continue
        same: dict[str, list[Word]] = {}
        for word in text.words:
            if word.text.strip():
                same.setdefault(word.text.strip().lower(), []).append(word)
        found += [WordRow(word, float(sum(one.value for one in group)), group, text) for word, group in same.items()]
    found = [row for row in found if np.isfinite(row.value)]
    found.sort(key=lambda row: row.value if least else -row.value)
    if signed:
        found = [row for row in found if (row.value < 0 if least else row.value > 0)]
    return found[:count]


def _near(words: Sequence[Word], index: int, between: str) -> str:
    """What stands around a token: "mouth[s] be c"; with a blank ``between`` tokens that bring none: "12 8 [6] 10"."""
    before, behind = words[max(0, index - NEAR) : index], words[index + 1 : index + 1 + NEAR]
    told = [*(word.text for word in before), f"[{words[index].text}]", *(word.text for word in behind)]
    return between.join(told).replace("\n", "↵").replace("\t", "⇥")


def table(rows: Sequence[WordRow], title: str, *, several: bool) -> Table:
    """A list as a table; where ``several`` texts are read, with the name of that in which each word stands."""
    strongest = [max(row.words, key=lambda word: abs(word.value)) for row in rows]
    single = any(row.near for row in rows)
    last = (
        Column(name="where", kind="text", texts=tuple(row.near for row in rows))
        if single
        else Column(name="times", numbers=np.array([float(len(row.words)) for row in rows]))
    )
    columns = (
        Column(name="token" if single else "word", kind="text", texts=tuple(visible(row.text) for row in rows)),
        Column(name="value", numbers=np.array([row.value for row in rows]), signed=True),
        last,
        *((Column(name="text", kind="text", texts=tuple(row.of.name for row in rows)),) if several else ()),
    )
    # A token's key means the text that is explained: a place of another one has none.
    keys = tuple(
        number_key("token", *dict.fromkeys((word.first, word.last))) if row.of.keyed else "" for row, word in zip(rows, strongest, strict=True)
    )
    return Table(columns=columns, row_keys=keys, title=title)
