"""A snapshot's numbers, and what its header tells, without torch, which takes seconds to load: for what judges a record, and for the server."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Damaged, Unavailable
from . import files
from .checksums import checksum

Numbers = Mapping[str, NDArray[np.float32]]
_TYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_OTHER = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "C64", "C128"}
"""What is no floating-point number."""
LIVE = "live.safetensors"
"""The rolling snapshot of the weights of now."""
_LONGEST = 100_000_000
"""Bytes of a header."""


def read(folder: Path, name: str, wanted: tuple[int, int]) -> Numbers | None:
    """The real floating-point numbers of a snapshot by name, as float32; None where some are of a type that NumPy lacks.

    *Raises* Unavailable when it is gone, Damaged when it is not as it was written.
    """
    try:
        file = files.regular(folder, name)
        if file.stat().st_size != wanted[0] or checksum(file) != tuple(wanted):
            raise Damaged(f"{file.name} does not match its checksum; look at another step")
        data = file.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        about = header.pop("__metadata__", {})
        if "other" in about or any(entry["dtype"] not in _TYPES and entry["dtype"] not in _OTHER for entry in header.values()):
            return None
        body = memoryview(data)[8 + length :]
        found = {key: _array(entry, body) for key, entry in header.items() if entry["dtype"] in _TYPES}
        shared = json.loads(about.get("shared", "{}"))
        return found | {key: found[same] for key, same in shared.items() if same in found}
    except FileNotFoundError:
        raise Unavailable(f"the snapshot {name} is gone (thinned, or deleted); look at another step") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, MemoryError, RecursionError) as error:
        raise Damaged(f"{name} cannot be read as a snapshot: {str(error) or type(error).__name__}") from error


def live_stand(folder: Path) -> tuple[int, int] | None:
    """The step of the rolling snapshot and the last command that was applied before it, if one is there that can be read."""
    try:
        with files.regular(folder, LIVE).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            about = json.loads(file.read(min(length, _LONGEST)))["__metadata__"]
        return int(about["step"]), int(about.get("command", 0))
    except (OSError, Damaged, Unavailable, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return None


def _array(entry: Mapping[str, Any], body: memoryview) -> NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    raw: NDArray[Any] = np.frombuffer(body[begin:end], _TYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    found: NDArray[np.float32] = raw.astype(np.float32)
    return found
