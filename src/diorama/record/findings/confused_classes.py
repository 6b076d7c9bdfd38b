"""The finding `confused_classes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ..misread_classes import LOOKS, MisreadClass, misread, surely
from . import Diagnosis, Finding, last, of_next_tokens, series

if TYPE_CHECKING:
    from ..reader import RunReader
    from ..store_bytes import Floats

_NEARLY_ALL = 0.75
"""A class is taken for another one as a whole where at least so much of it surely is."""

_OTHERS = 0.9
"""So many of the probe set's other examples are right, where one class that is wrong is a second witness."""
_STAYS = 0.85
"""A share that is less than this part of what it was at most is falling: the class is being learnt."""


class ConfusedClasses(Finding):
    """Most examples of one class are answered as another one, though the rest is mostly right.

    *Meaning* the two look alike to the model, or the labels of one were exchanged for the other's. Of next tokens nothing is told: a token that is
    never the likeliest is answered as another by whoever knows the text best.
    """

    steady = True
    rests = ("batch/confused:readings|examples/answer:4&examples/loss:4&probe.labels|classes/confusion:4",)
    about = "classes"
    share: float = knob(0.5, "The share of a class that is answered as the other one.", low=0.1, high=1.0)
    readings: int = knob(12, "How many readings in a row.", low=3)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, for the worst pair, of the training's batches or of the probe set."""
        return [] if of_next_tokens(run) else self._batches(run) or self._probe(run)

    def _probe(self, run: RunReader) -> list[Diagnosis]:
        """What the training's own labels call another class is right in its batches, and wrong in a probe set whose labels are right."""
        for one in misread(run, self.share):
            other = one.most
            if other == one.label or (here := one.taken_for(other, self.share)) is None:
                continue
            shares = here.shares[:, other]
            # As good as all of it, or no better known than by one answer for all: what is only hard comes better with time.
            least = float(surely(here.late.shares[:, other], one.examples).min())
            sure = here.late.blind and least >= self.share or least >= _NEARLY_ALL and not one.falls
            return [self._told(run, here, other, shares, here.lasts and sure)]
        return []

    def _told(self, run: RunReader, one: MisreadClass, other: int, shares: Floats, sure: bool) -> Diagnosis:
        names = run.meta.get("classes") or []
        said, first, right = (one.said(names), one.said(names, other)), int(one.steps[0]), float(one.rest.min())
        return Diagnosis(
            self.name, 0.6 if sure else 0.4, f"{said[0]} is taken for {said[1]}",
            f"From step {first:,} to step {int(one.steps[-1]):,} {shares.min():.0%} or more of the probe set's {one.of} of {said[0]} were answered "
            f"as {said[1]}, {shares[-1]:.0%} at the last look, though {'all' if right == 1 else f'{right:.0%} or more'} of the others were right."
            + (" Their loss still falls." if one.falls else ""),
            f"share at the last {LOOKS} of {len(shares)} looks: {', '.join(f'{share:.2f}' for share in shares[-LOOKS:])}; {one.counted}, "
            f"of which at least {surely(shares[-1], one.examples):.0%} is sure",
            (f"class:{one.label}", f"class:{other}"), None, first,
            f"Sure for the {one.counted} of the probe set." if sure else
            f"Sure for the {one.counted}, not that it stays so: the class may still be learnt.",
            f"Look at the training's examples of {said[0]}: are many of them labelled {said[1]}, or are there few of them?", "confusion",
        )

    def _batches(self, run: RunReader) -> list[Diagnosis]:
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
        # A rare class is learnt after the others: it has had as long since it is taken for another as the training took up to then, or may come yet.
        lasts = steps[-1] - first >= first - steps[0] and float(np.mean(recent[-3:])) >= _STAYS * float(recent.max())
        beside = "" if lasts else self._beside(run, int(one[-1]), int(other[-1]))
        lasts = lasts or bool(beside)
        return [Diagnosis(
            self.name, 0.6 if lasts else 0.4, f"{said[0]} is taken for {said[1]}",
            f"{share[-1]:.0%} of the examples of {said[0]} in the training's batches are answered as {said[1]}, though {right:.0%} "
            f"of all answers are right.{beside}",
            f"share at the last {self.readings} readings: {recent.min():.2f} to {recent.max():.2f}",
            (f"class:{int(one[-1])}", f"class:{int(other[-1])}"), None, first,
            f"Sure for the batches that were read{'' if lasts else ', not that it stays so: the class may still be learnt'}.",
            "Look at examples of both: are the labels right, and does the input show the difference?", "confusion",
        )]


    def _beside(self, run: RunReader, one: int, other: int) -> str:
        """Whether the probe set's examples of the class have been taken for the same other one as long as the others took to be learnt; in a
        sentence."""
        for each in misread(run, self.share, _OTHERS):
            if each.label == one and each.most == other and each.lasts and not each.falls:
                return f" Of the probe set's {each.counted} of it {each.shares[-1, other]:.0%} are, and no fewer than before."
        return ""


def _said(run: RunReader, *classes: int) -> list[str]:
    """What classes are called."""
    names = run.meta.get("classes") or []
    return [str(names[k]) if 0 <= k < len(names) else str(k) for k in classes]
