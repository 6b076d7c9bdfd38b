"""What all connections share: the runs there are, what is known of them, the workers, and the pictures already made."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import msgspec
from msgspec import UNSET

from ..core import protocol
from ..core.errors import DioramaError, Unavailable, not_found
from ..core.log import write_log
from ..core.patience import PATIENCE
from ..core.registry import views
from ..core.request import Request, digest
from ..record.lock import held
from . import catalogue as installation
from . import scenes
from .cache import Frames
from .jobs import BACKGROUND, Job, Pool
from .memory import give_back
from .notes import Notes
from .session import Session
from .shelf import find_runs
from .state import Tracker

NO_CATALOGUE = "the views could not be listed; the log tells why"
_TRIM = 10.0
"""Seconds between two times that memory is given back."""
_FIRST_WAIT = 600.0
_AGAIN = 10.0
"""Seconds after which plug-ins that had not been imported yet are asked for again."""


class Hub:
    """One served place: folders of runs, looked at by any number of connections."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        trust: bool = False,
        model: str | None = None,
        local: Mapping[str, Any] | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.roots = [Path(root).resolve() for root in roots]
        self.notes = Notes()
        self.pool = pool or Pool()
        self._trust, self._model = trust, model
        self._local = {str(Path(folder).resolve()): make for folder, make in (local or {}).items()}
        scenes.LOCAL.update(self._local)
        self._frames = Frames()
        self._runs: dict[str, Path] = {}
        self._trackers: dict[str, Tracker] = {}
        self._alive: set[str] = set()
        self._wrong: dict[str, str] = {}
        self._listed: list[protocol.RunEntry] = []
        self._relisted = 0.0
        self._asked: dict[str, int] = {}
        self._sessions: list[Session] = []
        self._new: list[tuple[str, Session]] = []
        self._lock = threading.RLock()
        self._woken, self._closed = threading.Event(), threading.Event()
        self._catalogue: dict[str, Any] | None = None
        self._described = threading.Event()
        self._again = float("inf")
        self._stamp = ""
        self._preparing = protocol.Preparing(done=0, total=0, note="PyTorch is being imported")

    def start(self) -> None:
        """Start the workers and begin to look at the runs."""
        self.pool.start()
        self._runs = find_runs(self.roots)
        self._stamp = installation.installation_stamp()
        self._catalogue = installation.kept_catalogue(self._stamp)
        if self._catalogue is not None:
            self._described.set()
            self._again = time.monotonic()
        else:
            self._describe(priority=0, on_progress=self._say_preparing, on_error=self._no_catalogue)
        threading.Thread(target=self._beat, name="diorama-hub", daemon=True).start()

    def close(self) -> None:
        """Stop everything."""
        self._closed.set()
        self._woken.set()
        for session in list(self._sessions):
            session.close()
        self.pool.close()
        for folder in self._local:
            scenes.LOCAL.pop(folder, None)
        with self._lock:
            for tracker in self._trackers.values():
                tracker.close()

    # What there is.

    @property
    def catalogue(self) -> dict[str, Any]:
        """What this installation offers. *Raises* Unavailable when no worker could tell."""
        self._described.wait(_FIRST_WAIT)
        if self._catalogue is None:
            raise Unavailable(NO_CATALOGUE)
        return self._catalogue

    @property
    def broken(self) -> tuple[str, ...] | None:
        """What third parties offer that cannot be used, each a sentence; None while nobody has looked yet."""
        return None if self._catalogue is None else tuple(self._catalogue.get("broken", ()))

    @property
    def slow(self) -> list[str]:
        """The packages of which plug-ins have not come yet: no worker waits for them."""
        named = {} if self._catalogue is None else self._catalogue.get("slow", {})
        return sorted({package for packages in named.values() for package in packages.values()})

    def _say_preparing(self, event: dict[str, Any]) -> None:
        """Tell who waits for the catalogue how far it is: on the very first start everything is imported once."""
        with self._lock:
            self._preparing = protocol.Preparing(done=event["done"], total=event["total"], note=event["note"])
            waiting = [] if self._described.is_set() else list(self._sessions)
        for session in waiting:
            session.send(self._preparing)

    def _describe(self, priority: int = BACKGROUND, **callbacks: Any) -> None:
        """Have a worker describe what this installation offers."""
        with contextlib.suppress(Unavailable):  # closed meanwhile
            message = {"kind": "catalogue", "what": "the catalogue", "slow": self.slow}
            self.pool.submit(message, priority=priority, affinity="catalogue", on_done=self._take_catalogue, **callbacks)

    def _take_catalogue(self, result: dict[str, Any], _: bytes) -> None:
        installation.keep_catalogue(self._stamp, result)
        with self._lock:
            before, self._catalogue = self._catalogue, result
            self._described.set()
            waiting = list(self._sessions)
        if before is None or before.get("slow") != result.get("slow"):
            self._asked.clear()  # which views fit is asked again: more have come
            for session in waiting:
                self._greet(session)
        self._again = time.monotonic() + _AGAIN

    def _await_slow(self) -> None:
        """Ask again after a while for what had not been imported yet."""
        if time.monotonic() > self._again and self.slow:
            self._again = time.monotonic() + _FIRST_WAIT  # unless an answer comes before
            self._describe()

    def _no_catalogue(self, kind: str, message: str) -> None:
        write_log(Unavailable(f"{kind}: {message}"), "while listing the views")
        with self._lock:
            self._described.set()
            waiting = list(self._sessions)
        for session in waiting:
            session.send(protocol.Failed(channel=None, kind="Unavailable", message=NO_CATALOGUE))

    def view(self, name: str) -> dict[str, Any]:
        """What is known of a view. *Raises* NotFound, Unavailable with the reason for one that cannot be used."""
        known = {view["name"]: view for view in self.catalogue["views"]}
        if name not in known:
            if (reason := self.catalogue["left_out"]["views"].get(name)) is not None:
                raise Unavailable(reason)
            raise not_found("view", name, known)
        found: dict[str, Any] = known[name]
        return found

    def source(self, name: str) -> dict[str, Any]:
        """Where a run is and how far it is trusted. *Raises* NotFound with the nearest names, Unavailable for a folder
        whose name is no text."""
        if name not in self._runs:
            self._runs = find_runs(self.roots)
        if name not in self._runs:
            raise not_found("run", name, self._runs)
        path = str(self._runs[name])
        if path != path.encode("utf-8", "replace").decode():
            raise Unavailable(f"the name of the folder {path!r} is not UTF-8; rename it to open the run")
        return {"path": path, "trust": self._trust, "model": self._model}

    def runs(self) -> list[protocol.RunEntry]:
        """All runs, for the page's list."""
        with self._lock:
            trackers = [self._tracker(name) for name in list(self._runs)]
        self._listed = [self._entry(tracker) for tracker in trackers]
        return self._listed

    def _entry(self, tracker: Tracker) -> protocol.RunEntry:
        entry = tracker.summary()
        if isinstance(entry.parent, str):
            entry.parent = self._beside(tracker.path, entry.parent) or UNSET
        return entry

    def _beside(self, path: Path, folder: str) -> str | None:
        """The name in the list of a run beside another one."""
        return next((name for name, place in self._runs.items() if place == path.with_name(folder)), None)

    def _tracker(self, name: str) -> Tracker:
        with self._lock:
            tracker, path = self._trackers.get(name), self._runs[name]
            if tracker is None or tracker.path != path:
                tracker = self._trackers[name] = Tracker(name, path)
            return tracker

    def _found(self, path: Path, folder: str) -> str | None:
        """The same for one that was made since the runs were listed."""
        self._search()
        return self._beside(path, folder)

    # Sessions.

    def join(self, session: Session) -> None:
        """A connection came: greet it, at once or as soon as the catalogue is there. *Raises* Unavailable without one."""
        with self._lock:
            known = self._described.is_set()
            self._sessions.append(session)
        if known:
            self._greet(session)
        else:
            session.send(self._preparing)

    def _greet(self, session: Session) -> None:
        session.send(msgspec.convert({**self.catalogue, "event": "hello", "runs": self.runs()}, protocol.Hello))

    def leave(self, session: Session) -> None:
        """A connection went."""
        with self._lock:
            if session in self._sessions:
                self._sessions.remove(session)

    def look_up(self, name: str, session: Session) -> None:
        """Send a session the state of a run soon."""
        with self._lock:
            self._new.append((name, session))
        self._woken.set()

    # Looking.

    def resolve(self, request: Request) -> Request:
        """The request as it is run: kept selections said in full, and only the keys that its view reads."""
        for name in request.runs:
            self.source(name)
        if request.selection.startswith("@"):
            request = msgspec.structs.replace(request, selection=self.notes.recall(request.selection))
        return request.following(tuple(self.view(request.view)["follows"]))

    def submit(self, request: Request, callbacks: dict[str, Callable[..., None]], quiet: bool = False) -> Job | None:
        """Run a look in a worker, or answer it with the picture that was already made."""
        name = self._cache_name(request)
        frame = self._frames.get(name) if name else None
        if frame is not None:
            callbacks["on_picture"](frame)
            callbacks["on_done"]({}, b"")
            return None
        last: list[bytes] = []

        def on_picture(frame: bytes) -> None:
            last[:] = [frame]
            callbacks["on_picture"](frame)

        def on_done(*result: Any) -> None:
            if name and last:
                self._frames.put(name, last[0])
            callbacks["on_done"](*result)

        message = {"kind": "view", "what": _told(request.view)}
        kept = {**callbacks, "on_picture": on_picture, "on_done": on_done}
        return self._send(request, message, kept, BACKGROUND if quiet else None)

    def export(self, request: Request, suffix: str, options: dict[str, Any], callbacks: Mapping[str, Any]) -> Job:
        """Save a look's last picture as a file, in a worker."""
        message = {"kind": "export", "suffix": suffix, "options": options, "what": f"the file {request.view}.{suffix}"}
        return self._send(request, message, callbacks, priority=2)

    def _send(
        self, request: Request, message: dict[str, Any], callbacks: Mapping[str, Any], priority: int | None = None
    ) -> Job:
        sources = {name: self.source(name) for name in request.runs}
        local = any(scenes.local(source["path"]) for source in sources.values())
        record = self._is_record(request) and message["kind"] == "view"
        if priority is None:
            priority = 0 if request.input is not None else 1
        return self.pool.submit(
            {**message, "request": request.plain(), "sources": sources, "slow": self.slow}, **callbacks,
            lane="record" if record else "local" if local else "model",
            priority=priority, affinity=digest([request.run, request.step, request.edits]),
            line=digest([request.run, request.view, request.edits]), owner=sources[request.run]["path"],
        )

    def _is_record(self, request: Request) -> bool:
        return self.view(request.view)["needs"] == "record" and request.input is None and not request.edits

    def _cache_name(self, request: Request) -> str:
        """What a finished look is kept under; nothing for what still changes."""
        if request.live:
            return ""
        moments: list[Any] = []
        record = self._is_record(request)
        here = request.step
        for other in (None, *request.others):
            run, step = (request.run, here) if other is None else (other.run, request.beside(other, here))
            tracker = self._trackers.get(run)
            if tracker is None or tracker.pulse is None or not tracker.snapshots:
                return ""
            nearest = max((s for s in tracker.snapshots if step is None or s <= step), default=tracker.snapshots[0])  # type: ignore[operator]
            here = nearest if other is None and not record else here
            moments.append([str(tracker.path), tracker.identity, step if record else nearest])
            if record:
                moments.append([tracker.pulse.committed, tracker.pulse.events, tracker.pulse.alive])
        return digest([moments, msgspec.to_builtins(msgspec.structs.replace(request, run="", step=None, other=None))])

    def pulse(self, request: Request) -> object:
        """What changes when a live request has something new to show."""
        record = self._is_record(request)
        found: list[object] = []
        for name in request.runs:
            tracker = self._tracker(name) if name in self._runs else None
            if tracker is not None and tracker.pulse is None:
                tracker.poll()
            pulse = tracker.pulse if tracker is not None else None
            if pulse is not None:
                found.append((pulse.committed, pulse.events, pulse.alive) if record else pulse.live)
        return found

    def touched(self, request: Request) -> object:
        """What changes when the live weights are those after another command."""
        trackers = [self._trackers.get(name) for name in request.runs] if not self._is_record(request) else []
        return [tracker.pulse.command for tracker in trackers if tracker is not None and tracker.pulse is not None]

    def pause(self, request: Request) -> float:
        """Seconds between two live pictures: records change with every step, weights when the training writes them."""
        return PATIENCE.live if self._is_record(request) else 0.0

    def grows(self, request: Request) -> bool:
        """Whether the picture shows the whole record, and so changes with the run wherever the slider stands."""
        return self._is_record(request)

    # Touching.

    def command(self, run: str, name: str, knobs: dict[str, Any]) -> tuple[str, str | None]:
        """Send a command to a training and wait for its answer: a sentence, and the new run that trains on beside it, or is about to."""
        from ..core.knobs import build
        from ..core.registry import commands
        from ..run import open_run

        source = self.source(run)
        asked = build(commands[name], knobs)
        opened = open_run(source["path"])
        try:
            answer = opened.command(name, sender="page", **knobs)
            self._tracker(run).told = 0.0  # who asked for it sees at once what came of it
            self._woken.set()
            path = Path(source["path"])
            if asked.living:
                return str(answer.text), None
            # A busy machine starts a training so slowly that the answer comes first: what it will be called in the list is known.
            child = self._beside(path, answer.new) or self._found(path, answer.new) or str(PurePath(run).with_name(answer.new))
            return str(answer.text), child
        finally:
            opened.close()

    def changes(self, run: str) -> bytes:
        """What people changed in a run's data, as the .csv file that the run holds. *Raises* Unavailable where nothing was."""
        from ..run import open_run

        opened = open_run(self.source(run)["path"])
        try:
            with tempfile.TemporaryDirectory() as folder:
                if not opened.changes:
                    raise Unavailable(f"no example of the data of {run!r} is changed")
                opened.save_changes(place := Path(folder) / "changes.csv")
                return place.read_bytes()
        finally:
            opened.close()

    # The beat.

    def _beat(self) -> None:
        searched = trimmed = 0.0
        while not self._closed.is_set():
            self._woken.wait(PATIENCE.beat)
            self._woken.clear()
            if self._closed.is_set():
                return
            try:
                self.pool.expire()
                self._await_slow()
                if time.monotonic() - trimmed > _TRIM:
                    trimmed = time.monotonic()
                    give_back()
                if time.monotonic() - searched > PATIENCE.search:
                    searched = time.monotonic()
                    self._search()
                self._look()
            except Exception as error:  # noqa: BLE001 - the beat must go on, whatever one run holds
                write_log(error, "while looking at the runs")

    def _search(self) -> None:
        """Tell everyone when the list of runs has changed, or how far the living ones are."""
        runs = find_runs(self.roots)
        alive = {name for name, path in runs.items() if held(path)}
        wrong = {name: tracker.wrong for name, tracker in list(self._trackers.items())}
        if (runs, alive, wrong) != (self._runs, self._alive, self._wrong):
            self._runs, self._alive, self._wrong = runs, alive, wrong
            for name in [name for name in self._trackers if name not in runs]:
                self._trackers.pop(name).close()
            listed = self.runs()
        elif self._sessions and time.monotonic() - self._relisted > PATIENCE.list:
            listed = [self._entry(self._tracker(entry.name)) if entry.name in alive else entry for entry in self._listed]
            if listed == self._listed:
                return
            self._listed = listed
        else:
            return
        self._relisted = time.monotonic()
        told = protocol.Runs(runs=tuple(listed))
        for session in list(self._sessions):
            session.send(told)

    def _look(self) -> None:
        with self._lock:
            sessions, new, self._new = list(self._sessions), self._new, []
        looked_at = {name for session in sessions for name in {*session.follows, *session.channels.live_runs}}
        for name in looked_at & set(self._runs):
            followers = [s for s in sessions if name in s.follows]
            late = [s for which, s in new if which == name]
            self._apart(f"while looking at the run {name}", self._look_at, self._tracker(name), followers, late)
        for session in sessions:
            self._apart("while making live pictures again", session.channels.tick)
        for name in looked_at & set(self._runs):  # after what people look at, which it would keep waiting
            self._apart(f"while looking at the run {name}", self._ask_anatomy, self._tracker(name))

    def _look_at(self, tracker: Tracker, followers: list[Session], late: list[Session]) -> None:
        changed = tracker.poll() or tracker.changed
        tracker.watch()
        now = time.monotonic()
        tracker.changed = changed
        if followers and changed and now - tracker.told >= 2 * PATIENCE.beat - 0.05:
            tracker.told, tracker.changed = now, False
            self._tell(tracker, followers)
        elif late:
            self._tell(tracker, late)

    @staticmethod
    def _apart(doing: str, act: Callable[..., None], *values: Any) -> None:
        """Do what concerns one run or one page; its fault must not keep the others from their turn."""
        try:
            act(*values)
        except Exception as error:  # noqa: BLE001 - whatever it is
            write_log(error, doing)

    def _tell(self, tracker: Tracker, sessions: list[Session]) -> None:
        try:
            state = tracker.state()
            if state.heir is not None:
                state.heir = self._beside(tracker.path, state.heir) or self._found(tracker.path, state.heir)
            told: protocol.FromServer = protocol.RunTold(run=tracker.name, state=state)
        except (DioramaError, OSError) as error:
            kind, message = type(error).__name__, str(error)
            told = protocol.Failed(channel=None, kind=kind, message=message, run=tracker.name)
        for session in sessions:
            session.send(told)

    def _ask_anatomy(self, tracker: Tracker) -> None:
        """Ask a worker for the run's layers and the views that fit, once for each model that the run has."""
        mark = hash((tracker.identity, bool(tracker.snapshots), tracker.models))
        if not tracker.snapshots or self._asked.get(tracker.name) == mark:
            return
        self._asked[tracker.name] = mark

        def take(result: dict[str, Any], _: bytes) -> None:
            tracker.anatomy, tracker.changed = result, True
            self._woken.set()

        def fail(kind: str, message: str) -> None:
            take({"model": message, "layers": [], "fits": {}}, b"")

        source = self.source(tracker.name)
        lane = "local" if scenes.local(source["path"]) else "model"
        message = {"kind": "anatomy", "source": source, "slow": self.slow, "what": f"the layers of {tracker.name}"}
        affinity = digest([tracker.name, None, ()])
        self.pool.submit(message, on_done=take, on_error=fail, lane=lane, affinity=affinity, owner=source["path"],
                         priority=1 if tracker.anatomy is None else BACKGROUND - 1)


def _told(view: str) -> str:
    """A view in words, and of a third party's the package: what the view does to its worker is said with its name."""
    return views.told(view) if views.is_foreign(view) else f"the view {view}"
