"""The loss on the straight way between two networks, and the barrier that stands there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...model.averages import normalized, reestimate
from ...scene import Scene
from . import _mean_loss

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class WeightWay:
    """Places between 0 (this network) and 1 (the other), with the mean loss at those that were visited; NaN at the rest."""

    places: Floats
    losses: Floats

    @property
    def barrier(self) -> float:
        """How far the loss rises at most above the straight line between its two ends.

        *Source* Frankle et al. 2020; Entezari et al. 2022, definition 1.
        """
        line = (1 - self.places) * self.losses[0] + self.places * self.losses[-1]
        above = self.losses - line
        return float(np.nanmax(above)) if np.isfinite(above).any() else float("nan")

    @property
    def visited(self) -> tuple[Floats, Floats]:
        """The places that were visited, and their losses."""
        known = ~np.isnan(self.losses)
        return self.places[known], self.losses[known]


def between(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], place: float) -> dict[str, Tensor]:
    """The weights at a place of the straight way; whole numbers are this network's, and numbers of 8 bits are rounded again."""
    found = {}
    for name, value in mine.items():
        if name in theirs and not value.is_meta:
            single = value.float() if value.is_floating_point() and value.element_size() == 1 else value
            found[name] = torch.lerp(single, theirs[name].to(single), place).to(value) if value.is_floating_point() else value
    return found


def order(count: int) -> list[int]:
    """The ends, the middle, and ever finer between them."""
    found, step = [0, count - 1], count - 1
    while len(found) < count:
        step = max(1, step // 2)
        found += [k for k in range(0, count, step) if k not in found]
    return found


def walked(scene: Scene, other: Mapping[str, Tensor], count: int, anew: bool, examples: int, begin: float | None = None) -> Iterator[WeightWay]:
    """The way as it is visited, coarse to fine; at every place batch norm gets statistics of its own where ``anew``.

    ``begin`` is the loss at its beginning, where it is known. *Cost* a pass an example and place, two where statistics are estimated.
    """
    places = np.linspace(0.0, 1.0, count)
    losses = np.full(count, np.nan)
    mine = {name: value.detach().clone() for name, value in scene.model.state_dict().items() if isinstance(value, Tensor)}
    there = scene.with_weights(mine)
    anew, counted = anew and bool(normalized(there.model)), _mean_loss.with_losses(scene)
    for k in order(count):
        if k or begin is None:
            with torch.no_grad():
                for name, value in between(mine, other, float(places[k])).items():
                    _named(there.model)[name].copy_(value)
            if anew:
                reestimate(there.model, (x for _, x in _first(there, examples)), scene.cancel)
        losses[k] = begin if begin is not None and not k else mean_loss(there, examples, counted)
        yield WeightWay(places, losses.copy())


def _first(scene: Scene, count: int) -> Iterator[tuple[range, Nested]]:
    """The first live examples in batches, no more than so many."""
    for places, x in scene.batches():
        if places.start >= count:
            return
        own = range(places.start, min(places.stop, count))
        yield own, x if len(own) == len(places) else nesting.select(x, range(len(own)))


def mean_loss(scene: Scene, count: int | None = None, counted: Tensor | None = None) -> float:
    """The loss of the live examples that have a label, or of the first of them; of those alone that are counted, where it is said which."""
    if count is not None and count < len(scene.live):
        wanted = scene.reading.wanted(scene.live.x, scene.live.y)
        assert wanted is not None  # who asks for the way has seen that there is some
        scores = torch.cat([scene.look(x)[0].cpu() for _, x in _first(scene, count)])
        known = wanted.cpu()[: len(scores)]
        if counted is not None and bool(counted[: len(scores)].any()):
            return _mean_loss.mean_of(scene, scene.reading.losses(scores, known), counted)
        return scene.reading.loss(scores, known)
    return _mean_loss.mean_loss(scene, counted)


def _named(model: Any) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
