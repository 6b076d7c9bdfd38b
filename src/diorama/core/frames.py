"""Where in somebody else's files something happened, as those are told who wrote them."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

Place = tuple[str, int]
"""A file and a line of it."""
_OURS = str(Path(__file__).parents[1])


def raised_at(error: BaseException, plugin: Any = None) -> str:
    """Where in somebody else's file an error was raised, or diorama was called that raised it, for whoever wrote it; nothing where none ran.
    Of a plug-in it is a line beside its own file, where one ran, rather than one of what that calls."""
    lines = strangers(error)
    if not lines:
        return ""
    file = getattr(sys.modules.get(getattr(plugin, "__module__", "")), "__file__", None)
    lines = [each for each in lines if file and Path(each[0]).is_relative_to(Path(file).parent)] or lines
    return f" in {Path(lines[-1][0]).name}, line {lines[-1][1]}"


def strangers(error: BaseException) -> list[Place]:
    """File and line of each frame of an error that is neither diorama's nor Python's own."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return [(name, line) for name, line in lines if not name.startswith(("<", _OURS)) and not _of_python(name)]


def registrar() -> tuple[str, Place]:
    """Who registers a plug-in, as a sentence says it, and the file and the line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "__main__")
    where = f"{Path(file).name}, line {frame.f_lineno}" if not file.startswith("<") else f"line {frame.f_lineno} of what was typed"
    return f"registered by {module} ({where})", (file, frame.f_lineno)


def _of_python(file: str) -> bool:
    """Whether a file is of Python's own library, such as what imports: no place that its reader could mend."""
    standard, *others = map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))
    return file.startswith(standard + os.sep) and not file.startswith(tuple(others))
