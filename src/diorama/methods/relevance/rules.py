"""The rules of layer-wise relevance propagation for one weighted layer.

Each takes the layer, its input ``x``, its result ``z`` and the relevance ``r`` of the result, and returns that of the
input. Bach et al. 2015 (zero, epsilon, alpha-beta, z-plus), Montavon et al. 2017 (w-square, z-box), Montavon et al.
2019 (gamma), Lapuschkin et al. 2019 (flat).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from .affine import AffineCall

TINY = 1e-9
"""What keeps a division from being one by zero, in all rules but epsilon."""


@dataclasses.dataclass(frozen=True)
class RuleSettings:
    """The numbers that rules read."""

    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    low: Tensor | float | None = None
    """Smallest value of the input, for z-box; None takes each example's own."""
    high: Tensor | float | None = None
    bias: bool = True
    """Biases take their share, which no input gets."""


Rule = Callable[[AffineCall, Tensor, Tensor, Tensor, RuleSettings], Tensor]


def stable(z: Tensor, epsilon: float) -> Tensor:
    """A denominator pushed away from zero, on its own side (zero itself upward)."""
    return z + torch.where(z < 0, -epsilon, epsilon).to(z.dtype)


def shares(r: Tensor, z: Tensor) -> Tensor:
    """Relevance over what it is shared out by; zero where there is nothing to share it out by."""
    return torch.where(z == 0, torch.zeros_like(z), r / torch.where(z == 0, torch.ones_like(z), z))


def zero(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """Each input gets its share of the result: x·w / z."""
    z = z if set_.bias else layer.without_bias(z)
    return layer.adjoint(shares(r, z), layer.weight, x).mul_(x)


def epsilon(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """The same with a denominator pushed from zero, which takes relevance from weak results."""
    z = z if set_.bias else layer.without_bias(z)
    return layer.adjoint(r / stable(z, set_.epsilon), layer.weight, x).mul_(x)


def gamma(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """Contributions of the result's own sign count 1 + gamma times, so that no denominator comes near zero."""
    negative = (z if set_.bias else layer.without_bias(z)) < 0
    found = _boosted(layer, x, z, r.masked_fill(negative, 0), set_, 1)
    below = r.masked_fill(~negative, 0)
    return found + _boosted(layer, x, z, below, set_, -1) if bool(below.any()) else found


def _boosted(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings, sign: int) -> Tensor:
    """Relevance shared among contributions x·w, those of one sign counting more."""
    g, bias = set_.gamma, _bias(layer, set_)
    bias = bias + g * _half(bias, sign) if bias is not None else None
    if _positive(x):
        weight = layer.half(sign).mul_(g).add_(layer.weight)
        s = r / stable(layer.forward(x, weight, bias), TINY)
        return layer.adjoint(s, weight, x).mul_(x)
    half, own = g / 2, layer.weight
    size, strength = x.abs(), own.abs()
    total = (1 + half) * layer.without_bias(z) + sign * half * layer.forward(size, strength)
    total = total if bias is None else total + layer.along(bias, total)
    s = r / stable(total, TINY)
    plain, strong = layer.adjoint(s, own, x), layer.adjoint(s, strength, x)
    return (1 + half) * x * plain + sign * half * size * strong


def _half(values: Tensor, sign: int) -> Tensor:
    return values.clamp(min=0) if sign > 0 else values.clamp(max=0)


def alpha_beta(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """What speaks for the result gets alpha times the relevance, what speaks against it gets 1 − alpha times."""
    found = set_.alpha * _one_sign(layer, x, r, set_, 1)
    if set_.alpha != 1:
        found = found - (set_.alpha - 1) * _one_sign(layer, x, r, set_, -1)
    return found


def z_plus(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """Only what speaks for the result gets relevance."""
    return _one_sign(layer, x, r, set_, 1)


def _one_sign(layer: AffineCall, x: Tensor, r: Tensor, set_: RuleSettings, sign: int) -> Tensor:
    """Relevance shared among the contributions x·w of one sign alone."""
    bias = _bias(layer, set_)
    same = layer.half(sign)
    bias = _half(bias, sign) if bias is not None else None
    if _positive(x):
        s = _safe(r, layer.forward(x, same, bias), sign)
        return layer.adjoint(s, same, x).mul_(x)
    other = layer.half(-sign)
    above, below = x.clamp(min=0), x.clamp(max=0)
    s = _safe(r, layer.forward(above, same, bias).add_(layer.forward(below, other)), sign)
    return layer.adjoint(s, same, x).mul_(above).add_(layer.adjoint(s, other, x).mul_(below))


def _safe(r: Tensor, z: Tensor, sign: int) -> Tensor:
    """Relevance over a denominator, in whose own memory it is put."""
    return torch.div(r, z.add_(sign * TINY), out=z)


def w_square(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """Shares by the squared weights, whatever the input is."""
    return _blind(layer, layer.weight.square(), x, r)


def flat(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """Equal shares for all inputs of a unit."""
    if layer.kind != "convolution" or layer.options[5] != 1 or layer.options[3]:
        return _blind(layer, torch.ones_like(layer.raw), x, r)
    one = torch.ones_like(layer.raw[:1, :1])
    channel = x[:, :1]
    places = layer.forward(torch.ones_like(channel[:1]), one) * x.shape[1]
    return layer.adjoint(shares(r.sum(1, keepdim=True), places.expand(len(r), *places.shape[1:])), one, channel).expand(
        x.shape
    )


def _blind(layer: AffineCall, weight: Tensor, x: Tensor, r: Tensor) -> Tensor:
    z = layer.forward(torch.ones_like(x[:1]), weight)
    return layer.adjoint(shares(r, z.expand(r.shape)), weight, x)


def z_box(layer: AffineCall, x: Tensor, z: Tensor, r: Tensor, set_: RuleSettings) -> Tensor:
    """For inputs between two bounds: shares by how far each lies from the bound that speaks least for the result."""
    low, high = _bound(x, set_.low, torch.amin), _bound(x, set_.high, torch.amax)
    own, up, down = layer.weight, layer.half(1), layer.half(-1)
    total = layer.without_bias(z) - layer.forward(low, up) - layer.forward(high, down)
    s = r / stable(total, TINY)
    return x * layer.adjoint(s, own, x) - low * layer.adjoint(s, up, x) - high * layer.adjoint(s, down, x)


def _bound(x: Tensor, given: Tensor | float | None, own: Callable[..., Tensor]) -> Tensor:
    if given is None:
        return own(x, list(range(1, x.ndim)), keepdim=True).expand(x.shape).contiguous()
    return torch.as_tensor(given, dtype=x.dtype, device=x.device).expand(x.shape).contiguous()


def _bias(layer: AffineCall, set_: RuleSettings) -> Tensor | None:
    return layer.bias if set_.bias else None


def _positive(x: Tensor) -> bool:
    return not x.numel() or bool(x.min() >= 0)


RULES: dict[str, Rule] = {
    "zero": zero,
    "epsilon": epsilon,
    "gamma": gamma,
    "alpha_beta": alpha_beta,
    "z_plus": z_plus,
    "w_square": w_square,
    "flat": flat,
    "z_box": z_box,
}
READ_RESULT = frozenset({"zero", "epsilon", "z_box", "gamma"})
"""Rules that need the layer's result kept."""
