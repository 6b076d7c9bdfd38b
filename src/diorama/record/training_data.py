"""The data that a training draws from, as commands change it: which data set that is, and which of its examples the probe set holds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DioramaError, NotApplicable, UsageError
from ..core.knobs import numbers_in, numbers_written
from ..data import changes_file
from ..data.changes import MATCHED, ChangedExamples, Changes, Numbers, Values, known
from ..data.equal_examples import content_hashes, found_among
from ..data.examples import Examples
from . import checksums, files
from .acts import Act, Reversal

if TYPE_CHECKING:
    from .background import Background
    from .controls import Controls


class TrainingData:
    """The examples of a training that people change; found where it was told, in ``state``, or as the only one that is wrapped.

    What it tells is written down once it has begun.
    """

    def __init__(self, state: Sequence[Any], examples: Examples | None) -> None:
        self._state, self._examples = state, examples
        self._met: Changes | None = None
        self._since: dict[int, int] = {}
        """From which step on an example has the label that it was given, or its weight; 0: from the beginning."""
        self._given: dict[int, tuple[str, float]] = {}
        self._own: Numbers | None = None
        self._before = {id(each): each.loaded for each in known}
        self._told: dict[str, Any] = {}
        self._background: Background | None = None
        own = [each for each in map(changes_of, state) if each is not None] or list(known)
        if len(own) == 1:
            self._meet(own[0])  # the sooner, the fewer examples come by unseen

    def begin(self, background: Background) -> TrainingData:
        """A run begins, or a child of one: what is told from now on is written there."""
        self._background, self._told = background, {}
        self.look()
        return self

    # What is changed.

    @property
    def found(self) -> Changes | None:
        """The data set's changes; None where none is known, or several are."""
        own = [each for each in map(changes_of, self._state) if each is not None]
        # What was wrapped for another training, or for none, is not loaded from while this one runs.
        found = own or [each for each in known if each.loaded != self._before.get(id(each), 0)]
        if len({id(each) for each in found}) != 1:
            return None
        if self._met is not found[0]:
            self._meet(found[0])
        return found[0]

    def notice(self) -> None:
        """Where several data sets are there, which of them a training loads is seen at its first batches, and the probe set is looked for there."""
        met = self._met
        if known and (met is None or met.loaded == self._before.get(id(met), 0)):
            _ = self.found

    @property
    def changes(self) -> Changes:
        """The data set's changes. *Raises* NotApplicable with the line to write where there is none, or several."""
        if (found := self.found) is not None:
            if found.unplaced:
                raise NotApplicable(f"{found.unplaced}; number them: diorama.data(dataset, number=lambda item: …)")
            return found
        if len(known):
            raise NotApplicable(
                "a data set of this process can be steered, but which one is trained on is not known: diorama.watch(…, data=train) tells, or "
                "a batch of it alone"
            )
        raise NotApplicable(
            "no data set of this training can be steered; wrap it in one line: DataLoader(diorama.data(dataset), …)"
        )

    @property
    def classes(self) -> int:
        """How many classes a label may name; 0 where that is not known."""
        found = self.found
        whole = self._examples is not None and self._examples.y is not None and not self._examples.y.is_floating_point()
        return max(found.classes if found is not None else 0, len(self._examples.classes) if whole and self._examples else 0)

    def number_of_class(self, text: str) -> float:
        """A class by its name or number. *Raises* UsageError for none."""
        names = self._examples.classes if self._examples is not None else ()
        if text in names:
            return float(names.index(text))
        try:
            return float(text)
        except ValueError:
            told = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise UsageError(f"no class is called {text[:60]!r}; the classes are {told or 'numbers'}") from None

    def value_of_label(self, text: str) -> float:
        """A label as a command gives it: an index or a number, else a class by its name. *Raises* UsageError for anything else."""
        try:
            value = float(text)
        except ValueError:
            return self.number_of_class(text.strip())
        if not math.isfinite(value):
            raise UsageError(f"label wants a class or a finite number, got {text[:60]}")
        return value

    def called(self, label: float) -> str:
        """A label in words: with its class's name where that says more."""
        names = self._examples.classes if self._examples is not None else ()
        name = names[int(label)] if label.is_integer() and 0 <= label < len(names) else ""
        return f"{label:g}" if name in ("", f"{label:g}") else f"{label:g} ({name})"

    def numbers(self, text: str, of: str) -> Numbers:
        """The data set's numbers of examples that are named by theirs, or by those of the probe set.

        *Raises* UsageError, NotApplicable for what is not there, or is of the probe set alone.
        """
        changes, runs = self.changes, numbers_in(text)
        count = changes.count if of == "data" else len(self._examples) if self._examples is not None else 0
        if any(run.stop > count for run in runs):
            whose = "the data set" if of == "data" else "the probe set"
            raise UsageError(f"examples want numbers below {count:,}, as many as {whose} has, got {max(run.stop for run in runs) - 1:,}")
        asked = np.array([number for run in runs for number in run], np.int64)
        if of == "data":
            return changes.check(asked)
        partners, looked_for = self._partners(changes)
        found = np.full(count, -1, np.int64)
        found[:looked_for] = partners
        found = found[asked]
        if (found < 0).any():
            lost = asked[found < 0].tolist()
            named = ", ".join(map(str, lost[:5])) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            still = "; where it was not loaded yet, wait until the training has seen all its data once" if changes.looking else ""
            if asked.max() >= looked_for:
                still = f"; by their contents the first {looked_for:,} alone were looked for: probe=dataset.examples(…) knows the number of each"
            raise NotApplicable(
                f"of the probe set's examples {named} no partner is known in the training's data, so they cannot be changed there{still}"
            )
        return changes.check(found)

    def late(self) -> str:
        """What is to be said of batches that workers loaded ahead."""
        late = self.changes.late()
        count = late() if late is not None else 0
        if not count:
            return ""
        return f"{f'up to {count} ' if count > 0 else ''}batches that workers loaded ahead still come as they were"

    # What is told.

    def write(self, step: int) -> None:
        """Write down what is changed now, after a step."""
        changes = self.found
        if changes is None or self._background is None:
            return
        self.look()
        changed = changes.changed()
        given = _given(changed)
        self._since = {number: self._since.get(number, 0) if self._given.get(number) == now else step for number, now in given.items()}
        self._given = given
        seen, partners, since = changes.seen[changed.numbers].copy(), self._partners(changes)[0].tolist(), self._since

        def job(writer: Any) -> None:
            beside = files.cleared(Path(writer.folder) / f".new.{changes_file.NAME}")
            changes_file.write_rows(beside, changes_file.rows_of(changed, seen, partners, since))
            size, crc = checksums.checksum(beside)
            os.replace(beside, Path(writer.folder) / changes_file.NAME)
            writer.index_file(changes_file.NAME, size, crc)

        self._background.do(job, 64 * len(seen), sure=True)

    def look(self) -> str | None:
        """Tell what is known of the data, where that has changed; returns what is to be warned of, if anything."""
        changes = self.found
        if changes is None or self._background is None:
            return None
        now = changes.changed()
        partners, probe = self._partners(changes)
        facts = {
            "examples": changes.fetched if changes.growing else changes.count,
            "dropped": int((now.weights == 0).sum()), "relabelled": int((~np.isnan(now.labels)).sum()),
            "weighed": int(((now.weights != 1) & (now.weights != 0)).sum()), "probe": probe,
            "matched": int((partners >= 0).sum()), "labels": changes.form,
        }
        if facts != self._told:
            self._told = facts
            self._background.note("meta", {"steered": facts})
        if changes.unplaced and len(now.numbers):
            return (f"{changes.unplaced}: what was dropped, weighed or relabelled of it is not in force any more; number its examples: "
                    "diorama.data(dataset, number=lambda item: …)")
        return "all examples that a process loads are dropped, so it gives none and passes are shorter; restore some" if changes.empty else None

    def take_up(self, folder: Path) -> str:
        """Change again what was changed when the training in a folder ended; returns what is to be said of it, as the end of a sentence."""
        changes = self.found
        if changes is None or changes.touched or not (folder / changes_file.NAME).is_file():
            return ""
        try:
            kept = changes_file.read(folder / changes_file.NAME, changes)
            changes.put(kept)
            self._hold(changes, {row["example"]: int(row["since"] or 0) for row in changes_file.read_rows(folder / changes_file.NAME)})
        except DioramaError as error:
            return f"; what was changed of the data is not in force any more: {error}"
        return f"; what was changed of {len(kept.numbers):,} examples of the data is in force again" if len(kept.numbers) else ""

    def kept(self) -> dict[str, Any] | None:
        """All that is changed, and decides what is drawn next, for a checkpoint; None where nothing ever was."""
        changes = self.found
        if changes is None or not changes.touched:
            return None
        found = changes.state_dict()
        return {**found, "since": np.array([self._since.get(number, 0) for number in found["numbers"].tolist()], np.int64)}

    def put_back(self, kept: dict[str, Any] | None, step: int) -> None:
        """Let be changed what was when a checkpoint was taken, and nothing else."""
        if (changes := self.found) is not None:
            changes.load_state_dict(kept)
            if kept is not None and "since" in kept:
                self._hold(changes, dict(zip(kept["numbers"].tolist(), kept["since"].tolist(), strict=True)))
            self.write(step)

    def _hold(self, changes: Changes, since: dict[int, int]) -> None:
        """Labels that examples have by now are none that they are given next."""
        self._given, self._since = _given(changes.changed()), since

    # The probe set's partners.

    def _meet(self, changes: Changes) -> None:
        """A data set is seen for the first time: which of its examples does the probe set hold?"""
        self._met, examples = changes, self._examples
        self._hold(changes, {})
        self._own = None
        if examples is None:
            return
        x = next((getattr(thing, "x", None) for thing in self._state if changes_of(thing) is changes), None)
        if examples.numbers is not None:
            own = examples.numbers.cpu().numpy().astype(np.int64)
        elif x is not None:
            own = found_among(x, examples.x)
        else:
            changes.look_for(content_hashes(examples.first(MATCHED).x))
            return
        self._own = np.where(own < changes.count, own, -1)
        for k, number in enumerate(self._own[:MATCHED].tolist()):
            if number >= 0:
                changes.match(k, number)

    def _partners(self, changes: Changes) -> tuple[Numbers, int]:
        """The data's number of each example of the probe set, −1 where none is known; and how many were looked for: the first ones of a
        large probe set, where contents had to tell."""
        count = len(self._examples) if self._examples is not None else 0
        if self._own is not None and self._met is changes:
            return self._own, count
        looked_for = min(MATCHED, count)
        return changes.partners[:looked_for], looked_for


def changes_of(thing: Any) -> Changes | None:
    """The changes of a wrapped data set or of a loop of ours; None for anything else."""
    if isinstance(thing, Changes):
        return thing
    found = vars(thing).get("changes") if hasattr(thing, "__dict__") else None
    return found if isinstance(found, Changes) else None


def _given(changed: ChangedExamples) -> dict[int, tuple[str, float]]:
    """The label that each example was given, or its weight where the label is its own."""
    return {
        number: ("weight", weight) if math.isnan(label) else ("label", label)
        for number, weight, label in zip(changed.numbers.tolist(), changed.weights.tolist(), changed.labels.tolist(), strict=True)
    }


_WRITTEN = 20_000
"""Characters that the numbers of an act's examples may take in a run's facts; of more, ``changes.csv`` alone tells which they are."""


class ExampleReversal(Reversal):
    """Gives examples back the weights or labels that they had; what a later act gave one stays."""

    def __init__(self, changes: Changes, numbers: Numbers, old: dict[str, Values]) -> None:
        self.changes, self.numbers, self.old = changes, numbers, old
        self.size = 8 * len(numbers) * (1 + len(old))
        written = numbers_written(numbers.tolist(), "examples")
        self.examples = written if len(written) <= _WRITTEN else ""

    def back(self, training: Controls, later: Sequence[Act]) -> str:
        """Put back what no later act set; what one did, that one puts back."""
        heirs = [
            act.reversal for act in later if isinstance(act.reversal, ExampleReversal) and act.reversal.changes is self.changes
        ]
        kept = 0
        plan = []
        for slot, old in self.old.items():
            mine = np.ones(len(old), bool)
            for heir in heirs:
                if slot in heir.old:
                    _, here, there = np.intersect1d(self.numbers, heir.numbers, return_indices=True)
                    first = mine[here]
                    plan.append((heir.old[slot], there[first], old[here[first]]))
                    mine[here] = False
            kept += int((~mine).sum())
            if mine.any():
                self.changes.set(slot, self.numbers[mine], old[mine])
        for values, places, olds in plan:
            values[places] = olds
        training.data.write(training.number)
        said = [f"what a later command gave to {kept:,} of them stays in force"] if kept else []
        return "; ".join([*said, *filter(None, [training.data.late()])])
