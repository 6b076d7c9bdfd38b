"""Weighted layers as the rules see them: a weight, a bias, and the way forward and back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

_TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")
_PLAIN = ("stride", "padding", "dilation", "groups")


@dataclasses.dataclass(frozen=True)
class AffineCall:
    """One call of a weighted layer: ``forward(x, w, b)``, and ``adjoint(s, w, x)``, the transpose of its weights.

    *Meaning* ``out_axis`` is the axis of the weight that counts outputs, ``bias_axis`` that of the result.
    """

    kind: Literal["dense", "convolution", "product"]
    raw: Tensor
    """The weight as the call got it."""
    bias: Tensor | None
    out_axis: int
    bias_axis: int
    options: tuple[Any, ...] = ()
    flipped: bool = False
    """The weight stands at the left of a product."""
    scale: Tensor | None = None
    """What each output's weights are multiplied by."""

    @property
    def weight(self) -> Tensor:
        """The weight with its scale, which is multiplied when it is asked for: a whole network's would take its memory twice."""
        return self.raw if self.scale is None else self.raw * self.scale

    def half(self, sign: int) -> Tensor:
        """The weights of one sign; zero in the place of the others."""
        if self.scale is None:
            return self.raw.clamp(min=0) if sign > 0 else self.raw.clamp(max=0)
        return self.weight.clamp_(min=0) if sign > 0 else self.weight.clamp_(max=0)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The layer's result for another input, weight and bias."""
        if self.kind == "dense":
            return F.linear(x, weight, bias)
        if self.kind == "product":
            return weight @ x if self.flipped else x @ weight
        stride, padding, dilation, transposed, output_padding, groups = self.options
        return torch.convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)

    def adjoint(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Carry numbers at the outputs back to the inputs ``x`` through a weight."""
        if self.kind == "dense":
            return s @ weight
        if self.kind == "product":
            at = x.detach().requires_grad_()
            with torch.enable_grad():
                z = self.forward(at, weight)
            return torch.autograd.grad(z, at, s)[0]
        stride, padding, dilation, transposed, output_padding, groups = self.options
        back = torch.ops.aten.convolution_backward(
            s, x, weight, None, stride, padding, dilation, transposed, output_padding, groups, [True, False, False]
        )
        return back[0]  # type: ignore[no-any-return]

    def without_bias(self, z: Tensor) -> Tensor:
        """A result less the bias in it."""
        return z if self.bias is None else z - self.along(self.bias, z)

    def along(self, values: Tensor, z: Tensor) -> Tensor:
        """One number an output, shaped so that it broadcasts over a result."""
        return values.reshape([-1] + [1] * (z.ndim - self.bias_axis % z.ndim - 1))

    def scaled(self, scale: Tensor, shift: Tensor) -> AffineCall | None:
        """This layer and a scale and shift of each of its outputs, as one layer; None where that is not one."""
        if self.kind == "product" or (self.options and self.options[3] and self.options[5] > 1):
            return None
        shape = [1] * self.raw.ndim
        shape[self.out_axis] = -1
        bias = shift if self.bias is None else self.bias * scale + shift
        own = scale.reshape(shape)
        return dataclasses.replace(self, scale=own if self.scale is None else self.scale * own, bias=bias)


def dense(weight: Tensor, bias: Tensor | None) -> AffineCall:
    """The layer of ``F.linear``."""
    return AffineCall("dense", weight, bias, 0, -1)


def product(weight: Tensor, flipped: bool) -> AffineCall:
    """The layer of ``x @ w``, or of ``w @ x`` when flipped."""
    return AffineCall("product", weight, None, -1, -1, flipped=flipped)


def convolution(name: str, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, AffineCall]:
    """The layer of a convolution, and the input it reads (padded, where its padding is not the same at both ends)."""
    axes = int(name[-2])
    transposed = "transpose" in name
    words = ("input", "weight", "bias", *(_TRANSPOSED if transposed else _PLAIN))
    call = dict(zip(words, args, strict=False)) | kwargs
    weight, bias = call["weight"], call.get("bias")
    stride, dilation = _each(call.get("stride", 1), axes), _each(call.get("dilation", 1), axes)
    output_padding = _each(call.get("output_padding", 0), axes)
    padding = call.get("padding", 0)
    if padding == "same":
        ends: list[int] = []
        for step, size in zip(reversed(dilation), reversed(weight.shape[2:]), strict=True):
            total = step * (size - 1)
            ends += [total // 2, total - total // 2]
        x, padding = F.pad(x, ends), 0
    elif padding == "valid":
        padding = 0
    options = (stride, _each(padding, axes), dilation, transposed, output_padding, int(call.get("groups", 1)))
    return x, AffineCall("convolution", weight, bias, 1 if transposed else 0, -1 - axes, options)


def _each(value: Any, axes: int) -> list[int]:
    if isinstance(value, int):
        return [value] * axes
    values = [int(v) for v in value]
    return values * axes if len(values) == 1 else values


def bound(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a Python function of torch by name, defaults filled in."""
    call = inspect.signature(func).bind(*args, **kwargs)
    call.apply_defaults()
    return dict(call.arguments)
