"""A view: a generator of pictures, which are made of marks. It stands in a room of the page."""

import numpy as np
import torch

import diorama
from diorama.plugins import View, knob, marks


class Norms(View):
    """How strong are the weights of each unit?"""

    room = "training"
    question = "How strong are the weights of each unit?"
    follows = ("layer", "unit")
    layer: str | None = knob(None, "The layer; the chosen one, or the first with weights, when left out.", kind="layer")
    order: str = knob("unit", "In which order the bars stand.", choices=("unit", "norm"))

    def pictures(self, scene, selection):
        """One picture: a bar a unit."""
        layer = scene.layer(self.layer, selection, lambda layer: layer.weight is not None, wanted="layer with weights")
        rows = scene.parameters()[layer.weight]
        norms = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
        units = np.argsort(-norms) if self.order == "norm" else np.arange(len(norms))
        bars = marks.Bars(values=norms[units], labels=tuple(map(str, units)))
        yield self.picture(scene, selection, f"Norms in {layer.name}", bars, "Each bar is the Euclidean norm of one unit's weights.")


diorama.views.register("norms", Norms)

model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
scene = diorama.Scene(model, torch.randn(20, 8))
assert scene.view("norms", select="unit:2/1").title == "Norms in 2"  # the chosen layer, where the knob names none
print(scene.view("norms", order="norm"))
