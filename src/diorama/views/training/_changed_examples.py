"""The examples of the training's data that people changed, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import NotApplicable
from ...core.marks import Column, Table
from ...core.selection import number_key
from ._followed_examples import PictureParts

if TYPE_CHECKING:
    from ...scene import Scene


def changed(scene: Scene, limit: int) -> PictureParts:
    """The changed examples with their weight and label. *Raises* NotApplicable where none is, with the way."""
    run = scene.run
    rows = run.changes if run is not None else []
    if not rows:
        raise NotApplicable(
            "no example of the training's data is changed; drop, relabel or weigh one while it trains (its data wrapped: "
            "DataLoader(diorama.data(dataset), …))"
        )
    shown = rows[:limit]
    columns = [
        Column(name="number in the data", numbers=np.array([row["example"] for row in shown], float)),
        Column(name="weight", numbers=np.array([row["weight"] for row in shown], float), note="the odds of being drawn; 0: dropped"),
        Column(name="label", kind="text", texts=tuple(_label(scene, row["label"], row["label before"]) for row in shown)),
        Column(name="label before", kind="text", texts=tuple(_label(scene, row["label before"], None) for row in shown)),
    ]
    keys = tuple(number_key("example", int(row["probe"])) if row["probe"] is not None else "" for row in shown)
    table = Table(columns=tuple(columns), row_keys=keys if any(keys) else ())
    dropped = sum(row["weight"] == 0 for row in rows)
    relabelled = sum(row["label"] is not None for row in rows)
    caption = (
        f"Changed in the training's data now: {len(rows)} of its examples, {dropped} of them dropped, {relabelled} relabelled. The run lists them "
        "in changes.csv; run.save_changes(path) writes them to a file that diorama.data(dataset, changes=path) reads again."
    )
    return PictureParts("Changed examples", table, caption, f"{len(shown)} of {len(rows)} shown" if len(shown) < len(rows) else "")


def _label(scene: Scene, label: float | None, otherwise: float | None) -> str:
    value = label if label is not None else otherwise
    if value is None:
        return ""
    return scene.classes[int(value)] if float(value).is_integer() and 0 <= value < len(scene.classes) else f"{value:g}"
