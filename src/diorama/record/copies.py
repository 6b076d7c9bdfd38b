"""Copies of the training that a run keeps: snapshots, checkpoints, the rolling snapshot, and what they are copies of."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import architecture, checkpoints, models, snapshots
from .arrays import LIVE
from .background import Background
from .budget import Budget, said_size, state_size
from .checkpoints import Checkpoints
from .reader import OWN
from .requests import watched
from .run_folder import NewRun, take_snapshot
from .setup import Setup, WatchArguments
from .snapshots import Plan

if TYPE_CHECKING:
    from .controls import Controls

_LIVE_PERIOD = 1.0
_LIVE_SHARE = 0.02
_ASKED_AGAIN = 1000
LIVE_WITHIN = 4.0
"""Seconds for which one sign of a watcher counts."""


class Copies:
    """Copies weights and optimizers at the steps where they are due, and hands them to the writer.

    *Meaning* each copy belongs to an architecture: before one is taken, a network that has changed is written down with
    a number of its own. ``tell`` writes an event: its kind, name and text.
    """

    def __init__(
        self, begun: NewRun, told: WatchArguments, setup: Setup, background: Background, tell: Callable[[str, str, str], None],
        controls: Controls, lacks: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._lacks = lacks
        """Says why a network cannot be stored."""
        self._setup, self._subject, self._background, self._tell = setup, setup.subject, background, tell
        self._folder = begun.folder
        self.plan = Plan(told.snapshots, told.budget)
        self.plan.taken(begun.number)
        self._budget = Budget(int(told.budget), self.plan, self._coarser)
        self._checkpoints = Checkpoints(setup.subject, controls.kept, controls.idle.waiting)
        self._lost: deque[int] = deque()
        """Snapshots that could not be written."""
        self._described = begun.architecture
        self._form = setup.subject.form()
        self._reshaped = False
        self._owed = False
        """A new architecture has no snapshot yet; it gets one at the end of a step that has none of the one before it."""
        self._began = self._live_at = time.monotonic()
        self._live_step, self._live_cost = -1, 0.0
        self._live_command = 0
        background.at_end = self._budget.keep
        setup.subject.tell(self._noticed)

    @property
    def warning(self) -> str:
        """What will not fit into the budget, in a sentence for the beginning."""
        return self._budget.warning(self._size(), state_size(self._subject.optimizers))

    @property
    def waits(self) -> bool:
        """Whether something has to be settled, or copied, at the end of the next step."""
        return self._reshaped or self._owed

    def rest_until(self, number: int) -> int:
        """The step up to which no snapshot can be due. One that found no time is asked for again when the recorder next
        looks at what people want."""
        planned = self.plan.next
        return planned if planned > number or self.plan.asked else number + _ASKED_AGAIN

    def due(self, number: int, now: float) -> None:
        """Take a snapshot at the end of this step, where the plan or a new architecture wants one."""
        # Snapshots that the plan chooses itself wait for the writer; one that was asked for at this step cannot.
        if self._owed or (number >= self.plan.next and self.plan.due(number, now - self._began)
                          and (self.plan.asked or not self._background.busy)):
            self.snapshot(number, anchor=False, sure=self._owed)

    def snapshot(self, number: int, anchor: bool, sure: bool = False) -> None:
        """Copy the weights; a snapshot that is not ``sure`` is given up, and told as a gap, where it finds no room."""
        if self._subject.spread:
            return
        self._subject.look()
        self.settle()
        began, kind = time.monotonic(), self._subject.architecture
        sure = anchor or sure or self._owed
        self._owed = False
        size = self._size()
        if not sure and not self._background.room(size):
            self._background.miss("snapshots", number)
            return
        tensors, shared = snapshots.copied(self._subject.model)

        def job(writer: Any) -> None:
            start = time.thread_time()
            try:
                take_snapshot(writer, number, tensors, shared, anchor=anchor, architecture=kind)
            except Exception:
                self._lost.append(number)  # a full disk: it is told as a gap once there is room again
                raise
            self._budget.took(writer, size)
            self.plan.taken(number, time.thread_time() - start)

        self._background.do(job, size, sure=True)
        self.plan.taken(number, time.monotonic() - began)
        self._background.met("snapshots", number)

    def checkpoint(self, number: int, anchor: bool, sure: bool = False) -> None:
        """Copy all that training on needs."""
        if self._subject.spread:
            return
        if not anchor and self._budget.refuses(self._size() + state_size(self._subject.optimizers), self._size()):
            self._checkpoints.put_off()
            return
        self._keep(number, self._checkpoints.copy(number), anchor, anchor or sure)

    def before_act(self, number: int, kind: str = "") -> tuple[Callable[[int], None], str]:
        """Copy what a command is about to change: how it is kept once the command (its number) was applied, and why it cannot be.

        Of each kind of ``checkpoints.KINDS`` so many are kept, whatever comes of the others."""
        if self._subject.spread:
            return _not_kept, ""
        size = self._size() + state_size(self._subject.optimizers)
        if size > checkpoints.ACT_BYTES:
            room = f"takes {said_size(size)}, and those before acts may take {said_size(checkpoints.ACT_BYTES)}"
        elif self._budget.refuses(size, self._size()):
            room = "does not fit into the run's budget; watch(budget=) gives more"
        elif not self._background.room(size):
            room = "would have to wait in memory beside others that are still being written"
        else:
            try:
                kept = self._checkpoints.copy(number)
                return lambda command: self._keep(number, kept, anchor=False, sure=True, act=command, kind=kind), ""
            except Exception as error:  # what watch(state=) was given may be anything
                room = f"cannot be made ({type(error).__name__}: {error})"
        return _not_kept, f"no checkpoint was kept from before it, so it has no twin: one {room}"

    def _keep(self, number: int, kept: checkpoints.CheckpointCopy, anchor: bool, sure: bool, act: int | None = None, kind: str = "") -> None:
        def job(writer: Any) -> None:
            data = kept.packed()
            checkpoints.write(writer, number, data, anchor, act, kind)
            self._budget.took(writer, len(data))

        self._background.do(job, kept.size, sure=sure)

    def packed(self, number: int) -> bytes:
        """A checkpoint that stays in memory."""
        return self._checkpoints.copy(number).packed()

    def keep_house(self, number: int, now: float, command: int) -> None:
        """Several times a second: checkpoints, the live end, and gaps that a full disk left."""
        if self._checkpoints.due(now):
            self.checkpoint(number, anchor=False)
        self.show_live(number, now, command)
        while self._lost:
            self._background.miss("snapshots", self._lost.popleft())

    def show_live(self, number: int, now: float, command: int) -> None:
        """Write the rolling snapshot while someone looks at the live end, within its share of the time; at once after another command
        (the number of the last one that was applied), which may have changed the weights while the training waits."""
        touched = command != self._live_command
        if not touched and (now < self._live_at or self._live_step == number):
            return
        self._live_at = now + 0.25
        if self._subject.spread or self._background.busy or not watched(Path(self._folder), LIVE_WITHIN):
            return
        self._subject.look()
        self.settle()
        began = time.monotonic()
        tensors, shared = snapshots.copied(self._subject.model)
        about = {"step": str(number), "model": str(self._subject.architecture), "command": str(command)}

        def job(writer: Any) -> None:
            start = time.thread_time()
            snapshots.write(writer.folder / LIVE, tensors, shared, about)
            self._live_cost = time.thread_time() - start + copied

        copied = time.monotonic() - began
        if self._background.do(job, snapshots.size_of(tensors)):
            self._live_step, self._live_command = number, command
            self._live_at = now + max(_LIVE_PERIOD, max(copied, self._live_cost) / _LIVE_SHARE)

    def last(self, number: int) -> None:
        """At the end: the last weights, and what training on from here needs."""
        self.snapshot(number, anchor=False, sure=True)
        self.checkpoint(number, anchor=False, sure=True)

    def settle(self) -> None:
        """Where the network has become another one: write down what it is made of, and soon its weights."""
        if not self._reshaped:
            return
        self._reshaped, self._live_step, self._owed = False, -1, True
        subject, content = self._subject, self._setup.content
        before = architecture.kept(self._described, content.facts)
        self._setup.describe()
        data, reason = models.pack(content.model, content.more)
        content.stored = models.mark(content.model, content.more, data)
        content.facts |= {"model_error": reason}
        number, facts = subject.architecture, {name: content.facts[name] for name in OWN}
        self._described = number
        self._background.note("meta", {**before, **facts, "architecture": number})
        self._background.do(lambda writer: architecture.write(writer, number, data), len(data), sure=True)
        self._tell("architecture", "changed", f"the network changed: {subject.differences(self._form)}")
        self._form = subject.form()
        if reason:
            self._lacks(reason)

    def told(self) -> None:
        """Somebody says that the network changed: what nobody notices, an attribute or a hook, shows in what would be stored of it."""
        if self._reshaped or self._subject.spread:
            return
        content = self._setup.content
        if models.mark(content.model, content.more) != content.stored:
            self._subject.architecture += 1
            self._reshaped = True

    def _noticed(self, another: bool) -> None:
        """The training changed. What follows of another architecture waits for the end of the step."""
        self._reshaped = self._reshaped or another
        if not another and self._setup.reader is not None:
            self._setup.reader.follow(self._subject.model, self._subject.table)

    def _coarser(self, apart: int) -> None:
        self._setup.pace.at_least(apart)
        self._tell("budget", "histograms", f"the budget is used up: of the histograms those at multiples of {apart} "
                   "steps are kept")

    def _size(self) -> int:
        return snapshots.size_of(snapshots.state_of(self._subject.model))


def _not_kept(command: int) -> None:
    """Nothing was copied before it."""
