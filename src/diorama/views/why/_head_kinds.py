"""What kind of head each head is, over a training: when heads that look up, or look back, come to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.marks import Heatmap, Lines, Series
from ...core.picture import Progress
from ...core.selection import Key, Selection
from ...derive.derivation import DerivedValue
from ...derive.heads import MEANINGS, MEASURES
from ...scene import Scene

SNAPSHOTS, COLOURED = 24, 8
"""So many moments of a training are looked at, and so many heads have a colour and a name."""
Floats = NDArray[np.float64]


def kinds_of_heads(scene: Scene, measure: str) -> DerivedValue:
    """The measures of all heads: without that of induction, which costs four passes more, unless it is the one that is shown, or known."""
    whole = scene.derive("heads")
    return whole if measure == "induction" or whole.known else scene.derive("heads", induction=False)


def measured_over_training(scene: Scene, measure: str) -> Iterator[Progress | tuple[list[int], list[str], Floats]]:
    """Steps, heads (as ``layer/number``), and the measure of each head at each step (heads, steps); NaN where there was none."""
    if len(scene.steps) < 2:
        raise NotApplicable("there is only one moment of this model; open a run with several snapshots, or show the weights")
    steps = moments(scene.steps)
    found: dict[str, dict[int, float]] = {}
    for number, step in enumerate(steps):
        yield Progress(done=number, total=len(steps), note=f"the heads at {len(steps)} snapshots")
        at = scene if step == scene.step else scene.at(step)
        kinds: Any = kinds_of_heads(at, measure).value
        for name, row in zip(kinds["layers"], kinds["values"][MEASURES.index(measure)], strict=True):
            own = [Key("head", name, (head,)) for head in range(len(row))]
            now = scene.run.elsewhere(own, scene.step, step) if scene.run is not None else own
            for key, value in zip(now, row.tolist(), strict=True):
                if key is not None:
                    found.setdefault(f"{name}/{key.number}", {})[step] = value
    heads = [head for head, values in found.items() if not np.isnan(list(values.values())).all()]
    yield steps, heads, np.array([[found[head].get(step, np.nan) for step in steps] for head in heads]).reshape(len(heads), len(steps))


def moments(steps: Sequence[int]) -> list[int]:
    """Of a training's snapshots at most so many, from the first to the last.

    *Meaning* every one, every second, every fourth, …: of a training that goes on those that were measured before are asked for again.
    """
    apart = 1
    while (len(steps) - 2) // apart + 2 > SNAPSHOTS:
        apart *= 2
    return [*steps[:-1:apart], *steps[-1:]]


def overview(kinds: Any, measure: str) -> Heatmap:
    """A row a layer, a column a head, coloured by a measure."""
    values = kinds["values"][MEASURES.index(measure)]
    keys = tuple(str(Key("head", name, (head,))) for name in kinds["layers"] for head in range(values.shape[1]))
    return Heatmap(
        values=values, limits=magnitude(values, 0.0, unit={"entropy": "nats", "distance": "tokens"}.get(measure, "share")),
        row_labels=tuple(kinds["layers"]), column_labels=tuple(map(str, range(values.shape[1]))), cell_keys=keys,
        column_title="head", numbers=values.shape[1] <= 16, size=18, title=f"{measure} of every head, over several examples",
    )


def curves(scene: Scene, selection: Selection, measure: str, steps: Sequence[int], heads: Sequence[str], values: Floats) -> Lines:
    """A line a head: those that reach most, and the chosen one, in colour."""
    x = np.array(steps, float)
    chosen = selection.one("head")
    largest = np.argsort(-np.nan_to_num(values, nan=-np.inf).max(1), kind="stable")[:COLOURED].tolist()
    own = [k for k, head in enumerate(heads) if chosen is not None and _key(head) == str(chosen)]
    named = (own + [k for k in largest if k not in own])[:COLOURED]
    # The others are the ground, and bear one name: a hundred would hide the eight.
    series = [Series(name="other heads", x=x, y=values[k], faint=True, colour=COLOURED) for k in range(len(heads)) if k not in named]
    series += [Series(name=heads[k], x=x, y=values[k], colour=place, key=_key(heads[k])) for place, k in enumerate(named)]
    unit = {"entropy": "nats", "distance": "tokens"}.get(measure, "share of attention")
    return Lines(
        series=tuple(series), y_title=unit, y_range=None if unit in ("nats", "tokens") else (0.0, 1.0), height=260,
        cursor=float(scene.step) if scene.step is not None else None, title=f"{measure} of every head, over the training",
    )


def risen(measure: str, steps: Sequence[int], heads: Sequence[str], values: Floats) -> str:
    """What rose most, from where to where, and by when it was half-way."""
    words = f"A line a head, at {len(steps)} snapshots: {MEANINGS[measure]}."
    there = ~np.isnan(values[:, [0, -1]]).any(1)
    if not there.any():
        return words
    rise = np.where(there, values[:, -1] - values[:, 0], -np.inf)
    k = int(rise.argmax())
    if rise[k] <= 0 or f"{values[k, 0]:.2f}" == f"{values[k, -1]:.2f}":
        return f"{words} No head has more of it at the end than at the start, to two digits."
    half = values[k, 0] + rise[k] / 2
    step = steps[int(np.flatnonzero(values[k] >= half)[0])]
    return (
        f"{words} Most rises {heads[k]}, from {values[k, 0]:.2f} to {values[k, -1]:.2f}; it is first seen half-way at step {step}."
    )


def _key(head: str) -> str:
    name, number = head.rsplit("/", 1)
    return str(Key("head", name, (int(number),)))
