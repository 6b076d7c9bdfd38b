"""The command `rule`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core import registry
from ...core.errors import UsageError
from ...core.knobs import build, knob, knobs_of
from ..acts import Setting, SettingsReversal
from . import Applied, Command, check_reach

if TYPE_CHECKING:
    from ..controls import Controls

WHENS = ("not_finite", "signal", "not_fallen", "dead_units")


class RuleCommand(Command):
    """Set ahead what is to be done: another command, sent by the training itself when a signal says so.

    *Meaning* it is judged from what the training has just read, after each step that reads it, and acts at most once in ``steps``.
    ``not_finite``: a number of the loop (or ``signal``) is NaN or infinite. ``signal``: a series is ``above`` or ``below`` a number in each
    reading of ``steps`` steps. ``not_fallen``: it has had no new lowest value for ``steps`` steps. ``dead_units``: units of ``layer`` answered
    nothing in each reading of ``steps`` steps (``above``: more than this share of them); a command on a unit is sent for each, eight at
    most at a time. What it sends is a command as any: logged with its reason, an event, taken back by ``undo``. A rule lasts as long
    as the process; ``unrule`` ends it. *Raises* NotApplicable for a command that would not reach all processes of the training.
    """

    family = "rules"
    shared = True
    plain = True
    when: str = knob("not_finite", "What must be so.", choices=WHENS, main=True)
    signal: str | None = knob(None, "Which series: loss, probe/loss, accuracy, ….", kind="series", main=True)
    layer: str | None = knob(None, "Which layer, for dead_units.", kind="layer")
    steps: int = knob(
        100, "For how many steps it must be so, and how many lie at least between two acts.", low=0, high=10**9, unit="steps", main=True
    )
    above: float | None = knob(None, "Above which number.", kind="number")
    below: float | None = knob(None, "Below which number.", kind="number")
    do: str = knob("pause", "Which command is sent.", main=True)
    with_knobs: str = knob("", "Its knobs, as factor=0.5; layer=conv2. In Python they may stand beside the others.")

    @classmethod
    def gathered(cls, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """Knobs of the command that is sent stand beside the rule's own where they have other names."""
        own = knobs_of(cls)
        others = {name: value for name, value in knobs.items() if name not in own}
        if not others or "with_knobs" in knobs:
            return dict(knobs)
        return {**{name: value for name, value in knobs.items() if name in own}, "with_knobs": json.dumps(others)}

    def apply(self, training: Controls) -> Applied:
        """Let it be in force."""
        from ..controls import processes
        from ..rules import SetRule

        if self.do in ("rule", "unrule"):
            raise UsageError(f"a rule sends another command than {self.do}")
        command = registry.commands[self.do]
        values = knobs_in(self.with_knobs)
        known = knobs_of(command)
        found = self.when == "dead_units" and "unit" in known  # the units, which the rule finds by itself
        if "layer" in known and "layer" not in values and self.layer is not None and not found:
            values["layer"] = self.layer
        sent = build(command, values)
        if (count := processes()) > 1:  # refused now, not when it comes true
            check_reach(sent, count, training.agreed and sent.shared, training.subject.spread)
        self._check("unit" in known and not values.get("unit") and not values.get("layer"))
        rules = training.rules
        signal = self.signal or ("probe/loss" if self.when == "not_fallen" else None)
        made = SetRule(rules.number(), self.when, signal, self.layer, self.steps, self.above, self.below, self.do, values)
        rules.put(made, True)
        training.tell_rules()
        undo = SettingsReversal([Setting(("rule", made.number), partial(training.put_rule, made), False, True)])
        return Applied("", str(made.number), f"rule {made.number}: {made.told}", undo)

    def _check(self, wants_unit: bool) -> None:
        if self.when == "dead_units" and self.layer is None:
            raise UsageError("a rule on dead_units wants layer=")
        if self.when == "signal" and (self.signal is None or (self.above is None and self.below is None)):
            raise UsageError("a rule on a signal wants signal= and above= or below=")
        if wants_unit and self.when != "dead_units":
            raise UsageError(f"{self.do} wants unit=, which only a rule on dead_units finds by itself")


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
    return {name.strip(): value.strip() for name, _, value in parts}
