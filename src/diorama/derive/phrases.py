"""Phrases of a corpus in which the same cells of a layer are on together: levels, chosen cells, and the search."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.1
"""From which share of a layer's scale on a cell is on, where nobody says: at 0.3 one cell is, through most words of the character models tried."""

STEPS = 200
"""So many thresholds lie between 0 and the layer's scale: a level is the number of those that a value reaches."""

AT_ONCE = 1 << 16
"""So many numbers are worked on at a time: they stay in the processor's cache."""

Levels = NDArray[np.uint8]
Places = NDArray[np.int64]


def levels_of(values: NDArray[np.floating[Any]], scale: float) -> Levels:
    """How many of the thresholds 0, 1/200, … 1 of the scale each value reaches; none where it is not a number.

    *Error* as in doubles. In single precision a value just below a threshold is rounded up to it, and to a whole number: those that
    come to one are counted again.
    *Cost* some numbers at a time.
    """
    # In the order in which the values lie in memory, whichever axis comes first.
    order = sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis]))
    given = values.transpose(order)
    found: Levels = np.empty(given.shape, np.uint8)
    if not given.size:
        return found.transpose(np.argsort(order))
    factor = STEPS / scale
    # Another factor is itself rounded in single precision.
    kind = np.dtype(np.float32 if values.dtype == np.float32 and float(np.float32(factor)) == factor else np.float64)
    apart = max(1, AT_ONCE // max(1, given[0].size))
    exact, whole = np.empty((apart, *given.shape[1:]), kind), np.empty((apart, *given.shape[1:]), kind)
    with np.errstate(all="ignore"):
        for start in range(0, len(given), apart):
            part, own = given[start : start + apart], found[start : start + apart]
            reached, level = exact[: len(part)], whole[: len(part)]
            np.multiply(part, factor, out=reached, dtype=kind)
            _counted(np.floor(reached, out=level), own)
            if kind == np.float32 and len(lifted := np.flatnonzero((reached == level) & (reached != 0))):
                doubles = np.floor(part.take(lifted).astype(np.float64) * factor)
                own.put(lifted, _counted(doubles, np.empty(len(lifted), np.uint8)))
    return found.transpose(np.argsort(order))


def _counted(whole: NDArray[np.floating[Any]], into: Levels) -> Levels:
    """Levels of whole numbers of steps, which are overwritten; what is no number reaches none."""
    np.clip(whole, -1, STEPS, out=whole)
    if np.isnan(whole.min()):
        whole[np.isnan(whole)] = -1
    np.add(whole, 1, out=into, casting="unsafe")
    return into


def put(levels: Levels, found: Levels) -> None:
    """Write the levels of some texts (texts, cells, tokens) into an index (cells, texts, tokens); behind their tokens it stays as it is."""
    for text, own in enumerate(found):
        levels[:, text, : own.shape[1]] = own


def level(threshold: float) -> int:
    """The least level of a value that is at or over a threshold, a share of the scale."""
    return round(threshold * STEPS) + 1


def chosen(levels: Levels, start: int, stop: int, threshold: float, sharp: bool) -> Places:
    """The cells that are on through the whole of a span of one text's (cells, tokens), and if wanted off just before and behind."""
    on = levels >= level(threshold)
    found = on[:, start:stop].all(1)
    if sharp:
        found &= ~on[:, start - 1] if start else True
        found &= ~on[:, stop] if stop < on.shape[1] else True
    return np.flatnonzero(found)


def reached(levels: Levels, start: int, stop: int, count: int) -> float:
    """The highest threshold above zero at which so many cells are on through the whole of a span; NaN where there is none."""
    lowest = np.sort(levels[:, start:stop].min(1))
    least = int(lowest[-count]) if 0 < count <= len(lowest) else 0
    return (least - 1) / STEPS if least > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class PhraseSearch:
    """A search for the stretches of a corpus over which some cells are on together.

    *Meaning* a stretch is as long as it can be for the cells that are on through all of it, and no cell more is. Stretches with a
    larger share of the cells come first, then those whose length is closer to the span's, then by their place; what overlaps the span
    itself or a better stretch is left out.
    """

    levels: Levels
    """Of the corpus, (cells, examples, tokens)."""
    cells: Places
    threshold: float
    length: int
    limit: int
    own: tuple[int, int, int] | None = None
    """The example, start and end of the span itself, where it lies in the corpus."""

    def found(self) -> dict[str, NDArray[Any]]:
        """The best matches: ``example``, ``start``, ``end`` (behind the last token) and ``score``, the share of the cells."""
        tokens = self.levels.shape[2]
        starts, stops, shares = self._best() if len(self.cells) else (np.zeros(0, np.int64),) * 3
        return {
            "example": starts // tokens if tokens else starts, "start": starts % tokens if tokens else starts,
            "end": stops - starts + (starts % tokens if tokens else starts), "score": shares / max(1, len(self.cells)),
        }

    def _best(self) -> tuple[Places, Places, Places]:
        on = self._on()
        count: NDArray[np.unsignedinteger[Any]] = np.zeros(on.shape[1], np.uint8 if len(on) < 256 else np.uint16)
        for row in on:
            np.add(count, row, out=count)
        taken = np.zeros(on.shape[1], bool)
        if self.own is not None:
            first = self.own[0] * self.levels.shape[2]
            taken[first + self.own[1] : first + self.own[2]] = True
        found: list[tuple[int, int, int]] = []
        for share in range(len(on), 0, -1):
            starts, stops = self._stretches(on, np.flatnonzero(count >= share), share)
            order = np.lexsort((starts, np.abs(stops - starts - self.length)))
            for start, stop in zip(starts[order].tolist(), stops[order].tolist(), strict=True):
                if not taken[start:stop].any():
                    taken[start:stop] = True
                    found.append((start, stop, share))
                    if len(found) == self.limit:
                        break
            if len(found) == self.limit:
                break
        return tuple(np.array(found, np.int64).reshape(-1, 3).T)  # type: ignore[return-value]

    def _on(self) -> NDArray[np.bool_]:
        """Where each of the cells is on, (cells, all tokens one text behind the other)."""
        least = level(self.threshold)
        return np.stack([self.levels[cell].reshape(-1) >= least for cell in self.cells])

    def _stretches(self, on: NDArray[np.bool_], where: Places, share: int) -> tuple[Places, Places]:
        """The longest stretches over which just so many cells are on together, among the places where as many are on."""
        if not len(where):
            return where, where
        tokens = self.levels.shape[2]
        border = (where // tokens + 1) * tokens
        if share == len(on):
            # All are on wherever enough are: stretches are runs of such places.
            begins = np.flatnonzero(np.diff(where, prepend=-2) != 1)
            begins = np.union1d(begins, np.flatnonzero(where % tokens == 0))
            return where[begins], where[np.append(begins[1:], len(where)) - 1] + 1
        more, stop = _followed(on, where, border, share)
        before = np.concatenate([[-1], np.where((np.diff(where) == 1) & (where[1:] % tokens != 0), stop[:-1], -1)])
        good = (more < stop) & (before < stop)
        return where[good], stop[good]


def _followed(on: NDArray[np.bool_], where: Places, border: Places, share: int) -> tuple[Places, Places]:
    """How far from each place on one cell more, and just so many cells, are on through: followed token by token."""
    more, stop = where.copy(), where.copy()
    going, still = np.arange(len(where)), on[:, where]
    for step in range(1, 1 << 40):
        count = still.sum(0)
        more[going[count > share]] = where[going[count > share]] + step
        good = count >= share
        stop[going[good]] = where[going[good]] + step
        good &= where[going] + step < border[going]
        if not good.any():
            break
        going, still = going[good], still[:, good]
        still &= on[:, where[going] + step]
    return more, stop
