"""Single weights over the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Lines, Series, Table
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, without_call
from ...record.facts import learnable
from ...scene import Scene
from ...scene.weight_planes import sampled
from .. import run_series
from ..view import View

Floats = NDArray[np.float64]


class WeightSeriesView(View):
    """What single weights were at each snapshot: those that are chosen, else those that moved most.

    *Meaning* a line that is flat at its end has settled; lines that go on straight are still on their way. Moved is the distance
    between the first snapshot and the last. A weight is chosen by a click on it, here or among a unit's weights in the inspector.
    *Error* exact at the snapshots; straight lines join them.
    *Cost* at most 24 snapshots are read.
    """

    title = "Single weights"
    question = "Which single weights move, and which have come to rest?"
    family = "process"
    papers = ("Abadi et al. 2016, TensorFlow (TensorBoard)",)
    rows = ("C20",)
    needs = "snapshot"
    follows = ("layer", "weight")

    layer: str | None = knob(None, "Look for the most moved ones in this layer; else the chosen one, else in all.", kind="layer", main=True)
    count: int = knob(8, "How many of the most moved weights.", low=1, high=100, main=True)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a training with two snapshots."""
        if scene.run is None:
            return "it follows weights through a training, and this model was not opened from a run"
        if len(scene.steps) < 2:
            return "it follows weights from snapshot to snapshot, and there is only one yet"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The lines when all snapshots were read, and how far that is."""
        steps = sampled(scene.steps)
        chosen = selection.all("weight")
        named = [key for one in chosen if (key := _numbered(one)) is not None]
        layer = self.layer if self.layer is not None else next((key.name for key in reversed(selection.all("layer"))), None)
        yield Progress(done=0, total=len(steps), note=f"{len(steps)} snapshots are read")
        ends = [scene.run.state(steps[k]) for k in (0, -1)] if scene.run is not None else []
        own = _names(scene, ends[1], None if named else layer)
        ranked, among = most_moved(ends[0], ends[1], _in_place(scene, steps, own), self.count)
        if scene.run is not None:
            ranked = [key for key in scene.run.elsewhere(ranked, scene.step, steps[-1]) if key is not None]
        keys = named or ranked
        if not keys and among:
            raise NotApplicable("the weights are not numbers at the first snapshot or at the last, so how far they moved is not known; see first_bad")
        if not keys:
            raise NotApplicable("no weight has the same place at the first snapshot and at the last, so none can be followed")
        places = [scene.run.elsewhere(named, steps[k], scene.step) for k in (0, -1)] if scene.run is not None else []
        there = [[key is not None and _there(state, key) for key in keys] for state, keys in zip(ends, places, strict=True)]
        lost = [str(key) for key, *found in zip(named, *there, strict=True) if not any(found)]
        if lost:
            raise NotApplicable(f"the network has no {lost[0]} at its first or last snapshot, so it cannot be followed")
        lines = chart(scene, keys)
        if named:
            words = f"{'The chosen weight' if len(named) == 1 else f'{len(named)} chosen weights'} at {len(steps)} snapshots. "
        else:
            where = f" of {layer}" if layer is not None else ""
            words = f"The {len(keys)} of the {among:,} weights{where} that moved most between step {steps[0]:,} and step {steps[-1]:,}. "
            if left := sum(ends[1][name].numel() for name in own) - among:
                others = "1 other weight is" if left == 1 else f"{left:,} other weights are"
                words += f"{others} not compared: the shape that they belong to, or the units in it, changed in between. "
        table = _table(keys, lines)
        yield self.picture(
            scene, selection, "Single weights", Group(children=(lines, table)), words.rstrip(),
            hint="Click a line to choose the weight, a step to go there.",
        )


def chart(scene: Scene, keys: Sequence[Key]) -> Lines:
    """The weights of these keys at each snapshot, a line each; a gap where the network had another shape."""
    run, steps = scene.run, sampled(scene.steps)
    assert run is not None
    names = [str(key) for key in keys]
    values: Floats = scene.keep(f"weight_series/{steps}/{names}", lambda: _read(scene, steps, keys))
    x = np.array(steps, np.float64)
    return Lines(
        series=tuple(
            Series(name=name.removeprefix("weight:"), x=x, y=row, key=name, colour=k % 10)
            for k, (name, row) in enumerate(zip(names, values, strict=True))
        ),
        y_title="weight", events=run_series.as_marks([(at, end, kind, label) for at, end, kind, label in run_series.events(run)]),
        cursor=float(scene.step) if scene.step is not None else None, height=220,
    )


def _read(scene: Scene, steps: Sequence[int], keys: Sequence[Key]) -> Floats:
    assert scene.run is not None
    found = np.full((len(keys), len(steps)), np.nan)
    for column, step in enumerate(steps):
        if scene.cancel is not None:
            scene.cancel()
        state = scene.run.state(step)
        for row, key in enumerate(scene.run.elsewhere(keys, step, scene.step)):
            if key is None:
                continue
            weight = _weight(state, key.name)
            index = key.index
            if weight is not None and weight.ndim == len(index) and all(k < n for k, n in zip(index, weight.shape, strict=True)):
                found[row, column] = float(_real(weight[index]))
    return found


def most_moved(first: Mapping[str, Tensor], last: Mapping[str, Tensor], names: Sequence[str], count: int) -> tuple[list[Key], int]:
    """The keys of the weights that lie farthest from where they began, the farthest first, and among how many."""
    found: list[tuple[float, Key]] = []
    among = 0
    for name in names:
        if name not in first or first[name].shape != last[name].shape or not last[name].numel():
            continue
        apart = (_wide(last[name]) - _wide(first[name])).abs().nan_to_num(-1.0, -1.0, -1.0)
        among += apart.numel()
        best = apart.reshape(-1).topk(min(count, apart.numel()))
        for value, at in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            index = tuple(int(k) for k in np.unravel_index(at, tuple(apart.shape)))
            if index and value >= 0:
                found.append((value, Key("weight", name.removesuffix(".weight"), index)))
    found.sort(key=lambda one: -one[0])
    return [key for _, key in found[:count]], among


def _names(scene: Scene, state: Mapping[str, Tensor], layer: str | None) -> list[str]:
    """The parameters of the last snapshot, of one layer where one is named.

    *Raises* NotApplicable where that has none.
    """
    known = {one[0] for one in learnable(scene.run.meta)} if scene.run is not None else set()
    names = [name for name, value in state.items() if name in known and (value.is_floating_point() or value.is_complex())]
    path = without_call(layer or "")
    own = [name for name in names if name == path or name.startswith(f"{path}.")] if path else names
    if not own:
        raise NotApplicable(f"the layer {layer!r} has no weights to follow; choose another one, or none for all")
    return own


def _in_place(scene: Scene, steps: Sequence[int], own: Sequence[str]) -> list[str]:
    """Those of some parameters whose numbers lie at the last snapshot where they lay at the first."""
    assert scene.run is not None
    then, now = (scene.run.structure(steps[k]).get("units") or {} for k in (0, -1))
    moved = {place.split(":")[1] for place in {*then, *now} if then.get(place) != now.get(place)}
    return [name for name in own if name not in moved]


def _numbered(key: Key) -> Key | None:
    """A key that names one weight."""
    return key if key.index and not key.place else None


def _weight(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The tensor that a weight's key means, as its text does in an edit."""
    path = without_call(name)
    return next((state[one] for one in (name, f"{path}.weight", path) if one in state), None)


def _there(state: Mapping[str, Tensor], key: Key) -> bool:
    """Whether a snapshot has a weight at this place."""
    found = _weight(state, key.name)
    return found is not None and len(key.index) == found.ndim and all(k < n for k, n in zip(key.index, found.shape, strict=True))


def _wide(value: Tensor) -> Tensor:
    """Numbers that can be taken from one another, which those of 8 bits cannot."""
    return value if value.is_complex() else value.float()


def _real(value: Tensor) -> Tensor:
    """Complex numbers by their magnitude."""
    return _wide(value).abs() if value.is_complex() else _wide(value)


def _table(keys: Sequence[Key], lines: Lines) -> Table:
    """Where each began, where it is, and how far that is apart."""
    rows = np.stack([series.y for series in lines.series])
    begun, now = rows[:, 0], rows[:, -1]
    return Table(
        columns=(
            Column(name="weight", kind="text", texts=tuple(str(key).removeprefix("weight:") for key in keys)),
            Column(name="at first", numbers=begun), Column(name="at last", numbers=now), Column(name="moved", numbers=np.abs(now - begun)),
        ),
        row_keys=tuple(map(str, keys)),
    )
