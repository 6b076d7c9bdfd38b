"""The command `learning_rate`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ..acts import Setting, Settings
from . import Applied, Command

if TYPE_CHECKING:
    from ..controls import Controls


class LearningRate(Command):
    """Multiply the learning rate, now and for the rest of the training, whatever a scheduler sets.

    *Meaning* the factor is applied around each optimizer step and taken back after it, so no scheduler ever sees it;
    ``factor=1`` undoes it. ``value`` is turned into the factor that gives this learning rate now.
    """

    factor: float | None = knob(
        None, "What the scheduled learning rate is multiplied by.", kind="number", low=0, high=1e6, log=True, main=True
    )
    value: float | None = knob(None, "The learning rate wanted now.", kind="number", low=0, high=1e6, log=True)
    group: int | None = knob(None, "Which parameter group; all when left out.", kind="integer", low=0)

    def apply(self, training: Controls) -> Applied:
        """Set the factor of the groups."""
        if (self.factor is None) == (self.value is None):
            raise UsageError("learning_rate wants either factor= or value=")
        groups = training.groups(self.group)
        old = _shown([group.learning_rate for group in groups])
        before = [group.factor for group in groups]
        for group in groups:
            if self.factor is not None:
                group.factor = self.factor
            elif self.value is not None:
                if group.scheduled == 0 and self.value > 0:
                    raise UsageError("the schedule's learning rate is 0 now, which no factor changes; set it later")
                group.factor = self.value / group.scheduled if group.scheduled else 1.0
        new = _shown([group.learning_rate for group in groups])
        training.tell_optimizer()
        numbers = range(len(groups)) if self.group is None else [self.group]
        undo = Settings(
            Setting(("factor", number), partial(training.set_factor, number), factor, group.factor)
            for number, group, factor in zip(numbers, groups, before, strict=True)
        )
        return Applied(old, new, f"learning rate {old} → {new}", undo)


def _shown(values: list[float]) -> str:
    unique = list(dict.fromkeys(f"{value:.6g}" for value in values))
    return ", ".join(unique)
