"""Which examples of a data set are the same as these, by their contents."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .nesting import Nested, size, tensors

_SAMPLED = 4096
"""Numbers of one input that its hash looks at, evenly spread."""
_COLUMNS = 16


def content_hash(inputs: Any) -> int:
    """A hash of one example's inputs, without its label; 0 for what holds no numbers.

    *Meaning* two that are equal have the same whatever the width of their numbers; of more than 4,096 numbers in a part some are
    looked at.
    """
    digest = hashlib.blake2b(digest_size=8)
    found = _digested(inputs, digest)
    return int.from_bytes(digest.digest(), "little") or 1 if found else 0


def content_hashes(x: Nested) -> list[int]:
    """The hash of each example of a batch of inputs."""
    return [content_hash(_example(x, k)) for k in range(size(x))]


def _example(part: Any, k: int) -> Any:
    if isinstance(part, dict):
        return {name: _example(each, k) for name, each in part.items()}
    if isinstance(part, tuple | list):
        return tuple(_example(each, k) for each in part)
    return part[k] if isinstance(part, Tensor) and part.ndim else None


def _digested(part: Any, digest: Any) -> bool:
    if isinstance(part, dict):
        return max((_digested(part[name], digest) for name in sorted(part, key=str)), default=False)
    if isinstance(part, tuple | list):
        return max((_digested(each, digest) for each in part), default=False)
    if isinstance(part, Tensor):
        if part.is_complex() or part.layout is not torch.strided:
            return False
        part = part.detach()
        flat = part.reshape(-1)[:: max(1, part.numel() // _SAMPLED)].cpu()
        values = (flat.float() if flat.is_floating_point() else flat.long()).numpy()
    elif isinstance(part, np.ndarray | np.generic | int | float):
        array = np.asarray(part)
        if array.dtype.kind not in "biuf":
            return False
        flat = array.reshape(-1)[:: max(1, array.size // _SAMPLED)]
        values = flat.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    else:
        return False
    digest.update(repr(tuple(part.shape) if not isinstance(part, int | float) else ()).encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return True


def found_among(x: Nested, wanted: Nested) -> NDArray[np.int64]:
    """For each of the wanted examples the first of ``x`` that equals it bit by bit, −1 where there is none."""
    mine, theirs = list(tensors(x)), list(tensors(wanted))
    found = np.full(size(wanted), -1, np.int64)
    if [(p.shape[1:], p.dtype) for p in mine] != [(p.shape[1:], p.dtype) for p in theirs]:
        return found
    places: dict[bytes, list[int]] = {}
    for k, key in enumerate(_keys(theirs)):
        places.setdefault(key, []).append(k)
    # Pictures of little on much ground share the few numbers of a key: each row is then read once, not against each other.
    wholes: dict[bytes, dict[bytes, list[int]]] = {}
    for number, key in enumerate(_keys(mine)):
        if key not in places:
            continue
        if key not in wholes:
            wholes[key] = {}
            for k in places[key]:
                wholes[key].setdefault(_whole(theirs, k), []).append(k)
        for k in wholes[key].pop(_whole(mine, number), ()):
            found[k] = number
    return found


def _keys(parts: list[Tensor]) -> list[bytes]:
    """A few numbers of each row, as bytes."""
    columns = []
    for part in parts:
        rows = part.detach().reshape(len(part), -1)
        chosen = torch.linspace(0, rows.shape[1] - 1, min(rows.shape[1], _COLUMNS)).long()
        columns.append(rows[:, chosen].cpu().contiguous().view(torch.uint8).numpy().reshape(len(part), -1))
    return [row.tobytes() for row in np.concatenate(columns, 1)]


def _whole(parts: list[Tensor], k: int) -> bytes:
    """A digest of all bits of one row."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part[k].detach().reshape(-1).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()
