"""A run that goes on from a step of another one, and that from a third: read as one line, from the first to the last.

A child names its parent by the name of a folder beside its own, and the step; so a line that is moved together stays
whole, and nothing in a run can point anywhere else. A parent that is missing, damaged or goes round in a circle ends
the line there, which is told (:attr:`Line.broken`), and what the run holds itself is read as always.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DioramaError, NotFound
from ..core.selection import Key
from ..data import changes_file
from ..training.surgery.births import Births, followed, whole
from .arrays import Numbers
from .event import RecordedEvent
from .reader import RunReader
from .store_bytes import Floats, HistogramBlock, Row, RowBlock, Steps

if TYPE_CHECKING:
    from torch import Tensor

MOST = 64
"""Ancestors that are followed."""
_KIN = 200
"""Runs of one name that are looked at for those that go on from one another."""
_OTHERS = 50
"""And so many of other names."""
_APART = 100_000
"""Lies between the architecture numbers of one run of a line and those of its parent."""


def told(parent: Path, step: int, moment: float | None = None) -> dict[str, Any]:
    """The fact that makes a run a child of another one beside it: what happened there at the step after the moment is not its."""
    return {"parent": {"run": parent.name, "step": step, "time": moment}}


@dataclasses.dataclass
class _LinePart:
    """A run of the line, with the steps that count: above the first, up to the last."""

    reader: RunReader
    above: int
    upto: float
    until: float = math.inf
    """At the last step only what happened before that moment counts."""

    def holds(self, steps: Steps) -> Any:
        """Which of the steps are this part's."""
        return (steps > self.above) & (steps <= self.upto)


class Line(RunReader):
    """A run with all its ancestors: series, histograms, snapshots and events of the whole way."""

    def __init__(self, path: str | Path, wait: float = 10.0) -> None:
        self.broken = ""
        """Why the line ends before its beginning; empty where it is whole."""
        self._ancestors: list[_LinePart] | None = None
        super().__init__(path, wait)

    def __enter__(self) -> Line:
        return self

    def close(self) -> None:
        """Let go of the files of all runs."""
        super().close()
        for part in self._ancestors or ():
            part.reader.close()

    def rest(self) -> None:
        """Let go of the files until they are asked again."""
        super().rest()
        for part in self._ancestors or ():
            part.reader.rest()

    def _forget(self) -> None:
        super()._forget()
        self._ancestors = None

    @property
    def ancestry(self) -> list[tuple[Path, int]]:
        """The folders of all ancestors with the step at which each was left, the parent first."""
        return [(part.reader.path, int(part.upto)) for part in self._older()]

    def _older(self) -> list[_LinePart]:
        """The ancestors' parts, the parent's first; opened once."""
        if self._ancestors is None:
            found: list[_LinePart] = []
            seen, self.broken = {self.path.resolve()}, ""
            cut: tuple[float, float] = (math.inf, math.inf)
            at = self._declared()
            while at is not None:
                folder = self.path.resolve().parent / at["run"]
                cut = min(cut, (at["step"], at.get("time") or math.inf))
                if Path(at["run"]).name != at["run"] or at["run"] in ("", ".", ".."):
                    self.broken = f"a parent is named by a folder beside this one, got {at['run']!r}"
                elif folder.resolve() in seen or len(found) >= MOST:
                    self.broken = f"the run {at['run']!r} is an ancestor of itself"
                if self.broken:
                    break
                seen.add(folder.resolve())
                try:
                    reader = RunReader(folder, self._wait)
                    at = reader.meta.get("parent")
                except DioramaError as error:
                    self.broken = f"the run {folder.name!r}, from which this one goes on, cannot be read: {error}"
                    break
                found.append(_LinePart(reader, -1 if at is None else int(min(at["step"], cut[0])), *cut))
            if found and self.broken:
                found[-1].above = -1
            self._ancestors = found
        return self._ancestors

    def _declared(self) -> dict[str, Any] | None:
        """The parent that this run names; none where its facts cannot be read, which whoever asks for them is told."""
        try:
            found: dict[str, Any] | None = RunReader.meta.fget(self).get("parent")  # type: ignore[attr-defined]
        except DioramaError:
            return None
        return found

    def _parts(self) -> list[_LinePart]:
        """The whole line, the oldest run first."""
        older = self._older()
        return [*reversed(older), _LinePart(self, int(older[0].upto) if older else -1, float("inf"))]

    @property
    def moment(self) -> tuple[Any, ...]:
        """Equal to what it was before as long as nothing was written to the line's databases, nor to the list of changed examples beside this one."""
        found: list[Any] = []
        for part in self._parts():
            with part.reader._moment():
                found.append(part.reader._version)
        try:
            listed = (self.path / changes_file.NAME).lstat()
        except OSError:
            return *found, None
        return *found, (listed.st_mtime_ns, listed.st_size, listed.st_ino)

    # What is read along the line. A run without a parent reads as one alone.

    def _along(self, read: Callable[[RunReader], Any]) -> list[tuple[_LinePart, Any]]:
        """What each run of the line has of something, where it has it; the oldest first."""
        found = []
        for part in self._parts():
            with contextlib.suppress(NotFound):
                found.append((part, read(part.reader)))
        return found

    @property
    def series_names(self) -> list[str]:
        """Names of all scalar series of the line."""
        return self._every(lambda reader: RunReader.series_names.fget(reader))  # type: ignore[attr-defined]

    def has_series(self, name: str) -> bool:
        """Whether a run of the line has a scalar series of that name."""
        return any(RunReader.has_series(part.reader, name) for part in self._parts())

    @property
    def histogram_names(self) -> list[str]:
        """Names of all recorded histograms of the line."""
        return self._every(lambda reader: RunReader.histogram_names.fget(reader))  # type: ignore[attr-defined]

    def _every(self, read: Callable[[RunReader], list[str]]) -> list[str]:
        return list(dict.fromkeys(name for part in reversed(self._parts()) for name in read(part.reader)))

    def series(self, name: str) -> tuple[Steps, Floats]:
        """Steps and values of a series along the line; raises NotFound with the nearest names."""
        found = self._along(lambda reader: RunReader.series(reader, name)) if self._older() else []
        if not found:
            return super().series(name)
        kept = [(steps[mine], values[mine]) for part, (steps, values) in found for mine in [part.holds(steps)]]
        return np.concatenate([steps for steps, _ in kept]), np.concatenate([values for _, values in kept])

    def every_series(self) -> dict[str, tuple[Steps, Floats]]:
        """All series of the line by name."""
        return {name: self.series(name) for name in self.series_names} if self._older() else super().every_series()

    def clock(self) -> tuple[Steps, Floats]:
        """All recorded steps of the line, and the wall-clock time of each."""
        if not self._older():
            return super().clock()
        found = []
        for part in self._parts():
            steps, values = RunReader.clock(part.reader)
            mine = part.holds(steps)
            found.append((steps[mine], values[mine]))
        return np.concatenate([steps for steps, _ in found]), np.concatenate([values for _, values in found])

    def distributions(self, name: str) -> HistogramBlock:
        """How a tensor's values were distributed along the line, in the bins of each step; raises NotFound with the nearest names."""
        found = self._along(lambda reader: RunReader.distributions(reader, name)) if self._older() else []
        blocks = [_rows(block, part.holds(block.steps)) for part, block in found]
        blocks = [block for block in blocks if len(block)]
        return HistogramBlock.joined(blocks) if blocks else super().distributions(name)

    @property
    def row_names(self) -> list[str]:
        """Names of all recorded rows of the line."""
        return self._every(lambda reader: RunReader.row_names.fget(reader))  # type: ignore[attr-defined]

    def rows(self, name: str) -> tuple[Steps, Row]:
        """Steps and rows along the line; raises NotFound with the nearest names."""
        found = self._along(lambda reader: RunReader._lined(reader, name)) if self._older() else []
        blocks = [block.at(part.holds(block.steps)) for part, block in found]
        blocks = [block for block in blocks if len(block)]
        if not blocks:
            return super().rows(name)
        whole = RowBlock.joined(blocks)
        return whole.steps, whole.values

    @property
    def last_step(self) -> int:
        """The last committed step."""
        own: int = RunReader.last_step.fget(self)  # type: ignore[attr-defined]
        return max(own, self._parts()[-1].above)

    @property
    def events(self) -> list[RecordedEvent]:
        """All events of the line, those of the oldest run first."""
        parts = self._parts()
        return [
            event
            for part in parts
            for event in RunReader.events.fget(part.reader)  # type: ignore[attr-defined]
            if part.reader is self or event.step < part.upto or (event.step == part.upto and event.time <= part.until)
        ]

    @property
    def snapshots(self) -> list[int]:
        """Steps at which the weights are kept."""
        return sorted(self._owners())

    def _owners(self) -> dict[int, int]:
        """By the step of a snapshot: which part of the line has it, counted from this run (0) to its oldest ancestor."""
        parts = self._parts()
        found: dict[int, int] = {}
        for number, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            for step in RunReader.snapshots.fget(part.reader):  # type: ignore[attr-defined]
                # The step at which a child was begun is the child's, where it has it.
                if part.above <= step <= part.upto:
                    found[step] = number
        return found

    def _owner(self, step: int) -> tuple[int, RunReader]:
        owners = self._owners()
        before = max((each for each in owners if each <= step), default=None)
        number = owners[before] if before is not None else 0
        return number, self if not number else self._older()[number - 1].reader

    def model_at(self, step: int) -> int:
        """The number of the architecture that a snapshot belongs to; each run of the line has numbers of its own."""
        if not self._older():
            return super().model_at(step)
        number, reader = self._owner(step)
        return number * _APART + RunReader.model_at(reader, step)

    @property
    def moves(self) -> list[tuple[int, Births]]:
        """From which snapshot on units lie where, by the numbers that they were born with; empty where no act moved any."""
        parts = {number: part.reader for number, part in enumerate((*reversed(self._parts()),))}
        if not any(RunReader.reshaped.fget(reader) for reader in parts.values()):  # type: ignore[attr-defined]
            return []
        models = {number: RunReader.models.fget(reader) for number, reader in parts.items()}  # type: ignore[attr-defined]
        firsts: dict[tuple[int, int], int] = {}
        for step, number in sorted(self._owners().items()):
            firsts.setdefault((number, models[number][step]), step)
        return list(zip(firsts.values(), whole([self.structure(step) for step in firsts.values()]), strict=True))

    def elsewhere(self, keys: Sequence[Key], step: int | None, of: int | None) -> list[Key | None]:
        """What each key is called at another step, None for one that is not there; None for a step is the newest."""
        there, here = (self.last_step if each is None else each for each in (step, of))
        if not keys or self.model_at(there) == self.model_at(here):
            return list(keys)
        structures = self.structure(here), self.structure(there)
        return [followed(key, *structures) for key in keys]

    def home(self, architecture: int) -> tuple[Path, int]:
        """The folder of a run of the line that has an architecture, and the number of it there."""
        number, own = divmod(architecture, _APART)
        return (self._older()[number - 1].reader.path if number else self.path), own

    def structure(self, step: int) -> dict[str, Any]:
        """What the network was made of at a step."""
        return RunReader.structure(self._owner(step)[1], step) if self._older() else super().structure(step)

    def state(self, step: int) -> dict[str, Tensor]:
        """Weights and buffers at a snapshot of the line."""
        return RunReader.state(self._owner(step)[1], step) if self._older() else super().state(step)

    def numbers(self, step: int) -> Numbers:
        """Floating-point weights and buffers at a snapshot of the line, as arrays."""
        return RunReader.numbers(self._owner(step)[1], step) if self._older() else super().numbers(step)

    def check(self) -> list[str]:
        """Read everything of this run and verify it; an ancestor that cannot be read is told too."""
        broken = [self.broken] if not self._older() or self.broken else []
        return [*super().check(), *filter(None, broken)]


def _rows(block: HistogramBlock, mine: Any) -> HistogramBlock:
    return HistogramBlock(block.steps[mine], block.floors[mine], block.statistics[mine], block.start, block.counts[mine])


def kin(path: Path) -> list[Path]:
    """The folders of all runs beside one that go on from one another with it, itself among them.

    They bear one name with numbers, or are among the newest of other names, as a branch may be called anything; what any of them goes on
    from is read once, for that never changes.
    """
    path = path.resolve()
    beside = [path.parent / name for name in _named(path.parent, _numbered(path.name))]
    ways = {folder.name: _parent(str(folder), _stamp(folder)) for folder in beside[:_KIN]}
    found, more = {path.name}, True
    while more:
        near = {name for name, parent in ways.items() if parent in found} | {
            parent for name in found if (parent := ways.get(name)) in ways
        }
        more = not near <= found
        found |= near
    return [path.parent / name for name in sorted(found)]


def _numbered(name: str) -> str:
    """A run's name without its number."""
    stem, dash, number = name.rpartition("-")
    return stem if dash and number.isascii() and number.isdigit() else name


def _named(folder: Path, stem: str) -> list[str]:
    """The runs in a folder that bear a name with numbers, and the newest of those that do not."""
    try:
        found = sorted(e.name for e in os.scandir(folder) if os.path.lexists(os.path.join(e.path, "run.db")))
    except OSError:
        return []
    own = [name for name in found if _numbered(name) == stem]
    others = [name for name in found if _numbered(name) != stem]
    return own + sorted(others, key=lambda name: _touched(folder / name), reverse=True)[:_OTHERS]


def _touched(folder: Path) -> float:
    """When a folder last got or lost a file."""
    try:
        return os.stat(folder).st_mtime
    except OSError:
        return 0.0


def _stamp(folder: Path) -> tuple[int, int]:
    """Tells a run from one that was made anew under its name."""
    try:
        return os.stat(folder).st_ino, os.stat(folder / "run.db").st_ino
    except OSError:
        return 0, 0


@functools.lru_cache(4096)
def _parent(folder: str, stamp: tuple[int, int]) -> str:  # noqa: ARG001 - part of the key
    """The name of the run from which one goes on; empty where it goes on from none, or cannot be read."""
    try:
        with RunReader(folder, 1.0) as reader:
            return str((reader.meta.get("parent") or {}).get("run", ""))
    except (DioramaError, OSError):
        return ""


def children(path: Path) -> list[Path]:
    """The folders of the runs beside one that go on from it; what cannot be read is no child."""
    found = []
    for folder in neighbours(path):
        with contextlib.suppress(DioramaError, OSError), RunReader(folder, 1.0) as reader:
            if (reader.meta.get("parent") or {}).get("run") == path.resolve().name:
                found.append(folder)
    return found


def neighbours(path: Path) -> list[Path]:
    """The folders of the other runs in the folder of one, by name; what this user may not look into is passed over."""
    own = path.resolve()
    return sorted(folder for folder in own.parent.iterdir() if folder != own and os.path.isfile(folder / "run.db"))
