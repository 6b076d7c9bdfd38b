"""A training is started again from a checkpoint, beside the run that it leaves; who did not start it cannot start it again."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.core.registry import demos
from diorama.record import branch, checkpoints, origin, requests, rounds
from diorama.record.lineage import Line
from diorama.run import Run

_SCRIPT = '''
import json, os, sys
import torch
from torch import nn
import diorama
from diorama.record import requests, rounds
rounds.LOOK = 0.0
torch.set_num_threads(1)

class Batches:
    """Draws batches, and knows where it is."""
    def __init__(self):
        self.at = 0
    def __next__(self):
        self.at += 1
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(self.at))
    def state_dict(self):
        return {"at": self.at}
    def load_state_dict(self, state):
        self.at = state["at"]

with open("written.txt", "a") as file:
    print("token" in os.environ.get("DIORAMA_BRANCH", ""), sys.argv[1:], file=file)
with diorama.watch(nn.Linear(2, 2), "other", resume=os.path.exists("other")) as first:
    first.step(loss=1.0)
torch.manual_seed(5)
model = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.3), nn.ReLU(), nn.Linear(6, 3))
optimizer = torch.optim.AdamW(model.parameters(), 0.02)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)
batches = Batches()
with diorama.watch(model, "run", optimizer=optimizer, scheduler=schedule, state=[batches]) as recorder:
    while recorder.number < 12:
        x = next(batches)
        loss = nn.functional.cross_entropy(model(x), x.argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if recorder.number == 6 and sys.argv[1] == "steered" and recorder.path.name == "run":
            requests.send(recorder.path, "learning_rate", {"factor": 20.0})
        recorder.step(loss=loss)
'''


def _ended(run: Run) -> Run:
    """Wait for the end of a training."""
    until = time.monotonic() + 120
    while run.alive:
        assert time.monotonic() < until
        time.sleep(0.02)
    return run


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "run.db" not in p.name}


def test_a_twin_names_what_else_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The acts after the one that is left out, the first of many."""
    acts = [{"command": k, "name": name, "step": k, "text": name} for k, name in enumerate(["drop", "freeze", "clip", *["weigh"] * 6], 1)]
    record: Any = SimpleNamespace(path=tmp_path, meta={"acts": acts})
    monkeypatch.setattr(branch, "start", lambda *args, **knobs: SimpleNamespace(child=tmp_path / "twin", text="started"))
    monkeypatch.setattr(checkpoints, "before_each", lambda path, acts: {acts[0]["command"]: path})
    told = {number: diorama.commands["twin"](command=number).start(record, None).text for number in (1, 7, 9)}
    assert told == {
        1: "started, without command 1 (drop) and without what came after it: "
           "2 (freeze), 3 (clip), 4 (weigh), 5 (weigh), 6 (weigh) and 3 others",
        7: "started, without command 7 (weigh) and without what came after it: 8 (weigh) and 9 (weigh)",
        9: "started, without command 9 (weigh)",
    }


def test_the_twin_of_a_script_is_the_run_that_was_left_alone(tmp_path: Path) -> None:
    """A script started again before its act ends with the weights of one that was never steered, and leaves every other run as it is."""
    script, alone = tmp_path / "train.py", tmp_path / "alone"
    script.write_text(_SCRIPT)
    alone.mkdir()
    started = [subprocess.Popen([sys.executable, str(script), how], cwd=folder) for how, folder in (("steered", tmp_path), ("left", alone))]
    assert [each.wait(240) for each in started] == [0, 0]
    run = diorama.open(tmp_path / "run")
    before = _files(tmp_path / "run") | {f"other/{name}": data for name, data in _files(tmp_path / "other").items()}
    with pytest.raises(diorama.UsageError, match="train.py steered.* writes its own files again; say consent=True"):
        run.command("twin")
    answer = run.command("twin", consent=True)
    twin = _ended(diorama.open(tmp_path / answer.new))
    assert [each.path.name for each in run.children] == [twin.path.name] == ["run-2"]
    alike = diorama.open(alone / "run")
    assert twin.series("loss")[1].tolist() == alike.series("loss")[1].tolist()
    assert all(torch.equal(tensor, twin.state(12)[name]) for name, tensor in alike.state(12).items())
    assert not torch.equal(twin.state(12)["0.weight"], run.state(12)["0.weight"])
    assert [event.name for event in twin.events if event.kind == "command"] == []
    assert _files(tmp_path / "run") | {f"other/{name}": data for name, data in _files(tmp_path / "other").items()} == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["alone", "other", "other-2", "run", "run-2"]
    assert (tmp_path / "written.txt").read_text() == "False ['steered']\n" * 2


def test_a_demo_branches_at_once_with_another_learning_rate(tmp_path: Path) -> None:
    """A demo goes on from a checkpoint in a run of its own, after its training has ended, with the factor on what was in force."""
    path = tmp_path / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "LOOK", 0.0)

        def steer(step: int, scalars: object) -> None:
            if step == 4:
                requests.send(path, "learning_rate", {"factor": 0.5})
                requests.send(path, "checkpoint", {})

        demos["moons"](steps=10, pace=0.0).run(path, on_step=steer)
    run = diorama.open(path)
    for wrong, said in (("../slower", "what a folder can be called"), (".slower", "what a folder can be called"), ("demo", "nearest: 'demo-2'")):
        with pytest.raises(diorama.UsageError, match=said):
            run.command("branch", step=5, called=wrong)
    answer = run.command("branch", step=5, factor=0.1, called="a tenth")
    assert answer.new == "a tenth"
    child = _ended(diorama.open(tmp_path / answer.new))
    assert child.last_step == 10
    assert child.series("learning_rate")[1][-1] == pytest.approx(0.05 * run.series("learning_rate")[1][0])
    assert child.series("loss")[1][:6].tolist() == run.series("loss")[1][:6].tolist()
    assert child.series("loss")[1][-1] != run.series("loss")[1][-1]
    assert child.parent is not None
    assert child.check() == []


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of one step."""
    with diorama.watch(nn.Linear(2, 2), tmp_path / "run") as recorder:
        recorder.step(loss=1.0)
    return tmp_path / "run"


def test_what_another_user_started_is_never_started(recorded: Path) -> None:
    """An origin that is changed, unsigned or missing starts nothing, with consent or without."""
    found = origin.read(recorded)
    with Line(recorded) as line:
        (recorded / origin.NAME).write_bytes(json.dumps({"line": ["touch", str(recorded / "started")], "folder": "/"}).encode())
        for name in ("origin.sig", origin.NAME):
            with pytest.raises(diorama.DioramaError, match=r"not started by this user|does not say how"):
                branch.start(line, 1, consent=True)
            (recorded / name).unlink()
        with pytest.raises(diorama.Unavailable, match="does not say how"):
            branch.start(line, 1, consent=True)
    assert found.line[0] == sys.executable
    assert not (recorded / "started").exists()
    with pytest.raises(diorama.Unavailable, match="no checkpoint at step 7; there are: 1"):
        Run(recorded).command("branch", step=7)


@pytest.mark.parametrize(("case", "said"), [
    ("notebook", "notebook"), ("torchrun", "torchrun"), ("stdin", "standard input"), ("secret", "--api-key"), ("child", "another one made"),
])
def test_what_cannot_be_started_again_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, said: str) -> None:
    """Notebooks, torchrun, standard input, processes of others and lines with secrets are refused, and nothing secret is stored."""
    if case == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    elif case == "torchrun":
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    elif case == "child":
        monkeypatch.setattr(multiprocessing, "parent_process", lambda: sys)
    elif case == "stdin":
        monkeypatch.setattr(sys, "orig_argv", ["python", "-"])
        monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    else:
        monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--api-key=hush"])
        monkeypatch.setattr(sys.modules["__main__"], "__file__", "train.py", raising=False)  # a worker of the tests has none
    with diorama.watch(nn.Linear(2, 2), tmp_path / "run") as recorder:
        recorder.step(loss=1.0)
    assert b"hush" not in (tmp_path / "run" / origin.NAME).read_bytes()
    with pytest.raises(diorama.Unavailable, match=said) as refused:
        diorama.open(tmp_path / "run").command("branch", step=1, consent=True)
    assert f"parent=({str(tmp_path / 'run')!r}, 1)" in str(refused.value)


def test_a_branch_typed_by_hand_stands_where_its_parent_stood(recorded: Path, tmp_path: Path) -> None:
    """watch(parent=) restores before the first step and records beside; a wrong parent is refused before it."""
    again = nn.Linear(2, 2)
    with diorama.watch(again, recorded, parent=(recorded, 1)) as recorder:
        assert recorder.number == 1
        assert recorder.path == tmp_path / "run-2"
        assert torch.equal(again.weight.detach(), Run(recorded).state(1)["weight"])
        recorder.step(loss=2.0)
    assert diorama.open(tmp_path / "run-2").series("loss")[1].tolist() == [1.0, 2.0]
    with pytest.raises(diorama.NotApplicable, match=r"another shape then: weight \(2, 2\) → \(3, 2\)"):
        diorama.watch(nn.Linear(2, 3), tmp_path / "run-3", parent=(recorded, 1))
    with pytest.raises(diorama.UsageError, match=r"such as \('runs/a', 120\)"):
        diorama.watch(again, tmp_path / "run-3", parent=recorded)  # type: ignore[arg-type]
    with pytest.raises(diorama.UsageError, match="beside the run"):
        diorama.watch(again, tmp_path / "deeper" / "run", parent=(recorded, 1))
    assert not (tmp_path / "run-3").exists()
    assert branch.VARIABLE not in os.environ
