"""The pool: order, affinity, low priority, callbacks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_performer import NAME
from told_jobs import Heard

from diorama.core.errors import Unavailable
from diorama.live import jobs
from diorama.live.jobs import BACKGROUND, STUCK, Lane, Pool


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two worker processes."""
    made = Pool(NAME, (Lane("model", 2, "", nice=1),))
    made.start()
    yield made
    made.close()


def test_frames_come_in_order_and_whole(pool: Pool) -> None:
    """All frames of a job arrive in order, before its end."""
    heard = Heard()
    frames = [str(k) * (1 + 3000 * k) for k in range(20)]
    pool.submit({"act": "echo", "frames": frames}, **heard.callbacks())
    assert [heard.next()[1].decode() for _ in frames] == frames
    assert heard.next()[0] == "on_done"


def test_workers_are_other_processes_at_low_priority_with_one_thread(pool: Pool) -> None:
    """A worker is a process of its own that gives way to the training."""
    heard = Heard()
    pool.submit({"act": "echo"}, **heard.callbacks())
    result = heard.end()[1]
    assert result["process"] != os.getpid()
    assert result["threads"] == "1"
    assert result["nice"] > os.nice(0) or result["nice"] == 19


def test_the_most_urgent_job_goes_first() -> None:
    """Among waiting jobs the lower number goes first, whatever came first."""
    single = Pool(NAME, (Lane("model", 1, ""),))
    try:
        order: list[str] = []
        done = Heard()
        for name, priority in (("late", 2), ("middle", 1), ("first", 0)):
            single.submit(
                {"act": "echo"},
                on_done=lambda *_, name=name: (order.append(name), done.all.put(name)),
                priority=priority,
            )
        for _ in range(3):
            done.all.get(timeout=120)
        assert order == ["first", "middle", "late"]
    finally:
        single.close()


def test_a_worker_that_has_it_loaded_is_preferred(pool: Pool) -> None:
    """Jobs of one affinity go to one worker while it is free."""

    def process(affinity: str) -> int:
        heard = Heard()
        pool.submit({"act": "echo"}, **heard.callbacks(), affinity=affinity)
        return int(heard.end()[1]["process"])

    while sum(worker.ready for worker in pool._workers["model"]) < 2:
        time.sleep(0.01)
    assert len({process("here") for _ in range(6)}) == 1


def test_a_look_goes_to_the_worker_that_made_it_before(pool: Pool) -> None:
    """What each knows of the way to its picture is used, however many know the run; a busy one keeps nobody waiting."""

    def asked(line: str, **more: Any) -> Heard:
        heard = Heard()
        pool.submit({"act": "echo", **more}, **heard.callbacks(), affinity="the run", line=line)
        return heard

    def process(heard: Heard) -> int:
        return int(heard.end()[1]["process"])

    while sum(worker.ready for worker in pool._workers["model"]) < 2:
        time.sleep(0.01)
    with pool._lock:  # neither ends before the other has begun
        both = [asked("one"), asked("two")]
    one, two = map(process, both)
    assert one != two
    for _ in range(3):
        assert [process(asked("two")), process(asked("one"))] == [two, one]
    with pool._lock:
        both = [asked("one"), asked("one")]
    assert {process(heard) for heard in both} == {one, two}


def test_a_waiting_job_is_cancelled_without_starting(pool: Pool) -> None:
    """A job cancelled before its turn never starts and never tells anything."""
    busy = [Heard(), Heard()]
    running = [pool.submit({"act": "count"}, **heard.callbacks()) for heard in busy]
    waiting = Heard()
    job = pool.submit({"act": "echo"}, **waiting.callbacks())
    job.cancel()
    for each in running:
        each.cancel()
    after = Heard()
    pool.submit({"act": "echo"}, **after.callbacks())
    assert after.end()[0] == "on_done"
    assert waiting.all.empty()


def test_what_is_asked_does_not_wait_for_what_refreshes(pool: Pool) -> None:
    """Live pictures made again take one worker of two; the other is there for a click."""
    live = [Heard(), Heard()]
    running = [pool.submit({"act": "count"}, **heard.callbacks(), priority=BACKGROUND) for heard in live]
    live[0].next("on_progress")
    asked = Heard()
    pool.submit({"act": "echo"}, **asked.callbacks())
    assert asked.end()[0] == "on_done"
    assert live[1].all.empty()
    for each in running:
        each.cancel()


def test_a_click_takes_the_spare_when_all_are_long_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """While every worker is in the middle of something long, the warm spare does what is asked; what refreshes waits, and where looks
    do not end a third worker is started for who waits, and ended when nobody does."""
    spared = Pool(NAME, (Lane("model", 1, "", spare=True),))
    try:
        heard, asked = Heard(), Heard()
        running = spared.submit({"act": "count"}, **heard.callbacks())
        heard.next("on_progress")
        spared.submit({"act": "echo"}, **asked.callbacks())
        assert asked.end()[0] == "on_done"
        quiet = Heard()
        spared.submit({"act": "echo"}, **quiet.callbacks(), priority=BACKGROUND)
        time.sleep(2 * STUCK)
        assert quiet.all.empty()
        endless = spared.submit({"act": "count"}, **heard.callbacks())
        while endless.worker is None:
            time.sleep(0.005)
        monkeypatch.setattr(jobs, "LONG", 0.0)
        last = Heard()
        spared.submit({"act": "echo"}, **last.callbacks())
        assert last.end()[0] == "on_done"
        assert (running.ended, endless.ended) == (False, False)
        while len(spared._workers["model"]) > 2:
            time.sleep(0.005)
        assert quiet.all.empty()
        endless.cancel()
        running.cancel()
        assert quiet.end()[0] == "on_done"
    finally:
        spared.close()


def test_what_refreshes_rests_while_somebody_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look at a person's own input a live picture waits, also with workers free; not for ever while the pen moves."""
    monkeypatch.setattr(jobs, "REST", 1.5)
    monkeypatch.setattr(jobs, "LONGEST_REST", 4.0)
    made = Pool(NAME, (Lane("model", 2, ""),))
    try:
        first = Heard()
        made.submit({"act": "echo"}, **first.callbacks())
        assert first.end()[0] == "on_done"
        drawn, live = Heard(), Heard()
        made.submit({"act": "echo"}, **drawn.callbacks(), priority=0)
        began = time.monotonic()
        made.submit({"act": "echo"}, **live.callbacks(), priority=BACKGROUND)
        assert drawn.end()[0] == "on_done"
        assert live.end()[0] == "on_done"
        assert time.monotonic() - began > 1.0

        pen, rested = Heard(), Heard()
        began = time.monotonic()
        made.submit({"act": "echo"}, **pen.callbacks(), priority=0)
        made.submit({"act": "echo"}, on_done=lambda *_: rested.all.put(time.monotonic()), priority=BACKGROUND)
        strokes = 1
        while rested.all.empty() and time.monotonic() - began < 60:
            made.submit({"act": "echo"}, **pen.callbacks(), priority=0)
            strokes += 1
            time.sleep(0.1)
        assert rested.all.get(timeout=1) - began > 3.0
        assert strokes > 2
    finally:
        made.close()


def test_a_closed_pool_refuses() -> None:
    """After its end a pool takes no work and says why."""
    closed = Pool(NAME, (Lane("model", 1, ""),))
    closed.close()
    with pytest.raises(Unavailable, match="closed"):
        closed.submit({"act": "echo"})
