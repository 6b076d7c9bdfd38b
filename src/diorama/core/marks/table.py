"""Rows that can be sorted by any column."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..colour import Limits
from .mark import Array, Mark, Range, check_length, span


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a table: numbers, texts, small images, or numbers with their small histories.

    A cell with a history is a line over the table's ``steps`` with the healthy range behind it, on one scale for all rows;
    it is coloured where ``outside`` says so, and where its line leaves the range.
    """

    name: str
    kind: Literal["number", "share", "text", "image", "class", "history"] = "number"
    numbers: Array | None = None  # (rows,) for number, share (0 to 1, drawn as a bar), class (index) and history (now)
    texts: tuple[str, ...] = ()  # for text; for class the class's name
    images: Array | None = None  # (rows, height, width) through limits, or (rows, height, width, 3) uint8
    limits: Limits | None = None
    unit: str = ""
    signed: bool = False
    histories: Array | None = None  # (rows, steps); NaN where nothing was recorded
    spreads: Array | None = None  # (rows, steps, 2): the lowest and the highest value that a place of the line stands for
    healthy: Array | None = None  # (rows, steps, 2): the ends of the healthy range, infinite where one is open
    outside: Array | None = None  # (rows,) int8: -1 below the healthy range, 1 above it, 2 not a number, 0 well
    log: bool = False  # each line upwards is a multiple
    range: Range | None = None  # of the lines, upwards
    note: str = ""  # what its header says when it is asked

    def rows(self) -> int:
        """How many rows the column has."""
        for values in (self.numbers, self.images):
            if values is not None:
                return len(values)
        return len(self.texts)

    def span(self) -> Range:
        """The range of its histories, upwards: its own, or that of their values."""
        return self.range or span([a for a in (self.histories, self.spreads) if a is not None], self.log)


class Table(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Rows that can be sorted by any column.

    A row that stands for several has the name of its group in ``folds``: opening it sets the knob named by ``handle`` to the
    list of open groups. With ``boxes`` each row has a box that adds its key to what is chosen, and the header one for all rows in sight.
    """

    columns: tuple[Column, ...]
    row_keys: tuple[str, ...] = ()
    sort: str = ""  # the column by which the rows are shown sorted, whatever their order here
    descending: bool = False
    flagged: Array | None = None  # (rows,) bool: told apart (wrong predictions)
    steps: Array | None = None  # (steps,): the common time axis of all histories
    cursor: float | None = None  # where the time slider stands on it
    folds: tuple[str, ...] = ()  # by row: the group that it opens or closes, empty for none
    open: tuple[str, ...] = ()  # the groups that are open
    boxes: bool = False  # rows are chosen one by one, several at once

    def __post_init__(self) -> None:
        count = self.columns[0].rows() if self.columns else 0
        for column in self.columns:
            check_length(self, f"column {column.name}", column.rows(), count)
            if column.kind == "history":
                self._check_history(column, count)
        for name in ("row_keys", "folds"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), count)

    def _check_history(self, column: Column, count: int) -> None:
        shape = (count, 0 if self.steps is None else len(self.steps))
        came = None if column.histories is None else column.histories.shape
        check_length(self, f"histories of {column.name}", came, shape)
        for name in ("spreads", "healthy"):
            array = getattr(column, name)
            if array is not None:
                check_length(self, f"{name} of {column.name}", array.shape, (*shape, 2))
        if column.outside is not None:
            check_length(self, f"outside of {column.name}", column.outside.shape, (count,))
