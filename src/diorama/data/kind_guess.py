"""Guessing what inputs are from shapes and numbers, and saying so in a sentence."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError
from . import kinds
from .drawing import Drawing
from .nesting import as_tensors, named, real
from .strokes import are_strokes
from .text_places import BESIDE
from .volumes import slices

_LOOKED_AT = 512
_DRAWABLE = 128
"""Images up to this side may be drawings; a pad cannot stand in for larger ones."""


def kind_of(x: Any, name: str = "") -> tuple[kinds.Kinds, str]:
    """The kind of an input and the sentence that says what was guessed and why."""
    x = as_tensors(x)
    if isinstance(x, Tensor):
        kind = _one(x, name)
        return kind, kind.sentence
    found: dict[str, kinds.Kind] = {name: _one(part, name) for name, part in named(x).items()}
    return found, " ".join(f"Input {name!r}: {kind.sentence}" for name, kind in found.items())


def _one(x: Tensor, name: str) -> kinds.Kind:
    shape = "×".join(map(str, x.shape[1:]))
    if are_strokes(x):
        said = f"guessed: {x.shape[1]} rows of two numbers and a 0 or 1 are steps of a pen and where it is lifted."
        return dataclasses.replace(kinds.Strokes().fitted(x), sentence=said)
    whole = x.dtype in (torch.int64, torch.int32, torch.int16)
    if x.ndim == 4 or (x.ndim == 3 and _grey_images(x)) or (x.ndim == 2 and not whole and _flat(x) is not None):
        return kinds.Image().fitted(x)
    if x.ndim == 2 and whole and (not x.numel() or int(x.min()) >= 0):
        tokens = kinds.Tokens().fitted(x)
        if BESIDE.search(name):
            return dataclasses.replace(tokens, sentence=f"guessed: whole numbers of shape {shape} stand beside a text, as the name says.")
        said = f"guessed: whole numbers of shape {shape} are tokens, {tokens.size} different at most"
        return dataclasses.replace(tokens, sentence=f"{said}; their texts are not known: tell them by inputs=diorama.Tokens(vocabulary=…).")
    if x.is_floating_point() and x.ndim in (2, 3) and x.shape[-1] >= 4000:
        sound = kinds.Sound().fitted(x)
        return dataclasses.replace(sound, sentence=f"guessed: {x.shape[-1]} numbers in a row are a sound.")
    if x.ndim == 3 and x.is_floating_point():
        series = kinds.Series().fitted(x)
        said = f"guessed: numbers of shape {shape} are series of {x.shape[1]} channels over {x.shape[2]} moments."
        return dataclasses.replace(series, sentence=said)
    table = kinds.Table().fitted(x)
    what = "a table's columns" if x.ndim == 2 else "shown in a row"
    if x.ndim == 5:
        what = f"shown as {slices(x.shape[1:])} slices side by side"
    are = f"numbers of shape {shape} are" if x.ndim > 1 else "a number an example is"
    return dataclasses.replace(table, sentence=f"guessed: {are} {what}.")


def image_from(kind: kinds.Image, x: Tensor) -> kinds.Image:
    """An image kind with layout, size, channels, range and drawing learned from examples; what was told stays."""
    layout, channels, height, width = _layout(kind, x)
    dtype = str(x.dtype).removeprefix("torch.")
    shaped = dataclasses.replace(kind, layout=layout, channels=channels, height=height, width=width, dtype=dtype)
    low, high, why = _span(shaped, x[:_LOOKED_AT])
    shaped = dataclasses.replace(shaped, range=(low, high))
    if kind.drawing is None and channels in (1, 3) and max(height, width) <= _DRAWABLE and len(x):
        shown = shaped.decode(x[: _LOOKED_AT // 2])
        # Coloured examples whose colours are all grey may be drawings too.
        if shown.ndim == 4 and not np.ptp(shown.astype(np.int16), axis=3).any():
            shown = shown[..., 0]
        if shown.ndim == 3:
            shaped = dataclasses.replace(shaped, drawing=Drawing.fit(shown))
    if kind == kinds.Image():
        colours = {1: "grey", 3: "coloured"}.get(channels, f"{channels}-channel")
        said = f"guessed: numbers of shape {'×'.join(map(str, x.shape[1:]))} are {colours} images ({layout}), {why}."
        shaped = dataclasses.replace(shaped, sentence=said)
    return shaped


def _layout(kind: kinds.Image, x: Tensor) -> tuple[str, int, int, int]:
    """Layout, channels, height and width of the examples."""
    shape = [int(side) for side in x.shape]
    if x.ndim == 4:
        last = kind.layout == "NHWC" or (shape[1] not in (1, 3, 4) and shape[3] in (1, 3, 4))
        return ("NHWC", shape[3], shape[1], shape[2]) if last else ("NCHW", shape[1], shape[2], shape[3])
    if x.ndim == 3:
        return "NHW", 1, shape[1], shape[2]
    if x.ndim != 2:
        raise UsageError(f"images want 2 to 4 dimensions, the first the example, got shape {tuple(shape)}")
    if kind.height and kind.width:
        channels = kind.channels or max(1, shape[1] // (kind.height * kind.width))
        if channels * kind.height * kind.width != shape[1]:
            raise UsageError(
                f"{shape[1]} numbers a row do not make images of {kind.height} × {kind.width} with {channels} channels"
            )
        return "flat", channels, kind.height, kind.width
    for channels in (1, 3):
        side = round((shape[1] / channels) ** 0.5)
        if side * side * channels == shape[1]:
            return "flat", channels, side, side
    raise UsageError(f"{shape[1]} numbers a row are no square image; give inputs=Image(height=…, width=…)")


def _span(kind: kinds.Image, x: Tensor) -> tuple[float, float, str]:
    """The values shown as black and white, and in words how they were found."""
    if kind.range is not None or kind.mean is not None:
        low, high = kind.span()
        return low, high, f"black is {low:g} and white {high:g}, as told"
    if not x.dtype.is_floating_point and x.dtype == torch.uint8:
        return 0.0, 255.0, "black is 0 and white 255"
    values = real(x, torch.float32)
    values = values[torch.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 1.0)
    for bottom, top in ((0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 16.0), (0.0, 255.0)):
        # A range is taken when the values fill at least half of it.
        if low >= bottom and high <= top and high - low >= 0.5 * (top - bottom) and not (bottom < 0 <= low):
            return bottom, top, f"black is {bottom:g} and white {top:g}"
    if high <= low:
        return low, low + 1.0, f"all values are {low:g}"
    low, high = float(np.float32(low)), float(np.float32(high))
    return low, high, f"black is {low:.3g} and white {high:.3g}, the lowest and highest value"


def _grey_images(x: Tensor) -> bool:
    sides = x.shape[1:]
    if min(sides) < 6 or x.dtype in (torch.int64, torch.int32):
        return False
    return x.dtype == torch.uint8 or (max(sides) <= 2 * min(sides) and _smooth(x.flatten(1), int(sides[1])))


def _flat(x: Tensor) -> int | None:
    """The side of square images written in rows, or None where neighbours do not look alike."""
    for channels in (1, 3):
        side = math.isqrt(x.shape[1] // channels)
        if side * side * channels == x.shape[1] and side >= 8 and _smooth(x, side):
            return side
    return None


def _smooth(x: Tensor, width: int) -> bool:
    """Whether numbers that would be neighbours in a picture are alike, sideways and downwards, as a picture's are."""
    rows = real(x[:256], torch.float32).numpy()
    if len(rows) < 8:
        return bool(rows.min() >= 0)
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) < 8:
        return False
    return _alike(rows, 1) > 0.25 and _alike(rows, width) > 0.25


def _alike(rows: NDArray[np.float32], apart: int) -> float:
    """The median correlation, over columns, of a column and the one so far apart."""
    centred = rows - rows.mean(0)
    spread = centred.std(0)
    lively = (spread[:-apart] > 1e-6) & (spread[apart:] > 1e-6)
    if not lively.any():
        return 0.0
    products = (centred[:, :-apart] * centred[:, apart:]).mean(0)[lively]
    return float(np.median(products / (spread[:-apart] * spread[apart:])[lively]))
