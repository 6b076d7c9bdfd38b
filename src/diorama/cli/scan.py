"""``diorama scan``: a whole data set run through a run's model once, with a progress bar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..core.errors import UsageError


def scan_run(
    run: Path | None, *, model: str | None, weights: Path | None, data: Path | None, step: int | None, k: int,
    layers: tuple[str, ...], histogram: bool, trust: bool, output: Path | None,
) -> None:  # fmt: skip
    """Scan, say what was found, and where it is."""
    from ..run import open_run
    from ..scene.scanning import FOLDER, scan

    if (run is None) == (model is None):
        raise UsageError("a scan looks at a run or at a model: give either RUN or --model")
    if run is not None:
        if weights is not None:
            raise UsageError("--weights goes with --model; a run has its own")
        scene = open_run(run, trust=trust).scene(step=step)
    else:
        if step is not None:
            raise UsageError("--step goes with a RUN; a model has only this moment")
        if output is None:
            raise UsageError("without a run the scan wants a file to be written to: -o FILE.safetensors")
        from .scene import scene_of_model

        scene = scene_of_model(str(model), weights, data)
        data = None
    with _Bar() as bar:
        found = scan(
            scene, data, layers=layers or "all", k=k, histogram=histogram, step=step, progress=bar.show
        )
    if output is not None:
        found.save(output)
    units = sum(len(part.on) for part in found.values())
    dead = sum(int((part.moments.low == part.moments.high).sum()) for part in found.values())
    print(f"{found.examples} examples, {units} units in {len(found)} layers, {dead} of them never change")
    if output is not None or run is not None:
        print(output if output is not None else Path(run or "") / FOLDER)


class _Bar:
    """A progress bar on a terminal; nothing anywhere else."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("scanning", total=None)
        return self

    def show(self, done: int, total: int | None) -> None:
        """How many examples are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=f"scanning {done:,} examples")

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
