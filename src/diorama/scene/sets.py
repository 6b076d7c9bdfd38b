"""The live examples that keys name: classes, and examples by their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import NotApplicable
from ..core.selection import Key
from ..data.kinds import Tokens
from ..model.targets import called
from ..model.tasks import loss_unit as unit_of

if TYPE_CHECKING:
    from .scene import Scene


def classes_of(scene: Scene) -> np.ndarray | None:
    """The true classes of the live examples, else the given answers; None for other tasks."""
    if scene.task != "classification":
        return None
    y = scene.live.y
    return np.asarray((scene.reading.truth(y) if y is not None else scene.predictions()).numpy())


def unlabelled(scene: Scene, asks: str) -> str | None:
    """Why the examples have no class each that is known, behind what is asked; None where they have."""
    if scene.missing is not None or not scene.kinds or scene.live.y is None or not scene.task:
        return f"{asks}, and wants a classifier with the true class of each example; pass y (or probe=(x, y))"
    if scene.task == "classification":
        return None
    return f"{asks}, and wants a classifier with one class an example; here each example {_answered(scene)}"


def classless(scene: Scene) -> str:
    """Why a network gives its examples no class each, as a clause behind what was asked of it."""
    if not scene.task:
        return "it is not known what this model answers; say it with task="
    return f"this model is not a classifier of examples: each {_answered(scene)}"


def _answered(scene: Scene) -> str:
    """How each example is answered, where it is not by one class."""
    return {
        "multi_label": "has several labels", "segmentation": "has a class at each place",
        "next_token": "is answered token by token" if several(scene) == "tokens" else "is answered place by place",
        "regression": "is answered with numbers", "reconstruction": "is given back",
    }[scene.task]


def several(scene: Scene) -> str:
    """What an example has several answers to; empty where it has one. Tokens are those of texts: nodes and moments are places."""
    if scene.task == "next_token":
        return "tokens" if any(isinstance(kind, Tokens) for kind in scene.kinds.values()) else "places"
    return {"segmentation": "places", "multi_label": "labels"}.get(scene.task or "", "")


def loss_unit(scene: Scene) -> str:
    """What an example's loss is counted in; empty for squared errors and for a criterion of the user's own."""
    unit = unit_of(scene.task) if scene.missing is not None else scene.reading.loss_unit
    return "nats a place" if unit == "nats a token" and several(scene) == "places" else unit


def named(scene: Scene, number: int) -> str:
    """The name of a class; of a label that says nothing, and of scores that are not numbers, that there is none."""
    return names(scene, [number])[0]


def names(scene: Scene, numbers: Iterable[int]) -> tuple[str, ...]:
    """The names of many classes, for which the scene is asked once."""
    classes = scene.classes
    return tuple(classes[number] if 0 <= number < len(classes) else "none" if number < 0 else str(number) for number in numbers)


def output_name(scene: Scene, number: int) -> str:
    """What a number that the network answers is called: a class by its name, else by its number, as a class, a token or an output."""
    names = () if scene.task == "regression" and all(name.isdecimal() for name in scene.classes) else scene.classes
    return called(number, names, scene.task)


def members(scene: Scene, keys: Iterable[Key]) -> np.ndarray:
    """The live examples that keys name, in order of their numbers."""
    parts = [np.zeros(0, np.int64)]
    for key in keys:
        if key.kind == "example":
            parts.append(np.array([k for k in key.numbers if k < len(scene.live)], np.int64))
            continue
        classes = classes_of(scene)
        if classes is None:
            raise NotApplicable("a class can be chosen where a classifier's truth is known; choose examples instead")
        parts.append(np.flatnonzero(np.isin(classes, list(key.numbers))))
    return np.unique(np.concatenate(parts))


def words(scene: Scene, keys: Iterable[Key]) -> str:
    """What keys name, as a person says it."""
    chosen = tuple(keys)
    if not chosen:
        return "the others"
    names = [
        scene.classes[key.number] if key.kind == "class" and key.number < len(scene.classes) else str(key).replace(":", " ")
        for key in chosen
    ]
    return ", ".join(names[:4]) + ("…" if len(names) > 4 else "")
