"""Gives memory back: what the allocator keeps after large messages have gone is the system's again."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trimmer() -> Callable[[int], int] | None:
    """The C library's own way; other libraries than GNU's have none, and give back by themselves."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


def give_back() -> None:
    """Let go of memory that is kept though nothing uses it; takes milliseconds."""
    trim = _trimmer()
    if trim is not None:
        trim(0)
