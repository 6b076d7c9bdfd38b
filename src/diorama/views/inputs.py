"""Inputs and examples as marks: pictures, texts, rows, series; for a single input, and as a column of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.colour import Limits, magnitude, symmetric
from ..core.marks import Bars, Column, Group, Image, Lines, Node, Series, Text
from ..core.numerals import plain
from ..data.examples import Examples
from ..data.kinds import Kind, Strokes, Table, Tokens
from ..data.kinds import Series as Measured
from ..data.nesting import first, named
from ..data.padding import stripped
from ..data.strokes import inked
from ..data.strokes import lines as ink
from ..data.text_places import beside
from ..data.volumes import montage, slices
from ..scene import Scene
from ..scene.input import CurrentInput, pictured

THUMBNAIL = 112
"""Pictures in tables and strips have at most so many pixels a side."""
CURVE = (28, 56)
"""A small picture of a series is so high and wide."""
MANY = 200
"""A row of more numbers than this is drawn as a line."""
LETTERS = 240
"""Texts in tables are cut after so many characters: the page shows three lines of them, and all that is here in a row's note."""


def property_names(scene: Scene) -> list[str]:
    """The names of what examples may be coloured by: their metadata, and what can be counted in them."""
    from ..derive.derivations import shared  # half of what views may derive, which few of them need

    return shared.property_names(scene)


def drawn(scene: Scene, current: CurrentInput, size: int = 96) -> Node:
    """An input as a mark: what the model receives, in its own pixels, tokens or numbers."""
    shown = current.shown if isinstance(scene.kind, dict) else {"": current.shown}
    marks = [_one(scene.kinds[name], name, value, current, size) for name, value in shown.items()]
    return marks[0] if len(marks) == 1 else Group(children=tuple(marks), direction="row")


def _one(kind: Kind, name: str, value: Any, current: CurrentInput, size: int) -> Node:
    title = name or current.label
    if kind.word == "image":
        pixels = np.asarray(value)
        limits = grey(pixels) if pixels.ndim == 2 else None
        return Image(pixels=pixels, limits=limits, key=current.key, size=size, title=title)
    if isinstance(kind, Tokens):
        words = kind.describe()
        return Text(tokens=tuple(stripped(value)) or tuple(value), characters=bool(words["characters"]), title=title)
    if isinstance(kind, Strokes):
        pixels = inked(ink(np.asarray(value, np.float64).T), kind.half or 1.0, 2 * size)
        return Image(pixels=pixels, limits=grey(pixels), key=current.key, size=size, title=title)
    array = np.asarray(value, np.float64)
    if isinstance(kind, Table) and len(kind.shape or ()) == 4:
        assert kind.shape is not None
        planes = montage(array.reshape(kind.shape), "mean")
        limits = magnitude(planes, float(np.nanmin(planes)), float(np.nanmax(planes)), "grey")
        caption = f"its {slices(kind.shape)} slices, row by row"
        return Image(pixels=planes, limits=limits, key=current.key, size=max(size, 240), title=title, caption=caption)
    if isinstance(kind, Table) and array.size > MANY:
        # As bars, they would stand many screens high.
        line = Series(name="value", x=np.arange(array.size, dtype=np.float64), y=array.reshape(-1))
        return Lines(series=(line,), x_title="column", x_kind="number", title=title)
    if isinstance(kind, Table):
        return Bars(values=array.reshape(-1), labels=tuple(kind.columns), limits=symmetric(array), title=title)
    lines = tuple(
        Series(name=f"channel {k}", x=np.arange(array.shape[1], dtype=np.float64), y=row, colour=k)
        for k, row in enumerate(array[:8])
    )
    return Lines(series=lines, x_title=along(kind), x_kind="number", title=title)


def numbers(scene: Scene, indices: Sequence[int]) -> Column:
    """The numbers of examples as a column, which says that they are the probe set's where the training's data have others of their own."""
    order = np.array(list(indices), float)
    if scene.run is None or not scene.run.meta.get("steered"):
        return Column(name="number", numbers=order)
    note = "Its place in the probe set; the training's data may number it otherwise. Commands on examples take these numbers with of=probe."
    return Column(name="number in the probe set", numbers=order, note=note)


def column(scene: Scene, indices: Sequence[int], examples: Examples | None = None) -> Column:
    """Examples as a column of a table: pictures, series as their curves, or texts that sum them up; of other examples of the scene's kind too."""
    images = thumbnails(pictured(examples or scene.examples, list(indices)))
    if images is not None:
        limits = grey(images) if images.ndim == 3 else None
        return Column(name="example", kind="image", images=images, limits=limits)
    if isinstance(scene.kind, Measured) and len(indices) and (small := curves(scene, (examples or scene.examples).take(list(indices)))) is not None:
        return Column(name="example", kind="image", images=small, limits=grey(small), note=f"Over {along(scene.kind)}, all of them on one scale.")
    return Column(name="example", kind="text", texts=texts(scene, indices, examples))


def texts(scene: Scene, indices: Sequence[int], examples: Examples | None = None) -> tuple[str, ...]:
    """One line for each example: the start of a text, the numbers of a row, the range of a series."""
    if not len(indices):
        return ()
    whole, along = named((examples or scene.examples).batch(list(indices))), beside(scene.kinds)
    read = [name for name in scene.kinds if name not in along]
    found = []
    for row in range(len(indices)):
        told = []
        for name in read:
            part, kind = whole.get(name), scene.kinds[name]
            if part is not None:
                told.append((f"{name}: " if name and len(read) > 1 else "") + _line(kind, kind.decode(part[row : row + 1])[0]))
        found.append(" · ".join(told))
    return tuple(found)


def _line(kind: Kind, value: Any) -> str:
    if isinstance(kind, Tokens):
        value = stripped(value)
        text = kind.joined(value)
        return text[:LETTERS] + ("…" if len(text) > LETTERS else "")
    array = np.asarray(value, np.float64)
    if isinstance(kind, Table):
        named = [f"{name} {plain(f'{number:.3g}')}" for name, number in zip(kind.columns, array.reshape(-1), strict=True)]
        return ", ".join(named[:6]) + (" …" if len(named) > 6 else "")
    return plain(f"{array.shape[-1]} moments from {np.nanmin(array):.3g} to {np.nanmax(array):.3g}")


def along(kind: object) -> str:
    """What the places of a sequence are called: a training has steps, a text has places, a recording has time."""
    return "place in the text" if isinstance(kind, Tokens) else "time"


def grey(pixels: np.ndarray) -> Limits:
    """The limits of grey pixels, black to white."""
    return magnitude(pixels, 0, 255, "grey")


def thumbnails(images: np.ndarray | None, most: int = THUMBNAIL) -> np.ndarray | None:
    """Pictures (n, height, width[, 3]) made smaller where they are larger than a table or a strip can show."""
    if images is None or max(images.shape[1:3]) <= most:
        return images
    step = math.ceil(max(images.shape[1:3]) / most)
    height, width = images.shape[1] // step * step, images.shape[2] // step * step
    cut = images[:, :height, :width].reshape(len(images), height // step, step, width // step, step, *images.shape[3:])
    small: np.ndarray = cut.mean((2, 4)).round().astype(np.uint8)
    return small


def curves(scene: Scene, examples: Examples) -> np.ndarray | None:
    """Series as small pictures (n, height, width), dark on light: their channels over time, all on one scale; None of other inputs."""
    if not isinstance(scene.kind, Measured):
        return None
    rows = np.asarray(scene.kind.decode(first(examples.x)), np.float64)
    if not rows.size:
        return None
    height, width = CURVE
    numbers = rows[np.isfinite(rows)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    size = high - low or 1.0
    # From each edge between two columns to the next, whatever happens there: a click of one moment is seen.
    moments = rows.shape[2]
    edges = np.linspace(0, moments - 1, width + 1)
    pixels = np.full((len(rows), height, width), 255, np.uint8)
    down = np.arange(height)[:, None]
    for k in range(width):
        part = rows[:, :, int(np.floor(edges[k])) : int(np.ceil(edges[k + 1])) + 1]
        if moments > 1 and part.shape[2] > 1:
            at = np.clip(edges[k : k + 2], np.floor(edges[k]), np.ceil(edges[k + 1])) - np.floor(edges[k])
            ends = np.stack([_between(part, float(one)) for one in at], 2)
            part = np.concatenate([ends, part[:, :, 1:-1]], 2)
        there = np.asarray(np.isfinite(part).all(2))
        top, bottom = ((high - np.where(there, found, low)) / size * (height - 1) for found in (part.max(2), part.min(2)))
        inside = (down >= np.floor(top + 0.5)[:, None, :]) & (down <= np.floor(bottom + 0.5)[:, None, :]) & there[:, None, :]
        pixels[:, :, k][inside.any(2)] = 32
    return pixels


def _between(rows: np.ndarray, at: float) -> np.ndarray:
    """Values (…, moments) at a moment that may lie between two."""
    left = min(int(at), rows.shape[2] - 1)
    right = min(left + 1, rows.shape[2] - 1)
    found: np.ndarray = rows[:, :, left] + (at - left) * (rows[:, :, right] - rows[:, :, left])
    return found
