"""Rules that a person set ahead: what is to be done when a signal says so, judged in the trainer from what it has just read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..core.knobs import knobs_of
from ..core.selection import spoken, spoken_unit
from ..training.surgery.births import Rearrangement, layer_place, numbers

if TYPE_CHECKING:
    from .step import LayerReading

MOST = 8
"""Units for which a rule acts at one time."""


@dataclasses.dataclass
class DueRule:
    """A rule that has come true: why, and the command that it sends."""

    rule: int
    reason: str
    do: str
    knobs: dict[str, Any]


@dataclasses.dataclass(eq=False)
class SetRule:
    """A rule in force, with what it has seen."""

    number: int
    when: str
    signal: str | None
    layer: str | None
    steps: int
    above: float | None
    below: float | None
    do: str
    knobs: dict[str, Any]
    since: int | None = None
    """The reading from which on it has held."""
    best: float = math.inf
    last: int = -(10**12)
    """The step at which it acted last."""
    fired: int = 0
    """How often it acted."""
    times: int | None = None
    """How often it acts at most; without end where that is left out."""
    resting: bool = False
    """Whether it waits until its condition was false once, as what it did last changed nothing."""
    silent: NDArray[np.int64] | None = None
    """By unit of the layer: the reading from which on it has been silent, −1 for one that answers."""

    def kept(self) -> dict[str, Any]:
        """The rule and what it has seen, as plain data."""
        found = dataclasses.asdict(self)
        found["best"] = self.best if math.isfinite(self.best) else None
        found["silent"] = None if self.silent is None else self.silent.tolist()
        return found

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> SetRule:
        """The rule that was kept."""
        best, silent = kept["best"], kept["silent"]
        return cls(**{**kept, "best": math.inf if best is None else best, "silent": None if silent is None else np.asarray(silent, np.int64)})

    @property
    def told(self) -> str:
        """The rule in words."""
        bounds = [f"{word} {value:g}" for word, value in (("above", self.above), ("below", self.below)) if value is not None]
        told = {
            "not_finite": f"{self.signal or 'a number of the loop'} is not finite",
            "signal": f"{self.signal} is {' or '.join(bounds)} for {self.steps} steps",
            "not_fallen": f"{self.signal} has not fallen for {self.steps} steps",
            "dead_units": f"units of {spoken(self.layer or '')} are dead for {self.steps} steps"
            + (f", more than {self.above:.0%} of them" if self.above else ""),
        }[self.when]
        knobs = ", ".join(f"{name}={value}" for name, value in self.knobs.items())
        most = "" if self.times is None else ", once at most" if self.times == 1 else f", {self.times} times at most"
        return f"if {told}: {self.do}{f' ({knobs})' if knobs else ''}{most}"

    def judge(self, number: int, values: Mapping[str, Any], layers: Mapping[str, LayerReading]) -> list[DueRule]:
        """What it sends after a step, if anything: at most once in its number of steps, and nothing while it rests."""
        reason, units = self._reason(number, values, layers)
        if not reason or number - self.last < max(1, self.steps) or self.fired == self.times or (self.resting and units is None):
            return []
        self.last = number
        self.fired += 1
        if self.when == "not_fallen":
            self.since = number  # so many steps from here on it waits again
        if units is None:
            return [DueRule(self.number, reason, self.do, self.knobs)]
        assert self.silent is not None
        self.silent[units] = -1  # each is watched anew
        layer = self.layer or ""
        return [DueRule(self.number, f"{spoken_unit(layer, unit)} {reason}", self.do, {**self.knobs, "unit": f"{layer}/{unit}"}) for unit in units]

    def _reason(
        self, number: int, values: Mapping[str, Any], layers: Mapping[str, LayerReading]
    ) -> tuple[str, list[int] | None]:
        if self.when == "dead_units":
            reading = layers.get(self.layer or "")
            return self._dead(number, reading) if reading is not None and reading.silent is not None else ("", None)
        if self.when == "not_finite":
            names = [self.signal] if self.signal else [name for name in values if "/" not in name]
            found = {name: value for name in names if (value := _number(values.get(name))) is not None and not math.isfinite(value)}
            self.resting &= bool(found) or all(_number(values.get(name)) is None for name in names)
            return ", ".join(f"{name} was {value} at step {number}" for name, value in found.items()), None
        value = _number(values.get(self.signal or ""))
        if value is None:
            return "", None
        if self.when == "not_fallen":
            self.resting &= value >= self.best
            if value < self.best or self.since is None:
                self.best, self.since = min(value, self.best), number
            long = number - self.since >= self.steps
            return f"{self.signal} has not fallen since step {self.since} ({value:.4g}, best {self.best:.4g})" if long else "", None
        beyond = (self.above is not None and value > self.above) or (self.below is not None and value < self.below)
        self.since = (number if self.since is None else self.since) if beyond else None
        self.resting &= beyond
        long = self.since is not None and number - self.since >= self.steps
        return f"{self.signal} has been so since step {self.since}, {value:.4g} at step {number}" if long else "", None

    def _dead(self, number: int, reading: LayerReading) -> tuple[str, list[int] | None]:
        """The units that have been silent for so long; each of them, where the command is for units."""
        silent = np.asarray(reading.silent.cpu(), bool)
        if self.silent is None or len(self.silent) != len(silent):
            self.silent = np.full(len(silent), -1)
        self.silent = np.where(silent, np.where(self.silent < 0, number, self.silent), -1)
        long = (self.silent >= 0) & (number - self.silent >= self.steps)
        if not long.any() or long.mean() <= (self.above or 0.0):
            self.resting = False
            return "", None
        if "unit" in knobs_of(registry.commands[self.do]) and not {"unit", "layer"} & set(self.knobs):
            return f"was dead in each reading of {self.steps} steps up to step {number}", np.flatnonzero(long)[:MOST].tolist()
        return f"{long.mean():.0%} of {spoken(self.layer or '')} was dead in each reading of {self.steps} steps up to step {number}", None


class Rules:
    """The rules in force in this training, by their numbers."""

    def __init__(self) -> None:
        self.known: dict[int, SetRule] = {}
        self._count = 0
        self.seen: set[str] = set()
        """The series that were read so far."""
        self.due: list[DueRule] = []
        """What came true and is not sent yet."""

    def number(self) -> int:
        """The number of the next rule."""
        self._count += 1
        return self._count

    def kept(self) -> list[dict[str, Any]]:
        """The rules in force with what they have seen, as plain data, from which they are taken up again."""
        return [rule.kept() for rule in self.known.values()]

    def take_up(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """Let these rules be in force, and no others."""
        self.known = {rule.number: rule for rule in map(SetRule.of, kept)}
        self._count = max((self._count, *self.known))

    def joined(self, then: Rules) -> Rules:
        """These rules with those of an earlier moment that are not in force any more."""
        self.known = {**then.known, **self.known}
        return self

    def put(self, rule: SetRule, there: bool) -> None:
        """Let a rule be in force, or not any more."""
        if there:
            self.known[rule.number] = rule
        else:
            self.known.pop(rule.number, None)

    def rest(self, sender: str) -> str:
        """What a rule sent changed nothing: it waits until its condition was false once. Says so, where a rule sent it."""
        word, _, number = sender.partition(" ")
        rule = self.known.get(int(number)) if word == "rule" and number.isdecimal() else None
        if rule is None:
            return ""
        rule.resting = True
        return f"; rule {rule.number} waits until its condition was false once"

    def often(self, number: int) -> str:
        """How often a rule has acted, as the end of a sentence; nothing of one that did once."""
        rule = self.known.get(number)
        return f"; it has acted {rule.fired} times" if rule is not None and rule.fired > 1 else ""

    def follow(self, moved: Mapping[str, Rearrangement], back: bool = False) -> None:
        """Units came to lie elsewhere, by an act or because one was taken back: what was seen of each goes with it."""
        for rule in self.known.values():
            change = moved.get(layer_place(rule.layer or ""))
            if change is None or rule.silent is None:
                continue
            old = numbers(change.old)
            there, now = (np.flatnonzero(old >= 0), old[old >= 0])[:: -1 if back else 1]
            if len(rule.silent) == (len(old) if back else change.before):
                seen = np.full(change.before if back else len(old), -1)
                seen[there] = rule.silent[now]
                rule.silent = seen

    def judge(self, number: int, values: Mapping[str, Any], layers: Mapping[str, LayerReading] | None = None) -> None:
        """Look whether a rule has come true after a step, from the numbers and the layers that were read of it."""
        self.seen.update(name for name, value in values.items() if not hasattr(value, "statistics") and not getattr(value, "ndim", 0))
        for rule in self.known.values():
            self.due += rule.judge(number, values, layers or {})

    def taken(self) -> list[DueRule]:
        """What came true since the last call."""
        due, self.due = self.due, []
        return due

    def told(self) -> list[dict[str, Any]]:
        """The rules in force as plain data."""
        return [
            {"rule": rule.number, "text": rule.told, "fired": rule.fired, "last": rule.last if rule.fired else None, "kept": rule.kept()}
            for rule in self.known.values()
        ]


def _number(value: Any) -> float | None:
    """A plain number of a step; None for what is none."""
    try:
        return None if value is None or hasattr(value, "statistics") else float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
