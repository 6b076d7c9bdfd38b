"""What says nothing: units that answer the same to everything or with no numbers, and those that never pass the ReLU behind their layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.numerals import counted
from ...core.picture import MapPlaces
from ...derive.derivation import DerivedValue
from ...scene import Scene
from ..samples import part

CLOSED = "never passes the ReLU behind"
"""Of a unit whose answers nothing that follows hears of."""


def closed(scene: Scene, one: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which units of a layer, as the derivation ``clusters`` tells it, never come through the ReLU behind it or behind its norm.

    *Meaning* behind a ReLU a mean answer is 0 where each answer is: the answers to the examples that are counted.
    """
    source = scene.layers.handed(scene.layers[one["layer"]])
    return ~one["profile"].any(1) if source.rectified else np.zeros(len(one["units"]), bool)


def stand(derived: DerivedValue, scene: Scene, reached: int | None) -> MapPlaces | None:
    """At which step the points of a map that follows the training stand: an earlier one that was reached, else the scene's; None without a run."""
    at = scene.step if reached is None else reached
    return None if at is None else MapPlaces(of=derived.line, step=at)


def unheard(shut: int, count: int, drawn: str = "") -> str:
    """A sentence on units that never pass the ReLU behind, and how they are ``drawn``; nothing where there are none."""
    how = f", {drawn}," if drawn else ""
    return f" {part(shut, count, 'units')}{how} never pass{'es' * (shut == 1)} the ReLU behind: nothing that follows hears of them." if shut else ""


def colourless(scores: NDArray[np.floating[Any]], over: str) -> str:
    """A sentence on units, (units, columns) in their own standard deviations, of which there is nothing to see, and why; nothing where all vary.

    ``over`` says over what they are looked at ("to every example").
    """
    bad = np.isnan(scores).all(1)
    still = ~bad & ~np.nan_to_num(scores).any(1)
    groups = [(int(still.sum()), f"the same {over}"), (int(bad.sum()), "with no numbers")]
    count, alone = len(scores), sum(many > 0 for many, _ in groups) == 1
    said = [
        (f"the {'one unit answers' if count == 1 else f'{count:,} units all answer'} {how}" if alone and many == count
         else f"{many:,} of {counted(count, 'units')} answer{'s' * (many == 1)} {how}")
        for many, how in groups if many
    ]
    if not said:
        return ""
    text = " and ".join(said)
    told = sum(many for many, _ in groups)
    shown = "there is nothing to see" if told == count else f"{'it has' if told == 1 else 'they have'} no colour"
    return f" {text[0].upper()}{text[1:]}, so {shown}."
