"""A network trained to draw the picture from a layer's code."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...data import nesting
from ...data.kinds import Image
from ...methods.cost import Cost
from ...methods.synthesis import decoder as decoding
from ...methods.synthesis.code_inversion import codes, unit_first
from ...methods.synthesis.decoder import DecoderMoment
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..synthesis_stage import staged

EXAMPLES = 2000
"""A decoder learns from at most so many examples."""
MEMORY = 300_000_000
"""Bytes of codes that it learns from at most."""
_HELD = 8
"""Every eighth example is held out."""


class DecoderDerivation(Derivation):
    """A network trained to draw the picture from a layer's code: it shows what the code tells on average.

    *Meaning* its weights, and the mean squared error on pictures that it never saw. Where its seconds end it, another
    machine would get further; the one that is kept stands.
    *Cost* the seconds that it is given, and one forward pass an example.
    *Source* Dosovitskiy & Brox 2016, arXiv:1506.02753.
    """

    on = "examples"

    layer: str = knob("", "The layer whose code is drawn.", kind="layer")
    example: int | None = knob(None, "An example that it never learns from.", kind="example")
    seconds: float = knob(20.0, "How long it is trained.", low=1.0, high=3600.0, unit="s", log=True)
    steps: int = knob(2000, "After so many steps it ends even earlier.", low=10, high=1_000_000, log=True)
    seed: int = knob(0, "What its first weights are drawn from.", low=0)

    def fits(self, scene: Scene) -> str | None:
        """It draws pictures, from a layer that exists."""
        if scene.missing is None:
            scene.layers[self.layer]
            if not any(isinstance(kind, Image) for kind in scene.kinds.values()):
                return "a decoder draws pictures, and the inputs are no pictures"
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """One pass an example, besides its own training."""
        return Cost(min(EXAMPLES, len(scene.examples)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The decoder as it learns."""
        learn, planes, unseen = self._lessons(scene)
        generator = torch.Generator().manual_seed(self.seed)
        for taught in decoding.teach(
            learn, planes, unseen, steps=self.steps, seconds=self.seconds, generator=generator, begun=begun
        ):
            if scene.cancel is not None:
                scene.cancel()
            value = decoding.to_plain(taught)
            yield Stage(value, min(taught.step, taught.steps), taught.steps, state=taught.state)

    def check(self, scene: Scene, value: Plain) -> None:
        """Weights of a decoder from this layer's code to the pictures' planes."""
        found = decoding.of_plain(value)
        stage = staged(scene.alone(), scene.current().x, self.seed)
        x = nesting.to(scene.examples.first(1).x, scene.device)
        code = unit_first(stage.look, self.layer, codes(stage.look, [self.layer], x)[self.layer])
        if found.decoder.code != tuple(code.shape[1:]) or found.decoder.size != tuple(stage.size):
            raise ValueError("a decoder of another layer or of other pictures")

    def _lessons(self, scene: Scene) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Codes and planes to learn from, and those held out; the example at hand is never learned from."""
        stage = staged(scene, scene.current().x, self.seed)
        shape = scene.layers[self.layer].shape
        most = max(16, min(EXAMPLES, MEMORY // max(1, 4 * math.prod(shape)), MEMORY // max(1, 4 * math.prod(stage.size))))
        x = scene.examples.first(most).x
        found = codes(stage.look, [self.layer], nesting.to(x, scene.device))[self.layer].nan_to_num(0, 0, 0)
        code = unit_first(stage.look, self.layer, found)
        planes = stage.frame.planes(list(nesting.tensors(x))[stage.frame.part]).float().cpu()
        number = torch.arange(len(code))
        unseen = number % _HELD == _HELD - 1
        if self.example is not None:
            unseen = unseen | (number == self.example)
        if bool(unseen.all()):
            unseen = torch.zeros_like(unseen)
        return code[~unseen], planes[~unseen], (code[unseen][:128], planes[unseen][:128])


def taught(value: Plain) -> DecoderMoment:
    """The decoder of a derived value, to draw with."""
    return decoding.of_plain({**value, "weights": {name: np.array(part) for name, part in value["weights"].items()}})
