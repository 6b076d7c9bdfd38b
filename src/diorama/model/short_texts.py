"""Long texts cut to a few tokens: what tells where the examples lie in a network needs no more of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..data import nesting
from ..data.nesting import Nested

LONG = 256
"""Texts of fewer tokens go through a network as they are."""
_LENGTHS = (37, 41, 43, 47, 53, 59, 61, 67)
"""Tokens that a cut text has: a number that no axis of the network has by chance, nor two or three examples of it together."""


def shorter(x: Nested, sizes: Iterable[int] = ()) -> Nested | None:
    """The beginnings of long texts and of what goes along with them, such as their masks; None for what is no long text, or where
    another input has as many places and it cannot be told whether they are tokens. ``sizes`` are axes that the length shall not be.
    """
    parts = [part for part in nesting.tensors(x) if part.ndim > 1]
    tokens = [part.shape[1] for part in parts if part.ndim == 2 and part.dtype in (torch.int64, torch.int32)]
    long = max(tokens, default=0)
    taken = set(sizes)
    length = next((one for one in _LENGTHS if not taken & {one, 2 * one, 3 * one}), None)
    if long < LONG or length is None or any(long in part.shape[1:] and part.ndim > 2 for part in parts):
        return None

    def cut(part: Tensor) -> Tensor:
        return part[:, :length] if part.ndim == 2 and part.shape[1] == long else part

    return nesting.each(x, cut)
