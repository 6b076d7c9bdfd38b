"""A copy of a training to try an act on, which refuses what the training would: its wishes and what its optimizers remember are told."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import DioramaError
from ..model.duplicate import duplicate
from ..training.optimizers import stands_around
from ..training.subject import Subject
from .controls import Controls
from .run_folder import Content


def stand_in(
    model: nn.Module, content: Content, frozen: Sequence[str], memory: Sequence[Mapping[str, Any]] | None, state: Sequence[Any] = (),
    *, later: bool = False,
) -> Controls:
    """A training of a copy of a model that does one act; without ``memory`` nothing is known of its optimizers, and it has one that remembers
    nothing. One of ``later`` has other weights: that an act would change nothing now says nothing of then. *Cost* a copy of the model.
    """
    other = duplicate(model)
    with torch.no_grad():
        for weight in other.parameters() if later else ():
            if (weight.is_floating_point() or weight.is_complex()) and not weight.is_meta:
                weight.add_(torch.linspace(0.1, 1.0, weight.numel(), device=weight.device).view_as(weight))
    told = [{"optimizer": "SGD"}] if memory is None else memory
    subject = Subject(other, [_optimizer(other, each) for each in told], state=state, table=content.table)
    controls = Controls(Path("stand-in"), subject, lambda: None, Content(other, content.examples, content.reading, content.table, {}, {}))
    for layer in frozen:
        with contextlib.suppress(DioramaError):  # it has no weights any more
            subject.frozen.freeze(layer)
    return controls


def _optimizer(model: nn.Module, told: Mapping[str, Any]) -> torch.optim.Optimizer:
    """One that steps nothing and remembers, in places of no size, what is told."""
    kind = type(str(told.get("optimizer", "SGD")), (torch.optim.SGD,), {})
    made: torch.optim.Optimizer = kind(model.parameters(), 0.0)
    parameters = dict(model.named_parameters())
    for name, what in (told.get("apart") or {}).items():
        if name in parameters:
            made.state[parameters[name]] = {what: _unlike(parameters[name], (told.get("how") or {}).get(name, "shape"))}
    if told.get("joined") and parameters:
        made.state[next(iter(parameters.values()))] = {"": torch.empty(1).expand(sum(p.numel() for p in parameters.values()))}
    around: dict[str, Any] = {}
    for each in told.get("elsewhere") or ():
        copies = set(each["copies"])
        held = [
            parameters[name].detach().clone() if name in copies else torch.zeros(1).expand(parameters[name].shape)
            for name in each["of"] if name in parameters
        ]
        holder = around.setdefault(each["by"], type(each["by"], (), {})()) if each["by"] else made
        vars(holder)[each["what"]] = held
    for wrapper in around.values():
        stands_around(made, wrapper)
        made.__dict__["around it"] = wrapper  # which would be gone else
    return made


def _unlike(weight: torch.Tensor, how: str) -> Any:
    if how == "whole":
        return torch.zeros(1, dtype=torch.int64).expand(weight.shape)
    return [torch.empty(1).expand(2)] if how == "several" else torch.empty(1).expand(2, weight.numel() + 1)
