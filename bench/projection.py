"""Does a map that follows a training cost less than a cold one, and lose nothing? 10,000 points over nine snapshots; ``--quick`` takes 1,500.

A network learns ten planted classes that overlap; the map of each snapshot is made from the one before it, and laid onto it.
Beside it a cold openTSNE and a cold UMAP of the last snapshot, and cold ones of three pairs of snapshots that begin anywhere. Limits: the mean cost
of a snapshot is at most 0.35 of a cold openTSNE's and 0.15 of a cold UMAP's; the last map's trustworthiness is within 0.01
of a cold one's and its recall of the layer's ten neighbours at least 0.95 of it; a point moves at most a fifth as far as
between independent maps of the same two snapshots; t-SNE keeps 0.8 of the neighbours that the layer itself keeps.
A map that never moves is measured too, and must fail.

What was reached on 1,000 points, where the layer keeps 0.46, 0.38, 0.51, 0.64, 0.75, 0.80, 0.87 and 0.92 of its neighbours from
snapshot to snapshot: t-SNE as it is costs 0.27, moves 0.50 as far as independent maps (0.19 between the last two), keeps 0.65,
recall 0.98 of a cold one's. Smaller steps trade one for the other: at a learning rate of 40 it moves 0.19 and keeps 0.79, but recall
falls to 0.76. Where the layer itself loses half of its neighbours at once, both limits do not hold together.
Drawing each point back after ten iterations, by the square of the share of the layer's neighbours that lie beside it where it began,
does better on 600 points over nine even snapshots (0.25 for 0.35 without it, keeps 0.80 for 0.75, recall 0.99), but on 1,500 points of this
chain it moves 0.42, keeps 0.68, and recall (0.948) and trustworthiness (0.010 less) break their limits: it was not taken.
Nor was a part of the attractions that is the last snapshot's, in the manner of dynamic t-SNE (Rauber et al. 2016). On 1,000 points, where
t-SNE as it is then moved 0.39 and kept 0.65: with 0.3 of them and an exaggeration of 1.3 it moves 0.37, keeps 0.71, recall 0.98; at a
learning rate of 100 0.32, 0.71 and 0.97; drawn back as well 0.30, 0.72 and 0.957 with a trustworthiness of 0.0095 less; without exaggeration
0.31 and 0.73, but recall is 0.92. None came near 0.2 and 0.8.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

import diorama
from diorama.core.knobs import build
from diorama.methods.neighbours import nearest, shared, trustworthiness
from diorama.methods.projecting import laid_onto

SNAPSHOTS, EVERY, NEAR = 9, 12, 10
LIMITS = {"tsne": 0.35, "umap": 0.15}


def snapshots(count: int) -> Iterator[np.ndarray]:
    """What the last hidden layer says of the points, from the untrained network on."""
    torch.manual_seed(0)
    y = torch.arange(count) % 10
    middles = torch.randn(10, 3, 40) * 0.6  # three sub-clusters a class
    x = middles[y, torch.randint(0, 3, (count,))] + torch.randn(count, 40)
    net = nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    # As the recorder does: the farther the training is, the rarer are the snapshots.
    wanted = {EVERY * number * (number + 1) // 2 for number in range(SNAPSHOTS)}
    for step in range(max(wanted) + 1):
        if step in wanted:
            with torch.no_grad():
                yield net[:4](x).double().numpy()
        chosen = torch.randint(0, count, (256,))
        loss = nn.functional.cross_entropy(net(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def placed(method: str, rows: np.ndarray, start: np.ndarray | None = None, **knobs: object) -> tuple[np.ndarray, float]:
    """The map of some rows, and the seconds it took."""
    began = time.perf_counter()
    points = list(build(diorama.projections[method], knobs).placed(rows, 2, start, None))[-1].points
    return points, time.perf_counter() - began


def moved(one: np.ndarray, other: np.ndarray) -> float:
    """How far points lie from where they were, on average, in spreads of the map."""
    return float(np.linalg.norm(laid_onto(one, other) - other, axis=1).mean() / other.std())


def main() -> int:
    """Print the ratios; 1 where a limit is broken."""
    count = 1500 if "--quick" in sys.argv else 10_000
    layers = list(snapshots(count))
    near = [nearest(rows, NEAR) for rows in layers]
    failed = 0
    for method, limit in LIMITS.items():
        # Nobody compares with how long a compiler takes.
        placed(method, layers[0][:300])
        cold, seconds = placed(method, layers[-1])
        apart = {"initialization": "random"} if method == "tsne" else {}
        pairs = [(0, 1), (SNAPSHOTS // 2, SNAPSHOTS // 2 + 1), (SNAPSHOTS - 2, SNAPSHOTS - 1)]
        independent = [
            moved(*(placed(method, layers[k] * (1 + 1e-9 * (seed + 1)), seed=seed + 1, **apart)[0] for seed, k in enumerate(pair)))
            for pair in pairs
        ]
        maps, times = [placed(method, layers[0])[0]], []
        for rows in layers[1:]:
            points, took = placed(method, rows, maps[-1])
            maps.append(laid_onto(points, maps[-1]))
            times.append(took / seconds)
        trusted = [trustworthiness(layers[-1], one, NEAR) for one in (maps[-1], cold)]
        recall = [shared(near[-1], nearest(one, NEAR)) for one in (maps[-1], cold, maps[0])]
        moves = [moved(after, before) for before, after in zip(maps, maps[1:], strict=False)]
        shares = [moves[before] / apart_by for (before, _), apart_by in zip(pairs, independent, strict=True)]
        share, last = float(np.mean(shares)), shares[-1]
        kept = [
            shared(nearest(maps[k], NEAR), nearest(maps[k + 1], NEAR)) / shared(near[k], near[k + 1]) for k in range(len(maps) - 1)
        ]
        checks = {
            f"cost of a snapshot / cold {method}: {np.mean(times):.3f} ± {np.std(times):.3f} (limit {limit})": np.mean(times) <= limit,
            f"trustworthiness {trusted[0]:.4f}, cold {trusted[1]:.4f}": trusted[0] >= trusted[1] - 0.01,
            f"recall {recall[0]:.3f}, cold {recall[1]:.3f}, ratio {recall[0] / recall[1]:.3f}": recall[0] >= 0.95 * recall[1],
            f"a map that never moved: ratio {recall[2] / recall[1]:.3f} (must be below 0.95)": recall[2] < 0.95 * recall[1],
            f"moved {share:.3f} as far as independent maps of the same snapshots ({last:.3f} between the last two)": share <= 0.2,
        }
        if method == "tsne":
            checks[f"neighbours kept / kept by the layer: {np.mean(kept):.3f}"] = np.mean(kept) >= 0.8
        for said, good in checks.items():
            print(f"{'ok  ' if good else 'OVER'} {method}: {said}")
            failed |= not good
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
