"""The finding `probe_in_training`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import DioramaError
from ...core.knobs import knob
from ...core.numerals import counted
from ...core.selection import number_key
from ...data import changes_file
from .. import files
from . import Diagnosis, Finding, last, series

if TYPE_CHECKING:
    from ..reader import RunReader

_HELPS = "Hold the probe set out of the training, where it should tell of new examples."
_READINGS = 3
"""Batches that are read at least."""
_BEFORE = 512
"""Examples of the probe set that older records compared, which do not say how many."""


class ProbeInTraining(Finding):
    """Examples of the probe set are among those that are trained on, so that it says nothing of new ones.

    *Meaning* nothing is wrong where it was taken from there on purpose; where it is meant to be held out, test data lie among the training's.
    It is known of data that ``diorama.data`` wraps, and of others from the rows of the batches that are read: a row of a table of few different
    numbers may be the same by chance, and is not told. A few that are there twice are not told. Where rows stand in the probe set several times,
    data were multiplied before they were split, which is an alarm. Examples that were relabelled are told of: the probe set keeps their old labels.
    """

    rests = ("batch/met:3|steered",)

    share: float = knob(0.1, "The share of the probe set from which on it is told.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One calm line, and another where labels were changed."""
        data = run.meta.get("steered") or {}
        if not data:
            return self._met(run)
        matched, probe = int(data.get("matched", 0)), int(data.get("probe", 0))
        found = self._relabelled(run) if data.get("relabelled") and matched else []
        if not probe or matched < max(1.0, self.share * probe):
            return found
        whole, total = matched >= probe, int(run.meta.get("examples") or 0)
        compared = probe < total
        return [*found, Diagnosis(
            self.name, 0.2, "The probe set is trained on",
            f"{f'All {probe:,}' if whole else f'{matched:,} of the {probe:,}'} examples of the probe set{' that were compared' * compared} are "
            "among those that the training draws, "
            "so its loss and accuracy do not say how the model does on new ones.",
            f"{matched:,} of {probe:,} examples are the same, input for input", (), None, 0, "Certain.",
            _HELPS, "examples",
        )]

    def _met(self, run: RunReader) -> list[Diagnosis]:
        """Rows of the probe set that were met in the batches that were read."""
        steps, met = series(run, "batch/met")
        twins = last(run, "batch/twins", 10)
        if len(met) < _READINGS or met[-1] < max(self.share, 1e-9):
            return []
        like = run.meta.get("probe") or {}
        again = float(like.get("again") or 0.0)
        compared, total = int(like.get("compared") or _BEFORE), int(run.meta.get("examples") or 0)
        # Rows of a probe set that is compared in part are in it more often than was seen.
        least, which = (" at least", f"the first {compared:,} of its {total:,} examples") if compared < total else ("", "")
        many = again >= self.share
        twice = f" In {which or 'it'}, {again:.0%} of the rows stand there before already: data were multiplied before they were split."
        told, part = twice * many, f" ({which} were compared)" * bool(which)
        return [Diagnosis(
            self.name, 0.6 if many else 0.2,
            "Rows of the probe set are trained on, as they stand there many times over" if many else "The probe set is trained on",
            f"{met[-1]:.0%} of the different rows of the probe set{part} were met in the batches that were read, so its loss and accuracy do not say "
            f"how the model does on new ones.{told}",
            f"of the last batches that were read{least} {np.mean(twins):.0%} of the rows are in the probe set, number for number", (), None,
            int(steps[np.flatnonzero(met >= self.share)[0]]) if self.share else int(steps[0]),
            "Certain: three parts of each row, none with a number of another, agree.",
            "Take away rows that stand there twice, then split." if many else _HELPS, "examples",
        )]

    def _relabelled(self, run: RunReader) -> list[Diagnosis]:
        """Examples that were given another label count as wrong, by the old one, as soon as the new one is learnt."""
        try:
            rows = changes_file.read_rows(files.regular(run.path, changes_file.NAME))
        except (DioramaError, OSError):
            return []
        acts = [event.step for event in run.events if event.kind == "command" and event.name == "relabel"]
        since = changes_file.relabelled(rows, min(acts, default=0))
        changed = [number for number, step in since.items() if step <= run.last_step]
        if not changed:
            return []
        first, last = min(map(since.__getitem__, changed)), max(map(since.__getitem__, changed))
        when = "from the beginning" if not last else f"since step {last:,}" if first == last else f"since steps {first:,} to {last:,}"
        few = ", ".join(map(str, changed[:5])) + (", …" if len(changed) > 5 else "")
        return [Diagnosis(
            self.name, 0.25, "The probe set keeps the old labels of relabelled examples",
            f"{counted(len(changed), 'examples')} of the probe set ({few}) {'are' if len(changed) > 1 else 'is'} trained under another label "
            f"{when}. Curves of the probe set go on by the labels it came with: what does right by a new label counts as wrong there.",
            "changes.csv lists them with both labels",
            tuple(number_key("example", int(number)) for number in changed[:5]), None, first, "Certain.",
            "Read a gain from examples that are held back; examples and compare tell the share that is right by the new labels as well.", "examples",
        )]
