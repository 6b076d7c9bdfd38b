"""A nested graph of blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from .. import lettering
from ..colour import Limits
from ..errors import UsageError
from ..nested_layout import NestedLayout, SizedBlock, layered
from .mark import Array, Mark, check_length, check_shape

MAP, MAP_GAP = 17, 2
"""Small maps are so high, in the page's pixels, with so much between them."""
LINE = 15
"""The height of a line below a block's name."""
NARROWEST, WIDEST, SIDES = 44, 260, 18
"""The bounds of a block's width, and what its edges and the air beside its texts take of it."""


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
    share: float | None = None  # 0 to 1: so far a block of a graph is filled from the left
    expandable: bool = False
    open: bool = False


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A connection between two blocks, named by what flows."""

    source: str
    target: str
    label: str = ""
    share: float | None = None  # 0 to 1: how thick the line is


class Blocks(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A nested graph of blocks. Opening or closing a block sets the knob named by ``handle`` to the list of open blocks.

    A graph is laid out where it is made, so that page and paper show the same picture; lengths are the page's pixels.
    """

    blocks: tuple[Block, ...]
    edges: tuple[Edge, ...] = ()
    limits: Limits | None = None
    layout: Literal["graph", "list"] = "graph"  # "list": cards one below the other, as in the network map
    value_title: str = ""
    extent: tuple[float, float] = (0.0, 0.0)  # the width and the height of a graph
    places: Array | None = None  # (blocks, 4): where each stands in a graph: left, top, width, height
    routes: Array | None = None  # (routes, 4): first point, number of points, its edge, whether it ends in an arrow
    points: Array | None = None  # (points, 2): where the routes go

    def __post_init__(self) -> None:
        parents = {block.id: block.parent for block in self.blocks}
        if len(parents) < len(self.blocks):
            raise UsageError(f"two of the {len(self.blocks)} blocks have the same id")
        for block in self.blocks:
            if block.parent and block.parent not in parents:
                raise UsageError(f"block {block.id!r} lies in {block.parent!r}, which is not there")
        _check_nesting(parents)
        for edge in self.edges:
            if edge.source not in parents or edge.target not in parents:
                raise UsageError(f"edge {edge.source!r} → {edge.target!r} joins a block that is not there")
        if self.layout == "list":
            return
        if self.places is None:
            holders = set(parents.values())
            nodes = tuple(_node(block, block.id in holders) for block in self.blocks)
            laid = layered(nodes, tuple((edge.source, edge.target) for edge in self.edges))
            for name, value in _carried(self.blocks, laid).items():
                msgspec.structs.force_setattr(self, name, value)
        self._check_places()

    def _check_places(self) -> None:
        arrays = {name: getattr(self, name) for name in ("places", "routes", "points")}
        for (name, array), wanted in zip(arrays.items(), (4, 4, 2), strict=True):
            check_shape(self, name, array, (2,))
            check_length(self, f"{name}[0]", array.shape[1], wanted)
        check_length(self, "places", len(arrays["places"]), len(self.blocks))
        first, count, edge, _ = arrays["routes"].astype(np.int64).T
        fits = (first >= 0) & (count > 0) & (first + count <= len(arrays["points"])) & (edge >= 0) & (edge < len(self.edges))
        if not fits.all():
            raise UsageError("Blocks.routes name points or edges that are not there")


def _check_nesting(parents: Mapping[str, str]) -> None:
    """Raise UsageError where blocks lie in each other in a circle."""
    done = {""}
    for name in parents:
        line = dict[str, None]()
        while name not in done:
            if name in line:
                raise UsageError(f"block {name!r} lies in itself")
            line[name] = None
            name = parents[name]
        done |= line.keys()


def _node(block: Block, holds: bool) -> SizedBlock:
    return SizedBlock(block.id, block.parent, *(title_size(block) if holds else size(block)))


def size(block: Block) -> tuple[float, float]:
    """The width and height of a block in a graph, from what is in it alone, so that it can be laid out before it is seen."""
    count, rows, columns = block.maps.shape if block.maps is not None else (0, 1, 1)
    strip = count == 1 and rows == 1
    maps = 90 if strip else count * (MAP * min(4, columns / max(1, rows)) + MAP_GAP)
    lines = sum(map(bool, (block.detail, block.notes, block.warning)))
    high = 26 + lines * LINE + (0 if not count else 15 if strip else MAP + 4)
    return _bounded(_label(block), lettering.width(block.detail, 11), *_said(block), maps), high


def title_size(block: Block) -> tuple[float, float]:
    """The width and height of the title of a block that holds others: its name and its size beside each other."""
    detail = 8 + lettering.width(block.detail, 11) if block.detail else 0
    return _bounded(_label(block) + detail, *_said(block)), 20 + LINE * (bool(block.notes) + bool(block.warning))


def _label(block: Block) -> float:
    return lettering.monospaced(block.label, 12) + (18 if block.expandable else 0)


def _said(block: Block) -> tuple[float, float]:
    return lettering.width("   ".join(block.notes), 11), lettering.width(block.warning, 11)


def _bounded(*wide: float) -> float:
    return math.ceil(max(NARROWEST, min(WIDEST, max(wide) + SIDES)))


def _carried(blocks: tuple[Block, ...], laid: NestedLayout) -> dict[str, object]:
    """A layout in the mark's own fields."""
    counts = np.array([len(route.points) for route in laid.routes], np.int32)
    rows = [(route.edge, route.arrow) for route in laid.routes]
    return {
        "extent": (laid.width, laid.height),
        "places": np.array([laid.places[block.id] for block in blocks], np.float32).reshape(-1, 4),
        "routes": np.column_stack([np.cumsum(counts) - counts, counts, np.array(rows, np.int32).reshape(-1, 2)]).astype(np.int32),
        "points": np.array([point for route in laid.routes for point in route.points], np.float32).reshape(-1, 2),
    }
