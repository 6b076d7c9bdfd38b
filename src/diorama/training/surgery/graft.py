"""Puts other tensors in the place of a network's weights and of what optimizers remember of them, between two steps."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ..optimizers import begun, check_apart, check_shapes, copies_of_weights, remembered
from .arrangement import Arrangement, moved
from .starts import masks, places_now, tensors_of

_SIZES = ("in_features", "out_features", "in_channels", "out_channels", "groups", "num_features", "num_channels", "num_groups",
          "embedding_dim", "num_embeddings", "num_parameters", "hidden_size", "input_size", "proj_size")
"""What modules of torch tell of their width."""


class _FormerWeight(NamedTuple):
    """A weight as it was, with its gradient and what each optimizer remembered of it."""

    data: Tensor
    grad: Tensor | None
    remembered: list[dict[str, Any]]


class Graft:
    """One change of shape, with what it takes to undo it bit by bit.

    *Meaning* each ``Parameter`` and optimizer stays the very object that it was; a gradient that is half accumulated and
    what an optimizer remembers grow and shrink with their weight. New units have nothing accumulated or remembered.
    """

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Any], change: Arrangement, keep: bool = True, divided: Sequence[int] = ()
    ) -> None:
        self._divided = divided
        """Survivors whose outgoing weights were divided, one for each set of new units."""
        self.model, self.optimizers, self.change = model, tuple(optimizers), change
        self._keep = keep
        """Whether what was before is needed to take it back: not where units were added and no survivor changed."""
        owned = tensors_of(model)
        self._tensors = {name: owned[name] for name in change.weights}
        self._before: dict[str, _FormerWeight] = {}
        self._after: dict[str, tuple[tuple[int, ...], int]] = {}
        self._told: list[tuple[nn.Module, str, Any]] = []

    @property
    def names(self) -> frozenset[str]:
        """The weights and buffers that change."""
        return frozenset(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """The shape of each weight and buffer that changed, before and after."""
        return {name: (tuple(before.data.shape), self._after[name][0]) for name, before in self._before.items()}

    @property
    def sizes(self) -> dict[str, dict[str, tuple[int, int]]]:
        """What modules told of their width, before and after, by their names."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        paths = {id(module): path for path, module in self.model.named_modules()}
        for module, size, old in self._told:
            found.setdefault(paths[id(module)], {})[size] = old, getattr(module, size)
        return found

    def check(self) -> None:
        """*Raises* NotApplicable where an optimizer remembers what has another shape, or all weights as one, or a weight is in an average."""
        check_apart(self.optimizers, "none can get another shape")
        check_shapes(self.optimizers, self._tensors, "its units cannot change")
        for tensor in self._tensors.values():
            if tensor.is_inference() or not (tensor.is_leaf or isinstance(tensor, nn.Parameter)):
                raise NotApplicable("a weight is made by autograd or in inference mode, so it cannot be given another shape")

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Put the tensors in place."""
        copies = [copies_of_weights(optimizer) for optimizer in self.optimizers]
        for name, tensor in self._tensors.items():
            orders, kept = self.change.weights[name], []
            for optimizer, copied in zip(self.optimizers, copies, strict=True):
                state = remembered(optimizer, tensor)
                kept.append(dict(state))
                for kind, value in _alike(state, tensor):
                    state[kind] = moved(value, orders, begun(optimizer, tensor, kind))
                    if kind in copied:
                        state[kind] = torch.where(moved(tensor.data, orders) == values[name], state[kind], values[name].to(value.dtype))
            grad = tensor.grad if tensor.is_leaf else None
            self._before[name] = _FormerWeight(tensor.data, grad, kept) if self._keep else _FormerWeight(tensor.data.to("meta"), None, [])
            _given(tensor, values[name].to(tensor.dtype), None if grad is None else moved(grad, orders))
        self._tell()
        self._after = self._sums()

    @property
    def size(self) -> int:
        """Bytes of what was before that are kept."""
        return sum(
            value.numel() * value.element_size()
            for each in self._before.values() if self._keep
            for value in (each.data, each.grad, *(value for state in each.remembered for value in state.values()))
            if isinstance(value, Tensor)
        )

    @property
    def stands(self) -> bool:
        """Whether the weights still are those that this gave another shape, in that shape."""
        owned = tensors_of(self.model)
        return all(owned.get(name) is tensor and tuple(tensor.shape) == self._after[name][0] for name, tensor in self._tensors.items())

    @property
    def untouched(self) -> bool:
        """Whether the weights and what optimizers remember of them are bit by bit what this left."""
        return self.stands and self._sums() == self._after

    def restore(self) -> None:
        """Put back the very tensors that were there. A gradient that was gathered since keeps what it has of them."""
        if not self._keep:
            self.put_back()
            return
        for name, before in self._before.items():
            tensor = self._tensors[name]
            grad = self._back(name, tensor.grad, before.grad) if tensor.is_leaf and tensor.grad is not None else None
            for optimizer, old in zip(self.optimizers, before.remembered, strict=True):
                state = remembered(optimizer, tensor)
                state.clear()
                state.update(old)
            _given(tensor, before.data, grad)
        self._untell()

    def put_back(self) -> None:
        """Later: what was added goes, what was removed comes back as it was, and all else keeps what it has learnt."""
        for name, tensor in self._tensors.items():
            before = self._before[name]
            for optimizer, old in zip(self.optimizers, before.remembered or [{}] * len(self.optimizers), strict=True):
                state = remembered(optimizer, tensor)
                for kind, value in _alike(state, tensor):
                    kept = old.get(kind)
                    state[kind] = self._back(name, value, kept if isinstance(kept, Tensor) else None)
            grad = self._back(name, tensor.grad, before.grad) if tensor.is_leaf and tensor.grad is not None else None
            data = before.data if before.data.device == tensor.device else None
            _given(tensor, self._back(name, self._joined(name, tensor.data), data), grad)
        self._untell()

    def _joined(self, name: str, data: Tensor) -> Tensor:
        """A weight in which units that were split have what they gave away, with what it has learnt."""
        for axis, order in self.change.weights[name].items():
            for number, unit in enumerate(self._divided if order.role == "reads" and name not in masks(self._tensors) else ()):
                mine = torch.from_numpy(places_now(order, self.change.survivors(name, axis)[unit])).to(data.device)
                given = torch.from_numpy(order.fresh[number]).to(data.device)
                data = data.index_add(axis, mine, data.index_select(axis, given))
        return data

    def _back(self, name: str, value: Tensor, before: Tensor | None) -> Tensor:
        """A tensor of a weight's shape as it now is, in the old arrangement; what was gone is as it was before."""
        data = self._before[name].data
        orders = {axis: order.inverse(data.shape[axis]) for axis, order in self.change.weights[name].items()}
        found = moved(value, orders)
        if before is not None and before.shape == data.shape:
            lost = torch.zeros(data.shape, dtype=torch.bool, device=value.device)
            for axis, order in orders.items():
                lost.index_fill_(axis, torch.from_numpy(np.flatnonzero(~order.kept)).to(value.device), True)
            found = torch.where(lost, before, found)
        return found

    def _sums(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Of each weight and what is remembered of it: its shape, and a checksum of its bytes."""
        found = {}
        for name, tensor in self._tensors.items():
            total = _sum(tensor, 0)
            for optimizer in self.optimizers:
                for value in remembered(optimizer, tensor).values():
                    total = _sum(value, total) if isinstance(value, Tensor) else zlib.crc32(repr(value).encode(), total)
            found[name] = (tuple(tensor.shape), total)
        return found

    # What modules tell of themselves.

    def _tell(self) -> None:
        changed = {id(tensor) for tensor in self._tensors.values()}
        for path, module in self.model.named_modules():
            groups = self.change.groups.get(path)
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            if groups is None and not any(id(tensor) in changed for tensor in own):
                continue
            for size, value in sizes_of(module, groups).items():
                old = vars(module).get(size)
                if old is not None and old != value:
                    self._told.append((module, size, old))
                    setattr(module, size, value)

    def _untell(self) -> None:
        for module, size, old in self._told:
            setattr(module, size, old)


def sizes_of(module: nn.Module, channels: int | None) -> dict[str, int]:
    """What a module of torch should say of its width, from its weights; ``channels`` of one that normalizes groups."""
    # The hooks of pruning and of weight_norm make the weight anew at each pass: until then it has the old shape.
    own = (module._parameters.get(name) for name in ("weight", "weight_orig", "weight_v"))
    weight: Any = next((one for one in own if one is not None), None)
    if weight is None:
        weight = _made(module) if "parametrizations" in module._modules else getattr(module, "weight", None)
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
    if isinstance(module, nn.GroupNorm) and channels is not None:
        return {"num_channels": channels, "num_groups": channels * module.num_groups // module.num_channels}
    if isinstance(module, nn.Linear) and len(shape) == 2:
        return {"out_features": shape[0], "in_features": shape[1]}
    if isinstance(module, nn.modules.conv._ConvNd) and len(shape) > 2:
        return _convolution(module, shape)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and len(shape) == 2:
        return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    if isinstance(module, nn.PReLU) and shape:
        return {"num_parameters": shape[0]}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        held = weight if weight is not None else module.running_mean
        return {"num_features": len(held)} if isinstance(held, Tensor) else {}
    if isinstance(module, nn.RNNBase):
        read, fed = (cast(Tensor, module._parameters[f"weight_{which}_l0"]) for which in ("ih", "hh"))
        gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
        return {
            "hidden_size": read.shape[0] // gates, "input_size": read.shape[1],
            "proj_size": fed.shape[1] if module.proj_size else 0,
        }
    if isinstance(module, nn.RNNCellBase):
        return {"hidden_size": module.weight_hh.shape[1], "input_size": module.weight_ih.shape[1]}
    return {}


def _made(module: nn.Module) -> Tensor | None:
    """The weight of a parametrized module, made by a copy of what makes it: some count their passes in training mode."""
    making = cast(nn.ModuleDict, module._modules["parametrizations"])
    with torch.no_grad():
        return copy.deepcopy(making["weight"]).eval()().detach() if "weight" in making else None


def _convolution(module: nn.modules.conv._ConvNd, shape: tuple[int, ...]) -> dict[str, int]:
    first, second = shape[:2]
    groups = module.groups
    if not module.transposed and groups > 1 and second == 1 and groups == module.in_channels:
        groups = first * groups // module.out_channels  # depthwise: one group a channel
    out, read = (second * groups, first) if module.transposed else (first, second * groups)
    return {"out_channels": out, "in_channels": read, "groups": groups}


# Tensors and what optimizers remember.


def _given(tensor: Tensor, data: Tensor, grad: Tensor | None) -> None:
    """Give a parameter other numbers, of another shape.

    A detour through another type makes autograd forget where it gathers gradients for the old shape: a loss that is
    still held by the loop would keep that alive, and the next backward pass would fail.
    """
    if not isinstance(tensor, nn.Parameter):
        tensor.data = data
        return
    tensor.grad = None
    tensor.data = torch.empty(0, dtype=torch.float64 if tensor.dtype != torch.float64 else torch.float32, device=tensor.device)
    tensor.data = data
    tensor.grad = grad


def given_shape(tensor: Tensor, shape: Sequence[int]) -> None:
    """Give a weight or buffer another shape; its numbers, which are put into it next, are zeros."""
    grad = tensor.grad if tensor.is_leaf else None
    layout = torch.channels_last if tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(
        memory_format=torch.channels_last) else torch.contiguous_format
    data = tensor.detach().new_zeros(tuple(shape)).contiguous(memory_format=layout)
    _given(tensor, data, None if grad is None else torch.zeros_like(data))


def _alike(state: Mapping[str, Any], tensor: Tensor) -> list[tuple[str, Tensor]]:
    """What is remembered of each of a weight's numbers."""
    return [
        (kind, value) for kind, value in state.items()
        if isinstance(value, Tensor) and value.ndim and value.shape == tensor.shape
    ]


def _sum(tensor: Tensor, before: int) -> int:
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(plain.numpy().data, before)
