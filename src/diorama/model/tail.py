"""What a model makes of a point, as a function of what lies there: the ops behind it, kept from one pass and run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..data import nesting
from ..data.nesting import Nested
from .axes import each_tensor, tensors_in
from .batch_size import batch_size
from .mode import OpMode, OpNames, Run, Trail, WithoutModes
from .plain_module import dtype_of, fed, named_modules, unwrap
from .points import Point, points
from .preservation import Preservation
from .surroundings import NeutralSurroundings, as_built

_FROZEN = frozenset({"rsqrt", "sqrt", "var", "std", "norm", "var_mean", "std_mean", "reciprocal", "vector_norm"})
"""Of a norm written by hand: what its sizes are made of, which a linear look holds fixed."""


@dataclasses.dataclass(frozen=True)
class _Call:
    name: str
    func: Callable[..., Any]
    args: Any
    kwargs: dict[str, Any]
    result: Any


class Tail:
    """The scores of a model as a function of what lies at a point, with all else as it was in one pass.

    *Meaning* ``tail(h)`` runs the ops behind the point again on another ``h`` (n, …), with the example first; for as many
    examples as the pass had. ``h`` is what lay there, and ``scores`` what the model answered.
    *Error* ``tail(tail.h)`` is ``tail.scores`` to rounding: it is checked, as a tail that draws or counts would not be.
    *Cost* one forward pass to make; then the ops behind the point alone.
    *Raises* NotApplicable where the scores do not come from the point, or cannot be had again.
    """

    def __init__(
        self, model: nn.Module, x: Nested, point: str, scores: Callable[[Any], Tensor], cancel: Callable[[], object] | None = None,
    ) -> None:
        self.model = unwrap(model)
        x = fed(self.model, x)
        self.point: Point = points(self.model, x)[point]
        self._count, size = nesting.size(x), batch_size(self.model)
        if size is not None and self._count > size:
            raise NotApplicable(f"what follows {point} is run again for {size} examples at most, as the model takes no other number")
        x = _filled(x, size or self._count)
        self.examples = nesting.size(x)
        self._op = self.point.op
        self._calls: list[_Call] = []
        self._known: set[int] = set()
        self._alive: list[Any] = []
        self._at: Tensor | None = None
        self.h: Tensor
        self.scores: Tensor
        trail = Trail(named_modules(self.model))
        self._names = OpNames(trail)
        mode, built = OpMode(cancel=cancel).around(self._ran), as_built(dtype_of(self.model))
        with WithoutModes(), NeutralSurroundings(), Preservation(self.model), trail, torch.no_grad(), built, mode:
            self._out = scores(nesting.call(self.model, x))
        if self._at is None or id(self._out) not in self._known:
            raise NotApplicable(f"the model's answer does not come from {point}, so what it makes of it cannot be told")
        self.h, self.scores = self.h[: self._count], self._out.detach().clone()[: self._count]
        with torch.no_grad():
            again = self(self.h)
        if again.shape != self.scores.shape or not _close(again, self.scores):
            raise NotApplicable(f"what follows {point} answers otherwise when it runs again (it draws, counts or writes)")

    def _ran(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run: Run) -> Any:
        full = self._names.next(name)
        given = [one for one in (*tensors_in(args), *tensors_in(kwargs)) if id(one) in self._known]
        result = run(name, func, args, kwargs)
        counted = self._names.count(name, result)
        if counted and full == self._op and self._at is None:
            self._at = list(tensors_in(result))[self.point.number]
            # Kept at once: what comes later may write into it.
            self.h = self.point.read(self._at.detach(), self.examples).clone()
            self._known.add(id(self._at))
            self._alive.append(self._at)
        elif given and next(tensors_in(result), None) is not None:
            self._calls.append(_Call(name, func, args, kwargs, result))
            for made in tensors_in(result):
                self._known.add(id(made))
                self._alive.append(made)
        return result

    def __call__(self, h: Tensor, linear: bool = False) -> Tensor:
        """The scores for another ``h``; ``linear`` holds the sizes that norms divide by as they were in the pass: a norm is linear then."""
        assert self._at is not None
        made: dict[int, Any] = {id(self._at): self.point.layout.together(_filled(h, self.examples)).clone()}

        def fresh(tensor: Tensor) -> Tensor:
            found: Tensor = made.get(id(tensor), tensor)
            return found

        for call in self._calls:
            args, kwargs = each_tensor(call.args, fresh), each_tensor(call.kwargs, fresh)
            result = _linear(call, args, kwargs) if linear else call.func(*args, **kwargs)
            made.update((id(old), new) for old, new in zip(tensors_in(call.result), tensors_in(result), strict=True))
        out: Tensor = made[id(self._out)]
        return out[: self._count]


def _filled(x: Any, size: int) -> Any:
    """So many examples, the last again and again where there are fewer."""
    count = nesting.size(x)
    return x if count == size else nesting.select(x, torch.arange(size).clamp_max(count - 1))


def _linear(call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An op of a norm with the size that it divides by as it was in the pass; any other op as it is."""
    bare = call.name.removesuffix("_")
    if bare in _FROZEN:
        return call.result
    if bare in ("layer_norm", "rms_norm"):
        names = ("input", "normalized_shape", "weight", *(("bias",) if bare == "layer_norm" else ()), "eps")
        named = {**dict(zip(names, args, strict=False)), **kwargs}
        was = {**dict(zip(names, call.args, strict=False)), **call.kwargs}["input"]
        x, axes = named["input"], tuple(range(-len(named["normalized_shape"]), 0))
        centred, then = ((each - each.mean(axes, keepdim=True) if bare == "layer_norm" else each) for each in (x, was))
        eps = named.get("eps")
        eps = (1e-5 if bare == "layer_norm" else torch.finfo(x.dtype).eps) if eps is None else eps
        y = centred / (then.square().mean(axes, keepdim=True) + eps).sqrt().detach()
        y = y * named["weight"] if named.get("weight") is not None else y
        return y + named["bias"] if named.get("bias") is not None else y
    return call.func(*args, **kwargs)


def _close(one: Tensor, other: Tensor) -> bool:
    one, other = one.double(), other.double()
    scale = float(other.abs().nan_to_num(0, 0, 0).max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * max(scale, 1e-6), equal_nan=True)
