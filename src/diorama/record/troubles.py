"""What goes wrong while a training is recorded: said once on the terminal, each told in the run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

_MOST = 20
"""What is told at most: some of it has other numbers in its words each time."""


class Troubles:
    """The first is a warning on the terminal, where a program that makes errors of warnings gets it on stderr; each is an event of the run."""

    def __init__(self) -> None:
        self._warned = False
        self._said: list[str] = []
        self._tell: Callable[[str, str, str], None] | None = None

    def begin(self, tell: Callable[[str, str, str], None]) -> None:
        """From now on a run can be told; it hears what was said before, too."""
        self._tell = tell
        for text in self._said:
            tell("warning", "not recorded", text)

    def say(self, trouble: str, path: Path, grave: bool = False) -> None:
        """Something could not be recorded; what is grave is said on the terminal too where another trouble was."""
        trouble = " ".join(trouble.split())[:300]
        new = trouble not in self._said
        if trouble not in self._said and len(self._said) < _MOST:
            self._said.append(trouble)
            if self._tell is not None:
                self._tell("warning", "not recorded", trouble)
        if self._warned and not (grave and new and trouble in self._said):
            return
        self._warned = True
        with contextlib.suppress(Exception):
            warnings.warn(f"diorama could not record everything into {str(path)!r} ({trouble}); the training goes on", RuntimeWarning, stacklevel=5)
