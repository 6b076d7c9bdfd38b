"""How far a map is to be trusted, and how much of a layer's neighbours it keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ...core.picture import Check
from ...derive.derivation import Derived
from ...methods.neighbours import continuity, nearest, shared, trust, trustworthiness

NEAR = 10
"""So many neighbours count."""
DOUBTFUL = 0.8
"""Points that are to be trusted less than this are pale."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a map: checks, which points are pale, and how much of the neighbours stayed over time."""

    checks: tuple[Check, ...] = ()
    faded: NDArray[np.bool_] | None = None
    over_time: str = ""
    sentence: str = ""


def measured(derived: Derived) -> Measured:
    """The numbers of a map, remembered as long as the scene."""
    kept: Measured = derived.scene.once(f"measured/{derived.key}", lambda: _measured(derived))
    return kept


def _measured(derived: Derived) -> Measured:
    points = np.asarray(derived.value, np.float64)
    rows = derived.derivation.rows(derived.scene)  # type: ignore[attr-defined]
    near = min(NEAR, (len(points) - 1) // 2)
    if near < 1 or not (np.ptp(points, axis=0) > 0).any():
        return Measured()
    trusted, continued = trustworthiness(rows, points, near), continuity(rows, points, near)
    there, here = nearest(rows, near), nearest(points, near)
    recall, chance = shared(there, here), near / (len(points) - 1)
    checks = (
        Check(
            name="trustworthiness", value=trusted, good=trusted > 0.9,
            sentence=f"1 where the {near} nearest of each point in the picture are near it in the layer; about 0.5 by chance.",
        ),
        Check(
            name="continuity", value=continued, good=continued > 0.9,
            sentence=f"1 where the {near} nearest of each example in the layer are near it in the picture; about 0.5 by chance.",
        ),
        Check(
            name="recall", value=recall, good=recall > (0.3 + chance),
            sentence=f"The share of an example's {near} nearest in the layer that are so in the picture; {chance:.2g} by chance.",
        ),
    )
    doubtful = trust(rows, points, near) < DOUBTFUL
    sentence = f"Trustworthiness {trusted:.3f}, continuity {continued:.3f}, recall {recall:.2f}."
    return Measured(checks, doubtful if doubtful.any() else None, _over_time(derived, there, here, near), sentence)


def _over_time(derived: Derived, there: NDArray[np.int64], here: NDArray[np.int64], near: int) -> str:
    """How much of the neighbours stayed since the step before, in the layer and in the picture."""
    before = derived.before
    if before is None:
        return ""
    rows = before.derivation.rows(before.scene)  # type: ignore[attr-defined]
    layer = shared(nearest(rows, near), there)
    picture = shared(nearest(np.asarray(before.carried, np.float64), near), here)
    return (
        f" Since step {before.scene.step} the layer itself kept {layer:.0%} of each example's {near} neighbours, "
        f"the picture {picture:.0%}."
    )
