"""The command `rule`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core import registry
from ...core.errors import UsageError, not_found
from ...core.knobs import build, knob, knobs_of
from ..acts import Setting, SettingsReversal
from . import Command, Outcome, check_reach

if TYPE_CHECKING:
    from ..controls import Controls

_SHARES = ("/dead", "/saturated", "/moved")
_SIZES = ("/norm", "/ratio", "/std")
"""How series of ours are called that are shares, or never below zero."""
WHENS = ("not_finite", "signal", "not_fallen", "dead_units")


class RuleCommand(Command):
    """Set ahead what is to be done: another command, sent by the training itself when a signal says so.

    *Meaning* it is judged from what the training has just read, after each step that reads it, and acts at most once in ``steps``.
    ``not_finite``: a number of the loop (or ``signal``) is NaN or infinite. ``signal``: a series is ``above`` or ``below`` a number in each
    reading of ``steps`` steps. ``not_fallen``: it has had no new lowest value for ``steps`` steps. ``dead_units``: units of ``layer`` answered
    nothing in each reading of ``steps`` steps (``above``: more than this share of them); a command on a unit is sent for each, eight at
    most at a time. It acts each time anew, ``times`` at most; where what it sent changed nothing it waits until its condition was false once.
    What it sends is a command as any: logged with its reason, an event, taken back by ``undo``. A rule lasts as long
    as the process; ``unrule`` ends it. *Raises* NotApplicable for a command that would not reach all processes of the training.
    """

    family = "rules"
    shared = True
    plain = True
    later = True
    when: str = knob("not_finite", "What must be so.", choices=WHENS, main=True)
    signal: str | None = knob(None, "Which series: loss, probe/loss, accuracy, ….", kind="series", main=True)
    layer: str | None = knob(None, "Which layer, for dead_units.", kind="layer")
    steps: int = knob(
        100, "For how many steps it must be so, and how many lie at least between two acts.", low=0, high=10**9, unit="steps", main=True
    )
    above: float | None = knob(None, "Above which number.", kind="number")
    below: float | None = knob(None, "Below which number.", kind="number")
    do: str = knob("pause", "Which command is sent.", main=True)
    times: int | None = knob(None, "How often it acts at most; as often as it comes true when left out.", kind="integer", low=1, high=10**9)
    with_knobs: str = knob("", "Its knobs, as factor=0.5; layer=conv2. In Python they may stand beside the others.")

    @classmethod
    def gathered(cls, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """Knobs of the command that is sent stand beside the rule's own where they have other names."""
        own = knobs_of(cls)
        others = {name: value for name, value in knobs.items() if name not in own}
        if not others or "with_knobs" in knobs:
            return dict(knobs)
        return {**{name: value for name, value in knobs.items() if name in own}, "with_knobs": json.dumps(others)}

    def apply(self, training: Controls) -> Outcome:
        """Let it be in force."""
        from ...model.plain_module import processes
        from ..rules import SetRule

        if training.records:
            self.check(training)
        command, values, _ = self._sent()
        sent = build(command, values)
        if (count := processes()) > 1:  # refused now, not when it comes true
            check_reach(sent, count, training.agreed and sent.shared, training.subject.spread)
        rules = training.rules
        made = SetRule(rules.number(), self.when, self._signal, self.layer, self.steps, self.above, self.below, self.do, values, times=self.times)
        rules.put(made, True)
        training.tell_rules()
        undo = SettingsReversal([Setting(("rule", made.number), partial(training.put_rule, made), False, True)])
        on = "; each time it acts on top of the last, without end: times= bounds that" if values.get("again") and self.times is None else ""
        return Outcome("", str(made.number), f"rule {made.number}: {made.told}{on}", undo)

    def check(self, training: Controls) -> None:
        """A rule that could never come true, or whose command would be refused; series are known where the training is recorded."""
        from ...model.plain_module import processes
        from ..rehearsal import rehearse

        command, values, found = self._sent()
        sent = build(command, values)
        known = knobs_of(command)
        check_reach(sent, processes(), sent.shared, training.subject.spread)
        self._check("unit" in known and not values.get("unit") and not values.get("layer"))
        self._check_reached(training, self._signal)
        rehearse(training, build(command, {**values, "unit": f"{self.layer}/0"}) if found and not {"unit", "layer"} & set(values) else sent)

    @property
    def _signal(self) -> str | None:
        return self.signal or ("probe/loss" if self.when == "not_fallen" else None)

    def _sent(self) -> tuple[type[Command], dict[str, Any], bool]:
        """The command that is sent, its knobs, and whether the rule finds the units."""
        if self.do in ("rule", "unrule"):
            raise UsageError(f"a rule sends another command than {self.do}")
        command = registry.commands[self.do]
        values = knobs_in(self.with_knobs)
        known = knobs_of(command)
        found = self.when == "dead_units" and "unit" in known  # the units, which the rule finds by itself
        if "layer" in known and "layer" not in values and self.layer is not None and not found:
            values["layer"] = self.layer
        if self.do == "learning_rate" and "factor" in values:
            values.setdefault("again", True)  # each time on top of the last, or it would act once
        return command, values, found

    def _check(self, wants_unit: bool) -> None:
        if self.when == "dead_units" and self.layer is None:
            raise UsageError("a rule on dead_units wants layer=")
        if self.when == "signal" and (self.signal is None or (self.above is None and self.below is None)):
            raise UsageError("a rule on a signal wants signal= and above= or below=")
        if wants_unit and self.when != "dead_units":
            raise UsageError(f"{self.do} wants unit=, which only a rule on dead_units finds by itself")


    def _check_reached(self, training: Controls, signal: str | None) -> None:
        """*Raises* UsageError, NotApplicable for a rule that could never come true."""
        if self.when != "signal":
            idle = [name for name in ("above", "below") if getattr(self, name) is not None and (self.when, name) != ("dead_units", "above")]
            if idle:
                raise UsageError(f"{idle[0]}= says nothing in a rule on {self.when}; give when='signal', or leave it out")
        if self.when == "dead_units":
            table = training.subject.table
            known = [layer.name for layer in table] if table is not None else []
            if known and self.layer not in known:
                raise not_found("layer", self.layer or "", known)
            if self.above is not None and self.above >= 1:
                raise UsageError(f"above is a share of a layer's units, which is never more than 1; got {self.above:g}")
        elif signal is not None and signal not in training.rules.seen:
            raise UsageError(f"{not_found('series', signal, sorted(training.rules.seen))}; a rule can be set on a series once it was read")
        low, high = _ends(signal or "")
        if self.when == "signal" and (self.above is None or self.above >= high) and (self.below is None or self.below <= low):
            bound = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
            raise UsageError(f"{signal} lies between {low:g} and {high:g}, so it is never {bound}")


def _ends(signal: str) -> tuple[float, float]:
    """Between which ends a series of ours always lies, as far as its name tells."""
    if signal == "probe/accuracy" or "/" in signal and signal.endswith(_SHARES):
        return 0.0, 1.0
    if signal.partition("/")[0] == "learning_rate" or "/" in signal and signal.endswith(_SIZES):
        return 0.0, math.inf
    return -math.inf, math.inf


_COMMA = re.compile(r",\s*[A-Za-z_]+\s*=")
"""The next knob behind a comma; a comma alone may be part of a list."""


def knobs_in(text: str) -> dict[str, Any]:
    """A command's knobs from one text: ``factor=0.5; layer=conv2``, or as JSON."""
    text = text.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise UsageError(f"with_knobs wants knobs as factor=0.5; layer=conv2, got {text[:60]!r}") from error
        return dict(found)
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    if any(not sign for _, sign, _ in parts):
        raise UsageError(f"with_knobs wants knobs as factor=0.5; layer=conv2, got {text[:60]!r}")
    if any(_COMMA.search(value) for _, _, value in parts):
        raise UsageError(f"with_knobs wants ; between knobs, as in factor=0.5; layer=conv2, got {text[:60]!r}")
    return {name.strip(): value.strip() for name, _, value in parts}
