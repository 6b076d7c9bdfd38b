"""t-distributed stochastic neighbour embedding: who is whose neighbour, above all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ..neighbours import nearest
from ..placement import Floats, Placement, Projection, alike, begun_at, own_dice, quiet, sized, usable
from ..repulsion import Mesh

FEW = 10_000
"""Among so many rows of a wide map the nearest are found by comparing all."""
EXACT = 1_000
"""Of fewer rows openTSNE finds the nearest exactly, of more nearly."""
CHUNK = 25
"""So many iterations are a stage."""
EXAGGERATED = 250
"""So many iterations attract strongly at first, where nothing is started from."""
AGAIN = (50, 100)
"""So many iterations attract more strongly, and so many as they are, from where the points were at an earlier step: fewer let
neighbours be lost little by little over a training."""
FACTOR, GENTLY = 12.0, 2.0
"""How much stronger; and from an earlier step, where 12 would draw all points together and let them find other places."""
WIDE, MANY = 13.0, 9_999
"""A map of more points and of a larger standard deviation has farther to go than so few iterations reach: at first it is drawn in, and a mesh
tells how its points push each other away."""
DRAWN_IN, WIDELY, GATHERED = 0.8, (50, 400), 4.0
"""Of such a map: to what part of its size; the iterations of both kinds; and how much stronger the first ones attract."""
BESIDE, BESIDE_NEAR = 0.11, 10
"""From an earlier step such a part of all attraction joins each point to those of so many nearest there that the layer
still counts among its neighbours: of many that it likes about as well, these stay. More, and neighbours that the layer has found anew are
missed, as they are where those count too that the layer does not know."""
WIDE_BESIDE, NEAREST, NARROWER = 0.14, 0.6, 3
"""In a wide map such a part does, and of the rest a part joins each point to its nearest in the layer alone, so many times fewer than the
perplexity: of many that it likes about as well, the ties hold some whom it likes less, in the places of these."""
LATE, NEARER = 100, 0.85
"""In so many last iterations of it the nearest have such a part: while points still travel it would pull groups apart, and once they stand it mends
who is next to whom."""
RARE = 0.25
"""Where fewer than such a part of who stood beside whom is among the layer's neighbours, each of them attracts no more for it."""
LOOSE, SELDOM = 0.001, 25
"""How strongly a point of a map that was drawn in is drawn back, in an iteration, to where it was then, and after how many iterations: it has
farther to go, and more would hinder it, as it would to be drawn to where it was before."""


class TSNE(Projection):
    """Neighbours stay neighbours: t-SNE places points so that who lies near whom is as in the layer.

    *Meaning* near points are alike; how far apart groups lie and how large they are says nothing. In a wide map of 10,000 points or more that
    follows a training, the nearest neighbours, a third as many as the perplexity, count more than in one that is made anew.
    *Error* the trustworthiness, and the neighbours that are lost.
    *Cost* the nearest neighbours of each example, then 750 iterations; 150 from an earlier step, or 450 on a mesh where its map is wide.
    *Source* van der Maaten & Hinton 2008, as openTSNE makes it (Poličar, Stražar & Zupan 2024); Rauber et al. 2016 for the ties to an earlier step.
    """

    title = "t-SNE"
    free, tied = True, True

    perplexity: float = knob(30.0, "About so many neighbours count for each point; a third of the examples at most.", low=1.0, high=1000.0)
    iterations: int = knob(500, "So many iterations after the first 250, where nothing is started from.", low=0, high=5000)
    initialization: str = knob("pca", "Where points begin: at their principal components, or anywhere.", choices=("pca", "random"))
    seed: int = knob(0, "What chance is drawn from.", low=0, high=2**31 - 1)

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any, held: Floats | None = None) -> Iterator[Placement]:
        """The rows' places after each 25 iterations; equal to openTSNE's own, however often it is stopped, where none is held."""
        if len(rows) < 4:
            raise NotApplicable(f"t-SNE wants at least 4 examples, got {len(rows)}; choose method=pca")
        if alike(rows):
            yield Placement(np.zeros((len(rows), dimensions)))
            return
        start, rows = usable(start), sized(rows)[0]
        if rows.shape[1] < dimensions:  # the first places are components, which want so many columns
            rows = np.pad(rows, ((0, 0), (0, dimensions - rows.shape[1])))
        with own_dice():
            import openTSNE
        wide = start is not None and dimensions == 2 and len(rows) > MANY and start.std() > WIDE
        gradient: Any = Mesh().gradient if wide else "auto"
        if dimensions > 2:
            from openTSNE.tsne import kl_divergence_bh

            gradient = kl_divergence_bh
        tsne = openTSNE.TSNE(
            dimensions, perplexity=min(self.perplexity, (len(rows) - 1) / 3), initialization=self.initialization,
            negative_gradient_method=gradient, random_state=self.seed, n_jobs=1,
        )
        phases, factor = ((EXAGGERATED, self.iterations), FACTOR) if start is None else (WIDELY, GATHERED) if wide else (AGAIN, GENTLY)
        near = None
        with quiet():
            if wide and start is not None:
                affinities, near = _affinities(rows, tsne.perplexity)
                points = tsne.prepare_initial(affinities=affinities, initialization=DRAWN_IN * start)
            else:
                points = tsne.prepare_initial(rows, _own_affinities(rows, tsne.perplexity, self.seed), start)
        total, done, origin, pulled = sum(phases), 0, np.array(points), held is not None and start is not None
        shape = points.shape
        if (state := begun_at(begun, points=shape, gains=shape, update=shape)) is not None:
            done, points[:] = min(int(state["done"]), total), state["points"]
            points.optimizer.gains, points.optimizer.update = np.array(state["gains"]), np.array(state["update"])
        attractions = later = points.affinities.P.copy()
        if held is not None and pulled:
            beside, part = _beside(origin, np.asarray(held > 0)), WIDE_BESIDE if wide else BESIDE
            if near is not None:
                later = _tied(_nearest_first(attractions, near, NEARER), beside, part)
                attractions = _nearest_first(attractions, near, NEAREST)
            attractions = _tied(attractions, beside, part)
        settling = max(phases[0], total - LATE) if pulled and wide else total
        while done < total:
            strong = done < phases[0]
            chunk = min(CHUNK, (phases[0] if strong else settling if done < settling else total) - done)
            for few in [SELDOM] * (chunk // SELDOM) + [chunk % SELDOM] * bool(chunk % SELDOM) if pulled and wide else [chunk]:
                # The optimizer multiplies the attractions and divides them again, which rounds: each time it takes those of one whole phase.
                points.affinities.P = (attractions if done < settling else later).copy()
                if not strong and phases[0]:
                    points.affinities.P *= factor
                    points.affinities.P /= factor
                with quiet():
                    points.optimize(few, inplace=True, exaggeration=factor if strong else None, momentum=0.8)
                if pulled and wide and not strong:
                    _drawn_back(points, origin, LOOSE * few * held[:, None])  # type: ignore[index]
            done += chunk
            yield Placement(np.array(points), done, total, f"iteration {done} of {total}", lambda now=done: _state(points, now))  # type: ignore[misc]
        if not total:
            yield Placement(np.array(points))


def _searched(rows: Floats, perplexity: float, seed: int) -> Any:
    """The search for the nearest that openTSNE chooses. Left to choose, it would first import another, which it does not take here and which is
    compiled when it is first imported: half a minute before the first map of a new installation."""
    from openTSNE.nearest_neighbors import Annoy, Sklearn

    search = Sklearn if len(rows) < EXACT else Annoy
    return search(rows, min(len(rows) - 1, int(3 * perplexity)), "euclidean", n_jobs=1, random_state=seed)


def _own_affinities(rows: Floats, perplexity: float, seed: int) -> Any:
    """How much each counts as whose neighbour, as openTSNE finds it of itself."""
    from openTSNE.affinity import MultiscaleMixture

    return MultiscaleMixture(perplexities=perplexity, n_jobs=1, random_state=seed, knn_index=_searched(rows, perplexity, seed))


def _affinities(rows: Floats, perplexity: float) -> tuple[Any, NDArray[np.int64]]:
    """How much each counts as whose neighbour, and the nearest of each; compared with all others where that costs less than openTSNE's search."""
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    near = min(len(rows) - 1, int(3 * perplexity))
    if len(rows) > FEW:
        which, apart = _searched(rows, perplexity, 0).build()
    else:
        from sklearn.neighbors import NearestNeighbors

        apart, which = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(rows).kneighbors()
    found = PerplexityBasedNN(perplexity=perplexity, n_jobs=1, knn_index=PrecomputedNeighbors(which, apart))
    return found, which[:, : max(1, round(perplexity / NARROWER))]


def _nearest_first(attractions: Any, near: NDArray[np.int64], part: float) -> Any:
    """Attractions of which a part joins each point to its nearest in the layer, alike, both ways."""
    told = _joined(near.ravel(), near.shape[1], np.ones(near.size, bool))
    return (attractions * (1 - part) + told * part).tocsr()


def _tied(attractions: Any, beside: Any, part: float) -> Any:
    """Attractions of which a part joins those that stood beside one another in a map, of those that attract each other anyway."""
    beside = beside.multiply(attractions > 0)
    beside = beside * (part / max(beside.sum(), RARE))
    return (attractions * (1 - beside.sum()) + beside).tocsr()


def _beside(points: Floats, some: NDArray[np.bool_]) -> Any:
    """Who stands beside whom in a map: alike for the nearest ones of each, symmetric, 1 in all where all count; of some points among themselves."""
    near = min(BESIDE_NEAR, len(points) - 1)
    own, other = np.repeat(np.arange(len(points)), near), nearest(points, near).ravel()
    return _joined(other, near, some[own] & some[other])


def _joined(others: NDArray[np.int64], near: int, there: NDArray[np.bool_]) -> Any:
    """Each point joined to ``near`` others, of whom some are there, (points * near,): symmetric, 1 in all where all are."""
    from scipy.sparse import csr_matrix

    own, count = np.repeat(np.arange(len(others) // near), near), len(others) // near
    told = csr_matrix((np.full(int(there.sum()), 0.5 / len(own)), (own[there], others[there])), shape=(count, count))
    return told + told.T


def _drawn_back(points: Any, origin: Floats, by: Floats) -> None:
    """One implicit step of a spring to where each point began: however strong it is, none is drawn beyond."""
    points[:] = (np.array(points) + by * origin) / (1 + by)
    points.optimizer.update = points.optimizer.update / (1 + by)


def _state(points: Any, done: int) -> Mapping[str, Any]:
    """All that the next iteration needs."""
    return {
        "done": done, "points": np.array(points), "gains": np.array(points.optimizer.gains),
        "update": np.array(points.optimizer.update),
    }
