"""Texts as numbers, and numbers as text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.errors import UsageError, not_found
from ..core.protocol import LONGEST_TEXT
from .kind import Kind, unfit
from .padding import ENDS, FILLING, pads

SOME = 1000
"""So many tokens of a vocabulary tell how it is read."""
JOINING = " \n\tĠ▁#"
"""What tokens begin with that bring their own space, or go on with a word."""
UNKNOWN = ("<unk>", "[UNK]", "�")
"""What stands in a vocabulary for all that it lacks."""


@dataclasses.dataclass(frozen=True)
class Tokens(Kind):
    """Texts as numbers; ``vocabulary`` lists the tokens by number, or ``encode`` and ``decode`` are functions that do
    it. ``separator`` is what stands between the tokens of a text that is typed or shown: left open, a space where most of a vocabulary's
    tokens are words without any (then marks that stand at a word are read apart, and a word that the vocabulary lacks in lower case), else
    nothing, and the longest token that fits is read. ``annotations`` are functions that tell something of each token of a text, such as its
    part of speech. ``padding`` is the
    number that fills texts up, where no token's name tells it; left open, it is learnt from the model's embedding or the labels."""

    word: ClassVar[str] = "tokens"
    vocabulary: Sequence[str] | None = None
    encode_with: Callable[[str], Any] | None = None
    decode_with: Callable[[Any], Any] | None = None
    separator: str = ""
    length: int | None = None
    size: int | None = None
    annotations: Mapping[str, Callable[[list[str]], Sequence[object]]] = dataclasses.field(default_factory=dict, hash=False)
    padding: int | None = None

    def __init__(
        self, vocabulary: Sequence[str] | None = None, encode: Callable[[str], Any] | None = None,
        decode: Callable[[Any], Any] | None = None, separator: str = "", *, length: int | None = None,
        size: int | None = None, sentence: str = "", encode_with: Callable[[str], Any] | None = None,
        decode_with: Callable[[Any], Any] | None = None, annotations: Mapping[str, Callable[[list[str]], Sequence[object]]] | None = None,
        padding: int | None = None,
    ) -> None:
        fields = {
            "vocabulary": None if vocabulary is None else tuple(vocabulary), "encode_with": encode or encode_with,
            "decode_with": decode or decode_with, "separator": separator, "length": length,
            "size": len(vocabulary) if vocabulary is not None else size, "sentence": sentence,
            "annotations": dict(annotations or {}), "padding": padding,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def reads(self) -> bool:
        """Whether it is known which numbers a text is."""
        return self.vocabulary is not None or self.encode_with is not None

    def encode(self, raw: Any) -> Tensor:
        """A text as a batch of one (1, tokens)."""
        text = raw.get("text") if isinstance(raw, Mapping) and raw.get("kind") == "text" else raw
        if not isinstance(text, str):
            raise unfit(raw, "tokens", "a text")
        if not text:
            raise UsageError("a text wants at least one token, got an empty one")
        if len(text) > LONGEST_TEXT:
            raise UsageError(f"a text wants at most {LONGEST_TEXT:,} characters, got {len(text):,}; give a part of it")
        if self.encode_with is not None:
            ids = torch.as_tensor(self.encode_with(text))
        elif self.vocabulary is not None:
            ids = torch.tensor(self._numbers(text))
        else:
            try:
                ids = torch.tensor([int(word) for word in text.replace(",", " ").split()])
            except ValueError:
                raise UsageError(
                    "without a vocabulary, tokens are typed as numbers (12 7 40); give inputs=Tokens(vocabulary=…)"
                ) from None
            if self.size is not None and (ids.min() < 0 or ids.max() >= self.size):
                raise UsageError(f"tokens want numbers from 0 to {self.size - 1}, got {int(ids.max())}")
        return ids.reshape(1, -1).long()

    def _numbers(self, text: str) -> list[int]:
        table = {token: number for number, token in enumerate(self.vocabulary or ())}
        unknown = next((table[word] for word in UNKNOWN if word in table), None)
        found, missing = [], []
        for token in _split(text, table, self.apart, self.separator):
            number = table.get(token, unknown)
            found.append(number) if number is not None else missing.append(token)
        if missing:
            shown = ", ".join(repr(token) for token in dict.fromkeys(missing[:5]))
            these = "them" if len(set(missing)) > 1 else "it"
            raise UsageError(f"the vocabulary's {len(table)} tokens do not include {shown}; leave {these} out{self._otherwise()}")
        return [number for number in found if number is not None]

    def decode(self, batch: Tensor) -> list[list[str]]:
        """The tokens of each text, as text."""
        rows = batch.detach().cpu().long().reshape(len(batch), -1).tolist()
        known = {number: self.token(number) for number in set().union(*rows)}
        return [[known[number] for number in row] for row in rows]

    def _otherwise(self) -> str:
        """How a text may be read otherwise, where that may be why it is not."""
        if self.separator or max(map(len, self.vocabulary or ()), default=0) <= 1:
            return ""
        now = "spaces" if self.apart else "nothing"
        return f" (read with {now} between tokens; Tokens(vocabulary=…, separator=…) says otherwise)"

    @property
    def apart(self) -> str:
        """What stands between the tokens of a text: the separator; where none is said a space, if most of a vocabulary's tokens are words
        that bring none."""
        return self.separator or (" " if self.vocabulary is not None and self._wordy(self.vocabulary) else "")

    def joined(self, tokens: Sequence[str]) -> str:
        """Tokens as a person reads them: with the separator between, with a space where that is empty and tokens are words without any."""
        known = self.vocabulary if self.vocabulary is not None else tokens if self.decode_with is not None else ()
        return (self.separator or (" " if self._wordy(known) else "")).join(tokens)

    def _wordy(self, known: Sequence[str]) -> bool:
        """Whether tokens are words that bring no spaces of their own."""
        some = [token for token in known[:SOME] if not (len(token) > 2 and token[0] + token[-1] in ("<>", "[]"))]
        joining = any(token[0] in JOINING or token[-1].isspace() for token in some if token)
        return not joining and (self.vocabulary is None or 2 * sum(len(token) > 1 for token in some) > len(some))

    def token(self, number: int) -> str:
        """One token's text."""
        if self.vocabulary is not None:
            return self.vocabulary[number] if 0 <= number < len(self.vocabulary) else f"⟨{number}⟩"
        if self.decode_with is not None:
            text = self.decode_with([number])
            return text if isinstance(text, str) else str(text[0])
        return FILLING if number == self.padding else str(number)

    def pads(self, number: int) -> bool:
        """Whether a token fills texts up: by its number, where that is known, else by its name."""
        return number == self.padding or pads(self.token(number))

    def ends(self, number: int) -> bool:
        """Whether a token ends a text, by its name."""
        return self.token(number).strip() in ENDS

    def annotated(self, name: str, tokens: Sequence[str]) -> list[str]:
        """What an annotation tells of each token, in words. *Raises* UsageError where it cannot, or tells of more or fewer."""
        if name not in self.annotations:
            raise not_found("annotation", name, self.annotations)
        try:
            told = [f"{one:g}" if isinstance(one, float) else str(one) for one in self.annotations[name](list(tokens))]
        except Exception as error:
            raise UsageError(f"the annotation {name} failed on a text of {len(tokens)} tokens: {type(error).__name__}: {error}") from error
        if len(told) != len(tokens):
            raise UsageError(f"the annotation {name} wants to tell of each of {len(tokens)} tokens, and told of {len(told)}")
        return told

    def valid_range(self) -> tuple[float, float] | None:
        """From the first to the last token's number."""
        return None if self.size is None else (0.0, float(self.size - 1))

    def fitted(self, x: Tensor) -> Tokens:
        """Length of the texts, and the number of tokens when there is no vocabulary."""
        highest = int(x.max()) + 1 if x.numel() else 0
        if self.vocabulary is not None and highest > len(self.vocabulary):
            raise UsageError(
                f"the vocabulary has {len(self.vocabulary)} tokens, but the examples hold number {highest - 1}"
            )
        length = int(x.shape[1]) if x.ndim > 1 else 1
        return dataclasses.replace(self, length=length, size=self.size or highest)

    def to_json(self) -> dict[str, Any]:
        """The kind as plain data; functions are left out, annotations too."""
        return {name: value for name, value in super().to_json().items() if name != "annotations"}

    def describe(self) -> dict[str, Any]:
        """The size of the vocabulary, the length of the texts, and whether text can be typed."""
        characters = (
            self.vocabulary is not None and self.separator == "" and max(map(len, self.vocabulary), default=0) == 1
        )
        typed = self.vocabulary is not None or self.encode_with is not None
        return {
            **super().describe(), "vocabulary": self.size, "length": self.length, "characters": characters,
            "typed": typed, "separator": self.apart if self.vocabulary is not None and self.encode_with is None else None,
        }


def _split(text: str, table: Mapping[str, int], apart: str, said: str) -> list[str]:
    """A text's tokens: cut at what stands between them, or the longest that fits at each place; where nobody ``said`` what stands between
    them, what is written as one may be several."""
    if apart:
        words = [word for word in text.split(None if apart == " " else apart) if word]
        return [token for word in words for token in ([word] if word in table else _parts(word, table, pieces=not said))]
    return _longest(text, table)


def _longest(text: str, table: Mapping[str, int]) -> list[str]:
    """The longest token that fits at each place."""
    longest = max(map(len, table), default=1)
    if longest <= 1:
        return list(text)
    found, at = [], 0
    while at < len(text):
        token = next((text[at : at + n] for n in range(longest, 0, -1) if text[at : at + n] in table), text[at])
        found.append(token)
        at += len(token)
    return found


def _parts(word: str, table: Mapping[str, int], *, pieces: bool) -> list[str]:
    """A typed word that the vocabulary lacks: in lower case, without the marks that stand at it, or as ``pieces`` that are tokens."""
    if (small := word.lower()) in table:
        return [small]
    longest = _longest(word, table) if pieces else []
    if longest and all(part in table for part in longest):
        return longest
    parts = re.findall(r"\w+|[^\w\s]", word)
    found = [part if part in table else part.lower() for part in parts]
    return found if any(part in table for part in found) else [word]


def visible(text: str) -> str:
    """Blanks, tabs and line ends as signs, where a text is nothing else."""
    return {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "": "∅"}.get(text, text)
