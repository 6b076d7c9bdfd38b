"""Channels: one frame in flight, the newest first; the slider and the pen; live pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from diorama.core.errors import UsageError
from diorama.core.request import Request
from diorama.live import channels as channels_module
from diorama.live.channels import MOST, Channels


class FakeJob:
    """A job that the test drives."""

    def __init__(self, request: Request, callbacks: dict[str, Callable[..., None]]) -> None:
        self.request, self.callbacks, self.cancelled, self.quiet, self.began = request, callbacks, False, False, 0.0

    def cancel(self) -> None:
        """Note it."""
        self.cancelled = True

    def picture(self, frame: bytes) -> None:
        """Yield a frame."""
        self.callbacks["on_picture"](frame)

    def done(self) -> None:
        """End well."""
        self.callbacks["on_done"]({}, b"")

    def fail(self, message: str) -> None:
        """End badly."""
        self.callbacks["on_error"]("NotApplicable", message)


class Bench:
    """A stage, and a page that notes what it is sent."""

    def __init__(self) -> None:
        self.jobs: list[FakeJob] = []
        self.now: object = 0
        self.command = 0
        self.wait = 0.0
        self.whole = False
        self.sent: list[dict[str, Any]] = []
        self.frames: list[tuple[int, int, bytes]] = []
        self.channels = Channels(self, self.sent.append, lambda *frame: self.frames.append(frame))

    def submit(self, request: Request, callbacks: dict[str, Callable[..., None]], quiet: bool) -> Any:
        """Note the job."""
        self.jobs.append(FakeJob(request, callbacks))
        self.jobs[-1].quiet = quiet
        return self.jobs[-1]

    def pulse(self, request: Request) -> object:
        """What the test set."""
        return self.now

    def touched(self, request: Request) -> object:
        """What the test set."""
        return self.command

    def pause(self, request: Request) -> float:
        """What the test set."""
        return self.wait

    def grows(self, request: Request) -> bool:
        """What the test set."""
        return self.whole

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What was said of a kind."""
        return [event for event in map(msgspec.to_builtins, self.sent) if event["event"] == kind]


@pytest.fixture
def bench() -> Bench:
    """A stage with nothing on it."""
    return Bench()


def look(**values: Any) -> Request:
    """A request."""
    return Request(**{"run": "r", "view": "curves", **values})


def test_one_frame_is_in_flight_and_the_newest_goes_next(bench: Bench) -> None:
    """Until the page has drawn a frame only the newest of the following is kept; the end comes after the last frame."""
    bench.channels.show(3, look())
    job = bench.jobs[0]
    for frame in (b"1", b"2", b"3"):
        job.picture(frame)
    job.done()
    assert [frame[2] for frame in bench.frames] == [b"1"]
    assert not bench.events("done")
    bench.channels.ack(3, bench.frames[0][1])
    assert [frame[2] for frame in bench.frames] == [b"1", b"3"]
    assert bench.events("done")
    assert bench.frames[1][1] > bench.frames[0][1]


def test_curves_grow_wherever_the_slider_stands(bench: Bench) -> None:
    """A picture of the whole record is made again as the run goes on, also while the slider stands at an old step."""
    bench.channels.show(1, look(step=10))
    bench.jobs[0].done()
    bench.now = 1
    bench.channels.tick()
    assert len(bench.jobs) == 1
    bench.channels.hide(1)
    bench.whole = True
    bench.channels.show(2, look(step=10))
    bench.jobs[1].done()
    bench.now = 2
    bench.channels.tick()
    assert len(bench.jobs) == 3
    assert not bench.events("error")


def test_an_old_ack_lets_nothing_go(bench: Bench) -> None:
    """Only the acknowledgement of the frame in flight sends the next one."""
    bench.channels.show(3, look())
    bench.jobs[0].picture(b"1")
    bench.jobs[0].picture(b"2")
    bench.channels.ack(3, bench.frames[0][1] + 7)
    bench.channels.ack(4, bench.frames[0][1])
    assert len(bench.frames) == 1


def test_another_selection_cancels_at_once(bench: Bench) -> None:
    """A changed selection or knob stops the old job, and nothing of it is shown any more."""
    bench.channels.show(1, look())
    bench.channels.show(1, look(selection="example:4"))
    first, second = bench.jobs
    assert first.cancelled
    first.picture(b"stale")
    first.done()
    second.picture(b"new")
    assert [frame[2] for frame in bench.frames] == [b"new"]
    assert not bench.events("done")


def test_live_pictures_follow_the_run_and_wait_for_the_page(bench: Bench) -> None:
    """A live picture is made again when the run moved on and the page has drawn the last one, and not before."""
    bench.channels.show(1, look(step="live"))
    bench.channels.tick()
    assert len(bench.jobs) == 1
    bench.jobs[0].picture(b"1")
    bench.jobs[0].done()
    bench.now = 1
    bench.channels.tick()
    assert len(bench.jobs) == 1, "the page has not drawn the last one"
    bench.channels.ack(1, bench.frames[0][1])
    assert len(bench.jobs) == 2, "an acknowledgement is enough, no tick is waited for"
    bench.jobs[1].picture(b"2")
    bench.jobs[1].done()
    bench.channels.ack(1, bench.frames[1][1])
    bench.channels.tick()
    assert len(bench.jobs) == 2, "nothing is new"
    assert len(bench.events("busy")) == 1, "a live picture made again is not announced"
    assert [job.quiet for job in bench.jobs] == [False, True], "and gives way to what is asked"


def test_live_records_are_not_made_more_often_than_their_pause(bench: Bench) -> None:
    """Between two live pictures lies the view's pause, however fast the run goes on."""
    bench.wait = 3600.0
    bench.channels.show(1, look(step="live"))
    bench.jobs[0].picture(b"1")
    bench.jobs[0].done()
    bench.now = 1
    bench.channels.ack(1, bench.frames[0][1])
    bench.channels.tick()
    assert len(bench.jobs) == 1


def test_a_slow_live_picture_rests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took long is not made again at once, however fast the run goes on."""
    now = [100.0]
    monkeypatch.setattr(channels_module.time, "monotonic", lambda: now[0])
    bench.channels.show(1, look(step="live"))
    now[0] += 5.0
    bench.jobs[0].done()
    bench.now = 1
    bench.channels.tick()
    assert len(bench.jobs) == 1
    now[0] += 5.0
    bench.channels.tick()
    assert len(bench.jobs) == 2


def test_what_somebody_did_shows_before_what_refreshes_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a command a live look begins anew at once, as if it was asked for, the quick ones first; what was under way is given up. One
    after the other rests as ever, so that a rule which acts at each step does not crowd out the rest."""
    now = [100.0]
    monkeypatch.setattr(channels_module.time, "monotonic", lambda: now[0])
    bench.channels.show(1, look(step="live", view="map"))
    bench.channels.show(2, look(step="live", view="weights"))
    bench.channels.show(3, look(step=4, view="map"))
    now[0] += 1.0
    bench.jobs[1].done()
    bench.jobs[2].done()
    now[0] += 4.0
    bench.jobs[0].done()
    bench.command = bench.now = 7
    bench.channels.tick()
    assert [job.request.view for job in bench.jobs[3:]] == ["weights", "map"]
    assert not any(job.quiet for job in bench.jobs[3:])
    assert len(bench.events("busy")) == 3, "it is not announced"
    bench.jobs[3].done()
    bench.command = bench.now = 8
    bench.channels.tick()
    assert bench.jobs[4].cancelled is False, "one look after a command is let finish"
    assert [job.request.view for job in bench.jobs[5:]] == ["weights"]
    now[0] += 4.0
    bench.jobs[4].done()
    bench.channels.tick()
    assert len(bench.jobs) == 6, "it rests"
    now[0] += 8.0
    bench.channels.tick()
    assert [job.request.view for job in bench.jobs[6:]] == ["map"]


def test_an_earlier_wait_for_a_worker_is_no_reason_to_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first look that waited for its worker to start is followed by live ones as soon as one that did not."""
    now = [100.0]
    monkeypatch.setattr(channels_module.time, "monotonic", lambda: now[0])
    bench.channels.show(1, look(step="live"))
    now[0] += 30.0
    bench.jobs[0].began = now[0]
    bench.jobs[0].done()
    bench.now = 1
    bench.channels.tick()
    assert len(bench.jobs) == 2


def test_a_live_error_is_said_once(bench: Bench) -> None:
    """A live look that fails in the same way at each step says so once."""
    bench.channels.show(1, look(step="live"))
    for now in range(1, 5):
        bench.jobs[-1].fail("there are no images")
        bench.now = now
        bench.channels.tick()
    assert len(bench.jobs) == 5
    assert len(bench.events("error")) == 1


def test_hide_and_cancel(bench: Bench) -> None:
    """A hidden channel's work stops and is silent; a cancelled one says that it ended."""
    bench.channels.show(1, look())
    bench.channels.hide(1)
    assert bench.jobs[0].cancelled
    bench.jobs[0].picture(b"late")
    assert not bench.frames
    bench.channels.show(2, look())
    bench.channels.cancel(2)
    assert bench.jobs[1].cancelled
    assert bench.events("done") == [
        {"event": "done", "channel": 2, "seconds": pytest.approx(0, abs=9), "cancelled": True}
    ]


def test_channels_are_bounded(bench: Bench) -> None:
    """A connection cannot open channels without end."""
    for number in range(MOST):
        bench.channels.show(number, look())
    with pytest.raises(UsageError, match="at most"):
        bench.channels.show(MOST, look())
    bench.channels.close()
    assert all(job.cancelled for job in bench.jobs)


def test_progress_is_thinned(bench: Bench) -> None:
    """A view that reports each of a thousand steps does not flood the page."""
    bench.channels.show(1, look())
    for done in range(1000):
        bench.jobs[0].callbacks["on_progress"]({"done": done, "total": 1000, "note": "", "seconds": None})
    assert 1 <= len(bench.events("progress")) < 50
