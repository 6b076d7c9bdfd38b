"""How often the probe set is looked at while a training goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from diorama.record import look_pace, prober
from diorama.record.look_pace import LAYERS, LAYERS_EVERY, SHARE, WATCHED, LookPace

Costs = Iterator[float]


class _Training(NamedTuple):
    """A training by a clock that is set by hand: at which steps it was looked, when, what that took, and which looks read layers."""

    steps: list[int]
    times: list[float]
    taken: list[float]
    whole: list[bool]
    ends: float

    def share(self) -> float:
        return sum(self.taken) / self.ends


def _train(
    monkeypatch: pytest.MonkeyPatch, count: int, step: float, answers: Costs, layers: float = 0.0, watched: bool = False,
    waits: dict[int, float] | None = None, told: bool = True,
) -> _Training:
    """Train so many steps of so many seconds, with looks that take what comes next; at some steps it waits, and may not tell."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(look_pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pace, found = LookPace(), _Training([], [], [], [], 0.0)
    pace.took(next(answers), layers)  # before the first step, which is no time of the training's
    if pace.dearest < prober._SHORT:
        pace.took(next(answers))
    clock.now += 5.0
    pace.start(0)
    pace.watched = watched
    began = clock.now
    resting = (0, 0.0)
    for number in range(10, count + 1, 10):
        clock.now += 10 * step
        if waits and number in waits:
            clock.now += waits[number]
            began += waits[number]
            if told:
                pace.rested(waits[number])
        looks = pace.affordable(number)
        # Whoever goes by what it said before misses none.
        assert not looks or number > resting[0] or clock.now >= resting[1]
        if looks:
            whole, seconds = pace.whole(), next(answers)
            pace.took(seconds, layers if whole else None)
            taken = seconds + (layers if whole else 0.0)
            clock.now += taken
            for kept, value in zip(found, (number, clock.now - began, taken, whole), strict=False):
                kept.append(value)  # type: ignore[union-attr,arg-type]
        may, until, at = pace.rests(number)
        resting = (0, 0.0) if may else (until, at)
    return found._replace(ends=clock.now - began)


def _same(seconds: float) -> Callable[[], Costs]:
    return lambda: itertools.repeat(seconds)


def _then(usual: float, *first: float) -> Callable[[], Costs]:
    return lambda: itertools.chain(first, itertools.repeat(usual))


def _busy(usual: float, seed: int = 0) -> Callable[[], Costs]:
    """A machine that does other work: each look takes up to three times as long, one in eight twenty times."""
    draw = np.random.default_rng(seed)
    return lambda: (usual * (20.0 if draw.random() < 0.125 else 1 + 2 * draw.random()) for _ in itertools.count())


@pytest.mark.parametrize(
    ("step", "cost", "layers"),
    [
        (0.0003, _same(0.004), 0.02), (0.008, _same(0.04), 0.06), (0.05, _same(0.04), 0.06), (0.05, _same(0.12), 0.2), (0.3, _same(0.6), 6.0),
        (1.0, _same(30.0), 60.0), (0.05, _busy(0.04), 0.06), (0.008, _busy(0.02), 0.0), (0.05, _then(0.04, 4.0), 0.06),
        (0.008, _then(0.01, 0.9), 0.03), (0.05, _then(0.04, 4.0, 4.0), 0.06), (0.3, _then(0.2, 20.0), 0.1),
    ],
)
@pytest.mark.parametrize("watched", [False, True])
def test_looks_take_their_share_to_the_end(
    step: float, cost: Callable[[], Costs], layers: float, watched: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever looks cost, and however slow some are: they take their share of the time and no more, and none is long in coming."""
    count, share, costs = 20_000, SHARE * (WATCHED if watched else 1.0), list(itertools.islice(cost(), 99))
    found = _train(monkeypatch, count, step, cost(), layers, watched)
    usual, slowest = float(np.median(costs)), max(costs[:2])
    # Ahead of their share come the first few, and two of a cost that is not sure yet.
    assert sum(found.taken) <= 1.9 * share * found.ends + 0.3 + 2 * (slowest + layers)
    # Layers are apart: what they take keeps no answers waiting.
    assert layers * sum(found.whole) <= share * LAYERS * found.ends + 2 * layers
    assert all(after - before >= LAYERS_EVERY for before, after in itertools.pairwise(np.flatnonzero(found.whole)))
    fair = usual / (share * (1 - LAYERS))
    unsure = 2 * 31 * slowest if slowest > prober._SHORT else 0.0
    assert len(found.steps) >= min(0.6 * (found.ends - unsure) / fair - 3, 0.9 * count / 10)
    late = [0.7 * found.ends, *(time for time in found.times if time > 0.7 * found.ends), found.ends]
    assert max(np.diff(late)) <= max(16 * fair if len(set(costs)) > 3 else 2.2 * fair, 11 * step + usual)


@pytest.mark.parametrize("cost", [_same(0.05), _then(0.05, 0.9), _then(0.05, 0.05, 0.05, 0.05, 5.0)])
def test_who_watches_a_training_sees_it_every_few_seconds(cost: Callable[[], Costs], monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of a twentieth of a second, twenty steps a second: some thirty looks in 1,000 steps, each a few seconds behind the one before,
    also where one at the start, or a later one, was many times as slow."""
    found = _train(monkeypatch, 1000, 0.05, cost(), 0.1, watched=True)
    assert len(found.steps) >= 20
    assert max(np.diff([0.0, *found.times, found.ends])) <= 15.0
    assert np.median(np.diff(found.times)) <= 4.0
    assert sum(sorted(found.taken)[:-1]) <= 0.04 * found.ends


@pytest.mark.parametrize("layers", [0.0, 0.05, 0.5])
def test_what_layers_leave_goes_to_answers(layers: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where layers cost next to nothing, losses and accuracy are told as often as the whole share allows, and it is not passed."""
    found = _train(monkeypatch, 20_000, 0.1, _same(0.5)(), layers)
    assert len(found.steps) >= 0.9 * SHARE * found.ends / (0.5 + layers / LAYERS_EVERY)
    assert sum(found.taken) <= SHARE * found.ends + 0.3 + 2 * (0.5 + layers)


def test_first_looks_come_whenever_the_steps_have_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short training has some of its beginning, however small its share is; a dear look waits until there is time for it."""
    assert {10, 20, 40, 80, 160, 320} <= set(_train(monkeypatch, 700, 0.001, _same(0.002)()).steps)
    assert not _train(monkeypatch, 700, 0.001, _same(0.3)()).steps


def test_an_hour_that_a_person_let_the_training_wait_buys_no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause is no time of the training's own; nor are many looks made up for after one that nobody told of."""
    # No look falls due exactly at a step, where it would hang on how the hour is rounded.
    usual = _train(monkeypatch, 4000, 0.05, _same(0.29)())
    paused = _train(monkeypatch, 4000, 0.05, _same(0.29)(), waits={1000: 3600.0})
    assert paused.steps == usual.steps
    away = _train(monkeypatch, 4000, 0.05, _same(0.29)(), waits={1000: 3600.0}, told=False)
    assert len(usual.steps) <= len(away.steps) <= len(usual.steps) + 2


def test_a_slow_batch_in_a_look_says_nothing_of_the_next_look() -> None:
    """Where something is compiled in the first of several batches, the cost is what the others tell."""
    looking = object.__new__(prober.Prober)
    looking._batches = [30.0, 0.1, 0.1, 0.2]
    assert looking._usual(30.5) == pytest.approx(0.1 + 4 * 0.2)
    looking._batches = [30.0, 0.1]
    assert looking._usual(30.5) == 30.5
