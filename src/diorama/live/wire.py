"""How server and worker talk over a pipe: a JSON header and raw bytes, each with its length in front."""

from __future__ import annotations

import struct
from typing import IO, Any

import msgspec

_LENGTHS = struct.Struct("<IQ")
_LIMIT = 1 << 32


def send(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message."""
    head = msgspec.json.encode(header)
    stream.write(_LENGTHS.pack(len(head), len(body)) + head)
    if body:
        stream.write(body)
    stream.flush()


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
