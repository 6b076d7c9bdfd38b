"""What tells that a model was changed since it was last looked at, also by writes that PyTorch does not count."""

from __future__ import annotations

import types
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from ..data.fingerprint import written

_OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps in every module."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_PLAIN = (bool, int, float, str, type(None), torch.dtype)
_CALLED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_FEW = 16
_LARGE = 1 << 20
"""Bytes from which on a tensor is summed up where it lies, rather than read as one text."""
_ROW = 512
_MOST = 512
"""Rows of a tensor that are summed up at most, evenly apart: whoever trains writes everywhere."""
_STEADY: ContextVar[dict[int, Any] | None] = ContextVar("steady", default=None)


def switches(model: nn.Module) -> tuple[Any, ...]:
    """What decides which ops a model runs: its modules, their words and switches, and those of a configuration that they hold.

    *Meaning* numbers are left out: a module that counts its passes runs the same ops.
    """
    found: list[Any] = []
    known: set[int] = set()
    for name, module in model.named_modules():
        found.append((name, id(module)))
        for key, value in vars(module).items() if hasattr(module, "__dict__") else ():
            if key in _OWN:
                continue
            if isinstance(value, bool | str):
                found.append((key, value))
            elif id(value) not in known and (inside := _inside(value)):
                known.add(id(value))
                found += inside
    return tuple(found)


def _inside(value: Any) -> tuple[tuple[str, bool | str], ...]:
    """The words and switches of an object that a module holds, such as a configuration."""
    if isinstance(value, (nn.Module, Tensor, type, types.ModuleType, *_CALLED)):
        return ()
    inside = getattr(value, "__dict__", None)
    if not isinstance(inside, dict) or len(inside) > _MOST:
        return ()
    return tuple((key, own) for key, own in inside.items() if isinstance(own, bool | str))


@contextmanager
def steady() -> Iterator[None]:
    """Within, nobody else writes to a model: its weights are summed up once for each count of their writes."""
    if _STEADY.get() is not None:
        yield
        return
    token = _STEADY.set({})
    try:
        yield
    finally:
        _STEADY.reset(token)


def state_now(model: nn.Module) -> tuple[Any, ...]:
    """What is another once a model would answer otherwise: the place, the writes and the sums of every tensor, its modules, their
    hooks and their plain attributes.

    *Meaning* ``.data``, numpy and other libraries write without a count, so the content itself is asked: all of a tensor of up to 2 MiB,
    and as much of a larger one. A write to a few numbers of such a one that nobody counts may pass.
    *Cost* one reading of these, once within :func:`steady`.
    """
    told, tensors = _told(model)
    known = _STEADY.get()
    kept = known.get(id(model)) if known is not None else None
    if kept is not None and kept[0] == told:
        return told, kept[1]
    with torch.no_grad(), torch._C.DisableTorchFunction():
        sums = _sums(tensors)
    if known is not None:
        known[id(model)] = told, sums, model  # the model too, lest another one gets its number
    return told, sums


def _told(model: nn.Module) -> tuple[tuple[Any, ...], list[Tensor]]:
    tensors: dict[int, Tensor] = {}
    told: list[Any] = []
    known: set[int] = set()
    for module in model.modules():
        inside = vars(module) if hasattr(module, "__dict__") else {}
        told.append(id(module))
        told.extend(tuple(hooks) for name in _HOOKS if (hooks := inside.get(name)))
        for held in (inside.get("_parameters"), inside.get("_buffers")):
            tensors.update((id(tensor), tensor) for tensor in (held or {}).values() if tensor is not None)
        for name, value in inside.items():
            if name in _OWN:
                continue
            if isinstance(value, Tensor):
                tensors[id(value)] = value
            elif isinstance(value, _CALLED):
                told.append((name, id(value)))
            elif _plain(value):
                told.append((name, repr(value)))
            elif id(value) not in known and (own := _inside(value)):
                known.add(id(value))
                told.extend(own)
    with torch._C.DisableTorchFunction():
        return (*told, *map(written, tensors.values())), list(tensors.values())


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return len(value) <= _FEW and all(isinstance(part, _PLAIN) for part in value)
    return isinstance(value, _PLAIN)


def _sums(tensors: list[Tensor]) -> list[Any]:
    """A check sum of each tensor's bits. What has no bits of its own to read goes by the count of its writes alone."""
    found: list[Any] = []
    far: list[Tensor] = []
    for tensor in tensors:
        try:
            bits = _bits(tensor)
            if bits is None:
                continue
            if bits.device.type == "cpu" and bits.numel() < _LARGE:
                found.append(zlib.crc32(bits.numpy().data))
            else:
                far.append(_summed(bits))
        except (RuntimeError, TypeError):
            continue
    for device in {part.device for part in far}:
        # One answer for all: each asking would wait for the device.
        every = torch.cat([part for part in far if part.device == device])
        found.append(zlib.crc32(every.cpu().numpy().data))
    return found


def _bits(tensor: Tensor) -> Tensor | None:
    """All bytes in a row, without a copy where they lie so."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or not tensor.numel():
        return None
    plain = tensor.detach()
    if not plain.is_contiguous() and plain.ndim in (4, 5):
        last = torch.channels_last if plain.ndim == 4 else torch.channels_last_3d
        plain = plain.movedim(1, -1) if plain.is_contiguous(memory_format=last) else plain
    return plain.contiguous().view(-1).view(torch.uint8)


def _summed(bits: Tensor) -> Tensor:
    """Whole sums over rows and over columns: one write in them changes both, and whatever changes places changes one of them."""
    end = bits.numel() // (8 * _ROW) * (8 * _ROW)
    rest = bits[end:].long()
    if not end or bits.storage_offset() % 8:
        return torch.stack([bits.sum(), (bits * torch.arange(bits.numel(), device=bits.device)).sum()])
    rows = bits[:end].view(torch.int64).view(-1, _ROW)
    rows = rows[:: -(-len(rows) // _MOST)]
    return torch.cat([rows.sum(1), rows.sum(0), rest])
