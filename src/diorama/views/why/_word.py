"""Tokens put together to words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.kinds import Tokens
from ...data.padding import pads

_STARTS = ("Ġ", "▁", " ", "\n", "\t", "Ċ")
"""A token that begins with one of these begins a word, in byte-pair and sentence-piece vocabularies."""
_GOES_ON = "##"
"""A token that begins with this goes on with the word before it, in word-piece vocabularies."""


@dataclasses.dataclass(frozen=True)
class Word:
    """One word: its text, the tokens it is made of, and the sum of their values."""

    text: str
    first: int
    last: int
    value: float


def grouped(tokens: Sequence[str], values: NDArray[np.float64], kind: Tokens | None) -> list[Word]:
    """The words of a text with their values; ``kind`` says how tokens make words, None leaves them single."""
    starts = [True] * len(tokens) if kind is None else _starts(tokens, kind)
    found: list[Word] = []
    for index, (token, start, value) in enumerate(zip(tokens, starts, values, strict=True)):
        if found and pads(token) and token == tokens[index - 1]:
            # A text is filled up with the same token over and over: one word that says how often.
            last = found[-1]
            found[-1] = Word(f"{token} × {index - last.first + 1}", last.first, index, last.value + float(value))
        elif start or not found:
            found.append(Word(_plain(token) if kind is not None else token, index, index, float(value)))
        else:
            last = found[-1]
            text = last.text + token.removeprefix(_GOES_ON)
            found[-1] = Word(text, last.first, index, last.value + float(value))
    return found


def _starts(tokens: Sequence[str], kind: Tokens) -> list[bool]:
    """Whether each token begins a word."""
    if any(token.startswith(_GOES_ON) and len(token) > 2 for token in tokens):
        return [not (token.startswith(_GOES_ON) and len(token) > 2) for token in tokens]
    if kind.apart:
        return [True] * len(tokens)
    if kind.describe()["characters"] or (tokens and all(len(token) <= 1 for token in tokens)):
        # Where nothing stands between words the whole text would be one.
        if all(_letter(token) or pads(token) for token in (*tokens, *(kind.vocabulary or ()))):
            return [True] * len(tokens)
        return [not (k and _letter(tokens[k - 1]) and _letter(token)) for k, token in enumerate(tokens)]
    if any(token.startswith(_STARTS) for token in tokens[1:]):
        return [
            k == 0 or token.startswith(_STARTS) or not _letter(token[:1]) or not _letter(tokens[k - 1][-1:])
            for k, token in enumerate(tokens)
        ]
    return [True] * len(tokens)


def _letter(text: str) -> bool:
    return text.isalnum() or text == "_" or text in ("'", "’")


def _plain(token: str) -> str:
    """A word's first token without the sign that it begins a word."""
    return token[1:] if token[:1] in ("Ġ", "▁") and len(token) > 1 else token
