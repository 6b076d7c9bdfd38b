"""The command line: one sentence for every error, flags made from knobs, nothing imported that is not needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama
from diorama.cli import knobs, main, program
from diorama.record.store import RunReader
from diorama.training.launch import flags_of, fresh_folder


class Said:
    """How a command ended, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["diorama", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run of a tiny network."""
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(
        model, folder, probe=(torch.rand(9, 1, 8, 8), torch.arange(9) % 3), optimizer=optimizer
    ) as recorder:
        for _ in range(6):
            optimizer.step()
            recorder.step(loss=1.0)
    return folder


def one_sentence(said: Said, code: int, *words: str) -> None:
    """It failed as agreed: one line on stderr, no traceback, the right exit code."""
    assert said.code == code, said.err
    assert said.err.startswith("diorama: ")
    assert said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("nope", 2, ["No such command"]),
        ("view nope --run RUN -o x.png", 2, ["no view named 'nope'"]),
        ("view weights --run RUN", 2, ["-o", "view weights --help"]),
        ("view weights -o x.png", 2, ["--run or --model"]),
        ("view weights --run RUN -o x.doc", 2, ["no file format named 'doc'"]),
        ("view weights --run RUN --select layer:nope -o x.png", 2, ["no layer named 'nope'" ]),
        ("view weights --run RUN --select nonsense -o x.png", 2, ["a key looks like"]),
        ("view weights --run RUN --nope 3 -o x.png", 2, ["--nope"]),
        ("view weights --run RUN --example 5 -o x.png", 2, ["--select example:5"]),
        ("view card --unit=head/2 --run RUN -o x.png", 2, ["--select unit:head/2"]),
        ("view weights --example --run RUN -o x.png", 2, ["--select example:…"]),
        ("view learning_rate --run RUN -o x.png", 2, ["the page calls 'schedule' so"]),
        ("command RUN schedul", 2, ["no command named 'schedul'"]),
        ("view weights --run nowhere -o x.png", 1, ["no run at 'nowhere'"]),
        ("view weights --run RUN --data d.npz -o x.png", 2, ["go with --model"]),
        ("view weights --model nowhere:make -o x.png", 2, ["nowhere"]),
        ("view weights --model nowhere -o x.png", 2, ["package.module:function"]),
        ("view weights --model m:f --step 3 -o x.png", 2, ["--step goes with --run"]),
        ("info nothing", 1, ["no run at 'nothing'"]),
        ("check nothing", 1, ["no run at 'nothing'"]),
        ("command RUN paus", 2, ["no command named 'paus'", "pause"]),
        ("command RUN pause", 1, ["no training writes"]),
        ("command RUN learning_rate --factor -1", 2, ["factor wants"]),
        ("list nonsense", 2, ["nonsense"]),
        ("demo nodigits --headless", 2, ["no demo named"]),
        ("demo digits --headless --learning-rate fast", 2, ["learning_rate wants"]),
        ("demo digits --headless --data nowhere.npz", 2, ["no data at"]),
        ("serve", 2, ["no folder 'runs'"]),
        ("serve nowhere", 2, ["no folder 'nowhere'"]),
        ("serve RUN --weights w.pt", 2, ["go with --model"]),
    ],
)
def test_errors_are_one_sentence_with_the_way_out(
    say: Any, run_folder: Path, line: str, code: int, words: list[str]
) -> None:
    """Wrong usage exits with 2, a failure with 1, each with one sentence on stderr."""
    one_sentence(say(*(part.replace("RUN", str(run_folder)) for part in line.split())), code, *words)


def test_a_fault_of_ours_is_one_sentence_too(say: Any, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug shows one sentence and where the log is; with DIORAMA_DEBUG=1 the traceback."""
    monkeypatch.setenv("XDG_STATE_HOME", str(run_folder.parent / "state"))
    monkeypatch.setattr(diorama.run.Run, "info", lambda self: 1 / 0)
    said = say("info", run_folder)
    one_sentence(said, 1, "ZeroDivisionError", "details")
    log = Path(re.search(r"are in (.+)\)", said.err).group(1))  # type: ignore[union-attr] # else the test fails
    assert "ZeroDivisionError" in log.read_text()
    monkeypatch.setenv("DIORAMA_DEBUG", "1")
    assert "Traceback" in say("info", run_folder).err


def test_info_and_check(say: Any, run_folder: Path) -> None:
    """info says what a run holds, in words and as JSON; check finds it whole, also by the folder that it lies in."""
    told = json.loads(say("info", run_folder, "--json").out)
    assert told["steps"] == 6
    assert "loss" in told["series"]
    words = say("info", run_folder).out
    assert "snapshots" in words
    assert re.search(r"^bytes +\d+\.\d MB$", words, re.MULTILINE)
    assert "{" not in words
    guesses = [one.removeprefix("guessed: ").rstrip(".") for one in told["guessed"]]  # each a line of its own, under one another
    assert guesses
    lines = words.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("guessed"))
    assert [line[lines[first].index(guesses[0]) :] for line in lines[first : first + len(guesses)]] == guesses
    both = json.loads(say("info", run_folder.parent, "--json").out)
    assert both[run_folder.name]["steps"] == 6
    assert say("info", run_folder.parent).out == f"{run_folder.name}:\n{words}" or len(both) > 1
    assert say("check", run_folder).code == 0
    assert f"{run_folder}: everything is as it was written" in say("check", run_folder.parent).out


def test_one_bad_run_hides_none_of_the_others(say: Any, run_folder: Path, tmp_path: Path) -> None:
    """info of a folder tells of each run what it can, exits with 1 where one cannot be read, and says what is no run."""
    shutil.copytree(run_folder, tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.db").write_bytes(b"no database")
    words, told = say("info", tmp_path), say("info", tmp_path, "--json")
    assert (words.code, told.code) == (1, 1)
    found = json.loads(told.out)
    assert found["good"]["steps"] == 6
    assert "cannot be read" in found["bad"]["error"]
    assert re.search(r"^bad:\nerror +the database of .* cannot be read", words.out, re.MULTILINE)
    assert re.search(r"^good:\nname", words.out, re.MULTILINE)
    (tmp_path / "file").touch()
    for command in ("info", "check"):
        one_sentence(say(command, tmp_path / "file"), 1, "a run is a folder")
        one_sentence(say(command, tmp_path / "nowhere"), 1, "there is no such folder")


def test_check_finds_a_flipped_byte(say: Any, run_folder: Path, tmp_path: Path) -> None:
    """A damaged run makes check exit with 1 and say what is damaged; so does a folder of it, which names the runs that are whole."""
    import shutil

    copy = shutil.copytree(run_folder, tmp_path / "copy")
    file = sorted(copy.rglob("*.safetensors"))[-1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    said = say("check", copy)
    assert said.code == 1
    assert file.name in said.err
    shutil.copytree(run_folder, tmp_path / "whole")
    of_all = say("check", tmp_path)
    assert (of_all.code, of_all.err) == (1, said.err)
    assert of_all.out == f"{tmp_path / 'whole'}: everything is as it was written\n"


def test_list_names_every_plugin(say: Any) -> None:
    """list shows each kind with one sentence a name, and all knobs as JSON."""
    assert "weights" in say("list", "views").out
    assert {"heatmap", "lines"} <= {entry["name"] for entry in json.loads(say("list", "marks", "--json").out)}
    everything = json.loads(say("list", "--json").out)
    assert set(everything) == {"methods", "derivations", "projections", "views", "signals", "findings", "commands", "demos", "savers", "marks"}
    assert all(entry["sentence"] for entries in everything.values() for entry in entries)


def test_view_saves_a_file_with_its_knobs(say: Any, run_folder: Path, tmp_path: Path) -> None:
    """Knobs are flags, keys are selected, and the file is the picture of that step, with what was changed; a change is told whole."""
    look = ("view", "weights", "--run", run_folder, "--step", 3, "--select", "layer:1", "-o", "deep/w.json")
    said = say(*look, "--edit", "unit:1/0 scale=0.5", "--edit", "unit:1/1 lesion")
    assert said.code == 0, said.err
    picture = json.loads((tmp_path / "deep" / "w.json").read_text())["picture"]
    assert picture["step"] <= 3
    assert picture["provenance"]["edits"] == ["unit:1/0 times 0.5", "unit:1/1 silenced"]
    for wrong, told in (("unit:1/0", "wants a key and a change"), ("unit:1/0 scale=much", "scale wants a number, got 'much'")):
        assert told in say(*look, "--edit", wrong).err


def test_view_compares_with_another_run(say: Any, run_folder: Path, tmp_path: Path) -> None:
    """--other names a run, perhaps at a step; one that is not there is told in a sentence."""
    said = say("view", "compare", "--run", run_folder, "--other", f"{run_folder}@0", "--places", 3, "-o", "c.json")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "c.json").read_text())["picture"]["title"] == "Beside step 0"
    one_sentence(say("view", "compare", "--run", run_folder, "--other", "nowhere", "-o", "c.json"), 1)


def test_a_model_of_ones_own_is_viewed_with_weights_and_data(say: Any, tmp_path: Path) -> None:
    """A factory in the working folder, weights from a file and examples from another give a picture."""
    import numpy as np

    name = f"mine_{os.getpid()}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\nanswer = 42\n"
    )
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((6, 1, 8, 8), np.float32), y=np.arange(6) % 3)
    right, wrong = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    torch.save(right.state_dict(), tmp_path / "w.pt")
    torch.save({"state_dict": wrong.state_dict()}, tmp_path / "wrong.pt")
    line = ["view", "weights", "--model", f"{name}:make", "--data", "d.npz", "-o", "w.png", "--weights"]
    assert say(*line, "w.pt").code == 0
    assert (tmp_path / "w.png").stat().st_size > 1000
    one_sentence(say(*line, "wrong.pt"), 2, "of another shape")
    one_sentence(say(*line, "none.pt"), 1, "no file")
    (tmp_path / "bad.pt").write_bytes(b"not a pickle")
    one_sentence(say(*line, "bad.pt"), 1, "more than tensors")
    one_sentence(say("view", "weights", "--model", f"{name}:answer", "-o", "w.png"), 2)


def test_an_answer_is_waited_for_as_long_as_is_said(say: Any, tmp_path: Path) -> None:
    """A training that takes no step answers nothing, and ``--wait`` says how long that is waited for."""
    with diorama.watch(nn.Linear(2, 2), tmp_path / "run"):
        one_sentence(say("command", tmp_path / "run", "pause", "--wait", "0"), 1, "no answer within 0 s", "applies pause after its current step")


@pytest.mark.parametrize(
    "words", [["--help"], ["view", "weights", "--help"], ["demo", "digits", "--help"], ["command", "r", "--help"]]
)
def test_help_lists_the_knobs(say: Any, words: list[str]) -> None:
    """Help is printed for each level."""
    said = say(*words)
    assert said.code == 0
    assert "Usage:" in said.out


def test_help_of_all_plug_ins_looks_at_their_files_once(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the kept catalogue still holds, which all source files and installed packages tell, is asked once and not for each of its views."""
    real, asked = knobs.installation_stamp, []
    monkeypatch.setattr(knobs, "installation_stamp", lambda: asked.append(0) or real())
    assert all(f"\n  {name} " in say("view", "--help").out for name in ("weights", "curves"))
    assert len(asked) == 2


@pytest.mark.parametrize("words", [["--version"], ["info", "RUN"], ["check", "RUN"], ["list", "marks"]])
def test_quick_commands_do_not_load_torch(run_folder: Path, words: list[str]) -> None:
    """What needs no model is answered without importing torch."""
    program = (
        "import sys, diorama.cli as c\nsys.argv[1:] = sys.argv[1:]\n"
        "try:\n    c.main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    line = [sys.executable, "-c", program, *(str(run_folder) if word == "RUN" else word for word in words)]
    subprocess.run(line, capture_output=True, check=True)  # the first may make the catalogue
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("False")


@pytest.mark.parametrize("words", [["--version"], ["list", "views"], ["view", "--help"]])
def test_what_is_told_of_plug_ins_does_not_load_numpy(words: list[str]) -> None:
    """A command that draws nothing begins without what only drawing needs."""
    program = "import sys, diorama.cli as c\ntry:\n    c.main()\nfinally:\n    print('numpy' in sys.modules, file=sys.stderr)"
    line = [sys.executable, "-c", program, *words]
    subprocess.run(line, capture_output=True, check=True)  # the first may make the catalogue
    assert subprocess.run(line, capture_output=True, text=True, check=True).stderr.strip().endswith("False")


def test_a_demo_begins_without_the_others(tmp_path: Path) -> None:
    """On the very first start, when nothing is known of the demos yet, only the one that is asked for is imported."""
    program = "import sys, diorama.cli as c\ntry:\n    c.main()\nfinally:\n    print(*(m for m in sys.modules if 'gallery.' in m))"
    line = [sys.executable, "-c", program, "demo", "moons", "--headless", "--steps", "1", "--run", "r"]
    fresh = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path, env=fresh)
    assert not {f"diorama.gallery.{name}" for name in diorama.demos if name != "moons"} & set(done.stdout.split())


def test_headless_demo_records_and_ends(say: Any, tmp_path: Path) -> None:
    """A headless demo trains in this process, records, and prints where."""
    said = say("demo", "moons", "--headless", "--steps", 12, "--pace", 0, "--run", "r")
    assert said.code == 0, said.err
    assert said.out.strip() == "r"
    assert diorama.open(tmp_path / "r").last_step == 12


def test_a_demo_that_cannot_begin_says_why_and_ends(tmp_path: Path) -> None:
    """When the training process cannot begin, the page is closed and its sentence is the command's."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").write_text("not a run")
    line = [sys.executable, "-m", "diorama", "demo", "moons", "--no-browser", "--run", "r"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert done.returncode == 2
    assert "is no run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_demo_and_page(tmp_path: Path, number: signal.Signals) -> None:
    """The first line is the address; one Ctrl-C ends the training, which closes its record, and the page."""
    line = [sys.executable, "-m", "diorama", "demo", "moons", "--no-browser", "--run", "r"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S+\n", process.stdout.readline())
        while not (tmp_path / "r" / "run.db").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    run = diorama.open(tmp_path / "r")
    assert not run.alive
    assert not run.check()


@pytest.mark.parametrize(
    ("place", "said"), [("mine.py", "your own code failed"), (program.__file__, "this is a fault of diorama")]
)
def test_an_unforeseen_error_says_whose_it_is(place: str, said: str) -> None:
    """Only what went wrong in diorama's own code is called its fault; the system's words are said as they are."""
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", place, "exec"))  # noqa: S102 - a line of our own
    told = program._whose(caught.value.with_traceback(caught.value.__traceback__.tb_next))  # type: ignore[union-attr]
    assert told.startswith(said)
    assert "division by zero" in told
    assert program._whose(PermissionError(13, "Permission denied", "a")) == "Permission denied: 'a'"
    assert program._whose(MemoryError()) == "the memory was not enough: it ran out"


STUCK = """
import os, signal, threading
from diorama.cli import program

class Page:
    url = "here"
    class hub:
        broken = ()
        class pool:
            kill = staticmethod(lambda: print("killed", flush=True))
    def close(self):
        threading.Event().wait()

program.PATIENCE = 0.1
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
program.stay(Page(), False)
"""


def test_a_termination_always_ends() -> None:
    """A server that is stuck in what it does is not waited for for ever; its workers go first."""
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=100)
    assert done.returncode == 143
    assert done.stdout.splitlines()[-1] == "killed"


def test_fresh_folders_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo without --run records beside what is there; knobs become flags and back."""
    monkeypatch.chdir(tmp_path)
    assert fresh_folder("digits") == Path("runs/digits")
    Path("runs/digits").mkdir(parents=True)
    assert fresh_folder("digits") == Path("runs/digits-2")
    assert flags_of({"learning_rate": 0.1, "quick": True, "slow_start": False}) == [
        "--learning-rate", "0.1", "--quick", "--no-slow-start",
    ]


@pytest.mark.skipif(os.name != "posix", reason="other systems do not tell a process that its parent is gone")
def test_a_training_ends_with_the_page_that_was_killed(tmp_path: Path) -> None:
    """When the page's process is killed, its training does not stay behind: it closes its record and ends."""
    line = [sys.executable, "-m", "diorama", "demo", "moons", "--no-browser", "--steps", "100000", "--run", "r"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while not (tmp_path / "r" / "run.db").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    with RunReader(tmp_path / "r") as run:
        until = time.monotonic() + 120
        while run.alive and time.monotonic() < until:
            time.sleep(0.05)
        assert not run.alive
        assert run.last_step < 100_000
        assert run.snapshots[-1] == run.last_step
