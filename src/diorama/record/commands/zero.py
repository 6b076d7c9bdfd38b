"""The command `zero`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.knobs import knob
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class ZeroCommand(Command):
    """Set a unit's own weights and bias to zero, so that it answers nothing.

    *Meaning* what comes in is zeroed: a filter, a row, a column of an embedding, scale and shift of a norm, the rows of all gates. What
    the optimizer remembers of these weights begins anew too, so that no momentum moves them off. They learn on from there, but not
    where a ReLU follows at once: its slope at 0 is 0, so that the unit stays off.
    *Raises* NotApplicable for an optimizer that remembers something of another shape than the weights', or all of them as one.
    """

    family = "weights"
    shared = True
    previewed = True
    unit: str = knob("", "Which unit, such as conv2/7.", kind="unit", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Zero it."""
        from ...training.differences import changed
        from ...training.unit_weights import UnitWeights, check_forgets, forget

        unit = UnitWeights.of(training.subject, self.unit)
        check_forgets(unit)
        old = unit.norm()

        def act() -> None:
            for place, index in unit.weights():
                tensor = unit.tensor(place)
                if place.optimizer is None:
                    tensor[index] = 0
                else:
                    forget(place, tensor, index, unit)

        differences = changed(training.subject, [place for place, _ in unit.weights()], act)
        text = f"zeroed {unit.name} (its weights' length was {old:.4g}){unit.told()}"
        return Outcome(f"{old:.6g}", "0", text, WeightsReversal(differences))
