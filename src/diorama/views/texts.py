"""The text of an input as views show it, token by token."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import NotApplicable, not_found
from ..data.kinds import Tokens
from ..data.tokens import visible
from ..derive.texts import properties, told_of
from ..scene import Scene

__all__ = ["annotated", "kind", "single", "stretches", "tokens", "visible"]


def tokens(shown: object, name: str = "") -> list[str]:
    """The tokens of what is shown of an input, of several that of a ``name``, else the first text; none where it holds no text."""
    if isinstance(shown, dict):
        shown = shown[name] if isinstance(shown.get(name), list) else next((part for part in shown.values() if isinstance(part, list)), [])
    value = shown
    return list(value) if isinstance(value, list) else []


def single(found: Sequence[str]) -> bool:
    """Whether the tokens are single characters."""
    return set(map(len, found)) <= {1}


def annotated(scene: Scene, name: str, found: Sequence[str], read: str = "") -> list[str]:
    """What is told of each token: by an annotation of the user's own, or a property of such tokens, as indentation of text and pitch of melodies.

    ``read``: of several texts the name of that of the tokens.
    """
    own = kind(scene, read)
    told = list(told_of(own))
    if name in told and name not in own.annotations:
        return [f"{value:g}" for value in properties(found, kind=own)[told.index(name)]]
    if name not in own.annotations:
        raise not_found("annotation", name, [*own.annotations, *told])
    return own.annotated(name, found)


def stretches(told: Sequence[str]) -> list[tuple[str, int, int]]:
    """Equal words that follow one another as one: the word, from where, to where."""
    found: list[tuple[str, int, int]] = []
    for at, word in enumerate(told):
        start = found.pop()[1] if found and found[-1][0] == word else at
        found.append((word, start, at + 1))
    return found


def kind(scene: Scene, name: str = "") -> Tokens:
    """The kind of the input that holds the text, of several that of a ``name``. *Raises* NotApplicable where none does."""
    for one in (scene.kinds.get(name), *scene.kinds.values()):
        if isinstance(one, Tokens):
            return one
    raise NotApplicable("the inputs are no tokens")
