"""Rauber et al. 2017 on digits: what a network makes of its examples before and after training, layer by layer, in maps and numbers.

The neighbourhood hit of a layer is the share of an example's nearest six that are of its class. Classes come apart with the training, in
later layers more than in earlier ones, and units of a class come together. Then half of the digits are turned dark on light: the map of
each class falls into two, and ``subgroup`` leads to both. ``python examples/hidden_activity.py runs/hidden mnist.npz`` takes 28 × 28 digits
(arrays x_train, y_train, x_test, y_test); a third argument is the number of passes over them, and a
fourth, "numbers", leaves the pictures out.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

import diorama
from diorama.methods.neighbours import hit, nearest

path = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/hidden")
file = sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] != "-" else None
drawn = "numbers" not in sys.argv
passes = int(sys.argv[3]) if len(sys.argv) > 3 else 3 if file else 20
NEAR, LAYERS = 6, ("conv1", "conv2", "hidden")


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Digits to learn and to look at, from a file or from scikit-learn."""
    if file:
        found = np.load(file)
        x, y, looked, truth = (found[name] for name in ("x_train", "y_train", "x_test", "y_test"))
        return torch.tensor(x / 255).float()[:, None], torch.tensor(y).long(), torch.tensor(looked / 255).float()[:, None], torch.tensor(truth).long()
    told = load_digits()
    x, y = torch.tensor(told.images / 16).float()[:, None], torch.tensor(told.target)
    return x[:1285], y[:1285], x[1285:], y[1285:]


def trained(x: Tensor, y: Tensor, looked: Tensor, truth: Tensor, name: str) -> diorama.Run:
    """A small convolutional network; the digits that are looked at are none that it learns."""
    torch.manual_seed(0)
    side = x.shape[-1] // 4
    model = nn.Sequential()
    for part, module in (
        ("conv1", nn.Conv2d(1, 16, 3, padding=1)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(16, 32, 3, padding=1)), ("relu2", nn.ReLU()), ("pool2", nn.MaxPool2d(2)),
        ("flat", nn.Flatten()), ("hidden", nn.Linear(32 * side * side, 64)), ("act", nn.ReLU()), ("out", nn.Linear(64, 10)),
    ):
        model.add_module(part, module)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    probe = (looked[:512], truth[:512])
    with diorama.watch(model, path / name, probe=probe, optimizer=optimizer, inputs=diorama.Image(range=(0, 1)), snapshots=100) as recorder:
        for epoch in range(passes):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
            for chosen in order.split(64):
                loss = F.cross_entropy(model(x[chosen]), y[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss.detach())
    return diorama.open(path / name)


def hits(scene: diorama.Scene) -> list[float]:
    """The neighbourhood hit of each layer, with all its places."""
    found = scene.activations(LAYERS)
    return [hit(nearest(found[name].flatten(1).double().numpy(), NEAR), scene.live.y.numpy()) for name in LAYERS]


def together(scene: diorama.Scene) -> float:
    """Of how many units of the hidden layer the nearest unit, by correlation, serves the same class best."""
    value = scene.derive("units", layer="hidden", follow=False).value
    serves, alike = value["serves"].argmax(1), value["correlation"].astype(float)
    np.fill_diagonal(alike, -2)
    return float((serves[alike.argmax(1)] == serves).mean())


x, y, looked, truth = digits()
run = trained(x, y, looked, truth, "digits")
first, last = run.scene(step=0), run.scene()
print(f"neighbourhood hit of the {NEAR} nearest, {len(last.live)} digits; the pixels themselves:",
      f"{hit(nearest(last.live.x.flatten(1).double().numpy(), NEAR), last.live.y.numpy()):.3f}")
for name, before, after in zip(LAYERS, hits(first), hits(last), strict=True):
    print(f"{name:8} before training {before:.3f}, after {after:.3f}")
print(f"units whose nearest serves the same class: before {together(first):.2f}, after {together(last):.2f}")
if drawn:
    for name, scene in (("before", first), ("after", last)):
        scene.view("projection", layer="hidden", method="tsne").save(path / f"hidden-{name}.png")
    last.view("projection", layer="hidden", method="tsne", beside="layers").save(path / "layers.png")
    last.view("units", layer="hidden").save(path / "units.png")

# Half of the digits are turned, and nobody says which.
run = trained(torch.cat([x, 1 - x]), torch.cat([y, y]), torch.stack([looked, 1 - looked], 1).flatten(0, 1), truth.repeat_interleave(2), "turned")
scene = run.scene()
if drawn:
    scene.view("projection", layer="conv2", method="tsne").save(path / "turned.png")
found = 0
for number in range(10):
    picture = scene.view("subgroup", layer="conv2", class_=number)
    if drawn:
        picture.save(path / f"turned-{number}.png")
    table = picture.body.children[-1]
    parts = [[int(key.split(":")[1]) % 2 for key, where in zip(table.row_keys, table.columns[1].texts, strict=True) if where == told]
             for told in ("in this part", "in the rest")]
    found += len(set(parts[0])) == len(set(parts[1])) == 1 and parts[0][0] != parts[1][0]
    print(picture.caption)
print(f"of {found} of 10 classes the two parts that were found are the light and the dark digits")
