"""A short name for a set of weights, so that results computed from them can be found again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def fingerprint(state: Mapping[str, Any]) -> str:
    """A hash of names, types, shapes and every bit of the tensors of a state dict: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, Tensor):
            digest.update(f"{name}\0{value!r}\0".encode())
            continue
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def written(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies and how often it was written to; a sparse or wrapped one, which has no place of its own, is known by itself."""
    try:
        place = tensor.data_ptr()
    except RuntimeError:
        place = id(tensor)
    return place, 0 if tensor.is_inference() else tensor._version


def _bytes(tensor: Tensor) -> Any:
    if tensor.is_meta:  # weights that were moved out of memory, as offloading does: there is nothing to read
        return b""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
