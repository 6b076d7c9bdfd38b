"""What a training's data say of examples of the probe set that people changed there, and how views tell it.

The probe set keeps the labels that it came with, and every loss and share is counted by them, so that curves go on and runs can be compared.
Where an example stands by itself, it is not called wrong for the label that a person took from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.numerals import counted
from ..data import changes_file
from ..scene.sets import named, names

if TYPE_CHECKING:
    from ..run import Run
    from ..scene import Scene


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


def _since(run: Run, count: int | None = None) -> dict[int, int]:
    """From which step on each example of the probe set (the first ``count``) is trained under another label than it came with; 0: from the
    beginning.

    A run of an earlier version does not tell: there it is the step of the first act.
    """
    if not (run.meta.get("steered") or {}).get("relabelled"):
        return {}
    first = min((event.step for event in run.events if event.kind == "command" and event.name == "relabel"), default=0)
    return {k: step for k, step in changes_file.relabelled(run.changes, first).items() if count is None or k < count}


def relabelled(scene: Scene) -> dict[int, int]:
    """The live examples that the training learns as another class by the scene's step, each with that class."""
    run, y = scene.run, scene.live.y
    if run is None or y is None or scene.task != "classification":
        return {}
    changed = {k: label for k, label in changed_of_probe(run, len(y)).items() if label is not None}
    if not changed:
        return {}
    truth, since = scene.reading.truth(y), _since(run, len(y))
    if truth.ndim != 1:
        return {}
    by_now = {k for k in changed if scene.step is None or scene.step >= since.get(k, 0)}
    return {k: label for k, label in changed.items() if k in by_now and int(truth[k]) != label}


def wrong(scene: Scene) -> NDArray[np.bool_] | None:
    """Which live examples are answered wrongly, (n,): those that were relabelled by their new label; None where no answer is right or wrong."""
    answers = scene.answers()
    if answers.right is None:
        return None
    found: NDArray[np.bool_] = answers.right.numpy() < 0.5
    for k, label in relabelled(scene).items():
        found[k] = int(answers.predictions[k]) != label
    return found


def called(scene: Scene, numbers: Iterable[int], truth: Iterable[int]) -> tuple[str, ...]:
    """What live examples are called: by their labels, and by those that they were given since, "cat → ship"."""
    new, labels = relabelled(scene), [int(label) for label in truth]
    return tuple(
        f"{name} → {named(scene, new[k])}" if k in new else name
        for k, name in zip(map(int, numbers), names(scene, labels), strict=True)
    )


def of_numbers(run: Run | None, step: int | None = None) -> list[str]:
    """What should be known of losses and shares of right answers on a probe set with relabelled examples, a clause; none where there are none."""
    steps = [at for at in _since(run).values() if step is None or at <= step] if run is not None else []
    if not steps:
        return []
    count, first, last = len(steps), min(steps), max(steps)
    when = "from the beginning" if not last else f"since step {last:,}" if first == last else f"since steps {first:,} to {last:,}"
    return [
        f"{counted(count, 'examples')} of the probe set {'are' if count > 1 else 'is'} trained under another label {when} (relabel), and the "
        "probe set keeps the old: by that losses, right answers and classes are counted"
    ]
