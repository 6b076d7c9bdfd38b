"""A run folder as a user sees it: what was recorded, scenes at its snapshots, and commands to its training."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .core import registry
from .core.blame import alone, answered, given
from .core.deadline import within
from .core.errors import Cancelled, Damaged, DioramaError, Faulty, Unavailable, UsageError, not_found, of_kind
from .core.knobs import build, knobs_of
from .core.paths import path_of
from .core.selection import Key, as_key, is_point, own_name
from .record import lock, requests
from .record.causes import ranked
from .record.evidence import UnjudgedFinding, unjudged
from .record.lineage import Line, children
from .record.past import KnownJudgements, Past

if TYPE_CHECKING:
    from torch import nn

    from .data.examples import Examples
    from .record.findings import Diagnosis
    from .scene import Scene
    from .scene.preview import Preview


_NEWEST = 3.0
"""Seconds for which a preview waits for the weights of now."""
_LONGEST = 20.0
"""Seconds in which a third party's finding should have judged a run: all others wait for it."""
_JUDGED = 8
"""Steps of which what findings said is kept: who moves the slider to and fro asks of few."""


class Acknowledgement(NamedTuple):
    """What a training answered to a command: at which step, and what changed."""

    step: int
    old: str
    new: str
    text: str
    command: int = 0
    """Its number, by which the command ``undo`` takes it back."""


class Run(Line):
    """A recorded or running training: its series, histograms, events, snapshots, scenes and commands."""

    def __init__(self, path: str | Path, trust: bool = False, model: Any = None) -> None:
        super().__init__(path)
        self.trust = trust
        self._factory = model
        self._loaded: dict[int, dict[str, Any]] = {}
        self._examples: Examples | None = None
        self._shown: Examples | None = None
        self._judged: tuple[tuple[Any, ...] | None, dict[int | None, KnownJudgements]] = None, {}
        """What findings said, by the step up to which they were asked, at one moment of the record."""

    def __repr__(self) -> str:
        now = "running" if self.alive else "ended"
        return f"<Run {self.name!r}: {self.last_step} steps, {len(self.snapshots)} snapshots, {now}>"

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.meta.get("name") or self.path.name)

    @property
    def parent(self) -> Run | None:
        """The run beside this one from which it goes on; None where there is none, or it cannot be read (``broken`` tells)."""
        ancestry = self.ancestry
        return Run(ancestry[0][0], self.trust) if ancestry else None

    @property
    def children(self) -> list[Run]:
        """The runs beside this one that go on from it."""
        return [Run(folder, self.trust) for folder in children(self.path)]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.meta.get("classes", ()))

    @property
    def task(self) -> str:
        """classification, multi_label, regression or next_token; empty when it is unknown."""
        return str(self.meta.get("task", ""))

    @property
    def examples(self) -> Examples | None:
        """The probe set; None in a run that was recorded without one. *Raises* Unavailable or Damaged where it cannot be read."""
        from .data.examples import Examples
        from .record import files
        from .record.run_folder import PROBE

        if self._examples is None:
            with contextlib.suppress(FileNotFoundError):
                self._examples = Examples.load(files.regular(self.path, PROBE))
        return self._examples

    @property
    def kind(self) -> Any:
        """The kind of input, or a dict of kinds by name."""
        return self.examples.kind if self.examples is not None else None

    @property
    def checkpoints(self) -> list[int]:
        """Steps from which a training can go on."""
        from .record import checkpoints

        return checkpoints.steps(self.path)

    def module(self, step: int | None = None) -> nn.Module:
        """The stored model of the architecture at a step, the newest when left out; a snapshot holds its weights.

        *Raises* Untrusted for a model that this user did not store, Unavailable where there is none.
        """
        return self.architecture(self.model_at(self.last_step if step is None else step))

    def architecture(self, number: int) -> nn.Module:
        """The stored model of an architecture, by its number; raises what :meth:`module` raises."""
        module: nn.Module = self._contents(number)["model"]
        return module

    def _contents(self, number: int | None = None) -> dict[str, Any]:
        if number is None:
            number = self.model_at(self.last_step)
        if number not in self._loaded:
            self._loaded[number] = self._made() if self._factory is not None else self._unpickled(number)
        return self._loaded[number]

    def _unpickled(self, number: int) -> dict[str, Any]:
        from .record import models

        folder, number = self.home(number)
        own = self.meta.get(f"architecture-{number}") or self.meta
        reason = own.get("model_error")
        if folder == self.path and reason and not models.file_of(folder, number).is_file():
            raise Unavailable(
                f"the model of {self.name!r} could not be stored ({reason}); to look into it, {models.WAY_OUT}"
            )
        return models.load(folder, number, self.trust)

    def _made(self) -> dict[str, Any]:
        from torch import nn

        made = self._factory
        if isinstance(made, str):
            made = factory(made)
        if not isinstance(made, nn.Module):
            made = made()
        made = getattr(made, "model", made) if not isinstance(made, nn.Module) else made
        if not isinstance(made, nn.Module):
            raise UsageError(f"the factory wants to return a torch.nn.Module, got {type(made).__name__}")
        return {"model": made}

    @property
    def reading(self) -> dict[str, Any]:
        """How inputs and outputs are read (``kind``, ``outputs``, ``criterion``), as far as the stored model tells."""
        try:
            stored = self._contents()
        except DioramaError:
            return {}
        return {name: stored.get(name) for name in ("kind", "outputs", "criterion")}

    @property
    def shown_examples(self) -> Examples | None:
        """The probe set as scenes look at it: with the functions of its kinds (a tokenizer, say) where the stored model tells them."""
        from .data import kinds

        examples = self.examples
        if self._shown is None and examples is not None:
            told: kinds.Kinds | None = self.reading.get("kind")
            if told is not None and kinds.to_json(told) == kinds.to_json(examples.kind):
                examples = dataclasses.replace(examples, kind=told)
            self._shown = examples
        return self._shown

    def scene(self, step: int | str | None = None) -> Scene:
        """The model at the nearest snapshot at or before a step; the newest one by default; "live" while it trains.

        *Meaning* of a step without a snapshot the scene's pictures say which one they show instead.

        *Raises* Unavailable where there is no snapshot yet.
        """
        from .scene import Scene

        if step == "live":
            from .record.snapshots import read_live

            live = read_live(self.path)
            if live is not None and live[0] >= (self.snapshots or [0])[-1]:
                return Scene.of_run(self, *live)
            step = None
        if isinstance(step, str):
            raise UsageError(f"step wants a number or 'live', got {step!r}")
        steps = self.snapshots
        if not steps:
            raise Unavailable(f"the run {self.name!r} has no snapshot yet")
        before = [each for each in steps if step is None or each <= step]
        return Scene.of_run(self, before[-1] if before else steps[0], asked=step)

    def command(self, name: str, /, *, wait: float = 5.0, sender: str = "python", **knobs: Any) -> Acknowledgement:
        """Ask the running training for a change, and wait until it has answered.

        *Raises* NotFound for an unknown command or knob, Unavailable when no training runs or it does not answer in time (the command
        is then still applied at its next step); where the training refuses it, what it was refused with: NotApplicable where it does
        not fit this network or this moment, UsageError where a knob is wrong.
        """
        knobs = registry.commands[name].gathered(knobs)
        command = build(registry.commands[name], knobs)
        self._check(command)
        knobs = {each: getattr(command, each) for each in knobs}  # in their own types, so that an array's number is one
        if not command.living:
            page = os.getpid() if sender == "page" else None
            step, child, text, *_ = answered(command, lambda: command.start(self, page), tuple)
            return Acknowledgement(int(step), "", child, text)
        if not self.alive:
            heir = (self.meta.get("ended") or {}).get("child")
            way = f": it went back, and goes on in {heir!r}" if heir else ", so there is nothing to command"
            raise Unavailable(f"no training writes to {self.name!r} now{way}")
        self._check_place()
        number = requests.send(self.path, name, {each: command.knobs()[each] for each in knobs}, sender)
        until = time.monotonic() + wait
        while (answer := self.acknowledgement(number)) is None:
            self._check_place()
            if time.monotonic() > until:
                foreign = registry.commands.is_foreign(name)
                ends = f"; {registry.commands.told(name)} must end by itself, as the training waits for it" if foreign else ""
                if self.paused:
                    ends = "; it is paused, and what several processes apply together waits until it goes on"
                raise Unavailable(f"no answer within {wait:g} s; the training applies {name} after its current step{ends}")
            if not self.alive and self.acknowledgement(number) is None:
                raise Unavailable(f"the training ended before it could apply {name}")
            time.sleep(0.02)
        if not answer["ok"]:
            raise of_kind(str(answer["new"]), str(answer["text"]))
        return Acknowledgement(answer["step"], answer["old"], answer["new"], answer["text"], number)

    def _check_place(self) -> None:
        """*Raises* Unavailable where the training writes to this run, but looks for commands where it stood before."""
        if moved := self.meta.get("moved"):
            raise Unavailable(f"no command reaches the training: {moved}")

    def preview(self, name: str, /, **knobs: Any) -> Preview:
        """What a command would change at once in the answers to the probe set; nothing is sent.

        *Meaning* a training shows its newest weights when it is asked for them, at the end of a step; those that it has not shown within
        three seconds (long steps, a large model) are not waited for, and the answer's ``step`` says of which the numbers are.
        *Raises* NotFound, UsageError, NotApplicable where the training would refuse it, or where it changes no answer at once; Unavailable
        where the run has no weights yet.
        """
        from .scene.preview import preview

        self._check(build(registry.commands[name], knobs))
        self._await_newest()
        return preview(self.scene("live"), name, knobs)

    def _await_newest(self) -> None:
        """Ask a living training for its weights, and wait until it has shown those of now, as long as one waits for them."""
        from .record.arrays import live_stand

        step, until = self.last_step, time.monotonic() + _NEWEST
        if self.snapshots and self.snapshots[-1] >= step and not any(
            event.kind == "command" and event.step >= step and _changes(event.name) for event in self.events
        ):
            return
        command = self._rows("SELECT coalesce(max(id), 0) FROM acknowledged WHERE ok = 1", (), (int,))[0][0]
        while self.alive and time.monotonic() < until:
            requests.watch(self.path)
            stand = live_stand(self.path)
            if stand is not None and stand[0] >= step and stand[1] >= command:
                return
            time.sleep(0.02)

    def followed(self, key: str | Key, step: int, of: int | None = None) -> Key | None:
        """The key of the same unit, head or weight at another step; None where it was not there, or is no longer.

        *Meaning* units that acts add or remove give others new places in their layer, or in those that read it. ``of`` is the
        step at which the key was meant, the newest when left out.
        """
        return self.elsewhere([Key.parse(key) if isinstance(key, str) else key], step, of)[0]

    def _check(self, command: Any) -> None:
        """Refuse a command on a layer, or a unit of one, that is not there, before it is sent."""
        for each in knobs_of(type(command)).values():
            name = getattr(command, each.name)
            if each.kind == "unit" and name:
                name = as_key("unit", name).layer
            if each.kind in ("layer", "unit") and name:
                structure = self.structure(self.last_step)
                paths = [parameter.split(".")[:-1] for parameter, *_ in structure["parameters"] or ()]
                known = {".".join(path[:k]): None for path in paths for k in range(1, len(path) + 1)}
                known |= {layer["name"]: None for layer in structure["layers"] or ()}
                if own_name(name, known) not in known and not is_point(name):
                    raise not_found("layer", name, known)

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The rules that are in force: the number of each, and what it says."""
        return list(self.meta.get("rules") or ()) if self.alive else []

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The examples of the training's data that were changed: number, weight (0: dropped), label and the one before."""
        from .data import changes_file
        from .record import files

        try:
            return changes_file.read_rows(files.regular(self.path, changes_file.NAME))
        except FileNotFoundError:
            return []

    def save_changes(self, path: str | Path) -> None:
        """Write them to a .csv or .json file, which ``diorama.data(dataset, changes=path)`` reads again."""
        from .data import changes_file

        changes_file.write_rows(path, self.changes)

    def findings(self, step: int | None = None) -> list[Diagnosis]:
        """What is wrong with the training, worst first; with ``step`` what could be known after that step."""
        found, failed = self.judged(step)
        for sentence in failed:
            if sentence not in registry.findings.broken.values():  # those were told of when they were left out
                warnings.warn(sentence, stacklevel=2)
        return found

    def judged(self, step: int | Past | None = None) -> tuple[list[Diagnosis], list[str]]:
        """The same, and beside it a sentence for each finding that could not judge the training; of what was read already, where that is
        given instead of a step."""
        from .record.findings import checked

        record = step if isinstance(step, Past) else Past(self, step)
        known = self._known(record)
        found, failed = [], []
        for name, plugin in registry.findings.items():
            if plugin in known.found:
                found += known.given(plugin)
                continue
            if known.judge and plugin.steady:
                continue
            try:
                judged = functools.partial(known.made(plugin), record if plugin.broken else record.sound)
                told = judged() if registry.is_own(plugin) else within(_LONGEST, registry.findings.told(name), judged)
                new = [checked(plugin, one) for one in given(plugin, told, list, tuple)]
                found += known.keep(plugin, new)
            except Faulty as error:
                registry.findings.leave_out(name, error)
            except (Exception, SystemExit) as error:
                if _of_record(name, error):
                    raise
                if registry.findings.is_foreign(name) or not isinstance(error, Exception):
                    registry.findings.leave_out(name, error)
                else:
                    failed.append(f"{registry.findings.told(name)} does not judge this run: {alone(error)}")
        failed += registry.findings.broken.values()
        return ranked(found), failed

    def _known(self, record: Past) -> KnownJudgements:
        """What is known of a record already: all that diorama's own findings said of it, as long as nothing was written since."""
        moment, kept = self._judged
        if record.moment is None or moment != record.moment:
            kept = {}
            self._judged = record.moment, kept
        found = kept.get(record.step)
        if found is None:
            if len(kept) >= _JUDGED:
                kept.clear()
            kept[record.step] = found = KnownJudgements(record)
        return found

    def unjudged(self, step: int | Past | None = None) -> list[UnjudgedFinding]:
        """The findings of which the record says nothing (yet), each with the reason; with ``step`` as it stood after that step, or as in what
        was read already."""
        record = step if isinstance(step, Past) else Past(self, step)
        known = self._known(record)
        found = []
        for name, plugin in registry.findings.items():
            if known.judge and plugin.steady:
                found.append(UnjudgedFinding(name, "it judges what another network makes, whose data do not stay what they are", about=False))
                continue
            try:
                if plugin in known.lacks:
                    lack = known.lacks[plugin]
                else:
                    whole: Any = record.sound
                    lack = unjudged(whole, name, known.made(plugin))
                    if registry.is_own(plugin):
                        known.lacks[plugin] = lack
            except Exception as error:
                if _of_record(name, error) or not registry.findings.is_foreign(name):
                    raise
                registry.findings.leave_out(name, error)
                continue
            if lack is not None:
                found.append(lack)
        return found

    def info(self) -> dict[str, Any]:
        """What the run holds, as plain data."""
        meta, snapshots, times = self.meta, self.snapshots, self.times()
        return {
            "name": self.name, "path": str(self.path), "model": meta.get("model", ""), "task": self.task,
            "classes": list(self.classes), "examples": meta.get("examples", 0), "steps": max(self.last_step, 0),
            "snapshots": snapshots, "checkpoints": self.checkpoints, "series": self.series_names,
            "histograms": self.histogram_names, "alive": self.alive, "paused": self.paused, "dropped": self.dropped,
            "lost": lock.told(self.path), "changed_examples": {
                name: count for name in ("dropped", "relabelled", "weighed") if (count := (meta.get("steered") or {}).get(name))
            }, "commands": sum(event.kind == "command" for event in self.events),
            "events": [event.__dict__ for event in self.events], "optimizer": meta.get("optimizer", []),
            "seconds": float((times[1:] - times[:-1]).clip(0.0).sum()), "bytes": self.size,
            "ended": meta.get("ended"), "guessed": [
                *meta.get("guessed", []), *(meta[about] for about in ("doubt", "measure") if meta.get(about)),
            ], "model_error": meta.get("model_error", ""),
        }


def factory(text: str) -> Callable[[], Any]:
    """Find ``package.module:function``; raises UsageError with what is missing."""
    place, colon, name = text.partition(":")
    if not colon or not name:
        raise UsageError(f"a factory looks like 'package.module:function', got {text!r}")
    try:
        made: Callable[[], Any] = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the factory {text!r} cannot be found: {error}") from error
    return made


def open_run(path: str | Path, trust: bool = False, model: Any = None) -> Run:
    """Open a run folder. ``trust`` lets it load a model that someone else stored; ``model`` gives one, or a factory.

    *Raises* UsageError where that is no path, Unavailable where there is no run, Damaged where it cannot be read.
    """
    there = isinstance(path, str | os.PathLike) and os.path.isdir(path)
    return Run(path if there else path_of(path, "a run wants the path of its folder"), trust, model)


def _changes(name: str) -> bool:
    """Whether a command of this name may change weights."""
    return name == "undo" or name not in registry.commands or registry.commands[name].steers


def _of_record(name: str, error: BaseException) -> bool:
    """Whether a finding could not judge because the record cannot be read, or nobody waits any more. A third party's that asks for what a run
    does not have fails by itself."""
    return isinstance(error, Damaged | Cancelled if registry.findings.is_foreign(name) else DioramaError)
