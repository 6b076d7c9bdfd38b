"""The trainer's side of touching: applies what people ask between two steps, and keeps learning-rate factors in force."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from ..core import registry
from ..core.blame import announced, charged, failure, said
from ..core.errors import DioramaError, Faulty, NotApplicable, UsageError, kind_of
from ..core.knobs import build
from ..core.log import details
from ..model.plain_module import processes
from ..training.differences import TensorPlace
from ..training.subject import Subject
from ..training.unit_weights import layer_parameters
from .acts import Act, Acts, SettingsReversal, cannot_go_back
from .acts_in_force import taken_up
from .checkpoints import LATER, RULE
from .commands import STAYS, applied, before, check_reach, lasting, left_by
from .factors import Bend, Clip, FactorGroup, Factors, check_layered, series_of
from .idle_optimizers import GATHERED, IdleOptimizers
from .requests import Inbox, SentCommand, send, watched
from .rounds import Rounds
from .rules import Rules, SetRule
from .training_data import TrainingData

if TYPE_CHECKING:
    from .ranks import Leader
    from .run_folder import Content

PATIENCE = 10.0
"""Seconds after which a pause made by a page ends, when nobody looks any more."""
_NAP = 0.03


class Controls:
    """What commands may do to the training."""

    def __init__(self, folder: Path, subject: Subject, keep: Callable[[], None], content: Content | None = None) -> None:
        self.number = 0
        self.stopped = False
        self.paused = False
        self.subject = subject
        """What is trained."""
        self.content = content
        """What the run keeps of the training: the probe set, and how answers are read."""
        self.factors = Factors(subject.optimizers)
        self.factors.now = lambda: self.number
        subject.tell(lambda another: self._follow())
        self.acts = Acts()
        """What commands changed, and how each is taken back."""
        self.data = TrainingData((), None)
        """The examples that the training draws from."""
        self.rules = Rules()
        """What is to be done when a signal says so."""
        self._frozen: list[list[Any]] = []
        """Each layer that was frozen, after which step, and until which (None: still)."""
        self.note: Callable[[str, dict[str, Any]], None] = lambda kind, value: None
        self.note_together: Callable[[list[tuple[str, dict[str, Any]]]], None] = lambda notes: None
        """Writes down all of several things, or nothing, whenever the process ends; the recorder's."""
        self._folder = folder
        self._inbox = Inbox(folder)
        self.rounds = Rounds(self._inbox, lambda: self.ranks is not None)
        """When it looks for commands."""
        self._keep = keep
        self.goes_back: Callable[[int | None, int, int | None], tuple[str, str, str]] = cannot_go_back
        """Puts the training back; the recorder's."""
        self.before_act: Callable[[str], tuple[Callable[[int], object], str]] = lambda kind: (lambda command: None, "")
        """Copies what a command of a kind (``checkpoints.KINDS``) is about to change: how that is kept, and why not; the recorder's."""
        self.ranks: Leader | None = None
        """Asks the other processes of the training, where they can all apply a command after the same step."""
        self.agreed, self.records = False, True
        """Whether all of them apply what is applied now, and whether this is the one that records."""
        self.idle = IdleOptimizers(subject, {}, {}, self._event)
        """Which optimizers step no more; the recorder's."""
        self.left = False
        """Whether the training went back, and so goes on in another run: this one takes no more commands."""
        self.last = 0
        """The number of the command that was applied last."""
        self._until, self._since = 0, 0.0
        self._by = self._sender = ""

    # What commands call.

    @property
    def mood(self) -> str:
        """In a word: running, paused or stopped."""
        return "stopped" if self.stopped else "paused" if self.waiting else "running"

    @property
    def waiting(self) -> bool:
        """Whether the next step has to wait."""
        return self.paused and self.number >= self._until

    def pause(self) -> None:
        """Wait before the next step."""
        self.paused, self._until = True, self.number
        self._since, self._by = time.time(), self._sender
        self.note("meta", {"paused": True})

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        self.note("meta", {"paused": False})

    def allow(self, steps: int) -> None:
        """Do some steps, then wait."""
        self.pause()
        self._until = self.number + steps

    def stop(self) -> None:
        """End at the end of this step."""
        self.stopped = True
        self.resume()

    def keep(self) -> None:
        """Keep the weights of this step for good. *Raises* NotApplicable where they are spread over processes."""
        if self.subject.spread:
            raise NotApplicable(f"no process has all weights, which are spread by {self.subject.spread}: none can be kept")
        self._keep()

    def take_back(self, number: int | None) -> tuple[Act, str]:
        """Take back the act of a command's number, or the newest in force; returns it, and what is to be said of it.

        *Raises* UsageError, NotApplicable where that cannot be, and nothing has changed then.
        """
        act = self.acts.find(number)
        return act, self.acts.take_back(act, self)

    def tell_acts(self) -> None:
        """Write down which acts are in force, for the page."""
        self.note("meta", {"acts": self.acts.told()})

    def scale(self, factor: float) -> None:
        """Multiply the learning rate of all groups, on top of the factors in force."""
        for group in self.groups():
            group.factor *= factor
        self.tell_optimizer()

    def put_rule(self, rule: SetRule, there: bool) -> None:
        """Let a rule be in force, or not any more."""
        self.rules.put(rule, there)
        self.tell_rules()

    def tell_rules(self) -> None:
        """Write down which rules are in force."""
        self.note("meta", {"rules": self.rules.told()})

    def go_back(self, step: int | None, skip: int, command: int | None = None) -> tuple[str, str, str]:
        """Stand where a checkpoint or a command found the training, in a run of its own; what was, what is, and a sentence."""
        if self.subject.spread:
            raise NotApplicable(f"no process has all weights, which are spread by {self.subject.spread}: none can go back")
        self.idle.check()
        told = self.goes_back(step, skip, command)
        self.left = True
        return told

    def kept(self) -> dict[str, Any]:
        """What people's wishes are in force, as plain data for a checkpoint."""
        return {
            "factors": [group.factor for group in self.factors.groups], "frozen": list(self.subject.frozen.layers),
            "data": self.data.kept(), "rules": self.rules.kept(), "acts": self.acts.told(), **self.wishes(),
        }

    def put_back(self, kept: dict[str, Any]) -> None:
        """Let those wishes be in force that were when a checkpoint was taken, and no others."""
        self.let_go()
        self.wish(kept)
        self.data.put_back(kept.get("data"), self.number)

    def wish(self, kept: dict[str, Any]) -> None:
        """Let these wishes be in force."""
        for group, factor in zip(self.factors.groups, kept.get("factors", ()), strict=False):
            group.factor = float(factor)
        for layer in kept.get("frozen", ()):
            with contextlib.suppress(DioramaError):  # it has no weights any more, or is the last that learns
                self.subject.frozen.freeze(layer)
        self.factors.layered(self.subject, kept.get("layers", {}))
        self.factors.clip = Clip(**kept["clip"]) if kept.get("clip") else None
        bend = kept.get("schedule")
        self.factors.bend = Bend(bend["start"], tuple(bend["steps"]), tuple(bend["factors"])) if bend else None

    def let_go(self) -> None:
        """Let no wish be in force."""
        self.factors.layered(self.subject, {})
        self.factors.clip = self.factors.bend = None
        for group in self.factors.groups:
            group.factor = 1.0
        for layer in self.subject.frozen.layers:
            self.subject.frozen.thaw(layer)

    def groups(self, which: int | None = None) -> list[FactorGroup]:
        """The optimizers' parameter groups, numbered through; one of them, or all."""
        if not self.factors.groups:
            raise NotApplicable("no optimizer was given to diorama.watch(optimizer=), so its values cannot be changed")
        if which is not None and which >= len(self.factors.groups):
            raise UsageError(f"group wants a number below {len(self.factors.groups)}, got {which}")
        found = self.factors.groups if which is None else [self.factors.groups[which]]
        self.idle.check([group.optimizer for group in found])
        return found

    def groups_of(self, layer: str, which: int | None) -> list[FactorGroup]:
        """The groups that hold a layer's weights, where values of its own can be put on them.

        *Raises* UsageError, NotApplicable where it has no weights, no optimizer holds them, or together with a group.
        """
        if which is not None:
            raise UsageError("give either layer= or group=: a layer's weights are found in whatever groups hold them")
        every = self.groups()
        mine = [TensorPlace(name).find(self.subject) for name in layer_parameters(self.subject, layer)]
        found = [group for group in every if any(p is q for p in mine for q in group.content["params"])]
        if not found:
            raise NotApplicable(f"no optimizer that was given to diorama.watch(optimizer=) holds the weights of {layer!r}")
        check_layered([group.optimizer for group in found])
        return found

    def set_layer(self, layer: str, name: str, value: float | None) -> None:
        """Give a layer a value of its own, or take it from it."""
        values = {**self.factors.layers.get(layer, {}), name: value}
        kept = {each: number for each, number in values.items() if number is not None}
        self.factors.layered(self.subject, {**self.factors.layers, layer: kept})
        self.tell_wishes()

    def tell_all(self) -> None:
        """Write down what wishes are in force, where a run begins with some."""
        self.tell_frozen()
        self.tell_wishes()
        self.tell_rules()
        self.note("meta", {"structure": self.subject.journal.told()})
        if self.factors.groups:
            self.tell_optimizer()

    def set_clip(self, clip: Clip | None) -> None:
        """Clip gradients from now on, or no longer."""
        self.factors.clip = clip
        self.tell_wishes()

    def set_bend(self, bend: Bend | None) -> None:
        """Bend the schedule from now on, or no longer."""
        self.factors.bend = bend
        self.tell_wishes()

    def wishes(self) -> dict[str, Any]:
        """Values of single layers, clipping and the bent schedule, as plain data."""
        factors = self.factors
        return {
            "layers": {layer: dict(values) for layer, values in factors.layers.items()},
            "clip": None if factors.clip is None else dataclasses.asdict(factors.clip),
            "schedule": None if factors.bend is None else dataclasses.asdict(factors.bend),
        }

    def tell_wishes(self) -> None:
        """Write down values of single layers, clipping and the bent schedule, for the page."""
        self.note("meta", {"wishes": self.wishes()})

    def _follow(self) -> None:
        """The training changed: its optimizers, or its layers."""
        self.factors.follow(self.subject.optimizers)
        if self.factors.layers:
            self.factors.layered(self.subject, self.factors.layers)

    def set_factor(self, group: int, factor: float) -> None:
        """Put a factor on a group's learning rate, where the optimizers still have it."""
        if group < len(self.factors.groups):
            self.factors.groups[group].factor = factor
        self.tell_optimizer()

    def set_value(self, group: int, name: str, value: float) -> None:
        """Set a group's value, where the optimizers still have it."""
        if group < len(self.factors.groups) and name in self.factors.groups[group].values():
            self.factors.groups[group].set(name, value)
        self.tell_optimizer()

    def tell_optimizer(self) -> None:
        """Write down the optimizer's values, for the page."""
        self.note("meta", {"optimizer": self.optimizer_values()})

    def held(self) -> dict[str, Any]:
        """What changes by itself while it is in force: the optimizer's values, and what rules have seen."""
        found = {"optimizer": self.optimizer_values() if self.factors.groups else None, "rules": self.rules.told() if self.rules.known else None}
        return {name: value for name, value in found.items() if value is not None}

    def frozen_before(self, kept: list[list[Any]]) -> None:
        """What was frozen until the training that is taken up again ended."""
        self._frozen = [list(each) for each in kept]

    def take_up(self, kept: dict[str, Any]) -> str:
        """Let be in force again what was when the training of this run ended; what that is, as the end of a sentence."""
        if processes() > 1:  # the others know nothing of it, and their weights would part
            self.frozen_before([[layer, since, self.number if until is None else until] for layer, since, until in self._frozen])
            return "; what was in force is not any more, as several processes train"
        return taken_up(self, kept, [layer for layer, _, until in self._frozen if until is None])

    def set_frozen(self, layer: str, frozen: bool) -> None:
        """Freeze or thaw a layer where it is not so already."""
        if frozen != (layer in self.subject.frozen.layers):
            (self.subject.frozen.freeze if frozen else self.subject.frozen.thaw)(layer)
            self.tell_frozen()

    def tell_frozen(self) -> None:
        """Write down which layers are frozen on purpose, from which step to which."""
        now = self.subject.frozen.layers
        for each in self._frozen:
            if each[2] is None and each[0] not in now:
                each[2] = self.number
        known = {each[0] for each in self._frozen if each[2] is None}
        self._frozen += [[layer, self.number, None] for layer in now if layer not in known]
        self.note("meta", {"frozen": self._frozen})

    def optimizer_values(self) -> list[dict[str, Any]]:
        """Each group's learning rate as scheduled, the factor on it, that of a bent schedule, what is in force by all; and its other values."""
        bend = {} if self.factors.bend is None else {"bent": self.factors.bent}
        return [
            {"group": k, "learning_rate": group.scheduled, "factor": group.factor, **bend, "in_force": self.factors.rate(group), **group.values()}
            for k, group in enumerate(self.factors.groups)
        ]

    def learning_rates(self) -> Iterator[tuple[str, float]]:
        """The learning rates in force, by series name."""
        for k, group in enumerate(self.factors.groups):
            if all(group.optimizer is not each.optimizer for each in self.idle.idle):
                yield series_of(k), self.factors.rate(group)

    @property
    def steady(self) -> list[tuple[str, Optimizer, int]] | None:
        """Where the learning rates are read as long as no wish is in force: by series name an optimizer and its group."""
        if self.factors.bend is not None or self.idle.idle:
            return None
        return [(series_of(k), group.optimizer, group.index) for k, group in enumerate(self.factors.groups)]

    def rates(self) -> dict[str, float]:
        """The learning rates in force, as one mapping."""
        groups = self.factors.groups
        if len(groups) == 1 and self.factors.bend is None and not self.idle.idle and type(rate := groups[0].content["lr"]) is float:
            return {"learning_rate": rate * groups[0].factor}
        return dict(self.learning_rates())

    def follows(self, before: Controls) -> None:
        """The training went back from another run: whoever let it wait there lets it wait here."""
        self.rules = before.rules.joined(self.rules)  # the one that sent it back goes on; those of then that had ended come again
        self.tell_rules()
        if before.paused:
            self._sender = before._by
            self.pause()

    @property
    def touched(self) -> bool:
        """Whether a person's wish is in force that each step has to see to: a factor, a frozen layer, a rule, a pause."""
        return self.paused or self.stopped or self._asking or self.factors.active or bool(self.subject.frozen.layers or self.rules.known)

    def due(self, now: float) -> bool:
        """Whether it is time to take what was sent, and for all else, or a person lets the training wait."""
        return self.paused or self._asking or bool(self.rules.due) or self.rounds.due(now)

    @property
    def _asking(self) -> bool:
        """Whether other processes are asked for something."""
        return self.ranks is not None and self.ranks.waits

    def look(self, now: float) -> None:
        """Apply what has come, at most every few hundredths of a second."""
        if self.rules.due:
            self._obey()
            self.rounds.hurry()
        if self.paused or self.rounds.due(now):
            self.rounds.begin(now)
            for request in self._inbox.take():
                shared = self.ranks is not None and request.name in registry.commands and registry.commands[request.name].shared
                refusal = self.ranks.ask(request, self) if self.ranks is not None and shared else ""
                if refusal or not shared:
                    self.apply(request, refusal)
            if self.ranks is not None and (parted := self.ranks.parted()):
                self._event("warning", "processes", parted)
            if self._inbox.mended:
                self._inbox.mended = False
                self._event("warning", "commands", "commands.db was broken: it was put aside as commands.db.broken; what was sent meanwhile is lost")
        if self.ranks is not None and self.ranks.waits:
            self._together(self.ranks)

    def _together(self, ranks: Leader) -> None:
        """Apply what all processes apply after this step; what they cannot be asked is refused."""
        due, refusal = ranks.due(self.number)
        self.agreed, write, held = not refusal, self.note_together, list[list[tuple[str, dict[str, Any]]]]()
        self.note_together = held.append  # whoever sent it is told what became of it in all processes
        try:
            good = [self.apply(request, refusal) for request in due]
            if due and not refusal:
                ranks.applied(good)
        finally:
            self.agreed, self.note_together = False, write
            for notes in ranks.compared(held):
                write(notes)

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Wait while the training is paused."""
        while self.waiting and not self.left:
            time.sleep(_NAP)
            self.look(time.monotonic())
            meanwhile()
            self._resume_if_forgotten()

    def _resume_if_forgotten(self) -> None:
        if not self.paused or self._by != "page" or time.time() - self._since < PATIENCE:
            return
        if not watched(self._folder, PATIENCE):
            self.resume()
            self._event("resumed", "resume", "went on by itself: the page that paused it is gone", "paused", "running")

    def _event(self, kind: str, name: str, text: str, old: str = "", new: str = "", sender: str = "") -> None:
        self.note("events", {
            "step": self.number, "kind": kind, "name": name, "text": text, "old": old, "new": new, "time": time.time(), "sender": sender,
        })

    def _obey(self) -> None:
        """Send what rules that came true ask for, as a person would; it is applied at once, and told as all commands are."""
        for due in self.rules.taken():
            text = f"rule {due.rule} came true: {due.reason}{self.rules.often(due.rule)}"
            try:
                send(self._folder, due.do, due.knobs, f"rule {due.rule}")
            except DioramaError as error:
                text += f"; {due.do} could not be sent: {error}"
            self._event("rule", due.do, text)
        self.tell_rules()

    def apply(self, request: SentCommand, refusal: str = "") -> bool:
        """Apply a request, or refuse it for a reason; whether it was applied. What became of it, and what is in force then, are written
        down together."""
        notes: list[tuple[str, dict[str, Any]]] = []
        note, self.note = self.note, lambda kind, value: notes.append((kind, value))
        try:
            return self._answer(request, refusal)
        finally:
            self.note = note
            self.note_together(notes)

    def _answer(self, request: SentCommand, refusal: str) -> bool:
        self._sender = request.sender
        old = new = ""
        reversal, told, waiting, done, broken, why = None, "", False, None, "", ""
        keep: Callable[[int], object] | None = None
        grads = torch.is_grad_enabled()
        try:
            if request.broken:
                raise UsageError(f"command {request.id} cannot be read: {request.broken}")
            if self.left:
                raise NotApplicable(f"the training has just gone back and goes on in another run; send {request.name} there")
            command = build(registry.commands[request.name], request.knobs)
            if refusal:
                raise NotApplicable(refusal)
            check_reach(command, processes(), self.agreed, self.subject.spread)
            if command.steers:
                keep, told = self.before_act(LATER if command.later else RULE if request.sender.startswith("rule ") else "")
            waiting = self.idle.waiting(self.number)
            with torch.no_grad(), charged(command), announced(command):
                done = command.apply(self)
                old, new, text, reversal, unchanged = applied(command, done)
            good = True
            if unchanged or (isinstance(reversal, SettingsReversal) and reversal.idle):
                reversal, text = None, f"{text}; so nothing changed{self.rules.rest(request.sender)}"
            elif reversal is None and lasting(command):
                why, text = "gave no way back", f"{text}; it cannot be taken back: the command gives no way back{before(request.id, told)}"
        except DioramaError as error:
            good, new, text, broken = False, kind_of(error), said(error), left_by(self, done) if type(error) is Faulty else ""
        except (Exception, SystemExit) as error:
            good, new, broken = False, DioramaError.__name__, left_by(self, done)  # nobody refused it: it failed
            text = f"{failure(error)}{details(error, f'while applying the command {request.name}')}"
        torch.set_grad_enabled(grads)  # also where the command broke off
        if broken:
            why = "broke off" if keep is not None and broken == STAYS else ""
            text += f"; {broken}{before(request.id, told) if why else ''}"
        if why and keep is not None:
            keep(request.id)
            self.acts.add(Act(request.id, self.number, request.name, text, None, why=why))
            self.tell_acts()
        self.idle.forget()
        if not waiting:
            self.idle.spared()
        if good:
            self.last = request.id
            if reversal is not None:  # what was refused pushes no checkpoint out, and is none that has a twin
                if keep is not None:
                    keep(request.id)
                text += "".join(f"; {each}" for each in (told, GATHERED if waiting and command.family in ("weights", "structure") else "") if each)
            self._event("command", request.name, text, old, new, request.sender)
            if reversal is not None:
                self.acts.add(Act(request.id, self.number, request.name, text, reversal))
            if reversal is not None or request.name == "undo":
                self.tell_acts()
        told_back = {"id": request.id, "step": self.number, "ok": int(good), "old": old, "new": new, "text": text, "time": time.time()}
        self.note("acknowledged", told_back)
        return good
