"""The command `edit_weight`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.selection import as_key, spoken_weight
from ..acts import WeightsReversal
from . import Command, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from ..controls import Controls


class EditWeightCommand(Command):
    """Set or scale a weight, a kernel, a filter or a bias by hand.

    *Meaning* the key names numbers of a layer's main weight or of a parameter: ``weight:conv1/3,0`` is the kernel by which filter 3 reads
    channel 0, ``weight:conv1/3`` the whole filter, ``weight:fc/3,1`` one number, ``weight:conv1.bias/3`` a bias. ``value`` sets
    them all, ``scale`` multiplies them. What the optimizer remembers of them stays, and they learn on from there. Weights that a layer
    computes from others at each pass (``weight_norm`` and the like) are changed by these, each by its own name.
    *Raises* UsageError for a position that is not there, and where numbers would go beyond what the weights' type can hold; NotApplicable
    where what is computed from them would stay as it is.
    """

    family = "weights"
    shared = True
    previewed = True
    key: str = knob("", "Which numbers, such as weight:conv1/3,0 or weight:conv1.bias/3.", main=True)
    value: float | None = knob(None, "What they are set to.", kind="number", low=-1e30, high=1e30, main=True)
    scale: float | None = knob(None, "What they are multiplied by.", kind="number", low=-1e6, high=1e6)

    def apply(self, training: Controls) -> Outcome:
        """Edit them."""
        from ...model.edits import parameter_name
        from ...model.plain_module import local, named_modules
        from ...training.differences import TensorPlace, changed
        from ...training.unit_weights import computed, owner, same, sources, tied

        if (self.value is None) == (self.scale is None):
            raise UsageError("edit_weight wants either value= or scale=")
        subject = training.subject
        if subject.spread:
            raise NotApplicable(f"no process has all weights, which are spread by {subject.spread}: none can be changed")
        key = as_key("weight", self.key)
        place = TensorPlace(parameter_name(key.name, named_modules(subject.model), subject.model))
        path, module = owner(subject, place.name)
        made_from = sources(path, module)
        if place.name != key.name and place.name in made_from:
            raise NotApplicable(
                f"the weights of {key.name!r} are computed at each pass from {', '.join(made_from)}; edit one of these by its name, such as "
                f"weight:{made_from[0]}/0"
            )
        found = place.find(subject)
        if found is None or key.place:
            raise UsageError(f"a weight looks like weight:conv1/3,0, got {self.key!r}")
        tensor = local(found.detach())
        if len(key.index) > tensor.dim() or any(k >= n for k, n in zip(key.index, tensor.shape, strict=False)):
            raise UsageError(f"{place.name} has shape {tuple(tensor.shape)}, got the position {key.index}")
        old = _shown(tensor[key.index])

        def act() -> None:
            if self.value is not None:
                tensor[key.index] = self.value
            elif self.scale is not None:
                tensor[key.index] *= self.scale
            now = computed(module) if before else {}
            if before and all(same(before[name], now[name]) for name in before):
                if f"{place.name.removesuffix('_orig')}_mask" in dict(subject.model.named_buffers()):
                    raise NotApplicable(f"{place.name} is pruned there: its mask hides these numbers, so the layer's weights would stay as "
                                        "they are; edit numbers that it lets through")
                raise NotApplicable(f"what the layer computes from {place.name} at each pass does not follow that: its weights would stay as they "
                                    f"are (a common factor is divided out); edit single numbers of it, or another of {', '.join(made_from)}")

        before = computed(module) if place.name in made_from else {}
        differences = changed(subject, [place], act)
        if not differences:
            raise UsageError(f"{self.key} is {old} already, so nothing would change")
        new = _shown(tensor[key.index])
        text = f"edited {spoken_weight(key)}: {old} → {new}{tied(subject, [place.name])}"
        return Outcome(old, new, text, WeightsReversal(differences))


def _shown(numbers: Tensor) -> str:
    """One number, or the span of several."""
    if numbers.numel() == 1:
        return f"{numbers.item():.6g}"
    if numbers.is_complex():
        return f"{numbers.numel():,} numbers"
    return f"{numbers.numel():,} numbers from {float(numbers.min()):.4g} to {float(numbers.max()):.4g}"
