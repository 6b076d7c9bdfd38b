"""What a machine does besides a training is none of the training's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from diorama.record import look_pace, waits
from diorama.record import pace as paces
from diorama.record.look_pace import LookPace
from diorama.record.pace import Pace

_WAITED = waits.waited
"""As it is before a fixture of these tests puts a still one in its place."""
_STEP, _COST, _STEPS = 0.0005, 0.002, 40_000


def _read(clock: SimpleNamespace, busy: float) -> float:
    """Seconds that readings take of a training that has one in ``busy`` seconds of the processor."""
    pace, spent = Pace(), 0.0
    pace.start(0, _COST / 3)
    for number in range(1, _STEPS + 1):
        if number % pace.every == 0:
            pace.slower(number)
        if number % pace.every == 0:
            clock.now += _COST * busy
            spent += _COST
            pace.spent(_COST)
            pace.faster(number + 1)
        clock.now += _STEP * busy
    return spent


def _looked(clock: SimpleNamespace, busy: float) -> float:
    """The same of looks at the probe set; who rests as long as is said misses none."""
    pace, spent, rests = LookPace(), 0.0, (0, 0.0)
    pace.took(_COST)
    pace.start(0)
    for number in range(10, _STEPS + 1, 10):
        clock.now += 10 * _STEP * busy
        if pace.affordable(number):
            assert number > rests[0] or clock.now >= rests[1]
            pace.took(_COST)
            spent += _COST
            clock.now += _COST * busy
        looks, step, until = pace.rests(number)
        rests = (0, 0.0) if looks else (step, until)
    return spent


@pytest.mark.parametrize("kind", [_read, _looked])
def test_a_busy_machine_makes_no_more_of_a_share(monkeypatch: pytest.MonkeyPatch, kind: Callable[[SimpleNamespace, float], float]) -> None:
    """Where others have four seconds in five, readings and looks take the same part of the training's fifth as they would of all five."""
    found = []
    for busy in (1.0, 5.0):
        clock = SimpleNamespace(now=100.0)
        for module in (paces, look_pace):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda clock=clock: clock.now))
        monkeypatch.setattr(waits, "waited", lambda clock=clock, busy=busy: (1 - 1 / busy) * (clock.now - 100.0))
        found.append(kind(clock, busy))
    assert found[0] > 3 * _COST
    assert found[1] == pytest.approx(found[0], rel=0.1)


def test_a_thread_knows_how_long_it_waited() -> None:
    """The time that a thread works and the time that it waits for a processor make up that which passes, where the system says so."""
    if not _WAITED():
        pytest.skip("the system does not say how long a thread waited")
    began, used, waited = time.monotonic(), time.thread_time(), _WAITED()
    while time.thread_time() - used < 0.2:
        pass
    taken, used, waited = time.monotonic() - began, time.thread_time() - used, _WAITED() - waited
    assert used + waited == pytest.approx(taken, rel=0.3)
