"""What every head of an attention takes from where, for one example."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from ...core.knobs import build, knob
from ...methods.cost import Cost
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..heads import attention_layers, held_weights, named, weights, without


class AttentionDerivation(Derivation):
    """How much each head of an attention takes from every token, for every token that asks.

    *Meaning* each row is a distribution over the tokens that are asked: 0.5 in a cell says that half of what the row's token
    takes in comes from the column's. A row in which everything is masked is 0. Weights say where a head looks, not what it
    takes from there.
    *Shapes* (heads, to, from); texts of more tokens than ``most`` are put together into so many stretches (means over rows,
    sums over columns), of one length but for the last.
    *Error* rows sum to 1 within 1e-5.
    *Cost* one forward pass.
    *Source* Vaswani et al. 2017, equation 1.
    """

    version = 2

    layer: str | None = knob(None, "The attention, or the block that holds it; the first when left open.", kind="layer")
    example: int = knob(0, "The example of the probe set.", low=0)
    most: int = knob(1024, "Longer texts are put together into at most so many stretches.", low=2, high=4096)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """The layer by its full name: it belongs to the key."""
        made: Self = build(cls, options)
        if scene.missing is None and not scene.function and (layers := attention_layers(scene)):
            made = dataclasses.replace(made, layer=named(layers, made.layer).name)
        return made

    def fits(self, scene: Scene) -> str | None:
        """The model attends, and the example is there."""
        if scene.missing is not None:
            return scene.missing
        if self.example >= len(scene.examples):
            return f"the probe set has examples 0 to {len(scene.examples) - 1}, got {self.example}"
        return without(scene)

    def cost(self, scene: Scene) -> Cost:
        """One pass of one example."""
        return Cost(1)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The weights, at once."""
        layer = named(attention_layers(scene), self.layer)
        held = held_weights(scene, layer.name, self.example, self.most)
        yield Stage(held if held is not None else weights(scene, scene.current(example=self.example).x, layer, self.most))

    def check(self, scene: Scene, value: Plain) -> None:
        """Heads, and shares between 0 and 1 or what is no number."""
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 3 or not value.size:
            raise ValueError("weights (heads, to, from) are wanted")
        if max(value.shape[1:]) > self.most or bool((value < -1e-3).any()) or bool((value > 1.001).any()):
            raise ValueError("shares of at most so many stretches are wanted")
        layer = named(attention_layers(scene), self.layer)
        sides = tuple(min(side, self.most) for side in layer.shape[-2:])
        if value.shape[1:] != sides or value.shape[0] != layer.heads:
            raise ValueError(f"weights of {sides[0]} × {sides[1]} tokens are wanted")
