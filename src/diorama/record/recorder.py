"""`diorama.watch` and what it returns: the object that a training loop tells about each step."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..core.blame import failure
from ..core.errors import DioramaError
from . import open_recorders, usual_step
from .background import Background
from .batch_reader import BatchReader
from .branch import Entry
from .controls import Controls
from .copies import LIVE_WITHIN, Copies
from .doubts import Doubts
from .first_bad_number import FirstBadFinder
from .idle_optimizers import IdleOptimizers
from .lines import StepLines, lines_of
from .look_pace import LookPace
from .observer import LOOK, NEVER, Observer
from .pace import timed
from .prober import Prober
from .ranks import Follower, follower, leader
from .requests import watched
from .run_folder import NewRun
from .setup import WatchArguments, prepared
from .side_facts import OptimizerFacts
from .signals import Signal
from .step import BEGAN, Step, moment, numbers_of, values_of
from .training_data import TrainingData
from .troubles import Troubles
from .way_back import WayBack

_FLUSH = 10.0
"""Seconds in which a run that is left must have written what waits."""


class Stopped(DioramaError):  # noqa: N818 - a wish that was granted, not a mistake
    """Someone ended the training with the command ``stop``; the ``with diorama.watch(…)`` block ends quietly on it."""


def watch(
    model: nn.Module,
    path: str | Path,
    *,
    probe: Any = None,
    classes: Any = None,
    optimizer: Optimizer | list[Optimizer] | tuple[Optimizer, ...] | None = None,
    every: int | str = "auto", snapshots: str | int = "auto", budget: int = 500_000_000,
    inputs: Any = None,
    outputs: str | int | Callable[[Any], Tensor] | None = None,
    task: str | None = None,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
    data: Any = None, scheduler: Any = None, state: Any = (), ranks: int | str = 0, device: Any = None, name: str = "",
    signals: Any = None, resume: bool = False,
    parent: tuple[str | Path, int] | None = None, metadata: Mapping[str, Any] | None = None,
) -> Recorder:
    """Record a training into a run folder: call ``step()`` on what comes back after each step of the loop.

    ``probe`` is ``(x, y)`` or ``x``: the fixed examples that every view looks at; ``metadata`` what else is known of them, numbers or words by
    name, one an example. ``every`` is the number of steps between readings of weights, gradients, updates and activations: as often as
    1.5 % of the time and 0.15 s besides allow with "auto", at multiples of 10, ever further apart; a number is kept exactly. Numbers passed to
    ``step()`` are taken each time. ``snapshots`` is "auto" or a number of steps, ``budget`` the bytes that snapshots may take. ``scheduler`` and
    ``state`` go into checkpoints. ``data`` is the file or folder of the whole data set, for scans, or the data set that :func:`diorama.data` wrapped:
    the one that commands change, where several are, and whose changes go into checkpoints. ``ranks`` says which process of a distributed training
    records: one, or "all", each into a folder of its own. ``device`` keeps
    the probe set there. ``signals`` changes what is recorded: ``{"activations": {"every": 50}, "weights": None}``, or signals of your own.

    A folder that holds a run whose training has ended is taken up again where the model has the weights of its last snapshot, or with
    ``resume=True``: steps go on from the last committed one, and a fresh model gets the units and layers that commands gave it there. Another
    training is recorded beside it, into a folder with a number, and a line on the terminal says so (``recorder.path`` names it).
    Attributes, hooks and the optimizer that the loop itself changes are told by ``recorder.changed()``; modules and shapes are noticed.
    ``parent=("runs/a", 120)`` stands where that run's training stood at the checkpoint of step 120, and records a branch of it.

    *Raises* UsageError, NotApplicable or Unavailable, before the first step, when something is wrong.
    """
    return Recorder(WatchArguments(
        model, path, probe, classes, optimizer, every, snapshots, budget, inputs, outputs, task, criterion, data,
        scheduler, state, ranks, device, name, signals, resume, parent, metadata,
    ))


class Recorder:
    """Tells a run about each step of a training. ``step()`` never raises, but for :class:`Stopped`."""

    def __init__(self, told: WatchArguments) -> None:
        self._process = os.getpid()
        self._troubles = Troubles()
        self.closed = False
        entry, setup = Entry(told), prepared(told, self._complain)
        self._quiet = setup is None
        """Another process of a distributed training records."""
        self.number = 0
        self.path = Path(told.path)
        if setup is None:
            entry.follow()
            self._follower = follower(told)
            return
        self._setup, self._told, self._way, self._left_out = setup, told, WayBack(setup), list[str]()
        self._data = TrainingData(setup.subject.state, setup.examples)
        compiled = setup.reader is None if any("activations" in signal.needs for signal in setup.signals) else None
        self._prober = None if setup.examples is None or setup.reading is None or setup.probe_reader is None else Prober(
            setup.content.model, setup.examples, setup.reading, setup.probe_reader, self._reread, compiled)
        self._looks = LookPace() if self._prober is None else self._prober.pace
        self.path = setup.path
        begun = entry.begin(setup, self._first_reading)
        try:
            self._start(begun)
            entry.settle(self.controls)
            self._background.start()  # where a run begins is written together with what is in force there
        except BaseException:
            begun.writer.abandon()
            begun.lock.free()
            raise
        self.path = begun.folder

    def _first_reading(self, number: int = 0) -> dict[str, Any]:
        """Step 0, or where a child begins: the weights and the answers to the probe set before any training."""
        observer = Observer(self._setup.subject, self._setup.signals, self._setup.pace, None, None, self._mishap)
        self._weights_cost = timed(observer.weights)
        step = Step(number, {}, {}, observer.weights)
        step.probe = self._guarded(self._prober.first_look) if self._prober is not None else None
        return values_of(self._setup.signals, step, self._mishap)

    def _start(self, begun: NewRun) -> None:
        setup, told = self._setup, self._told
        self._lock, self._subject, begun.lock.folder = begun.lock, setup.subject, Path(os.path.abspath(begun.folder))
        self._subject.architecture = begun.architecture
        self.number = begun.number
        self._background = Background(begun.writer, lambda: begun.lock.gone)
        self.controls = Controls(begun.folder, setup.subject, self._keep, setup.content)
        self.controls.data = self._data.begin(self._background)
        self.controls.note, self.controls.note_together = self._background.note, self._background.note_together
        self.controls.goes_back = self._go_back
        self.controls.ranks = leader(told, setup.subject, self.number)
        self.controls.before_act = lambda kind: self._copies.before_act(self.number, kind)
        self.controls.number, self._rounds = self.number, self.controls.rounds
        self.controls.frozen_before(begun.frozen)
        self._observer = Observer(setup.subject, setup.signals, setup.pace, self.controls.factors, setup.reader, self._mishap)
        if setup.reader is not None:
            self._observer.batch = BatchReader(setup.subject.model, setup.reading, self._complain, setup.content.examples)
            self._observer.doubts = Doubts(setup.reading, told.task is not None, lambda text, about: self._say((text,), None, **{about: text}))
            self._observer.truth = None if self._prober is None else self._prober.truth
            self._observer.probe_balance = setup.content.facts.get("probe", {}).get("balance")
            if setup.subject.optimizers and not setup.subject.spread:
                self._observer.first_bad = FirstBadFinder(setup.subject, lambda: self.number, self._background.note, self._complain)
        self._passes = () if self._observer.first_bad is None else self._observer.first_bad.passes
        usual_step.offer(self, None, Recorder.step)
        self._observer.follow()
        self.controls.idle = IdleOptimizers(setup.subject, self._observer.counts, self._observer.taken, self._event)
        self.controls.idle.begin(self.number)
        self._copies = Copies(begun, told, setup, self._background, self._event, self.controls, lambda why: self._say((), why))
        self._told_at, self._last_probe, self._holding = time.monotonic(), self.number, OptimizerFacts(setup.subject)
        self._say((*setup.left_out, self._copies.warning), setup.content.facts.get("model_error"))
        self._troubles.begin(self._event)
        if begun.resumed:
            again = self._data.take_up(begun.folder) + self.controls.take_up(begun.kept)
            self._event("resumed", "watch", f"taken up again after step {self.number}{again}")
        if begun.told:
            self._event("resumed", "watch", begun.told)
        if setup.subject.optimizers:
            self.controls.tell_optimizer()
        self._tell_held()
        if self._observer.groups:
            count = len(setup.subject.parameters)
            self._event("grouped", "watch", f"{count:,} parameters are read in {len(self._observer.groups)} groups, by module")
        self._looks.start(self.number)
        setup.pace.start(self.number, self._weights_cost)
        self._observer.prepare(self.number + 1)
        setup.subject.tell(lambda another: self._attend())
        open_recorders.add(self)

    # What the loop calls.

    def step(self, **scalars: Any) -> None:
        """Tell that a step of the training is done, with its loss and any other numbers.

        *Raises* only :class:`Stopped`, when someone ended the training.
        """
        number = self.number + 1
        try:
            # Between readings, and between two looks at what people ask, a step is written down and nothing more.
            if number < self._rest and ((now := time.monotonic()) < (rounds := self._rounds).until or rounds.still(now)):
                self.number = number
                self._observer.stepped()
                if (lines := self._lines) is None or not lines.hand(number, BEGAN + now, scalars):
                    self._put(number, scalars, self._observer.always)
                return
        except Exception as error:
            self._mishap(error)
            return
        if self.closed or self._quiet:
            if self._follower is not None and not self.closed and self._follower.step():
                raise Stopped("the training was stopped")
            return
        if self._way.skipping:
            self._skip()
            return
        try:
            self._step(scalars)
        except Exception as error:
            self._mishap(error)
        if self.controls.stopped:
            raise Stopped(f"the training was stopped after step {self.number}")

    @property
    def committed(self) -> int:
        """The last step that survives whatever happens to this process; -1 where none does, as after the run's folder was deleted."""
        return -1 if self._quiet else self._background.committed

    @property
    def stopped(self) -> bool:
        """Whether someone ended the training."""
        return (self._follower or self).controls.stopped if self._follower is not None or not self._quiet else False

    @property
    def dropped(self) -> int:
        """Steps that could not be recorded."""
        return 0 if self._quiet else self._background.dropped

    def changed(self, *, optimizer: Any = None) -> None:
        """Tell that the training was changed by hand: another shape, other modules, attributes or hooks, another optimizer from now on.

        Other modules and shapes are noticed without being told, at the next reading or snapshot; attributes and hooks of the model, and an
        optimizer made anew, have to be told. Never raises: what is no optimizer is warned of."""
        if self.closed or self._quiet:
            return
        self._guarded(lambda: self._subject.trains_with(optimizer) if optimizer is not None else self._subject.look())
        self._guarded(self._copies.told)
        self._guarded(lambda: self._observer.prepare(self.number + 1))
        self._rest = 0

    def close(self) -> None:
        """Write what waits, with a last look at the probe set and a last checkpoint, and let go of the run."""
        if self._follower is not None:
            self._follower.close()
        if self.closed or self._quiet or self._process != os.getpid():
            self.closed = True
            return
        self.closed, self._rest = True, 0
        usual_step.offer(self, None, Recorder.step)
        self._guarded(self._observer.remove)
        self._guarded(self._last_reading)
        self._guarded(lambda: self._data.write(self.number))
        how = self._failed or ("stopped" if self.stopped else "finished")
        self._leave({"how": how, "step": self.number, "time": time.time()})
        open_recorders.discard(self)

    def _leave(self, end: dict[str, Any], patience: float = 60.0) -> None:
        """Write down how the run ended and what waits, and let go of it."""
        self._guarded(lambda: self._background.note("meta", {"paused": False, "ended": end}))
        self._guarded(lambda: self._background.close(patience))
        self._guarded(self._tell_lost)
        self._guarded(self._lock.free)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if kind is not None and not isinstance(error, Stopped):
            self._failed = f"{kind.__name__}: {error}"
        self.close()
        return isinstance(error, Stopped)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "silent" if self._quiet else self.controls.mood
        return f"<Recorder {str(self.path)!r} at step {self.number}, {state}>"

    # One step.

    _failed = ""
    _told_held: Any = None
    _follower: Follower | None = None
    _grads: bool | None = None
    _rest = 0
    """The step before which none wants more than to be written down, as far as the rounds know."""
    _lines: StepLines | None = None  # makes lines of such steps; None where signals have to be asked
    _passes: Sequence[Any] = ()  # those of the finder of the first bad number that no optimizer's step has let go of

    def _step(self, scalars: Mapping[str, Any]) -> None:
        self.number = number = self.number + 1
        self._observer.stepped()
        now, self._grads, controls, observer = time.monotonic(), torch.is_grad_enabled(), self.controls, self._observer
        controls.number = number
        self._rest = 0
        controls.factors.restore()  # an optimizer's step that raised left them on
        self._subject.frozen.put_back()
        self._copies.settle()
        if observer.number != number:
            observer.prepare(number)  # it was interrupted before this step
        if observer.needs and not self._unaffordable(number):
            self._read(number, scalars)
        else:
            self._put(number, scalars, observer.due)
        self.controls.idle.look(number)
        self._data.notice()
        self._copies.due(number, now)
        if controls.due(now):
            self._keep_house(now)
        if self._observer is not observer:
            return  # the training went back, and another run is ready for its next step
        if observer.prepare(number + 1):
            self._event("pace", "every", observer.pace.told)
        if not (controls.touched or self._copies.waits):
            looks, step, until = self._looks.rests(number) if self._prober is not None else (False, NEVER, math.inf)
            self._rest = min(observer.rests_until(number + 1, looks), NEVER if looks else step, self._copies.rest_until(number))
            self._rounds.rest(until)
            lines = lines_of(controls.steady if observer.plain else None, self._lines, self._background.waiting)
            usual_step.offer(self, lines, Recorder.step)

    def _put(self, number: int, scalars: Mapping[str, Any], signals: Sequence[Signal]) -> None:
        """A step of which the numbers alone are taken: those that the loop passes, and the learning rates."""
        numbers, rates = numbers_of(scalars, self._warn), self.controls.rates()
        if signals is self._observer.always and self._observer.plain:
            numbers.update(rates)
        else:
            numbers = values_of(signals, Step(number, numbers, rates), self._mishap)
        self._background.put(number, moment(), numbers)
        self.controls.rules.judge(number, numbers)

    def _attend(self) -> None:
        """The training changed: the next step looks at everything."""
        self._rest = 0
        self.controls.idle.begin(self.number)

    def _unaffordable(self, number: int) -> bool:
        """Whether the one thing due is a look at the probe set, and there is no time for it."""
        return self._observer.needs == LOOK and (self._prober is None or not self._prober.affordable(number))

    def _keep_house(self, now: float) -> None:
        """Several times a second: copies, commands, and what went wrong in the background."""
        self._copies.keep_house(self.number, now, self.controls.last)
        self.controls.look(now)
        while self.controls.waiting or self.controls.left:
            if self.controls.left:
                self._turn()
                continue
            self.controls.wait(lambda: self._copies.show_live(self.number, time.monotonic(), self.controls.last))
            for pace in (self._observer.pace, self._looks):
                pace.rested(time.monotonic() - now)
        if now - self._told_at > 1.0:
            self._told_at = now
            self._looks.watched = watched(Path(self.path), LIVE_WITHIN)
            self._warn(self._lock.away, grave=True)
            self._tell_held(anew=False)
            self._warn(self._data.look())
        self._tell_lost()

    def _read(self, number: int, scalars: Mapping[str, Any]) -> None:
        """A step at which more is read than the numbers that the loop passes."""
        observer, began = self._observer, time.perf_counter()
        step = observer.collect(number, numbers_of(scalars, self._warn), self.controls.rates())
        self._copies.settle()
        if observer.lack and not any("activations" in text for text in self._left_out):
            self._say((observer.lack,), None)
        looked = time.perf_counter()
        if self._prober is not None and "probe" in observer.needs and (observer.needs == LOOK or self._prober.affordable(number)):
            self._guarded(lambda: self._probe(step))
        began += time.perf_counter() - looked
        values = values_of(observer.due, step, self._mishap)
        self._background.put(number, moment(), values)
        self.controls.rules.judge(number, values, step.activations)
        if observer.reads:
            observer.pace.spent(time.perf_counter() - began + observer.seconds + self._background.seconds_a_reading)

    def _probe(self, step: Step, whole: bool | None = None) -> None:
        assert self._prober is not None
        self._last_probe = step.number
        step.probe = self._prober.look(whole)

    def _tell_held(self, anew: bool = True) -> None:
        """Write down which parameters learn from nothing, and the optimizer's values, when that has changed."""
        now = {**self._holding.facts(anew), "idle": self.controls.idle.told(), "moved": self._lock.away, **self.controls.held()}
        if now != self._told_held:
            self._told_held = now
            self._background.note("meta", now)

    def _last_reading(self) -> None:
        """At the end, and before going back lets go of it: what is in force, the probe set, the last weights, what training on needs."""
        self._guarded(self._tell_held)
        self._subject.look()
        self._copies.settle()
        if self._prober is not None and self._last_probe != self.number and self._looks.dearest < 10.0:
            step = Step(self.number, {})
            self._guarded(lambda: self._probe(step, whole=True))
            self._background.put(self.number, moment(), values_of([s for s in self._setup.signals if "probe" in s.needs], step, self._mishap))
        self._copies.last(self.number)

    # Going back.

    def _go_back(self, step: int | None, skip: int, command: int | None) -> tuple[str, str, str]:
        """Put the training back; the run in which it goes on is entered once this one has told of it."""
        self._background.flush(_FLUSH)  # what was asked for just now is being written
        step = self._way.look(self.path, step, command, self.controls.acts.told())
        self._guarded(self._last_reading)
        self._observer.recover()
        return self._way.go(step, skip, self._copies.packed(self.number), self.controls, self._first_reading)

    def _turn(self) -> None:
        """The training went back: close the run that it leaves, and go on in its child."""
        begun, before = self._way.entered(), self.controls
        self._observer.remove()
        self._subject.forget()
        self._leave({"how": "finished", "step": self.number, "time": time.time(), "child": begun.folder.name}, _FLUSH)
        self.path, self._rest, self.number, self._told_held = begun.folder, 0, begun.number, None
        try:
            self._start(begun)
            self._way.settle(self.controls)
            self.controls.follows(before)
            self._background.start()
        except BaseException:
            self.closed = True  # nobody can tell what is half begun
            raise

    def _skip(self) -> None:
        """The loop trained on a batch that is left out: the training stands where it stood before."""
        self._guarded(lambda: self._way.skip(self.controls))
        self._guarded(lambda: self._observer.prepare(self.number + 1))

    def _keep(self) -> None:
        self._copies.snapshot(self.number, anchor=True)
        self._copies.checkpoint(self.number, anchor=True)

    # What goes wrong.

    def _guarded(self, task: Callable[[], Any]) -> Any:
        try:
            self._grads = torch.is_grad_enabled()
            return task()
        except Exception as error:
            self._mishap(error)

    def _mishap(self, error: Exception) -> None:
        """Something inside went wrong: the training goes on as if it were not recorded."""
        self._rest = 0
        for recover in (self._recover, self._recover):  # what was itself interrupted is tried once more
            try:
                recover()
                break
            except Exception as another:
                error = another
        self._warn(failure(error))

    def _complain(self, error: Exception) -> None:
        """A layer could not be read: the pass that runs it goes on."""
        self._warn(f"{type(error).__name__}: {error}")

    def _recover(self) -> None:
        if self._grads is not None:
            torch.set_grad_enabled(self._grads)  # what was interrupted may have switched them off
        prober, observer = getattr(self, "_prober", None), getattr(self, "_observer", None)
        if prober is not None:
            prober.leave()
        if observer is not None:
            observer.recover()

    def _warn(self, trouble: str | None, grave: bool = False) -> None:
        if trouble is not None:
            self._troubles.say(trouble, self.path, grave)

    def _tell_lost(self) -> None:
        """What the store refuses to take is told beside it, where there is room on a full disk too."""
        if (trouble := self._background.trouble) is not None:
            self._warn(self._lock.away or trouble, grave=self._lock.gone)
            self._lock.tell(self._background.committed, self.number, trouble)

    def _say(self, left_out: tuple[str, ...], unstored: str | None, **facts: str) -> None:
        """Tell as soon as it is known, on the terminal and in the record, what this run will lack."""
        told = [text for text in left_out if text and text not in self._left_out]
        if unstored and not self._subject.spread:
            told.append(f"the model cannot be stored ({unstored}), so that views that look into it want a factory "
                        "(--model package.module:function) or this process")
        for text in told:
            self._event("warning", "left out", text)
            with contextlib.suppress(Exception):
                print(f"diorama: {text}", file=sys.stderr)  # noqa: T201
        self._left_out += told
        self._background.note("meta", {"left_out": self._left_out, **facts})

    def _reread(self, reading: Any) -> None:
        """Answers are read otherwise than so far: what was told of the steps before is left out."""
        told = self._setup.reread(reading, self.number)
        if self.number:
            self._background.note("meta", told)
            self._event("warning", "outputs", reading.guessed[-1] + "; what was told of the probe set at earlier steps is left out")

    def _event(self, kind: str, name: str, text: str) -> None:
        self._background.note("events", {"step": self.number, "kind": kind, "name": name, "text": text, "time": time.time(), "old": "", "new": ""})
