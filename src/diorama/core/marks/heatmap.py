"""A labelled matrix."""

from __future__ import annotations

from ..colour import Limits
from .mark import Array, Mark, check_length, check_shape


class Heatmap(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A labelled matrix: confusion, neuron by class, a dense layer's activations (one row)."""

    values: Array  # (rows, columns)
    limits: Limits
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    row_keys: tuple[str, ...] = ()
    column_keys: tuple[str, ...] = ()
    cell_keys: tuple[str, ...] = ()  # row by row: a cell that is one thing of its own, instead of its row and column
    cell_texts: tuple[str, ...] = ()  # row by row: written into the cells, instead of numbers
    row_title: str = ""
    column_title: str = ""
    numbers: bool = False  # write the values into the cells
    square: bool = False
    size: int = 16  # wanted cell height, CSS pixels

    def __post_init__(self) -> None:
        check_shape(self, "values", self.values, (2,))
        for name, length in zip(
            ("row_labels", "column_labels", "row_keys", "column_keys"), self.values.shape * 2, strict=True
        ):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), length)
        for name in ("cell_keys", "cell_texts"):
            if getattr(self, name):
                check_length(self, name, len(getattr(self, name)), self.values.size)
