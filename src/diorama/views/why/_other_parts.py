"""What a method says of the parts of an input beside its text: heat over a picture, another text, bars of a row."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...core.colour import magnitude, symmetric
from ...core.marks import Image, Node
from ...data import kinds, nesting
from ...methods.attribution_picture import by_place, part_mark, silent
from ...methods.method import Attribution
from ...scene import Scene
from ...scene.input import CurrentInput
from .. import inputs

SIDE = 136
"""Of a picture on screen."""


def other_parts(scene: Scene, current: CurrentInput, found: Attribution, text: str | None = None, size: int = SIDE) -> list[Node]:
    """A mark for each part of the input but the one named ``text``, and masks of which nothing is said; none where that is all."""
    values, x = nesting.named(found.values), nesting.named(current.x)
    marks, left = list[Node](), silent(found)
    for name, kind in scene.kinds.items():
        if name == text or name not in values or name in left:
            continue
        pixels = np.asarray(current.shown[name]) if isinstance(kind, kinds.Image) else None
        numbers = None if pixels is None else by_place(values[name][0].detach().float().cpu().numpy(), kind)
        if pixels is not None and numbers is not None and numbers.shape == pixels.shape[:2]:
            limits = symmetric(numbers) if found.signed else magnitude(numbers)
            plain = _picture(pixels, current.key, name, size)
            marks.append(msgspec.structs.replace(plain, heat=numbers, heat_limits=limits))
        else:
            marks.append(part_mark(name, values[name][0], x[name], kind, found.signed))
    return marks


def plain_pictures(scene: Scene, current: CurrentInput) -> list[Node]:
    """The pictures of an input of several parts as they are: under heat they have no colours."""
    images = [name for name, kind in scene.kinds.items() if isinstance(kind, kinds.Image)] if len(scene.kinds) > 1 else []
    return [_picture(np.asarray(current.shown[name]), current.key, f"{name} as it is", SIDE) for name in images]


def _picture(pixels: NDArray[Any], key: str, title: str, size: int) -> Image:
    return Image(pixels=pixels, limits=inputs.grey(pixels) if pixels.ndim == 2 else None, key=key, size=size, title=title)


def shares(scene: Scene, found: Attribution) -> dict[str, float]:
    """How much of all that a method says of an input it says of each part; empty where it says nothing or no numbers."""
    values = nesting.named(found.values)
    sizes = {name: float(values[name].detach().double().abs().sum()) for name in scene.kinds if name in values and name not in silent(found)}
    whole = sum(sizes.values())
    return {name: size / whole for name, size in sizes.items()} if np.isfinite(whole) and whole > 0 else {}
