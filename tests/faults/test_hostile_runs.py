"""One damaged or foreign run is one row in the list that says what is wrong with it, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from client import Client
from hostile_runs import mutated
from torch import nn

import diorama
from diorama.core.errors import DioramaError
from diorama.record.checksums import damages

COUNT = int(os.environ.get("DIORAMA_SWEEP", "50"))
"""Run folders that are tried: fifty in `make test`, 1,000 in `make sweep`."""
BEGIN = int(os.environ.get("DIORAMA_SEED", "0"))
AT_ONCE = 50
VIEWS = ("curves", "weights", "confusion", "activations", "scan")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small network, with all that a run may hold."""
    folder = tmp_path_factory.mktemp("good") / "good"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, folder, probe=(x, y), optimizer=optimizer, every=2, snapshots=1) as recorder:
        for _ in range(12):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    diorama.scan(diorama.open(folder))
    return folder


@pytest.fixture
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The log of what a bad run did goes into a folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.timeout(0 if COUNT > AT_ONCE else 600)
@pytest.mark.usefixtures("_own_state")
@pytest.mark.parametrize("begin", range(BEGIN, BEGIN + COUNT, AT_ONCE))
def test_bad_runs_beside_a_good_one(good: Path, tmp_path: Path, begin: int) -> None:
    """Whatever is in fifty run folders: the page stands, each is one row, the good run is told and drawn as before,
    and what the list or a view says is wrong the check finds too."""
    served = tmp_path / "runs"
    shutil.copytree(good, served / "good")
    made = dict(mutated(good, served, begin + k) for k in range(min(AT_ONCE, BEGIN + COUNT - begin)))
    with diorama.serve(served) as page:
        client = Client(page.url)
        client.send(do="follow", run="good")
        before = client.next("run", "error", run="good")
        seen = _pictures(client, "good")
        assert all(seen.values())
        rows = {row["name"]: row for row in client.hello["runs"]}
        folders = {os.fsencode(path.name).decode("utf-8", "replace"): (path, said) for path, said in made.items()}
        assert set(rows) == {"good", *folders}
        assert "error" not in rows["good"]
        for number, (name, (_, said)) in enumerate(folders.items()):
            client.send(do="follow", run=name)
            assert client.next("run", "error", run=name), said
            client.show(10 + number, name, VIEWS[number % len(VIEWS)], selection="unit:0/1")
            client.send(do="hide", channel=10 + number)
        assert _pictures(client, "good") == seen
        client.send(do="follow", run="good")
        after = client.next("run", "error", run="good")
        assert (after["event"], after["state"]["series"]) == ("run", before["state"]["series"])
        client.close()
        again = Client(page.url)
        for row in again.hello["runs"]:
            if row["name"] != "good":
                path, said = folders[row["name"]]
                found = _checked(path)
                assert found or "error" not in row, (said, row["error"])
                assert "details are in" not in row.get("error", ""), (said, row["error"])
        again.close()


@pytest.mark.parametrize("shut", ["run.db", "probe.safetensors", "model-0.pkl", "snapshots", "derived"])
def test_what_this_user_may_not_read_is_named(good: Path, monkeypatch: pytest.MonkeyPatch, shut: str) -> None:
    """A file of somebody else's run that may not be read is named, with the way out, by what needs it; all else is drawn."""
    free = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: shut not in str(path) and free(path, mode))
    needs = {"run.db": 3, "probe.safetensors": 1, "model-0.pkl": 1, "snapshots": 3, "derived": 0}[shut]
    for number, name in enumerate(("activations", "curves", "weights")):
        said = pytest.raises(DioramaError, match=f"this user may not read '{shut}") if number < needs else contextlib.nullcontext()
        with said:
            diorama.open(good).scene().view(name)


def _pictures(client: Any, run: str) -> dict[str, bytes]:
    found = {}
    for number, view in enumerate(VIEWS):
        client.frames.clear()
        client.show(number, run, view, step=12, selection="unit:0/1")
        found[view] = client.frames[-1][2] if client.frames else b""
        client.send(do="hide", channel=number)
    return found


def _checked(path: Path) -> list[str]:
    try:
        return damages(path)
    except DioramaError as error:
        return [str(error)]
