"""A derivation: long work whose value is plain data. It is kept with the run, goes on from where it was stopped, and follows the training."""

import sys

import numpy as np
import torch

import diorama
from diorama.plugins import Cost, SnapshotChain, Stage, knob


class Shared(SnapshotChain):
    """The direction in each of two layers along which they say most alike of the examples, by power iteration."""

    version = 1
    layer: str = knob("", "The one layer.", kind="layer")
    second: str = knob("", "The other layer.", kind="layer")
    rounds: int = knob(50, "How often the directions are turned.", low=1)

    def fits(self, scene):
        """A name that is none is refused with the nearest, before anything is worked out."""
        if scene.missing is None:
            for name in (self.layer, self.second):
                scene.layers[name]
        return scene.missing

    def cost(self, scene):
        """One pass an example."""
        return Cost(len(scene.live))

    def stages(self, scene, begun=None, before=None):
        """Each turn is a stage. ``begun`` is what a turn handed over as its state; ``before`` the value at the snapshot before."""
        rows = [values.flatten(1).double() for values in scene.activations([self.layer, self.second]).values()]
        product = (rows[0] - rows[0].mean(0)).T @ (rows[1] - rows[1].mean(0)) / len(rows[0])
        if before is not None and before["second"].shape != product.shape[1:]:
            before = None  # units came or went since
        start = begun or before or {"turns": 0, "second": np.ones(product.shape[1])}
        right = torch.tensor(start["second"], dtype=torch.float64)
        first = min(begun["turns"], self.rounds - 1) if begun else 0  # the last turn is always taken: it yields the value
        for turns in range(first, self.rounds):
            left = torch.nn.functional.normalize(product @ right, dim=0)
            right = product.T @ left
            value = {"turns": turns + 1, "layer": left.numpy(), "second": right.numpy(), "shared": float(right.norm())}
            yield Stage(value, turns + 1, self.rounds, state=lambda value=value: value)

    def check(self, scene, value):
        """Refuse what is no such value: it may have been read from a file that anybody wrote."""
        wanted = {"layer": (scene.layers[self.layer].units,), "second": (scene.layers[self.second].units,)}
        if value["turns"] != self.rounds or any(value[name].shape != shape for name, shape in wanted.items()):
            raise ValueError("a direction in each of the two layers is wanted")


diorama.derivations.register("shared_direction", Shared)

torch.manual_seed(0)
folder = sys.argv[1] if len(sys.argv) > 1 else "shared"
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
x, y = torch.randn(40, 8), torch.randint(3, (40,))
with diorama.watch(model, folder, probe=(x, y), optimizer=optimizer, snapshots=5) as recorder:
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)
run = diorama.open(folder)
found = run.scene().derive("shared_direction", layer="0", second="2")
assert [each.scene.step for each in found.way] == run.snapshots[:-1]  # this first look worked those out as well, the oldest first
rows = [values.double() - values.double().mean(0) for values in (model[0](x).detach(), model(x).detach())]
assert np.isclose(found.value["shared"], torch.linalg.matrix_norm(rows[0].T @ rows[1] / 40, 2).item())
print([each.scene.step for each in found.way], found.value["shared"])
