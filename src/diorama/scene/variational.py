"""Which layer of a scene gives the means of a code that is drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data import nesting
from ..model.layers import Layer
from ..model.unwrap import fed
from ..model.variational import code_layers

if TYPE_CHECKING:
    from .scene import Scene


def code_layer(scene: Scene) -> Layer | None:
    """The layer that gives the means of a variational autoencoder's code; None where none is seen.

    *Meaning* told by the network's form, in eval mode or, where codes are drawn in training alone, in that: see :func:`.model.variational.drawn`.
    *Cost* two passes of two examples with gradients, or four, once.
    """
    return _found(scene)[0]


def joint_layer(scene: Scene) -> Layer | None:
    """The layer that gives means and log-variances of a code in one, which the network parts; None where none is seen. *Cost* as above."""
    return _found(scene)[1]


def _found(scene: Scene) -> tuple[Layer | None, Layer | None]:
    if scene.task != "reconstruction" or scene.missing is not None or scene.function:
        return None, None
    x = scene.examples.batch(range(min(2, len(scene.examples))))
    found: tuple[Layer | None, Layer | None] = scene.keep(
        "variational", lambda: code_layers(scene.model, fed(scene.model, nesting.to(x, scene.device)), scene.layers.leaves, scene.reading.scores)
    )
    return found
