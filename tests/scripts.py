"""A script, run as a person would: in a module of its own, so that the process that runs it imports nothing else."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path


def run(path: Path, arguments: list[str], folder: Path, told: Path) -> None:
    """Run a script as a person would who stands in a folder; what it writes goes to a file."""
    with told.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(folder)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")
