"""The finding `stopped_layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import DioramaError
from ...core.knobs import knob
from ...core.numerals import counted
from . import Diagnosis, Finding, SeriesTable, last, layer_of, learning, matrices, named, series, series_between, since

if TYPE_CHECKING:
    from ..reader import RunReader

_NOTHING = 1e-9
"""Next to the other layers' updates this is none."""
_ASLEEP = 200
"""Steps from which on a missing step of an optimizer is told."""
_NEVER = 2000
"""Gradients of so many steps are added up by nobody."""
_ROUNDED = 1e-6
"""Norms that differ by less than this share may be those of the same weights."""
_MOST = 32_000_000
"""Numbers that a network's weights may hold together for its snapshots to be read."""
_AT_END = 0.95
"""Weights whose mean size is that share of their largest lie mostly at its end."""


class StoppedLayer(Finding):
    """Weights that the optimizer holds and that do not change at all, while others do.

    *Meaning* no gradient reaches them any more (all units behind them are dead, or something was detached), or none ever
    did: the layer is not used, or stands behind a ``detach()``; or no optimizer steps. Where gradients come, the optimizer does not take them: a
    learning rate of 0.
    Weights that mostly lie where the loop cuts them after each step, as in the critic of a Wasserstein GAN, are not meant.
    """

    rests = ("updates/*/norm:readings|weights/*/norm:asleep",)

    readings: int = knob(3, "How many readings in a row.", low=1)
    asleep: int = knob(5, "How many readings in a row, where no step of an optimizer was seen.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all layers that stand still."""
        table = learning(run, "updates/", "/norm")
        if table is None:
            return self._asleep(run)
        if len(table.steps) < self.readings:
            return []
        if not table.values.any():
            return self._none(run, len(table.names), len(table.steps))
        if len(table.names) < 2:
            return []
        # At a step that changes nothing anywhere (a scheduler at its end, a gradient scaler's pause) nobody stands out.
        most = table.values.max(1)
        still = (table.values <= _NOTHING * most[:, None]) & (most > 0)[:, None]
        # An optimizer with momentum moves a weight on for a while after its last gradient.
        slopes = learning(run, "gradients/", "/norm")
        if slopes is not None and slopes.names == table.names and np.array_equal(slopes.steps, table.steps):
            still |= (slopes.values == 0) & (slopes.values.max(1) > 0)[:, None]
        for k in np.flatnonzero(still[-self.readings :].all(0)).tolist():
            # What momentum alone moves is no work of a gradient's.
            still[:, k] &= ~(_moved_between(run, table, k) & (table.values[:, k] <= _NOTHING * most))
        found = np.flatnonzero(still[-self.readings :].all(0))
        if not len(found):
            return []
        cut = _cut(run)
        found = np.array([k for k in found if table.names[k] not in cut], int)
        if not len(found):
            return []
        never, settled = list[int](), list[int]()
        moved = _moved_before(run, int(table.steps[0]), [table.names[k] for k in found if still[:, k].all()])
        for k in found.tolist():
            (never if still[:, k].all() and table.names[k] not in moved else settled).append(k)
        slow = table.values.shape[1] - len(found)
        return [self._told(run, table, still, np.array(group, int), slow, first=first) for group, first in ((never, True), (settled, False)) if group]

    def _told(self, run: RunReader, table: SeriesTable, still: np.ndarray, found: np.ndarray, others: int, *, first: bool) -> Diagnosis:
        """What is said of weights that stand still: of those that never moved (``first``), or of those that did before."""
        names = [table.names[k] for k in found]
        began = min(since(table.steps, still[:, k]) for k in found)
        layers = list(dict.fromkeys(layer_of(name) for name in names))
        told, many = named([key.partition(":")[2] for key in layers]), len(layers) > 1
        has, it = ("have", "them") if many else ("has", "it")
        when = f"{has} never moved" if first else f"{has} stood still since step {began}"
        if not first and began == table.steps[0]:
            when += ", the first that was read, or longer"
        why = (
            f"The optimizer holds {it}, but no gradient comes to {it}." if first
            else f"{'They' if many else 'It'} learnt before, and no gradient reaches {it} now."
        )
        helps, severity = "Look whether the layer is used in forward(), stands behind a detach(), or whether all units behind it are dead.", 0.6
        if all(_slopes_came(run, name, int(table.steps[-self.readings])) for name in names):
            rates = [name for name in run.series_names if name.startswith("learning_rate") and not last(run, name, self.readings).any()]
            severity = 0.4 if rates else 0.6
            why = f"A gradient comes to {it}, but the optimizer does not move {it}{': a learning rate is 0' if rates else ''}."
            helps = "Look at the learning rate of its group; to freeze it, turn requires_grad off."
        return Diagnosis(
            self.name, severity, f"{told} {'never moved' if first else 'stopped'}",
            f"{told} {when}, while {counted(others, 'other weights')} {'learns' if others == 1 else 'learn'}. {why}",
            f"update of {names[0]}: {table.values[-1, found[0]]:.2g} at the last reading, the largest elsewhere {table.values[-1].max():.2g}",
            tuple(layers), None, began, "Certain for the steps that were read.",
            helps, "health",
        )

    def _asleep(self, run: RunReader) -> list[Diagnosis]:
        """No optimizer has ever stepped, and no weight has changed by itself."""
        held = int((run.meta.get("held") or {}).get("count") or 0)
        norms = [norms for _, _, norms in series_between(run, "weights/", "/norm")]
        if any(name.startswith(("updates/", "gradients/")) for name in run.series_names):
            return []
        if not held or not norms or run.last_step < _ASLEEP or min(map(len, norms)) < self.asleep or any(np.ptp(each) for each in norms):
            return []
        kept = last(run, "batch/kept", self.asleep)
        lost = len(kept) >= self.asleep and not kept.any()
        return [Diagnosis(
            self.name, 0.85 if lost else 0.6 if run.last_step >= _NEVER else 0.4,
            "No weight moves" if lost else f"No step in {run.last_step:,} steps of the loop",
            f"In {run.last_step:,} steps of the loop no step of the optimizer was seen, and none of the {counted(held, 'parameters')} that it holds "
            "has another norm than at the beginning. " + (
                "Gradients are set to nothing before the next ones come, and nothing is made of them." if lost
                else "Gradients may be added up until the first step; nothing was learnt so far."
            ),
            f"norm of every weight at {min(map(len, norms))} readings: the same", (), None, 0, "Certain for the steps that were read." if lost else
            "Certain that it has not stepped so far, not that it will not.",
            "Call optimizer.step() after backward(); where gradients are added up over many steps, look after how many it steps.", "health",
        )]

    def _none(self, run: RunReader, count: int, readings: int) -> list[Diagnosis]:
        """No weight has ever moved."""
        slopes, rate = learning(run, "gradients/", "/norm"), series(run, "learning_rate")[1]
        if len(rate) and not rate.any():
            why, helps = "the learning rate is 0", "Give the optimizer a rate above 0, and look at the scheduler."
        elif slopes is None or not slopes.values.any():
            why = "there is no gradient when the optimizer steps"
            helps = "Look whether zero_grad() stands between backward() and step(), whether backward() is called, and on what."
        else:
            why = "there are gradients, but the optimizer does nothing with them"
            helps = "Look at the optimizer's settings, and whether a gradient scaler skips its steps."
        return [Diagnosis(
            self.name, 0.85, "No weight moves", f"None of the {count} weights that the optimizer holds has changed at any reading: {why}.",
            f"update of every weight at {readings} readings: 0", (), None, 0, "Certain for the steps that were read.", helps, "health",
        )]


def _slopes_came(run: RunReader, name: str, since: int) -> bool:
    """Whether a gradient came to a weight at a reading since a step: what was read before, of an expert that nothing is sent to now, is none."""
    steps, slopes = series(run, f"gradients/{name}/norm")
    return bool((slopes[steps >= since] > 0).any())


def _moved_between(run: RunReader, table: SeriesTable, k: int) -> np.ndarray:
    """The readings after which a weight moved, though its updates were nothing at each of the last ones: its norm at the last is another. So
    it is with an expert that is chosen at steps which are not read."""
    moved = np.zeros(len(table.steps), bool)
    steps, norms = series(run, f"weights/{table.names[k]}/norm")
    if len(norms) and table.values[-1, k] <= _NOTHING * table.values[-1].max():
        at = np.searchsorted(steps, table.steps).clip(0, len(norms) - 1)
        moved = (steps[at] == table.steps) & (np.abs(norms[at] - norms[-1]) > _ROUNDED * norms[-1])
    return moved


def _moved_before(run: RunReader, first: int, names: list[str]) -> set[str]:
    """Which of these weights, that no reading saw move, differ all the same between the first snapshot and one after the first reading; where no
    two such are kept, between the norms at the beginning and at the last reading."""
    kept = getattr(run, "snapshots", [])
    sizes = [int(np.prod(shape)) for _, shape, _ in run.meta.get("parameters", ())]
    if names and len(kept) > 1 and kept[0] < first and sum(sizes) <= _MOST:
        try:
            before, after = run.numbers(kept[0]), run.numbers(kept[-1])
        except (DioramaError, OSError):
            before = after = {}
        if all(name in before and name in after for name in names):
            return {name for name in names if before[name].shape != after[name].shape or not np.array_equal(before[name], after[name])}
    norms = {name: series(run, f"weights/{name}/norm")[1] for name in names}
    return {name for name, seen in norms.items() if len(seen) > 1 and abs(seen[-1] - seen[0]) > _ROUNDED * seen[0]}


def _cut(run: RunReader) -> set[str]:
    """The weights whose numbers nearly all lie at the end to which the loop cuts them, by their distribution at the last reading."""
    sizes: dict[str, tuple[float, float]] = {}
    for name in matrices(run):
        if f"weights/{name}" in run.histogram_names and len(block := run.histograms(f"weights/{name}").statistics):
            low, high, _, _, count, *_, norm, _ = block[-1].tolist()
            sizes[name] = max(abs(low), abs(high)), norm / max(1.0, count) ** 0.5
    ends = [end for end, _ in sizes.values()]
    end = max(set(ends), key=ends.count, default=0.0)
    if not end > 0 or ends.count(end) < 2 or 2 * ends.count(end) <= len(ends):
        return set()
    return {name for name, (largest, usual) in sizes.items() if largest == end and usual > _AT_END * end}
