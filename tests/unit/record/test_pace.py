"""How often is read by itself, what may be taken on disk, and parameters that are read together."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.record import look_pace, snapshots
from diorama.record import pace as paces
from diorama.record.groups import Groups
from diorama.record.pace import SHARE, Pace


class _Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(paces.time, "monotonic", lambda: self.now)


def _readings(pace: Pace, clock: _Clock, steps: int, step: float, cost: float, slow: tuple[int, ...] = ()) -> list[int]:
    """The steps at which is read; the readings with these places take fifty times as long."""
    found: list[int] = []
    for number in range(1, steps + 1):
        if number % pace.every == 0:
            pace.slower(number)
        if number % pace.every == 0:
            taken = 50 * cost if len(found) in slow else cost
            found.append(number)
            clock.now += taken
            pace.spent(taken)
            pace.faster(number + 1)
        clock.now += step
    return found


def test_the_docs_tell_the_bounds_of_readings() -> None:
    """What ``watch`` says that readings may take is what they may take."""
    assert f"{100 * SHARE:g} % of the time and {paces.MOST_AHEAD:g} s besides" in " ".join(str(diorama.watch.__doc__).split())


@pytest.mark.parametrize(("step", "cost"), [(0.001, 0.004), (0.02, 0.4), (0.3, 0.01), (0.0002, 0.001)])
def test_readings_take_their_share_of_the_time(step: float, cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie at multiples of ten, ever further apart; a short training has a dozen, and a longer one's cost little or their share of the time."""
    clock = _Clock(monkeypatch)
    pace = Pace("auto")
    pace.start(0, cost / 3)
    steps = 20_000
    found = _readings(pace, clock, steps, step, cost)
    apart = np.diff([0, *found])
    assert (apart % 10 == 0).all()
    assert (np.diff(apart) >= 0).all()
    for end in (1000, 5000, steps):
        taken = cost * sum(number <= end for number in found)
        assert taken <= max(0.2, 0.035 * end * step)
    early = cost * sum(number <= 1000 for number in found)
    assert len(found) * cost <= 1.1 * SHARE * steps * step + early + 10 * paces.FREE
    if cost < 20 * step:
        assert sum(number <= 300 for number in found) >= 9
        assert sum(number <= 1000 for number in found) >= 14
    if cost < SHARE * 10 * step:
        assert found == list(range(10, steps + 1, 10))
    else:
        assert len(found) * cost >= 0.3 * SHARE * steps * step


@pytest.mark.parametrize("slow", [(0,), (0, 1), (4, 5), (0, 1, 2), (4, 5, 6, 7)])
def test_readings_come_close_again_after_slow_ones(slow: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """One or two that a busy machine made slow change nothing; after more in a row the pace recovers."""
    steps, step, cost = 3000, 0.05, 0.005
    found = []
    for places in ((), slow):
        clock, pace = _Clock(monkeypatch), Pace("auto")
        pace.start(0, cost / 3)
        found.append(_readings(pace, clock, steps, step, cost, places))
        assert pace.every == 10
        pace.at_least(40)
        assert _readings(pace, clock, 400, step, cost)[-2:] == [360, 400]
    usual, disturbed = found
    assert usual == list(range(10, steps + 1, 10))
    assert len(disturbed) == len(usual) if len(slow) < 3 else len(usual) / 2 < len(disturbed) < len(usual)


def test_a_number_is_kept_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reading costs, a pace that was told stays."""
    clock = _Clock(monkeypatch)
    pace = Pace(7)
    pace.start(0, 1e6)
    assert _readings(pace, clock, 50, 1e-6, 1e6) == list(range(7, 50, 7))


def test_time_in_which_a_person_let_the_training_wait_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause of an hour buys no readings."""
    clock = _Clock(monkeypatch)
    pace = Pace("auto")
    pace.start(0, 0.1)
    for _ in range(3):
        pace.spent(0.3)
    clock.now += 3601
    pace.rested(3600)
    assert pace.slower(1000)
    assert pace.every >= 0.3 * 1000 / SHARE / 2


@pytest.mark.parametrize("every", [0, True, 2.5, "often"])
def test_another_pace_is_refused(every: object, tmp_path: Path) -> None:
    """watch says what it wants, before the first step."""
    with pytest.raises(diorama.UsageError, match="'auto' or a number of steps"):
        diorama.watch(nn.Linear(2, 2), tmp_path / "run", every=every)  # type: ignore[arg-type]


def test_a_slower_pace_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page can say why readings lie further apart from here on."""
    monkeypatch.setattr(paces, "SHARE", 0.0)
    monkeypatch.setattr(paces, "FREE", 0.0)
    monkeypatch.setattr(paces, "MOST", 80)
    model = nn.Linear(3, 2)
    with diorama.watch(model, tmp_path / "run") as recorder:
        for _ in range(200):
            recorder.step(loss=1.0)
    told = [event for event in diorama.open(tmp_path / "run").events if event.kind == "pace"]
    assert told
    assert "steps lie between two readings" in told[-1].text


def test_a_run_stays_within_its_budget(tmp_path: Path) -> None:
    """Snapshots between, the first snapshot and finer histograms go; the last snapshot and every number stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(8, 64), torch.randint(0, 10, (8,))
    budget = 307_000  # what cannot go takes 294 to 303 kB
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, budget=budget, every=1) as recorder:
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    taken = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert taken <= budget
    run = diorama.open(tmp_path / "run")
    assert run.snapshots == [60]
    assert len(run.series("loss")[0]) == 60
    kept = run.histograms("weights/0.weight").steps
    assert 0 < len(kept) < 30
    assert run.check() == []
    assert "only the last snapshot is kept" in run.meta["left_out"][0]
    assert "of the histograms those at multiples of" in [event.text for event in run.events if event.kind == "budget"][-1]
    assert not run.checkpoints


def test_very_many_parameters_are_read_by_module() -> None:
    """Names are cut until there are few enough groups; together they hold every number once."""
    names = [f"blocks.{k}.{part}.weight" for k in range(20) for part in ("query", "key", "mlp.0", "mlp.1")]
    tensors = {name: torch.full((3,), float(k)) for k, name in enumerate(names)}
    for most, expected in ((80, 80), (70, 60), (40, 20), (19, 1), (1, 1)):
        groups = Groups(names, most)
        found = groups.joined(tensors)
        assert len(found) == expected
        assert sorted(torch.cat(list(found.values())).tolist()) == sorted(torch.cat(list(tensors.values())).tolist())
    assert "blocks.3.*" in Groups(names, 40).joined(tensors)
    assert not Groups(names, 80)


def test_a_network_of_very_many_tensors_is_recorded(tmp_path: Path) -> None:
    """Norms of gradients, updates and weights of a group are those of all its numbers together."""
    torch.manual_seed(0)
    model = nn.Module()
    model.rows = nn.ParameterList([nn.Parameter(torch.randn(2)) for _ in range(1100)])
    model.forward = lambda x: torch.stack(list(model.rows)).sum() * x  # type: ignore[method-assign]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=1) as recorder:
        optimizer.zero_grad()
        model(torch.tensor(2.0)).backward()
        optimizer.step()
        recorder.step()
    run = diorama.open(tmp_path / "run")
    assert run.series("gradients/rows.*/norm")[1].tolist() == pytest.approx([(4 * 2200) ** 0.5])
    assert run.series("updates/rows.*/norm")[1].tolist() == pytest.approx([0.1 * (4 * 2200) ** 0.5], rel=1e-4)
    weights = torch.cat([p.detach() for p in model.rows]).norm()
    assert run.series("weights/rows.*/norm")[1][-1] == pytest.approx(float(weights))
    assert any(event.kind == "grouped" for event in run.events)


@pytest.mark.parametrize("where", ["observer", "layer_reader", "batch_reader"])
def test_what_is_read_in_the_passes_counts_as_a_part_of_a_reading(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that read layers and the batch, and putting them on, are of the training's time too: by a clock that strikes at each look there."""
    struck, spent = itertools.count(), list[float]()
    clock = SimpleNamespace(perf_counter=lambda: 100.0 * next(struck), monotonic=time.monotonic)
    monkeypatch.setattr(f"diorama.record.{where}.time", clock)
    monkeypatch.setattr(Pace, "spent", lambda self, seconds: spent.append(seconds))
    monkeypatch.setattr(Pace, "slower", lambda self, number: False)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, probe=(torch.ones(2, 2), torch.ones(2, 1))) as recorder:
        for _ in range(10):
            optimizer.zero_grad()
            model(torch.rand(2, 2)).square().sum().backward()
            optimizer.step()
            recorder.step()
    # Three layers are read; what comes to the batch, and what goes back from it; what is put on, and what is seen before the optimizer's step.
    assert spent[0] >= {"observer": 200, "layer_reader": 300, "batch_reader": 200}[where]


def test_readings_looks_and_snapshots_take_what_is_said_together() -> None:
    """The share that events and the guide name for all recording is the sum of the three."""
    assert pytest.approx(paces.ALL) == SHARE + look_pace.SHARE + snapshots.SHARE
