"""The examples as points, near each other where a layer answers alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Field, Group
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...derive.derivation import Derived
from ...methods.projecting import trustworthiness
from ...scene import Scene
from ...scene.directions import default_layer
from ...scene.sets import classes_of
from .. import planes
from ..view import View

NEAR = 10
"""So many neighbours count for how far the picture is to be trusted."""
COLOURED = 100
"""Of more classes no ground is drawn: their colours could not be told apart."""


class Projection(View):
    """The examples as points of a plane: near each other where a layer, or several together, answer alike.

    *Meaning* points are coloured by their true class (without a truth by the answer), and marked where the network is wrong; the
    ground by the class that lies densest there. Axes have no names, and who is whose neighbour is worth more than how far apart
    groups lie. At each step points start from where they were at a step before, so that they move only where the network did.
    *Error* the trustworthiness: 1 where no point of the picture stands beside one that is far from it in the layer.
    *Cost* one forward pass an example, at this step and at a few before it, then what the algorithm takes.
    *Source* Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks; Venna & Kaski 2001 (trustworthiness).
    """

    title = "Projection"
    question = "Which examples does the network find alike?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("B17",)
    follows = ("layer", "example")

    layer: str | None = knob(
        None, "The layer, or several with + between; by itself the chosen one, else the last before the answer.", kind="layer",
        main=True,
    )
    method: str = knob("pca", "The algorithm, one of diorama.projections.")
    dimensions: int = knob(2, "So many numbers an example; of three, each pair is a plane.", low=2, high=3)
    settings: str = knob("", "The algorithm's own knobs, as JSON.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer that answers once an example."""
        try:
            default_layer(scene)
        except NotApplicable as error:
            return str(error)
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The points as the algorithm places them."""
        derived = self._derived(scene, selection)
        way = [] if derived.known else derived.way
        for number, before in enumerate(way):
            yield Progress(done=number, total=len(way), note=f"placed at step {before.scene.step}, on the way to this step")
            before.carried  # noqa: B018 - made here, so that the progress is told
        for stage in derived.stream():
            if not stage.final:
                yield stage.progress
            if stage.value is not None:
                yield self._drawn(scene, selection, derived, np.asarray(stage.value, np.float64), final=stage.final)

    def _derived(self, scene: Scene, selection: Selection) -> Derived:
        """The projection at the scene's step, after that at the snapshot before, and so on to the first."""
        key = selection.one("layer")
        return scene.derive(
            "projection", layer=self.layer or (key.name if key is not None else None), method=self.method,
            dimensions=self.dimensions, settings=self.settings,
        )

    def _drawn(
        self, scene: Scene, selection: Selection, derived: Derived, points: NDArray[np.float64], *, final: bool
    ) -> Picture:
        labels = classes_of(scene)
        right = scene.answers().right
        wrong = right.numpy() < 0.5 if right is not None and right.ndim == 1 else None
        keys = tuple(number_key("example", k) for k in range(len(points)))
        fields = []
        for pair in combinations(range(points.shape[1]), 2):
            both = points[:, pair]
            extent = planes.square(both)
            told = np.zeros(len(both))
            if labels is not None and 1 < len(scene.classes) <= COLOURED and (labels >= 0).any():
                known = labels >= 0
                classes = scene.classes
                ground = planes.shares(both[known], labels[known], len(classes), extent)
                told = np.where(known, labels.astype(np.float64), np.nan)
            else:
                classes, ground = ("examples",), np.full((2, 2, 1), 0.5, np.float32)
            fields.append(
                Field(
                    values=ground, extent=extent, classes=classes, points=both, point_values=told, point_keys=keys, wrong=wrong,
                    x_title=f"dimension {pair[0] + 1}", y_title=f"dimension {pair[1] + 1}", size=360 if points.shape[1] == 2 else 260,
                )
            )
        names = derived.derivation.layers(scene)  # type: ignore[attr-defined]
        layers, one = ("layer " if len(names) == 1 else "layers ") + " and ".join(names), len(names) == 1
        caption = f"{len(points)} examples, near each other where {layers} {'answers' if one else 'answer'} alike"
        if derived.before is not None:
            caption += f"; placed starting from where they were at step {derived.before.scene.step}"
        checks = (_trust(derived, points),) if final and len(points) > 2 else ()
        return self.picture(
            scene, selection, f"Examples as {layers} {'sees' if one else 'see'} them",
            Group(children=tuple(fields), direction="row"), f"{caption}.", checks=checks, final=final,
        )


def _trust(derived: Derived, points: NDArray[np.float64]) -> Check:
    """How few points stand beside one that is far from it in the layer."""
    near = min(NEAR, (len(points) - 1) // 2)
    value = trustworthiness(derived.derivation.rows(derived.scene), points, near)  # type: ignore[attr-defined]
    sentence = f"1 where the {near} nearest of each point in the picture are near it in the layer; about 0.5 by chance."
    return Check(name="trustworthiness", value=value, sentence=sentence, good=value > 0.9)
