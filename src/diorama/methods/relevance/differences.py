"""The rule for an OpMode that turns a backward pass into DeepLIFT's: slopes become ratios of differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...model.mode import OpMode
from ...model.ops import LINEAR, MOVED, NORMALIZED, PASSED, PRODUCTS, SHARED
from . import normalization
from .compound_ops import COMPOSED, in_parts
from .flow import applied, dependents, put
from .op_rules import OpRule

SMALL = 1e-10
"""Differences below it have no ratio; the slope itself is used."""
_POOLS = {f"{kind}max_pool{k}d": k for k in (1, 2, 3) for kind in ("", "adaptive_")}


class Differences(OpRule):
    """Answers ops twice: on the pass over the baseline it notes what they read, on the pass over the input it compares.

    *Meaning* an elementwise function has the ratio of differences (the rescale rule); a product, the mean of its other
    factor at both ends; a softmax, both; a max pooling gives its difference to the places that held the two maxima.
    Normalizations, attention and recurrent kernels are opened. Linear ops, and any op of no other kind, follow their
    gradient; ``followed`` names the latter.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[str, list[Tensor]]] = []
        self._noting = True
        self._next = 0
        self.followed: set[str] = set()

    def compare(self) -> None:
        """From now on the ops are those over the input."""
        self._noting = False

    def answer(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note or compare an op."""
        parts = dependents([args, kwargs])
        if name in MOVED and name not in _POOLS or name in SHARED or name in LINEAR:
            return func(*args, **kwargs)
        opened = self._opened(name, func, args, kwargs)
        if opened is not NotImplemented:
            return opened
        division = name in ("div", "divide", "true_divide", "rdiv")
        product = name in PRODUCTS or name in ("mul", "multiply")
        distinct = list({id(part): part for part in parts}.values())

        def run(*at: Tensor) -> Any:
            new = {id(part): fresh for part, fresh in zip(distinct, at, strict=True)}
            return func(*put(args, new), **put(kwargs, new))

        if division and len(parts) == 2:
            return self._divided(parts, name)
        if product and len(parts) > 1:
            ends = self._ends(name, parts)
            return func(*args, **kwargs) if ends is None else applied(ProductDifference, func, ends, args, kwargs, *parts)
        if product or (division and args[0] is parts[0] and name != "rdiv"):
            return func(*args, **kwargs)
        if name in _POOLS and not kwargs.get("return_indices") and len(parts) == 1:
            ends = self._ends(name, parts)
            return run(*distinct) if ends is None else applied(PoolingDifference, name, args, kwargs, ends[0], parts[0])
        if name in ("softmax", "log_softmax"):
            ends = self._ends(name, parts)
            axis = kwargs.get("dim", args[1] if len(args) > 1 else -1)
            return run(*distinct) if ends is None else applied(SoftmaxDifference, run, name, axis, ends[0], parts[0])
        if (name in PASSED or division) and len(distinct) == 1 and name != "normalize":
            ends = self._ends(name, parts)
            return run(*distinct) if ends is None else applied(RescaleDifference, run, ends[0], parts[0])
        result = func(*args, **kwargs)
        if dependents([result]):
            self.followed.add(name)
        return result

    def _ends(self, name: str, parts: list[Tensor]) -> list[Tensor] | None:
        """What the op read on the pass over the baseline; None on that pass itself."""
        if self._noting:
            self._noted.append((name, [part.detach().clone() for part in parts]))
            return None
        noted = self._noted[self._next] if self._next < len(self._noted) else ("", [])
        self._next += 1
        if noted[0] != name or [p.shape for p in noted[1]] != [p.shape for p in parts]:
            raise NotApplicable(
                "the model runs other ops on the baseline than on the input, so there is nothing to compare; "
                "use integrated_gradients"
            )
        return noted[1]

    def _opened(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in NORMALIZED:
            with OpMode().replace(self):
                return normalization.opened(name, func, args, kwargs)
        return in_parts(self, name, args, kwargs) if name in COMPOSED else NotImplemented

    def _divided(self, parts: list[Tensor], name: str) -> Tensor:
        above, below = reversed(parts) if name == "rdiv" else parts
        with OpMode().replace(self):
            return above * below.reciprocal()


def ratio(rise: Tensor, run: Tensor, slope: Callable[[], Tensor]) -> Tensor:
    """A rise over a run, and the slope where the run is next to nothing."""
    still = run.abs() < SMALL
    if not bool(still.any()):
        return rise / run
    return torch.where(still, slope(), rise / torch.where(still, torch.ones_like(run), run))


class RescaleDifference(torch.autograd.Function):
    """An elementwise function by the rescale rule."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], start: Tensor, x: Tensor) -> Tensor:
        """Run the op."""
        ctx.save_for_backward(x)
        ctx.call = (run, start)
        return run(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Times the ratio of the two differences."""
        (x,) = ctx.saved_tensors
        run, start = ctx.call

        def slope() -> Tensor:
            at = x.detach().requires_grad_()
            with torch.enable_grad():
                return cast(Tensor, torch.autograd.grad(run(at).sum(), at)[0])

        return None, None, g * ratio(run(x) - run(start), x - start, slope)


class ProductDifference(torch.autograd.Function):
    """A product: each factor's change times the mean of the other at both ends, which is exact."""

    @staticmethod
    def forward(
        ctx: Any, func: Callable[..., Tensor], ends: list[Tensor], args: Any, kwargs: Any, *parts: Tensor
    ) -> Tensor:
        """Run the op."""
        ctx.save_for_backward(*parts)
        ctx.call = (func, ends, args, kwargs, [id(part) for part in dependents([args, kwargs])])
        result: Tensor = func(*args, **kwargs)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """The gradient at the mean of both ends: a product is linear in each factor."""
        func, ends, args, kwargs, names = ctx.call
        at = [((p + e) / 2).detach().requires_grad_() for p, e in zip(ctx.saved_tensors, ends, strict=True)]
        new = dict(zip(names, at, strict=True))
        with torch.enable_grad():
            z = func(*put(args, new), **put(kwargs, new))
        found = torch.autograd.grad(z, list(new.values()), g)
        whole = dict(zip(new, found, strict=True))
        # A tensor that stands in both places gets its whole part once.
        return None, None, None, None, *(whole.pop(name, None) for name in names)


class SoftmaxDifference(torch.autograd.Function):
    """A softmax (or its logarithm) as exponentials, a sum and a quotient, each by its own rule."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], name: str, axis: int, start: Tensor, x: Tensor) -> Tensor:
        """Run the op."""
        ctx.save_for_backward(x)
        ctx.call = (name, axis, start)
        return run(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """The product of the rules, from the outside in."""
        (x,) = ctx.saved_tensors
        name, axis, start = ctx.call
        top = torch.maximum(x, start).amax(axis, keepdim=True)
        a, b = (x - top).exp(), (start - top).exp()
        one, other = a.sum(axis, keepdim=True), b.sum(axis, keepdim=True)
        run = torch.where(torch.isfinite(x) & torch.isfinite(start), x - start, torch.zeros_like(x))
        slope = ratio(a - b, run, lambda: a)
        if name == "log_softmax":
            log = ratio(one.log() - other.log(), one - other, lambda: 1 / one)
            return None, None, None, None, g - g.sum(axis, keepdim=True) * log * slope
        back = (g * (a + b)).sum(axis, keepdim=True) / (2 * one * other)
        return None, None, None, None, (g * (1 / one + 1 / other) / 2 - back) * slope


class PoolingDifference(torch.autograd.Function):
    """A max pooling: the difference goes to the places that hold the maximum of the input and of the baseline."""

    @staticmethod
    def forward(ctx: Any, name: str, args: Any, kwargs: Any, start: Tensor, x: Tensor) -> Tensor:
        """Run the op, keeping where the maxima are."""
        pool = getattr(F, name)
        given = {**kwargs, "return_indices": True}
        result: Tensor
        result, where = pool(x, *args[1 : _PLACES.get(name, 6)], **given)
        start_result, start_where = pool(start, *args[1 : _PLACES.get(name, 6)], **given)
        ctx.save_for_backward(x)
        ctx.call = (_POOLS[name], start, result.clone(), where, start_result, start_where)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """What rises above the baseline's maximum goes to the one, what falls below to the other."""
        (x,) = ctx.saved_tensors
        axes, start, result, where, start_result, start_where = ctx.call
        top = torch.maximum(result, start_result)

        def placed(values: Tensor, at: Tensor) -> Tensor:
            flat = torch.zeros_like(x).flatten(-axes)
            return flat.scatter_add(-1, at.flatten(-axes), values.flatten(-axes)).reshape(x.shape)

        given = placed(g * (top - start_result), where) + placed(g * (result - top), start_where)
        return None, None, None, None, ratio(given, x - start, lambda: placed(g, where))


_PLACES = {name: 2 if name.startswith("adaptive") else 6 for name in _POOLS}
"""How many arguments a pooling has before those that ask for indices."""
