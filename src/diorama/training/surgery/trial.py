"""A change of shape is tried on a copy before the network itself is touched: the same answers, and gradients that flow."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import tensors_in
from ...model.mode import OpMode
from ...model.ops import DROPOUT
from ...model.untouched import Mode, Untouched
from .arrangement import Arrangement
from .graft import Graft

_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""So much of the largest answer may differ by rounding alone."""
Values = Callable[[nn.Module], dict[str, Tensor]]


def copied(model: nn.Module) -> nn.Module:
    """A copy to try things on. *Raises* NotApplicable where the model cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise NotApplicable(
            f"the model cannot be copied ({type(error).__name__}: {error}), and nothing is changed that was not tried on a copy first; "
            "keep no tensors with gradients in its attributes"
        ) from error


def answers(model: nn.Module, x: Nested, mode: Mode) -> list[Tensor]:
    """What a model answers, with dropout left out, as its draws follow the shapes."""
    with Untouched(model, mode), torch.no_grad(), OpMode().replace(without_dropout):
        return [part.detach().clone() for part in tensors_in(nesting.call(model, x))]


def tried(before: nn.Module, after: nn.Module, x: Nested, change: Arrangement, values: Values, *, alike: bool = True) -> None:
    """Change ``after`` and compare what it answers with ``before``, in eval and train mode, then run one backward pass.

    *Raises* NotApplicable, with what went wrong, where it no longer runs or answers otherwise.
    """
    want: dict[Mode, list[Tensor]] = {mode: answers(before, x, mode) for mode in _MODES}
    try:
        Graft(after, (), change).put(values(after))
        found = {mode: answers(after, x, mode) for mode in _MODES}
        _learns(after, x)
    except NotApplicable:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotApplicable(
            f"with other units in {change.layer!r} the model no longer runs, as some width is fixed in its own code ({first})"
        ) from error
    for mode in _MODES if alike else ():
        apart = _apart(want[mode], found[mode])
        if apart:
            raise NotApplicable(
                f"with other units in {change.layer!r} the model answers otherwise in {mode} mode ({apart}), so some op counts or "
                "mixes them in a way that cannot be followed"
            )


_MODES: tuple[Mode, ...] = ("eval", "train")


def _apart(want: list[Tensor], found: list[Tensor]) -> str:
    if len(want) != len(found):
        return f"{len(found)} tensors instead of {len(want)}"
    for one, other in zip(want, found, strict=True):
        if one.shape != other.shape:
            return f"shape {tuple(other.shape)} instead of {tuple(one.shape)}"
        if not one.is_floating_point():
            continue
        both = torch.isfinite(one) & torch.isfinite(other)
        if not torch.equal(torch.isfinite(one), torch.isfinite(other)):
            return "numbers that are not finite elsewhere"
        scale, apart = one.double()[both].abs(), (one.double() - other.double())[both].abs()
        if apart.numel() and float(apart.max()) > _ROUNDING.get(one.dtype, 1e-4) * float(scale.max()) + 1e-30:
            return f"{float(apart.max() / scale.max().clamp_min(1e-30)):.2g} of the largest answer"
    return ""


def _learns(model: nn.Module, x: Nested) -> None:
    """One backward pass: every gradient has its weight's shape."""
    with Untouched(model, "train"), torch.enable_grad(), OpMode().replace(without_dropout):
        parts = [part for part in tensors_in(nesting.call(model, x)) if part.requires_grad]
        if parts:
            torch.stack([part.abs().double().sum() for part in parts]).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.shape != parameter.shape:
            raise NotApplicable(f"the gradient of {name} would have another shape")
        parameter.grad = None


def without_dropout(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name.rstrip("_") in DROPOUT and args:
        return args[0][0] if isinstance(args[0], tuple) else args[0]
    if name == "scaled_dot_product_attention":
        return func(*args[:4], **{**kwargs, "dropout_p": 0.0}) if len(args) < 6 else NotImplemented
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and not kwargs:
        place = 5 + (isinstance(args[1], Tensor) and not args[1].is_floating_point())
        return func(*args[:place], 0.0, *args[place + 1 :])
    return NotImplemented
