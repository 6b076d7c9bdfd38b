"""A series drawn in few pixels without losing a spike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .store_bytes import Floats, Steps


class Envelope(NamedTuple):
    """A series drawn in few pixels without losing a spike: the exact lowest and highest value in each."""

    steps: Steps
    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, steps: Steps, values: Floats, start: float | None, stop: float | None, pixels: int) -> Envelope:
        """The envelope of a series between two steps, in at most so many columns: see :meth:`RunReader.envelope`."""
        first = 0 if start is None else int(np.searchsorted(steps, start, "left"))
        last = len(steps) if stop is None else int(np.searchsorted(steps, stop, "right"))
        steps, values = steps[first:last], values[first:last]
        if len(steps) <= pixels:
            return cls(steps, values, values, values)
        edges = np.linspace(steps[0], steps[-1] + 1, pixels + 1)
        starts = np.unique(np.searchsorted(steps, edges[:-1], "left"))
        starts = starts[starts < len(steps)]
        low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        counts = np.diff(np.append(starts, len(values)))
        with np.errstate(invalid="ignore", over="ignore"):
            mean = np.add.reduceat(values, starts) / counts
        return cls(steps[starts], mean, low, high)
