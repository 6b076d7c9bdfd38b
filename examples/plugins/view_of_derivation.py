"""A view of long work: the work is a derivation, which is kept, shared and resumed; the view tells how far it is, and draws what there is so far."""

import numpy as np
import torch

import diorama
from diorama.plugins import Cost, Derivation, Stage, View, knob, marks


class Company(Derivation):
    """How many of an example's nearest five in a layer are of its own class."""

    layer: str = knob("", "The layer.", kind="layer")
    piece: int = knob(10, "So many examples are worked out at once.", low=1)

    def cost(self, scene):
        """One pass an example."""
        return Cost(len(scene.live))

    def stages(self, scene, begun=None, before=None):
        """A stage a piece. Its state is all that is needed to go on; it is asked now and then, and only where the work is long."""
        rows, labels = scene.activations(self.layer)[self.layer].flatten(1).double(), scene.live.y
        shares = np.full(len(rows), np.nan)
        first = 0
        if begun is not None:
            first, shares = int(begun["first"]), np.array(begun["shares"])  # what is handed over cannot be written to
        for start in range(first, len(rows), self.piece):
            part = slice(start, start + self.piece)
            apart = torch.cdist(rows[part], rows)
            apart[torch.arange(len(apart)), torch.arange(len(apart)) + start] = torch.inf
            near = apart.argsort(1)[:, :5]
            shares[part] = (labels[near] == labels[part, None]).double().mean(1)
            state = {"first": start, "shares": shares.copy()}  # this piece is made again: it may be the last, which must be yielded
            yield Stage(shares.copy(), min(start + self.piece, len(rows)), len(rows), "examples", state=lambda state=state: state)

    def check(self, scene, value):
        """A share for each example."""
        if not isinstance(value, np.ndarray) or value.shape != (len(scene.live),) or value.dtype.kind != "f":
            raise ValueError("a share for each example is wanted")


class CompanyView(View):
    """Do the classes keep to themselves in a layer?"""

    room, question, follows = "relate", "Do the classes keep to themselves in this layer?", ("layer",)
    layer: str | None = knob(None, "The layer; the chosen one, or the first with weights, when left out.", kind="layer", main=True)

    @classmethod
    def wants(cls, scene):
        """Labels, to compare."""
        return None if scene.live.y is not None else "it compares labels, and the probe set has none"

    def pictures(self, scene, selection):
        """How far the work is, and after each stage the bars so far."""
        layer = scene.layer(self.layer, selection, lambda layer: layer.weight is not None, wanted="layer with weights")
        for stage in scene.derive("company", layer=layer.name).stream():
            if not stage.final:
                yield stage.progress
            if stage.value is not None:
                yield self._picture(scene, selection, layer.name, stage)

    def _picture(self, scene, selection, layer, stage):
        labels, shares = scene.live.y.numpy(), stage.value
        known = [shares[(labels == each) & ~np.isnan(shares)] for each in range(len(scene.classes))]
        means = np.array([part.mean() if len(part) else np.nan for part in known])
        keys = tuple(f"class:{each}" for each in range(len(means)))
        bars = marks.Bars(values=means, labels=tuple(map(str, scene.classes)), keys=keys)
        caption = "The mean share, over the examples of a class, of their nearest five in the layer that are of it too."
        return self.picture(scene, selection, f"Company in {layer}", bars, caption, final=stage.final)


diorama.derivations.register("company", Company)
diorama.views.register("company", CompanyView)

torch.manual_seed(0)
x, y = torch.randn(60, 8), torch.arange(60) % 3
x += 2 * torch.nn.functional.one_hot(y, 8)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
scene = diorama.Scene(model, x, y, classes=("a", "b", "c"))
told = []
*_, last = scene.stream("company", layer="0", progress=told.append)
rows = model[0](x).detach().double()
near = (torch.cdist(rows, rows) + torch.diag(torch.full((60,), torch.inf))).argsort(1)[:, :5]
wanted = (y[near] == y[:, None]).double().mean(1)
assert np.allclose(scene.derive("company", layer="0").value, wanted)
assert np.allclose(last.body.values, [wanted[y == each].mean() for each in range(3)])
print(last.title, [step.done for step in told], last.body.values)
