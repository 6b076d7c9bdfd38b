"""``diorama demo``: a child process trains while this one serves the page; or, headless, this one trains."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UsageError


def fresh_folder(name: str) -> Path:
    """A folder under runs/ that nothing was recorded into yet."""
    number, path = 2, Path("runs") / name
    while path.exists():
        path, number = Path("runs") / f"{name}-{number}", number + 1
    return path


def train(name: str, path: Path | None, steps: int | None, data: Path | None, knobs: dict[str, Any]) -> None:
    """Train and record in this process, with a progress bar on a terminal; Ctrl-C ends the training as it ends."""
    from ..core.knobs import build
    from ..core.registry import demos

    path = path or fresh_folder(name)
    made = build(demos[name], knobs if steps is None else {**knobs, "steps": steps})
    with _Bar(made.steps) as bar:
        try:
            made.run(path, data=data, on_step=bar.show)
        except KeyboardInterrupt:
            bar.close()
            print(f"stopped; what was recorded is in {path}", file=sys.stderr)
            raise
    print(path)


class _Bar:
    """How far the training is, on a terminal; nothing anywhere else."""

    def __init__(self, steps: int) -> None:
        self._steps, self._bar, self._task = steps, None, None  # type: ignore[var-annotated]

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._steps)
        return self

    def show(self, step: int, scalars: Mapping[str, float]) -> None:
        """One step is done."""
        if self._bar is not None:
            loss = scalars.get("loss")
            text = "training" if loss is None else f"training, loss {loss:.3g}"
            self._bar.update(self._task, completed=step, description=text)

    def close(self) -> None:
        """Let go of the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __exit__(self, *error: object) -> None:
        self.close()


def show(
    name: str, path: Path | None, steps: int | None, data: Path | None, knobs: dict[str, Any], port: int, browser: bool
) -> None:
    """Train in a child process and serve the page here; Ctrl-C ends both."""
    from ..server.serve import Page
    from .program import stay

    path = path or fresh_folder(name)
    if data is not None and not data.exists():
        raise UsageError(f"there is no data at {str(data)!r}")
    arguments = [sys.executable, "-m", "diorama", "demo", name, "--headless", "--run", str(path)]
    arguments += ["--steps", str(steps)] if steps is not None else []
    arguments += ["--data", str(data)] if data is not None else []
    for knob, value in knobs.items():
        flag = knob.replace("_", "-")
        switch = f"--{flag}" if value else f"--no-{flag}"
        arguments += [switch] if isinstance(value, bool) else [f"--{flag}", str(value)]
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(arguments, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, text=True)
    threading.Thread(target=_report, args=(child,), name="diorama-demo", daemon=True).start()
    try:
        page = Page([path], port=port)
        stay(page, browser)
    finally:
        _end(child)


def _report(child: subprocess.Popen[str]) -> None:
    """Hand on what the training says, and say how it ended."""
    assert child.stderr is not None
    for line in child.stderr:
        sys.stderr.write(line)
    code = child.wait()
    if code == 0:
        print("the training has ended; its page stays open", flush=True)
    elif code > 0 and code != 130:
        print(f"the training ended with exit code {code}", file=sys.stderr, flush=True)


def _end(child: subprocess.Popen[str]) -> None:
    """Let the training close its record, and do not wait for ever."""
    with contextlib.suppress(ProcessLookupError):
        if child.poll() is None:
            child.terminate()
    try:
        child.wait(8)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


