"""Inputs may be one tensor, a tuple (``model(*x)``) or a dict (``model(**x)``), also with lists and packed sequences in
them; dimension 0 is the example in all tensors. What has no example axis is handed to the model as it is: ``None``, a
number, a flag, a word, a tensor without an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset

from ..core.errors import UsageError
from . import input_writes

Nested = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""One tensor, or a tuple, list or dict of them."""


class PaddedSequence(dict[str, Any]):
    """A packed sequence as it can be read example by example: ``steps`` (n, t, …), padded, and ``lengths`` (n,)."""

    @classmethod
    def of(cls, sequence: PackedSequence) -> PaddedSequence:
        """From a packed sequence, in the order in which its examples were given."""
        steps, lengths = pad_packed_sequence(sequence, batch_first=True)
        return cls(steps=steps.detach(), lengths=lengths)

    def packed(self) -> PackedSequence:
        """The packed sequence, as a model takes it."""
        return pack_padded_sequence(self["steps"], self["lengths"].cpu(), batch_first=True, enforce_sorted=False)


class Positional(tuple[Any, ...]):
    """Several inputs ``model(*x)`` that have names, one each: those of the model's own parameters. "" has the parts of a list go by themselves."""

    names: tuple[str, ...]

    def __new__(cls, parts: Iterable[Any], names: Iterable[str]) -> Positional:
        """From the inputs and as many names."""
        made = super().__new__(cls, parts)
        made.names = tuple(names)
        if len(made.names) != len(made):
            raise UsageError(f"several inputs want a name each, got {len(made)} and {len(made.names)} names")
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.names


def ordinal(number: int) -> str:
    """What the input at a place, counted from 0, is called where it has no name: 1st, 2nd, 3rd …"""
    count = number + 1
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{count}{'th' if count % 100 in (11, 12, 13) else ends.get(count % 10, 'th')}"


def as_positional(x: Nested, names: Iterable[str]) -> Nested:
    """Several inputs in a tuple under other names, as many; anything else as it is."""
    told = tuple(names)
    return Positional(x, told) if isinstance(x, tuple) and len(told) == len(x) else x


def named_like(x: Nested, like: Nested | None) -> Nested:
    """An input with the names that another of its structure has."""
    return as_positional(x, like.names) if isinstance(like, Positional) and type(x) is tuple else x


def _again(x: Any, parts: list[Any]) -> Any:
    """Parts in a list or tuple like another, whose names they keep."""
    return parts if isinstance(x, list) else Positional(parts, x.names) if isinstance(x, Positional) else tuple(parts)


def constant(part: Any) -> bool:
    """Whether a part of an input has no example axis, and is handed on as it is."""
    return not part.ndim if isinstance(part, Tensor) else part is None or isinstance(part, bool | int | float | str)


def named(x: Nested) -> dict[str, Tensor]:
    """All tensors of an input by name: the dict's, the parameters' or the position in a tuple or list, with dots between; "" alone."""
    return dict(_named(x, ""))


def _named(x: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(x, PackedSequence):
        x = PaddedSequence.of(x)
    if isinstance(x, Tensor):
        if x.ndim:
            yield name, x
    elif isinstance(x, dict | tuple | list):
        for key, part in _keyed(x, name):
            yield from _named(part, f"{name}.{key}" if name else key)


def _keyed(x: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(x, dict):
        return ((str(key), part) for key, part in x.items())
    if isinstance(x, Positional):
        return zip(x.names, x, strict=True)
    # A list that is all that a model takes has no name to stand before its parts.
    return ((ordinal(key) if isinstance(x, list) and not name else str(key), part) for key, part in enumerate(x))


def tensors(x: Nested) -> Iterator[Tensor]:
    """All tensors of an input, in order; without those that have no axis."""
    for _, tensor in _named(x, ""):
        yield tensor


def each(x: Nested, change: Callable[[Tensor], Tensor]) -> Nested:
    """The same structure with every tensor changed that has an example axis."""
    if isinstance(x, PackedSequence):
        x = PaddedSequence.of(x)
    if isinstance(x, dict):
        return type(x)({name: each(part, change) for name, part in x.items()})
    if isinstance(x, (tuple, list)):
        return _again(x, [each(part, change) for part in x])  # type: ignore[no-any-return]
    return x if constant(x) else change(x)


def steps(x: Nested) -> frozenset[int]:
    """How many steps the sequences among the parts have: rows of token numbers, or of several numbers a step."""
    return frozenset(part.shape[1] for part in tensors(x) if part.ndim == 3 or (part.ndim == 2 and not part.is_floating_point()))


def first(x: Nested) -> Tensor:
    """The first tensor of an input."""
    for tensor in tensors(x):
        return tensor
    raise UsageError(f"an input holds at least one tensor with an example axis, got {type(x).__name__} without any")


def size(x: Nested) -> int:
    """How many examples an input holds."""
    return int(first(x).shape[0])


def select(x: Nested, indices: Any) -> Nested:
    """The examples at the indices (a number keeps the batch dimension), in the same structure."""
    if isinstance(indices, (int, np.integer)):
        indices = [int(indices)]
    if isinstance(indices, (range, tuple)):
        indices = list(indices)
    if isinstance(indices, np.ndarray):
        indices = torch.from_numpy(np.ascontiguousarray(indices))
    return each(x, lambda tensor: tensor[indices])


def to(x: Nested, device: Any) -> Nested:
    """The input on a device (None leaves it where it is)."""
    if device is None:
        return x
    if isinstance(x, dict):
        return type(x)({name: to(part, device) for name, part in x.items()})
    if isinstance(x, (tuple, list)):
        return _again(x, [to(part, device) for part in x])  # type: ignore[no-any-return]
    return x.to(device) if isinstance(x, Tensor) else x


def join(parts: list[Nested]) -> Nested:
    """Several inputs of one structure, one after the other."""
    head: Any = parts[0]
    if isinstance(head, dict):
        return type(head)({name: join([part[name] for part in parts]) for name in head})  # type: ignore[index, call-overload]
    if isinstance(head, (tuple, list)):
        joined: list[Any] = [join([part[k] for part in parts]) for k in range(len(head))]  # type: ignore[index]
        return _again(head, joined)  # type: ignore[no-any-return]
    return head if constant(head) else torch.cat(parts)  # type: ignore[arg-type]


def call(model: Callable[..., Any], x: Nested) -> Any:
    """Give an input to a model: a tuple as ``model(*x)``, a dict as ``model(**x)``. A model that writes into what it is given (``x.sub_(mean)``)
    writes into a copy; of the pass that shows that it does, what it wrote is undone, and where slopes are wanted it is run again.

    *Cost* a copy of the input a pass.
    """
    if input_writes.known(model):
        return _called(model, each(x, input_writes.copied))
    kept = input_writes.InputCopy(() if isinstance(x, PackedSequence) else tensors(x))
    try:
        output = _called(model, x)
    except Exception as error:
        if not kept.restored(error):
            raise
        input_writes.note(model)
        if not torch.is_grad_enabled():
            raise
    except BaseException:
        kept.restored()
        raise
    else:
        if not kept.restored():
            return output
        input_writes.note(model)
        if not torch.is_grad_enabled():
            return output
    return _called(model, each(x, input_writes.copied))


def _called(model: Callable[..., Any], x: Nested) -> Any:
    if isinstance(x, Tensor | PaddedSequence):
        return model(_given(x))
    if isinstance(x, dict):
        return model(**{name: _given(part) for name, part in x.items()})
    if isinstance(x, (tuple, list)) and not isinstance(x, PackedSequence):
        return model(*(_given(part) for part in x))
    return model(x)


def _given(part: Any) -> Any:
    """A part of an input as the model takes it."""
    if isinstance(part, PaddedSequence):
        return part.packed()
    if type(part) in (list, tuple):
        return type(part)([_given(one) for one in part])
    if type(part) is dict:
        return {name: _given(one) for name, one in part.items()}
    return part


def as_tensors(x: Any) -> Nested:
    """Arrays, lists and tensors, also nested in tuples and dicts, as tensors; shares memory where it can."""
    if isinstance(x, Tensor):
        return _plain(x)
    if isinstance(x, PackedSequence):
        return PaddedSequence.of(x)
    if isinstance(x, Mapping):  # what a tokenizer of transformers gives is one, and no dict
        if not x:
            raise UsageError("an input given as a dict needs at least one entry, got none")
        return type(x)({str(name): _part(part) for name, part in x.items()}) if isinstance(x, PaddedSequence) else {
            str(name): _part(part) for name, part in x.items()
        }
    if isinstance(x, tuple):
        if not x:
            raise UsageError("an input given as a tuple needs at least one entry, got none")
        return _again(x, [_part(part) for part in x])  # type: ignore[no-any-return]
    try:
        array = np.asarray(x)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        return torch.from_numpy(np.array(array) if not array.flags.writeable else np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        wanted = f"examples want numbers in arrays or tensors, got {type(x).__name__}"
        if isinstance(x, Iterator | DataLoader):
            raise UsageError(f"{wanted}: take a batch of it, as in x, y = next(iter(loader))") from None
        if isinstance(x, Dataset) or (isinstance(x, list) and x and isinstance(x[0], tuple)):
            raise UsageError(f"{wanted}: put some together, as in x, y = torch.utils.data.default_collate([data[k] for k in range(256)])") from None
        told = " ".join(str(error).split())
        hint = "; for a model that takes a list of tensors, pass a tuple of that list: (x, e) as ([x, e],)" if isinstance(x, list) else ""
        raise UsageError(f"{wanted}: {told}{hint}") from None


def _part(part: Any) -> Any:
    """A part of a tuple or dict: what has no example axis stays, a list of tensors is a list of inputs."""
    if constant(part):
        return part.detach() if isinstance(part, Tensor) else part
    if isinstance(part, list) and part and all(isinstance(one, Tensor | np.ndarray) or one is None for one in part):
        return [_part(one) for one in part]
    return as_tensors(part)


def _plain(x: Tensor) -> Tensor:
    """A tensor of which single examples can be taken. *Raises* UsageError for the forms of which they cannot."""
    if x.is_nested:
        way = "pass torch.nested.to_padded_tensor(x, 0.0), and let the model make it nested inside"
        raise UsageError(f"examples want one shape each, and a nested tensor has rows of several; {way}")
    if x.layout != torch.strided:
        kind = str(x.layout).removeprefix("torch.")
        raise UsageError(f"examples want dense tensors, got one of layout {kind}; pass x.to_dense(), and let the model make it sparse inside")
    return x.detach()


def real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor's numbers to be shown, on the CPU: of complex numbers the magnitude."""
    plain = tensor.detach()
    return (plain.abs() if plain.is_complex() else plain).to("cpu", dtype)
