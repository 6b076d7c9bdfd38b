"""Networks that live on an accelerator: the laws, and a recorded training, on a stand-in that every machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAWS = HERE.parent / "laws"
ASKED = (
    "(left_as_found and (residual or several_dict or custom_attention)) or (as_its_examples and functional) or plain_function",
    "capture or (fits_any_network and (residual or lstm_all or dict_out)) or (survives_weights and images)",
    "recording",
)
"""What is asked of the methods, of captures and views, and of a recorded training."""


@pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in for an accelerator is compiled, and there is no g++")
@pytest.mark.timeout(1800)
def test_it_holds_on_another_device() -> None:
    """What holds on the CPU holds on a device that refuses tensors of another one."""
    files = [LAWS / f"test_{name}.py" for name in ("methods", "capture", "capture_inside", "views")]
    asked = [*map(str, files), str(HERE / "recording.py"), "-k", " or ".join(ASKED)]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    # A process of its own: a device is there for the whole life of a process. One for all: to begin costs what many laws do.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "accelerator", "-p", "no:cacheprovider", "--tb=short", *asked],
        cwd=HERE.parents[1], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
