"""Two sets of examples that a view compares: chosen classes or examples, or what stands out by itself; and how units respond to them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..core.colour import ramp
from ..core.errors import NotApplicable
from ..core.selection import Key, Selection
from ..scene import Scene
from ..scene.probe import Responses
from ..scene.sets import classes_of, members, words

_RAMP = ramp(("#c4271b", "#832db6", "#2467d8"), 201)
GREY = 160


@dataclasses.dataclass(frozen=True)
class Sets:
    """Two sets of live examples that have nothing in common, with their names."""

    a: np.ndarray
    b: np.ndarray
    names: tuple[str, str]
    keys: tuple[tuple[Key, ...], tuple[Key, ...]] = ((), ())
    """What was chosen; by themselves the examples."""


def two_sets(scene: Scene, selection: Selection, most: int = 10_000) -> Sets:
    """Set A against set B; two chosen classes against each other; one against the rest; else the first two classes,
    or what the network finds easy and hard.

    *Raises* NotApplicable where nothing is chosen, and neither classes nor losses are known.
    """
    a, b = _keys(selection.a), _keys(selection.b)
    if not b and sum(len(key.numbers) for key in a if key.kind == "example") == 1:
        a = tuple(key for key in a if key.kind == "class")  # a single chosen example is what other views look at
    if not b and len(a) == 2 and all(key.kind == "class" for key in a):
        a, b = a[:1], a[1:]
    if not a and not b:
        present = _present(scene)
        if len(present) < 2 and scene.live.y is not None and scene.task and len(scene.live) > 1:
            order = np.argsort(np.nan_to_num(scene.losses().numpy(), nan=np.inf), kind="stable")
            easy, hard = order[: len(order) // 2][:most], order[len(order) // 2 :][:most]
            names = ("the half with small losses", "the half with large losses")
            if not bool(scene.losses().isfinite().any()):
                names = ("the first half", "the second half")
            return Sets(easy, hard, names, _numbered(easy, hard))
        if len(present) < 2:
            raise NotApplicable(
                "two sets of examples are compared, and no two classes are known: choose examples for set A and set B, "
                "such as select='example:0-9|example:10-19' (--select example:0-9 --against example:10-19)"
            )
        a, b = (Key("class", "", (present[0],)),), (Key("class", "", (present[1],)),)
    first, second = members(scene, a), members(scene, b)
    everything = np.arange(len(scene.live))
    if not a:
        first = np.setdiff1d(everything, second)
    if not b:
        second = np.setdiff1d(everything, first)
    second = np.setdiff1d(second, first)
    if not len(first) or not len(second):
        raise NotApplicable("both sets want at least one of the live examples; choose others")
    return Sets(first[:most], second[:most], (words(scene, a), words(scene, b)), (a, b))


def _keys(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    return tuple(key for key in keys if key.kind in ("class", "example"))


def _present(scene: Scene) -> list[int]:
    found = classes_of(scene)
    return [] if found is None else [int(k) for k in np.unique(found) if k >= 0]


def _numbered(a: np.ndarray, b: np.ndarray) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Sets of examples as keys of their numbers."""
    first, second = (tuple(Key("example", "", (int(k),)) for k in np.sort(part)) for part in (a, b))
    return first, second


class Mix:
    """How each unit of a layer responds to two sets."""

    def __init__(self, values: np.ndarray, activity: np.ndarray, sets: Sets) -> None:
        self.means = activity[sets.a].mean(0), activity[sets.b].mean(0)
        total = self.means[0] + self.means[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            self.share = np.where(total > 0, self.means[0] / total, np.nan)
        plain = np.nan_to_num(values)
        first, second = plain[sets.a], np.sort(plain[sets.b], 0)
        self.apart = np.array([_ahead(first[:, unit], second[:, unit]) for unit in range(plain.shape[1])])
        """The chance that an example of A drives the unit higher than one of B; half of equal ones."""
        self.told = float(np.abs(np.nan_to_num(self.apart, nan=0.5) - 0.5).max(initial=0))
        """How well its best unit tells the two apart, 0 to 0.5."""
        self.never = (self.apart == 1) | (self.apart == 0)

    @classmethod
    def of(cls, rectified: bool, found: Responses, sets: Sets) -> Mix:
        """From what each example makes of each unit."""
        mean, positive = found.mean.double().numpy(), found.positive.double().numpy()
        return cls(positive if rectified else mean, positive, sets)


def _ahead(first: np.ndarray, second: np.ndarray) -> float:
    """The chance that a value of the first is above one of the second (sorted); equal ones count half."""
    below = np.searchsorted(second, first, "left") + np.searchsorted(second, first, "right")
    return float(below.mean() / (2 * len(second)))


def mixed(share: np.ndarray) -> np.ndarray:
    """The colour of each part that comes from set A, (n, 3) uint8: blue of A alone, through purple to red of B alone; grey of neither."""
    colours = _RAMP[np.rint(200 * np.nan_to_num(share, nan=0.5)).astype(int)]
    colours[np.isnan(share)] = GREY
    return np.asarray(colours, np.uint8)
