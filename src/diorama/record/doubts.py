"""Whether a task that was guessed goes with the loss that the training follows: the gradient at the scores tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.text_places import PART
from ..model.outputs import CLASSES, Reading
from .judge_network import of_one_number
from .loop_habits import pulled_alike
from .probabilities import twice

READINGS = 3
"""So many readings must speak against a guess, and none for it."""
_LOPSIDED = 0.05
"""Slopes of a loss over classes add up to nothing, whatever it is made of: a softmax does not see what is added to all scores. More than this
share of their size is no rounding."""
_ROUNDED = 1e-2
"""What is wanted of a class is one or nothing, and by no more than this beside them."""
_ALONG = 0.2
"""Slopes of a reconstruction point from the inputs to the outputs: their cosine is above this."""
_UNSTEADY = 3.0
"""A mean squared error is a constant times the squares of its slopes; a loss whose ratio to them varies by more is another one."""

_ALIKE = 0.1
"""The plain cross-entropy weighs all rows alike; factors that differ by more than this share come of another loss."""
_SPAN = 0.6
"""Rows whose chances of the truth lie within less than this have one factor under many a loss."""
_NOTHING = 1e-7
"""A row that pulls by less than this beside the one that pulls most says nothing."""
_NUMBERS = 200_000
"""So many slopes are looked at for that, and 16 rows in any case."""
_LOOKS = 100
"""As often a loss over classes is looked at, where batches do not tell whether it is the plain one."""
_SURE = 1e-5
"""A chance nearer to one than this is told by single precision to no more than a hundredth of what is missing."""
_BOUND = 0.05
"""A loss of absolute differences, or one that turns into it, gives at least this share of the numbers slopes of one and the same size."""

_GROUND = 0.15
"""A loss over two classes pulls at a score of nothing, which decides nothing, as hard as this share of its mean pull at least: a cross-entropy half
and more, a focal one less. What is pulled the less the nearer it lies to nothing, and to nothing there, is a distance."""
_ROWS = 4
"""So many rows must be pulled down for that, and as many lie apart."""
_MEASURE = 0.05
"""A loss is another measure than a mean squared difference where it lies further from it than this share, which covers half precision."""
_SAME = 1e-4
"""What a loss of margins wants of the answers differs by no more than rounding from batch to batch, as a share of how large they are."""

_PROPORTIONAL = 1.02
"""A mean squared error whose pulls happen to add up to nothing is still a constant times their squares, within this factor."""

_WANTED = 0.01
"""A loss is the mean squared error that the slopes speak of, where it differs from that by no more than this share."""

_SAID = {
    "reconstruction": "the slopes at the outputs do not lead to the inputs",
    "regression": "the loss that the loop tells is no squared error of the outputs",
}
_OTHER = (
    "the loss of the training is one of squares or sigmoids on one-hot rows, and the probe set's a cross-entropy: these are two measures, and no "
    "alarm stands on the one beside the other; pass criterion= to diorama.watch to have the probe set's loss in the training's measure"
)
_APART = (
    "these are two measures, and nothing is concluded from the one beside the other; pass criterion= to diorama.watch to have the probe set's loss "
    "in the training's measure"
)
_CROSSED = (
    "the loss of the training pulls at each answer by how large it is and by nothing else, as where answers of shape (n, 1) are compared with true "
    "values of shape (n,), each with all of them; the probe set's compares each answer with its own: bring answers and true values to one shape"
)
_SMOOTHED = (
    "the loss of the training is not the plain cross-entropy that the probe set's is (it is smoothed, focal, weighted, of mixed labels, of margins): "
    f"{_APART}"
)
_SUMMED = (
    "the loss of the training is not the mean squared difference from the inputs that the probe set's is (it is weighted, summed, a cross-entropy, "
    f"or has a further term, such as the divergence of a code): {_APART}"
)
_TWICE = (
    "the loss of the training takes probabilities for scores (a softmax or sigmoid comes before a cross-entropy, which does that step itself), and "
    f"the probe set's takes the scores: give the loss the scores; {_APART}"
)
_ABSOLUTE = (
    "the loss of the training is one of absolute differences, or turns into it where they are large, and the probe set's is one of squares: "
    f"{_APART}"
)
_AMONG = (
    "the loss of the training sees only how answers differ from each other (ranking, pairs, preferences), and the probe set's, which was guessed, "
    "compares each answer with its own true value: these are two losses, and nothing is concluded from the one beside the other or from the probe "
    "set's alone; pass criterion= to diorama.watch to have the probe set's loss in the training's measure"
)
_FILLED = 20
"""Labels that fill texts up, wanted by the loss of the training: fewer may come of rounding."""
_COUNTED = (
    "the loss of the training counts what fills texts up, and the probe set's leaves it out: these are two measures, and nothing is concluded from "
    "the one beside the other; mask padding with −100, or give cross_entropy an ignore_index"
)


class Doubts:
    """Looks at the first batches that are read, and tells at most once that the guess does not go with what is trained.

    *Cost* a sum or two of numbers that the batch's reader holds already.
    """

    def __init__(self, reading: Reading | None, told: bool, tell: Callable[[str, Literal["doubt", "measure"]], object]) -> None:
        """``tell`` takes a sentence and what it is about: a ``doubt`` of the task, or that two losses are each of its own ``measure``."""
        self._task = "" if reading is None or told or reading.criterion is not None else reading.task
        self._tell, self._against, self._looks = tell, 0, 0
        self._filling, self._filled = () if reading is None else reading.filling, 0
        self._shares: list[float] = []
        self._shared = reading is None or reading.criterion is not None or reading.task not in CLASSES
        self._fitted = False
        self._ratios: list[tuple[int, float]] = []
        self._margins: list[tuple[float, float]] = []
        self._level: list[float] = []
        self._plain, self._alike, self._twice = {True: 0, False: 0}, 0, False

    def counts(self, labels: NDArray[np.int64] | None) -> None:
        """The labels that the loss of one batch more wanted: those that fill texts up may be among them."""
        if self._filling and labels is not None:
            self._filled += sum(int((labels == label).sum()) for label in self._filling)
            if self._filled >= _FILLED:
                self._tell(_COUNTED, "measure")
                self._filling = ()

    def look(self, slopes: Slopes | None, scalars: Mapping[str, float | Tensor], passes: int, scale: float) -> None:
        """One batch more: what its slopes say, the numbers that the loop told, and by how much the loss was scaled."""
        if slopes is not None and slopes.beside and passes == 1:
            self._share(slopes, scalars.get("loss"), scale)
        if not self._task or slopes is None:
            return
        fits = slopes.fits
        if fits and self._task in CLASSES:
            self._fitted = True
            self._measure(slopes)
            return
        if slopes.plain is False and self._task in CLASSES:  # of one score, whose loss may be any
            self._measure(slopes)
            return
        if fits and self._task == "reconstruction" and passes == 1 and self._summed(slopes, scalars.get("loss"), scale):
            self._tell(_SUMMED, "measure")
        if self._task == "regression":
            if self._among(slopes, scalars.get("loss"), passes, scale):
                self._tell(_AMONG, "doubt")
                self._task = ""
                return
            fits = self._steady(slopes, scalars.get("loss"), scale) if passes == 1 else None
        if fits:
            self._task = ""  # seen to be right
        elif fits is False and not self._fitted:
            self._against += 1
            self._alike += slopes.alike
            if self._against >= READINGS:
                crossed = self._alike == self._against
                if slopes.kin or crossed or self._absolute():
                    self._tell(*(_OTHER, "doubt") if slopes.kin else (_CROSSED if crossed else _ABSOLUTE, "measure"))
                    self._task = ""
                    return
                why = _SAID.get(self._task, "the slopes at the scores are not those of a loss over classes")
                self._tell(
                    f"the task was guessed ({self._task.replace('_', ' ')}), but {why}: what is told of answers and of the probe set's loss may "
                    "mean nothing, and no alarm stands on it; pass task= or criterion= to diorama.watch",
                    "doubt",
                )
                self._task = ""

    def _among(self, slopes: Slopes, loss: Any, passes: int, scale: float) -> bool:
        """Whether a loss compares answers with each other: what it wants of all of them adds up to nothing, at each of the first readings."""
        if slopes.level is not True or (slopes.bound and passes == 1):  # half of absolute differences may lie on either side
            self._level = []
            return False
        self._level.append(float(loss) * scale * scale / slopes.squares if loss is not None and slopes.squares > 0 else math.nan)
        low, high = min(self._level), max(self._level)
        return len(self._level) >= READINGS and not (low > 0 and high <= _PROPORTIONAL * low)

    def _share(self, slopes: Slopes, loss: Any, scale: float) -> None:
        """Whether other outputs have a share in the loss that the loop tells: it is no constant times what these answers cost."""
        value = float(loss) if loss is not None else math.nan
        if self._shared or not math.isfinite(value) or not slopes.cost > 0 or len(self._shares) >= _LOOKS:
            return
        self._shares.append(value * scale / slopes.cost)
        off = [share for share in self._shares if abs(share - 1) > _MEASURE]
        self._shared = len(off) >= READINGS and len(off) == len(self._shares) and max(off) > _PROPORTIONAL * min(off)
        if self._shared:
            self._tell(PART, "measure")

    def _measure(self, slopes: Slopes) -> None:
        """The task is right. The loss may still be another one over classes than the probe set's."""
        self._looks += 1
        if slopes.plain is not None:
            self._plain[slopes.plain] += 1
            self._twice = slopes.twice
        if self._plain[False] >= READINGS and not self._plain[True]:
            self._tell(_TWICE if self._twice else _SMOOTHED, "measure")
        elif self._plain[True] < READINGS and self._looks < _LOOKS:
            return
        self._task = ""

    def _summed(self, slopes: Slopes, loss: Any, scale: float) -> bool:
        """Whether a loss is another number than the mean squared difference between answers and inputs."""
        value = float(loss) if loss is not None else math.nan
        if not math.isfinite(value) or not scale > 0:
            return False
        return abs(value - slopes.apart) > _MEASURE * max(abs(value), slopes.apart)

    def _absolute(self) -> bool:
        """Whether slopes of one size came of differences. A margin's come with what is wanted of the answers, which then is the same each time."""
        wanted, reach = [margin for margin, _ in self._margins], [far for _, far in self._margins]
        return len(wanted) >= READINGS and max(wanted) - min(wanted) > _SAME * max(reach)

    def _steady(self, slopes: Slopes, loss: Any, scale: float) -> bool | None:
        value = float(loss) if loss is not None else math.nan
        if not math.isfinite(value) or not slopes.squares > 0:
            return None
        self._ratios.append((slopes.count, value * scale * scale / slopes.squares))
        if slopes.bound:
            self._margins.append(((value * scale - slopes.along) / slopes.size, (abs(value * scale) + abs(slopes.along)) / slopes.size))
        same = [ratio for count, ratio in self._ratios if count == slopes.count]
        if len(same) < READINGS:
            return None
        low, high = min(same), max(same)
        return False if low <= 0 or high > _UNSTEADY * low else True if len(same) > 3 * READINGS else None


def wanted_of(slopes: Slopes | None, scalars: Mapping[str, float | Tensor], passes: int, scale: float) -> dict[str, float]:
    """``wanted`` and ``wanted_std``: mean and deviation of the true values of a batch, where the loss that the loop tells is the mean squared
    distance from them and nothing else; empty otherwise."""
    if slopes is None or slopes.wanted is None or slopes.beside or passes != 1 or scale != 1 or scalars.get("loss") is None:
        return {}
    mean, spread, loss = slopes.wanted
    if not math.isfinite(loss) or not abs(float(scalars["loss"]) - loss) <= _WANTED * loss:
        return {}
    return {"wanted": mean, "wanted_std": spread}


class Slopes:
    """What the gradient at a batch's scores says of a reading: whether it ``fits`` it (None where it cannot tell), the sum of its squares."""

    def __init__(
        self, reading: Reading | None, values: NDArray[np.float64], slopes: NDArray[np.float64], x: Tensor | None, level: bool | None = None,
    ) -> None:
        self.count, self.squares, self.fits = values.size, float(np.square(slopes).sum()), None
        self.wanted: tuple[float, float, float] | None = None
        """Of numbers: the mean of the true values that a mean squared error would want, how far they lie apart, and what that loss would be."""
        if reading is not None and reading.task == "regression" and reading.criterion is None and values.size > 1:
            way = slopes * values.size / 2
            truth = values - way
            self.wanted = float(truth.mean()), float(truth.std(0).mean()), float(np.square(way).mean())
        self.level = level
        """Whether those of all passes of the step add up to nothing; None where that is not known."""
        self.plain: bool | None = None
        """Whether they are those of the plain cross-entropy; None where the batch cannot tell, or they are of no loss over classes."""
        self.kin = False
        """Whether they are those of squares or sigmoids on one-hot rows: the task is right, and the loss another measure than the probe set's."""
        self.twice = False
        """Whether the loop made probabilities of the scores before a loss that does so itself."""
        sizes = np.abs(slopes).sum(1)
        self.size, self.along = float(sizes.sum()), float((values * slopes).sum())
        self.bound = bool(np.count_nonzero(np.abs(slopes) == np.abs(slopes).max(initial=0.0)) > max(2, _BOUND * slopes.size))
        """Whether many are of one size, and none larger."""
        self.beside = False
        """Whether the network has other outputs, of which the loss may ask something as well."""
        self.cost = math.nan
        """What the plain cross-entropy makes of these answers, weighed as the loss weighs them; NaN where that is not known."""
        self.alike = bool(pulled_alike(values, slopes).get("alike"))
        """Whether the larger an answer is, the more it is pulled back, whatever is true of it."""
        self.apart = math.nan
        """Of a reconstruction the mean squared difference from the inputs."""
        if reading is None or not math.isfinite(self.squares) or not self.squares:
            return
        if reading.task in CLASSES and values.shape[1] > 1 and reading.form == "scores":
            own = slopes[(sizes > 1e-3 * sizes.max()) & ~_learnt(values, slopes)]
            self.fits = bool(np.median(np.abs(own.sum(1)) / np.abs(own).sum(1)) <= _LOPSIDED) if len(own) else None
            self.kin = self.fits is False and _one_of_each(values, slopes)
            self.plain = _plain(values, slopes) if self.fits else None
            if self.fits and self.plain is not False:
                self.cost = _cost(values, slopes)
            if self.plain is not True and twice(values, slopes) is not None:
                self.fits, self.kin, self.plain, self.twice = True, False, False, True
        elif reading.task in CLASSES and values.shape[1] == 1 and (reading.form == "scores" or values.max() > 1):
            # Distances of a new network may look like probabilities: then those above one tell.
            apart = reading.task == "classification" and _of_distance(values[:, 0], slopes[:, 0])
            self.plain = None if apart or reading.form != "scores" else _plain_of_one(values[:, 0], slopes[:, 0])
            self.fits = False if apart else self.plain or None
        elif reading.task == "reconstruction" and x is not None and x.numel() == values.size:
            way = values.reshape(-1) - x.detach().to("cpu", torch.float64).reshape(-1).numpy()
            self.apart = float(np.square(way).mean())
            size = float(np.linalg.norm(way)) * math.sqrt(self.squares)
            self.fits = bool(way @ slopes.reshape(-1) > _ALONG * size) if size > 0 else None


def _learnt(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows whose answer is as sure as single precision can tell, and right: what is left of their slopes is rounding, and adds up to anything."""
    chances = np.exp(values - values.max(1, keepdims=True))
    beside = 1 - chances.max(1) / chances.sum(1)
    told: NDArray[np.bool_] = (beside < _SURE) & (slopes.argmin(1) == values.argmax(1))
    return told


def _of_distance(scores: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool:
    """Whether single scores are distances that a loss makes small or large, as of pairs, and no scores of two classes.

    None lies below nothing, and a line through the pulls at those that are pulled down goes through nothing.
    """
    down = slopes > 1e-6 * np.abs(slopes).max()
    if scores.min() < 0 or np.count_nonzero(down) < _ROWS or len(np.unique(scores[down])) < _ROWS:
        return False
    steepness, ground = np.polyfit(scores[down], slopes[down], 1)
    return bool(steepness > 0 and abs(ground) < _GROUND * slopes[down].mean())


def _plain(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool | None:
    """Whether the slopes are c·(chance − one at the truth) with the same c in all rows, as those of the plain cross-entropy are.

    None where too few rows can tell: one factor goes with many losses where the chances of the truth are alike, or near one.
    """
    # A row that is sure and right pulls at nothing; what rounding leaves there tells no truth.
    size = np.abs(slopes).sum(1)
    told = np.flatnonzero((size > _NOTHING * size.max()) & (slopes.min(1) < 0))[: max(16, _NUMBERS // values.shape[1])]
    values, slopes = values[told], slopes[told]
    chances = np.exp(values - values.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    rows = np.arange(len(told))
    truth = slopes.argmin(1)
    missing = 1 - chances[rows, truth]
    clear = missing > _LOPSIDED
    if np.count_nonzero(clear) < 8:
        return None
    factors = -slopes[rows, truth][clear] / missing[clear]
    low, middle, high = np.quantile(factors, (0.05, 0.5, 0.95))
    beside = slopes[clear] - middle * chances[clear]
    beside[np.arange(len(beside)), truth[clear]] = 0.0
    off = float(np.median(np.abs(beside).sum(1) / np.abs(slopes[clear]).sum(1)))
    if not middle > 0 or high - low > _ALIKE * middle or off > _LOPSIDED:
        return False
    return True if np.subtract(*np.quantile(missing[clear], (0.95, 0.05))) >= _SPAN else None


def _cost(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> float:
    """The cross-entropy of the truths that the slopes tell, times how strongly the rows pull; NaN where too few are unsure."""
    size = np.abs(slopes).sum(1)
    told = np.flatnonzero((size > _NOTHING * size.max()) & (slopes.min(1) < 0))
    values, slopes = values[told], slopes[told]
    highest = values.max(1, keepdims=True)
    logs = values - highest - np.log(np.exp(values - highest).sum(1, keepdims=True))
    truth = slopes.argmin(1)
    own = logs[np.arange(len(told)), truth]
    missing = -np.expm1(own)
    clear = missing > _LOPSIDED
    if np.count_nonzero(clear) < 8:
        return math.nan
    return float(np.median(-slopes[np.arange(len(told)), truth][clear] / missing[clear]) * -own.sum())


def _plain_of_one(scores: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool | None:
    """The same of single scores of two classes: the slopes are c·(chance − truth). None where too few are unsure, or all are pulled one way."""
    if of_one_number(scores, slopes)[0] is not None:
        return True
    chance = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    unsure = np.abs(chance - (slopes < 0)) > _LOPSIDED
    if np.count_nonzero(unsure) < _ROWS or np.ptp(chance[unsure]) < _SPAN or not 0 < np.mean(slopes[unsure] < 0) < 1:
        return None
    return False


def _one_of_each(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool:
    """Whether the slopes are those of a loss that wants one at one class of each row and nothing at the others: squares, or sigmoids.

    The slope is c·(answer − wanted) with the same c everywhere. What is wanted of a row adds up to one, which tells c; and c tells what
    is wanted.
    """
    sums = slopes.sum(1)
    if not sums.all():
        return False
    forms = [(values, slopes), (1 / (1 + np.exp(-values)), slopes)]
    if (values > 0).all() and (values < 1).all():  # they came out of sigmoids: a cross-entropy of each is seen behind them
        forms.append((values, slopes * values * (1 - values)))
    for answers, steep in forms:
        factor = float(np.median((answers.sum(1) - 1) / steep.sum(1)))
        wanted = answers - factor * steep
        one = np.zeros(wanted.shape)
        one[np.arange(len(one)), wanted.argmax(1)] = 1.0
        if factor > 0 and np.abs(wanted - one).max() <= _ROUNDED:
            return True
    return False
