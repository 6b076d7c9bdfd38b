"""ReLUs that pass back something else than their gradient, wherever and however they are called."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..data import nesting
from ..data.nesting import Nested
from ..model.layers import LayerTable
from ..model.mode import OpMode
from ..model.ops import rectifier
from ..model.targets import Target
from .method import Look

Passing = Literal["guided", "deconvnet"]
_RUNNING: weakref.WeakKeyDictionary[LayerTable, bool] = weakref.WeakKeyDictionary()
"""Whether a ReLU runs in the model that has these layers."""


class RectifierRule:
    """A rule for ops: ReLU, ReLU6 and what equals them pass back only positive signals.

    *Meaning* ``guided`` passes a signal back where it and the ReLU's input are positive; ``deconvnet`` wherever it is
    positive. ``count`` says how many ReLUs ran.
    """

    def __init__(self, passing: Passing) -> None:
        self.passing: Passing = passing
        self.count = 0

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = rectifier(name, func, args, kwargs)
        if read is None:
            return NotImplemented
        x, top, inplace = read
        self.count += 1
        return _RectifiedSignal.apply(x, top, inplace, self.passing == "guided")  # type: ignore[no-untyped-call]

    def counted(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A rule that changes nothing, and counts the ReLUs."""
        self.count += rectifier(name, func, args, kwargs) is not None
        return NotImplemented


class _RectifiedSignal(torch.autograd.Function):
    """A ReLU with a highest value, whose backward pass lets positive signals through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float | None, inplace: bool, guided: bool) -> Tensor:
        ctx.top, ctx.guided = top, guided
        if inplace:
            ctx.mark_dirty(x)
            y = x.clamp_(0, top)
        else:
            y = F.relu(x) if top is None else x.clamp(0, top)
        if guided:
            ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *signals: Any) -> Any:
        if not ctx.guided:
            return signals[0].clamp_min(0), None, None, None
        # Where the result is above zero, the input was; what reached the top is closed too.
        (y,) = ctx.saved_tensors
        passed = torch.ops.aten.threshold_backward(signals[0], y, 0).clamp_min_(0)
        return (passed if ctx.top is None else passed * (y < ctx.top)), None, None, None


def unrectified(look: Look, x: Nested, name: str) -> str | None:
    """None for a model in which a ReLU runs; else why a method that changes ReLUs does not apply.

    *Cost* one forward pass of one example for a model that was not asked about before.
    """
    table = look.layers
    if table not in _RUNNING:
        rule = RectifierRule("guided")
        with look.opened() as inside, OpMode().replace(rule.counted):
            inside(nesting.select(x, slice(0, 1)))
        _RUNNING[table] = bool(rule.count)
    return None if _RUNNING[table] else f"{name} changes what ReLUs pass back, and none runs in this model; use gradient"


def rectified(look: Look, x: Nested, target: Target, passing: Passing, name: str) -> tuple[Nested, Tensor]:
    """What comes back at the input through such ReLUs, and the target.

    *Raises* NotApplicable for a model without ReLUs.
    """
    rule = RectifierRule(passing)
    points = look.points(x)
    there = look.run(x, target, points, rules=(rule,), grad=True)
    if not rule.count:
        raise NotApplicable(f"{name} changes what ReLUs pass back, and none runs in this model; use gradient")
    return look.shaped(x, look.gradients(there.value, points)), there.value
