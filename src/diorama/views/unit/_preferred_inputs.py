"""What units or directions would like to see, as views show it: derived once for a snapshot, as it forms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...core.colour import Limits, symmetric
from ...core.marks import Bars, Node
from ...core.rounding import deviations
from ...data.kinds import Table
from ...derive.derivation import DerivedValue, Plain
from ...derive.derivations.preferred import ROWS_AT_ONCE, PreferredDerivation
from ...derive.synthesis_stage import staged
from ...derive.windows import MiddlePlace
from ...methods.synthesis.stage import MadeInput
from ...model.directions import Direction
from ...model.layers import Layer
from ...scene import Scene
from .. import crops
from . import _made_inputs

COLUMNS = 12
"""So many columns of a row are shown."""


@dataclasses.dataclass(frozen=True)
class PreferredInput:
    """One input that was asked for: what is shown of it, and what the network makes of it."""

    shown: Any
    value: float


@dataclasses.dataclass(frozen=True)
class PreferredInputs:
    """The inputs that units or directions ask for, as far as they have formed; those that have not begun are None."""

    stage: MadeInput
    inputs: tuple[PreferredInput | None, ...]
    step: float
    steps: float
    said: str = ""
    """Which ones were made again from an example."""

    @property
    def done(self) -> bool:
        """Nothing more will change."""
        return self.step >= self.steps

    def pictures(self) -> np.ndarray:
        """All of them as pictures (n, height, width[, 3]); grey where they have not begun."""
        first = next((one.shown for one in self.inputs if one is not None), None)
        shape: tuple[int, ...] = tuple(self.stage.size[1:]) if first is None else np.shape(first)
        blank = np.full(shape, crops.GREY, np.uint8)
        return np.stack([blank if one is None else np.asarray(one.shown) for one in self.inputs])

    def limits(self, pictures: np.ndarray) -> Limits | None:
        """The scale of grey pictures."""
        return crops.limits_of(pictures)

    def note(self, k: int) -> str:
        """What the network answers to one of them."""
        one = self.inputs[k]
        return f"{one.value:.3g}" if one is not None and math.isfinite(one.value) else ""


def mark(stage: MadeInput, value: Any, title: str, caption: str = "", *, size: int = 96) -> Node:
    """One input as a mark; of a table's row the columns that differ most from the examples' mean."""
    if isinstance(value, dict):  # of several inputs the one that is made
        value = list(value.values())[min(stage.frame.part, len(value) - 1)]
    if not isinstance(stage.kind, Table):
        return _made_inputs.mark(stage, value, title, caption, size=size)
    seen = np.asarray(stage.kind.decode(stage.examples), np.float64).reshape(len(stage.examples), -1)
    row = np.asarray(value, np.float64).reshape(-1)
    spread = deviations(seen)
    spread[spread == 0] = 1
    away = np.nan_to_num((row - seen.mean(0)) / spread)
    order = np.argsort(-np.abs(away), kind="stable")[:COLUMNS]
    order = np.sort(order) if len(row) <= COLUMNS else order
    names = tuple(stage.kind.columns) if len(stage.kind.columns) == len(row) else tuple(f"x{k + 1}" for k in range(len(row)))
    return Bars(
        values=away[order], labels=tuple(names[int(k)] for k in order), notes=tuple(f"{row[k]:.3g}" for k in order),
        limits=symmetric(away[order], unit="σ from the mean"), title=title, unit="σ from the mean",
        caption="; ".join(filter(None, (
            caption, f"the {COLUMNS} columns that differ most" * (len(row) > COLUMNS), "beside the bars the values themselves",
        ))),
    )


def of_units(scene: Scene, layer: str, units: Sequence[int]) -> Iterator[PreferredInputs]:
    """What units of a layer ask for, as it forms; those that have formed before come at once.

    A unit that sees a part of the picture is asked at the place in the middle, and what it sees there is shown.
    """
    stage, window = _staged(scene, layer), MiddlePlace.of(scene, scene.layers[layer])
    found: dict[int, PreferredInput] = {}
    parts = _asked(scene, stage, scene.layers[layer], units)
    said: list[str] = []
    for number, (derived, numbers) in enumerate(parts):
        for one in derived.stream():
            if one.value is not None:
                found |= dict(zip(numbers, _read(stage, window, one.value), strict=False))
                scene.memory.put(_name(scene, layer), dict(found))
            if one.final:
                said.append(one.value["note"])
                continue
            share = (number + one.done / max(one.total, 1e-9)) / len(parts)
            yield PreferredInputs(stage, tuple(found.get(unit) for unit in units), min(share, 0.999), 1.0)
    yield PreferredInputs(stage, tuple(found.get(unit) for unit in units), 1.0, 1.0, " ".join(dict.fromkeys(filter(None, said))))


def so_far(scene: Scene, layer: str, unit: int) -> PreferredInputs | None:
    """What a unit asks for as far as it has formed, without a step more; None where nothing has."""
    kept: dict[int, PreferredInput] = scene.memory.get(_name(scene, layer)) or {}
    return PreferredInputs(_staged(scene, layer), (kept[unit],), 0.0, 1.0) if unit in kept else None


def of_directions(scene: Scene, directions: Sequence[Direction]) -> Iterator[PreferredInputs]:
    """What directions of one layer ask for."""
    stage = _staged(scene, directions[0].layer)
    derived = PreferredDerivation(layer=directions[0].layer, units="", seed=0, given=tuple(directions)).at(scene)
    for one in derived.stream():
        found = _read(stage, None, one.value) if one.value is not None else []
        inputs = (*found, *[None] * (len(directions) - len(found)))
        share = 1.0 if one.final else min(one.done / max(one.total, 1e-9), 0.999)
        yield PreferredInputs(stage, inputs, share, 1.0, one.value["note"] if one.final else "")


def _asked(scene: Scene, stage: MadeInput, layer: Layer, units: Sequence[int]) -> list[tuple[DerivedValue, list[int]]]:
    """The derivations in which units are asked: as many at once as a batch holds; one alone, where that is not known."""
    size = stage.together if stage.image else ROWS_AT_ONCE
    found = []
    for first in dict.fromkeys(unit // size * size for unit in units):
        numbers = list(range(first, min(first + size, layer.units)))
        derived = PreferredDerivation(layer=layer.name, units="+".join(map(str, numbers)), seed=0).at(scene)
        if len(units) == 1 and not derived.known:
            numbers = list(units)
            derived = PreferredDerivation(layer=layer.name, units=str(units[0]), seed=0).at(scene)
        found.append((derived, numbers))
    return found


def _staged(scene: Scene, layer: str) -> MadeInput:
    # What is derived outlives the request that asked for it.
    found: MadeInput = scene.once(f"preferred/stage/{layer}", lambda: staged(scene.alone(), scene.alone().current().x, 0, layer))
    return found


def _name(scene: Scene, layer: str) -> str:
    return f"preferred/{layer}"


def _read(stage: MadeInput, window: MiddlePlace | None, value: Plain) -> list[PreferredInput]:
    """Derived inputs as they are shown."""
    own = torch.from_numpy(np.array(value["inputs"])).to(stage.frame.own.device)
    shown = _made_inputs.shown(stage, stage.frame.around(own))
    if window is not None:
        box = crops.box_of(window.field, window.place)
        shown = [crops.crop(np.asarray(one), box, window.largest) for one in shown]
    return [PreferredInput(one, float(number)) for one, number in zip(shown, value["values"], strict=True)]
