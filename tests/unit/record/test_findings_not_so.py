"""Findings that were told where nothing was so: they are silent there, or say what is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from diorama.core.registry import findings
from diorama.record.findings import ALARM, Diagnosis


class _Told:
    """Series of 400 steps and facts as a run would have them."""

    def __init__(self, series: dict[str, Any], **meta: object) -> None:
        self.meta: dict[str, Any] = {"probe": meta, "layers": [{"name": "a"}, {"name": "b"}]}
        self._found, self.series_names, self.row_names = series, tuple(series), ()
        self.last_step = max(map(len, series.values()))

    def has_series(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._found

    def series(self, name: str) -> tuple[Any, Any]:
        """Steps, evenly over the run, and values."""
        values = self._found[name]
        return np.arange(1, len(values) + 1) * (self.last_step // len(values)), values


_LEVEL = np.full(400, 1.0)


@pytest.mark.parametrize(("modes", "steps", "told"), [((1, 1), 400, True), ((1, 1), 40, False), ((0, 1), 400, False), ((0, 1, 1), 400, False)])
def test_two_readings_tell_evaluation_mode_where_there_was_no_other(modes: tuple[int, ...], steps: int, told: bool) -> None:
    """A few steps, and a stretch behind steps in training mode, want a third reading."""
    run = _Told({"loss": np.ones(steps), "batch/eval": np.array(modes, float)})
    assert bool(findings["evaluation_mode"]()(run)) == told  # type: ignore[arg-type]


def test_what_the_probe_set_is_answered_with_is_not_called_memory() -> None:
    """A probe loss that rises is overfitting; not where running statistics never arrived, whose finding says so, nor where a state is carried."""
    curves = {"loss": np.geomspace(2, 0.05, 400), "probe/loss": np.concatenate([np.linspace(2, 1, 4), np.linspace(1.1, 1.6, 6)])}
    normed = {**curves, "activations/b/mismatch": np.geomspace(0.6, 0.22, 40)}
    for momentum, told in ((0.001, "batch_norm_mismatch"), (0.1, "overfitting")):
        run = _Told(normed)
        run.meta["layers"][1]["momentum"] = momentum
        assert [name for name in ("batch_norm_mismatch", "overfitting") if findings[name]()(run)] == [told]  # type: ignore[arg-type]
    for carried, severe in ((0.0, True), (1.0, False)):
        found, = findings["overfitting"]()(_Told({**curves, "batch/carried": np.full(10, carried)}))  # type: ignore[arg-type]
        assert (found.severity >= ALARM) == severe
        assert ("from an empty" in found.text) == (not severe)


def test_single_losses_that_lie_far_apart_are_no_jump() -> None:
    """Of batches of one the median of ten varies by a factor of two by chance; the same noise around a jump leaves it told, in the order of time."""
    noise = np.exp(1.3 * np.random.default_rng(0).standard_normal((40, 800)))
    falls = np.geomspace(1.4, 0.3, 800)
    told = [findings["loss_spikes"]()(_Told({"loss": falls * each}, floor=1.4)) for each in noise]  # type: ignore[arg-type]
    assert sum(map(len, told)) <= 1
    thrown = np.where((np.arange(800) >= 500) & (np.arange(800) < 560), 3.0, falls)
    found = [findings["loss_spikes"]()(_Told({"loss": thrown * each}, floor=1.4)) for each in noise[:5]]  # type: ignore[arg-type]
    assert [[abs(each.step - 501) <= 10 for each in one] for one in found] == [[True]] * 5
    for one, in found:
        lowest = re.search(r"lowest (\S+) before it", one.evidence)
        assert lowest is not None
        assert f"rose from {lowest[1]} to" in one.text


def test_the_distance_of_true_values_is_that_of_the_last_look() -> None:
    """Where looks lie far apart the answers may have come nearer since; the way that is told is the same, and one high look alone is no distance."""
    def told(*gaps: float) -> list[Diagnosis]:
        loss = np.array([gap**2 + 4.0 for gap in gaps])
        return findings["unscaled_targets"]()(_Told({"loss": _LEVEL, "probe/loss": loss}, floor=4.0, ends=[998.0, 1002.0]))  # type: ignore[arg-type]

    found, = told(1000, 900, 600, 200)
    assert "lie from 998 to 1,000, and at step 400 the mean answer was about 200 away" in found.text
    assert "In 300 steps they came nearer by 800." in found.text
    assert not told(1000, 2, 2, 200)
    assert not told(1000, 900, 600, 2)


@pytest.mark.parametrize("many", [12, 40])
@pytest.mark.parametrize(("change", "why"), [
    ({"dropouts": [("2", 0.7)]}, "layer 2 drops units in the training's batches alone"),
    ({"layers": [{"kind": "BatchNorm1d"}]}, "batch norm rests on few rows"),
    ({"std": 0.76}, "as by augmentation"), ({"mean": -0.4}, "as by augmentation"),
    ({"dropouts": [("2", 0.7)], "eval": 1.0}, ""), ({"dropouts": [("2", 0.0)]}, ""), ({"std": 1.05}, ""),
])
def test_the_probe_set_speaks_against_labels_only_where_it_is_answered_as_the_batches_are(many: int, change: dict[str, Any], why: str) -> None:
    """In few readings and in many: what is done to the batches alone makes their answers worse, whatever the labels are."""
    kept = {
        "count": 15.0 if "layers" in change else 32.0, "accuracy": 0.66, "labels": 0.3, "order": 0.6, "wrong_sure": 0.6, "right_sure": 0.65,
        "mean": 0.0, "std": 1.0, "eval": 0.0,
    } | {name: value for name, value in change.items() if not isinstance(value, list)}
    told = {f"batch/{name}": np.full(many, value) for name, value in kept.items()}
    run = _Told(told | {"probe/accuracy": np.full(12, 0.9)}, labels=np.repeat(np.arange(4), 50).tolist(), inputs=[-3.0, 3.0, 0.0, 1.0])
    run.meta |= {name: value for name, value in change.items() if isinstance(value, list)}
    (found,) = findings["label_noise"]()(run)
    assert (found.severity < ALARM) == bool(why) == ("may be" in found.title)
    assert why in found.sure


@pytest.mark.parametrize(("before", "end", "sure"), [(6, 0.7, False), (6, 0.9, True), (30, 0.9, False)])
def test_a_rare_class_that_comes_last_is_no_alarm(before: int, end: float, sure: bool) -> None:
    """What is taken for another class less and less, or not for long beside the time that the others took, may still be learnt."""
    series = {
        "confused": np.append(np.full(before, 0.3), np.append(np.full(7, 0.9), np.linspace(0.9, end, 7)) * 0.9),
        "accuracy": np.full(before + 14, 0.9),
        "confused/from": np.append(np.zeros(before), np.full(14, 2.0)), "confused/as": np.append(np.ones(before), np.zeros(14)),
        "labels": np.full(before + 14, 0.4),
    }
    run = _Told({f"batch/{name}": values for name, values in series.items()})
    (found,) = findings["confused_classes"]()(run)
    assert (found.severity >= ALARM) == sure == ("may still be learnt" not in found.sure)


@pytest.mark.parametrize(("taken", "falls", "sure"), [(9, False, True), (9, True, False), (2, False, False), (0, False, False)])
def test_a_class_that_the_probe_set_takes_for_another_too_is_an_alarm(taken: int, falls: bool, sure: bool) -> None:
    """What batches alone have not told for long enough, the probe set tells where as many of its examples went wrong for as long as the others
    took, and are not being learnt."""
    many, labels = 44, np.repeat(np.arange(3), 10)
    run = _Told({
        "batch/confused": np.append(np.full(30, 0.3), np.full(14, 0.8)), "batch/accuracy": np.full(many, 0.9),
        "batch/confused/from": np.append(np.zeros(30), np.full(14, 2.0)), "batch/confused/as": np.append(np.ones(30), np.zeros(14)),
        "batch/labels": np.full(many, 0.4),
    }, labels=labels.tolist())
    answers = np.tile(labels, (8, 1))
    answers[0, :] = 1
    answers[:, 20 : 20 + taken] = 0
    losses = np.where(answers != labels, (np.geomspace(4, 1, 8) if falls else np.full(8, 4.0))[:, None], 0.1)
    told = {"examples/answer": answers, "examples/loss": losses}
    run.row_names = tuple(told)  # type: ignore[assignment]
    run.rows = lambda name: (np.arange(8) * 10, told[name])  # type: ignore[attr-defined]
    (found,) = findings["confused_classes"]()(run)
    assert (found.severity >= ALARM) == sure == ("Of the probe set's 10 examples of it 90% are" in found.text)


@pytest.mark.parametrize(("apart", "sure"), [(1, False), (30, True)])
def test_the_first_steps_of_a_judge_are_no_confusion(apart: int, sure: bool) -> None:
    """A network that calls nearly everything real as it begins has not had the time to learn otherwise; it is told once it had."""
    labels = np.repeat(np.arange(2), 20)
    answers = np.tile(np.ones(40, int), (4, 1))
    answers[:, 0] = 0
    told = {"examples/answer": answers, "examples/loss": np.where(answers != labels, 1.0, 0.4)}
    run = _Told({"loss": _LEVEL}, labels=labels.tolist(), floor=0.69)
    run.row_names = tuple(told)  # type: ignore[assignment]
    run.rows = lambda name: (np.arange(4) * apart, told[name])  # type: ignore[attr-defined]
    (found,) = findings["confused_classes"]()(run)
    assert (found.severity >= ALARM) == sure


def _risen(**more: np.ndarray) -> _Told:
    curves = {"loss": np.geomspace(2, 0.05, 400), "probe/loss": np.concatenate([np.linspace(2, 1, 4), np.linspace(1.1, 1.6, 6)])}
    return _Told({**curves, **more}, labels=[0, 1] * 200)


@pytest.mark.parametrize(("task", "right", "alarm"), [
    ("classification", np.full(10, 0.8), False), ("segmentation", np.linspace(0.5, 0.9, 10), False),
    ("classification", np.append(np.full(4, 0.8), np.full(6, 0.65)), True), ("reconstruction", None, False), ("regression", None, True),
])
def test_a_probe_loss_of_another_measure_that_rises_while_answers_stay_right_is_no_alarm(
    task: str, right: np.ndarray | None, alarm: bool,
) -> None:
    """A Dice loss makes answers surer, which a cross-entropy does not forgive; worse answers, and a loss of the same measure, are overfitting."""
    for measure in ("", "they are two measures"):
        run = _risen(**({} if right is None else {"probe/accuracy": right}))
        run.meta |= {"task": task, "measure": measure}
        found, = findings["overfitting"]()(run)  # type: ignore[arg-type]
        assert (found.severity >= ALARM) == (alarm or not measure)
        assert (found.title == "It overfits") == (alarm or not measure)


def test_what_rises_from_the_very_beginning_is_not_called_learnt_by_heart() -> None:
    """A probe loss that is never below that of the first weights tells of other inputs or labels, and its title does not say more."""
    run = _risen()
    found, = findings["overfitting"]()(run)  # type: ignore[arg-type]
    assert found.title == "It overfits"
    run = _Told({"loss": np.geomspace(2, 0.05, 400), "probe/loss": np.linspace(2, 5, 10)})
    found, = findings["overfitting"]()(run)  # type: ignore[arg-type]
    assert found.title == "Nothing learnt holds on the probe set"
    assert found.severity >= ALARM


@pytest.mark.parametrize(("since", "loss", "alarm"), [(5, 0.1, False), (0, 0.1, True), (5, 0.9, True)])
def test_units_that_came_to_their_ends_while_they_learnt_are_no_alarm(since: int, loss: float, alarm: bool) -> None:
    """A recurrent layer that keeps symbols is saturated by what it learnt; not where it began so, nor where nothing is learnt."""
    run = _Told({"activations/a/saturated": np.append(np.zeros(since), np.full(20, 0.7)), "probe/loss": np.linspace(1, loss, 6), "loss": _LEVEL},
                floor=1.0)
    run.meta["layers"][1]["order"] = 1
    found, = findings["saturated_units"]()(run)  # type: ignore[arg-type]
    assert (found.severity >= ALARM) == alarm
    assert ("while it learnt" in found.text) != alarm


def test_a_code_that_says_nothing_yet_is_no_alarm_of_its_loss() -> None:
    """The loss of a code has a term that the probe set's lacks: that neither falls is told, and no more; of one measure it is an alarm."""
    for measure, title in (("", "It does not learn"), ("two measures", "The loss does not fall")):
        run = _Told({"loss": _LEVEL, "probe/loss": np.full(6, 0.98)}, floor=1.0)
        run.meta |= {"task": "reconstruction", "measure": measure}
        found, = findings["stalled_learning"]()(run)  # type: ignore[arg-type]
        assert found.title == title
        assert (found.severity >= ALARM) == (not measure)


def test_a_turned_loss_of_another_measure_is_found() -> None:
    """Below nothing from the beginning on, ever further, while the probe set's loss only rises; a likelihood whose answers get better is none."""
    for held, told in ((np.geomspace(1.5, 900, 8), True), (np.geomspace(1.5, 0.1, 8), False), (np.append(np.geomspace(1.5, 900, 7), 2.0), False)):
        run = _Told({"loss": -np.geomspace(1, 300, 400), "probe/loss": held})
        run.meta["measure"] = "absolute differences beside squares"
        found = findings["turned_loss"]()(run)  # type: ignore[arg-type]
        assert [one.title for one in found] == ["The loss has the wrong sign"] * told


def test_units_that_were_silent_from_the_first_reading_on_are_told_with_its_step() -> None:
    """The step beside the sentence is the one that it names."""
    (found,) = findings["dead_units"]()(_Told({"loss": _LEVEL, "activations/a/dead": np.full(40, 0.2)}))  # type: ignore[arg-type]
    assert "that of step 10, or fewer" in found.text
    assert found.step == 10
