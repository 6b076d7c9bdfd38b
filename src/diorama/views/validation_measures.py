"""The numbers of examples that a loop holds back from its training and passes to ``step()``: ``val_accuracy``, ``test/loss``."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from ..run import Run

_HELD = {"val", "valid", "validation", "test", "eval", "evaluation", "dev", "holdout", "heldout"}
_OWN = {"weights", "updates", "gradients", "activations", "probe", "examples", "batch", "learning_rate"}
"""Series that the recorder reads by itself begin so; a layer of theirs may have any name."""
_HIGHER = {"acc", "accuracy", "f1", "auc", "iou", "miou", "top1", "top5", "precision", "recall", "right"}
_LOWER = {"loss", "error", "err", "nll", "ppl", "perplexity", "mse", "mae", "rmse"}


class PassedValue(NamedTuple):
    """The newest value of a series, and after which step it was passed."""

    value: float
    step: int


def held_back(run: Run | None, until: float = np.inf) -> dict[str, PassedValue]:
    """By the name of each series that says by its name that it is of examples held back: its newest value up to a step.

    Of a run that goes on from another only what it passed itself counts.
    """
    if run is None:
        return {}
    begun = (run.meta.get("parent") or {}).get("step", -1)
    found = {}
    for name in run.series_names:
        if not is_held_back(name):
            continue
        steps, values = run.series(name)
        there = np.flatnonzero((steps > begun) & (steps <= until) & np.isfinite(values))
        if len(there):
            found[name] = PassedValue(float(values[there[-1]]), int(steps[there[-1]]))
    return found


def is_held_back(name: str) -> bool:
    """Whether a series says by its name that it is of examples held back."""
    return name.partition("/")[0] not in _OWN and bool(_words(name) & _HELD)


def is_measure(name: str) -> bool:
    """Whether a series is called a loss, an accuracy or the like, and nothing else."""
    return bool(words := _words(name)) and words <= _HIGHER | _LOWER


def better(name: str) -> int:
    """Whether more of a series is better (1), or less (−1); 0 where its name does not tell."""
    words = _words(name)
    return 1 if words & _HIGHER else -1 if words & _LOWER else 0


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9]+", name.lower()) if word}
