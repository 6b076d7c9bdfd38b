"""The tokens that fill a text up to its length: shown once, with how many there are, and never as a word of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FILLING = "<pad>"
"""What fills texts up is called so where no vocabulary names it."""
ENDS = frozenset((
    "</s>", "<eos>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>", "<|eom_id|>", "<end>", "<end_of_turn>",
    "<EOS>", "[EOS]", "<|return|>", "<turn|>", "[END]",
))
"""Tokens of such names end a text."""
_TEXTS, _FILLED = 6, 3
"""Texts that are wanted, and texts of them, of as many lengths, that are filled up with two tokens or more."""
_PADDING = re.compile(r"[<\[]\W*pad\W*[>\]]", re.IGNORECASE)


class FillerToken(NamedTuple):
    """The token that fills texts up, and where it does."""

    token: int
    places: NDArray[np.bool_]


def padding(tokens: NDArray[np.int64]) -> FillerToken | None:
    """The token that stands at the end of texts (n, places), or at their beginning, and nowhere else.

    *Meaning* a token of the language, however frequent, stands between others too. What fills texts up stands only in a run at one end,
    longer in one text than in another.
    """
    if tokens.ndim != 2 or len(tokens) < _TEXTS or tokens.shape[1] < 3:
        return None
    for way in (1, -1):
        ends, frequent = np.unique(tokens[:, ::way][:, -1], return_counts=True)
        token = int(ends[frequent.argmax()])
        here = tokens[:, ::way] == token
        run = np.cumprod(here[:, ::-1], 1)[:, ::-1].astype(bool)
        lengths = run.sum(1)
        filled = (lengths > 1) & (lengths < tokens.shape[1])
        if not (here & ~run).any() and filled.sum() >= max(_FILLED, len(tokens) / 4) and len(np.unique(lengths[filled])) >= _FILLED:
            return FillerToken(token, run[:, ::way])
    return None


def pads(token: str) -> bool:
    """Whether a token is one that fills a text up: ``<pad>``, ``[PAD]``, ``<|pad|>``."""
    return _PADDING.fullmatch(token) is not None


def stripped(tokens: Sequence[str]) -> list[str]:
    """A text without the padding at its ends."""
    inside = [k for k, token in enumerate(tokens) if not pads(token)]
    return list(tokens[inside[0] : inside[-1] + 1]) if inside else []


def runs(tokens: Sequence[str]) -> list[tuple[str, slice]]:
    """A text with each run of padding as one: what to write, ``<pad> × 9``, and which tokens it stands for."""
    found: list[tuple[str, slice]] = []
    for k, token in enumerate(tokens):
        before = found[-1][1] if found else slice(0, 0)
        if found and pads(token) and pads(tokens[before.start]):
            found[-1] = (f"{token} × {k + 1 - before.start}", slice(before.start, k + 1))
        else:
            found.append((token, slice(k, k + 1)))
    return found


def folded(
    tokens: Sequence[str], values: NDArray[np.floating], mean: bool = False
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """A text with a value a token, in which each run of padding is one token with the run's sum, or its mean: ``<pad> × 9``."""
    found = runs(tokens)
    numbers = np.asarray(values, np.float64)
    made = [numbers[part].mean() if mean else numbers[part].sum() for _, part in found]
    return tuple(word for word, _ in found), np.array(made, np.float64)
