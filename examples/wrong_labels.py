"""A flaw that is seen, and what mending it gains: one label in four is wrong, and is set right while the network trains.

The view ``examples`` ranks the likely mislabelled by what the network held for likelier over the training so far, estimates how many are
truly wrong, and offers to relabel those that are chosen as it answered instead; here all are. The training goes on with those labels; its
twin is left alone. ``python examples/wrong_labels.py runs/labels 5`` trains both twins from five seeds and prints the gain.
"""

import statistics
import sys
import threading

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses
from torch.utils.data import DataLoader, TensorDataset

import diorama

path = sys.argv[1] if len(sys.argv) > 1 else "runs/labels"
seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 60

COUNT = 500
found = load_digits()
digits, truth = torch.tensor(found.images / 16, dtype=torch.float32).flatten(1), torch.tensor(found.target)


def relabelled(run: diorama.Run, wrong: torch.Tensor) -> str:
    """Choose all doubtful examples and do what the view offers for them, as a click on it does; the training applies it after its next step."""
    scene = run.scene()
    doubtful = (scene.derive("margins").value["doubt"] > 0).nonzero()[0]
    view = scene.view("examples", show="mislabelled", select=[f"example:{k}" for k in doubtful])
    offer = next(action for action in view.body.children[0].actions if action.command == "relabel")
    threading.Thread(target=run.command, args=("relabel",), kwargs={**offer.knobs, "wait": 60.0}).start()
    chosen = [int(k) for part in offer.knobs["examples"].split(",") for k in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)]
    right = sum(int(label) == int(truth[k]) for k, label in zip(chosen, offer.knobs["labels"].split(","), strict=True))
    return f"{len(chosen)} doubtful labels, of which {int(wrong[chosen].sum())} are wrong; {right} become right"


def trained(labels: torch.Tensor, seed: int, wrong: torch.Tensor | None) -> float:
    """A small network on the first digits; returns its accuracy on the others. Where it is told which labels are wrong, it is
    mended after a third of the time."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    data = diorama.data(TensorDataset(digits[:COUNT], labels))
    loader = DataLoader(data, 25, shuffle=True, generator=torch.Generator().manual_seed(seed))
    name = f"{path}-{'twin' if wrong is None else 'mended'}-{seed}"
    with diorama.watch(model, name, probe=data.examples(COUNT), optimizer=optimizer, data=data, snapshots=10) as recorder:
        for epoch in range(epochs):
            if wrong is not None and epoch == epochs // 3:
                print(f"seed {seed}: {relabelled(diorama.open(recorder.path), wrong)}")
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
    return float((model(digits[COUNT:]).argmax(1) == truth[COUNT:]).float().mean())


gains = []
for seed in range(seeds):
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(COUNT, generator=generator) < 0.25
    shift = torch.randint(1, 10, (COUNT,), generator=generator)
    labels = torch.where(wrong, (truth[:COUNT] + shift) % 10, truth[:COUNT])
    before, after = trained(labels, seed, None), trained(labels, seed, wrong)
    gains.append(after - before)
    print(f"seed {seed}: held-back accuracy {before:.1%} → {after:.1%}")
spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
print(f"gain in accuracy over {seeds} seeds: {statistics.mean(gains):+.1%} ± {spread:.1%}")
