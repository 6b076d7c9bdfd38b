"""Each fault, planted in one of three networks (in a sweep in each), is found under its name; the trainings are shared by what they plant."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pairings import pairs, turn
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.findings.shortcut import Shortcut
from diorama.record.places import Places


def _dense() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))


def _convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    )


class _Residual(nn.Sequential):
    """Layers in a sum: what goes in, and what two layers make of it."""

    def forward(self, x: Tensor) -> Tensor:
        """First layer, a sum round the second, and the last."""
        x = torch.relu(self[1](self[0](x)))
        return self[3](x + torch.relu(self[2](x)))


def _summed() -> nn.Sequential:
    return _Residual(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"dense": _dense, "convolutional": _convolutional, "summed": _summed}


def _digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 8 - 1, torch.tensor(y)[order]
    return x[:1400], y[:1400], x[1400:1700].clone(), y[1400:1700].clone()


def _trained(
    path: Path, model: nn.Module, data: tuple[Tensor, Tensor, Tensor, Tensor] | None = None, optimizer: Any = None,
    steps: int = 160, size: int = 64, each: Callable[[int, nn.Module], object] = lambda step, model: None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy, every: int = 10,
) -> dict[str, Diagnosis]:
    x, y, held, truth = data or _digits()
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    with diorama.watch(model, path, probe=(held, truth), optimizer=optimizer, every=every) as recorder:
        for step in range(steps):
            rows = torch.randint(len(x), (size,), generator=generator)
            value = loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            each(step, model)
            recorder.step(loss=value)
    found: dict[str, Diagnosis] = {}
    for one in diorama.open(path).findings():
        found.setdefault(one.finding, one)
    return found


def _alarms(found: dict[str, Diagnosis]) -> set[str]:
    return {name for name, one in found.items() if one.severity >= ALARM}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each fault has its network; a sweep plants it in all three."""
    if "model" in metafunc.fixturenames:
        turn(metafunc, "model", list(NETWORKS))


@pytest.fixture
def model(request: pytest.FixtureRequest) -> nn.Sequential:
    """A fresh network of each kind."""
    torch.manual_seed(0)
    return NETWORKS[request.param]()


def _weights(model: nn.Sequential) -> list[nn.Module]:
    return [layer for layer in model if hasattr(layer, "weight")]


def test_what_no_optimizer_holds_and_what_is_frozen_are_told_apart(tmp_path: Path, model: nn.Sequential) -> None:
    """A layer that was forgotten is an alarm with its name; one that wants no gradient is a calm line."""
    first, second, *rest = _weights(model)
    for parameter in second.parameters():
        parameter.requires_grad_(False)
    held = [p for layer in rest for p in layer.parameters()]
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.Adam(held, 3e-3), steps=60)
    key = {id(module): f"layer:{name}" for name, module in model.named_children()}
    assert found["not_in_optimizer"].keys == (key[id(first)],)
    assert found["frozen_layer"].keys == (key[id(second)],)
    assert "does not learn, on purpose: its parameters want" in found["frozen_layer"].text
    assert _alarms(found) == {"not_in_optimizer"}


@pytest.mark.parametrize("at", [80, 4])
def test_a_layer_that_stops_is_found_with_its_step(tmp_path: Path, model: nn.Sequential, at: int) -> None:
    """A layer whose gradient is lost from step 80 on is told to stand still since then; lost before the first reading, no later than that, as
    the snapshots differ: it is not said that it never moved."""
    layer = _weights(model)[0]
    name = next(name for name, module in model.named_children() if module is layer)

    def stop(step: int, model: nn.Module) -> None:
        if step == at:
            for parameter in layer.parameters():
                parameter.register_hook(lambda gradient: gradient * 0)

    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)  # which moves weights on without gradients
    found = _trained(tmp_path / "run", model, optimizer=optimizer, each=stop)
    assert next(iter(found)) == "stopped_layer"
    assert found["stopped_layer"].keys == (f"layer:{name}",)
    assert found["stopped_layer"].title.endswith(" stopped")
    assert (at, "longer" in found["stopped_layer"].text, found["stopped_layer"].step) in {(80, False, 90), (80, False, 100), (4, True, 10)}
    assert found["stopped_layer"].severity >= ALARM


def test_a_layer_that_hardly_moves_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A layer whose group has a rate a hundred thousand times lower is told."""
    first, *rest = _weights(model)
    groups = [{"params": list(first.parameters()), "lr": 3e-8}, {"params": [p for each in rest for p in each.parameters()]}]
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.Adam(groups, 3e-3))
    assert _alarms(found) == {"small_updates"}


def test_a_rate_that_is_far_too_low_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """With hardly any rate the loss stays, and the reason is told before its symptom."""
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.Adam(model.parameters(), 1e-7), steps=240)
    assert "learning_rate_too_low" in _alarms(found)
    assert "learning_rate_too_high" not in found


@pytest.mark.parametrize("how", ["norm", "value"])
def test_gradients_that_are_cut_to_nothing_are_found_with_their_value(tmp_path: Path, model: nn.Sequential, how: str) -> None:
    """At four readings, as a busy machine takes, what all gradients are cut to is told with its value before that nothing is learnt; of a usual
    end nothing is told."""
    cut = nn.utils.clip_grad_norm_ if how == "norm" else nn.utils.clip_grad_value_
    least = 1e-4 if how == "norm" else 1e-6
    for name, end in (("cut", least), ("usual", 1.0)):
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        parameters = list(model.parameters())
        optimizer.register_step_pre_hook(lambda *_, end=end, parameters=parameters: cut(parameters, end) and None)  # type: ignore[misc]
        found = _trained(tmp_path / name, model, optimizer=optimizer, steps=200, every=50)
        assert ("learning_rate_too_low" in _alarms(found)) == (name == "cut")
        if name == "cut":
            assert next(iter(found)) == "learning_rate_too_low"
            assert found["learning_rate_too_low"].title == "Gradients are clipped to next to nothing"
            assert f" {least:g}" in found["learning_rate_too_low"].text


def test_a_rate_that_is_far_too_high_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """With a rate a hundred times too high the loss does not fall, and the rate is named."""
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.Adam(model.parameters(), 1.0), steps=120)
    assert next(iter(found)) == "learning_rate_too_high"
    assert not {"learning_rate_too_low", "overfitting"} & _alarms(found)


def test_a_bias_that_decides_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A last bias that is far too large makes one answer for everything, and both are told."""
    last = _weights(model)[-1]
    with torch.no_grad():
        last.bias[3] = 60.0  # type: ignore[index,operator]
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.SGD(model.parameters(), 1e-3))
    assert {"output_bias", "constant_answer"} <= _alarms(found)
    assert list(found)[:2] == ["output_bias", "constant_answer"]  # what is wrong, then what comes of it
    assert "follows from what is told as \u201cA bias decides the answer\u201d" in found["constant_answer"].text


def test_a_regression_that_always_says_the_same_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A regression whose input is lost gives its mean to everything."""
    last = _weights(model)[-1]
    x, y, held, truth = _digits()
    data = (x, F.one_hot(y, 10).float() * 4, held, F.one_hot(truth, 10).float() * 4)
    last.weight.data.zero_()  # type: ignore[operator,union-attr]
    last.weight.requires_grad_(False)  # type: ignore[operator,union-attr]
    found = _trained(tmp_path / "run", model, data, loss=F.mse_loss)
    assert "constant_answer" in _alarms(found)


def test_labels_that_are_exchanged_are_found_as_a_confusion(tmp_path: Path, model: nn.Sequential) -> None:
    """Where most examples of a class carry another's label, the rest of it is taken for that one."""
    x, y, held, truth = _digits()
    threes = torch.nonzero(y == 3).flatten()
    y = y.clone()
    y[threes[: int(0.72 * len(threes))]] = 5
    found = _trained(tmp_path / "run", model, (x, y, held, truth), torch.optim.Adam(model.parameters(), 3e-3), 320)
    assert found["confused_classes"].keys == ("class:3", "class:5")
    assert found["confused_classes"].severity >= ALARM


def test_labels_drawn_by_chance_are_found(tmp_path: Path, model: nn.Sequential) -> None:
    """One label in five drawn by chance is told, with about their share."""
    x, y, held, truth = _digits()
    generator = torch.Generator().manual_seed(1)
    noisy = torch.rand(len(y), generator=generator) < 0.2
    y = torch.where(noisy, (y + torch.randint(1, 10, y.shape, generator=generator)) % 10, y)
    found = _trained(tmp_path / "run", model, (x, y, held, truth), torch.optim.Adam(model.parameters(), 4e-3), 320)
    assert found["label_noise"].severity >= ALARM


def test_a_place_that_gives_a_class_away_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """One pixel that is bright only in a class is told with its place and the class."""
    x, y, held, truth = _digits()
    x[y == 6, 0, 0, 7] = 1.0
    held[truth == 6, 0, 0, 7] = 1.0
    found = _trained(tmp_path / "run", model, (x, y, held, truth), steps=80)
    assert found["shortcut"].keys == ("class:6",)
    assert "place 7 " in found["shortcut"].text
    assert _alarms(found) == {"shortcut"}


def test_no_place_of_a_few_examples_gives_a_class_away() -> None:
    """In whichever order the digits come, no pixel alone keeps a class apart as far as is told, however few there were yet."""
    x, y, _, _ = _digits()
    generator, most = torch.Generator().manual_seed(0), 0.0
    for _ in range(60):
        places, order = Places(), torch.randperm(len(x), generator=generator)
        for rows in order[: 9 * 32].split(32):
            most = max(most, (places.told(x[rows], y[rows].numpy(), 10) or (0.0,))[0])
    assert 1.5 < most < 0.9 * Shortcut().apart


def test_a_probe_set_in_another_range_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A probe set that nobody normalized is told with both ranges."""
    x, y, held, truth = _digits()
    found = _trained(tmp_path / "run", model, (x, y, (held + 1) * 127, truth), steps=80)
    assert "probe_unlike_training" in _alarms(found)
    assert "from 0 to 254" in found["probe_unlike_training"].text


def test_a_probe_set_with_other_classes_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A probe set of three classes of ten is told."""
    x, y, held, truth = _digits()
    few = truth < 3
    held, truth = held[few].repeat(4, 1, 1, 1), torch.cat([truth[few]] * 4)
    found = _trained(tmp_path / "run", model, (x, y, held, torch.cat([truth[:-1], torch.tensor([9])])), steps=80)
    assert "probe_unlike_training" in _alarms(found)
    assert "shares" in found["probe_unlike_training"].title


def test_a_class_that_never_is_in_the_training_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """A class that a filter took from the training alone is told under its number, and no overfitting, which its loss on the probe set looks like;
    nothing is told of the whole data."""
    x, y, held, truth = _digits()
    for name, there in (("filtered", y != 3), ("whole", y >= 0)):
        model.apply(lambda layer: layer.reset_parameters() if hasattr(layer, "reset_parameters") else None)
        found = _trained(tmp_path / name, model, (x[there], y[there], held, truth), steps=200)
        assert ("missing_class" in _alarms(found)) == (name == "filtered")
        assert "overfitting" not in found
        if name == "filtered":
            assert found["missing_class"].keys == ("class:3",)
            assert f"Of these {(truth == 3).sum()} examples none is answered rightly" in found["missing_class"].text
            # Up to the last reading, which comes the later the busier the machine is.
            assert re.search(r"up to step \d+0\b", found["missing_class"].text)


@pytest.mark.parametrize("how", ["Adam", "SGD"])
def test_true_values_that_nobody_scaled_are_found_before_what_comes_of_it(tmp_path: Path, model: nn.Sequential, how: str) -> None:
    """True values of hundreds of thousands, which the answers do not come near, or whose loss is finite no more, are told first; scaled ones are
    not."""
    x, y, held, truth = _digits()
    model[-1] = nn.Linear(model[-1].in_features, 1)  # type: ignore[arg-type]
    start = {key: value.clone() for key, value in model.state_dict().items()}
    for name, factor, shift in (("raw", 20_000.0, 200_000.0), ("scaled", 0.35, -1.6)):
        model.load_state_dict(start)
        rate = 3e-3 if how == "Adam" else 0.02
        optimizer = getattr(torch.optim, how)(model.parameters(), rate)
        data = (x, factor * y[:, None] + shift, held, factor * truth[:, None] + shift)
        found = _trained(tmp_path / name, model, data, optimizer, loss=F.mse_loss)
        assert ("unscaled_targets" in _alarms(found)) == (name == "raw")
        assert name == "scaled" or next(iter(found)) == "unscaled_targets"
        assert not {"learning_rate_too_high"} & set(found) or how == "SGD"


def test_a_loss_that_jumps_back_up_is_found(tmp_path: Path, model: nn.Sequential) -> None:
    """Weights that are thrown away at step 110 and again at step 170 are told, with the first step."""

    def throw(step: int, model: nn.Module) -> None:
        if step in (110, 170):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))

    found = _trained(tmp_path / "run", model, steps=200, each=throw)
    assert found["loss_spikes"].severity >= ALARM
    assert abs(found["loss_spikes"].step - 110) <= 15


def _normed(momentum: float) -> dict[str, nn.Sequential]:
    """A dense network, a convolutional one and one with a sum, each with batch norms."""
    return {
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 10)),
        "convolutional": nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1),
            nn.BatchNorm2d(8, momentum=momentum), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10),
        ),
        "summed": _Residual(
            nn.Flatten(), nn.Linear(64, 32), nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32, momentum=momentum)), nn.Linear(32, 10),
        ),
    }


@pairs("plant, name", ["momentum", "reset", "none"], list(NETWORKS), 3)
def test_running_statistics_that_are_not_the_batches_are_found(tmp_path: Path, name: str, plant: str) -> None:
    """A momentum that is far too small, or statistics that are reset at each step, are found; the usual ones raise no alarm."""
    model = _normed(1e-5 if plant == "momentum" else 0.1)[name]
    norms = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def each(step: int, model: nn.Module) -> None:
        for _, norm in norms:
            norm.running_mean.mul_(0).add_(2.0)
            norm.running_var.mul_(0).add_(1.0)

    found = _trained(tmp_path / "run", model, each=each if plant == "reset" else lambda step, model: None)
    if plant == "none":
        assert not _alarms(found)
        return
    told = found["batch_norm_mismatch"]
    assert told.severity >= ALARM
    assert set(told.keys) <= {f"layer:{path}" for path, _ in norms}
    assert "in evaluation" in told.text


@pytest.mark.parametrize("plant", ["constant", "copied", "all constant"])
def test_units_that_are_copies_are_found(tmp_path: Path, model: nn.Sequential, plant: str) -> None:
    """A layer that began with one number, or half of whose rows were copied with what follows them, is found since its first step; so is a network
    all of whose weights began with one."""
    first, second = _weights(model)[:2]
    with torch.no_grad():
        half = len(first.weight) // 2
        first.weight[:half] = first.weight[half : 2 * half] if plant == "copied" else 0.05
        first.bias[:half] = first.bias[half : 2 * half] if plant == "copied" else 0.0
        if second.weight.shape[1] == len(first.weight):
            source = second.weight[:, half : 2 * half] if plant == "copied" else second.weight[:, :1].expand_as(second.weight[:, :half])
            second.weight[:, :half] = source.clone()
    if isinstance(model, _Residual):
        # What a sum hands on is told apart by the last layer too.
        with torch.no_grad():
            for layer in _weights(model)[1:]:
                layer.weight[:, :half] = layer.weight[:, half : 2 * half] if plant == "copied" else layer.weight[:, :1]
            middle = _weights(model)[1]
            middle.weight[:half] = middle.weight[half : 2 * half] if plant == "copied" else middle.weight[:1]
            middle.bias[:half] = middle.bias[half : 2 * half] if plant == "copied" else middle.bias[:1]
    for layer in _weights(model) if plant == "all constant" else []:
        nn.init.constant_(layer.weight, 0.05)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    found = _trained(tmp_path / "run", model, optimizer=torch.optim.SGD(model.parameters(), 0.05), steps=60)
    told = found["duplicated_units"]
    assert told.severity >= ALARM
    assert told.step == 0
    assert f"layer:{next(name for name, module in model.named_modules() if module is first)}" in told.keys  # noqa: SIM118


def test_layers_that_begin_with_nothing_and_usual_ones_have_no_copies(tmp_path: Path) -> None:
    """A last layer that begins with zeros, whatever its bias, and weights drawn by chance, are no copies; nor are kernels of a depthwise blur, which
    read other channels each. That it rests, as its learning rate is 0, is told, and not that no gradient comes to it."""
    blurred = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))
    blur = list(blurred[2].parameters())
    for parameter in blur:
        nn.init.constant_(parameter, 1 / 9)
    rest = [parameter for parameter in blurred.parameters() if not any(parameter is one for one in blur)]
    optimizer = torch.optim.SGD([{"params": rest}, {"params": blur, "lr": 0.0}], 0.05)
    found = _trained(tmp_path / "blurred", blurred, optimizer=optimizer, steps=40)
    assert "duplicated_units" not in found
    assert "a learning rate is 0" in found["stopped_layer"].text
    assert found["stopped_layer"].severity < ALARM
    model = _dense()
    with torch.no_grad():
        model[5].weight.zero_()
        model[5].bias.fill_(-1.0)
    assert "duplicated_units" not in _trained(tmp_path / "run", model, steps=20)


def test_units_that_are_the_same_but_for_factor_sign_and_place_are_found(tmp_path: Path) -> None:
    """Multiples before a ReLU or a batch norm and negatives before a tanh are told, wherever they stand; before a GELU they are no copies."""
    model = nn.Sequential(
        nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), nn.BatchNorm1d(12), nn.Linear(12, 12), nn.GELU(),
        nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 2),
    )
    factors = {0: 3.0, 2: -1.0, 4: 0.5, 6: 3.0, 8: -1.0}
    with torch.no_grad():
        for k, factor in factors.items():
            for tensor in model[k].parameters():
                tensor[[1, 11, 6]] = factor * tensor[[9, 4, 2]]
    with diorama.watch(model, tmp_path / "run", probe=torch.randn(4, 8), optimizer=torch.optim.SGD(model.parameters(), 0.0), every=1) as recorder:
        recorder.step()
    [told] = [one for one in diorama.open(tmp_path / "run").findings() if one.finding == "duplicated_units"]
    assert set(told.keys) == {"layer:0", "layer:2", "layer:4", "step:0"}
    assert told.evidence.count("50 %") == 3
    assert "6 of the 12 units of layer 0 have the weights of another one but for a factor" in told.text
