"""Laws of attribution methods: every method of the registry, on networks of every make."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import ZOO, Specimen, crooked

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.knobs import knobs_of
from diorama.data import nesting
from diorama.methods import batches
from diorama.methods.method import Attribution, completeness

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]
EVERY_METHOD = pytest.mark.parametrize("name", list(diorama.methods))
ON_PICTURES = pytest.mark.parametrize(
    "name", [name for name in diorama.methods if diorama.methods[name].group != "transformers"]
)
"""Methods that a convolutional network can be explained by: those that show attention need some."""
NETS = ("functional", "reused", "residual", "dict_out", "in_training", "lstm_all", "custom_attention", "several_dict",
        "restless", "encoder_late", "conv1d")
SPECIMENS = [specimen for specimen in ZOO if specimen.name in NETS]
FEWER = {"steps": 4, "draws": 4, "samples": 24, "permutations": 2, "regions": 6}
"""Knobs that make a law quick: what it says holds for any number."""
FEWER_ORDERS = {"shapley_sampling": {"samples": 2}}
"""Each order asks as often as there are parts."""


def ask(model: Any, x: Any, name: str, target: Any = None, **options: Any) -> Attribution:
    """An attribution with few repeats; methods that compare with other inputs get some."""
    known = knobs_of(diorama.methods[name])
    fewer = {knob: value for knob, value in FEWER.items() if knob in known} | FEWER_ORDERS.get(name, {})
    if name == "expected_gradients":
        others = nesting.each(nesting.as_tensors(x), lambda part: part[:1].flip(-1).repeat(2, *[1] * (part.ndim - 1)))
        options.setdefault("baseline", others)
    return diorama.attribute(model, x, target, method=name, **{**fewer, **options})


def asked(model: Any, x: Any, name: str) -> Attribution | None:
    """The same, or None where the method does not fit."""
    try:
        return ask(model, x, name)
    except NotApplicable:
        return None


def apart(a: Any, b: Any) -> float:
    """The largest difference, as a share of the largest value; not-finite places must be the same."""
    found = 0.0
    for one, other in zip(nesting.tensors(a), nesting.tensors(b), strict=True):
        one, other = one.double(), other.double()
        assert torch.equal(torch.isfinite(one), torch.isfinite(other))
        gap = torch.nan_to_num(one - other).abs().max()
        found = max(found, float(gap / torch.nan_to_num(other).abs().max().clamp_min(1e-6)))
    return found


@EVERY_METHOD
@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
def test_a_model_is_left_as_found_and_the_map_has_the_inputs_shape(name: str, specimen: Specimen) -> None:
    """Weights, buffers, mode, hooks, gradients, the input and random numbers stay; values have the input's shape."""
    model, x = specimen()
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    given, dice = copy.deepcopy(x), torch.get_rng_state()
    next(model.parameters()).requires_grad_(False)
    trained = [parameter.requires_grad for parameter in model.parameters()]
    heat = asked(model, x, name)
    assert trained == [parameter.requires_grad for parameter in model.parameters()]
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(nesting.tensors(given), nesting.tensors(x), strict=True))
    if heat is not None:
        assert [part.shape for part in nesting.tensors(heat.values)] == [part.shape for part in nesting.tensors(x)]
        assert len(heat.scores) == nesting.size(x)
        assert heat.provenance.method == name
        assert not any(part.requires_grad for part in nesting.tensors(heat.values))


@EVERY_METHOD
@pytest.mark.parametrize("net", ["functional", "reused", "lstm_all", "several_dict"])
def test_a_batch_is_explained_as_its_examples_are(name: str, net: str) -> None:
    """The second example alone gets the map that it gets in the batch, and the same again the next time."""
    model, x = next(specimen for specimen in ZOO if specimen.name == net)()
    shared = {"baseline": nesting.each(x, lambda part: part[:2])} if name == "expected_gradients" else {}
    try:
        whole = ask(model, x, name, **shared)
    except NotApplicable:
        return
    alone = ask(model, nesting.select(x, slice(1, 2)), name, **shared)
    assert apart(nesting.select(whole.values, slice(1, 2)), alone.values) < 1e-4
    assert apart(ask(model, x, name, **shared).values, whole.values) < 1e-6


@pytest.mark.parametrize("name", [name for name in diorama.methods if not diorama.methods[name].singly])
def test_more_than_the_memory_holds_is_explained_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all examples fit into one pass, fewer go through the model together, and the maps stay the same."""
    model, x = next(specimen for specimen in ZOO if specimen.name == "functional")()
    shared: dict[str, Any] = {"baseline": x.flip(0)} if name == "integrated_gradients" else {}
    if name == "expected_gradients":
        shared["baseline"] = x[:2]
    try:
        whole = ask(model, x, name, **shared)
    except NotApplicable:
        return
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    for size in ("HELD", "LARGEST", "QUICK"):
        monkeypatch.setattr(batches, size, 1)
    parts = ask(model, x, name, **shared)
    # The layers are found on two examples.
    assert max(sizes) <= 2 < len(x)
    assert apart(parts.values, whole.values) < 1e-4
    assert apart(parts.scores, whole.scores) < 1e-5
    assert (parts.note, parts.target, set(parts.maps)) == (whole.note, whole.target, set(whole.maps))
    assert parts.provenance == whole.provenance


@ON_PICTURES
def test_what_it_takes_is_said_first_and_it_can_be_stopped(name: str) -> None:
    """Progress begins with passes and seconds; a wish to stop is met within a few ops, wherever it comes."""

    class Stop(Exception):
        pass

    said: list[tuple[int, int, str]] = []
    net, x = _ways()["functional"].eval(), _images()
    ask(net, x, name, 1, progress=lambda *told: said.append(told))
    assert said[0][0] == 0
    assert re.fullmatch(r"[\d,]+ forward( and [\d,]+ backward)? passes, about .+", said[0][2])
    calls = [0]

    def counted() -> None:
        calls[0] += 1

    ask(net, x, name, 1, cancel=counted)
    for at in (1, calls[0] // 2, calls[0] - 1):
        left = [at]

        def stop(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] <= 0:
                raise Stop

        with pytest.raises(Stop):
            ask(net, x, name, 1, cancel=stop)
        assert left[0] <= 0
    assert not any(module._forward_hooks for module in net.modules())


class _Net(nn.Module):
    """One network in four ways of writing its ReLUs."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.way = way
        if way in ("module", "reused"):
            self.act1 = nn.ReLU()
            self.act2 = nn.ReLU(inplace=True) if way == "module" else self.act1

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "functional":
            x = F.relu(self.conv2(F.relu(self.conv1(x))))
        elif self.way == "in place":
            x = torch.relu_(self.conv2(F.relu(self.conv1(x), inplace=True)))
        elif self.way == "clamp":
            x = self.conv2(self.conv1(x).clamp(min=0)).clamp_min(0)
        else:
            x = self.act2(self.conv2(self.act1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def _ways() -> dict[str, nn.Module]:
    nets = {way: _Net(way) for way in ("module", "functional", "in place", "reused", "clamp")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        for parameter in nets["module"].parameters():
            nn.init.normal_(parameter, std=0.4)
    state = copy.deepcopy(nets["module"].state_dict())
    for net in nets.values():
        net.load_state_dict(state)
    return nets


def _images() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5))


@ON_PICTURES
@pytest.mark.parametrize("way", ["functional", "in place", "reused"])
def test_however_relus_are_written_the_map_is_the_same(name: str, way: str) -> None:
    """Functional, in-place and reused ReLUs give the map of the same network written with separate modules."""
    nets, x = _ways(), _images()
    assert apart(ask(nets[way], x, name, 1).values, ask(nets["module"], x, name, 1).values) < 1e-5


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet"])
def test_clamps_from_zero_count_as_relus(name: str) -> None:
    """A ReLU written as a clamp is one."""
    nets, x = _ways(), _images()
    assert apart(ask(nets["clamp"], x, name, 1).values, ask(nets["module"], x, name, 1).values) < 1e-6


@ON_PICTURES
def test_completeness_is_measured_where_it_is_promised(name: str) -> None:
    """A method that says its values sum to the target carries how nearly they do."""
    heat = ask(_ways()["functional"], _images(), name, 1)
    if diorama.methods[name].completeness:
        assert heat.checks["completeness"] >= 0


@ON_PICTURES
@pytest.mark.parametrize("what", ["zero", "constant", "nan"])
def test_strange_inputs_get_a_map_that_says_so(name: str, what: str) -> None:
    """Zeros, one number everywhere and NaN give a map with a note, not an error."""
    x = torch.full((2, 1, 8, 8), {"zero": 0.0, "constant": 0.5, "nan": 0.5}[what])
    if what == "nan":
        x[:, :, 3, 3] = torch.nan
    heat = ask(_ways()["functional"], x, name, 1)
    assert nesting.first(heat.values).shape == x.shape
    assert {"zero": "zero everywhere", "constant": "same everywhere", "nan": "not finite"}[what] in heat.note


@EVERY_METHOD
def test_a_plain_function_is_explained_or_refused(name: str) -> None:
    """Black-box methods explain a function; the others say which do."""
    net, x = _ways()["functional"].eval(), _images()

    def function(batch: Tensor) -> Tensor:
        with torch.no_grad():
            scores: Tensor = net(batch)
        return scores

    if diorama.methods[name].function:
        assert apart(ask(function, x, name, 1).values, ask(net, x, name, 1).values) < 1e-5
    else:
        with pytest.raises(NotApplicable, match="plain function"):
            ask(function, x, name, 1)


@EVERY_METHOD
def test_what_does_not_fit_names_what_does(name: str) -> None:
    """On a plain multi-layer perceptron a method gives a map, or a sentence that names one which does."""
    model, x = next(specimen for specimen in ZOO if specimen.name == "in_training")()
    heat = asked(model, x, name)
    if heat is None:
        with pytest.raises(NotApplicable, match=f"use ({'|'.join(diorama.methods)})"):
            ask(model, x, name)
    else:
        assert nesting.first(heat.values).shape == x.shape


def test_the_default_target_is_the_predicted_class() -> None:
    """Without a target, each example is explained for its own prediction."""
    net, x = _ways()["functional"].eval(), _images() * torch.tensor([3.0, -3.0])[:, None, None, None]
    answers = net(x).argmax(1)
    heat = ask(net, x, "gradient")
    for k, answer in enumerate(answers.tolist()):
        assert apart(heat.values[k : k + 1], ask(net, x[k : k + 1], "gradient", answer).values) < 1e-5
    assert apart(ask(net, x, "gradient", answers).values, heat.values) == 0


def test_differences_units_places_and_functions_can_be_explained() -> None:
    """A pair is the difference of its maps; a unit's place, a layer and a callable have maps too."""
    net, x = _ways()["module"].eval(), _images()
    pair = ask(net, x, "gradient", (0, 2)).values
    assert apart(pair, ask(net, x, "gradient", 0).values - ask(net, x, "gradient", 2).values) < 1e-5
    place = ask(net, x, "gradient", "unit:conv1/1@4,4").values
    assert torch.allclose(place[0, 0, 3:6, 3:6], net.conv1.weight[1, 0])
    assert int(place[0].ne(0).sum()) == 9
    assert apart(ask(net, x, "gradient", lambda output: output[:, 1]).values, ask(net, x, "gradient", 1).values) == 0
    assert nesting.first(ask(net, x, "gradient", "layer:conv2").values).shape == x.shape
    joint = ask(net, x, "gradient", "layer:conv1@4,4").values
    assert torch.allclose(joint[0, 0, 3:6, 3:6], net.conv1.weight[:, 0].mean(0))
    assert int(joint[0].ne(0).sum()) == 9


def test_classes_come_in_any_form_of_number() -> None:
    """NumPy's and torch's numbers are classes, an array is one class an example, one number will do for one example."""
    net, x = _ways()["module"].eval(), _images()
    wanted = ask(net, x, "gradient", 1).values
    for one in (np.int64(1), torch.tensor(1), "1", "class:1"):
        assert apart(ask(net, x, "gradient", one).values, wanted) == 0
    both = ask(net, x, "gradient", np.array([1, 2])).values
    assert apart(both[:1], wanted[:1]) < 1e-6
    assert apart(both[1:], ask(net, x[1:], "gradient", 2).values) < 1e-6
    assert apart(ask(net, x[:1], "gradient", lambda output: output[0, 1]).values, wanted[:1]) < 1e-6
    with pytest.raises(UsageError, match="1 number.* for 2 examples"):
        ask(net, x, "gradient", lambda output: output[0, 1])
    with pytest.raises(UsageError, match="wants 2 classes, got 3"):
        ask(net, x, "gradient", np.array([0, 1, 2]))


def test_pixels_and_texts_are_read_as_their_kind_says() -> None:
    """One picture's pixels and one text become a batch of one; a model that is no function is told what to pass."""
    net = _ways()["module"].eval()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = ask(net, pixels, "gradient", 1, inputs=diorama.Image(height=8, width=8, channels=1))
    assert apart(found.values, ask(net, torch.from_numpy(pixels / 255).float()[None, None], "gradient", 1).values) < 1e-5
    reader = nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(20, 2))
    assert nesting.first(ask(reader, "abcab", "gradient", 1, inputs=diorama.Tokens(vocabulary="abc")).values).shape == (1, 5)

    class Fitted:
        def predict_proba(self, rows: Any) -> Any:
            raise AssertionError

    with pytest.raises(UsageError, match="predict_proba"):
        diorama.attribute(Fitted(), torch.zeros(1, 2), 1, method="lime")  # type: ignore[arg-type]


class _Single(nn.Module):
    """A regressor whose answer is one number, of shape (n,) or (n, 1)."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.hidden, self.out, self.flat = nn.Linear(4, 5), nn.Linear(5, 1), flat

    def forward(self, x: Tensor) -> Tensor:
        y = self.out(F.relu(self.hidden(x)))
        return y[:, 0] if self.flat else y


@EVERY_METHOD
@pytest.mark.parametrize("flat", [True, False])
def test_a_number_is_not_a_class(name: str, flat: bool) -> None:
    """However the one number of a regressor is asked for, told or not, the map is that of the number itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model, x = _Single(flat), 3 * torch.randn(3, 4)
    wanted = asked(model, x, name)
    if wanted is None:
        return
    number = model(x).reshape(3).detach()
    torch.testing.assert_close(wanted.scores.float(), number, atol=1e-5, rtol=1e-4)
    ways: list[tuple[Any, dict[str, Any]]] = [
        (0, {}), ("0", {}), (np.zeros(3, int), {}), (None, {"task": "regression"}), ("0", {"task": "regression"}),
        (lambda output: output.reshape(len(output)), {}),
    ]
    for target, told in ways:
        assert apart(ask(model, x, name, target, **told).values, wanted.values) < 1e-5
    with pytest.raises(UsageError, match="one number"):
        ask(model, x, name, 1)


@pytest.mark.parametrize("silent", [False, True], ids=["alive", "silent"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["lrp", "deep_lift", "gradient", "occlusion", "lime", "kernel_shap", "feature_ablation"])
def test_half_precision_has_the_map_of_full(name: str, dtype: torch.dtype, silent: bool) -> None:
    """Methods whose numbers leave float16's range, or that take differences of coarse answers, explain a copy in float32 and say so.

    Where all hidden units are silent the map is zero, which other notes tell than of a map with numbers in it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        model[1].bias -= int(silent)
    half, wide = copy.deepcopy(model).to(dtype), copy.deepcopy(model).to(dtype).float()
    found, wanted = ask(half, x.to(dtype), name, 1), ask(wide, x.to(dtype).float(), name, 1)
    close = 1e-5 if "float32" in found.note else 2e-2 if dtype == torch.float16 else 2e-1
    torch.testing.assert_close(found.values.float(), wanted.values, atol=close, rtol=close)
    of = diorama.methods[name]
    assert ("float32" in found.note) == (of.compares or (of.wide and dtype == torch.float16))
    assert half[1].weight.dtype == dtype


@EVERY_METHOD
@pytest.mark.parametrize("net", ["functional", "custom_attention"])
def test_what_a_caller_has_switched_on_changes_nothing(name: str, net: str) -> None:
    """In no_grad, inference mode and autocast, with other default types and devices, a method finds or refuses the same."""
    specimen = next(specimen for specimen in SPECIMENS if specimen.name == net)
    model, x = specimen()

    def found() -> Attribution | str:
        try:
            return ask(model, x, name)
        except NotApplicable as error:
            return str(error)

    wanted = found()
    with crooked():
        got = found()
        assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.float64
    if isinstance(wanted, str) or isinstance(got, str):
        assert got == wanted
    else:
        assert apart(got.values, wanted.values) < 1e-5
        assert (got.note, got.target) == (wanted.note, wanted.target)


def test_completeness_of_what_cancels_out_is_a_share_of_all_values() -> None:
    """Where values should sum to nothing, the gap is a share of their sizes, not of a made-up small number."""
    values = torch.tensor([[1.0, -1.0, 1e-6], [2.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    assert completeness(values[:1], torch.tensor([0.0])) == pytest.approx(5e-7, rel=1e-2)
    assert completeness(values[1:], torch.tensor([0.0, 0.0])) == 0
    assert completeness(values[2:], torch.tensor([3.0])) == 1
    assert completeness(values[:1], torch.tensor([2.0])) == pytest.approx(1, rel=1e-5)
