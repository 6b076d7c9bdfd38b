"""The text of an input as views show it, token by token."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import NotApplicable
from ..data.kinds import Tokens
from ..scene import Scene
from .answers import visible

__all__ = ["kind", "single", "tokens", "visible"]


def tokens(shown: object) -> list[str]:
    """The tokens of what is shown of an input; none where it holds no text."""
    value = next((part for part in shown.values() if isinstance(part, list)), []) if isinstance(shown, dict) else shown
    return list(value) if isinstance(value, list) else []


def single(found: Sequence[str]) -> bool:
    """Whether the tokens are single characters."""
    return all(len(token) == 1 for token in found)


def kind(scene: Scene) -> Tokens:
    """The kind of the input that holds the text. *Raises* NotApplicable where none does."""
    for one in scene.kinds.values():
        if isinstance(one, Tokens):
            return one
    raise NotApplicable("the inputs are no tokens")
