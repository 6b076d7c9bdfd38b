"""A view: a generator of pictures, which are made of marks. It stands in a room of the page."""

import numpy as np
import torch

import diorama
from diorama.plugins import View, knob, marks


class Norms(View):
    """How strong is each layer's weight?"""

    room = "training"
    needs = "snapshot"
    question = "How strong is each layer's weight?"
    layer: str | None = knob(None, "One layer alone; all of them when left out.", kind="layer")
    order: str = knob("layer", "In which order the bars stand.", choices=("layer", "norm"))

    def pictures(self, scene, selection):
        """One picture: a bar a weight."""
        norms = {name: float(np.linalg.norm(values)) for name, values in scene.parameters().items() if values.ndim > 1}
        if self.layer is not None:
            norms = {name: norm for name, norm in norms.items() if name.rpartition(".")[0] == self.layer}
        names = sorted(norms, key=norms.__getitem__, reverse=True) if self.order == "norm" else list(norms)
        bars = marks.Bars(values=np.array([norms[name] for name in names]), labels=tuple(names))
        yield self.picture(scene, selection, "Norms", bars, "Each bar is the Euclidean norm of one weight.")


diorama.views.register("norms", Norms)

model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
print(diorama.Scene(model, torch.randn(20, 8)).view("norms", order="norm"))
