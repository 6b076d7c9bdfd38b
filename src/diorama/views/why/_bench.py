"""The maps of several methods on several inputs, laid out side by side with what was measured of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...core.colour import Limits, magnitude, symmetric
from ...core.marks import Bars, Box, Group, Heatmap, Image, Node, Text
from ...core.numerals import percent
from ...data import nesting
from ...data.kinds import Image as ImageKind
from ...methods.attribute import EachClass
from ...methods.attribution_picture import by_place, doubted, gap, missed, picture
from ...methods.baseline import measured_from, slight
from ...methods.method import Attribution
from .. import answers, inputs
from ._belief import Belief, MapChecks, table
from ._other_parts import other_parts
from ._question import ChosenMethod, InputQuestion

Floats = NDArray[np.floating]
SIDE = 120
"""Of a map on screen: four stand side by side."""
MANY = 4096
"""A map of more pixels than this may hold a few numbers so large that at their scale nothing else is seen."""


@dataclasses.dataclass(frozen=True)
class MapStyle:
    """How maps are drawn."""

    overlay: bool = True
    positive: bool = False
    scale: str = "own"
    contour: float | None = None


@dataclasses.dataclass(frozen=True)
class MethodMap:
    """One method's map of one input."""

    row: int
    one: ChosenMethod
    found: Attribution


class Bench:
    """All maps so far."""

    def __init__(self, rows: list[InputQuestion], believing: list[MapChecks], style: MapStyle) -> None:
        self.rows, self.believing, self.style = rows, believing, style
        self.cells: dict[tuple[str, int], MethodMap] = {}
        self.beliefs: dict[tuple[str, int], Belief] = {}

    def add(self, one: ChosenMethod, row: int, found: Attribution) -> None:
        """Take a map, or a better one of the same method and input."""
        self.cells[one.title, row] = MethodMap(row, one, found)

    def of_row(self, row: int) -> Iterator[tuple[str, MethodMap]]:
        """An input's maps in the order in which they came."""
        for (title, number), cell in self.cells.items():
            if number == row:
                yield title, cell

    # Layout.

    def body(self) -> Node:
        """All of it as marks."""
        believed = bool(self.beliefs)
        lines = [self._measured(row) if believed else self._row(row) for row in range(len(self.rows))]
        if believed:
            lines.insert(0, self._table())
        return lines[0] if len(lines) == 1 else Group(children=tuple(lines))

    def _row(self, row: int) -> Node:
        asked = self.rows[row]
        several = len(self.rows) > 1
        size = 132 if several else SIDE
        maps = [self.mark(cell, size) for _, cell in self.of_row(row)]
        if several or not self.style.overlay:
            maps.insert(0, _named(inputs.drawn(asked.scene, asked.current, size), "the input"))
        return Group(children=tuple(maps), direction="grid", title=self.title(row) if several else "")

    def title(self, row: int) -> str:
        """What stands above an input's maps."""
        asked = self.rows[row]
        score = f", score {float(asked.look.target(asked.current.x, asked.target)[0]):.3g}"
        return f"{asked.current.label}: {asked.words}{score}; the network answers {asked.answered}"

    def _measured(self, row: int) -> Node:
        """Each map with its curves and its randomized double beside it."""
        lines: list[Node] = []
        for title, cell in self.of_row(row):
            belief = self.beliefs.get((title, row), Belief())
            parts: list[Node] = [self.mark(cell, SIDE, belief.note)]
            double = self._double(cell, belief)
            curves = self.believing[row].lines(belief)
            parts += [part for part in (double, curves) if part is not None]
            lines.append(Group(children=tuple(parts), direction="row") if len(parts) > 1 else parts[0])
        return Group(children=tuple(lines), title=self.title(row) if len(self.rows) > 1 else "")

    def _double(self, cell: MethodMap, belief: Belief) -> Node | None:
        test = belief.randomization
        if test is None:
            return None
        count = test.counts[test.half]
        values = test.maps[test.half]
        found = dataclasses.replace(cell.found, values=values, checks={}, note="")
        drawn = self.mark(MethodMap(cell.row, cell.one, found), SIDE)
        title = f"top {count} of {len(test.layers)} layers randomized"
        return msgspec.structs.replace(drawn, title=title, caption=belief.sensitivity)

    def _table(self) -> Node:
        rows = []
        for (title, row), belief in self.beliefs.items():
            name = f"{title}, {self.rows[row].current.label}" if len(self.rows) > 1 else title
            rows.append((name, self.cells[title, row].found, belief))
        return table(rows, self.believing[0].unit)

    # One map.

    def mark(self, cell: MethodMap, size: int, note: str = "") -> Node:
        """A map with its title and what is known of it."""
        asked, found = self.rows[cell.row], self._shown(cell.found)
        caption = "; ".join(part for part in (*_known(cell.found), note) if part)
        title, pale = cell.one.title, doubted(cell.found)
        numbers = self.numbers(cell)
        if numbers is not None:
            pixels = np.asarray(asked.current.shown)
            limits, boxes = self._limits(cell, numbers), _fields(cell.found)
            if not self.style.overlay:
                return Image(pixels=numbers, limits=limits, boxes=boxes, title=title, caption=caption, size=size, doubted=pale)
            grey = inputs.grey(pixels) if pixels.ndim == 2 else None
            return Image(
                pixels=pixels, limits=grey, heat=numbers, heat_limits=limits, contour=self.style.contour, boxes=boxes,
                title=title, caption=caption, size=size, doubted=pale,
            )
        body = picture(found).body
        if isinstance(asked.scene.kind, dict) and self.style.overlay:
            # A question stands above the picture that it is about.
            parts = other_parts(asked.scene, asked.current, found, size=size)
            body = Group(children=tuple(sorted(parts, key=lambda part: not isinstance(part, Text))))
        return msgspec.structs.replace(_named(self._rescaled(cell, body), title, caption), doubted=pale)

    def _shown(self, found: Attribution) -> Attribution:
        """A map as it is drawn: all of it, or what speaks for the target alone."""
        if not self.style.positive:
            return found
        return dataclasses.replace(found, values=nesting.each(found.values, lambda part: part.clamp_min(0)))

    def numbers(self, cell: MethodMap) -> Floats | None:
        """A map as one number a pixel, where the input is an image; else None."""
        asked, values = self.rows[cell.row], cell.found.values
        if not isinstance(asked.scene.kind, ImageKind) or isinstance(values, dict | tuple):
            return None
        numbers = by_place(values[0].detach().float().cpu().numpy(), asked.scene.kind)
        shown = np.asarray(asked.current.shown)
        if numbers.ndim != 2 or shown.shape[:2] != numbers.shape:
            return None
        return np.maximum(numbers, 0) if self.style.positive else numbers

    def _limits(self, cell: MethodMap, numbers: Floats) -> Limits:
        top = self._top(cell)
        return symmetric(numbers, top) if cell.found.signed else magnitude(numbers, None, top)

    def _top(self, cell: MethodMap) -> float | None:
        """The end of the scale that a map shares with others; None for a scale of its own."""
        if self.style.scale == "own":
            return _bulk(self.numbers(cell))
        alike = [
            other for other in self.cells.values()
            if (other.one.title == cell.one.title if self.style.scale == "method" else other.found.signed == cell.found.signed)
        ]
        ends = [_largest(values) for values in map(self._values, [*alike, cell])]
        return max(ends) or None

    def _values(self, cell: MethodMap) -> Floats:
        numbers = self.numbers(cell)
        if numbers is not None:
            return numbers
        return np.concatenate([part[0].detach().float().cpu().numpy().ravel() for part in nesting.tensors(cell.found.values)])

    def _rescaled(self, cell: MethodMap, node: Node) -> Node:
        top = self._top(cell)
        if top is None:
            return node
        if isinstance(node, Group):
            return msgspec.structs.replace(node, children=tuple(self._rescaled(cell, child) for child in node.children))
        if isinstance(node, Image) and node.heat is None:
            limits = symmetric(node.pixels, top) if cell.found.signed else magnitude(node.pixels, None, top)
            return msgspec.structs.replace(node, limits=limits)
        if isinstance(node, Image) and node.heat is not None:
            limits = symmetric(node.heat, top) if cell.found.signed else magnitude(node.heat, None, top)
            return msgspec.structs.replace(node, heat_limits=limits)
        if isinstance(node, Bars | Heatmap | Text) and node.values is not None:
            limits = symmetric(node.values, top) if cell.found.signed else magnitude(node.values, None, top)
            return msgspec.structs.replace(node, limits=limits)
        return node


def _named(node: Node, title: str, caption: str = "") -> Node:
    return msgspec.structs.replace(node, title=title, caption=caption)


def _bulk(numbers: Floats | None) -> float | None:
    """Where a few pixels of a large map are far beyond all others, a scale for the others: the rest is told as beyond it."""
    if numbers is None or numbers.size < MANY:
        return None
    sizes = np.abs(numbers[np.isfinite(numbers)])
    top = float(np.percentile(sizes, 99.5)) if sizes.size else 0.0
    return top if 0 < 2 * top < float(sizes.max()) else None


def _largest(values: Floats) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _fields(found: Attribution) -> tuple[Box, ...]:
    """What a unit can see by the network's structure, and what it was measured to see, as boxes on its map."""
    made = []
    for name, label in (("reach", "can see"), ("measured", "sees")):
        if name in found.maps:
            top, left, bottom, right = (int(k) for k in found.maps[name])
            made.append(Box(
                x=left, y=top, width=right - left, height=bottom - top, label=f"{label} {bottom - top} × {right - left}"
            ))
    return tuple(made)


def _known(found: Attribution) -> Iterator[str]:
    """The numbers that say how far to believe a map, in words."""
    share = gap(found)
    if share is not None:
        if found.summed is not None:
            # Each part, or each place of the map, once: the picture repeats its number on all its pixels.
            which = "parts" if "map" not in found.maps else "places"
            yield f"sum of its {which} {float(found.summed[0]):.3g}, {_percent(share)} off{measured_from(found)}"
        else:
            sums = sum(float(part[0].double().sum()) for part in nesting.tensors(found.values))
            yield f"sum {sums:.3g}, {_percent(share)} off{measured_from(found)}"
    if "measured field" in found.checks:
        yield f"measured field {found.checks['measured field']:.0f} pixels, theoretical {found.checks['theoretical field']:.0f}"
    if found.note:
        yield found.note


def _percent(share: float) -> str:
    if not np.isfinite(share):
        return "not a number"
    return "< 0.1 %" if share < 1e-3 else percent(share) if share < 10 else "many times"


def caption(bench: Bench, methods: int | None) -> str:
    """What is seen, how it was made, how far to believe it. None: more methods are to come, and older maps may still stand in their places."""
    asked = bench.rows[0]
    one = len(bench.rows) == 1
    where = asked.current.label if one else f"{len(bench.rows)} inputs"
    what = asked.words if one or len({row.words for row in bench.rows}) == 1 else "each answer"
    shown = "Blue speaks for it" + ("" if bench.style.positive else ", orange against it")
    by = "" if methods is None else f", by {methods} methods" if methods > 1 else ", by 1 method"
    told = f"What in {where} speaks for {what}{by}. {shown}; dark to bright: how much it matters."
    if any(gap(cell.found) is not None for cell in bench.cells.values()):
        told += " Where a method promises that its map sums to the score, or to how far it is from a baseline's, the gap is told."
    if any(missed(cell.found) for cell in bench.cells.values()):
        told += " A map that is off by more than half is pale."
    if any(slight(cell.found) for cell in bench.cells.values()):
        told += " A map whose baseline has nearly the same score explains next to nothing of it, and is pale."
    scale = {
        "own": "Each map has its own scale.", "method": "The maps of a method share a scale.",
        "all": "All signed maps share a scale, and all others.",
    }[bench.style.scale]
    return f"{told} {scale} {_scores(asked) if one else ''}".strip()


def _scores(asked: InputQuestion) -> str:
    value = next(iter(_target(asked)), "")
    return f"The network answers {asked.answered}{value}."


def _target(asked: InputQuestion) -> Iterator[str]:
    if answers.answerless(asked.scene, asked.scores):
        return
    if asked.number is not None:
        rows = asked.scores.reshape(1, -1)
        chance = asked.scene.reading.probabilities(asked.scores).reshape(-1)
        if asked.number < len(chance):
            score = f"a score of {float(rows[0, asked.number]):.3g} and " if rows.shape[1] == len(chance) else ""
            yield f"; {asked.words} has {score}a probability of {100 * float(chance[asked.number]):.3g} %"
    elif not isinstance(asked.target, EachClass):
        value = float(asked.look.target(asked.current.x, asked.target)[0])
        yield f"; the value of {asked.words} is {value:.3g}"
