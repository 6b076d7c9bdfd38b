"""Layers that a person keeps from learning: whatever steps the weights, they are put back as they were, bit by bit."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import own_name, spoken
from ..model.plain_module import local, named_modules

if TYPE_CHECKING:
    from .subject import Subject

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclasses.dataclass(eq=False)
class _HeldTensor:
    """A tensor of a frozen layer with what it holds, and what each optimizer remembers of it."""

    tensor: Tensor
    value: Tensor
    memories: list[tuple[Any, Any]]
    """Optimizers, each with a copy of its state of this parameter; None where it has none yet."""

    @classmethod
    def of(cls, tensor: Tensor, optimizers: tuple[Any, ...]) -> _HeldTensor:
        value = local(tensor.detach()).clone()
        memories = [
            (optimizer, _copied(state.get(tensor)))
            for optimizer in optimizers
            if isinstance(state := getattr(optimizer, "state", None), dict)
            and any(tensor is each for group in optimizer.param_groups for each in group["params"])
        ]
        return cls(tensor, value, memories)

    @property
    def whole(self) -> bool:
        """Whether the tensor still has the shape that is kept."""
        return local(self.tensor.detach()).shape == self.value.shape

    def stepped_by(self, optimizer: Any) -> bool:
        """Whether a step of an optimizer may have moved the tensor; of one that none holds, any may have."""
        return not self.memories or any(optimizer is each for each, _ in self.memories)

    def put_back(self) -> None:
        """Undo whatever was done to the tensor.

        What autograd keeps for a backward pass that is still to come stays good: through ``data`` the numbers are written without counting
        as another version. Where a step did move them, that step has counted.
        """
        local(self.tensor.data).copy_(self.value)
        for optimizer, kept in self.memories:
            if kept is None:
                optimizer.state.pop(self.tensor, None)
            else:
                _refill(optimizer.state[self.tensor], kept)


class FrozenLayers:
    """Which layers are frozen, and what holds them so.

    Gradients flow as before and ``requires_grad`` stays as it is: a loop that reads gradients, a wrapper that waits for
    all of them, and a loss that only a frozen part answers for go on as they did. After each step of an optimizer the
    weights, what it remembers of them (momentum and the like) and the running statistics of normalizing layers are put
    back. So nothing moves them, weight decay included, and once they are thawed they go on as if those steps had not been.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._layers: dict[str, list[_HeldTensor]] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """The frozen layers, in the order they were frozen."""
        return tuple(self._layers)

    def told_of(self, layer: str, what: str) -> str:
        """That what is done to a layer learns nothing, where it is frozen, by itself or with its block: the end of a sentence."""
        held = next((each for each in self.layers if each == layer or layer.startswith(f"{each}.")), None)
        return "" if held is None else f"; {spoken(held)} is frozen, so {what} before it is thawed"

    def freeze(self, layer: str) -> int:
        """Hold a layer with all that is in it; returns how many weights that are.

        *Raises* NotFound for a name that is not there, NotApplicable for a layer without weights and for the last one
        that learns, UsageError for one that is frozen already.
        """
        module = self._module(layer)
        mine = {id(parameter) for parameter in module.parameters()}
        if not mine:
            raise NotApplicable(f"{layer!r} has no weights of its own to freeze; freeze the layer before it")
        held = {id(each.tensor) for kept in self._layers.values() for each in kept}
        if mine <= held:
            raise UsageError(f"{layer!r} is frozen already; thaw it with the command thaw")
        free = [p for p in self._subject.model.parameters() if p.requires_grad and id(p) not in mine | held]
        if not free:
            raise NotApplicable(f"with {layer!r} frozen nothing would learn any more; pause the training instead")
        self._layers[layer] = self._hold(module)
        return sum(parameter.numel() for parameter in module.parameters())

    def thaw(self, layer: str) -> None:
        """Let a layer learn again. *Raises* UsageError for one that is not frozen, with those that are."""
        if layer not in self._layers:
            frozen = ", ".join(map(repr, self._layers)) or "none"
            raise UsageError(f"{layer!r} was not frozen by the command freeze; frozen now: {frozen}")
        del self._layers[layer]

    def put_back(self, optimizer: Any = None) -> None:
        """Undo what a step did to the frozen layers; with ``optimizer`` what one of its own steps can have done."""
        if not self._layers:
            return
        with torch.no_grad():
            for layer, kept in self._layers.items():
                if not all(each.whole for each in kept):
                    self._layers[layer] = self._hold(self._module(layer))  # it was given another shape on purpose
                    continue
                for each in kept:
                    if optimizer is None or each.stepped_by(optimizer):
                        each.put_back()

    def renew(self) -> None:
        """The network was changed by hand: what stands in a frozen layer's place is frozen as it is now."""
        known = named_modules(self._subject.model)
        self._layers = {
            layer: self._hold(known[own]) for layer in self._layers if (own := own_name(layer, known)) in known
        }

    def _module(self, layer: str) -> nn.Module:
        known = named_modules(self._subject.model)
        own = own_name(layer, known)
        if own not in known:
            raise not_found("layer", layer, known)
        return known[own]

    def _hold(self, module: nn.Module) -> list[_HeldTensor]:
        found = [_HeldTensor.of(parameter, self._subject.optimizers) for parameter in module.parameters()]
        for inner in module.modules():
            found += [_HeldTensor.of(inner._buffers[name], ()) for name in _STATISTICS if inner._buffers.get(name) is not None]  # type: ignore[arg-type]
        return found


def _copied(state: Any) -> Any:
    if state is None:
        return None
    return {name: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value) for name, value in state.items()}


def _refill(state: dict[str, Any], kept: dict[str, Any]) -> None:
    for name in [name for name in state if name not in kept]:
        del state[name]
    for name, value in kept.items():
        now = state.get(name)
        if isinstance(value, Tensor) and isinstance(now, Tensor) and now.shape == value.shape:
            now.copy_(value)
        else:
            state[name] = value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
