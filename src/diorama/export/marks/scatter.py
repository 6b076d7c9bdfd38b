"""Points on a plane or in space."""

from __future__ import annotations

import numpy as np

from ...core.colour import NAN_INK, Limits, class_colour
from ...core.marks import Scatter
from ...core.marks.scatter import MANY, PLACES, crowd
from .. import typeset
from ..cells import Cells, bytes_of, colour, pixels, table
from ..legend import class_dots, legend
from ..sheet import Sheet
from ..style import HAIRLINE, INK, LABEL, MUTED, PAPER, Style

AZIMUTH, ELEVATION = np.deg2rad(30), np.deg2rad(20)
"""From where points in space are seen, as the page shows them first."""
HEAD = 0.45
"""Between an arrow and each side of its head, in radians."""
CELL = (30.0, 30.0)
"""A picture's place on the grid."""
WORDS = (128.0, 20.0)
"""That of a line of text, where there are no pictures."""


def draw(mark: Scatter, style: Style) -> Sheet:
    """A square with the points; those without numbers are counted below."""
    sheet = Sheet()
    side = min(float(mark.size), style.width - 4)
    sheet.rect(0.5, 0.5, side, side, stroke=HAIRLINE, line=0.8)
    sheet.grow(side + 1, side + 1)
    clip = (0.5, 0.5, side + 0.5, side + 0.5)
    at, depth = placed(mark, np.asarray(mark.points, float), side)
    fine = np.isfinite(at).all(1) & ((at >= 0) & (at <= side + 1)).all(1)
    if mark.borders is not None and mark.points.shape[1] == 2:
        for x0, y0, x1, y1, number in np.asarray(mark.borders, float):
            ends, _ = placed(mark, np.array([[x0, y0], [x1, y1]]), side)
            sheet.line(ends[:, 0], ends[:, 1], class_colour(int(number)), 1.0, clip=clip)
    if len(at) > MANY and mark.drawn != "thumbnails":
        return _many(sheet, at, style, side)
    inks = _inks(mark, len(at))
    if mark.trails is not None:
        for index in np.flatnonzero(fine):
            way, _ = placed(mark, np.vstack([mark.trails[index], mark.points[index]]), side)
            sheet.line(way[:, 0], way[:, 1], inks[index], 0.6, alpha=0.4, clip=clip)
    if mark.drawn == "thumbnails":
        (_words if mark.pictures is None else _pictures)(sheet, mark, at, fine, inks, side)
    else:
        _dots(sheet, mark, at, depth, fine, inks)
    if mark.arrows is not None and len(mark.arrows):
        _arrows(sheet, mark, side, clip)
    y = side + 8
    if mark.limits is not None:
        sheet.place(legend(mark.limits, style), 0, y)
    elif mark.classes:
        sheet.place(class_dots(mark.classes, style, max(side, 200.0)), 0, y)
    _said(sheet, mark, at, fine, side)
    return sheet


def _many(sheet: Sheet, at: np.ndarray, style: Style, side: float) -> Sheet:
    """Of points that would hide each other, how many lie at each place; where none lies is paper."""
    counted = crowd(at * [1, -1], ((0.5, side + 0.5), (-side - 0.5, -0.5)))
    limits = Limits(low=0.0, high=float(counted.max()) or 1.0)
    cells = colour(counted, limits).colours.copy()
    cells[counted == 0] = bytes_of(PAPER)
    sheet.raster(1, 1, side - 1, side - 1, Cells(cells))
    sheet.place(legend(limits, style), 0, side + 8)
    missing = int((~np.isfinite(at).all(1)).sum())
    said = f"{len(at):,} points: log10 of 1 + how many lie at each of {PLACES} × {PLACES} places"
    y = sheet.height + 2
    sheet.grow(sheet.text(0, y + 11, said + (f" · {missing:,} without a place" if missing else ""), LABEL, MUTED), y + 14)
    return sheet


def _arrows(sheet: Sheet, mark: Scatter, side: float, clip: tuple[float, float, float, float]) -> None:
    """A line from the middle to each end, with a head and its label beside the end."""
    assert mark.arrows is not None
    ends, _ = placed(mark, np.vstack([mark.middle, np.asarray(mark.arrows, float)]), side)
    for (x, y), label in zip(ends[1:], mark.arrow_labels, strict=True):
        if not np.isfinite([x, y]).all():
            continue
        sheet.line([ends[0, 0], x], [ends[0, 1], y], INK, 1.0, clip=clip)
        back = np.arctan2(ends[0, 1] - y, ends[0, 0] - x)
        for turn in (-HEAD, HEAD):
            sheet.line([x, x + 6 * np.cos(back + turn)], [y, y + 6 * np.sin(back + turn)], INK, 1.0, clip=clip)
        left = x < ends[0, 0]
        sheet.text(x - 3 if left else x + 3, y + 3, label, LABEL, INK, anchor="right" if left else "left")


def placed(mark: Scatter, points: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Where points lie on the sheet, and how near they are to who looks, from -1 to 1."""
    low, high = np.array(mark.spans, float).T
    told = 2 * (points - low) / np.where(high > low, high - low, 1.0) - 1
    depth = np.zeros(len(points))
    if points.shape[1] == 3:
        x, y, z = told.T
        across, back = x * np.cos(AZIMUTH) + z * np.sin(AZIMUTH), z * np.cos(AZIMUTH) - x * np.sin(AZIMUTH)
        up, depth = y * np.cos(ELEVATION) - back * np.sin(ELEVATION), y * np.sin(ELEVATION) + back * np.cos(ELEVATION)
        told = np.column_stack([across, up]) * 0.577  # a cube fits into the square however it is turned
    return np.column_stack([0.5 + side * (1 + told[:, 0]) / 2, 0.5 + side * (1 - told[:, 1]) / 2]), depth


def _inks(mark: Scatter, count: int) -> list[str]:
    if mark.values is None:
        return [INK] * count
    values = np.asarray(mark.values, float)
    if mark.limits is None:
        return [class_colour(int(one)) if np.isfinite(one) and one >= 0 else NAN_INK for one in values]
    colours, limits = table(mark.limits.scale), mark.limits
    level = np.clip((values - limits.low) / ((limits.high - limits.low) or 1.0), 0, 1)
    shades = colours[np.rint(np.nan_to_num(level) * (len(colours) - 1)).astype(int)]
    return ["#{:02x}{:02x}{:02x}".format(*shade) if np.isfinite(one) else NAN_INK for one, shade in zip(values, shades, strict=True)]


def _dots(sheet: Sheet, mark: Scatter, at: np.ndarray, depth: np.ndarray, fine: np.ndarray, inks: list[str]) -> None:
    few = mark.drawn != "density"
    usual = (3.0 if len(at) <= 600 else 2.0 if len(at) <= 5000 else 1.2) if few else 1.2
    sizes = np.ones(len(at)) if mark.sizes is None else np.asarray(mark.sizes, float)
    faded = np.zeros(len(at), bool) if mark.faded is None else np.asarray(mark.faded, bool)
    wrong = np.zeros(len(at), bool) if mark.wrong is None else np.asarray(mark.wrong, bool)
    shades = [_pale(ink) if pale else ink for ink, pale in zip(inks, faded, strict=True)]
    radii = np.round(usual * np.sqrt(np.clip(np.nan_to_num(sizes, nan=1.0), 0.05, 9)) * (1 + 0.25 * depth), 1)
    # Dots of one look are one path; where they lie in space, the near ones come last.
    layers = np.digitize(depth, [-0.6, -0.2, 0.2, 0.6]) if mark.points.shape[1] == 3 else np.zeros(len(at), int)
    looks: dict[tuple[int, bool, str, float, bool], list[int]] = {}
    for index in np.flatnonzero(fine):
        look = (int(layers[index]), not faded[index], shades[index], float(radii[index]), bool(wrong[index]))
        looks.setdefault(look, []).append(int(index))
    for (_, _, shade, radius, marked), members in sorted(looks.items()):
        sheet.dots(at[members], radius, shade, INK if marked else PAPER, 1.2 if marked else 0.5)


def _pale(ink: str) -> str:
    mixed = 0.3 * bytes_of(ink).astype(float) + 0.7 * bytes_of(PAPER)
    return "#{:02x}{:02x}{:02x}".format(*np.rint(mixed).astype(int))


def _pictures(sheet: Sheet, mark: Scatter, at: np.ndarray, fine: np.ndarray, inks: list[str], side: float) -> None:
    """In each place of a grid the picture of the point nearest to its middle: none lies on another."""
    assert mark.pictures is not None
    wide, high = CELL
    for index, (x, y) in on_grid(at, fine, side, CELL).items():
        picture = mark.pictures[index]
        cells = pixels(picture) if mark.picture_limits is None else colour(picture, mark.picture_limits)
        room, (down, across) = wide - 4, picture.shape[:2]
        broad, tall = room * min(1.0, across / down), room * min(1.0, down / across)
        sheet.raster(x + 2 + (room - broad) / 2, y + 2 + (room - tall) / 2, broad, tall, cells)
        marked = mark.wrong is not None and bool(mark.wrong[index])
        sheet.rect(x + 1.2, y + 1.2, wide - 2.4, high - 2.4, stroke=INK if marked else inks[index], line=1.6)


def _words(sheet: Sheet, mark: Scatter, at: np.ndarray, fine: np.ndarray, inks: list[str], side: float) -> None:
    """In each place of a grid the text of the point nearest to its middle, with a bar in the colour of its point."""
    wide, high = WORDS
    for index, (x, y) in on_grid(at, fine, side, WORDS).items():
        sheet.rect(x + 2, y + 3, 3, high - 6, fill=inks[index])
        sheet.text(x + 8, y + high / 2 + 4, typeset.fit(mark.labels[index], LABEL, wide - 12), LABEL, INK)
        if mark.wrong is not None and bool(mark.wrong[index]):
            sheet.rect(x + 1, y + 1, wide - 2, high - 2, stroke=INK, line=1.0)


def on_grid(at: np.ndarray, fine: np.ndarray, side: float, cell: tuple[float, float]) -> dict[int, tuple[float, float]]:
    """The points whose pictures or texts are shown, and the corners of their places."""
    wide, high = cell
    found: dict[tuple[int, int], tuple[float, int]] = {}
    most, rows = max(1, int(side // wide)), max(1, int(side // high))
    for index in np.flatnonzero(fine):
        column, row = min(most - 1, int(at[index][0] // wide)), min(rows - 1, int(at[index][1] // high))
        away = float(np.hypot(*(at[index] - (np.array([column, row]) + 0.5) * cell)))
        if (column, row) not in found or away < found[column, row][0]:
            found[column, row] = away, int(index)
    return {index: (column * wide + 0.5, row * high + 0.5) for (column, row), (_, index) in found.items()}


def _said(sheet: Sheet, mark: Scatter, at: np.ndarray, fine: np.ndarray, side: float) -> None:
    said = []
    if mark.drawn == "thumbnails":
        shown = len(on_grid(at, fine, side, WORDS if mark.pictures is None else CELL))
        said.append(f"{shown:,} of {len(fine):,} {'texts' if mark.pictures is None else 'pictures'}: one for each place")
    if mark.wrong is not None and np.any(mark.wrong):
        said.append(f"dark edge: {int(np.sum(mark.wrong)):,} of {len(fine):,} wrong")
    if mark.faded is not None and np.any(mark.faded):
        said.append(f"pale: {int(np.sum(mark.faded)):,} {mark.pale}")
    missing = int((~np.isfinite(mark.points).all(1)).sum())
    if missing:
        said.append(f"{missing:,} without a place")
    if said:
        y = sheet.height + 2
        sheet.grow(sheet.text(0, y + 11, " · ".join(said), LABEL, MUTED), y + 14)
