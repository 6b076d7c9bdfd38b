"""The finding `confused_classes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from . import Finding, Found, last, series, since

if TYPE_CHECKING:
    from ..reader import RunReader

_LOOKS, _EXAMPLES = 3, 8
"""Looks at the probe set at which a class must be taken for another, and examples of it that there must be."""


class ConfusedClasses(Finding):
    """Most examples of one class are answered as another one, though the rest is mostly right.

    *Meaning* the two look alike to the model, or the labels of one were exchanged for the other's.
    """

    steady = True
    rests = ("batch/confused:readings|examples/answer:5&probe.labels",)
    about = "classes"
    share: float = knob(0.5, "The share of a class that is answered as the other one.", low=0.1, high=1.0)
    readings: int = knob(12, "How many readings in a row.", low=3)

    def __call__(self, run: RunReader) -> list[Found]:
        """One finding, for the worst pair, of the training's batches or of the probe set."""
        return self._batches(run) or self._probe(run)

    def _probe(self, run: RunReader) -> list[Found]:
        """What the training's own labels call another class is right in its batches, and wrong in a probe set whose labels are right."""
        truth = np.asarray((run.meta.get("probe") or {}).get("labels") or (), np.int64)
        if not len(truth) or "examples/answer" not in run.row_names or run.meta.get("doubt"):
            return []
        steps, answers = run.rows("examples/answer")
        if len(steps) < _LOOKS + 1 or len(truth) != answers.shape[1]:
            return []
        late = answers[-_LOOKS:].astype(np.int64)
        worst: tuple[float, int, int, float, float] | None = None
        for one in np.unique(truth[truth >= 0]):
            mine, rest = truth == one, (truth >= 0) & (truth != one)
            if mine.sum() < _EXAMPLES or not rest.any():
                continue
            other = int(np.bincount(late[-1, mine].clip(0)).argmax())
            shares, right = (late[:, mine] == other).mean(1), float((late[:, rest] == truth[rest]).mean(1).min())
            lasts = shares.min() >= self.share and shares[-1] >= 0.9 * shares.max()
            if other != one and lasts and right >= 0.7 and (worst is None or shares.min() > worst[0]):
                worst = float(shares.min()), int(one), other, float(shares[-1]), right
        if worst is None:
            return []
        _, one, other, now, right = worst
        shares = (answers[:, truth == one].astype(np.int64) == other).mean(1)
        first = since(steps, shares >= self.share)
        said = _said(run, one, other)
        return [Found(
            self.name, 0.6, f"{said[0]} is taken for {said[1]}",
            f"Since step {first} {self.share:.0%} or more of the probe set's examples of {said[0]} are answered as {said[1]}, {now:.0%} at the last "
            f"look, though {'all' if right == 1 else f'{right:.0%} or more'} of the others are right.",
            f"share at the last {_LOOKS} looks: {', '.join(f'{share:.2f}' for share in shares[-_LOOKS:])}; {int((truth == one).sum())} examples",
            (f"class:{one}", f"class:{other}"), None, first, f"Sure for the {int((truth == one).sum())} examples of the probe set.",
            f"Look at the training's examples of {said[0]}: are many of them labelled {said[1]}, or are there few of them?", "confusion",
        )]

    def _batches(self, run: RunReader) -> list[Found]:
        steps, share = series(run, "batch/confused")
        one, other = series(run, "batch/confused/from")[1], series(run, "batch/confused/as")[1]
        if not (self.readings <= len(share) == len(one) == len(other)):
            return []
        recent, right = share[-self.readings :], float(last(run, "batch/accuracy", self.readings).mean())
        same = (one[-self.readings :] == one[-1]).all() and (other[-self.readings :] == other[-1]).all()
        # A class that is still being learned is confused less at each reading.
        falling = share[-1] < 0.75 * float(np.max(recent))
        # Where one class makes up most of the labels, most answers are right without any of the others.
        most = float(last(run, "batch/labels", self.readings).mean())
        if not same or not recent.min() >= self.share or right < max(0.7, 0.5 + 0.5 * most) or falling:
            return []
        said = _said(run, int(one[-1]), int(other[-1]))
        changed = np.flatnonzero((one != one[-1]) | (other != other[-1]) | (share < self.share))
        first = int(steps[changed[-1] + 1]) if len(changed) else int(steps[0])
        return [Found(
            self.name, 0.6, f"{said[0]} is taken for {said[1]}",
            f"{share[-1]:.0%} of the examples of {said[0]} in the training's batches are answered as {said[1]}, though {right:.0%} "
            "of all answers are right.",
            f"share at the last {self.readings} readings: {recent.min():.2f} to {recent.max():.2f}",
            (f"class:{int(one[-1])}", f"class:{int(other[-1])}"), None, first, "Sure for the batches that were read.",
            "Look at examples of both: are the labels right, and does the input show the difference?", "confusion",
        )]


def _said(run: RunReader, *classes: int) -> list[str]:
    """What classes are called."""
    names = run.meta.get("classes") or []
    return [str(names[k]) if 0 <= k < len(names) else str(k) for k in classes]
