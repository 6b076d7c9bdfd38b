"""What an act changed in a training's tensors, number by number: kept small, and put back bit by bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError
from ..model.plain_module import local, named_modules
from .optimizers import check_elsewhere, copies_of_weights

if TYPE_CHECKING:
    from .subject import Subject


@dataclasses.dataclass(frozen=True)
class TensorPlace:
    """Where a tensor stands, by name, so that it is found again: a weight, a statistic, or what an optimizer remembers of a
    weight."""

    name: str
    """Of the parameter or buffer."""
    optimizer: int | None = None
    """The number of the optimizer that remembers …"""
    entry: str = ""
    """… and what: ``exp_avg`` and the like."""

    @property
    def weights(self) -> TensorPlace:
        """The tensor that is remembered, or this one."""
        return TensorPlace(self.name)

    def find(self, subject: Subject) -> Tensor | None:
        """The tensor as it is now; None where there is none by that name."""
        owner, _, own = self.name.rpartition(".")
        module = {"": subject.model, **named_modules(subject.model)}.get(owner)
        if module is None:  # what computes weights is no layer, and holds parameters all the same
            module = dict(subject.model.named_modules()).get(owner)
        if module is None:
            return None
        tensor = module._parameters.get(own) if own in module._parameters else module._buffers.get(own)
        if tensor is None or self.optimizer is None:
            return tensor
        if self.optimizer >= len(subject.optimizers):
            return None
        state = getattr(subject.optimizers[self.optimizer], "state", {})
        found = state[tensor].get(self.entry) if tensor in state else None
        return found if isinstance(found, Tensor) else None


def memories(subject: Subject, name: str) -> Iterator[TensorPlace]:
    """What the optimizers remember of a parameter, number by number: momentum and the like; step counts are none."""
    parameter = TensorPlace(name).find(subject)
    for number, optimizer in enumerate(subject.optimizers):
        state = getattr(optimizer, "state", None)
        if parameter is None or not isinstance(state, dict) or parameter not in state:
            continue
        for entry, value in state[parameter].items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
                yield TensorPlace(name, number, entry)


@dataclasses.dataclass(frozen=True)
class Difference:
    """The numbers of one tensor that an act changed, before and after it, in main memory."""

    place: TensorPlace
    shape: tuple[int, ...]
    numbers: Tensor
    """Where they stand in the flattened tensor."""
    old: Tensor
    new: Tensor

    @classmethod
    def between(cls, place: TensorPlace, before: Tensor, after: Tensor) -> Difference | None:
        """What differs, to the bit; None where nothing does."""
        one, two = before.reshape(-1), after.reshape(-1)
        changed = (_bits(one) != _bits(two)).any(1).nonzero().flatten()
        if not len(changed):
            return None
        return cls(place, tuple(before.shape), changed.cpu(), one[changed].cpu(), two[changed].cpu())

    @property
    def size(self) -> int:
        """Bytes that it keeps."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.numbers, self.old, self.new))

    def now(self, subject: Subject) -> Tensor | None:
        """The numbers as they are now; None where the tensor is gone or has another shape."""
        tensor = self.place.find(subject)
        if tensor is None or tuple(local(tensor).shape) != self.shape:
            return None
        return local(tensor.detach()).reshape(-1)[self.numbers.to(tensor.device)].cpu()

    def put(self, subject: Subject, values: Tensor) -> None:
        """Set the numbers; all others stay to the bit."""
        tensor = self.place.find(subject)
        if tensor is None:
            return
        whole = local(tensor.detach())
        flat = whole.reshape(-1).clone()
        flat[self.numbers.to(flat.device)] = values.to(flat.device, flat.dtype)
        whole.copy_(flat.view(whole.shape))

    def stands(self, subject: Subject) -> bool:
        """Whether the numbers are to the bit what the act left."""
        now = self.now(subject)
        return now is not None and bool((_bits(now) == _bits(self.new)).all())

    def without(self, now: Tensor) -> Tensor:
        """The numbers without this act's own difference; where that is no number, those from before the act."""
        if not (now.is_floating_point() or now.is_complex()):
            return self.old
        moved = now + (self.old - self.new)
        return torch.where(torch.isfinite(moved), moved, self.old)

    def meets(self, other: Difference) -> bool:
        """Whether both changed one number."""
        return self.place == other.place and bool(torch.isin(self.numbers, other.numbers).any())


def _bits(flat: Tensor) -> Tensor:
    """The bytes of each number, a row each: they tell −0 from 0, and every NaN from itself no more than from others."""
    return flat.contiguous().view(torch.uint8).view(flat.numel(), flat.element_size())


def changed(subject: Subject, places: Iterable[TensorPlace], act: Callable[[], object], *, along: bool = False) -> list[Difference]:
    """Do an act on weights and say what it changed; where it breaks off, all is put back before the error goes on.

    What a frozen layer holds is then what it was given, and so is a copy of the weights that an optimizer keeps, which would bring back what
    they were (``along``: the act itself sees to it). *Raises* NotApplicable where it keeps that where nobody can tell it. *Cost* a copy of the
    tensors named.
    """
    named = list(dict.fromkeys(places))
    weights = {place: tensor for place in named if place.optimizer is None and isinstance(tensor := place.find(subject), nn.Parameter)}
    check_elsewhere(subject.optimizers, {place.name: tensor for place, tensor in weights.items()}, "its numbers cannot be changed", near=True)
    copied = [copies_of_weights(optimizer) for optimizer in subject.optimizers]
    slow = {
        memory: place for place in weights for memory in memories(subject, place.name)
        if not along and memory.optimizer is not None and memory.entry in copied[memory.optimizer]
    }
    tensors = {place: tensor for place in dict.fromkeys([*named, *slow]) if (tensor := place.find(subject)) is not None}
    before = {place: local(tensor.detach()).clone() for place, tensor in tensors.items()}
    try:
        with torch.no_grad():
            act()
            for memory, place in slow.items():
                own = memory.find(subject)
                now = weights[place]
                if own is not None and own.data_ptr() != now.data_ptr():
                    local(own).copy_(torch.where(local(now.detach()) == before[place], before[memory], local(now.detach()).to(own.dtype)))
            for place, tensor in tensors.items():
                _check_finite(place, before[place], local(tensor.detach()))
        after = {place: local(tensor.detach()) for place, tensor in tensors.items()}
        found = [Difference.between(place, before[place], after[place]) for place in tensors]
    except BaseException:
        with torch.no_grad():
            for place, tensor in tensors.items():
                local(tensor.detach()).copy_(before[place])
        raise
    subject.frozen.renew()
    return [each for each in found if each is not None]


def _check_finite(place: TensorPlace, before: Tensor, after: Tensor) -> None:
    """No number becomes infinite or none by an act, whatever it was. *Raises* UsageError."""
    if (after.is_floating_point() or after.is_complex()) and bool((torch.isfinite(before) & ~torch.isfinite(after)).any()):
        kind = str(after.dtype).removeprefix("torch.")
        raise UsageError(f"{place.name} would hold numbers beyond what {kind} can; take a smaller value or factor")


def taken_back(subject: Subject, differences: Sequence[Difference], inverse: Callable[[], object] | None = None) -> bool:
    """Take an act on weights back: bit by bit while they are as it left them, and true is returned.

    Where training went on, ``inverse`` is done, or each weight loses the act's own difference; what the optimizer remembers is
    then of later steps and stays. *Raises* NotApplicable where a weight is gone or has another shape.
    """
    now = [each.now(subject) for each in differences]
    for each, values in zip(differences, now, strict=True):
        if values is None and each.place.optimizer is None:
            raise NotApplicable(f"{each.place.name} is gone or has another shape since; go back in time instead")
    exact = all(each.stands(subject) for each in differences)
    with torch.no_grad():
        if not exact and inverse is not None:
            inverse()
        else:
            for each, values in zip(differences, now, strict=True):
                if exact or each.stands(subject):
                    each.put(subject, each.old)
                elif each.place.optimizer is None and values is not None:
                    each.put(subject, each.without(values))
    subject.frozen.renew()
    return exact
