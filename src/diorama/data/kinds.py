"""All kinds of input: an image, a table's row, tokens, a series, a sound, strokes of a pen; alone or several by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .image import Image
from .kind import KINDS, Kind
from .measured import Series, Sound, Table
from .strokes import Strokes
from .tokens import Tokens

Kinds = Kind | dict[str, Kind]
"""One kind, or one a name for a model with several inputs (positions "0", "1" for a tuple)."""

__all__ = [
    "KINDS",
    "Image",
    "Kind",
    "Kinds",
    "Series",
    "Sound",
    "Strokes",
    "Table",
    "Tokens",
    "describe",
    "from_json",
    "guess",
    "to_json",
]


def to_json(kinds: Kinds) -> dict[str, Any]:
    """A kind, or several by name, as plain data."""
    if isinstance(kinds, dict):
        return {"kind": "several", "inputs": {name: kind.to_json() for name, kind in kinds.items()}}
    return kinds.to_json()


def from_json(value: Mapping[str, Any]) -> Kinds:
    """Read what :func:`to_json` wrote."""
    if value["kind"] == "several":
        return {name: Kind.from_json(part) for name, part in value["inputs"].items()}
    return Kind.from_json(value)


def describe(kinds: Kinds) -> dict[str, Any]:
    """A kind, or several by name, as plain data for the page."""
    if isinstance(kinds, dict):
        return {"kind": "several", "inputs": {name: kind.describe() for name, kind in kinds.items()}}
    return kinds.describe()


def guess(x: Any, y: Any = None, name: str = "") -> tuple[Kinds, str]:
    """Guess what inputs are from their shapes and numbers, one of several by its ``name`` too; the sentence says what was guessed and why."""
    from .kind_guess import kind_of

    return kind_of(x, name)
