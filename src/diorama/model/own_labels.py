"""Labels that a model would be given with its input, as it takes them there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .plain_module import unwrap


@functools.lru_cache(maxsize=64)
def _takes_labels(forward: Callable[..., Any]) -> bool:
    return "labels" in inspect.signature(forward).parameters


def beside_labels(model: nn.Module, x: Any, y: Tensor | None) -> Any:
    """An input with its labels beside it, where the model takes ``labels`` and they are held apart from it; else the input itself.

    Such a model shifts the tokens of a text by itself, so how its answers are read depends on what it takes, not on who holds the labels.
    """
    if y is None or not _takes_labels(type(unwrap(model)).forward):
        return x
    if isinstance(x, Mapping):
        return x if "labels" in x else {**x, "labels": y}
    return {"input_ids": x, "labels": y} if isinstance(x, Tensor) and not x.is_floating_point() else x
