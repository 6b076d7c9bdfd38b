"""Which numbers make a unit: seen in what the layer answers, for every kind of layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diorama.core.errors import DioramaError, NotApplicable, UsageError
from diorama.record.commands.copy_unit import CopyUnitCommand
from diorama.record.commands.edit_weight import EditWeightCommand
from diorama.record.commands.reinitialize import ReinitializeCommand
from diorama.record.commands.scale_layer import ScaleLayerCommand
from diorama.record.commands.swap_units import SwapUnitsCommand
from diorama.record.commands.zero import ZeroCommand
from diorama.training.subject import Subject
from diorama.training.surgery.graft import sizes_of
from diorama.training.unit_weights import UnitWeights, layer_parameters

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class _Training:
    """What commands on weights see of a training."""

    def __init__(self, model: nn.Module) -> None:
        self.subject = Subject(model)

    def still(self, layer: str, what: str) -> str:
        """Nothing is frozen."""
        return ""


def _maps(channels: int = 4) -> Tensor:
    return torch.randn(2, channels, 5, 5)


def _same_in_all(channels: int = 4) -> Tensor:
    """The same in every channel, so that a norm's units differ by their own numbers only."""
    return torch.randn(2, 1, 5, 5).expand(2, channels, 5, 5)


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str, int]] = {
    "conv": (lambda: nn.Conv2d(4, 6, 3), _maps, "0", 1),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), lambda: _same_in_all(), "0", 1),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), lambda: _same_in_all(), "0", 1),
    "linear": (lambda: nn.Linear(5, 6), lambda: torch.randn(3, 5), "0", 1),
    "embedding": (lambda: nn.Embedding(7, 6), lambda: torch.tensor([[0, 3], [5, 6]]), "0", 2),
    "batch_norm": (lambda: nn.BatchNorm2d(6), lambda: _same_in_all(6), "0", 1),
    "instance_norm": (lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True), lambda: _same_in_all(6), "0", 1),
    "group_norm": (lambda: nn.GroupNorm(3, 6), lambda: _same_in_all(6), "0", 1),
    "layer_norm": (lambda: nn.LayerNorm(6), lambda: torch.randn(3, 1).expand(3, 6), "0", 1),
    "rms_norm": (lambda: nn.RMSNorm(6), lambda: torch.randn(3, 1).expand(3, 6), "0", 1),
    "lstm": (lambda: nn.LSTM(4, 6), lambda: torch.randn(1, 3, 4), "0", 2),
    "gru": (lambda: nn.GRU(4, 6), lambda: torch.randn(1, 3, 4), "0.l0", 2),
    "projected": (lambda: nn.LSTM(4, 9, proj_size=6), lambda: torch.randn(1, 3, 4), "0", 2),
    "reverse": (lambda: nn.RNN(4, 3, bidirectional=True), lambda: torch.randn(1, 3, 4), "0.l0.reverse", 2),
    "cell": (lambda: nn.GRUCell(4, 6), lambda: torch.randn(3, 4), "0", 1),
}
OFFSET = {"reverse": 3}
"""Where the layer's units begin in what the module answers."""


def _made(kind: str) -> tuple[_Training, Callable[[], Tensor], str, int]:
    torch.manual_seed(0)
    make, data, layer, axis = KINDS[kind]
    model = nn.Sequential(make())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.2, 1.0)  # a norm starts with units that are all alike
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.0)
    x, model = data(), model.eval()

    def answer() -> Tensor:
        found: Any = model(x)
        return (found[0] if isinstance(found, tuple) else found).detach().clone()

    return _Training(model), answer, layer, axis


def _units(values: Tensor, axis: int, kind: str) -> Tensor:
    return values.movedim(axis, 0)[OFFSET.get(kind, 0) :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_zeroed_unit_answers_nothing_and_the_others_as_before(kind: str) -> None:
    """Unit 1 is 0 everywhere, and no other answer moves."""
    training, answer, layer, axis = _made(kind)
    before = _units(answer(), axis, kind)
    ZeroCommand(unit=f"{layer}/1").apply(training)  # type: ignore[arg-type]
    after = _units(answer(), axis, kind)
    assert not after[1].any()
    rest = [k for k in range(len(before)) if k != 1]
    torch.testing.assert_close(after[rest], before[rest])
    assert before[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copied_unit_answers_as_its_model_and_swapped_ones_as_each_other(kind: str) -> None:
    """A copy of unit 0 in the place of 2 answers the same; swapped, 0 and 2 answer what the other did; others as before."""
    training, answer, layer, axis = _made(kind)
    before = _units(answer(), axis, kind)
    assert not torch.equal(before[0], before[2])
    rest = [k for k in range(len(before)) if k not in (0, 2)]
    one, other = {"unit": f"{layer}/0"}, {"to": f"{layer}/2"}
    if kind == "depthwise":  # units 0 and 2 read different channels, which are alike here
        assert training.subject.parameters["0.weight"].shape == (8, 1, 3, 3)
    SwapUnitsCommand(**one, **other).apply(training)  # type: ignore[arg-type]
    swapped = _units(answer(), axis, kind)
    torch.testing.assert_close(swapped[[2, 0]], before[[0, 2]])
    CopyUnitCommand(**one, **other).apply(training)  # type: ignore[arg-type]
    copied = _units(answer(), axis, kind)
    torch.testing.assert_close(copied[[0, 2]], before[[2, 2]])
    torch.testing.assert_close(copied[rest], before[rest])


@pytest.mark.parametrize("kind", KINDS)
def test_a_reinitialized_unit_is_what_torch_draws(kind: str) -> None:
    """Its numbers are those of the whole module drawn anew with the seed; others, and the random state, stay."""
    training, _, layer, _ = _made(kind)
    unit = UnitWeights.of(training.subject, f"{layer}/1")  # type: ignore[arg-type]
    before = copy.deepcopy(training.subject.model.state_dict())
    drawn = copy.deepcopy(training.subject.model[0])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        drawn.reset_parameters()
    state = torch.get_rng_state()
    ReinitializeCommand(unit=f"{layer}/1", seed=5).apply(training)  # type: ignore[arg-type]
    assert torch.equal(state, torch.get_rng_state())
    expected = {name: value.clone() for name, value in before.items()}
    for name, index in unit.parts:
        expected[name][index] = drawn.state_dict()[name.removeprefix("0.")][index]
    for name, value in training.subject.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_reinitialized_layer_is_what_torch_draws(kind: str) -> None:
    """All weights of a layer are those of its module drawn anew with the seed, the optimizer's memory of them is nothing; all others stay."""
    training, _, layer, _ = _made(kind)
    before = copy.deepcopy(training.subject.model.state_dict())
    drawn = copy.deepcopy(training.subject.model[0])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        drawn.reset_parameters()
    names = layer_parameters(training.subject, layer)  # type: ignore[arg-type]
    ReinitializeCommand(layer=layer, seed=5).apply(training)  # type: ignore[arg-type]
    for name, value in training.subject.model.state_dict().items():
        assert torch.equal(value, drawn.state_dict()[name.removeprefix("0.")] if name in names else before[name]), name
    for optimizer in training.subject.optimizers:
        for name in names:
            held = optimizer.state.get(training.subject.parameters[name], {})
            assert not any(value.any() for entry, value in held.items() if entry != "step" and isinstance(value, Tensor))
    with pytest.raises(UsageError, match="either unit= or layer="):
        ReinitializeCommand(unit=f"{layer}/1", layer=layer).apply(training)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"lstm", "gru", "projected", "reverse", "cell"}))
def test_a_scaled_layer_answers_that_many_times(kind: str) -> None:
    """Twice the weights and biases are twice the answer."""
    training, answer, layer, _ = _made(kind)
    before = answer()
    ScaleLayerCommand(layer=layer, factor=2.0).apply(training)  # type: ignore[arg-type]
    torch.testing.assert_close(answer(), 2 * before)


class _Adapted(nn.Linear):
    """A layer with more weights of its own than its kind has."""

    def __init__(self) -> None:
        super().__init__(4, 6)
        self.low = nn.Parameter(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("model", "unit", "word"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 6)), "0/6", "numbered from 0 to 5; got 6"),
        (lambda: nn.Sequential(nn.Linear(4, 6)), "1/0", "no layer named '1'"),
        (lambda: nn.Sequential(nn.Linear(4, 6)), "", "wants a unit, such as '0/0'"),
        (lambda: nn.Sequential(nn.Linear(4, 6)), "0", "looks like"),
        (lambda: nn.Sequential(nn.Linear(4, 6)), "0/1@2", "wants one unit"),
        (lambda: nn.Sequential(nn.Linear(4, 6)), "op:relu/1", "is an op"),
        (lambda: nn.Sequential(nn.ReLU()), "0/0", "no weights of its own"),
        (lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 6))), "0/0", "several layers; name one of them, such as '0.0'"),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))), "0/0", "computed from others"),
        (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6))), "0/0", "computed from others"),
        (lambda: nn.Sequential(nn.LSTM(4, 6, num_layers=2)), "0/0", "has 2 layers; name one of them, such as '0.l0'"),
        (lambda: nn.Sequential(nn.PReLU(4)), "0/0", "is not known"),
        (lambda: nn.Sequential(_Adapted()), "0/0", "has low of its own"),
    ],
)
def test_what_has_no_such_unit_is_refused(model: Callable[[], nn.Module], unit: str, word: str) -> None:
    """In one sentence, with the way out."""
    with pytest.raises(DioramaError) as caught:
        UnitWeights.of(Subject(model()), unit)
    assert word in str(caught.value)


_NORMS: dict[str, tuple[Callable[[nn.Linear], nn.Module], str, str]] = {
    "weight_norm": (nn.utils.parametrizations.weight_norm, "parametrizations.weight.original0", "parametrizations.weight.original1"),
    "spectral_norm": (nn.utils.parametrizations.spectral_norm, "parametrizations.weight.original", ""),
    "weight_norm by a hook": (nn.utils.weight_norm, "weight_g", "weight_v"),
    "spectral_norm by a hook": (nn.utils.spectral_norm, "weight_orig", ""),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("norm", _NORMS)
def test_an_act_on_computed_weights_moves_what_the_layer_answers_or_is_refused(norm: str) -> None:
    """By its layer's name it is refused with the names of what makes it; what is divided out is no change; a layer is scaled, or is not."""
    torch.manual_seed(0)
    make, works, divided = _NORMS[norm]
    model, x = nn.Sequential(make(nn.Linear(5, 6))).eval(), torch.randn(3, 5)
    training, before, state = _Training(model), model(x).detach(), copy.deepcopy(model.state_dict())
    with pytest.raises(NotApplicable, match=f"computed at each pass from .*weight:0.{works}/0"):
        EditWeightCommand(key="weight:0/3", scale=0.5).apply(training)  # type: ignore[arg-type]
    if divided:
        with pytest.raises(NotApplicable, match="a common factor is divided out"):
            EditWeightCommand(key=f"weight:0.{divided}/3", scale=0.5).apply(training)  # type: ignore[arg-type]
    else:
        with pytest.raises(NotApplicable, match="would not be 2 times what it is"):
            ScaleLayerCommand(layer="0", factor=2.0).apply(training)  # type: ignore[arg-type]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    edited = EditWeightCommand(key=f"weight:0.{works}/3", scale=0.5).apply(training)  # type: ignore[arg-type]
    moved = (model(x) - before).abs().amax(0)
    assert moved[3] > 0
    assert edited.reversal is not None
    edited.reversal.back(training, ())  # type: ignore[arg-type]
    torch.testing.assert_close(model(x), before)
    if divided:
        ScaleLayerCommand(layer="0", factor=2.0).apply(training)  # type: ignore[arg-type]
        torch.testing.assert_close(model(x), 2 * before)


def test_units_of_other_shapes_do_not_fit() -> None:
    """Copying from another layer works where all shapes are alike, and is refused where they are not."""
    training = _Training(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)))
    CopyUnitCommand(unit="0/1", to="1/2").apply(training)  # type: ignore[arg-type]
    assert torch.equal(training.subject.model[0].weight[1], training.subject.model[1].weight[2])
    with pytest.raises(NotApplicable, match="do not fit"):
        SwapUnitsCommand(unit="0/1", to="2/1").apply(training)  # type: ignore[arg-type]
    training.subject.trains_with(torch.optim.LBFGS(training.subject.model.parameters()))
    before = {name: value.clone() for name, value in training.subject.model.state_dict().items()}
    apart = SwapUnitsCommand(unit="0/1", to="0/2"), ZeroCommand(unit="0/1"), ReinitializeCommand(unit="0/1"), ReinitializeCommand(layer="0")
    for command in apart:  # each says that what the optimizer remembers follows
        with pytest.raises(NotApplicable, match="LBFGS remembers all weights as one"):
            command.apply(training)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in training.subject.model.state_dict().items())


def test_shared_weights_are_told() -> None:
    """An act on a tied weight names where else it stands."""
    model = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embed"].weight
    applied = ZeroCommand(unit="head/3").apply(_Training(model))  # type: ignore[arg-type]
    assert applied.text.endswith("these weights are shared, so it holds for embed.weight too")
    assert not model["embed"].weight[3].any()


def test_a_refusal_moves_no_vector_of_a_spectral_norm() -> None:
    """Who asks for a parametrized weight in training mode moves what makes it: no act that is refused does, nor whoever tells its width."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)), nn.Linear(6, 3))
    before = copy.deepcopy(model.state_dict())
    commands = ReinitializeCommand(layer="0"), ReinitializeCommand(unit="0/1"), ZeroCommand(unit="0/1"), ScaleLayerCommand(layer="0", factor=0.5)
    for command in commands:
        with pytest.raises(DioramaError, match="comput"):
            command.apply(_Training(model))  # type: ignore[arg-type]
    assert sizes_of(model[0], None) == {"out_features": 6, "in_features": 5}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
