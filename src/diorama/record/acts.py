"""Acts: what commands did to a training, in order, and how each is taken back."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.blame import charged, given
from ..core.errors import DioramaError, Faulty, NotApplicable, UsageError

if TYPE_CHECKING:
    from ..training.differences import Difference
    from .controls import Controls

KEPT = 256_000_000
"""Bytes that acts may keep of what was before; the oldest are forgotten first."""
_COUNT = 1000
"""Acts that are remembered."""
_TOLD = 100
"""The newest acts, which the page is told of."""


class Reversal(ABC):
    """How an act is taken back; a command hands it over with what it applied (``Applied.reversal``).

    Whatever is held by it is held in the training's memory, so it says how many bytes that are.
    """

    size: int = 0
    """Bytes that it keeps."""
    examples: str = ""
    """The examples of the training's data that were changed, all of them, as ``3,14,20-40``; empty where it was something else."""

    @abstractmethod
    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Take the act back, between two steps; ``later`` are the acts in force that came after it, oldest first.

        Returns what a person should know of it, as the end of a sentence, or nothing. *Raises* NotApplicable or
        UsageError, before anything is changed, where it cannot be taken back.
        """

    def blocked(self, later: Sequence[Act]) -> str:  # noqa: ARG002 - for those that others can be in the way of
        """Why it cannot be taken back while acts that came after it are in force, in a sentence that names the first to go; empty where it
        can, as far as that is known without trying."""
        return ""

    def rearranged(self, weight: str) -> bool:  # noqa: ARG002 - for those that do
        """Whether the act gave a weight another shape or took it away, so that what came before it finds its numbers elsewhere."""
        return False


@dataclasses.dataclass(eq=False)
class Setting:
    """One value that an act set: where it stands, how it is put there, and what it was before."""

    slot: Hashable
    """Tells the values apart; acts that set the same one are in each other's way."""
    put: Callable[[Any], object]
    """Sets the value; nothing happens where it is in force already."""
    old: Any
    new: Any


class SettingsReversal(Reversal):
    """Takes back plain values, at any step: as if the act had not been, whatever later acts set stays."""

    def __init__(self, settings: Iterable[Setting]) -> None:
        self.settings = list(settings)

    @property
    def idle(self) -> bool:
        """Whether all values were before what they are now."""
        return all(setting.old == setting.new for setting in self.settings)

    def kept(self) -> list[dict[str, Any]] | None:
        """It as plain data, from which a training that is taken up again makes it anew; None where a value is none of the training's own."""
        found = []
        for setting in self.settings:
            values = {"old": setting.old, "new": setting.new}
            if setting.slot in ("clip", "schedule"):
                values = {name: None if value is None else dataclasses.asdict(value) for name, value in values.items()}
            elif isinstance(setting.slot, tuple) and setting.slot[0] == "rule" and isinstance(setting.put, partial):
                values["rule"] = setting.put.args[0].kept()
            if not all(value is None or isinstance(value, bool | int | float | dict) for value in values.values()):
                return None
            found.append({"slot": setting.slot, **values})
        return found

    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Put each value back, or hand it on to the next act that set it."""
        over = 0
        for setting in self.settings:
            heirs = [
                other for act in later if isinstance(act.reversal, SettingsReversal)
                for other in act.reversal.settings if other.slot == setting.slot
            ]
            if heirs:
                heirs[0].old = setting.old
                over += 1
            else:
                setting.put(setting.old)
        if not over:
            return ""
        return "a later command set the same and stays in force" if over == len(self.settings) else (
            f"what was set since for {over} of its {len(self.settings)} values stays in force")


class WeightsReversal(Reversal):
    """Takes back what an act did to weights, and to what optimizers remember of them."""

    def __init__(self, differences: Sequence[Difference], inverse: Callable[[], object] | None = None) -> None:
        self.differences, self.inverse = differences, inverse
        self.size = sum(each.size for each in differences)

    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Bit by bit while they are as the act left them, else by its inverse or its own difference."""
        if why := self.blocked(later):
            raise NotApplicable(why)
        # Imported here: who only sends a command knows commands, and waits for no torch.
        from ..training.differences import taken_back

        if taken_back(training.subject, self.differences, self.inverse):
            return "bit by bit"
        return "training has gone on since: its own difference is taken back, and what was learnt stays"


    def blocked(self, later: Sequence[Act]) -> str:
        """Where a later act changed the same numbers, or the shape of their tensor."""
        for act in later:
            if isinstance(act.reversal, WeightsReversal) and any(
                mine.meets(other) for mine in self.differences for other in act.reversal.differences
            ):
                return f"{told(act)} changed the same weights later; take that back first"
        for act in reversed(later):
            if act.reversal is not None and (moved := [m.place.name for m in self.differences if act.reversal.rearranged(m.place.name)]):
                return f"{told(act)} gave {moved[0]} another shape later, or took it away; take that back first"
        return ""


def told(act: Act) -> str:
    """An act in a sentence."""
    return f"command {act.number} ({act.name})"


@dataclasses.dataclass(eq=False)
class Act:
    """A command that was applied."""

    number: int
    """The command's."""
    step: int
    """After which it was applied."""
    name: str
    text: str
    reversal: Reversal | None
    """How it is taken back; None where that was forgotten."""
    in_force: bool = True
    run: str = ""
    """The folder of the run in which it was applied; empty for the run that is being recorded."""
    examples: str = ""
    """All examples of the data that it changed."""
    plain: bool = dataclasses.field(init=False)
    """Whether it set plain values, which go back at any step as if the act had not been."""

    def __post_init__(self) -> None:
        self.plain = isinstance(self.reversal, SettingsReversal)
        if self.reversal is not None:
            self.examples = self.reversal.examples


class Acts:
    """The acts of this training since it began or was taken up again, oldest first."""

    def __init__(self) -> None:
        self._acts: list[Act] = []

    def add(self, act: Act) -> None:
        """Remember one that was just applied, and forget what is too much."""
        self._acts = [*self._acts[-_COUNT + 1:], act]
        over = sum(each.reversal.size for each in self._acts if each.reversal is not None) - KEPT
        for each in self._acts:
            if over > 0 and each.reversal is not None and each.reversal.size:
                over -= each.reversal.size
                each.reversal = None

    @property
    def in_force(self) -> list[Act]:
        """Those that are in force, oldest first."""
        return [act for act in self._acts if act.in_force]

    def take_up(self, told: Iterable[Mapping[str, Any]], run: str = "", again: Callable[[Any], Reversal | None] = lambda kept: None) -> None:
        """What was done before the training was taken up again, or in the run that it goes on from: known, and for good where what was
        before is not in memory; plain values go back as ever, which ``again`` makes of what was kept of them.
        """
        self._acts = []
        for act in told:
            back = again(act.get("settings")) if act["state"] == "in force" else None
            known = Act(act["command"], act["step"], act["name"], act["text"], back, act["state"] != "taken back", act.get("run") or run)
            known.plain, known.examples = act.get("plain", False), act.get("examples", "")
            self._acts.append(known)

    def find(self, number: int | None) -> Act:
        """The act of a command's number, or the newest in force. *Raises* UsageError, NotApplicable with the way out."""
        if number is None:
            newest = [act for act in self._acts if act.in_force and act.reversal is not None]
            if not newest:
                raise UsageError("nothing is in force that could be taken back: since this training began, went back or was taken up "
                                 "again, no command did anything to it that can be taken back")
            act = newest[-1]
        else:
            known = {act.number: act for act in self._acts}
            if number not in known:
                there = ", ".join(str(act.number) for act in self._acts[-10:] if act.in_force) or "none"
                raise UsageError(f"no command {number} that could be taken back; in force now: {there} (pause, resume, step, stop, "
                                 "snapshot, undo, and what was done before a training was taken up again, are not taken back)")
            act = known[number]
        if not act.in_force:
            raise UsageError(f"command {act.number} ({act.name}) was taken back already")
        if act.reversal is None:
            raise NotApplicable(f"what command {act.number} ({act.name}) changed is no longer in memory: newer acts took its place, "
                                "or the training went back or was taken up again since; go back in time instead")
        return act

    def take_back(self, act: Act, training: Controls) -> str:
        """Take one back; raises what its reversal raises, and it is in force then as before: for good where the reversal is broken, so that
        it stands in no other's way."""
        if act.reversal is None:
            raise NotApplicable(f"what command {act.number} changed is no longer kept")
        later = self._later(act)
        command = registry.commands[act.name]
        try:
            with charged(command):
                said: str = given(command, act.reversal.back(training, later), str)
        except DioramaError as error:
            if isinstance(error, Faulty):
                act.in_force, act.reversal = False, None
            raise
        except (Exception, SystemExit):
            act.reversal = None
            raise
        act.in_force, act.reversal = False, None
        return said

    def _later(self, act: Act) -> list[Act]:
        return [each for each in self._acts[self._acts.index(act) + 1:] if each.in_force]

    def told(self) -> list[dict[str, Any]]:
        """The newest acts as plain data, oldest first: for the page, and for a training that is taken up from them."""
        return [
            {
                "command": act.number, "step": act.step, "name": act.name, "text": act.text, "plain": act.plain, "run": act.run,
                "examples": act.examples,
                "state": "taken back" if not act.in_force else "in force" if act.reversal is not None else "for good",
                **self._kept(act),
            }
            for act in self._acts[-_TOLD:]
        ]

    def _kept(self, act: Act) -> dict[str, Any]:
        """Of an act in force: why it cannot be taken back now, and plain values."""
        if not act.in_force or act.reversal is None:
            return {}
        found: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # the reversal may be anybody's
            if why := str(act.reversal.blocked(self._later(act))):
                found["blocked"] = why
            if isinstance(act.reversal, SettingsReversal):
                found["settings"] = act.reversal.kept()
        return found
