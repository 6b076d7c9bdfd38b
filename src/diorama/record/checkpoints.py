"""What is needed to train on besides the weights: optimizers, schedulers, random generators and the user's own
objects."""

from __future__ import annotations

import contextlib
import io
import random
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import Damaged, Unavailable, Untrusted
from . import files, trust
from .writer import Writer

if TYPE_CHECKING:
    from ..training.subject import Subject

FOLDER = "checkpoints"
KEPT = 3
"""Automatic checkpoints that are kept: the newest."""
PERIOD = 60.0
"""Seconds between two automatic checkpoints."""
SHARE = 0.01
LARGEST = 100_000_000_000
"""Bytes of a checkpoint."""


class Checkpoints:
    """Takes checkpoints: by hand, and automatically as often as a small share of the time allows."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self, now: float) -> bool:
        """Whether an automatic one should be taken."""
        return now - self._last >= max(PERIOD, self._cost / SHARE)

    def put_off(self) -> None:
        """One that was due is not taken."""
        self._last = time.monotonic()

    def pack(self, step: int) -> bytes:
        """All of it as bytes."""
        import torch  # not above: what a run holds is told without it

        began = time.monotonic()
        buffer = io.BytesIO()
        torch.save(
            {
                "step": step,
                "optimizers": [each.state_dict() for each in self._subject.optimizers],
                "schedulers": [each.state_dict() for each in self._subject.schedulers],
                "state": [each.state_dict() if hasattr(each, "state_dict") else each for each in self._subject.state],
                "random": random_state(),
            },
            buffer,
        )
        self._last = time.monotonic()
        self._cost = self._last - began
        return buffer.getvalue()


def random_state() -> dict[str, Any]:
    """The states of all generators."""
    import torch

    found = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def write(writer: Writer, step: int, data: bytes, anchor: bool) -> None:
    """Write a checkpoint with its signature; automatic ones push out the oldest automatic one."""
    folder = writer.folder / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"{step:09d}{'' if anchor else '.auto'}.pt"
    temporary = folder / f".{name}"
    temporary.write_bytes(data)
    signature = trust.sign(data)
    if signature:
        (folder / name).with_suffix(".sig").write_text(signature)
    temporary.replace(folder / name)
    writer.index_file(f"{FOLDER}/{name}", len(data), zlib.crc32(data))
    for old in automatic(writer.folder)[:-KEPT]:
        forget(writer, old)


def automatic(folder: Path) -> list[Path]:
    """The files of the automatic checkpoints, oldest first."""
    return sorted((folder / FOLDER).glob("*.auto.pt"))


def forget(writer: Writer, file: Path) -> None:
    """Give a checkpoint up."""
    writer.forget_file(f"{FOLDER}/{file.name}")
    with contextlib.suppress(OSError):
        file.unlink()
        file.with_suffix(".sig").unlink()


def steps(folder: Path) -> list[int]:
    """Steps with a checkpoint."""
    names = (file.name.partition(".")[0] for file in (folder / FOLDER).glob("*.pt"))
    return sorted({int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 19})


def load(folder: Path, step: int, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint. *Raises* Unavailable, Untrusted for one that this user did not make, Damaged."""
    file = next((f for f in (folder / FOLDER).glob(f"{step:09d}.*pt") if f.name[0] != "."), None)
    if file is None:
        raise Unavailable(f"no checkpoint at step {step}; there are: {', '.join(map(str, steps(folder))) or 'none'}")
    name = f"{FOLDER}/{file.name}"
    try:
        data = files.content(folder, name, LARGEST)
    except OSError as error:
        raise Unavailable(f"the checkpoint of step {step} cannot be read: {error.strerror}") from error
    signed = trust.verify(data, trust.signature(folder, name))
    if not signed and not trusted:
        raise Untrusted(
            f"the checkpoint of step {step} was not made by this user, and loading it may run code; "
            "if you trust where it comes from say trust=True"
        )
    import torch

    try:
        found: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=False)
    except Exception as error:
        raise Damaged(f"the checkpoint of step {step} cannot be read: {error}") from error
    return found
