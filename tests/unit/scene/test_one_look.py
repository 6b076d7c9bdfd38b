"""One pass tells how answers are read, and mostly the layers too, whichever of the two is asked for first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from zoo import ZOO, Specimen

import diorama
from diorama.data import nesting
from diorama.model import survey
from diorama.model.graph import graph
from diorama.model.layers import layers
from diorama.model.plain_module import unwrap
from diorama.scene.network import LONG

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def _runs(model: nn.Module) -> list[Any]:
    runs: list[Any] = []
    unwrap(model).register_forward_hook(lambda *_: runs.append(None))
    return runs


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_layers_and_reading_are_the_same_in_either_order(specimen: Specimen, count: int) -> None:
    """Asked for first or last, they are what passes of their own tell; two examples go through no oftener than layers alone want."""
    torch.manual_seed(0)
    model, x = specimen()
    model.eval()
    x = nesting.select(x, [k % nesting.size(x) for k in range(count)])
    runs = _runs(model)
    table = layers(model, x)
    alone = len(runs)
    one, other = diorama.Scene(model, x), diorama.Scene(model, x)
    found, before = one.layers, len(runs)
    reading = one.reading
    assert other.reading == reading
    after = len(runs)
    for each in (found, other.layers):
        assert list(each) == list(table)
        assert (each.notes, each.mixing) == (table.notes, table.mixing)
    assert len(runs) - after <= alone
    if count == 2:
        assert before == 2 * alone


@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_the_graph_of_that_pass_is_the_one_of_two_examples(specimen: Specimen, count: int) -> None:
    """Asked for first, it comes with layers and reading where the pass tells it, and is what a pass of its own tells."""
    torch.manual_seed(0)
    model, x = specimen()
    model.eval()
    x = nesting.select(x, [k % nesting.size(x) for k in range(count)])
    scene = diorama.Scene(model, x)
    assert scene.graph == graph(scene.model, scene.network.few())
    assert list(scene.layers) == list(layers(model, x))


def test_a_graph_costs_no_pass_beside_the_one_of_answers() -> None:
    """One pass of a network that answers each example for itself tells graph, layers and reading."""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 8))
    runs, scene = _runs(model), diorama.Scene(model, torch.randn(8, 1, 4, 4), torch.arange(8))
    assert {node.shape for node in scene.graph.nodes} == {(1, 4, 4), (8, 2, 2), (32,), (8,)}
    assert scene.task
    assert len(scene.layers) == 4
    assert len(runs) == 1


@pytest.mark.parametrize("mixes", [False, True])
def test_a_long_text_goes_through_once_for_both(mixes: bool) -> None:
    """Of texts so long that only two are looked at, the pass that shows the layers tells how they are answered: none is added for it."""

    class AveragedTexts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(9, 4), nn.Linear(4, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.words(x)
            return self.out(h - h.mean(0) if mixes else h)

    torch.manual_seed(0)
    model, x = AveragedTexts(), torch.randint(0, 9, (3, LONG))
    runs = _runs(model)
    table = layers(model, x)
    alone = len(runs)
    scene = diorama.Scene(model, x)
    assert bool(scene.layers.mixing) == bool(table.mixing) == mixes
    assert scene.task == "next_token"
    assert len(runs) == 2 * alone


def test_a_fault_in_the_labels_is_told_when_answers_are_read() -> None:
    """Layers are there all the same: what is wrong with how answers are read belongs to whom reads them."""
    scene = diorama.Scene(nn.Linear(3, 2), torch.randn(2, 3), torch.tensor([0, 1]), outputs="missing")
    assert [layer.kind for layer in scene.layers] == ["Linear"]
    with pytest.raises(diorama.DioramaError, match="missing"):
        scene.reading  # noqa: B018 - it raises


def test_other_snapshots_of_an_open_run_are_looked_at_no_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slider asks nothing of how the network is built; another architecture does, and so does the same run opened anew."""
    looks: list[nn.Module] = []
    made = survey.LayerSurvey.__init__
    monkeypatch.setattr(survey.LayerSurvey, "__init__", lambda self, modules, *rest: looks.append(modules) or made(self, modules, *rest))
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(6, 4)
    with diorama.watch(model, tmp_path / "run", probe=(x, torch.arange(6) % 3), every=1, snapshots=1) as recorder:
        for number in range(6):
            if number == 3:
                model[0], model[2] = nn.Linear(4, 9), nn.Linear(9, 3)
            nn.functional.cross_entropy(model(x), torch.arange(6) % 3).backward()
            recorder.step()
    run = diorama.open(tmp_path / "run")
    steps = {number: [step for step in run.snapshots if run.model_at(step) == number] for number in (0, 1)}
    counted = []
    for step in (*steps[0], *steps[1]):
        looks.clear()
        scene = run.scene(step=step)
        scene.view("answer")
        assert [layer.units for layer in scene.layers][-1] == 3
        assert scene.layers["0"].units == (8 if step in steps[0] else 9)
        counted.append(len(looks))
    first, later = len(steps[0]), len(steps[1])
    assert min(first, later) > 1
    assert counted == [1, *[0] * (first - 1), 1, *[0] * (later - 1)]
    looks.clear()
    diorama.open(tmp_path / "run").scene().view("answer")
    assert len(looks) == 1
