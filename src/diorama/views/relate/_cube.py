"""Units × time × layers as a cube: what fires one after another, and through which layers it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.colour import symmetric
from ...core.errors import NotApplicable
from ...core.marks import Scatter
from ...core.numerals import counted
from ...core.picture import Progress
from ...core.selection import Key, Selection, spoken, unit_key
from ...methods.grouping import ordered
from ...scene import Scene
from ..samples import part
from ..texts import tokens, visible
from ..units import ShownLayer, look, main_layers, responses, shown
from ._columns import standard
from ._silent_units import colourless

Floats = NDArray[np.float64]
POINTS = 20_000
"""So many dots stand in a cube at most."""
COLUMNS, SNAPSHOTS = 64, 16
"""So many places or examples, and so many moments of a training, stand along it at most."""
SCORES = 3.0
_OVER = {"place": "at every place", "snapshot": "at every snapshot", "example": "to every example"}
EDGE = -0.08
"""Where the arrows along the sides begin: beside the cube, which goes from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class CubeRows:
    """What the units of some layers answered along the same columns: of each layer (units, columns)."""

    layers: tuple[ShownLayer, ...]
    rows: tuple[Floats, ...]
    names: tuple[str, ...]
    along: str
    """What the columns are: "place", "snapshot" or "example"."""
    total: int
    """How many columns there are in all."""
    units: tuple[NDArray[np.int64], ...] = ()
    """The numbers of each layer's units; all of them where nothing is said."""


def measured(scene: Scene, selection: Selection) -> Iterator[Progress | CubeRows]:
    """Layers over the places of the input where they answer place by place, else over the training, else over the examples."""
    layers = main_layers(scene)
    if not layers:
        raise NotApplicable("no layer answers once for each example, so there are no units to show")
    steps = _even(scene.steps, SNAPSHOTS)
    stepwise = [one for one in layers if one.layer.sequence]
    if stepwise:
        yield _over_places(scene, selection, stepwise)
    elif len(steps) > 2:
        yield from _over_training(scene, layers, steps)
    else:
        chosen = _even(range(len(scene.live)), COLUMNS)
        found = responses(scene, layers)
        rows = tuple(found[one.name].mean.double().numpy().T[:, chosen] for one in layers)
        yield CubeRows(tuple(layers), rows, tuple(f"example {k}" for k in chosen), "example", len(scene.live))


def _over_places(scene: Scene, selection: Selection, layers: Sequence[ShownLayer]) -> CubeRows:
    current = scene.current(selection)
    found = {name: value[0].double().numpy() for name, value in look(scene, layers, current.x).items()}
    good = [one for one in layers if found[one.name].ndim == 2]
    lengths = [found[one.name].shape[1] for one in good]
    if not lengths:
        raise NotApplicable("no layer answers with one number a unit and place; look at of=examples")
    # Where layers answer at different numbers of places, those of the usual number stand in the cube.
    usual = max(lengths, key=lambda length: (lengths.count(length), length))
    good = [one for one in good if found[one.name].shape[1] == usual]
    chosen = _even(range(usual), COLUMNS)
    words = tokens(current.shown)
    names = tuple(f"place {k}: “{visible(words[k])}”" if len(words) == usual else f"place {k}" for k in chosen)
    return CubeRows(tuple(good), tuple(found[one.name][:, chosen] for one in good), names, "place", usual)


def _over_training(scene: Scene, layers: Sequence[ShownLayer], steps: Sequence[int]) -> Iterator[Progress | CubeRows]:
    means: dict[str, list[Floats]] = {one.name: [] for one in layers}
    for number, step in enumerate(steps):
        yield Progress(done=number, total=len(steps), note=f"{counted(len(scene.live), 'examples')} at {len(steps)} snapshots")
        at = scene if step == scene.step else scene.at(step)
        here = [shown(at, at.layers[one.name]) for one in layers if at.layers.has(one.name)]
        for name, answer in responses(at, here).items():
            means[name].append(answer.mean.double().numpy().mean(0))
    # A unit that was not there all the time has no row through the cube.
    rows = {one.name: over_steps(scene, one, steps, means[one.name]) for one in layers if len(means[one.name]) == len(steps)}
    there = {name: present.all(1) for name, (_, present) in rows.items()}
    good = [one for one in layers if one.name in rows and there[one.name].any()]
    if not good:
        raise NotApplicable("no layer has the same units at all snapshots; look at of=examples")
    units = tuple(np.flatnonzero(there[one.name]) for one in good)
    kept = tuple(rows[one.name][0][own] for one, own in zip(good, units, strict=True))
    yield CubeRows(tuple(good), kept, tuple(f"step {step}" for step in steps), "snapshot", len(scene.steps), units)


def over_steps(scene: Scene, one: ShownLayer, steps: Sequence[int], means: Sequence[Floats]) -> tuple[Floats, NDArray[np.bool_]]:
    """What the units of a layer, as they are now, answered at each step, wherever acts of structure put them since, and whether they
    were there: (units, steps) each; not-a-number where not.
    """
    keys = [Key("unit", one.name, (unit,)) for unit in range(one.layer.units)]
    rows, there = np.full((len(keys), len(steps)), np.nan), np.zeros((len(keys), len(steps)), bool)
    for column, (step, mean) in enumerate(zip(steps, means, strict=True)):
        then = scene.run.elsewhere(keys, step, scene.step) if scene.run is not None else keys
        places = np.array([key.number if key is not None and key.number < len(mean) else -1 for key in then], int)
        there[:, column] = places >= 0
        rows[there[:, column], column] = mean[places[places >= 0]]
    return rows, there


def drawn(found: CubeRows, order: str, most: int) -> tuple[Scatter, str]:
    """The cube, and a sentence that says what lies along its three sides."""
    deep, wide = len(found.layers), len(found.names)
    most = min(most, max(2, POINTS // max(1, deep * wide)))
    points, values, keys, labels, shares, scored = [], [], [], [], [], []
    for number, (one, rows) in enumerate(zip(found.layers, found.rows, strict=True)):
        scores = standard(np.where(np.isfinite(rows), rows, np.nan))
        units, own = np.arange(len(rows)), found.units[number] if found.units else np.arange(len(rows))
        if len(units) > most:
            spread = np.where(np.isfinite(rows).all(1), rows.T, 0.0).var(0)
            units = np.sort(np.argsort(-spread, kind="stable")[:most])
        shares.append((len(units), len(rows)))
        units = units[ordered(scores[units], order, rows[units])]
        across, down = np.meshgrid(_side(wide), 1 - _side(len(units)))
        points.append(np.column_stack([across.ravel(), down.ravel(), np.full(across.size, _side(deep)[number])]))
        values.append(scores[units].ravel())
        scored.append(scores[units])
        keys += [unit_key(one.name, int(own[unit])) for unit in units for _ in range(wide)]
        labels += [name for _ in units for name in found.names]
    value = np.concatenate(values).astype(np.float32)
    mark = Scatter(
        points=np.concatenate(points).astype(np.float32), values=value, limits=symmetric(value, SCORES, "σ"), keys=tuple(keys),
        labels=tuple(labels), sizes=np.clip(2 * np.abs(np.nan_to_num(value)), 0.06, 6.0), spans=((-0.12, 1.12),) * 3,
        arrows=np.array([[1.1, EDGE, EDGE], [EDGE, 1.1, EDGE], [EDGE, EDGE, 1.1]], np.float32),
        arrow_labels=(f"{found.along}s", "units", "layers"), middle=(EDGE, EDGE, EDGE), size=420,
    )
    said = part(sum(some for some, _ in shares), sum(whole for _, whole in shares), "units")
    first, last = (spoken(found.layers[k].name) for k in (0, -1))
    return mark, (
        f"Each dot is one of {said} at one of {part(wide, found.total, f'{found.along}s')}: from left to right the {found.along}s, from top to "
        f"bottom the units, from back to front {deep} layer{'s' if deep != 1 else ''}{f', {first} to {last}' if deep > 1 else f', {first}'}. "
        "Blue where a unit answers more than its own mean, orange where less; the larger, the further. Turn it by dragging."
        + colourless(np.concatenate(scored), _OVER[found.along])
    )


def _side(count: int) -> Floats:
    """So many places along a side of the cube."""
    return np.linspace(0.0, 1.0, count) if count > 1 else np.full(count, 0.5)


def _even(told: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(told) <= most:
        return list(told)
    return [told[round(k)] for k in np.linspace(0, len(told) - 1, most)]
