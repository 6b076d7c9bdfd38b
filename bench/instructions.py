"""What recording adds to a usual step, on which nothing is read, in instructions of the processor.

Other work on the machine does not change such a count, while times of a step of a tiny net vary by more than what is looked for wherever
programs share a processor. This wants ``valgrind``, and takes a minute or two.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from bench.recording import FIVE
from diorama.record import background, rounds
from diorama.record.recorder import Recorder, watch

WARM = 20
"""Steps before those that are counted."""
COUNTED = {"a net of 33 weights": 40}
"""Nets, by their names in ``bench/recording.py``, with the steps of each that are counted."""
FAR = 10**6
Run = Callable[[int], None]


def _trained(net: str, hooks: bool = False, every: int | str | None = None) -> Run:
    """Trains a net for some steps: bare, with empty hooks round the optimizer's step, or watched."""
    torch.manual_seed(0)
    model, x, y = FIVE[net][0]()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    if hooks:
        optimizer.register_step_pre_hook(lambda *told: None)
        optimizer.register_step_post_hook(lambda *told: None)
    recorder = None if every is None else watch(model, Path(tempfile.mkdtemp()) / "run", probe=(x, y), optimizer=optimizer, every=every)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            if recorder is not None:
                recorder.step(loss=loss)

    run(WARM)
    if recorder is not None:
        _rest(recorder, run)
    return run


def _rest(recorder: Recorder, run: Run) -> None:
    """From here on no reading is due, and nothing that is done now and then: each step is a usual one."""
    recorder._observer.pace.every = FAR
    recorder._rest = 0
    run(1)
    recorder._rest, recorder._rounds.until = FAR, float("inf")


def _counting(net: str) -> None:
    """In valgrind: count the same steps of each kind."""

    def control(*words: str) -> None:
        subprocess.run(["callgrind_control", *words, str(os.getpid())], check=True, capture_output=True)

    torch.set_num_threads(1)
    # By the clock, which runs ahead of a program that is counted, each step would have a round, and the writer something to write.
    rounds.LOOK = rounds.LATEST = background.PERIOD = 1e9
    kinds: dict[str, Run] = {
        "bare": _trained(net), "empty hooks": _trained(net, hooks=True), "watched": _trained(net, every="auto"),
        "every=1000000": _trained(net, every=FAR),
    }
    control("-i", "on")
    for name, run in kinds.items():
        run(WARM // 4)
        control("-z")
        run(COUNTED[net])
        control("-d", name)
    os._exit(0)  # what was recorded is thrown away


def counted(net: str) -> dict[str, float]:
    """Instructions of the loop's thread a step, by how it is trained."""
    with tempfile.TemporaryDirectory() as folder:
        told = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", f"--callgrind-out-file={folder}/counted",
             sys.executable, "-m", "bench.instructions", net], capture_output=True, text=True,
        )
        found = {}
        for file in sorted(Path(folder).glob("counted.*-01")):
            text = file.read_text(errors="replace")
            name, total = re.search(r"^desc: Trigger: dump (.*)$", text, re.M), re.search(r"^(?:summary|totals): (\d+)", text, re.M)
            if name and total:
                found[name[1]] = int(total[1]) / COUNTED[net]
    if "bare" not in found:
        raise SystemExit(told.stderr[-2000:])
    return found


def main() -> int:
    """Measure; 1 when a goal is missed."""
    if sys.argv[1:] and sys.argv[1] in COUNTED:
        _counting(sys.argv[1])
    if shutil.which("valgrind") is None:
        print("valgrind is not here: nothing is counted")
        return 0
    good = True
    for net in COUNTED:
        found = counted(net)
        bare = found.pop("bare")
        for name, count in found.items():
            goal = "" if name == "empty hooks" else ", goal ≤ 0.05"
            print(f"a usual step of {net}, {name}: {count - bare:,.0f} instructions more where one takes {bare:,.0f} ({count / bare - 1:.4f}){goal}")
            good &= not goal or count <= 1.05 * bare
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
