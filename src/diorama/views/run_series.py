"""What a run recorded, as views show it: which series belong in one chart, what they are called, how they are
smoothed."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.errors import NotFound, not_found
from ..core.marks import Event
from ..core.selection import layer_key
from ..record.lineage import neighbours
from ..run import Run, open_run
from .changed_labels import of_numbers
from .validation_measures import is_held_back, is_measure

if TYPE_CHECKING:
    from ..scene import Scene

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

_FAMILY = 4
"""So many numbers whose names differ only in a last number ("metric_0", "metric_1", …) stand in one chart."""
GROUPS = ("learning", "learning rate", "updates", "weights", "gradients", "dead units", "all")
_PATTERNS = {
    "learning rate": ("learning_rate*",),
    "updates": ("updates/*/ratio",),
    "weights": ("weights/*/norm",),
    "gradients": ("gradients/*/norm",),
    "dead units": ("activations/*/dead", "activations/*/saturated"),
    "all": ("*",),
}
PROBE_LOSS = "probe loss"
"""The chart of the probe set's loss where that is another one than the training's."""
_TITLES = {
    "updates/ratio": "Length of each update, as a share of the weights' length",
    "updates/norm": "Length of each update",
    "weights/norm": "Length of the weights",
    "gradients/norm": "Length of the gradients",
    "activations/dead": "Share of dead units",
    "activations/saturated": "Share of saturated activations",
    "activations/mismatch": "Running statistics of batch norm, away from the batch's",
    "learning_rate": "Learning rate",
    "loss": "Loss: how wrong the answers are",
    PROBE_LOSS: "Loss on the probe set, which is another one than the training's",
    "accuracy": "Accuracy: the share of right answers",
    "error": "Mean error",
}


def reservations(scene: Scene, *, looked: bool = True) -> list[str]:
    """What should be known of numbers about the answers, a clause each; ``looked``: the network is looked into anyway, and may be asked."""
    meta = scene.run.meta if scene.run is not None else {}
    found = [str(meta[about]) for about in ("doubt", "measure") if meta.get(about)]
    found += of_numbers(scene.run, scene.step) if looked else []
    mixing = scene.table is not None and scene.table.mixing if looked else meta.get("mixing")
    return [*found, "the answer to an example depends on those asked with it, here its neighbours in the probe set"] if mixing else found


def lacking(run: Run, what: str) -> str:
    """Why a run holds none of these numbers: what its recorder said that it leaves out, or that it is too early."""
    word = "activations" if what in ("dead units", "saturated units") else what
    told: list[str] = run.meta.get("left_out") or []
    return next((text for text in told if word in text), "they will appear with the first readings")


def of_complex(run: Run, name: str) -> bool:
    """Whether a recorded distribution is one of complex numbers, of which a run holds the magnitudes."""
    kind, _, about = name.partition("/")
    if kind == "activations":
        layer = about.removesuffix("/probe")
        return any(fact.get("complex") and fact.get("name") == layer for fact in run.meta.get("layers") or ())
    stem = about.removesuffix("*") if about.endswith("*") else None  # many parameters are read in groups
    told = [fact[2] for fact in run.meta.get("parameters") or () if (fact[0] == about if stem is None else fact[0].startswith(stem))]
    return any("complex" in kind for kind in told)


@dataclasses.dataclass(frozen=True)
class RecordedSeries:
    """A scalar series of a run: its chart, what it is called there, and the key of what it is about."""

    name: str
    chart: str
    label: str
    key: str = ""
    where: str = ""
    """Of which examples it is, where its name tells."""

    @classmethod
    def of(cls, name: str) -> RecordedSeries:
        """Read a series' name: ``loss``, ``probe/loss``, ``updates/conv1.weight/ratio``. What the loop passed by a name of its own is of the batch
        where it is called a loss or the like and nothing else, of examples held back where it says so, and else what the loop says."""
        first, slash, rest = name.partition("/")
        if first == "learning_rate":
            return cls(name, first, f"parameter group {rest or 0}")
        if not slash:
            if is_held_back(name):
                return cls(name, name, "held back", where="on held-back examples")
            return cls(name, name, "training batch", where="on the batch") if is_measure(name) else cls(name, name, "told by the loop")
        if first == "probe":
            return cls(name, rest, "probe set", where="on the probe set")
        about, _, last = rest.rpartition("/")
        if first in ("weights", "gradients", "updates", "activations") and about:
            layer = about if first == "activations" else about.rpartition(".")[0]
            return cls(name, f"{first}/{last}", about, layer_key(layer) if layer else "")
        return cls(name, first, rest, where="on held-back examples" if is_held_back(name) else "")


def chart_title(chart: str) -> str:
    """What a chart is about, in words."""
    return _TITLES.get(chart, chart.replace("_", " ").replace("/", ": ").capitalize())


def chosen(names: Sequence[str], group: str, patterns: str | None) -> list[str]:
    """The series of a group, or those that fit one of the comma-separated patterns; raises NotFound for one that fits
    none."""
    if patterns:
        found: list[str] = []
        for pattern in filter(None, map(str.strip, patterns.split(","))):
            fits = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
            if not fits:
                raise not_found("series", pattern, names)
            found += fits
        return list(dict.fromkeys(found))
    if group == "learning":
        own = [name for name in names if "/" not in name and name != "learning_rate"]
        return [*own, *(name for name in names if name.startswith("probe/"))]
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _PATTERNS[group])]


def charts(names: Iterable[str], apart: bool = False) -> dict[str, list[RecordedSeries]]:
    """Series by chart; loss and accuracy come first, and names that only a number tells apart share one. ``apart``: the probe set's loss is
    another one than the training's, and stands in a chart of its own."""
    found: dict[str, list[RecordedSeries]] = {}
    for one in _families([RecordedSeries.of(name) for name in names]):
        chart = PROBE_LOSS if apart and one.name == "probe/loss" else one.chart
        found.setdefault(chart, []).append(dataclasses.replace(one, chart=chart))
    if len(found.get("learning_rate", ())) == 1:
        found["learning_rate"] = [dataclasses.replace(found["learning_rate"][0], label="all parameters")]
    order = {"loss": 0, PROBE_LOSS: 1, "accuracy": 1}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], 2)))


def _families(members: Sequence[RecordedSeries]) -> list[RecordedSeries]:
    stems = {one.name: re.sub(r"[\W_]*\d+$", "", one.name) for one in members if one.chart == one.name}
    counts = Counter(filter(None, stems.values()))
    return [
        dataclasses.replace(one, chart=stem, label=one.name)
        if (stem := stems.get(one.name, "")) and counts[stem] >= _FAMILY else one
        for one in members
    ]


def smoothed(steps: Steps, values: Floats, window: float) -> Floats:
    """Exponential averages that forget over ``window`` steps, without a bias at the start; values that are not finite
    are left out.

    *Error* taken as if the steps lay evenly. *Cost* linear: some 20 ms for a million values.
    """
    if window <= 0 or len(values) < 3:
        return values
    apart = (steps[-1] - steps[0]) / (len(steps) - 1)
    keep = float(np.exp(-max(apart, 1e-9) / window))
    if keep < 1e-3:
        return values
    finite = np.isfinite(values)
    told = values[finite]
    if not len(told) or told.min() == told.max():
        return values  # averages would differ by rounding, and be drawn as a zigzag
    total = _running(np.where(finite, values, 0.0), keep)
    counted = np.arange(1, len(values) + 1)
    weight = -np.expm1(counted * np.log(keep)) if finite.all() else _running(finite.astype(np.float64), keep)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(finite, total / weight, values)


_BLOCK = 64


def _running(values: Floats, keep: float) -> Floats:
    """``y[t] = keep · y[t - 1] + (1 - keep) · x[t]``: by one matrix within blocks, by a loop over blocks."""
    blocks = -(-len(values) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK)
    padded[: len(values)] = values
    apart = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    within = np.where(apart >= 0, (1 - keep) * keep ** np.maximum(apart, 0), 0.0)
    found: Floats = padded.reshape(blocks, _BLOCK) @ within.T
    carried, over = np.zeros(blocks), keep**_BLOCK
    ends, carry = found[:, -1].tolist(), 0.0
    for block in range(1, blocks):
        carry = ends[block - 1] + over * carry
        carried[block] = carry
    found += carried[:, None] * keep ** np.arange(1, _BLOCK + 1)
    return found.reshape(-1)[: len(values)]


def bounds(text: str | None) -> tuple[float, float] | None:
    """A range as a handle writes it ("120:900"); None for an empty one or what is not one."""
    low, colon, high = (text or "").partition(":")
    try:
        found = (float(low), float(high))
    except ValueError:
        return None
    return found if colon and found[0] < found[1] else None


def events(run: Run) -> list[tuple[float, float | None, str, str]]:
    """Moments of a run as (step, end, kind, label): commands, findings, gaps in the record, and the training's own.

    That readings lie further apart from a step on is none of the training's, and stays in the time slider and the log.
    """
    found = []
    for event in run.events:
        if event.kind == "pace":
            continue
        kind = event.kind if event.kind in ("command", "finding", "gap") else "flip"
        end = float(event.new) if kind == "gap" and event.new else None
        found.append((float(event.step), end, kind, event.label))
    return found


def as_marks(moments: Iterable[tuple[float, float | None, str, str]]) -> tuple[Event, ...]:
    """Moments as the marks' events."""
    made = (Event(x=at, label=label, kind=kind, end=end) for at, end, kind, label in moments)  # type: ignore[arg-type]
    return tuple(made)


def overlaid(scene: Scene, names: str | None) -> list[Run]:
    """The scene's run, those it is compared with, and others of the same folder by name, with commas between them."""
    runs: list[Run] = [scene.run] if scene.run is not None else []
    for other in scene.others:
        if other.run is not None and all(other.run.path != run.path for run in runs):
            runs.append(other.run)
    for name in filter(None, map(str.strip, (names or "").split(","))):
        if all(name not in (run.name, run.path.name) for run in runs):
            runs.append(_beside(runs[0].path, name))
    return runs


def label(run: Run | None, beside: Iterable[Run | None]) -> str:
    """What tells a run apart from those beside it: its name; its folder's where another has the same name; the end of its path where another's
    folder is called so too."""
    if run is None:
        return ""
    others = [other for other in beside if other is not None and other.path.resolve() != run.path.resolve()]
    if all(other.name != run.name for other in others):
        return run.name
    own, theirs = run.path.resolve().parts, [other.path.resolve().parts for other in others]
    count = next((count for count in range(1, len(own)) if all(other[-count:] != own[-count:] for other in theirs)), len(own))
    return "/".join(own[-count:])


def at_another_step(scene: Scene, other: Scene) -> bool:
    """Whether another network is the scene's own, at another step of the same run."""
    here, there = scene.run, other.run
    return here is not None and there is not None and here.path == there.path and scene.step != other.step


def other_name(scene: Scene, other: Scene, alike: str = "the other network") -> str:
    """What tells another network from the scene's: its step in the same run, else its name; ``alike`` where both have one name."""
    if at_another_step(scene, other):
        return f"step {other.step}"
    name = label(other.run, [scene.run]) if other.run is not None else other.name
    return name if name != scene.name else alike


def this_name(scene: Scene, other: Scene) -> str:
    """What tells the scene's network from another."""
    return other_name(other, scene, "this network")


def _beside(path: Path, name: str) -> Run:
    found = {folder.name: folder for folder in neighbours(path)}
    if name not in found:
        raise not_found("run", name, found) if found else NotFound(f"there are no runs beside {path.name!r}")
    return open_run(found[name])
