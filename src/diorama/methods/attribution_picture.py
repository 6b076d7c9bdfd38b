"""An attribution as a picture: heat over an image, bars of a row, coloured words, a strip of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from torch import Tensor

from ..core import marks
from ..core.colour import Limits, magnitude, symmetric
from ..core.errors import NotFound
from ..core.picture import Check, Picture
from ..core.rounding import summed
from ..data import kinds, nesting
from ..data.padding import folded
from ..data.text_places import beside
from ..data.volumes import montage
from .baseline import measured_from, slight

if TYPE_CHECKING:
    from .method import Attribution

LIMIT = 0.5
"""A map whose sum misses what it should be by more than this share of it is doubted: it is drawn pale."""
_SENTENCES = {
    "completeness": "largest gap between the sum of the values and what they should sum to, as a share of it",
    "sampling error": "largest standard error of a value, as a share of the largest value",
}


_PARTS = {"completeness": _SENTENCES["completeness"].replace("the values", "its parts or places, one number each,")}


def picture(heat: Attribution, example: int = 0) -> Picture:
    """The map of one example, each part of a nested input below the other."""
    count = nesting.size(heat.values)
    if not 0 <= example < count:
        raise NotFound(f"the attribution has examples 0 to {count - 1}, got {example}")
    children = [
        part_mark(name, values[example], x[example : example + 1] if x is not None else None, kind, heat.signed)
        for name, values, x, kind in _parts(heat)
    ]
    body = children[0] if len(children) == 1 else marks.Group(children=on_one_scale(children))
    title = f"{heat.method.replace('_', ' ').capitalize()} for {heat.target}"
    told = {**_SENTENCES, **(_PARTS if heat.summed is not None else {})}
    told["completeness"] += measured_from(heat, example)
    if doubted(heat):
        body = msgspec.structs.replace(body, doubted=True)
    checks = tuple(
        Check(name=name, value=value, sentence=told.get(name, ""), good=False if name in _SENTENCES and not value <= LIMIT else None)
        for name, value in heat.checks.items()
    )
    return Picture(title=title, body=body, provenance=heat.provenance, checks=checks, note=heat.note)


def gap(heat: Attribution) -> float | None:
    """The share by which a map's sum misses what it should be; None where the method promises no sum."""
    return heat.checks.get("completeness")


def doubted(heat: Attribution) -> bool:
    """Whether a map is off by more than half (its sum, or its own draws), or its baseline has nearly the same score."""
    return missed(heat) or bool(slight(heat))


def missed(heat: Attribution) -> bool:
    """Whether a map's sum misses what it should be by more than half of it, or is no number; or its draws leave it as uncertain."""
    return any(not heat.checks.get(name, 0.0) <= LIMIT for name in _SENTENCES)


def silent(heat: Attribution) -> frozenset[str]:
    """The parts beside a text, masks and numbers of its places, of which a map says nothing: whole numbers have no slope."""
    if not isinstance(heat.kind, dict):
        return frozenset()
    values = nesting.named(heat.values)
    return frozenset(name for name in beside(heat.kind) if name in values and not bool(values[name].any()))


def _parts(heat: Attribution) -> list[tuple[str, Tensor, Tensor | None, kinds.Kind | None]]:
    """The tensors of the values with their names, inputs and kinds; without masks of which nothing is said."""
    values = list(nesting.tensors(heat.values))
    names = list(nesting.named(heat.values))
    given = list(nesting.tensors(heat.x)) if heat.x is not None else []
    rows, left = [], silent(heat)
    for k, (name, part) in enumerate(zip(names, values, strict=True)):
        if name in left:
            continue
        kind = heat.kind.get(name) if isinstance(heat.kind, dict) else heat.kind
        rows.append((name if len(values) - len(left) > 1 else "", part, given[k] if given else None, kind))
    return rows


def channels_summed(values: np.ndarray, kind: kinds.Kind | None) -> np.ndarray:
    """An image's values (channels first or last, or in a row) as one number a place."""
    if isinstance(kind, kinds.Image):
        if kind.layout == "NCHW" and values.ndim == 3:
            return np.asarray(_summed(values, 0))
        if kind.layout == "NHWC" and values.ndim == 3:
            return np.asarray(_summed(values, -1))
        if kind.layout == "flat" and values.ndim == 1 and kind.height and kind.width:
            return np.asarray(_summed(values.reshape(-1, kind.height, kind.width), 0))
    return np.asarray(_summed(values, 0)) if values.ndim == 3 else values


def _summed(values: np.ndarray, axis: int) -> np.ndarray:
    found: np.ndarray = summed(values, axis, np.finfo(values.dtype).eps) if values.dtype.kind == "f" else values.sum(axis)
    return found.astype(values.dtype, copy=False)


def by_place(values: np.ndarray, kind: kinds.Kind | None) -> np.ndarray:
    """An attribution as one number a place: the sum over its channels, but once the number that what covers whole places gives to each of them."""
    summed = channels_summed(values, kind)
    times = values.size // max(1, summed.size)
    if times < 2 or not np.isfinite(values).all():
        return summed
    wide = values.astype(np.float64)
    # All channels are equal where the sum of their squares is as small as it can be.
    repeated = np.allclose(times * channels_summed(wide**2, kind), channels_summed(wide, kind) ** 2, rtol=1e-9, atol=0)
    return np.asarray(summed / times, values.dtype) if repeated else summed


def on_one_scale(parts: Sequence[marks.Node]) -> tuple[marks.Node, ...]:
    """The parts of one map, with all texts among them coloured on one scale: a word is as dark as another that counts as much.

    *Meaning* a pixel, or a column, is a part of another size than a word, and keeps the scale of its own.
    """
    limits = [part.limits for part in parts if isinstance(part, marks.Text) and part.limits is not None]
    if len(limits) < 2:
        return tuple(parts)
    low, high = min(one.low for one in limits), max(one.high for one in limits)
    return tuple(
        msgspec.structs.replace(part, limits=msgspec.structs.replace(part.limits, low=low, high=high))
        if isinstance(part, marks.Text) and part.limits is not None else part for part in parts
    )


def part_mark(title: str, values: Tensor, x: Tensor | None, kind: kinds.Kind | None, signed: bool) -> marks.Node:
    """One example's values of one part of an input, as its kind is drawn; ``x`` is that part as a batch of one."""
    numbers = by_place(np.atleast_1d(values.detach().float().cpu().numpy()), kind)
    if numbers.ndim == 4:
        numbers = montage(numbers.astype(np.float64))
        return marks.Image(title=title, pixels=numbers, limits=symmetric(numbers) if signed else magnitude(numbers), size=240)
    limits: Limits = symmetric(numbers) if signed else magnitude(numbers)
    if isinstance(kind, kinds.Tokens) and numbers.ndim == 1 and x is not None:
        words, numbers = folded(kind.decode(x)[0], numbers)
        limits = symmetric(numbers) if signed else magnitude(numbers)
        return marks.Text(
            title=title, tokens=words, values=numbers, limits=limits, characters=all(len(word) <= 1 for word in words)
        )
    if numbers.ndim == 1:
        columns = tuple(getattr(kind, "columns", ()) or ())
        labels = columns if len(columns) == len(numbers) else tuple(str(k) for k in range(len(numbers)))
        if len(numbers) <= 64:
            return marks.Bars(title=title, values=numbers, labels=labels, limits=limits)
        return marks.Heatmap(title=title, values=numbers[None], limits=limits)
    if isinstance(kind, kinds.Image) and numbers.ndim == 2 and x is not None:
        pixels = np.asarray(kind.decode(x)[0])
        if pixels.shape[:2] == numbers.shape:
            return marks.Image(title=title, pixels=numbers, limits=limits, size=240)
    along = isinstance(kind, kinds.Series) and numbers.ndim == 2
    if isinstance(kind, kinds.Series) and kind.turned and along:
        numbers = numbers.T  # time goes to the right
    rows, columns_ = ("channel", "time") if along else ("", "")
    return marks.Heatmap(title=title, values=numbers.reshape(len(numbers), -1), limits=limits, row_title=rows, column_title=columns_)
