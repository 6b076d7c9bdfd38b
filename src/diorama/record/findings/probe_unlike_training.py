"""The finding `probe_unlike_training`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.knobs import knob
from . import Diagnosis, Finding, floor_of, last, otherwise_scaled, series, until_looked

if TYPE_CHECKING:
    from ..reader import RunReader

_LEARNT = 0.8
"""From this share of right answers on a training has learnt its task."""
_COUNT = 50
"""Labels of the probe set from which on its accuracy tells something."""
_ENDS = 8.0
"""Inputs that lie within so many standard deviations have ends, as pictures have."""
_OTHER = 1.4
"""From this factor on one scale is another one."""

_OTHER_TOKENS = 0.25
"""From this distance of the tokens' shares on, beyond what chance makes twice, they are of other tokens …"""
_SAME_SHARES = 0.4
"""… and the same shares, where that of the ranked ones is so small a part of it."""
_LEARNS = 0.8
"""A probe loss below so much of its first value falls: the probe set's tokens are learnt too."""
_ROSE, _FELL = 1.1, 0.9
"""By what the probe loss rises, and the training loss falls, for the one not to go with the other."""


class ProbeUnlikeTraining(Finding):
    """The probe set's inputs or true values lie in another range, its classes are shared out otherwise, or its tokens are others, than in batches.

    *Meaning* often one of the two was normalized and the other was not (0 to 255 against 0 to 1). What all views show of the
    probe set is then not what the model was trained for. Where a step has several forward passes, the inputs of the
    first need not be those of the training, and are not compared. Tokens whose shares are those of the training, but under other numbers, are of
    another vocabulary or another order of it. A loss of texts that rises from its first reading on says that nothing learnt holds there.
    """

    steady = True
    rests = ("batch/std:readings&probe.inputs|batch/balance:readings|batch/tokens:readings|batch/accuracy:3&probe/accuracy:3|batch/wanted:3",)
    factor: float = knob(3.0, "How many times larger or smaller the spread of the inputs must be.", low=1.0)
    balance: float = knob(0.4, "How far the classes' shares must lie apart: the share that would have to change class.", low=0.0, high=1.0)
    readings: int = knob(3, "Readings that are compared at least.", low=1)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for the inputs and one for the classes."""
        like: dict[str, Any] = run.meta.get("probe") or {}
        return [
            *self._inputs(run, like.get("inputs")), *self._classes(run, like), *self._answers(run, like), *self._texts(run, floor_of(run)),
            *self._targets(run),
        ]

    def _targets(self, run: RunReader) -> list[Diagnosis]:
        """True values of a regression that are scaled on one of the two sides alone."""
        found = otherwise_scaled(run)
        if found is None:
            return []
        (mean, std), (middle, spread) = found.mine, found.probe
        return [Diagnosis(
            self.name, 0.7, "The probe set's true values have another scale than the training's",
            f"True values of the probe set have the mean {middle:.3g} and the deviation {spread:.3g}, those of the training's batches {mean:.3g} and "
            f"{std:.3g}: as if one of the two were scaled and the other not. The loss on the probe set is of that difference, and says nothing of "
            "what was learnt.",
            f"deviation {spread:.3g} against {std:.3g}, mean {middle:.3g} against {mean:.3g}", (), None, found.step,
            "Sure for the batches that were read: their true values are what answers and slopes of a mean squared error say.",
            "Scale the probe set's true values as the training's are, by the same mean and deviation.", "residuals",
        )]

    def _texts(self, run: RunReader, floor: float | None) -> list[Diagnosis]:
        """Tokens of the probe set that stand there as often as those of the training, but are other ones; or a loss of texts that only rises."""
        steps, apart = series(run, "batch/tokens")
        ranked, chance = series(run, "batch/tokens_ranked")[1], series(run, "batch/tokens_chance")[1]
        looks, held = series(run, "probe/loss")
        if len(apart) < self.readings or not len(apart) == len(ranked) == len(chance):
            return []
        renumbered = apart[-1] >= _OTHER_TOKENS + 2 * chance[-1] and ranked[-1] <= _SAME_SHARES * apart[-1]
        rises, told = _rises(run, held, floor)
        if not rises and (not renumbered or (len(held) > 1 and held[-1] < _LEARNS * held[0])):
            return []
        loss = f" The probe loss rose from {held[0]:.3g} to {held[-1]:.3g}{told}." if rises else ""
        if not renumbered:
            return [Diagnosis(
                self.name, 0.65, "What is learnt does not hold on the probe set",
                f"The training loss falls, and the probe loss has risen since its first reading.{loss} Texts of the probe set are made otherwise "
                "than the training's, or nothing that is learnt helps with others.",
                f"probe/loss {held[0]:.3g} at step {int(looks[0]):,}, {held[-1]:.3g} at step {int(looks[-1]):,}", (), None, int(looks[0]),
                "Sure that it does not hold.", "Look at texts of the probe set beside the training's, token by token.", "learns_from",
            )]
        return [Diagnosis(
            self.name, 0.8 if rises else 0.6, "The probe set numbers its tokens otherwise",
            f"{apart[-1]:.0%} of the probe set's tokens would have to be others, for each to stand there as often as in the training's batches; of "
            f"the most frequent token of each, the second and so on, whichever they are, only {ranked[-1]:.0%}: the same shares under other numbers, "
            f"as of another vocabulary or another order of it.{loss}",
            f"total variation distance of the tokens' shares {apart[-1]:.2f} (by chance {chance[-1]:.2f}), of the ranked ones {ranked[-1]:.2f}", (),
            None, int(steps[0]), "Sure that the shares are so; texts in another script have such ones too.",
            "Make the probe set's tokens with the vocabulary of the training.", "learns_from",
        )]

    def _inputs(self, run: RunReader, probe: Any) -> list[Diagnosis]:
        passes = last(run, "batch/passes", 10)
        names = ("batch/low", "batch/high", "batch/mean", "batch/std")
        seen = [last(run, name, 200) for name in names]
        if not probe or len(seen[0]) < self.readings or len(passes) < self.readings or np.median(passes) > 1:
            return []
        low, high = float(np.min(seen[0])), float(np.max(seen[1]))
        mean, std = float(np.median(seen[2])), float(np.median(seen[3]))
        if not np.isfinite([low, high, mean, std]).all():
            return []
        ratio = probe[3] / std if std > 0 else np.inf if probe[3] > 0 else 1.0
        shift = abs(probe[2] - mean) / max(std, probe[3], 1e-12)
        scaled = _scaled(probe, (low, high, mean, std))
        if 1 / self.factor < ratio < self.factor and shift < 1.5 and not scaled:
            return []
        return [Diagnosis(
            self.name, 0.7, "The probe set is unlike the training's inputs",
            f"Inputs of the probe set lie from {probe[0]:.3g} to {probe[1]:.3g} (mean {probe[2]:.3g}), those of the training's "
            f"batches from {low:.3g} to {high:.3g} (mean {mean:.3g}).{scaled}",
            f"standard deviation {probe[3]:.3g} against {std:.3g}; means {shift:.1f} standard deviations apart", (), None,
            int(series(run, names[0])[0][0]), "Sure for the batches that were read.",
            "Prepare the probe set as the training's examples are prepared.", "examples",
        )]

    def _classes(self, run: RunReader, like: dict[str, Any]) -> list[Diagnosis]:
        steps, apart = series(run, "batch/balance")
        seen = float(series(run, "batch/count")[1].sum())
        classes = len(like.get("balance") or ())
        labels = min(seen, like.get("count", 0))
        if len(apart) < self.readings or labels < 5 * max(classes, 1):
            return []
        # Shares from few labels lie apart by chance.
        by_chance = 0.8 * np.sqrt((classes - 1) / labels) if labels < 20 * classes else 0.0
        if apart[-1] < self.balance + by_chance:
            return []
        return [Diagnosis(
            self.name, 0.55, "The probe set has other shares of classes than the training",
            f"{apart[-1]:.0%} of the probe set's labels would have to change for its classes to be shared out as in the "
            "training's batches.",
            f"total variation distance of the shares {apart[-1]:.2f}, over {int(seen):,} labels of the training", (), None,
            int(steps[0]), "Sure, where the batches that were read stand for all.",
            "Draw the probe set as the training's examples are drawn, or read its accuracy class by class.", "confusion",
        )]

    def _answers(self, run: RunReader, like: dict[str, Any]) -> list[Diagnosis]:
        """What holds in the training does not hold on the probe set at all, or does under other numbers of the classes."""
        labels = np.array(like.get("labels") or (), np.int64)
        right, held = until_looked(run, "batch/accuracy", 5), series(run, "probe/accuracy")
        most = max(like.get("balance") or (1.0,))
        if len(right) < 3 or len(held[1]) < 3 or np.mean(right) < _LEARNT or (labels >= 0).sum() < _COUNT or most > 0.8:
            return []
        now, by_chance = float(held[1][-1]), most + 3 * np.sqrt(most * (1 - most) / (labels >= 0).sum())
        # Of a task of which little can be learnt, what is right in training is hardly more than that by itself.
        apart = 3 * np.sqrt(np.mean(right) * (1 - np.mean(right)) / (labels >= 0).sum())
        if now > by_chance or now > np.mean(right) - max(_APART, apart):
            return []
        renamed = self._renamed(run, labels)
        told = renamed or (
            "Inputs of the probe set are prepared otherwise than the training's, or labels of one of the two do not belong to their inputs (where "
            "the training's do not, it can only learn them by heart)."
        )
        return [Diagnosis(
            self.name, 0.9 if renamed else 0.65,
            "The probe set numbers its classes otherwise" if renamed else "What is learnt does not hold on the probe set",
            f"{np.mean(right):.0%} of the training's answers are right and {now:.0%} of the probe set's, of which {most:.0%} would be by "
            f"one answer. {told}",
            f"batch/accuracy {np.mean(right):.2f}, probe/accuracy {now:.2f} over {int((labels >= 0).sum())} examples", (), None, int(held[0][0]),
            "Sure that it does not hold.", "Look at examples of the probe set beside the training's, with their labels.", "confusion",
        )]

    def _renamed(self, run: RunReader, labels: np.ndarray) -> str:
        """Which class of the probe set the model calls by which other one's number, where nearly all of each go to one."""
        if "examples/answer" not in run.row_names:
            return ""
        answers = run.rows("examples/answer")[1]
        if not len(answers) or answers.shape[1] < len(labels):
            return ""
        said = answers[-1][: len(labels)]
        found: list[tuple[int, int]] = []
        for one in np.unique(labels[labels >= 0]):
            mine = said[labels == one]
            mine = mine[np.isfinite(mine)].astype(np.int64)
            if len(mine) < 5 or not (mine >= 0).all():
                continue
            taken = np.bincount(mine)
            if taken.max() < 0.7 * len(mine):
                return ""
            found.append((int(one), int(taken.argmax())))
        others = {other for _, other in found}
        if len(found) < 2 or len(others) < len(found) or sum(one != other for one, other in found) < 2:
            return ""
        names = run.meta.get("classes") or []
        shown = [f"{_name(names, one)} are answered {_name(names, other)}" for one, other in found if one != other]
        more = " and so on" if len(shown) > 4 else ""
        return f"Its examples are told apart all the same, under other names: those of {', '.join(shown[:4])}{more}."


_APART = 0.1
"""By how much the probe set's answers must be worse than the training's, for what was learnt not to hold there."""


def _rises(run: RunReader, held: np.ndarray, floor: float | None) -> tuple[bool, str]:
    """Whether the probe loss of texts rises from its first reading on, above that of one answer for all, while the training's falls."""
    loss = series(run, "loss")[1]
    if run.meta.get("doubt"):
        return False, ""
    if run.meta.get("task") != "next_token" or len(held) < 3 or len(loss) < 20 or not np.isfinite(held).all() or not np.isfinite(loss).all():
        return False, ""
    few = max(5, len(loss) // 20)
    fell = np.median(loss[-few:]) < _FELL * np.median(loss[:few])
    above = floor is None or held[-1] > _ROSE * floor
    rose = bool((np.diff(held) > 0).all()) and held[-1] > _ROSE * held[0]
    return bool(fell and above and rose), "" if floor is None else f", above that of one answer for all ({floor:.3g})"


def _name(names: Any, number: int) -> str:
    return str(names[number]) if number < len(names) else str(number)


def _scaled(probe: Any, seen: tuple[float, float, float, float]) -> str:
    """That the two are the same numbers but for a factor and an offset, of inputs that have ends."""
    (low, high, mean, std), (a, b, at, deviation) = probe, seen
    if not std > 0 or not deviation > 0 or not (high - low) < _ENDS * std or not (b - a) < _ENDS * deviation:
        return ""
    factor = std / deviation
    same = [abs(mean + factor * (mine - at) - other) for mine, other in ((a, low), (b, high))]
    if max(same) > 0.12 * (high - low) or (1 / _OTHER < factor < _OTHER and abs(mean - at) < 0.5 * max(std, deviation)):
        return ""
    return " They are the same but for a factor and an offset, as if one of the two were normalized and the other not, or twice."
