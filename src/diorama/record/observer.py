"""Collects what due signals need of a step, by hooks that are there only when they are needed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..core.blame import answered
from ..training.optimizers import hooked
from ..training.subject import Subject
from .batch_reader import BatchReader
from .doubts import Doubts, wanted_of
from .factors import Factors
from .first_bad_number import FirstBadFinder
from .groups import Groups
from .histogram import HistogramValue
from .idle_optimizers import Taken, marked, marks_of
from .layer_reader import LayerReader
from .pace import FIRST, Pace
from .probe_truth import ProbeTruth
from .reduction import copies, reduce
from .side_facts import loss_scale
from .signals import Signal
from .signals.learning_rate import LearningRateSignal
from .signals.metrics import MetricsSignal
from .step import LayerReading, Step

LOOK = frozenset({"probe"})
"""What a look at the probe set is read for."""
NEVER = 2**62
"""No step has this number."""
_OF_THE_OPTIMIZER = frozenset({"gradients", "updates"})
"""What is read where an optimizer steps."""
Report = Callable[[Exception], None]
"""Where an exception goes that must not reach the training."""


class Observer:
    """Sees gradients and updates around the optimizer's step, and activations in the forward pass, at due steps
    only."""

    def __init__(
        self, subject: Subject, signals: Sequence[Signal], pace: Pace, factors: Factors | None,
        reader: LayerReader | None, report: Report,
    ) -> None:
        self._subject, self._parameters = subject, subject.parameters
        self.groups = Groups(self._parameters)
        """Parameters that are read together, where there are very many."""
        self.pace = pace
        self._periods = [(signal, answered(signal, partial(signal.period, 0 if pace.auto else pace.every), int)) for signal in signals]
        self.always = tuple(signal for signal, period in self._periods if period == 1)
        """Signals that are read at every step …"""
        self.plain = tuple(map(type, self.always)) == (MetricsSignal, LearningRateSignal)
        """… and whether they are those alone that hand on what a step is told, so that nobody need be asked."""
        self._paced = any(not period for _, period in self._periods)
        self._stride = math.gcd(*(period or FIRST for _, period in self._periods if period != 1))
        self._always_needs = frozenset[str]().union(*(signal.needs for signal in self.always))
        # Where every step is read, the memory of the copies is used again.
        self._keeps = "updates" in self._always_needs
        self._report = report
        self._factors, self._reader = factors or Factors(()), reader
        self.number = 0
        """The step that is prepared."""
        self.due: Sequence[Signal] = self.always
        """The signals that are read at the step that is prepared …"""
        self.needs = self._always_needs
        """… and what they read."""
        self.seconds = 0.0
        """What reading has taken of the training's time, in hooks and to put them on, since the step was prepared."""
        self.reads = False
        """Whether the prepared step is one of the readings whose pace is found."""
        self._before: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        self._spare: dict[str, Tensor] = {}
        self.batch: BatchReader | None = None
        """Reads the batch at due steps …"""
        self.doubts: Doubts | None = None
        """… and by it whether the guessed task goes with the loss …"""
        self.truth: ProbeTruth | None = None
        """… and whether the probe set's labels are given as the loop has them."""
        self.first_bad: FirstBadFinder | None = None
        """Looks for the first bad number before an optimizer steps."""
        self.probe_balance: Any = None
        self._gradients: dict[str, HistogramValue] = {}
        self._by_hooks = self._follows_all = False
        self._follows = [True]
        """Whether the optimizers' steps matter: something is read, or a person's wish is in force; a list, for the hooks to hold."""
        self._stepped = False
        """Whether an optimizer has stepped since the step was prepared."""
        self._steps_before = self._armed = 0
        """How many steps of the optimizers there were, and which step it was, when the batch was last read."""
        self.counts: dict[int, int] = {}
        """Of each optimizer, how often it has stepped …"""
        self.taken: dict[int, Taken] = {}
        """… and which gradients its last step took."""
        self._owed: tuple[Signal, ...] = ()
        """Signals that were due between two steps of the optimizer, where gradients are partial sums: read at the next."""
        self._hooked: tuple[Any, ...] = ()
        self._handles: list[Any] = []

    def follow(self) -> None:
        """Follow the optimizers' steps, and whatever the training becomes."""
        self._hook()
        if self.first_bad is not None:
            self.first_bad.follow()
        self._subject.tell(lambda another: self._adopt())

    def _hook(self) -> None:
        self._hooked = self._subject.optimizers
        self._by_hooks = False
        self._follows_all = bool(self._hooked)
        for told in self._hooked:
            optimizer = hooked(told)
            self._follows_all &= optimizer is not None
            if optimizer is not None:
                self._by_hooks = True
                # They stay: a loop may call step() from a hook of its own, while the optimizer goes through all of them.
                before, after = self._around(optimizer)
                self._handles.append(optimizer.register_step_pre_hook(before))
                self._handles.append(optimizer.register_step_post_hook(after))

    def _around(self, optimizer: Optimizer) -> tuple[Callable[..., Any], Callable[..., None]]:
        """What is called before and after each step of an optimizer: functions of bound names, which ask little of most steps."""
        counts, taken, key, bad, follows = self.counts, self.taken, id(optimizer), self.first_bad, self._follows
        counts.setdefault(key, 0)
        passes = () if bad is None else bad.passes
        left: list[Any] = [None, None]
        """Two weights whose gradients this optimizer's steps were seen to leave as they are; and what is known of them since the step began:
        that they are told (True), or what they were."""

        def before(each: Optimizer, args: Any, kwargs: Any) -> Any:
            counts[key] += 1
            try:
                left[1] = None
                if not follows[0]:
                    if bad is None:
                        return None
                    if (marks := bad.fine()) is not None:
                        if left[0] is marks[0] and len(args) == 1 and not kwargs:  # a function of the loop's would make other gradients
                            taken[key], left[1] = marks[1], True
                        return None
                if bad is not None and bad.pair is not None:
                    left[1] = marks_of(*bad.pair)
            except Exception as error:
                self._report(error)
            try:
                return self._pre(each, args, kwargs)
            except Exception as error:  # as it is entered
                self._report(error)
                return None

        def after(each: Optimizer, args: Any, kwargs: Any) -> None:
            try:
                if left[1] is not True:
                    taken[key] = marked(each)
                    if left[1] is not None and bad is not None:
                        left[0] = _left(each, bad.pair, left[1])
                if not follows[0] and not passes:
                    return
            except Exception as error:
                self._report(error)
            try:
                self._post(each, args, kwargs)
            except Exception as error:
                self._report(error)

        return before, after

    def rests_until(self, number: int, looks: bool) -> int:
        """The step at whose end there is something to do: the one before that at which more is due than numbers.

        ``number`` is the one that is prepared; without ``looks``, those at the probe set are none.
        """
        if self.needs or self._owed:
            return number
        periods = [
            period or self.pace.every for signal, period in self._periods if period != 1 and (looks or signal.needs != LOOK)
        ]
        return min(((number // period + 1) * period for period in periods), default=NEVER) - 1

    def _adopt(self) -> None:
        """The training changed: what was copied before does not go with its tensors any more."""
        if self.batch is not None:
            self.batch.disarm()  # the model is about to be stored, and hooks do not go with it
        if self.first_bad is not None:
            self.first_bad.follow()
        self._parameters = self._subject.parameters
        self.groups = Groups(self._parameters)
        self._before, self._spare = {}, {}
        if self._hooked != self._subject.optimizers:
            self._unhook()
            self._hook()

    def _unhook(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def stepped(self) -> None:
        """A step is over; where no optimizer stepped, its gradient may be the reason."""
        if self.first_bad is not None and self.first_bad.passes:
            self.first_bad.over(loss_scale(self._subject))

    def prepare(self, number: int) -> bool:
        """Get ready for a step that is about to begin; True where the pace of the readings changed at it."""
        self.number = number
        if self._before or self._gradients or self._norms:
            self._before, self._gradients, self._norms = {}, {}, {}
        changed = self.reads and self.pace.faster(number)
        self.reads = False
        self.due, self.needs = self.always, self._always_needs
        if self._stride and number % self._stride == 0:
            if self._paced and number % self.pace.every == 0:
                changed |= self.pace.slower(number)
                self.reads = number % self.pace.every == 0
            self.due = [signal for signal, period in self._periods if number % (period or self.pace.every) == 0]
            self.needs = frozenset().union(*(signal.needs for signal in self.due))
            self.seconds = 0.0
        if self._owed:
            self.due = [*self.due, *(signal for signal in self._owed if signal not in self.due)]
            self.needs = self.needs.union(*(signal.needs for signal in self._owed))
        self._stepped = False
        self._follows[0] = bool(self.needs or self._factors.active or self._subject.frozen.layers)
        if self.first_bad is not None:
            self.first_bad.prepare(bool(self.needs))
        began = time.perf_counter()
        if "activations" in self.needs and self._reader is not None:
            self._reader.arm()
        if "batch" in self.needs and self.batch is not None:
            steps = sum(self.counts.values())
            each = steps - self._steps_before >= (number - self._armed) * max(1, len(self._hooked)) and self._follows_all
            self._steps_before, self._armed = steps, number
            idle = self._follows_all and not steps and number > 1
            self.batch.arm(self._stepped_by() if each or idle else None, idle=idle)
        if "updates" in self.needs and not self._by_hooks:
            self._remember()
        self.seconds += time.perf_counter() - began
        return changed

    def _stepped_by(self) -> dict[int, list[Tensor]]:
        """The parameters by which each optimizer steps."""
        followed = [optimizer for told in self._hooked if (optimizer := hooked(told)) is not None]
        return {id(optimizer): [each for group in optimizer.param_groups for each in group["params"]] for optimizer in followed}

    def _remember(self) -> None:
        with torch.no_grad():
            self._before, self._norms = copies(self.groups.joined(self._parameters), self._spare)
        self._spare = {}

    def _pre(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        grads = None
        try:
            if (bad := self.first_bad) is not None:
                grads = torch.is_grad_enabled()
                bad.look()
            if not self._follows[0]:
                return None
            grads = torch.is_grad_enabled()
            self._stepped = True
            if not self.needs and not self._factors.active:
                return None
            began = time.perf_counter()
            self._before_step(optimizer)
            self.seconds += time.perf_counter() - began
            return self._factors.closure(optimizer, args, kwargs)
        except Exception as error:
            if grads is not None:
                torch.set_grad_enabled(grads)
            self._report(error)
        return None

    def _post(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        bad, grads = self.first_bad, None
        try:
            if bad is not None:
                bad.forget()
            if not (self._factors.active or self._subject.frozen.layers):
                return
            began = time.perf_counter()
            grads = torch.is_grad_enabled()
            self._factors.restore()
            self._subject.frozen.put_back(optimizer)
            self.seconds += time.perf_counter() - began
        except Exception as error:
            if grads is not None:
                torch.set_grad_enabled(grads)
            self._report(error)

    def _before_step(self, optimizer: Optimizer) -> None:
        if "batch" in self.needs and self.batch is not None:
            self.batch.stepping(id(optimizer))
        if "gradients" in self.needs or "updates" in self.needs or self._factors.layers:
            self._subject.look()  # before the groups are parted for this step
        self._factors.before(optimizer)
        if "gradients" in self.needs:
            self._gradients = {**self._gradients, **self._reduced_gradients()}
        if "updates" in self.needs and not self._before:
            self._remember()  # once: several optimizers, or several of their steps, within one recorded step are one change

    def _reduced_gradients(self) -> dict[str, HistogramValue]:
        return reduce(self.groups.joined({name: p.grad for name, p in self._parameters.items() if p.grad is not None}))

    def _changed(self) -> dict[str, HistogramValue]:
        """What the step has changed, up to where it is told of: also what the loop does to weights after the optimizer (a limit, an average)."""
        before, self._before = self._before, {}
        with torch.no_grad():
            found = reduce(self.groups.joined(self._parameters), before=before)
        self._spare = before if self._keeps else {}
        return found

    def collect(self, number: int, scalars: Mapping[str, float | Tensor], rates: Mapping[str, float]) -> Step:
        """Everything that was seen of the step that has just ended."""
        step = Step(number, scalars, rates, self.weights)
        if not self.needs or number != self.number:
            return step
        between = self._follows_all and not self._stepped
        owed, self._owed = self._owed, ()
        if between:
            self._owed = tuple(s for s in self.due if s.needs & _OF_THE_OPTIMIZER and s not in self.always)
            if owed and set(self.due) <= {*owed, *self.always} and not self._always_needs:
                return step
        self._subject.look()
        if "gradients" in self.needs and not between:
            step.gradients = self._gradients or self._reduced_gradients()
        if "updates" in self.needs and not between:
            step.updates, step.before = self._changed() if self._before else {}, self._norms
        if "activations" in self.needs and self._reader is not None:
            step.activations = self.activations()
            self.seconds += self._reader.seconds
        if "scale" in self.needs:
            step.loss_scale = loss_scale(self._subject)
        if "batch" in self.needs and self.batch is not None:
            self.seconds += self.batch.seconds
            step.batch, step.probe_balance = self.batch.finish(), self.probe_balance
            if step.batch is not None and self.truth is not None:
                self.truth.look(step.batch.habits, step.batch.labels)
            if step.batch is not None and self.doubts is not None:
                self.doubts.counts(step.batch.labels)
                scale = loss_scale(self._subject) or 1.0
                self.doubts.look(self.batch.slopes, scalars, step.batch.passes, scale)
                wanted = wanted_of(self.batch.slopes, scalars, step.batch.passes, scale)
                step.batch = dataclasses.replace(step.batch, habits={**step.batch.habits, **wanted})
        return step

    def activations(self) -> dict[str, LayerReading]:
        """What the hooks saw."""
        return self._reader.finish() if self._reader is not None else {}

    @property
    def lack(self) -> str:
        """Which layers could not be read at the last reading, and why; empty where all could."""
        return "" if self._reader is None else self._reader.lack

    def weights(self) -> dict[str, HistogramValue]:
        """The weights as they are now."""
        return reduce(self.groups.joined(self._parameters))

    def recover(self) -> None:
        """Leave nothing behind after something went wrong."""
        self._factors.restore()
        if self._reader is not None:
            self._reader.disarm()
        if self.batch is not None:
            self.batch.disarm()
        self._before, self._gradients, self._spare = {}, {}, {}

    def remove(self) -> None:
        """Take all hooks off."""
        self._factors.restore()
        if self._reader is not None:
            self._reader.disarm()
        if self.batch is not None:
            self.batch.disarm()
        if self.first_bad is not None:
            self.first_bad.take_off()
        self._unhook()


def _left(optimizer: Optimizer, pair: tuple[Tensor, Tensor] | None, before: Taken) -> tuple[Tensor, Tensor] | None:
    """Two weights, where both are an optimizer's and have the gradients that they had before its step."""
    if pair is None or marks_of(*pair) != before:
        return None
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    return pair if held.issuperset(map(id, pair)) else None
