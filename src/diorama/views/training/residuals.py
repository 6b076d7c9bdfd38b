"""By how much a regression errs, and for which inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.colour import symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Field, Group, Lines, Node, Number, Series
from ...core.numerals import counted
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...data import nesting
from ...data.kinds import Table
from ...scene import Scene
from ...scene.sets import output_name
from ..view import View

Floats = NDArray[np.float64]
FEWEST = 8
"""Examples in a bin at least, so that its mean is not one of them."""
SMALL = 0.05
"""A smaller share of the variance is not told of."""
SHUFFLES = 99
"""What a column tells is more than chance where it is more than the best column tells of residuals that were shuffled so often: by chance
one network in a hundred is said to have missed something."""


class Trend(NamedTuple):
    """The residuals along one number: for each bin of it its middle, their mean, and where the middle half of them lies."""

    name: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    explained: float
    """The part of the residuals' variance that lies between the bins, less what chance puts there; 0 where nothing depends on it."""


class ResidualsView(View):
    """What the network answers too much or too little: the residual (answer less truth) of each example, against the answer
    and against each column of the input.

    *Meaning* a good model leaves residuals that depend on nothing. A mean that rises or falls along a column says that the
    network has not learnt what that column tells; a band that widens, that it errs more there.
    *Units* those of the truth. *Error* a column's share is the part of the residuals' variance that lies between its bins,
    less what as many bins of chance would hold (adjusted eta squared). A column is said to matter where it tells more than the best
    of all columns does of shuffled residuals, in each of 99 shuffles.
    *Source* Cook & Weisberg 1982, Residuals and Influence in Regression; Westfall & Young 1993 (the largest of many under shuffles).
    """

    title = "Residuals"
    question = "For which inputs is the predicted number too high or too low?"
    answers = True
    family = "process"
    papers = ("Cook & Weisberg 1982, Residuals and Influence in Regression",)
    rows = ("C19",)
    by_labels = True
    follows = ("example",)
    demo = "regression"

    output: int = knob(0, "Which of several predicted numbers.", low=0, kind="integer", main=True)
    bins: int = knob(10, "Parts of equal numbers of examples in which means are taken.", low=2, high=50)
    columns: int = knob(6, "Columns shown at most, those first on which the residual depends most.", low=1, high=50)

    @classmethod
    def fits(cls, scene: Scene) -> str | None:
        """It needs predicted numbers and the truth."""
        reason = super().fits(scene)
        if reason is not None:
            return reason
        if scene.task != "regression":
            return "it compares predicted numbers with true ones, and this model predicts none; use confusion or examples"
        return "it needs the truth of each example; pass y, or probe=(x, y)" if scene.live.y is None else None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        answer, truth, known, which = self._told(scene)
        residual = (answer - truth)[known]
        if not len(residual):
            none = Number(label="no residuals", tone="bad", note="No example has an answer and a truth that are numbers.")
            said = "There is nothing to compare: the answers or the truth are not numbers. The view health tells since when."
            yield self.picture(scene, selection, "Residuals", none, said)
            return
        columns = [("answer", answer[known]), *((name, values[known]) for name, values in _columns(scene))]
        own, *trends = (trend(name, values, residual, self.bins) for name, values in columns)
        trends.sort(key=lambda one: -one.explained)
        best = max(one.explained for one in (own, *trends))
        chance = by_chance([values for _, values in columns], residual, self.bins) if best >= SMALL else 1.0
        shown = [own, *trends[: self.columns]]
        span = _span([own, *trends], residual)
        marks: list[Node] = [_plane(answer[known], residual, known), Group(children=tuple(_lines(one, span) for one in shown), direction="grid")]
        left = len(trends) - len(trends[: self.columns])
        note = f"{left} columns on which it depends less are left out" if left else ""
        yield self.picture(
            scene, selection, "Residuals", Group(children=tuple(marks)), which + _caption(residual, trends, own, chance, len(answer) - len(known)),
            checks=_checks(residual, truth[known]), note=note,
        )

    def _told(self, scene: Scene) -> tuple[Floats, Floats, NDArray[np.int64], str]:
        """Answers, truths, the numbers of the examples of which both are known, and of several outputs which one these are."""
        y = scene.live.y
        assert y is not None  # fits() has seen it
        answer = scene.predictions().double().reshape(len(y), -1).numpy()
        truth = y.double().reshape(len(y), -1).numpy()
        if truth.shape[1] > 1 and answer.shape[1] != truth.shape[1]:
            raise NotApplicable(
                f"it lays predicted numbers beside true ones, and the network answers an example with {answer.shape[1]} numbers to "
                f"{truth.shape[1]} true ones; use the view examples"
            )
        if self.output >= min(answer.shape[1], truth.shape[1]):
            raise NotApplicable(f"the model predicts numbers 0 to {min(answer.shape[1], truth.shape[1]) - 1}, not {self.output}")
        of = answer.shape[1]
        which = f"Of {of} outputs this is {output_name(scene, self.output)}. " if of > 1 else ""
        answer, truth = answer[:, self.output], truth[:, self.output]
        return answer, truth, np.flatnonzero(np.isfinite(answer) & np.isfinite(truth)), which


def trend(name: str, values: Floats, residual: Floats, bins: int) -> Trend:
    """The residuals in bins of a number that hold equally many examples; equal numbers share a bin."""
    told = np.isfinite(values)
    values, residual = values[told], residual[told]
    place = _binned(values, bins)
    if place is None:
        none = np.zeros(0)
        return Trend(name, none, none, none, none, 0.0)
    groups = [residual[place == k] for k in range(int(place.max()) + 1)]
    kept = [k for k, group in enumerate(groups) if len(group)]
    x = np.array([np.median(values[place == k]) for k in kept])
    mean = np.array([groups[k].mean() for k in kept])
    low, high = (np.array([np.quantile(groups[k], end) for k in kept]) for end in (0.25, 0.75))
    return Trend(name, x, mean, low, high, _explained([groups[k] for k in kept], residual))


def _binned(values: Floats, bins: int) -> NDArray[np.int64] | None:
    """The bin of each number, of equally many where that can be; None where all are the same."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return None
    if len(distinct) <= bins:
        edges = distinct
    else:
        count = max(2, min(bins, len(values) // FEWEST))
        edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[:-1]))
    return np.asarray(np.searchsorted(edges, values, "right") - 1, np.int64)


def by_chance(columns: list[Floats], residual: Floats, bins: int) -> float:
    """The largest share that any column tells of shuffled residuals, over all shuffles; always the same ones.

    *Cost* one pass over each column and shuffle.
    """
    draw = np.random.default_rng(0)
    shuffled = np.stack([draw.permutation(residual) for _ in range(SHUFFLES)], 1)
    most = 0.0
    for values in columns:
        told = np.isfinite(values)
        place = _binned(values[told], bins)
        if place is None:
            continue
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        sizes = np.diff(np.append(starts, len(order)))
        rows = shuffled[told][order]
        rows = rows - rows.mean(0)
        whole, between = (rows**2).sum(0), (np.add.reduceat(rows, starts, axis=0) ** 2 / sizes[:, None]).sum(0)
        if len(order) > len(starts) and whole.all():
            most = max(most, float((1 - (whole - between) / (len(order) - len(starts)) / (whole / (len(order) - 1))).max()))
    return most


def _explained(groups: list[Floats], residual: Floats) -> float:
    """Adjusted eta squared: 1 − (within / (n − k)) / (all / (n − 1))."""
    count, parts = len(residual), len(groups)
    whole = float(((residual - residual.mean()) ** 2).sum())
    if count <= parts or whole <= 0:
        return 0.0
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return max(0.0, 1 - (within / (count - parts)) / (whole / (count - 1)))


def _columns(scene: Scene) -> Iterator[tuple[str, Floats]]:
    """The columns of a table in their own units."""
    kind, x = scene.kind, scene.live.x
    if not isinstance(kind, Table) or isinstance(x, (dict, tuple)):
        return
    rows = nesting.first(x)
    if rows.ndim != 2 or rows.is_complex():
        return
    shown = np.asarray(kind.decode(rows.double()), np.float64)
    for number in range(shown.shape[1]):
        yield (kind.columns[number] if number < len(kind.columns) else f"input {number}"), shown[:, number]


def _span(trends: list[Trend], residual: Floats) -> tuple[float, float]:
    """One scale for all columns."""
    ends = [np.zeros(1), *(array for one in trends for array in (one.mean, one.low, one.high)), np.quantile(residual, [0.1, 0.9])]
    low, high = float(min(array.min() for array in ends if len(array))), float(max(array.max() for array in ends if len(array)))
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room


def _plane(answer: Floats, residual: Floats, known: NDArray[np.int64]) -> Field:
    """Every example over its answer; the ground is blue where answers are too high, orange where they are too low."""
    low, high = float(answer.min()), float(answer.max())
    room = 0.05 * (high - low) or 0.5
    most = float(np.abs(residual).max()) * 1.08 or 0.5
    ground = np.repeat(np.linspace(-most, most, 21)[:, None], 2, axis=1)
    limits = symmetric(np.append(residual, [most, -most]), most)
    return Field(
        title="each example", values=ground, extent=(low - room, high + room, -most, most), limits=limits,
        points=np.stack([answer, residual], 1), point_values=residual,
        point_keys=tuple(number_key("example", int(number)) for number in known), x_title="answer", y_title="residual", size=220, faded=True,
    )


def _lines(one: Trend, span: tuple[float, float]) -> Lines:
    band = Series(name="middle half", x=one.x, y=one.mean, low=one.low, high=one.high, band=True)
    title = one.name if one.name == "answer" else f"{one.name}: {100 * one.explained:.0f} % of the residuals' variance"
    return Lines(
        title=title, series=(band, Series(name="mean residual", x=one.x, y=one.mean)), x_kind="number", x_title=one.name,
        y_title="residual", y_range=span, height=120,
    )


def _caption(residual: Floats, trends: list[Trend], own: Trend, chance: float, lost: int) -> str:
    bias, middle = residual.mean(), np.median(np.abs(residual))
    side = "too high" if bias > 0 else "too low"
    said = f"Answer less truth of {counted(len(residual), 'examples')}: blue ones are answered too high, orange ones too low. "
    if len(residual) > 1:
        said += f"Half err by no more than {middle:.3g}, and on average the answer is "
        said += f"{abs(bias):.2g} {side}. " if abs(bias) > 2 * residual.std() / np.sqrt(len(residual)) else "neither too high nor too low. "
    if lost:
        said += f"{counted(lost, 'examples')} {'has' if lost == 1 else 'have'} no answer or no truth. "
    best = max([own, *trends], key=lambda one: one.explained)
    if best.explained >= SMALL and best.explained > chance:
        name = "the answer itself" if best is own else best.name
        said += f"The residual depends most on {name}, which tells {100 * best.explained:.0f} % of its variance, more than chance: "
        said += f"{_where(best)}. "
        said += "A line or a scale laid over the answers would better them. " if best is own else "The network has not learnt all that it tells. "
    elif trends:
        least = "more than chance would have it" if best.explained >= SMALL else "more than 5 % of its variance"
        said += f"It depends on no column by {least}. "
    return said + "In each small chart the line is the mean residual, and the band holds the middle half; along 0 nothing depends on that number."


def _where(one: Trend) -> str:
    """For which numbers answers are too high, and for which too low, in the mean of a bin."""
    top, low = int(one.mean.argmax()), int(one.mean.argmin())
    each = [f"{abs(one.mean[at]):.2g} too {'high' if one.mean[at] > 0 else 'low'} in the mean where it is near {one.x[at]:.3g}" for at in (top, low)]
    return f"answers are {each[0]}, and {each[1]}"


def _checks(residual: Floats, truth: Floats) -> tuple[Check, ...]:
    spread = float(((truth - truth.mean()) ** 2).sum())
    if spread <= 0:
        return ()
    determined = 1 - float((residual**2).sum()) / spread
    sentence = "The share of the truth's variance that the answers tell on these examples: 1 all of it, 0 as much as its mean would."
    return (Check(name="R²", value=determined, sentence=sentence, good=True if determined > 0.5 else None if determined > 0 else False),)
