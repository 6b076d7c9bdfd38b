"""What a test waits for, and leaves the processor to whoever brings it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import diorama


def answered(folder: str | Path, number: int) -> dict[str, Any]:
    """What a training answered to a command, once its writer has written that."""
    with diorama.open(folder) as run:
        while (found := run.acknowledgement(number)) is None:
            time.sleep(0.002)
    return dict(found)
