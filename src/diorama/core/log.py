"""The log: where the details of a bug go, so that the person reads one sentence."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import traceback
from pathlib import Path

_LIMIT = 5_000_000


def log_path() -> Path:
    """Where the log is; its folder is made when it is not there, and a log that grew long is set aside."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(state) / "diorama"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = Path(tempfile.gettempdir())
    path = folder / "diorama.log"
    try:
        if path.stat().st_size > _LIMIT:
            path.replace(path.with_suffix(".old.log"))
    except OSError:
        pass
    return path


def write_log(error: BaseException, doing: str) -> Path:
    """Append an error with its traceback and return where it stands."""
    path = log_path()
    lines = "".join(traceback.format_exception(error))
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {doing}\n{lines}")
    except OSError:
        return Path(os.devnull)
    return path


def details(error: BaseException, doing: str) -> str:
    """Append an error to the log, and say where it stands; nothing where that cannot be done, as in a training that must go on."""
    with contextlib.suppress(Exception):
        return f" (the details are in {write_log(error, doing)})"
    return ""
