"""Adds a layer, or a way round, to a network that trains, and removes one: the code of the model stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable, UsageError, not_found
from ...core.selection import spoken, within
from ...data import nesting
from ...data.nesting import Nested
from ...model.axes import likely_unit_axis, unit_axis
from ...model.plain_module import named_modules
from ...model.preservation import Preservation
from ..optimizers import check_apart, check_elsewhere, check_steps
from .feasibility import ran, ready
from .followed import Skip, alone, follow, followed, hear, owner_of, unheard
from .recipe import STARTS, LayerRecipe, ResidualBlock, Start, made, recipe_of
from .trial import MODES, answers, copied, tried

Block = ResidualBlock  # its name in models that were stored before


@dataclasses.dataclass(eq=False)
class _Memory:
    """Where an optimizer had a parameter, and what it remembered of it."""

    optimizer: Any
    group: int
    place: int
    parameter: nn.Parameter
    state: Any
    name: str | None


@dataclasses.dataclass(eq=False)
class ChangedLayer:
    """A layer that came or went, with all that is needed to take it back."""

    model: nn.Module
    layer: str
    module: nn.Module
    anchor: str
    """The layer that it follows."""
    came: bool
    memories: list[_Memory]
    size: int
    text: str
    children: dict[str, nn.Module | None] = dataclasses.field(default_factory=dict)
    """Of a layer that went: its parent's children as they were."""
    owner: nn.Module | None = None
    heard: nn.Module | None = None
    """Of a way round that went: where it began."""
    recipe: LayerRecipe | None = None
    """Of a layer that came."""

    def back(self) -> None:
        """Take it back: what else was learnt stays."""
        parent, name = _parent(self.model, self.layer)
        if self.came:
            _take_out(self.model, self.layer)
            _forget(self.memories)
            return
        current = {key: child for key, child in parent._modules.items() if key not in self.children}
        _replace(parent, {**self.children, **current})
        if self.owner is not None:
            follow(self.owner, self.module)
        if self.heard is not None and isinstance(self.module, Skip):
            hear(self.heard, self.module)
        _remember(self.memories)


def add_layer(
    model: nn.Module,
    x: Nested,
    after: str,
    how: Start = "identity",
    *,
    optimizers: Sequence[Any] = (),
    axes: Mapping[str, int] | None = None,
    seed: int = 0,
    state: Sequence[Any] = (),
) -> ChangedLayer:
    """Add a layer after another, which starts as the identity, so that no answer changes.

    *Meaning* as wide as what it follows: a convolution of 3 places where that gives maps, a dense layer else; followed by a ReLU where
    what it gets is never below zero. ``residual`` adds a block of two with a way round, of which the second is zero. Its
    weights learn in the optimizer's group in which the nearest weights of their kind do.
    *Cost* about six forward passes and a backward one, on a few examples.
    *Raises* UsageError or NotApplicable before anything is changed.
    """
    if how not in STARTS:
        raise UsageError(f"how wants one of {', '.join(STARTS)}, got {how!r}")
    plain, few, _ = ready(model, x, state, ran)
    module = named(plain, after)
    if followed(module):
        raise UsageError(f"a layer was added after {after!r} already; nearest: add one after that")
    seen = seen_in(plain, [module], few)[0]
    given = seen.gives
    if given is None:
        within = "; nearest: a layer within it" if seen.calls and any(True for _ in module.children()) else ""
        raise NotApplicable(f"{after!r} {seen.said('answers with')}, so no layer can follow it{within}")
    axis = (axes or {}).get(after, unit_axis(module, given.ndim))
    recipe = recipe_of(given, axis if axis is not None else likely_unit_axis(tuple(given.shape), {}), how, after)
    layer = made(recipe, seed).to(given.device).train(module.training)
    want = {mode: answers(plain, few, mode) for mode in MODES}
    other = copied(plain)
    tried(want, other, few, lambda: put_in(other, after, copied(layer)), f"a layer after {after!r}")
    groups, apart = places_for(plain, after, layer, optimizers)
    name = put_in(plain, after, layer)
    memories = enrolled(layer, name, groups)
    count = sum(p.numel() for p in layer.parameters())
    kind = {"identity": "layer", "residual": "residual block"}[how]
    text = f"added the {kind} {name} after {spoken(after)} ({count:,} weights), which starts as the identity{apart}"
    return ChangedLayer(plain, name, layer, after, True, memories, 0, text, recipe=recipe)


def come(model: nn.Module, after: str, recipe: LayerRecipe, groups: Sequence[tuple[int, int]], optimizers: Sequence[Any]) -> ChangedLayer:
    """Let a layer of a recipe come again, where it was proved before; its parameters learn in groups of these numbers."""
    module = named(model, after)
    device = next((p.device for p in (*module.parameters(), *model.parameters())), torch.device("cpu"))
    layer = made(recipe, 0).to(device).train(module.training)
    name = put_in(model, after, layer)
    places = [(optimizers[optimizer], optimizers[optimizer].param_groups[group]) for optimizer, group in groups]
    return ChangedLayer(model, name, layer, after, True, enrolled(layer, name, places), 0, "", recipe=recipe)


def remove_layer(
    model: nn.Module, x: Nested, layer: str, *, optimizers: Sequence[Any] = (), state: Sequence[Any] = ()
) -> ChangedLayer:
    """Remove a layer, or a block, that gives what it gets its own shape: what followed it then reads what it read.

    *Meaning* no other weight changes; the answers do. The names of all other layers stay.
    *Cost* about four forward passes and a backward one, on a few examples.
    *Raises* UsageError or NotApplicable before anything is changed.
    """
    plain, few, _ = ready(model, x, state, ran)
    module = named(plain, layer)
    if any(True for _ in module.parameters()):
        check_apart(optimizers, "none can go")
        check_elsewhere(optimizers, dict(plain.named_parameters()), "none can go")
    seen = seen_in(plain, [module], few)[0]
    got, given = seen.reads, seen.gives
    if got is None or given is None or got.shape != given.shape:
        freeze = "; nearest: freeze it" if any(p.requires_grad for p in module.parameters()) else ""
        raise NotApplicable(f"{layer!r} {seen.said('gives')}: only a layer that keeps its input's shape can go{freeze}")
    other = copied(plain)
    want = {mode: answers(plain, few, mode) for mode in MODES}
    tried(want, other, few, lambda: _take_out(other, layer), f"{layer!r} gone", alike=False)
    if not any(p.requires_grad for p in other.parameters()):
        raise NotApplicable(f"without {layer!r} nothing would learn any more; pause the training instead")
    return go(plain, layer, optimizers)


def go(model: nn.Module, layer: str, optimizers: Sequence[Any]) -> ChangedLayer:
    """Take a layer out, where it was tried that it can go; what hung on it is kept to take it back."""
    module = named(model, layer)
    gone = {id(p) for p in module.parameters()}
    parent, _ = _parent(model, layer)
    children, owner, heard = dict(parent._modules), owner_of(model, module), _began(model, module)
    _take_out(model, layer)
    memories = _found(gone - {id(p) for p in model.parameters()}, optimizers)
    _forget(memories)
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    count = sum(p.numel() for p in module.parameters())
    return ChangedLayer(model, layer, module, "", False, memories, 3 * size, f"removed {layer} ({count:,} weights)", children, owner, heard)


# In and out.


def _began(model: nn.Module, module: nn.Module) -> nn.Module | None:
    """Where a way round begins."""
    return named_modules(model).get(module.source) if isinstance(module, Skip) else None


def named(model: nn.Module, layer: str) -> nn.Module:
    known = named_modules(model)
    if layer not in known:
        raise not_found("layer", layer, known)
    return known[layer]


def _parent(model: nn.Module, layer: str) -> tuple[nn.Module, str]:
    path, _, name = layer.rpartition(".")
    return model.get_submodule(path), name


def _replace(parent: nn.Module, children: Mapping[str, nn.Module | None]) -> None:
    """Another order of children, in the same dictionary."""
    own = parent._modules
    kept = dict(children)
    own.clear()
    own.update(kept)


def _in_sequence(parent: nn.Module) -> bool:
    return type(parent).forward is nn.Sequential.forward


def put_in(model: nn.Module, after: str, layer: nn.Module) -> str:
    """Put a layer in after another; returns its name."""
    parent, name = _parent(model, after)
    path, told = after.rpartition(".")[0], "added"
    if isinstance(layer, Skip):
        hear(named(model, layer.source), layer)
        layer.target = after
        told = "skip"
    if _in_sequence(parent):
        own = _free(parent, f"{name}_{told}")
        children: dict[str, nn.Module | None] = {}
        for key, child in parent._modules.items():
            children[key] = child
            if key == name:
                children[own] = layer
        _replace(parent, children)
        return within(path, own)
    module = parent.get_submodule(name)
    while isinstance(parent, nn.ModuleList | nn.ModuleDict):  # their children are counted by the model's own code
        path, _, step = path.rpartition(".")
        parent, name = model.get_submodule(path), f"{step}_{name}"
    own = _free(parent, f"{name}_{told}")
    parent.add_module(own, layer)
    follow(module, layer)
    return within(path, own)


def _free(parent: nn.Module, name: str) -> str:
    number, own = 1, name
    while hasattr(parent, own):
        number += 1
        own = f"{name}{number}"
    return own


def _take_out(model: nn.Module, layer: str) -> None:
    """Take a layer out: what stands beside it in a sequence, or was added, goes whole; in any other place the identity stands."""
    parent, name = _parent(model, layer)
    module = parent.get_submodule(name)
    owner = owner_of(model, module)
    unheard(model, module)
    if owner is not None:
        alone(owner)
        del parent._modules[name]
    elif _in_sequence(parent) and len(parent._modules) > 1:
        del parent._modules[name]
    else:
        parent._modules[name] = nn.Identity()


class _SeenCall(NamedTuple):
    """What a module reads and gives in its first call, where each is one tensor of numbers; how often, and as which, it was called."""

    reads: Tensor | None = None
    gives: Tensor | None = None
    calls: int = 0
    place: int = -1
    forms: tuple[str, str] = ("", "")
    """What it reads and gives, in words."""

    def said(self, verb: str) -> str:
        """What it does, as a sentence goes on: what it gives, and where it gives numbers, what it reads."""
        if not self.calls:
            return "is not called in a pass of the first examples of the probe set"
        read, given = self.forms
        return f"{verb} {given}" if self.gives is None else f"reads {read} and {verb} {given}"


def seen_in(model: nn.Module, modules: Sequence[nn.Module], x: Nested) -> list[_SeenCall]:
    """What these modules do in a pass; the place of a call is where it ends among all calls of them."""
    found: dict[int, _SeenCall] = {}
    ended: list[int] = []

    def seen(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        known = found.get(id(module))
        if known is None:
            got = args[0] if len(args) == 1 and not kwargs else None
            known = _SeenCall(_single(got), _single(output), 0, len(ended), (_form(got), _form(output)))
        found[id(module)] = known._replace(calls=known.calls + 1)
        ended.append(id(module))

    handles = [module.register_forward_hook(seen, with_kwargs=True) for module in modules]
    try:
        with Preservation(model), torch.no_grad():
            nesting.call(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return [found.get(id(module), _SeenCall()) for module in modules]


def _single(value: Any) -> Tensor | None:
    return value.detach().clone() if isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2 else None


def _form(value: Any) -> str:
    """What is read or given, in words."""
    if not isinstance(value, Tensor):
        return "no single tensor"
    kind = "complex" if value.is_complex() else "" if value.is_floating_point() else "whole"
    if value.ndim < 2:
        return "one number an example" if value.ndim else "a single number"
    shape = str(tuple(value.shape)[1:])
    return f"{kind} numbers, {shape}" if kind else shape


# Optimizers.


_Place = tuple[Any, dict[str, Any]]


class _LearningWeight(NamedTuple):
    """A weight that learns: what it is called in its module, of which type that is, and where it learns."""

    name: str
    kind: type[nn.Module]
    parameter: nn.Parameter
    module: nn.Module
    place: _Place

    def unlike(self, name: str, kind: type[nn.Module], parameter: nn.Parameter) -> int:
        """How little it is like a new weight: 0 for one of the same layer type, name and number of axes, 3 for another number of them."""
        if self.parameter.ndim != parameter.ndim:
            return 2 if self.parameter.ndim > 1 < parameter.ndim and name == self.name else 3
        return 2 if name != self.name else int(kind is not self.kind)


def places_for(model: nn.Module, after: str, layer: nn.Module, optimizers: Sequence[Any]) -> tuple[list[_Place], str]:
    """The optimizer and the group in which each weight of a new layer learns, and what is to be said of it, as the end of a sentence.

    *Meaning* that of the nearest weight before the layer. Where groups were made by kinds of weights (matrices here, biases and norms there),
    so that a module's own weights stand in several, that of the weight most like it. None where no optimizer holds any weight.
    *Raises* NotApplicable where an optimizer cannot take such a weight.
    """
    check_apart(optimizers, "none can come")
    check_elsewhere(optimizers, dict(model.named_parameters()), "none can come")
    held = {id(p): (optimizer, group) for optimizer in reversed(optimizers) for group in optimizer.param_groups for p in group["params"]}
    names = list(named_modules(model))
    before = names[: names.index(after) + 1][::-1]
    nearest = [
        _LearningWeight(own, type(module), p, module, held[id(p)]) for path in dict.fromkeys([*before, *names])
        for module in named_modules(model)[path].modules() for own, p in module.named_parameters(recurse=False) if id(p) in held
    ]
    if not nearest:
        return [], ""
    by_kind, places, strange = _by_kind(nearest), [], []
    for path, module in layer.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            fit = [each for each in nearest if not _barred(each.place[0], parameter)]
            if not fit:
                taken, kind = _barred(nearest[0].place[0], parameter), type(nearest[0].place[0]).__name__
                raise NotApplicable(
                    f"{kind} takes {taken} alone, and {within(path, own)} of the new layer is none; nearest: another optimizer beside it, for "
                    "the rest"
                )
            found = fit[0] if not by_kind else min(fit, key=lambda each: each.unlike(own, type(module), parameter))  # noqa: B023
            if by_kind and found.unlike(own, type(module), parameter) > 2:
                strange.append(within(path, own))
            places.append(found.place)
            check_steps(found.place[0], parameter, found.place[1])
    it = "it learns" if len(strange) == 1 else "they learn"
    told = f"; no weight like {', '.join(strange)} learns yet, so {it} with the nearest" if strange else ""
    if shared := {type(each[0]).__name__ for each in places if sum(_holds(other, each[1]["params"]) for other in optimizers) > 1}:
        told += f"; of several optimizers that hold the same weights, {' and '.join(sorted(shared))} alone steps it"
    return places, told


def _barred(optimizer: Any, parameter: nn.Parameter) -> str:
    """What an optimizer of PyTorch takes alone, where a new weight is none such; empty where it may be given it."""
    if isinstance(optimizer, torch.optim.SparseAdam):
        return "weights with sparse gradients"  # those of tables, which no new layer has
    return "matrices" if isinstance(optimizer, torch.optim.Muon) and parameter.ndim != 2 else ""


def _holds(optimizer: Any, parameters: Sequence[nn.Parameter]) -> bool:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return any(id(p) in mine for p in parameters)


def _by_kind(learning: Sequence[_LearningWeight]) -> bool:
    """Whether groups were made by kinds of weights: a module's own stand in several, or vectors, matrices and filters in one each."""
    modules, axes = dict[int, set[int]](), dict[int, set[int]]()
    for each in learning:
        modules.setdefault(id(each.module), set()).add(id(each.place[1]))
        axes.setdefault(id(each.place[1]), set()).add(min(each.parameter.ndim, 3))
    return any(len(groups) > 1 for groups in modules.values()) or len(axes) > 1 and all(len(found) == 1 for found in axes.values())


def enrolled(layer: nn.Module, name: str, places: Sequence[_Place]) -> list[_Memory]:
    """Let a layer's weights learn in a group each; groups keep their numbers, so that schedulers go on."""
    memories = []
    for (own, parameter), (optimizer, group) in zip(layer.named_parameters(), places, strict=False):
        number = next(k for k, each in enumerate(optimizer.param_groups) if each is group)
        group["params"].append(parameter)
        if "param_names" in group:
            group["param_names"].append(within(name, own))
        _begin(optimizer, group, parameter)
        memories.append(_Memory(optimizer, number, -1, parameter, None, None))
    return memories


def _begin(optimizer: Any, group: Mapping[str, Any], parameter: nn.Parameter) -> None:
    """Let an optimizer remember of a new weight what it must before the first step."""
    if isinstance(optimizer, torch.optim.Adagrad):
        start = torch.full_like(parameter, group["initial_accumulator_value"])
        optimizer.state[parameter] = {"step": torch.tensor(0.0), "sum": start}
    fused = isinstance(optimizer, torch.optim.SGD) and group.get("fused")
    if fused and any("momentum_buffer" in optimizer.state.get(p, {}) for p in group["params"]):  # it takes that of all weights or of none
        optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}


def _found(gone: set[int], optimizers: Sequence[Any]) -> list[_Memory]:
    """Where optimizers have these parameters."""
    return [
        _Memory(optimizer, number, place, parameter, None, None)
        for optimizer in optimizers for number, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"]) if id(parameter) in gone
    ]


def _forget(memories: Sequence[_Memory]) -> None:
    """Let optimizers forget these parameters; what they remembered is kept here."""
    for each in reversed(memories):
        group = each.optimizer.param_groups[each.group]
        place = next((k for k, parameter in enumerate(group["params"]) if parameter is each.parameter), None)
        if place is None:
            continue
        each.place = place
        del group["params"][place]
        each.name = group["param_names"].pop(place) if "param_names" in group else None
        each.state = each.optimizer.state.pop(each.parameter, None)


def _remember(memories: Sequence[_Memory]) -> None:
    """Give parameters back to their optimizers, at their places."""
    for each in memories:
        group = each.optimizer.param_groups[each.group]
        group["params"].insert(each.place, each.parameter)
        if each.name is not None:
            group["param_names"].insert(each.place, each.name)
        if each.state is not None:
            each.optimizer.state[each.parameter] = each.state
        else:
            _begin(each.optimizer, group, each.parameter)
