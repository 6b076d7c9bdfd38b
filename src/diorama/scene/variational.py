"""Which layer of a scene gives the means of a code that is drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data import nesting
from ..model.layers import Layer
from ..model.unwrap import fed
from ..model.variational import mean_layer

if TYPE_CHECKING:
    from .scene import Scene


def code_layer(scene: Scene) -> Layer | None:
    """The layer that gives the means of a variational autoencoder's code; None where none is seen.

    *Meaning* told by the network's form, in eval mode or, where codes are drawn in training alone, in that: see :func:`.model.variational.drawn`.
    *Cost* one pass of two examples with gradients, or two, once.
    """
    if scene.task != "reconstruction" or scene.missing is not None or scene.function:
        return None
    x = scene.examples.batch(range(min(2, len(scene.examples))))
    found: Layer | None = scene.keep(
        "variational", lambda: mean_layer(scene.model, fed(scene.model, nesting.to(x, scene.device)), scene.layers.leaves, scene.reading.scores)
    )
    return found
