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
from ..training.subject import Subject
from .controls import Controls
from .run_folder import Content


def stand_in(
    model: nn.Module, content: Content, frozen: Sequence[str], memory: Sequence[Mapping[str, Any]] | None, state: Sequence[Any] = ()
) -> Controls:
    """A training of a copy of a model that does one act; without ``memory`` nothing is known of its optimizers, and it has one that remembers
    nothing. *Cost* a copy of the model.
    """
    other = duplicate(model)
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
            made.state[parameters[name]] = {what: torch.empty(1).expand(2, parameters[name].numel() + 1)}
    if told.get("joined") and parameters:
        made.state[next(iter(parameters.values()))] = {"": torch.empty(1).expand(sum(p.numel() for p in parameters.values()))}
    return made
