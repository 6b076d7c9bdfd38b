"""What the cells of a layer follow in a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import knob
from ...data.kinds import Tokens
from ...data.padding import pads
from ...methods.cost import Cost
from ...scene import Scene
from ...scene.layer_text import misplaced, text_at
from ...scene.states import NO_MEMORY, STATES, hidden, keeps, memory, remembers
from ..derivation import Derivation, Plain, Stage
from ..texts import pattern, properties, told_of

TEXTS = 32
"""Cells are matched over so many texts."""
AT_ONCE = 8
SHIFTS = 99
"""So often the properties are shifted along the text."""
BLOCK = 4096
"""So many tokens of a text are counted at a time."""
_NUMBERS = 2**20
"""So many numbers of shifted properties are held at a time."""
MOMENTS = ("count", "a", "aa", "b", "bb", "ab")
FOUND = ("correlations", "first", "held_out", "chance")
PATTERN = "regular expression"
OF_LINES = ("position in the line", "indentation")
"""What is told of a line as a whole, and is not known of one whose beginning was cut off."""
PAD = "<pad>"

Floats = NDArray[np.float64]


class PropertiesDerivation(Derivation):
    """How each cell of a layer goes along with properties of the text: brackets, quotes, the place in the line; of a melody: pitch, beat.

    *Meaning* Pearson's correlation: 1 or −1 wholly, 0 not at all, and 0 too for what is found nowhere in the texts, or
    everywhere. ``first`` is that over the first half of the characters, by which
    cells are ranked, ``held_out`` that over the second half, ``correlations`` that over all. ``chance`` is how often chance does as
    well as ``held_out``: the share of 99 shifts of the property along the second half, and in each text of it, at which the best of all
    cells goes along with it as closely (the property itself counts as one more); ``shifted`` is how closely that is under each of them.
    Padding is not counted, nor the first line of each text where lines end in half of the texts: it may begin in the middle, and has
    neither indentation nor place. ``same``: for each property the first one with which it goes along wholly in these texts, itself where there
    is none: in a text of one long word the place in the line and in the word are one thing.
    *Shapes* ``correlations``, ``first``, ``held_out``, ``chance`` (properties, cells), the properties in the order of ``names``; ``shifted``
    (properties, shifts); ``same`` (properties,).
    *Cost* one forward pass an example, of at most 32.
    *Source* Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078, section 4.2, who found such cells by looking.
    """

    version = 10

    layer: str = knob("", "The layer: any that answers at each token.", kind="layer")
    pattern: str = knob("", "A regular expression: what it matches is one more property.")
    state: str = knob("auto", "What a cell says, or what it keeps (tanh of an LSTM's memory); auto: its memory where it has one.", choices=STATES)

    def fits(self, scene: Scene) -> str | None:
        """It needs texts, and a layer that answers at each token."""
        pattern(self.pattern)
        if scene.missing is None:
            if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
                return "it follows texts, and the inputs are no tokens"
            layer = scene.layers[self.layer]
            if not layer.sequence and not layer.loop:
                return f"{self.layer} does not answer at each token"
            if reason := misplaced(scene, self.layer):
                return f"{self.layer} {reason}"
            if self.state == "memory" and not remembers(scene, self.layer):
                return NO_MEMORY.format(layer=self.layer, kind=layer.kind)
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(min(TEXTS, len(scene.live)))

    def names(self, scene: Scene) -> list[str]:
        """The properties of such tokens, in order."""
        return [*told_of(self._kind(scene)), *([PATTERN] if self.pattern else [])]

    def _kind(self, scene: Scene) -> Tokens | None:
        kind = scene.kinds.get(text_at(scene, self.layer))
        return kind if isinstance(kind, Tokens) else next((one for one in scene.kinds.values() if isinstance(one, Tokens)), None)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The sums of products so far, from which the correlations follow."""
        few = scene.live.first(TEXTS)
        shown = few.shown()
        texts = shown[text_at(scene, self.layer)] if isinstance(shown, dict) else shown
        labels = _Labels(texts, self.pattern, self._kind(scene))
        read = memory if keeps(scene, self.layer, self.state) else hidden
        sums, names = Sums() if begun is None else Sums(begun["all"]), self.names(scene)
        # Of windows that are cut out of a text the first line is none: what is told of lines is counted without it.
        rows = [names.index(name) for name in OF_LINES if name in names] if _windows(texts) else []
        lines = _Labels([_whole_lines(text) for text in texts], "", self._kind(scene), rows) if rows else None
        line_sums = Sums() if begun is None else Sums(begun["lines"])
        while True:
            start = int(sums.parts.get("texts", 0))
            if part := list(range(start, min(start + AT_ONCE, len(few)))):
                values = read(scene, self.layer, few.batch(part, scene.device)).double().numpy()
                labels.counted(sums, part, values)
                if lines is not None:
                    lines.counted(line_sums, part, values)
                sums.parts["texts"] = start = start + len(part)
            counted = sums.found(chance=start >= len(few))
            if lines is not None:
                own = line_sums.found(chance=start >= len(few)) if "origin a" in line_sums.parts else {}
                for name, value in counted.items():
                    value[rows] = own.get(name, 1.0 if name in ("chance", "shifted") else 0.0)
            found = {"names": names, "same": labels.same, **counted}
            yield Stage(found, start, len(few), "cells matched with properties", state=lambda: {"all": sums.plain(), "lines": line_sums.plain()})
            if start >= len(few):
                return

    def check(self, scene: Scene, value: Plain) -> None:
        """Four numbers for each property and cell."""
        shape = (len(self.names(scene)), scene.layers[self.layer].units)
        if set(value) != {"names", "same", "shifted", *FOUND} or value["names"] != self.names(scene):
            raise ValueError("the properties by name, and correlations are wanted")
        same, own = value["same"], np.arange(shape[0])
        if not isinstance(same, np.ndarray) or same.shape != own.shape or same.dtype.kind != "i" or not ((same >= 0) & (same <= own)).all():
            raise ValueError("for each property an earlier one, or itself, is wanted")
        wanted = {**dict.fromkeys(FOUND, shape), "shifted": (shape[0], SHIFTS)}
        for name, shape in wanted.items():
            array = value[name]
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f" or not (np.abs(array) <= 1).all():
                raise ValueError(f"{name} of shape {shape} is wanted")


def _windows(texts: Sequence[Sequence[str]]) -> bool:
    """Whether texts may be cut out of a longer one in the middle of a line: lines end in at least half of them."""
    return 2 * sum(any("\n" in token for token in text) for text in texts) >= len(texts)


def _whole_lines(text: Sequence[str]) -> list[str]:
    """A text with padding in the place of its first line, whose beginning may have been cut off."""
    end = next((k for k, token in enumerate(text) if "\n" in token), len(text) - 1) + 1
    return [PAD if k < end else token for k, token in enumerate(text)]


class _Labels:
    """The properties of all texts, one text behind the other without their padding, and shifted along the second half of them.

    ``only``: some of the properties, by their numbers.
    """

    def __init__(self, texts: Sequence[Sequence[str]], wanted: str, kind: Tokens | None, only: Sequence[int] | None = None) -> None:
        self.places = [np.array([k for k, token in enumerate(text) if not pads(token)], int) for text in texts]
        shown = [[text[k] for k in where] for text, where in zip(texts, self.places, strict=True)]
        rows = [properties(text, pattern(wanted), kind) for text in shown]
        self.rows = np.concatenate(rows, 1)
        self.rows = self.rows if only is None else self.rows[list(only)]
        self.starts = np.cumsum([0, *map(len, self.places)])
        self.half = self.rows.shape[1] // 2
        self.second = ShiftedRows(self.rows[:, self.half :], self.starts - self.half)
        self.same = alike(self.rows)

    def counted(self, sums: Sums, texts: Sequence[int], values: Floats) -> None:
        """Count the values of some texts, (texts, cells, tokens)."""
        columns, parts = [], []
        for text, own in zip(texts, values, strict=True):
            places = self.places[text][self.places[text] < own.shape[1]]
            columns.append(self.starts[text] + np.arange(len(places)))
            parts.append(own[:, places])
        everywhere, every = np.concatenate(columns), np.concatenate(parts, 1)
        for start in range(0, len(everywhere), BLOCK):
            where, part = everywhere[start : start + BLOCK], every[:, start : start + BLOCK]
            early = where < self.half
            sums.add("first", self.rows[:, where[early]], part[:, early])
            sums.add("held_out", self.rows[:, where[~early]], part[:, ~early])
            sums.add_shifted(self.second, where[~early] - self.half, part[:, ~early])


class ShiftedRows:
    """Rows of properties, shifted round as a whole by several numbers of places, and after that in each text by a number of its own.

    What comes again in every text, such as a beat, is the same at many shifts of the whole; those of each text take its place from it too.
    """

    def __init__(self, rows: Floats, starts: NDArray[np.int64]) -> None:
        self.rows, self.length = rows, rows.shape[1]
        self.by = shifts(self.length)
        self.starts = np.unique(np.append(starts[(starts > 0) & (starts < self.length)], 0))
        """Where each text begins, or what of it lies here."""
        self.lengths = np.diff(np.append(self.starts, self.length))
        several = len(self.starts) > 1
        self.own = np.random.default_rng(1).integers(0, self.lengths if several else 1, (SHIFTS, len(self.starts)))

    def at(self, columns: NDArray[np.int64], of: slice) -> Floats:
        """What stands at some columns under some of the shifts, (shifts, rows, columns)."""
        text = np.searchsorted(self.starts, columns, "right") - 1
        start = self.starts[text]
        places = start + (columns - start - self.own[of][:, text]) % self.lengths[text]
        return self.rows[:, (places - self.by[of, None]) % self.length].transpose(1, 0, 2)


def alike(rows: Floats) -> NDArray[np.int64]:
    """For each row the first that is the same but for its scale, its sign and where it begins; itself for one that does not vary."""
    apart = rows - rows.mean(1, keepdims=True) if rows.size else rows
    long = np.sqrt((apart * apart).sum(1))
    together = np.abs(apart @ apart.T) >= (1 - 1e-12) * np.outer(long, long)
    together &= (long > 0)[:, None] & (long > 0)
    np.fill_diagonal(together, True)
    found: NDArray[np.int64] = together.argmax(1)
    return found


def shifts(length: int) -> NDArray[np.int64]:
    """By how many places properties are shifted, so that nothing but their own rhythm is left of them."""
    least = max(1, length // 10)
    return np.random.default_rng(0).integers(least, max(least + 1, length - least + 1), SHIFTS)


class Sums:
    """Moments of properties and cells and of their products, over two halves of the texts, and of the properties shifted.

    All are counted from the first values on: sums about a value nearby lose no digits.
    """

    def __init__(self, parts: Plain = None) -> None:
        self.parts: dict[str, Any] = {} if parts is None else {
            name: value.copy() if isinstance(value, np.ndarray) else value for name, value in parts.items()
        }

    def plain(self) -> Plain:
        """All that is needed to go on."""
        return Sums(self.parts).parts

    def add(self, half: str, a: Floats, b: Floats) -> None:
        """Count values of both in a half, (rows, n) and (columns, n)."""
        if a.shape[1] and "origin a" not in self.parts:
            self.parts["origin a"], self.parts["origin b"] = np.nan_to_num(a[:, :1], posinf=0, neginf=0), np.nan_to_num(b[:, :1], posinf=0, neginf=0)
        if not a.shape[1]:
            return
        a, b = a - self.parts["origin a"], b - self.parts["origin b"]
        with np.errstate(all="ignore"):
            self._more(half, {"count": a.shape[1], "a": a.sum(1), "aa": (a * a).sum(1), "b": b.sum(1), "bb": (b * b).sum(1), "ab": a @ b.T})

    def add_shifted(self, rows: ShiftedRows, columns: NDArray[np.int64], b: Floats) -> None:
        """Count shifted properties beside the cells of the second half, at some of its columns."""
        n = len(columns)
        if not n:
            return
        origin, b = self.parts["origin a"], b - self.parts["origin b"]
        shape, at_once = (len(rows.by), len(origin)), max(1, _NUMBERS // max(1, len(origin) * n))
        with np.errstate(all="ignore"):
            together, sums, squares = np.empty((*shape, len(b)), np.float32), np.empty(shape), np.empty(shape)
            for start in range(0, len(rows.by), at_once):
                these = slice(start, start + at_once)
                a = rows.at(columns, these) - origin
                together[these] = (a.reshape(-1, n) @ b.T).reshape(*a.shape[:2], -1)
                sums[these], squares[these] = a.sum(2), np.einsum("srn,srn->sr", a, a)
            self._more("shifts", {"a": sums, "aa": squares, "ab": together})

    def _more(self, of: str, told: dict[str, Any]) -> None:
        for name, value in told.items():
            key = f"{of} {name}"
            self.parts[key] = self.parts[key] + value if key in self.parts else value

    def found(self, chance: bool = True) -> dict[str, Floats]:
        """The correlations over all, over each half, and how often chance does as well as over the second: always, until it is asked."""
        halves = {half: {name: self.parts.get(f"{half} {name}", 0) for name in MOMENTS} for half in ("first", "held_out")}
        whole = {name: halves["first"][name] + halves["held_out"][name] for name in MOMENTS}
        shape = np.shape(whole["ab"])
        found = {"correlations": _correlations(whole)}
        for half, moments in halves.items():
            found[half] = _correlations(moments) if moments["count"] else np.zeros(shape)
        held, as_well = np.abs(found["held_out"]), np.ones(shape)
        shifted = np.ones((len(held), SHIFTS))
        if "shifts ab" not in self.parts or not chance:
            return {**found, "chance": as_well, "shifted": shifted}
        at_once = max(1, _NUMBERS // max(1, held.size))
        for start in range(0, SHIFTS, at_once):
            own = {name: self.parts[f"shifts {name}"][start : start + at_once] for name in ("a", "aa", "ab")}
            best = np.abs(_correlations({**halves["held_out"], **own})).max(2, keepdims=True)
            as_well += (best >= held - 1e-6).sum(0)
            shifted[:, start : start + at_once] = best[:, :, 0].T
        return {**found, "chance": as_well / (1 + SHIFTS), "shifted": shifted}


def _correlations(part: dict[str, Any]) -> Floats:
    """Pearson's correlation of the rows, (…, rows, columns); 0 where a row does not vary or is not finite."""
    count = max(part["count"], 1)
    with np.errstate(all="ignore"):
        both = part["ab"] - part["a"][..., None] * part["b"] / count
        lengths = [np.sqrt(np.maximum(part[2 * name] - part[name] ** 2 / count, 0)) for name in ("a", "b")]
        still = [~(length > 1e-7 * np.sqrt(part[2 * name])) for length, name in zip(lengths, ("a", "b"), strict=True)]
        found = both / np.maximum(lengths[0][..., None] * lengths[1], 1e-12)
    found[still[0][..., None] | still[1]] = 0.0
    clipped: Floats = np.clip(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0), -1, 1)
    return clipped
