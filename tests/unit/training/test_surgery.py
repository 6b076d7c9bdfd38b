"""Units are added to layers and removed from them while a network trains; all else stays bit by bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel
from zoo import Functional, Recurrent, Residual, Reused

import diorama
from diorama.data import nesting
from diorama.model.layers import layers
from diorama.training.surgery.arrangement import NEW
from diorama.training.surgery.averages import averages
from diorama.training.surgery.slopes import TaughtExamples
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import ChangedUnits, add_units, remove_units, told

Made = tuple[nn.Module, Any]


def _rows() -> Tensor:
    return torch.randn(6, 5)


def _steps() -> Tensor:
    return torch.randn(6, 4, 6)


def _tokens() -> Tensor:
    return torch.randint(0, 11, (6, 4))


WORKS: list[tuple[str, Callable[[], nn.Module], Callable[[], Any], str, int, set[str]]] = [
    ("mlp", grown_nets.dense, _rows, "0", 2, {"1", "2"}),
    ("cnn", Functional, grown_nets.images, "conv1", 2, {"norm"}),
    ("residual_inside", Residual, grown_nets.images, "layer1.0.conv1", 1, {"layer1.0.bn1"}),
    ("residual_across", Residual, grown_nets.images, "stem", 1, {"layer1.0.conv2", "layer1.1.conv2", "layer1.1.bn2"}),
    ("padded_inside", grown_nets.Padded, grown_nets.images, "layer2.conv1", 2, {"layer2.bn1"}),
    ("padded_across", grown_nets.Padded, grown_nets.images, "conv1", 2, {"layer1.1.bn2", "layer2.conv2", "layer3.bn2"}),
    ("padded_later", grown_nets.Padded, grown_nets.images, "layer3.conv2", 1, {"conv1", "layer1.1.bn2", "layer2.conv2"}),
    ("lstm", lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, start=True), _tokens, "rnn", 2, {"rnn.l0", "rnn.l1.reverse"}),
    ("lstm_projected", lambda: Recurrent(nn.LSTM, proj_size=3), _tokens, "rnn.l0", 1, {"rnn"}),
    ("gru", lambda: Recurrent(nn.GRU), _tokens, "rnn", 2, {"rnn.l0"}),
    ("lstm_cell", grown_nets.Stepped, lambda: torch.randn(6, 3, 5), "cell", 2, set()),
    ("transformer_mlp", grown_nets.Heads, _steps, "up", 3, set()),
    ("heads", grown_nets.Heads, _steps, "q", 4, {"k", "v"}),
    ("tied", grown_nets.Tied, _tokens, "embed", 2, {"back"}),
    ("unet", grown_nets.Unet, grown_nets.images, "down", 2, set()),
    ("unet_up", grown_nets.Unet, grown_nets.images, "up", 2, set()),
    ("depthwise", grown_nets.Mobile, grown_nets.images, "stem", 2, {"norm"}),
    ("depthwise_multiple", grown_nets.Mobile, grown_nets.images, "depth", 2, {"stem", "norm"}),
    ("squeezed", grown_nets.Mobile, grown_nets.images, "point", 1, {"excite", "slope"}),
    ("grouped", grown_nets.Grouped, grown_nets.images, "grouped", 4, set()),
    ("before_groups", grown_nets.Grouped, grown_nets.images, "first", 2, set()),
    ("group_norm", grown_nets.Grouped, grown_nets.images, "second", 4, {"norm"}),
    ("norm_then_groups", grown_nets.normed_groups, grown_nets.images, "0", 8, {"1", "2"}),
    ("groups_then_norm", grown_nets.normed_groups, grown_nets.images, "3", 8, {"4"}),
    ("messages", grown_nets.Messages, _steps, "node", 2, {"message"}),
]
"""A network, a layer, how many units, and other layers that must grow with it."""
_NAMES = [row[0] for row in WORKS]


def _made(row: Any) -> Made:
    model, x = grown_nets.made(row[1], row[2])
    return model, x


def _apart(model: nn.Module, x: Any, want: dict[str, list[Tensor]]) -> float:
    """How far answers are from what they were, as a share of the largest, in both modes."""
    found = 0.0
    for mode in ("eval", "train"):
        for one, other in zip(want[mode], answers(model, x, mode), strict=True):
            if one.is_floating_point():
                found = max(found, float((one - other).abs().max() / one.abs().max()))
    return found


def _answers(model: nn.Module, x: Any) -> dict[str, list[Tensor]]:
    return {mode: answers(model, x, mode) for mode in ("eval", "train")}


def _trained(model: nn.Module, x: Any, optimizer: Any, steps: int = 3) -> None:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model, x).backward()
        optimizer.step()


def _loss(model: nn.Module, x: Any) -> Tensor:
    return sum(part.square().mean() for part in nesting.tensors(_first(nesting.call(model, x))))


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _all(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """Every weight, buffer, gradient and memory, copied."""
    found = {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"{name} grad"] = parameter.grad.clone()
        for kind, value in optimizer.state.get(parameter, {}).items():
            found[f"{name} {kind}"] = value.clone() if isinstance(value, Tensor) else torch.tensor(value)
    return found


def _survivors(done: ChangedUnits, name: str, tensor: Tensor) -> Tensor:
    """What was there before, out of a tensor as it is now."""
    for axis, order in done.change.weights.get(name.split(" ")[0], {}).items():
        if tensor.ndim > axis:
            tensor = tensor.index_select(axis, torch.from_numpy(order.kept.nonzero()[0]))
    return tensor


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("row", WORKS, ids=_NAMES)
def test_added_units_change_no_answer_and_no_bit(row: tuple[Any, ...]) -> None:
    """After `preserve` answers differ by rounding alone, survivors and their moments by nothing, the next step teaches the
    new units, and undone at once all is as before."""
    name, _, _, layer, count, with_it = row
    model, x = _made(row)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    _trained(model, x, optimizer, 2)
    want, before, identities = _answers(model, x), _all(model, optimizer), [id(p) for p in model.parameters()]
    axes = {each.name: each.unit_axis for each in layers(model, x)}
    random = torch.get_rng_state()
    done = add_units(model, x, layer, count, optimizers=[optimizer], axes=axes)
    assert torch.equal(random, torch.get_rng_state())
    assert done.after == done.before + count == len(done.change.layers[layer])
    assert with_it <= set(done.change.elsewhere), name
    assert [id(p) for p in model.parameters()] == identities
    assert _apart(model, x, want) < 1e-5
    for key, tensor in _all(model, optimizer).items():
        if key in before:
            assert torch.equal(_survivors(done, key, tensor), before[key]), key
    twin = copy.deepcopy(model)
    done.graft.restore()
    after = _all(model, optimizer)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert repr(model) != repr(twin) or name == "tied"
    _teaches(twin, x, done)


def _teaches(model: nn.Module, x: Any, done: ChangedUnits) -> None:
    """The outgoing weights of new units are 0 and have a gradient."""
    model.zero_grad()
    _loss(model, x).backward()
    found = 0.0
    for name, orders in done.change.weights.items():
        for axis, order in orders.items():
            if order.role in ("reads", "both"):
                new = torch.from_numpy(order.fresh.reshape(-1))
                parameter = dict(model.named_parameters())[name]
                assert not parameter.detach().index_select(axis, new).any()
                found = max(found, float(parameter.grad.index_select(axis, new).abs().max()))
    assert found > 0


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("row", WORKS, ids=_NAMES)
def test_units_that_nothing_reads_can_be_removed(row: tuple[Any, ...]) -> None:
    """Removing units that were just added, from the middle of their layer as well, gives the answers and the bits back."""
    _, _, _, layer, count, _ = row
    model, x = _made(row)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    _trained(model, x, optimizer, 1)
    want, before = _answers(model, x), _all(model, optimizer)
    done = add_units(model, x, layer, count, optimizers=[optimizer])
    remove_units(model, x, layer, done.units, optimizers=[optimizer])
    after = _all(model, optimizer)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert _apart(model, x, want) < 1e-5


@pytest.mark.parametrize(
    ("build", "inputs", "layer", "count", "word"),
    [
        (grown_nets.dense, _rows, "5", 1, "the model's answer"),
        (grown_nets.Fixed, grown_nets.images, "conv", 1, "no longer runs"),
        (lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3)), _rows, "0", 1, "LayerNorm"),
        (lambda: nn.Sequential(nn.Linear(5, 6), nn.Softmax(-1), nn.Linear(6, 3)), _rows, "0", 1, "softmax"),
        (lambda: nn.utils.parametrizations.weight_norm(grown_nets.dense()[0]), _rows, "", 1, "cannot be followed through its ops$"),
        (grown_nets.Heads, _steps, "norm", 1, "followed"),
        (lambda: grown_nets.Messages(gathers=True), _steps, "node", 1, "what `gather` does with them cannot be followed"),
        (grown_nets.Heads, _steps, "q", 1, "sets of 4"),
        (grown_nets.Grouped, grown_nets.images, "grouped", 1, "sets of 2"),
        (grown_nets.Grouped, grown_nets.images, "norm", 1, "sets of 2"),
        (grown_nets.normed_groups, grown_nets.images, "0", 4, "sets of 8.*nearest: 8"),
        (lambda: grown_nets.Branches(24), grown_nets.images, "layers.0", 6, "normalizes 18 channels"),
        (lambda: nn.TransformerEncoderLayer(6, 2, 8), _steps, "self_attn", 1, "MultiheadAttention"),
        (lambda: nn.TransformerEncoderLayer(6, 2, 8), _steps, "linear2", 1, "a width that is fixed"),
        (grown_nets.Begun, _steps, "rnn", 1, "some width is fixed in its own code.*hidden size"),
        (grown_nets.Shared, _steps, "qkv", 1, "some width is fixed in its own code"),
        (grown_nets.Shared, _steps, "proj", 1, "ties them to a width that is fixed"),
        (grown_nets.dense, _rows, "7", 1, "nearest|there are"),
        (grown_nets.dense, _rows, "0", 0, "at least|from 1"),
        (grown_nets.dense, _rows, "0", True, "whole number"),
        (grown_nets.dense, _rows, "0", 10**9, "whole number"),
    ],
)
def test_what_cannot_grow_says_why_and_stays(build: Any, inputs: Any, layer: str, count: Any, word: str) -> None:
    """A width that is fixed is refused in a sentence with the nearest that can be done, and nothing has changed."""
    model, x = grown_nets.made(build, inputs)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(diorama.DioramaError, match=word):
        add_units(model, x, layer, count)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_units_that_come_in_sets_go_in_sets() -> None:
    """A head goes whole, a layer keeps a unit, and a unit that is not there is named."""
    model, x = grown_nets.made(grown_nets.Heads, _steps)
    with pytest.raises(diorama.UsageError, match="only with 0, 1, 2"):
        remove_units(model, x, "q", [3])
    with pytest.raises(diorama.UsageError, match="units 0 to 7, got 9"):
        remove_units(model, x, "q", [9])
    with pytest.raises(diorama.NotApplicable, match="no unit left"):
        remove_units(model, x, "q", range(8))
    assert remove_units(model, x, "q", range(4)).after == 4


class _Shuffled(nn.Module):
    """Channels of two halves that are shuffled: one of those of a half goes with all the others."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.part, self.last = nn.Linear(5, 8), nn.Linear(4, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.whole(x).relu().chunk(2, 1)
        h = torch.cat([first, self.part(second)], 1)
        n, width = h.shape
        return self.last(h.view(n, 2, width // 2).transpose(1, 2).reshape(n, width))


def test_what_a_refusal_of_removal_offers_can_be_done() -> None:
    """Units that go only with all others are none that could go; zeros are offered where units can be held at zero, and no layer where none is."""
    model, x = grown_nets.made(_Shuffled, _rows)
    with pytest.raises(diorama.NotApplicable, match="'part' would have no unit left; nearest: remove all but one") as refused:
        remove_units(model, x, "part", [0])
    assert "go only with" not in str(refused.value)
    normed, x = grown_nets.made(lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3)), _rows)
    with pytest.raises(diorama.NotApplicable, match="so another number of them .*; nearest: zero them with the command zero$"):
        remove_units(normed, x, "0", [0])
    spectral, x = grown_nets.made(lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)), nn.ReLU(), nn.Linear(6, 3)), _rows)
    with pytest.raises(diorama.NotApplicable, match="cannot be followed$"):
        remove_units(spectral, x, "0", [0])


def test_split_keeps_the_answers_and_lets_twins_part() -> None:
    """Net2Net: the answers stay, what it changed is named, and after steps of Adam the twins are two units."""
    model, x = grown_nets.made(lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), _rows)
    want = _answers(model, x)
    done = add_units(model, x, "0", 2, "split")
    assert _apart(model, x, want) < 1e-5
    parent, twin = done.split_from[0], done.units[0]
    assert torch.equal(model[0].weight[parent], model[0].weight[twin])
    _trained(model, x, torch.optim.Adam(model.parameters(), 1e-2), 10)
    assert float((model[0].weight[parent] - model[0].weight[twin]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("how", ["preserve", "split", "gradient"])
def test_a_pruned_network_grows_and_shrinks_with_its_masks(how: Any) -> None:
    """No answer changes; masks hide what they hid and nothing of new units, which learn at once; undone, all is as before."""
    model, x = grown_nets.made(grown_nets.dense, _rows)
    torch.manual_seed(1)
    model[2].p = 0.0  # no draw hides the new units
    for place in (0, 3):
        prune.random_unstructured(model[place], "weight", 0.4)
        prune.random_unstructured(model[place], "bias", 0.4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    _trained(model, x, optimizer, 2)
    want, before, width = _answers(model, x), _all(model, optimizer), model[0].out_features
    taught = TaughtExamples(x, lambda output: output.square().mean())
    done = add_units(model, x, "0", 2, how, optimizers=[optimizer], taught=taught)
    assert _apart(model, x, want) < 1e-5
    assert model[0].out_features == model[0].weight_orig.shape[0] == width + 2
    if how != "split":
        assert model[0].weight_mask[width:].min() == model[0].bias_mask[width:].min() == model[3].weight_mask[:, width:].min() == 1
        assert "none of their weights is pruned" in told(done, "added")
    assert set(model[0].weight_mask.unique().tolist()) <= {0.0, 1.0}
    done.graft.put_back()
    assert all(torch.allclose(tensor, before[name], atol=1e-6) for name, tensor in _all(model, optimizer).items())
    add_units(model, x, "0", 2, how, optimizers=[optimizer], taught=taught)
    begun = [model[0].weight_orig[width:].detach().clone(), model[3].weight_orig[:, width:].detach().clone()]
    _trained(model, x, optimizer, 1)
    now = [model[0].weight_orig[width:], model[3].weight_orig[:, width:]]
    assert any((one != other).any() for one, other in zip(now, begun, strict=True))
    remove_units(model, x, "0", [width, width + 1], optimizers=[optimizer])
    assert torch.equal(model[0].weight_mask, before["0.weight_mask"])


@pytest.mark.parametrize("build", [
    lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
])
def test_a_gradient_start_has_a_steeper_slope_than_random_directions(build: Any) -> None:
    """At one length of the outgoing weights, the gradient of the new incoming ones is larger than for random directions,
    with ReLUs too, and the answers stay."""
    model, x = grown_nets.made(build, grown_nets.images)
    y = torch.arange(6) % 3
    taught = TaughtExamples(x, lambda output: F.cross_entropy(output, y))
    want = _answers(model, x)
    done = add_units(model, x, "0", 2, "gradient", taught=taught)
    assert _apart(model, x, want) < 1e-5
    readers = [name for name, orders in done.change.weights.items() if any(o.role == "reads" for o in orders.values())]
    axis, order = next((a, o) for a, o in done.change.weights[readers[0]].items() if o.role == "reads")
    outgoing = dict(model.named_parameters())[readers[0]]

    def slope() -> float:
        model.train().zero_grad()
        taught.loss(model(x)).backward()
        return float(model[0].weight.grad[list(done.units)].norm())

    best, index = slope(), torch.from_numpy(order.fresh.reshape(-1))
    own = outgoing.detach().index_select(axis, index)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = torch.randn(own.shape, generator=draw)
        outgoing.data.index_copy_(axis, index, other * (own.norm() / other.norm()))
        assert slope() <= best
    assert best > 0


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True), lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
    lambda p: torch.optim.AdamW(p, 1e-2, foreach=True), lambda p: torch.optim.RMSprop(p, 1e-4, momentum=0.5, centered=True),
    lambda p: torch.optim.Adagrad(p, 1e-2, initial_accumulator_value=0.1), lambda p: torch.optim.Rprop(p, 1e-2),
    lambda p: torch.optim.NAdam(p), lambda p: torch.optim.RAdam(p), lambda p: torch.optim.ASGD(p), lambda p: torch.optim.Adamax(p),
])
def test_the_very_next_step_trains(make: Any) -> None:
    """With a loss of before still held, gradients half gathered, kept at zero and hooked, the next step moves new units."""
    model, x = grown_nets.made(lambda: Functional(), grown_nets.images)
    optimizer, seen = make(model.parameters()), []
    model.conv1.weight.register_hook(lambda grad: seen.append(tuple(grad.shape)))
    model.conv2.weight.register_post_accumulate_grad_hook(lambda p: seen.append(tuple(p.grad.shape)))
    _trained(model, x, optimizer, 2)
    loss = _loss(model, x)
    loss.backward()
    half = model.conv2.weight.grad.clone()
    add_units(model, x, "conv1", 2, optimizers=[optimizer])
    assert torch.equal(model.conv2.weight.grad[:, :4], half)
    assert not model.conv2.weight.grad[:, 4:].any()
    seen.clear()
    _loss(model, x).backward()
    assert set(seen) == {(6, 1, 3, 3), (6, 6, 3, 3)}
    optimizer.step()
    assert model.conv2.weight[:, 4:].any()
    optimizer.zero_grad(set_to_none=False)
    _loss(model, x).backward()
    incoming = model.conv1.weight[4:].detach().clone()
    optimizer.step()
    assert not torch.equal(model.conv1.weight[4:], incoming)
    assert loss.isfinite()


def _row(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that keeps a row of all weights in a list, at its first one, as LBFGS does."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.state[next(model.parameters())] = {"rows": [None, torch.zeros(sum(p.numel() for p in model.parameters()))]}
    return optimizer


def test_what_would_keep_the_old_shape_is_refused() -> None:
    """Adafactor, whose memory has another shape, and an averaged copy of the model are named before anything changes."""
    model, x = grown_nets.made(grown_nets.dense, _rows)
    optimizer = torch.optim.Adafactor(model.parameters())
    _trained(model, x, optimizer, 1)
    with pytest.raises(diorama.NotApplicable, match="Adafactor remembers"):
        add_units(model, x, "0", optimizers=[optimizer])
    for joined in (torch.optim.LBFGS(model.parameters()), _row(model)):
        with pytest.raises(diorama.NotApplicable, match="remembers all weights as one"):
            add_units(model, x, "3", optimizers=[joined])
    average = AveragedModel(model)
    with pytest.raises(diorama.NotApplicable, match="AveragedModel"):
        add_units(model, x, "0")
    del average
    with pytest.raises(diorama.NotApplicable, match="AveragedModel"):
        add_units(model, x, "0", state=[AveragedModel(model)])
    assert model[0].weight.shape == (6, 5)


class _Shadow:
    """An average as torch_ema keeps it: a list of tensors."""

    def __init__(self, model: nn.Module) -> None:
        self.shadow = [p.detach().clone() for p in model.parameters()]


class _ByNameEMA:
    """An average as scripts keep it: tensors by name."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.kept = model, {name: p.detach().clone() for name, p in model.named_parameters()}


class _ModelEmaV2(nn.Module):
    """An average as timm keeps it: a module in a module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)


class _EMAOfLosses:
    """No average of weights: a wrapper of the model itself, with other numbers."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.kept = model, [torch.zeros(3), torch.zeros(6, 5)]


@pytest.mark.parametrize(("kind", "found"), [(_Shadow, True), (_ByNameEMA, True), (_ModelEmaV2, True), (_EMAOfLosses, False)])
def test_an_average_of_any_make_is_named(kind: Any, found: bool) -> None:
    """Whatever is named for an average and holds tensors like the model's is found in memory; what holds the model itself is none."""
    model, _ = grown_nets.made(grown_nets.dense, _rows)
    held = kind(model)
    assert averages(model, ()) == (kind.__name__ if found else "")
    del held
    assert averages(model, ()) == ""
    assert averages(model, (model,)) == ""


def test_channels_last_and_placement_stay() -> None:
    """A weight whose channels lie last in memory lies so afterwards, as kernels follow it."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    model.to(memory_format=torch.channels_last)
    add_units(model, x, "conv1", 2)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_units_land_in_the_middle_of_later_stages() -> None:
    """Where a padding puts new channels between old ones, the map says so."""
    model, x = grown_nets.made(grown_nets.Padded, grown_nets.images)
    done = add_units(model, x, "conv1", 1)
    assert done.change.layers["conv1"].tolist() == [*range(4), NEW]
    assert done.change.layers["layer2.conv2"].tolist() == [*range(6), NEW, 6, 7]
    assert done.change.layers["layer3.bn2"].tolist() == [*range(10), NEW, *range(10, 16)]


class _Careless(nn.Module):
    """Dropout as a function, which is on in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(torch.relu(self.first(x)), 0.5))


def test_dropout_hides_no_proof() -> None:
    """A network whose dropout is never off takes units all the same: the trial leaves its draws out."""
    model, x = grown_nets.made(_Careless, _rows)
    assert add_units(model, x, "first", 2).after == 8


def test_of_attention_heads_come_and_go() -> None:
    """A module of attention is given heads by their number, and loses one from the middle, with queries, keys and values of one layer."""
    model, x = grown_nets.made(grown_nets.Block, _steps)
    want = _answers(model, x)
    done = add_units(model, x, "attn", 2)
    assert (done.layer, done.before, done.after) == ("attn.qkv", 24, 48)
    assert model.attn.o.weight.shape == (6, 16)
    assert _apart(model, x, want) < 1e-5
    assert done.units[:4] == (8, 9, 10, 11)
    remove_units(model, x, "attn", [2, 3])
    assert _apart(model, x, want) < 1e-5
    with pytest.raises(diorama.UsageError, match="heads 0 to 1, got 5"):
        remove_units(model, x, "attn", [5])
    kept = model.attn.qkv.weight.detach().clone()
    assert remove_units(model, x, "attn", [0]).units == (0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19)
    assert torch.equal(model.attn.qkv.weight, kept.unflatten(0, (3, 2, 4))[:, 1].flatten(0, 1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_closed_and_shared_modules_are_refused() -> None:
    """A scripted part is named, and so is a module whose two places need different widths."""
    inner = torch.jit.script(nn.Linear(6, 6))
    model = nn.Sequential(nn.Linear(5, 6), inner, nn.Linear(6, 3))
    with pytest.raises(diorama.NotApplicable, match="scripted module"):
        add_units(model, torch.randn(4, 5), "0")
    model, x = grown_nets.made(Reused, _rows)
    with pytest.raises(diorama.NotApplicable, match="the model's answer"):
        add_units(model, x, "twice")
