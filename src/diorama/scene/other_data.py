"""Other data sets read as the scene's own examples are: their pixels scaled, their truth understood."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..core.errors import NotApplicable, UsageError
from ..data import nesting
from ..data.examples import Examples
from ..data.image import Image
from ..data.nesting import Nested

if TYPE_CHECKING:
    from .scene import Scene


def read(scene: Scene, source: str) -> Examples:
    """The examples of a file, kept with the scene. *Raises* UsageError for those of another shape."""
    from ..data.files import read as read_file

    return fitting(scene, scene.keep(f"data/{source}", lambda: read_file(source)))


def fitting(scene: Scene, examples: Examples) -> Examples:
    """The examples, read as the scene's own are. *Raises* UsageError for those of another shape."""
    one = prepared(scene, examples.batch([0]))
    came, wanted = nesting.first(one).shape[1:], nesting.first(scene.examples.x).shape[1:]
    if came != wanted and isinstance(scene.kind, Image):
        raise UsageError(f"the data's examples have shape {tuple(came)}, and this model's have {tuple(wanted)}")
    if nesting.first(one).dtype == nesting.first(examples.x).dtype:
        return dataclasses.replace(examples, kind=scene.kind)
    return examples


def prepared(scene: Scene, x: Nested) -> Nested:
    """Pixels of whole numbers as the model takes them, where it takes fractions; all else as it is."""
    kind, whole = scene.kind, nesting.first(x)
    wanted = nesting.first(scene.examples.x) if scene._examples is not None else None
    if not isinstance(x, Tensor) or not isinstance(kind, Image) or wanted is None or whole.dtype == wanted.dtype:
        return x
    if whole.dtype != torch.uint8 or whole.ndim not in (3, 4):
        return x.to(wanted.dtype)
    pixels = whole.numpy()
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3) and pixels.shape[3] not in (1, 3):
        pixels = np.moveaxis(pixels, 1, 3)
    return torch.cat([kind.encode(each) for each in pixels])


def truth(scene: Scene, y: Tensor | None) -> Tensor | None:
    """The true classes; None for other tasks, and where they cannot be understood."""
    if y is None or scene.task != "classification":
        return None
    try:
        return scene.reading.truth(y).cpu()
    except (NotApplicable, RuntimeError):
        return None
