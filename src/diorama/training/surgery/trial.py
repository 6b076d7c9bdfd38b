"""A change of shape is tried on a copy before the network itself is touched: the same answers, and gradients that flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import tensors_in
from ...model.duplicate import duplicate
from ...model.mode import OpMode
from ...model.preservation import Mode, Preservation, grads_asked
from .dropout import without_dropout

_ROUNDING = {torch.float64: 1e-9, torch.complex128: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""So much of the largest answer may differ by rounding alone."""


def copied(model: nn.Module) -> nn.Module:
    """A copy to try things on. *Raises* NotApplicable where the model cannot be copied."""
    try:
        return duplicate(model)
    except Exception as error:
        raise NotApplicable(
            f"the model cannot be copied ({type(error).__name__}: {error}), and nothing is changed that was not tried on a copy first; "
            "keep no tensors with gradients in its attributes"
        ) from error


def answers(model: nn.Module, x: Nested, mode: Mode) -> list[Tensor]:
    """What a model answers, with dropout left out, as its draws follow the shapes."""
    with Preservation(model, mode), torch.no_grad(), OpMode().replace(without_dropout):
        return [part.detach().clone() for part in tensors_in(nesting.call(model, x))]


def tried(
    want: dict[Mode, list[Tensor]], model: nn.Module, x: Nested, change: Callable[[], object], what: str, *, alike: bool = True
) -> None:
    """Change a copy and compare what it answers with what is wanted, in eval and train mode; the latter with a backward pass.

    Where it need not be ``alike``, only the shapes of the answers count.

    *Raises* NotApplicable, with what went wrong, where it no longer runs or answers otherwise.
    """
    before = {name: parameter.shape for name, parameter in model.named_parameters()}
    try:
        change()
        found = {"eval": answers(model, x, "eval"), "train": _learns(model, x, before)}
    except NotApplicable:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotApplicable(
            f"with {what} the model no longer runs, as some width is fixed in its own code or something is written into a part of a tensor, "
            f"which is not followed ({first})"
        ) from error
    for mode in MODES:
        apart = _apart(want[mode], found[mode], alike)
        if apart:
            raise NotApplicable(
                f"with {what} the model answers otherwise in {mode} mode ({apart}), so some op counts or "
                "mixes them in a way that cannot be followed"
            )


MODES: tuple[Mode, ...] = ("eval", "train")


def _apart(want: list[Tensor], found: list[Tensor], alike: bool) -> str:
    if len(want) != len(found):
        return f"{len(found)} tensors instead of {len(want)}"
    for one, other in zip(want, found, strict=True):
        if one.shape != other.shape:
            return f"shape {tuple(other.shape)} instead of {tuple(one.shape)}"
        if not alike or not (one.is_floating_point() or one.is_complex()):
            continue
        both = torch.isfinite(one) & torch.isfinite(other)
        if not torch.equal(torch.isfinite(one), torch.isfinite(other)):
            return "numbers that are not finite elsewhere"
        twice = torch.complex128 if one.is_complex() else torch.float64
        scale, apart = one.to(twice)[both].abs(), (one.to(twice) - other.to(twice))[both].abs()
        if apart.numel() and float(apart.max()) > _ROUNDING.get(one.dtype, 1e-4) * float(scale.max()) + 1e-30:
            return f"{float(apart.max() / scale.max().clamp_min(1e-30)):.2g} of the largest answer"
    return ""


def _learns(model: nn.Module, x: Nested, before: Mapping[str, torch.Size]) -> list[Tensor]:
    """What a model answers in train mode; one backward pass gives each gradient that may have changed its weight's shape.

    *Meaning* that of a matrix or filter which kept its shape is not asked for: the ops that read it have all widths that they had.
    """
    still = [parameter for name, parameter in model.named_parameters() if parameter.ndim > 1 and before.get(name) == parameter.shape]
    if len(still) == len(before) == sum(1 for _ in model.parameters()):
        still = []  # without vectors nothing else tells that gradients flow
    asked = grads_asked([parameter for parameter in still if parameter.is_leaf], False)
    with asked, Preservation(model, "train"), torch.enable_grad(), OpMode().replace(without_dropout):
        found = list(tensors_in(nesting.call(model, x)))
        parts = [part for part in found if part.requires_grad]
        if parts:
            torch.stack([part.abs().double().sum() for part in parts]).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.shape != parameter.shape:
            raise NotApplicable(f"the gradient of {name} would have another shape")
        parameter.grad = None
    return [part.detach() for part in found]
