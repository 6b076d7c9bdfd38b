"""What is measured of a training beside others: from its record, and from its model where that can be looked into."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import Cancelled, DioramaError
from ...data import nesting
from ...data.image import Image
from ...derive.columns import answers
from ...methods.attribute import attribute
from ...model.layers import Layer
from ...model.plain_module import fed
from ...model.surroundings import NeutralSurroundings
from ...model.weight_modules import answering
from ...run import Run
from ...scene import Scene

Floats = NDArray[np.float64]
BINS = 15
LOOKED = 32
"""So many examples are explained."""


@dataclasses.dataclass(frozen=True)
class MeasuredModel:
    """What a model answers to its probe set, and how: NaN for what does not apply."""

    loss: float = float("nan")
    accuracy: float = float("nan")
    calibration: float = float("nan")
    separation: float = float("nan")
    middle: float = float("nan")
    right: NDArray[np.bool_] | None = None
    """For each example that has a truth, whether it is answered rightly."""
    examples: str = ""
    """The name of the examples: equal for equal ones."""
    why: str = ""
    """Why it could not be looked into."""


def measured(run: Run) -> MeasuredModel:
    """Measure the newest snapshot on the run's own probe set, at most its first 512 examples."""
    try:
        with NeutralSurroundings():
            scene = run.scene()
            if scene.missing is not None:
                return MeasuredModel(why=scene.missing)
            return _of(scene)
    except Cancelled:
        raise
    except (DioramaError, RuntimeError, ValueError, IndexError, TypeError) as error:
        return MeasuredModel(why=" ".join(str(error).split()))


def _of(scene: Scene) -> MeasuredModel:
    answers = scene.answers()
    known = np.ones(len(scene.live), bool) if answers.known is None else answers.known.numpy()
    loss, accuracy = answers.loss, answers.accuracy
    right = None
    calibration = separation = float("nan")
    if scene.task == "classification" and answers.right is not None and scene.live.y is not None:
        right = answers.right.numpy()[known] > 0.5
        if answers.confidence is not None:
            calibration = expected_calibration_error(answers.confidence.double().numpy()[known], right)
        separation = _separation(scene)
    return MeasuredModel(loss, accuracy, calibration, separation, middle(scene), right, scene.live.fingerprint)


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """How far confidence and share of right answers lie apart, over bins of equal width, weighted by their examples.

    *Source* Naeini et al. 2015; Guo et al. 2017, equation 3, with 15 bins (low, high].
    """
    if not len(confidence) or not np.isfinite(confidence).all():
        return float("nan")
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    apart = np.abs(np.bincount(place, right, bins) - np.bincount(place, confidence, bins))
    return float(apart[counts > 0].sum() / len(confidence))


def last_hidden(scene: Scene) -> Layer | None:
    """The last layer with weights before the one that answers; None where no layer answers with units for each example."""
    found: Layer | None = scene.once("last hidden layer", lambda: [_last_hidden(scene)])[0]  # memory keeps no None
    return found


def _last_hidden(scene: Scene) -> Layer | None:
    usable = [layer for layer in scene.layers if layer.each and layer.units > 1 and layer.name]
    learnt = [layer for layer in usable if layer.leaf and layer.parameters] or usable
    learnt = answering(scene.model, scene.reading, learnt, fed(scene.model, scene.live.batch([0], scene.device)))
    return None if not learnt else learnt[-2] if len(learnt) > 1 and answers(scene, learnt[-1]) else learnt[-1]


def _separation(scene: Scene) -> float:
    """The silhouette of the true classes in the last hidden layer."""
    layer = last_hidden(scene)
    y = scene.live.y
    if layer is None or y is None:
        return float("nan")
    truth = scene.reading.truth(y).numpy()
    rows = scene.responses([layer.name])[layer.name].mean.double().numpy()
    return silhouette(rows[truth >= 0], truth[truth >= 0]) if truth.ndim == 1 else float("nan")


def silhouette(rows: Floats, truth: NDArray[Any]) -> float:
    """Mean over examples of (b − a) / max(a, b): a is the mean distance to its own class, b to the nearest other one.

    *Source* Rousseeuw 1987, by scikit-learn.
    """
    if not 2 <= len(set(truth.tolist())) < len(truth) or not np.isfinite(rows).all():
        return float("nan")
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(rows, truth))


def middle(scene: Scene) -> float:
    """The share of gradient times input, in absolute value, that lies in the middle half of rows and columns; of pictures.

    *Meaning* a quarter of the picture: 0.25 is what no preference for the middle would give.
    """
    if not isinstance(scene.kind, Image) or scene.function:
        return float("nan")
    few = scene.live.batch(list(range(min(LOOKED, len(scene.live)))), scene.device)
    reading = scene.reading
    try:
        heat = attribute(
            scene.model, few, target=lambda output: reading.scores(output).flatten(1).amax(1), method="input_x_gradient",
        ).values
    except DioramaError:
        return float("nan")
    whole = nesting.first(heat).abs().double().cpu()
    return share_in_the_middle(whole)


def share_in_the_middle(heat: Tensor) -> float:
    """The mean over examples of the share of a heat map, (n, channels, rows, columns), that lies in its middle half."""
    if heat.ndim != 4:
        return float("nan")
    rows, columns = heat.shape[2:]
    inner = heat[:, :, rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].sum((1, 2, 3))
    total = heat.sum((1, 2, 3))
    told = torch.isfinite(total) & (total > 0)
    return float((inner[told] / total[told]).mean()) if bool(told.any()) else float("nan")
