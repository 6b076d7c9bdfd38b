"""What people want of an optimizer's steps: put on within each of them and taken off after it, so that neither schedulers nor
the loop see it, and the user's own groups stay as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from ..core.errors import NotApplicable
from ..training.differences import TensorPlace
from ..training.optimizers import check_order
from ..training.subject import Subject
from ..training.unit_weights import layer_parameters

FACTOR = "factor"
"""The name of a layer's factor on the learning rate, among its values."""
Wanted = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Bend:
    """A factor on the learning rate that follows straight lines between points, from a step on."""

    start: int
    steps: tuple[float, ...]
    factors: tuple[float, ...]

    def at(self, number: int) -> float:
        """The factor of the step that follows so many; before the first point and after the last it is theirs."""
        return float(np.interp(number - self.start, self.steps, self.factors))

    def over(self, number: int) -> bool:
        """Whether nothing is scaled any more."""
        return number - self.start >= self.steps[-1] and self.factors[-1] == 1.0


@dataclasses.dataclass(frozen=True)
class Clip:
    """The most that gradients may be at an optimizer's step."""

    norm: float | None = None
    """Of all that the optimizer holds, together."""
    value: float | None = None
    """Of each number."""

    def apply(self, optimizer: Optimizer) -> None:
        """Clip what the optimizer is about to use; gradients that are no numbers stay so, for all to see."""
        grads = [_dense(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not grads:
            return
        # A fused optimizer divides by the scaler's factor itself, so the gradients are still scaled here.
        scale = getattr(optimizer, "grad_scale", None)
        times = float(scale) if isinstance(scale, Tensor) else 1.0
        with torch.no_grad():
            if self.value is not None and np.isfinite(times):
                for grad in grads:
                    (torch.view_as_real(grad) if grad.is_complex() else grad).clamp_(-self.value * times, self.value * times)
            if self.norm is not None:
                total = torch.nn.utils.get_total_norm(grads)
                if bool(torch.isfinite(total)) and float(total) > self.norm * times:
                    for grad in grads:
                        grad.mul_((self.norm * times / total).to(grad.device, grad.dtype))


def _dense(parameter: Tensor) -> Tensor:
    """The numbers of a gradient, to be written to."""
    grad = parameter.grad
    assert grad is not None
    if grad.is_sparse:
        parameter.grad = grad = grad.coalesce()
        return grad._values()
    return grad


@dataclasses.dataclass(eq=False)
class FactorGroup:
    """One parameter group of an optimizer, with the factor that a person put on its learning rate."""

    optimizer: Optimizer
    index: int
    factor: float = 1.0
    known: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The values as they were first, or as a command left them."""

    def __post_init__(self) -> None:
        self.known = self.known or self.values()

    @property
    def content(self) -> dict[str, Any]:
        """The optimizer's own dictionary."""
        found: dict[str, Any] = self.optimizer.param_groups[self.index]
        return found

    @property
    def scheduled(self) -> float:
        """The learning rate that the optimizer or its scheduler says."""
        return float(self.content["lr"])

    @property
    def learning_rate(self) -> float:
        """The learning rate that is used, where no schedule is bent."""
        return self.scheduled * self.factor

    def values(self) -> dict[str, Any]:
        """All numbers of the group but the learning rate; pairs one by one."""
        found = {}
        for name, value in self.content.items():
            if name in ("params", "lr", "initial_lr"):
                continue
            if isinstance(value, tuple | list) and all(isinstance(part, int | float) for part in value):
                found.update({f"{name}.{k}": part for k, part in enumerate(value)})
            elif isinstance(value, bool | int | float):
                found[name] = value
        return found

    def set(self, name: str, value: float) -> None:
        """Set one of the values."""
        put(self.content, name, value)
        self.known[name] = value

    def moves(self, name: str) -> bool:
        """Whether something else than commands sets a value: a scheduler, or the loop."""
        return name in self.known and self.known[name] != self.values().get(name)


def put(content: dict[str, Any], name: str, value: float) -> None:
    """Set a value of a group; one of a pair makes a new pair."""
    name, dot, part = name.partition(".")
    if not dot:
        content[name] = value
        return
    pair = list(content[name])
    pair[int(part)] = value
    content[name] = tuple(pair)


class Factors:
    """Factors on learning rates, values of single layers, clipping, and a bent schedule, while an optimizer steps.

    *Meaning* within the step the weights of a layer that has values of its own stand in a group of their own, which is a copy of
    theirs; after it all groups are the user's own again. What the optimizer remembers goes by weights, and so stays.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.groups: list[FactorGroup] = []
        self.layers: dict[str, dict[str, float]] = {}
        """Values of single layers: their factor on the learning rate, and others by the optimizer's names."""
        self.clip: Clip | None = None
        self.bend: Bend | None = None
        self.now: Callable[[], int] = lambda: 0
        """How many steps are done."""
        self._scaled: list[tuple[dict[str, Any], Any, Any]] = []
        self._split: list[tuple[Optimizer, list[dict[str, Any]], list[_PartedGroup]]] = []
        self._wanted: dict[int, Wanted] = {}
        self.follow(optimizers)

    def follow(self, optimizers: Sequence[Optimizer]) -> None:
        """The optimizers are these from now on; a group keeps its factor, one of a new optimizer that of its number."""
        self.restore()
        kept = {(id(group.optimizer), group.index): group for group in self.groups}
        old = [group.factor for group in self.groups]
        found = [FactorGroup(optimizer, k) for optimizer in optimizers for k in range(len(optimizer.param_groups))]
        for number, group in enumerate(found):
            same = old[number] if number < len(old) else 1.0
            before = kept.get((id(group.optimizer), group.index))
            group.factor = same if before is None else before.factor
            group.known = group.known if before is None else before.known
        self.groups = found

    def layered(self, subject: Subject, layers: Mapping[str, Mapping[str, float]]) -> None:
        """Layers have these values from now on; where a layer lies in another, its own count. One that is gone is let go."""
        self.restore()
        self.layers = {}
        wanted: dict[int, dict[str, float]] = {}
        for layer in sorted((layer for layer, values in layers.items() if values), key=lambda name: (name.count("."), name)):
            try:
                names = layer_parameters(subject, layer)
            except (LookupError, NotApplicable):
                continue
            self.layers[layer] = dict(layers[layer])
            for parameter in (TensorPlace(name).find(subject) for name in names):
                wanted.setdefault(id(parameter), {}).update(layers[layer])
        self._wanted = {number: tuple(sorted(values.items())) for number, values in wanted.items()}

    def held(self, layer: str, name: str) -> float | None:
        """A layer's own value, or that of the innermost layer with one in which it lies; None where there is none."""
        parts = layer.split(".")
        inside = (self.layers.get(".".join(parts[:count]), {}).get(name) for count in range(len(parts), 0, -1))
        return next((value for value in inside if value is not None), None)

    @property
    def active(self) -> bool:
        """Whether a person wants anything of the next step, or something was left on."""
        return bool(
            self._scaled or self._split or self.layers or self.clip is not None
            or (self.bend is not None and not self.bend.over(self.now()))
            or any(group.factor != 1.0 for group in self.groups)
        )

    def rate(self, group: FactorGroup) -> float:
        """The learning rate of a group in force."""
        return group.learning_rate * self.bent

    @property
    def bent(self) -> float:
        """The factor of the bent schedule now."""
        return 1.0 if self.bend is None else self.bend.at(self.now())

    def before(self, optimizer: Optimizer) -> None:
        """Put all of it on; gradients are clipped here, or where the step's closure has made them (:meth:`closure`)."""
        self.restore()
        bent = self.bent
        for group in self.groups:
            if group.optimizer is optimizer and group.factor * bent != 1.0:
                content = group.content
                old = content["lr"]
                self._scaled.append((content, old, old * (group.factor * bent)))
                content["lr"] = self._scaled[-1][2]
        if self.layers:
            self._part(optimizer)
        if self.clip is not None:
            self.clip.apply(optimizer)

    def closure(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments of a step whose closure makes the gradients: they are clipped each time; None where there is none."""
        clip = self.clip
        given = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if clip is None or not callable(given):
            return None

        def clipped() -> Any:
            loss = given()
            clip.apply(optimizer)
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": clipped}
        return (args[0], clipped, *args[2:]), kwargs

    def _part(self, optimizer: Optimizer) -> None:
        whole = list(optimizer.param_groups)
        groups: list[dict[str, Any]] = []
        parts = []
        for content in whole:
            kinds: dict[Wanted, list[Tensor]] = {}
            for parameter in content["params"]:
                kinds.setdefault(self._wanted.get(id(parameter), ()), []).append(parameter)
            if set(kinds) <= {()}:
                groups.append(content)
                continue
            part = _PartedGroup(content, content["params"], kinds.pop((), []))
            parts.append(part)
            groups += part.groups(kinds)
        if parts:
            self._split.append((optimizer, whole, parts))
            optimizer.param_groups[:] = groups

    def restore(self) -> None:
        """Take all of it off, also after a step that raised; a learning rate that was set meanwhile is left alone."""
        while self._split:
            optimizer, whole, parts = self._split.pop()
            for part in parts:
                part.restore()
            optimizer.param_groups[:] = whole
        while self._scaled:
            content, old, new = self._scaled[-1]
            if content["lr"] is new:
                content["lr"] = old
            self._scaled.pop()


class _PartedGroup:
    """A group of the user's, parted for one step."""

    def __init__(self, content: dict[str, Any], every: list[Tensor], rest: list[Tensor]) -> None:
        self.content, self.every, self.rest = content, every, rest
        self._copy: tuple[dict[str, Any], dict[str, Any]] | None = None

    def groups(self, kinds: Mapping[Wanted, list[Tensor]]) -> list[dict[str, Any]]:
        """The groups in whose place the optimizer steps: the user's own with the weights that are left, and copies."""
        found = [self.content] if self.rest else []
        for wanted, parameters in kinds.items():
            copy = {**self.content, "params": parameters}
            for name, value in wanted:
                if name == FACTOR:
                    copy["lr"] = copy["lr"] * value
                elif name.partition(".")[0] in copy:
                    put(copy, name, value)
            found.append(copy)
        if not self.rest:
            self._copy = found[0], dict(found[0])
        self.content["params"] = self.rest
        return found

    def restore(self) -> None:
        """The user's group as it was; what the optimizer counted in it meanwhile, where it stood aside, is kept."""
        if self._copy is not None:
            copy, before = self._copy
            self.content.update({name: value for name, value in copy.items() if name not in before or value is not before[name]})
        self.content["params"] = self.every


def check_followed(optimizers: Sequence[Any]) -> None:
    """*Raises* NotApplicable for an optimizer within whose steps nothing can be put on."""
    for optimizer in optimizers:
        if not hasattr(optimizer, "register_step_pre_hook"):
            raise NotApplicable(f"{type(optimizer).__name__} tells nobody of its steps, so nothing can be changed within them; set it in the "
                                "script")


def check_layered(optimizers: Sequence[Any]) -> None:
    """*Raises* NotApplicable for an optimizer that takes no values for single layers."""
    check_followed(optimizers)
    for optimizer in optimizers:
        if isinstance(optimizer, LBFGS) or not isinstance(optimizer, Optimizer):
            raise NotApplicable(f"{type(optimizer).__name__} steps all weights as one, so layers have no values of their own; leave out layer=")
    check_order(optimizers, "layers have no values of their own")


def series_of(group: int) -> str:
    """What the learning rate of a group is called among the series."""
    return "learning_rate" if group == 0 else f"learning_rate/{group}"
