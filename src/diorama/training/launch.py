"""Starting a training in a process of its own, which trains and records by itself and ends when it is asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import Unavailable, UsageError

PATIENCE = 8.0
"""Seconds in which a training that was asked to end closes its record."""
INTERRUPTED = 130
"""How a process ends that was interrupted."""


def fresh_folder(name: str, root: Path | str = "runs") -> Path:
    """A folder that nothing was recorded into yet."""
    number, path = 2, Path(root) / name
    while path.exists():
        path, number = Path(root) / f"{name}-{number}", number + 1
    return path


def flags_of(knobs: Mapping[str, Any]) -> list[str]:
    """Knobs as they are written on a command line."""
    flags = []
    for name, value in knobs.items():
        flag = name.replace("_", "-")
        flags += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


class Launch:
    """A training that was started here: a demo on its own data or a user's, recorded into a folder.

    It ends with this process, also where that is killed. ``ended`` is called, on a thread, with its exit code and the
    last line that it said, once it has ended by itself with a record.

    *Raises* UsageError where there is no such data.
    """

    def __init__(
        self,
        demo: str,
        path: Path,
        flags: Sequence[str] = (),
        data: Path | None = None,
        ended: Callable[[int, str], object] = lambda code, said: None,
    ) -> None:
        if data is not None and not data.exists():
            raise UsageError(f"there is no data at {str(data)!r}")
        arguments = [sys.executable, "-m", "diorama", "demo", demo, "--headless", "--run", str(path), *flags]
        arguments += ["--data", str(data)] if data is not None else []
        arguments += ["--page", str(os.getpid())]
        nothing = subprocess.DEVNULL
        # In a group of its own: Ctrl-C reaches this process alone, which then asks the training once to end.
        group = 0 if os.name == "posix" else None
        self._child = subprocess.Popen(
            arguments, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, text=True, process_group=group
        )
        self.path, self._said, self._ended = path, "", ended
        self.failed = threading.Event()
        """It ended before anything was recorded: there is nothing to look at."""
        threading.Thread(target=self._listen, name="diorama-training", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._said = line.strip() or self._said
        code = self._child.wait()
        if not (self.path / "run.db").is_file():
            self.failed.set()
        else:
            self._ended(code, self._said)

    def end(self) -> None:
        """Let the training close its record, and do not wait for ever."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def complain(self) -> None:
        """Raise what it said where it could not begin."""
        code = self._child.returncode
        if self.failed.is_set() and code > 0 and code != INTERRUPTED:
            said = self._said.removeprefix("diorama: ") or f"the training ended with exit code {code}"
            raise (UsageError if code == 2 else Unavailable)(said)
