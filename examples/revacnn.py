"""A published result, done again: does a filter that is added while a network trains do what one does that was there from the start?

Chung et al. 2016 (ReVACNN) train three convolutions of 20, 20 and 21 filters, and beside it 20-20-20 to whose last layer one filter
is added after 15 epochs. Here every start of new units is tried beside the twin that is left alone, from many seeds: all go on
from the same checkpoint with the same batches. ``python examples/revacnn.py runs/revacnn --data cifar10.npz --seeds 10``
tells first how long it takes. ``--data`` is a file with images ``x`` and labels ``y``; without it the digits of scikit-learn are learnt.
"""

import argparse
import csv
import json
import math
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses
from torch.utils.data import DataLoader, TensorDataset

import diorama

STARTS = ("preserve", "split", "gradient", "random")
SCRATCH, ALONE = "20-20-21 from the start", "20-20-20 left alone"
ARMS = (SCRATCH, ALONE, *(f"one added, {how}" for how in STARTS))

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("path", nargs="?", default="runs/revacnn")
parser.add_argument("--data")
parser.add_argument("--seeds", type=int, default=10)
parser.add_argument("--epochs", type=int, default=30, help="half of them before the filter is added")
parser.add_argument("--images", type=int, default=1500)
told = parser.parse_args()


def read() -> tuple[Tensor, Tensor]:
    """Images between 0 and 1 with channels, and labels, in a fixed shuffled order."""
    if told.data is None:
        found = load_digits()
        x, y = found.images[..., None] / 16, found.target
    else:
        with np.load(told.data) as file:
            x, y = file["x"] / 255, file["y"]
    order = np.random.default_rng(0).permutation(len(y))[: told.images]
    return torch.tensor(x[order], dtype=torch.float32).permute(0, 3, 1, 2).contiguous(), torch.tensor(y[order]).long()


images, labels = read()
held = len(labels) // 5
shape = tuple(images.shape[1:])


class Training:
    """One network in one run, with its own loop: a fifth of the images is held back."""

    def __init__(self, name: str, seed: int, last: int, parent: tuple[Path, int] | None = None) -> None:
        torch.manual_seed(seed)
        widths, layers = (shape[0], 20, 20, last), []
        for one, other in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(one, other, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * (shape[1] // 8) * (shape[2] // 8), 10))
        self.optimizer, self.draw = torch.optim.Adam(self.model.parameters(), 1e-3), torch.Generator().manual_seed(seed)
        self.loader = DataLoader(TensorDataset(images[held:], labels[held:]), 50, shuffle=True, generator=self.draw)
        self.curve: list[tuple[float, float]] = []
        self.recorder = diorama.watch(
            self.model, f"{told.path}-{name}-{seed}", probe=(images[-64:], labels[-64:]), optimizer=self.optimizer, state=[self.draw],
            parent=parent, snapshots=10_000, every=10_000,
        )

    def epochs(self, count: int) -> None:
        """Train, and note the loss and accuracy on what is held back after each epoch."""
        for _ in range(count):
            for x, y in self.loader:
                loss = F.cross_entropy(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.recorder.step(loss=loss)
            with torch.no_grad():
                scores = self.model(images[:held])
            right = (scores.argmax(1) == labels[:held]).float().mean()
            self.curve.append((float(F.cross_entropy(scores, labels[:held])), float(right)))

    def send(self, command: str, **knobs: object) -> None:
        """Let the training do what a person asks, before its next batch."""
        asked = threading.Thread(target=diorama.open(self.recorder.path).command, args=(command,), kwargs={**knobs, "wait": 120.0})
        asked.start()
        while asked.is_alive():
            self.recorder.step()
            time.sleep(0.005)


def curves(seed: int) -> dict[str, list[tuple[float, float]]]:
    """The curves of all arms from one seed."""
    half = told.epochs // 2
    first = Training("scratch", seed, 21)
    first.epochs(told.epochs)
    first.recorder.close()
    found = {SCRATCH: first.curve}
    before = Training("before", seed, 20)
    before.epochs(half)
    before.recorder.close()
    stands = before.recorder.path, before.recorder.number
    for arm in ARMS[1:]:
        training = Training("after", seed, 20, parent=stands)
        if arm != ALONE:
            training.send("add_units", layer="6", count=1, how=arm.rpartition(" ")[2], seed=seed)
        training.epochs(told.epochs - half)
        training.recorder.close()
        assert training.model[6].weight.shape[0] == (20 if arm == ALONE else 21)
        found[arm] = before.curve + training.curve
    return found


def interval(values: list[float], together: int) -> str:
    """The mean with the half width of its interval over seeds (Student's t), so wide that 95 % of the times all of so many hold at once (Bonferroni).

    It tells of other seeds, not of other images: all are judged by the same that were held back.
    """
    if len(values) < 2:
        return f"{statistics.mean(values):+.4f}"
    from scipy.stats import t

    half = t.ppf(1 - 0.025 / together, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):+.4f} ± {half:.4f}"


def drawn(found: dict[int, dict[str, list[tuple[float, float]]]], file: Path) -> None:
    """The losses, and each arm's less the twin's with the 95 % interval of the mean over seeds."""
    from matplotlib.figure import Figure
    from scipy.stats import t

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for arm in ARMS:
        rows = np.array([[loss for loss, _ in of[arm]] for of in found.values()])
        steps = np.arange(1, rows.shape[1] + 1)
        (line,) = panels[0].plot(steps, rows.mean(0), label=arm, linewidth=1)
        if arm == ALONE:
            continue
        apart = rows - np.array([[loss for loss, _ in of[ALONE]] for of in found.values()])
        mean, panel = apart.mean(0), panels[1 if arm == SCRATCH else 2]
        half = t.ppf(0.975, len(rows) - 1) * apart.std(0, ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else 0 * mean
        panel.plot(steps, mean, linewidth=1, color=line.get_color())
        panel.fill_between(steps, mean - half, mean + half, color=line.get_color(), alpha=0.15, linewidth=0)
    titles = f"Held-back loss, mean of {len(found)} seeds", "21 from the start, less the twin", "One added, less the twin"
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="epoch")
    panels[0].legend(fontsize=7)
    figure.savefig(file, dpi=110)


trial = Training("trial", 0, 20)
trial.epochs(1)
began = time.perf_counter()
trial.epochs(1)
trial.recorder.close()
whole = (time.perf_counter() - began) * told.seeds * (told.epochs + told.epochs // 2 + 5 * (told.epochs - told.epochs // 2))
lasts = f"{whole / 60:.1f} minutes" if whole >= 60 else f"{whole:.0f} seconds"
print(f"{told.seeds} times {len(ARMS)} trainings take about {lasts}, and some seconds for each act", flush=True)
everything: dict[int, dict[str, list[tuple[float, float]]]] = {}
for seed in range(told.seeds):
    everything[seed] = curves(seed)
    print(f"seed {seed}: " + ", ".join(f"{arm} {of[-1][1]:.1%}" for arm, of in everything[seed].items()), flush=True)
    Path(f"{told.path}.json").write_text(json.dumps(everything))
with Path(f"{told.path}.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("seed", "arm", "epoch", "loss", "accuracy"), *(
        (seed, arm, epoch, *row) for seed, of in everything.items() for arm, curve in of.items() for epoch, row in enumerate(curve, 1)
    )])
drawn(everything, Path(f"{told.path}.png"))
compared = 2 * (len(ARMS) - 1)
for name, part in (("loss", 0), ("accuracy", 1)):
    for arm in ARMS:
        of = [each[arm][-1][part] for each in everything.values()]
        apart = [one - each[ALONE][-1][part] for one, each in zip(of, everything.values(), strict=True)]
        beside = f"; beside the twin {interval(apart, compared)}" if arm != ALONE else ""
        print(f"{name} at the end, {arm}: {statistics.mean(of):.4f}{beside}")
print(f"All {compared} intervals hold at once 95 % of the times, for other seeds and the same {held} images.")
