"""The finding `shortcut`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from . import Diagnosis, Finding, series, since

if TYPE_CHECKING:
    from ..reader import RunReader


class Shortcut(Finding):
    """One place of the input alone tells a class or all of them, or one column of a table is the label.

    *Meaning* a mark, a frame or a stamp that only one class carries (often a trace of how the pictures were made) is all that a
    model needs to learn; without it, it knows nothing. In a table of fewer than 64 columns one may
    well decide: there only one is told that has (nearly) one number for each class, that tells (nearly) all examples by one cut a class while no
    other comes near, or of a regression is the true value itself, shifted and scaled.
    """

    steady = True
    rests = ("batch/place:readings|batch/column:readings|batch/parted:readings|probe.spread",)
    apart: float = knob(3.0, "How many standard deviations must lie between the class and all others.", low=1.0)
    readings: int = knob(3, "How many readings in a row.", low=1)
    wide: float = knob(50.0, "How much further classes must lie apart in a column of a table than one of them is wide.", low=1.0)

    cut: float = knob(0.99, "The share of examples that one column of a table must tell by one cut a class.", low=0.5, high=1.0)
    beyond: float = knob(4.0, "How many standard deviations of two neighbouring classes, added up, their means must lie apart in it.", low=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, for the place that tells most."""
        return self._place(run) or self._column(run) or self._cuts(run) or self._value(run)

    def _cuts(self, run: RunReader) -> list[Diagnosis]:
        """A column of a small table that tells all classes by one cut each, with much room at each, where no other column comes near."""
        steps, right = series(run, "batch/parted")
        second, at, apart = (series(run, f"batch/parted_{name}")[1] for name in ("next", "at", "apart"))
        if len(right) < self.readings or not len(right) == len(second) == len(at) == len(apart):
            return []
        told = (right >= self.cut) & (apart >= self.beyond) & (second < _NEAR) & (at == at[-1])
        if not told[-self.readings :].all():
            return []
        return [Diagnosis(
            self.name, 0.65, "A column of the table gives the class away",
            f"{_column(run, int(at[-1]))} alone tells {100 * right[-1]:.3g}% of the examples rightly, by one cut between each class and the next; "
            f"the next best column tells {second[-1]:.0%}. So much room lies at each cut that it looks made from the label, "
            "or measured after it was known.",
            f"neighbouring classes lie {_deviations(apart[-1])} of their two standard deviations apart in it, at least", (), None,
            since(steps, told), "Sure that it tells them in the batches that were read, not that the model uses it.",
            "Leave the column out if it is not known when an answer is asked for.", "attribution",
        )]

    def _column(self, run: RunReader) -> list[Diagnosis]:
        """A column of a small table that has one number for each class, or for one class and for all others."""
        steps, apart = series(run, "batch/column")
        at, one = series(run, "batch/column_at")[1], series(run, "batch/column_class")[1]
        if len(apart) < self.readings or not len(apart) == len(at) == len(one) or not apart[-self.readings :].min() >= self.wide:
            return []
        if (at[-self.readings :] != at[-1]).any():
            return []
        k = int(one[-1])
        told = "the class" if k < 0 else _class(run, k)
        return [Diagnosis(
            self.name, 0.75, f"{'A column of the table' if _small(run) else 'One place of the input'} gives {told} away",
            f"{_column(run, int(at[-1]))} has, as good as, "
            + ("one number for each class" if k < 0 else f"one number for {told} and another for all other classes")
            + ", as hardly a measurement does: it looks like the label itself, or made from it.",
            f"how much further the classes lie apart in it than one of them is wide: {apart[-1]:.3g}" + (" or more" if apart[-1] >= 99.95 else ""),
            () if k < 0 else (f"class:{k}",), None, since(steps, apart >= self.wide),
            "Sure that it tells them in the batches that were read, not that the model uses it.",
            f"Leave {'the column' if _small(run) else 'it'} out if it is not known when an answer is asked for.", "attribution",
        )]

    def _value(self, run: RunReader) -> list[Diagnosis]:
        """A column of the probe set that is the true value of a regression, but for a shift and a factor."""
        at = (run.meta.get("probe") or {}).get("copied")
        if at is None:
            return []
        return [Diagnosis(
            self.name, 0.75, "A column of the table is the answer",
            f"{_column(run, at)} of the probe set is the true value itself, shifted and scaled: nothing else need be learnt, and nothing is once it "
            "is not there.",
            "its correlation with the true values is 1 to six digits", (), None, 0, "Certain for the probe set.",
            "Leave the column out if it is not known when an answer is asked for.", "attribution",
        )]

    def _place(self, run: RunReader) -> list[Diagnosis]:
        steps, apart = series(run, "batch/place")
        place, one = series(run, "batch/place/at")[1], series(run, "batch/place/class")[1]
        if len(apart) < self.readings or not len(apart) == len(place) == len(one):
            return []
        if not apart[-self.readings :].min() >= self.apart or (one[-self.readings :] != one[-1]).any():
            return []
        k = int(one[-1])
        named = _class(run, k)
        return [Diagnosis(
            self.name, 0.75, f"One place of the input gives {named} away",
            f"The number at place {int(place[-1])} of the input (counted from 0 along all its axes) alone keeps {named} from all "
            f"other classes: their means lie {_deviations(apart[-1])} standard deviations apart.",
            f"at the last {self.readings} readings: {', '.join(map(_deviations, apart[-self.readings:]))}", (f"class:{k}",), None,
            since(steps, apart >= self.apart), "Sure that it tells the class in the batches that were read, not that the model uses it.",
            "Look at pictures of the class at that place, and remove what only they have; an attribution shows whether the model looks there.",
            "attribution",
        )]


_NEAR = 0.9
"""A column that tells so many examples rightly comes near one that tells all."""


def _class(run: RunReader, k: int) -> str:
    names = run.meta.get("classes") or []
    name = str(names[k]) if 0 <= k < len(names) else str(k)
    return f"class {name}" if name.isdigit() else name


def _column(run: RunReader, at: int) -> str:
    """A column by its name, or by its number; a place of what is no small table by its number."""
    if not _small(run):
        return f"The number at place {at} of the input (counted from 0 along all its axes)"
    names = (run.meta.get("inputs") or {}).get("columns") or ()
    return f"The column {names[at]}" if at < len(names) else f"Column {at} (counted from 0)"


def _small(run: RunReader) -> bool:
    """Whether the input is a table of few columns: of others no series of cuts is kept."""
    return not run.has_series("batch/place")


def _deviations(apart: float) -> str:
    """A distance in standard deviations; what is read ends at a hundred."""
    return "100 or more" if apart >= 99.95 else f"{apart:.1f}"
