"""The command `learning_rate`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.selection import spoken
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class LearningRateCommand(Command):
    """Multiply the learning rate, now and for the rest of the training, whatever a scheduler sets.

    *Meaning* the factor is applied around each optimizer step and taken back after it, so no scheduler ever sees it;
    ``factor=1`` undoes it, and ``again`` puts a factor on top of the one in force. ``value`` is turned into the factor that gives this
    learning rate now. ``layer`` gives a layer, with all that is in it, a factor of its own beside that of its group; of layers within each
    other the inner one's counts.
    """

    family = "optimizer"
    shared = True
    plain = True
    factor: float | None = knob(
        None, "What the scheduled learning rate is multiplied by.", kind="number", low=0, high=1e6, log=True, main=True
    )
    value: float | None = knob(None, "The learning rate wanted now.", kind="number", low=0, high=1e6, log=True)
    again: bool = knob(False, "Multiply what is in force by the factor, instead of the scheduled rate.")
    layer: str | None = knob(None, "Of which layer alone; of all weights when left out.", kind="layer")
    group: int | None = knob(None, "Which parameter group; all when left out.", kind="integer", low=0)

    def apply(self, training: Controls) -> Outcome:
        """Set the factor of the groups, or of the layer."""
        from ..factors import check_followed

        if (self.factor is None) == (self.value is None):
            raise UsageError("learning_rate wants either factor= or value=")
        if self.again and self.factor is None:
            raise UsageError("again= multiplies by factor=, which is not given")
        if self.layer is not None:
            return self._of_layer(training, self.layer)
        groups = training.groups(self.group)
        check_followed([group.optimizer for group in groups])
        bent = training.factors.bent
        wanted = [self._factor(group.scheduled * bent) * (group.factor if self.again else 1.0) for group in groups]
        old = _shown([training.factors.rate(group) for group in groups])
        numbers = range(len(groups)) if self.group is None else [self.group]
        undo = SettingsReversal(
            Setting(("factor", number), partial(training.set_factor, number), group.factor, factor)
            for number, group, factor in zip(numbers, groups, wanted, strict=True)
        )
        for group, factor in zip(groups, wanted, strict=True):
            group.factor = factor
        training.tell_optimizer()
        new = _shown([training.factors.rate(group) for group in groups])
        return Outcome(old, new, f"learning rate {old} → {new}", undo)

    def _of_layer(self, training: Controls, layer: str) -> Outcome:
        from ..factors import FACTOR

        groups = training.groups_of(layer, self.group)
        rates = list(dict.fromkeys(training.factors.rate(group) for group in groups))
        if self.value is not None and len(rates) > 1:
            raise UsageError(f"the weights of {layer!r} have {len(rates)} learning rates ({_shown(rates)}); give factor= instead")
        before = training.factors.layers.get(layer, {}).get(FACTOR)
        held = training.factors.held(layer, FACTOR)
        factor = self._factor(rates[0]) * (held if self.again and held is not None else 1.0)
        training.set_layer(layer, FACTOR, factor)
        old, new = (_shown([rate * times for rate in rates]) for times in (1.0 if held is None else held, factor))
        undo = SettingsReversal([Setting((FACTOR, layer), partial(training.set_layer, layer, FACTOR), before, factor)])
        still = training.subject.frozen.told_of(layer, "it does not learn")
        return Outcome(old, new, f"learning rate of {spoken(layer)}: {old} → {new}{still}", undo)

    def _factor(self, rate: float) -> float:
        if self.factor is not None:
            return self.factor
        value = self.value or 0.0
        if rate == 0 and value > 0:
            raise UsageError("the schedule's learning rate is 0 now, which no factor changes; set it later")
        return value / rate if rate else 1.0


def _shown(values: list[float]) -> str:
    unique = list(dict.fromkeys(f"{value:.6g}" for value in values))
    return ", ".join(unique)
