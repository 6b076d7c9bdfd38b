"""Layers are added to a network and removed from it while it trains; all else stays the objects and bits that it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import grown_nets
import pytest
import torch
from torch import Tensor, nn
from zoo import Functional, Residual

import diorama
from diorama.core.errors import NotApplicable
from diorama.model.layers import layers
from diorama.training.surgery.layers import ResidualBlock, add_layer, remove_layer
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import add_units


def _rows() -> Tensor:
    return torch.randn(6, 5)


def _steps() -> Tensor:
    return torch.randn(6, 4, 6)


def _step(model: nn.Module, x: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    output = model.train()(x)
    output.square().mean().backward()
    optimizer.step()


CASES = [
    (grown_nets.dense, _rows, "0", "0_added", nn.Linear), (grown_nets.dense, _rows, "4", "4_added", nn.Sequential),
    (Functional, grown_nets.images, "conv2", "conv2_added", nn.Conv2d), (Residual, grown_nets.images, "layer1.0", "layer1.0_added", nn.Sequential),
    (Residual, grown_nets.images, "layer1.0.bn1", "layer1.0.bn1_added", nn.Conv2d), (grown_nets.Heads, _steps, "up", "up_added", nn.Linear),
]


@pytest.mark.parametrize("how", ["identity", "residual"])
@pytest.mark.parametrize(("build", "inputs", "after", "name", "kind"), CASES, ids=[f"{row[0].__name__}-{row[2]}" for row in CASES])
def test_a_layer_comes_as_the_identity(build: Any, inputs: Any, after: str, name: str, kind: Any, how: Any) -> None:
    """No answer changes, names and objects stay, the layer learns at the next step, is copied and pickled, and goes without a trace."""
    model, x = grown_nets.made(build, inputs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    _step(model, x, optimizer)
    before = dict(model.named_parameters())
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    want = {mode: answers(model, x, mode) for mode in ("eval", "train")}
    done = add_layer(model, x, after, how, optimizers=[optimizer])
    assert torch.equal(random, torch.get_rng_state())
    assert done.layer == name
    added = model.get_submodule(name)
    assert how == "residual" or isinstance(added, kind)
    assert all(dict(model.named_parameters())[key] is parameter for key, parameter in before.items())
    for mode, whole in want.items():
        for one, other in zip(whole, answers(model, x, mode), strict=True):
            assert (one - other).abs().max() < 1e-5 * one.abs().max()
    assert name in layers(model, x).names
    for other in (copy.deepcopy(model), grown_nets.saved(model)):
        assert torch.equal(answers(other, x, "eval")[0], answers(model, x, "eval")[0])
    was = [parameter.detach().clone() for parameter in added.parameters()]
    _step(model, x, optimizer)
    schedule.step()
    assert any(not torch.equal(one, other) for one, other in zip(was, added.parameters(), strict=True))
    model.load_state_dict(state, strict=False)
    done.back()
    assert model.state_dict().keys() == state.keys()
    assert len(optimizer.param_groups[0]["params"]) == len(before) == len(optimizer.state)
    assert type(model.get_submodule(after)).__module__.startswith(("torch.nn", "zoo", "grown"))
    assert torch.equal(answers(model, x, "eval")[0], want["eval"][0])


def test_an_added_layer_reads_what_grows_afterwards() -> None:
    """The layer that it follows is still found by its own units, and its new ones are read by the added layer."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    add_layer(model, x, "conv1")
    add_units(model, x, "conv1", 2)
    assert model.conv1.weight.shape[0] == 6
    assert model.conv1_added.weight.shape[:2] == (4, 6)


def test_a_stored_block_is_found_under_its_old_name() -> None:
    """A model that was stored when an added block was called Block, beside the layers, is read with the class of today."""
    old = pickle.dumps(ResidualBlock, 2).replace(b"recipe\nResidualBlock", b"layers\nBlock")
    assert b"Residual" not in old
    assert pickle.loads(old) is ResidualBlock


def test_a_block_goes_and_comes_back() -> None:
    """A residual block is removed, the rest learns on, and it is back with its weights and moments at its place."""
    model, x = grown_nets.made(Residual, grown_nets.images)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    _step(model, x, optimizer)
    order = list(map(id, optimizer.param_groups[0]["params"]))
    block, momentum = model.layer1[0], optimizer.state[model.layer1[0].conv1.weight]["momentum_buffer"].clone()
    done = remove_layer(model, x, "layer1.0", optimizers=[optimizer])
    assert [name for name, _ in model.layer1.named_children()] == ["1"]
    assert not any(p is block.conv1.weight for p in optimizer.param_groups[0]["params"])
    _step(model, x, optimizer)
    done.back()
    assert [name for name, _ in model.layer1.named_children()] == ["0", "1"]
    assert model.layer1[0] is block
    assert list(map(id, optimizer.param_groups[0]["params"])) == order
    assert torch.equal(optimizer.state[block.conv1.weight]["momentum_buffer"], momentum)
    _step(model, x, optimizer)


def test_an_added_layer_can_be_removed_and_come_back() -> None:
    """What was added beside a layer goes by its own name, and can be taken back."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    want = answers(model, x, "eval")[0]
    name = add_layer(model, x, "conv1", "residual").layer
    done = remove_layer(model, x, name)
    assert type(model.conv1) is nn.Conv2d
    done.back()
    assert model.get_submodule(name) is done.module
    assert torch.allclose(answers(model, x, "eval")[0], want)


def test_in_the_code_of_forward_the_identity_stands() -> None:
    """A layer that the model's own code calls leaves the identity in its place."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    remove_layer(model, x, "norm")
    assert isinstance(model.norm, nn.Identity)


@pytest.mark.parametrize(("act", "word"), [
    (lambda m, x: remove_layer(m, x, "conv1"), "only a layer that keeps its input's shape"),
    (lambda m, x: remove_layer(m, x, "conv9"), "no layer named 'conv9'"),
    (lambda m, x: add_layer(m, x, "conv9"), "no layer named 'conv9'"),
    (lambda m, x: add_layer(m, x, "conv1", "magic"), "how wants one of identity, residual"),
    (lambda m, x: (add_layer(m, x, "conv1"), add_layer(m, x, "conv1")), "added after 'conv1' already"),
    (lambda m, x: add_layer(m, x, "conv1", optimizers=[torch.optim.LBFGS(m.parameters())]), "LBFGS"),
    (lambda m, x: remove_layer(m, x, "norm", optimizers=[torch.optim.LBFGS(m.parameters())]), "LBFGS"),
])
def test_what_cannot_come_or_go_says_why(act: Any, word: str) -> None:
    """Each refusal is a sentence with the way out."""
    model, x = grown_nets.made(Functional, grown_nets.images)
    with pytest.raises(diorama.DioramaError, match=word):
        act(model, x)


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.Adagrad(p, 1e-2), lambda p: torch.optim.AdamW(p, 1e-2, foreach=True), lambda p: torch.optim.Rprop(p, 1e-2),
    lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, fused=True),
])
def test_every_optimizer_steps_a_new_layer(make: Any) -> None:
    """Those too that remember something of a weight before its first step; and one that went before that and comes back."""
    model, x = grown_nets.made(grown_nets.dense, _rows)
    optimizer = make(model.parameters())
    gone = remove_layer(model, x, add_layer(model, x, "3", optimizers=[optimizer]).layer, optimizers=[optimizer])
    _step(model, x, optimizer)
    gone.back()
    _step(model, x, optimizer)
    name = add_layer(model, x, "0", optimizers=[optimizer]).layer
    was = model.get_submodule(name).weight.detach().clone()
    _step(model, x, optimizer)
    assert not torch.equal(model.get_submodule(name).weight, was)


def _in_groups(model: nn.Module, *optimizers: Any) -> list[list[str]]:
    """The names of the weights in each group."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for optimizer in optimizers for group in optimizer.param_groups]


def _normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def _apart(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    return matrices, [p for p in model.parameters() if p.ndim < 2]


@pytest.mark.parametrize("kind", ["decay", "Muon", "layers"])
def test_a_new_weight_learns_where_its_like_does(kind: str) -> None:
    """A bias goes to the biases, a matrix to the matrices; where groups were made by layers, both go with the nearest; all goes without a trace."""
    model, x = _normed(), _rows()
    matrices, rest = _apart(model)
    optimizers: list[Any] = {
        "decay": lambda: [torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}])],
        "Muon": lambda: [torch.optim.Muon(matrices, 0.01), torch.optim.AdamW(rest)],
        "layers": lambda: [torch.optim.SGD([{"params": model[k].parameters(), "lr": 0.1 * (k + 1)} for k in (5, 3, 1, 0)], momentum=0.9)],
    }[kind]()
    before = _in_groups(model, *optimizers)
    done = add_layer(model, x, "3", "residual", optimizers=optimizers)
    came = [[name for name in group if name.startswith("3_added")] for group in _in_groups(model, *optimizers)]
    first, second = "3_added.first", "3_added.second"
    both = [f"{first}.weight", f"{first}.bias", f"{second}.weight", f"{second}.bias"]
    assert came == ([[], both, [], []] if kind == "layers" else [both[::2], both[1::2]])
    model(x).square().mean().backward()
    for optimizer in optimizers:
        optimizer.step()
    assert model.get_submodule(second).weight.any()  # type: ignore[union-attr, operator]
    done.back()
    assert _in_groups(model, *optimizers) == before


def test_a_weight_without_its_like_is_told_or_refused() -> None:
    """A bias among matrices alone learns with the nearest, which is said, as is that one of two optimizers steps it; with Muon no layer comes."""
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": [*model[2].parameters(), *model[4].parameters()], "lr": 0.2}]
    done = add_layer(model, _rows(), "0", optimizers=[torch.optim.SGD(groups)])
    assert done.text.endswith("; no weight like bias learns yet, so it learns with the nearest")
    done.back()
    both = [torch.optim.SGD(model.parameters()), torch.optim.Adam(model.parameters())]
    done = add_layer(model, _rows(), "0", optimizers=both)
    assert done.text.endswith("; of several optimizers that hold the same weights, SGD alone steps it")
    done.back()
    with pytest.raises(NotApplicable, match="Muon takes matrices alone, and bias of the new layer is none"):
        add_layer(model, _rows(), "0", optimizers=[torch.optim.Muon(model.parameters())])
    assert len(list(model.children())) == 5


def test_a_layer_behind_a_sparse_table_learns_where_dense_slopes_may() -> None:
    """SparseAdam is never given a dense weight: the new layer learns with the nearest of another optimizer, and without one it is refused."""
    torch.manual_seed(0)
    model, x, labels = nn.Sequential(nn.EmbeddingBag(11, 6, sparse=True), nn.Linear(6, 3)), torch.arange(24).reshape(6, 4) % 11, torch.arange(6) % 3
    sparse, dense = torch.optim.SparseAdam(model[0].parameters(), 0.01), torch.optim.SGD(model[1].parameters(), 0.1)
    with pytest.raises(NotApplicable, match="SparseAdam takes weights with sparse gradients alone, and weight of the new layer is none"):
        add_layer(model, x, "0", optimizers=[sparse])
    assert len(model) == 2
    changed = add_layer(model, x, "0", optimizers=[sparse, dense])
    before = [p.detach().clone() for p in changed.module.parameters()]
    nn.functional.cross_entropy(model(x), labels).backward()
    for optimizer in (sparse, dense):
        optimizer.step()
    assert not any(torch.equal(one, p) for one, p in zip(before, changed.module.parameters(), strict=True))
