"""What a map is measured from: the baseline in words, what the target is there, and how little of the target that leaves to explain."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from .method import Attribution

SLIGHT = 0.1
"""A map that explains less than this share of the target is no picture of the whole of it."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Where a map begins to count: its values sum to the target minus what it is here.

    *Shapes* ``scores`` (n,): the target's value at the baseline of each example.
    """

    words: str
    scores: Tensor
    free: bool = False
    """Whether the target's zero means nothing (of a regression it is where its unit puts it): then no share of it is told."""


def measured_from(found: Attribution, example: int = 0) -> str:
    """What a map is measured from, with the score there, as the end of a sentence; nothing where it is from no baseline."""
    start = found.baseline
    return "" if start is None else f", from {start.words} (score {float(start.scores[example]):.3g})"


def slight(found: Attribution) -> list[int]:
    """The examples whose baseline has (nearly) the same score, so that the map explains less than a tenth of it."""
    start = found.baseline
    if start is None or start.free:
        return []
    here, there = found.scores.detach().double().cpu(), start.scores.detach().double().cpu()
    small = (here - there).abs() < SLIGHT * here.abs().maximum(there.abs())
    return [int(k) for k in small.nonzero()[:, 0]]


def slight_note(found: Attribution, *, advice: bool = True) -> str:
    """What must be said where the baseline answers (nearly) the same, with what to use instead; mostly nothing."""
    few, start = slight(found), found.baseline
    if not few or start is None:
        return ""
    here, there = float(found.scores[few[0]]), float(start.scores[few[0]])
    whose = "" if len(found.scores) == 1 else f"For {len(few)} of {len(found.scores)} examples the baseline has nearly the same score. "
    which = "Of" if len(found.scores) == 1 else f"Of the first one's (example {few[0]})"
    signs = ", and its signs need not be what hiding a part does; use occlusion, or another baseline" if advice else ""
    already = f"{_said(there)} is there at the baseline already ({start.words})"
    return f"{whose}{which} {_said(here)}, {already}: the map explains {_said(here - there)}{signs}."


def _said(number: float) -> str:
    return f"{number:#.3g}".rstrip(".")
