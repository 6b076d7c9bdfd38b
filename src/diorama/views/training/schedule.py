"""The learning rate as it was, and as a person draws it from here on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Action, Event, Group, Handle, Lines, Node, Number, Series
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...record.envelope import Envelope
from ..view import View

if TYPE_CHECKING:
    from ...run import Run
    from ...scene import Scene

_DOWN, _UP = 1e-3, 10.0
"""How far below and above the rate of now a line can be drawn."""
_MOST = 24
"""Places of a drawn line that are kept: straight lines lie between them."""


class ScheduleView(View):
    """The learning rate as it was; while the network trains, a line drawn from here on bends it.

    *Meaning* what is drawn is the learning rate that is wanted, were the schedule to stay at its rate of now. It is sent as factors on whatever
    the schedule then sets, at steps counted from the one at which the training takes it; between two places the factor follows a
    straight line, after the last it stays. *Units* of the axis: the learning rate, each line upwards a multiple.
    """

    title = "Learning rate"
    question = "What was the learning rate, and how do I bend it from here?"
    family = "process"
    papers = ("Smith 2017, Cyclical learning rates, arXiv:1506.01186",)
    rows = ("C14",)
    needs = "record"

    line: str = knob("", "The learning rate that is wanted, by steps: 1200,0.01;1400,0.001. Drawn over the curve, or typed.", main=True)
    ahead: int = knob(0, "How many steps ahead the axis goes; 0: as many as are done.", low=0, high=10**9, unit="steps", main=True)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A recorded learning rate."""
        run = scene.run
        if run is None or not run.meta.get("optimizer"):
            return "a learning rate is recorded of a training that was given its optimizer: diorama.watch(optimizer=)"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, and what is drawn as a button."""
        run = scene.run
        assert run is not None
        steps, rates = run.series("learning_rate") if "learning_rate" in run.series_names else (np.zeros(0), np.zeros(0))
        now = max(run.last_step, 0)
        group = run.meta["optimizer"][0]
        base = float(group.get("learning_rate", 0.0)) * float(group.get("factor", 1.0))
        bend = (run.meta.get("wishes") or {}).get("schedule")
        end = now + (self.ahead or max(now, 100))
        seen = Envelope.of(np.asarray(steps), np.asarray(rates, float), None, None, 800)
        past = Series(name="as it was", x=np.asarray(seen[0], float), y=seen[1], low=seen[2], high=seen[3])
        alive = run.alive and base > 0
        marks: list[Node] = [self._chart(scene, run, past, (now, end), base, bend, alive)]
        if alive:
            marks += self._asked(now, base, bend)
            caption = "What the schedule itself will set is not known beforehand: the dashed line is its rate of now, with what bends it."
            hint = "Draw the rate that is wanted over the part that is to come, with the pointer or with keys (arrows, Enter), or type it."
        else:
            hint = ""
            caption = "The training has ended, so its learning rate cannot be changed any more." if not run.alive else "The learning rate is 0."
        idle = {} if alive else {"ahead": "there is nothing to come"}
        yield self.picture(scene, selection, "Learning rate", Group(children=tuple(marks)), caption, hint=hint, idle=idle)

    def _chart(
        self, scene: Scene, run: Run, past: Series, span: tuple[int, int], base: float, bend: dict[str, Any] | None, alive: bool
    ) -> Lines:
        now, end = span
        series = [past]
        if alive:
            coming = np.linspace(now, end, 200)
            series.append(Series(name="as it stands", x=coming, y=base * _factors(bend, coming), colour=1, dash=True))
        events = tuple(
            Event(x=float(event.step), label=event.label) for event in run.events
            if event.kind == "command" and event.name in ("learning_rate", "schedule")
        )[-20:]
        return Lines(
            series=tuple(series), y_title="learning rate", y_log=True, height=200, events=events, cursor=float(now),
            x_range=(float(max(0, now - (end - now))), float(end)) if alive else None,
            y_range=(base * _DOWN, base * _UP) if alive else None,
            handle=Handle(knob="line", kind="path", value=self.line) if alive else None,
        )

    def _asked(self, now: int, base: float, bend: dict[str, Any] | None) -> Iterator[Number]:
        """What is drawn as a command; and the way back, where the schedule is bent."""
        places = points(self.line)
        sent = _is(bend, places)
        coming = [(step - now, rate / base) for step, rate in places if step >= now and rate >= 0]
        if sent:
            yield Number(label="The drawn line", note="The schedule is bent so: it is in force.", tone="good")
        elif coming:
            knobs: dict[str, str | float | int | bool] = {
                "steps": ",".join(f"{step:.6g}" for step, _ in coming), "factors": ",".join(f"{factor:.4g}" for _, factor in coming),
            }
            told = f"× {coming[0][1]:.3g} to × {coming[-1][1]:.3g} on what is scheduled, over {coming[-1][0]:,.0f} steps, and so from there on"
            yield Number(label="The drawn line", note=f"{told}.",
                         actions=(Action(command="schedule", label="Bend the schedule so", knobs=knobs),))
        elif places:
            yield Number(label="The drawn line", note=f"It lies before step {now}, and the past stays as it is.", tone="warn")
        if bend:
            yield Number(label="The schedule is bent", note=f"From step {bend['start']} on.",
                         actions=(Action(command="schedule", label="Let it go on as it was", knobs={}),))


def _is(bend: dict[str, Any] | None, places: list[tuple[float, float]]) -> bool:
    """Whether the schedule is bent as a line was drawn: with the same rates beside one another."""
    both = len(bend["factors"]) if bend else 0
    if not bend or both < 2 or len(places) < both or any(step >= bend["start"] for step, _ in places[:-both]):
        return False  # what lay in the past when it was sent was left out
    rates, factors = np.array([rate for _, rate in places[-both:]]), np.array(bend["factors"][-both:], float)
    apart = np.diff([step for step, _ in places[-both:]]), np.diff(np.array(bend["steps"][-both:], float))
    return bool(np.allclose(rates * factors[-1], factors * rates[-1], rtol=2e-3, atol=0) and np.allclose(*apart, atol=0.5))


def points(text: str) -> list[tuple[float, float]]:
    """The places of a drawn line, from left to right, one a step, and at most so many. *Raises* UsageError for what is none."""
    found: dict[float, float] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        try:
            step, rate = (float(number) for number in part.split(","))
        except ValueError as error:
            raise UsageError(f"line wants places such as 1200,0.01;1400,0.001, got {part[:40]!r}") from error
        if not (math.isfinite(step) and math.isfinite(rate)):
            raise UsageError(f"line wants finite numbers, got {part[:40]!r}")
        found[float(round(step))] = rate
    places = sorted(found.items())
    kept: list[int] = np.unique(np.linspace(0, len(places) - 1, min(len(places), _MOST)).round().astype(int)).tolist() if places else []
    return [places[k] for k in kept]


def _factors(bend: dict[str, Any] | None, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factor that is in force at steps to come."""
    if not bend:
        return np.ones_like(steps)
    start, at, factors = bend["start"], bend["steps"], bend["factors"]
    return np.asarray(np.interp(steps - float(start), np.asarray(at, float), np.asarray(factors, float)), float)
