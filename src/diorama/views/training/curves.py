"""Scalar signals over the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Event, Group, Handle, Lines, Series
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...data.text_places import PART
from ...record.envelope import Envelope
from ...record.findings.misplaced_softmax import MisplacedSoftmax
from ...run import Run
from .. import run_series
from ..changed_labels import of_numbers
from ..run_series import Floats, RecordedSeries, Steps
from ..view import View

if TYPE_CHECKING:
    from ...scene import Scene

_COLOURS = 10
_CHARTS = 6
_LINES = 200
"""More lines in one chart are a grey cloud: the first stand for them, and any is chosen by name."""
_FAR = 0.25
"""The part of a training from which on nothing in between is worth a word."""


class CurvesView(View):
    """How the loss, the accuracy and every other recorded number change as the network trains, live, also of several
    runs.

    *Meaning* the strong line is smoothed, the faint one behind it is what was recorded; where more steps lie in one
    column of pixels than can be drawn, the band reaches from the exact lowest to the exact highest value among them.
    *Error* none for the band: a spike of one step in a million is always in it.
    """

    title = "Curves"
    question = "Is it learning, and how fast?"
    family = "process"
    papers = ("Abadi et al. 2016, TensorFlow (TensorBoard)",)
    rows = ("C8", "C11")
    needs = "record"
    follows = ("layer",)

    show: str = knob("learning", "Which numbers: the loss and accuracy, or what each layer does.",
                     choices=run_series.GROUPS, main=True)
    smooth: float = knob(20.0, "Average over about so many steps; 0 shows the numbers as they are.", low=0.0,
                         high=100_000.0, unit="steps", main=True)
    series: str | None = knob(None, "Names or patterns instead, with commas: loss, updates/*/ratio.", kind="series")
    runs: str | None = knob(None, "Other runs of the same folder to lay over, by name, with commas.", kind="run")
    axis: str = knob(
        "step", "What runs to the right: training steps, or the time that has passed.", choices=("step", "time")
    )
    log_y: bool = knob(False, "Spread small values apart: each line upwards is a multiple.")
    log_x: bool = knob(False, "Spread the first steps apart.")
    range: str | None = knob(
        None, "The part of the axis that is shown, such as 120:900; drag over the chart to choose it."
    )
    pixels: int = knob(800, "Columns that a line is drawn in.", low=50, high=8000, unit="px")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture: a chart for each kind of number."""
        runs = [_ChartRun(run, number, self) for number, run in enumerate(run_series.overlaid(scene, self.runs))]
        wanted = {name: None for one in runs for name in run_series.chosen(one.run.series_names, self.show, self.series)}
        if not wanted:
            raise NotApplicable(f"nothing was recorded for {self.show!r}: {run_series.lacking(runs[0].run, self.show)}")
        found = run_series.charts(wanted, any(map(_unlike, (one.run for one in runs))))
        layers = {key.layer for key in selection.all("layer")}
        drawn = {chart: found[chart][:_LINES] for chart in list(found)[:_CHARTS]}
        marks = tuple(self._lines(scene, chart, members, runs, layers) for chart, members in drawn.items())
        left_out = len(found) - len(drawn)
        note = f"{left_out} more charts are left out; choose series by name" if left_out else ""
        for chart, members in drawn.items():
            if len(found[chart]) > len(members):
                told = f"{len(members):,} of {len(found[chart]):,} lines of {chart!r} are drawn; choose others by name"
                note = f"{told}; {note}" if note else told
        stopped = [
            one.label for chart, members in drawn.items() if self._log_y(chart) for one in members
            if one.name in runs[0].run.series_names and len(last := runs[0].run.series(one.name)[1]) and last[-1] == 0
        ]
        if stopped:
            more = f" and {len(stopped) - 3} more" if len(stopped) > 3 else ""
            zero = f"{', '.join(stopped[:3])}{more}: 0 now, which lies below every logarithmic axis"
            note = f"{zero}; {note}" if note else zero
        changed: list[str] = []
        if any(member.name.startswith("probe/") for members in drawn.values() for member in members):
            beside = [one.run for one in runs]
            changed = [f"{run_series.label(one.run, beside)}: {told}" if len(runs) > 1 else told for one in runs for told in of_numbers(one.run)]
        note = "; ".join(filter(None, (*run_series.reservations(scene, looked=False), *changed, note)))
        caption = self._caption(scene, runs[0], [one for members in drawn.values() for one in members])
        body = marks[0] if len(marks) == 1 else Group(children=marks)
        yield self.picture(scene, selection, "Curves", body, caption, note=note, hint="Click a step to see the whole network as it was then.")

    def _lines(
        self, scene: Scene, chart: str, members: Sequence[RecordedSeries], runs: Sequence[_ChartRun], layers: set[str]
    ) -> Lines:
        series: list[Series] = []
        for one in runs:
            has = set(one.run.series_names)
            for place, member in enumerate(members):
                if member.name not in has:
                    continue
                # Many lines: the ten first are strong, or the selected layer's.
                weak = member.key.partition(":")[2] not in layers if layers and member.key else place >= _COLOURS
                colour = (place + one.number * len(members)) % _COLOURS
                group = run_series.label(one.run, [other.run for other in runs]) if len(runs) > 1 else ""
                series += one.drawn(member, colour, group, weak and len(members) > 1)
        first = runs[0]
        return Lines(
            title=run_series.chart_title(chart), series=tuple(series), x_title="time" if self.axis == "time" else "step",
            x_kind="time" if self.axis == "time" else "step", x_log=self.log_x, y_log=self._log_y(chart),
            x_range=run_series.bounds(self.range), events=first.events(), cursor=first.place(scene.step),
            handle=Handle(knob="range", kind="range", value=self.range or ""), height=170,
        )

    def _log_y(self, chart: str) -> bool:
        """Ratios and gradients of several layers lie powers of ten apart."""
        return self.log_y or chart in ("updates/ratio", "updates/norm", "gradients/norm")

    def _caption(self, scene: Scene, one: _ChartRun, members: Sequence[RecordedSeries]) -> str:
        """What was recorded at the slider's step (of the probe set at the last look before it), as it was recorded."""
        now = one.run.last_step if scene.step is None else scene.step
        told: dict[str, list[str]] = {}
        for member in members[:4]:
            if "/" in member.chart or member.name not in one.run.series_names:
                continue
            steps, values = one.run.series(member.name)
            end = int(np.searchsorted(steps, now, "right"))
            if end:
                which = member.label if member.chart != member.name and not member.name.startswith("probe/") else ""
                at = f"(at step {steps[end - 1]})" if steps[end - 1] != now else ""
                where = "" if member.chart == run_series.PROBE_LOSS else member.where  # that chart's own name says it
                told.setdefault(member.chart, []).append(" ".join(filter(None, [which, f"{values[end - 1]:.3g}", where, at])))
        if len(told.get("loss", ())) > 1 and (one.run.meta.get("measure") or _unlike(one.run)):
            told["loss"].append("which are two measures")
        each = "; ".join(f"{chart.replace('_', ' ')} {', '.join(said)}" for chart, said in told.items())
        said = f"At step {now}: {each}. " if told else ""
        faint = "Strong lines are averages over some steps, faint ones every value. " if self.smooth > 0 else ""
        return f"{said}{faint}{_straight(one.run, members)}".rstrip()


def _unlike(run: Run) -> bool:
    """Whether the probe set's loss is another one than the training's, so that no axis has room for both: of other answers, or the training's takes
    probabilities for scores, which the probe set's does not."""
    return bool(run.meta.get("doubt") or run.meta.get("measure") == PART or MisplacedSoftmax()(run))


def _straight(run: Run, members: Sequence[RecordedSeries]) -> str:
    """Where the probe set was looked at so seldom that its line says little in between."""
    names = [member.name for member in members if member.name.startswith("probe/") and member.name in run.series_names]
    steps = run.series(names[0])[0] if names else np.zeros(0)
    if len(steps) < 2:
        return ""
    widest = int(np.argmax(np.diff(steps)))
    first, last = int(steps[widest]), int(steps[widest + 1])
    if last - first <= _FAR * (steps[-1] - steps[0]) or last - first <= 1:
        return ""
    return f"The probe set was not looked at between steps {first:,} and {last:,}: its line is straight there. "


@dataclasses.dataclass
class _ChartRun:
    """One run among those in a chart."""

    run: Run
    number: int
    knobs: CurvesView

    def __post_init__(self) -> None:
        times = self.run.times() if self.knobs.axis == "time" else np.zeros(0)
        finite = times[np.isfinite(times)]
        self._start = float(finite[0]) if len(finite) else 0.0

    def x(self, steps: Any) -> Floats:
        """Steps, or the seconds since the run began at these steps."""
        at = np.asarray(steps, np.float64)
        return self.run.times(at) - self._start if self.knobs.axis == "time" else at

    def place(self, step: int | None) -> float | None:
        """Where the time slider stands."""
        if step is None:
            return None
        at = float(self.x([step])[0])
        return at if np.isfinite(at) else None

    def events(self) -> tuple[Event, ...]:
        """The run's events on the axis."""
        moments = []
        for at, end, kind, label in run_series.events(self.run):
            place, until = self.place(int(at)), None if end is None else self.place(int(end))
            if place is not None:
                moments.append((place, until, kind, label))
        return run_series.as_marks(moments)

    def drawn(self, member: RecordedSeries, colour: int, group: str, weak: bool) -> list[Series]:
        """A series as lines: what was recorded with its envelope, and smoothed on top of it."""
        steps, values = self.run.series(member.name)
        # One reading for all: a run that is still written grows between two.
        at, mean, low, high = self._columns(steps, values)
        if not len(at):
            return []
        line = partial(
            Series, name=member.label, key=member.key, colour=colour, group=group, dash=self.number > 0, x=self.x(at)
        )
        # Where nothing had to be left out there is no envelope.
        thin = low is mean
        # What is set and not measured is shown as it was set.
        window = 0.0 if member.chart == "learning_rate" else self.knobs.smooth
        smooth = run_series.smoothed(steps, values, window)
        raw = line(y=mean, low=None if thin else low, high=None if thin else high, faint=weak or smooth is not values)
        if smooth is values:
            return [raw]
        starts = np.searchsorted(steps, at)
        end = int(np.searchsorted(steps, (self._range() or (0.0, np.inf))[1], "right"))
        strong = line(y=smooth[starts] if thin else _means(smooth[:end], starts), faint=weak)
        return [strong] if weak else [raw, strong]

    def _range(self) -> tuple[float, float] | None:
        """The shown part in steps."""
        found = run_series.bounds(self.knobs.range)
        if found is None or self.knobs.axis == "step":
            return found
        steps = np.arange(self.run.last_step + 1)
        times = self.x(steps)
        known = np.isfinite(times)
        if not known.any():
            return None
        low, high = np.interp(found, times[known], steps[known])
        return float(low), float(high)

    def _columns(self, steps: Steps, values: Floats) -> tuple[Steps, Floats, Floats, Floats]:
        """The envelope at the asked width; on a logarithmic axis each octave gets its share of the columns."""
        shown = self._range()
        low, high = shown if shown is not None else (None, None)
        pixels = self.knobs.pixels
        if not self.knobs.log_x or self.knobs.axis == "time" or len(steps) <= pixels:
            return Envelope.of(steps, values, low, high, pixels)
        first, last = max(1.0, low or 1.0), float(high if high is not None else steps[-1])
        edges = np.geomspace(first, max(last, 2 * first), max(2, int(np.log2(max(last / first, 2))) + 1))
        share = max(2, pixels // (len(edges) - 1))
        parts = [
            Envelope.of(
                steps, values, float(np.ceil(start)), float(np.ceil(stop) - 1) if k < len(edges) - 2 else last, share
            )
            for k, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True))
        ]
        return tuple(np.concatenate([part[k] for part in parts]) for k in (0, 1, 2, 3))  # type: ignore[return-value]


def _means(values: Floats, starts: NDArray[np.int64]) -> Floats:
    """The mean of the finite values from each start to the next."""
    finite = np.isfinite(values)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    count = np.add.reduceat(finite.astype(np.float64), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)
