"""Attention weighed by how much the target depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method
from ..relevance.heads import joined, patterns, placed, stacked, without


class AttentionTimesGradient(Method):
    """Attention weights times the target's slope along them, where both speak for the target, followed through the layers.

    *Meaning* unlike attention rollout the map depends on the target. What each token keeps of itself is not counted.
    *Shapes* (n, tokens) for tokens; patches of an image are laid back onto it.
    *Cost* one forward and one backward pass, and memory for all attention weights.
    *Raises* NotApplicable for a model without attention, or whose tokens do not lie on the input.
    *Source* Chefer, Gur, Wolf 2021, equations 5 and 6.
    """

    title = "Attention × gradient"
    group: ClassVar[Group] = "transformers"
    sloping: ClassVar[bool] = True
    source: ClassVar[str] = "Chefer, Gur, Wolf 2021 (arXiv:2103.15679), equations 5 and 6"
    demo: ClassVar[str] = "topics"
    signed: ClassVar[bool] = False

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """Models with self-attention."""
        return super().fits(look, x) or without(look, x)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One map, from one pass there and back."""
        names = patterns(look, x)
        there = look.run(x, target, look.points(x), keep=sum(names, []), grad=True)
        count = nesting.size(x)
        seen = joined(there, names)
        stacked(seen, count)
        kept = [there[name] for name in sum(names, [])]
        slopes = joined(dict(zip(sum(names, []), look.gradients(there.value, kept), strict=True)), names)
        one = torch.eye(seen[0].shape[-1], device=there.value.device, dtype=seen[0].dtype)
        chain = one.expand(count, -1, -1)
        pairs = zip(stacked(seen, count), stacked(slopes, count), strict=True)
        for weights, slope in pairs:
            chain = chain + (weights.detach() * slope).clamp(min=0).mean(1) @ chain
        values, said = placed(x, chain - one, look.kind)
        yield self.found(look, x, target, values, there.value, note=said)
