"""Dropout left out of a pass, as its draws follow the shapes of what they are drawn for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...model.ops import DROPOUT


def without_dropout(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name.rstrip("_") in DROPOUT and args:
        return args[0][0] if isinstance(args[0], tuple) else args[0]
    if name == "scaled_dot_product_attention":
        return func(*args[:4], **{**kwargs, "dropout_p": 0.0}) if len(args) < 6 else NotImplemented
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and not kwargs:
        place = 5 + (isinstance(args[1], Tensor) and not args[1].is_floating_point())
        return func(*args[:place], 0.0, *args[place + 1 :])
    return NotImplemented
