"""Acts: what commands did to a training, in order, and how each is taken back."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.blame import charged, failure, given
from ..core.errors import DioramaError, Faulty, NotApplicable, UsageError
from ..core.log import details

if TYPE_CHECKING:
    from ..training.differences import Difference
    from .controls import Controls

class BrokenWayBack(Faulty):
    """A way back that raised what it must not, or gave no sentence; says whether the act is in force still."""


KEPT = 256_000_000
"""Bytes that acts may keep of what was before; the oldest are forgotten first."""
_COUNT = 1000
"""Acts that are remembered."""
_TOLD = 100
"""The newest acts, which the page is told of."""


class Reversal(ABC):
    """How an act is taken back; a command hands it over with what it applied (``Outcome.reversal``).

    Whatever is held by it is held in the training's memory, so it says how many bytes that are. It is no dataclass: set ``size`` in its
    ``__init__``. One that holds a weight as it was, and puts it back where nobody trained on or changed it since:

        class Weight(Reversal):
            def __init__(self, weight):
                self.weight, self.old = weight, weight.detach().clone()
                self.size = self.old.nbytes

            def changed(self):
                self.new = self.weight.detach().clone()
                self.size += self.new.nbytes
                return self

            def back(self, training, later):
                if not torch.equal(self.weight, self.new):
                    raise NotApplicable("the weight is another since; go back in time instead")
                self.weight.copy_(self.old)
                return "bit by bit"

    A training that runs on has another weight one step later, so that this one can be taken back while it is paused. Where taking back should
    hold later too, keep what was added and take that off again, as the sentence that ``back`` returns should then say.

    What an optimizer remembers of the weight it leaves alone. Where ``back`` raises anything else than NotApplicable or UsageError, the act is in
    force as before and can be tried again.
    """

    size: int = 0
    """Bytes that it keeps."""
    examples: str = ""
    """The examples of the training's data that were changed, all of them, as ``3,14,20-40``; empty where it was something else."""

    @abstractmethod
    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Take the act back, between two steps and without gradients; ``later`` are the acts in force that came after it, oldest first. Whether
        one of them is in the way is yours to find out: ask each ``act.reversal``, where it is not None.

        Returns what a person should know of it, as the end of a sentence, or nothing. *Raises* NotApplicable or
        UsageError, before anything is changed, where it cannot be taken back.
        """

    def blocked(self, later: Sequence[Act]) -> str:  # noqa: ARG002 - for those that others can be in the way of
        """Why it cannot be taken back while acts that came after it are in force, in a sentence that names the first to go; empty where it
        can, as far as that is known without trying."""
        return ""

    def rearranged(self, weight: str) -> bool:  # noqa: ARG002 - for those that do
        """Whether the act gave a weight another shape or took it away, so that what came before it finds its numbers elsewhere. Those that take
        back an older act ask it, with the parameter's name as in ``model.named_parameters()``."""
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
    why: str = ""
    """Why there never was a way back, as the end of a sentence; empty where there was one."""
    failed: bool = False
    """Whether its way back failed: then the newest act is any other."""
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
            newest.sort(key=lambda act: not act.failed)
            if not newest:
                lasting = "".join(f"; {told(act)} {act.why}" for act in self._acts[-3:] if act.in_force and act.why)
                raise UsageError("nothing is in force that could be taken back: since this training began, went back or was taken up "
                                 f"again, no command did anything to it that can be taken back{lasting}")
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
        if act.why:
            raise NotApplicable(f"{told(act)} cannot be taken back: it {act.why}; go back in time instead")
        if act.reversal is None:
            raise NotApplicable(f"what command {act.number} ({act.name}) changed is no longer in memory: newer acts took its place, "
                                "or the training went back or was taken up again since; go back in time instead")
        return act

    def take_back(self, act: Act, training: Controls) -> str:
        """Take one back. *Raises* what its reversal raises, and it is in force then as before; BrokenWayBack where that is broken. It can be
        tried again then by its number, and stands in no other's way."""
        if act.reversal is None:
            raise NotApplicable(f"what command {act.number} changed is no longer kept")
        later = self._later(act)
        command = registry.commands[act.name]
        try:
            with charged(command):
                said: str = given(command, act.reversal.back(training, later), str)
        except Faulty as error:
            act.in_force, act.reversal = False, None
            raise BrokenWayBack(f"{error}; {told(act)} was taken back, as far as that goes") from error
        except DioramaError:
            raise
        except (Exception, SystemExit) as error:
            act.failed = True
            where = details(error, f"while taking back {told(act)}")
            raise BrokenWayBack(
                f"{told(act)} could not be taken back: its way back failed, by {failure(error)}{where}; whatever that had changed by then stays, "
                f"and the act is in force as before: undo command={act.number} tries it again") from error
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


def cannot_go_back(step: int | None, skip: int, command: int | None) -> tuple[str, str, str]:  # noqa: ARG001 - of one shape with the recorder's
    """Goes back where nobody records. *Raises* NotApplicable."""
    raise NotApplicable("nobody records this training, so it has no checkpoint to go back to")
