"""A derivation: long work whose value is plain data. It is kept with the run, and goes on from where it was stopped."""

import numpy as np
import torch

import diorama
from diorama.plugins import Cost, Derivation, Stage, knob


class Spectra(Derivation):
    """The largest singular values of each weight."""

    version = 1
    on = "weights"
    count: int = knob(3, "How many of each.", low=1)

    def cost(self, scene):
        """It runs no pass through the model."""
        return Cost(0)

    def stages(self, scene, begun=None, before=None):
        """A stage a weight; begun is what an earlier stage handed over as its state."""
        weights = {name: values for name, values in scene.parameters().items() if values.ndim == 2}
        found = dict(begun or {})
        for done, (name, values) in enumerate(weights.items(), start=1):
            if name not in found:
                found[name] = np.linalg.svd(values, compute_uv=False)[: self.count]
            yield Stage(dict(found), done, len(weights), name, state=lambda: dict(found))

    def check(self, scene, value):
        """Refuse what is no such value: it may have been read from a file that anybody wrote."""
        if not isinstance(value, dict) or not all(isinstance(one, np.ndarray) and one.ndim == 1 for one in value.values()):
            raise ValueError("a list of numbers for each weight is wanted")


diorama.derivations.register("spectra", Spectra)

model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
spectra = diorama.Scene(model, torch.randn(20, 8)).derive("spectra", count=2).value
assert np.allclose(spectra["0.weight"][0], torch.linalg.matrix_norm(model[0].weight, 2).item())
print(spectra)
