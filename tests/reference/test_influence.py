"""Influence equals TracIn written slowly: products of each example's own gradients by autograd, summed over the snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import diorama
from diorama.core.errors import NotApplicable
from diorama.run import Run


class _Pictures(nn.Module):
    """Convolutions with a batch norm, then a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.relu(self.norm(self.conv(x))).flatten(1))
        return found


class _Letters(nn.Module):
    """Reads letters and says the next one: the last layer answers at every step, more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read, self.out = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.read(self.embed(x))[0])
        return found


class _Places(nn.Module):
    """A class for each place, by a last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(x)))
        return found


def _data(kind: str) -> tuple[Any, Any, nn.Module]:
    g = torch.Generator().manual_seed(4)
    if kind == "letters":
        x = torch.randint(0, 7, (24, 9), generator=g)
        return x, x.roll(-1, 1), _Letters()
    x = torch.randn(24, 1, 8, 8, generator=g)
    if kind == "places":
        return x, torch.randint(0, 3, (24, 8, 8), generator=g), _Places()
    if kind == "numbers":
        return x.flatten(1), x.flatten(1)[:, :2].sum(1, keepdim=True), nn.Sequential(nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 1))
    return x, torch.randint(0, 3, (24,), generator=g), _Pictures()


def _loss(kind: str, scores: Tensor, y: Tensor) -> Tensor:
    if kind == "numbers":
        return functional.mse_loss(scores, y)
    return functional.cross_entropy(scores.flatten(0, 1), y.flatten()) if kind == "letters" else functional.cross_entropy(scores, y)


@pytest.fixture(scope="module", params=["pictures", "letters", "places", "numbers"])
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    """A training of three snapshots with a learning rate that falls."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y, model = _data(request.param)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    path = tmp_path_factory.mktemp(request.param) / "run"
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, snapshots=1, every=1) as recorder:
        for rate in (0.2, 0.1, 0.05):
            optimizer.param_groups[0]["lr"] = rate
            loss = _loss(request.param, model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return request.param, diorama.open(path)


def _slow(kind: str, run: Run, example: int, value: dict[str, Any], name: str | None) -> np.ndarray:
    """Equation 4, one example and one backward pass at a time."""
    x, y = run.examples.x, run.examples.y
    total = np.zeros(len(x))
    answer = run.scene().predictions()[example] if kind == "pictures" else y[example]
    for step, rate in zip(value["steps"], value["rates"], strict=True):
        model = run.scene(int(step)).model.eval()
        weights = [w for n, w in model.named_parameters() if name is None or n.startswith(name + ".")]

        def gradient(one: Tensor, label: Tensor, model: nn.Module = model, weights: list[Any] = weights) -> Tensor:
            parts = torch.autograd.grad(_loss(kind, model(one[None]), label[None]), weights)
            return torch.cat([part.flatten() for part in parts]).double()

        own = gradient(x[example], answer)
        total += [rate * float(gradient(x[k], y[k]) @ own) for k in range(len(x))]
    return total


def test_the_last_layer_is_exact(training: tuple[str, Run]) -> None:
    """In closed form, bias included, over every snapshot with its own learning rate: equal to autograd to 1e-5."""
    kind, run = training
    value = run.scene().derive("influence", example=3).value
    assert value["steps"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(value["rates"], [0.2, 0.2, 0.1, 0.05], rtol=1e-6)
    last = {"pictures": "out", "letters": "out", "places": "last", "numbers": "2"}[kind]
    wanted = _slow(kind, run, 3, value, last)
    np.testing.assert_allclose(value["scores"], wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))
    assert not value["error"].any()
    assert np.abs(wanted).max() > 1e-4


def test_all_layers_are_as_right_as_is_said(training: tuple[str, Run]) -> None:
    """By a projection: apart from autograd by the stated error, which falls with the root of its numbers."""
    kind, run = training
    errors = []
    for dimensions in (64, 1024):
        value = run.scene().derive("influence", example=3, layers="all", dimensions=dimensions).value
        apart = (value["scores"] - _slow(kind, run, 3, value, None)) / value["error"]
        assert np.sqrt((apart**2).mean()) < 1.6, kind
        errors.append(value["error"].mean())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.35)


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("told", [True, False])
def test_each_weight_has_the_rate_of_its_own_group(tmp_path: Path, layers: str, told: bool) -> None:
    """Two optimizers and three groups, a bias apart: equal to autograd with each weight's own rate; where a record does not say which group holds
    which weights, the mean is taken, and nothing is called exact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y, model = torch.randn(16, 4), torch.arange(16) % 3, nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    rates = {"0.weight": 0.5, "0.bias": 0.5, "2.weight": 0.01, "2.bias": 0.1}
    first = torch.optim.SGD(model[0].parameters(), 0.5)
    second = torch.optim.SGD([{"params": [model[2].weight], "lr": 0.01}, {"params": [model[2].bias], "lr": 0.1}])
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=[first, second], snapshots=1, every=1) as recorder:
        for _ in range(2):
            loss = functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in (first, second):
                optimizer.step()
                optimizer.zero_grad()
            recorder.step(loss=loss.detach())
    run = diorama.open(tmp_path / "run")
    if not told:
        del run.meta["held"]["groups"]
        rates = dict.fromkeys(rates, float(np.mean([0.5, 0.01, 0.1])))
    value = run.scene().derive("influence", example=3, layers=layers, what="truth", dimensions=200_000).value
    total = np.zeros(16)
    for step in value["steps"]:
        own = run.scene(int(step)).model.eval()
        named = {name: weight for name, weight in own.named_parameters() if layers == "all" or name.startswith("2.")}
        each = [torch.autograd.grad(functional.cross_entropy(own(x[k : k + 1]), y[k : k + 1]), list(named.values())) for k in range(16)]
        total += [sum(rates[n] * float((a * b).sum()) for n, a, b in zip(named, each[k], each[3], strict=True)) for k in range(16)]
    np.testing.assert_allclose(value["scores"], total, atol=(1e-5 if layers == "last" else 0.02) * np.abs(total).max())
    assert value["own"] == told
    caption = run.scene().view("influence", example=3, layers=layers, what="truth").caption
    assert ("their mean was taken" in caption) == (not told)
    assert ("exactly" in caption) == (told and layers == "last")


def test_training_data_may_be_handed_over(training: tuple[str, Run]) -> None:
    """The same examples as arrays have the same scores; an even choice of them keeps its numbers."""
    kind, run = training
    x, y = run.examples.x, run.examples.y
    scene = run.scene()
    whole = scene.derive("influence", example=3).value
    given = scene.derive("influence", example=3, data=(x, y), most=7).value
    assert given["total"] == 24
    assert len(given["rows"]) == 7
    np.testing.assert_allclose(given["scores"], whole["scores"][given["rows"]], rtol=1e-5, atol=1e-7)


class _Heads(nn.Module):
    """Says a class and a number; the number is made last."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.kind, self.size = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = torch.tanh(self.trunk(x))
        return {"kind": self.kind(found), "size": self.size(found)}


@pytest.mark.parametrize("head", ["kind", "size"])
def test_of_several_heads_the_one_that_answers_is_taken(head: str) -> None:
    """The gradients are those of the layer from which the chosen output comes, not of the one that is called last."""
    model, x = _Heads(), torch.randn(10, 4)
    y = torch.arange(10) % 3 if head == "kind" else torch.randn(10, 1)
    scores = diorama.Scene(model, x, y, outputs=head).derive("influence", example=2, what="truth").value["scores"]
    loss = functional.cross_entropy if head == "kind" else functional.mse_loss

    def gradient(k: int) -> Tensor:
        found = torch.autograd.grad(loss(model(x[k : k + 1])[head], y[k : k + 1]), list(model.get_submodule(head).parameters()))
        return torch.cat([part.flatten() for part in found])

    np.testing.assert_allclose(scores, [float(gradient(k) @ gradient(2)) for k in range(10)], rtol=1e-4, atol=1e-6)


def test_what_has_no_influence_says_why() -> None:
    """Without labels, for a function, or at an edited scene, one sentence says why."""
    model, x = nn.Linear(4, 3), torch.randn(10, 4)
    bare = diorama.Scene(model, x, task="classification")
    with pytest.raises(NotApplicable, match="no labels"):
        bare.derive("influence")
    alone = diorama.Scene(model, x[:1], torch.tensor([1])).view("influence").caption
    assert alone.endswith("There is no other example that could have taught it anything.")
    scene = diorama.Scene(model, x, torch.arange(10) % 3)
    assert scene.derive("influence", example=2).value["rates"].tolist() == [1.0]
    with pytest.raises(NotApplicable, match="edits"):
        scene.edit("weight:/0,0", value=1.0).derive("influence")
    with pytest.raises(NotApplicable, match="plain function"):
        diorama.Scene(lambda x: x[:, :3], x, torch.arange(10) % 3).derive("influence")
