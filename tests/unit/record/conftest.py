"""What several tests of the recorder stand on."""

from __future__ import annotations

from typing import Any

import pytest

from diorama.core import registry
from diorama.record import evidence, rounds, waits
from diorama.record.findings import Diagnosis
from diorama.record.past import Past
from diorama.run import Run


@pytest.fixture
def looking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are looked for at every step, however short it is."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)


@pytest.fixture(autouse=True)
def _nothing_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks that are set by hand know of no other work on the machine."""
    monkeypatch.setattr(waits, "waited", lambda: 0.0)


class Hiding:
    """A record as findings read it, without the series and facts that a pattern names."""

    def __init__(self, record: Any, wanted: str) -> None:
        self._record = record
        parts = [part for way in wanted.split("|") for part in way.split("&")]
        found = [match["name"] for part in parts if (match := evidence._WANTED.fullmatch(part))]
        self._patterns = [name.partition("*") for name in found]
        self.series_names = [name for name in record.series_names if not self._hidden(name)]
        self.row_names = [name for name in getattr(record, "row_names", ()) if not self._hidden(name)]
        facts = {name.partition(".")[2] for name in found if name.startswith("probe.")}
        facts |= {"copied"} if "spread" in facts else set()  # which is looked for in the same true values
        self.snapshots = [] if "snapshots" in found else record.snapshots
        self.meta = {name: fact for name, fact in record.meta.items() if name not in found}
        if facts:
            self.meta["probe"] = {name: fact for name, fact in (record.meta.get("probe") or {}).items() if name not in facts}

    def _hidden(self, name: str) -> bool:
        return any(name == front or (star and name.startswith(front) and name.endswith(back)) for front, star, back in self._patterns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    def has_series(self, name: str) -> bool:
        """Whether there is one that is not hidden."""
        return name in self.series_names

    def series(self, name: str) -> Any:
        """Steps and values, none of what is hidden."""
        steps, values = self._record.series(name)
        return (steps[:0], values[:0]) if self._hidden(name) else (steps, values)


@pytest.fixture(autouse=True)
def _what_is_told_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found in any test: it is not among what could not be judged, and rests on what it says that it rests on."""
    judged = Run.judged

    def looked_at(run: Run, step: int | Past | None = None) -> tuple[list[Diagnosis], list[str]]:
        found, failed = judged(run, step)
        for name in {one.finding for one in found} & registry.findings.keys():
            finding: Any = registry.findings[name]()
            record: Any = step if isinstance(step, Past) else Past(run, step)
            assert evidence.unjudged(record, name, finding) is None
            for wanted in finding.rests:
                assert wanted.partition(":")[0] in _FACTS or not finding(Hiding(record, wanted)), f"{name} does not rest on {wanted}"
        return found, failed

    monkeypatch.setattr(Run, "judged", looked_at)


_FACTS = {"examples", "apart", "sure", "due", "held", "steps"}
"""What is no series: without it there would be none of the facts that the finding goes by."""
