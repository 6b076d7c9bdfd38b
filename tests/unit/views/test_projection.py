"""The view of examples as points: placed as scikit-learn places them, after an earlier step, and told how far to be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Field
from diorama.core.picture import Picture
from diorama.derive.derivations.projection import earlier
from diorama.run import Run
from diorama.scene import Scene
from diorama.views.planes import square


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def _run(path: Path) -> Run:
    """A run with snapshots at the steps 0 to 4."""
    net, x = _net(), torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    y = torch.arange(40) % 3
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    with diorama.watch(net, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(4):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(path)


def _fields(picture: Picture) -> list[Field]:
    return [one for one in picture.body.children if isinstance(one, Field)]


def _points(picture: Picture) -> np.ndarray:
    (field,) = _fields(picture)
    assert field.points is not None
    return np.asarray(field.points)


def _apart(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_two_layers_lie_as_their_principal_components() -> None:
    """Distances are those of scikit-learn's components of both layers, each scaled to a variance of one; the check is its own."""
    net, x = _net(), torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    picture = Scene(net, x, torch.arange(40) % 3).view("projection", layer="0+2")
    with torch.no_grad():
        parts = [net[:1](x).double().numpy(), net[:3](x).double().numpy()]
    rows = np.concatenate([part / np.sqrt(part.var(0).sum()) for part in parts], 1)
    wanted = PCA(2, svd_solver="full").fit_transform(rows)
    np.testing.assert_allclose(_apart(_points(picture)), _apart(wanted), rtol=1e-4, atol=1e-5)
    (check,) = picture.checks
    assert check.value == pytest.approx(trustworthiness(rows, wanted, n_neighbors=10), abs=1e-3)
    assert "layers 0 and 2" in picture.caption


def test_a_step_starts_from_an_earlier_one(tmp_path: Path) -> None:
    """Points of a step are laid onto those it starts from: no turning, mirroring or shift brings them nearer."""
    run = _run(tmp_path / "run")
    before, after = (_points(run.scene(step).view("projection", layer="0+2")) for step in (2, 3))
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-9)
    a, b = after - after.mean(0), before - before.mean(0)
    assert np.sum(a * b) == pytest.approx(np.linalg.svd(a.T @ b, compute_uv=False).sum(), rel=1e-6)
    assert "at step 2" in run.scene(3).view("projection", layer="0+2").caption


def test_the_way_to_a_step_is_short_and_stays() -> None:
    """The first snapshots follow one another, later ones start close behind; more snapshots change no way that was there."""
    steps = tuple(range(0, 7000, 10))
    ways = {step: earlier(steps, step) for step in steps}
    assert ways[0] == []
    assert all(ways[step] == list(steps[:number]) for number, step in enumerate(steps[:16]))
    for number, step in enumerate(steps[1:], 1):
        way = ways[step]
        assert way[0] == 0
        assert len(way) <= 16 + 8 * max(0, number.bit_length() - 4)
        assert number - way[-1] // 10 <= max(1, number / 8)
        assert way[:-1] == ways[way[-1]]
    assert all(earlier(steps[:40], step) == ways[step] for step in steps[:40])
    assert earlier(steps, 15) == ways[20]
    assert earlier((), None) == []


def test_three_numbers_are_three_planes() -> None:
    """Of three dimensions each pair is a plane; more than a layer has are refused with the way out."""
    net, x = _net(), torch.randn(12, 6)
    scene = Scene(net, x, torch.arange(12) % 3)
    titles = [(one.x_title, one.y_title) for one in _fields(scene.view("projection", layer="2", dimensions=3))]
    assert titles == [("dimension 1", "dimension 2"), ("dimension 1", "dimension 3"), ("dimension 2", "dimension 3")]
    with pytest.raises(NotApplicable, match="fewer dimensions"):
        Scene(nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 3)), x).view("projection", layer="0")


def test_no_point_lies_outside_its_plane() -> None:
    """The square about any points holds them all, whatever their size and place."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        points = generator.normal(generator.normal(0, 10, 2), 10 ** generator.uniform(-3, 3), (20, 2))
        left, right, low, high = square(points)
        assert ([left, low] <= points.min(0)).all(), points
        assert (points.max(0) <= [right, high]).all(), points
        assert right - left == pytest.approx(high - low)
