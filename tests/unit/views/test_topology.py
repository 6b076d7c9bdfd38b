"""The network's structure as it trains: what fills its blocks, and how thick its arrows are."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Blocks
from diorama.core.picture import Picture
from diorama.export.marks.blocks import draw
from diorama.export.style import Style
from diorama.run import Run
from diorama.views.training.topology import filled


class _Network(nn.Module):
    """A frozen layer whose ReLU is written as a mask, one whose weights have rank 1, and a sum around it."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.narrow, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.frozen.requires_grad_(False)
        with torch.no_grad():
            self.narrow.weight.copy_(torch.outer(torch.arange(1.0, 7), torch.ones(6)) / 10)

    def forward(self, x: Tensor) -> Tensor:
        """Two classes."""
        x = self.frozen(x)
        x = x * (x > 0)
        return self.out(x + self.narrow(x))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Snapshots at steps 0 to 3; the network learns in the first two steps alone."""
    torch.manual_seed(0)
    path, model = tmp_path_factory.mktemp("topology") / "run", _Network()
    x = torch.randn(20, 4)
    y = (x[:, 0] > 0).long()
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.5)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, snapshots=1, every=1) as recorder:
        for step in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if step < 2:
                optimizer.step()
            recorder.step()
    return diorama.open(path)


def _mark(picture: Picture) -> Blocks:
    return next(mark for mark in picture.marks() if isinstance(mark, Blocks))


def _shares(mark: Blocks) -> dict[str, float | None]:
    return {block.id: block.share for block in mark.blocks}


def test_the_effective_rank_is_that_of_its_definition() -> None:
    """Equal directions fill all, one direction fills one, and in between it is the exponential of the entropy."""
    assert filled(np.eye(5)) == pytest.approx(1)
    assert filled(np.outer([1, 2, 3, 4], [1, -1, 2])) == pytest.approx(1 / 3)
    values = np.random.default_rng(0).normal(size=(7, 4))
    shares = np.linalg.svd(values - values.mean(0))[1]
    shares /= shares.sum()
    assert filled(values, centred=True) == pytest.approx(np.prod(shares**-shares) / 4)
    assert filled(np.ones((4, 3)), centred=True) == 0
    assert np.isnan(filled(np.array([[np.nan, 1.0]])))


def test_blocks_are_filled_by_what_takes_part(run: Run) -> None:
    """A weight of rank 1 fills a sixth at first; what is frozen has moved by nothing, and the others by what their weights tell."""
    assert _shares(_mark(run.scene(0).view("topology", measure="rank of weights")))["layer:narrow"] == pytest.approx(1 / 6, abs=1e-6)
    moved = _shares(_mark(run.scene(3).view("topology", measure="moved")))
    first, last = (run.state(step)["out.weight"].double() for step in (0, 3))
    assert moved["layer:out"] == pytest.approx(float((last - first).norm() / last.norm()), rel=1e-5)
    assert moved["layer:frozen"] == 0
    answers = run.scene(2).activations("narrow")["narrow"].double().numpy()
    ranks = _shares(_mark(run.scene(2).view("topology")))
    assert ranks["layer:narrow"] == pytest.approx(filled(answers, centred=True), rel=1e-4)


def test_arrows_are_as_thick_as_what_flows_changed(run: Run) -> None:
    """Between a frozen layer and the next nothing changes; after the last step no flow changes at all; at first nothing is known."""
    mark = _mark(run.scene(1).view("topology"))
    told = {(edge.source, edge.target): edge.share for edge in mark.edges}
    one, other = (run.scene(step).activations("narrow")["narrow"].double() for step in (1, 0))
    assert told["layer:frozen", "op:mul"] == 0
    assert told["layer:narrow", "op:add"] == pytest.approx(float((one - other).norm() / one.norm()), rel=1e-4)
    assert told["input", "layer:frozen"] is None
    assert {edge.share for edge in _mark(run.scene(3).view("topology")).edges} == {0.0, None}
    assert {edge.share for edge in _mark(run.scene(0).view("topology")).edges} == {None}


def test_places_stay_while_time_is_scrubbed_and_paper_draws_them(run: Run) -> None:
    """The same places at every step, though the numbers in the blocks have more or fewer digits; thick lines are thick on paper."""
    marks = [_mark(run.scene(step).view("topology", measure="moved", open="all")) for step in (0, 3)]
    assert np.array_equal(marks[0].places, marks[1].places)
    assert marks[0].blocks != marks[1].blocks
    mark = _mark(run.scene(1).view("topology"))
    widths = {round(item.width, 3) for item, _, _ in draw(mark, Style()).items if getattr(item, "stroke", "") and hasattr(item, "width")}
    thick = max(edge.share or 0.0 for edge in mark.edges)
    assert max(widths) == pytest.approx(0.5 + 7.5 * thick, rel=0.45)  # the graph is made smaller to fit


def test_numbers_that_are_none_are_told_as_such(tmp_path: Path) -> None:
    """Where what flows is NaN, no other shape is blamed, and no block is filled."""
    model, x = _Network(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, torch.arange(8) % 2), optimizer=optimizer, snapshots=1) as recorder:
        for value in (1.0, torch.nan):
            optimizer.zero_grad()
            (value * model(x)).sum().backward()
            optimizer.step()
            recorder.step()
    picture = diorama.open(tmp_path / "run").scene(2).view("topology", measure="rank of answers")
    assert "another shape" not in picture.caption


def test_an_op_is_found_in_any_snapshot(run: Run) -> None:
    """Layers are found once for all snapshots of a run; an op is found too when the snapshot in which they were found is gone."""
    assert len(run.scene(0).layers) == 3
    gc.collect()
    scene = run.scene(2)
    assert scene.layers["op:add"].shape == (6,)


def test_one_snapshot_tells_no_course(tmp_path: Path) -> None:
    """A model without a run is refused in a sentence."""
    scene = diorama.Scene(_Network(), torch.randn(8, 4), torch.arange(8) % 2)
    with pytest.raises(NotApplicable, match="snapshots of a training"):
        scene.view("topology")


class _CalledThrice(nn.Module):
    """A layer that is called three times: first on one number for all, then on what the examples hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Two classes."""
        total = self.cell(0 * x)
        for k in (1, 2):
            total = total + self.cell(x * (torch.arange(4) < 2 * k)).tanh()
        return self.out(total)


def test_a_layer_that_is_called_often_is_judged_by_all_its_calls(tmp_path: Path) -> None:
    """Its block has the mean of its calls and the caption says so, as a first call that sees the same of all examples says nothing of it."""
    torch.manual_seed(0)
    model, x = _CalledThrice(), torch.randn(20, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(x, (x[:, 0] > 0).long()), optimizer=optimizer, snapshots=1) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            optimizer.step()
            recorder.step()
    picture = diorama.open(tmp_path / "run").scene().view("topology")
    with torch.no_grad():
        calls = [filled(model.cell(each).double().numpy(), centred=True) for each in (0 * x, x * (torch.arange(4) < 2), x)]
    assert calls[0] < 0.3 < calls[2]
    assert _shares(_mark(picture))["layer:cell"] == pytest.approx(np.mean(calls), rel=1e-4)
    assert "cell is called several times: of such a layer the block has the mean of its calls." in picture.caption
