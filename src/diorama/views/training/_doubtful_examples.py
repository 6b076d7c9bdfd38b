"""The doubtful examples of a training: how many of them are likely wrong, and what can be done with those that were chosen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import numbers_written
from ...core.marks import Action, Number
from ...core.numerals import counted, joined
from ..changed_labels import steered_probe

if TYPE_CHECKING:
    from ...derive.derivations.margins import LikelyErrors
    from ...scene import Scene


LOOKS = 10
"""Looks from which on doubt is more than what the network answered before it had learnt anything."""
FEW = 4
"""Looks from which on it is estimated how many labels are wrong."""
PAIRS = 6
"""Changes from one label to another that are told one by one."""
LEARNT, HEART = 0.9, 0.95
"""From so much of the most labels that were ever answered on, most has been learnt; so many of all answered at the end are nearly all."""
HARD = "A hard example looks the same as a mislabelled one: look at it before you judge."

Ints = NDArray[np.int64]


def estimated(found: LikelyErrors, doubtful: int, name: Callable[[int], str]) -> str:
    """How many of the doubtful are likely wrong, in a sentence."""
    if not doubtful:
        return ""
    confused = joined([name(k) for k in found.aside[:5]]) + (" and others" if len(found.aside) > 5 else "")
    aside = f" Most labels of {confused} are doubted, which tells of the network's own confusion rather than of wrong labels" if found.aside else ""
    if math.isnan(found.share):
        aside += "." if aside else ""
        return (
            "How many of them are wrong cannot be told: the network is sure of much that the labels contradict, as one is that has not learnt the "
            f"task; most of them may be right.{aside}"
        )
    aside += ": the estimate leaves them out." if aside else ""
    return (
        f"About {round(found.count)} of the {doubtful} are likely wrong: of the fifth of all examples of which the network was surest it "
        f"contradicted {found.share:.1%}. It is an estimate: too high where the task is hard, too low where labels were soon learnt by heart.{aside}"
    )


def by_heart(value: Mapping[str, Any]) -> str:
    """Where most looks were at a network that answered nearly every label: which step to look at instead, in a sentence."""
    trained = value["steps"] > 0
    steps, right = value["steps"][trained], value["right"][value["known"]][:, trained]
    if len(steps) < 2 * FEW or not len(right):
        return ""
    shares = right.mean(0)
    first = int(np.argmax(shares >= LEARNT * shares.max()))
    if shares[-1] < HEART or 2 * (len(steps) - first) <= len(steps) or first < FEW:
        return ""
    return (
        f"From step {int(steps[first]):,} on nearly every label is answered ({shares[-1]:.1%} at the last look). If these examples are trained "
        f"on, wrong labels are learnt by heart by then, and doubt of them fades: look at step {int(steps[first]):,} or before."
    )


def shown(rows: int, of: int, doubtful: int, of_doubtful: int) -> list[str]:
    """How many of the doubtful examples the rows are; of all examples, where no doubtful one is left out."""
    if doubtful < of_doubtful:
        beside = f", and {rows - doubtful:,} that are not doubtful" if doubtful < rows else ""
        return [f"{doubtful:,} of {of_doubtful:,} doubtful examples shown{beside}"]
    return [f"{rows} of {counted(of, 'examples')} shown"] if rows < of else []


def ways(
    scene: Scene, suspected: Ints, instead: Ints, labels: Ints, chosen: Collection[int], looks: int, name: Callable[[int], str]
) -> Number | None:
    """What can be done at once with the doubtful examples that were chosen, with how many would become what; how to choose where none is.

    None where the training has ended, or its data are not known to hold all of them.
    """
    run = scene.run
    data = steered_probe(run) if run is not None and run.alive else {}
    if not data or data["labels"] == "none":
        return None
    looked_for = suspected < data["probe"]  # where contents had to tell, the first ones of a large probe set only
    beyond = int(np.isin(suspected[~looked_for], list(chosen)).sum())
    suspected, instead = suspected[looked_for], instead[looked_for]
    if not len(suspected):
        return None
    if looks < LOOKS:
        return Number(label="In the training's data", note=f"Too early to change labels by doubt: it is of {looks} looks, and wants {LOOKS}.")
    taken = np.isin(suspected, list(chosen))
    unknown = (
        f"{counted(beyond, 'chosen examples')} {'lies' if beyond == 1 else 'lie'} beyond the first {data['probe']:,} of the probe set, the ones "
        "that were looked for in the data: probe=dataset.examples(…) knows all. " if beyond else ""
    )
    if not taken.any():
        beside = unknown or (f"None of the {len(chosen)} chosen is doubtful. " if len(chosen) else "")
        return Number(
            label="In the training's data",
            note=f"{beside}Choose rows of the table by their boxes (Shift chooses a range): those can then be dropped, or relabelled as answered "
            f"instead. {HARD}",
        )
    suspected, instead = suspected[taken], instead[taken]
    known = instead >= 0
    all_of: dict[str, str | float | int | bool] = {"examples": numbers_written(suspected.tolist(), "examples"), "of": "probe"}
    relabelled: dict[str, str | float | int | bool] = {
        "examples": numbers_written(suspected[known].tolist(), "examples"), "of": "probe", "labels": ",".join(map(str, instead[known].tolist())),
    }
    actions = (
        Action(command="relabel", label=f"Relabel the chosen as answered instead ({int(known.sum())})", knobs=relabelled),
        Action(command="drop", label=f"Drop the chosen ({len(suspected)})", knobs=all_of),
    )
    pairs = Counter(zip(labels[suspected[known]].tolist(), instead[known].tolist(), strict=True)).most_common()
    would = ", ".join(f"{count} from {name(old)} to {name(new)}" for (old, new), count in pairs[:PAIRS])
    would += f", and {counted(sum(count for _, count in pairs[PAIRS:]), 'others')}" if len(pairs) > PAIRS else ""
    others = len(chosen) - len(suspected) - beyond
    beside = f"; {others} more {'is' if others == 1 else 'are'} chosen that {'is' if others == 1 else 'are'} not doubtful, and " \
        f"{'stays' if others == 1 else 'stay'}" if others else ""
    return Number(
        label="In the training's data",
        note=f"{counted(len(suspected), 'doubtful examples')} chosen{beside}. {unknown}"
        + (f"Relabelled as answered instead: {would}. " if would else "") + "Either can be taken back (Acts). ",
        actions=actions if known.any() else actions[1:],
    )
