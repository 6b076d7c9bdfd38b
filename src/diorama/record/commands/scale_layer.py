"""The command `scale_layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.selection import own_name, spoken
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from ..controls import Controls


class ScaleLayerCommand(Command):
    """Multiply a layer's weights and biases by a factor.

    *Meaning* what a convolution, dense layer, embedding or norm answers is multiplied by it too; of a block all weights in it are, and of a
    recurrent layer those of all gates. What the optimizer remembers stays. Taken back later, they are divided by the factor, and what
    was learnt since stays.
    *Raises* UsageError where numbers would go beyond what the weights' type can hold, NotApplicable where the layer computes its weights from
    others at each pass, and the factor is divided out.
    """

    family = "weights"
    shared = True
    previewed = True
    layer: str = knob("", "Which layer, or a block with all layers in it.", kind="layer", main=True)
    factor: float = knob(1.0, "What its weights are multiplied by.", low=-1e6, high=1e6, main=True)

    def apply(self, training: Controls) -> Outcome:
        """Scale it."""
        from ...training.differences import TensorPlace, changed
        from ...training.unit_weights import computed, layer_parameters, owner, same, tied

        subject = training.subject
        places = [TensorPlace(name) for name in layer_parameters(subject, self.layer)]
        if self.factor == 1:
            raise UsageError("factor=1 would change nothing")

        def times(factor: float) -> float:
            total = 0.0
            for place in places:
                tensor = place.find(subject)
                if tensor is None:
                    raise NotApplicable(f"{place.name} is gone; go back in time instead")
                tensor.detach().mul_(factor)
                total += float(tensor.detach().abs().double().square().sum())
            return float(total**0.5)

        new = 0.0

        def act() -> None:
            nonlocal new
            new = times(self.factor)
            for module, weights in before:
                now = computed(module)
                if lost := [name for name, weight in weights.items() if not same(weight * self.factor, now[name])]:
                    raise NotApplicable(
                        f"{self.layer!r} computes its {lost[0]} from other weights at each pass, and with these times {self.factor:g} it would "
                        f"not be {self.factor:g} times what it is; edit them one by one with edit_weight"
                    )

        modules = [owner(subject, place.name)[1] for place in places]
        before = [(module, weights) for module in {id(each): each for each in modules}.values() if (weights := computed(module))]
        old = times(1.0)
        differences = changed(subject, places, act)
        inverse = (lambda: times(1 / self.factor)) if self.factor else None
        layer = spoken(own_name(self.layer, dict(subject.model.named_modules())))
        text = f"scaled {layer} by {self.factor:g} (its weights' length {old:.4g} → {new:.4g})"
        return Outcome(f"{old:.6g}", f"{new:.6g}", text + tied(subject, [p.name for p in places]), WeightsReversal(differences, inverse))
