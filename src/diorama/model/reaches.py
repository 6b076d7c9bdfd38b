"""How far operations reach along one axis of the input: from what their inputs see to what their results see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .ops import LOCAL

Whole = NDArray[np.int64]
_FAR = 2**40
"""Where nothing is seen, the first place lies behind the last."""


@dataclasses.dataclass(frozen=True)
class Reach:
    """The first and the last place of the input that each place along an axis of a tensor can see.

    ``axis`` None: all places see the same, and the arrays hold one entry.
    """

    axis: int | None
    low: Whole
    high: Whole

    def collapsed(self) -> Reach:
        """As if each place saw all that any place sees."""
        return Reach(None, self.low.min(keepdims=True), self.high.max(keepdims=True))

    def moved(self, axis: int | None) -> Reach:
        """The same along another axis of the result."""
        return self.collapsed() if axis is None else dataclasses.replace(self, axis=axis)

    def taken(self, index: Any) -> Reach:
        """Only some places of the axis."""
        return dataclasses.replace(self, low=self.low[index], high=self.high[index])

    def over(self, reads: Sequence[Sequence[int]]) -> Reach:
        """An operation whose result at each place reads the given places of the axis; outside of it lies padding."""
        low, high = np.full(len(reads), _FAR), np.full(len(reads), -1)
        for k, places in enumerate(reads):
            inside = [place for place in places if 0 <= place < len(self.low)]
            if inside:
                low[k], high[k] = self.low[inside].min(), self.high[inside].max()
        return Reach(self.axis, low, high)


Source = tuple[Tensor, Reach]
Rule = Callable[[tuple[Any, ...], dict[str, Any], Source, Tensor], "Reach | None"]


def pixel(axis: int, size: int) -> Reach:
    """The input itself: each place sees itself."""
    return Reach(axis, np.arange(size), np.arange(size))


def after(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Source], output: Tensor, number: int
) -> Reach:
    """What a result of an operation sees, from what its inputs see."""
    if name in ("cat", "concat", "concatenate", "stack"):
        return _joined(name, args, kwargs, sources, output)
    rule = _RULES.get(name.removesuffix("_"))
    head = args[0] if args and isinstance(args[0], Tensor) else None
    if rule is not None and head is not None and any(tensor is head for tensor, _ in sources):
        own = next((tensor, reach) for tensor, reach in sources if tensor is head)
        made = rule(args, kwargs, own, output) if own[1].axis is not None else own[1]
        if made is not None:
            others = [(tensor, reach) for tensor, reach in sources if tensor is not head]
            return _union([made, *(reach.collapsed() for _, reach in others)])
    elif name.removesuffix("_") in LOCAL:
        return _broadcast(sources, output)
    return _union([reach.collapsed() for _, reach in sources])


def _union(reaches: Sequence[Reach]) -> Reach:
    axis = next((reach.axis for reach in reaches if reach.axis is not None), None)
    if any(reach.axis not in (axis, None) for reach in reaches):
        reaches, axis = [reach.collapsed() for reach in reaches], None
    low, high = reaches[0].low, reaches[0].high
    for reach in reaches[1:]:
        low, high = np.minimum(low, reach.low), np.maximum(high, reach.high)
    return Reach(axis, low, high)


def _broadcast(sources: Sequence[Source], output: Tensor) -> Reach:
    """Each place reads the same place of all inputs; axes are counted from the last."""
    found = []
    for tensor, reach in sources:
        if reach.axis is None:
            found.append(reach)
            continue
        axis = reach.axis + output.ndim - tensor.ndim
        size = len(reach.low)
        fits = 0 <= axis < output.ndim and output.shape[axis] == size
        found.append(reach.moved(axis) if fits else reach.collapsed())
    return _union(found)


def _joined(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Source], output: Tensor
) -> Reach:
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    dim = int(dim) % output.ndim
    if name == "stack":
        return _union([reach.moved(None if reach.axis is None else reach.axis + (reach.axis >= dim)) for _, reach in sources])
    parts = kwargs.get("tensors", args[0] if args else ())
    known = {id(tensor): reach for tensor, reach in sources}
    if all(reach.axis != dim for _, reach in sources):
        return _union([reach for _, reach in sources])
    if any(id(part) not in known or known[id(part)].axis != dim for part in parts):
        return _union([reach.collapsed() for _, reach in sources])
    low, high = ([getattr(known[id(part)], word) for part in parts] for word in ("low", "high"))
    return Reach(dim, np.concatenate(low), np.concatenate(high))


def _each(value: Any, at: int, dims: int) -> int:
    """A number for one axis of several: a single number is meant for all."""
    if isinstance(value, int):
        return value
    parts = [int(part) for part in value]
    return parts[0] if len(parts) == 1 else parts[at - dims]


def _bound(names: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names.split(), args, strict=False)), **kwargs}


def _sliding(names: str, dims: int, transposed: bool = False) -> Rule:
    """Convolutions and pooling over the last ``dims`` axes."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
        tensor, reach = own
        assert reach.axis is not None
        at = dims - (tensor.ndim - reach.axis)
        if at < 0:
            return None if reach.axis == tensor.ndim - dims - 1 else reach
        call = _bound(names, args, kwargs)
        weight = call.get("weight")
        kernel = int(weight.shape[2 + at]) if isinstance(weight, Tensor) else _each(call["kernel_size"], at, dims)
        stride = call.get("stride")
        step = _each(stride, at, dims) if stride not in (None, (), []) else 1 if isinstance(weight, Tensor) else kernel
        dilation = _each(call.get("dilation", 1), at, dims)
        padding = call.get("padding", 0)
        if isinstance(padding, str):
            before = (kernel - 1) * dilation // 2 if padding == "same" else 0
        else:
            before = _each(padding, at, dims)
        taps = np.arange(kernel) * dilation
        places = range(output.shape[reach.axis - tensor.ndim])
        if transposed:
            reads = [[int(k) // step for k in place + before - taps if k % step == 0] for place in places]
        else:
            reads = [list(place * step - before + taps) for place in places]
        return dataclasses.replace(reach.over(reads), axis=reach.axis)

    return rule


def _adaptive(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    assert reach.axis is not None
    size, wanted = len(reach.low), int(output.shape[reach.axis])
    return reach.over([range(k * size // wanted, math.ceil((k + 1) * size / wanted)) for k in range(wanted)])


def _resized(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    assert reach.axis is not None
    size, wanted = len(reach.low), int(output.shape[reach.axis])
    mode = kwargs.get("mode", args[3] if len(args) > 3 else "nearest")
    scale = kwargs.get("scale_factor", args[2] if len(args) > 2 else None)
    corners = kwargs.get("align_corners") and wanted > 1
    if mode not in ("nearest", "bilinear", "linear") or kwargs.get("antialias"):
        return None
    step = size / wanted
    if scale is not None and not kwargs.get("recompute_scale_factor"):
        parts = scale if isinstance(scale, tuple | list) else [scale]
        step = 1 / float(parts[0] if len(parts) == 1 else parts[reach.axis - tensor.ndim])
    if mode == "nearest":
        return reach.over([[min(size - 1, int(k * step))] for k in range(wanted)])
    at = [k * (size - 1) / (wanted - 1) if corners else max(0.0, (k + 0.5) * step - 0.5) for k in range(wanted)]
    return reach.over([sorted({math.floor(k), min(math.ceil(k), size - 1)}) for k in at])


def _padded(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    assert reach.axis is not None
    pads = list(kwargs.get("pad", args[1] if len(args) > 1 else ()))
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    behind = 2 * (tensor.ndim - 1 - reach.axis)
    before, after_ = (pads[behind], pads[behind + 1]) if behind + 1 < len(pads) else (0, 0)
    size = len(reach.low)
    if mode == "constant":
        return reach.over([[k] for k in range(-before, size + after_)])
    words = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in words or min(before, after_) < 0:
        return None
    return reach.taken(np.pad(np.arange(size), (before, after_), mode=words[mode]))  # type: ignore[call-overload]


def _dims(value: Any, ndim: int) -> set[int]:
    if value is None:
        return set(range(ndim))
    return {int(k) % ndim for k in (value if isinstance(value, tuple | list) else [value])}


def _reduced(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    """Means, sums and extremes over some axes."""
    tensor, reach = own
    assert reach.axis is not None
    given = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if isinstance(given, Tensor):
        return None
    gone = _dims(given, tensor.ndim)
    if reach.axis in gone:
        return None
    kept = output.ndim == tensor.ndim
    return reach if kept else reach.moved(reach.axis - sum(k < reach.axis for k in gone))


def _reshaped(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    """An axis stays itself where a result's axis has its size and as much behind it."""
    tensor, reach = own
    assert reach.axis is not None
    size, behind = tensor.shape[reach.axis], math.prod(tensor.shape[reach.axis + 1 :])
    for axis in range(output.ndim):
        if output.shape[axis] == size and math.prod(output.shape[axis + 1 :]) == behind:
            return reach.moved(axis)
    return None


def _permuted(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    given = kwargs.get("dims", args[1] if len(args) == 2 else args[1:])
    order = [int(k) % tensor.ndim for k in (given if isinstance(given, tuple | list) else [given])]
    return reach.moved(order.index(reach.axis)) if reach.axis in order else None


def _swapped(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    if len(args) < 3:
        return None
    a, b = (int(k) % tensor.ndim for k in args[1:3])
    return reach.moved({a: b, b: a}.get(reach.axis, reach.axis))  # type: ignore[arg-type]


def _moved(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    tensor, reach = own
    if len(args) < 3 or not all(isinstance(k, int) for k in args[1:3]):
        return None
    rest = [k for k in range(tensor.ndim) if k != args[1] % tensor.ndim]
    rest.insert(args[2] % tensor.ndim, args[1] % tensor.ndim)
    return reach.moved(rest.index(reach.axis))  # type: ignore[arg-type]


def _picked(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    """Slices and single places of an axis; anything else sees all."""
    tensor, reach = own
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if any(not isinstance(part, slice | int | type(...)) and part is not None for part in index):
        return None
    named = sum(part is not None and part is not ... for part in index)
    at, out = 0, 0
    for part in (*index, *(() if ... in index else (...,))):
        if part is ...:
            rest = tensor.ndim - named
            if at <= reach.axis < at + rest:  # type: ignore[operator]
                return reach.moved(out + reach.axis - at)  # type: ignore[operator]
            at, out = at + rest, out + rest
        elif part is None:
            out += 1
        else:
            if at == reach.axis:
                return reach.taken([part]).collapsed() if isinstance(part, int) else reach.taken(part).moved(out)
            at, out = at + 1, out + (not isinstance(part, int))
    return None


def _along(position: int, word: str = "dim") -> Rule:
    """Operations that mix everything along one axis: softmax, cumulative sums; the others stay as they are."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
        dim = kwargs.get(word, args[position] if len(args) > position else None)
        mixed = not isinstance(dim, int) or dim % own[0].ndim == own[1].axis
        return None if mixed or output.shape != own[0].shape else own[1]

    return rule


def _split(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    return None if int(dim) % own[0].ndim == own[1].axis else own[1]


def _flipped(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    dims = _dims(kwargs.get("dims", args[1] if len(args) == 2 else args[1:]), own[0].ndim)
    return own[1].taken(slice(None, None, -1)) if own[1].axis in dims else own[1]


def _dense(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    """Mixes the last axis alone."""
    return None if own[1].axis == own[0].ndim - 1 else own[1]


def _normed(args: tuple[Any, ...], kwargs: dict[str, Any], own: Source, output: Tensor) -> Reach | None:
    shape = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
    return None if own[1].axis is None or own[1].axis >= own[0].ndim - len(shape) else own[1]


_CONV = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_MAX, _AVG = "input kernel_size stride padding dilation", "input kernel_size stride padding ceil_mode"
_RULES: dict[str, Rule] = {
    **{f"conv{k}d": _sliding(_CONV, k) for k in (1, 2, 3)},
    **{f"conv_transpose{k}d": _sliding(_TRANSPOSED, k, transposed=True) for k in (1, 2, 3)},
    **{f"max_pool{k}d{more}": _sliding(_MAX, k) for k in (1, 2, 3) for more in ("", "_with_indices")},
    **{f"avg_pool{k}d": _sliding(_AVG, k) for k in (1, 2, 3)},
    **{f"lp_pool{k}d": _sliding("input norm_type kernel_size stride", k) for k in (1, 2)},
    **{f"adaptive_{word}_pool{k}d": _adaptive for k in (1, 2, 3) for word in ("avg", "max")},
    "interpolate": _resized, "upsample": _resized, "pad": _padded,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "std", "var", "norm", "logsumexp"), _reduced),
    **dict.fromkeys(("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "view_as"), _reshaped),
    "permute": _permuted, "transpose": _swapped, "swapaxes": _swapped, "movedim": _moved, "getitem": _picked,
    "flip": _flipped,
    "softmax": _along(1), "log_softmax": _along(1), "cumsum": _along(1), "glu": _along(1), "normalize": _along(2),
    "chunk": _split, "split": _split, "linear": _dense, "layer_norm": _normed, "rms_norm": _normed,
}
