"""Whether each op of a pass surely answers each example for itself: then no other pass need tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.nesting import Nested
from . import ops
from .attention import bound
from .axes import ATOMS, tensors_in
from .equations import moved

Given = Sequence[tuple[Tensor, int | None]]
"""Tensors that an op takes, each with the axis that counts examples: None for what is made of weights and of numbers alone."""
_NUMBERS = (
    ops.named("function", "sum", "factor", "mix", "extreme", "choice", "cast") - {"local_response_norm", "rrelu", "where"}
    | {"eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and", "bitwise_or", "detach"}
)
"""Each number alone, or with those at the same place."""
_AXES = {
    "group_norm": 2, "batch_norm": 2,
    "conv1d": 3, "conv2d": 4, "conv3d": 5, "conv_transpose1d": 3, "conv_transpose2d": 4, "conv_transpose3d": 5,
    **{f"{kind}_pool{n}d": n + 2 for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)},
}
"""So many axes at least has what comes in, where the first one counts examples."""
_OVER = frozenset(("sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "logsumexp", "any", "all"))
"""These take axes together."""
_SETS = ops.LIKE - ops.NOISE - ops.UNWRITTEN
"""These ask a tensor for its form alone; those called ``…_like`` make one with the same axes, into which each example may write."""
_TENSORS = (Tensor, nn.Parameter)
_RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))


class _MayMeet(Exception):
    """Of an op it is not known that it leaves examples to themselves."""


class RowFollower:
    """Follows a pass for as long as every op is one of those that answer each example for itself, wherever its axis lies.

    *Meaning* ``sure``: whatever was made of the input so far has a place for each example, made of that example, of weights and of
    numbers alone. What runs unseen makes tensors that are not known here, and with the first of them nothing is sure any more.
    """

    def __init__(self, model: nn.Module, x: Nested, own: frozenset[int], most: float = math.inf) -> None:
        self._room = most
        """So many numbers may still be held."""
        self.sure = isinstance(x, Tensor) and x.ndim > 1 and x.layout is torch.strided
        self._count = len(x) if isinstance(x, Tensor) and x.ndim else 0
        self._model, self._own = model, own
        self._buffers: frozenset[int] | None = None
        self._known: dict[tuple[int, int], tuple[int | None, Tensor]] = {}
        """With the tensors themselves, so that no two share an id."""
        if isinstance(x, Tensor):
            self._known[state(x)] = 0, x

    def lies(self, tensor: Any, axis: int = 0) -> bool:
        """Whether it was surely made example by example, and this axis counts them."""
        return isinstance(tensor, Tensor) and self._known.get(state(tensor), (None,))[0] == axis

    def fixed(self, tensor: Tensor) -> bool:
        """Whether it was made of weights and numbers alone, and is the same whatever comes in."""
        return self._known.get(state(tensor), (0,))[0] is None

    def given(self, args: Any, kwargs: dict[str, Any]) -> Given | None:
        """What an op is about to take, which it may write to; None where something is among it of which nothing is known."""
        found: list[tuple[Tensor, int | None]] = []
        for part in (*args, *kwargs.values()) if kwargs else args:
            for tensor in (part,) if type(part) in _TENSORS else () if type(part) in ATOMS else tensors_in(part):
                known = self._known.get(state(tensor))
                if known is None and not self._weight(tensor):
                    return None
                found.append((tensor, None if known is None else known[0]))
        return found

    def ran(self, name: str, args: Any, kwargs: dict[str, Any], given: Given | None, result: Any) -> None:
        """An op has run on what it was ``given``."""
        made = [result] if type(result) is Tensor else list(tensors_in(result))
        self.sure = given is not None and bool(made) and "out" not in kwargs
        if not self.sure or given is None:
            return
        try:
            axes = self._axes(name, args, kwargs, given, made)
        except (_MayMeet, IndexError, TypeError):  # or a call of another form than is known here
            self.sure = False
            return
        for axis, tensor in zip(axes, made, strict=True):
            if axis is not None and (axis < 0 or tensor.shape[axis : axis + 1] != (self._count,)):
                self.sure = False
            self._known[state(tensor)] = axis, tensor
            self._room -= tensor.numel()
        if self._room < 0:
            self.sure = False
            self._known.clear()

    def _weight(self, tensor: Tensor) -> bool:
        if id(tensor) in self._own:
            return True
        if self._buffers is None:
            self._buffers = frozenset(map(id, self._model.buffers()))  # those that stand there while it is looked at
        return id(tensor) in self._buffers

    def _axes(self, name: str, args: Any, kwargs: dict[str, Any], given: Given, made: list[Tensor]) -> Sequence[int | None]:
        """Which axis counts examples in each tensor that an op made; it raises where they may meet."""
        if name in _SETS and name.endswith("_like"):
            return [given[0][1]]
        if name in _SETS or all(axis is None for _, axis in given):
            if name in ops.NOISE or name.removesuffix("_") in ops.UNWRITTEN:
                raise _MayMeet
            return [None] * len(made)
        if name == "multi_head_attention_forward":
            return [_attended(args, kwargs, given), 0][: len(made)]
        if name in _RECURRENT:
            first = _recurrent(name, args, given)
            return [first, *[1] * (len(made) - 1)]
        return [_axis(name, args, kwargs, given, made[0])] * len(made)


def state(tensor: Tensor) -> tuple[int, int]:
    """A tensor as it is now: an in-place sum makes it another."""
    return id(tensor), 0 if tensor.is_inference() else tensor._version


def _axis(name: str, args: Any, kwargs: dict[str, Any], given: Given, made: Tensor) -> int:
    bare = name.removesuffix("_")
    if bare in _NUMBERS or (name == "where" and len(args) + len(kwargs) == 3):
        return _joined(name, given)
    if bare == "dropout" and not (args[2] if len(args) > 2 else kwargs.get("training", True)):
        return _joined(name, given)
    if name in _RULES:
        x, axis = given[0]
        if x is not args[0] and name not in ("cat", "concat", "stack"):
            raise _MayMeet
        return _RULES[name](x, axis, args, kwargs, given, made)
    if name not in _AXES or given[0][1] != 0 or given[0][0].ndim < _AXES[name] or _any(given[1:]):
        raise _MayMeet
    if name == "batch_norm" and (args[5] if len(args) > 5 else kwargs.get("training", False)):
        raise _MayMeet
    return 0


def _any(given: Given) -> bool:
    return any(axis is not None for _, axis in given)


def _joined(name: str, given: Given) -> int:
    """Of numbers that are joined with those at the same places; what has no examples must be the same for all of them."""
    ends = {tensor.ndim - axis for tensor, axis in given if axis is not None}
    end = ends.pop()
    into = given[0][1] is None and name.endswith("_")
    if ends or into or any(axis is None and tensor.ndim >= end and tensor.shape[-end] != 1 for tensor, axis in given):
        raise _MayMeet
    return max(tensor.ndim for tensor, _ in given) - end


def _told(args: Any, kwargs: dict[str, Any], place: int, default: Any = None) -> Any:
    """The argument ``dim`` of an op, at that place where it is not named."""
    return kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else default))


def _one(dim: Any, ndim: int) -> int:
    if type(dim) is not int:
        raise _MayMeet
    return dim % ndim


def _beside(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """Along another axis, which stays."""
    if axis is None or _any(given[1:]) or _one(_told(args, kwargs, 1), x.ndim) == axis:
        raise _MayMeet
    return int(axis)


def _summed(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """Over other axes, which go."""
    dim = _told(args, kwargs, 1)
    dims = {_one(one, x.ndim) for one in (dim if isinstance(dim, tuple | list) else (dim,))}
    if axis is None or len(given) > 1 or axis in dims or not dims:
        raise _MayMeet
    kept = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
    return int(axis) - (0 if kept else sum(one < axis for one in dims))


def _linear(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    if axis is None or axis == x.ndim - 1 or _any(given[1:]):
        raise _MayMeet
    return int(axis)


def _product(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    (a, mine), (b, other) = given
    if other is None and mine is not None and b.ndim == 2 and mine < a.ndim - 1:
        return mine
    if mine is None and other is not None and a.ndim == 2 and other < b.ndim - 2:
        return other
    if mine is None or mine != other or a.ndim != b.ndim or mine >= a.ndim - 2:
        raise _MayMeet
    return mine


def _shaped(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """In another form, up to the examples as before."""
    if axis is None or made.shape[: axis + 1] != x.shape[: axis + 1]:
        raise _MayMeet
    return int(axis)


def _turned(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    if axis is None or len(args) != 3 or kwargs:
        raise _MayMeet
    one, other = _one(args[1], x.ndim), _one(args[2], x.ndim)
    return other if axis == one else one if axis == other else int(axis)


def _moved(name: str, func: Callable[..., Any]) -> Callable[..., int]:
    def rule(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
        ways = moved(name, func, args, kwargs)
        if axis not in ways:
            raise _MayMeet
        return ways.index(axis)

    return rule


def _put(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """A new axis of one place."""
    return int(axis) + int(_one(_told(args, kwargs, 1), x.ndim + 1) <= axis)


def _taken(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """Places of other axes, told by Python's own numbers."""
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    plain = all(part is None or part is Ellipsis or type(part) in (int, slice) for part in index)
    if axis is None or not plain or len(args) > 2 or any(type(part) is slice and next(tensors_in((part.start, part.stop, part.step)), None)
                                                         is not None for part in index):
        raise _MayMeet
    read = made_of = 0
    for part in index:
        step = x.ndim - sum(type(one) in (int, slice) for one in index) if part is Ellipsis else int(part is not None)
        if read <= axis < read + step:
            if part is not Ellipsis and (type(part) is int or part != slice(None)):
                raise _MayMeet
            return int(made_of + axis - read)
        read, made_of = read + step, made_of + (step if part is Ellipsis else int(type(part) is not int))
    return int(made_of + axis - read)


def _parted(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    if axis is None or _one(_told(args, kwargs, 2, 0), x.ndim) == axis:
        raise _MayMeet
    return int(axis)


def _flattened(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    start = args[1] if len(args) > 1 else kwargs.get("start_dim", 0)
    if axis is None or _one(start, x.ndim) <= axis:
        raise _MayMeet
    return int(axis)


def _appended(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """One behind the other along another axis: what has no examples stands beside each of them."""
    axes = {own for _, own in given if own is not None}
    if len(axes) > 1 or len({tensor.ndim for tensor, _ in given}) > 1:
        raise _MayMeet
    found = axes.pop()
    if _one(_told(args, kwargs, 1, 0), x.ndim) == found:
        raise _MayMeet
    return found


def _stacked(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    axes = {own for _, own in given}
    if len(axes) > 1 or axis is None:
        raise _MayMeet
    return int(axis) + int(_one(_told(args, kwargs, 1, 0), x.ndim + 1) <= axis)


def _normed(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    shape = args[1] if len(args) > 1 else kwargs.get("normalized_shape", x.shape)
    if axis is None or len(shape) >= x.ndim - axis or _any(given[1:]):
        raise _MayMeet
    return int(axis)


def _embedded(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    longest = args[3] if len(args) > 3 else kwargs.get("max_norm")  # with a greatest length it writes into the weights
    if axis is None or longest is not None or x.ndim < 2 or _any(given[1:]):
        raise _MayMeet
    return int(axis)


def _looked_up(x: Tensor, axis: Any, args: Any, kwargs: Any, given: Given, made: Tensor) -> int:
    """Attention within each example."""
    asked = given[:3]
    chance = args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)
    if axis is None or chance or len(args) < 3 or len({(one.ndim, own) for one, own in asked}) > 1 or axis >= x.ndim - 2:
        raise _MayMeet
    end = x.ndim - axis
    for mask, own in given[3:]:
        if (mask.ndim - own != end) if own is not None else (mask.ndim >= end and mask.shape[-end] != 1):
            raise _MayMeet
    return int(axis)


def _attended(args: Any, kwargs: dict[str, Any], given: Given) -> int:
    """Torch's own attention, which takes time first and then the examples."""
    call = bound(args, kwargs)
    known = {id(tensor): axis for tensor, axis in given}
    asked = [call["query"], call["key"], call["value"]]
    padding, mask = call["key_padding_mask"], call["attn_mask"]
    batched = all(tensor.ndim == 3 and known[id(tensor)] == 1 for tensor in asked)
    masked = (padding is None or known[id(padding)] == 0) and (mask is None or (mask.ndim == 2 and known[id(mask)] is None))
    rest = {id(tensor) for tensor in (*asked, padding) if tensor is not None}
    if not batched or not masked or call["training"] or any(axis is not None for tensor, axis in given if id(tensor) not in rest):
        raise _MayMeet
    return 1


def _recurrent(name: str, args: Any, given: Given) -> int:
    """A recurrent layer that keeps states for each example; ``args`` are input, states, weights and six more, the last: examples first."""
    if len(args) != 9 or not isinstance(args[2], list) or type(args[8]) is not bool or (args[6] and args[5] > 0):
        raise _MayMeet
    x, axis = given[0]
    states = len(args[1]) if isinstance(args[1], tuple) else 1
    if x is not args[0] or x.ndim != 3 or axis != (0 if args[8] else 1) or _any(given[1 + states :]):
        raise _MayMeet
    if any(own not in (None, 1) or one.ndim != 3 for one, own in given[1 : 1 + states]):
        raise _MayMeet
    return axis


_RULES: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("softmax", "log_softmax", "cumsum", "unflatten"), _beside),
    **dict.fromkeys(_OVER, _summed),
    **dict.fromkeys(("matmul", "bmm", "mm"), _product),
    **dict.fromkeys(("view", "reshape"), _shaped),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _turned),
    **{name: _moved(name, getattr(torch.Tensor, name)) for name in ("permute", "movedim")},
    **dict.fromkeys(("chunk", "split"), _parted),
    **dict.fromkeys(("cat", "concat"), _appended),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normed),
    "linear": _linear, "unsqueeze": _put, "getitem": _taken, "flatten": _flattened, "stack": _stacked, "embedding": _embedded,
    "scaled_dot_product_attention": _looked_up,
}
"""By name: from the first tensor, its axis, all arguments, all tensors given and the first result to the axis of what is made."""
