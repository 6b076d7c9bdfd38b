"""The finding `idle_optimizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Diagnosis, Finding, named

if TYPE_CHECKING:
    from ..reader import RunReader


class IdleOptimizer(Finding):
    """The optimizer that the run was told of steps no more, while its weights go on moving: by another that the loop has made, or by hand.

    *Meaning* its learning rate is recorded no longer, and commands that would act on it are refused, since nothing would come of them. One
    that waits is not meant: while gradients are added up, or a scaler leaves steps out, weights stand still. It needs ``watch(optimizer=)``.
    """

    rests = ("held",)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all of them."""
        idle = run.meta.get("idle") or []
        if not idle or not run.last_step > 0:
            return []
        first = min(idle, key=lambda each: int(each["since"]))
        since, latest = int(first["since"]), " at the latest" * bool(first.get("latest"))
        names = named([str(each["optimizer"]) for each in idle])
        return [Diagnosis(
            self.name, 0.8, f"{names} steps no more, and the weights move all the same",
            f"Since step {since}{latest} no step of {names} was seen, and the weights that it holds moved: something else "
            "moves them (another optimizer that the loop made, or the loop by hand), so that learning rate, gradients and updates are not recorded, "
            "and commands on it are refused.",
            f"steps of the record since then: {run.last_step - since:,}", (), None, since, "Certain for the weights that were looked at.",
            "Call recorder.changed(optimizer=…) where the loop makes another optimizer; where it moves weights by hand, pass none.", "curves",
        )]
