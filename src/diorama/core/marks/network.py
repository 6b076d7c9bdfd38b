"""Nodes with pictures in them, joined by signed links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark, Range, check_length, check_shape

THICKEST, THINNEST = 9.0, 0.6
"""How thick the strongest link is, and the weakest that is drawn, in the page's pixels."""


class Vertex(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node: a ``box`` with a picture, a ``heading`` above others, a ``joint`` where links are bundled, or a ``dot``.

    A matrix of numbers with as many keys as rows is read row by row: each row has its key.
    """

    form: Literal["box", "heading", "joint", "dot"] = "box"
    label: str = ""
    note: str = ""  # a second line
    told: str = ""  # what else is said where the pointer rests
    id: str = ""  # what opening it is called
    keys: tuple[str, ...] = ()
    pixels: Array | None = None  # (height, width) through the mark's limits, or (height, width, 3) uint8
    words: tuple[str, ...] = ()  # lines of text instead of a picture
    colour: int | None = None  # the class whose colour it has
    ink: str = ""  # a colour of its own instead, "#rrggbb"
    shares: tuple[float, float] = (0.0, 0.0)  # of a joint: how much of what runs through it is positive, and negative
    faded: bool = False
    expandable: bool = False
    open: bool = False


class Network(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes with pictures in them, joined by signed links: blue where positive, orange where negative, as thick as they are strong.

    Opening or closing a node sets the knob named by a ``handle`` of typing to the list of open ones. Lengths are the page's pixels; links
    run from the right side of a node to the left side of the next one, or straight between the middles of dots.
    """

    vertices: tuple[Vertex, ...]
    places: Array  # (vertices, 4): left, top, width, height
    links: Array  # (links, 2): from which vertex to which
    strengths: Array  # (links,): signed
    strongest: float = 0.0  # what the thickest link stands for; 0: the strongest there is
    limits: Limits | None = None  # of the pictures' numbers
    column_labels: tuple[str, ...] = ()  # of the pictures' columns
    column_keys: tuple[str, ...] = ()  # what a cell chooses beside its row's key; empty where a column is none
    extent: tuple[float, float] = (0.0, 0.0)
    ends: Array | None = None  # (links, 4): where each link begins and ends, x and y

    def __post_init__(self) -> None:
        count = len(self.vertices)
        check_shape(self, "places", self.places, (2,))
        check_length(self, "places", self.places.shape, (count, 4))
        check_shape(self, "links", self.links, (2,))
        check_length(self, "links[0]", self.links.shape[1], 2)
        check_length(self, "strengths", self.strengths.shape, (len(self.links),))
        if len(self.links) and (self.links.min() < 0 or self.links.max() >= count):
            raise UsageError("Network.links join nodes that are not there")
        for vertex in self.vertices:
            if vertex.pixels is not None:
                check_shape(self, "pixels", vertex.pixels, (2, 3))
                if vertex.pixels.ndim == 2 and self.limits is None:
                    raise UsageError("pictures of numbers need limits")
        if self.column_keys:
            check_length(self, "column_keys", len(self.column_keys), len(self.column_labels))
        set_ = msgspec.structs.force_setattr
        if not any(self.extent):
            right, foot = (self.places[:, :2] + self.places[:, 2:]).max(0) if count else (0.0, 0.0)
            set_(self, "extent", (float(right), float(foot)))
        if not self.strongest:
            set_(self, "strongest", float(np.nan_to_num(np.abs(self.strengths)).max(initial=0)))
        if self.ends is None:
            straight = not any(vertex.form in ("box", "joint") for vertex in self.vertices)
            set_(self, "ends", _ends(self.places.astype(float), self.links.astype(int), self.widths(), straight))
        check_length(self, "ends", self.ends.shape, (len(self.links), 4))  # type: ignore[union-attr]

    def ranges(self) -> dict[str, Range]:
        """A link is as thick for the same strength over a film."""
        return {"strongest": (0.0, self.strongest)}

    def within(self, ranges: Mapping[str, Range]) -> Network:
        """The same links beside what is strongest in the whole film."""
        return msgspec.structs.replace(self, strongest=ranges["strongest"][1], ends=None)

    def widths(self) -> np.ndarray:
        """How thick each link is."""
        share = np.abs(np.nan_to_num(self.strengths.astype(float))) / (self.strongest or 1.0)
        found: np.ndarray = np.clip(share * THICKEST, THINNEST, THICKEST)
        return found


def _ends(places: np.ndarray, links: np.ndarray, widths: np.ndarray, straight: bool) -> np.ndarray:
    """Links of a node begin and end below one another, in the order of where they lead, so that they cross as little as can be."""
    middles = places[:, :2] + places[:, 2:] / 2
    if straight:
        return np.column_stack([middles[links[:, 0]], middles[links[:, 1]]]).astype(np.float32).reshape(-1, 4)
    found = np.zeros((len(links), 4), np.float32)
    for side, other in ((0, 1), (1, 0)):
        x = places[links[:, side], 0] + (places[links[:, side], 2] if side == 0 else 0)
        found[:, 2 * side] = x
        for vertex in np.unique(links[:, side]):
            mine = np.flatnonzero(links[:, side] == vertex)
            mine = mine[np.argsort(middles[links[mine, other], 1], kind="stable")]
            # Beside one another where there is room, else over one another.
            room = 0.9 * places[vertex, 3]
            total = float(widths[mine].sum())
            scale = min(1.0, room / total) if total else 1.0
            at = middles[vertex, 1] - total * scale / 2
            for link in mine:
                found[link, 2 * side + 1] = at + widths[link] * scale / 2
                at += widths[link] * scale
    return found
