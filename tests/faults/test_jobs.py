"""Views that crash, hang, print, or eat the memory: one job fails with one sentence, and the next one runs."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "live"))

from fake_performer import NAME  # noqa: E402 - its folder was added just above, so that workers find it too
from told_jobs import Heard  # noqa: E402

from diorama.live import jobs  # noqa: E402
from diorama.live.jobs import Lane, Pool  # noqa: E402
from diorama.live.performer import _one_thread_here  # noqa: E402
from diorama.live.workers import ProcessWorker, ThreadWorker  # noqa: E402

NO_BOUND = pytest.mark.skipif(
    not sys.platform.startswith("linux") or Path("/dev/nvidiactl").exists(), reason="Linux without a GPU bounds a worker"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two workers and a spare, shared by the tests, as they are by all views."""
    made = Pool(NAME, (Lane("model", 2, "", spare=True, nice=1), Lane("local", 1, "", thread=True)))
    made.start()
    yield made
    made.close()


def run(pool: Pool, act: str, **job: object) -> Heard:
    """Submit one job."""
    heard = Heard()
    pool.submit({"act": act, "what": f"the view {act}", **job}, **heard.callbacks())
    return heard


def works(pool: Pool) -> int:
    """The process that does the next job."""
    name, result, _ = run(pool, "echo").end()
    assert name == "on_done"
    return int(result["process"])


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        ("leave", "Crashed", "exit code 7"),
        ("hungry", "MemoryError", "memory"),
        pytest.param("vast", "MemoryError", "memory", marks=NO_BOUND),
        ("bug", "KeyError", "details"),
        ("exit", "SystemExit", "failed"),
        ("unfit", "NotApplicable", "use text"),
    ],
)
def test_a_failing_view_is_one_event(pool: Pool, act: str, kind: str, words: str) -> None:
    """A view that fails, however it fails, is one error event in one sentence, and the pool goes on."""
    heard = run(pool, act)
    name, told, message = heard.end()
    assert (name, told) == ("on_error", kind)
    assert words in message
    assert "\n" not in message
    assert works(pool)
    assert heard.all.empty()


def test_many_crashes_do_not_wear_the_pool_out(pool: Pool) -> None:
    """After each of ten crashes in a row there is a worker for the next job."""
    for _ in range(10):
        assert run(pool, "leave").end()[1] == "Crashed"
    assert works(pool)


def test_a_deaf_view_is_replaced_after_its_grace(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled job that does not listen loses its worker; others run meanwhile, and it is never heard of again."""
    monkeypatch.setattr(jobs, "GRACE", 0.2)
    heard = Heard()
    job = pool.submit({"act": "deaf"}, **heard.callbacks())
    heard.next("on_progress")
    deaf = job.worker
    job.cancel()
    assert works(pool)
    while not deaf.dead:  # type: ignore[union-attr] # it runs, so it has a worker
        time.sleep(0.01)
    assert works(pool)
    assert heard.all.empty()


@pytest.mark.parametrize(("most", "had", "least"), [(600.0, [1.0] * 5 + [1.021], 6), (0.1, [1.0], 2)])
def test_a_cancelled_view_that_gets_no_processor_keeps_its_worker(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, most: float, had: list[float], least: int
) -> None:
    """Where others have the processor, the grace does not run out, as another worker would have to begin anew: until it was had, or at most."""
    asked: list[bool] = []

    def spent(worker: ProcessWorker) -> tuple[float, bool]:
        asked.append(worker.dead)
        return had[min(len(asked), len(had)) - 1], True

    heard = Heard()
    job = pool.submit({"act": "deaf"}, **heard.callbacks())
    heard.next("on_progress")
    worker = job.worker
    for place, name, value in ((jobs, "GRACE", 0.02), (jobs, "LONGEST_GRACE", most), (ProcessWorker, "spent", spent)):
        monkeypatch.setattr(place, name, value)
    job.cancel()
    while not worker.dead:  # type: ignore[union-attr] # it runs, so it has a worker
        time.sleep(0.01)
    assert not any(asked)
    assert len(asked) >= least
    assert works(pool)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells what a process has had")
def test_what_a_worker_has_had_of_the_processor_is_known(pool: Pool) -> None:
    """A worker that sleeps wants no more; what it has had until then is some, and less than all of the time."""
    heard = Heard()
    job = pool.submit({"act": "deaf"}, **heard.callbacks())
    heard.next("on_progress")
    assert job.worker is not None
    while (told := job.worker.spent()) is None or told[1]:
        time.sleep(0.01)
    assert 0 < told[0] < time.monotonic()
    job.worker.kill()


def test_cancel_stops_the_work_and_keeps_the_worker(pool: Pool) -> None:
    """A cancelled job that listens stops inside; its worker is used again."""
    heard = Heard()
    job = pool.submit({"act": "count"}, **heard.callbacks())
    heard.next("on_progress")
    worker = job.worker
    assert worker is not None
    job.cancel()
    while worker.job is job:
        time.sleep(0.005)
    assert not worker.dead
    assert all(told[0] == "on_progress" for told in list(heard.all.queue))


def test_a_view_that_prints_breaks_nothing(pool: Pool) -> None:
    """What a view prints goes to the log, not between the frames."""
    heard = run(pool, "noisy")
    assert heard.next() == ("on_picture", b"whole")
    assert heard.end()[0] == "on_done"


def test_workers_that_cannot_start_are_said_and_not_tried_for_ever() -> None:
    """When workers die at their start, the waiting jobs fail with one sentence."""
    broken = Pool(NAME, (Lane("model", 1, "broken"),))
    try:
        name, kind, message = run(broken, "echo").end()
        assert (name, kind) == ("on_error", "Unavailable")
        assert "could not" in message or "no worker could be started" in message
    finally:
        broken.close()


def test_threads_load_one_after_the_other_and_then_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of one process never import at once, and nothing is left to import when their views run."""
    both, loaded, met = threading.Barrier(2), [], []

    def idle(self: object, level: str) -> Iterator[None]:
        try:
            both.wait(0.05)
            met.append(level)
        except threading.BrokenBarrierError:
            both.reset()
        loaded.append(level)
        yield

    monkeypatch.setattr("fake_performer.FakePerformer.idle", idle)
    ready: queue.Queue[int] = queue.Queue()
    workers = [ThreadWorker(lambda worker, event, body: ready.put(len(loaded)), NAME, "") for _ in range(2)]
    assert [ready.get(timeout=20), ready.get(timeout=20)] == [1, 2]
    assert not met
    for worker in workers:
        worker.kill()


def test_a_thread_that_looks_takes_no_threads_from_the_training() -> None:
    """A look in the process that trains counts on one thread; threads that are begun afterwards count as they did."""
    found, usual = [], torch.get_num_threads()
    torch.set_num_threads(2)
    for target in (lambda: found.append(torch.get_num_threads()), _one_thread_here, lambda: found.append(torch.get_num_threads())):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    torch.set_num_threads(usual)
    assert found == [2, 2]


def test_a_local_view_that_fails_leaves_its_thread(pool: Pool) -> None:
    """Work in a thread of this process is cancelled and fails as work in a process does."""
    heard = Heard()
    pool.submit({"act": "bug", "what": "it"}, **heard.callbacks(), lane="local")
    assert heard.end()[1] == "KeyError"
    job = pool.submit({"act": "count"}, **heard.callbacks(), lane="local")
    heard.next("on_progress")
    job.cancel()
    again = Heard()
    pool.submit({"act": "echo"}, **again.callbacks(), lane="local")
    assert again.end()[0] == "on_done"


def test_a_run_that_never_loads_leaves_the_workers_to_the_others(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no more than its share of the workers, its loading has an end, and from then on it holds one at a time."""
    stuck = [Heard() for _ in range(4)]
    message = {"act": "stuck", "what": "the view of the bad run"}
    asked = [pool.submit(message, **each.callbacks(), owner="bad") for each in stuck]
    heard = Heard()
    pool.submit({"act": "echo"}, **heard.callbacks(), owner="good")
    assert heard.end()[0] == "on_done"
    assert sum(worker.job is not None for worker in pool._workers["model"]) == 2
    monkeypatch.setattr(jobs, "LOADING", 0.0)
    pool.expire()
    monkeypatch.undo()
    for each in stuck[:2]:
        name, kind, said = each.end()
        assert (name, kind) == ("on_error", "Unavailable")
        assert "loading the run took more than" in said
    heard = Heard()
    pool.submit({"act": "echo"}, **heard.callbacks(), owner="good")
    assert heard.end()[0] == "on_done"
    assert sum(worker.job is not None and not worker.dead for worker in pool._workers["model"]) <= 1
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "LOADING", -1.0)
        while not all(job.ended for job in asked):
            pool.expire()
            time.sleep(0.01)
