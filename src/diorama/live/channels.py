"""Many views over one connection: one frame in flight a channel, live pictures made again as the run goes on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..core.errors import DioramaError, UsageError
from .requests import Request

if TYPE_CHECKING:
    from .jobs import Job

MOST = 96
"""Channels that one connection may have open."""
PATIENCE = 0.4
"""Seconds that a look may go on after the slider or the pen has moved on: its first picture is still worth showing."""
PAUSE = 0.5
"""Seconds between two live pictures of a record."""
REST = 2.0
"""A live picture is made again no sooner than after so many times what it took: what is slow must not crowd out the rest."""
QUICK = 0.1
"""What took less seconds needs no rest."""
_PROGRESS = 0.1

Send = Callable[[dict[str, Any]], None]
SendFrame = Callable[[int, int, bytes], None]


class Stage(Protocol):
    """What channels need of the hub: where looks are run, and what moves under them."""

    def submit(self, request: Request, callbacks: dict[str, Callable[..., None]], quiet: bool) -> Job | None:
        """Run a look; None when its picture was already there (its callbacks have been called). Nobody waits for a quiet one."""

    def pulse(self, request: Request) -> object:
        """What changes when a live request has something new to show; None for what does not live."""

    def pause(self, request: Request) -> float:
        """Seconds to wait between two live pictures of this view."""

    def grows(self, request: Request) -> bool:
        """Whether the picture shows the whole record, and so changes with the run wherever the slider stands."""


@dataclasses.dataclass(eq=False)
class _Channel:
    number: int
    request: Request
    job: Job | None = None
    waiting: Request | None = None
    """What was asked while a look of the same view ran that may still give its first picture."""
    in_flight: int | None = None
    pending: bytes | None = None
    ended: dict[str, Any] | None = None
    """The event of the look's end, sent after its last frame."""
    started: float = 0.0
    delivered: bool = False
    quiet: bool = False
    """A live picture made again: it is not announced as busy."""
    seen: object = None
    told: str = ""
    progressed: float = 0.0
    took: float = 0.0
    """Seconds that its last look took."""
    hurry: threading.Timer | None = None


class Channels:
    """The channels of one connection; every method may be called from any thread."""

    def __init__(self, stage: Stage, send: Send, send_frame: SendFrame) -> None:
        self._stage, self._send, self._send_frame = stage, send, send_frame
        self._open: dict[int, _Channel] = {}
        self._sequence = 0
        self._lock = threading.RLock()

    def show(self, number: int, request: Request) -> None:
        """Open a channel, or let it show something else."""
        with self._lock:
            channel = self._open.get(number)
            if channel is None:
                if len(self._open) >= MOST:
                    raise UsageError(f"a connection has at most {MOST} channels; hide one first")
                channel = self._open[number] = _Channel(number, request)
            elif channel.job is not None and not channel.delivered and request.same_but_moved(channel.request):
                self._let_finish(channel, request)
                return
            self._start(channel, request)

    def hide(self, number: int) -> None:
        """Close a channel and stop its work."""
        with self._lock:
            channel = self._open.pop(number, None)
            if channel is not None:
                self._stop(channel)

    def ack(self, number: int, sequence: int) -> None:
        """The page has drawn a frame: the next one may go."""
        with self._lock:
            channel = self._open.get(number)
            if channel is None or channel.in_flight != sequence:
                return
            channel.in_flight = None
            self._flush(channel)
            self._refresh(channel)

    def cancel(self, number: int) -> None:
        """Stop the work of a channel; what it shows stays."""
        with self._lock:
            channel = self._open.get(number)
            if channel is not None and channel.job is not None:
                self._stop(channel)
                channel.ended = self._end(channel, cancelled=True)
                self._flush(channel)

    def tick(self) -> None:
        """Make live pictures again whose run has moved on. Called a few times a second."""
        with self._lock:
            for channel in list(self._open.values()):
                self._refresh(channel)

    def close(self) -> None:
        """Stop all work."""
        with self._lock:
            for number in list(self._open):
                self.hide(number)

    @property
    def live_runs(self) -> set[str]:
        """The runs whose live end someone looks at."""
        with self._lock:
            return {name for channel in self._open.values() if channel.request.live for name in channel.request.runs}

    def _let_finish(self, channel: _Channel, request: Request) -> None:
        """The slider or the pen moved while the last place is being looked at: show that first, unless it is slow."""
        channel.waiting = request
        if channel.hurry is None:
            left = max(0.0, PATIENCE - (time.monotonic() - channel.started))
            channel.hurry = threading.Timer(left, self._move_on, (channel, channel.job))
            channel.hurry.daemon = True
            channel.hurry.start()

    def _move_on(self, channel: _Channel, job: Job | None) -> None:
        with self._lock:
            if self._open.get(channel.number) is channel and channel.job is job and channel.waiting is not None:
                self._start(channel, channel.waiting)

    def _stop(self, channel: _Channel) -> None:
        channel.waiting = channel.pending = channel.ended = None
        if channel.hurry is not None:
            channel.hurry.cancel()
            channel.hurry = None
        if channel.job is not None:
            channel.job.cancel()
            channel.job = None

    def _start(self, channel: _Channel, request: Request, quiet: bool = False) -> None:
        self._stop(channel)
        channel.request, channel.quiet, channel.delivered = request, quiet, False
        channel.started = time.monotonic()
        channel.seen = self._stage.pulse(request) if self._moves(request) else None
        if not quiet:
            channel.told = ""
            self._send({"event": "busy", "channel": channel.number})
        mine: list[Job | None] = []

        def of_this(act: Callable[..., None]) -> Callable[..., None]:
            def called(*values: Any) -> None:
                with self._lock:
                    if not mine or (channel.job is mine[0] and self._open.get(channel.number) is channel):
                        act(channel, *values)

            return called

        callbacks = {
            "on_picture": of_this(self._picture), "on_progress": of_this(self._progress),
            "on_done": of_this(self._done), "on_error": of_this(self._failed),
        }  # fmt: skip
        try:
            job = self._stage.submit(request, callbacks, quiet)
        except DioramaError as error:
            self._failed(channel, type(error).__name__, str(error))
            return
        mine.append(job)
        channel.job = job

    def _picture(self, channel: _Channel, frame: bytes) -> None:
        channel.delivered = True
        channel.pending = frame
        channel.told = ""
        self._flush(channel)
        if channel.waiting is not None:
            self._start_waiting(channel)

    def _start_waiting(self, channel: _Channel) -> None:
        """Go on to what was asked meanwhile; the picture just made goes out first when nothing is in flight."""
        request, pending = channel.waiting, channel.pending
        if request is not None:
            self._start(channel, request)
            channel.pending = channel.pending or pending

    def _progress(self, channel: _Channel, event: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - channel.progressed >= _PROGRESS:
            channel.progressed = now
            values = {name: event.get(name) for name in ("done", "total", "note", "seconds")}
            self._send({"event": "progress", "channel": channel.number, **values})

    def _done(self, channel: _Channel, *_: Any) -> None:
        channel.job = None
        channel.took = time.monotonic() - channel.started
        if channel.waiting is not None:
            self._start_waiting(channel)
            return
        channel.ended = self._end(channel)
        self._flush(channel)

    def _end(self, channel: _Channel, **more: Any) -> dict[str, Any]:
        seconds = round(time.monotonic() - channel.started, 4)
        return {"event": "done", "channel": channel.number, "seconds": seconds, **more}

    def _failed(self, channel: _Channel, kind: str, message: str) -> None:
        channel.job = None
        if channel.waiting is not None:
            self._start_waiting(channel)
        elif not (channel.quiet and channel.told == message):  # a live look that fails again says it once
            channel.told = message
            self._send({"event": "error", "channel": channel.number, "kind": kind, "message": message})

    def _flush(self, channel: _Channel) -> None:
        if channel.in_flight is None and channel.pending is not None:
            self._sequence = (self._sequence + 1) & 0xFFFFFFFF
            channel.in_flight, frame, channel.pending = self._sequence, channel.pending, None
            self._send_frame(channel.number, self._sequence, frame)
        if channel.pending is None and channel.ended is not None:
            ended, channel.ended = channel.ended, None
            self._send(ended)

    def _moves(self, request: Request) -> bool:
        """Whether its picture changes as the run goes on: at the live end, and for a record at any step (its curves grow)."""
        return request.live or self._stage.grows(request)

    def _refresh(self, channel: _Channel) -> None:
        idle = channel.job is None and channel.in_flight is None and channel.pending is None
        if not idle or not self._moves(channel.request):
            return
        rest = REST * channel.took if channel.took > QUICK else 0.0
        pause = max(self._stage.pause(channel.request), rest)
        due = time.monotonic() - channel.started >= pause
        if due and self._stage.pulse(channel.request) != channel.seen:
            self._start(channel, channel.request, quiet=True)
