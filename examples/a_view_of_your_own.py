"""A view of your own data is one class: knobs, and pictures made of marks. The page, Python and the exports know it at once.

A package offers its views to every user through an entry point in its pyproject.toml:

    [project.entry-points."diorama.views"]
    norms = "mypackage.norms:Norms"
"""

import sys

import numpy as np
import torch
from torch import nn

import diorama
from diorama.plugins import View, knob, marks


class Norms(View):
    """How strong is each layer's weight?"""

    title = "Norms"
    question = "How strong is each layer's weight?"
    needs = "snapshot"
    room = "training"
    order: str = knob("layer", "in which order the bars stand", choices=("layer", "norm"))

    def pictures(self, scene, selection):
        """One picture: a bar a weight."""
        norms = {name: float(np.linalg.norm(values)) for name, values in scene.parameters().items() if values.ndim > 1}
        names = sorted(norms, key=norms.__getitem__, reverse=True) if self.order == "norm" else list(norms)
        bars = marks.Bars(values=np.array([norms[name] for name in names]), labels=tuple(names))
        yield self.picture(scene, selection, "Norms", bars, "Each bar is the Euclidean norm of one weight.")


diorama.views.register("norms", Norms)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
picture = diorama.Scene(model, torch.randn(20, 8)).view("norms", order="norm")
print(picture.save(sys.argv[1] if len(sys.argv) > 1 else "norms.svg"))
