"""Sentences as trees of phrases: read from brackets, or parsed by a plain rule."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from ..core.errors import UsageError

JOINING = frozenset(("and", "or", "but", "yet", "nor", ",", ";", ":", "--"))
"""Before these a sentence is cut first."""
_ENDS = frozenset(".!?…")
DEEPEST = 200
"""Brackets within brackets."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """A word, or a phrase of others; ``label`` is what a tree bank says of it."""

    word: str = ""
    parts: tuple[Tree, ...] = ()
    label: str = ""

    def words(self) -> tuple[str, ...]:
        """All its words, from left to right."""
        return (self.word,) if not self.parts else tuple(word for part in self.parts for word in part.words())

    def phrases(self) -> Iterator[Tree]:
        """Itself and all below it: every phrase before its parts, from left to right."""
        yield self
        for part in self.parts:
            yield from part.phrases()

    def brackets(self) -> str:
        """The tree as it is typed."""
        label = f"{self.label} " if self.label else ""
        if not self.parts:
            return f"({label}{self.word})" if label else self.word
        return f"({label}{' '.join(part.brackets() for part in self.parts)})"


def read(text: str) -> Tree:
    """A tree from brackets: ``((not good) .)``, or with a number at every phrase, ``(3 (2 very) (4 good))``; without brackets it is parsed.

    *Raises* UsageError where brackets are left open, closed twice, or hold nothing.
    """
    pieces = re.findall(r"[()]|[^\s()]+", text)
    if not pieces:
        raise UsageError("a tree wants at least one word, got an empty text")
    if "(" not in pieces and ")" not in pieces:
        return parsed(pieces)
    stack: list[list[Tree | str]] = [[]]
    for number, piece in enumerate(pieces):
        if piece == "(":
            if len(stack) > DEEPEST:
                raise UsageError(f"a tree wants at most {DEEPEST} brackets within each other")
            stack.append([])
        elif piece == ")":
            if len(stack) == 1:
                raise UsageError(f"a bracket is closed that was not opened, behind “{' '.join(pieces[:number])[-40:]}”")
            inside = stack.pop()
            stack[-1].append(_phrase(inside))
        else:
            stack[-1].append(piece)
    if len(stack) > 1:
        raise UsageError(f"{len(stack) - 1} bracket{'s are' if len(stack) > 2 else ' is'} left open; close each with )")
    return _phrase(stack[0])


def _phrase(inside: Sequence[Tree | str]) -> Tree:
    """What stands between two brackets: a label where a number stands first, and words or phrases."""
    label = ""
    if len(inside) > 1 and isinstance(inside[0], str) and inside[0].isdecimal():
        label, inside = inside[0], inside[1:]
    if not inside:
        raise UsageError("a pair of brackets holds no word; put one into it, or take it out")
    parts = tuple(Tree(part) if isinstance(part, str) else part for part in inside)
    if len(parts) == 1:
        return dataclasses.replace(parts[0], label=label or parts[0].label)
    return Tree(parts=parts, label=label)


def parsed(words: Sequence[str]) -> Tree:
    """A tree without a grammar: the final mark apart, then cut before joining words, else each word with all that follow it."""
    words = tuple(words)
    if len(words) == 1:
        return Tree(words[0])
    if words[-1] in _ENDS:
        return Tree(parts=(parsed(words[:-1]), Tree(words[-1])))
    cut = next((k for k in range(1, len(words) - 1) if words[k].lower() in JOINING), 1)
    found = parsed(words[cut:]) if cut == 1 or len(words) - cut == 1 else Tree(parts=(Tree(words[cut]), parsed(words[cut + 1 :])))
    return Tree(parts=(_rightwards(words[:cut]), found))


def _rightwards(words: tuple[str, ...]) -> Tree:
    tree = Tree(words[-1])
    for word in reversed(words[:-1]):
        tree = Tree(parts=(Tree(word), tree))
    return tree
