"""``diorama demo``: a child process trains while this one serves the page; or, headless, this one trains."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.blame import charged
from ..training.launch import INTERRUPTED, Launch, fresh_folder
from .bar import Bar


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
            with charged(made):
                made.run(path, data=data, on_step=on_step)
        except KeyboardInterrupt:
            bar.close()
            print(f"stopped; what was recorded is in {path}", file=sys.stderr)
            raise
    print(path)


def show(name: str, path: Path | None, data: Path | None, flags: list[str], port: int, browser: bool) -> None:
    """Train in a child process and serve the page here; Ctrl-C ends both.

    *Raises* UsageError or Unavailable, with what the child said, when the training could not begin.
    """
    from ..server.serve import Page
    from .program import stay

    path = path or fresh_folder(name)
    training = Launch(name, path, flags, data, _say_end)
    try:
        stay(Page([path], port=port), browser, training.failed)
    finally:
        training.end()
    training.complain()


def _say_end(code: int, said: str) -> None:
    if code == 0:
        print("The training has ended; its page stays open.", flush=True)
    elif code > 0 and code != INTERRUPTED:
        print(f"The training ended with exit code {code}: {said}", file=sys.stderr, flush=True)
