"""The pool: runs jobs in workers, cancels and isolates them, and keeps a warm spare for the worker that has to go."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from ..core.errors import Unavailable
from .workers import ProcessWorker, ThreadWorker, Worker

Callback = Callable[..., None]
GRACE, LONGEST_GRACE = 1.5, 30.0
"""Seconds that a cancelled job has before its worker is replaced: seconds of the processor, as long as it wants it and others have it; and at
most. To start a worker takes longer than most jobs on a busy machine, and makes it busier.
"""
HEADWAY = 0.7
"""Seconds that the first pictures of a record have before the next kind of worker starts, unless it is asked for."""
BACKGROUND = 3
"""Jobs of this priority or later nobody waits for: live pictures made again. They leave a worker free for what is asked."""
REST, LONGEST_REST = 0.3, 1.0
"""Seconds that what nobody waits for rests after a look at somebody's own input, so that a pen has the processor; and at most."""
STUCK = 0.3
"""Seconds after which a job that someone waits for takes the spare, when all other workers are in the middle of something."""
LONG, MORE = 3.0, 3
"""Seconds after which a job that someone waits for gets a worker of its own, when all others and the spare are in the middle of something;
and so many more than the lane has at most, each until nobody waits."""
LOADING = 120.0
"""Seconds that a worker may take to load a run, before it is replaced."""
_FAILED_STARTS = 3


def _ignore(*_: Any) -> None:
    """What an absent callback does."""


@dataclasses.dataclass(eq=False)
class Job:
    """One piece of work; its callbacks are called from a worker's thread, and never again after ``cancel``."""

    number: int
    message: dict[str, Any]
    lane: str
    priority: int
    affinity: str
    line: str
    """The look, the same each time that it is made again: who made it last knows what it starts from."""
    on_picture: Callback
    on_progress: Callback
    on_done: Callback
    on_error: Callback
    pool: Pool
    since: float
    owner: str = ""
    """The run that it is about: one that loads badly must not hold the workers of the others."""
    began: float = 0.0
    """When its run had been loaded, or it had shown something."""
    loaded: bool = False
    """Whether its run has been loaded, or it has shown something."""
    ended: bool = False
    worker: Worker | None = None

    def cancel(self) -> None:
        """Stop it: at once when it waits, at the next op when it runs, and with its worker when it does not listen."""
        self.pool._cancel(self)


@dataclasses.dataclass(frozen=True)
class Lane:
    """A group of workers of one kind. ``level`` says what they import ahead; a ``late`` spare is started when all others
    have been busy for a while."""

    name: str
    size: int
    level: str
    spare: bool = False
    late: bool = False
    thread: bool = False
    nice: int = 10


LANES = (
    Lane("record", 1, "record", spare=True, late=True, nice=2),
    Lane("model", 2, "model", spare=True, nice=4),
    Lane("local", 1, "model", thread=True),
)
"""Records are read without torch; models are looked at with it; a model that cannot leave this process stays in it."""


class Pool:
    """Runs jobs in the workers of its lanes: one job a worker, the most urgent first."""

    def __init__(self, performer: str = "diorama.live.performer:ViewPerformer", lanes: tuple[Lane, ...] = LANES) -> None:
        self._performer = performer
        self._lanes = {lane.name: lane for lane in lanes}
        self._workers: dict[str, list[Worker]] = {lane.name: [] for lane in lanes}
        self._failures = dict.fromkeys(self._workers, 0)
        self._waiting: list[Job] = []
        self._suspects: set[str] = set()
        """Runs whose last loading ended its worker: they hold one worker at a time until one has loaded."""
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._closed = self._waking = False
        self._drawn = float("-inf")

    def start(self) -> None:
        """Start the first worker of the first lane; the others follow one after the other, the spares last."""
        self._open_next()

    def _open_next(self) -> None:
        """Give the next lane its first worker: start-up must not crowd the processor, and records come first."""
        with self._lock:
            empty = [lane for lane in self._lanes.values() if not lane.thread and not self._workers[lane.name]]
            if empty and not self._closed:
                self._add(empty[0])

    def submit(
        self,
        message: dict[str, Any],
        on_picture: Callback = _ignore,
        on_progress: Callback = _ignore,
        on_done: Callback = _ignore,
        on_error: Callback = _ignore,
        *,
        lane: str = "model",
        priority: int = 1,
        affinity: str = "",
        line: str = "",
        owner: str = "",
    ) -> Job:
        """Queue a job; lower ``priority`` goes first, and a worker that has ``affinity`` loaded is preferred, among them one that looked
        along this ``line`` before.

        Work for an ``owner`` that is still being loaded has a deadline, and never holds the last worker of a lane.
        """
        with self._lock:
            if self._closed:
                raise Unavailable("this server has been closed")
            now = time.monotonic()
            job = Job(
                next(self._numbers), message, lane, priority, affinity, line, on_picture, on_progress, on_done, on_error, self, now,
                owner,
            )
            self._drawn = now if priority == 0 else self._drawn
            self._waiting.append(job)
            if not self._workers[lane]:
                self._failures[lane] = 0
                self._add(self._lanes[lane])
            self._assign()
        return job

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self.kill()

    def kill(self) -> None:
        """Kill all workers, also where somebody is stuck and holds the lock."""
        for group in list(self._workers.values()):
            for worker in list(group):
                worker.kill()

    def _add(self, lane: Lane) -> None:
        if lane.thread:
            self._workers[lane.name].append(ThreadWorker(self._heard, self._performer, lane.level))
        else:
            self._workers[lane.name].append(ProcessWorker(self._heard, self._performer, lane.level, lane.nice))

    def _fill(self, lane: Lane) -> None:
        """Start one missing worker, once those before it are ready: start-up must not crowd the processor."""
        group = self._workers[lane.name]
        wanted = lane.size + (lane.spare and not lane.late)
        if not self._closed and len(group) < wanted and all(worker.ready for worker in group):
            self._add(lane)

    def _assign(self) -> None:
        """Give waiting jobs to free workers (the lock is held)."""
        for job in sorted(self._waiting, key=lambda job: (job.priority, job.number)):
            group = self._workers[job.lane]
            free = [worker for worker in group if worker.ready and not worker.dead and worker.job is None]
            if not free:
                self._widen(job, group)
                continue
            if not self._may_start(job, [worker for worker in group if worker.job is not None]):
                continue
            worker = min(free, key=lambda one: (not job.line or job.line not in one.lines, job.affinity not in one.recent))
            self._waiting.remove(job)
            worker.job, job.worker, worker.since = job, worker, time.monotonic()
            worker.remember(job.affinity, job.line)
            worker.start({**job.message, "do": "job", "job": job.number})

    def _may_start(self, job: Job, busy: list[Worker]) -> bool:
        """Whether a job may start beside what runs: a click must not wait for what only refreshes, nor long for anything."""
        lane = self._lanes[job.lane]
        if self._holds_its_share(job, busy):
            return False
        if job.priority >= BACKGROUND:
            if self._rests(job):
                return False
            quiet = sum(worker.job.priority >= BACKGROUND for worker in busy)
            return len(busy) < lane.size and quiet < max(1, lane.size - 1)
        if len(busy) < lane.size:
            return True
        left = max(worker.since for worker in busy) + STUCK - time.monotonic()
        if left > 0:
            _later(left, self._assign_again)
        return left <= 0

    def _holds_its_share(self, job: Job, busy: list[Worker]) -> bool:
        """Whether the job's run is being loaded in as many workers as it may: never in the last one."""
        if not job.owner:
            return False
        share = 1 if job.owner in self._suspects else self._lanes[job.lane].size
        loading: int = sum(worker.job.owner == job.owner and not worker.job.loaded for worker in busy)
        return bool(loading >= share)

    def _widen(self, job: Job, group: list[Worker]) -> None:
        """Start another worker when all have been busy for a while: a lane's late spare, and where looks do not end, more."""
        lane = self._lanes[job.lane]
        busy = [worker for worker in group if worker.ready and worker.job is not None]
        if lane.thread or len(busy) != len(group) or self._holds_its_share(job, busy):
            return
        late = lane.late and len(group) == lane.size
        if not late and (job.priority >= BACKGROUND or not lane.size + lane.spare <= len(group) < lane.size + lane.spare + MORE):
            return
        left = max(worker.since for worker in busy) + (STUCK if late else LONG) - time.monotonic()
        if left > 0:
            _later(left, self._assign_again)
        elif not self._closed:
            self._add(lane)

    def expire(self) -> None:
        """End the workers that have been loading a run for too long. Called now and then."""
        now = time.monotonic()
        with self._lock:
            late = [
                (worker, worker.job) for group in self._workers.values() for worker in group
                if worker.job is not None and worker.job.owner and not worker.job.loaded
                and now - worker.since > LOADING and not worker.dead
            ]
            told = [(job, job.ended) for _, job in late]
            for _, job in late:
                job.ended = True
                self._suspects.add(job.owner)
        for worker, _ in late:
            worker.kill()
        for job, ended in told:
            if not ended:
                what = job.message.get("what", "this")
                said = f"{what} was given up: loading the run took more than {LOADING:g} s; diorama check tells what is wrong"
                job.on_error("Unavailable", said)

    def _rests(self, job: Job) -> bool:
        """Whether a job that nobody waits for rests, because somebody draws."""
        left = min(self._drawn + REST, job.since + LONGEST_REST) - time.monotonic()
        if left > 0 and not self._waking:
            self._waking = True
            _later(left, self._wake)
        return left > 0

    def _wake(self) -> None:
        with self._lock:
            self._waking = False
            self._assign_again()

    def _assign_again(self) -> None:
        with self._lock:
            if not self._closed:
                self._assign()

    def _cancel(self, job: Job) -> None:
        with self._lock:
            if job.ended:
                return
            job.ended = True
            if job in self._waiting:
                self._waiting.remove(job)
                return
            worker = job.worker
            if worker is None or worker.job is not job:
                return
            _later(GRACE, self._replace, worker, job, worker.spent(), time.monotonic())
        worker.cancel(job.number)

    def _replace(self, worker: Worker, job: Job, begun: tuple[float, bool] | None, since: float) -> None:
        with self._lock:
            stuck = worker.job is job and not worker.dead
        if not stuck:
            return
        now = worker.spent()
        starved = begun is not None and now is not None and now[1] and now[0] - begun[0] < GRACE
        if starved and time.monotonic() - since < LONGEST_GRACE:
            _later(GRACE, self._replace, worker, job, begun, since)
        else:
            worker.kill()

    def _heard(self, worker: Worker, event: dict[str, Any], body: bytes) -> None:
        """Take an event from a worker (in that worker's thread)."""
        kind = event["event"]
        if kind == "ready":
            with self._lock:
                worker.ready = True
                lane = self._lane_of(worker)
                if lane is not None:
                    self._failures[lane.name] = 0
                    self._assign()
                    _later(HEADWAY, self._open_next)
                    self._fill(lane)
            return
        if kind == "ended":
            self._lost(worker, event["code"])
            return
        job = worker.job
        if job is None or job.number != event["job"]:
            return
        if kind in ("loaded", "picture") and not job.loaded:
            with self._lock:
                job.loaded, job.began = True, time.monotonic()
                self._suspects.discard(job.owner)
                self._assign()  # what waits for this run may go on
        if kind == "loaded":
            return
        if kind == "picture":
            if not job.ended:
                job.on_picture(body)
        elif kind == "progress":
            if not job.ended:
                job.on_progress(event)
        else:
            self._finish(worker, job, event, body)

    def _finish(self, worker: Worker, job: Job, event: dict[str, Any], body: bytes) -> None:
        with self._lock:
            told, job.ended = job.ended, True
            worker.job = None
            # A worker whose memory ran out ends now, and is replaced: what waits must not be given to it any more.
            worker.dead = worker.dead or event.get("leaving", False)
            if not self._closed:
                self._assign()
                self._thin(worker)
        if told:
            return
        if event["event"] == "error":
            job.on_error(event["kind"], event["message"])
        elif event["event"] == "cancelled":
            job.on_error("Cancelled", "it was cancelled")
        else:
            job.on_done(event.get("result", {}), body)

    def _thin(self, worker: Worker) -> None:
        """End a worker with nothing to do where its lane has more than it wants."""
        lane = self._lane_of(worker)
        if lane is not None and worker.job is None and not worker.dead and len(self._workers[lane.name]) > lane.size + lane.spare:
            worker.kill()

    def _lost(self, worker: Worker, code: int | None) -> None:
        """A worker ended: its job fails with one sentence, and another worker takes its place."""
        with self._lock:
            worker.dead = True
            lane, job = self._lane_of(worker), worker.job
            worker.job = None
            refused: list[Job] = []
            if lane is not None:
                self._workers[lane.name].remove(worker)
                self._failures[lane.name] += not worker.ready
                if not self._closed and self._failures[lane.name] < _FAILED_STARTS:
                    self._fill(lane)
                    if not self._workers[lane.name]:
                        self._add(lane)
                elif not self._workers[lane.name]:
                    refused = [waiting for waiting in self._waiting if waiting.lane == lane.name]
                    self._waiting = [waiting for waiting in self._waiting if waiting.lane != lane.name]
                self._assign()
            tell = job is not None and not job.ended and not self._closed
            if job is not None and job.owner and not job.loaded:
                self._suspects.add(job.owner)
            if job is not None:
                job.ended = True
        if tell:
            what = job.message.get("what", "this")
            message = f"the worker that computed {what} ended ({_ended(code)}); another one has taken its place"
            job.on_error("Crashed", message)
        for waiting in refused:
            waiting.ended = True
            waiting.on_error("Unavailable", f"no worker could be started ({_ended(code)}); the log tells why")

    def _lane_of(self, worker: Worker) -> Lane | None:
        return next((self._lanes[name] for name, group in self._workers.items() if worker in group), None)


def _later(seconds: float, act: Callable[..., None], *values: Any) -> None:
    timer = threading.Timer(seconds, act, values)
    timer.daemon = True
    timer.start()


def _ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return "killed, perhaps because memory ran out" if code == -9 else f"signal {-code}"
