"""How a training was started: the line that starts it again, signed by the user who started it, without anything secret."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import Damaged, Unavailable, Untrusted
from ..training.launch import flags_of
from . import files, trust

NAME = "origin.json"
_LONGEST = 1_000_000
_SECRET = re.compile(r"(?i)(^|[-_])(token|password|passwd|secret|apikey|credentials?|(api|access|private)[-_]?key)([-_=]|$)|://[^/\s]*:[^/\s]*@")
"""Arguments that name a secret, and addresses that hold a password."""


class Origin(msgspec.Struct):
    """The line, the folder it was started in, and which call of ``watch`` in that process this run is."""

    line: list[str]
    folder: str
    call: int = 0
    at_once: bool = False
    """Whether it is a training of diorama's own, which writes nothing but its run."""
    refused: str = ""
    """Why it cannot be started again; empty where it can."""

    @property
    def shown(self) -> str:
        """The line as it is typed."""
        return shlex.join(self.line)


@dataclasses.dataclass
class _OwnTraining:
    """A training of diorama's own that is about to call ``watch``."""

    line: list[str]
    refused: str


_own: list[_OwnTraining] = []


@contextlib.contextmanager
def of_demo(name: str, knobs: Mapping[str, Any], data: Any) -> Iterator[None]:
    """Whatever is watched inside is the training of a demo, which is started again by its name and knobs."""
    line = [sys.executable, "-m", "diorama", "demo", name, "--headless"]
    line += flags_of({knob: value for knob, value in knobs.items() if value is not None})
    refused = ""
    if data is not None and not isinstance(data, str | os.PathLike):
        refused = "its data were handed over in Python, and stand in no file"
    elif data is not None:
        line += ["--data", os.path.abspath(data)]
    _own.append(_OwnTraining(line, refused))
    try:
        yield
    finally:
        _own.pop()


def here(call: int) -> Origin:
    """How this process was started."""
    if _own:
        return Origin(_own[-1].line, os.getcwd(), 0, True, _own[-1].refused)
    refused = _refusal()
    line = [sys.executable, *sys.orig_argv[1:]]
    if not refused and (named := next((argument for argument in line if _SECRET.search(argument)), "")):
        refused = f"its line names a secret ({named.partition('=')[0]}), so it was not kept"
    return Origin([] if refused else line, os.getcwd(), call, False, refused)


def _refusal() -> str:
    """Why a new process of the same line would not be the same training."""
    if "ipykernel" in sys.modules or hasattr(sys, "ps1"):
        return "it runs in a notebook or an interactive session"
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", 1) or 1) > 1:
        return "it was started by torchrun, as one of several processes"
    if multiprocessing.parent_process() is not None:
        return "it is a process that another one made"
    arguments = sys.orig_argv[1:]
    main = sys.modules.get("__main__")
    if "-c" not in arguments and not getattr(main, "__file__", None):
        return "its script came from the standard input"
    return ""


def write(folder: Path, origin: Origin) -> tuple[int, bytes]:
    """Write it with its signature; returns its size and content."""
    data = msgspec.json.encode(origin)
    files.put(folder / NAME, data)
    signature = trust.sign(data)
    with contextlib.suppress(OSError):
        (folder / NAME).with_suffix(".sig").unlink()
    if signature:
        files.put((folder / NAME).with_suffix(".sig"), signature.encode())
    return len(data), data


def read(folder: Path) -> Origin:
    """How the training of a run was started.

    *Raises* Unavailable where that was not written down, Untrusted where another user wrote it, Damaged where it is none.
    """
    try:
        data = files.content(folder, NAME, _LONGEST)
    except OSError:
        raise Unavailable(f"the run {folder.name!r} does not say how its training was started") from None
    if not trust.verify(data, trust.signature(folder, NAME)):
        raise Untrusted(f"the training of {folder.name!r} was not started by this user, so it is never started again from here")
    try:
        return msgspec.json.decode(data, type=Origin)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{NAME} of {folder.name!r} cannot be read: {error}") from error
