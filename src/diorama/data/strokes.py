"""Pen strokes: how far the pen goes at each place, and where it is lifted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError
from .kind import unfit
from .measured import Series
from .nesting import real

Floats = NDArray[np.float64]
SIDE = 48
"""Pixels along each side of a picture of strokes."""
MOST = 100_000.0
"""A pen that runs further than this many steps off the paper is drawn there."""


@dataclasses.dataclass(frozen=True)
class Strokes(Series):
    """Pen strokes (n, places, 3): how far the pen goes to the right and up, and 1 where it is lifted behind that point.

    The first place leads from (0, 0) to where the pen is set down. ``step`` is the usual length of a step, ``half`` half the side of a
    square about (0, 0) that holds the drawings.
    """

    word: ClassVar[str] = "strokes"
    step: float | None = None
    half: float | None = None

    def decode(self, batch: Tensor) -> NDArray[np.float32]:
        """The three numbers over the places (n, 3, places)."""
        return real(batch, torch.float32).numpy().transpose(0, 2, 1)

    def encode(self, raw: Any) -> Tensor:
        """Rows of three numbers, or lines drawn by hand, "x,y;x,y;…|x,y;…", as a batch of one."""
        values = raw.get("values", raw.get("text")) if isinstance(raw, Mapping) else raw
        if isinstance(values, str):
            return torch.from_numpy(drawn(values, self.step or 1.0).astype(np.float32))[None]
        try:
            rows = np.asarray(values, np.float32)
        except (TypeError, ValueError):
            raise unfit(raw, "pen strokes", "rows of dx, dy and 1 where the pen is lifted") from None
        if rows.ndim != 2 or rows.shape[1] != 3 or not len(rows):
            raise UsageError(f"pen strokes want rows of dx, dy and 1 where the pen is lifted, got an array of shape {rows.shape}")
        return torch.from_numpy(rows)[None]

    def fitted(self, x: Tensor) -> Strokes:
        """Length, the usual step and the square that holds the drawings.

        *Raises* UsageError for examples that are no strokes.
        """
        if x.ndim != 3 or x.shape[2] != 3:
            raise UsageError(f"pen strokes want the shape (examples, places, 3), got {tuple(x.shape)}")
        rows = real(x, torch.float64).numpy()
        steps = np.hypot(rows[:, 1:, 0], rows[:, 1:, 1])
        steps = steps[np.isfinite(steps) & (steps > 0)]
        step = float(np.median(steps)) if steps.size else 1.0
        places = np.abs(points(rows))
        half = float(places[np.isfinite(places)].max(initial=0.0)) * 1.15 or 1.0
        return dataclasses.replace(self, channels=3, length=int(x.shape[1]), step=self.step or step, half=self.half or half)

    def pictured(self, batch: Tensor) -> NDArray[np.uint8]:
        """The drawings as small pictures (n, SIDE, SIDE), ink on white paper, all of one scale."""
        rows = real(batch, torch.float64).numpy()
        half = self.half or float(np.abs(points(rows)).max()) or 1.0
        return np.stack([inked(lines(one), half) for one in rows]) if len(rows) else np.empty((0, SIDE, SIDE), np.uint8)


def are_strokes(x: Tensor) -> bool:
    """Whether numbers may be strokes: three a place, of which the last is 0 or 1, now and then each of them."""
    if x.ndim != 3 or x.shape[2] != 3 or x.shape[1] < 2 or not x.is_floating_point():
        return False
    lifted = x[..., 2]
    return bool(((lifted == 0) | (lifted == 1)).all()) and bool((lifted == 0).any()) and bool((lifted == 1).any())


def points(rows: Floats) -> Floats:
    """Where the pen is after each place (…, places, 2)."""
    return np.asarray(rows[..., :2], np.float64).cumsum(-2)


def lines(rows: Floats) -> Floats:
    """What is inked (pieces, 4), each a line from x, y to x, y: the way to each point behind which the pen was not lifted."""
    at = points(rows)
    down = np.asarray(rows[:-1, 2]) < 0.5
    pieces: Floats = np.hstack([at[:-1], at[1:]])[down]
    return pieces[np.isfinite(pieces).all(1)]


def inked(pieces: Floats, half: float, side: int = SIDE) -> NDArray[np.uint8]:
    """Lines as a small picture (side, side): ink on white paper, the highest y on top."""
    if not len(pieces):
        return np.full((side, side), 255, np.uint8)
    # In pixels; a line of one and a half pixels, soft at its edges.
    ends = np.clip(pieces, -MOST * half, MOST * half) / half * (side / 2) + side / 2
    x, y, right, up = (one[:, None, None] for one in (ends[:, 0], ends[:, 1], ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]))
    pixels = np.arange(side) + 0.5
    across, high = pixels[None, None] - x, pixels[None, :, None] - y
    along = np.clip((across * right + high * up) / np.maximum(right**2 + up**2, 1e-12), 0, 1)
    apart = np.sqrt(((across - along * right) ** 2 + (high - along * up) ** 2).min(0))
    ink = np.clip(0.75 - apart + 0.5, 0, 1)
    return np.asarray(np.round(255 - 235 * ink)[::-1], np.uint8)


def drawn(text: str, step: float) -> Floats:
    """Lines drawn by hand, "x,y;x,y;…" with | where the pen is lifted, as rows of strokes (places, 3) whose points lie a step apart.

    *Meaning* behind the last point of each line but the last the pen is lifted, and one step leads to the next line; then it stays down.

    *Raises* UsageError for any other text.
    """
    parts = [_evenly(part, step, text) for part in text.split("|") if part.strip()] or [_evenly("", step, text)]
    even, lifted = np.concatenate(parts)[:1000], np.zeros(sum(map(len, parts)))
    lifted[np.cumsum([len(part) for part in parts])[:-1] - 1] = 1
    return np.column_stack([np.diff(even, axis=0, prepend=0.0), lifted[:1000]])


def _evenly(line: str, step: float, text: str) -> Floats:
    """The points of one line (points, 2), a step apart."""
    try:
        places = np.array([[float(number) for number in place.split(",")] for place in line.split(";") if place.strip()], np.float64)
    except ValueError:
        places = np.empty((0, 0))
    if places.ndim != 2 or places.shape[1:] != (2,) or not np.isfinite(places).all() or np.abs(places).max() > MOST * step:
        raise UsageError(f"a line wants places as x,y;x,y;… on the paper, and | where the pen is lifted, got {text[:60]!r}")
    long = np.concatenate([[0.0], np.hypot(*np.diff(places, axis=0).T).cumsum()])
    count = int(np.clip(round(long[-1] / step), 0, 1000))
    at = np.linspace(0, long[-1], count + 1)
    return np.column_stack([np.interp(at, long, places[:, k]) for k in range(2)])
