"""From a cold start to the curve of 1,000,000 points: ``diorama serve`` against TensorBoard with its fast loader.

Each way starts its server as a new process and asks again and again, until the whole curve has arrived: with diorama the
picture of the view ``curves`` over the socket, with its exact lowest and highest values (a spike of one step is planted
and looked for); with TensorBoard the scalars of the tag as JSON, all points asked for. Neither includes the browser's
drawing. The ways take turns; a ratio is of two neighbours. The page's catalogue is kept from an earlier start, as it is
on every start but the first; that first start is printed too. The files lie in the system's cache for both.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import websockets
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn

import diorama
from diorama.core.marks import Lines
from diorama.core.picture import Picture
from diorama.record.store import Writer

POINTS = 1_000_000
GOAL = 10.0
SPIKE = 123.0
REQUEST = {"step": None, "view": "curves", "knobs": {"series": "loss"}, "selection": "", "edits": [], "input": None}


def values() -> np.ndarray:
    """A falling, noisy loss with one spike."""
    steps = np.arange(POINTS)
    loss = 2 * np.exp(-steps / 2e5) + 0.1 * np.random.default_rng(0).standard_normal(POINTS)
    loss[765_432] = SPIKE
    return loss.astype(np.float32)


def record(folder: Path, loss: np.ndarray) -> None:
    """The run, written by the recorder's own writer, in larger groups than it takes live, for the bench's own sake."""
    model = nn.Linear(2, 2)
    diorama.watch(model, folder, probe=torch.rand(4, 2)).close()
    writer = Writer(folder)
    began = time.time()
    for start in range(0, POINTS, 1000):
        group = loss[start : start + 1000].tolist()
        writer.write([(start + k + 1, began + (start + k) * 0.01, {"loss": value}) for k, value in enumerate(group)])
        writer.merge()
    writer.close()


def log(folder: Path, loss: np.ndarray) -> None:
    """The same numbers as TensorBoard's own writer stores them."""
    folder.mkdir()
    with (folder / "events.out.tfevents.1.bench").open("wb") as file:
        writer = RecordWriter(file)
        for step, value in enumerate(loss.tolist()):
            summary = Summary(value=[Summary.Value(tag="loss", simple_value=value)])
            writer.write(Event(wall_time=1e9 + step * 0.01, step=step, summary=summary).SerializeToString())
        writer.close()


@contextmanager
def started(*line: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A server process, ended afterwards."""
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **more}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def with_diorama(run: Path, **more: str) -> float:
    """Seconds until the curve has arrived."""
    began = time.perf_counter()
    with started(sys.executable, "-m", "diorama", "serve", str(run), "--no-browser", **more) as process:
        assert process.stdout is not None
        found = re.search(r":(\d+)/\?token=(\S+)", process.stdout.readline())
        assert found is not None
        frame = asyncio.run(_curve(int(found[1]), found[2], run.name))
        taken = time.perf_counter() - began
    check(Picture.from_bytes(frame))
    return taken


async def _curve(port: int, token: str, run: str) -> bytes:
    """Ask as the page does: greet, show, take the last frame."""
    talks = ["diorama", token]
    address, origin = f"ws://127.0.0.1:{port}/socket", f"http://127.0.0.1:{port}"
    async with websockets.connect(address, origin=origin, subprotocols=talks, max_size=None) as wire:
        await wire.recv()  # hello
        await wire.send(json.dumps({"do": "show", "channel": 1, "request": {"run": run, **REQUEST}}))
        frame = b""
        while True:
            message = await wire.recv()
            if isinstance(message, bytes):
                frame = message[8:]
                sequence = struct.unpack_from("<I", message, 4)[0]
                await wire.send(json.dumps({"do": "ack", "channel": 1, "sequence": sequence}))
            elif (event := json.loads(message))["event"] == "done":
                return frame
            elif event["event"] == "error":
                raise RuntimeError(event["message"])


def check(picture: Picture) -> None:
    """The curve is all of it, and the spike is in it."""
    lines = next(mark for mark in picture.marks() if isinstance(mark, Lines))
    assert max(float(series.x.max()) for series in lines.series) > POINTS * 0.99
    assert any(series.high is not None and float(series.high.max()) == SPIKE for series in lines.series)


def with_tensorboard(folder: Path) -> float:
    """Seconds until all points have arrived."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?tag=loss&run=log"
    line = ["--logdir", str(folder.parent), "--port", str(port), "--load_fast=true", "--samples_per_plugin", f"scalars={2 * POINTS}"]
    began = time.perf_counter()
    with started(sys.executable, "-m", "tensorboard.main", *line):
        while time.perf_counter() - began < 300:
            try:
                with urllib.request.urlopen(address, timeout=120) as answer:
                    body = answer.read()
                taken = time.perf_counter() - began
                if len(json.loads(body)) >= POINTS:
                    return taken
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
    raise RuntimeError("TensorBoard did not deliver all points within five minutes")


def main() -> int:
    """Take turns and print the ratio."""
    rounds = 3 if "--quick" in sys.argv else 7
    with tempfile.TemporaryDirectory(prefix="diorama-bench-") as folder:
        place = Path(folder)
        loss = values()
        record(place / "run", loss)
        log(place / "log", loss)
        print(f"{POINTS:,} points, from the start of the server to the delivered curve")
        print(f"diorama, the first start of an installation   {with_diorama(place / 'run', XDG_CACHE_HOME=folder):6.2f} s")
        with_diorama(place / "run")
        ours, theirs, ratios = [], [], []
        for _ in range(rounds):
            ours.append(with_diorama(place / "run"))
            theirs.append(with_tensorboard(place / "log"))
            ratios.append(theirs[-1] / ours[-1])
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"diorama, with the exact envelope              {statistics.median(ours):6.2f} s")
    print(f"TensorBoard, fast loader, all points          {statistics.median(theirs):6.2f} s")
    print(f"ratio {middle:.1f} × ({low:.1f}–{high:.1f}); goal {GOAL:g} ×: {'met' if middle >= GOAL else 'missed'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
