"""What a training's data say of examples of the probe set that people changed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...run import Run


def changed_of_probe(run: Run | None, count: int) -> dict[int, int | None]:
    """Which of the first examples of the probe set a training has dropped (None), or trains as another class (its index)."""
    found: dict[int, int | None] = {}
    for row in run.changes if run is not None else ():
        if row["probe"] is None or row["probe"] >= count:
            continue
        if row["weight"] == 0:
            found[int(row["probe"])] = None
        elif row["label"] is not None:
            found[int(row["probe"])] = int(row["label"])
    return found


def steered_probe(run: Run | None) -> dict[str, Any]:
    """What a run tells of the data that it trains on where these hold every example of its probe set that was looked for there (the first
    ``probe`` of them); else nothing."""
    data: dict[str, Any] = (run.meta.get("steered") or {}) if run is not None else {}
    return data if data and data["matched"] >= data["probe"] else {}
