"""Pen strokes that a network goes on with: every step drawn from what it says comes next, and read before the one after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import DioramaError, NotApplicable
from ..model.mixtures import NextStep
from ..model.plain_module import fed
from .scene import Scene

LUCK = 4
"""Numbers of luck that a step takes."""


@dataclasses.dataclass(frozen=True)
class WrittenStrokes:
    """Strokes as far as they are written, several beside each other that began alike."""

    rows: NDArray[np.float64]
    """(samples, places, 3): those that it began with, and those that were added."""
    begun: int
    """So many places it began with."""
    said: NextStep
    """What was said of the step behind each place of the first sample, (places, …); behind the last one too where nothing broke."""
    broken: bool = False
    """What it said were no numbers, so that nothing could be drawn."""


def penning(
    scene: Scene, begin: Tensor, *, length: int, samples: int = 1, temperature: float = 1.0, seed: int = 0, parts: tuple[str, ...],
    probability: bool = False,
) -> Iterator[WrittenStrokes]:
    """The strokes after every step that a scene's model adds to ``begin`` (1, places, 3), up to ``length`` of them.

    *Meaning* each step is drawn from the distribution that the model gives, at a temperature as :meth:`NextStep.at` has it. The same
    seed gives the same luck to any model, so that what differs is the model. The model reads all places anew each time: any model
    can be asked so, whatever it keeps in mind otherwise.
    *Raises* NotApplicable where the model does not read strokes of this length.
    """
    luck = _luck(seed, samples, length)
    x = begin.expand(samples, *begin.shape[1:]).clone()
    said = NextStep.of(_asked(scene, begin)[0].double().cpu(), parts, probability=probability)
    rows = x.double().cpu()
    broken = not said.finite
    yield WrittenStrokes(rows.numpy(), begin.shape[1], said, broken)
    last = said.at_place(-1).times(samples)
    for number in range(length if not broken else 0):
        step = last.at(temperature).drawn(luck[:, number])
        rows = torch.cat([rows, step[:, None]], 1)
        told = NextStep.of(_asked(scene, rows.to(begin))[:, -1].double().cpu(), parts, probability=probability)
        if not told.finite:
            yield WrittenStrokes(rows.numpy(), begin.shape[1], said, broken=True)
            return
        said, last = said.followed(told.at_place(0)), told
        yield WrittenStrokes(rows.numpy(), begin.shape[1], said)


def _luck(seed: int, samples: int, length: int) -> Tensor:
    """(samples, length, LUCK): the same for the first samples and places, however many are asked for."""
    found = np.empty((samples, length, LUCK))
    for sample in range(samples):
        generator = np.random.default_rng([seed, sample])
        for place in range(length):
            found[sample, place] = [*generator.random(2), *generator.standard_normal(2)]
    return torch.from_numpy(found)


def _asked(scene: Scene, x: Tensor) -> Tensor:
    try:
        scores, _ = scene.look(fed(scene.model, x))
    except DioramaError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise NotApplicable(
            f"the model does not read strokes of {x.shape[1]} places: {' '.join(str(error).split())[:160]}; begin with as many as its examples have"
        ) from error
    return scores
