"""Rows that can be sorted by any column."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..colour import Limits
from .mark import Array, Mark, check_length


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a table: numbers, texts or small images."""

    name: str
    kind: Literal["number", "share", "text", "image", "class"] = "number"
    numbers: Array | None = None  # (rows,) for number, share (0 to 1, drawn as a bar) and class (index)
    texts: tuple[str, ...] = ()  # for text; for class the class's name
    images: Array | None = None  # (rows, height, width) through limits, or (rows, height, width, 3) uint8
    limits: Limits | None = None
    unit: str = ""
    signed: bool = False

    def rows(self) -> int:
        """How many rows the column has."""
        for values in (self.numbers, self.images):
            if values is not None:
                return len(values)
        return len(self.texts)


class Table(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Rows that can be sorted by any column."""

    columns: tuple[Column, ...]
    row_keys: tuple[str, ...] = ()
    sort: str = ""  # the column it comes sorted by
    descending: bool = False
    flagged: Array | None = None  # (rows,) bool: told apart (wrong predictions)

    def __post_init__(self) -> None:
        for column in self.columns[1:]:
            check_length(self, f"column {column.name}", column.rows(), self.columns[0].rows())
        if self.row_keys:
            check_length(self, "row_keys", len(self.row_keys), self.columns[0].rows())
