"""What a method says of the parts of an input beside its text: heat over a picture, another text, bars of a row."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import magnitude, symmetric
from ...core.marks import Bars, Heatmap, Image, Node, Text
from ...data import kinds, nesting
from ...data.padding import folded
from ...methods.method import Attribution
from ...methods.picturing import channels_summed
from ...scene import Scene
from ...scene.input import Current
from .. import inputs

SIDE = 136
"""Of a picture on screen."""


def other_parts(scene: Scene, current: Current, found: Attribution, text: str) -> list[Node]:
    """A mark for each part of the input but the one named ``text``; none where that is all."""
    values = nesting.named(found.values)
    return [
        _mark(name, scene.kinds[name], current.shown[name], values[name], current.key, signed=found.signed)
        for name in scene.kinds if name != text and name in values
    ]


def plain_pictures(scene: Scene, current: Current) -> list[Node]:
    """The pictures of an input of several parts as they are: under heat they have no colours."""
    images = [name for name, kind in scene.kinds.items() if isinstance(kind, kinds.Image)] if len(scene.kinds) > 1 else []
    return [_picture(np.asarray(current.shown[name]), current.key, f"{name} as it is") for name in images]


def _picture(pixels: NDArray[Any], key: str, title: str) -> Image:
    return Image(pixels=pixels, limits=inputs.grey(pixels) if pixels.ndim == 2 else None, key=key, size=SIDE, title=title)


def shares(scene: Scene, found: Attribution) -> dict[str, float]:
    """How much of all that a method says of an input it says of each part; empty where it says nothing or no numbers."""
    values = nesting.named(found.values)
    sizes = {name: float(values[name].detach().double().abs().sum()) for name in scene.kinds if name in values}
    whole = sum(sizes.values())
    return {name: size / whole for name, size in sizes.items()} if np.isfinite(whole) and whole > 0 else {}


def _places(values: NDArray[np.float64], kind: kinds.Kind) -> NDArray[np.float64]:
    """One number a place: the sum over its channels; what covers whole places gives each channel the place's own number, which counts once."""
    summed = channels_summed(values, kind)
    times = values.size // max(1, summed.size)
    # All channels are equal where the sum of squares is as small as it can be.
    repeated = times > 1 and np.allclose(times * channels_summed(values**2, kind), summed**2, rtol=1e-9, atol=0, equal_nan=True)
    return np.asarray(summed / times if repeated else summed, np.float64)


def _mark(name: str, kind: kinds.Kind, shown: object, values: Tensor, key: str, *, signed: bool) -> Node:
    numbers = _places(np.atleast_1d(values[0].detach().double().cpu().numpy()), kind)
    scale = symmetric if signed else magnitude
    if isinstance(kind, kinds.Image) and numbers.ndim == 2:
        return msgspec.structs.replace(_picture(np.asarray(shown), key, name), heat=numbers, heat_limits=scale(numbers))
    if isinstance(kind, kinds.Tokens) and numbers.ndim == 1:
        words, numbers = folded(shown, numbers)  # type: ignore[arg-type]
        return Text(tokens=words, values=numbers, limits=scale(numbers), characters=all(len(word) <= 1 for word in words), title=name)
    flat = numbers.reshape(-1)
    columns = tuple(getattr(kind, "columns", ()) or ())
    if flat.size <= inputs.MANY:
        labels = columns if len(columns) == flat.size else tuple(map(str, range(flat.size)))
        return Bars(values=flat, labels=labels, limits=scale(flat), title=name)
    return Heatmap(values=numbers.reshape(len(numbers), -1), limits=scale(numbers), title=name)
