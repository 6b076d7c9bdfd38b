"""A training that runs while its page is open: states and pictures follow it, and commands reach it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from client import Client
from torch import nn
from torch.nn import functional

import diorama
from diorama.core.picture import Picture


class Training(threading.Thread):
    """Trains a tiny network until it is told to end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.ended = folder, threading.Event()

    def run(self) -> None:
        """A plain loop."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
        with diorama.watch(model, self.folder, probe=(x, y), optimizer=optimizer, snapshots=50, every=10) as recorder:
            while not self.ended.is_set():
                loss = functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
                time.sleep(0.01)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    """A training that runs."""
    made = Training(tmp_path / "runs" / "now")
    made.start()
    while not (made.folder / "run.db").is_file():
        assert made.is_alive()
        time.sleep(0.02)
    yield made
    made.ended.set()
    made.join(60)


def test_the_page_follows_a_running_training(training: Training) -> None:
    """States and the list of runs grow, live pictures of record and model come by themselves, the trainer is told that someone looks."""
    with diorama.serve(training.folder.parent) as page:
        client = Client(page.url)
        client.send(do="follow", run="now")
        first = client.next("run")["state"]
        assert first["alive"]
        for channel, view in ((1, "curves"), (2, "weights")):
            ended = client.show(channel, "now", view, step="live")
            assert ended["event"] == "done", ended
        steps: dict[int, set[int | None]] = {1: set(), 2: set()}
        while min(len(seen) for seen in steps.values()) < 3:
            client.next("run", "done", "error")
            for channel, _, frame in client.frames:
                steps[channel].add(Picture.from_bytes(frame).step)
            client.frames.clear()
        assert client.next("run")["state"]["last"] > first["last"]
        assert client.next("runs")["runs"][0]["steps"] > client.hello["runs"][0]["steps"]
        assert (training.folder / "watching").is_file()
        assert (training.folder / "live.safetensors").is_file()
        client.close()


def test_commands_reach_the_training(training: Training) -> None:
    """A command of the page is applied and acknowledged, and stands among the run's events."""
    with diorama.serve(training.folder) as page:
        client = Client(page.url)
        client.send(do="follow", run="now")
        for number, (name, knobs) in enumerate([("learning_rate", {"factor": 0.5}), ("pause", {}), ("resume", {})]):
            client.send(do="command", id=number, run="now", name=name, knobs=knobs)
            answer = client.next("command", id=number)
            assert answer["ok"], answer
            if name == "pause":
                while not client.next("run")["state"]["paused"]:
                    pass
        state = client.next("run")["state"]
        while len(state["events"]) < 3 or state["paused"]:
            state = client.next("run")["state"]
        assert [event["name"] for event in state["events"]] == ["learning_rate", "pause", "resume"]
        assert state["optimizer"][0]["factor"] == 0.5
        client.close()


def test_the_end_of_a_training_is_told(training: Training) -> None:
    """When the training ends, its followers hear of it and the list of runs says so."""
    with diorama.serve(training.folder.parent) as page:
        client = Client(page.url)
        client.send(do="follow", run="now")
        assert client.next("run")["state"]["alive"]
        training.ended.set()
        while client.next("run")["state"]["alive"]:
            pass
        client.close()
