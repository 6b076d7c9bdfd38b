"""What a run recorded of each layer, beside the ranges in which such numbers lie in a healthy training."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.selection import without_call
from ..record import ranges
from ..record.ranges import READINGS, Range, middle

if TYPE_CHECKING:
    from ..run import Run

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
Entry = Mapping[str, Any]

PLACES = 48
"""Places of a small history at most: what lies between two is a mean with its lowest and its highest value."""
SETTLED = 0.1
"""A layer has settled where its updates stay below this part of its largest one."""
_ALIKE = 4
"""So many names that only a number tells apart are repetitions of one block."""
_TABLES = ("Embedding", "EmbeddingBag")


@dataclasses.dataclass(frozen=True)
class Measure:
    """One column: where a layer's number is found in the record, how it is said, and what stands beside it."""

    name: str
    series: Callable[[Entry], str | None]
    range: Range
    meaning: str
    beside: Callable[[Readings, Sequence[Entry]], Floats] | None = None
    """What the range's ends are multiples of, (layers, readings)."""
    upper: Range | None = None
    """A second range whose upper end holds by itself."""
    log: bool = False
    unit: str = ""

    def ends(self, found: Readings, layers: Sequence[Entry]) -> tuple[Floats, Floats]:
        """The healthy ends at each reading of each layer, (layers, readings)."""
        if self.range is ranges.DEAD:
            rows = [ranges.dead_ends(found.first_on(row)) for row in range(len(layers))]
            count = found.values.shape[1]
            return np.full(found.values.shape, -np.inf), np.repeat([[high[0] if len(high) else np.inf] for _, high in rows], count, 1)
        low, high = self.range.ends(1.0 if self.beside is None else self.beside(found, layers))
        if self.upper is not None:
            high = np.minimum(high, self.upper.high)
        return np.broadcast_to(low, found.values.shape), np.broadcast_to(high, found.values.shape)


@dataclasses.dataclass(frozen=True)
class Readings:
    """One number of all layers: (layers, steps); ``known`` tells a number that was not recorded from one that is NaN."""

    steps: Steps
    values: Floats
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, series: Sequence[tuple[Steps, Floats] | None]) -> Readings:
        """Lay series over the steps that any of them has."""
        told = [one for one in series if one is not None and len(one[0])]
        steps = told[0][0] if told else np.zeros(0, np.int64)
        if any(one[0] is not steps and not np.array_equal(one[0], steps) for one in told):
            steps = np.unique(np.concatenate([one[0] for one in told]))
        values = np.full((len(series), len(steps)), np.nan)
        known = np.zeros(values.shape, bool)
        for row, one in enumerate(series):
            if one is not None and len(one[0]):
                at = np.searchsorted(steps, one[0])
                values[row, at], known[row, at] = one[1], True
        return cls(steps, values, known)

    def until(self, step: int) -> Readings:
        """What was read up to a step."""
        end = int(np.searchsorted(self.steps, step, "right"))
        return Readings(self.steps[:end], self.values[:, :end], self.known[:, :end])

    def last(self, row: int, count: int = 1) -> NDArray[np.int64]:
        """The last readings of a layer, by number."""
        return np.flatnonzero(self.known[row])[-count:]

    def first_on(self, row: int) -> Floats:
        """All readings of a layer."""
        found: Floats = self.values[row, self.known[row]]
        return found


@dataclasses.dataclass(frozen=True)
class Cell:
    """A layer's number now: its value, whether it lies outside (−1 below, 1 above, 2 not a number), how far, since when."""

    value: float = np.nan
    outside: int = 0
    severity: float = 0.0
    since: int = 0
    passing: bool = False  # the last reading lies outside, and not yet so many in a row as make a fault


def _weight(kind: str, last: str) -> Callable[[Entry], str | None]:
    def name(layer: Entry) -> str | None:
        return f"{kind}/{layer['weight']}/{last}" if layer.get("weight") else None

    return name


def _activation(last: str, only: str = "") -> Callable[[Entry], str | None]:
    def name(layer: Entry) -> str | None:
        return f"activations/{layer['name']}/{last}" if not only or layer.get(only) else None

    return name


def _middle(found: Readings, layers: Sequence[Entry]) -> Floats:
    """The median layer's number, at each reading; unknown where fewer than three layers were read."""
    return _over_layers(found.values, middle, 3)


def _middle_learning(found: Readings, layers: Sequence[Entry]) -> Floats:
    """The same of the layers that are meant to learn."""
    frozen = np.array([bool(layer.get("still")) for layer in layers])[:, None]
    return _over_layers(np.where(frozen, np.nan, found.values), middle, 3)


def _largest_gradient(found: Readings, layers: Sequence[Entry]) -> Floats:
    """The largest root mean square of a gradient, as a norm of each layer's own size."""
    roots = np.sqrt([max(1, int(layer.get("size") or 1)) for layer in layers])[:, None]
    return _over_layers(found.values / roots, np.nanmax, 2) * roots


def _over_layers(values: Floats, of: Callable[..., Floats], least: int) -> Floats:
    finite = np.isfinite(values)
    enough = finite.sum(0) >= least
    out = np.full(values.shape[1], np.nan)
    if enough.any():
        out[enough] = of(np.where(finite, values, np.nan)[:, enough], axis=0)
    return out[None]


def _beginning(found: Readings, layers: Sequence[Entry]) -> Floats:
    """Each layer's own first reading."""
    first = [found.values[row, at[0]] if len(at := np.flatnonzero(found.known[row])) else np.nan for row in range(len(layers))]
    return np.array(first)[:, None]


_TO = "to a batch, where compiled to the probe set"
MEASURES = (
    Measure(
        "update", _weight("updates", "ratio"), ranges.UPDATE_RATIO_BESIDE,
        "How much of its weight's length a step changes; 0.001 is usual.", _middle_learning, ranges.UPDATE_RATIO, True,
    ),
    Measure("gradient", _weight("gradients", "norm"), ranges.GRADIENT, "The length of its weight's gradient.", _largest_gradient,
            log=True),
    Measure("mean", _activation("mean"), ranges.ACTIVATION_MEAN, f"The mean of its answers {_TO}."),
    Measure("spread", _activation("std"), ranges.ACTIVATION_SPREAD, f"The standard deviation of its answers {_TO}.", _middle, log=True),
    Measure("dead", _activation("dead", "rectified"), ranges.DEAD, f"The share of its units that answer nothing {_TO}."),
    Measure("saturated", _activation("saturated"), ranges.SATURATED, "The share of its answers at an end of their range."),
    Measure("weights", _weight("weights", "norm"), ranges.WEIGHT_NORM, "The length of its weight.", _beginning, log=True),
    Measure("moved", _weight("updates", "moved"), ranges.MOVED, "The share of its weights that a step changed at all."),
)
MEAN = next(measure for measure in MEASURES if measure.name == "mean")
SPREAD = next(measure for measure in MEASURES if measure.name == "spread")
MOVED = next(measure for measure in MEASURES if measure.name == "moved")
_LEARNING = ("update", "gradient", "moved")
"""Numbers that are nothing where a layer is frozen on purpose, which is no fault."""
_STOPS = ("dead", "saturated")
"""Numbers of a layer's answers that tell that no gradient gets through it."""


@dataclasses.dataclass(frozen=True)
class JudgedLayers:
    """All that was recorded of a run's layers, up to its last step, and how it looks at one of them."""

    layers: tuple[Entry, ...]
    readings: Mapping[str, Readings]
    ends: Mapping[str, tuple[Floats, Floats]]
    cells: Mapping[str, tuple[Cell, ...]]
    settled: tuple[int | None, ...]
    """By layer: since when its updates are small; None while it still moves."""

    def severity(self, row: int) -> float:
        """How bad the worst number of a layer is, 0 for a healthy one; of equals, the one with more of them."""
        found = sorted((self.cells[name][row].severity for name in self.cells), reverse=True)
        return min(1.0, found[0] + 0.02 * sum(one > 0 for one in found[1:])) if found else 0.0

    def wrong(self, row: int) -> list[tuple[str, Cell]]:
        """The numbers that lie outside, by their measures' names: the worst first, of equals the one that began it, then what stops a
        gradient before what tells that it was stopped."""
        bad = [(name, cells[row]) for name, cells in self.cells.items() if cells[row].outside]
        return sorted(bad, key=lambda one: (-one[1].severity, one[1].since, one[0] not in _STOPS))

    def order(self, row: int) -> tuple[float, bool, int, int]:
        """Sorts layers by what is wrong: the worst first; of equals one that nothing passes before those that learn nothing for that,
        then the one where it began, then as the network runs."""
        wrong = self.wrong(row)
        stops = any(name in _STOPS and cell.severity >= 1.0 for name, cell in wrong)
        return -self.severity(row), not stops, min((cell.since for _, cell in wrong), default=0), row


def layers_of(run: Run, step: int) -> list[dict[str, Any]]:
    """The layers that have weights or a bounded range, and norms too many of whose units a rectifier cuts for good, in the order of the
    network; groups of parameters where there are very many."""
    names = set(run.series_names)
    structure = run.structure(step)
    sizes = {name: int(np.prod(shape)) for name, shape, _ in structure.get("parameters") or ()}
    found, covered, frozen = [], set[str](), _frozen(run, step)
    every = structure.get("layers") or ()
    # A weight is told once: of the part that has it rather than of what holds the part.
    owners = {layer.get("weight"): layer["name"] for leaf in (False, True) for layer in reversed(every) if bool(layer.get("leaf")) is leaf}
    for number, layer in enumerate(every):
        # What the network answers with may reach the ends of its range: a sure answer does.
        entry = {**layer, "answers": number == len(every) - 1}
        repeated = "#" in entry["name"] or entry.get("weight") in covered or owners.get(entry.get("weight")) != entry["name"]
        entry["weight"] = None if repeated or f"weights/{entry.get('weight')}/norm" not in names else entry["weight"]
        bounded = f"activations/{entry['name']}/saturated" in names
        told = str(owners.get(layer.get("weight"), "")).startswith(f"{layer['name']}.") and f"activations/{layer['name']}/mean" not in names
        if entry["weight"] is None and not bounded and (told or not layer.get("weight")) and not _dead_norm(run, layer, names):
            continue
        covered.add(entry["weight"] or "")
        still = entry["weight"] in frozen or entry["name"] in frozen
        found.append({"order": number, **entry, "size": sizes.get(entry["weight"] or "", 1), "still": still})
    found = _with_further(found, structure, names, sizes, frozen)
    for path, weight in _uncalled(structure, names).items():
        still = weight in frozen or path in frozen
        found.append({"name": path, "weight": weight, "kind": "", "order": len(every), "size": sizes[weight], "still": still})
    for name in sorted(names):
        if name.startswith("weights/") and name.endswith(".*/norm"):
            group = name[len("weights/") : -len("/norm")]
            found.append({"name": group.removesuffix(".*"), "weight": group, "kind": "group", "order": len(found), "group": True})
    return found


def _with_further(
    found: Sequence[dict[str, Any]], structure: Mapping[str, Any], names: set[str], sizes: Mapping[str, int], frozen: set[str]
) -> list[dict[str, Any]]:
    """The same layers, each followed by the other weights that it holds itself, under their own names: what attention writes its answer with, what
    a recurrent layer reads its own state with. ``of`` names their layer."""
    told = {layer["weight"]: layer["name"] for layer in found if layer["weight"]}
    modules = {without_call(layer["name"]): layer["name"] for layer in reversed(structure.get("layers") or ()) if layer.get("leaf")}
    further: dict[str, list[tuple[str, str]]] = {}
    for name, shape, _ in structure.get("parameters") or ():
        last = name.rpartition(".")[2]
        # Scales and shifts that are shaped to fit a map are one number a unit; a weight that is kept in two parts is told by its larger one.
        matrix = sum(size > 1 for size in shape) >= 2 and "bias" not in last and "parametrizations." not in name
        if not matrix or name in told or f"weights/{name}/norm" not in names:
            continue
        owner = told.get(re.sub(r"weight_h[hr]", "weight_ih", name)) or _innermost(name, modules)
        if owner is not None:
            further.setdefault(owner, []).append((name.removesuffix(".weight"), name))
    rows = []
    for layer in found:
        rows.append(layer)
        for own, weight in further.pop(layer["name"], ()):
            still = weight in frozen or layer["name"] in frozen
            rows.append({"name": own, "of": layer["name"], "weight": weight, "kind": layer["kind"], "order": layer["order"],
                         "size": sizes[weight], "still": still})
    return rows


def _innermost(name: str, modules: Mapping[str, str]) -> str | None:
    """The layer that holds a parameter: the longest of the paths that lead to it."""
    path = name.rpartition(".")[0]
    while path and path not in modules:
        path = path.rpartition(".")[0]
    return modules.get(path) if path else None


def _uncalled(structure: Mapping[str, Any], names: set[str]) -> dict[str, str]:
    """The recorded weights of modules that no example ran when the layers were found, such as experts, by their modules; all of them where there
    was no example."""
    called = {without_call(layer["name"]): bool(layer.get("leaf")) for layer in structure.get("layers") or ()}
    found: dict[str, str] = {}
    for name, shape, _ in structure.get("parameters") or ():
        path = name.rpartition(".")[0].replace("parametrizations.", "").removesuffix(".weight")
        known = path in called or any(leaf and path.startswith(f"{own}.") for own, leaf in called.items())
        if path and len(shape) > 1 and not known and f"weights/{name}/norm" in names and (path not in found or name.endswith(".weight")):
            found[path] = name
    return found


def _frozen(run: Run, step: int) -> set[str]:
    """What does not learn on purpose: parameters that want no gradient, and layers that the command had frozen at a step."""
    held = run.meta.get("held") or {}
    told = {layer for layer, since, until in run.meta.get("frozen") or () if since < step and (until is None or step <= until)}
    return told | {str(name) for name in held.get("still", ())}


def _dead_norm(run: Run, layer: Entry, names: set[str]) -> bool:
    """Whether a layer that scales units by a number each has answered nothing behind its rectifier more than is healthy, at any reading."""
    name = f"activations/{layer['name']}/dead"
    if not (layer.get("rectified") and layer.get("leaf") and layer.get("parameters")) or name not in names:
        return False
    _, shares = run.series(name)
    return bool((shares > ranges.dead_ends(shares)[1]).any())


def read(run: Run, layers: Sequence[Entry], names: Iterable[str], measures: Sequence[Measure] = MEASURES) -> dict[str, Readings]:
    """Every measure of all layers; what no layer has is left out. Runs that have no means of their own tell them by their
    histograms."""
    there, found = set(names), {}
    for measure in measures:
        wanted = [name if (name := measure.series(layer)) in there else None for layer in layers]
        if any(wanted):
            found[measure.name] = Readings.of([run.series(name) if name is not None else None for name in wanted])
    histograms = set(run.histogram_names) if MEAN.name not in found and MEAN in measures else set()
    blocks = {
        row: run.distributions(name) for row, layer in enumerate(layers) if (name := f"activations/{layer['name']}") in histograms
    }
    if blocks:
        for measure, column in ((MEAN, 2), (SPREAD, 3)):
            found[measure.name] = Readings.of([
                (blocks[row].steps, blocks[row].statistics[:, column]) if row in blocks else None for row in range(len(layers))
            ])
    order = [measure.name for measure in measures]
    return dict(sorted(found.items(), key=lambda one: order.index(one[0])))


def judged(layers: Sequence[Entry], readings: Mapping[str, Readings], step: int) -> JudgedLayers:
    """How the layers look at a step, from what was read up to it."""
    ends: dict[str, tuple[Floats, Floats]] = {}
    cells: dict[str, tuple[Cell, ...]] = {}
    for measure in MEASURES:
        found = readings.get(measure.name)
        if found is None:
            continue
        low, high = measure.ends(found, layers)
        if measure is MEAN and SPREAD.name in readings:
            spread = _at(readings[SPREAD.name], found.steps)
            low, high = measure.range.ends(spread)
        if measure is MOVED:
            tables = np.array([layer.get("kind") in _TABLES for layer in layers])[:, None]
            low = np.where(tables, -np.inf, low)
        if measure.name in _LEARNING:
            low = np.where(np.array([bool(layer.get("still")) for layer in layers])[:, None], -np.inf, low)
        if measure.range is ranges.SATURATED:
            answers = np.array([bool(layer.get("answers")) for layer in layers])[:, None]
            high = np.where(answers, np.inf, high)
        ends[measure.name] = (low, high)
        end = int(np.searchsorted(found.steps, step, "right"))
        cells[measure.name] = tuple(
            _cell(found, row, low[row], high[row], end, measure) for row in range(len(layers))
        )
    return JudgedLayers(tuple(layers), readings, ends, cells, _settled(layers, readings, step))


def key_of(layer: Entry) -> str:
    """The name of the layer that a row is of: its own, or that of the layer which holds the weight."""
    return str(layer.get("of") or layer["name"])


def looked_at(run: Run, step: int) -> JudgedLayers | None:
    """The layers of a run at a step; None where nothing was recorded of any."""
    layers = layers_of(run, step)
    readings = read(run, layers, run.series_names) if layers else {}
    return judged(layers, readings, step) if readings else None


SIDES = {-1: "too low", 1: "too high", 2: "not a number"}


def _at(found: Readings, steps: Steps) -> Floats:
    """Another measure's values at these steps; unknown where it was not read there."""
    if np.array_equal(found.steps, steps):
        return found.values
    at = np.clip(np.searchsorted(found.steps, steps), 0, max(0, len(found.steps) - 1))
    same = len(found.steps) and found.steps[at] == steps
    return np.where(same, found.values[:, at], np.nan) if len(found.steps) else np.full((len(found.values), len(steps)), np.nan)


def _cell(found: Readings, row: int, low: Floats, high: Floats, end: int, measure: Measure) -> Cell:
    places = np.flatnonzero(found.known[row, :end])
    if not len(places):
        return Cell()
    values, low, high = found.values[row, places], low[places], high[places]
    odd = ~np.isfinite(values)
    if odd[-1]:
        return Cell(float(values[-1]), 2, 1.0, int(found.steps[places[_since(odd)]]))
    with np.errstate(invalid="ignore"):
        for sign, bad in ((-1, values < low), (1, values > high)):
            if len(bad) >= READINGS and bad[-READINGS:].all():
                edge = float((low if sign < 0 else high)[-1])
                if measure.range is ranges.DEAD and values[-1] >= ranges.DEAD.high:
                    bad = values >= ranges.DEAD.high  # told as a dead layer: since it is one, not since the first units died
                return Cell(float(values[-1]), sign, _beyond(float(values[-1]), edge, measure), int(found.steps[places[_since(bad)]]))
        return Cell(float(values[-1]), passing=bool(values[-1] < low[-1] or values[-1] > high[-1]))


def _since(bad: NDArray[np.bool_]) -> int:
    """The first of the unbroken readings that end at the last one."""
    good = np.flatnonzero(~bad)
    return int(good[-1]) + 1 if len(good) else 0


def _beyond(value: float, edge: float, measure: Measure) -> float:
    """How far outside: half at the edge, whole a thousand times beyond it or where nothing is left."""
    if measure.range is ranges.DEAD and value >= 1.0:
        return 1.0
    if not measure.log:
        room = max(abs(1 - edge), 0.1) if abs(edge) <= 1 else 9 * abs(edge)
        return float(min(1.0, 0.5 + 0.5 * abs(value - edge) / room))
    if value <= 0 or edge <= 0:
        return 1.0
    return float(min(1.0, 0.5 + 0.5 * abs(np.log10(value / edge)) / 3))


def _settled(layers: Sequence[Entry], readings: Mapping[str, Readings], step: int) -> tuple[int | None, ...]:
    """Since when each layer's updates are small beside its largest; a layer that never moved has settled at the beginning."""
    found = readings.get("update")
    if found is None:
        return (None,) * len(layers)
    until = found.until(step)
    return tuple(settled(until.steps[known], until.values[row, known]) for row, known in enumerate(until.known))


def settled(steps: Steps, ratios: Floats) -> int | None:
    """The step from which on an update ratio stays below a tenth of its largest; None where it still moves, or was hardly
    read.

    *Meaning* a median of three readings is taken, so that one reading decides nothing; where nothing ever moved it is the first
    reading.
    """
    if len(ratios) < 2 * READINGS or not np.isfinite(ratios).all():
        return None
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(ratios, 1, mode="edge"), 3), axis=1)
    if not smooth.any():
        return int(steps[0])
    small = smooth < SETTLED * smooth.max()
    return int(steps[_since(small)]) if small[-READINGS:].all() else None


def columns(steps: Steps, places: int = PLACES) -> tuple[Steps, NDArray[np.int64]]:
    """The common time axis of small histories: its steps, and where each of them begins among the given steps."""
    if len(steps) <= places:
        return steps, np.arange(len(steps))
    edges = np.linspace(steps[0], steps[-1] + 1, places + 1)
    starts = np.unique(np.searchsorted(steps, edges[:-1], "left"))
    starts = starts[starts < len(steps)]
    return steps[np.append(starts[1:], len(steps)) - 1], starts


def drawn(values: Floats, steps: Steps, axis: Steps) -> tuple[Floats, Floats, Floats]:
    """Numbers on a common axis, (rows, places): the mean between two places, the lowest and the highest; NaN where nothing
    was read."""
    shape = (values.shape[0], len(axis))
    mean, low, high = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    if not len(steps):
        return mean, low, high
    place = np.minimum(np.searchsorted(axis, steps), len(axis) - 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    at = place[starts]
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite, starts, axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean[:, at] = np.add.reduceat(np.where(finite, values, 0.0), starts, axis=1) / counts
        low[:, at], high[:, at] = np.fmin.reduceat(values, starts, axis=1), np.fmax.reduceat(values, starts, axis=1)
    mean[:, at] = np.where(counts == 0, np.nan, mean[:, at])
    return mean, low, high


def repeated(layers: Sequence[Entry]) -> dict[str, list[int]]:
    """Layers that stand at one place of repeated blocks, by what their names share: ``blocks.*.attn`` → its rows."""
    shared = _shared([layer["name"] for layer in layers])
    kinds = [str(layer.get("kind")) for layer in layers]
    counts = Counter(zip(shared, kinds, strict=True))
    several = Counter(name for name, _ in counts)
    found: dict[str, list[int]] = {}
    for row, (name, kind) in enumerate(zip(shared, kinds, strict=True)):
        if counts[name, kind] >= _ALIKE and "*" in name:
            found.setdefault(name if several[name] == 1 else f"{name} {kind}", []).append(row)
    return found


def _shared(names: Sequence[str]) -> list[str]:
    """Names with a star for a number that tells many parts apart: of ``layer1.0.conv2`` only the middle one, as a network has
    few ``layer``s and a block few ``conv``s."""
    parts = [name.split(".") for name in names]
    stems: dict[tuple[tuple[str, ...], str], set[str]] = {}
    for path in parts:
        for at, part in enumerate(path):
            stems.setdefault((tuple(map(_stem, path[:at])), _stem(part)), set()).add(part)

    def told(path: list[str], at: int, part: str) -> str:
        many = len(stems[tuple(map(_stem, path[:at])), _stem(part)]) >= _ALIKE + (not part.isdigit())
        return _stem(part) if many else part

    return [".".join(told(path, at, part) for at, part in enumerate(path)) for path in parts]


def _stem(part: str) -> str:
    return re.sub(r"^\d+$|(?<=[A-Za-z_])\d+$", "*", part)
