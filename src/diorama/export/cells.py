"""Numbers as coloured cells: zero is paper, NaN is hatched, infinity is magenta, a clipped cell has a notch."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image as Pillow

from ..core.colour import INFINITE, NAN_INK, Limits, Scale, diverging, ramp, rgb
from .style import INK, PAPER


@functools.cache
def table(scale: Scale) -> np.ndarray:
    """The colour table of a scale on white paper: (colours, 3) uint8."""
    if scale == "diverging":
        return diverging(PAPER, 511)
    if scale == "grey":
        return ramp(("#000000", "#ffffff"), 256)
    viridis: Any = colormaps["viridis"]  # a ListedColormap
    return np.asarray(np.rint(np.asarray(viridis.colors) * 255), np.uint8)


def bytes_of(colour: str) -> np.ndarray:
    """A '#rrggbb' colour as three bytes."""
    return np.asarray(np.rint(np.array(rgb(colour)) * 255), np.uint8)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Coloured cells (height, width, 3) uint8, and which of them are NaN or clipped."""

    colours: np.ndarray
    """(height, width, 3) uint8."""
    nan: np.ndarray | None = None
    """(height, width) bool; None where none is."""
    clipped: np.ndarray | None = None
    """(height, width) bool: those that lie outside the limits; None where none does."""

    def enlarged(self, width: float, height: float, density: float = 1.0, whole: bool = False) -> np.ndarray:
        """The cells as RGBA pixels of about this size (exactly, unless ``whole``), nearest neighbour.

        With ``whole`` plain cells stay as they are, for a file that scales pictures itself; marked ones are
        enlarged by a whole number. ``density`` is pixels a layout pixel, for the hatch.
        """
        rows, columns = self.colours.shape[:2]
        marked = self.nan is not None or self.clipped is not None
        if whole:
            if not marked:
                return _opaque(self.colours)
            times = max(1, round(width / columns), round(height / rows))
            width, height = columns * times, rows * times
        wide, high = max(1, round(width)), max(1, round(height))
        if wide < columns or high < rows:
            return _opaque(self._shrunk(wide, high))
        across = np.arange(wide) * columns // wide
        down = np.arange(high) * rows // high
        pixels = self.colours[down[:, None], across[None]]
        if self.nan is not None:
            period, thick = max(4, round(5.5 * density)), max(1, round(1.3 * density))
            lines = (np.arange(wide)[None] + np.arange(high)[:, None]) % period < thick
            pixels[self.nan[down[:, None], across[None]] & lines] = bytes_of(NAN_INK)
        if self.clipped is not None:
            _notch(pixels, self.clipped, down, across)
        return _opaque(pixels)

    def _shrunk(self, wide: int, high: int) -> np.ndarray:
        rows, columns = self.colours.shape[:2]
        picture = Pillow.fromarray(self.colours)
        return np.array(picture.resize((wide, high), Pillow.Resampling.BOX if wide < columns and high < rows else 0))


def _notch(pixels: np.ndarray, clipped: np.ndarray, down: np.ndarray, across: np.ndarray) -> None:
    """Cut the top right corner of clipped cells in ink, where a cell has the room."""
    rows, columns = clipped.shape
    side = min(len(across) / columns, len(down) / rows)
    if side < 4:
        return
    inside_x = (np.arange(len(across)) * columns / len(across) - across) * (len(across) / columns)
    inside_y = (np.arange(len(down)) * rows / len(down) - down) * (len(down) / rows)
    cut = min(max(2.0, side * 0.28), 9.0)
    corner = (len(across) / columns - 1 - inside_x)[None] + inside_y[:, None] < cut
    pixels[clipped[down[:, None], across[None]] & corner] = bytes_of(INK)


def _opaque(colours: np.ndarray) -> np.ndarray:
    return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])


def colour(values: np.ndarray, limits: Limits, shade: np.ndarray | None = None) -> Cells:
    """Numbers (height, width) through limits."""
    values = np.asarray(values, np.float32 if values.dtype == np.float32 else np.float64)
    colours = table(limits.scale)
    nan, infinite = np.isnan(values), np.isinf(values)
    span = limits.high - limits.low
    special = bool(nan.any() or infinite.any())
    clean = np.where(nan | infinite, limits.low, values) if special else values
    place = (clean - limits.low) * ((len(colours) - 1) / span if span > 0 else 0.0)
    slack = 1e-5 * len(colours)
    beyond = (place < -slack) | (place > len(colours) - 1 + slack)
    found = colours[np.clip(np.rint(place), 0, len(colours) - 1).astype(np.intp)]
    if special:
        found[nan] = bytes_of(PAPER)
        found[infinite] = bytes_of(INFINITE)
    return Cells(found, nan if nan.any() else None, beyond if beyond.any() else None)


def pixels(image: np.ndarray) -> Cells:
    """A picture in colour (height, width, 3 or 4), bytes or numbers from 0 to 1, on paper."""
    if image.dtype != np.uint8:
        bad = ~np.isfinite(image[..., :3]).all(-1)
        image = np.rint(np.clip(np.nan_to_num(image, nan=1.0, posinf=1.0, neginf=0.0), 0, 1) * 255).astype(np.uint8)
        nan = bad if bad.any() else None
    else:
        nan = None
    if image.shape[-1] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + bytes_of(PAPER) * (1 - alpha)).astype(np.uint8)
    return Cells(image, nan)


def faded(cells: Cells, share: float = 0.35) -> Cells:
    """The cells dimmed towards the paper; they never vanish."""
    mixed = cells.colours * share + bytes_of(PAPER) * (1 - share)
    return dataclasses.replace(cells, colours=np.rint(mixed).astype(np.uint8))


def heated(base: Cells, heat: np.ndarray, limits: Limits) -> Cells:
    """Heat over a grey version of a picture, as opaque as it is large."""
    grey = base.colours.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    grey = 255 - (255 - grey) * 0.75
    hot = colour(heat, limits)
    reach = max(abs(limits.low), abs(limits.high)) or 1.0
    clean = np.where(np.isfinite(heat), heat, reach)
    share = np.clip(np.abs(clean) / reach, 0, 1)[..., None] ** 0.7 * 0.95
    strong = table(limits.scale)[-1 if limits.scale != "diverging" else 0]
    tint = (
        np.where(clean[..., None] >= 0, table(limits.scale)[-1], strong) if limits.scale == "diverging" else hot.colours
    )
    mixed = grey[..., None] * (1 - share) + tint * share
    mixed = np.where(np.isfinite(heat)[..., None], mixed, hot.colours)
    return Cells(np.rint(mixed).astype(np.uint8), hot.nan, hot.clipped)
