"""A nested graph of blocks, laid out in layers from the top down; an open block holds its own small graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...core.marks import Block, Blocks
from .. import typeset
from ..legend import legend
from ..sheet import Sheet
from ..style import HAIRLINE, MUTED, SOFT, TINY, Style
from . import narrower
from ._card import card, title

_PORT = "\0in"
"""Where what comes from outside enters an open block."""
BETWEEN, BESIDE, PAD, LANE = 22.0, 16.0, 12.0, 7.0
TALL = 900.0
"""A chain taller than this goes on in a further column."""


def draw(mark: Blocks, style: Style) -> Sheet:
    """Blocks with their connections, nested; the colours of a value are explained below."""
    inside: dict[str, list[Block]] = {}
    for block in mark.blocks:
        inside.setdefault(block.parent, []).append(block)
    sheet = Sheet()
    if mark.layout == "list":
        sheet.place(_list(mark, inside, "", style), 0, 0)
    else:
        sheet.place(_Nest(mark, inside, style).draw("", style.width, top=True), 0, 0)
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


@dataclasses.dataclass
class _Placed:
    sheet: Sheet
    x: float = 0.0
    y: float = 0.0
    column: int = 0
    rank: int = 0

    @property
    def middle(self) -> float:
        return self.x + self.sheet.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.sheet.height


class _Nest:
    """Lays out one level after the other; edges are lifted to the level where both ends are siblings."""

    def __init__(self, mark: Blocks, inside: dict[str, list[Block]], style: Style) -> None:
        self.mark, self.inside, self.style = mark, inside, style
        self.parents = {block.id: block.parent for block in mark.blocks}

    def draw(self, parent: str, room: float, top: bool = False) -> Sheet:
        blocks = self.inside.get(parent, [])
        edges = self._edges(parent, {block.id for block in blocks})
        names = [block.id for block in blocks]
        ranks = _ranks(names, [(a, b) for a, b, _ in edges])
        entries = self._entries(parent, set(names))
        if any(ranks[name] for name in entries):
            edges = [(_PORT, name, "") for name in entries] + edges
            ranks = _ranks([_PORT, *names], [(a, b) for a, b, _ in edges])
        rows: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
        for name in [_PORT] * (_PORT in ranks) + names:
            rows[ranks[name]].append(name)
        rows = [part for row in rows for part in _split(row, room)]
        by_id = {block.id: block for block in blocks}
        placed: dict[str, _Placed] = {}
        for rank, row in enumerate(rows):
            share = (room - BESIDE * (len(row) - 1)) / len(row)
            for name in row:
                port = name == _PORT
                part = Sheet(0, 2) if port else self._block(by_id[name], max(90.0, min(share, 460.0)))
                placed[name] = _Placed(part, rank=rank)
        return self._assemble(rows, placed, edges, room, top)

    def _edges(self, parent: str, here: set[str]) -> list[tuple[str, str, str]]:
        found: dict[tuple[str, str], str] = {}
        for edge in self.mark.edges:
            source, target = self._lift(edge.source, here), self._lift(edge.target, here)
            if source and target and source != target:
                found.setdefault((source, target), edge.label)
        return [(a, b, label) for (a, b), label in found.items()]

    def _entries(self, parent: str, here: set[str]) -> list[str]:
        """The blocks of an open block that receive something from outside it."""
        if not parent:
            return []
        found = {self._lift(edge.target, here): None for edge in self.mark.edges if not self._lift(edge.source, here)}
        return [name for name in found if name]

    def _lift(self, name: str, here: set[str]) -> str:
        while name and name not in here:
            name = self.parents[name]
        return name

    def _block(self, block: Block, room: float) -> Sheet:
        if not (block.open and self.inside.get(block.id)):
            return card(block, self.mark.limits, self.style, room)
        body = self.draw(block.id, room - 2 * PAD)
        head = title(block, max(room - 2 * PAD, body.width))
        wide = max(body.width, head.width) + 2 * PAD
        sheet = Sheet(wide, head.height + body.height + 2 * PAD + 4)
        sheet.rect(0, 0, wide, sheet.height, fill=SOFT, stroke=HAIRLINE, line=1.0, radius=7)
        sheet.place(head, PAD, PAD - 3)
        sheet.place(body, (wide - body.width) / 2, head.height + PAD + 4)
        return sheet

    def _assemble(
        self,
        rows: list[list[str]],
        placed: dict[str, _Placed],
        edges: list[tuple[str, str, str]],
        room: float,
        top: bool,
    ) -> Sheet:
        skips = [e for e in edges if placed[e[1]].rank - placed[e[0]].rank != 1]
        lanes = _lanes([(placed[a].rank, placed[b].rank) for a, b, _ in skips])
        columns = _columns(rows, placed) if top else [rows]
        sheet, x = Sheet(), 0.0
        for number, column in enumerate(columns):
            ranks = {placed[row[0]].rank for row in column}
            mine = [i for i, (a, b, _) in enumerate(skips) if placed[a].rank in ranks and placed[b].rank in ranks]
            gutter = LANE * (max((lanes[i] for i in mine), default=-1) + 1) + (6 if mine else 0)
            wide = max(_across(row, placed) for row in column)
            y = 0.0
            for row in column:
                start = x + (wide - _across(row, placed)) / 2
                for name in row:
                    spot = placed[name]
                    spot.x, spot.y, spot.column = start, y, number
                    start += spot.sheet.width + BESIDE
                y += max(placed[name].sheet.height for name in row) + BETWEEN
            sheet.grow(x + wide + gutter, y - BETWEEN)
            x += wide + gutter + BETWEEN + LANE
        for name in placed:
            sheet.place(placed[name].sheet, placed[name].x, placed[name].y)
        ends = [max(p.x + p.sheet.width for p in placed.values() if p.column == n) for n in range(len(columns))]
        for a, b, label in edges:
            if placed[a].column != placed[b].column:
                _across_columns(sheet, placed[a], placed[b])
            elif placed[b].rank - placed[a].rank == 1:
                alone = len(rows[placed[a].rank]) == len(rows[placed[b].rank]) == 1
                _straight(
                    sheet, placed[a], placed[b], label, 150.0 if alone and not skips else placed[b].sheet.width / 2 - 8
                )
            else:
                lane = lanes[skips.index((a, b, label))]
                _around(sheet, placed[a], placed[b], ends[placed[a].column] + 6 + LANE * lane)
        return sheet


def _across(row: Sequence[str], placed: dict[str, _Placed]) -> float:
    return sum(placed[name].sheet.width for name in row) + BESIDE * (len(row) - 1)


def _split(row: list[str], room: float) -> list[list[str]]:
    """A layer too wide for the room becomes several."""
    most = max(1, int((room + BESIDE) // (110 + BESIDE)))
    return [row[i : i + most] for i in range(0, len(row), most)]


def _ranks(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Longest path from a source; an edge that closes a loop is left out of the ranking."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        after[source].append(target)
    order: list[str] = []
    state: dict[str, int] = {}
    for root in names:
        waiting = [(root, iter(after[root]))] if root not in state else []
        state.setdefault(root, 1)
        while waiting:
            name, following = waiting[-1]
            step = next((n for n in following if n not in state), None)
            if step is None:
                state[name] = 2
                order.append(name)
                waiting.pop()
            else:
                state[step] = 1
                waiting.append((step, iter(after[step])))
    place = {name: index for index, name in enumerate(reversed(order))}
    ranks = dict.fromkeys(names, 0)
    for name in reversed(order):
        for target in after[name]:
            if place[target] > place[name]:
                ranks[target] = max(ranks[target], ranks[name] + 1)
    if not edges:
        return {name: index for index, name in enumerate(names)}
    return ranks


def _lanes(spans: list[tuple[int, int]]) -> list[int]:
    """A lane beside the blocks for each long edge; where spans overlap the short take the inner ones."""
    taken: list[list[tuple[int, int]]] = []
    found = [0] * len(spans)
    for index in sorted(range(len(spans)), key=lambda i: abs(spans[i][1] - spans[i][0])):
        low, high = sorted(spans[index])
        lane = next((k for k, used in enumerate(taken) if all(high <= a or low >= b for a, b in used)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        found[index] = lane
    return found


def _columns(rows: list[list[str]], placed: dict[str, _Placed]) -> list[list[list[str]]]:
    heights = [max(placed[name].sheet.height for name in row) + BETWEEN for row in rows]
    wanted = max(1, -(-int(sum(heights)) // int(TALL)))
    if wanted == 1:
        return [rows]
    each = sum(heights) / wanted
    columns: list[list[list[str]]] = [[]]
    used = 0.0
    for row, high in zip(rows, heights, strict=True):
        if columns[-1] and used + high / 2 > each and len(columns) < wanted:
            columns.append([])
            used = 0.0
        columns[-1].append(row)
        used += high
    return columns


def _arrow(sheet: Sheet, x: float, y: float) -> None:
    sheet.line([x - 3, x, x + 3], [y - 4, y - 0.5, y - 4], MUTED, 1.0)


def _straight(sheet: Sheet, a: _Placed, b: _Placed, label: str, room: float) -> None:
    if abs(a.middle - b.middle) < 1:
        sheet.line([a.middle, b.middle], [a.bottom, b.y - 1], MUTED, 1.0)
    else:
        half = (a.bottom + b.y) / 2
        sheet.curve([(a.middle, a.bottom), (a.middle, half), (b.middle, half), (b.middle, b.y - 1)], MUTED)
    _arrow(sheet, b.middle, b.y)
    if label and room > 24 and abs(a.middle - b.middle) < 1:
        x = b.middle + 6
        sheet.grow(x + sheet.text(x, b.y - BETWEEN / 2 + 3.5, typeset.fit(label, TINY, room), TINY, MUTED), 0)


def _around(sheet: Sheet, a: _Placed, b: _Placed, lane: float) -> None:
    """A long edge leaves at the side, runs in its lane and comes back."""
    start, stop = a.bottom - min(10.0, a.sheet.height / 3), b.y + min(10.0, b.sheet.height / 3)
    left, right = a.x + a.sheet.width, b.x + b.sheet.width
    sheet.line([left, lane, lane, right + 1], [start, start, stop, stop], MUTED, 0.9)
    sheet.line([right + 4.5, right + 1, right + 4.5], [stop - 3, stop, stop + 3], MUTED, 1.0)


def _across_columns(sheet: Sheet, a: _Placed, b: _Placed) -> None:
    """To the top of a later column, through the gap before it."""
    gap = b.x - BETWEEN / 2
    start = a.bottom - min(10.0, a.sheet.height / 3)
    if b.rank - a.rank == 1:
        sheet.line([a.x + a.sheet.width, gap, gap, b.x - 1], [start, start, b.y + 10, b.y + 10], MUTED, 0.9)
    else:
        sheet.line(
            [a.x + a.sheet.width, gap - 4, gap - 4, b.x - 1],
            [start, start, b.y + 15, b.y + 15],
            MUTED,
            0.9,
            dash=(2.0, 2.0),
        )
    at = b.y + (10 if b.rank - a.rank == 1 else 15)
    sheet.line([b.x - 4.5, b.x - 1, b.x - 4.5], [at - 3, at, at + 3], MUTED, 1.0)
