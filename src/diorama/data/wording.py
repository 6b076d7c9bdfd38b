"""Which of several inputs is the text, and at which of its places words stand."""

from __future__ import annotations

from torch import Tensor, arange, isin, tensor

from .kinds import Kind, Kinds, Tokens
from .nesting import Nested, named
from .padding import pads


def kinds_of(kind: Kinds) -> dict[str, Kind]:
    """The kinds by the inputs' names."""
    return dict(kind) if isinstance(kind, dict) else {"": kind}


def text_input(known: Kinds) -> tuple[str, Tokens] | None:
    """The name and kind of the input that holds a text; None where there is none, or several are read.

    *Meaning* of a mask or numbers of places beside it nobody says a vocabulary.
    """
    found = [(name, kind) for name, kind in kinds_of(known).items() if isinstance(kind, Tokens) and name != "labels"]
    told = [one for one in found if one[0] in ("", "input_ids")] or [one for one in found if one[1].reads] or found
    return told[0] if len(told) == 1 else None


def worded(known: Kinds, x: Nested) -> Tensor | None:
    """Which places of the texts of a batch (n, places) are none of the padding at their ends; None where the inputs are no texts."""
    found = text_input(known)
    part = named(x).get(found[0]) if found is not None else None
    if found is None or not isinstance(part, Tensor) or part.ndim != 2 or (found[1].vocabulary is None and found[1].decode_with is None):
        return None
    words = ~isin(part, part.new_tensor([number for number in part.unique().tolist() if pads(found[1].token(int(number)))]))
    # A text that is nothing but padding is taken as a whole, as it stands.
    inside = (words.cumsum(1) > 0) & (words.flip(1).cumsum(1) > 0).flip(1)
    return inside | ~words.any(1, keepdim=True)


def last_words(known: Kinds, x: Nested) -> Tensor | None:
    """The place of each text's last token, (n,), where padding follows some of them; None where it follows none, or the inputs are no texts.

    *Meaning* what is said of a text as a whole is asked there: behind its end a network was taught nothing.
    """
    words = worded(known, x)
    return None if words is None or bool(words[:, -1].all()) else words.shape[1] - 1 - words.flip(1).long().argmax(1)


def ends(known: Kinds | None, x: Nested, places: int) -> tuple[int, ...]:
    """At which of so many ``places`` of a network's answer each text of a batch is asked: at its last token, where padding follows some of
    them and there is a place for each token; else nothing, and the last place is asked."""
    found = text_input(known) if known is not None else None
    if known is None or found is None or (last := last_words(known, x)) is None or places != named(x)[found[0]].shape[1]:
        return ()
    return tuple(last.tolist())


def at_ends(known: Kinds | None, x: Nested, answers: Tensor) -> Tensor:
    """Of answers (n, places, …) the one of each text, (n, …), at its last token as :func:`ends` says, else at the last place."""
    found = ends(known, x, answers.shape[1])
    at = answers.device
    return answers[arange(len(found), device=at), tensor(found, device=at)] if found else answers[:, -1]
