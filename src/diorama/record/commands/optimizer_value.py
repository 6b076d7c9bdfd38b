"""The command `optimizer_value`."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import NotApplicable, UsageError, not_found
from ...core.knobs import knob
from ...core.selection import spoken
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class OptimizerValueCommand(Command):
    """Set one of the optimizer's other values, such as momentum or weight decay.

    *Meaning* pairs are set one by one: ``betas.0``, ``betas.1``. The learning rate has its own command, which
    schedulers don't overwrite; where one sets this value too, the answer says that it will not last. ``layer`` gives a layer, with all that
    is in it, a value of its own: within each step of the optimizer, after which its groups are as they were; of layers within each other the
    inner one's counts.
    """

    family = "optimizer"
    shared = True
    plain = True
    setting: str = knob("momentum", "Which value: momentum, weight_decay, eps, betas.0, …", main=True)
    value: float = knob(0.0, "What it is set to.", main=True)
    layer: str | None = knob(None, "Of which layer alone; of all weights when left out.", kind="layer")
    group: int | None = knob(None, "Which parameter group; all when left out.", kind="integer", low=0)

    def apply(self, training: Controls) -> Outcome:
        """Set it in the groups, or for the layer."""
        if self.setting == "lr":
            raise UsageError("the learning rate is set by the command learning_rate, which schedulers don't overwrite")
        if not math.isfinite(self.value) or self.value < 0:
            raise UsageError(f"{self.setting} wants a finite number of at least 0, got {self.value!r}")
        if self.setting in ("momentum", "betas.0", "betas.1", "alpha", "rho") and self.value >= 1:
            raise UsageError(f"{self.setting} wants a number below 1, got {self.value!r}")
        groups = training.groups(self.group) if self.layer is None else training.groups_of(self.layer, self.group)
        for group in groups:
            if self.setting not in group.values():
                raise not_found("optimizer value", self.setting, group.values())
            if isinstance(group.values()[self.setting], bool):
                raise NotApplicable(f"{self.setting} is a switch, which cannot be changed while training")
        olds = [float(group.values()[self.setting]) for group in groups]
        if self.layer is not None:
            before = training.factors.layers.get(self.layer, {}).get(self.setting)
            held = training.factors.held(self.layer, self.setting)
            training.set_layer(self.layer, self.setting, self.value)
            undo = SettingsReversal(
                [Setting((self.setting, self.layer), partial(training.set_layer, self.layer, self.setting), before, self.value)]
            )
            return self._applied(f"{self.setting} of {spoken(self.layer)}:", olds if held is None else [held], undo)
        brief = ""
        if any(group.moves(self.setting) for group in groups) or any(
            getattr(each, "cycle_momentum", False) and self.setting in ("momentum", "betas.0") for each in training.subject.schedulers
        ):
            brief = f"; it holds until the scheduler or the loop, which moves {self.setting}, sets it again: with layer= it holds whatever they set"
        numbers = range(len(groups)) if self.group is None else [self.group]
        undo = SettingsReversal(
            Setting(
                (self.setting, number), partial(training.set_value, number, self.setting), group.values()[self.setting], self.value
            )
            for number, group in zip(numbers, groups, strict=True)
        )
        for group in groups:
            group.set(self.setting, self.value)
        training.tell_optimizer()
        return self._applied(self.setting, olds, undo, brief)

    def _applied(self, what: str, olds: list[float], undo: SettingsReversal, brief: str = "") -> Outcome:
        old = ", ".join(dict.fromkeys(f"{each:.6g}" for each in olds))
        return Outcome(old, f"{self.value:.6g}", f"{what} {old} → {self.value:.6g}{brief}", undo)
