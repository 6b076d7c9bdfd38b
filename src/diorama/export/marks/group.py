"""Several marks: side by side, one below the other, or in a wrapping grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...core.marks import Group, Lines
from ..sheet import Sheet
from ..style import Style
from . import draw as draw_any
from . import narrower
from .lines import beside

GAP, BELOW = 24.0, 18.0
LEAST = 200.0
"""A mark that takes all the room it is given is not squeezed below this width while it can go to the next line."""


def draw(mark: Group, style: Style) -> Sheet:
    """Lay out the children; marks of a natural size keep it, the others share what is left."""
    if mark.direction == "column":
        return _column([draw_any(child, one) for child, one in zip(mark.children, _lined_up(mark, style), strict=True)])
    lines = _grid(mark, style) if mark.direction == "grid" else _row(mark, style)
    return _column([_line(line) for line in lines])


def _lined_up(mark: Group, style: Style) -> list[Style]:
    """A style for each child: charts below one another over the same stretch have one x axis, so that a place is at the same spot in all."""
    alike: dict[object, list[int]] = {}
    for index, child in enumerate(mark.children):
        if isinstance(child, Lines):
            alike.setdefault((child.x_span(), child.x_kind, child.x_log), []).append(index)
    styles = [style] * len(mark.children)
    for group in alike.values():
        if len(group) > 1:
            left, right = zip(*(beside(mark.children[index], style) for index in group), strict=True)  # type: ignore[arg-type]
            for index in group:
                styles[index] = dataclasses.replace(style, beside=(max(left), max(right)))
    return styles


def _column(parts: Sequence[Sheet]) -> Sheet:
    sheet, y = Sheet(), 0.0
    for part in parts:
        sheet.place(part, 0, y)
        y += part.height + BELOW
    return sheet


def _line(parts: Sequence[Sheet]) -> Sheet:
    sheet, x = Sheet(), 0.0
    for part in parts:
        sheet.place(part, x, 0)
        x += part.width + GAP
    return sheet


def _row(mark: Group, style: Style) -> list[list[Sheet]]:
    natural = [draw_any(child, style) for child in mark.children]
    elastic = [part.width > style.width * 0.9 for part in natural]
    share = (style.width - GAP * (len(natural) - 1)) / max(1, len(natural))
    if share >= LEAST and sum(part.width + GAP for part in natural) - GAP > style.width and not any(elastic):
        squeezed = [draw_any(child, narrower(style, share)) for child in mark.children]
        if sum(part.width + GAP for part in squeezed) - GAP <= style.width:
            return [squeezed]
    lines: list[list[int]] = [[]]
    used = 0.0
    for index, part in enumerate(natural):
        need = LEAST if elastic[index] else part.width
        if lines[-1] and used + GAP + need > style.width:
            lines.append([])
            used = 0.0
        used += need + (GAP if lines[-1] else 0.0)
        lines[-1].append(index)
    shared = [_shared(mark, natural, elastic, line, style) for line in lines]
    # What does not fit into its share, as a table with many columns, has its own line, and so have those beside it.
    tight = [sum(part.width + GAP for part in parts) - GAP > style.width * 1.02 for parts in shared]
    return [
        parts for line, found, over in zip(lines, shared, tight, strict=True)
        for parts in ([[natural[index]] for index in line] if over else [found])
    ]


def _shared(mark: Group, natural: list[Sheet], elastic: list[bool], line: list[int], style: Style) -> list[Sheet]:
    fixed = sum(natural[i].width for i in line if not elastic[i]) + GAP * (len(line) - 1)
    takers = sum(elastic[i] for i in line)
    share = (style.width - fixed) / takers if takers else 0.0
    return [
        draw_any(mark.children[i], narrower(style, share)) if elastic[i] and len(line) > 1 else natural[i] for i in line
    ]


def _grid(mark: Group, style: Style) -> list[list[Sheet]]:
    natural = [draw_any(child, style) for child in mark.children]
    widest = max((part.width for part in natural), default=0.0)
    cell = widest if widest <= style.width * 0.9 else 300.0
    columns = max(1, min(len(natural), int((style.width + GAP) // (min(cell, style.width) + GAP))))
    room = (style.width - GAP * (columns - 1)) / columns
    parts = [
        draw_any(child, narrower(style, room)) if part.width > room else part
        for child, part in zip(mark.children, natural, strict=True)
    ]
    lines = [parts[i : i + columns] for i in range(0, len(parts), columns)]
    across = max((part.width for part in parts), default=0.0)
    for part in parts:
        part.grow(across, 0)
    return lines
