"""Plain data as one file: arrays, numbers and texts in lists and dicts; never a pickle, and checked when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from ..core.errors import Damaged

FORMAT = 1
"""Files of another number are of another make."""
LONGEST_HEAD = 100_000_000
"""Bytes of JSON that are read: as objects they take six times as much."""
_WORD = "derived"
_MARK = "$"


def plain(value: Any) -> Any:
    """Plain data in the one form that it also has when it is read again; arrays can no longer be written to.

    *Raises* TypeError for anything but arrays of numbers, numbers, texts, None, and lists and dicts of them.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise TypeError(f"a derivation keeps arrays of numbers, not of {value.dtype}")
        whole = np.asarray(value, value.dtype.newbyteorder("="), order="C").view()
        whole.flags.writeable = False
        return whole
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) and not name.startswith(_MARK) for name in value):
            raise TypeError(f"a derivation keeps dicts whose names are texts without a {_MARK!r} in front")
        return {name: plain(each) for name, each in value.items()}
    raise TypeError(f"a derivation keeps plain data, not {type(value).__name__}")


def packed(head: dict[str, Any], value: Any, sign: Callable[[bytes], str]) -> bytes:
    """A head and plain data as a file's bytes, with a checksum and the signature of who wrote it."""
    arrays: dict[str, np.ndarray] = {}

    def placed(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            arrays[str(len(arrays))] = part
            return {_MARK: str(len(arrays) - 1)}
        if isinstance(part, list):
            return [placed(each) for each in part]
        if isinstance(part, dict):
            return {name: placed(each) for name, each in part.items()}
        return part

    told = json.dumps({**head, "format": FORMAT, "value": placed(plain(value))})
    digest = _digest(told, arrays)
    return save(arrays, {_WORD: told, "digest": digest, "signature": sign(digest.encode())})


def unpacked(data: bytes, verify: Callable[[bytes, str], bool]) -> tuple[dict[str, Any], Any]:
    """The head and the plain data of a file's bytes; ``head["own"]`` says whether this user wrote them.

    *Raises* Damaged for anything that :func:`packed` did not write.
    """
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > LONGEST_HEAD:
            raise ValueError(f"it says that {length:,} bytes of words stand before its numbers")
        about = json.loads(data[8 : 8 + length])["__metadata__"]
        arrays = load(data)
        told = about[_WORD]
        if _digest(told, arrays) != about["digest"]:
            raise ValueError("its bytes do not match their checksum")
        head = json.loads(told)
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']}")

        def taken(part: Any) -> Any:
            if isinstance(part, list):
                return [taken(each) for each in part]
            if isinstance(part, dict):
                return plain(arrays[part[_MARK]]) if _MARK in part else {name: taken(each) for name, each in part.items()}
            return part

        value = taken(head.pop("value"))
        head["own"] = verify(about["digest"].encode(), str(about.get("signature", "")))
    except Exception as error:
        # Whatever a file holds that somebody made to break its reader, it is only a file that cannot be read.
        raise Damaged(f"these bytes hold no derivation: {type(error).__name__}: {error}") from error
    return head, value


def bytes_of(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most so many. *Raises* Damaged for a link, a device, or a larger one; OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Damaged(f"{path.name!r} is no regular file")
        if found.st_size > most:
            raise Damaged(f"{path.name!r} holds {found.st_size:,} bytes, and at most {most:,} are read")
        return file.read(found.st_size)


def _digest(told: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(told.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        if array.size:
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
