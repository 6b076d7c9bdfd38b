"""Findings: the worst first, each with what can be done; calm when there are none."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import ClassVar

import pytest
from recorded_runs import recorded

from diorama.core import registry
from diorama.core.marks import Group, Number
from diorama.record.findings import Diagnosis, Finding
from diorama.record.store import RunReader
from diorama.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A short training."""
    return recorded(tmp_path / "run", 60)


class _Registered(dict[str, type[Finding]]):
    """Findings of the test, as a registry has its own."""

    broken: ClassVar[dict[str, str]] = {}

    def is_foreign(self, name: str) -> bool:
        """All are our own."""
        return False

    def told(self, name: str) -> str:
        """Which one is meant."""
        return f"the finding {name}"

@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> list[Diagnosis]:
    """The findings that are reported instead of the real ones."""
    found: list[Diagnosis] = []

    class Told(Finding):
        """Told by the test."""

        name = "told"

        def __call__(self, run: RunReader) -> list[Diagnosis]:
            return list(found)

    monkeypatch.setattr(registry, "findings", _Registered(told=Told))
    return found


def _marks(run: Run, **knobs: float) -> list[Number]:
    return [mark for mark in run.scene().view("findings", **knobs).marks() if isinstance(mark, Number)]


def test_nothing_wrong_is_said_calmly(run: Run, only: list[Diagnosis]) -> None:
    """Without findings there is one good mark that says what was looked for."""
    (mark,) = _marks(run)
    assert mark.tone == "good"
    assert "told" in mark.note


def test_nobody_says_that_all_is_well_beside_a_layer_that_health_marks(run: Run, only: list[Diagnosis], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no finding names what is wrong, but a layer's numbers lie outside their range, that is said in place of it."""
    monkeypatch.setattr("diorama.views.layer_health.JudgedLayers.severity", lambda layers, row: float(row == 0))
    mark = _marks(run)[0]
    assert mark.label == "No fault is known, but Health marks 1 layer"
    assert mark.tone != "good"
    assert "In Health 1 layer has numbers outside" in run.scene().view("findings").caption


def test_the_first_steps_say_little(tmp_path: Path, only: list[Diagnosis]) -> None:
    """Right after the start it is too early to tell."""
    (mark,) = _marks(recorded(tmp_path / "early", 5))
    assert "early" in mark.label
    assert mark.tone == "plain"


def test_the_worst_comes_first(run: Run, only: list[Diagnosis]) -> None:
    """Findings are sorted by how serious they are, toned by it, and lead to what they are about."""
    only += [
        Diagnosis("told", 0.1, "Slow", "It is slow.", ""),
        Diagnosis("told", 0.9, "Exploding", "Updates explode", "ratio 3 at step 20", ("layer:first",), step=20),
        Diagnosis("told", 0.5, "Dead", "Half the units are dead.", "8 of 16", step=7),
    ]
    marks = _marks(run)
    assert [(mark.label, mark.tone) for mark in marks] == [("Exploding", "bad"), ("Dead", "warn"), ("Slow", "plain")]
    assert marks[0].key == "layer:first"
    assert marks[0].note == "Updates explode. Ratio 3 at step 20."
    assert marks[1].key == "step:7"
    assert marks[1].note.endswith("8 of 16. Seen at step 7.")
    assert "the picture is of" not in run.scene().view("findings").caption
    assert "of the whole training, up to step 60; the picture is of step 0." in run.scene(step=0).view("findings").caption
    assert run.scene().view("findings").title == "3 findings"
    assert len(_marks(run, least=0.4)) == 2
    assert isinstance(run.scene().view("findings").body, Group)
    assert "2 less serious" in run.scene().view("findings", limit=1).note


def test_actions_are_offered_while_it_trains(run: Run, only: list[Diagnosis], monkeypatch: pytest.MonkeyPatch) -> None:
    """A running training offers the finding's command in words, and a pause; an ended one offers nothing."""
    only.append(Diagnosis("told", 0.9, "Exploding", "", "", action=("learning_rate", {"factor": 0.5})))
    assert _marks(run)[0].actions == ()
    monkeypatch.setattr(type(run), "alive", property(lambda self: True))
    halve, pause = _marks(run)[0].actions
    assert (halve.command, halve.label, halve.knobs) == ("learning_rate", "Halve the learning rate", {"factor": 0.5})
    assert (pause.command, pause.knobs) == ("pause", {})


def test_a_finding_that_fails_takes_no_other_with_it(run: Run, only: list[Diagnosis], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told, and a warning names the one that could not judge the run."""

    class Broken(Finding):
        """Fails."""

        def __call__(self, run: RunReader) -> list[Diagnosis]:
            raise ZeroDivisionError("no steps")

    only += [Diagnosis("told", 0.1, "Slow", "It is slow.", "")]
    monkeypatch.setattr(registry, "findings", _Registered(broken=Broken, **registry.findings))
    with pytest.warns(UserWarning, match="the finding broken does not judge this run: it failed .ZeroDivisionError: no steps"):
        assert [found.title for found in run.findings()] == ["Slow"]


@pytest.mark.parametrize("view", ["findings", "health"])
def test_the_record_is_read_once_and_anew_for_each_picture(run: Run, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges a training and what says which faults could not be looked for read one moment of it, once; the next picture reads it again
    where something was written meanwhile, as a training goes on."""
    reads, read = [], Run.every_series

    def counted(self: Run) -> object:
        reads.append(view)
        return read(self)

    monkeypatch.setattr(Run, "every_series", counted)
    for pictures in (1, 2):
        run.scene().view(view)
        assert len(reads) == pictures
        run.scene().view(view)
        assert len(reads) == pictures  # nothing was written
        with contextlib.closing(sqlite3.connect(run.path / "run.db")) as other, other:
            other.execute("update meta set value = value || ' '")
