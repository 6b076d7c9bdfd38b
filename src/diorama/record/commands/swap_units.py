"""The command `swap_units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import UsageError
from ...core.knobs import knob
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class SwapUnitsCommand(Command):
    """Let two units change places: each gets the weights and bias of the other.

    *Meaning* what comes in is swapped, with running statistics of a norm, and so is what the optimizer remembers of it; later layers read
    the one in the place of the other. Taken back later, they are swapped again, with all that they learnt.
    *Raises* NotApplicable where the two have weights of other shapes, or the optimizer remembers something of another shape than theirs.
    """

    family = "weights"
    shared = True
    previewed = True
    unit: str = knob("", "Which unit, such as conv2/7.", kind="unit", main=True)
    to: str = knob("", "The unit with which it changes places, such as conv2/9.", kind="unit", main=True)

    def apply(self, training: Controls) -> Outcome:
        """Swap them."""
        from ...training.differences import changed
        from ...training.unit_weights import UnitWeights, pairs

        one, other = UnitWeights.of(training.subject, self.unit), UnitWeights.of(training.subject, self.to, "to")
        both = pairs(one, other)

        def act() -> None:
            for (place, index), (at, there) in both:
                mine, its = one.tensor(place)[index].clone(), other.tensor(at)[there].clone()
                one.tensor(place)[index] = its
                other.tensor(at)[there] = mine

        differences = changed(training.subject, [place for pair in both for place, _ in pair], act, along=True)
        if not differences:
            raise UsageError(f"{one.name} and {other.name} are the same, so nothing would change")
        text = f"swapped {one.name} and {other.name}{one.told() or other.told()}"
        return Outcome(f"{one.name}, {other.name}", f"{other.name}, {one.name}", text, WeightsReversal(differences, act))
