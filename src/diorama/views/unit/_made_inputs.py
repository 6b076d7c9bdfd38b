"""What synthesis, dream and inversion share: the stage on which a scene's inputs are made, and made inputs as marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.colour import symmetric
from ...core.marks import Bars, Image, Lines, Node, Series, Text
from ...core.selection import Key, Selection
from ...data import nesting
from ...data.kinds import Image as ImageKind
from ...data.kinds import Kind, Table, Tokens
from ...data.nesting import Nested
from ...data.padding import stripped
from ...derive import synthesis_stage
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.stage import MadeInput
from ...scene import Scene
from .. import inputs
from ..units import main_layers, unit_of

_LARGEST = 240
"""Pictures of many pixels are shown as large as they are, up to this."""


def staged(scene: Scene, selection: Selection, seed: int, layer: str = "") -> MadeInput:
    """The stage on which inputs of the scene's kind are made, one that reaches ``layer``; the model's others are those of the current one."""
    return synthesis_stage.staged(scene, scene.current(selection).x, seed, layer)


def chosen(scene: Scene, selection: Selection) -> Key:
    """The unit, class, layer or direction that was chosen last; else the first class, else the unit on which its card opens."""
    for key in reversed(selection.a):
        if key.kind in ("class", "layer", "unit", "direction"):
            return key
    if scene.task in ("classification", "multi_label"):
        return Key("class", "", (0,))
    return unit_of(scene, selection)


def before(scene: Scene, key: Key) -> str | None:
    """The layer whose codes tell facets of a unit or class apart: the main one before it; None for the inputs."""
    names = [one.name for one in main_layers(scene)]
    if key.kind == "class":
        return names[-2] if len(names) > 1 else None
    order = scene.layers[layer_of(scene, key)].order
    earlier = [name for name in names if scene.layers[name].order < order]
    return earlier[-1] if earlier else None


def objective(scene: Scene, stage: MadeInput, key: Key) -> Objective:
    """What a chosen unit, class, layer or direction asks for."""
    wanted = scene.direction(key.name) if key.kind == "direction" else key
    return Objective.of(wanted, stage.look.layers, stage.look.reading, scene.classes)


def layer_of(scene: Scene, key: Key) -> str:
    """The layer in which a chosen unit or direction lies; empty for a class."""
    return scene.direction(key.name).layer if key.kind == "direction" else key.name


def own_part(stage: MadeInput, x: Nested) -> Tensor:
    """The made part of the model's input."""
    return list(nesting.tensors(x))[stage.frame.part]


def shown(stage: MadeInput, x: Nested) -> Any:
    """What is shown of made inputs: pixels as uint8, tokens, rows."""
    own = own_part(stage, x)
    return stage.kind.decode(own) if isinstance(stage.kind, Kind) else own.float().cpu().numpy()


def mark(stage: MadeInput, value: Any, title: str, caption: str, *, key: str = "", size: int = 176) -> Node:
    """One made input as a mark."""
    if isinstance(stage.kind, ImageKind):
        pixels = np.asarray(value)
        limits = inputs.grey(pixels) if pixels.ndim == 2 else None
        size = max(size, min(pixels.shape[0], _LARGEST))
        return Image(pixels=pixels, limits=limits, title=title, caption=caption, key=key, size=size)
    if isinstance(stage.kind, Tokens):
        words = stage.kind.describe()
        return Text(tokens=tuple(stripped(value)) or tuple(value), characters=bool(words["characters"]), title=title, caption=caption)
    array = np.asarray(value, np.float64)
    if isinstance(stage.kind, Table) or array.ndim < 2:
        row = array.reshape(-1)[:64]
        names = tuple(getattr(stage.kind, "columns", ()) or ())
        labels = names[: len(row)] if len(names) >= len(row) else tuple(f"x{k + 1}" for k in range(len(row)))
        mean = np.asarray(shown_mean(stage), np.float64).reshape(-1)[: len(row)]
        return Bars(
            values=row, labels=labels, reference=mean if len(mean) == len(row) else None, limits=symmetric(row),
            title=title, caption=caption,
        )
    lines = tuple(
        Series(name=f"channel {k}", x=np.arange(array.shape[-1], dtype=np.float64), y=row, colour=k)
        for k, row in enumerate(array.reshape(-1, array.shape[-1])[:8])
    )
    return Lines(series=lines, x_title=inputs.along(stage.kind), x_kind="number", title=title, caption=caption)


def shown_mean(stage: MadeInput) -> Any:
    """The examples' mean as it is shown."""
    mean = stage.examples.float().nan_to_num(0, 0, 0).mean(0, keepdim=True)
    return stage.kind.decode(mean)[0] if isinstance(stage.kind, Kind) else mean[0].cpu().numpy()


def curves(curve: Tensor, names: Sequence[str], title: str, height: int = 120) -> Lines:
    """The course of some objectives over the steps of a synthesis."""
    count = min(curve.shape[1], 10)
    steps = np.arange(1, len(curve) + 1, dtype=np.float64)
    lines = tuple(
        Series(name=names[k], x=steps, y=curve[:, k].double().numpy(), colour=k) for k in range(count)
    )
    return Lines(series=lines, x_title="step of the synthesis", x_kind="number", y_title=title, height=height)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Curves of different lengths beside each other; what is missing is not a number."""
    longest = max(len(part) for part in parts)
    filled = [
        torch.cat([part, torch.full((longest - len(part), part.shape[1]), torch.nan)]) for part in parts
    ]
    return torch.cat(filled, 1)
