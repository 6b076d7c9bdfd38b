"""Weights from elsewhere: safetensors, or a `.pt` that holds nothing but tensors; never code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import Damaged, Unavailable, Untrusted, UsageError

MOST_UNPACKED = 100_000_000
"""Bytes below which no file is suspected."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Load a state dict from a file, on the CPU.

    *Raises* UsageError for another kind of file, Unavailable when it is missing, Damaged when it cannot be read,
    Untrusted for a `.pt` that holds more than tensors: loading it would run code, so convert it to safetensors where
    you trust it.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"weights want a file ending in {', '.join(SUFFIXES)}, got {file.name!r}")
    if not file.is_file():
        raise Unavailable(f"there is no file {str(path)!r}")
    if file.suffix.lower() == ".safetensors":
        try:
            return load_file(str(file))
        except (SafetensorError, OSError) as error:
            raise Damaged(f"{file.name} cannot be read as safetensors: {error}") from error
    _refuse_a_bomb(file)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise Untrusted(
                f"{file.name} holds more than tensors, and loading it would run code; save its state_dict() as "
                "safetensors"
            ) from error
        raise Damaged(f"{file.name} cannot be read: {_short(error)}") from error
    except Exception as error:
        raise Damaged(f"{file.name} cannot be read: {_short(error)}") from error
    return _state(found, file.name)


def _refuse_a_bomb(file: Path) -> None:
    """What torch writes is not packed, so it is as large as its file; *raises* Damaged for much that was packed small."""
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return
    if size > MOST_UNPACKED and size > 2 * file.stat().st_size:
        raise Damaged(f"{file.name} unpacks to {size:,} bytes, far more than it has; torch.save never writes so")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _state(found: Any, name: str) -> dict[str, Tensor]:
    """The state dict itself, or the one that a checkpoint holds under a usual name."""
    if isinstance(found, Mapping):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(found.get(key), Mapping):
                found = found[key]
                break
        tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise UsageError(f"{name} holds no state dict, but {type(found).__name__}; save model.state_dict()")
