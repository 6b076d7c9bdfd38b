"""However many forward passes a step of the training has, the record speaks of the layers that views know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from zoo import ZOO, Specimen

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.selection import Key, without_call
from diorama.data import nesting
from diorama.methods.method import Look
from diorama.model.capture import Capture
from diorama.model.edits import Edit
from diorama.model.plain_module import unwrap
from diorama.record.layer_reader import LayerReader
from diorama.run import Run, open_run
from diorama.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def _shown(model: nn.Module, x: Any) -> set[str]:
    """The names of the layers that one pass of a capture knows."""
    with Capture(model, "all") as capture:
        capture(x)
        return set(capture.names)


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_layers_of_a_training_are_layers_of_one_pass(specimen: Specimen) -> None:
    """Three passes, one that fails and one without gradients leave the keys that a capture of one pass has."""
    model, x = specimen()
    names = _shown(model, x)
    reader = LayerReader(unwrap(model), None, lambda error: pytest.fail(str(error)))
    reader.arm()
    for _ in range(3):
        nesting.call(model, x)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it says to an input that is none
        model(object())
    with torch.no_grad():
        nesting.call(model, x)
    nesting.call(model, x)
    found = set(reader.finish())
    assert found
    assert found <= names
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class _Twice(nn.Module):
    """A block with a layer that is called twice, computed again in the backward pass."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.twice, self.act, self.reentrant = nn.Linear(5, 6), nn.Linear(6, 6), nn.ReLU(), reentrant
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        for _ in range(2):
            h = self._again(h) if self.reentrant is None else checkpoint(self._again, h, use_reentrant=self.reentrant)
        return self.head(h)

    def _again(self, h: Tensor) -> Tensor:
        return self.act(self.twice(h))


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_a_checkpoint_computes_again_is_read_once(reentrant: bool) -> None:
    """The readings of a model with checkpoints are those of the same model without, call by call."""
    torch.manual_seed(0)
    plain, model = _Twice(None), _Twice(reentrant)
    model.load_state_dict(plain.state_dict())
    found = []
    for each in (plain, model):
        reader = LayerReader(each, None, lambda error: pytest.fail(str(error)))
        reader.arm()
        each(torch.randn(8, 5, generator=torch.Generator().manual_seed(1))).sum().backward()
        found.append(reader.finish())
    assert found[0].keys() == found[1].keys()
    assert {"twice", "twice#2", "act#3"} <= found[0].keys()
    for name, reading in found[0].items():
        assert reading.values.norm == pytest.approx(found[1][name].values.norm), name


def _batches(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, number: int) -> None:
    """Parts of a batch that add up to one step of the optimizer."""
    optimizer.zero_grad()
    for k in range(4):
        nn.functional.cross_entropy(model(x[k::4]), y[k::4]).backward()
    optimizer.step()


def _closure(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, number: int) -> None:
    """A step that asks for the loss many times."""

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(x), y)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]


def _twice_a_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, number: int) -> None:
    """Real and made examples, each in a pass of its own, as the discriminator of a GAN sees them."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y) + nn.functional.cross_entropy(model(torch.randn_like(x)), y)
    loss.backward()
    optimizer.step()


def _by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, number: int) -> None:
    """The parts of the model called one by one by the loop."""
    optimizer.zero_grad()
    h = x
    for part in model.children():
        h = part(h)
    nn.functional.cross_entropy(h, y).backward()
    optimizer.step()


_Loop = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor, int], None]


def _trained(path: Path, loop: _Loop) -> Run:
    """A training in which half of the ReLU dies at the fourth of eight steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = torch.randn(16, 5), torch.arange(16) % 3
    kind = torch.optim.LBFGS if loop is _closure else torch.optim.SGD
    optimizer = kind(model.parameters(), 0.05)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for number in range(8):
            if number == 4:
                with torch.no_grad():
                    model[0].bias[:4] = -1e4
            loop(model, optimizer, x, y, number)
            recorder.step()
    return open_run(path)


@pytest.mark.parametrize("loop", [_batches, _closure, _twice_a_step, _by_hand])
def test_several_passes_are_one_finding_on_a_layer(loop: _Loop, tmp_path: Path) -> None:
    """Whatever a loop does in a step, what is wrong with a layer is told once, under the name that the page has."""
    run = _trained(tmp_path / "run", loop)
    layers = {layer["name"] for layer in run.meta["layers"]}
    read = {name.removeprefix("activations/").removesuffix("/dead") for name in run.series_names if name.endswith("/dead")}
    assert read
    assert read <= layers
    dead = [found for found in run.findings() if found.finding == "dead_units"]
    assert [found.keys for found in dead] == [("layer:0",)]


@pytest.mark.parametrize("every", [1, 10])
def test_gradients_are_those_that_the_optimizer_used(every: int, tmp_path: Path) -> None:
    """Where each part of a batch is told as a step, no partial sum is recorded: a reading between waits for the step."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    x, y = torch.randn(12, 5), torch.arange(12) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    used = {}
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=every) as recorder:
        for number in range(1, 25):
            nn.functional.cross_entropy(model(x[number % 3 :: 3]), y[number % 3 :: 3]).backward()
            if number % 3 == 0:
                used[number] = float(model.weight.grad.norm())  # type: ignore[union-attr]
                optimizer.step()
                optimizer.zero_grad()
            recorder.step()
    steps, values = open_run(tmp_path / "run").series("gradients/weight/norm")
    assert steps.tolist() == (list(used) if every == 1 else [12, 21])
    assert values.tolist() == pytest.approx([used[int(step)] for step in steps], rel=1e-5)


class _Segments(nn.Module):
    """A small model of text with words, places and segments, as BERT has them."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.place, self.segment = nn.Embedding(20, 8), nn.Embedding(6, 8), nn.Embedding(2, 8)
        self.norm, self.layer = nn.LayerNorm(8), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.word(tokens) + self.place(torch.arange(tokens.shape[1])) + self.segment(torch.zeros_like(tokens))
        return self.head(self.layer(self.norm(x)).mean(1))


def test_rows_that_nobody_asks_for_are_not_dead(tmp_path: Path) -> None:
    """One segment for all is no dead layer: no embedding has a share of dead units, and nothing is told of them."""
    torch.manual_seed(0)
    model = _Segments()
    x, y = torch.randint(0, 20, (8, 6)), torch.arange(8) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step()
    run = open_run(tmp_path / "run")
    dead = {without_call(name.split("/")[1]) for name in run.series_names if name.endswith("/dead")}
    assert dead
    assert not dead & {"word", "place", "segment"}
    assert not [found for found in run.findings() if found.finding == "dead_units"]




class _Normed(nn.Module):
    """A block with batch norm and dropout, from a checkpoint or not."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.first, self.norm, self.drop, self.mid, self.head = (
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Linear(8, 3)
        )
        self.again = again

    def _block(self, h: Tensor) -> Tensor:
        return torch.tanh(self.drop(self.norm(self.mid(h))))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head(checkpoint(self._block, h, use_reentrant=False) if self.again else self._block(h))


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_go_through_what_is_computed_again(frozen: bool) -> None:
    """A model in train mode with a checkpoint is explained as the same model without; what runs again leaves no trace in it."""
    torch.manual_seed(0)
    plain, model = _Normed(False), _Normed(True)
    model.load_state_dict(plain.state_dict())
    model.requires_grad_(not frozen)
    x = torch.randn(5, 6)
    for method in ("gradient", "smooth_grad", "integrated_gradients"):
        wanted, found = (diorama.attribute(each, x, target=1, method=method).values for each in (plain, model))
        torch.testing.assert_close(found, wanted)
    assert int(model.norm.num_batches_tracked) == 0
    assert model.training
    edited = Scene(model, x, torch.arange(5) % 3).edit("unit:mid/1", lesion=True)
    for view, knobs in (("attribution", {"method": "gradient"}), ("synthesis", {"steps": 3})):
        with pytest.raises(NotApplicable, match="without the edits"):
            edited.view(view, class_=1, **knobs)


@pytest.mark.parametrize("edit", ["unit:first/1", "weight:mid/2,3", "unit:head/0"])
def test_edits_beside_a_checkpoint_hold_on_the_way_back(edit: str) -> None:
    """An edit before or behind what is computed again, or of a weight in it, gives the gradient of the model without a checkpoint."""
    torch.manual_seed(0)
    plain, model = _Normed(False).eval(), _Normed(True).eval()
    model.load_state_dict(plain.state_dict())
    x = torch.randn(5, 6)


    def slope(model: nn.Module, *edits: Edit) -> Tensor:
        look = Look(model, x=x, edits=edits)
        (found,) = look.gradients(look.run(x, None, points := look.points(x), rules=[lambda *_: NotImplemented], grad=True).scores[:, 1], points)
        return found

    change = Edit(Key.parse(edit), value=0.5)
    torch.testing.assert_close(slope(model, change), slope(plain, change))
    assert edit == "unit:head/0" or not torch.allclose(slope(model, change), slope(plain))


class _Overwriting(nn.Module):
    """Writes over the answer of a ReLU, by which that would go back."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x * 2)
        x += 1
        return x


def test_a_model_without_a_gradient_of_its_own_says_so() -> None:
    """Where a model writes over what its own gradient needs, a sentence says so with the way out."""
    with pytest.raises(NotApplicable, match="writes over numbers that its own gradient needs"):
        diorama.attribute(_Overwriting(), torch.randn(2, 3), target=1, method="gradient")
