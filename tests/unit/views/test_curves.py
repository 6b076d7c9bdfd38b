"""Curves show every scalar signal without losing a spike."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from recorded_runs import recorded, told
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.marks import Group, Lines
from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.run import Run
from diorama.scene.moment import Moment
from diorama.views import run_series as reading
from diorama.views.run_series import RecordedSeries


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training."""
    return recorded(tmp_path_factory.mktemp("runs") / "short")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Many losses, with one spike, one NaN and one infinity."""
    odd = {1234: 50.0, 2000: math.nan, 2500: math.inf}
    return told(tmp_path_factory.mktemp("runs") / "long", 3000, lambda step: odd.get(step, 1 / step))


def _lines(picture: Picture) -> list[Lines]:
    marks = [mark for mark in picture.marks() if isinstance(mark, Lines)]
    assert marks
    return marks


def test_loss_and_accuracy_come_first(run: Run) -> None:
    """Without any knob there is a chart of the loss and one of the accuracy, on the batch and on the probe set."""
    loss, accuracy = _lines(run.scene().view("curves"))
    assert {series.name for series in loss.series} == {"training batch", "probe set"}
    assert loss.title.startswith("Loss")
    assert accuracy.title.startswith("Accuracy")
    assert loss.cursor == run.scene().step
    strong = next(series for series in accuracy.series if not series.faint and series.name == "training batch")
    assert list(strong.x) == list(range(1, 41))


@pytest.mark.parametrize("group", reading.GROUPS)
def test_every_group_of_signals_is_shown(run: Run, group: str) -> None:
    """Each group has at least one chart, and a line of a layer selects the layer."""
    picture = run.scene().view("curves", show=group)
    series = [one for mark in _lines(picture) for one in mark.series]
    if group in ("updates", "weights", "gradients"):
        assert {one.key for one in series} == {"layer:first", "layer:last"}


def test_series_are_chosen_by_pattern(run: Run) -> None:
    """Names and patterns choose series; one that fits nothing is refused with the nearest names."""
    picture = run.scene().view("curves", series="loss, updates/*.weight/ratio")
    assert {one.name for mark in _lines(picture) for one in mark.series} == {
        "training batch",
        "first.weight",
        "last.weight",
    }
    with pytest.raises(NotFound, match="loss"):
        run.scene().view("curves", series="los")


def test_no_spike_is_lost(long: Run) -> None:
    """In far fewer columns than steps, the envelope still reaches exactly to the one large value."""
    (mark,) = _lines(long.scene().view("curves", pixels=100, smooth=0))
    (series,) = mark.series
    assert len(series.x) <= 100
    assert series.high is not None
    assert series.low is not None
    finite = series.high[np.isfinite(series.high)]
    assert finite.max() == 50.0
    assert series.low.min() == pytest.approx(1 / 3000)


def test_a_range_is_shown_in_full(long: Run) -> None:
    """A chosen range is drawn from its own steps alone, in as many columns."""
    (mark,) = _lines(long.scene().view("curves", pixels=100, range="1200:1280", smooth=0))
    assert mark.x_range == (1200, 1280)
    assert list(mark.series[0].x) == list(range(1200, 1281))
    assert mark.handle is not None
    assert (mark.handle.knob, mark.handle.kind) == ("range", "range")


def test_a_logarithmic_axis_keeps_the_first_steps(long: Run) -> None:
    """On a logarithmic axis the first steps are all there, and no spike is lost."""
    (mark,) = _lines(long.scene().view("curves", pixels=110, log_x=True, smooth=0))
    (series,) = mark.series
    assert list(series.x[:4]) == [1, 2, 3, 4]
    assert (np.diff(series.x) > 0).all()
    assert np.nanmax(series.high[np.isfinite(series.high)]) == 50.0  # type: ignore[index]


def test_smoothing_leaves_what_was_recorded_in_sight(long: Run) -> None:
    """Over a smoothed line lies the faint raw one; what is not finite leaves a gap and spoils nothing after it."""
    (mark,) = _lines(long.scene().view("curves", smooth=50, range="1900:2100"))
    raw, smooth = mark.series
    assert raw.faint
    assert not smooth.faint
    assert np.isnan(smooth.y[list(smooth.x).index(2000)])
    assert np.isfinite(smooth.y[-50:]).all()
    np.testing.assert_allclose(smooth.y[-50:], raw.y[-50:], rtol=0.05)


def test_smoothing_is_an_average_that_forgets() -> None:
    """A constant stays what it is from the first value on; a jump is followed within some windows."""
    steps = np.arange(0, 1000, 10)
    np.testing.assert_allclose(reading.smoothed(steps, np.full(100, 3.0), 50), 3.0)
    jump = np.where(steps < 500, 0.0, 1.0)
    found = reading.smoothed(steps, jump, 50)
    assert found[50] == pytest.approx(1 - math.exp(-10 / 50), abs=1e-3)
    assert found[-1] == pytest.approx(1, abs=1e-3)
    assert reading.smoothed(steps, jump, 0) is jump
    assert reading.smoothed(steps, jump, 0.01) is jump


def test_time_instead_of_steps(run: Run) -> None:
    """On the time axis lines start near zero seconds and rise, and a range is in seconds."""
    mark = _lines(run.scene().view("curves", axis="time"))[0]
    assert mark.x_kind == "time"
    x = mark.series[0].x
    assert 0 <= x[0] < x[-1]
    half = _lines(run.scene().view("curves", axis="time", range=f"0:{x[-1] / 2}"))[0]
    assert 0 < len(half.series[0].x) < len(x)


def test_runs_are_laid_over_one_another(tmp_path: Path) -> None:
    """Another run is drawn in its own colours, dashed and named; by comparison or by its name."""
    first, second = recorded(tmp_path / "a", 20), recorded(tmp_path / "b", 30, seed=1)
    for picture in (
        first.scene().view("curves", other=second.scene()),
        first.scene().view("curves", runs="b"),
        first.scene().view("curves", runs="b, b, a"),
    ):
        loss = _lines(picture)[0]
        assert {one.group for one in loss.series} == {"a", "b"}
        assert all(one.dash == (one.group == "b") for one in loss.series)
        assert not {one.colour for one in loss.series if one.dash} & {one.colour for one in loss.series if not one.dash}
    third = recorded(tmp_path / "c", 10, seed=2)
    loss = _lines(first.scene().view("curves", other=[second.scene(), third.scene(), second.scene()]))[0]
    assert {one.group for one in loss.series} == {"a", "b", "c"}
    with pytest.raises(UsageError, match="other wants a scene"):
        first.scene().view("curves", other=[second])
    with pytest.raises(NotFound, match="nearest|there are"):
        first.scene().view("curves", runs="nothing")


def test_events_are_marked(tmp_path: Path) -> None:
    """A training that was taken up again has that moment on every chart."""
    recorded(tmp_path / "run", 10)
    run = recorded(tmp_path / "run", 10, resume=True)
    for mark in _lines(run.scene().view("curves")):
        assert any(event.x == 10 and "taken up again" in event.label for event in mark.events)


def test_numbers_that_only_a_number_tells_apart_share_a_chart() -> None:
    """Four or more such names are one chart's lines, under their own names; fewer, and other names, stay charts."""
    names = ["loss", *(f"metric_{k}" for k in range(300)), "top_1", "top_5", "probe/loss"]
    found = reading.charts(names)
    assert list(found) == ["loss", "metric", "top_1", "top_5"]
    assert [one.label for one in found["metric"][:2]] == ["metric_0", "metric_1"]
    assert len(found["metric"]) == 300


def test_a_number_is_said_to_be_of_the_examples_that_its_name_tells(tmp_path: Path) -> None:
    """Only what is called a loss or the like is of the batch; what the loop says of examples held back, or of anything else, is not."""
    of = {name: (one.chart, one.label, one.where) for name in (
        "loss", "accuracy", "val_loss", "test/loss", "epoch_loss", "temperature", "probe/loss", "learning_rate", "gan/judge",
    ) for one in [RecordedSeries.of(name)]}
    assert [name for name, (_, label, where) in of.items() if "batch" in label + where] == ["loss", "accuracy"]
    assert of["val_loss"] == ("val_loss", "held back", "on held-back examples")
    assert of["test/loss"] == ("test", "loss", "on held-back examples")
    assert of["temperature"][1:] == ("told by the loop", "")
    run = tmp_path / "run"
    with diorama.watch(nn.Linear(2, 1), run) as recorder:
        for _ in range(3):
            recorder.step(loss=1.0, val_loss=2.0, temperature=3.0)
    moment = Moment(diorama.open(run), 3)
    caption = [one for one in moment.stream("curves", select=Selection()) if isinstance(one, Picture)][-1].caption
    assert "loss 1 on the batch" in caption
    assert "val loss 2 on held-back examples; temperature 3." in caption


def test_nothing_recorded_yet_says_so(long: Run) -> None:
    """A group without any series does not apply, and says when it will."""
    with pytest.raises(NotApplicable, match="will appear"):
        long.scene().view("curves", show="gradients")


def test_the_record_is_enough(run: Run) -> None:
    """Curves need no model, and the whole picture survives its binary form."""
    picture = run.scene().view("curves", show="all")
    assert isinstance(picture.body, Group)
    assert Picture.from_bytes(picture.to_bytes()).title == picture.title


@pytest.mark.parametrize("which", [0, -1])
def test_a_number_with_a_step_is_the_recorded_number_of_that_step(run: Run, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caption tells what was recorded at the slider's step, at the newest one and at one before it; and where looks lie far apart."""
    monkeypatch.setattr("diorama.views.training.curves._FAR", 1 + which)
    step = run.snapshots[which] or run.snapshots[1]
    caption = run.scene(step).view("curves").caption
    steps, values = run.series("loss")
    assert f"At step {step}: loss {values[list(steps).index(step)]:.3g} on the batch" in caption
    looks = run.series("probe/loss")[0]
    widest = np.diff(looks).argmax()
    assert (f"not looked at between steps {looks[widest]:,} and {looks[widest + 1]:,}" in caption) == (which == -1)


def test_the_caption_and_the_line_of_now_tell_one_moment(run: Run) -> None:
    """Where the record has moved on while a picture is made, its caption still tells the step of its own line."""
    step = run.snapshots[-1]
    picture = [one for one in Moment(run, step - 1).stream("curves", select=Selection()) if isinstance(one, Picture)][-1]
    assert f"At step {step - 1}: " in picture.caption
    first = picture.body.children[0] if isinstance(picture.body, Group) else picture.body
    assert isinstance(first, Lines)
    assert first.cursor == picture.step == step - 1


def test_a_constant_is_drawn_as_one() -> None:
    """Averages of one number are that number, not rounded to others."""
    values = np.full(200, 0.3)
    assert np.array_equal(reading.smoothed(np.arange(200), values, 20.0), values)
    assert [one.label for one in reading.charts(["learning_rate"])["learning_rate"]] == ["all parameters"]
    assert [one.label for one in reading.charts(["learning_rate", "learning_rate/1"])["learning_rate"]] == [
        "parameter group 0", "parameter group 1",
    ]


def test_losses_of_two_measures_are_called_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the recorder saw that the loop's loss is another one than the probe set's, the two numbers beside each other are told apart."""
    assert "two measures" not in run.scene().view("curves").caption
    monkeypatch.setattr(Run, "meta", run.meta | {"measure": "the one is summed"})
    picture = run.scene().view("curves")
    assert "on the probe set, which are two measures" in picture.caption
    assert "the one is summed" in picture.note
    monkeypatch.setattr(Run, "meta", run.meta | {"doubt": "the task may be another one"})
    caption = run.scene().view("curves").caption
    assert re.search(r"; probe loss \d", caption)
    assert not re.search(r"probe loss \S+ on the probe set", caption)  # its name tells of what it is, and needs no more words
