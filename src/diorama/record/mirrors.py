"""Whether a segmentation answers where the mirror image of a mask lies, as if pictures were turned over without their masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EXAMPLES = 4
"""Examples of a batch from which on it tells something."""
_OVERLAP = 0.3
"""Masks that share more than this with their own mirror image do not tell the two apart."""
_FOUND = 0.05
"""So much likelier a mask is answered in its own place than in that of another example's, where anything is learnt."""
_MOST = 64
"""Examples of a batch that are looked at."""
WAYS = {"left and right": 2, "top and bottom": 1}
"""The ways of turning a picture over, each with the axis of (examples, rows, columns) that it turns."""


def mirrored(labels: NDArray[np.int64], chances: NDArray[np.float64], shape: tuple[int, ...]) -> dict[str, float]:
    """``mirrored``: how likely the places of a mask's mirror image are answered as it is, beside its own; ``mirror_way``: of which way.

    *Meaning* the foreground is all but the most frequent class. What is answered at places that are a mask's alone, at those that are its
    mirror image's alone and at those of another example's mask is compared: 0 where a mirror image is like any other place, 1 where it is
    answered like the mask, as half of all pictures turned over without their masks make it.
    *Shapes* ``labels`` (n,), −1 where nothing is known, and ``chances`` (n, k) are one row a pixel, of ``shape`` (examples, rows, columns).
    *Cost* a few passes over at most 64 examples.
    """
    if len(shape) != 3 or shape[0] < _EXAMPLES or int(np.prod(shape)) != len(labels) or not (labels >= 0).any():
        return {}
    most = int(np.bincount(labels[labels >= 0]).argmax())
    mask = ((labels >= 0) & (labels != most)).reshape(shape)[:_MOST]
    likely = (1 - chances[:, most]).reshape(shape)[:_MOST]
    best: dict[str, float] = {}
    for number, axis in enumerate(WAYS.values()):
        other = np.flip(mask, axis)
        union = (mask | other).sum((1, 2))
        clear = (union > 0) & ((mask & other).sum((1, 2)) < _OVERLAP * union)
        if clear.sum() < _EXAMPLES:
            continue
        own, turned, p = mask[clear], other[clear], likely[clear]
        beside = np.roll(own, 1, 0) & ~own & ~turned
        if not beside.any():
            continue
        ground = float(p[beside].mean())
        found = float(p[own & ~turned].mean()) - ground
        if found < _FOUND:
            continue
        share = (float(p[turned & ~own].mean()) - ground) / found
        if share > best.get("mirrored", -np.inf):
            best = {"mirrored": share, "mirror_way": float(number)}
    return best
