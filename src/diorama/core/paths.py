"""Paths as people say them, before anything is looked for or made there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from .errors import UsageError

_NONE = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
"""What a system says of a path that it never has, whoever asks."""


def path_of(said: Any, wanted: str) -> Path:
    """The path, whether anything is there or not.

    *Raises* UsageError, which begins with what is ``wanted``, where no system has such a path: another type, no name at all, half a
    character or a zero in it, links that go round, too long a name.
    """
    if not isinstance(said, str | os.PathLike) or not str(said):
        raise UsageError(f"{wanted}, got {said!r}")
    try:
        path = Path(said)
        str(path).encode()
        os.lstat(path)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{wanted}, got {said!r}, which is none ({error})") from None
    except OSError as error:
        if error.errno in _NONE:
            raise UsageError(f"{wanted}, got {_short(str(said))!r}: {error.strerror}") from None
    return path


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]} … {text[-50:]}"
