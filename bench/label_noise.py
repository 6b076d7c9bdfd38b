"""Do the likely mislabelled stand first? Average precision of the ranking by doubt on digits with planted label noise.

Beside it the area under the margin, the plain loss at the end, and confident learning (Northcutt et al. 2021, arXiv:1911.00068: the
off-diagonal of the confident joint first, then by normalized margin) on the same network's answers. Noise of 5, 10 and 20 %,
symmetric and class to class, of examples that were trained on and of others; mean and spread over ten seeds. And how many of the doubtful
the view estimates to be truly wrong, beside how many are.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch import nn

import diorama
from diorama.derive.derivations.margins import likely_wrong

TRAINED, PROBED, EPOCHS = 1285, 512, 30
WITHIN = 0.01
DIGITS = {"doubtful": 0, "of them wrong": 0, "estimated": 0}


def planted(y: torch.Tensor, share: float, kind: str, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Labels of which some are wrong, and which."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=generator) < share
    other = (y + torch.randint(1, 10, y.shape, generator=generator)) % 10 if kind == "symmetric" else (y + 1) % 10
    return torch.where(wrong, other, y), wrong.numpy()


def confident_learning(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How likely each label is wrong: what the confident joint has off its diagonal first, then by normalized margin."""
    thresholds = np.array([p[y == k, k].mean() if (y == k).any() else 1.0 for k in range(p.shape[1])])
    confident = np.where(p >= thresholds, p, -1.0)
    held = np.where((confident >= 0).any(1), confident.argmax(1), y)
    rows = np.arange(len(y))
    others = p.copy()
    others[rows, y] = -1.0
    return (others.max(1) - p[rows, y]) + 2.0 * (held != y)


def precisions(share: float, kind: str, held_out: bool, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Train once with a recorder, and rank the probe set in every way."""
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    x = torch.tensor(found.data[order] / 16, dtype=torch.float32)
    y, wrong = planted(torch.tensor(found.target[order]), share, kind, seed)
    probed = slice(TRAINED, None) if held_out else slice(0, PROBED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    generator = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        probe = (x[probed], y[probed])
        with diorama.watch(model, Path(folder) / "run", probe=probe, optimizer=optimizer, every=20, snapshots=10_000) as recorder:
            recorder._prober.affordable = lambda number: True  # so that the result does not hang on this machine's pace
            for _ in range(epochs):
                for part in torch.randperm(TRAINED, generator=generator).split(32):
                    loss = nn.functional.cross_entropy(model(x[part]), y[part])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    recorder.step(loss=loss.detach())
        scene = diorama.open(Path(folder) / "run").scene()
        value = scene.derive("margins").value
        p = scene.probabilities().numpy().astype(np.float64)
    ranks = {
        "doubt": value["doubt"], "area under the margin": -value["aum"], "loss": value["loss"][:, -1],
        "confident learning": confident_learning(p, y[probed][: len(p)].numpy()),
    }
    told, doubtful = wrong[probed][: len(p)], value["doubt"] > 0
    counts = {
        "doubtful": doubtful.sum(), "of them wrong": told[doubtful].sum(), "estimated": likely_wrong(value, y[probed][: len(p)].numpy()).count,
    }
    return {name: float(average_precision_score(told, rank)) for name, rank in ranks.items()} | {name: float(n) for name, n in counts.items()}


def main() -> int:
    """Print every case; 1 where doubt falls behind the better of loss and confident learning."""
    seeds, failed = range(3 if "--quick" in sys.argv else 10), 0
    torch.set_num_threads(1)
    for kind in ("symmetric", "class to class"):
        for share in (0.05, 0.1, 0.2):
            for held_out in (False, True):
                each = [precisions(share, kind, held_out, seed) for seed in seeds]
                mean = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
                spread = {name: float(np.std([one[name] for one in each])) for name in each[0]}
                behind = mean["doubt"] < max(mean["loss"], mean["confident learning"]) - WITHIN
                failed |= behind
                told = ", ".join(f"{name} {mean[name]:.{DIGITS.get(name, 3)}f} ± {spread[name]:.{DIGITS.get(name, 3)}f}" for name in mean)
                print(f"{100 * share:.0f} % {kind}, {'held out' if held_out else 'trained on'}: {told}{'  BEHIND' if behind else ''}", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
