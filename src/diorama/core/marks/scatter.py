"""Points on a plane or in space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from ..colour import Limits
from ..errors import UsageError
from .mark import Array, Mark, Range, check_length, check_shape

MANY = 100_000
"""More points than this lie on each other wherever they are many: paper, and a browser without WebGL, show how many lie where."""
PLACES = 256
"""So many places a side are counted then."""
FILLED = 1 / 3
"""Of a film's width and height a frame's own axes take no less: points that lie closer together are drawn larger, and the picture says how much."""


class Scatter(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """Points on a plane or in space: by class or number, as dots, small pictures or lines of text on a grid, or with contours of their density."""

    points: Array  # (n, 2 or 3)
    values: Array | None = None  # (n,): the class index, -1 or NaN for none; or numbers through limits
    limits: Limits | None = None
    classes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    kind: str = ""  # without keys: the key of the point i is kind:i
    labels: tuple[str, ...] = ()  # what each is, in a line
    wrong: Array | None = None  # (n,) bool: marked by a dark edge
    faded: Array | None = None  # (n,) bool: drawn pale
    pale: str = "not to be trusted"  # what a pale point is; another word says who answers to the selection, and no others step back
    sizes: Array | None = None  # (n,): radii, 1 as usual
    pictures: Array | None = None  # (n, height, width) through picture_limits, or (n, height, width, 3) uint8
    picture_limits: Limits | None = None
    trails: Array | None = None  # (n, places, 2 or 3): where each was before, the oldest place first
    borders: Array | None = None  # (pieces, 5): contours, each piece a line from x, y to x, y, and its class index
    arrows: Array | None = None  # (arrows, 2 or 3): where they end; all begin in the middle of the points, as "middle" says
    arrow_labels: tuple[str, ...] = ()
    middle: tuple[float, ...] = ()
    drawn: Literal["points", "density", "thumbnails"] = "points"
    spans: tuple[tuple[float, float], ...] = ()  # the range of each axis, all of one length; empty: about the points
    crowd: Array | None = None  # (places, places), of more than 100,000 points on a plane: log10 of 1 + how many lie there, the highest row first
    size: int = 360  # width and height, CSS pixels

    def __post_init__(self) -> None:
        check_shape(self, "points", self.points, (2,))
        count, dimensions = self.points.shape
        if dimensions not in (2, 3):
            raise UsageError(f"a scatter wants points of 2 or 3 numbers, got {dimensions}")
        for name in ("keys", "labels", "values", "wrong", "faded", "sizes", "pictures", "trails"):
            told = getattr(self, name)
            if told is not None and len(told):
                check_length(self, name, len(told), count)
        if self.values is not None and self.limits is None and not self.classes:
            raise UsageError("a scatter of numbers needs limits, and one of classes their names")
        if self.pictures is not None and self.pictures.ndim == 3 and self.picture_limits is None:
            raise UsageError("pictures of numbers need limits")
        if self.trails is not None:
            check_length(self, "trails", self.trails.shape, (count, self.trails.shape[1], dimensions))
        if self.borders is not None:
            check_length(self, "borders", self.borders.shape, (len(self.borders), 5))
        if self.arrows is not None:
            check_length(self, "arrows", self.arrows.shape, (len(self.arrows), dimensions))
            check_length(self, "arrow_labels", len(self.arrow_labels), len(self.arrows))
            check_length(self, "middle", len(self.middle), dimensions)
        if self.drawn == "thumbnails" and self.pictures is None and not self.labels:
            raise UsageError("thumbnails want pictures or labels")
        if self.spans:
            check_length(self, "spans", len(self.spans), dimensions)
        else:
            # Browser and paper draw the same square: its ends travel with the mark.
            msgspec.structs.force_setattr(self, "spans", about(self.points))
        if count > MANY and dimensions == 2:
            msgspec.structs.force_setattr(self, "crowd", crowd(np.asarray(self.points, float), self.spans))

    def ranges(self) -> dict[str, Range]:
        """Every axis stays the same over a film."""
        return {str(index): one for index, one in enumerate(self.spans)}

    def within(self, ranges: Mapping[str, Range]) -> Scatter:
        """The points between these ends, all axes as long as the longest: distances are alike in every direction.

        Where the mark's own axes are much shorter, it is drawn larger about the same place of the picture, and its caption says so.
        """
        given = [ranges.get(str(index), span) for index, span in enumerate(self.spans)]
        length = max(high - low for low, high in given)
        held = [((low + high) / 2 - length / 2, (low + high) / 2 + length / 2) for low, high in given]
        own = max(high - low for low, high in self.spans)
        wanted = own / FILLED
        if not 0 < wanted < length:
            return msgspec.structs.replace(self, spans=tuple(held))
        # Each axis is cut so that what lies left and right of the points keeps its proportion: as they grow, nothing jumps.
        spans = []
        for (low, _), (start, stop) in zip(held, self.spans, strict=True):
            share = (start - low) / (length - (stop - start))
            first = start - share * (wanted - (stop - start))
            spans.append((first, first + wanted))
        said = f"Drawn at {length / wanted:,.3g} times the scale of the film's widest frame."
        return msgspec.structs.replace(self, spans=tuple(spans), caption=f"{self.caption} {said}".strip())


def about(points: np.ndarray) -> tuple[tuple[float, float], ...]:
    """A square or cube about all points that are numbers, with a little room."""
    good: np.ndarray = np.asarray(points, float)[np.isfinite(points).all(1)]
    if not len(good):
        return tuple((-1.0, 1.0) for _ in range(points.shape[1]))
    low, high = good.min(0), good.max(0)
    half = float((high - low).max()) * 0.53 or max(1.0, float(np.abs(high).max()) * 0.1)
    return tuple((float(middle - half), float(middle + half)) for middle in (low + high) / 2)


def crowd(points: np.ndarray, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
    """How many points lie at each place of a plane, (places, places): log10 of 1 + their number, the highest row first."""
    good = points[np.isfinite(points).all(1)]
    across, up = (tuple(span) if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5) for span in spans)
    counted, _, _ = np.histogram2d(good[:, 1], good[:, 0], bins=PLACES, range=(up, across))
    found: np.ndarray = np.log10(1 + counted[::-1]).astype(np.float32)
    return found
