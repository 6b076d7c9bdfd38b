"""Distributions over steps."""

from __future__ import annotations

import numpy as np

from ...core.colour import class_colour
from ...core.marks import Ridges, RidgeSet
from .. import typeset
from ..axes import Axis, ticks_below
from ..legend import swatches
from ..sheet import Sheet
from ..style import ACCENT, HAIRLINE, INK, LABEL, MUTED, PAPER, TINY, Style

MOST = 40


def draw(mark: Ridges, style: Style) -> Sheet:
    """One ridge a step, the first step at the top and the last in front; sets share the axis and one height scale."""
    sheet = Sheet()
    steps = np.unique(np.concatenate([s.steps for s in mark.sets])) if mark.sets else np.zeros(0)
    if not len(steps):
        return sheet
    shown = steps[np.unique(np.linspace(0, len(steps) - 1, min(MOST, len(steps))).astype(int))]
    low, high = mark.x_span()
    labels = {float(step): f"{step:,.0f}" for step in shown}
    left = max(typeset.width(word, TINY) for word in labels.values()) + 8
    height = max(90.0, float(mark.height))
    gap = height / (len(shown) + 2.2)
    rise = gap * 3.2
    axis = Axis(low, high, left, style.width - 6)
    peak = (
        max(
            (float(np.nanmax(s.density)) for s in mark.sets if s.density.size and np.isfinite(s.density).any()),
            default=0.0,
        )
        or 1.0
    )
    free = -1e9
    # The first ridges are as high as they are: none of them may reach into what stands above.
    reach = [max((_height(s, step) for s in mark.sets), default=0.0) * rise / peak - gap * index for index, step in enumerate(shown)]
    first = max(rise * 0.8 + gap * 0.4, max(reach) + 2)
    for index, step in enumerate(shown):
        y = first + gap * index
        here = mark.cursor is not None and _nearest(shown, mark.cursor) == index
        for ridges in mark.sets:
            _ridge(sheet, ridges, step, axis, y, rise / peak, here, len(mark.sets) > 1)
        if y - free > TINY + 2:
            sheet.text(left - 6, y + 3, labels[float(step)], TINY, ACCENT if here else MUTED, anchor="right")
            free = y
    bottom = first + gap * (len(shown) - 0.2)
    sheet.grow(style.width, bottom)
    ticks_below(sheet, axis, bottom, style.width)
    bottom += 20
    if mark.x_title:
        sheet.text(
            (axis.start + axis.stop) / 2,
            bottom + 10,
            typeset.fit(mark.x_title, LABEL, style.width),
            LABEL,
            MUTED,
            anchor="center",
        )
        bottom += 14
    sheet.text(0, 9, "step", TINY, MUTED)
    sheet.grow(style.width, bottom)
    _below(sheet, mark, style, len(shown), len(steps))
    return sheet


def _nearest(steps: np.ndarray, cursor: float) -> int:
    return int(np.abs(steps - cursor).argmin())


def _height(ridges: RidgeSet, step: float) -> float:
    rows = np.flatnonzero(ridges.steps == step)
    return float(np.nan_to_num(ridges.density[rows[0]], posinf=0.0, neginf=0.0).max(initial=0.0)) if len(rows) else 0.0


def _ridge(
    sheet: Sheet, ridges: RidgeSet, step: float, axis: Axis, y: float, scale: float, here: bool, several: bool
) -> None:
    rows = np.flatnonzero(ridges.steps == step)
    if not len(rows):
        return
    density = np.nan_to_num(ridges.density[rows[0]], posinf=0.0, neginf=0.0)
    middles = (ridges.edges[1:] + ridges.edges[:-1]) / 2
    x = axis(np.r_[ridges.edges[0], middles, ridges.edges[-1]])
    inside = (x >= axis.start - 0.5) & (x <= axis.stop + 0.5)
    tall = y - np.r_[0.0, density, 0.0] * scale
    points = np.column_stack([x, tall])[inside]
    if len(points) < 2:
        return
    colour = class_colour(ridges.colour) if several else (ACCENT if here else INK)
    floor = np.array([[points[-1, 0], y], [points[0, 0], y]])
    sheet.area(np.vstack([points, floor]), PAPER if not several else colour, 0.85 if not several else 0.12)
    if not several:
        sheet.area(np.vstack([points, floor]), colour, 0.10)
    sheet.line([axis.start, axis.stop], [y, y], HAIRLINE, 0.6)
    sheet.line(points[:, 0], points[:, 1], colour, 1.6 if here else 0.9)


def _below(sheet: Sheet, mark: Ridges, style: Style, shown: int, total: int) -> None:
    if len(mark.sets) > 1:
        entries = [(s.name, class_colour(s.colour), False) for s in mark.sets]
        sheet.place(swatches(entries, style, style.width), 0, sheet.height + 4)
    if shown < total:
        y = sheet.height + 4
        sheet.grow(sheet.text(0, y + 10, f"{shown} of {total:,} steps, evenly chosen", LABEL, MUTED), y + 14)
