"""What can be done at once with the doubtful examples of a training that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import numbers_written
from ...core.marks import Action, Number
from ._relabelled import changed_of_probe

if TYPE_CHECKING:
    from ...scene import Scene


LOOKS = 10
"""Looks from which on doubt is more than what the network answered before it had learnt anything."""


def ways(scene: Scene, suspected: NDArray[np.int64], instead: NDArray[np.int64], looks: int) -> Number | None:
    """What can be done with doubtful examples at once; None where the training has ended, or its data are not known to hold all of them."""
    run = scene.run
    data: dict[str, Any] = (run.meta.get("steered") or {}) if run is not None and run.alive else {}
    if not len(suspected) or not data or data["matched"] < data["probe"] or data["labels"] == "none":
        return None
    if looks < LOOKS:
        return Number(label="In the training's data", note=f"Too early to change labels by doubt: it is of {looks} looks, and wants {LOOKS}.")
    done = np.isin(suspected, list(changed_of_probe(run, len(scene.examples))))
    already = f"{int(done.sum())} of the doubtful are dropped or relabelled already; doubt is of the labels that they had. " if done.any() else ""
    suspected, instead = suspected[~done], instead[~done]
    if not len(suspected):
        return Number(label="In the training's data", note=f"All {already}".rstrip())
    known = instead >= 0
    all_of: dict[str, str | float | int | bool] = {"examples": numbers_written(suspected.tolist(), "examples"), "of": "probe"}
    relabelled: dict[str, str | float | int | bool] = {
        "examples": numbers_written(suspected[known].tolist(), "examples"), "of": "probe", "labels": ",".join(map(str, instead[known].tolist())),
    }
    actions = (
        Action(command="drop", label=f"Drop the doubtful ({len(suspected)})", knobs=all_of),
        Action(command="relabel", label=f"Relabel them as answered instead ({int(known.sum())})", knobs=relabelled),
    )
    return Number(
        label="In the training's data",
        note=f"{already}A hard example looks the same as a mislabelled one: what is chosen in the table can be changed alone.",
        actions=actions if known.any() else actions[:1],
    )
