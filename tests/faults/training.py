"""Trainings that the fault tests start in processes of their own and then mistreat."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import struct
import sys
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.core.errors import DioramaError
from diorama.record import checkpoints
from diorama.record.lock import held
from diorama.record.recorder import watch
from diorama.record.requests import send


def network(seed: int = 0) -> nn.Module:
    """A small CNN with batch norm, which has buffers that a look must not move."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 4)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch that follows from its step."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 1, 8, 8, generator=generator)
    return x, (x.mean((1, 2, 3)) * 40).long().clamp(-2, 1) + 2


def advance(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> torch.Tensor:
    """One plain step."""
    x, y = batch(step)
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def acknowledged(path: Path) -> mmap.mmap:
    """Memory that survives the process: the last step that its recorder called committed."""
    if not path.exists():
        path.write_bytes(struct.pack("<qq", -1, 0))
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 16)


def endless(run: str, board: str) -> None:
    """Train until killed, writing down after each step what is committed."""
    torch.set_num_threads(1)
    seen = acknowledged(Path(board))
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with watch(model, run, probe=batch(0), optimizer=optimizer, every=5) as recorder:
        for step in range(1, 1_000_000):
            loss = advance(model, optimizer, step)
            recorder.step(loss=loss, twice=2.0 * step, step=float(step))
            seen[:16] = struct.pack("<qq", recorder.committed, step)


def steered(run: str) -> None:
    """Train until killed, and go back to a checkpoint now and then."""
    torch.set_num_threads(1)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with watch(model, run, optimizer=optimizer, every=50, resume=Path(run).exists()) as recorder:
        for turn in range(1, 1_000_000):
            advance(model, optimizer, turn)
            recorder.step(loss=float(turn))
            if turn % 60 == 30:
                send(recorder.path, "checkpoint", {})
            elif turn % 60 == 59 and (kept := checkpoints.steps(recorder.path)):
                send(recorder.path, "go_back", {"step": kept[-1]})


def steering(folder: str) -> None:
    """Send a command after the other to whichever run in a folder is being trained, until killed."""
    for number in range(1, 1_000_000):
        for run in Path(folder).glob("run*"):
            if held(run):
                with contextlib.suppress(DioramaError):
                    send(run, "learning_rate", {"factor": 1.0 + number / 1024})
        time.sleep(0.02)


def finite(run: str, steps: int, pause: float = 0.0) -> None:
    """Train for some steps and end as a program does; tells after each the last step that its recorder called committed."""
    torch.set_num_threads(1)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with watch(model, run, probe=batch(0), optimizer=optimizer) as recorder:
        for step in range(1, steps + 1):
            recorder.step(loss=advance(model, optimizer, step), step=float(step))
            print(recorder.committed, flush=True)
            time.sleep(pause)


def server() -> ForkServerContext:
    """Processes that start at once, from a clean one that has torch imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training", "torch", "diorama.record.recorder"])
    return context


def started(target: Any, *args: Any) -> Any:
    """Start one."""
    process = server().Process(target=target, args=args, daemon=True)
    process.start()
    return process


if __name__ == "__main__":
    finite(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
