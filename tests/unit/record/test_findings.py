"""Each finding sees what was planted, and is silent on a healthy training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from diorama.core.numerals import percent
from diorama.core.registry import findings
from diorama.data.examples import Examples
from diorama.model.outputs import Reading
from diorama.record.causes import ranked
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.findings.vanishing_gradients import _less
from diorama.record.recorder import watch
from diorama.record.side_facts import likeness
from diorama.run import open_run


def _train(
    path: Path, model: nn.Module, rate: float = 0.05, steps: int = 300, fit: int = 256,
    disturb: Callable[[int, nn.Module], None] = lambda step, model: None,
) -> dict[str, Diagnosis]:
    """Train on a task that can be learned, and return the findings by name."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(fit + 256, 6, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with watch(model, path, probe=(x[fit:], y[fit:]), optimizer=optimizer, every=10) as recorder:
        recorder._prober.affordable = lambda number: True  # type: ignore[union-attr,method-assign]
        for step in range(1, steps + 1):
            loss = nn.functional.cross_entropy(model(x[:fit]), y[:fit])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            disturb(step, model)
            recorder.step(loss=loss)
    return {found.finding: found for found in open_run(path).findings()}


def _network(act: type[nn.Module] = nn.ReLU, width: int = 16, depth: int = 1) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(6, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def test_a_loss_that_an_act_threw_up_names_it() -> None:
    """Just beside the jump; an act that changed nothing, or long before, is no reason."""
    loss = np.concatenate([_FALLS[:300], np.full(30, 3.0), _FALLS[330:]])
    for event, severity in (
        ((298, "command", "reinitialize", "reinitialized layer a; more"), 0.3), ((298, "command", "pause", "paused"), 0.55),
        ((200, "command", "reinitialize", "reinitialized layer a"), 0.55),
    ):
        found, = findings["loss_spikes"]()(_steered(_Told({"loss": loss}, floor=2.3), event))  # type: ignore[arg-type]
        assert found.severity == severity
        assert ("Beside it, after step 298: reinitialized layer a. It came down" in found.text) == (severity < 0.5)


def test_a_healthy_training_has_no_findings(tmp_path: Path) -> None:
    """Nothing is told of a training that goes well."""
    assert _train(tmp_path / "run", _network(), 0.1) == {}


def test_dead_units_are_found_where_they_begin(tmp_path: Path) -> None:
    """Units silenced at step 100 are told: layer, share, and since when it is this share; a layer of which all are is drawn anew."""

    for many, told, action in ((8, "50 %", ("learning_rate", {"factor": 0.5})), (16, "100 %", ("reinitialize", {"layer": "0"}))):

        def silence(step: int, model: nn.Module, many: int = many) -> None:
            if step in (40, 100):
                with torch.no_grad():
                    model[0].bias[: many if step == 100 else 2] = -1e4

        found = _train(tmp_path / f"run-{many}", _network(), 0.1, 150, disturb=silence)["dead_units"]
        assert found.keys == ("layer:0",)
        assert told in found.title
        assert 100 <= found.step <= 120
        assert found.action == action


def test_units_silent_from_the_beginning_are_no_alarm(tmp_path: Path) -> None:
    """Units that no reading ever saw are told calmly; a layer without a rectifier has no dead units at all."""
    model = _network()
    with torch.no_grad():
        model[0].bias[:4] = -1e4
    found = _train(tmp_path / "run", model, 0.1)["dead_units"]
    assert found.severity < 0.3
    assert found.action is None
    first = int(open_run(tmp_path / "run").series("activations/0/dead")[0][0])
    assert f"about as many as at the first reading, that of step {first}, or fewer" in found.text
    smooth = _network(nn.Tanh)
    with torch.no_grad():
        smooth[0].weight[:8], smooth[0].bias[:8] = 0, 1e4
    assert "dead_units" not in _train(tmp_path / "smooth", smooth, 0.1)


def test_units_that_have_just_fallen_silent_are_told_and_no_alarm(tmp_path: Path) -> None:
    """A rise that too few readings have is said where it is: at which steps, and how much."""
    def silence(step: int, model: nn.Module) -> None:
        model[0].bias.data[: 8 if step >= 289 else 2] = -1e4

    found = _train(tmp_path / "run", _network(), 0.1, disturb=silence)["dead_units"]
    assert found.severity < ALARM
    steps, values = open_run(tmp_path / "run").series("activations/0/dead")
    assert f"{percent(float(values[-1]), 3)} of the units" in found.text
    assert f"{percent(float(values[-1]), 3)} at step {int(steps[-1])}" in found.evidence


def test_a_rise_that_is_nothing_beside_what_was_learned_is_no_overfitting(tmp_path: Path) -> None:
    """A probe loss that fell from 2.3 to 0.040 and wavers about 0.046 is not told to rise."""
    assert "overfitting" not in _curve_of(tmp_path / "run", [2.3, 1.0, 0.3, 0.1, 0.04, 0.046, 0.047, 0.046])
    assert "overfitting" in _curve_of(tmp_path / "other", [2.3, 1.0, 0.3, 0.1, 0.04, 0.146, 0.247, 0.346])


def _curve_of(path: Path, probe: list[float]) -> dict[str, Diagnosis]:
    """The findings of a record whose training loss falls all the time and whose probe loss goes as given."""
    with watch(nn.Linear(2, 2), path) as recorder:
        for step in range(1, 10 * len(probe) + 1):
            values = {"loss": 2.0 / step}
            if step % 10 == 0:
                values["probe/loss"] = probe[step // 10 - 1]
            recorder.step(**values)
    return {found.finding: found for found in open_run(path).findings()}


def test_exploding_updates_are_found(tmp_path: Path) -> None:
    """A learning rate that throws the weights about is told, with a factor that would tame it."""
    found = _train(tmp_path / "run", _network(nn.Tanh), 2000.0, 100)["exploding_updates"]
    assert found.action is not None
    assert found.action[1]["factor"] < 0.5


def test_what_is_not_finite_is_found_at_its_first_step(tmp_path: Path) -> None:
    """NaN planted into a weight at step 40 is told as of the next reading, and is the worst."""

    def poison(step: int, model: nn.Module) -> None:
        if step == 40:
            with torch.no_grad():
                model[0].weight[0, 0] = float("nan")

    found = _train(tmp_path / "run", _network(), steps=80, disturb=poison)
    assert next(iter(found)) == "not_finite"
    assert found["not_finite"].step == 40
    assert found["not_finite"].severity == 1.0


def test_vanishing_gradients_are_found(tmp_path: Path) -> None:
    """Many sigmoid layers starve the first ones of gradient."""
    found = _train(tmp_path / "run", _network(nn.Sigmoid, 8, 10), steps=60)["vanishing_gradients"]
    assert "layer:0" in found.keys  # noqa: SIM118 - the finding's keys
    assert "times smaller" in found.text
    assert _less([(0.0, "a", 1)]) == "exactly 0"
    assert _less([(0.0, "a", 1), (1e-4, "b", 1)]).startswith("exactly 0 (a), the others up to 10,000 times")


def test_saturated_units_are_found(tmp_path: Path) -> None:
    """Tanh units that are driven to their ends are told."""
    model = _network(nn.Tanh)
    with torch.no_grad():
        model[0].weight.mul_(100)
    found = _train(tmp_path / "run", model, 0.001, 60)["saturated_units"]
    assert found.keys == ("layer:1",)


class _Bounded(nn.Module):
    """A function in ``forward``, as nobody's module: of a dense layer, of a convolution, or behind a norm."""

    def __init__(self, form: str, act: Callable[[torch.Tensor], torch.Tensor], factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.act = form, act
        self.first = nn.Conv1d(1, 4, 3) if form == "conv" else nn.Linear(6, 16)
        self.norm = nn.LayerNorm(16) if form == "norm" else nn.Identity()
        self.out = nn.Linear(16, 4)
        with torch.no_grad():
            (self.norm if form == "norm" else self.first).weight.mul_(factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x[:, None] if self.form == "conv" else x))
        return self.out(self.act(x).flatten(1))


@pytest.mark.parametrize(
    ("form", "act", "layer"), [("dense", torch.tanh, "first"), ("conv", torch.sigmoid, "first"), ("norm", torch.Tensor.tanh, "norm")]
)
def test_saturation_of_a_function_in_forward_is_found(tmp_path: Path, form: str, act: Callable[[torch.Tensor], torch.Tensor], layer: str) -> None:
    """Units that a function in ``forward`` drives to its ends are told at the layer before it, usual weights raise nothing."""
    found = _train(tmp_path / "run", _Bounded(form, act, 200), 0.001, 60)["saturated_units"]
    assert found.keys == (f"layer:{layer}",)
    assert "of the sigmoid of" in found.text or "of the tanh of" in found.text
    assert "saturated_units" not in _train(tmp_path / "healthy", _Bounded(form, act, 1), 0.05, 60)


def test_overfitting_is_found(tmp_path: Path) -> None:
    """A wide network on a dozen examples is told at the step where the probe loss was lowest."""
    found = _train(tmp_path / "run", _network(width=256), 0.5, 600, fit=12)["overfitting"]
    assert found.step < 300
    assert found.keys == (f"step:{found.step}",)


class _Recorded:
    """Two series as a run would have them."""

    series_names = ("loss", "probe/loss")

    def __init__(self, train: NDArray[np.float64], probe: NDArray[np.float64], every: int) -> None:
        self.meta: dict[str, object] = {}
        self._found = {"loss": train, "probe/loss": probe}
        self._steps = {"loss": np.arange(1, len(train) + 1), "probe/loss": np.arange(1, len(probe) + 1) * every}

    def has_series(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._found

    def series(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values."""
        return self._steps[name], self._found[name]


@pytest.mark.parametrize("lowest", [3, 6])
def test_overfitting_is_told_at_the_step_of_the_lowest_probe_loss(lowest: int) -> None:
    """The step, its key and the sentence are those of the reading at which the probe loss was lowest; what is trained on tells nothing."""
    probe = 1 + 0.1 * np.abs(np.arange(1, 13) - lowest)
    found = findings["overfitting"]()(_Recorded(np.linspace(2, 0.1, 120), probe, 10))  # type: ignore[arg-type]
    assert [each.step for each in found] == [10 * lowest]
    assert found[0].keys == (f"step:{10 * lowest}",)
    assert f"at step {10 * lowest} (1)" in found[0].text
    assert findings["overfitting"]()(_Recorded(np.linspace(2, 0.1, 120), probe[:lowest], 10)) == []  # type: ignore[arg-type]
    for matched, told in ((5, 1), (6, 0)):  # of ten examples of the probe set so many are trained on
        run = _Recorded(np.linspace(2, 0.1, 120), probe, 10)
        run.meta = {"steered": {"matched": matched, "probe": 10}}
        assert len(findings["overfitting"]()(run)) == told  # type: ignore[arg-type]


class _Told(_Recorded):
    """Any series, rows and facts as a run would have them."""

    def __init__(self, series: dict[str, NDArray[np.float64]], rows: dict[str, NDArray[np.int64]] | None = None, **meta: object) -> None:
        self.meta, self._found, self._rows = {"probe": meta, "parameters": [["a.weight", [2, 2], ""], ["b.weight", [2, 2], ""]]}, series, rows or {}
        self.meta["layers"] = [{"name": name, "weight": f"{name}.weight", "leaf": True, "order": name, "squashed": "sigmoid"} for name in "ab"]
        length = max(map(len, series.values()))
        self._steps = {name: np.arange(1, len(values) + 1) * (length // len(values)) for name, values in series.items()}
        self.series_names, self.row_names = tuple(series), tuple(self._rows)  # type: ignore[assignment]

    def rows(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Steps and what was recorded of each example."""
        return np.arange(len(self._rows[name])) * 40, self._rows[name]

    @property
    def last_step(self) -> int:
        """Of all series."""
        return max(int(steps[-1]) for steps in self._steps.values())

    def frozen(self) -> tuple[str, ...]:
        """Nothing is."""
        return ()


def _steered(told: _Told, *events: tuple[int, str, str, str]) -> _Told:
    """The same with events: step, kind, name, text."""
    told.events = [SimpleNamespace(step=step, kind=kind, name=name, text=text) for step, kind, name, text in events]  # type: ignore[attr-defined]
    return told


def _rated(loss: NDArray[np.float64], ratio: float, **meta: object) -> _Told:
    return _Told({"loss": loss, "probe/loss": loss[::40], **{f"updates/{name}.weight/ratio": np.full(10, ratio) for name in "ab"}}, **meta)


_FALLS, _LEVEL = np.geomspace(2.5, 0.02, 400), np.full(400, 1.0)
_LABELS = np.repeat(np.arange(4), 10)
_WIDE = np.repeat(np.arange(4), 50)
_ASKED = {"loss": _FALLS}
_ONE_RISES = np.where(_WIDE == 3, np.geomspace(1.4, 12, 8)[:, None], np.geomspace(1.4, 0.1, 8)[:, None])


def _answers(taken: int) -> dict[str, NDArray[np.int64]]:
    """Of so many of the ten examples of class 2 the answer is 3, at four looks."""
    found = np.tile(_LABELS, (4, 1))
    found[:, 20 : 20 + taken] = 3
    wrong = found != _LABELS
    return {"examples/answer": found, "examples/loss": np.where(wrong, 4.0, 0.1)}


@pytest.mark.parametrize(("name", "fault", "healthy", "key"), [
    # The probe loss stands at a third of what one answer for all would have, at a tenth where all is well.
    ("overfitting", *(
        _Told({"loss": _FALLS, "probe/loss": np.append([2.3, 1.5], np.linspace(low, 1.05 * low, 6))}, floor=2.3) for low in (0.8, 0.2)
    ), "step:150"),
    # The probe loss rises in one class of four alone, which the training knows, or never saw.
    ("overfitting", *(
        _Told({"loss": _FALLS, "probe/loss": _ONE_RISES.mean(1), "batch/count": np.full(8, 64.0), **absent}, {"examples/loss": _ONE_RISES},
              labels=_WIDE.tolist())
        for absent in ({}, {"batch/absent/3": np.full(8, 128.0)})
    ), ""),
    # A class of the probe set was due a hundred times and never came, or ten times.
    ("missing_class", *(
        _Told({"loss": _FALLS, "batch/count": np.full(8, 64.0), "batch/absent/3": np.full(8, due)}, labels=_WIDE.tolist()) for due in (128.0, 10.0)
    ), "class:3"),
    # Prices as they are, which the answers come nearer to by hardly anything, or have come to.
    ("unscaled_targets", *(
        _Told({"loss": _LEVEL, "probe/loss": np.geomspace(9e10, now, 5), "batch/within": np.full(10, 0.1)}, floor=8e9, ends=[1e5, 4e5])
        for now in (8.9e10, 1.2e10)
    ), ""),
    # Large steps under single batches that happen to rise, where the probe loss rises too, or falls at each look.
    ("learning_rate_too_high", *(
        _Told({"loss": _LEVEL, "probe/loss": np.linspace(1.2, to, 400), **{f"updates/{name}.weight/ratio": np.full(10, 0.03) for name in "ab"}},
              floor=1.0) for to in (1.3, 1.1)
    ), ""),
    # All that was learned is lost for thirty steps, or a half of it.
    ("loss_spikes", *(
        _Told({"loss": np.concatenate([_FALLS[:300], np.full(30, high), _FALLS[330:]])}, floor=2.3) for high in (3.0, 1.5)
    ), "step:301"),
    # Of a rate that a rule halved and halved, whatever was learnt before; and of one that a schedule brought down.
    ("learning_rate_too_low", *(
        _steered(
            _Told({"loss": _FALLS, "probe/loss": _FALLS[::40], "learning_rate": 0.1 * 0.5 ** (np.arange(400) // 16.0),
                   **{f"updates/{name}.weight/ratio": np.geomspace(1e-3, 1e-9, 25) for name in "ab"}}, floor=2.3),
            *((step, kind, name, f"rule 1 came true: for the {step}") for step in range(16, 400, 16) for kind in ("rule", "command")),
        ) for name in ("learning_rate", "snapshot")
    ), ""),
    # Thrown up by large steps the loss comes back to where it began; by small ones that is the data's doing.
    ("learning_rate_too_high", *(_rated(np.concatenate([[1.0] * 10, [50.0] * 40, [0.9] * 350]), ratio, floor=1.0) for ratio in (0.3, 1e-3)), ""),
    # A loss that stays where one answer for all is, with large steps; where all inputs are alike nothing is lower.
    ("learning_rate_too_high", _rated(_LEVEL, 0.3, floor=1.0), _rated(_LEVEL, 0.3, floor=1.0, alike=True), ""),
    # Nothing is learnt from inputs that are all alike, where one answer for all is as good as can be.
    ("stalled_learning", *(_Told({"loss": _LEVEL, "probe/loss": np.full(10, at)}, floor=1.0, alike=True) for at in (1.0, 0.3)), ""),
    # One half of an adapter begins at zero, beside which any update is large; weights that begin with a size are thrown by such.
    ("learning_rate_too_high", *(
        _Told({**_rated(_LEVEL, 0.3)._found, **{f"weights/{name}.weight/norm": np.append(size, np.full(9, 1.0)) for name in "ab"}}, floor=1.0)
        for size in (1.0, 0.0)
    ), ""),
    # Without labels: weights that stand still are sure, those that move slowly are not.
    ("learning_rate_too_low", *(_rated(0.1 + _LEVEL / np.arange(1, 401) ** power, ratio) for power, ratio in ((1, 1e-9), (0, 1e-5))), ""),
    # A schedule that is over after an eighth of the steps, and one that falls to nothing at the end.
    ("learning_rate_too_low", *(
        _Told({"loss": _LEVEL, "probe/loss": _LEVEL[::40], "learning_rate": rate,
               **{f"updates/{name}.weight/ratio": np.full(10, 1e-3) for name in "ab"}}, floor=1.0)
        for rate in (0.1 * 0.9 ** np.arange(400), 0.05 + 0.05 * np.cos(np.linspace(0, np.pi, 400)))
    ), ""),
    # A warm-up over millions of steps, and one over thousands.
    ("learning_rate_too_low", *(
        _Told({"loss": _LEVEL, "probe/loss": _LEVEL[::40], "learning_rate": np.linspace(0, rate, 400),
               **{f"updates/{name}.weight/ratio": np.linspace(0, rate, 10) for name in "ab"}}, floor=1.0)
        for rate in (1e-7, 1e-4)
    ), ""),
    # Inputs that were divided by 255 twice, of a network that learns nothing or all the same; a column that was left at its thousands.
    *(("unscaled_inputs", *(
        _Told({"loss": _LEVEL, "probe/loss": np.full(10, loss), "batch/low": np.zeros(40), "batch/high": np.full(40, 2.0 * wide),
               "batch/std": np.full(40, wide)}, floor=1.0)
        for loss in (1.0, 0.1)
    ), "") for wide in (4e-3, 4e4)),
    # True values from −1 to 1 behind a sigmoid that is no better than one answer for all, and behind one that is scaled.
    ("cut_answers", *(
        _Told({"loss": _LEVEL, "probe/loss": np.full(10, loss)}, floor=1.0, spread=0.8, ends=[-1.0, 1.0]) for loss in (1.3, 0.2)
    ), "layer:b"),
    # The slope of a critic's score grows without end, or stays near 1.
    ("critic_not_held", *(_Told({"loss": _LEVEL, "batch/steep": np.geomspace(0.1, end, 40)}) for end in (200.0, 1.5)), ""),
    # What a network makes comes to be the same for all inputs, or differs still.
    ("constant_answer", *(
        _Told({"loss": _LEVEL, "batch/within": np.append(np.geomspace(0.2, end, 20), np.full(20, end)), "batch/between": np.full(40, 0.4)})
        for end in (1e-3, 0.05)
    ), ""),
    # One answer to everything, three labels of four being the same: the loss is that of one answer for all, or lies below it; or, where nobody looked
    # at a probe set, right answers are no surer than wrong ones, or are.
    *(("constant_answer", *(
        _Told({"loss": _LEVEL, "batch/answers": np.ones(40), "batch/labels": np.full(40, 0.75), "batch/order": np.full(40, order),
               **({"probe/loss": np.full(10, loss)} if seen else {})}, floor=0.56)
        for order, loss in ((first, 0.57), (second, 0.5))
    ), "") for seen, first, second in ((True, 0.8, 0.5), (False, 0.55, 0.8))),
    # A probe set that is normalized twice, and one that only is a little wider.
    ("probe_unlike_training", *(
        _Told({"batch/passes": np.ones(10), "batch/low": np.full(10, -1.0), "batch/high": np.ones(10), "batch/mean": np.zeros(10),
               "batch/std": np.full(10, 0.5)}, inputs=inputs) for inputs in ([-3.0, 1.0, -1.0, 1.0], [-1.0, 1.0, 0.05, 0.55])
    ), ""),
    # A probe set whose class 0 is called 1 and so on, and one that is answered right.
    ("probe_unlike_training", *(
        _Told({"batch/accuracy": np.full(10, 0.95), "probe/accuracy": np.full(10, right)}, {"examples/answer": np.tile((_WIDE + by) % 4, (4, 1))},
              labels=_WIDE.tolist(), balance=[0.25] * 4) for by, right in ((1, 0.0), (0, 0.95))
    ), ""),
    # A probe set that was answered wrong when it was looked at last, though the training's answers were right; or they became right since.
    ("probe_unlike_training", *(
        _Told({"batch/accuracy": np.repeat((early, 0.95), (21, 19)), "probe/accuracy": np.zeros(21)}, labels=_WIDE.tolist(), balance=[0.25] * 4)
        for early in (0.95, 0.1)
    ), ""),
    # A third of the training's answers is wrong and as sure as the others, of the probe set's a tenth; or they are doubted.
    ("label_noise", *(
        _Told({"batch/count": np.full(12, 32.0), **{
            f"batch/{what}": np.full(12, value)
            for what, value in (("accuracy", 0.66), ("labels", 0.3), ("order", order), ("wrong_sure", sure), ("right_sure", 0.6))
        }, "probe/accuracy": np.full(12, 0.9)}, labels=_WIDE.tolist())
        for order, sure in ((0.6, 0.55), (0.85, 0.35))
    ), ""),
    # Weights at 15 times what keeps a signal's size: the first answers are far off; behind norms they are not.
    ("large_first_weights", *(
        _Told({"loss": np.append([first] * 3, np.geomspace(first, low, 397)), "probe/loss": np.geomspace(600, 2 * low, 400),
               "weights/a.weight/norm": np.full(400, 15 * 2**0.5), "weights/b.weight/norm": np.full(400, 2**0.5)}, floor=2.3)
        for first, low in ((700.0, 30.0), (2.6, 0.5))
    ), "layer:a"),
    # Steps of an eighth of the weights' size, under which the loss stays, or falls all the same as with a new last layer.
    ("exploding_updates", *(_rated(loss, 0.12, floor=2.3) for loss in (_LEVEL, _FALLS)), "layer:a"),
    # Steps of half that size leave nothing, whatever the loss does.
    ("exploding_updates", *(_rated(_FALLS, ratio, floor=2.3) for ratio in (0.6, 0.05)), "layer:a"),
    # Nine of ten answers are right in training and no more than by one answer on the probe set, or little is learnt of either.
    ("probe_unlike_training", *(
        _Told({"batch/accuracy": np.full(40, right), "probe/accuracy": np.full(21, 0.76)}, labels=_WIDE.tolist(), balance=[0.7, 0.1, 0.1, 0.1])
        for right in (0.95, 0.8)
    ), ""),
    # What is made never passes, or passes now and then.
    ("judge_too_strong", *(
        _Told({"batch/judge": np.ones(12), "batch/fooled": np.full(12, now), "batch/apart": np.ones(12)}) for now in (2e-3, 0.1)
    ), ""),
    ("confused_classes", *(_Told(_ASKED, _answers(taken), labels=_LABELS.tolist(), floor=1.39) for taken in (9, 4)), "class:2"),
])
def test_what_few_readings_tell(name: str, fault: _Told, healthy: _Told, key: str) -> None:
    """Each fault is an alarm under its name and about its place; what is like it, and is none, is not."""
    found = findings[name]()(fault)  # type: ignore[arg-type]
    assert [each.severity >= ALARM for each in found] == [True]
    assert key in (*found[0].keys, "")
    assert not [each for each in findings[name]()(healthy) if each.severity >= ALARM]  # type: ignore[arg-type]


def test_what_makes_steps_larger_is_named_beside_the_rate() -> None:
    """Of sixteen passes that nobody divided the finding says so, and what to divide by, also where one step looked at other data."""
    run = _rated(_LEVEL, 0.3, floor=1.0)
    run._found |= {"batch/passes": np.array([16.0] * 9 + [23.0]), "batch/weight": np.full(10, 1.0), "batch/count": np.full(10, 32.0)}
    run._steps |= {f"batch/{name}": np.arange(1, 11) for name in ("passes", "weight", "count")}
    (found,) = findings["learning_rate_too_high"]()(run)  # type: ignore[arg-type]
    assert "adds up the gradients of 16 passes" in found.text
    assert found.helps.startswith("Divide the loss of each pass by 16")


def test_a_flat_code_of_too_few_readings_has_no_other_cause() -> None:
    """Where the code was flat when it was read, be it once, that nothing is learnt is told without another cause, and with how often it was read."""
    for often, told in ((1, "too few readings (1)"), (4, "so that one answer is made for all")):
        run = _Told({"loss": _LEVEL, "probe/loss": np.full(5, 1.0), "batch/code": np.zeros(often)}, floor=1.0)
        (found,) = findings["stalled_learning"]()(run)  # type: ignore[arg-type]
        assert told in found.text
        assert "learning rate" not in found.text


def test_inputs_that_are_all_alike_are_a_fact_of_the_probe_set() -> None:
    """So they are where every input of every example is the same, and not where one differs."""
    y = torch.arange(6) % 3
    reading = Reading.of(torch.randn(6, 3), y)
    assert likeness(Examples.of(torch.ones(6, 4), y), reading)["alike"]
    for x in ((torch.ones(6, 4), torch.arange(6.0)[:, None]), torch.ones(6, 4).index_fill_(0, torch.tensor(5), 2)):
        assert "alike" not in likeness(Examples.of(x, y), reading)


def test_a_training_that_does_not_learn_is_found(tmp_path: Path) -> None:
    """With a learning rate of almost nothing the loss stays, and that is told."""
    assert "stalled_learning" in _train(tmp_path / "run", _network(), 1e-9, 250)


@pytest.mark.parametrize("name", list(findings))
def test_a_run_without_any_record_has_no_findings(tmp_path: Path, name: str) -> None:
    """No finding fails on an empty run."""
    with watch(nn.Linear(2, 2), tmp_path / "run"):
        pass
    assert findings[name]()(open_run(tmp_path / "run")) == []


@pytest.mark.parametrize(("still", "said"), [
    (["base.model.encoder.wte.weight", "base.model.encoder.wpe.weight", "base.model.encoder.h.0.ln.weight", "base.model.encoder.h.1.ln.weight"],
     "wte, wpe, h.0.ln and 1 more in base.model.encoder are frozen"),
    (["0.weight", "0.bias", "conv.weight"], "layer 0, conv are frozen"),
    (["base.model.wte.weight", "base.model.h.0.base_layer.weight"], ""),
    (["wte.weight", "h.0.inner.weight"], ""), (["wte.weight", "h.1.weight"], ""), (["head.0.weight"], "head.0 is frozen"),
])
def test_frozen_layers_are_told_briefly_and_not_below_adapters(still: list[str], said: str) -> None:
    """What long names begin with is said once; where adapters learn, that the rest stands still is no news."""
    shapes = {"wte.weight": (9, 8), "h.0.inner.weight": (8, 8), "h.0.down": (2, 8), "h.0.up": (8, 2), "h.1.weight": (8, 6), "h.1.a": (6, 2),
              "h.1.b": (2, 8), "head.0.weight": (8, 8), "head.2.weight": (4, 8)}
    run = SimpleNamespace(meta={"held": {"still": still}, "parameters": [(name, shape, "float32") for name, shape in shapes.items()]}, frozen=list)
    assert [one.title for one in findings["frozen_layer"]()(run)] == [said] * bool(said)  # type: ignore[arg-type]


def test_what_comes_of_a_loss_between_all_answers_and_all_truths_is_told_behind_it() -> None:
    """A rate that is too high only for such a loss, and units that it saturates, follow from the loss, and say so."""
    def found(name: str, severity: float, step: int) -> Diagnosis:
        return Diagnosis(name, severity, name, "It is so.", "", step=step)

    ranked_ones = ranked([
        found("saturated_units", 0.8, 30), found("learning_rate_too_high", 0.7, 10), found("mismatched_shapes", 0.75, 10),
        found("stalled_learning", 0.6, 1),
    ])
    assert ranked_ones[0].finding == "mismatched_shapes"
    assert all("likely follows from what is told as “mismatched_shapes”" in one.text for one in ranked_ones[1:])
    alone = ranked([found("saturated_units", 0.8, 30), found("learning_rate_too_high", 0.7, 10)])
    assert [one.finding for one in alone] == ["learning_rate_too_high", "saturated_units"]
    assert [one.finding for one in ranked([found("saturated_units", 0.8, 30)])] == ["saturated_units"]
