"""Attention followed from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..cost import Cost
from ..method import Attribution, Group, Look, Method
from ..relevance.heads import joined, patterns, placed, stacked, without


class AttentionRollout(Method):
    """How much of each token reaches the answer when attention weights are multiplied from layer to layer.

    *Meaning* half of each layer goes round its attention, as in a residual block; the weights of heads are averaged.
    The map is the same for every class, as attention does not know the target.
    *Shapes* (n, tokens) for tokens; patches of an image are laid back onto it.
    *Cost* one forward pass, and memory for all attention weights.
    *Raises* NotApplicable for a model without attention, or whose tokens do not lie on the input.
    *Source* Abnar, Zuidema 2020, equation 1.
    """

    group: ClassVar[Group] = "transformers"
    source: ClassVar[str] = "Abnar, Zuidema 2020 (arXiv:2005.00928), equation 1"
    demo: ClassVar[str] = "topics"
    signed: ClassVar[bool] = False

    heads: str = knob("mean", "How the heads of a layer are joined.", choices=("mean", "max", "min"))

    def cost(self, look: Look, x: Nested) -> Cost:
        """One pass."""
        return Cost(1, 0)

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """Models with self-attention."""
        return super().fits(look, x) or without(look, x)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One map, from one pass."""
        names = patterns(look, x)
        there = look.run(x, target, keep=sum(names, []))
        chain = None
        for weights in stacked(joined(there, names), nesting.size(x)):
            mixed = (
                weights.mean(1) if self.heads == "mean" else weights.amax(1) if self.heads == "max" else weights.amin(1)
            )
            step = mixed + torch.eye(mixed.shape[-1], device=mixed.device, dtype=mixed.dtype)
            step = step / step.sum(-1, keepdim=True)
            chain = step if chain is None else step @ chain
        assert chain is not None
        values, said = placed(x, chain, look.kind)
        yield self.found(look, x, target, values, there.value, note=said)
