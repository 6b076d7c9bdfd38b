"""The command `clip`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ..acts import Setting, SettingsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls
    from ..factors import Clip as Limits


class ClipCommand(Command):
    """Clip the gradients at each step of the optimizer, from now on; without a number they are no longer clipped.

    *Meaning* ``value`` bounds each number, then ``norm`` the length of all gradients that one optimizer holds, after whatever the loop
    clips itself; gradients that are not finite stay so. With a gradient scaler the unscaled ones are meant. Where a step is given a
    closure, what that makes is clipped.
    """

    family = "optimizer"
    shared = True
    norm: float | None = knob(None, "The most that all gradients together may be long.", kind="number", low=1e-12, high=1e12, log=True, main=True)
    value: float | None = knob(None, "The most that each of them may be, up or down.", kind="number", low=1e-12, high=1e12, log=True)

    def apply(self, training: Controls) -> Outcome:
        """Clip them."""
        from ..factors import Clip as Limits
        from ..factors import check_followed

        if not training.factors.groups:
            raise NotApplicable("no optimizer was given to diorama.watch(optimizer=), so its gradients cannot be clipped")
        training.idle.check()
        check_followed(training.subject.optimizers)
        old = training.factors.clip
        new = None if self.norm is None and self.value is None else Limits(self.norm, self.value)
        training.set_clip(new)
        undo = SettingsReversal([Setting("clip", partial(training.set_clip), old, new)])
        return Outcome(_shown(old), _shown(new), f"gradients: {_shown(old)} → {_shown(new)}", undo)


def _shown(clip: Limits | None) -> str:
    if clip is None:
        return "not clipped by a command"
    parts = [f"{name} {limit:.6g}" for name, limit in (("norm", clip.norm), ("value", clip.value)) if limit is not None]
    return "clipped at " + ", ".join(parts)
