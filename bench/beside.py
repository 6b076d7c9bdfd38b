"""Every view beside another commit: ``python -m bench.beside OTHER RUN…``, where OTHER is a checkout of that commit.

Stored runs, recorded by the older of both so that both can read them, are drawn by processes of the two in turn: each view
that both have, of the last snapshot, cold, as in a scene and a run folder that nobody has looked at. What counts is a
process's own time on the processor, the least of all rounds, with modules that are compiled, as an installed package's are; what is
drawn first in a process stands in columns of its own, and so does the same view of the snapshot before, of the run that is open by then:
it is what the slider asks for.
A view is slower where it takes more than the other commit's own spread over its processes, and more than a millisecond.
``--view=NAME`` draws some, ``--quick`` takes three processes a side, not five.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent.parent
COMPILED = Path(tempfile.gettempdir()) / "diorama-bench-compiled"
"""Where the modules of both checkouts lie compiled: it would take longer than to draw a picture."""
STEADY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
"""Large maps stay with the process: whether each is taken from the system anew changes from process to process, and makes a pass a half slower."""
ROUNDS, ENOUGH = 5, 1.0
"""So often a view is drawn in a process, but for no longer than some seconds."""

CHILD = """
import gc, json, shutil, sys, tempfile, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch, diorama
torch.set_num_threads(1)
path, rounds, enough, names = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
found = {}

def drawn(scene, name):
    scene.model
    torch.manual_seed(0)
    gc.collect(), gc.disable()
    began = time.process_time()
    try:
        scene.view(name)
    finally:
        gc.enable()
    return 1e3 * (time.process_time() - began)

with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder) / path.name
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("derived"))
    for name in names or sorted(diorama.views):
        taken = []
        try:
            while len(taken) < rounds + 1 and sum(map(sum, taken)) < 1e3 * enough:
                shutil.rmtree(copy / "derived", ignore_errors=True)
                run = diorama.open(copy)
                taken.append([drawn(run.scene(step=step), name) for step in run.snapshots[:-3:-1]])
        except Exception:
            continue
        found[name] = taken
print(json.dumps(found))
"""


def drawn(root: Path, run: Path, names: list[str]) -> dict[str, list[list[float]]]:
    """Milliseconds of each drawing of each view, of the last snapshot and of the one before, by one process with a checkout's sources."""
    line = [sys.executable, "-c", CHILD, str(run), str(ROUNDS), str(ENOUGH), *names]
    environment = {**os.environ, **STEADY, "PYTHONPATH": str(root / "src"), "PYTHONPYCACHEPREFIX": str(COMPILED)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(line, env=environment, cwd=root, capture_output=True, text=True, check=True)
    found: dict[str, list[list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


PARTS = (("before", slice(1, None), 0, "slower"), ("first before", slice(0, 1), 0, "slower at first"),
         ("slid before", slice(None), -1, "slower at another step"))
"""What stands in a line: of which rounds, of which of the two snapshots, and what is said where it is slower."""


def compare(other: Path, run: Path, names: list[str], processes: int) -> list[str]:
    """Print a line a view; the views that are slower."""
    before: list[dict[str, list[list[float]]]] = []
    now: list[dict[str, list[list[float]]]] = []
    for _ in range(processes):
        before.append(drawn(other, run, names))
        now.append(drawn(HERE, run, list(before[0])))  # the views of the other commit, no others
    head = "".join(f"{title:>15}{'now':>9}{'ratio':>7}{'spread':>8}" for title, *_ in PARTS)
    print(f"\n{run.name}: milliseconds of the processor, least of {processes} × {ROUNDS}\n{'':16}{head}", flush=True)
    slower = []
    for name in before[0]:
        if any(name not in each for each in now):
            print(f"{name:16}is drawn before only")
            continue
        told, late = f"{name:16}", ""
        for _, rounds, which, said in PARTS:
            olds, news = ([min(both[which] for both in each[name][rounds] or each[name]) for each in side] for side in (before, now))
            new, old = min(news), min(olds)
            spread = sorted(olds)[len(olds) // 2] / old - 1
            if new > old * (1 + spread) and new - old > 1:
                late += f"  {said}"
            told += f"{old:15.1f}{new:9.1f}{new / old:7.2f}{spread:8.0%}"
        print(told + late)
        slower += [f"{run.name}/{name}"] * bool(late)
    return slower


def main(words: list[str]) -> int:
    """Compare, and say which views are slower."""
    paths = [Path(word).resolve() for word in words if not word.startswith("--")]
    names = [word[7:] for word in words if word.startswith("--view=")]
    if len(paths) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    slower = [name for run in paths[1:] for name in compare(paths[0], run, names, 3 if "--quick" in words else 5)]
    print(f"\nslower: {', '.join(slower) or 'none'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
