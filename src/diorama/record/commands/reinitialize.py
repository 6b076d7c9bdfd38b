"""The command `reinitialize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class ReinitializeCommand(Command):
    """Give a unit, or a whole layer, the weights of a new start, so that it can learn something else.

    *Meaning* its own weights and bias are drawn as its kind of layer draws them (``reset_parameters`` of the module) from a generator of
    their own: no other random number of the training changes. Running statistics of a norm stay. What the optimizer remembers of these
    weights begins anew; Adam counts steps for whole tensors, so that the unit's first updates are up to 7 times the learning rate.
    *Raises* NotApplicable for a layer that cannot start anew, and for an optimizer that remembers something of another shape than the weights',
    or all of them as one.
    """

    family = "weights"
    shared = True
    previewed = True
    unit: str = knob("", "Which unit, such as conv2/7.", kind="unit", main=True)
    layer: str | None = knob(None, "Instead of a unit a whole layer, or a block with all layers in it.", kind="layer")
    seed: int = knob(0, "Another number draws other weights.", low=0, high=2**31 - 1)

    def apply(self, training: Controls) -> Outcome:
        """Draw it anew."""
        from ...training.differences import changed
        from ...training.unit_weights import LayerWeights, UnitWeights, check_forgets, forget, fresh

        if self.unit and self.layer:
            raise UsageError("give either unit= or layer=")
        unit = LayerWeights.of(training.subject, self.layer) if self.layer else UnitWeights.of(training.subject, self.unit)
        check_forgets(unit)
        drawn = fresh(training.subject, unit, self.seed)
        old = unit.norm()

        def act() -> None:
            for place, index in unit.weights():
                if place.optimizer is None:
                    unit.tensor(place)[index] = drawn[place.name][index]
            for place, index in unit.weights():
                if place.optimizer is not None:
                    forget(place, unit.tensor(place), index, unit)

        differences = changed(training.subject, [place for place, _ in unit.weights()], act)
        if not differences:
            raise UsageError(f"{unit.name} has these very weights already; another seed draws others")
        new = unit.norm()
        still = training.subject.frozen.told_of(unit.layer, "they do not learn")
        text = f"reinitialized {unit.name} (its weights' length {old:.4g} → {new:.4g}){unit.told()}{still}"
        return Outcome(f"{old:.6g}", f"{new:.6g}", text, WeightsReversal(differences))
