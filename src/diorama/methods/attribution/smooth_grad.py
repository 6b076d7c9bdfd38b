"""The gradient averaged over noisy copies of the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ...core.knobs import knob
from ...data.nesting import Nested
from ...model.own_places import Owners
from ...model.targets import Target
from ..cost import Cost
from ..method import Attribution, Group, Look, Method
from ..paths import averaged


class SmoothGrad(Method):
    """The gradient averaged over copies of the input with noise on them, so that what is accidental cancels.

    *Meaning* ``noise`` is the standard deviation as a share of the example's range, from its lowest to its highest
    number. Every example gets the same draws, so that a batch is explained as its examples are. ``combine`` may
    average the squares of the gradients, or give their variance, instead.
    *Shapes* as the input; (n, tokens) for tokens, whose embeddings get the noise.
    *Cost* ``draws`` forward and backward passes and one forward pass.
    *Source* Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, section 2; squares: Hooker et al. 2019; variance: Adebayo et
    al. 2018.
    """

    group: ClassVar[Group] = "gradient"
    title: ClassVar[str] = "SmoothGrad"
    source: ClassVar[str] = "Smilkov, Thorat, Kim, Viégas, Wattenberg 2017 (arXiv:1706.03825), section 2"

    draws: int = knob(16, "How many noisy copies.", low=1, high=10000, log=True, main=True)
    noise: float = knob(0.15, "The noise's standard deviation.", low=0.0, high=10.0, unit="of the input's range")
    combine: str = knob("mean", "What is made of the gradients.", choices=("mean", "squares", "variance"))

    def cost(self, look: Look, x: Nested) -> Cost:
        """A pass there and back a draw, and one for the target itself."""
        return Cost(self.draws + 1, self.draws)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Average over the draws."""
        points = tuple(point.detach() for point in look.points(x))
        owners = Owners(look.kind)
        owners.read(x)
        owns = [owners.own(point.movedim(-1, 1)) for point in points]
        spans = [_span(point, own) * self.noise for point, own in zip(points, owns, strict=True)]
        seeds = torch.randint(0, 2**62, (self.draws,), generator=look.generator).tolist()

        def noisy(turn: int) -> tuple[Tensor, ...]:
            dice = torch.Generator().manual_seed(seeds[turn])
            drawn = [_drawn(point, own, dice) for point, own in zip(points, owns, strict=True)]
            return tuple(point + span * noise for point, span, noise in zip(points, spans, drawn, strict=True))

        weights = [1 / self.draws] * self.draws
        if self.combine == "mean":
            slopes = averaged(look, x, target, noisy, weights)
        else:
            slopes = averaged(look, x, target, noisy, weights, torch.square)
        if self.combine == "variance":
            means = averaged(look, x, target, noisy, weights)
            slopes = tuple((square - mean**2).clamp_min(0) for square, mean in zip(slopes, means, strict=True))
        yield self.found(look, x, target, look.shaped(x, slopes), look.target(x, target))


def _drawn(point: Tensor, own: Tensor | None, dice: torch.Generator) -> Tensor:
    """The same noise for every example; for texts that are filled up from the first to the last of their own places, and none elsewhere."""
    if own is None:
        return torch.randn(point.shape[1:], generator=dice).to(point)
    noise = torch.randn((int(own.sum(1).max()), *point.shape[2:]), generator=dice).to(point)
    found = torch.zeros_like(point)
    for k, inside in enumerate(own):
        found[k, inside] = noise[: int(inside.sum())]
    return found


def _span(point: Tensor, own: Tensor | None = None) -> Tensor:
    """From the lowest to the highest number of each example; not-finite numbers don't count, nor those at places that are not its own."""
    rows = point.reshape(len(point), -1)
    fine = torch.isfinite(rows)
    if own is not None:
        fine &= own[:, :, None].expand_as(point).reshape(rows.shape)
    low = torch.where(fine, rows, torch.inf).amin(1)
    high = torch.where(fine, rows, -torch.inf).amax(1)
    return (high - low).clamp_min(0).reshape(-1, *[1] * (point.ndim - 1))
