"""How far a map is to be trusted, and how much of a layer's neighbours it keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ...core.picture import Check
from ...core.rounding import alike
from ...derive.derivation import DerivedValue
from ...methods.neighbours import MOST, continuity, hit, judged, nearest, shared, trust, trust_of, trustworthiness
from ...methods.placement import unplaced, variances
from ...scene.sets import classes_of

NEAR = 10
"""So many neighbours count."""
FEWEST, FOLLOWED = 4, 12
"""So few snapshots say nothing of how points move; and so many, the last ones, are looked at."""
FEW = 1000
"""How points move over time is told by so many of them, by lot, where there are more than twice as many."""
DOUBTFUL = 0.8
"""Points that are to be trusted less than this are pale."""
LESS = 1e-6
"""A smaller part of the variance is lost by rounding."""


@dataclasses.dataclass(frozen=True)
class MeasuredMap:
    """What was measured of a map: checks, which points are pale, and how much of the neighbours stayed over time."""

    checks: tuple[Check, ...] = ()
    faded: NDArray[np.bool_] | None = None
    over_time: str = ""
    sentence: str = ""
    still: bool = False
    """Whether the layer answers the same to all, or with no numbers, so that no map of it says anything."""


def measured(derived: DerivedValue) -> MeasuredMap:
    """The numbers of a map, remembered as long as the scene."""
    kept: MeasuredMap = derived.scene.once(f"measured/{derived.key}", lambda: _measured(derived))
    return kept


def _measured(derived: DerivedValue) -> MeasuredMap:
    points = np.asarray(derived.value, np.float64)
    rows = derived.derivation.rows(derived.scene)  # type: ignore[attr-defined]
    if len(rows) > 1 and np.all(alike(rows.min(0), rows.max(0))):
        return MeasuredMap(still=True)
    near = min(NEAR, (len(points) - 1) // 2)
    if near < 1 or unplaced(points):
        return MeasuredMap()
    which, check = judged(len(points)), derived.scene.cancel
    doubtful, said = np.zeros(len(points), bool), ""
    if len(points) <= MOST:
        trusted, continued = trustworthiness(rows, points, near), continuity(rows, points, near)
        doubtful = trust(rows, points, near) < DOUBTFUL
    else:
        each = trust_of(rows, points, near, which, check)
        doubtful[which] = each < DOUBTFUL
        trusted, continued = float(each.mean()), float(trust_of(points, rows, near, which, check).mean())
        said = f" Measured at {len(which):,} of {len(points):,} points." if len(which) < len(points) else ""
    there, here = nearest(rows, near, which), nearest(points, near, which)
    recall, chance = shared(there, here), near / (len(points) - 1)
    checks: tuple[Check, ...] = (
        Check(
            name="trustworthiness", value=trusted, good=trusted > 0.9,
            sentence=f"1 where the {near} nearest of each point in the picture are near it in the layer; about 0.5 by chance.{said}",
        ),
        Check(
            name="continuity", value=continued, good=continued > 0.9,
            sentence=f"1 where the {near} nearest of each example in the layer are near it in the picture; about 0.5 by chance.{said}",
        ),
        Check(
            name="recall", value=recall, good=_judged(recall, 0.5, 0.2 + chance),
            sentence=f"The share of an example's {near} nearest in the layer that are so in the picture; {chance:.2g} by chance, and from 0.5 on "
            f"most are.{said}",
        ),
    )
    sentence = f"Trustworthiness {trusted:.3f}, continuity {continued:.3f}, recall {recall:.2f}."
    classes = classes_of(derived.scene)
    if classes is not None and classes.ndim == 1 and len(np.unique(classes[classes >= 0])) > 1:
        hits = [hit(table, np.asarray(classes), which) for table in (here, there)]
        shares = np.bincount(classes[classes >= 0]) / max(1, (classes >= 0).sum())
        checks += (Check(
            name="neighbourhood hit", value=hits[0], good=hits[0] > hits[1] - 0.1,
            sentence=f"The share of an example's {near} nearest in the picture that are of its class: {hits[1]:.2f} in the layer itself, "
            f"about {float((shares**2).sum()):.2g} by chance.",
        ),)
        sentence += f" Neighbourhood hit {hits[0]:.2f}, {hits[1]:.2f} in the layer."
    followed = temporal(derived, near)
    if followed is not None:
        checks += (Check(
            name="temporal preservation", value=-followed, good=_judged(-followed, 0.5, 0.0),
            sentence="1 where points move only where the network did, 0 where one has nothing to do with the other, and from 0.5 on it is well: the "
            "correlation, over the snapshots, of how far an example's point moves with how many of its neighbours in the layer it loses.",
        ),)
    over_time = _over_time(derived, there, here, near, which) + _stood_in(derived, rows, points)
    return MeasuredMap(checks, doubtful if doubtful.any() else None, over_time, sentence)


def _stood_in(derived: DerivedValue, rows: NDArray[np.float64], points: NDArray[np.float64]) -> str:
    """That other directions than the first components are shown, where these few examples do not tell them apart from others."""
    if derived.before is None or derived.derivation.method != "pca":  # type: ignore[attr-defined]
        return ""
    shown, most = variances(rows, points)
    if most - shown < LESS * most:
        return ""
    return (
        f" So few examples do not tell the last component apart from those that are left out: in its place stands the direction between them "
        f"that places the examples most as before, so that {shown:.1%} of the variance are shown instead of {most:.1%}."
    )


def _judged(value: float, well: float, ill: float) -> bool | None:
    """Whether it is well, or ill; None in between, where neither can be said."""
    return True if value >= well else None if value > ill else False


def temporal(derived: DerivedValue, near: int = NEAR) -> float | None:
    """How well points move only where the network did: the correlation, over a training's snapshots, of the neighbours that an example
    keeps in the layer with how far its point moves; the mean over examples. None for fewer than four snapshots.

    *Source* Yang et al. 2022, DeepVisualInsight (temporal preserving).
    """
    which = judged(len(derived.value), FEW)
    way = [*derived.way[-(FOLLOWED - 1) :], derived]
    if len(way) < FEWEST:
        return None
    kept, moved = [], []
    before: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None
    for one in way:
        table = _near(one, near, which)
        points = np.asarray(one.carried, np.float64)[which]
        if not np.isfinite(points).all():
            return None
        if before is not None:
            kept.append([len(np.intersect1d(a, b)) for a, b in zip(before[0], table, strict=True)])
            moved.append(np.linalg.norm(points - before[1], axis=1))
        before = table, points
    return _correlated(np.array(kept, np.float64), np.array(moved))


def _near(derived: DerivedValue, near: int, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nearest of some examples in the layer, kept for all moments of the run: each step after looks at the snapshots before."""
    kept: NDArray[np.int64] = derived.scene.keep(
        f"near/{derived.key}/{near}/{len(which)}", lambda: nearest(derived.derivation.rows(derived.scene), near, which)  # type: ignore[attr-defined]
    )
    return kept


def _correlated(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """The mean correlation of the columns of two tables; None where none varies in both."""
    one, other = one - one.mean(0), other - other.mean(0)
    size = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    varies = size > 1e-9 * max(1e-300, float(size.max(initial=0.0)))
    return float(((one * other).sum(0)[varies] / size[varies]).mean()) if varies.any() and size.max() > 0 else None


def _over_time(
    derived: DerivedValue, there: NDArray[np.int64], here: NDArray[np.int64], near: int, which: NDArray[np.int64],
) -> str:
    """How much of the neighbours stayed since the step before, in the layer and in the picture."""
    before = derived.before
    if before is None:
        return ""
    points = np.asarray(before.carried, np.float64)
    if not np.isfinite(points).all():
        return ""
    layer = shared(_near(before, near, which), there)
    picture = shared(nearest(points, near, which), here)
    return (
        f" Since step {before.scene.step} the layer itself kept {layer:.0%} of each example's {near} neighbours, "
        f"the picture {picture:.0%}."
    )
