"""Pictures from a layer's code: what the layer keeps of an example, and what it lets go."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...model.layers import by_unit
from ..method import Look
from .engine import Ascent, SynthesisState, form
from .objectives import match
from .priors import LikenessToExamples, Priors
from .stage import MadeInput

RATE, MEMORY = 6.0, 0.99
"""Steps are so much longer than for a unit, and slopes so much sooner forgotten: a code pulls at all of the picture at
once, and less and less."""
_EVERY = 0.3
"""Seconds between looks, each of which asks for the pictures' codes."""
HELD = (0.5, 0.0015)
"""The weights of likeness to the examples, at first and at last, against the code's distance as a share of its size."""
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Inversions:
    """Pictures with nearly the code of an example, each from a noise of its own.

    *Meaning* errors are distances as a share of the mean distance between two examples: 0 is the same, 1 as unlike as
    any two. ``spread`` is how far the pictures lie from each other: what the layer ignores.
    *Shapes* ``planes`` (starts, channels, height, width), errors (starts,).
    """

    layer: str
    planes: Tensor
    pixel_error: Tensor
    code_error: Tensor
    spread: float
    step: int
    final: bool
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """The mean distance between two examples, in pixels and in each layer's code."""

    pixels: float
    codes: dict[str, float]

    @classmethod
    def of(cls, stage: MadeInput, layers: list[str], x: Nested) -> Yardstick:
        """Measure it on examples."""
        own = list(nesting.tensors(x))[stage.frame.part]
        found = codes(stage.look, layers, x)
        return cls(_apart(stage.frame.planes(own)), {name: _apart(code) for name, code in found.items()})


def codes(look: Look, layers: list[str], x: Nested) -> dict[str, Tensor]:
    """The activations of some layers for examples, as the layers answer, on the CPU."""
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    last = max(layers, key=lambda name: look.layers[name].order)
    for start in range(0, nesting.size(x), _BATCH):
        with look.opened(layers, until=last) as capture:
            capture(nesting.select(x, slice(start, start + _BATCH)))
            for name in layers:
                parts[name].append(capture[name].detach().float().cpu())
    return {name: torch.cat(found) for name, found in parts.items()}


def _apart(rows: Tensor) -> float:
    """The mean distance of two different rows; 1 where there is none."""
    flat = rows.float().flatten(1).cpu()
    if len(flat) < 2:
        return 1.0
    mean = float(torch.pdist(flat).nan_to_num(0).mean())
    return mean if mean > 0 else 1.0


def distances(rows: Tensor, wanted: Tensor, yard: float) -> Tensor:
    """The distance of each row from the wanted one, as a share of the yardstick."""
    far: Tensor = (rows.float().cpu() - wanted.float().cpu()).flatten(1).norm(dim=1)
    return far / yard


def climb(stage: MadeInput, steps: int, *, rate: float = 1.0, held: float = 1.0, priors: Priors | None = None) -> Ascent:
    """How pictures are made from a code: held to be like the examples at first, and let go more and more.

    *Meaning* what the code tells wins in the end; what it does not tell stays as smooth and as coloured as the examples
    are. ``held`` and ``rate`` are relative to what suits most pictures.
    """
    like = LikenessToExamples.of(stage.frame.planes(stage.examples)) if stage.image else None
    return Ascent(
        steps, RATE * rate, priors=priors or Priors(), memory=MEMORY, likeness=like,
        held=(HELD[0] * held, HELD[1] * held), every=_EVERY, best=False,
    )


def invert(
    stage: MadeInput, layer: str, x: Nested, yard: Yardstick, ascent: Ascent, *, starts: int = 5, seed: int = 0
) -> Iterator[Inversions]:
    """Pictures from the code of one example (a batch of one) in a layer, as they form.

    *Source* Mahendran & Vedaldi 2015, "Understanding deep image representations by inverting them". Their distance is
    a share of the code's length, which a constant makes as long as it likes: here it is one of the distance between two
    examples. Their prior's weight, chosen for each layer by hand, is here one that falls.
    """
    code = codes(stage.look, [layer], x)[layer].to(stage.frame.own.device)
    wanted = stage.frame.planes(list(nesting.tensors(x))[stage.frame.part])
    generator = torch.Generator().manual_seed(seed)
    canvas = stage.canvas(starts, generator, parametrization="pixels", noise=0.5)
    for formed in form(stage.look, canvas, match(layer, code, yard.codes[layer]), ascent, generator):
        yield _inverted(stage, layer, formed, code, wanted, yard)


def _inverted(
    stage: MadeInput, layer: str, formed: SynthesisState, code: Tensor, wanted: Tensor, yard: Yardstick
) -> Inversions:
    planes = stage.frame.planes(list(nesting.tensors(formed.x))[stage.frame.part]).cpu()
    found = codes(stage.look, [layer], formed.x)[layer]
    return Inversions(
        layer, planes, distances(planes, wanted, yard.pixels), distances(found, code, yard.codes[layer]),
        spread(planes, yard.pixels), formed.step, formed.final, formed.note,
    )


def spread(planes: Tensor, yard: float) -> float:
    """The mean distance of the pictures from each other, as a share of the yardstick."""
    pairs = [float((a - b).norm()) for a, b in itertools.combinations(planes, 2)]
    return sum(pairs) / len(pairs) / yard if pairs else 0.0


def unit_first(look: Look, layer: str, code: Tensor) -> Tensor:
    """A code with the units on axis 1."""
    return by_unit(look.layers[layer], code)
