"""Integrated gradients, averaged over baselines that are other inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ...core.errors import UsageError
from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..baseline import Baseline
from ..cost import Cost
from ..method import Attribution, Group, Look, Method, completeness


class ExpectedGradients(Method):
    """How much each number adds to the target on the way from other inputs to this one, on average.

    *Meaning* the values sum to the target here minus its mean over the other inputs, up to the error of the draws,
    which ``checks["completeness"]`` measures against the inputs that were drawn. The others come as the baseline; every
    example is compared with the same ones.
    *Shapes* as the input; (n, tokens) for tokens.
    *Units* of the target.
    *Error* falls with the square root of ``draws``, and faster along each line, whose places are spread evenly.
    *Cost* ``draws`` forward and backward passes, and forward passes of the inputs drawn.
    *Source* Erion, Janizek, Sturmfels, Lundberg, Lee 2021, equation 3.
    """

    group: ClassVar[Group] = "gradient"
    source: ClassVar[str] = "Erion, Janizek, Sturmfels, Lundberg, Lee 2021 (arXiv:1906.10670), equation 3"
    completeness: ClassVar[bool] = True
    pooled: ClassVar[bool] = True

    draws: int = knob(64, "How many pairs of another input and a place on the way.", low=1, high=10000, log=True, main=True)

    def cost(self, look: Look, x: Nested) -> Cost:
        """A pass there and back a draw, and one for each input drawn."""
        others = self.draws if look.baseline is None else min(self.draws, nesting.size(look.baseline))
        return Cost(self.draws + others + 1, self.draws)

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """It needs other inputs."""
        if look.baseline is None:
            return f"{cls.name} compares with other inputs: give many as the baseline, or use integrated_gradients"
        return super().fits(look, x)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Average over the draws."""
        assert look.baseline is not None
        ends = tuple(point.detach() for point in look.points(x))
        pool = tuple(point.detach() for point in look.points(look.baseline))
        if any(other.shape[1:] != end.shape[1:] for other, end in zip(pool, ends, strict=True)):
            raise UsageError(
                f"the baseline wants inputs of shape {tuple(ends[0].shape[1:])}, got {tuple(pool[0].shape[1:])}"
            )
        dice, count = look.generator, nesting.size(look.baseline)
        rounds = -(-self.draws // count)
        chosen = torch.cat([torch.randperm(count, generator=dice) for _ in range(rounds)])[: self.draws].tolist()
        places = (
            (torch.randperm(self.draws, generator=dice) + torch.rand(self.draws, generator=dice)) / self.draws
        ).tolist()
        total = [torch.zeros_like(end) for end in ends]
        starts: dict[int, Tensor] = {}
        for turn, (k, place) in enumerate(zip(chosen, places, strict=True), 1):
            others = tuple(part[k : k + 1].expand_as(end) for part, end in zip(pool, ends, strict=True))
            ways = [end - other for end, other in zip(ends, others, strict=True)]
            here = tuple((other + place * way).requires_grad_() for other, way in zip(others, ways, strict=True))
            slopes = look.gradients(look.run(x, target, here, grad=True).value, here)
            total = [part + way * slope / self.draws for part, way, slope in zip(total, ways, slopes, strict=True)]
            if k not in starts:
                starts[k] = look.run(x, target, others).value.detach().double()
            look.progress(turn, self.draws, f"{turn} of {self.draws} draws")
        values = look.shaped(x, total)
        scores = look.target(x, target)
        mean = torch.stack([starts[k] for k in chosen]).mean(0)
        gap = completeness(values, scores.double() - mean)
        words = f"{len(starts)} other inputs, on the average"
        start = Baseline(words, mean.expand_as(scores), look.task == "regression")
        yield self.found(look, x, target, values, scores, checks={"completeness": gap}, baseline=start)
