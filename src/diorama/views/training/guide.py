"""Which of several trainings gives the better model, and why."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import DioramaError
from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Parallel, Table
from ...core.numerals import percent, plain
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection
from ...record.facts import learnable
from ...record.lineage import neighbours
from ...run import Run, open_run
from .. import run_series
from ..changed_labels import of_numbers
from ..validation_measures import PassedValue, better, held_back
from ..view import View

if TYPE_CHECKING:
    from ...scene import Scene
    from ._measures import MeasuredModel

MOST = 24
HIGHEST = {1: "highest", -1: "lowest"}
HELD_BACK = 4
"""So many of the loops' numbers of examples held back stand in the table."""
NEAR = 0.1
"""An axis is at least so wide as a share of its largest number: the noise of a clock is not drawn as a difference."""
NAN = float("nan")
_VALUES = ("learning_rate", "last_learning_rate", "momentum", "weight_decay")
"""Values of the optimizer that are shown where they are recorded; others where they differ."""
_ANSWERS = ("separation", "middle", "calibration", "loss", "right")
SURE = 0.05
"""Differences that chance explains in more than one of twenty cases are none."""


class GuideView(View):
    """The trainings of a folder beside one another, ranked by how well they answer, with the reasons.

    *Meaning* a model is ranked by its share of right answers (without classes: by its loss) on the probe set at its newest
    snapshot. Two whose difference chance explains are as good as each other, and then the better calibrated one comes first.
    Where the probe set is known to be trained on, and all loops passed the same number of examples held back (``val_accuracy``,
    ``test/loss``), that ranks them, by its newest value: of how many examples it is no record tells, so nothing is said of chance.
    *calibration* is the expected calibration error over 15 bins of confidence (0 is best); *separation* the silhouette of the
    true classes in the last hidden layer (1 is best, 0 is none); *middle* the share of gradient times input that lies in the
    middle half of the rows and columns of a picture (0.25 without a preference).
    *Units* cost as the number of weights and the median time of a step. Of the learning rate the first and the last in force are told,
    of the first group; other values of the optimizer as they began, or as the last command on it left them.
    *Error* of the ranking: the sign test over examples that two models answer differently where both saw the same, else the
    difference of two shares; both two-sided at 5 %.
    *Cost* the record at once; then a pass an example in each model that may be looked into.
    """

    title = "Guide"
    question = "Which of these trainings gives the better model, and why?"
    family = "process"
    papers = ("Guo et al. 2017, On calibration", "Rousseeuw 1987, Silhouettes", "Dietterich 1998, Approximate statistical tests")
    rows = ("D11",)
    needs = "record"

    runs: str | None = knob(None, "Only these runs of the folder, by name, with commas.", kind="run")
    look: bool = knob(True, "Look into the models too, where they may be: calibration, separation, where they look.")
    most: int = knob(MOST, "The most runs that are compared: the newest.", low=2, high=200)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The record at once, then one model after the other."""
        assert scene.run is not None  # fits() has seen it
        runs, notes = self._runs(scene)
        rows = [_RankedRow.of(run, run_series.label(run, runs)) for run in runs]
        yield self._drawn(scene, selection, rows, notes, final=not self.look)
        if not self.look:
            return
        for number, row in enumerate(rows):
            yield Progress(done=number, total=len(rows), note=f"looking into {row.name}")
            row = dataclasses.replace(row, seen=_seen(row.run))
            rows[number] = row
            if row.seen is not None and row.seen.why:
                notes.append(f"{row.name} is told from its record alone ({row.seen.why[:160].rstrip('.')})")
            if number % 4 == 0 and number + 1 < len(rows):
                yield self._drawn(scene, selection, rows, notes, final=False)
        yield self._drawn(scene, selection, rows, notes, final=True)

    def _runs(self, scene: Scene) -> tuple[list[Run], list[str]]:
        """The scene's run, those beside it in its folder, and those it is compared with; and what cannot be read."""
        own = scene.run
        assert own is not None
        found = {own.path.resolve(): own} | {one.run.path.resolve(): one.run for one in scene.others if one.run is not None}
        notes: list[str] = []
        wanted = [name for name in map(str.strip, (self.runs or "").split(",")) if name]
        for path in neighbours(own.path):
            if path in found or (wanted and path.name not in wanted):
                continue
            try:
                found[path] = open_run(path, trust=own.trust)
                found[path].meta  # noqa: B018 - raises for what cannot be read
            except (DioramaError, OSError, ValueError) as error:
                found.pop(path, None)
                notes.append(f"{path.name} cannot be read ({' '.join(str(error).split())[:120]})")
        missing = [name for name in wanted if name not in {path.name for path in found}]
        if missing:
            notes.append(f"there is no run {', '.join(missing)} in this folder")
        first, *rest = found.values()
        rest.sort(key=lambda run: -float(run.meta.get("created") or 0.0))
        if len(rest) >= self.most:
            notes.append(f"the newest {self.most} of {len(rest) + 1} runs are compared")
        return [first, *rest[: self.most - 1]], notes

    def _drawn(self, scene: Scene, selection: Selection, rows: list[_RankedRow], notes: list[str], final: bool) -> Picture:
        own = rows[0]
        compared = [row for row in rows if row.like(own)]
        by = _judge(compared)
        ranked = _ranked_by(by, compared) if by else _ranked(compared)
        apart = [row for row in rows if not row.like(own)]
        marks: list[Node] = [_table(ranked, apart, by), *_reasons(ranked), *_parallel([row for row, _ in ranked])]
        changed = [f"{row.name}: {clause}" for row in rows for clause in of_numbers(row.run)]
        told = [*notes, *changed, *(f"{row.name} is not ranked: {row.unlike(own)}" for row in apart)]
        return self.picture(
            scene, selection, "Which model?", Group(children=tuple(marks)), _sentence(ranked, len(apart), by),
            note="; ".join(dict.fromkeys(told)), final=final, mode="eval",
        )


@dataclasses.dataclass(frozen=True)
class _RankedRow:
    """A training as it is ranked."""

    run: Run
    name: str
    task: str
    classes: tuple[str, ...]
    values: dict[str, float]
    steps: float
    parameters: float
    seconds: float
    loss: float
    accuracy: float
    examples: int
    seen: MeasuredModel | None = None
    held_back: dict[str, PassedValue] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, name: str) -> _RankedRow:
        """What the record tells."""
        structure = run.structure(run.last_step)
        parameters = structure["weights"]
        if parameters is None:  # a run of an earlier version: all that was stored, but for what norms count
            parameters = sum(math.prod(shape) for _, shape, *_ in learnable(structure))
        groups = run.meta.get("optimizer") or [{}]
        values = {
            key: float(value) for key, value in groups[0].items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key not in ("group", "factor", "learning_rate", "bent", "in_force")
        }
        if "learning_rate" in run.series_names and len(rates := run.series("learning_rate")[1]):
            values = {"learning_rate": float(rates[0]), "last_learning_rate": float(rates[-1]), **values}
        times = run.times()
        apart = np.diff(times[np.isfinite(times)])
        return cls(
            run, name, run.task, run.classes, values, float(max(run.last_step, 0)), float(parameters) or NAN,
            float(np.median(apart)) if len(apart) else NAN, _last(run, "probe/loss", "loss"), _last(run, "probe/accuracy", "accuracy"),
            int(run.meta.get("examples") or 0), None, held_back(run),
        )

    @property
    def trained_on(self) -> bool:
        """Whether most of the probe set is known to be among what is trained on."""
        data = self.run.meta.get("steered") or {}
        return bool(2 * data.get("matched", 0) > data.get("probe", 0))

    def like(self, other: _RankedRow) -> bool:
        """Whether the two can be ranked together."""
        return not self.unlike(other)

    def unlike(self, other: _RankedRow) -> str:
        """Why two cannot be ranked together; empty where they can."""
        if self is other or self.run is other.run:
            return ""
        if not self.task:
            return "what it learns is not known (task=), and losses of two kinds cannot be compared"
        if self.task != other.task:
            return f"it learns another task ({self.task or 'unknown'} rather than {other.task or 'unknown'})"
        if self.classes != other.classes:
            return "it answers other classes"
        return "" if _form(self.run) == _form(other.run) else "it takes other inputs"

    def value(self, name: str) -> float:
        """A measured number: the model's own where it was looked into, else the recorded one."""
        own = getattr(self.seen, name, NAN) if self.seen is not None else NAN
        return float(own) if np.isfinite(own) else float(getattr(self, name, NAN))

    @property
    def worth(self) -> float:
        """What it is ranked by, larger is better: the accuracy, else the loss turned round."""
        accuracy, loss = self.value("accuracy"), self.value("loss")
        return accuracy if np.isfinite(accuracy) else -loss if np.isfinite(loss) else -math.inf


def _form(run: Run) -> str:
    """What the inputs are, as far as they are the same for all examples."""
    told = run.meta.get("inputs")
    kept = ("kind", "height", "width", "channels", "columns", "shape")
    return repr([(name, told[name]) for name in kept if name in told]) if isinstance(told, dict) else repr(told)


def _last(run: Run, *names: str) -> float:
    for name in names:
        if name in run.series_names:
            values = run.series(name)[1]
            if len(values):
                return float(values[-1])
    return NAN


def _seen(run: Run) -> MeasuredModel:
    if run._factory is not None:
        measured: MeasuredModel = _measures().measured(run)
        return measured
    stamp = os.stat(run.path / "run.db")
    return _kept(str(run.path.resolve()), run.trust, tuple(run.snapshots[-1:]), stamp.st_ino)


@functools.lru_cache(maxsize=256)
def _kept(path: str, trust: bool, snapshot: tuple[int, ...], inode: int) -> MeasuredModel:
    """The model at a run's newest snapshot is measured once."""
    found: MeasuredModel = _measures().measured(open_run(path, trust=trust))
    return found


def _measures() -> Any:
    # A record is drawn before torch is there; only models need it.
    return importlib.import_module(f"{__package__}._measures")


def likeness(one: _RankedRow, other: _RankedRow) -> tuple[float, str]:
    """How likely a difference as large as that of two shares of right answers is by chance, and what was compared."""
    mine, theirs = one.seen, other.seen
    if (
        mine is not None and theirs is not None and mine.right is not None and theirs.right is not None
        and mine.examples == theirs.examples and len(mine.right) == len(theirs.right)
    ):
        from scipy.stats import binomtest

        better, worse = int((mine.right & ~theirs.right).sum()), int((theirs.right & ~mine.right).sum())
        chance = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
        return chance, f"right on {worse} examples where {one.name} is not, and wrong on {better} where that is right"
    counts = [len(row.seen.right) if row.seen is not None and row.seen.right is not None else row.examples for row in (one, other)]
    shares = [row.value("accuracy") for row in (one, other)]
    if not all(counts) or not np.isfinite(shares).all():
        return NAN, ""
    whole = sum(share * count for share, count in zip(shares, counts, strict=True)) / sum(counts)
    spread = math.sqrt(max(whole * (1 - whole) * (1 / counts[0] + 1 / counts[1]), 0.0))
    chance = 1.0 if spread == 0 else math.erfc(abs(shares[0] - shares[1]) / spread / math.sqrt(2))
    return chance, f"{percent(shares[1], 3)} of {counts[1]} examples rather than {percent(shares[0], 3)} of {counts[0]}"


def _ranked(rows: Sequence[_RankedRow]) -> list[tuple[_RankedRow, str]]:
    """The rows, best first, each with the reason for its place."""
    left = sorted(rows, key=lambda row: -row.worth)
    found: list[tuple[_RankedRow, str]] = []
    while left:
        lead = left[0]
        level = [lead] + [row for row in left[1:] if likeness(lead, row)[0] >= SURE]
        if not np.isfinite(lead.value("accuracy")):
            level = [lead]  # of losses it is not known how much chance there is in them
        level.sort(key=lambda row: (_or(row.value("calibration")), _or(row.parameters), -row.worth))
        first = found[0][0] if found else level[0]
        found += [(row, _reason(row, first, level)) for row in level]
        left = [row for row in left if all(row is not one for one in level)]
    return found


def _judge(rows: Sequence[_RankedRow]) -> str:
    """The series of examples held back that ranks the runs, where their probe sets tell how well what is trained on is known; else nothing."""
    return _common(rows) if len(rows) > 1 and any(row.trained_on for row in rows) else ""


def _common(rows: Sequence[_RankedRow]) -> str:
    """A number of examples held back that all runs have, an accuracy before a loss; else nothing."""
    names = [name for name in rows[0].held_back if better(name) and all(name in row.held_back for row in rows)]
    return max(names, key=better, default="")


def _ranked_by(name: str, rows: Sequence[_RankedRow]) -> list[tuple[_RankedRow, str]]:
    """The rows by their newest value of a series, best first, each with that value."""
    sign = better(name)
    order = sorted(rows, key=lambda row: -sign * row.held_back[name].value)
    first = order[0].held_back[name].value

    def reason(row: _RankedRow) -> str:
        value, step = row.held_back[name]
        told = f"its {name} at step {step:,} is {plain(f'{value:.3g}')}"
        if value != first:
            return f"{told}, rather than {plain(f'{first:.3g}')}"
        alone = sum(one.held_back[name].value == first for one in order) == 1
        return f"{told}, {f'the {HIGHEST[sign]}' if alone else 'and none is better'}"

    return [(row, reason(row)) for row in order]


def _or(value: float) -> float:
    return value if np.isfinite(value) else math.inf


def _reason(row: _RankedRow, first: _RankedRow, level: list[_RankedRow]) -> str:
    if row is first:
        if len(level) == 1:
            if np.isfinite(row.value("accuracy")):
                return "it has the most right answers"
            return "it has the lowest loss" if np.isfinite(row.value("loss")) else ""
        best = max(level, key=lambda one: one.worth)
        others = f"as good as {best.name}, as far as the examples tell"
        if best is row:
            alone = all(one is row or one.worth < row.worth for one in level)
            others = "it has the most right answers, though chance alone may explain its lead" if alone else "none has more right answers"
        if np.isfinite(row.value("calibration")):
            alone = all(one is row or one.value("calibration") != row.value("calibration") for one in level)
            return f"{others}; of these {'its confidence is calibrated best' if alone else 'none is calibrated better'}"
        return f"{others}; of these none has fewer weights" if np.isfinite(row.parameters) else others
    chance, said = likeness(first, row)
    if not np.isfinite(chance):
        apart = row.value("loss") - first.value("loss")
        return f"its loss is {plain(f'{apart:.3g}')} above that of {first.name}" if np.isfinite(apart) else "nothing to rank it by is known"
    if chance < SURE:
        return f"{said}: more than chance explains (p = {plain(f'{chance:.2g}')})"
    return f"{said}: no more than chance explains (p = {plain(f'{chance:.2g}')})"


def _columns(rows: Sequence[_RankedRow]) -> dict[str, list[float]]:
    """The numbers of runs by what they are called, where any run has one."""
    found = {
        "right": [row.value("accuracy") for row in rows], "loss": [row.value("loss") for row in rows],
        "calibration": [row.value("calibration") for row in rows], "separation": [row.value("separation") for row in rows],
        "middle": [row.value("middle") for row in rows], "weights": [row.parameters for row in rows],
        "ms a step": [1000 * row.seconds for row in rows], "steps": [row.steps for row in rows],
    }
    for name in list(dict.fromkeys(name for row in rows for name in row.held_back))[:HELD_BACK]:
        found[name] = [row.held_back[name].value if name in row.held_back else NAN for row in rows]
    names = dict.fromkeys(name for row in rows for name in row.values)
    for name in names:
        values = [row.values.get(name, NAN) for row in rows]
        if name in _VALUES or len({value for value in values if np.isfinite(value)}) > 1:
            found[name.replace("_", " ")] = values
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


_ORDER = "Ranked by what they answer rightly; of those that differ by no more than chance explains, the {} first"
"""The order of those whose shares are known, as :func:`_ranked` makes it."""


def _table(ranked: list[tuple[_RankedRow, str]], apart: list[_RankedRow], by: str) -> Node:
    rows = [row for row, _ in ranked] + apart
    columns = [
        Column(name="place", kind="text", texts=tuple(str(k + 1) if k < len(ranked) else "–" for k in range(len(rows)))),
        Column(name="run", kind="text", texts=tuple(row.name for row in rows)),
    ]
    for name, values in _columns(rows).items():
        if np.isfinite(values).all():
            columns.append(Column(name=name, kind="share" if name == "right" else "number", numbers=np.array(values)))
        else:
            form = ".1%" if name == "right" else ".3g"
            texts = (plain(format(value, form)) if np.isfinite(value) else "–" for value in values)
            columns.append(Column(name=name, kind="text", texts=tuple(texts)))
    level = "better calibrated" if any(np.isfinite(row.value("calibration")) for row, _ in ranked) else "smaller"
    title = f"Ranked by {by}" if by else _ORDER.format(level) if np.isfinite(rows[0].value("accuracy")) else "Ranked by loss"
    return Table(title=title, columns=tuple(columns), row_keys=tuple(_key(row) for row in rows))


def _reasons(ranked: list[tuple[_RankedRow, str]]) -> Iterator[Node]:
    """Why each stands where it stands."""
    if len(ranked) > 1:
        columns = (
            Column(name="run", kind="text", texts=tuple(row.name for row, _ in ranked)),
            Column(name="why it stands here", kind="text", texts=tuple(reason for _, reason in ranked)),
        )
        yield Table(title="Why in this order", columns=columns, row_keys=tuple(_key(row) for row, _ in ranked))


def _key(row: _RankedRow) -> str:
    return str(Key("run", row.run.path.name))


def _parallel(rows: list[_RankedRow]) -> Iterator[Node]:
    """One line a run, through what differs between them."""
    found = {name: values for name, values in _columns(rows).items() if len({v for v in values if np.isfinite(v)}) > 1}
    columns = {name: found[name] for name in sorted(found, key=lambda name: _ANSWERS.index(name) if name in _ANSWERS else -1)}
    if len(rows) < 2 or not columns:
        return
    values = np.array(list(columns.values())).T
    yield Parallel(
        title="What differs between them", values=values, axes=tuple(columns), spans=tuple(map(_span, values.T)),
        labels=tuple(row.name for row in rows),
        keys=tuple(_key(row) for row in rows), colours=tuple(k % 10 for k in range(len(rows))),
        caption="One line a run, from its settings and costs to its answers; a line is broken where a number is not known.",
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: wide enough that two numbers which hardly differ stand near each other."""
    low, high = np.nanmin(values), np.nanmax(values)
    wider = max(0.0, NEAR * max(abs(low), abs(high)) - (high - low)) / 2
    return float(low - wider), float(high + wider)


def _listed(names: list[str]) -> str:
    """Who it is said of, with the verb."""
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _of_probe(ranked: list[tuple[_RankedRow, str]], by: str) -> str:
    """What the ranking is worth: whether the probe set is trained on, with which labels, and what numbers of examples held back say."""
    rows = [row for row, _ in ranked]
    known = [row.name for row in rows if row.trained_on]
    new = [row.name for row in rows if of_numbers(row.run)]
    said = ""
    if by:
        said = (
            f"They are ranked by {by}, which the loops passed (by its name, of examples held back), as the probe set of {_all_of(known, rows)} is "
            "trained on: what is right there tells how well what was taught is known. How many examples were held back is not recorded, so it "
            "is not known what chance explains. "
        )
    elif known:
        said = (
            f"The probe set of {_all_of(known, rows)} is trained on, so what is right there tells how well what was taught is known, not how "
            "the model does on new examples. "
        )
    if new and len(new) < len(rows):
        said += (
            f"{_listed(new)} taught other labels for some of its examples, and right is counted by the labels that it came with: who learnt those "
            "by heart stands better there. "
        )
    if not by and (name := _common(rows)) and len(rows) > 1:
        best = _ranked_by(name, rows)[0][0]
        if best is not rows[0] and best.held_back[name].value != rows[0].held_back[name].value:
            here, there = (plain(f"{row.held_back[name].value:.3g}") for row in (rows[0], best))
            said += f"By {name}, which the loops passed, {best.name} comes first ({there}; {rows[0].name} has {here}). "
    return said


def _all_of(names: list[str], rows: list[_RankedRow]) -> str:
    return "all" if len(names) == len(rows) else ", ".join(names)


def _sentence(ranked: list[tuple[_RankedRow, str]], apart: int, by: str) -> str:
    row, reason = ranked[0]
    if len(ranked) == 1:
        more = f"; {f'the {apart} others' if apart > 1 else 'the other one'} of this folder cannot be compared with it" if apart else ""
        return f"There is no other run to rank {row.name} with{more}."
    said = f"{row.name} comes first of {len(ranked)} runs" + (f": {reason}. " if reason else ". ")
    said += _of_probe(ranked, by)
    for name, word, sign in (("calibration", "best calibrated", 1), ("separation", "best at separating the classes inside", -1)):
        known = [(sign * one.value(name), one.name) for one, _ in ranked if np.isfinite(one.value(name))]
        best = min(known, default=(0.0, ""))[0]
        names = [name for value, name in known if value == best]
        if len(names) < len(known):
            said += f"{_listed(names)} {word} ({plain(f'{sign * best:.3g}')}). "
    small = [(one.parameters, one.name) for one, _ in ranked if np.isfinite(one.parameters)]
    if len({count for count, _ in small}) > 1:
        fewest = min(count for count, _ in small)
        names = [name for count, name in small if count == fewest]
        said += f"{_listed(names)} the smallest, with {fewest:,.0f} weights. "
    said += _measured_apart([(one.seen.examples, one.name) for one, _ in ranked if one.seen is not None and one.seen.examples])
    return said.rstrip()


def _measured_apart(seen: list[tuple[str, str]]) -> str:
    """A sentence on those that were measured on other examples than most were; nothing where all saw the same."""
    together = Counter(examples for examples, _ in seen)
    if len(together) < 2:
        return ""
    most, count = together.most_common(1)[0]
    others = [name for examples, name in seen if examples != most]
    if count == 1:
        return "Each was measured on examples of its own, so small differences say little."
    were = f"{others[0]} was" if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]} were"
    return f"{were} measured on other examples than the rest, so small differences to {'it' if len(others) == 1 else 'them'} say little."
