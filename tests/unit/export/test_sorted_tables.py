"""A table in a figure stands in the order in which the page has it."""

from __future__ import annotations

import numpy as np

from diorama.core.marks import Column, Table
from diorama.export.marks.table import order


def test_rows_come_sorted_as_in_the_page() -> None:
    """Numbers with NaN last either way, texts by the numbers in them, equal ones as they came; pictures and unknown columns sort nothing."""
    columns = (
        Column(name="size", numbers=np.array([2.0, np.nan, 3.0, 2.0])), Column(name="unit", kind="text", texts=("unit 10", "unit 9", "Unit 9", "a")),
    )

    def sorted_by(name: str, descending: bool = False) -> list[int]:
        return order(Table(columns=columns, sort=name, descending=descending))

    assert sorted_by("size") == [0, 3, 2, 1]
    assert sorted_by("size", descending=True) == [2, 0, 3, 1]
    assert sorted_by("unit") == [3, 1, 2, 0]
    assert sorted_by("unit", descending=True) == [0, 1, 2, 3]
    assert sorted_by("") == sorted_by("none") == [0, 1, 2, 3]
