"""Models in half precision, for methods whose numbers would leave its range: a copy in float32 is looked at."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import torch
from torch import nn

from ..data.nesting import Nested
from ..model.changes import state_now
from ..model.duplicate import duplicate
from ..model.plain_module import dtype_of, fed
from .method import Look, Method

NOTE = "Computed in float32, as float16 has no room for it."
STEPS = "Computed in float32, as the steps of {} are too coarse for differences of answers."
_COPIES: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], nn.Module]] = weakref.WeakKeyDictionary()


def narrow(look: Look) -> bool:
    """Whether the model computes in float16, whose numbers end at 65,504 and begin at 6e-8."""
    return not look.function and dtype_of(look.model) == torch.float16


def widened(look: Look, method: type[Method]) -> str:
    """Why a method explains a copy in float32, in a sentence; empty where the model itself is explained."""
    if look.function or dtype_of(look.model) not in (torch.float16, torch.bfloat16):
        return ""
    if method.compares:
        return STEPS.format(str(dtype_of(look.model)).removeprefix("torch."))
    return NOTE if method.wide and narrow(look) else ""


def in_float32(look: Look, x: Nested) -> tuple[Look, Nested]:
    """The same look at a copy of the model in float32, made once while its weights stay as they are."""
    now = state_now(look.model)
    if look.model not in _COPIES or _COPIES[look.model][0] != now:
        _COPIES[look.model] = (now, duplicate(look.model).float())
    other = copy.copy(look)
    other.model = _COPIES[look.model][1]
    wide = fed(other.model, x)
    if look.baseline is not None:
        other.baseline = fed(other.model, look.baseline)
    return other, wide
