"""How server and worker talk over a pipe: a JSON header and raw bytes, each with its length in front."""

from __future__ import annotations

import math
import struct
from typing import IO, Any

import msgspec

_LENGTHS = struct.Struct("<IQ")
_LIMIT = 1 << 32


def send(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message."""
    head = encoded(header)
    stream.write(_LENGTHS.pack(len(head), len(body)) + head)
    if body:
        stream.write(body)
    stream.flush()


def encoded(value: Any) -> bytes:
    """Any plain data as JSON; what JSON cannot say (half a character, a boundless number) is said as near as it can."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except (ValueError, OverflowError, RecursionError, TypeError):
        plain = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        return msgspec.json.encode(_sayable(plain, 0))


def _sayable(value: Any, depth: int) -> Any:
    if depth > 100:
        return "…"
    if isinstance(value, dict):
        return {str(_sayable(str(key), depth)): _sayable(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sayable(each, depth + 1) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return math.copysign(math.inf, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).encode("utf-8", "replace").decode()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None at the end of the stream."""
    lengths = _read(stream, _LENGTHS.size)
    if lengths is None:
        return None
    head_length, body_length = _LENGTHS.unpack(lengths)
    if body_length > _LIMIT:
        return None
    head = _read(stream, head_length)
    body = _read(stream, body_length) if body_length else b""
    if head is None or body is None:
        return None
    return msgspec.json.decode(head), body


def _read(stream: IO[bytes], count: int) -> bytes | None:
    data = stream.read(count)
    return data if data is not None and len(data) == count else None
