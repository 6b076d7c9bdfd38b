"""The randomization test: does a method's map change when the network's top layers lose what they learned?"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.duplicate import duplicate
from ...model.plain_module import layer_modules
from ...model.targets import Target
from ..cost import Cost
from ..method import Look, Method

INSENSITIVE = 0.9
"""A rank correlation above this, with half of the layers randomized, means that the map hardly changed."""


@dataclasses.dataclass(frozen=True)
class Randomization:
    """Rank correlations of maps with those of the same network, its layers randomized from the top down.

    *Meaning* 1: the map did not change; 0: nothing is left of it; NaN: it is flat before and after. Signs are left aside, as in the paper.
    *Shapes* correlations (stages, n): one row for each number of randomized layers in ``counts``.
    """

    counts: tuple[int, ...]
    layers: tuple[str, ...]
    """The weighted layers, from the top down."""
    correlations: np.ndarray
    method: str
    maps: tuple[Nested, ...] = dataclasses.field(default=(), repr=False)
    """The values at each stage."""

    @property
    def insensitive(self) -> bool:
        """Half of the layers are randomized and the map hardly changes: it does not show what the network learned."""
        return bool(self.score > INSENSITIVE)

    @property
    def score(self) -> float:
        """The mean rank correlation at the first stage with at least half of the layers randomized; NaN where all maps are flat before and after."""
        told = self.correlations[self.half]
        told = told[~np.isnan(told)]
        return float(told.mean()) if len(told) else float("nan")

    @property
    def half(self) -> int:
        """The first stage with at least half of the layers randomized."""
        return next(k for k, count in enumerate(self.counts) if 2 * count >= len(self.layers))

    @property
    def sentence(self) -> str:
        """What the test found, in a sentence."""
        if self.insensitive:
            return (
                f"{self.method} is insensitive: its map hardly changes (rank correlation {self.score:.2f}) when half of "
                "the layers lose what they learned."
            )
        if np.isnan(self.score):
            return "The map is the same everywhere, with what the layers learned and without it: there is nothing to compare."
        return f"The map changes with what the layers learned: rank correlation {self.score:.2f} with half randomized."


def stages(layers: int) -> tuple[int, ...]:
    """How many layers are randomized at each stage: the top one, a quarter, half, all."""
    return tuple(sorted({1, max(1, -(-layers // 4)), -(-layers // 2), layers}))


def cost(method: Method, look: Look, x: Nested) -> Cost:
    """What the test takes: the method once for the network as it is, and once a stage."""
    one, times = Cost.of(method, lambda: method.cost(look, x)), 1 + len(stages(len(_weighted(look))))
    return Cost(one.forward * times, one.backward * times)


def randomization(look: Look, x: Nested, target: Target, method: Method) -> Randomization:
    """Shuffle the weights of more and more layers from the top, and compare the maps.

    *Error* one shuffle a stage, drawn from the look's generator; means over several examples vary less.
    *Cost* see :func:`cost`; the user's model is copied and stays as it is.
    *Raises* NotApplicable for a plain function and for networks without weights.
    *Source* Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3.
    """
    if look.function:
        raise NotApplicable("a plain function has no layers to randomize; use deletion and insertion")
    layers = _weighted(look)
    *_, before = method.attribute(_again(look, look.model, x), x, target)
    other = duplicate(look.model)
    modules = layer_modules(other)
    rows, maps, done = [], list[Nested](), 0
    counts = stages(len(layers))
    for number, count in enumerate(counts):
        for path in layers[done:count]:
            _shuffle(modules[path], look.generator)
        done = count
        *_, after = method.attribute(_again(look, other, x), x, target)
        rows.append(_correlations(before.values, after.values))
        maps.append(after.values)
        look.progress(number + 1, len(counts), "stages")
    return Randomization(counts, layers, np.stack(rows), type(method).name, tuple(maps))


def _again(look: Look, model: nn.Module, x: Nested) -> Look:
    """The same look at another model, with the same random numbers for the method."""
    return Look(
        model, x=x, kind=look.kind, reading=look.reading, table=look.layers, classes=look.classes, cancel=look.cancel,
        baseline=look.baseline, edits=look.edits, seed=look.seed,
    )


def _weighted(look: Look) -> tuple[str, ...]:
    """The paths of modules with weights of their own, from the top down."""
    paths = [layer.path for layer in look.layers.with_weights]
    found = tuple(dict.fromkeys(reversed(paths)))
    if not found:
        raise NotApplicable("this network has no weights to randomize")
    return found


def _shuffle(module: nn.Module, generator: torch.Generator) -> None:
    """The weights keep their numbers and lose their places."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))


def _correlations(a: Nested, b: Nested) -> np.ndarray:
    """Spearman's rank correlation of the sizes of two maps, for each example; 0 where one is flat, NaN where both are."""
    found = []
    for k in range(nesting.size(a)):
        x, y = (_ranks(nesting.select(part, [k])) for part in (a, b))
        x, y = x - x.mean(), y - y.mean()
        scale = np.sqrt((x @ x) * (y @ y))
        found.append(float(x @ y / scale) if scale > 0 else 0.0 if x.any() or y.any() else float("nan"))
    return np.array(found)


def _ranks(values: Nested) -> np.ndarray:
    flat = torch.cat([_sizes(part) for part in nesting.tensors(values)])
    ranks: np.ndarray = scipy.stats.rankdata(np.nan_to_num(flat.cpu().numpy()))
    return ranks


def _sizes(part: Tensor) -> Tensor:
    return part.detach().double().abs().reshape(-1)
