"""Which two classes, or which two examples, a view compares when the user has not said."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import not_found
from ..core.selection import Selection
from ..scene import Scene


def named(scene: Scene, value: str) -> int:
    """A class by its name, its number or its key.

    *Raises* NotFound for a class that is not there.
    """
    classes = scene.classes
    if value in classes:
        return classes.index(value)
    text = value.removeprefix("class:")
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise not_found("class", value, classes)


def members(scene: Scene) -> NDArray[np.int64]:
    """The class of each live example: the true one where it is known, else the answered one; negative where it is none."""
    y = scene.live.y
    found = scene.predictions()
    if y is not None:
        truth = scene.reading.truth(y)
        found = torch.where(truth < 0, found.reshape(truth.shape).to(truth), truth)
    whole: NDArray[np.int64] = found.reshape(len(found)).numpy().astype(np.int64)
    return whole


def labelled(scene: Scene) -> NDArray[np.int64]:
    """As ``members``, but where any truth is known an example without one is of no class."""
    own, y = members(scene), scene.live.y
    if y is not None and (known := (scene.reading.truth(y) >= 0).reshape(len(own)).numpy()).any():
        own = np.where(known, own, -1)
    return own


def confused(scene: Scene) -> tuple[int, int, str]:
    """The two classes that are taken for one another most often, or share most probability; and why these."""
    found: tuple[int, int, str] = scene.once("pairs/confused", lambda: _confused(scene))
    return found


def nearest(scene: Scene, number: int) -> int:
    """The class that a class is confused with most, or shares most probability with."""
    found: int = scene.once(f"pairs/nearest/{number}", lambda: _nearest(scene, number))
    return found


def _nearest(scene: Scene, number: int) -> int:
    own, count = members(scene), max(2, len(scene.classes))
    given = scene.predictions().reshape(-1).numpy()
    mixed = _counted(given[own == number], count) + _counted(own[given == number], count)
    chance = np.nan_to_num(scene.probabilities().numpy().astype(np.float64))
    shared = chance[own == number].sum(0) / max(1, len(own))
    # Mix-ups count first; among as many the shared probability decides.
    total = mixed + np.clip(shared, 0, 1) / 2
    total[number] = -1
    return int(total.argmax())


def _confused(scene: Scene) -> tuple[int, int, str]:
    own, count = members(scene), max(2, len(scene.classes))
    own = np.minimum(own, count - 1)
    present = _counted(own, count) > 0
    if present.sum() < 2:
        first = int(present.argmax())
        return *sorted((first, (first + 1) % count)), "only one class has examples"  # type: ignore[return-value]
    pairs = np.outer(present, present)
    if scene.live.y is not None:
        mixed = np.zeros((count, count))
        given = np.minimum(scene.predictions().reshape(-1).numpy(), count - 1)
        told = (own >= 0) & (given >= 0)
        np.add.at(mixed, (own[told], given[told]), 1)
        a, b, most = _largest(mixed, pairs)
        if most > 0:
            return a, b, "the two classes that the network mixes up most often"
    chance = np.nan_to_num(scene.probabilities().numpy().astype(np.float64))
    shared = np.stack([chance[own == k].sum(0) if present[k] else np.zeros(count) for k in range(count)])
    a, b, most = _largest(shared / np.maximum(1, _counted(own, count))[:, None], pairs)
    if most > 0:
        return a, b, "the two classes that the network finds most alike"
    largest = np.sort(np.argsort(-_counted(own, count), kind="stable")[:2])
    return int(largest[0]), int(largest[1]), "the two largest classes"


def _counted(classes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """How often each class stands there; what is no class is not counted."""
    return np.bincount(classes[classes >= 0], minlength=count)[:count].astype(np.float64)


def _largest(mixed: NDArray[np.float64], pairs: NDArray[np.bool_]) -> tuple[int, int, float]:
    """The pair of classes with the largest sum of both ways, the lower number first."""
    both = np.triu(np.where(pairs, mixed + mixed.T, -1.0), 1) + np.tril(np.full(mixed.shape, -1.0))
    a, b = np.unravel_index(both.argmax(), both.shape)
    return int(a), int(b), float(both[a, b])


def examples(scene: Scene, selection: Selection) -> tuple[int, int]:
    """Two live examples to go from and to: the chosen ones, else one of each of the classes most alike, answered
    rightly."""
    chosen = [key.number for key in selection.all("example")]
    against = [key.number for key in selection.b if key.kind == "example"]
    if chosen and against:
        return chosen[-1], against[-1]
    if len(chosen) > 1:
        return chosen[-2], chosen[-1]
    if scene.task == "classification":
        return _of_classes(scene, selection, chosen or against, bool(chosen))
    order = np.arange(len(scene.live))
    if scene.task == "regression":
        order = np.argsort(np.nan_to_num(scene.predictions().reshape(len(order), -1)[:, 0].double().numpy()))
    ends = [int(order[0]), int(order[-1])]
    if chosen:
        return chosen[0], next((end for end in reversed(ends) if end != chosen[0]), chosen[0])
    if against:
        return next((end for end in ends if end != against[0]), against[0]), against[0]
    return ends[0], ends[1]


def _of_classes(scene: Scene, selection: Selection, given: list[int], first: bool) -> tuple[int, int]:
    classes = chosen_classes(selection)
    if given:
        own = _class_of(scene, given[-1])
        chance = np.nan_to_num(scene.probabilities(scene.examples.batch([given[-1]])).numpy()[0])
        chance[own] = -1
        others = [key for key in classes if key != own] or [int(k) for k in np.argsort(-chance, kind="stable")]
        other = next((found for k in others if (found := _typical(scene, k)) not in (None, given[-1])), None)
        if other is None:
            other = next((k for k in range(len(scene.live)) if k != given[-1]), given[-1])
        return (given[-1], other) if first else (other, given[-1])
    a, b = classes[:2] if len(classes) > 1 else confused(scene)[:2]
    start, end = _typical(scene, a), _typical(scene, b)
    if start is None or end is None:
        return 0, len(scene.live) - 1
    return start, end


def chosen_classes(selection: Selection) -> list[int]:
    """The classes that are compared: one of each set, or the last two of set A."""
    a = [key.number for key in selection.all("class")]
    b = [key.number for key in selection.b if key.kind == "class"]
    if a and b:
        return [a[-1], b[-1]]
    return a[-2:] or b


def _class_of(scene: Scene, index: int) -> int:
    return max(0, int(members(scene)[index])) if index < len(scene.live) else 0


def _typical(scene: Scene, number: int) -> int | None:
    """The first live example of a class that is answered rightly, else the first of the class."""
    own = np.flatnonzero(members(scene) == number)
    right = own[scene.predictions().reshape(-1).numpy()[own] == number]
    best = right if len(right) else own
    return int(best[0]) if len(best) else None
