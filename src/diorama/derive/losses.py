"""What some live examples lose while the network is looked at with changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import NotApplicable
from ..data import nesting
from ..model.capture import Capture
from ..model.edits import Edit
from ..model.outputs import CLASSES
from ..model.plain_module import fed

if TYPE_CHECKING:
    from ..scene import Scene

BATCH, FEW = 64, 2
NONE = "it measures losses, and wants a known task and the truth of each example; pass y (or probe=(x, y)) and task="


def unmeasured(scene: Scene) -> str | None:
    """Why no loss can be measured; None where one can. A few examples are asked: the page waits for this."""
    y = scene.live.y if scene.kinds and scene.task else None
    if not scene.kinds or not scene.task or (y is None and scene.task != "reconstruction"):
        return NONE
    if y is not None and not bool(scene.reading.labelled(y.cpu()).any()):
        return NONE
    try:
        losses(scene, range(min(FEW, len(scene.live))))
    except NotApplicable as error:
        return str(error)
    return None


def losses(scene: Scene, chosen: Sequence[int] | NDArray[np.int64], edits: Sequence[Edit] = ()) -> tuple[NDArray[np.float64], Tensor]:
    """The loss of each of some live examples with more edits than the scene's own, and what is answered.

    *Raises* NotApplicable where the truth is not known.
    """
    found, answers = [], []
    reading, y = scene.reading, scene.live.y
    for start in range(0, len(chosen), BATCH):
        part = [int(k) for k in chosen[start : start + BATCH]]
        x = fed(scene.model, scene.live.batch(part, scene.device))
        with Capture(scene.model, edits=(*scene.edits, *edits), cancel=scene.cancel) as look:
            scores = reading.scores(look(x)).detach().cpu()
        wanted = reading.wanted(x, None if y is None else y[torch.tensor(part)])
        if wanted is None:
            raise NotApplicable(NONE)
        found.append(reading.losses(scores, wanted.cpu()).double().reshape(len(part), -1).mean(1))
        answers.append(reading.predictions(scores))
    return torch.cat(found).numpy(), torch.cat(answers)


def weights(scene: Scene, chosen: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much the loss of each of some live examples counts for in that of all, and how much what is right of it does: see :class:`Reading`."""
    some = torch.as_tensor(np.asarray(chosen))
    wanted = scene.reading.wanted(nesting.select(scene.live.x, some), None if scene.live.y is None else scene.live.y[some])
    if wanted is None:
        return np.ones(len(chosen)), np.ones(len(chosen))
    return scene.reading.weights(wanted.cpu()).numpy(), scene.reading.counts(wanted.cpu()).numpy()


def right(scene: Scene, chosen: Sequence[int] | NDArray[np.int64], answers: Tensor) -> NDArray[np.float64]:
    """How much of each of the examples is answered rightly; NaN for numbers, which are not right or wrong."""
    y = scene.live.y
    if y is None or scene.task not in (*CLASSES, "multi_label"):
        return np.full(len(chosen), np.nan)
    truth = scene.reading.truth(y[torch.as_tensor(np.asarray(chosen))])
    same = (answers == truth.to(answers.device)).reshape(len(answers), -1).double()
    known = scene.reading.known(y[torch.as_tensor(np.asarray(chosen))]).reshape(len(answers), -1)
    if known.shape != same.shape:
        known = known.any(1, keepdim=True).expand(same.shape)
    count = known.sum(1)
    return torch.where(count > 0, (same * known).sum(1) / count.clamp_min(1), torch.nan).numpy()
