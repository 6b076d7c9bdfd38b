"""Clusters, bi-clusters and orders find what was planted, and agree with scikit-learn and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import nn

from diorama.methods.grouping import biclusters, clusters, matched, ordered
from diorama.methods.grouping.clusters import profiles
from diorama.scene import Scene, wiring

PLANTED = [
    ((20, 20, 20), (20, 20, 20), [[1, 0, -1], [-1, 1, 0], [0, -1, 1]]),
    ((8, 16, 40), (10, 20, 34), [[1, -1, 0], [-1, 0, 1], [0, 1, -1]]),
    ((30, 90), (12, 24, 60), [[1, 0, -1], [-1, 1, 0]]),
    ((64,), (64,), [[1]]),
]


@pytest.mark.parametrize(("rows", "columns", "means"), PLANTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_biclusters_recover_planted_blocks(rows: tuple[int, ...], columns: tuple[int, ...], means: list[list[int]], seed: int) -> None:
    """Noise as large as the difference of the blocks, signs, unequal sizes: groups and their numbers are found."""
    draw = np.random.default_rng(seed)
    first, second = (draw.permutation(np.repeat(np.arange(len(sizes)), sizes)) for sizes in (rows, columns))
    found = biclusters(np.array(means)[first][:, second] + draw.normal(size=(len(first), len(second))))
    assert found.means.shape == np.array(means).shape
    assert adjusted_rand_score(first, found.rows) >= 0.95
    assert adjusted_rand_score(second, found.columns) >= 0.95
    block = found.rows == found.rows[0]
    np.testing.assert_allclose(found.means[found.rows[0]].mean(), np.array(means)[first[block]].mean(0).mean(), atol=0.2)


def test_signs_alone_make_blocks() -> None:
    """Blocks whose strengths differ in nothing but their sign are told apart, which spectral co-clustering of sizes is not."""
    draw = np.random.default_rng(3)
    first, second = np.arange(60) % 2, np.arange(50) % 2
    found = biclusters((2 * first - 1)[:, None] * (2 * second - 1) * (1 + 0.1 * draw.normal(size=(60, 50))))
    assert adjusted_rand_score(first, found.rows) == 1
    assert adjusted_rand_score(second, found.columns) == 1
    assert found.explained > 0.95


def test_biclusters_of_what_is_told_and_of_nothing() -> None:
    """As many groups as were told are made; a matrix without structure, of one number or of no numbers is one block."""
    draw = np.random.default_rng(0)
    assert biclusters(draw.normal(size=(20, 30)), 3, 2).means.shape == (3, 2)
    for matrix in (draw.normal(size=(40, 40)), np.ones((6, 5)), np.full((6, 5), np.nan), np.zeros((1, 1)), np.zeros((0, 4))):
        assert biclusters(matrix).means.shape == (1, 1)
    large = np.sign(draw.normal(size=1300))[:, None] * np.sign(draw.normal(size=40)) + 0.3 * draw.normal(size=(1300, 40))
    assert biclusters(large).explained > 0.85


@pytest.mark.parametrize("sizes", [(20, 20, 20), (8, 16, 40)])
def test_clusters_recover_planted_groups(sizes: tuple[int, ...]) -> None:
    """Units of a group rise and fall together, under noise as large as the difference; levels and sizes are their own."""
    draw = np.random.default_rng(1)
    truth = draw.permutation(np.repeat(np.arange(3), sizes))
    rows = np.sign(draw.normal(size=(3, 200)))[truth] / 2 + draw.normal(size=(64 if sum(sizes) == 64 else 60, 200))
    rows = rows * draw.uniform(0.1, 10, len(rows))[:, None] + draw.normal(size=(len(rows), 1))
    found = clusters(rows)
    assert adjusted_rand_score(truth, found.labels) >= 0.95
    shapes, said = profiles(rows)
    assert len(said) == len(rows)
    assert found.silhouette == pytest.approx(silhouette_score(shapes, found.labels), abs=1e-9)


def test_rows_that_say_nothing_are_in_no_cluster() -> None:
    """Constant rows and rows that are no numbers have no cluster; few rows and like ones do not fail."""
    rows = np.random.default_rng(0).normal(size=(12, 5))
    rows[3], rows[7, 2], rows[8] = 0.1, np.nan, 0.0
    labels = clusters(rows).labels
    assert np.flatnonzero(labels < 0).tolist() == [3, 7, 8]
    assert clusters(np.zeros((4, 3))).count == 0
    assert clusters(np.tile(rows[:1], (5, 1))).count >= 1
    assert clusters(rows, 4).count == 4
    assert clusters(np.random.default_rng(0).normal(size=(1500, 4)), 3).labels.min() == 0


def test_clusters_keep_their_numbers() -> None:
    """The same clusters under other numbers get those that they had before."""
    before = np.array([0, 0, 1, 1, 2, 2, -1])
    assert matched(np.array([2, 2, 0, 0, 1, 1, -1]), before).tolist() == before.tolist()
    assert matched(np.array([1, 1, 1, 1, 0, 0, 0]), before).tolist() in ([0, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("how", ["tree", "spectral", "peak"])
def test_an_order_that_was_lost_is_found(how: str) -> None:
    """Rows whose hills stand one after the other come back into their order, from either end."""
    draw = np.random.default_rng(0)
    place = np.arange(40)
    rows = np.exp(-((place[:, None] - place) ** 2) / 50) + 0.02 * draw.normal(size=(40, 40))
    mixed = draw.permutation(40)
    found = mixed[ordered(rows[mixed], how)]
    assert abs(kendalltau(found, place)[0]) > 0.95


@pytest.mark.parametrize("how", ["tree", "spectral", "peak", "mean", "index"])
def test_every_order_holds_each_row_once(how: str) -> None:
    """Also of constant rows, of rows that are no numbers, and of none."""
    rows = np.random.default_rng(0).normal(size=(9, 4))
    rows[2], rows[5] = 1.0, np.nan
    for each in (rows, rows[:2], rows[:0], np.full((3, 2), np.nan)):
        assert sorted(ordered(each, how).tolist()) == list(range(len(each)))


class _Planted(nn.Module):
    """Twelve units, of which each third answers to its own quarter of the input, and a second layer that reads them in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 6)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3).repeat(4, 1))
            self.first.bias.zero_()
            blocks = torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.5]]).repeat(3, 4)
            self.second.weight.copy_(blocks + 0.1 * torch.randn(6, 12, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(self.act(self.first(x)))
        return found


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The planted network, on sixty points near three corners."""
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] * 2 + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    return Scene(_Planted(), x, y, task="classification")


def test_units_that_serve_one_class_are_a_cluster(scene: Scene) -> None:
    """The profile is the mean answer behind the ReLU to each class, and units of one class are one cluster."""
    found = scene.derive("clusters").value
    first = found["layers"][0]
    assert found["by"] == "class"
    assert found["columns"] == ["0", "1", "2"]
    assert adjusted_rand_score(np.arange(12) % 3, first["cluster"]) == 1
    values = scene.activations(["first"])["first"].clamp_min(0).double().numpy()
    truth = np.arange(60) % 3
    np.testing.assert_allclose(first["profile"], np.stack([values[truth == k].mean(0) for k in range(3)], 1), rtol=1e-6)


def test_units_that_go_together_are_correlated_as_numpy_says(scene: Scene) -> None:
    """Pearson's correlation over examples that come batch by batch equals NumPy's over all of them."""
    found = scene.derive("clusters").value["together"][0]
    first = scene.activations(["first"])["first"].clamp_min(0).double().numpy()
    second = scene.activations(["second"])["second"].double().numpy()
    wanted = np.corrcoef(second.T, first.T)[:6, 6:]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_weights_that_lie_in_blocks_are_bundled(scene: Scene) -> None:
    """Between two layers the weights are grouped as they were planted, signs and all."""
    pair = scene.derive("biclusters", groups=0).value["pairs"][0]
    assert pair["how"] == "weights"
    np.testing.assert_allclose(pair["strengths"], scene.model.second.weight.detach().numpy(), rtol=1e-6)
    assert adjusted_rand_score(np.arange(12) % 3, pair["columns"]) == 1
    assert adjusted_rand_score(np.arange(6) % 2, pair["rows"]) == 1
    assert scene.derive("biclusters", edges="together").value["pairs"][0]["how"] == "together"


def test_steps_of_a_text_are_sorted_by_their_symbol() -> None:
    """Where the truth stands at every step, a profile is the mean over the steps of each symbol."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    x = torch.randint(0, 5, (20, 7), generator=torch.Generator().manual_seed(2))
    y = (x + 1) % 5
    found = Scene(net, x, y, task="next_token").derive("clusters", layers="0").value
    own = net[0].weight.detach().double().numpy()
    np.testing.assert_allclose(found["layers"][0]["profile"], own[(np.arange(5) - 1) % 5].T, rtol=1e-5)


def test_cells_are_wired_through_all_their_gates() -> None:
    """Between layers of an LSTM a strength is the length over the gates, with the sign of the candidate's weight."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rnn = nn.LSTM(3, 4, 2, batch_first=True)
    scene = Scene(rnn, torch.randn(5, 6, 3), outputs=0)
    found = wiring.reads(scene, scene.layers["l1"])
    assert set(found) == {"l0"}
    weight = rnn.weight_ih_l1.detach().double().numpy().reshape(4, 4, 4)
    np.testing.assert_allclose(found["l0"], np.sqrt((weight**2).sum(0)) * np.sign(weight[2]), rtol=1e-6)
    own = wiring.own(scene, scene.layers["l1"])
    assert own is not None
    np.testing.assert_allclose(np.abs(own[0, 1]), np.linalg.norm(rnn.weight_hh_l1.detach().numpy()[::4, 1]), rtol=1e-6)
