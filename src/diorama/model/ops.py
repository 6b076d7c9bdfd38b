"""What each op of torch does: the one table that every part which follows ops reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

SOFTMAX = frozenset({"softmax"})
_SECOND = ("conv", "max_pool", "avg_pool", "lp_pool", "adaptive_", "batch_norm", "group_norm", "instance_norm",
           "fractional_max_pool", "pixel_", "interpolate", "upsample", "local_response_norm", "prelu")  # fmt: skip
_LAST = frozenset({"linear", "layer_norm", "rms_norm", "embedding", "embedding_bag", "multi_head_attention_forward", "addmm",
                   "lstm", "gru", "rnn_tanh", "rnn_relu"})  # fmt: skip


def unit_axis(name: str, ndim: int) -> int | None:
    """Which axis of a result (the example's is 0) counts the units, where the op says it."""
    plain = name.removesuffix("_")
    if plain in _LAST:
        return ndim - 1
    if plain.startswith(_SECOND) and ndim >= 2:
        return 1
    return None


def axis_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The axis over which a softmax or the like runs, from its second argument."""
    axis = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    return int(axis) if isinstance(axis, int) else None


def rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an op is a ReLU, however it is called."""
    return rectifier(name, None, args, kwargs) is not None


def rectifier(
    name: str, func: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, float | None, bool] | None:
    """The input of a ReLU, the highest value that it lets through, and whether it writes in place; None for others."""
    plain = name.removesuffix("_")
    x = args[0] if args else kwargs.get("input")
    if not isinstance(x, Tensor) or not x.is_floating_point() or plain not in _BOUNDS:
        return None
    bounds = _BOUNDS[plain](args[1:], kwargs)
    if bounds is None or bounds[0] != 0:
        return None
    place = _INPLACE.get(plain, len(args))
    return x, bounds[1], name.endswith("_") or bool(kwargs.get("inplace", place < len(args) and args[place]))


Bounds = tuple[Any, Any] | None


def _threshold(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A threshold at zero that puts zero in its place is a ReLU."""
    given = {**dict(zip(("threshold", "value"), rest, strict=False)), **kwargs}
    return (0, None) if given.get("threshold") == 0 and given.get("value") == 0 else None


def _clamp(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A clamp from zero up, perhaps to a highest value."""
    given = {**dict(zip(("min", "max"), rest, strict=False)), **kwargs}
    if isinstance(given.get("min"), Tensor) or isinstance(given.get("max"), Tensor):
        return None
    return given.get("min"), given.get("max")


def _hardtanh(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A hardtanh between zero and a highest value is a ReLU6."""
    given = {"min_val": -1.0, "max_val": 1.0, **dict(zip(("min_val", "max_val"), rest, strict=False)), **kwargs}
    return given["min_val"], given["max_val"]


def _maximum(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """The maximum with a tensor of zeros."""
    other = rest[0] if len(rest) == 1 else kwargs.get("other")
    scalar = isinstance(other, Tensor) and other.ndim == 0 and not other.requires_grad
    return (float(other), None) if scalar else None  # type: ignore[arg-type]


_INPLACE = {"relu": 1, "relu6": 1, "hardtanh": 3, "threshold": 3}
"""Which argument says that it writes in place."""
_BOUNDS: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], Bounds]] = {
    "relu": lambda rest, kwargs: (0, None),
    "relu6": lambda rest, kwargs: (0, 6),
    "threshold": _threshold,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "hardtanh": _hardtanh,
    "maximum": _maximum,
}
