"""A branch: another training that goes on from a checkpoint, with other settings, while the one it left goes on or has ended.

Who asks for it starts the training's own line again; in that process the same call of ``watch`` stands where the checkpoint
stood, before the first step, and records into a run of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..core.errors import DioramaError, Unavailable, UsageError
from ..core.paths import path_of
from . import checkpoints, database, origin, restoration
from .acts_in_force import inherited
from .lineage import Line
from .lock import held as lock_held
from .reader import RunReader
from .run_folder import NewRun, begin, begin_child, beside
from .setup import Setup, WatchArguments, subject_of

if TYPE_CHECKING:
    from ..training.subject import Subject
    from ..training.surgery.journal import Revision
    from .controls import Controls

VARIABLE = "DIORAMA_BRANCH"
"""Tells the process that is started which run it goes on from."""
_LONGEST = 120
"""Bytes of a run's name at most."""
PATIENCE = 60.0
"""Seconds in which a branch should have begun its run; it is not ended when it takes longer."""


class Branch(msgspec.Struct):
    """From where a training goes on."""

    run: str
    """The folder that holds the checkpoint."""
    step: int
    act: int | None = None
    """The checkpoint that was taken before this command; else the one of the step."""
    factor: float = 1.0
    """On the learning rate, on top of what was in force."""
    child: str = ""
    """The folder of the new run; beside the other one when empty."""
    call: int = 0
    """Which call of ``watch`` it is."""


class Process:
    """What this process was started for."""

    def __init__(self) -> None:
        told = os.environ.pop(VARIABLE, "")  # what it starts itself is no branch
        self._wanted = msgspec.json.decode(told, type=Branch) if told else None
        self.branched = self._wanted is not None
        """Whether it trains for a branch: it takes up no run that is there already."""
        self._calls = 0

    def call(self) -> tuple[int, Branch | None]:
        """A call of ``watch``: its number in this process, and the branch where it is the one that is wanted."""
        number, self._calls = self._calls, self._calls + 1
        wanted = self._wanted
        if wanted is None or wanted.call != number:
            return number, None
        self._wanted = None
        return number, wanted


_process: list[Process] = []


def process() -> Process:
    """This process; what it was started for is read at the first call."""
    if not _process:
        _process.append(Process())
    return _process[0]


def told_of(parent: object) -> Branch:
    """What ``watch(parent=)`` means. *Raises* UsageError, Unavailable."""
    if not (isinstance(parent, tuple | list) and len(parent) == 2 and isinstance(parent[0], str | os.PathLike)):
        raise UsageError(f"parent wants the run to go on from and a step, such as ('runs/a', 120), got {parent!r}")
    path, step = path_of(parent[0], "parent wants the folder of a run"), parent[1]
    if isinstance(step, bool) or not isinstance(step, int):
        raise UsageError(f"parent wants a step that is a whole number, got {step!r}")
    with Line(path) as line:
        return Branch(str(_place(line, step)), step)


def _place(line: Line, step: int) -> Path:
    places = checkpoints.along(line)
    if step not in places:
        raise Unavailable(f"no checkpoint at step {step}; there are: {', '.join(map(str, sorted(places))) or 'none'}")
    return places[step]


class Entry:
    """A call of ``watch``: where its training stands before the first step, and into which run it is recorded."""

    def __init__(self, told: WatchArguments) -> None:
        self.call, self._branch = process().call()
        self._alone = process().branched
        self._told = told
        self._kept: restoration.Kept = {}
        self._acts: list[Revision] = []
        """Those of a run that is taken up."""
        self._taken = ""
        """What a run that is taken up stands on, in words."""
        if told.parent is not None:
            self._branch = told_of(told.parent)

    def follow(self) -> None:
        """In a process that does not record: stand where the one stands that does, with random numbers of its own."""
        if self._branch is not None:
            own = restoration.random_state()
            self._enter(subject_of(self._told))
            restoration.put_random(own)

    def begin(self, setup: Setup, first: Callable[[int], Mapping[str, Any]]) -> NewRun:
        """Make or take up the run; ``first`` is what is read where it begins. Raises what ``watch`` does."""
        setup.content.origin = origin.here(self.call)
        wanted, told = self._branch, self._told
        if wanted is None:
            if not self._alone:
                self._take_up(setup)
            begun = begin(setup.path, setup.content, first(0), told.name, told.resume, afresh=self._alone)
            begun.told = begun.told or self._taken
            if begun.resumed and not self._kept:
                setup.subject.journal.has(setup.subject.model, self._acts)
            return begun
        path = Path(wanted.child or os.path.abspath(setup.path))
        parent = Path(wanted.run)
        if path.resolve().parent != parent.resolve().parent:
            raise UsageError(f"a branch stands beside the run that it goes on from: say path={str(parent.parent / path.name)!r}")
        self._enter(setup.subject)
        if setup.subject.journal.revisions:
            setup.describe()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            path = beside(path)
        return begin_child(parent, self._kept, setup.content, first(wanted.step), path)

    def _take_up(self, setup: Setup) -> None:
        """Give a fresh model the structure that acts gave it in a run that is taken up: it stands where the last checkpoint stood."""
        folder, subject = Path(os.path.abspath(setup.path)), setup.subject
        if not (folder / database.NAME).is_file() or lock_held(folder) or subject.spread:
            return
        with RunReader(folder) as reader:
            self._acts = restoration.revisions_of(reader.meta)
            shapes = {name: tuple(shape) for name, shape, _ in reader.meta.get("parameters") or ()}
        fresh = any(shapes.get(name) != shape for name, shape in subject.shapes().items())
        if self._acts and fresh and self._told.resume and (known := checkpoints.steps(folder)):
            kept = checkpoints.load_whole(folder, known[-1], subject)
            if not restoration.unfit(kept, subject):
                went = restoration.put_back(kept, subject)
                setup.describe()
                self._kept = kept
                self._taken = f"acts of structure were done again, and as after step {known[-1]} {restoration.told(*went, '')}"

    def _enter(self, subject: Subject) -> None:
        assert self._branch is not None
        self._kept = checkpoints.load_whole(Path(self._branch.run), self._branch.step, subject, self._branch.act)
        restoration.check_fit(self._kept, subject, self._branch.step)
        restoration.put_back(self._kept, subject)

    def settle(self, controls: Controls) -> None:
        """The run is begun: the wishes of then are in force, and the learning rate is what the branch wants."""
        if self._acts or controls.subject.journal.revisions:
            journal = controls.subject.journal
            if controls.content is not None:
                controls.content.facts["units"] = journal.births
            controls.note("meta", {"structure": journal.told(), "units": journal.births})
        if self._branch is None:
            return
        controls.rules.take_up(self._kept["steering"].get("rules", ()))
        inherited(controls, self._kept["steering"], Path(self._branch.run).name)
        if self._branch.factor != 1.0:
            controls.scale(self._branch.factor)
        self._kept = {}


class StartedBranch(NamedTuple):
    """A branch that was started."""

    child: Path
    text: str
    step: int
    """The checkpoint's."""


def way(line: Line) -> tuple[origin.Origin | None, str]:
    """How a run's training is started again, and why it cannot be; the reason is empty where it can."""
    try:
        found = origin.read(line.path)
    except DioramaError as error:
        return None, str(error)
    return found, found.refused


def start(
    line: Line, step: int | None, factor: float = 1.0, *, act: int | None = None, place: Path | None = None, consent: bool = False,
    page: int | None = None, name: str = "",
) -> StartedBranch:
    """Start the training again from a checkpoint, the last one when no step is named, in a process of its own; ``place`` is the folder
    of the line that holds it, ``name`` what the new run's folder is called.

    A script is started only with ``consent``: it writes its own files again. With ``page`` a training of diorama's own ends with
    that process. *Raises* Unavailable, Untrusted, UsageError with the way out.
    """
    child = _named(line.path, name) if name else beside(line.path)
    if step is None:
        step = max(checkpoints.along(line), default=0)
    place = place or _place(line, step)
    found = origin.read(line.path)
    if found.refused:
        raise Unavailable(
            f"the training cannot be started again from here: {found.refused}; start it by hand, with "
            f"diorama.watch(…, parent=({str(line.path)!r}, {step}))"
        )
    data = checkpoints.content(place, step, act=act)  # whoever may not read it should know before anything starts
    if not (found.at_once or consent):
        raise UsageError(
            f"this starts {found.shown!r} again in {found.folder!r}, which writes its own files again; say consent=True "
            "(--consent) to start it"
        )
    if not Path(found.folder).is_dir():
        raise Unavailable(f"the folder {found.folder!r}, in which the training was started, is gone")
    acts = [each for each in line.meta.get("acts") or () if each["step"] == step]
    among = checkpoints.among_acts(checkpoints.unpacked(data), step, acts) if acts and act is None else ""
    arguments = list(found.line)
    if found.at_once:
        arguments += ["--run", str(child), *(["--page", str(page)] if page is not None else [])]
    wanted = Branch(str(place), step, act, factor, str(child), found.call)
    environment = {**os.environ, VARIABLE: json.dumps(msgspec.to_builtins(wanted))}
    with tempfile.NamedTemporaryFile("wb", prefix=f"diorama-{child.name}-", suffix=".log", delete=False) as log:
        try:
            started = subprocess.Popen(
                arguments, cwd=found.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{found.shown!r} cannot be started: {error.strerror or error}") from error
    threading.Thread(target=_reaped, args=(started, Path(log.name)), name="diorama-branch", daemon=True).start()
    return _awaited(started, child, Path(log.name), step, f"from step {step}{among}{_scaled(factor)}")


def _named(path: Path, name: str) -> Path:
    """The folder of a new run of this name beside another. *Raises* UsageError for a name that is none, or is taken."""
    if len(name.encode()) > _LONGEST or name != name.strip() or name.startswith(".") or any(sign in name for sign in '/\\:*?"<>|\0') or (
        not name.isprintable()
    ):
        raise UsageError(f"called wants what a folder can be called, without / and the like, got {name!r}; nearest: {beside(path).name!r}")
    child = path.with_name(name)
    if child.exists():
        raise UsageError(f"there is something called {name!r} beside this run already; nearest: {beside(child).name!r}")
    return child


def _reaped(started: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for its end; what it said is kept where that was not a good one."""
    if started.wait() == 0:
        with contextlib.suppress(OSError):
            log.unlink()


def _scaled(factor: float) -> str:
    return "" if factor == 1.0 else f" with {factor:g} times the learning rate"


def _awaited(started: subprocess.Popen[bytes], child: Path, log: Path, step: int, what: str) -> StartedBranch:
    """Wait until the branch has begun its run, or has ended without one."""
    until = time.monotonic() + PATIENCE
    while not (child / "run.db").is_file():
        if started.poll() is not None and not (child / "run.db").is_file():
            told = log.read_text("utf-8", "replace") if log.exists() else ""
            said = told.strip().splitlines()[-1:] or [f"it ended with exit code {started.returncode}"]
            raise Unavailable(f"the branch ended before it began: {said[0][:300]} (all that it said is in {log})")
        if time.monotonic() > until:
            return StartedBranch(child, f"a branch is being started {what}; its run will be {child.name!r}, what it says is in {log}", step)
        time.sleep(0.05)
    return StartedBranch(child, f"branched off {what}, in the new run {child.name!r}", step)
