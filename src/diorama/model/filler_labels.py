"""Labels of a text at places that only fill it up to a length: a training's loss leaves them out, and so does what is told of the probe set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..data.examples import Examples
from ..data.padding import padding, pads
from .outputs import Reading

_TEXTS = 512
"""Texts whose ends are looked at."""


def without_filling(reading: Reading, width: int, examples: Examples, model: Any) -> Reading:
    """The reading that leaves out what fills texts up, where the answers are one of ``width`` tokens a place.

    *Meaning* a label fills up where the vocabulary of the answers calls it so (``<pad>``), or where it is the ``padding_idx`` of an embedding of
    just these tokens and stands in the labels as filling does: in a run at one end of texts, longer in one than in another.
    """
    y = examples.y
    if reading.task != "next_token" or y is None or y.ndim != 2 or not len(y) or y.is_floating_point() or y.is_complex():
        return reading
    words = next((each for each in (examples.classes, *_vocabularies(examples.kind)) if len(each) == width and any(map(pads, each))), ())
    found = [k for k, word in enumerate(words) if pads(word) and bool((y == k).any())]
    if found:
        told = " and ".join(f"{k}, {words[k]}," for k in found)
    else:
        filled = padding(y[:_TEXTS].cpu().numpy())
        if filled is None or filled.token not in _left_out(model, width):
            return reading
        found, told = [filled.token], f"{filled.token}, the padding_idx of the embedding,"
    one = len(found) == 1
    return reading.without(found, f"label{'' if one else 's'} {told} fill{'s' if one else ''} texts up and {'is' if one else 'are'} left out of what "
                                  "is told of answers and losses")


def _vocabularies(kind: Any) -> Iterable[Sequence[str]]:
    kinds = kind.values() if isinstance(kind, dict) else [kind]
    return [words for each in kinds if (words := getattr(each, "vocabulary", None))]


def _left_out(model: Any, width: int) -> set[int]:
    """The tokens whose embeddings never learn, of as many tokens as there are answers."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return {each.padding_idx for each in modules if isinstance(each, nn.Embedding) and each.num_embeddings == width and each.padding_idx is not None}
