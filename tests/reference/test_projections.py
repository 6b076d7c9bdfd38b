"""Projections are the libraries' own on the same settings, go on after a stop to the bit, and place what is degenerate too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import build
from diorama.methods.neighbours import nearest, trustworthiness
from diorama.methods.placement import Placement
from diorama.methods.repulsion import Mesh

ROWS = np.random.default_rng(0).normal(size=(40, 6))


def _stages(method: str, rows: np.ndarray, start: Any = None, begun: Any = None, dimensions: int = 2, **knobs: Any) -> Iterator[Placement]:
    return build(diorama.projections[method], knobs).placed(rows, dimensions, start, begun)  # type: ignore[no-any-return]


def _placed(*args: Any, **options: Any) -> np.ndarray:
    points: np.ndarray = list(_stages(*args, **options))[-1].points
    return points


@pytest.fixture(autouse=True)
def _no_other_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """openTSNE, asked by a test, takes the searches that it takes anyhow without importing, and thereby compiling, the one that it does not."""
    monkeypatch.setattr("openTSNE.affinity.is_package_installed", lambda name: False)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tsne_is_opentsnes(dimensions: int) -> None:
    """Made in stages, it is what openTSNE makes in one call of the same settings; so it is from an earlier embedding."""
    import openTSNE

    method = "bh" if dimensions > 2 else "auto"
    made = openTSNE.TSNE(dimensions, perplexity=8, random_state=3, negative_gradient_method=method)
    np.testing.assert_allclose(_placed("tsne", ROWS, perplexity=8, seed=3, dimensions=dimensions), made.fit(ROWS), rtol=1e-6, atol=1e-6)
    start = np.random.default_rng(1).normal(size=(40, dimensions))
    wanted = openTSNE.TSNE(
        dimensions, perplexity=8, random_state=3, negative_gradient_method=method, early_exaggeration_iter=50, n_iter=100,
        early_exaggeration=2,
    ).fit(ROWS, initialization=start)
    followed = _placed("tsne", ROWS, start, perplexity=8, seed=3, dimensions=dimensions)
    np.testing.assert_allclose(followed, wanted, rtol=1e-6, atol=1e-6)


def test_a_wide_map_is_drawn_in_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what openTSNE makes from a smaller copy; held points stay nearer, and stopped, it goes on to the bit."""
    import openTSNE

    from diorama.methods.projection import tsne

    monkeypatch.setattr(tsne, "MANY", 0)
    monkeypatch.setattr(tsne, "WIDELY", (5, 30))
    monkeypatch.setattr(tsne, "LOOSE", 0.03)
    start = 20 * np.random.default_rng(1).normal(size=(40, 2))
    wanted = openTSNE.TSNE(
        perplexity=8, early_exaggeration_iter=5, n_iter=30, early_exaggeration=tsne.GATHERED, negative_gradient_method=Mesh().gradient,
    ).fit(ROWS, initialization=tsne.DRAWN_IN * start)
    tsne_now = build(diorama.projections["tsne"], {"perplexity": 8})
    np.testing.assert_allclose(_placed("tsne", ROWS, start, perplexity=8), wanted, rtol=1e-6, atol=1e-6)
    kept = np.arange(40) % 2.0
    stages = [(stage.points, stage.state()) for stage in tsne_now.placed(ROWS, 2, start, None, held=kept)]  # type: ignore[misc]
    np.testing.assert_array_equal(list(tsne_now.placed(ROWS, 2, start, stages[1][1], held=kept))[-1].points, stages[-1][0])
    far, alone = (np.linalg.norm(points - tsne.DRAWN_IN * start, axis=1)[kept == 1].mean() for points in (stages[-1][0], wanted))
    assert far < 0.7 * alone


def test_a_wide_map_is_drawn_to_the_layers_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attractions are openTSNE's, of which a part joins each point to its nearest in the layer, a third as many as the perplexity, and a
    part those who stood side by side; in the last iterations the nearest have a larger part."""
    import openTSNE
    from scipy.sparse import csr_matrix

    from diorama.methods.projection import tsne

    for name, value in {"MANY": 0, "WIDELY": (5, 30), "LOOSE": 0.0, "LATE": 10}.items():
        monkeypatch.setattr(tsne, name, value)
    start = 20 * np.random.default_rng(1).normal(size=(40, 2))
    found = list(build(diorama.projections["tsne"], {"perplexity": 9}).placed(ROWS, 2, start, None, held=np.ones(40)))[-1].points
    points = openTSNE.TSNE(perplexity=9, negative_gradient_method=Mesh().gradient).prepare_initial(ROWS, initialization=tsne.DRAWN_IN * start)
    tables = []
    for rows, near in ((ROWS, 3), (start, 10)):
        table = np.zeros((40, 40))
        np.put_along_axis(table, nearest(rows, near), 1 / (40 * near), 1)
        tables.append((table + table.T) / 2)
    plain = points.affinities.P.toarray()

    def go_on(nearest_part: float, iterations: int, stronger: float | None) -> None:
        wanted = plain * (1 - nearest_part) + tables[0] * nearest_part
        assert wanted.sum() == pytest.approx(1)
        ties = tables[1] * (wanted > 0)
        assert 0.25 < ties.sum() < 0.9
        ties *= tsne.WIDE_BESIDE / ties.sum()
        points.affinities.P = csr_matrix(wanted * (1 - ties.sum()) + ties)
        points.optimize(iterations, inplace=True, exaggeration=stronger, momentum=0.8)

    assert tsne.NEARER > tsne.NEAREST
    go_on(tsne.NEAREST, 5, tsne.GATHERED)
    go_on(tsne.NEAREST, 20, None)
    go_on(tsne.NEARER, 10, None)
    np.testing.assert_allclose(found, points, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 20.0])
def test_a_mesh_tells_how_points_push_each_other(spread: float) -> None:
    """The sum of similarities and the forces are those of all pairs; of two points far from all others too, and none pushes itself."""
    points = spread * np.random.default_rng(2).normal(size=(300, 2))
    points[:2] = [[3000.0, 0.0], [3001.0, 0.5]]
    for places in (points, points[2:]):
        ways = places[:, None] - places[None]
        like = 1 / (1 + (ways**2).sum(-1))
        np.fill_diagonal(like, 0)
        wanted = ((like**2)[..., None] * ways).sum(1)
        total, forces = Mesh().repulsion(places)
        far = len(places) == 300
        # In one wide picture the mesh is coarser.
        assert total == pytest.approx(like.sum(), rel=0.01 if far else 0.001)
        assert np.linalg.norm(forces - wanted) < (0.2 if far else 0.05) * np.linalg.norm(wanted)
        np.testing.assert_allclose(forces.sum(0), 0, atol=1e-4 * np.abs(forces).sum())
    alone = Mesh().repulsion(points[2:3])
    assert alone[0] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(alone[1], 0, atol=1e-3)


def test_mds_is_scikit_learns() -> None:
    """Its stress is that of scikit-learn's own steps from the same beginning, taken in one call."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import smacof

    apart = squareform(pdist(ROWS))
    wanted, stress = smacof(apart, init=PCA(2, svd_solver="full").fit_transform(ROWS), n_init=1, normalized_stress=False)
    points = _placed("mds", ROWS)
    assert np.square(pdist(points) - pdist(ROWS)).sum() == pytest.approx(stress, rel=1e-3)
    # One more step at the end of a stage is what may differ.
    assert np.corrcoef(pdist(points), pdist(wanted))[0, 1] > 0.999


UMAP = """
import warnings
import numpy as np
import umap
import diorama
from sklearn.neighbors import NearestNeighbors
from diorama.core.knobs import build
warnings.simplefilter("ignore")
rows = np.random.default_rng(0).normal(size=(16, 5))
ours = build(diorama.projections["umap"], {"neighbors": 4, "seed": 2})
first = list(ours.placed(rows, 2, None, None))[-1].points
square = (first - first.min(0)) / np.ptp(first, axis=0) * 10
square = np.round(square * 64) / 64  # which umap-learn's stretching to ten by ten leaves as it is, to the bit
from diorama.methods.projection import umap as module
calm, module.CALM = module.CALM, 0.0  # the epochs in which points come to rest then leave them
again = list(ours.placed(rows, 2, square, None, held=np.zeros(16)))[-1].points
told = {"n_neighbors": 4, "random_state": 2, "n_jobs": 1}
np.testing.assert_array_equal(first, umap.UMAP(**told, n_epochs=500).fit_transform(rows))
apart, which = NearestNeighbors(n_neighbors=4).fit(rows).kneighbors(rows)
near = (which.astype(np.int32), apart.astype(np.float32), None)
wanted = umap.UMAP(**told, n_epochs=90, learning_rate=0.01, init=square.astype(np.float32), precomputed_knn=near, force_approximation_algorithm=True)
np.testing.assert_array_equal(again, wanted.fit_transform(rows))
# Those epochs are the library's as well, from where the first ones ended; its dice hang on where that is.
module.GENTLY, gently = calm, module.GENTLY
rested = list(ours.placed(rows, 2, again, None, held=np.zeros(16)))[-1].points
module.CALM, module.GENTLY = calm, gently
whole = list(ours.placed(rows, 2, square, None, held=np.zeros(16)))[-1].points
np.testing.assert_allclose(whole - whole.mean(0), rested - rested.mean(0), atol=0.3)
assert not np.allclose(whole, again, atol=1e-2)
again = whole
# A map of any other scale keeps it, but for the little that the epochs change.
settled = [list(ours.placed(rows, 2, square, None, held=held))[-1].points for held in (None, np.ones(16))]
np.testing.assert_array_equal(*settled)
assert not np.allclose(settled[0], again)
wide = list(ours.placed(rows, 2, square * [3, 2], None))[-1].points
np.testing.assert_allclose(wide.std(0) / square.std(0), [3, 2], rtol=0.3)
twice = list(ours.placed(rows, 2, np.repeat(square[:8], 2, 0), None))[-1].points
assert len(np.unique(twice, axis=0)) == 16
assert len(list(ours.placed(rows * 0, 2, None, None))[-1].points) == 16
few = list(ours.placed(rows[:5], 3, None, None))[-1].points
assert few.shape == (5, 3) and np.isfinite(few).all()
print("equal")
"""


def test_umap_is_umap_learns() -> None:
    """It is what umap-learn makes of the same settings, also from an earlier embedding, whose scale it keeps; in a process that does not
    compile it."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", UMAP], env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "equal", found.stderr


@pytest.mark.parametrize("method", ["tsne", "mds"])
def test_stopped_work_goes_on_to_the_bit(method: str) -> None:
    """Gone on with from the state of any stage, the points are those of one run."""
    whole, states = None, []
    for stage in _stages(method, ROWS):
        whole = stage.points
        states.append(stage.state() if stage.state is not None else None)
    for begun in (states[0], states[len(states) // 2], {}, "text", {"done": 3}, {"done": -1, "points": np.zeros((2, 2))}):
        np.testing.assert_array_equal(_placed(method, ROWS, begun=begun), whole)


def test_points_are_held_where_their_neighbours_stayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whom the layer counts as neighbours, held points keep those beside whom they stood; where none is held t-SNE is as without; stopped,
    it goes on to the bit."""
    monkeypatch.setattr("diorama.methods.projection.tsne.BESIDE", 0.5)
    tsne = build(diorama.projections["tsne"], {"perplexity": 8})
    start, rows = _placed("tsne", ROWS, perplexity=8), np.random.default_rng(1).normal(size=ROWS.shape)
    held = np.minimum(np.arange(40) % 4, 1.0)
    states, stages = [], []
    for stage in tsne.placed(rows, 2, start, None, held=held):
        states.append(stage.state())
        stages.append(stage.points)
    free = _placed("tsne", rows, start, perplexity=8)
    near = {name: nearest(points, 10) for name, points in (("start", start), ("held", stages[-1]), ("free", free))}
    beside = {name: [np.isin(near["start"][k][held[near["start"][k]] == 1], near[name][k]).mean() for k in np.flatnonzero(held)] for name in near}
    assert np.mean(beside["held"]) > np.mean(beside["free"]) + 0.1
    # It is what openTSNE makes of attractions of which a part is the map's own: each point to its ten nearest that the layer knows, both ways alike.
    table = np.zeros((40, 40))
    for k in np.flatnonzero(held):
        table[k, [other for other in near["start"][k] if held[other]]] = 1 / 400
    import openTSNE
    from scipy.sparse import csr_matrix

    points = openTSNE.TSNE(perplexity=8, random_state=0).prepare_initial(rows, initialization=start)
    table = (table + table.T) / 2 * (points.affinities.P.toarray() > 0)
    assert 0.25 < table.sum() < 0.6
    table *= 0.5 / table.sum()
    points.affinities.P = csr_matrix(points.affinities.P * (1 - table.sum()) + table)
    points.optimize(50, inplace=True, exaggeration=2, momentum=0.8)
    points.optimize(100, inplace=True, momentum=0.8)
    np.testing.assert_allclose(stages[-1], points, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(list(tsne.placed(ROWS, 2, start, None, held=0 * held))[-1].points, _placed("tsne", ROWS, start, perplexity=8))
    np.testing.assert_array_equal(list(tsne.placed(rows, 2, start, states[2], held=held))[-1].points, stages[-1])


@pytest.mark.parametrize("method", ["pca", "tsne", "mds"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_degenerate_rows_are_placed(method: str, dimensions: int) -> None:
    """Rows that are all alike, twice the same, constant in a column, of one unit, huge or tiny: finite points, or a sentence."""
    cases = {
        "alike": np.ones((30, 4)), "twice": np.repeat(ROWS[:5], 6, 0), "constant": np.c_[ROWS[:, :2], np.ones((40, 3))],
        "one unit": ROWS[:, :1], "huge": ROWS * 1e200, "tiny": ROWS * 1e-200, "four": ROWS[:4],
    }
    few: dict[str, Any] = {"iterations": 50} if method == "tsne" else {}  # after the first 250, which are those that throw points far
    for name, rows in cases.items():
        for start in (None, np.zeros((len(rows), dimensions)), np.full((len(rows), dimensions), np.nan)):
            if method == "pca" and dimensions > rows.shape[1]:
                with pytest.raises(NotApplicable, match="choose a layer of more units"):
                    _placed(method, rows, start, dimensions=dimensions)
                continue
            points = _placed(method, rows, start, dimensions=dimensions, **few)
            assert points.shape == (len(rows), dimensions), name
            assert np.isfinite(points).all(), name
    with pytest.raises(NotApplicable):
        _placed(method, ROWS[:1]) if method != "mds" else _placed(method, np.zeros((5000, 2)))


LOADED = """
import sys
import numpy as np
import diorama
from diorama.core.knobs import build
print([name for name in ("openTSNE", "umap", "numba") if name in sys.modules])
for examples in (9, 1001):  # found exactly, and nearly
    next(build(diorama.projections["tsne"], {"perplexity": 2.0}).placed(np.random.default_rng(0).normal(size=(examples, 3)), 2, None, None))
print([name for name in ("openTSNE", "umap", "numba", "pynndescent") if name in sys.modules])
"""


def test_importing_loads_no_library() -> None:
    """The package loads neither openTSNE nor UMAP before somebody asks for them, and t-SNE nothing that has to be compiled first."""
    found = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[]", "['openTSNE']"]


def test_the_usual_maps_load_no_library() -> None:
    """Components and metric scaling are made without scikit-learn, which takes longer to load than the first look at a training may."""
    told = (
        "import sys, numpy as np, diorama\nfrom diorama.core.knobs import build\nfrom diorama.methods.neighbours import nearest, trustworthiness\n"
        "rows = np.random.default_rng(0).normal(size=(30, 6))\n"
        "for name in ('pca', 'mds'): print(len(list(build(diorama.projections[name], {}).placed(rows, 2, None, None))) > 0)\n"
        "print(nearest(rows, 5).shape == (30, 5), 0 < trustworthiness(rows, rows[:, :2], 5) < 1)\n"
        "print('sklearn' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["True"] * 4 + ["False"]


@pytest.mark.parametrize("width", [2, 30])
def test_few_points_have_scikit_learns_neighbours_and_trust(width: int) -> None:
    """Where all points are compared, neighbours and trustworthiness are those of the library."""
    from sklearn.manifold import trustworthiness as library
    from sklearn.neighbors import NearestNeighbors

    rows = np.random.default_rng(1).normal(size=(200, width))
    wanted = NearestNeighbors(n_neighbors=7).fit(rows).kneighbors(return_distance=False)
    some = np.array([3, 150, 20])
    assert np.array_equal(nearest(rows, 7), wanted)
    assert np.array_equal(nearest(rows, 7, some), wanted[some])
    points = rows[:, :2] + np.random.default_rng(2).normal(size=(200, 2))
    assert trustworthiness(rows, points, 9) == pytest.approx(library(rows, points, n_neighbors=9))
