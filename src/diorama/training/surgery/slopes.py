"""New units that learn fastest: outgoing weights under which the loss falls most steeply along the incoming ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from ...data import nesting
from ...data.nesting import Nested
from ...model.mode import OpMode
from ...model.preservation import Preservation
from .arrangement import Arrangement, Order, moved
from .dropout import without_dropout
from .graft import Graft
from .starts import masks, started, tensors_of
from .trial import copied

_ROUNDS = 8
_WAKE = 1e-7
"""A bias that lets a slope through where it is 0 at 0, as PyTorch's ReLU has it."""


class TaughtExamples(NamedTuple):
    """Examples with a loss: from what the model answers to them, one number."""

    x: Nested
    loss: Callable[[object], Tensor]


def steepest(model: nn.Module, change: Arrangement, taught: TaughtExamples, seed: int) -> dict[str, Tensor]:
    """All tensors that change, with incoming weights of zero and the outgoing ones of the largest gradient.

    *Meaning* the gradient of a new unit's incoming weights is linear in its outgoing ones; these are the leading
    singular vectors of that map, found by iterating it and its transpose, each of the length that survivors' have on average.
    *Cost* about fifty forward passes on the examples.
    *Raises* NotApplicable where no slope leads to a new unit.
    *Source* Evci et al. 2022, GradMax, section 3.
    """
    if twofold := next((name for name in change.weights if tensors_of(model)[name].is_complex()), ""):
        raise NotApplicable(f"{twofold} is complex, and the steepest start is known of real weights alone; nearest: how='preserve'")
    draw = torch.Generator().manual_seed(seed)
    for wake in (0.0, _WAKE):
        values = started(model, change, "preserve", draw)
        _silence(model, values, change, wake)
        other = copied(model)
        Graft(other, (), change).put(values)
        ready = _OutgoingWeights(other, change, taught)
        found = ready.leading(draw)
        if found is not None:
            ready.write(values, found, _length(model, change))
            return values
    raise NotApplicable(f"no slope leads to new units of {change.layer!r}, so none can start by its gradient; nearest: how='preserve'")


def _silence(model: nn.Module, values: dict[str, Tensor], change: Arrangement, wake: float) -> None:
    """Zero incoming weights; the biases of the new units let slopes through."""
    for name, orders in change.weights.items():
        if name in masks(values):
            continue
        tensor = values[name]
        for axis, order in orders.items():
            index = torch.from_numpy(order.fresh.reshape(-1)).to(tensor.device)
            if order.role == "both":
                raise NotApplicable(
                    f"{name} is tied: it both makes and reads these units, so none can start by its gradient; nearest: how='preserve'"
                )
            if order.role == "makes":
                tensor.index_fill_(axis, index, 0)
            elif order.role == "each" and "bias" in name.rpartition(".")[2] and isinstance(dict(model.named_parameters()).get(name), nn.Parameter):
                tensor.index_fill_(axis, index, wake)


class _OutgoingWeights:
    """The outgoing weights of new units as rows of one matrix, and the map from them to gradients."""

    def __init__(self, model: nn.Module, change: Arrangement, taught: TaughtExamples) -> None:
        self.model, self.change, self.taught = model, change, taught
        owned = dict(model.named_parameters())
        self.readers = self._uses(owned, "reads")
        self.makers = self._uses(owned, "makes")
        for parameter in owned.values():
            parameter.requires_grad_(True)

    def _uses(self, owned: dict[str, nn.Parameter], role: str) -> list[tuple[str, nn.Parameter, int, Order]]:
        return [
            (name, owned[name], axis, order) for name, orders in self.change.weights.items() if name in owned
            for axis, order in orders.items() if order.role == role
        ]

    def leading(self, draw: torch.Generator) -> Tensor | None:
        """Directions of the largest gradient, orthonormal where there are so many; None where all slopes are 0."""
        masks = self._rows([self._mask(name, parameter, axis) for name, parameter, axis, _ in self.readers])
        rows = torch.randn(masks.shape, generator=draw).to(masks) * masks
        rows = _apart(rows)
        for _ in range(_ROUNDS):
            back = self._there_and_back(rows) * masks
            if not float(back.abs().max()) > 0 or not torch.isfinite(back).all():
                return None
            rows = _apart(back)
        return rows

    def _mask(self, name: str, parameter: nn.Parameter, axis: int) -> Tensor:
        """Where outgoing weights lie: not between new units."""
        mask = torch.ones_like(parameter)
        for other, order in self.change.weights[name].items():
            if other != axis:
                mask.index_fill_(other, torch.from_numpy(order.fresh.reshape(-1)).to(mask.device), 0)
        return mask

    def _rows(self, tensors: Sequence[Tensor]) -> Tensor:
        """The places of each new unit in the weights that read it, one row a unit."""
        rows = []
        for unit in range(self.change.added):
            parts = [
                tensor.index_select(axis, torch.from_numpy(order.fresh[unit]).to(tensor.device)).reshape(-1).double()
                for tensor, (_, _, axis, order) in zip(tensors, self.readers, strict=True)
            ]
            rows.append(torch.cat(parts))
        return torch.stack(rows)

    def _there_and_back(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            self._put([parameter for _, parameter, _, _ in self.readers], rows)
        targets = list(dict.fromkeys([p for _, p, _, _ in self.makers]))
        sources = list(dict.fromkeys([p for _, p, _, _ in self.readers]))
        with Preservation(self.model, "train"), torch.enable_grad(), OpMode().replace(without_dropout):
            loss = self.taught.loss(nesting.call(self.model, self.taught.x))
            slopes = torch.autograd.grad(loss, targets, create_graph=True, allow_unused=True)
            found = dict(zip(map(id, targets), slopes, strict=True))
            total = torch.zeros((), dtype=torch.float64)
            for _, parameter, axis, order in self.makers:
                slope = found[id(parameter)]
                if slope is not None:
                    own = slope.index_select(axis, torch.from_numpy(order.fresh.reshape(-1)).to(slope.device)).double()
                    total = total + (own * own.detach()).sum().cpu()
            if not total.requires_grad:
                return torch.zeros_like(rows)
            back = torch.autograd.grad(total, sources, allow_unused=True)
        by = dict(zip(map(id, sources), back, strict=True))
        return self._rows([torch.zeros_like(p) if by[id(p)] is None else by[id(p)] for _, p, _, _ in self.readers]).detach()

    def _put(self, tensors: Sequence[Tensor], rows: Tensor) -> None:
        for unit in range(self.change.added):
            start = 0
            for tensor, (_, _, axis, order) in zip(tensors, self.readers, strict=True):
                index = torch.from_numpy(order.fresh[unit]).to(tensor.device)
                shape = [len(index) if k == axis else size for k, size in enumerate(tensor.shape)]
                size = int(np.prod(shape))
                tensor.data.index_copy_(axis, index, rows[unit, start : start + size].reshape(shape).to(tensor))
                start += size

    def write(self, values: dict[str, Tensor], rows: Tensor, length: float) -> None:
        """Put the directions into the tensors that the network will get."""
        self._put([values[name] for name, _, _, _ in self.readers], rows * length)


def _apart(rows: Tensor) -> Tensor:
    """Rows made orthogonal and of length 1; where there are more rows than numbers, of length 1 alone."""
    if len(rows) <= rows.shape[1]:
        basis: Tensor = torch.linalg.qr(rows.T)[0]
        return basis.T.contiguous()
    return torch.nn.functional.normalize(rows, dim=1, eps=1e-300)


def _length(model: nn.Module, change: Arrangement) -> float:
    """The length of a survivor's outgoing weights, on average."""
    owned = tensors_of(model)
    hidden = masks(owned)
    total, units = 0.0, 1
    for name, orders in change.weights.items():
        for axis, order in orders.items():
            if order.role == "reads" and name not in hidden:
                total += float(moved(owned[name], {}).double().square().sum())
                units = max(units, owned[name].shape[axis] // max(order.fresh.shape[1], 1))
    return (total / units) ** 0.5 if total > 0 else 1.0
