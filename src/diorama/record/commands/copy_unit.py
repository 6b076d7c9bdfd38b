"""The command `copy_unit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class CopyUnitCommand(Command):
    """Make a unit the copy of another one: the same weights and bias.

    *Meaning* what comes in is copied, with running statistics of a norm, and so is what the optimizer remembers of it; by which weights
    later layers read the two stays as it is, and tells the twins apart from the next step on.
    *Raises* NotApplicable where the two have weights of other shapes, or the optimizer remembers something of another shape than theirs.
    """

    family = "weights"
    shared = True
    previewed = True
    unit: str = knob("", "Which unit is copied, such as conv2/7.", kind="unit", main=True)
    to: str = knob("", "Which unit becomes its copy, such as conv2/9.", kind="unit", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Copy it."""
        from ...training.differences import changed
        from ...training.unit_weights import UnitWeights, pairs

        one, other = UnitWeights.of(training.subject, self.unit), UnitWeights.of(training.subject, self.to, "to")
        both = pairs(one, other)
        old = other.norm()

        def act() -> None:
            for (place, index), (at, there) in both:
                other.tensor(at)[there] = one.tensor(place)[index].clone()

        differences = changed(training.subject, [at for _, (at, _) in both], act, along=True)
        if not differences:
            raise UsageError(f"{other.name} is the same as {one.name} already")
        new = other.norm()
        text = f"copied {one.name} to {other.name} (its weights' length {old:.4g} → {new:.4g}){other.told()}"
        return Outcome(f"{old:.6g}", f"{new:.6g}", text, WeightsReversal(differences))
