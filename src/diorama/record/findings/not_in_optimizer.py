"""The finding `not_in_optimizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Diagnosis, Finding, layer_of, named, series

if TYPE_CHECKING:
    from ..reader import RunReader


class NotInOptimizer(Finding):
    """Parameters that want gradients but that no optimizer holds, so that they never change.

    *Meaning* a gradient is computed for them and thrown away. A layer that is frozen on purpose (``requires_grad`` off, or
    the command ``freeze``) is not meant, nor what was seen to change all the same: an average of another network's weights, say, or
    what an optimizer holds that ``watch()`` was not given. It needs ``watch(optimizer=)``.
    """

    rests = ("held", "steps:1")

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all of them."""
        held = run.meta.get("held") or {}
        outside = [str(name) for name in held.get("outside", ())]
        outside = [name for name in outside if not (series(run, f"updates/{name}/norm")[1] > 0).any()]
        if not outside or not run.last_step > 0:
            return []
        layers = list(dict.fromkeys(layer_of(name) for name in outside))
        total = len(outside) + int(held.get("count", 0))
        return [Diagnosis(
            self.name, 0.65, f"{named([key.partition(':')[2] for key in layers])} will not learn: no optimizer holds it",
            f"The parameters {named(outside)} want a gradient, but they are in none of the optimizers that watch() was given, so "
            "they stay as they began.",
            f"{len(outside)} of {total} parameters that want a gradient are in no optimizer", tuple(layers), None, 0,
            "Certain, where watch() was given every optimizer of the training.",
            "Make the optimizer after the layers, or add them with add_param_group; to freeze them, turn requires_grad off.",
            "health",
        )]
