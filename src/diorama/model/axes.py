"""Where examples and units lie in what a module returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from .packed_sequences import holds_packed

_SECOND = (
    _ConvNd, _BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.PReLU,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.FractionalMaxPool2d, nn.MaxUnpool2d,
    nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.Dropout2d, nn.Dropout3d, nn.Unflatten,
    nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d, nn.ConstantPad2d,
)
_LAST = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase,
    nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder,
    nn.TransformerDecoderLayer, nn.Flatten,
)


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a module's output: itself, or the first one in a tuple, list, dict or dataclass.

    None for packed sequences, in which no axis counts examples (:func:`.packed.unpacked` reads them), for nested tensors, and for
    those inside a transform of torch.func, which are gone once it ends.
    """
    if isinstance(output, Tensor):
        with torch._C.DisableTorchFunction():  # of every layer of every pass a function mode would be asked
            nested = output.is_nested
        return None if nested or transformed(output) else output
    if holds_packed(output):
        return None
    for part in _parts(output):
        found = first_tensor(part)
        if found is not None:
            return found
    return None


def transformed(tensor: Tensor) -> bool:
    """Whether a transform of torch.func (vmap, say) holds it, inside of which its numbers cannot be read, nor a gradient asked for."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


ATOMS = frozenset((int, float, bool, complex, str, bytes, type(None), slice, torch.dtype, torch.device))
"""What holds no tensor: asked first, as every op has some of these."""


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a value, also in tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    for part in () if type(value) in ATOMS else _parts(value):
        if isinstance(part, Tensor):
            yield part
        elif type(part) not in ATOMS:
            yield from tensors_in(part)


def tensors_given(args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """Every tensor that an op takes, in order: nearly all stand there plainly, and each call costs what the look does."""
    found: list[Tensor] = []
    for part in (*args, *kwargs.values()) if kwargs else args:
        kind = type(part)
        if kind is Tensor or kind is nn.Parameter:
            found.append(part)
        elif kind not in ATOMS:
            found += tensors_in(part)
    return found


def each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value with each tensor in it changed, also those without an axis."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(each_tensor(part, change) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(each_tensor(part, change) for part in value)
    if isinstance(value, Mapping):
        return {name: each_tensor(part, change) for name, part in value.items()}
    return value


def _parts(output: Any) -> list[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    if isinstance(output, tuple | list):
        return list(output)
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [getattr(output, field.name) for field in dataclasses.fields(output)]
    return []


def with_tensor(output: Any, old: Tensor, new: Tensor) -> Any:
    """The same output with one tensor exchanged wherever it stands."""
    if output is old:
        return new
    if isinstance(output, Mapping):
        parts = {name: with_tensor(part, old, new) for name, part in output.items()}
        return parts if type(output) is dict else type(output)(**parts)
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(with_tensor(part, old, new) for part in output))
    if isinstance(output, tuple | list):
        # A named result of torch (of max, of sort) takes its parts as one.
        return type(output)([with_tensor(part, old, new) for part in output])
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        names = [field.name for field in dataclasses.fields(output)]
        fields = {name: with_tensor(getattr(output, name), old, new) for name in names}
        return dataclasses.replace(output, **fields)
    return output


def with_argument(arguments: Any, number: int, new: Tensor) -> Any:
    """The same arguments with the tensor of that number, in the order of :func:`tensors_in`, exchanged, and no other."""
    left = [number]

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            left[0] -= 1
            return new if left[0] == -1 else value
        if isinstance(value, Mapping):
            return {name: walk(part) for name, part in value.items()}
        if type(value) in (tuple, list):
            return type(value)([walk(part) for part in value])
        return value

    return walk(arguments)


def time_major(modules: Mapping[str, nn.Module]) -> frozenset[str]:
    """Paths of the modules that put time before the example: made with ``batch_first=False``, and what is in them."""
    found = set()
    for path, module in modules.items():
        flag = getattr(module, "batch_first", None)
        if flag is None:
            flag = getattr(getattr(module, "self_attn", None), "batch_first", None)
        if flag is False and isinstance(module, _LAST):
            found.add(path)
    return frozenset(path for path in modules if any(path == top or path.startswith(top + ".") for top in found))


def example_axis(shape: tuple[int, ...], examples: int, late: bool, anywhere: bool) -> int:
    """Which axis counts the examples: the second in a time-major module (``late``) or, in a model that has such modules
    (``anywhere``), where only the second fits; else the first.
    """
    if len(shape) < 2 or shape[1] != examples:
        return 0
    return int(late or (anywhere and shape[0] != examples))


def unit_axis(module: nn.Module, ndim: int) -> int | None:
    """Which axis (the example's is 0) counts the units, where the kind of module says it."""
    if isinstance(module, _LAST):
        return ndim - 1
    if isinstance(module, _SECOND) and ndim >= 2:
        return 1
    return None


def likely_unit_axis(shape: tuple[int, ...], seen: Mapping[tuple[int, ...], int]) -> int:
    """The unit axis of an output whose module does not say it (``shape`` with the examples first): as in the last
    output of that shape, or of that many axes, else the last axis of a sequence and the second of anything else.
    """
    if shape in seen:
        return seen[shape]
    alike = [axis for known, axis in seen.items() if len(known) == len(shape)]
    if alike:
        return alike[-1]
    return max(len(shape) - 1, 0) if len(shape) <= 3 else 1
