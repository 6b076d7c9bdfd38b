"""What a network says of the next step of a pen: one step, or how likely each is, as a mixture of bell curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import UsageError

PARTS = ("lift", "weights", "x", "y", "spread_x", "spread_y", "correlation")
"""The parts of a place's numbers, in the order of Graves 2013, equations 17 to 22."""
_STRAIGHT = 1 - 1e-5
"""A correlation nearer to 1 leaves no width to count with."""


@dataclasses.dataclass(frozen=True)
class NextStep:
    """The next step as it is said at each place, all tensors (…) of the places or (…, k) of the curves.

    *Meaning* ``lift`` is the score (a logit) of lifting the pen behind the next point, ``weights`` the logarithm of how likely each
    curve is, ``means`` (…, k, 2) where it stands from the pen, ``spreads`` (…, k, 2) the logarithm of its standard deviations. A plain
    step is one curve without ``spreads``.
    """

    lift: Tensor
    weights: Tensor
    means: Tensor
    spreads: Tensor | None = None
    correlation: Tensor | None = None

    @classmethod
    def of(cls, output: Tensor, parts: tuple[str, ...] = PARTS, *, probability: bool = False) -> NextStep:
        """Read 3 numbers a place (dx, dy, lift) or 6 k + 1 (the parts one after the other, each k long, ``lift`` 1).

        *Meaning* ``weights`` are scores that a softmax makes likely, spreads logarithms, the correlation what tanh makes one.
        ``probability`` says that lifting is told as a probability, and not as a score.
        *Raises* UsageError for another number of numbers.
        """
        count = curves(output.shape[-1])
        if count is None:
            raise UsageError(f"a step is told by 3 numbers or by 6 k + 1, got {output.shape[-1]}")
        if count == 0:
            means, lift = output[..., None, :2], output[..., 2]
            return cls(_scored(lift) if probability else lift, torch.zeros_like(output[..., :1]), means)
        found = dict(zip(parts, output.split([1 if name == "lift" else count for name in parts], -1), strict=True))
        lift = found["lift"][..., 0]
        return cls(
            _scored(lift) if probability else lift, found["weights"].log_softmax(-1), torch.stack([found["x"], found["y"]], -1),
            torch.stack([found["spread_x"], found["spread_y"]], -1), found["correlation"].tanh().clamp(-_STRAIGHT, _STRAIGHT),
        )

    def at(self, temperature: float) -> NextStep:
        """The same with less luck below 1 and more above it; 0 leaves none.

        *Meaning* scores are divided by the temperature, variances multiplied by it.
        *Source* Ha & Eck 2018, equation 8.
        """
        if temperature == 1:
            return self
        if temperature == 0:
            best = F.one_hot(self.weights.argmax(-1), self.weights.shape[-1])
            certain = torch.where(best > 0, 0.0, -math.inf).to(self.weights)
            return dataclasses.replace(self, lift=torch.where(self.lift > 0, math.inf, -math.inf).to(self.lift), weights=certain, spreads=None)
        weights = (self.weights / temperature).log_softmax(-1)
        spreads = None if self.spreads is None else self.spreads + 0.5 * math.log(temperature)
        return dataclasses.replace(self, lift=self.lift / temperature, weights=weights, spreads=spreads)

    def drawn(self, luck: Tensor) -> Tensor:
        """A step (…, 3) by four numbers of luck (…, 4): two evenly spread from 0 to 1 (curve, lift), two from a bell curve (x, y)."""
        chances = self.weights.exp().cumsum(-1)
        chosen = (chances < luck[..., :1] * chances[..., -1:]).sum(-1).clamp_max(chances.shape[-1] - 1)
        step = self.means.gather(-2, chosen[..., None, None].expand(*chosen.shape, 1, 2))[..., 0, :]
        if self.spreads is not None and self.correlation is not None:
            spread = self.spreads.exp().gather(-2, chosen[..., None, None].expand(*chosen.shape, 1, 2))[..., 0, :]
            rho = self.correlation.gather(-1, chosen[..., None])[..., 0]
            one, other = luck[..., 2], luck[..., 3]
            turned = torch.stack([one, rho * one + (1 - rho.square()).sqrt() * other], -1)
            step = step + spread * turned
        return torch.cat([step, (luck[..., 1] < self.lift.sigmoid()).to(step)[..., None]], -1)

    def logs(self, steps: Tensor) -> Tensor:
        """The logarithm of the density at steps (…, 2), in nats; of plain steps there is none.

        *Source* Graves 2013, equations 23 to 25.
        """
        if self.spreads is None or self.correlation is None:
            raise UsageError("a plain step has no density")
        apart = (steps[..., None, :] - self.means) / self.spreads.exp()
        x, y, rho = apart[..., 0], apart[..., 1], self.correlation
        left = 1 - rho.square()
        inner = (x.square() + y.square() - 2 * rho * x * y) / left
        curve = -math.log(2 * math.pi) - self.spreads.sum(-1) - 0.5 * left.log() - 0.5 * inner
        return (self.weights + curve).logsumexp(-1)

    def widened(self, by: float) -> NextStep:
        """The same, seen through a window of so large a standard deviation: no curve is narrower than it."""
        if self.spreads is None or self.correlation is None:
            return self
        spread = self.spreads.exp()
        wide = (spread.square() + by**2).sqrt()
        return dataclasses.replace(self, spreads=wide.log(), correlation=self.correlation * (spread / wide).prod(-1))

    def losses(self, y: Tensor) -> Tensor:
        """What each next step (…, 3) costs, in nats: minus the logarithm of its density and of its pen; of a plain step squared distance.

        *Source* Graves 2013, equation 26.
        """
        lifted = F.softplus(self.lift) - y[..., 2] * self.lift
        if self.spreads is None:
            return (self.means[..., 0, :] - y[..., :2]).square().sum(-1) + lifted
        return lifted - self.logs(y[..., :2])

    def at_place(self, place: int) -> NextStep:
        """What is said at one place (1, …)."""
        return self._of(lambda told: told[place : place + 1] if place != -1 else told[-1:])

    def times(self, count: int) -> NextStep:
        """What is said at one place, for so many draws (count, …)."""
        return self._of(lambda told: told.expand(count, *told.shape[1:]))

    def followed(self, by: NextStep) -> NextStep:
        """What is said here, and behind it what is said at other places."""
        after = by._told()
        return NextStep(**{  # type: ignore[arg-type]
            name: None if told is None else torch.cat([told, torch.as_tensor(after[name])]) for name, told in self._told().items()
        })

    def _told(self) -> dict[str, Tensor | None]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _of(self, change: Callable[[Tensor], Tensor]) -> NextStep:
        return NextStep(**{name: None if told is None else change(told) for name, told in self._told().items()})  # type: ignore[arg-type]

    @property
    def finite(self) -> bool:
        """Whether all of it are numbers."""
        spreads = None if self.spreads is None else self.spreads.exp()
        told = (self.lift, self.weights.exp(), self.means, spreads, self.correlation)
        return all(bool(one.isfinite().all()) for one in told if one is not None)


def curves(width: int) -> int | None:
    """How many curves a place's numbers tell of: 0 of a plain step; None where they tell of no step."""
    if width == 3:
        return 0
    return (width - 1) // 6 if width > 6 and width % 6 == 1 else None


def _scored(chance: Tensor) -> Tensor:
    return chance.clamp(1e-6, 1 - 1e-6).logit()
