"""A layered layout of a nested graph: what flows goes down, long edges bend round what lies between.

Each open block is laid out by itself; edges enter it through one door on top and leave by one below. Lengths are the
page's pixels, x to the right and y down; page and paper draw the same places.

*Source* Sugiyama, Tagawa and Toda 1981; barycentres for the order, isotonic regression for the places across.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

ACROSS, DOWN, PADDING = 18.0, 30.0, 10.0
"""Between blocks beside each other, between ranks, and round what is in an open block, below its title."""
_PASSING = 14.0
"""The width kept free for an edge that passes a rank."""
_IN, _OUT = "\0in", "\0out"
_TOGETHER = 3
"""So many edges of a block that pass ranks share one way, and leave it where they arrive."""
_SWEEPS, _STRAIGHTENINGS = 12, 16


class SizedBlock(NamedTuple):
    """A block with its size; of one that holds others the width is only the least, and the height that of its title."""

    id: str
    parent: str
    width: float
    height: float


class PlacedBlock(NamedTuple):
    """Where a block stands, from the left and from the top of the whole."""

    x: float
    y: float
    width: float
    height: float


class Route(NamedTuple):
    """The way of an edge, from block to block or to a door on the way."""

    points: tuple[tuple[float, float], ...]
    edge: int  # the first edge that runs here
    arrow: bool  # whether it ends at a block rather than at a door


class NestedLayout(NamedTuple):
    """All places by block, all routes, and the size of the whole."""

    places: dict[str, PlacedBlock]
    routes: tuple[Route, ...]
    width: float
    height: float


@functools.lru_cache(32)
def layered(nodes: tuple[SizedBlock, ...], edges: tuple[tuple[str, str], ...]) -> NestedLayout:
    """Lay out all blocks. The same graph keeps its places, so that nothing moves while time is scrubbed.

    *Cost* linear in blocks and in the ranks that edges pass.
    """
    parents = {node.id: node.parent for node in nodes}
    children: dict[str, list[SizedBlock]] = {"": []}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    inner: dict[str, dict[tuple[str, str], int]] = {name: {} for name in children}
    for number, (source, target) in enumerate(edges):
        for container, start, end in lifted(source, target, parents):
            inner[container].setdefault((start, end), number)
    inside: dict[str, _Level] = {}
    for container in reversed(list(_from_above(children))):
        links = [_Link(start, end, number) for (start, end), number in inner[container].items()]
        inside[container] = _Level(children[container], links, inside)
    places: dict[str, PlacedBlock] = {}
    routes: list[Route] = []
    waiting: list[tuple[str, float, float] | list[Route]] = [("", 0.0, 0.0)]
    while waiting:
        at = waiting.pop()
        if isinstance(at, list):
            routes += at
            continue
        name, dx, dy = at
        level, within = inside[name], list[tuple[str, float, float] | list[Route]]()
        routes += [_moved(route, dx, dy) for route in level.routes]
        for child, place in level.places.items():
            places[child] = place = PlacedBlock(place.x + dx, place.y + dy, place.width, place.height)
            if child in inside:
                left, top = place.x + (place.width - inside[child].width) / 2, place.y + place.height - PADDING - inside[child].height
                within += [(child, left, top), inside[child].doorways(place, left, top)]
        waiting += reversed(within)
    return NestedLayout(places, tuple(routes), inside[""].width, inside[""].height)


def lifted(source: str, target: str, parents: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """An edge between any two blocks as edges between siblings, each in its container: through doors up to a common one."""
    below, above = [*_line(source, parents), ""], [*_line(target, parents), ""]
    others = set(above)
    common = next(name for name in below if name in others)
    below, above = below[: below.index(common)], above[: above.index(common)]
    if not below or not above:
        return  # a block to its own container: nothing flows on the screen
    for name, container in zip(below, below[1:], strict=False):
        yield container, name, _OUT
    for name, container in zip(above, above[1:], strict=False):
        yield container, _IN, name
    yield common, below[-1], above[-1]


def _line(name: str, parents: dict[str, str]) -> Iterator[str]:
    while name:
        yield name
        name = parents[name]


def _from_above(children: dict[str, list[SizedBlock]]) -> Iterator[str]:
    waiting = [""]
    while waiting:
        name = waiting.pop()
        yield name
        waiting += [node.id for node in children[name] if node.id in children]


def _moved(route: Route, dx: float, dy: float) -> Route:
    return Route(tuple((x + dx, y + dy) for x, y in route.points), route.edge, route.arrow)


class _Link(NamedTuple):
    source: str
    target: str
    edge: int


@dataclasses.dataclass(slots=True, eq=False)
class _Item:
    """A block, a door or where an edge passes a rank; ``x`` is its middle, and edges arrive and leave beside that."""

    name: str
    width: float
    height: float
    arrives: float = 0.0
    leaves: float = 0.0
    passes: bool = False
    rank: int = 0
    x: float = 0.0
    at: int = 0
    before: list[_Item] = dataclasses.field(default_factory=list)
    after: list[_Item] = dataclasses.field(default_factory=list)


class _Level:
    """What one container holds, laid out from its own corner."""

    def __init__(self, parts: Sequence[SizedBlock], links: Sequence[_Link], inside: dict[str, _Level]) -> None:
        self.inside, self.links = inside, links
        doors = [door for door in (_IN, _OUT) if any(door in link[:2] for link in links)]
        items = {node.id: self._item(node) for node in parts} | {door: _Item(door, 1, 1) for door in doors}
        for name, rank in ranks(list(items), [link[:2] for link in links]).items():
            items[name].rank = rank
        chains = _chains(links, items)
        rows: list[list[_Item]] = [[] for _ in range(max((item.rank for item in items.values()), default=-1) + 1)]
        passing = (item for chain, _ in chains for item in chain if item.passes)
        for item in dict.fromkeys((*items.values(), *passing)):
            rows[item.rank].append(item)
        _order(rows)
        _straighten(rows)
        everything = [item for row in rows for item in row]
        left = min((item.x - item.width / 2 for item in everything), default=0.0)
        self.width = max([left + 1, *(item.x + item.width / 2 for item in everything)]) - left
        tops, heights = _heights(rows)
        self.height = max(0.0, tops[-1] + heights[-1]) if rows else 0.0
        for item in everything:
            item.x -= left
        self.tops, self.heights = tops, heights
        self.doors = {door: items[door].x if door in items else self.width / 2 for door in (_IN, _OUT)}
        self.routes = [self._route(link, *chain) for link, chain in zip(links, chains, strict=True)]
        self.places = {
            item.name: PlacedBlock(item.x - item.width / 2, self._top(item), item.width, item.height)
            for item in items.values() if item.name not in self.doors
        }
        self.entered = _IN in items and self._top(items[_IN]) < 1

    def _item(self, node: SizedBlock) -> _Item:
        level = self.inside.get(node.id)
        if level is None:
            return _Item(node.id, node.width, node.height)
        wide = max(level.width + 2 * PADDING, node.width)
        arrives, leaves = (level.doors[door] - level.width / 2 for door in (_IN, _OUT))
        return _Item(node.id, wide, level.height + 2 * PADDING + node.height, arrives, leaves)

    def _top(self, item: _Item) -> float:
        return self.tops[item.rank] + (self.heights[item.rank] - item.height) / 2

    def _route(self, link: _Link, chain: list[_Item], turned: bool) -> Route:
        points: list[tuple[float, float]] = []
        for number, item in enumerate(chain):
            if item.passes:
                top = self.tops[item.rank]
                points += [(item.x, top), (item.x, top + self.heights[item.rank])]
            elif item.name in self.doors:
                points.append((item.x, self._top(item) + 0.5))
            elif number == 0:
                points.append((item.x + item.leaves, self._top(item) + item.height))
            else:
                points.append((item.x + item.arrives, self._top(item)))
        arrow = link.target != _OUT and link.target not in self.inside
        return Route(tuple(reversed(points) if turned else points), link.edge, arrow)

    def doorways(self, place: PlacedBlock, left: float, top: float) -> list[Route]:
        """The flow between the block's own edge and its inner doors, so that no line is broken at the title."""
        found = []
        entering = [link.edge for link in self.links if link.source == _IN]
        if entering and self.entered:
            x = left + self.doors[_IN]
            found.append(Route(((x, place.y), (x, top + 0.5)), entering[0], False))
        leaving = [link.edge for link in self.links if link.target == _OUT]
        if leaving:
            x, foot = left + self.doors[_OUT], top + self.height - 0.5
            found.append(Route(((x, foot), (x, place.y + place.height)), leaving[0], False))
        return found


def ranks(names: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The rank of each box: below all that flows into it. Edges that close a circle are left out of this."""
    following: dict[str, list[str]] = {name: [] for name in names}
    for source, target in links:
        following[source].append(target)
    order, closing = _sorted([_IN, *names] if _IN in following else names, following)
    forward = [link for link in links if link[0] != link[1] and link not in closing]
    leaving: dict[str, list[str]] = {name: [] for name in names}
    for source, target in forward:
        leaving[source].append(target)
    found = dict.fromkeys(names, 0)
    for name in order:
        for target in leaving[name]:
            found[target] = max(found[target], found[name] + 1)
    # What nothing flows into stands right above what it flows to (constants, second inputs).
    entered = {target for _, target in forward}
    for name in names:
        if name not in entered and name != _IN and leaving[name]:
            found[name] = max(0, min(found[target] for target in leaving[name]) - 1)
    if _OUT in found:
        found[_OUT] = max([found[_OUT], *(rank + 1 for name, rank in found.items() if name != _OUT)])
    return found


def _sorted(names: Sequence[str], following: dict[str, list[str]]) -> tuple[list[str], set[tuple[str, str]]]:
    """The boxes, each before what it flows to, and the edges that close a circle."""
    open_, done = set[str](), dict[str, None]()
    closing: set[tuple[str, str]] = set()
    for start in names:
        if start in done:
            continue
        open_.add(start)
        stack = [(start, iter(following[start]))]
        while stack:
            name, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                open_.discard(name)
                done[name] = None
                stack.pop()
            elif target in open_:
                closing.add((name, target))
            elif target not in done:
                open_.add(target)
                stack.append((target, iter(following[target])))
    return list(reversed(done)), closing


def _chains(links: Sequence[_Link], items: dict[str, _Item]) -> list[tuple[list[_Item], bool]]:
    """The items that each edge passes, from above, and whether it flows upwards.

    An edge has an item of its own in each rank between its ends. Where many edges of a block pass ranks they share these,
    and only the first has the whole way: a network in which all is joined with all stays readable.
    """
    long = [link.source for link in links if items[link.target].rank - items[link.source].rank > 1]
    shared: dict[str, list[_Item]] = {source: [] for source, count in Counter(long).items() if count >= _TOGETHER}
    found = []
    for link in links:
        high, low = items[link.source], items[link.target]
        turned = high.rank >= low.rank
        if turned:
            high, low = low, high
        way = shared.get(link.source, []) if not turned else []
        length = max(0, low.rank - high.rank - 1)
        known = min(len(way), length)
        fresh = [_Item("", _PASSING, 1, passes=True, rank=high.rank + 1 + at) for at in range(known, length)]
        begin = way[known - 1] if known else high
        way += fresh
        chain = [begin, *fresh, low] if low is not high else [high]
        for above, below in zip(chain, chain[1:], strict=False):
            above.after.append(below)
            below.before.append(above)
        found.append((chain, turned))
    return found


def _heights(rows: Sequence[Sequence[_Item]]) -> tuple[list[float], list[float]]:
    """The top and the height of each rank; a rank of doors alone stands closer."""
    tops, heights, y = list[float](), list[float](), 0.0
    for number, row in enumerate(rows):
        doors = all(item.name in (_IN, _OUT) for item in row)
        y -= DOWN / 2 if number and doors else 0.0
        tops.append(y)
        heights.append(max(item.height for item in row))
        y += heights[-1] + (DOWN / 2 if doors else DOWN)
    return tops, heights


def _order(rows: list[list[_Item]]) -> None:
    """Order each rank so that few edges cross: sweeps of barycentres, keeping the best."""
    for row in rows:
        _number(row)
    best, least = [list(row) for row in rows], _crossings(rows)
    for sweep in range(_SWEEPS):
        if not least:
            break
        down = sweep % 2 == 0
        for row in rows[1:] if down else reversed(rows[:-1]):
            wish = {}
            for item in row:
                near = [other.at for other in (item.before if down else item.after)]
                wish[item] = sum(near) / len(near) if near else item.at
            row.sort(key=wish.__getitem__)
            _number(row)
        now = _crossings(rows)
        if now < least:
            least, best = now, [list(row) for row in rows]
    rows[:] = best


def _number(row: Sequence[_Item]) -> None:
    for at, item in enumerate(row):
        item.at = at


def _crossings(rows: Sequence[Sequence[_Item]]) -> int:
    return sum(inversions([at for item in row for at in sorted(other.at for other in item.before)]) for row in rows)


def inversions(values: Sequence[int]) -> int:
    """How many pairs stand the wrong way round; counted in a tree of sums, as dense graphs have many edges between two ranks."""
    size = max(values, default=0) + 1
    tree = [0] * (size + 1)
    found = 0
    for seen, value in enumerate(values):
        at = value + 1
        while at > 0:
            seen -= tree[at]
            at &= at - 1
        found += seen
        at = value + 1
        while at <= size:
            tree[at] += 1
            at += at & -at
    return found


def _straighten(rows: Sequence[Sequence[_Item]]) -> None:
    """Give each item a place across, near to what it is joined with, without overlaps."""
    for row in rows:
        _settle(row, [0.0] * len(row), [1.0] * len(row))
    still = 0
    for sweep in range(_STRAIGHTENINGS):
        down = sweep % 2 == 0
        moves = [
            _settle(row, [_mean(_wishes(item, down), item.x) for item in row], [1.0] * len(row))
            for row in (rows if down else reversed(rows))
        ]
        still = still + 1 if max(moves, default=0.0) < 1e-9 else 0
        if still == 2:
            break  # neither what is above nor what is below moves anything any more
    # The main chain hangs straight down; what only passes by gives way to it, and is then pulled straight itself.
    for row in rows:
        _settle(row, [_mean(_hanging(item), item.x) for item in row], [1.0 if item.passes else 100.0 for item in row])
    for down in (False, True):
        for row in rows if down else reversed(rows):
            wishes = [_mean(_passing(item, down), item.x) if item.passes else item.x for item in row]
            _settle(row, wishes, [1.0 if item.passes else 1e6 for item in row])


def _wishes(item: _Item, down: bool) -> list[float]:
    if down:
        return [other.x + other.leaves - item.arrives for other in item.before]
    return [other.x + other.arrives - item.leaves for other in item.after]


def _hanging(item: _Item) -> list[float]:
    """Where the blocks above would have an item; edges that only pass by count where there is nothing else."""
    real = [other for other in item.before if not other.passes] or item.before
    return [other.x + other.leaves - item.arrives for other in real]


def _passing(item: _Item, down: bool) -> list[float]:
    return [other.x for other in (item.before if down else item.after) if other.passes]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _settle(row: Sequence[_Item], wishes: Sequence[float], weights: Sequence[float]) -> float:
    """Give the items of a rank their places; returns how far the farthest moved."""
    places = nearest([item.width for item in row], wishes, weights) if len(row) > 1 else wishes
    moved = 0.0
    for item, x in zip(row, places, strict=True):
        moved, item.x = max(moved, abs(item.x - x)), x
    return moved


def nearest(widths: Sequence[float], wishes: Sequence[float], weights: Sequence[float], gap: float = ACROSS) -> list[float]:
    """The places nearest to the wishes that keep the order and the gaps: isotonic regression by pooling neighbours."""
    offsets, offset = [0.0], 0.0
    for one, other in zip(widths, widths[1:], strict=False):
        offset += one / 2 + other / 2 + gap
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []
    for wish, weight, offset in zip(wishes, weights, offsets, strict=False):
        pool = ((wish - offset) * weight, weight, 1)
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            last = pools.pop()
            pool = (last[0] + pool[0], last[1] + pool[1], last[2] + pool[2])
        pools.append(pool)
    means = [total / weight for total, weight, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
