"""Normalizations as linear ops, their deviation held (Ali et al. 2022, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .affine import bound


def held(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Tensor]:
    """A normalization as a function of its input alone, in which the deviation is a constant."""
    x, centred, factor, finished = _parts(name, func, args, kwargs)
    constant = factor(centred(x.detach()))
    return lambda at: finished(centred(at) * constant)


def opened(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A normalization as the sums, products and roots that it is made of."""
    x, centred, factor, finished = _parts(name, func, args, kwargs)
    parts = centred(x)
    return finished(parts * factor(parts))


Step = Callable[[Tensor], Tensor]


def _parts(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Step, Step, Step]:
    """The input; what takes its means away; one over the deviation of that; weight and bias at the end."""
    call = _call(name, func, args, kwargs)
    x, weight, bias = call["input"], call.get("weight"), call.get("bias")
    if name == "layer_norm" or name == "rms_norm":
        axes = list(range(-len(call["normalized_shape"]), 0))
        groups, shape = 0, None
    else:
        groups = call["num_groups"] if name == "group_norm" else x.shape[1]
        axes, shape = list(range(2, x.ndim + 1)), [1, -1] + [1] * (x.ndim - 2)
    eps = call.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps

    def grouped(at: Tensor) -> Tensor:
        return at.reshape(at.shape[0], groups, -1, *at.shape[2:]) if groups else at

    def centred(at: Tensor) -> Tensor:
        parts = grouped(at)
        return parts if name == "rms_norm" else parts - parts.mean(axes, keepdim=True)

    def factor(parts: Tensor) -> Tensor:
        return ((parts * parts).mean(axes, keepdim=True) + eps).rsqrt()

    def finished(parts: Tensor) -> Tensor:
        z = parts.reshape(x.shape)
        if weight is not None:
            z = z * (weight if shape is None else weight.reshape(shape))
        if bias is not None:
            z = z + (bias if shape is None else bias.reshape(shape))
        return z

    return x, centred, factor, finished


_WORDS = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
}


def _call(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, with torch's own epsilon where none is given."""
    if name == "instance_norm":
        return bound(func, args, kwargs)
    call = dict(zip(_WORDS[name], args, strict=False)) | kwargs
    if name != "rms_norm":
        call.setdefault("eps", 1e-5)
    if isinstance(call.get("normalized_shape"), int):
        call["normalized_shape"] = (call["normalized_shape"],)
    return call
