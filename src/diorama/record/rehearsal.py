"""Whether a command would be applied, tried beforehand: what a rule sends later should not be refused only then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from ..core.errors import DioramaError, NotApplicable
from ..model.surroundings import NeutralSurroundings
from ..training.unit_weights import layer_parameters
from .commands import Command
from .commands._example_command import ExampleCommand
from .side_facts import memory_told
from .stand_in import stand_in

if TYPE_CHECKING:
    from .controls import Controls


def rehearse(training: Controls, command: Command) -> None:
    """Try a command without a trace: a value is set and put back at once, weights and structure are changed on a copy.

    *Cost* of those two a copy of the model. *Raises* NotApplicable with what the training would say of it now.
    """
    name = command.name
    if not command.living:
        raise NotApplicable(f"{name} is started by a person, not by the training, so no rule can send it")
    try:
        if name == "thaw":
            layer_parameters(training.subject, command.layer)  # type: ignore[attr-defined]
        elif isinstance(command, ExampleCommand):
            command.chosen(training)
        elif command.family == "optimizer" and name != "freeze" and type(command).__module__.startswith(Command.__module__):
            _set_and_put_back(training, command)
        elif name == "freeze" or command.family in ("weights", "structure"):
            _on_a_copy(training, command)
    except DioramaError as error:
        raise NotApplicable(f"{name} would be refused: {error}") from error


def _set_and_put_back(training: Controls, command: Command) -> None:
    note, training.note = training.note, lambda kind, value: None
    try:
        done = command.apply(training)
        if done.reversal is not None:
            done.reversal.back(training, ())
    finally:
        training.note = note


def _on_a_copy(training: Controls, command: Command) -> None:
    if training.content is None or training.subject.spread:
        return
    subject = training.subject
    with NeutralSurroundings(), torch.random.fork_rng(devices=[]):
        trial = None
        with contextlib.suppress(RuntimeError, TypeError):  # a model that cannot be copied: whether it fits shows when it comes true
            trial = stand_in(subject.model, training.content, subject.frozen.layers, memory_told(subject), subject.state, later=True)
        if trial is not None:
            with torch.no_grad():
                command.apply(trial)
