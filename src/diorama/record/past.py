"""A run's record as findings read it: everything once, and on request as it stood after an earlier step, with nothing later."""

from __future__ import annotations

import copy
import dataclasses
import functools
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.registry import is_own
from .evidence import UnjudgedFinding, by_family

if TYPE_CHECKING:
    from .event import RecordedEvent
    from .findings import Diagnosis
    from .histogram import HistogramSeries
    from .reader import RunReader
    from .store_bytes import Floats, Row, Steps


class Past:
    """What is read of a run, up to and with one step where one is given; what has no time is the run's own.

    Nothing is read twice, so that all that judge it see one moment of a training that goes on.
    """

    def __init__(self, run: RunReader, step: int | None = None) -> None:
        self._run, self._step = run, step
        self.moment: tuple[Any, ...] | None = getattr(run, "moment", None)
        """Of the record, as it was before anything was read; None where that is not known."""

    @property
    def step(self) -> int | None:
        """The step up to which it goes; None for all."""
        return self._step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    @property
    def sound(self) -> Past:
        """The record up to where the network became NaN or infinite, for good: what it answers since says nothing of the data or the learning."""
        return self if self._sound_until is None else self._cut

    @cached_property
    def _sound_until(self) -> int | None:
        return sound_until(self)

    @cached_property
    def _cut(self) -> Past:
        return Past(self._run, self._sound_until)

    def _upto(self, steps: Steps) -> int:
        """How many of the steps had been by then."""
        return len(steps) if self._step is None else int(np.searchsorted(steps, self._step, "right"))

    @cached_property
    def _series(self) -> dict[str, tuple[Steps, Floats]]:
        """All series, later numbers too: of some hundred, few are asked for."""
        return self._run.every_series()

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many numbers each series had by then, of those that had one: some hundred findings go through all names several times each."""
        counts = {name: self._upto(steps) for name, (steps, _) in self._series.items()}
        return counts if self._step is None else {name: count for name, count in counts.items() if count}

    @property
    def series_names(self) -> list[str]:
        """Names of the series that had a number by then."""
        return list(self._counts)

    @cached_property
    def families(self) -> dict[str, list[str]]:
        """The names of these series by the word before their first stroke, each family in its order: few findings want names of more than one."""
        return by_family(self._counts)

    def has_series(self, name: str) -> bool:
        """Whether a series had a number by then."""
        return name in self._counts

    def series(self, name: str) -> tuple[Steps, Floats]:
        """Steps and values of a series until then."""
        if not self.has_series(name):
            steps, values = self._run.series(name)  # raises what is said of a series that there is not
            return steps[:0], values[:0]
        (steps, values), stop = self._series[name], self._counts[name]
        return steps[:stop], values[:stop]

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The run's facts; what has a step of its own only if it was before."""
        facts = self._run.meta
        first = facts.get("first_bad")
        if self._step is not None and isinstance(first, dict) and int(first.get("step", 0)) > self._step:
            facts = {name: value for name, value in facts.items() if name != "first_bad"}
        return facts

    @cached_property
    def snapshots(self) -> list[int]:
        """Steps of snapshots until then."""
        return [step for step in self._run.snapshots if self._step is None or step <= self._step]

    @cached_property
    def last_step(self) -> int:
        """The last step that was committed by then."""
        last = self._run.last_step
        return last if self._step is None else min(self._step, last)

    def frozen(self, step: int | None = None) -> tuple[str, ...]:
        """The layers that were frozen on purpose during a step; then, where none is given."""
        if self._step is None:
            return self._run.frozen(step)
        return self._run.frozen(self._step if step is None else min(step, self._step))

    def clock(self) -> tuple[Steps, Floats]:
        """All steps that had been recorded by then, and the wall-clock time of each."""
        steps, times = self._run.clock()
        stop = self._upto(steps)
        return steps[:stop], times[:stop]

    def times(self, steps: Any = None) -> Floats:
        """Wall-clock times: of all steps until then, or of the given ones."""
        return self.clock()[1] if steps is None else self._run.times(steps)

    @cached_property
    def histogram_names(self) -> list[str]:
        """Names of all recorded histograms."""
        return self._run.histogram_names

    @cached_property
    def row_names(self) -> list[str]:
        """Names of all recorded rows: more than ten findings look for theirs."""
        return self._run.row_names

    def statistics(self, name: str) -> Floats:
        """What was counted of a tensor's values at each step until then, without how they were distributed, which takes longer to bring together."""
        whole = self._run.distributions(name)
        return whole.statistics[: self._upto(whole.steps)]

    def histograms(self, name: str) -> HistogramSeries:
        """How a tensor's values were distributed until then."""
        whole = self._run.histograms(name)
        stop = self._upto(whole.steps)
        return dataclasses.replace(
            whole, steps=whole.steps[:stop], counts=whole.counts[:stop], statistics=whole.statistics[:stop]
        )

    def rows(self, name: str) -> tuple[Steps, Row]:
        """What was recorded of each example until then."""
        steps, rows = self._run.rows(name)
        stop = self._upto(steps)
        return steps[:stop], rows[:stop]

    @cached_property
    def events(self) -> list[RecordedEvent]:
        """The events until then, oldest first."""
        return [event for event in self._run.events if self._step is None or event.step <= self._step]


class KnownJudgements:
    """What diorama's own findings said of a record: each is a pure function of it, so that the same record is not asked again.

    Third parties' are asked each time, as nobody knows what else they look at.
    """

    def __init__(self, record: Past) -> None:
        self.judge = record.has_series("batch/judge")
        """Whether the network judges what another one makes."""
        self.found: dict[Any, list[Diagnosis]] = {}
        self.lacks: dict[Any, UnjudgedFinding | None] = {}

    def keep(self, plugin: Any, found: list[Diagnosis]) -> list[Diagnosis]:
        """Keep what a finding said, if it is one of diorama's own, and hand it on."""
        if not is_own(plugin):
            return found
        self.found[plugin] = found
        return self.given(plugin)

    def given(self, plugin: Any) -> list[Diagnosis]:
        """What a finding said, for somebody who may write into it."""
        return [one if one.action is None else dataclasses.replace(one, action=copy.deepcopy(one.action)) for one in self.found[plugin]]

    @staticmethod
    def made(plugin: Any) -> Any:
        """A finding with its knobs as they are by default: to check those anew at each look takes as long as many of the findings do."""
        return _made(plugin) if is_own(plugin) else plugin()


@functools.cache
def _made(plugin: Any) -> Any:
    return plugin()


def sound_until(record: Past) -> int | None:
    """The last step at which a network whose numbers are NaN or infinite to the end still had sound ones; None where it has now.

    *Meaning* by the norms of its weights and its loss on the probe set, as far as readings tell, and by the loss and the first bad number where
    they are bad up to there. A loss alone that is NaN (no label was left) is nothing of the network's.
    """
    names = [name for name in record.series_names if name == "probe/loss" or name.startswith("weights/") and name.endswith("/norm")]
    bad = [first for name in names if (first := _bad_to_the_end(*record.series(name))) is not None]
    if not bad:
        return None
    if record.has_series("loss") and (first := _bad_to_the_end(*record.series("loss"))) is not None:
        bad.append(first)
    fact = record.meta.get("first_bad")
    if isinstance(fact, dict) and isinstance(fact.get("step"), int) and not fact.get("skipped"):
        bad.append(fact["step"])
    return min(bad) - 1


def _bad_to_the_end(steps: Steps, values: Floats) -> int | None:
    good = np.flatnonzero(np.isfinite(values))
    first = int(good[-1]) + 1 if len(good) else 0
    return int(steps[first]) if first < len(steps) else None
