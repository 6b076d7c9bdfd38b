"""Two sets of examples that a view compares: chosen classes or examples, or what stands out by itself."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..core.errors import NotApplicable
from ..core.selection import Key, Selection
from ..scene import Scene
from . import about


@dataclasses.dataclass(frozen=True)
class Sets:
    """Two sets of live examples that have nothing in common, with their names."""

    a: np.ndarray
    b: np.ndarray
    names: tuple[str, str]


def two_sets(scene: Scene, selection: Selection, most: int = 10_000) -> Sets:
    """Set A against set B; two chosen classes against each other; one against the rest; else the first two classes,
    or what the network finds easy and hard.

    *Raises* NotApplicable where nothing is chosen and no classes are known.
    """
    a, b = _keys(selection.a), _keys(selection.b)
    if not b and sum(key.kind == "class" for key in a) == 0 and sum(len(key.numbers) for key in a) < 2:
        a = ()  # a single chosen example is what other views look at
    if not b and len(a) == 2 and all(key.kind == "class" for key in a):
        a, b = a[:1], a[1:]
    if not a and not b:
        present = _present(scene)
        if len(present) < 2 and scene.live.y is not None and scene.task and len(scene.live) > 1:
            order = np.argsort(np.nan_to_num(scene.losses().numpy(), nan=np.inf), kind="stable")
            half = len(order) // 2
            return Sets(order[:half][:most], order[half:][:most], ("the half with small losses", "the half with large ones"))
        if len(present) < 2:
            raise NotApplicable(
                "two sets of examples are compared, and no two classes are known: choose examples for set A and set B, "
                "such as select='example:0-9|example:10-19'"
            )
        a, b = (Key("class", "", (present[0],)),), (Key("class", "", (present[1],)),)
    first, second = _members(scene, a), _members(scene, b)
    everything = np.arange(len(scene.live))
    if not a:
        first = np.setdiff1d(everything, second)
    if not b:
        second = np.setdiff1d(everything, first)
    second = np.setdiff1d(second, first)
    if not len(first) or not len(second):
        raise NotApplicable("both sets want at least one of the live examples; choose others")
    return Sets(first[:most], second[:most], (_words(scene, a), _words(scene, b)))


def _keys(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    return tuple(key for key in keys if key.kind in ("class", "example"))


def _classes(scene: Scene) -> np.ndarray | None:
    """The true classes of the live examples, else the given answers."""
    truth = about.truths(scene)
    if truth is None and scene.task == "classification":
        return np.asarray(scene.predictions().numpy())
    return truth


def _present(scene: Scene) -> list[int]:
    found = _classes(scene)
    return [] if found is None else [int(k) for k in np.unique(found)]


def _members(scene: Scene, keys: tuple[Key, ...]) -> np.ndarray:
    parts = [np.zeros(0, np.int64)]
    for key in keys:
        if key.kind == "example":
            parts.append(np.array([k for k in key.numbers if k < len(scene.live)], np.int64))
            continue
        classes = _classes(scene)
        if classes is None:
            raise NotApplicable("a class can be chosen where a classifier's truth is known; choose examples instead")
        parts.append(np.flatnonzero(np.isin(classes, list(key.numbers))))
    return np.unique(np.concatenate(parts))


def _words(scene: Scene, keys: tuple[Key, ...]) -> str:
    if not keys:
        return "the others"
    names = [
        scene.classes[key.number] if key.kind == "class" and key.number < len(scene.classes) else str(key).replace(":", " ")
        for key in keys
    ]
    return ", ".join(names[:4]) + ("…" if len(names) > 4 else "")
