"""A served page, used over its socket as the page does."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from client import Client
from torch import nn

import diorama
from diorama.core.errors import UsageError
from diorama.core.patience import Patience
from diorama.core.picture import Picture
from diorama.core.request import Request
from diorama.core.selection import Selection
from diorama.live.channels import Channels
from diorama.live.hub import Hub
from diorama.live.session import Session
from diorama.server.serve import Page, _kept, importable_name
from diorama.server.socket import SendQueue


def test_hello_tells_what_there_is(client: Client) -> None:
    """The first event lists runs, rooms, views, commands, demos and the glossary."""
    assert [run["name"] for run in client.hello["runs"]] == ["tiny"]
    names = {view["name"] for view in client.hello["views"]}
    assert {"activations", "weights"} <= names
    for room in client.hello["rooms"]:
        assert room["training"] or room["input"]
    assert client.hello["glossary"]["probe set"]
    assert {"needs", "follows", "input", "panel", "family"} <= set(client.hello["views"][0])
    assert "pause" in {command["name"] for command in client.hello["commands"]}


def test_a_followed_run_tells_its_state(client: Client) -> None:
    """Following a run tells its steps, snapshots, layers, kind of input and which views fit."""
    client.send(do="follow", run="tiny")
    state = client.next("run")["state"]
    while not state["fits"]:
        state = client.next("run")["state"]
    assert (state["first"], state["last"], state["alive"], state["model"]) == (0, 12, False, None)
    assert state["snapshots"][0] == 0
    assert state["snapshots"][-1] == 12
    assert [layer["name"] for layer in state["layers"]] == ["0", "1", "2", "3"]
    assert (state["task"], state["classes"], state["input"]["kind"]) == ("classification", ["0", "1", "2"], "image")
    assert state["fits"]["activations"] is None
    assert "loss" in state["series"]
    assert state["optimizer"][0]["learning_rate"] == 0.1


def test_a_view_comes_as_frames_that_are_pictures(client: Client) -> None:
    """A shown view ends with done, after at least one frame that decodes to a picture of the asked step."""
    assert client.show(7, "tiny", "activations", step=3, selection="example:4")["event"] == "done"
    assert {channel for channel, _, _ in client.frames} == {7}
    picture = Picture.from_bytes(client.frames[-1][2])
    assert picture.step == 3
    assert picture.final
    assert [sequence for _, sequence, _ in client.frames] == sorted({sequence for _, sequence, _ in client.frames})


def test_an_input_of_ones_own_is_looked_at(client: Client) -> None:
    """A drawn input changes what is seen, and what does not fit is refused in one sentence."""
    import base64

    ink = base64.b64encode(bytes(range(256))).decode()
    drawn = {"kind": "drawing", "width": 16, "height": 16, "pixels": ink}
    assert client.show(1, "tiny", "activations")["event"] == "done"
    own = client.frames[-1][2]
    assert client.show(1, "tiny", "activations", input=drawn)["event"] == "done"
    assert client.frames[-1][2] != own
    refused = client.show(1, "tiny", "activations", input={"kind": "row", "values": ["x"]})
    assert refused["event"] == "error"
    assert "\n" not in refused["message"]


def test_edits_change_what_is_looked_at(client: Client) -> None:
    """A lesion travels with the request."""
    assert client.show(1, "tiny", "examples")["event"] == "done"
    before = client.frames[-1][2]
    assert client.show(1, "tiny", "examples", edits=[{"key": "unit:0/0", "lesion": True}])["event"] == "done"
    assert client.frames[-1][2] != before
    assert client.show(1, "tiny", "examples", edits=[{"lesion": True}])["kind"] == "UsageError"


def test_the_same_look_is_answered_from_what_was_kept(client: Client, page: Page) -> None:
    """A look that was finished is not computed again, by whichever connection asks."""
    client.send(do="follow", run="tiny")
    client.next("run")
    client.show(1, "tiny", "weights", step=5)
    kept, jobs = client.frames[-1][2], next(page.hub.pool._numbers)
    other = Client(page.url)
    other.show(9, "tiny", "weights", step=5)
    assert other.frames[-1][2] == kept
    assert next(page.hub.pool._numbers) == jobs + 1
    other.close()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"view": "no_such_view"}, "no view named"),
        ({"run": "elsewhere"}, "no run named"),
        ({"selection": "layer:nope"}, "no layer named"),
        ({"selection": "nonsense"}, "key looks like"),
        ({"knobs": {"nope": 1}}, "no knob"),
        ({"knobs": {"cancel": 1}}, "no knob"),
        ({"step": "soon"}, "request"),
        ({"other": {"run": "elsewhere", "step": None}}, "no run named"),
        ({"selection": "@0123456789abcdef0123"}, "not kept"),
    ],
)
def test_wrong_requests_are_one_error_event(client: Client, wrong: dict[str, Any], words: str) -> None:
    """What cannot be shown is said in one sentence on its channel, and the connection goes on."""
    request = {"run": "tiny", "view": "activations", **wrong}
    client.send(do="show", channel=5, request=request)
    error = client.next("error")
    assert words in error["message"]
    assert error["channel"] == 5
    assert client.show(6, "tiny", "weights")["event"] == "done"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "3", "null", '{"do":"dance"}', '{"do":["show"]}', '{"do":"show"}',
     '{"do":"show","channel":-1}',
     '{"do":"show","channel":true,"request":{}}', '{"do":"ack","channel":"x"}', '{"do":"keep","id":1,"text":5}',
     '{"do":"recall","id":1,"name":"../../etc/passwd"}', '{"do":"follow","run":"../.."}', '{"do":"follow"}',
     "[" * 100_000],
)
def test_malformed_messages_are_error_events(client: Client, text: str) -> None:
    """Nothing that is sent ends the connection."""
    client.send_text(text)
    assert client.next("error")["message"]
    client.send(do="keep", id=1, text="example:4")
    assert client.next("kept")["id"] == 1


def test_long_selections_are_kept_under_a_short_name(client: Client) -> None:
    """A kept selection is recalled by its name, and can stand in a request."""
    text = "+".join(f"example:{k}" for k in range(12))
    client.send(do="keep", id=3, text=text)
    name = client.next("kept", id=3)["name"]
    assert len(name) < 30
    client.send(do="recall", id=4, name=name)
    assert client.next("recalled", id=4)["text"] == text
    assert client.show(1, "tiny", "activations", selection=name)["event"] == "done"


def test_a_command_is_answered(client: Client) -> None:
    """A command to a run that nobody trains is refused with the reason; a wrong one too."""
    client.send(do="command", id=1, run="tiny", name="pause", knobs={})
    answer = client.next("command", id=1)
    assert not answer["ok"]
    assert "no training" in answer["message"]
    client.send(do="command", id=2, run="tiny", name="no_such", knobs={})
    assert "no command named" in client.next("command", id=2)["message"]
    client.send(do="command", id=3, run="tiny", name="learning_rate", knobs={"factor": -1})
    assert not client.next("command", id=3)["ok"]


def test_new_runs_appear_by_themselves(client: Client, recorded: Path) -> None:
    """A run that is put into the served folder is told to every page, and so is its end."""
    shutil.copytree(recorded / "tiny", recorded / "second" / "copy")
    try:
        assert {run["name"] for run in client.next("runs")["runs"]} == {"tiny", "second/copy"}
    finally:
        shutil.rmtree(recorded / "second")
    assert {run["name"] for run in client.next("runs")["runs"]} == {"tiny"}


def ask(page: Page, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
    """An HTTP request of our own page."""
    token = page.url.split("token=")[1]
    origin = f"http://127.0.0.1:{page.port}"
    headers = {"X-Diorama-Token": token, "Origin": origin, "Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=120)) as wire:
        wire.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = wire.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_a_picture_is_saved_as_a_file(page: Page) -> None:
    """What a channel shows is saved in the asked format; a wrong one is refused in one sentence."""
    request = {"run": "tiny", "view": "weights", "step": None, "knobs": {}, "selection": ""}
    status, headers, body = ask(page, "POST", "/export", {"request": request, "suffix": "png"})
    assert (status, headers["content-type"]) == (200, "image/png"), body
    assert body.startswith(b"\x89PNG")
    assert "attachment" in headers["content-disposition"]
    for wrong in ({"request": request, "suffix": "exe"}, {"request": request}, {"suffix": "png"}, [], None, *(
        {"request": request, "suffix": "png", "options": {name: "/x"}} for name in ("speed", "path", "self")
    )):
        status, _, body = ask(page, "POST", "/export", wrong)
        assert status in (400, 422)
        assert json.loads(body)["message"]
        assert "details" not in json.loads(body)["message"]


def test_the_list_of_changed_examples_is_saved(page: Page, recorded: Path) -> None:
    """What people changed in a run's data comes as the file that is read again; a run without any, and a wrong question, are told."""
    for wrong in ({"run": "tiny"}, {"run": "none"}, {"run": 3}, [], None):
        status, _, body = ask(page, "POST", "/changes", wrong)
        assert status == 400
        assert json.loads(body)["message"]
    list_of = recorded / "tiny" / "changes.csv"
    list_of.write_text("example,weight,label,label before,probe\r\n3,0.0,,1,\r\n")
    try:
        status, headers, body = ask(page, "POST", "/changes", {"run": "tiny"})
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/csv"), body
        assert body.decode().splitlines() == ["example,weight,label,label before,probe,since", "3,0.0,,1,,"]
    finally:
        list_of.unlink()


SCRIPT = """
import signal, sys, threading, time
import psutil
import diorama
from diorama.core.errors import Unavailable

handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
before = set(threading.enumerate())
page = diorama.serve(sys.argv[1])
assert page.url.startswith(f"http://127.0.0.1:{page.port}/?token=")
try:
    diorama.serve(sys.argv[1], port=page.port)
except Unavailable as error:
    assert "can't be used" in str(error)
else:
    raise AssertionError("the port was taken twice")
page.close()
page.close()
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
until = time.monotonic() + 120
def left():
    threads = [thread.name for thread in set(threading.enumerate()) - before]
    return threads + [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
while left() and time.monotonic() < until:
    time.sleep(0.02)
print(page.port, left())
"""


def test_serving_leaves_the_process_as_it_was(recorded: Path) -> None:
    """Serving from a script changes no signal handler and leaves no thread, process or port behind."""
    line = [sys.executable, "-c", SCRIPT, str(recorded / "tiny")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    port, left = done.stdout.split(maxsplit=1)
    assert left.strip() == "[]"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=20)



class Gated(nn.Module):
    """A model that cannot be pickled: it holds a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lock = nn.Conv2d(1, 2, 3), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two scores."""
        with self.lock:
            return torch.relu(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize(
    "made", [lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Gated], ids=["plain", "unpicklable"]
)
def test_a_scene_is_served(made: Any) -> None:
    """A scene is served as a run of one snapshot, also when its model cannot leave this process."""
    model = made()
    with diorama.serve(diorama.Scene(model, torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0, 1]))) as page:
        client = Client(page.url)
        run = client.hello["runs"][0]["name"]
        ended = client.show(1, run, "activations")
        assert ended["event"] == "done", ended
        assert Picture.from_bytes(client.frames[-1][2]).title
        client.send(do="follow", run=run)
        state = client.next("run")["state"]
        while not state["fits"]:
            state = client.next("run")["state"]
        assert state["model"] is None
        client.close()


def test_a_scene_is_served_beside_what_it_is_compared_with() -> None:
    """Two models in memory stand side by side in the page: its address names both, and the view of their differences is whole."""
    x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    scene, other = (diorama.Scene(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), x, y) for _ in range(2))
    with diorama.serve(scene.compared_with(other)) as page:
        base, _, opening = page.url.partition("#")
        client = Client(base)
        names = [run["name"] for run in client.hello["runs"]]
        assert len(names) == 2
        asked = dict(urllib.parse.parse_qsl(opening))
        beside = Selection.parse(asked["select"]).b
        assert sorted([asked["run"], *(key.name for key in beside)]) == sorted(names)
        assert client.show(1, asked["run"], "differences", other={"run": beside[0].name, "step": None})["event"] == "done"
        assert "differ from those of" in Picture.from_bytes(client.frames[-1][2]).caption
        client.close()


def test_a_model_that_keeps_its_last_answer_is_copied_before_it_is_served() -> None:
    """A training that goes on in this process is not looked at within a step, though torch refuses to copy such a model."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    scene = diorama.Scene(model, torch.rand(6, 1, 8, 8))
    model[1].last = model(torch.rand(1, 64)).exp()
    assert _kept(scene)() is not model
    assert not _kept(scene)()[1].last.requires_grad


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    """A folder that is not there, a thing that is no run, an address that names none: one sentence each."""
    with pytest.raises(UsageError, match="no folder"):
        diorama.serve(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="wants a folder"):
        diorama.serve(3)  # type: ignore[arg-type]
    for host in ("0.0.0.0", "0", "0x0", "00.0", "::", "::0", "0:0::0", "::ffff:0.0.0.0", "::ffff:0:0", ""):
        with pytest.raises(UsageError, match="names none"):
            diorama.serve(tmp_path, host=host)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "localhost"])
def test_the_address_is_printed_as_browsers_spell_it(recorded: Path, host: str) -> None:
    """A browser turns numbers into an address and keeps names: at what is printed the page is let in."""
    with diorama.serve(recorded, host=host) as page:
        name = "localhost" if host == "localhost" else "127.0.0.1"
        assert page.url.startswith(f"http://{name}:{page.port}/?token=")
        with urllib.request.urlopen(page.url, timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("limit", ["time", "bytes"])
def test_who_never_reads_is_hung_up(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """A page that takes nothing for a while, or lets too much wait, loses its connection and what waited for it."""
    name, least = ("PATIENCE", Patience(taking=0.01)) if limit == "time" else ("MOST_WAITING", 0.01)
    monkeypatch.setattr(f"diorama.server.socket.{name}", least)
    asyncio.run(_never_read(2 if limit == "time" else 3))


async def _never_read(messages: int) -> None:
    hung_up = asyncio.Event()

    class Deaf:
        scope: ClassVar[dict[str, Any]] = {"diorama.hang_up": hung_up.set}

        async def send_bytes(self, message: bytes) -> None:
            await asyncio.Event().wait()

    outgoing = SendQueue(Deaf())  # type: ignore[arg-type]
    sender = asyncio.create_task(outgoing.send())
    for _ in range(messages):
        outgoing.put(b"a frame")
    await asyncio.wait_for(hung_up.wait(), 20)
    sender.cancel()


def test_what_waits_for_a_page_that_never_reads_is_bounded(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket: who shakes hands and reads nothing more is hung up when as much waits as may, whatever goes on being sent."""
    monkeypatch.setattr("diorama.server.socket.MOST_WAITING", 4_000_000)
    ended, pushed = threading.Event(), list[int]()

    def opened(session: Session) -> None:
        def push() -> None:
            while not ended.wait(0.002) and len(pushed) < 2000:
                session.channels._send_frame(1, len(pushed), bytes(100_000))
                pushed.append(1)
            ended.set()

        threading.Thread(target=push, daemon=True).start()

    monkeypatch.setattr(Session, "open", opened)
    monkeypatch.setattr(Session, "close", lambda session: ended.set())
    port, token = re.search(r":(\d+)/\?token=(.+)", page.url).groups()  # type: ignore[union-attr] # else the test fails
    head = (f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: diorama, {token}\r\n\r\n")
    with socket.create_connection(("127.0.0.1", int(port))) as wire:
        wire.sendall(head.encode())
        assert wire.recv(12) == b"HTTP/1.1 101"
        assert ended.wait(100)
    assert len(pushed) < 2000


def test_nothing_is_drawn_for_a_page_that_reads_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket: who asks for a live picture and reads nothing more gets that one, however often the run goes on meanwhile."""
    client, looks, asked, whole = Client(page.url), list[bool](), threading.Semaphore(0), threading.Event()
    submit, done = Hub.submit, Channels._done

    def counted(hub: Hub, request: Request, callbacks: dict[str, Any], quiet: bool = False) -> Any:
        looks.append(quiet)
        return submit(hub, request, callbacks, quiet)

    def refreshed(channels: Channels, channel: Any) -> None:
        channel.took = 0.0  # else a picture that was slow to make rests
        refresh(channels, channel)
        if whole.is_set():
            asked.release()

    refresh = Channels._refresh
    monkeypatch.setattr(Hub, "submit", counted)
    monkeypatch.setattr(Hub, "pulse", lambda hub, request: object())  # a step further each time that somebody asks
    monkeypatch.setattr(Hub, "pause", lambda hub, request: 0.0)
    monkeypatch.setattr(Channels, "_done", lambda channels, channel, *told: (done(channels, channel, *told), whole.set())[0])
    monkeypatch.setattr(Channels, "_refresh", refreshed)
    request = {"run": "tiny", "step": None, "view": "curves", "knobs": {}, "selection": "", "edits": [], "input": None}
    client.send(do="show", channel=1, request=request)
    assert whole.wait(100)
    for _ in range(12):
        assert asked.acquire(timeout=100)
    client.close()
    assert looks == [False]


def test_functions_are_named_for_workers() -> None:
    """A function of a module can be imported by a worker; one made on the spot cannot."""
    assert importable_name(importable_name) == "diorama.server.serve:importable_name"
    assert importable_name(lambda: None) is None


WITHOUT_TORCH = """
import sys
from diorama.live.performer import ViewPerformer
worker = ViewPerformer()
worker.warm("record")
source = {"path": sys.argv[1], "trust": False, "model": None}
made, guilty = [], []
for view in sys.argv[2:]:
    before = "torch" in sys.modules
    job = {"kind": "view", "request": {"run": "tiny", "view": view}, "sources": {"tiny": source}}
    worker.perform(job, lambda event, body=b"": made.append(event["event"]), lambda: False)
    guilty += [view] if "torch" in sys.modules and not before else []
print(made.count("picture") >= 4, guilty)
"""


def test_a_record_is_drawn_without_torch(recorded: Path) -> None:
    """Whatever shows the record alone comes before torch could be there, in a worker that is a fifth as large."""
    # The guide reads a record and measures the models beside it.
    names = [name for name, view in diorama.views.items() if view.needs == "record" and name != "guide"]
    line = [sys.executable, "-c", WITHOUT_TORCH, str(recorded / "tiny"), *names]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "True []", done.stderr
