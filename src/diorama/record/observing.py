"""Collects what due signals need of a step, by hooks that are there only when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..model.unwrap import local
from ..training.optimizers import hooked
from ..training.subject import Subject
from .controls import Factors
from .histogram import HistogramValue
from .layer_reader import LayerReader
from .reduction import copies, reduce
from .signals import Signal
from .step import LayerReading, Step

Report = Callable[[Exception], None]
"""Where an exception goes that must not reach the training."""


class Observer:
    """Sees gradients and updates around the optimizer's step, and activations in the forward pass, at due steps
    only."""

    def __init__(
        self, subject: Subject, signals: Sequence[Signal], every: int, factors: Factors | None,
        reader: LayerReader | None, report: Report,
    ) -> None:  # fmt: skip
        self._subject, self._parameters = subject, subject.parameters
        self._periods = [(signal, signal.period(every)) for signal in signals]
        self._always = tuple(signal for signal, period in self._periods if period == 1)
        self._stride = math.gcd(*(period for _, period in self._periods if period > 1))
        self._always_needs = frozenset[str]().union(*(signal.needs for signal in self._always))
        # Where every step is read, the memory of the copies is used again.
        self._keeps = "updates" in self._always_needs
        self._report = report
        self._factors, self._reader = factors or Factors(()), reader
        self._number = 0
        self._needs: frozenset[str] = frozenset()
        self._before: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        self._changes: dict[str, Tensor] = {}
        self._updates: dict[str, HistogramValue] = {}
        self._spare: dict[str, Tensor] = {}
        self._gradients: dict[str, HistogramValue] = {}
        self._by_hooks = False
        self._hooked: tuple[Any, ...] = ()
        self._handles: list[Any] = []

    def follow(self) -> None:
        """Follow the optimizers' steps, and whatever the training becomes."""
        self._hook()
        self._subject.tell(lambda another: self._adopt())

    def _hook(self) -> None:
        self._hooked = self._subject.optimizers
        self._by_hooks = False
        for told in self._hooked:
            optimizer = hooked(told)
            if optimizer is not None:
                self._by_hooks = True
                self._handles.append(optimizer.register_step_pre_hook(self._pre))
                self._handles.append(optimizer.register_step_post_hook(self._post))

    def _adopt(self) -> None:
        """The training changed: what was copied before does not go with its tensors any more."""
        self._parameters = self._subject.parameters
        self._before, self._changes, self._spare = {}, {}, {}
        if self._hooked != self._subject.optimizers:
            self._unhook()
            self._hook()

    def _unhook(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def due(self, number: int) -> Sequence[Signal]:
        """The signals that are read at a step."""
        if not self._stride or number % self._stride:
            return self._always
        return [signal for signal, period in self._periods if number % period == 0]

    def needs(self, number: int) -> frozenset[str]:
        """What they read."""
        due = self.due(number)
        if due is self._always:
            return self._always_needs
        return frozenset().union(*(signal.needs for signal in due))

    def prepare(self, number: int) -> None:
        """Get ready for a step that is about to begin."""
        self._number = number
        self._before, self._changes, self._updates, self._gradients, self._norms = {}, {}, {}, {}, {}
        self._needs = self.needs(number)
        if "activations" in self._needs and self._reader is not None:
            self._reader.arm()
        if "updates" in self._needs and not self._by_hooks:
            self._remember()

    def _remember(self) -> None:
        with torch.no_grad():
            self._before, norms = copies(self._parameters, self._spare)
        self._spare = {}
        if not self._changes:
            self._norms = norms

    def _pre(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        grads = None
        try:
            grads = torch.is_grad_enabled()
            self._before_step(optimizer)
        except Exception as error:
            if grads is not None:
                torch.set_grad_enabled(grads)
            self._report(error)

    def _post(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        grads = None
        try:
            grads = torch.is_grad_enabled()
            self._factors.restore()
            self._subject.frozen.put_back()
            if self._before:
                self._after_step()
        except Exception as error:
            if grads is not None:
                torch.set_grad_enabled(grads)
            self._report(error)

    def _before_step(self, optimizer: Optimizer) -> None:
        self._factors.before(optimizer)
        if "gradients" in self._needs or "updates" in self._needs:
            self._subject.look()
        if "gradients" in self._needs:
            self._gradients = {**self._gradients, **self._reduced_gradients()}
        if "updates" in self._needs:
            self._remember()

    def _reduced_gradients(self) -> dict[str, HistogramValue]:
        return reduce({name: p.grad for name, p in self._parameters.items() if p.grad is not None})

    def _after_step(self) -> None:
        before, self._before = self._before, {}
        with torch.no_grad():
            if not self._changes:
                self._updates = reduce(self._parameters, before=before)
                self._changes = before
                return
            # Several optimizers, or several of their steps, within one recorded step add up.
            for name, parameter in self._parameters.items():
                self._changes[name] += local(parameter.detach()) - before[name]
            self._updates = {}

    def collect(self, number: int, scalars: Mapping[str, float | Tensor], rates: Mapping[str, float]) -> Step:
        """Everything that was seen of the step that has just ended."""
        step = Step(number, scalars, rates, self.weights)
        if not self._needs or number != self._number:
            return step
        self._subject.look()
        if "gradients" in self._needs:
            step.gradients = self._gradients or self._reduced_gradients()
        if "updates" in self._needs:
            if self._before and not self._by_hooks:
                self._after_step()
            step.updates, step.before = self._updates or reduce(self._changes), self._norms
            self._spare = self._changes if self._keeps else {}
        if "activations" in self._needs and self._reader is not None:
            step.activations = self.activations()
        return step

    def activations(self) -> dict[str, LayerReading]:
        """What the hooks saw."""
        return self._reader.finish() if self._reader is not None else {}

    def weights(self) -> dict[str, HistogramValue]:
        """The weights as they are now."""
        return reduce(self._parameters)

    def recover(self) -> None:
        """Leave nothing behind after something went wrong."""
        self._factors.restore()
        if self._reader is not None:
            self._reader.disarm()
        self._before, self._changes, self._updates, self._gradients, self._spare = {}, {}, {}, {}, {}

    def remove(self) -> None:
        """Take all hooks off."""
        self._factors.restore()
        if self._reader is not None:
            self._reader.disarm()
        self._unhook()
