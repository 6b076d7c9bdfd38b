"""The mean loss of the live examples that have one, the same examples wherever weights are moved."""

from __future__ import annotations

from torch import Tensor

from ...model.criteria import weighted
from ...scene import Scene
from ..samples import unanswered


def with_losses(scene: Scene) -> Tensor | None:
    """Which live examples have a loss that is a finite number (n,); None where all have that are known, or none has."""
    found = scene.answers(sure=False)
    if found.losses is None:
        return None
    good = found.losses.isfinite()
    rest = ~good if found.known is None else ~good & found.known
    return good if bool(rest.any()) and bool(good.any()) else None


def mean_loss(scene: Scene, counted: Tensor | None) -> float:
    """The mean loss of the examples that are counted, or of all."""
    found = scene.answers(sure=False)
    if counted is None or found.losses is None:
        return found.loss
    return mean_of(scene, found.losses, counted)


def mean_of(scene: Scene, losses: Tensor, counted: Tensor) -> float:
    """The mean of the losses of the first examples, of those that are counted."""
    wanted = scene.reading.wanted(scene.live.x, scene.live.y)
    assert wanted is not None  # there are losses
    own = counted[: len(losses)]
    return weighted(losses[own], scene.reading.weights(wanted.cpu()[: len(losses)])[own])


def uncounted(scene: Scene) -> str:
    """A sentence on the examples that are left out, where some are."""
    return f"{said} The mean loss is that of the others." if with_losses(scene) is not None and (said := unanswered(scene)) else ""
