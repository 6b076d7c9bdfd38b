"""A sheet is a list of drawn things with a size: every mark makes one, and a figure is one sheet painted by matplotlib.

Coordinates are layout pixels (a hundredth of an inch), x to the right and y down. Painting goes straight to
matplotlib's renderer: no pyplot, nothing global is set, threads do not meet, and a film's frame costs little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Bbox

from ..core.colour import rgb
from ..core.errors import UsageError
from . import typeset
from .cells import Cells
from .style import INK, PLAIN
from .typeset import Face

Anchor = Literal["left", "center", "right"]
PER_INCH = 100.0


@dataclasses.dataclass(frozen=True)
class TextLine:
    """One line of text; ``y`` is its baseline. ``angle`` turns it about its anchor, in degrees against the clock."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    face: Face
    anchor: Anchor
    angle: float = 0.0

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        long = typeset.width(self.text, self.size, self.face)
        before = {"left": 0.0, "center": long / 2, "right": long}[self.anchor]
        corners = np.array([[-before, -0.76 * self.size], [long - before, 0.22 * self.size]])
        if self.angle == 90:
            (a, b), (c, d) = corners
            return self.x + b, self.y - c, self.x + d, self.y - a
        (a, b), (c, d) = corners
        return self.x + a, self.y + b, self.x + c, self.y + d


@dataclasses.dataclass(frozen=True)
class Shape:
    """A path, filled or stroked or both. ``clip`` is left, top, right, bottom."""

    path: Path
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    alpha: float = 1.0
    dash: tuple[float, ...] = ()
    clip: tuple[float, float, float, float] | None = None

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        vertices = np.asarray(self.path.vertices, np.float64)
        finite = vertices[np.isfinite(vertices).all(1)]
        if not len(finite):
            return 0.0, 0.0, 0.0, 0.0
        (a, b), (c, d) = finite.min(0), finite.max(0)
        if self.clip:
            a, b, c, d = max(a, self.clip[0]), max(b, self.clip[1]), min(c, self.clip[2]), min(d, self.clip[3])
        return float(a), float(b), float(c), float(d)


@dataclasses.dataclass(frozen=True)
class Raster:
    """Coloured cells in a rectangle."""

    x: float
    y: float
    width: float
    height: float
    cells: Cells

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height


Item = TextLine | Shape | Raster


class Sheet:
    """A size and what is drawn on it."""

    def __init__(self, width: float = 0.0, height: float = 0.0) -> None:
        self.width, self.height = width, height
        self.items: list[tuple[Item, float, float]] = []

    def place(self, other: Sheet, x: float, y: float) -> None:
        """Put another sheet on this one and grow to hold it."""
        self.items += [(item, dx + x, dy + y) for item, dx, dy in other.items]
        self.grow(x + other.width, y + other.height)

    def grow(self, width: float, height: float) -> None:
        """Be at least this large."""
        self.width, self.height = max(self.width, width), max(self.height, height)

    def text(
        self, x: float, y: float, text: str, size: float, colour: str = INK, face: Face = PLAIN,
        anchor: Anchor = "left", angle: float = 0.0,
    ) -> float:
        """Write one line and return its width. *Raises* UsageError for an anchor that is none."""
        if anchor not in get_args(Anchor):
            raise UsageError(f"the anchor of a text is one of {', '.join(map(repr, get_args(Anchor)))}, not {anchor!r}")
        if text:
            self.items.append((TextLine(x, y, text, size, colour, face, anchor, angle), 0.0, 0.0))
        return typeset.width(text, size, face)

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str = "", stroke: str = "", line: float = 1.0,
        radius: float = 0.0, alpha: float = 1.0, dash: tuple[float, ...] = (),
    ) -> None:
        """Draw a rectangle, perhaps with round corners."""
        path = (
            _rounded(x, y, width, height, min(radius, width / 2, height / 2)) if radius else _box(x, y, width, height)
        )
        self.items.append((Shape(path, fill, stroke, line, alpha, dash), 0.0, 0.0))

    def line(
        self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, colour: str, width: float = 1.0,
        alpha: float = 1.0, dash: tuple[float, ...] = (), clip: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Draw a polyline; NaN breaks it."""
        points = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
        if len(points):
            self.items.append((Shape(Path(points), "", colour, width, alpha, dash, clip), 0.0, 0.0))

    def area(
        self, points: np.ndarray, fill: str, alpha: float = 1.0, stroke: str = "", line: float = 1.0,
        clip: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Fill a polygon."""
        if len(points):
            path = Path(np.vstack([points, points[:1]]), closed=True)
            self.items.append((Shape(path, fill, stroke, line, alpha, (), clip), 0.0, 0.0))

    def curve(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        """Draw one cubic curve through its four control points."""
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        self.items.append((Shape(Path(np.array(points), codes), "", colour, width), 0.0, 0.0))

    def dots(self, points: np.ndarray, radius: float, fill: str, edge: str = "", line: float = 0.5) -> None:
        """Draw equal dots as one path."""
        points = points[np.isfinite(points).all(1)]
        if len(points):
            circle = Path.unit_circle()
            vertices = (np.asarray(circle.vertices)[None] * radius + points[:, None]).reshape(-1, 2)
            path = Path(vertices, np.tile(np.asarray(circle.codes), len(points)))
            self.items.append((Shape(path, fill, edge, line), 0.0, 0.0))

    def raster(self, x: float, y: float, width: float, height: float, cells: Cells) -> None:
        """Put coloured cells into a rectangle."""
        self.items.append((Raster(x, y, width, height, cells), 0.0, 0.0))

    def scaled(self, factor: float) -> Sheet:
        """The same sheet, so many times as large."""
        sheet = Sheet(self.width * factor, self.height * factor)
        sheet.items = [(_larger(item, factor), x * factor, y * factor) for item, x, y in self.items]
        return sheet

    def strip(self, top: float, bottom: float) -> Sheet:
        """What lies between two heights; lines and areas are cut there, words and cells are in it or not by their middle."""
        sheet = Sheet(self.width, bottom - top)
        for (item, x, y), (_, (left, high, right, low)) in zip(self.items, self.boxes(), strict=True):
            if isinstance(item, Shape) and high < bottom and low > top:
                clip = (left - x - item.width, max(high, top) - y, right - x + item.width, min(low, bottom) - y)
                whole = high >= top and low <= bottom
                sheet.items.append((item if whole else dataclasses.replace(item, clip=clip), x, y - top))
            elif not isinstance(item, Shape) and top <= (high + low) / 2 < bottom:
                sheet.items.append((item, x, y - top))
        return sheet

    def cover(self) -> None:
        """Grow to hold everything drawn."""
        for _, (_, _, right, bottom) in self.boxes():
            self.grow(right, bottom)

    def boxes(self) -> Iterable[tuple[TextLine | Shape | Raster, tuple[float, float, float, float]]]:
        """Every item with the box it covers."""
        for item, x, y in self.items:
            a, b, c, d = item.box()
            yield item, (a + x, b + y, c + x, d + y)


def _larger(item: Item, factor: float) -> Item:
    if isinstance(item, TextLine):
        return dataclasses.replace(item, x=item.x * factor, y=item.y * factor, size=item.size * factor)
    if isinstance(item, Shape):
        a, b, c, d = item.clip or (0.0, 0.0, 0.0, 0.0)
        clip = (a * factor, b * factor, c * factor, d * factor) if item.clip else None
        path = Path(np.asarray(item.path.vertices) * factor, item.path.codes)
        dash = tuple(each * factor for each in item.dash)
        return dataclasses.replace(item, path=path, width=item.width * factor, dash=dash, clip=clip)
    sides = {name: getattr(item, name) * factor for name in ("x", "y", "width", "height")}
    return dataclasses.replace(item, **sides)


def _box(x: float, y: float, width: float, height: float) -> Path:
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]])
    return Path(corners, closed=True)


def _rounded(x: float, y: float, width: float, height: float, r: float) -> Path:
    right, bottom = x + width, y + height
    points = [(x + r, y), (right - r, y), (right, y), (right, y + r), (right, bottom - r), (right, bottom)]
    points += [
        (right - r, bottom),
        (x + r, bottom),
        (x, bottom),
        (x, bottom - r),
        (x, y + r),
        (x, y),
        (x + r, y),
        (x + r, y),
    ]
    corner = [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path(np.array(points), [Path.MOVETO, *corner * 4, Path.CLOSEPOLY])


class Painting(Artist):
    """The one artist of a figure: it plays a sheet to whatever renderer draws the figure."""

    def __init__(self, sheet: Sheet, height: float) -> None:
        super().__init__()
        self._sheet, self._height = sheet, height

    def draw(self, renderer: Any) -> None:
        """Paint every item in order."""
        figure = self.get_figure(root=True)
        assert figure is not None  # matplotlib draws what it holds
        scale = figure.dpi / PER_INCH
        for item, dx, dy in self._sheet.items:
            if isinstance(item, TextLine):
                self._words(renderer, item, dx, dy, scale)
            elif isinstance(item, Shape):
                self._shape(renderer, item, dx, dy, scale)
            else:
                self._raster(renderer, item, dx, dy, scale)

    def _words(self, renderer: Any, item: TextLine, dx: float, dy: float, scale: float) -> None:
        gc = renderer.new_gc()
        gc.set_foreground(item.colour)
        parts = typeset.runs(item.text, item.face)
        long = sum(run.width for run in parts) * item.size
        along = -{"left": 0.0, "center": long / 2, "right": long}[item.anchor]
        turn = np.deg2rad(item.angle)
        for run in parts:
            x = (item.x + dx + along * np.cos(turn)) * scale
            y = (self._height - item.y - dy + along * np.sin(turn)) * scale
            if isinstance(renderer, RendererAgg):
                # Outlines without hinting: as wide as measured at every resolution, and the same on every machine.
                vertices, codes = typeset.outline(run.text, run.font)
                turned = Affine2D().scale(item.size * scale).rotate(turn).translate(x, y)
                gc.set_linewidth(0)
                renderer.draw_path(gc, Path(vertices, codes), turned, rgb(item.colour))
            else:
                y = renderer.get_canvas_width_height()[1] - y if renderer.flipy() else y
                renderer.draw_text(
                    gc, x, y, run.text, FontProperties(fname=run.font, size=item.size * 0.72), item.angle
                )
            along += run.width * item.size
        gc.restore()

    def _shape(self, renderer: Any, item: Shape, dx: float, dy: float, scale: float) -> None:
        gc = renderer.new_gc()
        move = Affine2D().translate(dx, dy).scale(scale, -scale).translate(0, self._height * scale)
        gc.set_linewidth(item.width * 72 / PER_INCH if item.stroke else 0)  # in points
        gc.set_foreground(item.stroke or item.fill)
        gc.set_joinstyle("round")
        gc.set_capstyle("butt")
        if item.alpha < 1:
            gc.set_alpha(item.alpha)
        if item.dash:
            gc.set_dashes(0, [dash * 72 / PER_INCH for dash in item.dash])
        if item.clip:
            a, b, c, d = item.clip
            gc.set_clip_path(None)
            gc.set_clip_rectangle(_bounds(move, a, b, c, d))
        renderer.draw_path(gc, item.path, move, rgb(item.fill) if item.fill else None)
        gc.restore()

    def _raster(self, renderer: Any, item: Raster, dx: float, dy: float, scale: float) -> None:
        gc = renderer.new_gc()
        x, y = item.x + dx, item.y + dy
        if renderer.option_scale_image():
            pixels = item.cells.enlarged(item.width * 3, item.height * 3, 3.0, whole=True)
            stretch = Affine2D().scale(item.width * scale, item.height * scale)
            renderer.draw_image(gc, x * scale, (self._height - y - item.height) * scale, pixels[::-1], stretch)
        else:
            total = round(self._height * scale)
            left, right = round(x * scale), round((x + item.width) * scale)
            top, bottom = round(y * scale), round((y + item.height) * scale)
            pixels = item.cells.enlarged(max(1, right - left), max(1, bottom - top), scale)
            renderer.draw_image(gc, left, total - bottom, pixels[::-1])
        gc.restore()


def _bounds(move: Affine2D, a: float, b: float, c: float, d: float) -> Any:
    return Bbox(move.transform([[a, d], [c, b]]))
