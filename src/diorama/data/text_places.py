"""Which of several inputs is the text, and at which of its places words stand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection

from torch import Tensor, arange, isin, tensor, where

from .kinds import Kind, Kinds, Tokens
from .nesting import Nested, named
from .padding import pads

PART = (
    "the loss of the training asks something of other outputs too, and the probe set's is of the answers looked at alone: these are two losses, and "
    "nothing is concluded from the one beside the other"
)
"""The one sentence about two measures whose curves are no two views of one thing, and so do not share an axis."""
IGNORED = -100
"""The label that says nothing, as in torch's losses; a reading of answers gives it for every such label."""
BESIDE = re.compile(r"(mask|token_type_ids|position_ids)$")
"""What stands beside a text has such a name, in Hugging Face's models and those made after them."""


def kinds_of(kind: Kinds) -> dict[str, Kind]:
    """The kinds by the inputs' names."""
    return dict(kind) if isinstance(kind, dict) else {"": kind}


def beside(known: Kinds) -> frozenset[str]:
    """The inputs that stand beside a text, by their names: masks of it, its places. None where no other is a text."""
    texts = _texts(known)
    along = frozenset(name for name in texts if BESIDE.search(name))
    return along if len(along) < len(texts) else frozenset()


def text_input(known: Kinds) -> tuple[str, Tokens] | None:
    """The name and kind of the input that holds a text; None where there is none, or several are read.

    *Meaning* of a mask or numbers of places beside it nobody says a vocabulary. What a decoder reads is a text beside that of its encoder.
    """
    found = [(name, kind) for name, kind in kinds_of(known).items() if isinstance(kind, Tokens) and name != "labels"]
    told = [one for one in found if one[0] in ("", "input_ids", "decoder_input_ids")] or [one for one in found if one[1].reads] or found
    return told[0] if len(told) == 1 else None


def answered_at(known: Kinds, x: Nested, places: int) -> str | None:
    """The name of the text at whose tokens a network answers with so many places: the one that is read; of several, such as a source and what
    was said of it so far, the last of so many tokens. None where there is none."""
    parts = named(x)
    found = text_input(known)
    names = [found[0]] if found is not None else [name for name in _texts(known) if not BESIDE.search(name)]
    long = [name for name in names if isinstance(part := parts.get(name), Tensor) and part.ndim == 2 and part.shape[1] == places]
    return long[-1] if long else None


def worded(known: Kinds, x: Nested, name: str | None = None) -> Tensor | None:
    """Which places of the texts of a batch (n, places) are none of the padding at their ends; None where the inputs are no texts, or it is
    not known what fills them up. Of several texts those of a ``name``."""
    if name is None:
        found = text_input(known)
        if found is None:
            return None
        name = found[0]
    kind, part = kinds_of(known).get(name), named(x).get(name)
    if not isinstance(kind, Tokens) or not isinstance(part, Tensor) or part.ndim != 2 or not _tells(kind):
        return None
    words = ~isin(part, part.new_tensor([number for number in part.unique().tolist() if kind.pads(int(number))]))
    # A text that is nothing but padding is taken as a whole, as it stands.
    return _inside(words) | ~words.any(1, keepdim=True)


def worded_each(known: Kinds, x: Nested) -> list[Tensor]:
    """The same of the text that is read; where several are, of each of them that tells."""
    found = text_input(known)
    masks = (worded(known, x, name) for name in (_texts(known) if found is None else [found[0]]))
    return [one for one in masks if one is not None]


def last_asked(known: Kinds, x: Nested, name: str | None = None) -> Tensor | None:
    """The place at which each text of a batch is asked what comes next, (n,); None where that is the last place of all, or they are no texts.

    *Meaning* its last token; of a text whose last token is one that ends it, the place that answers its last word before that: behind its end
    a network was taught nothing, and that it ends says little. Of several texts those of a ``name``.
    """
    found = text_input(known) if name is None else (name, kinds_of(known).get(name))
    if found is None or (words := worded(known, x, name)) is None:
        return None
    kind, part = found[1], named(x)[found[0]]
    assert isinstance(kind, Tokens)
    last = words.shape[1] - 1 - words.flip(1).long().argmax(1)
    ending = isin(part, part.new_tensor([number for number in part.unique().tolist() if kind.ends(int(number))]))
    ended = ending.gather(1, last[:, None])[:, 0]
    # A text of an end token alone, or of one word before it, has nothing to be asked for.
    at = where(ended & (last - words.long().argmax(1) > 1), last - 2, last)
    return None if bool((at == words.shape[1] - 1).all()) else at


def fills_up(known: Kinds, x: Nested) -> bool:
    """Whether padding, or a token that ends it, stands behind what some text of a batch is asked for."""
    return any(last_asked(known, x, name) is not None for name in _texts(known))


def ends(known: Kinds | None, x: Nested, places: int) -> tuple[int, ...]:
    """At which of so many ``places`` of a network's answer each text of a batch is asked (:func:`last_asked`), where there is a place for each
    token; nothing where the last place of all is asked."""
    name = answered_at(known, x, places) if known is not None else None
    if known is None or name is None or (last := last_asked(known, x, name)) is None:
        return ()
    return tuple(last.tolist())


def at_ends(known: Kinds | None, x: Nested, answers: Tensor) -> Tensor:
    """Of answers (n, places, …) the one of each text, (n, …), at its last token as :func:`ends` says, else at the last place."""
    found = ends(known, x, answers.shape[1])
    at = answers.device
    return answers[arange(len(found), device=at), tensor(found, device=at)] if found else answers[:, -1]


def filled(known: Kinds, x: Nested, y: Tensor | None = None, told: Collection[int] = ()) -> Kinds:
    """The kinds with what fills texts up, where no name of a token tells it.

    *Meaning* a number is padding where it stands in texts at their ends alone, and either it is ``told`` (the padding index of a model's
    embedding), or it is all that stands behind the last label that says something, but for the token that this label may be.
    """
    parts, found = named(x), kinds_of(known)
    for name in _texts(known):
        kind, part = found[name], parts.get(name)
        assert isinstance(kind, Tokens)
        if kind.padding is not None or not isinstance(part, Tensor) or part.ndim != 2 or part.is_floating_point():
            continue
        if any("pad" in token.lower() and pads(token) for token in kind.vocabulary or ()):
            continue
        numbers = {number for number in {*told, *_behind(part, y)} if _only_at_ends(part, number)}
        if len(numbers) == 1:
            found[name] = dataclasses.replace(kind, padding=numbers.pop())
    return found if isinstance(known, dict) else found[""]


def _behind(part: Tensor, y: Tensor | None) -> set[int]:
    """The one number that stands behind the last labels of texts; nothing where others stand there too."""
    if y is None or y.shape != part.shape or y.is_floating_point():
        return set()
    says = y != IGNORED
    last = y.shape[1] - 1 - says.flip(1).long().argmax(1, keepdim=True)
    behind = part[(arange(y.shape[1], device=y.device)[None] > last + 1) & says.any(1, keepdim=True)].unique()
    return {int(behind[0])} if len(behind) == 1 else set()


def _only_at_ends(part: Tensor, number: int) -> bool:
    here = part == number
    return bool(here.any()) and not bool((here & _inside(~here)).any())


def _inside(words: Tensor) -> Tensor:
    """From the first word of each row to its last."""
    return (words.cumsum(1) > 0) & (words.flip(1).cumsum(1) > 0).flip(1)


def _texts(known: Kinds) -> list[str]:
    return [name for name, kind in kinds_of(known).items() if isinstance(kind, Tokens) and name != "labels"]


def _tells(kind: Tokens) -> bool:
    """Whether it is known which of its numbers fill texts up."""
    return kind.vocabulary is not None or kind.decode_with is not None or kind.padding is not None
