"""A nested graph of blocks."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node of a nested graph."""

    id: str
    label: str
    parent: str = ""
    kind: str = ""  # module class or op
    detail: str = ""  # shapes, counts: one short line
    notes: tuple[str, ...] = ()  # small facts in a last line ("Δw/w 8.4e-04", "0 % off")
    key: str = ""
    value: float | None = None  # coloured through the mark's limits
    maps: Array | None = None  # (count, height, width): small maps inside the block
    maps_limits: Limits | None = None
    spark: Array | None = None  # (n,): a small curve
    warning: str = ""
    expandable: bool = False
    open: bool = False


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A connection between two blocks, named by what flows."""

    source: str
    target: str
    label: str = ""


class Blocks(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A nested graph of blocks. Opening or closing a block sets the knob named by ``handle`` to the list of open blocks."""

    blocks: tuple[Block, ...]
    edges: tuple[Edge, ...] = ()
    limits: Limits | None = None
    layout: Literal["graph", "list"] = "graph"  # "list": cards one below the other, as in the network map
    value_title: str = ""

    def __post_init__(self) -> None:
        names = {block.id for block in self.blocks}
        for block in self.blocks:
            if block.parent and block.parent not in names:
                raise UsageError(f"block {block.id!r} lies in {block.parent!r}, which is not there")
        for edge in self.edges:
            if edge.source not in names or edge.target not in names:
                raise UsageError(f"edge {edge.source!r} → {edge.target!r} joins a block that is not there")
