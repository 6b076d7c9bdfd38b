"""A change of shape is tried on a copy before the network itself is touched: the same answers, and gradients that flow."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import tensors_in
from ...model.mode import OpMode
from ...model.untouched import Mode, Untouched
from .arrangement import Arrangement
from .dropout import without_dropout
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


def tried(want: dict[Mode, list[Tensor]], after: nn.Module, x: Nested, change: Arrangement, values: Values) -> None:
    """Change ``after`` and compare what it answers with what is wanted, in eval and train mode; the latter with a backward pass.

    *Raises* NotApplicable, with what went wrong, where it no longer runs or answers otherwise.
    """
    try:
        Graft(after, (), change).put(values(after))
        found = {"eval": answers(after, x, "eval"), "train": _learns(after, x)}
    except NotApplicable:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotApplicable(
            f"with other units in {change.layer!r} the model no longer runs, as some width is fixed in its own code ({first})"
        ) from error
    for mode in _MODES:
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


def _learns(model: nn.Module, x: Nested) -> list[Tensor]:
    """What a model answers in train mode; one backward pass gives every gradient its weight's shape."""
    with Untouched(model, "train"), torch.enable_grad(), OpMode().replace(without_dropout):
        found = list(tensors_in(nesting.call(model, x)))
        parts = [part for part in found if part.requires_grad]
        if parts:
            torch.stack([part.abs().double().sum() for part in parts]).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.shape != parameter.shape:
            raise NotApplicable(f"the gradient of {name} would have another shape")
        parameter.grad = None
    return [part.detach() for part in found]
