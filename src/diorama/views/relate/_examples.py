"""The live examples as they are shown beside their places: colours, pictures, words, and where the network is wrong."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import not_found
from ...core.selection import Key, spoken
from ...data.kinds import Table, Tokens
from ...data.melodies import is_mark
from ...data.metadata import Column
from ...data.nesting import first
from ...derive.derivations.shared import properties
from ...scene import Scene
from ...scene.directions import codes
from ...scene.input import pictured
from ...scene.sets import classes_of
from .. import inputs, sections
from ..changed_labels import of_numbers, relabelled, wrong
from ..samples import noted

COLOURS = ("class", "prediction", "loss", "confidence", "unit")
SMALL = 40
"""Pictures at points have at most so many pixels a side."""
BYTES, TINY = 8_000_000, 8
"""All pictures together have about so many bytes at most, and each at least so many pixels a side."""
DISTINCT = 10
"""Of more classes the colours repeat."""
MARKS = 40
"""Of more marks at the ends of texts none are told apart."""


@dataclasses.dataclass(frozen=True)
class ShownExamples:
    """What stands at each point, whatever its place."""

    values: NDArray[np.float64]
    limits: Limits | None
    classes: tuple[str, ...]
    wrong: NDArray[np.bool_] | None
    pictures: NDArray[Any] | None
    labels: tuple[str, ...]
    said: str
    note: str = ""
    read: bool = False
    """They are texts: their labels are read, not only told."""

    @property
    def small(self) -> bool:
        """They may stand as pictures, or as lines of text, at their places."""
        return self.pictures is not None or (self.read and bool(self.labels))

    @classmethod
    def of(cls, scene: Scene, colour: str, column: str | None, unit: Key | None = None) -> ShownExamples:
        """The live examples in a colour of their own, of a column, or as the network answers them."""
        count = len(scene.live)
        values, limits, classes, said, note = _coloured(scene, colour, column, unit)
        missed = wrong(scene)
        missed = missed if missed is not None and missed.ndim == 1 else None
        note = noted(note, *of_numbers(scene.run, scene.step), "Rings go by the new labels" if relabelled(scene) else "")
        images = pictured(scene.live, list(range(count)))
        labels = inputs.texts(scene, range(count), scene.live) if images is None else ()
        images = inputs.thumbnails(images, _side(images)) if images is not None else inputs.curves(scene, scene.live)
        read = any(isinstance(kind, Tokens) for kind in scene.kinds.values())
        return cls(values, limits, classes, missed, images, labels, said, note, read)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The class of each example by which contours are drawn; 0 for all where colours are numbers."""
        if self.limits is not None:
            return np.zeros(len(self.values), np.int64)
        return np.where(np.isfinite(self.values), self.values, -1).astype(np.int64)

    def told(self) -> dict[str, Any]:
        """What a scatter is told of them."""
        limits = inputs.grey(self.pictures) if self.pictures is not None and self.pictures.ndim == 3 else None
        return {
            "values": self.values, "limits": self.limits, "classes": self.classes, "wrong": self.wrong, "pictures": self.pictures,
            "picture_limits": limits, "labels": self.labels,
        }


def _side(images: NDArray[Any]) -> int:
    """Pictures have so many pixels a side at most: fewer where there are many, so that all of them come soon."""
    each = max(1, len(images)) * (3 if images.ndim == 4 else 1)
    return max(TINY, min(SMALL, math.isqrt(BYTES // each)))


def _coloured(
    scene: Scene, colour: str, column: str | None, unit: Key | None
) -> tuple[NDArray[np.float64], Limits | None, tuple[str, ...], str, str]:
    """Values, their limits or the classes' names, what colours say, and what could not be done."""
    answers, note = scene.answers(), ""
    if column is not None and column in scene.live.metadata:
        return _told(scene.live.metadata[column], column)
    if column is not None:
        values = _column(scene, column)
        return values, magnitude(values, float(np.nanmin(values))), (), f"Colours tell {column}.", ""
    if colour == "unit" and unit is not None and scene.layers.has(unit.name) and unit.number < scene.layers[unit.name].units:
        values = codes(scene, unit.name)[:, unit.number]
        if len(values) == len(scene.live):
            limits = symmetric(values) if (values < 0).any() else magnitude(values)
            return values, limits, (), f"Colours tell what unit {unit.number} of {spoken(unit.name)} answers.", ""
    if colour == "unit":
        note = "No unit is chosen that answers once for each example, so colours tell the class."
    if colour in ("loss", "confidence"):
        told = answers.losses if colour == "loss" else answers.confidence
        if told is not None and told.ndim == 1:
            values = told.double().numpy()
            return values, magnitude(values), (), f"Colours tell the {colour}.", ""
        note = f"There is no {colour} of each example here, so colours tell the class."
    if scene.task == "classification" and scene.classes:
        predicted = colour == "prediction" or scene.live.y is None
        given = scene.predictions().numpy() if predicted else classes_of(scene)
        if given is not None and given.ndim == 1:
            values = np.where(given >= 0, given, np.nan).astype(np.float64)
            said = "Colours tell the network's answer." if predicted else "Colours tell the true class."
            if len(scene.classes) > DISTINCT:
                said += f" Of {len(scene.classes)} classes every tenth has the same colour."
            return values, None, scene.classes, said, note
    ends = None if colour == "prediction" else _ends(scene)
    if ends is not None:
        return *ends, "Colours tell the mark that each text ends with.", note
    y = scene.live.y
    if y is not None and colour != "prediction" and y.numel() == len(y) and not y.is_complex():
        values = y.reshape(len(y)).double().numpy()
        return values, magnitude(values, float(np.nanmin(values))), (), "Colours tell the true value.", note
    classless = sections.classless(scene)
    if (losses := answers.losses) is not None and losses.ndim == 1 and len(losses) == len(scene.live) and bool(losses.isfinite().any()):
        values = losses.double().numpy()
        return values, magnitude(values), (), f"Colours tell the loss, as {classless}.", note
    return np.zeros(len(scene.live)), None, ("examples",), "", note or f"{classless.capitalize()}, so all have one colour."


def _ends(scene: Scene) -> tuple[NDArray[np.float64], Limits | None, tuple[str, ...]] | None:
    """By which mark in brackets each text is to end, such as its genre; None where one ends otherwise, or all alike."""
    kind, y = scene.kind, scene.live.y
    if not isinstance(kind, Tokens) or kind.vocabulary is None or scene.task != "next_token" or y is None or y.ndim != 2:
        return None
    last = y[:, -1].tolist()
    marks = sorted(set(last))
    if not 2 <= len(marks) <= MARKS or not all(is_mark(kind.token(int(number))) for number in marks):
        return None
    return np.array([marks.index(number) for number in last], np.float64), None, tuple(kind.token(int(number)) for number in marks)


def _told(column: Column, name: str) -> tuple[NDArray[np.float64], Limits | None, tuple[str, ...], str, str]:
    """Metadata of the user's own: numbers on a scale, words each in a colour."""
    if isinstance(column, Tensor):
        values = column.numpy().astype(np.float64)
        good = values[np.isfinite(values)]
        return values, magnitude(values, float(good.min()) if len(good) else 0.0), (), f"Colours tell {name}.", ""
    ranked = [word for word, _ in Counter(column).most_common()]
    shown = sorted(ranked[:MARKS] if len(ranked) <= MARKS else ranked[: MARKS - 1])
    places = {word: k for k, word in enumerate(shown)}
    names = (*shown, "others") if len(ranked) > MARKS else tuple(shown)
    said = f"Colours tell {name}." + (f" Of {len(names)} words every tenth has the same colour." if len(names) > DISTINCT else "")
    note = f"{len(ranked):,} different words stand under {name}; those that are met most often have colours." if len(ranked) > MARKS else ""
    return np.array([places.get(word, len(shown)) for word in column], np.float64), None, names, said, note


def _column(scene: Scene, name: str) -> NDArray[np.float64]:
    """A column of the examples' tables, in its own unit; of other inputs a property, such as the brightness of pictures."""
    kind, told = scene.kind, tuple(scene.live.metadata)
    if not isinstance(kind, Table) or not kind.columns:
        names, rows = properties(scene, np.arange(len(scene.live)))
        if name not in names:
            raise not_found("column", name, [*told, *names])
        return rows[:, names.index(name)]
    columns = tuple(kind.columns)
    if name not in columns:
        raise not_found("column", name, (*told, *columns))
    return kind.decode(first(scene.live.x))[:, columns.index(name)]
