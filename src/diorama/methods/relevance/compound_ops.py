"""Ops that are made of simpler ones: each of those has a rule, the op itself needs none."""

from __future__ import annotations

from typing import Any

import torch

from ...model import attention, recurrent_kernels
from ...model.mode import OpMode, Rule

COMPOSED = frozenset({*attention.KERNELS, *recurrent_kernels.KERNELS, "baddbmm", "glu"})


def in_parts(rule: Rule, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a composed op gives, made by simpler ones that ask the rule."""
    with OpMode().replace(rule):
        if name in attention.KERNELS:
            return attention.opened(name, args, kwargs, lambda weights: None, {})
        if name in recurrent_kernels.KERNELS:
            return recurrent_kernels.by_step(recurrent_kernels.Kernel.of(name, args))
        if name == "baddbmm":
            added, left, right = args[:3]
            return kwargs.get("beta", 1) * added + kwargs.get("alpha", 1) * torch.bmm(left, right)
        axis = args[1] if len(args) > 1 else kwargs.get("dim", -1)
        signal, gate = args[0].chunk(2, axis)
        return signal * gate.sigmoid()
