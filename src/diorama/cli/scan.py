"""``diorama scan``: a whole data set run through a run's model once, with a progress bar."""

from __future__ import annotations

import sys
from pathlib import Path

from ..core.errors import UsageError
from .bar import Bar


def scan_run(
    run: Path | None, *, model: str | None, weights: Path | None, data: Path | None, step: int | None, k: int,
    layers: tuple[str, ...], histogram: bool, trust: bool, output: Path | None,
) -> None:
    """Scan, say what was found, and where it is."""
    from ..derive.scans import scan
    from ..derive.store import FOLDER
    from ..run import open_run

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
    with Bar("scanning") as bar:

        def progress(done: int, total: int | None) -> None:
            bar.show(done, total, f"scanning {done:,} examples")

        try:
            found = scan(scene, data, layers=layers or "all", k=k, histogram=histogram, step=step, progress=progress)
        except KeyboardInterrupt:
            bar.close()
            kept = "what was done is kept, and the same command goes on there" if run is not None else "nothing was kept"
            print(f"diorama: the scan was stopped; {kept}", file=sys.stderr)
            raise
    if output is not None:
        found.save(output)
    units = sum(len(part.on) for part in found.values())
    dead = sum(int(part.moments.still.sum()) for part in found.values())
    print(f"{found.examples} examples, {units} units in {len(found)} layer{'s' * (len(found) != 1)}, {dead} of them never change")
    if output is not None or run is not None:
        print(output if output is not None else Path(run or "") / FOLDER)
