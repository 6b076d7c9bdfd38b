"""``diorama demo``: a child process trains while this one serves the page; or, headless, this one trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import Unavailable, UsageError
from .bar import Bar


def fresh_folder(name: str) -> Path:
    """A folder under runs/ that nothing was recorded into yet."""
    number, path = 2, Path("runs") / name
    while path.exists():
        path, number = Path("runs") / f"{name}-{number}", number + 1
    return path


def train(name: str, path: Path | None, data: Path | None, knobs: dict[str, Any], page: int | None = None) -> None:
    """Train and record in this process, with a progress bar on a terminal; Ctrl-C ends the training as it ends.

    Nobody watches a headless training, so it does not rest between its steps unless a pace is given. ``page`` is the
    process that serves the page on it, if there is one: the training rests as the demo says, and ends with that process.
    """
    from ..core.knobs import build
    from ..core.registry import demos

    path = path or fresh_folder(name)
    made = build(demos[name], knobs if page is not None else {"pace": 0.0, **knobs})
    if page is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin deaf to it
    with Bar("training", made.steps, stay=True) as bar:

        def on_step(step: int, scalars: Mapping[str, float]) -> None:
            loss = scalars.get("loss")
            bar.show(step, text="training" if loss is None else f"training, loss {loss:.3g}")
            if page is not None and os.getppid() != page:
                raise KeyboardInterrupt  # the page was killed: nobody can steer or end this training any more

        try:
            made.run(path, data=data, on_step=on_step)
        except KeyboardInterrupt:
            bar.close()
            print(f"stopped; what was recorded is in {path}", file=sys.stderr)
            raise
    print(path)


def flags_of(knobs: Mapping[str, Any]) -> list[str]:
    """Knobs as they are written on a command line."""
    flags = []
    for name, value in knobs.items():
        flag = name.replace("_", "-")
        flags += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


def show(name: str, path: Path | None, data: Path | None, flags: list[str], port: int, browser: bool) -> None:
    """Train in a child process and serve the page here; Ctrl-C ends both.

    *Raises* UsageError or Unavailable, with what the child said, when the training could not begin.
    """
    from ..server.serve import Page
    from .program import stay

    path = path or fresh_folder(name)
    if data is not None and not data.exists():
        raise UsageError(f"there is no data at {str(data)!r}")
    training = _Training(name, path, [*flags, *(["--data", str(data)] if data is not None else [])])
    try:
        stay(Page([path], port=port), browser, training.failed)
    finally:
        training.end()
    training.complain()


class _Training:
    """The child process that trains."""

    def __init__(self, name: str, path: Path, flags: list[str]) -> None:
        arguments = [sys.executable, "-m", "diorama", "demo", name, "--headless", "--run", str(path), *flags]
        arguments += ["--page", str(os.getpid())]
        nothing = subprocess.DEVNULL
        # In a group of its own: Ctrl-C reaches this process alone, which then asks the training once to end.
        group = 0 if os.name == "posix" else None
        self._child = subprocess.Popen(
            arguments, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, text=True, process_group=group
        )
        self._path, self._said = path, ""
        self.failed = threading.Event()
        """It ended before anything was recorded: there is nothing to look at."""
        threading.Thread(target=self._listen, name="diorama-demo", daemon=True).start()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._said = line.strip() or self._said
        code = self._child.wait()
        if not (self._path / "run.db").is_file():
            self.failed.set()
        elif code == 0:
            print("The training has ended; its page stays open.", flush=True)
        elif code > 0 and code != 130:
            print(f"The training ended with exit code {code}: {self._said}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Let the training close its record, and do not wait for ever."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            self._child.wait(8)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def complain(self) -> None:
        """Raise what the child said when it could not begin."""
        if self.failed.is_set() and self._child.returncode > 0 and self._child.returncode != 130:
            said = self._said.removeprefix("diorama: ") or f"the training ended with exit code {self._child.returncode}"
            raise (UsageError if self._child.returncode == 2 else Unavailable)(said)
