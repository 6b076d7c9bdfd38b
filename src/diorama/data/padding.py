"""The tokens that fill a text up to its length: shown once, with how many there are, and never as a word of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FILLING = "<pad>"
"""What fills texts up is called so where no vocabulary names it."""
ENDS = frozenset((
    "</s>", "<eos>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>", "<|eom_id|>", "<end>", "<end_of_turn>",
    "<EOS>", "[EOS]", "<|return|>", "<turn|>", "[END]",
))
"""Tokens of such names end a text."""
_PADDING = re.compile(r"[<\[]\W*pad\W*[>\]]", re.IGNORECASE)


def pads(token: str) -> bool:
    """Whether a token is one that fills a text up: ``<pad>``, ``[PAD]``, ``<|pad|>``."""
    return _PADDING.fullmatch(token) is not None


def stripped(tokens: Sequence[str]) -> list[str]:
    """A text without the padding at its ends."""
    inside = [k for k, token in enumerate(tokens) if not pads(token)]
    return list(tokens[inside[0] : inside[-1] + 1]) if inside else []


def folded(tokens: Sequence[str], values: NDArray[np.floating]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """A text with a value a token, in which each run of padding is one token with the run's sum: ``<pad> × 9``."""
    words: list[str] = []
    sums: list[float] = []
    runs: list[int] = []
    for token, value in zip(tokens, values, strict=True):
        if runs and runs[-1] and pads(token):
            runs[-1] += 1
            sums[-1] += float(value)
            words[-1] = f"{token} × {runs[-1]}"
        else:
            words.append(token)
            sums.append(float(value))
            runs.append(int(pads(token)))
    return tuple(words), np.array(sums, np.float64)
