"""How each example alone would move the weights: exact for the last layer, without its gradients being made; sketched for all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import NotApplicable
from ..data.nesting import Nested, call, size
from .axes import transformed
from .batch_size import batch_size, called, fitting, parts
from .outputs import Reading
from .plain_module import named_modules

CELLS = 16_000_000
"""Numbers that a product of gradients may hold at once."""


@dataclasses.dataclass(frozen=True)
class LastGradients:
    """The last layer's gradient of each example's loss, as the two factors of its outer products.

    *Shapes* ``slopes`` (n, times, units): of the loss with respect to what the layer answers; ``inputs`` (n, times, numbers):
    what it was given, a one for the bias at the end. The gradient of example i is Σ_t slopes[i, t] ⊗ inputs[i, t].
    """

    slopes: Tensor
    inputs: Tensor

    @classmethod
    def joined(cls, parts: list[LastGradients]) -> LastGradients:
        """Several batches as one; where one has fewer places, nothing follows."""
        times = max(part.slopes.shape[1] for part in parts)

        def padded(tensor: Tensor) -> Tensor:
            return functional.pad(tensor, (0, 0, 0, times - tensor.shape[1]))

        return cls(torch.cat([padded(part.slopes) for part in parts]), torch.cat([padded(part.inputs) for part in parts]))

    def scaled(self, factors: Sequence[float]) -> LastGradients:
        """The same with the gradient of the weight, and that of the bias where there is one, times a number each."""
        inputs = self.inputs * factors[0]
        if len(factors) > 1:
            inputs[..., -1] = self.inputs[..., -1] * factors[1]
        return LastGradients(self.slopes, inputs)

    def dot(self, other: LastGradients) -> Tensor:
        """The product of every gradient here with the one gradient of ``other``, (n,)."""
        wanted, given = other.slopes[0].double(), other.inputs[0].double()
        found = []
        # One place each: the product of two outer products is that of their factors' products.
        if self.slopes.shape[1] * len(wanted) <= wanted.shape[1] * given.shape[1]:
            rows = max(1, CELLS // max(1, self.slopes.shape[1] * len(wanted)))
            for slopes, inputs in zip(torch.split(self.slopes, rows), torch.split(self.inputs, rows), strict=True):
                found.append(((slopes.double() @ wanted.T) * (inputs.double() @ given.T)).sum((1, 2)))
        else:
            whole = wanted.T @ given
            rows = max(1, CELLS // max(1, self.slopes.shape[1] * whole.shape[1]))
            for slopes, inputs in zip(torch.split(self.slopes, rows), torch.split(self.inputs, rows), strict=True):
                found.append(((slopes.double() @ whole) * inputs.double()).sum((1, 2)))
        return torch.cat(found)


@dataclasses.dataclass(frozen=True)
class Sketches:
    """All weights' gradient of each example's loss in few numbers, (n, dimensions), and its exact length, (n,).

    *Error* products of sketches are right in the mean, with a standard error of at most
    √((‖a‖²‖b‖² + (a·b)²) / dimensions).
    *Source* Charikar et al. 2002 (the count sketch); Pruthi et al. 2020, §3.4 (random projections of gradients).
    """

    rows: Tensor
    lengths: Tensor

    @classmethod
    def joined(cls, parts: list[Sketches]) -> Sketches:
        """Several batches as one."""
        return cls(torch.cat([part.rows for part in parts]), torch.cat([part.lengths for part in parts]))

    def dot(self, other: Sketches) -> Tensor:
        """The product of every gradient here with the one of ``other``, (n,)."""
        return self.rows @ other.rows[0]

    def error(self, other: Sketches) -> Tensor:
        """The standard error of these products, (n,)."""
        lengths = (self.lengths * other.lengths[0]).square()
        return ((lengths + self.dot(other).square().clamp_max(lengths)) / self.rows.shape[1]).sqrt()


class LastLayer:
    """The last dense or convolutional layer on the way to the scores, and the gradients of losses there, each example's own.

    Of several heads it is the one from whose answer the scores are read, whichever is called last.
    """

    def __init__(self, model: nn.Module, reading: Reading, x: Nested) -> None:
        self._model, self._reading = model, reading
        ran: list[tuple[str, Tensor | None]] = []
        modules = named_modules(model) or {"": model}
        names = {module: name for name, module in modules.items() if _fits(module)}

        def hook(module: nn.Module, given: tuple[Any, ...], answer: Tensor) -> Tensor | None:
            if transformed(answer) or not torch.is_grad_enabled():
                ran.append((names[module], None))
                return None
            leaf = answer.detach().requires_grad_()
            ran.append((names[module], leaf))
            return leaf.clone()

        handles = [module.register_forward_hook(hook) for module in names]
        try:
            with torch.enable_grad():
                scores = fitting(model, x, lambda part: reading.scores(call(model, part)))
                # Each layer's answer begins anew, so that only layers with no other behind them get a slope.
                reached = _reaching(scores, [leaf for _, leaf in ran])
        finally:
            for handle in handles:
                handle.remove()
        if not ran:
            raise NotApplicable("the model calls no dense or convolutional layer as a module, so it has no last one; choose layers=all")
        self.name = next((name for (name, _), near in zip(reversed(ran), reversed(reached), strict=True) if near), ran[-1][0])
        near = dict.fromkeys(name for (name, _), own in zip(ran, reached, strict=True) if own)
        self.beside = tuple(name for name in near if name != self.name)
        """Other layers from which the answer is made with no layer between: another branch of a product, experts beside their gate."""
        self._module = modules[self.name]
        weight: Any = self._module.weight
        if weight.is_complex():
            raise NotApplicable(f"the last layer, {self.name!r}, has complex weights, and its gradients are taken of real ones; choose layers=all")

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of its weight and, where it has one, its bias: of one that is shared the name that the model gives it first."""
        names = {id(weight): name for name, weight in self._model.named_parameters()}
        return tuple(names.get(id(one), "") for one in (self._module.weight, self._module.bias) if one is not None)

    def gradients(self, x: Nested, y: Tensor) -> LastGradients:
        """The gradients of a batch: one forward pass, and one backward from the losses to the layer."""
        bound = batch_size(self._model)
        if bound is None or size(x) == bound:
            return self._gradients(x, y)
        found = [(part, self._gradients(batch, part.select(y))) for part, batch in parts(x, bound)]
        return LastGradients.joined([LastGradients(own.slopes[: part.real], own.inputs[: part.real]) for part, own in found])

    def _gradients(self, x: Nested, y: Tensor) -> LastGradients:
        met: list[tuple[Tensor, Tensor]] = []

        def hook(module: nn.Module, given: tuple[Any, ...], answer: Tensor) -> Tensor:
            if transformed(answer):
                raise NotApplicable(f"the last layer, {self.name!r}, runs inside a transform of torch.func (vmap), which hides its answers")
            leaf = answer.detach().requires_grad_()
            met.append((given[0].detach(), leaf))
            return leaf.clone()  # what follows may write into it

        handle = self._module.register_forward_hook(hook)
        try:
            with torch.enable_grad():
                total = losses(self._reading, self._reading.scores(call(self._model, x)), y).sum()
                slopes = _slopes(total, [leaf for _, leaf in met])
        finally:
            handle.remove()
        count = size(x)
        if any(len(given) != count for given, _ in met):
            raise NotApplicable(f"the last layer, {self.name!r}, does not have the example on its first axis; choose layers=all")
        factors = [_factors(self._module, given, slope) for (given, _), slope in zip(met, slopes, strict=True)]
        return LastGradients(torch.cat([one[0] for one in factors], 1).cpu(), torch.cat([one[1] for one in factors], 1).cpu())


class Sketcher:
    """Sketches of the gradients of all weights: every number goes with a random sign into a random one of few sums."""

    def __init__(self, model: nn.Module, reading: Reading, dimensions: int, seed: int) -> None:
        self._model, self._reading, self._dimensions = model, reading, dimensions
        held = [(name, weight) for name, weight in model.named_parameters()
                if weight.requires_grad and (weight.is_floating_point() or weight.is_complex())]
        self._names, self._weights = [name for name, _ in held], [weight for _, weight in held]
        if not self._weights:
            raise NotApplicable("no weight of the model takes a gradient, so no example moves any")
        generator = torch.Generator().manual_seed(seed)
        count = sum(_numbers(weight) for weight in self._weights)
        self._places = torch.randint(0, dimensions, (count,), generator=generator, dtype=torch.int32)
        self._signs = torch.randint(0, 2, (count,), generator=generator, dtype=torch.int8)

    @property
    def numbers(self) -> int:
        """So many numbers a gradient has."""
        return len(self._places)

    def gradients(self, x: Nested, y: Tensor, factor: Callable[[str], float] = lambda name: 1.0) -> Sketches:
        """The gradient of one example, each weight's times a number: one forward and one backward pass."""
        with torch.enable_grad():
            total = losses(self._reading, self._reading.scores(called(self._model, x)), y).sum()
            slopes = torch.autograd.grad(total, self._weights, allow_unused=True)
        row, length, start = torch.zeros(self._dimensions, dtype=torch.float64), 0.0, 0
        for name, weight, part in zip(self._names, self._weights, slopes, strict=True):
            stop = start + _numbers(weight)
            if part is not None:
                dense = part.detach() if part.layout == torch.strided else part.detach().to_dense()
                # Both parts of a complex number are weights of their own.
                dense = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
                flat = dense.reshape(-1).double().cpu() * factor(name)
                length += float(flat.square().sum())
                row.index_add_(0, self._places[start:stop], flat * (2.0 * self._signs[start:stop] - 1.0))
            start = stop
        return Sketches(row[None], torch.tensor([math.sqrt(length)], dtype=torch.float64))


def _numbers(weight: Tensor) -> int:
    """So many real numbers a weight holds."""
    return weight.numel() * (2 if weight.is_complex() else 1)


def losses(reading: Reading, scores: Tensor, y: Tensor) -> Tensor:
    """One loss an example that gradients go through; of examples of which nothing is known 0."""
    y = y.to(scores.device)
    if reading.criterion is not None:
        each: Callable[..., Tensor] = reading.criterion
        found = torch.stack([each(scores[k : k + 1], y[k : k + 1]).float().mean() for k in range(len(scores))])
    else:
        found = reading.losses(scores, y)
    if not found.requires_grad:
        raise NotApplicable("the loss has no gradient with respect to the weights, as the model or criterion detaches its numbers")
    return torch.where(reading.labelled(y.cpu()).to(found.device), found, torch.zeros_like(found))


def _reaching(scores: Tensor, leaves: list[Tensor | None]) -> list[bool]:
    """Which of some tensors the scores are made of."""
    told = [leaf for leaf in leaves if leaf is not None]
    if not told or not scores.requires_grad:
        return [False] * len(leaves)
    slopes = iter(torch.autograd.grad(scores.abs().sum(), told, allow_unused=True))
    return [leaf is not None and next(slopes) is not None for leaf in leaves]


def _slopes(total: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(found, leaves, strict=True)]


def _fits(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def _factors(module: nn.Module, given: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes and inputs of a call, (n, times, …); a convolution is a dense layer on its windows."""
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)  # _fits() has seen it
        windows = functional.unfold(given.float(), module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
        inputs, slopes = windows.transpose(1, 2), slope.float().flatten(2).transpose(1, 2)
    else:
        inputs = given.float().reshape(len(given), -1, given.shape[-1])
        slopes = slope.float().reshape(len(slope), -1, slope.shape[-1])
    if module.bias is not None:
        inputs = functional.pad(inputs, (0, 1), value=1.0)
    return slopes, inputs
