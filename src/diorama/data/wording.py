"""Which of several inputs is the text, and at which of its places words stand."""

from __future__ import annotations

from torch import Tensor, isin

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
