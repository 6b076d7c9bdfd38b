"""The command `schedule`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob, numbers_listed
from ...core.numerals import counted
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls
    from ..factors import Bend


class ScheduleCommand(Command):
    """Bend the learning rate's schedule from here on: multiply it by a factor that follows straight lines between points.

    *Meaning* ``steps=[0, 100], factors=[1, 0.1]`` lets the factor fall from 1 at the next step to 0.1 a hundred steps later, and stay there. It
    multiplies what the scheduler says and what ``learning_rate`` set, within each step of the optimizer, so that no scheduler sees
    it. Without points the schedule is no longer bent.
    """

    family = "optimizer"
    shared = True
    plain = True
    steps: str | None = knob(None, "Steps from here on, rising: 0,100.", kind="numbers", main=True)
    factors: str | None = knob(None, "The factor at each of them: 1,0.1.", kind="numbers", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Bend it."""
        from ..factors import Bend, check_followed

        if not training.factors.groups:
            raise NotApplicable("no optimizer was given to diorama.watch(optimizer=), so its schedule cannot be bent")
        training.idle.check()
        check_followed(training.subject.optimizers)
        steps, factors = numbers_listed(self.steps or ""), numbers_listed(self.factors or "")
        if len(steps) != len(factors):
            raise UsageError(f"schedule wants as many factors as steps, got {counted(len(steps), 'steps')} and "
                             f"{counted(len(factors), 'factors')}")
        if any(step < 0 or step > 1e9 for step in steps) or any(b <= a for a, b in zip(steps, steps[1:], strict=False)):
            raise UsageError(f"steps wants rising numbers from 0 to 1e9, got {self.steps}")
        if any(factor < 0 or factor > 1e6 for factor in factors):
            raise UsageError(f"factors wants numbers from 0 to 1e6, got {self.factors}")
        old = training.factors.bend
        new = Bend(training.number, tuple(steps), tuple(factors)) if steps else None
        training.set_bend(new)
        undo = SettingsReversal([Setting("schedule", partial(training.set_bend), old, new)])
        return Outcome(_shown(old), _shown(new), f"schedule: {_shown(old)} → {_shown(new)}", undo)


def _shown(bend: Bend | None) -> str:
    if bend is None:
        return "as it is"
    points = [f"{bend.start + step:.6g}: ×{factor:.4g}" for step, factor in zip(bend.steps, bend.factors, strict=True)]
    return "after step " + ", ".join(points[:6]) + (f" and {len(points) - 6} more" if len(points) > 6 else "")
