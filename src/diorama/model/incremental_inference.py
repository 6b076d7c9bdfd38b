"""Exact incremental inference: of a changed patch of the input, only what it can reach is computed anew.

*Source* the idea of Nakandala, Kumar and Papakonstantinou, Incremental and Approximate Inference for Faster
Occlusion-Based Deep CNN Explanations (Krypton), SIGMOD 2019.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.weak import WeakTensorKeyDictionary

from ..core.errors import NotApplicable, UsageError
from .axes import each_tensor
from .mode import OpMode
from .ops import ASKS, DROPOUT, WINDOWED
from .windows import Pads, Slide, UnchangedMap, Window, union


@dataclasses.dataclass
class _KeptResult:
    """The result of one op on the unchanged input, and what it was made from."""

    name: str
    sources: list[UnchangedMap]
    rest: list[Any]
    result: UnchangedMap

    def made_from(self, name: str, sources: list[UnchangedMap], rest: list[Any]) -> bool:
        """The op is the same, of the same maps and the same other parts."""
        alike = self.name == name and len(self.sources) == len(sources) and len(self.rest) == len(rest)
        return alike and all(map(operator.is_, self.sources, sources)) and all(map(_equal, self.rest, rest))


class IncrementalInference:
    """One input of a model, of which patches are changed many times over.

    *Meaning* ``run`` is any function of a batch (a model, or a capture and a target over one). Calling the engine with
    patches and their places answers what ``run`` returns for the input with each patch in place. ``run`` itself is
    called, on tensors that stand for the changed maps: convolutions, pooling, batch normalization, activations, sums
    and joins compute only the windows that the patches reach. From the first other op on, the whole maps are computed.
    ``operations`` and ``operations_in_full`` count multiplications of convolutions and linear layers;
    ``uncovered`` names the ops that asked for whole maps, ``largest`` is how many numbers an op made of one patch at most.
    *Shapes* x (1, channels, rows, columns).
    *Error* differs from running each changed input in full by rounding alone, below 1e-5 of the scores' size.
    *Cost* one forward pass for the first call; then the windows only. Memory for all maps of one pass, twice.
    *Raises* NotApplicable for inputs that are no image.
    """

    def __init__(self, run: Callable[[Tensor], Any], x: Tensor, *, cancel: Callable[[], object] | None = None) -> None:
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[0] != 1 or not x.is_floating_point():
            came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise NotApplicable(f"patches are changed in one image (1, channels, rows, columns), got {came}")
        self._run, self._cancel = run, cancel
        self._input = UnchangedMap(x.detach().clone())
        self._kept: dict[int, _KeptResult] = {}
        self._weights: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._windows: Any = WeakTensorKeyDictionary()
        self._count = 0
        self.operations = 0
        self.operations_in_full = 0
        self.uncovered: list[str] = []
        self.largest = 0

    def __call__(self, values: Tensor, tops: Sequence[int], lefts: Sequence[int]) -> Any:
        """What the function returns for the input with each patch (n, channels, rows, columns) at its place."""
        base = self._input
        height, width = values.shape[2:]
        fits = len(values) == len(tops) == len(lefts) > 0 and values.shape[1] == base.tensor.shape[1]
        inside = all(0 <= top <= base.height - height for top in tops)
        if not fits or not inside or not all(0 <= left <= base.width - width for left in lefts):
            raise UsageError(
                f"patches want shape (n, {base.tensor.shape[1]}, rows, columns) and n places that keep them inside "
                f"{base.height} × {base.width}, got {tuple(values.shape)} with {len(tops)} and {len(lefts)} places"
            )
        values = values.to(base.tensor).contiguous(memory_format=torch.channels_last)
        self._count, self.uncovered, self._patches = 0, [], len(values)
        self._windows.clear()
        with torch.no_grad():
            x = self._stand_in(Window(base, values, [int(t) for t in tops], [int(left) for left in lefts]))
            with OpMode(cancel=self._cancel).replace(self._rule).on_op(self._counted):
                output = self._run(x)
            try:
                return each_tensor(output, self._whole)
            finally:
                self._windows.clear()

    def batches(
        self, values: Callable[[range], Tensor], tops: Sequence[int], lefts: Sequence[int], size: int = 32
    ) -> Iterator[tuple[range, Any]]:
        """The answers for many patches, some at a time, with their numbers; ``values`` makes the patches when needed."""
        for start in range(0, len(tops), size):
            part = range(start, min(start + size, len(tops)))
            yield part, self(values(part), tops[start : part.stop], lefts[start : part.stop])

    # Tensors that stand for changed maps: of the right shape and type, the unchanged map repeated without memory.

    def _stand_in(self, window: Window) -> Tensor:
        tensor = window.base.tensor.expand(len(window.tops), -1, -1, -1)
        self._windows[tensor] = window
        return tensor

    def _whole(self, tensor: Tensor) -> Tensor:
        """The changed maps for which a tensor stands; from here on it stands for this very tensor."""
        found = self._windows.get(tensor)
        if isinstance(found, Window):
            found = self._windows[tensor] = found.dense()
        return tensor if found is None else found

    def _rule(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known = [found for tensor in _tensors((args, kwargs)) if (found := self._windows.get(tensor)) is not None]
        if not known or name in ASKS:
            return NotImplemented
        if all(isinstance(found, Window) for found in known):
            self._count += 1
            result = self._covered(name, func, args, kwargs)
            if result is not NotImplemented:
                return result
            self.uncovered.append(name)
        return func(*each_tensor(args, self._whole), **each_tensor(kwargs, self._whole))

    def _covered(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        window = self._windows.get(args[0]) if args and isinstance(args[0], Tensor) else None
        if kwargs.get("out") is not None:
            return NotImplemented
        if name in ("contiguous", "detach") and window is not None:
            return args[0]
        if name.removesuffix("_") in DROPOUT and window is not None:
            training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
            return NotImplemented if training else args[0]
        if name == "conv2d" and window is not None:
            return self._conv(window, name, func, args, kwargs)
        if name in ("max_pool2d", "avg_pool2d") and window is not None:
            return self._pool(window, name, func, args, kwargs)
        if name == "batch_norm" and window is not None and func is F.batch_norm:
            training = kwargs.get("training", args[5] if len(args) > 5 else False)
            return NotImplemented if training else self._at_places(name, func, args, kwargs, channels=True)
        if name.removesuffix("_") in WINDOWED:
            return self._at_places(name, func, args, kwargs, channels=name == "prelu")
        if name in ("cat", "concat", "concatenate"):
            axis = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
            whole = args and all(self._windows.get(t) is not None for t in args[0])
            return self._at_places(name, func, args, kwargs) if whole and axis in (1, -3) else NotImplemented
        return NotImplemented

    def _base(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> UnchangedMap:
        """The result of an op on the unchanged input, computed once."""
        found = [self._windows.get(tensor) for tensor in _tensors((args, kwargs))]
        sources = [window.base for window in found if window is not None]
        rest = [part for part in _leaves((args, kwargs)) if not (isinstance(part, Tensor) and part in self._windows)]
        kept = self._kept.get(self._count)
        if kept is not None and kept.made_from(name, sources, rest):
            return kept.result

        def unchanged(tensor: Tensor) -> Tensor:
            window = self._windows.get(tensor)
            # A copy, as the op may write into it.
            return tensor if window is None else window.base.tensor.clone()

        result = UnchangedMap(func(*each_tensor(args, unchanged), **each_tensor(kwargs, unchanged)))
        self._kept[self._count] = _KeptResult(name, sources, rest, result)
        return result

    def _at_places(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], channels: bool = False
    ) -> Any:
        """An op that reads each place by itself, on windows that are first brought to one size."""
        others = [t for t in _tensors((args, kwargs)) if t not in self._windows]
        if not channels and not all(_spread(tensor) for tensor in others):
            return NotImplemented
        found = {id(tensor): self._windows[tensor] for tensor in _tensors((args, kwargs)) if tensor in self._windows}
        windows = list(found.values())
        if any(window.base.tensor.shape[2:] != windows[0].base.tensor.shape[2:] for window in windows):
            return NotImplemented
        base = self._base(name, func, args, kwargs)
        if base.tensor.ndim != 4 or base.tensor.shape[2:] != windows[0].base.tensor.shape[2:]:
            return NotImplemented
        tops, lefts, height, width = union(windows)
        inner: dict[int, Tensor] = {}
        for key, window in found.items():
            same = (window.tops, window.lefts, window.height, window.width) == (tops, lefts, height, width)
            inner[key] = window.values if same else window.block(tops, lefts, height, width)
        values = func(*each_tensor(args, lambda t: inner.get(id(t), t)), **each_tensor(kwargs, lambda t: inner.get(id(t), t)))
        made = Window(base, values, tops, lefts)
        for tensor in _tensors(args):
            if id(tensor) in inner and values is inner[id(tensor)]:
                # The op wrote into its input (or returned it): the tensor that stood for it goes on.
                self._windows[tensor] = made
                return tensor
        return self._stand_in(made)

    def _conv(self, window: Window, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = _bound(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, kwargs)
        weight = call["weight"]
        if not isinstance(weight, Tensor) or weight.ndim != 4 or weight in self._windows:
            return NotImplemented
        stride, dilation = _pair(call.get("stride", 1)), _pair(call.get("dilation", 1))
        padding = call.get("padding", 0)
        if isinstance(padding, str):
            total = [(weight.shape[2 + k] - 1) * dilation[k] if padding == "same" else 0 for k in (0, 1)]
            before = (total[0] // 2, total[1] // 2)
        else:
            before = _pair(padding)
        slides = [Slide(int(weight.shape[2 + k]), stride[k], dilation[k], before[k]) for k in (0, 1)]
        groups = call.get("groups", 1)
        weight, bias = self._last(weight), call.get("bias")

        def compute(block: Tensor) -> Tensor:
            return F.conv2d(block, weight, bias, stride, 0, dilation, groups)

        return self._slid(window, slides, 0.0, compute, self._base(name, func, args, kwargs))

    def _pool(self, window: Window, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        largest = name == "max_pool2d"
        rest = "dilation ceil_mode return_indices" if largest else "ceil_mode count_include_pad divisor_override"
        call = _bound(("input", "kernel_size", "stride", "padding", *rest.split()), args, kwargs)
        kernel, padding = _pair(call["kernel_size"]), _pair(call.get("padding", 0))
        stride = _pair(call["stride"]) if call.get("stride") not in (None, (), []) else kernel
        dilation = _pair(call.get("dilation", 1))
        divisor = call.get("divisor_override")
        if call.get("return_indices"):
            return NotImplemented
        if not largest and (call.get("ceil_mode") or (any(padding) and not call.get("count_include_pad", True))):
            # At the border such means have fewer parts.
            return NotImplemented
        slides = [Slide(kernel[k], stride[k], dilation[k], padding[k]) for k in (0, 1)]

        def compute(block: Tensor) -> Tensor:
            if largest:
                return F.max_pool2d(block, kernel, stride, 0, dilation)
            return F.avg_pool2d(block, kernel, stride, 0, divisor_override=divisor)

        return self._slid(window, slides, -torch.inf if largest else 0.0, compute, self._base(name, func, args, kwargs))

    def _slid(
        self, window: Window, slides: Sequence[Slide], fill: float, compute: Callable[[Tensor], Tensor], base: UnchangedMap
    ) -> Tensor:
        """A window of the output of an op with a kernel, computed from the block of the input that it reads."""
        down, over = slides
        tops, rows = down.touched(window.tops, window.height, base.height)
        lefts, columns = over.touched(window.lefts, window.width, base.width)
        source = window.base
        pads: Pads = (
            down.before, down.behind(source.height, base.height), over.before, over.behind(source.width, base.width)
        )
        if window.full and (rows, columns) == (base.height, base.width):
            block = F.pad(window.values, (*pads[2:], *pads[:2]), value=fill) if any(pads) else window.values
            return self._stand_in(Window(base, compute(block), tops, lefts))
        block = window.block(
            [top * down.stride - down.before for top in tops], [left * over.stride - over.before for left in lefts],
            (rows - 1) * down.stride + down.reach, (columns - 1) * over.stride + over.reach, pads, fill,
        )
        return self._stand_in(Window(base, compute(block), tops, lefts))

    def _last(self, weight: Tensor) -> Tensor:
        """A convolution's weight with the channels last, as its windows are."""
        known = self._weights.get(self._count)
        if known is None or known[0] is not weight or known[1] != weight._version:
            made = weight.detach().contiguous(memory_format=torch.channels_last)
            known = self._weights[self._count] = (weight, weight._version, made)
        return known[2]

    def _counted(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not isinstance(result, Tensor) or name in ASKS:
            return
        window = self._windows.get(result)
        made = (window.values if isinstance(window, Window) else result).numel()
        self.largest = max(self.largest, made // self._patches)
        if name not in ("conv2d", "linear"):
            return
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        self.operations += made * weight[0].numel()
        self.operations_in_full += result.numel() * weight[0].numel()


def _bound(names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    parts = [int(part) for part in value]
    return parts[0], parts[-1]


def _spread(tensor: Tensor) -> bool:
    """One number, or one a channel: the same at every place and for every example."""
    if tensor.ndim > 4:
        return False
    shape = (1,) * (4 - tensor.ndim) + tuple(tensor.shape)
    return shape[0] == shape[2] == shape[3] == 1


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))
    return bool(type(a) is type(b) and a == b)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield name
            yield from _leaves(part)
    else:
        yield value


def _tensors(value: Any) -> Iterator[Tensor]:
    return (part for part in _leaves(value) if isinstance(part, Tensor))
