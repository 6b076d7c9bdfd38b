"""The weights of a layer or of one of its units: which numbers of which parameters, and what optimizers remember of them.

A unit's are what comes in: a filter with its bias, a row of a dense layer, a column of an embedding, the scale and shift of a
norm, the rows of all gates of a recurrent unit. The weights by which later layers read the unit are theirs.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..core.errors import NotApplicable, UsageError, not_found
from ..core.numerals import counted
from ..core.selection import as_key, is_point, own_name, spoken, spoken_unit, within
from ..model.layers import recurrent_parts
from ..model.plain_module import local, named_modules
from .differences import TensorPlace, memories
from .optimizers import begun, check_apart, check_shapes
from .subject import Subject

Index = tuple[Any, ...]
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_CELLS: dict[type, int] = {nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}
_ROWS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
_FIRST_AXIS = (*_ROWS, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_LAST_AXIS = (nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag)
STATISTICS = ("running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class LayerWeights:
    """Numbers of parameters that belong together: here all of a layer, with whatever is in it."""

    subject: Subject
    layer: str
    parts: tuple[tuple[str, Index], ...]
    """Parameters by name, each with the index of the numbers in it."""

    @classmethod
    def of(cls, subject: Subject, layer: str) -> LayerWeights:
        """Find them. *Raises* UsageError, NotApplicable as :func:`layer_parameters` does, and where they are computed from others."""
        names = layer_parameters(subject, layer)
        known = named_modules(subject.model)
        for path in dict.fromkeys(name.rpartition(".")[0] for name in names):
            module = known.get(path, subject.model)
            if "parametrizations" in path.split(".") or _computed(module, dict(module.named_parameters(recurse=False))):
                raise NotApplicable(f"the weights of {layer!r} are computed from others at each pass; edit those with edit_weight")
        return cls(subject, own_name(layer, known), tuple((name, (...,)) for name in names))

    @property
    def name(self) -> str:
        """What they are the weights of, as people write it."""
        return spoken(self.layer)

    def weights(self) -> Iterator[tuple[TensorPlace, Index]]:
        """Each of them, and what optimizers remember of it."""
        for name, index in self.parts:
            yield TensorPlace(name), index
            for memory in memories(self.subject, name):
                yield memory, index

    def tensor(self, place: TensorPlace) -> Tensor:
        """A tensor that holds some of the numbers, to be written to."""
        found = place.find(self.subject)
        if found is None:
            raise NotApplicable(f"{place.name} is gone")
        return local(found.detach())

    def norm(self) -> float:
        """Their length, all together."""
        total = sum(float(self.tensor(TensorPlace(name))[index].abs().double().square().sum()) for name, index in self.parts)
        return math.sqrt(total)

    def told(self) -> str:
        """Where else they are used, as the end of a sentence; empty where nowhere."""
        return tied(self.subject, [name for name, _ in self.parts])


@dataclasses.dataclass(frozen=True)
class UnitWeights(LayerWeights):
    """The numbers that make one unit of a layer."""

    unit: int
    statistics: tuple[tuple[str, Index], ...] = ()
    """Running statistics of a norm."""

    @classmethod
    def of(cls, subject: Subject, unit: str, knob: str = "unit") -> UnitWeights:
        """Find them by the unit's key. *Raises* UsageError for a key that is none, NotApplicable where a layer's units have no weights
        of their own."""
        if not unit:
            raise UsageError(f"{knob} wants a unit, such as {_some(subject)!r}")
        key = as_key("unit", unit)
        if len(key.index) != 1 or key.place:
            raise UsageError(f"{knob} wants one unit of a layer, such as {_some(subject)!r}, got {unit!r}")
        if subject.spread:
            raise NotApplicable(f"no process has all weights, which are spread by {subject.spread}: none can be changed")
        if is_point(key.name):
            raise NotApplicable(f"{key.name!r} is an op, which has no weights; change a unit of a layer")
        path, module, part = _module(subject, key.name)
        found = list(_parts(path, module, part, key.number))
        own = dict(module.named_buffers(recurse=False))
        statistics = [(within(path, name), (key.number,)) for name in STATISTICS if own.get(name) is not None]
        return cls(subject, key.name, tuple(found), key.number, tuple(statistics))

    @property
    def name(self) -> str:
        """The unit, as people write it."""
        return spoken_unit(self.layer, self.unit)

    def places(self) -> Iterator[tuple[TensorPlace, Index]]:
        """Its weights, what optimizers remember of them, and running statistics."""
        yield from self.weights()
        for name, index in self.statistics:
            yield TensorPlace(name), index

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """What its weights are called, and their shapes."""
        return [(name.rpartition(".")[2], tuple(self.tensor(TensorPlace(name))[index].shape)) for name, index in self.parts]


def pairs(one: UnitWeights, other: UnitWeights) -> list[tuple[tuple[TensorPlace, Index], tuple[TensorPlace, Index]]]:
    """The numbers of two units, each with its partner. *Raises* UsageError for one unit, NotApplicable where shapes differ."""
    if one.layer == other.layer and one.unit == other.unit:
        raise UsageError(f"two units are wanted, got {one.name} twice")
    if one.shapes() != other.shapes():
        raise NotApplicable(f"the weights of {one.name} ({_said(one)}) and {other.name} ({_said(other)}) do not fit; take units of one layer")
    for unit in (one, other):
        _check_apart(unit, "what it remembers of a unit cannot go with the unit")
    mine, its = list(one.places()), list(other.places())
    if [(place.optimizer, place.entry) for place, _ in mine] != [(place.optimizer, place.entry) for place, _ in its]:
        raise NotApplicable(f"the optimizer remembers other things of {one.name} than of {other.name}; take units of one layer")
    return list(zip(mine, its, strict=True))


def _said(unit: UnitWeights) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in unit.shapes())


def fresh(subject: Subject, weights: LayerWeights, seed: int) -> dict[str, Tensor]:
    """All parameters of the modules that hold these weights as they would be at a new start, by name; the modules are left as they are.

    *Raises* NotApplicable for a module that has no ``reset_parameters``.
    """
    found: dict[str, Tensor] = {}
    known = named_modules(subject.model)
    modules = {path: known[path] if path else subject.model for path in dict.fromkeys(name.rpartition(".")[0] for name, _ in weights.parts)}
    for path, module in modules.items():
        if not callable(getattr(module, "reset_parameters", None)):
            raise NotApplicable(f"{path!r} ({type(module).__name__}) has no reset_parameters, so how it starts is not known; copy another unit")
    devices = [p.device for module in modules.values() for p in module.parameters() if p.is_cuda]
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        for path, module in modules.items():
            twin = copy.copy(module)
            twin.__dict__ = {
                **module.__dict__,
                "_parameters": {
                    name: None if p is None else nn.Parameter(p.detach().clone(), p.requires_grad) for name, p in module._parameters.items()
                },
                "_buffers": {name: None if b is None else b.clone() for name, b in module._buffers.items()},
            }
            twin.reset_parameters()  # type: ignore[operator]
            found |= {within(path, name): p.detach() for name, p in twin.named_parameters(recurse=False)}
    return found


def layer_parameters(subject: Subject, layer: str) -> list[str]:
    """The parameters of a layer with all that is in it; a tied one once. *Raises* NotApplicable for a layer without any."""
    if not layer:
        raise UsageError("layer wants the name of a layer")
    if subject.spread:
        raise NotApplicable(f"no process has all weights, which are spread by {subject.spread}: none can be changed")
    path, module, part = _module(subject, layer, inner=False)
    suffix = "_" + part.replace(".", "_") if part else ""
    found = [within(path, name) for name, p in module.named_parameters() if name.endswith(suffix) and p.is_floating_point() | p.is_complex()]
    if not found:
        raise NotApplicable(f"{layer!r} has no weights of its own; take the layer before it")
    return found


def check_forgets(weights: LayerWeights) -> None:
    """*Raises* NotApplicable where what an optimizer remembers of these weights cannot be told from the rest."""
    _check_apart(weights, f"what it remembers of {weights.name} cannot be forgotten alone")


def _check_apart(weights: LayerWeights, what: str) -> None:
    subject = weights.subject
    check_apart(subject.optimizers, what)
    places = {name: TensorPlace(name).find(subject) for name, _ in weights.parts}
    check_shapes(subject.optimizers, {name: weight for name, weight in places.items() if weight is not None}, what)


def forget(place: TensorPlace, memory: Tensor, index: Index, weights: LayerWeights) -> None:
    """What an optimizer remembers of some numbers becomes what it is at the start. Copies of the weights themselves go with these anyway."""
    weight = place.weights.find(weights.subject)
    assert place.optimizer is not None and weight is not None  # noqa: S101, PT018 - it was found by them
    memory[index] = begun(weights.subject.optimizers[place.optimizer], weight, place.entry)


def tied(subject: Subject, names: list[str]) -> str:
    """Where else parameters stand in the model, as the end of a sentence; empty where nowhere."""
    mine = {id(TensorPlace(name).find(subject)): name for name in names}
    every = subject.model.named_parameters(remove_duplicate=False)
    others = [name for name, p in every if id(p) in mine and name not in names and name.replace("_orig_mod.", "") not in names]
    return f"; these weights are shared, so it holds for {', '.join(others)} too" if others else ""


def computed(module: nn.Module) -> dict[str, Tensor]:
    """The weights that a module computes from others at each pass, by name, as it would now; nothing of it changes.

    *Meaning* what ``nn.utils.parametrize`` computes, and the hooks of ``weight_norm``, ``spectral_norm`` and ``prune``.
    """
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, making in cast("nn.ModuleDict | dict[str, nn.Module]", module._modules.get("parametrizations") or {}).items():
            found[name] = copy.deepcopy(making).eval()().detach()  # some count their passes in training mode
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                found[hook.name] = hook.compute_weight(module).detach()
            elif isinstance(hook, SpectralNorm):
                found[hook.name] = hook.compute_weight(module, do_power_iteration=False).detach()
            elif isinstance(hook, BasePruningMethod):
                found[hook._tensor_name] = hook.apply_mask(module).detach()
    return found


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two weights differ by no more than rounding."""
    rounding = 32 * torch.finfo(one.dtype).eps
    return not one.numel() or bool(((one - other).abs() <= rounding * torch.maximum(one.abs().max(), one.abs())).all())


def owner(subject: Subject, parameter: str) -> tuple[str, nn.Module]:
    """The layer to whose weights a parameter belongs, also by way of a parametrization: its path and module."""
    path = f".{parameter}".partition(".parametrizations.")[0][1:] if "parametrizations." in parameter else parameter.rpartition(".")[0]
    return path, named_modules(subject.model).get(path, subject.model)


def sources(path: str, module: nn.Module) -> list[str]:
    """The parameters from which the weights of the layer at a path are computed, by name; none where its weights are its own."""
    if "parametrizations" in module._modules:
        return [within(path, name) for name, _ in module.named_parameters() if name.startswith("parametrizations.")]
    own = dict(module.named_parameters(recurse=False))
    return [within(path, name) for name in own if name.endswith(("_g", "_v", "_orig"))] if _computed(module, own) else []


def _some(subject: Subject) -> str:
    """A unit that is there, as an example in an error."""
    for path, module in named_modules(subject.model).items():
        if isinstance(module, _ROWS):
            return f"{path}/0"
    return "conv1/0"


def _module(subject: Subject, layer: str, *, inner: bool = True) -> tuple[str, nn.Module, str]:
    """The path of a layer's module, the module, and which part of a recurrent one."""
    known: dict[str, tuple[str, nn.Module, str]] = {"": ("", subject.model, "")}
    for path, module in named_modules(subject.model).items():
        known[path] = (path, module, "")
        known |= {within(path, part): (path, module, part) for part in recurrent_parts(module)}
    known |= {part: ("", subject.model, part) for part in recurrent_parts(subject.model)}
    layer = own_name(layer, known)
    if layer not in known:
        raise not_found("layer", layer, filter(None, known))
    path, module, part = known[layer]
    if inner and isinstance(module, nn.MultiheadAttention):  # what it answers is made by its last projection
        return within(path, "out_proj"), module.out_proj, ""
    return path, module, part


def _parts(path: str, module: nn.Module, part: str, unit: int) -> Iterator[tuple[str, Index]]:
    layer = within(path, part) if part else path or type(module).__name__
    own = dict(module.named_parameters(recurse=False))
    if _computed(module, own):
        raise NotApplicable(f"the weights of {layer!r} are computed from others at each pass, so its units have none of their own; edit "
                            "the parameters that they are computed from with edit_weight")
    if not own and any(True for _ in module.parameters()):
        inner = [name for name, below in named_modules(module).items() if any(True for _ in below.parameters(recurse=False))]
        if not inner:
            raise NotApplicable(f"{layer!r} is a scripted module, whose inside is closed; pass the module it was made from")
        raise NotApplicable(f"{layer!r} is made of several layers; name one of them, such as {within(path, inner[-1])!r}")
    if not own:
        raise NotApplicable(f"{layer!r} has no weights of its own; change a unit of the layer before it")
    for name, (units, index) in _indices(layer, module, part, unit, own).items():
        if not 0 <= unit < units:
            raise UsageError(f"{layer!r} has {counted(units, 'units')}, numbered from 0 to {units - 1}; got {unit}")
        yield within(path, name), index


def _computed(module: nn.Module, own: dict[str, nn.Parameter]) -> bool:
    """Whether the weights are no parameters: made anew from others at each pass, or quantized."""
    names = ["weight"]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        names = [name.removesuffix("_g").removesuffix("_v").removesuffix("_orig") for name in own]
    # A parametrized weight is made by asking for it, which moves what that counts, as the vectors of a spectral norm in training mode.
    return "parametrizations" in module._modules or any(getattr(module, name, None) is not None and name not in own for name in names)


def _indices(
    layer: str, module: nn.Module, part: str, unit: int, own: dict[str, nn.Parameter]
) -> dict[str, tuple[int, Index]]:
    """By parameter: how many units it has, and where one stands."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return _recurrent(layer, module, part, unit, own)
    if set(own) - {"weight", "bias"}:
        raise NotApplicable(f"{layer!r} has {', '.join(sorted(set(own) - {'weight', 'bias'}))} of its own, so which weights make one unit is "
                            "not known; edit them with edit_weight")
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        each, wide = module.out_channels // module.groups, module.in_channels // module.groups
        group = unit // each
        rows = slice(group * wide, (group + 1) * wide)
        return {
            name: (module.out_channels, (rows, unit % each) if name == "weight" else (unit,)) for name in own
        }
    if isinstance(module, _FIRST_AXIS):
        return {name: (parameter.shape[0], (unit,)) for name, parameter in own.items()}
    if isinstance(module, _LAST_AXIS):
        return {name: (parameter.shape[-1], (..., unit)) for name, parameter in own.items()}
    raise NotApplicable(f"which weights of {layer!r} ({type(module).__name__}) make one unit is not known; edit them with edit_weight")


def _recurrent(
    layer: str, module: nn.Module, part: str, unit: int, own: dict[str, nn.Parameter]
) -> dict[str, tuple[int, Index]]:
    if isinstance(module, nn.RNNCellBase):
        gates = next(count for kind, count in _CELLS.items() if isinstance(module, kind))
        suffix, hidden, projected = "", module.hidden_size, 0
    else:
        assert isinstance(module, nn.RNNBase)  # noqa: S101 - one of the two, as the caller asked
        parts = recurrent_parts(module)
        if not part and len(parts) > 1:
            raise NotApplicable(f"{layer!r} has {len(parts)} layers; name one of them, such as {within(layer, parts[0])!r}")
        gates, hidden, projected = _GATES[module.mode], module.hidden_size, module.proj_size
        suffix = "_" + (part or parts[0]).replace(".", "_")
    mine = {name: parameter for name, parameter in own.items() if name.endswith(suffix)}
    if projected:  # it answers with what this projection makes of its cells
        return {name: (projected, (unit,)) for name in mine if name.startswith("weight_hr")}
    rows = torch.arange(gates) * hidden + unit
    return dict.fromkeys(mine, (hidden, (rows,)))
