"""Many views over one connection: one frame in flight a channel, live pictures made again as the run goes on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..core import protocol
from ..core.errors import DioramaError, UsageError
from ..core.patience import PATIENCE
from ..core.request import Request

if TYPE_CHECKING:
    from .jobs import Job

MOST = 96
"""Channels that one connection may have open."""
Send = Callable[[protocol.FromServer], None]
SendFrame = Callable[[int, int, bytes], None]


class ChannelHub(Protocol):
    """What channels need of the hub: where looks are run, and what moves under them."""

    def submit(self, request: Request, callbacks: dict[str, Callable[..., None]], quiet: bool) -> Job | None:
        """Run a look; None when its picture was already there (its callbacks have been called). Nobody waits for a quiet one."""

    def pulse(self, request: Request) -> object:
        """What changes when a live request has something new to show; None for what does not live."""

    def touched(self, request: Request) -> object:
        """What changes when somebody's command has changed what a live request shows."""

    def pause(self, request: Request) -> float:
        """Seconds to wait between two live pictures of this view."""

    def grows(self, request: Request) -> bool:
        """Whether the picture shows the whole record, and so changes with the run wherever the slider stands."""


@dataclasses.dataclass(eq=False)
class _Channel:
    number: int
    request: Request
    job: Job | None = None
    in_flight: int | None = None
    pending: bytes | None = None
    ended: protocol.Done | None = None
    """The event of the look's end, sent after its last frame."""
    started: float = 0.0
    quiet: bool = False
    """A live picture made again: it is not announced as busy."""
    seen: object = None
    touched: object = None
    soon: bool = False
    """A live picture made again after somebody's command: it goes before those that nobody waits for."""
    told: str = ""
    progressed: float = 0.0
    took: float = 0.0
    """Seconds that its last look took."""


class Channels:
    """The channels of one connection; every method may be called from any thread."""

    def __init__(self, stage: ChannelHub, send: Send, send_frame: SendFrame) -> None:
        self._stage, self._send, self._send_frame = stage, send, send_frame
        self._open: dict[int, _Channel] = {}
        self._sequence = 0
        self._lock = threading.RLock()

    def show(self, number: int, request: Request) -> None:
        """Open a channel, or let it show something else. How long a look may finish first is the page's to say (``PATIENCE``)."""
        with self._lock:
            channel = self._open.get(number)
            if channel is None:
                if len(self._open) >= MOST:
                    raise UsageError(f"a connection has at most {MOST} channels; hide one first")
                channel = self._open[number] = _Channel(number, request)
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
            for channel in sorted(self._open.values(), key=lambda channel: channel.took):  # what is quick does not wait for what is not
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

    def _stop(self, channel: _Channel) -> None:
        channel.pending = channel.ended = None
        if channel.job is not None:
            channel.job.cancel()
            channel.job = None

    def _start(self, channel: _Channel, request: Request, quiet: bool = False, soon: bool = False) -> None:
        """Let a look begin; a ``quiet`` one is not announced, and gives way to what somebody waits for unless it has to be there ``soon``."""
        self._stop(channel)
        channel.request, channel.quiet, channel.soon = request, quiet, soon
        channel.started = time.monotonic()
        channel.seen = self._stage.pulse(request) if self._moves(request) else None
        channel.touched = self._stage.touched(request) if request.live else None
        if not quiet:
            channel.told = ""
            self._send(protocol.Busy(channel=channel.number))
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
        }
        try:
            job = self._stage.submit(request, callbacks, quiet and not soon)
        except DioramaError as error:
            self._failed(channel, type(error).__name__, str(error))
            return
        mine.append(job)
        channel.job = job

    def _picture(self, channel: _Channel, frame: bytes) -> None:
        channel.pending = frame
        channel.told = ""
        self._flush(channel)

    def _progress(self, channel: _Channel, event: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - channel.progressed >= PATIENCE.progress:
            channel.progressed = now
            values = {name: event[name] for name in ("done", "total", "note", "seconds") if event.get(name) is not None}
            self._send(protocol.Progressed(channel=channel.number, **values))

    def _done(self, channel: _Channel, *_: Any) -> None:
        # What somebody waited for took what it took to draw: it may have waited for its worker to start, and the run to load.
        began = channel.job.began if channel.job is not None and (channel.soon or not channel.quiet) else 0.0
        channel.job = None
        channel.took = time.monotonic() - max(channel.started, began)
        channel.ended = self._end(channel)
        self._flush(channel)

    def _end(self, channel: _Channel, cancelled: bool = False) -> protocol.Done:
        seconds = round(time.monotonic() - channel.started, 4)
        return protocol.Done(channel=channel.number, seconds=seconds, cancelled=cancelled)

    def _failed(self, channel: _Channel, kind: str, message: str) -> None:
        channel.job = None
        if not (channel.quiet and channel.told == message):  # a live look that fails again says it once
            channel.told = message
            self._send(protocol.Failed(channel=channel.number, kind=kind, message=message))

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
        if not self._moves(channel.request):
            return
        idle = channel.job is None and channel.in_flight is None and channel.pending is None
        rest = PATIENCE.rest * channel.took if channel.took > PATIENCE.quick else 0.0
        pause = max(self._stage.pause(channel.request), rest)
        due = idle and time.monotonic() - channel.started >= pause
        touched = channel.request.live and self._stage.touched(channel.request) != channel.touched
        if touched and (due or not channel.soon):
            # What a person did shows at once: a look at the weights of before is given up, and the first one after it does not rest.
            self._start(channel, channel.request, quiet=True, soon=True)
        elif due and self._stage.pulse(channel.request) != channel.seen:
            self._start(channel, channel.request, quiet=True)
