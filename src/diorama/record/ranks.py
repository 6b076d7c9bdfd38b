"""Commands to a training of several processes: all of them do what is asked after the same step, or none does.

The process that records asks the others through the store of their process group, over a connection of its own, and only when a
command waits: a thread of each listens, so between commands their loops do nothing. When all have heard of it, the one that records
names the step. Each then looks for that step at the end of its own: since the processes of a ``DistributedDataParallel`` wait for each
other's gradients in every step, none can have passed a step that was named before it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..core import registry
from ..core.errors import DioramaError, NotApplicable
from ..core.knobs import build
from ..model.plain_module import processes
from .controls import Controls
from .observer import Observer
from .pace import Pace
from .requests import SentCommand
from .setup import followed

if TYPE_CHECKING:
    from ..training.subject import Subject
    from .setup import WatchArguments

ANSWER = 10.0
"""Seconds within which all processes have heard of a command, or it is refused."""
_LISTEN = 0.05
"""Seconds between two looks of a listening thread."""
TOLD = 1.0
"""Seconds that what became of a command waits at most to be told back, until the others have done it too."""
_LOOK = 0.005
_NEVER = -1
"""In the place of a step: the command was withdrawn."""
_numbers = itertools.count(1)
"""Each recorder of a process has a place of its own in the store; all processes begin them in the same order."""


def _store() -> Any:
    """A connection of its own to the store of the process group. *Raises* NotApplicable where there is none."""
    try:
        distributed: Any = torch.distributed
        group = distributed.distributed_c10d._get_default_store()
        store = distributed.PrefixStore(f"diorama/{next(_numbers)}", group.clone())
        store.set_timeout(timedelta(seconds=ANSWER))
    except (AttributeError, RuntimeError, ValueError) as error:
        raise NotApplicable(f"the processes of this training have no store through which they could be asked ({error})") from error
    return store


class Leader:
    """The side of the process that records; steps are counted as in its run."""

    def __init__(self, number: int) -> None:
        rank = torch.distributed.get_rank()
        self._others = [each for each in range(processes()) if each != rank]
        self._store = _store()
        self._begin = number
        self._waiting: deque[SentCommand] = deque()
        self._asked: list[SentCommand] = []
        self._number = 0
        self._at: int | None = None
        self._until = 0.0
        self._judged: list[tuple[int, list[bool]]] = []

    @property
    def waits(self) -> bool:
        """Whether a command is not applied yet."""
        return bool(self._waiting or self._asked)

    def ask(self, request: SentCommand, training: Controls) -> str:
        """All processes shall apply it; returns why not, where only the process that records can tell."""
        try:
            build(registry.commands[request.name], request.knobs).check(training)
        except DioramaError as error:
            return str(error)
        except Exception:
            pass  # whoever applies it says so
        self._waiting.append(request)
        return ""

    def due(self, number: int) -> tuple[list[SentCommand], str]:
        """What is to be applied now, after this step, and why it cannot be, if it cannot."""
        try:
            return self._due(number)
        except RuntimeError as error:
            failed = [*self._asked, *self._waiting]
            self._asked, self._at = [], None
            self._waiting.clear()
            return failed, f"the other processes cannot be reached: {str(error).splitlines()[0][:120]}"

    def _due(self, number: int) -> tuple[list[SentCommand], str]:
        if not self._asked and self._waiting:
            self._asked = list(self._waiting)
            self._waiting.clear()
            self._number, self._at, self._until = self._number + 1, None, time.monotonic() + ANSWER
            told = [list(each[:4]) for each in self._asked]
            self._store.set(f"{self._number}/asked", json.dumps({"requests": told, "begin": self._begin}))
        if not self._asked:
            return [], ""
        if self._at is None:
            if self._store.check([f"{self._number}/heard/{each}" for each in self._others]):
                self._name(number + 1)
            elif time.monotonic() > self._until:
                self._name(_NEVER)
                return self._taken(), f"not all of the {len(self._others) + 1} processes answered within {ANSWER:g} s"
            return [], ""
        return (self._taken(), "") if number >= self._at else ([], "")

    def _name(self, at: int) -> None:
        """Say after which step; no other process can have passed it, for it is written before this one goes on."""
        self._at = at
        self._store.set(f"{self._number}/at", str(at))
        self._store.check([f"{self._number}/at"])  # answered once that is written

    def _taken(self) -> list[SentCommand]:
        taken, self._asked, self._at = self._asked, [], None
        return taken

    def applied(self, good: list[bool]) -> None:
        """What became of the requests here; what became of them in the others is compared with it later."""
        self._judged.append((self._number, good))

    def compared(self, held: list[list[tuple[str, dict[str, Any]]]]) -> list[list[tuple[str, dict[str, Any]]]]:
        """What is told back of the requests that were just applied, one after the other; that another process did otherwise with one is told of it
        where that is known within a second. The others do the same step, so that they mostly answer at once."""
        until = time.monotonic() + TOLD
        judged = self._judged[-1] if self._judged else None
        if judged is None or not held or len(judged[1]) != len(held):
            return held
        while (others := self._did(judged[0])) is None and time.monotonic() < until:
            time.sleep(_LOOK)
        for place, notes in enumerate(held):
            wrong = [each for each, did in (others or {}).items() if did[place : place + 1] != judged[1][place : place + 1]]
            for kind, value in notes if wrong else ():
                if kind == "acknowledged":
                    value["text"] += f"; but {_parted(wrong)}"
        return held

    def parted(self) -> str:
        """Where another process did otherwise than this one, in a sentence."""
        for judged in list(self._judged):
            others = self._did(judged[0])
            if others is None:
                continue
            self._judged.remove(judged)
            wrong = [each for each, did in others.items() if did != judged[1]]
            if wrong:
                return _parted(wrong)
        return ""

    def _did(self, number: int) -> dict[int, list[bool]] | None:
        """What became of the requests of one asking in each other process; None where not all have said it, nothing where they are gone."""
        keys = [f"{number}/did/{each}" for each in self._others]
        try:
            if not self._store.check(keys):
                return None
            return {each: json.loads(self._store.get(key)) for each, key in zip(self._others, keys, strict=True)}
        except RuntimeError:
            return {}


def _parted(wrong: list[int]) -> str:
    return f"process {', '.join(map(str, wrong))} did otherwise with a command than this one: their weights may have parted"


class Follower:
    """The side of a process that does not record: it counts its steps, and applies what it is asked."""

    def __init__(self, subject: Subject, path: Path) -> None:
        self.controls = Controls(path, subject, lambda: None)
        self.controls.agreed, self.controls.records = True, False
        self._observer = Observer(subject, (), Pace(1), self.controls.factors, None, lambda error: None)
        self._observer.follow()
        self._rank, self._store = torch.distributed.get_rank(), _store()
        self._ears = self._store.clone()
        self._heard: deque[dict[str, Any]] = deque()
        self._turn, self._begin = 0, 0
        self._ended = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="diorama-ranks", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Hear of commands, and say so once the loop cannot miss what comes."""
        number = 1
        try:
            while not self._ended.wait(_LISTEN):
                if self._ears.check([f"{number}/asked"]):
                    self._heard.append({"number": number, **json.loads(self._ears.get(f"{number}/asked"))})
                    self._ears.set(f"{number}/heard/{self._rank}", "")
                    number += 1
        except (RuntimeError, ValueError):
            return  # the process group has ended

    def step(self) -> bool:
        """A step of the loop is done; whether someone ended the training."""
        self._turn += 1
        self.controls.number = self._begin + self._turn
        self.controls.factors.restore()
        self.controls.subject.frozen.put_back()
        try:
            while self._heard and self._apply(self._heard[0]):
                self._heard.popleft()
        except (RuntimeError, ValueError, KeyError):
            self._heard.clear()  # the process that records is gone
        self._observer.prepare(self.controls.number + 1)
        return self.controls.stopped

    def _apply(self, heard: dict[str, Any]) -> bool:
        """Apply what was heard of, if its step is named and done; whether it is settled."""
        number = heard["number"]
        if not self._store.check([f"{number}/at"]):
            return False
        self._begin = int(heard["begin"])
        self.controls.number = self._begin + self._turn
        at = int(self._store.get(f"{number}/at"))
        if at == _NEVER:
            return True
        if self.controls.number < at:
            return False
        good = [self.controls.apply(SentCommand(*each)) for each in heard["requests"]] if self.controls.number == at else []
        self._store.set(f"{number}/did/{self._rank}", json.dumps(good))
        return True

    def close(self) -> None:
        """Let go of the training."""
        self._ended.set()
        self._listener.join(1.0)  # what follows may take down the group whose store it asks, or Python itself
        self._observer.remove()


def leader(told: WatchArguments, subject: Subject, number: int) -> Leader | None:
    """For a training whose processes wait for each other in every step, and of which one records; None for any other."""
    with contextlib.suppress(NotApplicable):
        return Leader(number) if _led(told, subject) else None
    return None


def follower(told: WatchArguments) -> Follower | None:
    """The other side of that, in a process that does not record."""
    with contextlib.suppress(DioramaError):  # the process that records says what is wrong
        subject = followed(told)
        return Follower(subject, Path(told.path)) if _led(told, subject) else None
    return None


def _led(told: WatchArguments, subject: Subject) -> bool:
    return subject.together and told.ranks != "all" and processes() > 1
