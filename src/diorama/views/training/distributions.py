"""How the values of a tensor are spread, over the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.errors import NotApplicable, not_found
from ...core.knobs import knob
from ...core.marks import Lines, Ridges, RidgeSet, Series
from ...core.numerals import counted, joined
from ...core.picture import Picture, Progress
from ...core.selection import Selection, spoken, without_call
from ...record.histogram import HistogramSeries
from ...run import Run
from .. import run_series
from ..view import View

if TYPE_CHECKING:
    from ...scene import Scene

_BANDS = ((0.07, 0.93), (0.16, 0.84), (0.31, 0.69))
"""Shares below, as in a normal distribution's 1.5, 1 and 0.5 standard deviations."""
_COLUMNS = 300
_BINS = 72
KINDS = ("weights", "gradients", "updates", "activations")


class DistributionsView(View):
    """How the weights, gradients, updates or activations of a layer are spread, step by step, as ridges or as bands.

    *Meaning* a spread that stops moving has converged; one that grows without end, or shrinks to a point at zero, is
    trouble. Activations come from the batch that is trained on and from the probe set: what differs between the two is
    what the layer makes of unseen examples.
    *Error* bands are exact to an eighth of a power of two, their outermost ends are exact.
    """

    title = "Distributions"
    question = "How are the weights and the activations spread, and do they still move?"
    family = "process"
    papers = ("Abadi et al. 2016, TensorFlow (TensorBoard)",)
    rows = ("C9", "C20")
    needs = "record"
    follows = ("layer", "unit")

    of: str = knob("weights", "What of the layer is looked at.", choices=KINDS, main=True)
    form: str = knob(
        "ridges", "One ridge a step, or bands of percentiles over the steps.", choices=("ridges", "bands"), main=True
    )
    layer: str | None = knob(None, "The layer; the selected one, else the first.", kind="layer")
    tensor: str | None = knob(None, "A recorded tensor by its own name, such as weights/conv1.bias.", kind="signal")
    on: str = knob("both", "Activations on the batch that is trained on, on the probe set, or both.",
                   choices=("both", "training", "probe"))
    runs: str | None = knob(None, "Other runs of the same folder to lay over, by name, with commas.", kind="run")
    ridges: int = knob(24, "Ridges at most; they lie evenly over the steps.", low=2, high=200)
    range: str | None = knob(None, "The values shown, such as -1:1; left out: nearly all that ever came.")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, of every step that was looked at."""
        runs = run_series.overlaid(scene, self.runs)
        name, note = self._name(runs[0], selection)
        labels = [run_series.label(run, runs) for run in runs]
        found = [self._sets(run, name, number, labels[number] if len(runs) > 1 else "") for number, run in enumerate(runs)]
        if not found[0]:
            raise NotApplicable(f"the run {runs[0].name!r} has no distribution of {name!r}")
        without = [label for label, made in zip(labels, found, strict=True) if not made]
        sets = [one for made in found for one in made]
        low, high = run_series.bounds(self.range) or _span([one.found for one in sets])
        kind, _, about = name.partition("/")
        about = about.removesuffix("/probe")
        title = f"{kind.capitalize()} of {about}" if kind in KINDS else name
        # The step that the time slider stands at is marked where it lies within what was recorded.
        cursor = float(scene.step) if scene.step is not None else None
        draw = self._ridges if self.form == "ridges" else self._bands
        lacking = f"{', '.join(without)}: no distribution of {name} was recorded there." if without else ""
        whole = "The numbers are complex; what is shown of them is their magnitude." if any(
            run_series.of_complex(run, name) for run in runs) else ""
        notes = [note, whole, lacking, *(_odd(one) for one in sets), _beyond(sets, low, high)]
        yield self.picture(
            scene, selection, title, draw(sets, (low, high), kind, cursor), self._caption(sets, kind, low, high),
            note=" ".join(filter(None, notes)),
        )

    def _name(self, run: Run, selection: Selection) -> tuple[str, str]:
        """The histogram that is meant, and what is to be said about the choice."""
        names = run.histogram_names
        if self.tensor:
            if self.tensor not in names:
                raise not_found("recorded tensor", self.tensor, names)
            return self.tensor, ""
        fitting = [name for name in names if name.startswith(f"{self.of}/") and not name.endswith("/probe")]
        if not fitting:
            raise NotApplicable(f"no {self.of} were recorded in this run: {run_series.lacking(run, self.of)}")
        key = selection.one("layer") or selection.one("unit")
        wanted = self.layer or (key.layer if key is not None else None)
        if wanted is None:
            return fitting[0], ""
        found = _of_layer(fitting, self.of, wanted)
        if found is not None:
            return found, ""
        if self.layer:
            layers = list(dict.fromkeys(_layer(name) for name in fitting))
            raise NotApplicable(f"no {self.of} of {spoken(wanted)} were recorded; there are those of {', '.join(layers[:6])}")
        return fitting[0], f"{spoken(wanted)} has no {self.of} of its own; this is {_layer(fitting[0])}."

    def _sets(self, run: Run, name: str, number: int, title: str) -> list[_Set]:
        """The tensor's histograms in one run: for activations on the training batch, the probe set or both."""
        names = [name]
        if name.startswith("activations/") and not name.endswith("/probe"):
            probe = f"{name}/probe"
            names = {"training": [name], "probe": [probe], "both": [name, probe]}[self.on]
        made = []
        for place, each in enumerate(names):
            if each not in run.histogram_names:
                continue
            label = ("probe set" if each.endswith("/probe") else "training batch") if len(names) > 1 else ""
            label = " · ".join(filter(None, [title, label]))
            found = run.histograms(each)
            if len(found):
                made.append(_Set(label, found, number * len(names) + place))
        return made

    def _ridges(self, sets: Sequence[_Set], limits: tuple[float, float], kind: str, cursor: float | None) -> Ridges:
        edges = np.linspace(*limits, _BINS + 1)
        common = _common([one.found.steps for one in sets])
        made = []
        for one in sets:
            rows = np.flatnonzero(np.isin(one.found.steps, common)) if len(common) else np.arange(len(one.found))
            rows = rows[_evenly(len(rows), self.ridges)]
            density = one.found.density(edges)[rows] / (edges[1] - edges[0])
            made.append(
                RidgeSet(name=one.name, steps=one.found.steps[rows], edges=edges, density=density, colour=one.colour)
            )
        return Ridges(sets=tuple(made), x_title=_singular(kind), x_range=limits, cursor=cursor, height=240)

    def _bands(self, sets: Sequence[_Set], limits: tuple[float, float], kind: str, cursor: float | None) -> Lines:
        series = tuple(line for one in sets for line in one.bands())
        return Lines(
            series=series, y_title=_singular(kind), y_range=limits, cursor=cursor, height=240, caption=_ends(sets),
        )

    def _caption(self, sets: Sequence[_Set], kind: str, low: float, high: float) -> str:
        found = sets[0].found
        least, count = int(found.count.min()), int(found.count.max())
        what = counted(count, kind if kind in KINDS else "values")
        # A training that changes its shape has not as many at each step.
        what = f"{least:,} to {what}" if least < count else what
        what = f"the {what}" if kind in KINDS else what
        steps = f"from step {int(found.steps[0])} to {int(found.steps[-1])}"
        scale = f"the scale, {low:.3g} to {high:.3g}, is the same at all steps"
        if self.form == "ridges":
            return f"Each ridge is one step, the first on top, high where many of {what} lie. Shown {steps}; {scale}."
        return (
            f"The line is the middle of {what} at each step, {steps}. The bands hold 38, 68 and 86 % "
            f"of them, the palest all; {scale}."
        )


@dataclasses.dataclass(frozen=True)
class _Set:
    """One tensor in one run."""

    name: str
    found: HistogramSeries
    colour: int

    def bands(self) -> list[Series]:
        """Bands of percentiles, the widest first, and the median."""
        found = self.found
        starts = _evenly(len(found), _COLUMNS)
        # Between the columns the outermost ends are exact: no step is passed over.
        low, high = np.fmin.reduceat(found.low, starts), np.fmax.reduceat(found.high, starts)
        wanted = [0.5, *(share for band in _BANDS for share in band)]
        rows = dataclasses.replace(
            found, steps=found.steps[starts], counts=found.counts[starts], statistics=found.statistics[starts]
        )
        values = rows.quantiles(wanted)
        x, middle = rows.steps.astype(np.float64), values[:, 0]
        ends = [(low, high), *((values[:, 1 + 2 * k], values[:, 2 + 2 * k]) for k in range(len(_BANDS)))]
        bands = [
            Series(name=self.name, x=x, y=middle, low=bottom, high=top, band=True, colour=self.colour)
            for bottom, top in ends
        ]
        return [*bands, Series(name=self.name or "median", x=x, y=middle, colour=self.colour)]


def _ends(sets: Sequence[_Set]) -> str:
    """Where the readings of some runs end before those of others: that is the recorder's rhythm or a shorter training."""
    last = [int(one.found.steps[-1]) for one in sets]
    short = [f"of {one.name} at step {step:,}" for one, step in zip(sets, last, strict=True) if step < max(last)]
    return f"The last reading was {joined(short)}, of the others at step {max(last):,}." if short else ""


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many positions, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _common(steps: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Steps that all sets share, so that their ridges lie over one another; none when these are too few to tell much."""
    shared = steps[0]
    for one in steps[1:]:
        shared = np.intersect1d(shared, one)
    return shared if len(shared) >= min(8, *(len(one) for one in steps), 8) else shared[:0]


def _layer(name: str) -> str:
    """The layer that a histogram's name speaks of."""
    kind, _, about = name.partition("/")
    return about if kind == "activations" else about.rpartition(".")[0] or about


def _of_layer(names: Sequence[str], kind: str, layer: str) -> str | None:
    """The tensor of a layer: its activations, or its weight before its bias; of a part of an RNN that part's own."""
    if kind == "activations":
        return next((name for name in names if name == f"{kind}/{layer}"), None)
    path = without_call(layer)
    own = [name for name in names if (_layer(name) == path if path else "." not in name)]
    if not own and ".l" in path:
        module, _, part = path.rpartition(".l")
        own = [name for name in names if _layer(name) == module and name.endswith(f"_l{part.replace('.', '_')}")]
    return min(own, key=lambda name: "weight" not in name, default=None)


def _span(found: Sequence[HistogramSeries]) -> tuple[float, float]:
    """The values shown: all that ever came, unless a few lie far outside."""
    low, high, inner_low, inner_high = np.inf, -np.inf, np.inf, -np.inf
    for one in found:
        rows = _evenly(len(one), 64)
        some = dataclasses.replace(one, steps=one.steps[rows], counts=one.counts[rows], statistics=one.statistics[rows])
        ends = some.quantiles([0.001, 0.999])
        for array, place in ((one.low, 0), (one.high, 1)):
            finite = array[np.isfinite(array)]
            if finite.size:
                low, high = min(low, finite.min()), max(high, finite.max())
                inner = ends[:, place][np.isfinite(ends[:, place])]
                if inner.size:
                    inner_low, inner_high = min(inner_low, inner.min()), max(inner_high, inner.max())
    if not np.isfinite([low, high]).all():
        return -1.0, 1.0
    if np.isfinite([inner_low, inner_high]).all() and high - low > 3 * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    if high <= low:
        return float(low) - 0.5, float(high) + 0.5
    room = 0.02 * (high - low)
    return float(low - room), float(high + room)


def _odd(one: _Set) -> str:
    """What cannot be drawn: values that are NaN or infinite."""
    bad = one.found.nan + one.found.infinite
    if not bad.any():
        return ""
    first = int(one.found.steps[np.flatnonzero(bad)[0]])
    last = int(bad[-1])
    return (
        f"From step {first} on some values are NaN or infinite ({last:,} of them at the last step); they are not drawn."
    )


def _beyond(sets: Sequence[_Set], low: float, high: float) -> str:
    """How much lies outside what is shown."""
    most = 0.0
    for one in sets:
        inside = one.found.density(np.array([low, high]))[:, 0]
        filled = one.found.counts.any(1)
        # A bin may be wider than what fell into it: only what is known to lie outside counts.
        if filled.any() and (np.nanmin(one.found.low) < low or np.nanmax(one.found.high) > high):
            most = max(most, float(1 - inside[filled].min()))
    return f"At most {most:.2%} of the values at a step lie outside the scale." if most > 0 else ""


def _singular(kind: str) -> str:
    return kind.removesuffix("s") if kind in KINDS else "value"
