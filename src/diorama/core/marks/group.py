"""Several marks in one picture."""

from __future__ import annotations

from typing import Literal

from .. import marks
from .mark import Mark


class Group(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Marks side by side, one below the other, or in a wrapping grid."""

    children: tuple[marks.Node, ...]
    direction: Literal["row", "column", "grid"] = "column"
