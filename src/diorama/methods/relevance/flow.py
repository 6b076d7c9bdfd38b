"""Autograd functions whose backward pass carries relevance in place of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.errors import NotApplicable
from .affine import AffineCall
from .rules import Rule, RuleSettings, stable

Run = Callable[..., Any]
Choose = Callable[[Tensor], tuple[Rule, bool]]
"""The rule for a layer with this result, and whether it reads the result."""


def unbroadcast(r: Tensor, like: Tensor) -> Tensor:
    """Relevance of a broadcast tensor, summed back to its own shape."""
    return r if r.shape == like.shape else r.sum_to_size(like.shape)


class WeightedFlow(torch.autograd.Function):
    """A weighted layer, whose relevance goes back by a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run, layer: AffineCall, choose: Choose, settings: RuleSettings) -> Tensor:
        """Run the layer as it is; its result is copied where the rule reads it, as it may be written into later."""
        z: Tensor = run()
        # A dense layer over steps answers with a view, into which an in-place ReLU could not write.
        z = z.clone() if z._is_view() else z
        rule, keep = choose(z)
        ctx.save_for_backward(x)
        ctx.call = (layer, rule, settings, z.clone() if keep else None)
        return z

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """By the rule."""
        (x,) = ctx.saved_tensors
        layer, rule, settings, z = ctx.call
        return rule(layer, x, r if z is None else z, r, settings), None, None, None, None


class PassedFlow(torch.autograd.Function):
    """An op with one result for each number it reads: relevance passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run) -> Tensor:
        """Run the op."""
        ctx.shape = x.shape
        result: Tensor = run()
        return result

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """Unchanged, summed where the op broadcast."""
        return (r if r.shape == ctx.shape else r.sum_to_size(ctx.shape)), None


class SumFlow(torch.autograd.Function):
    """A sum or difference of two: each takes its share of the result."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, run: Run, sign: int, epsilon: float) -> Tensor:
        """Run the op."""
        ctx.save_for_backward(a, b)
        ctx.call = (sign, epsilon)
        result: Tensor = run()
        return result

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """In proportion to the two parts."""
        a, b = ctx.saved_tensors
        sign, epsilon = ctx.call
        part = sign * b
        s = r / stable(a + part, epsilon)
        return unbroadcast(a * s, a), unbroadcast(part * s, b), None, None, None


class BiasFlow(torch.autograd.Function):
    """A constant added to a tensor or taken from it: a bias, which takes its share and hands it to nobody."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run, times: float, epsilon: float) -> Tensor:
        """Run the op, whose result is so many times the tensor, and a constant."""
        result: Tensor = run()
        ctx.save_for_backward(x)
        ctx.call = (result.detach() - times * x, times, epsilon)
        return result

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """In proportion to the tensor's part of the result; nothing of nothing, also where places are masked out."""
        (x,) = ctx.saved_tensors
        constant, times, epsilon = ctx.call
        share = times * x / stable(times * x + constant, epsilon)
        return unbroadcast(torch.where(r == 0, r, r * share), x), None, None, None


class MultilinearFlow(torch.autograd.Function):
    """An op that is linear in each tensor it reads: shares of the result, ``1 / ways`` of it for each of ``ways``."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], ways: int, epsilon: float, *parts: Tensor) -> Tensor:
        """Run the op on the parts."""
        ctx.save_for_backward(*parts)
        ctx.call = (run, ways, epsilon)
        return run(*parts)

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """In proportion to what each number contributes."""
        run, ways, epsilon = ctx.call
        at = [part.detach().requires_grad_() for part in ctx.saved_tensors]
        with torch.enable_grad():
            z = run(*at)
        found = torch.autograd.grad(z, at, r / stable(z.detach(), epsilon) / ways, allow_unused=True)
        return None, None, None, *(None if g is None else g * p.detach() for g, p in zip(found, at, strict=True))


class ProductFlow(torch.autograd.Function):
    """A product, number by number, of two: half of the relevance each (Achtibat et al. 2024, proposition 3.3)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, run: Run) -> Tensor:
        """Run the op."""
        ctx.shapes = (a.shape, b.shape)
        result: Tensor = run()
        return result

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """Half each."""
        first, second = ctx.shapes
        return r.sum_to_size(first) / 2, r.sum_to_size(second) / 2, None


class SoftmaxFlow(torch.autograd.Function):
    """A softmax by its first-order expansion (Achtibat et al. 2024, proposition 3.1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run, axis: int) -> Tensor:
        """Run the op."""
        s: Tensor = run()
        ctx.save_for_backward(x)
        ctx.call = (s.clone(), axis)
        return s

    @staticmethod
    def backward(ctx: Any, r: Tensor) -> Any:
        """x · (r − s · Σ r); nothing for places that are masked out."""
        (x,) = ctx.saved_tensors
        s, axis = ctx.call
        found = x * (r - s * r.sum(axis, keepdim=True))
        return torch.where(torch.isfinite(x), found, torch.zeros_like(found)), None, None


class MissingRule(torch.autograd.Function):
    """An op without a rule: an error, but only where relevance reaches it."""

    @staticmethod
    def forward(ctx: Any, name: str, run: Run, *parts: Tensor) -> Any:
        """Run the op."""
        ctx.call = (name, len(parts))
        ctx.set_materialize_grads(False)
        return run()

    @staticmethod
    def backward(ctx: Any, *r: Tensor | None) -> Any:
        """Refuse by name."""
        name, count = ctx.call
        if any(part is not None and bool(part.any()) for part in r):
            raise NotApplicable(
                f"relevance propagation has no rule for {name}, through which this target is reached; "
                "use integrated_gradients or occlusion"
            )
        return (None,) * (2 + count)


def applied(function: type[torch.autograd.Function], *args: Any) -> Any:
    """The result of an autograd function."""
    return function.apply(*args)  # type: ignore[no-untyped-call]


def dependents(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among arguments, also inside lists, that lead back to the input."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                found.append(value)
        elif isinstance(value, tuple | list):
            found += dependents(value)
        elif isinstance(value, dict):
            found += dependents(list(value.values()))
    return found


def put(values: Any, replaced: dict[int, Tensor]) -> Any:
    """The same arguments with some tensors, by id, replaced."""
    if isinstance(values, Tensor):
        return replaced.get(id(values), values)
    if isinstance(values, tuple | list):
        if hasattr(values, "_fields"):
            return type(values)(*(put(value, replaced) for value in values))
        return type(values)(put(value, replaced) for value in values)
    if isinstance(values, dict):
        return {name: put(value, replaced) for name, value in values.items()}
    return values
