"""The command `unrule`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class UnruleCommand(Command):
    """End a rule that was set ahead."""

    family = "rules"
    shared = True
    plain = True
    later = True
    rule: int = knob(1, "The rule's number.", low=1, main=True)

    def apply(self, training: Controls) -> Outcome:
        """Let it be in force no more."""
        known = training.rules.known
        if self.rule not in known:
            raise UsageError(f"no rule {self.rule} is in force; there are: {', '.join(map(str, known)) or 'none'}")
        rule = known[self.rule]
        training.put_rule(rule, False)
        undo = SettingsReversal([Setting(("rule", rule.number), partial(training.put_rule, rule), True, False)])
        return Outcome("in force", "ended", f"ended rule {rule.number} ({rule.told})", undo)
