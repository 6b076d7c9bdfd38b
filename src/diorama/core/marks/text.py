"""Tokens, each coloured by a value."""

from __future__ import annotations

import msgspec

from ..colour import Limits
from .mark import Array, Mark, check_length


class Alternative(msgspec.Struct, frozen=True):
    """What could have come here, and how likely."""

    text: str
    probability: float


class Text(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, each coloured by a value, with likely alternatives under it."""

    tokens: tuple[str, ...]
    values: Array | None = None  # (tokens,)
    limits: Limits | None = None
    alternatives: tuple[tuple[Alternative, ...], ...] = ()  # for each token: what the model answers for its place
    keys: tuple[str, ...] = ()
    struck: Array | None = None  # (tokens,) bool: struck out, without a colour
    characters: bool = False  # tokens are single characters: set in a monospaced grid

    def __post_init__(self) -> None:
        if self.values is not None:
            check_length(self, "values", self.values.shape, (len(self.tokens),))
        if self.struck is not None:
            check_length(self, "struck", self.struck.shape, (len(self.tokens),))
        for name in ("alternatives", "keys"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), len(self.tokens))
