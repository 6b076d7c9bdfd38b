"""The whole vocabulary of drawn things. A mark is frozen data whose shapes are checked on creation; it knows nothing of methods.

Elements of a mark may carry a *key* (clicking or brushing puts it into the shared selection), a *handle* (dragging or typing
sets a knob) or an *action* (a command to the training). Page, notebook and static export each draw marks.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from .colour import Limits
from .errors import UsageError

Array = np.ndarray
"""Arrays travel in binary beside the header; the comment of each field gives its shape."""


class Handle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What dragging or typing sets: the knob's name, how it is moved, and its range.

    ``point`` sets a place: "row,column" in an image's pixels, "x,y" in a field's own numbers. ``path`` sets a line drawn
    by hand over a field: "x,y;x,y;…", at most 64 places. ``slide`` sets a number between ``low`` and ``high``, ``range``
    "first:last" over curves, ``type`` what a person types. ``value`` is where it stands, in the same form.
    """

    knob: str
    kind: Literal["point", "range", "slide", "type", "path"]
    low: float = 0.0
    high: float = 1.0
    value: str = ""


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command that a click sends to the training."""

    command: str
    label: str
    knobs: dict[str, str | float | int | bool] = {}


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="mark", tag=str.lower):
    """What every mark has: a title, a caption and perhaps a handle."""

    title: str = ""
    caption: str = ""
    handle: Handle | None = None


class Box(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rectangle over an image, in its pixels; ``x`` and ``y`` are the top left corner."""

    x: float
    y: float
    width: float
    height: float
    label: str = ""
    key: str = ""


class Image(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """One picture, perhaps with heat over it."""

    pixels: Array  # (height, width) through limits, or (height, width, 3|4): uint8, or floats from 0 to 1
    limits: Limits | None = None
    heat: Array | None = None  # (height, width)
    heat_limits: Limits | None = None
    contour: float | None = None  # draw the heat's contour at this share of its limit
    boxes: tuple[Box, ...] = ()
    label: str = ""
    key: str = ""
    place_key: str = ""  # a unit's key: clicking a pixel selects that unit at that place
    size: int = 96  # wanted width on screen, CSS pixels

    def __post_init__(self) -> None:
        _shape(self, "pixels", self.pixels, (2, 3))
        if self.pixels.ndim == 3 and self.pixels.shape[2] not in (3, 4):
            raise UsageError(f"an image has 3 or 4 colours, got shape {self.pixels.shape}")
        if self.heat is not None:
            _length(self, "heat", self.heat.shape, self.pixels.shape[:2])


class Tiles(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A grid of small pictures: weights, activation maps, examples."""

    images: Array  # (count, height, width) through limits, or (count, height, width, 3) uint8
    limits: Limits | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # a second line under each picture
    keys: tuple[str, ...] = ()
    faded: Array | None = None  # (count,) bool: dead, off
    badges: tuple[str, ...] = ()  # a word on a picture: "dead"; empty for none
    boxes: tuple[Box, ...] = ()  # at most one a picture, in its pixels
    columns: int | None = None
    size: int = 44  # wanted width of one picture on screen, CSS pixels

    def __post_init__(self) -> None:
        _shape(self, "images", self.images, (3, 4))
        for name in ("labels", "notes", "keys", "badges", "boxes"):
            if getattr(self, name):
                _length(self, name, len(getattr(self, name)), len(self.images))
        if self.faded is not None:
            _length(self, "faded", self.faded.shape, (len(self.images),))
        if self.images.ndim == 3 and self.limits is None:
            raise UsageError("tiles of numbers need limits")


class Heatmap(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A labelled matrix: confusion, neuron by class, a dense layer's activations (one row)."""

    values: Array  # (rows, columns)
    limits: Limits
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    row_keys: tuple[str, ...] = ()
    column_keys: tuple[str, ...] = ()
    row_title: str = ""
    column_title: str = ""
    numbers: bool = False  # write the values into the cells
    square: bool = False
    size: int = 16  # wanted cell height, CSS pixels

    def __post_init__(self) -> None:
        _shape(self, "values", self.values, (2,))
        for name, length in zip(
            ("row_labels", "column_labels", "row_keys", "column_keys"), self.values.shape * 2, strict=True
        ):
            if getattr(self, name):
                _length(self, name, len(getattr(self, name)), length)


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``low`` and ``high`` are its exact envelope or band."""

    name: str
    x: Array  # (n,)
    y: Array  # (n,)
    low: Array | None = None  # (n,)
    high: Array | None = None  # (n,)
    key: str = ""
    colour: int = 0  # index into the class colours
    dash: bool = False
    faint: bool = False  # the raw values under their smoothed line
    band: bool = False  # draw only the filled band from low to high
    group: str = ""  # the run, or what else tells overlaid lines apart

    def __post_init__(self) -> None:
        for name in ("y", "low", "high"):
            array = getattr(self, name)
            if array is not None:
                _length(self, name, array.shape, self.x.shape)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A moment on the x axis: a command, a finding, a gap in the record."""

    x: float
    label: str
    kind: Literal["command", "finding", "gap", "flip"] = "command"
    end: float | None = None  # of a gap


class Lines(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Series over steps, time or another number, with bands and events."""

    series: tuple[Series, ...]
    x_title: str = "step"
    y_title: str = ""
    x_kind: Literal["step", "time", "number"] = "step"
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    events: tuple[Event, ...] = ()
    cursor: float | None = None  # where the time slider stands
    height: int = 180


class RidgeSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The distributions of one tensor in one run: one ridge a step."""

    name: str
    steps: Array  # (steps,)
    edges: Array  # (bins + 1,) ascending
    density: Array  # (steps, bins): share of the values per unit of x
    colour: int = 0

    def __post_init__(self) -> None:
        _length(self, "density", self.density.shape, (len(self.steps), len(self.edges) - 1))


class Ridges(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Distributions over steps; several sets share one axis."""

    sets: tuple[RidgeSet, ...]
    x_title: str = ""
    x_range: tuple[float, float] | None = None
    cursor: float | None = None
    height: int = 200


class Bars(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """One bar a label; negative values go the other way."""

    values: Array  # (n,)
    labels: tuple[str, ...]
    keys: tuple[str, ...] = ()
    colours: tuple[int, ...] = ()  # indices into the class colours; empty: by sign or one ink
    reference: Array | None = None  # (n,): a second value, drawn as a tick (the truth, another run)
    notes: tuple[str, ...] = ()
    limits: Limits | None = None
    unit: str = ""
    strong: int | None = None  # the bar that is told apart (the prediction)
    horizontal: bool = True

    def __post_init__(self) -> None:
        _shape(self, "values", self.values, (1,))
        _length(self, "labels", len(self.labels), len(self.values))
        for name in ("keys", "colours", "notes"):
            if getattr(self, name):
                _length(self, name, len(getattr(self, name)), len(self.values))


class Field(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A plane of outputs with points on it."""

    values: Array  # (height, width) through limits, or (height, width, classes) probabilities; row 0 is the lowest y
    extent: tuple[float, float, float, float]  # x low, x high, y low, y high
    limits: Limits | None = None
    classes: tuple[str, ...] = ()
    points: Array | None = None  # (n, 2)
    point_values: Array | None = None  # (n,): the class index, or the true value through limits
    point_keys: tuple[str, ...] = ()
    wrong: Array | None = None  # (n,) bool
    x_title: str = ""
    y_title: str = ""
    size: int = 300

    def __post_init__(self) -> None:
        _shape(self, "values", self.values, (2, 3))
        if self.values.ndim == 2 and self.limits is None:
            raise UsageError("a field of numbers needs limits")
        if self.points is not None:
            _length(self, "points", self.points.shape, (len(self.points), 2))
            if self.point_keys:
                _length(self, "point_keys", len(self.point_keys), len(self.points))


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


class Alternative(msgspec.Struct, frozen=True):
    """What could have come here, and how likely."""

    text: str
    probability: float


class Text(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, each coloured by a value, with likely alternatives under it."""

    tokens: tuple[str, ...]
    values: Array | None = None  # (tokens,)
    limits: Limits | None = None
    alternatives: tuple[tuple[Alternative, ...], ...] = ()  # for each token: what the model expected in its place
    keys: tuple[str, ...] = ()
    characters: bool = False  # tokens are single characters: set in a monospaced grid

    def __post_init__(self) -> None:
        if self.values is not None:
            _length(self, "values", self.values.shape, (len(self.tokens),))
        for name in ("alternatives", "keys"):
            if getattr(self, name):
                _length(self, name, len(getattr(self, name)), len(self.tokens))


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
            _length(self, f"column {column.name}", column.rows(), self.columns[0].rows())
        if self.row_keys:
            _length(self, "row_keys", len(self.row_keys), self.columns[0].rows())


class Number(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A number or a finding, with its unit, its warning and what can be done."""

    label: str
    value: float | None = None
    unit: str = ""
    tone: Literal["plain", "good", "warn", "bad"] = "plain"
    note: str = ""
    key: str = ""
    actions: tuple[Action, ...] = ()


class Group(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Marks side by side, one below the other, or in a wrapping grid."""

    children: tuple[Node, ...]
    direction: Literal["row", "column", "grid"] = "column"


Node = Image | Tiles | Heatmap | Lines | Ridges | Bars | Field | Blocks | Text | Table | Number | Group
"""A picture's body: one mark, or a group of them."""

MARKS: dict[str, type[Mark]] = {
    mark.__name__.lower(): mark
    for mark in (Image, Tiles, Heatmap, Lines, Ridges, Bars, Field, Blocks, Text, Table, Number)
}


def _shape(mark: object, name: str, array: Array, dimensions: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        came = f"shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"{type(mark).__name__}.{name} wants an array of {wanted} dimensions, got {came}")


def _length(mark: object, name: str, came: object, wanted: object) -> None:
    if came != wanted:
        raise UsageError(f"{type(mark).__name__}.{name} wants {wanted} elements, got {came}")
