"""A nested graph of blocks, in the places that the mark carries: the picture that the page shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...core.colour import magnitude
from ...core.marks import Block, Blocks
from ...core.marks.blocks import LINE, MAP, MAP_GAP, title_size
from .. import typeset
from ..cells import colour
from ..legend import legend
from ..sheet import Sheet
from ..style import ACCENT, HAIRLINE, INK, MONO, MUTED, PAPER, SOFT, WARN, Style
from . import narrower
from ._card import card

SMALLEST = 0.6
"""A graph is made smaller to fit, but stays readable, as in the page."""
BETWEEN, TALL, SHAPE = 22.0, 900.0, 1.4
"""A graph taller than this goes on in a further column, until the whole is so many times as high as wide."""
LABEL, SMALL, TINY = 12.0, 11.0, 10.0
"""The page's sizes of type."""
SIDE = 8.0

Box = tuple[float, float, float, float]


def draw(mark: Blocks, style: Style) -> Sheet:
    """Blocks with their connections, nested; the colours of a value are explained below."""
    sheet = Sheet()
    if mark.layout == "list":
        inside: dict[str, list[Block]] = {}
        for block in mark.blocks:
            inside.setdefault(block.parent, []).append(block)
        sheet.place(_list(mark, inside, "", style), 0, 0)
    else:
        sheet.place(_columns(mark, _graph(mark), style), 0, 0)
    if mark.limits is not None and any(block.value is not None for block in mark.blocks):
        sheet.place(legend(mark.limits, style, title=mark.value_title), 0, sheet.height + 8)
    return sheet


def _list(mark: Blocks, inside: dict[str, list[Block]], parent: str, style: Style) -> Sheet:
    sheet, y = Sheet(), 0.0
    room = min(style.width, 300.0)
    for block in inside.get(parent, ()):
        part = card(block, mark.limits, style, room, least=room)
        sheet.place(part, 0, y)
        y += part.height + 6
        if block.open and inside.get(block.id):
            nested = _list(mark, inside, block.id, narrower(style, room - 14))
            sheet.line([5, 5], [y - 4, y + nested.height], HAIRLINE, 1.4)
            sheet.place(nested, 14, y)
            y += nested.height + 6
    return sheet


def _graph(mark: Blocks) -> Sheet:
    """The whole graph in the page's own pixels; what holds others lies below, then the lines, then the blocks."""
    sheet = Sheet(*mark.extent)
    places = _places(mark)
    holders = _holders(mark)
    for block, (x, y, width, height) in zip(mark.blocks, places, strict=True):
        if block.id in holders:
            sheet.rect(x, y, width, height, fill=SOFT, stroke=HAIRLINE, line=1.0, radius=6)
    _lines(sheet, mark, [*_solid(mark)])
    for block, (x, y, width, height) in zip(mark.blocks, places, strict=True):
        if block.id in holders:
            _title(sheet, block, x + SIDE, y, width - 2 * SIDE)
        else:
            sheet.rect(x, y, width, height, fill=PAPER, stroke=WARN if block.warning else HAIRLINE, line=1.0, radius=5)
            if block.share is not None:
                sheet.rect(x + 1, y + 1, (width - 2) * min(1.0, max(0.0, block.share)), height - 2, fill=ACCENT, radius=4, alpha=0.24)
            _texts(sheet, block, x, y, width)
        if block.value is not None and mark.limits is not None:
            sheet.raster(x + 1, y + 2, 3, height - 4, colour(np.array([[block.value]], float), mark.limits))
    return sheet


def _places(mark: Blocks) -> list[Box]:
    return [] if mark.places is None else [tuple(place) for place in mark.places.tolist()]


def _holders(mark: Blocks) -> set[str]:
    return {block.parent for block in mark.blocks}


def _solid(mark: Blocks) -> Iterator[Box]:
    """What nothing may be written or cut across: blocks that hold no others, and the titles of those that do."""
    holders = _holders(mark)
    for block, (x, y, width, height) in zip(mark.blocks, _places(mark), strict=True):
        yield x, y, width, title_size(block)[1] + 6 if block.id in holders else height


def _title(sheet: Sheet, block: Block, x: float, y: float, room: float) -> None:
    """The head line of an open block, over the flow that enters it."""
    label = typeset.fit(block.label, LABEL, room, MONO)
    at = typeset.width(label, LABEL, MONO) + SIDE
    detail = typeset.fit(block.detail, SMALL, room - at) if room - at > 30 else ""
    sheet.rect(x - 2, y + 5, at + typeset.width(detail, SMALL) + 4 - SIDE * (not detail), 15, fill=SOFT)
    sheet.text(x, y + 17, label, LABEL, INK, MONO)
    sheet.text(x + at, y + 17, detail, SMALL, MUTED)
    _said(sheet, block, x, y + 17, room)


def _texts(sheet: Sheet, block: Block, x: float, y: float, width: float) -> None:
    left, room, down = x + SIDE, width - 2 * SIDE, y + 17
    folded = block.expandable and not block.open
    at = 12 if folded and sheet.text(left, down, "+", LABEL, MUTED) else 0.0
    at += sheet.text(left + at, down, typeset.fit(block.label, LABEL, room - at, MONO), LABEL, INK, MONO)
    kind = block.kind if block.kind != block.label else ""
    if kind and at + SIDE + typeset.width(kind, TINY) <= room:
        sheet.text(left + at + SIDE, down, kind, TINY, MUTED)
    if block.detail:
        down += LINE
        sheet.text(left, down, typeset.fit(block.detail, SMALL, room), SMALL, MUTED)
    if block.maps is not None and len(block.maps):
        down += _maps(sheet, block, block.maps, (left, down + 7), room)
    _said(sheet, block, left, down, room)


def _said(sheet: Sheet, block: Block, left: float, down: float, room: float) -> None:
    """The small facts and the warning, each in a line below the one at this height."""
    for text, ink in (("   ".join(block.notes), MUTED), (block.warning, WARN)):
        if text:
            down += LINE
            sheet.text(left, down, typeset.fit(text, SMALL, room), SMALL, ink)


def _maps(sheet: Sheet, block: Block, maps: np.ndarray, corner: tuple[float, float], room: float) -> float:
    """Small maps in a row, or one strip of cells; returns how high they stand."""
    limits = block.maps_limits or magnitude(maps)
    (x, y), (count, rows, columns) = corner, maps.shape
    if count == 1 and rows == 1:
        sheet.raster(x, y, room, 11, colour(maps[0], limits))
        return 15
    wide = MAP * min(4.0, columns / max(1, rows))
    for index in range(min(count, max(1, int((room + MAP_GAP) // (wide + MAP_GAP))))):
        sheet.raster(x + index * (wide + MAP_GAP), y, wide, MAP, colour(maps[index], limits))
    return MAP + 4


def _lines(sheet: Sheet, mark: Blocks, solid: list[Box]) -> None:
    """The routes, with an arrow where they arrive and the name of what flows where there is room for it."""
    if mark.routes is None or mark.points is None:
        return
    taken = np.array(solid, float).reshape(-1, 4)
    taken[:, 2:] += taken[:, :2]
    named = set[tuple[str, str]]()
    for first, count, number, arrow in mark.routes.tolist():
        points, share = mark.points[first : first + count].tolist(), mark.edges[number].share
        wide = 0.9 if share is None else 0.5 + 7.5 * min(1.0, max(0.0, share))
        for (x, y), (to, down) in zip(points, points[1:], strict=False):
            if abs(to - x) < 0.5:
                sheet.line([x, to], [y, down], MUTED, wide)
            else:
                sheet.curve([(x, y), (x, (y + down) / 2), (to, (y + down) / 2), (to, down)], MUTED, wide)
        (x, y), (end, foot), edge = points[0], points[-1], mark.edges[number]
        if arrow:
            sheet.line([end - 3.5, end, end + 3.5], [foot - 6, foot - 0.5, foot - 6], MUTED, 0.9)
        if not edge.label or (edge.source, edge.label) in named:
            continue
        named.add((edge.source, edge.label))
        box = (x + 5, y + 4, x + 5 + typeset.width(edge.label, TINY), y + 16)
        if not ((taken[:, 0] < box[2]) & (taken[:, 2] > box[0]) & (taken[:, 1] < box[3]) & (taken[:, 3] > box[1])).any():
            sheet.text(x + 5, y + 13, edge.label, TINY, MUTED)
            taken = np.vstack([taken, box])


def _columns(mark: Blocks, graph: Sheet, style: Style) -> Sheet:
    """The graph as large as it fits; a tall one goes on in further columns, cut where no block stands."""
    graph.cover()
    graph = graph.scaled(max(SMALLEST, min(1.0, style.width / max(1.0, graph.width))))
    scale = graph.width / max(1.0, mark.extent[0])
    shape = round(math.sqrt(graph.height / (SHAPE * (graph.width + BETWEEN))))
    wanted = max(1, min(math.ceil(graph.height / TALL), shape))
    places = [place * scale for place in _cuts(mark)]
    cuts = [0.0]
    for column in range(1, wanted):
        goal = graph.height * column / wanted
        near = min((place for place in places if place > cuts[-1]), key=lambda place: abs(place - goal), default=None)
        if near is not None:
            cuts.append(near)
    if len(cuts) == 1:
        return graph
    sheet = Sheet()
    for top, bottom in zip(cuts, [*cuts[1:], graph.height], strict=True):
        sheet.place(graph.strip(top, bottom), sheet.width + BETWEEN * (top > 0), 0)
    return sheet


def _cuts(mark: Blocks) -> list[float]:
    """The heights where a graph may be cut: right above the arrows of a rank that all else is clear of."""
    found, foot = list[float](), math.inf
    for top, low in sorted((y, y + height) for _, y, _, height in _solid(mark)):
        if top - foot >= 22:
            found.append(top - 8)
        foot = low if math.isinf(foot) else max(foot, low)
    return found
