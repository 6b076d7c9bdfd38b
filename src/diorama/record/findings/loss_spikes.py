"""The finding `loss_spikes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import knob
from ...core.selection import number_key
from . import Diagnosis, Finding, acts_between, series

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats


_BLOCKS = 5
"""Blocks on either side of a jump whose single losses are compared."""
_RANKED = 4.0
"""So many standard errors the losses after it must rank above those before: one of two hundred blocks comes so far in a hundred runs."""
_ALL = 0.98
"""Where so few are compared that no ranks are so far apart, nearly all after it must be above all before."""


class LossSpikes(Finding):
    """The loss had fallen, and jumps back up: for several steps together, once for good or again and again.

    *Meaning* a step threw away what was learned: a rate at the edge of what is stable, a few bad examples, or a gradient that
    was not clipped. Single steps of noise are not meant, nor is a loss whose single values lie so far apart (batches of one or of unlike
    sizes, mixed examples) that a few high ones together are chance: those after a jump must rank above those of the blocks before it.
    """

    steady = True
    rests = ("loss:80",)
    part: float = knob(0.5, "The part of all that was learned by which the loss must rise.", low=0.05, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, at the first jump."""
        steps, loss = series(run, "loss")
        width = max(10, len(loss) // 200)
        count = len(loss) // width
        if count < 8 or not np.isfinite(loss).all():
            return []
        blocks = np.median(loss[: count * width].reshape(count, width), 1)
        first, lowest = blocks[0], np.minimum.accumulate(blocks)
        before = np.concatenate([lowest[:1], lowest[:-1]])
        high = (before < first - 0.4 * abs(first)) & (blocks - before > self.part * (first - before))
        if not high.any():
            return []
        high = _beyond_chance(loss[: count * width].reshape(count, width), high, int(np.argmax(lowest < first - 0.4 * abs(first))))
        if not high.any():
            return []
        starts = np.flatnonzero(high & ~np.concatenate([[False], high[:-1]]))
        lasting, at = bool(high[-1] and high[-2]), int(steps[starts[0] * width])
        supervised = bool((run.meta.get("probe") or {}).get("floor"))
        peak = float(blocks[high].max())
        all_lost = peak >= first  # not only a part of what was learned
        # What a person just did to the network or its data is the reason; it costs, and is learnt again.
        acts = acts_between(run, at - width, at + width, "weights", "structure", "data", "optimizer") if len(starts) == 1 else []
        severity = (0.7 if lasting else 0.55 if len(starts) > 1 or all_lost else 0.3) if supervised else 0.4
        if acts:
            act, count = acts[-1], len(acts)
            return [Diagnosis(
                self.name, 0.3, "The loss jumped back up after an act",
                f"At step {at} the loss rose from {before[starts[0]]:.3g} to {blocks[starts[0]]:.3g}; it began at {first:.3g}. Beside it, after step "
                f"{act.step}: {act.text.partition(';')[0]}" + (f" ({count} acts in all). " if count > 1 else ". ")
                + ("It has not come down again." if lasting else "It came down again."),
                f"median loss of {width} steps each: lowest {before[starts[0]]:.3g} before it, up to {peak:.3g} after",
                (number_key("step", at),), None, at, "Sure that it jumped; likely by the act.",
                "Let it learn on, or take the act back (Acts) where the loss does not come down.", "curves",
            )]
        return [Diagnosis(
            self.name, severity, "The loss jumped back up",
            f"At step {at} the loss rose from {before[starts[0]]:.3g} to {blocks[starts[0]]:.3g}; it began at {first:.3g}. "
            + (f"That happened {len(starts)} times. " if len(starts) > 1 else "")
            + ("It has not come down again." if lasting else "It came down again."),
            f"median loss of {width} steps each: lowest {before[starts[0]]:.3g} before it, up to {peak:.3g} after",
            (number_key("step", at),), ("learning_rate", {"factor": 0.5}), at,
            "Sure that it jumped." if supervised else "It jumped; the loss of a game between networks may do so by itself.",
            "A lower rate, clipped gradients, and a look at the batch of that step.", "curves",
        )]


def _beyond_chance(losses: Floats, high: NDArray[np.bool_], fallen: int) -> NDArray[np.bool_]:
    """Those of the stretches of high blocks whose single losses rank above those of the blocks before them, from where the loss had fallen."""
    kept = np.zeros_like(high)
    for start in np.flatnonzero(high & ~np.concatenate([[False], high[:-1]])):
        rest = np.flatnonzero(~high[start:])
        stop = int(start + rest[0]) if len(rest) else len(high)
        after = losses[start : min(stop, start + _BLOCKS)].ravel()
        low = max(fallen, int(start) - 2 * _BLOCKS)
        known = np.flatnonzero(~high[low:start])[-_BLOCKS:] + low
        before = np.sort(losses[known].ravel())
        n, m = len(after), len(before)
        above = (np.searchsorted(before, after, "left") + np.searchsorted(before, after, "right")).mean() / (2 * max(m, 1))
        unit = np.sqrt(12 * n * m / (n + m + 1))
        kept[start:stop] = m > 0 and (above - 0.5) * unit >= min(_RANKED, _ALL * 0.5 * unit)
    return kept
