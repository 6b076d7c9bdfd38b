"""The weights at chosen steps: when to take them, which to keep, and their files."""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import os
import re
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..core.errors import Damaged, Unavailable, UsageError
from . import files
from .arrays import LIVE
from .checksums import checksum

FOLDER = "snapshots"
OWN = re.compile(r"\.?\d{9,}\.safetensors(\.\d+)?")
"""What a snapshot is called, also while it is written; whatever else lies in the folder is somebody's."""
MOST = 240
"""Snapshots that a run keeps at most."""
SHARE = 0.005
"""The part of the training's time that automatic snapshots may take …"""
FREE = 0.003
"""… and seconds that they may take besides, so that short runs have some."""
_SPACING = 25
_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.complex64: "C64", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}
"""What the format has a word for; other numbers are kept as their bytes, with their type told beside."""


class Plan:
    """Decides at which steps snapshots are due, and which to give up when there are too many.

    ``every="auto"`` takes them densely at first (the first steps change most), then evenly, ever further apart as the
    run grows; a number takes them at its multiples.
    """

    def __init__(self, every: str | int, budget: int) -> None:
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise UsageError(f"snapshots wants 'auto' or a number of steps of at least 1, got {every!r}")
        self._every = 0 if every == "auto" else int(every)
        self.asked = every != "auto"
        """Whether someone said at which steps."""
        self._budget = budget
        self._spacing = _SPACING
        self._last = 0
        self._seconds = 0.0

    @property
    def next(self) -> int:
        """The next step at which a snapshot may be due; before it there is nothing to ask."""
        if self._every:
            return (self._last // self._every + 1) * self._every
        return self._last + self._apart(self._last)

    def due(self, step: int, elapsed: float) -> bool:
        """Whether to take a snapshot after this step; ``elapsed`` is how long the training runs."""
        if self._every:
            return step % self._every == 0
        if step < self.next:
            return False
        return self._seconds <= SHARE * elapsed + FREE

    def _apart(self, step: int) -> int:
        return min(max(1, step // 6), self._spacing)

    def taken(self, step: int, seconds: float = 0.0) -> None:
        """Tell that a snapshot was taken, and what it cost."""
        self._last = max(self._last, step)
        self._seconds += seconds

    def superfluous(self, kept: Iterable[tuple[int, int, bool]], room: int | None = None) -> list[int]:
        """Steps to give up so that (step, bytes, kept for good) fit the room, or the budget: first, last and those kept
        for good stay."""
        room = self._budget if room is None else room
        left = sorted(kept)
        total, gone = sum(size for _, size, _ in left), []
        count = len(left)
        while len(left) > 2 and (total > room or len(left) > (MOST * 2 // 3 if count > MOST else MOST)):
            places = [k for k in range(1, len(left) - 1) if not left[k][2]]
            if not places:
                break
            least = min(places, key=lambda k: (left[k + 1][0] - left[k - 1][0]) / self._apart(left[k][0]))
            step, size, _ = left.pop(least)
            total -= size
            gone.append(step)
        if gone and not self._every:
            self._widen([step for step, _, _ in left])
        return gone

    def _widen(self, steps: list[int]) -> None:
        """Let new snapshots come about as far apart as the kept ones lie."""
        late = steps[bisect.bisect(steps, steps[-1] // 2) :]
        if len(late) > 1:
            self._spacing = max(self._spacing, round((late[-1] - late[0]) / (len(late) - 1)))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state: weights and buffers by name, but for those whose numbers are kept elsewhere (meta tensors)
    or with the model (quantized ones, which no training moves)."""
    state = model.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and not value.is_meta and not value.is_quantized}


def unkept(model: nn.Module) -> list[str]:
    """What a training may change that no snapshot holds, in sentences."""
    state, found = model.state_dict(keep_vars=True), []
    told = {name for name, value in state.items() if name.endswith("_extra_state") and not isinstance(value, Tensor)}
    if told:
        found.append(f"the model keeps state of its own that is no tensor ({_few(told)}): snapshots hold weights and buffers alone, so this "
                     "state stands as it was stored with the model wherever a step is looked at; checkpoints hold it")
    held = {id(value) for value in state.values()}
    told = {name for name, value in model.named_parameters() if value.requires_grad and name not in state and id(value) not in held}
    if told:
        found.append(f"the model's state_dict() leaves weights out that are trained ({_few(told)}): snapshots hold what it tells, so these "
                     "stand as they were stored with the model wherever a step is looked at")
    return found


def _few(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def copied(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies of all weights and buffers on the CPU, and which names share another's memory."""
    copies: dict[str, Tensor] = {}
    first: dict[tuple[object, ...], str] = {}
    shared: dict[str, str] = {}
    for name, value in state_of(model).items():
        value = value.detach()
        if value.layout is not torch.strided:
            value = value.to_dense()
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        if value.numel() and place in first:
            shared[name] = first[place]
            continue
        first[place] = name
        copies[name] = _copy(value)
    return copies, shared


def _copy(tensor: Tensor) -> Tensor:
    """A tensor's numbers on the CPU; those of types that PyTorch has few kernels for as their bytes."""
    if tensor.dtype in _TYPES:
        return tensor.to("cpu", copy=True).contiguous()
    return tensor.contiguous().reshape(-1).view(torch.uint8).to("cpu", copy=True).view(tensor.dtype).reshape(tensor.shape)


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """What copies take in memory, in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def write(
    file: Path, tensors: Mapping[str, Tensor], shared: Mapping[str, str], about: Mapping[str, str]
) -> tuple[int, int]:
    """Write a safetensors file beside and rename it; returns its size and checksum. The bits are kept as they are."""
    header: dict[str, object] = {}
    offset, bodies, other = 0, [], {}
    for name, tensor in tensors.items():
        flat = tensor.contiguous().reshape(-1)
        body = flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)
        end = offset + body.numel()
        kind, shape = _TYPES.get(tensor.dtype), list(tensor.shape)
        if kind is None:
            other[name] = [str(tensor.dtype).removeprefix("torch."), shape]
            kind, shape = "U8", [body.numel()]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, end]}
        offset = end
        bodies.append(body)
    told = {"format": "pt", "shared": json.dumps(dict(shared)), **({"other": json.dumps(other)} if other else {}), **about}
    text = json.dumps({"__metadata__": told, **header}).encode()
    text += b" " * (-len(text) % 8)
    size = crc = 0
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(files.cleared(temporary), "xb") as stream:
            parts: list[Any] = [struct.pack("<Q", len(text)), text, *(body.numpy().data for body in bodies)]
            for part in parts:
                stream.write(part)
                crc = zlib.crc32(part, crc)
                size += len(part)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return size, crc


def read(folder: Path, name: str, wanted: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """Read a run's snapshot; raises Unavailable when it is gone, Damaged when it is not as it was written."""
    try:
        file = files.regular(folder, name)
        if wanted is not None and (file.stat().st_size != wanted[0] or checksum(file) != tuple(wanted)):
            raise Damaged(f"{file.name} does not match its checksum; look at another step")
        tensors = load_file(str(file))
        with safe_open(str(file), "pt") as opened:
            return _whole(tensors, opened.metadata())
    except FileNotFoundError:
        raise Unavailable(f"the snapshot {name} is gone (thinned, or deleted); look at another step") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, RecursionError) as error:
        raise Damaged(f"{name} cannot be read as a snapshot: {str(error) or type(error).__name__}") from error


def _whole(tensors: dict[str, Tensor], about: Mapping[str, str] | None) -> dict[str, Tensor]:
    """Give numbers that were kept as bytes their type, and enter the names that share another's memory.

    *Raises* ValueError for what no snapshot says.
    """
    other, shared = (json.loads((about or {}).get(word, "{}")) for word in ("other", "shared"))
    for name, (kind, shape) in other.items() if isinstance(other, dict) else ():
        dtype = getattr(torch, kind, None) if isinstance(kind, str) else None
        if not isinstance(dtype, torch.dtype) or tensors[name].dtype != torch.uint8 or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"it tells no type of numbers for {name!r}")
        size = math.prod(shape) * dtype.itemsize
        if size != tensors[name].numel():
            raise ValueError(f"{name!r} has {tensors[name].numel()} bytes where {size} are told")
        tensors[name] = tensors[name].view(dtype).reshape(shape)
    if not isinstance(shared, dict) or not all(isinstance(same, str) and same in tensors for same in shared.values()):
        raise ValueError("it shares tensors that are not there")
    return tensors | {name: tensors[same] for name, same in shared.items()}


def read_live(folder: Path) -> tuple[int, dict[str, Tensor], int | None] | None:
    """Step and weights of the rolling snapshot, if one is there that can be read, and the number of its architecture."""
    for _ in range(3):
        try:
            with safe_open(str(files.regular(folder, LIVE)), "pt") as opened:
                about = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            step, number = int(about["step"]), int(about["model"]) if "model" in about else None
            return step, _whole(tensors, about), number
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, Damaged, ValueError, KeyError, TypeError, RuntimeError):
            time.sleep(0.01)  # it is being written, or it is none
    return None
