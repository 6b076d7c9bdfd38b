"""What some examples have that others of their classes lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import build, knob
from ...core.selection import Key
from ...data.kinds import Image, Kind, Series, Sound, Table, Tokens
from ...data.nesting import first, named
from ...data.padding import pads
from ...data.text_places import beside
from ...methods.cost import Cost
from ...model.directions import finite
from ...scene import Scene
from ...scene.directions import codes, default_layer, lacking
from ...scene.sets import classes_of, members
from ..derivation import Derivation, Plain, Stage

Floats = NDArray[np.float64]
FEWEST = 4
"""Of fewer examples nothing can be said to be shared."""
SHUFFLES = 199
WORDS = 200
"""Of a text, so many of the most frequent tokens are looked for."""
CHANNELS = ("red", "green", "blue")
ARRAYS = {"inside": "i", "rest": "i"}
NUMBERS = ("effects", "chances", "gaps")


class SharedDerivation(Derivation):
    """What some examples share that others of the same classes lack: properties of the inputs, and units of a layer.

    *Meaning* by itself, the examples that are misread, else the tenth with the largest losses (four at least), against all others of their
    classes; where hardly any other is of their classes, against all others, and ``within`` is false. An
    effect is how well a property tells them apart: 1 where all of them have more of it than any other of their own class, −1 less, 0 by chance
    (the rank-biserial correlation, over all pairs of one class), so that what only tells classes apart does not count.
    ``chances`` is how often the largest of all effects is as large when who is in is shuffled within the classes: small numbers are no chance.
    ``gaps`` is how far the means lie apart, in standard deviations of the others.
    ``how`` is unanswered where the losses of too few examples are numbers to choose any by them: then effects say nothing.
    *Shapes* ``inside`` and ``rest`` are numbers of examples; of ``inputs`` a number a property, by ``names``, of ``units`` a number a unit
    of ``layer``.
    *Cost* one forward pass an example.
    *Source* Kerby 2014 (rank-biserial correlation); van Elteren 1960 (within classes); Westfall & Young 1993 (the largest of all effects, shuffled).
    """

    version = 7

    a: str = knob("", "The examples, as keys with + between; by themselves those that are misread.")
    layer: str | None = knob(None, "The layer whose units are compared; by itself the last before the answer.", kind="layer")

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """A layer that was not named is, as it belongs to the key."""
        made: Self = build(cls, options)
        return made if made.layer or scene.missing is not None else dataclasses.replace(made, layer=default_layer(scene).name)

    def fits(self, scene: Scene) -> str | None:
        """Some examples, and others beside them."""
        return scene.missing or unshared(scene)

    def cost(self, scene: Scene) -> Cost:
        """A pass an example."""
        return Cost(len(scene.live))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """All at once."""
        inside, rest, how, within = self._sets(scene)
        both = np.concatenate([inside, rest])
        own = np.arange(len(both)) < len(inside)
        groups = np.asarray(classes_of(scene))[both] if within else np.zeros(len(both), np.int64)
        names, columns = properties(scene, both)
        rows = codes(scene, self.layer or default_layer(scene).name)[both]
        yield Stage({
            "inside": inside, "rest": rest, "how": how, "within": within, "names": names, "layer": self.layer,
            "inputs": dict(zip(NUMBERS, effective(columns, own, groups), strict=True)),
            "units": dict(zip(NUMBERS, effective(rows, own, groups), strict=True)),
        })

    def _sets(self, scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64], str, bool]:
        """Who is in, the others, how they were chosen, and whether the others are of their classes."""
        count = len(scene.live)
        if self.a:
            inside, how = members(scene, [Key.parse(text) for text in self.a.split("+")]), "chosen"
            if len(inside) < FEWEST:
                raise NotApplicable(f"of {len(inside)} examples nothing can be said to be shared; choose at least {FEWEST}")
        else:
            inside, how = _misread(scene)
        outside = np.setdiff1d(np.arange(count), inside)
        if how in ("misread", "hardest"):  # an example without an answer is not one that is answered better
            outside = outside[np.isfinite(scene.losses().double().numpy())[outside]]
        classes, within = classes_of(scene), False
        if classes is not None and classes.ndim == 1:
            same = outside[np.isin(np.asarray(classes)[outside], np.asarray(classes)[inside])]
            within = len(same) >= 2
            outside = same if within else outside
        if len(outside) < 2 and how == "hardest":
            how, outside, within = "unanswered", np.setdiff1d(np.arange(count), inside), False
        if len(outside) < 2:
            raise NotApplicable("all examples are chosen, so there is nothing to compare them with; choose a part of them")
        return inside, outside, how, within

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers of examples, and a number for each property and unit."""
        if not isinstance(value, dict) or set(value) != {"how", "within", "names", "layer", "inputs", "units", *ARRAYS}:
            raise ValueError("examples and effects are wanted")
        if value["layer"] != self.layer or value["how"] not in ("chosen", "misread", "hardest", "unanswered"):
            raise ValueError("the layer is wanted")
        if not isinstance(value["within"], bool) or not isinstance(value["names"], list) or any(not isinstance(name, str) for name in value["names"]):
            raise ValueError("names are wanted")
        for part, count in (("inputs", len(value["names"])), ("units", scene.layers[self.layer or ""].units)):
            told = value[part]
            if not isinstance(told, dict) or set(told) != set(NUMBERS) or any(
                not isinstance(told[name], np.ndarray) or told[name].dtype != np.float64 or told[name].shape != (count,) for name in NUMBERS
            ):
                raise ValueError("a number for each property and unit is wanted")
        for name, kind in ARRAYS.items():
            if not isinstance(value[name], np.ndarray) or value[name].dtype.kind != kind or value[name].ndim != 1:
                raise ValueError("numbers of examples are wanted")
        for name in ("inside", "rest"):
            if not len(value[name]) or value[name].min() < 0 or value[name].max() >= len(scene.live):
                raise ValueError("numbers of examples are wanted")


def unshared(scene: Scene) -> str | None:
    """Why nothing can be said to be shared; None where it can."""
    if not scene.kinds or len(scene.live) < 2 * FEWEST:
        return f"it compares some examples with others, and wants at least {2 * FEWEST}; pass x to Scene or probe= to watch"
    if reason := lacking(scene):
        return reason
    if not scene.task or (scene.live.y is None and scene.task != "reconstruction"):
        return "it asks what is misread, and wants a known task and the truth of each example; pass y (or probe=(x, y)) and task="
    return None


def _misread(scene: Scene) -> tuple[NDArray[np.int64], str]:
    """The examples that are answered wrongly; where they are too few or too many, the tenth with the largest losses."""
    found, losses = scene.answers(), scene.losses().double().numpy()
    if found.right is not None and found.right.ndim == 1:
        wrong = np.flatnonzero((found.right.numpy() < 0.5) & ~np.isnan(losses))
        if FEWEST <= len(wrong) <= len(scene.live) - FEWEST:
            return wrong, "misread"
    losses = np.nan_to_num(losses, nan=-np.inf, posinf=np.finfo(float).max)
    count = max(FEWEST, len(losses) // 10)
    return np.sort(np.argsort(-losses, kind="stable")[:count]), "hardest"


def properties(scene: Scene, which: NDArray[np.int64]) -> tuple[list[str], Floats]:
    """What can be said of inputs without a network, and by what name: (examples, properties); metadata of the user's own first."""
    names, rows = _told(scene, which)
    own, more = _properties(scene, which)
    return [*names, *own], np.concatenate([rows, more], 1)


def _told(scene: Scene, which: NDArray[np.int64]) -> tuple[list[str], Floats]:
    """Metadata as numbers: of words, whether an example has each, where these are few."""
    names: list[str] = []
    found = [np.zeros((len(which), 0))]
    for name, column in scene.live.metadata.items():
        if isinstance(column, Tensor):
            names.append(name)
            # What is not known of an example is as of the others, so that it tells nothing.
            values = column.numpy()[which][:, None]
            known = np.isfinite(values)
            found.append(np.where(known, values, values[known].mean() if known.any() else 0.0))
            continue
        words = sorted(set(column))
        if 1 < len(words) <= FEW:
            names += [f"{name}: {word}" for word in words]
            found.append(np.array([[float(column[int(k)] == word) for word in words] for k in which]).reshape(len(which), len(words)))
    return names, np.concatenate(found, 1)


def _properties(scene: Scene, which: NDArray[np.int64]) -> tuple[list[str], Floats]:
    if not isinstance(scene.kind, dict):
        return _of_input(scene.kind, first(scene.live.x)[torch.from_numpy(which)])
    given, along = named(scene.live.batch([int(k) for k in which])), beside(scene.kinds)
    names: list[str] = []
    found = [np.zeros((len(which), 0))]
    for name, kind in scene.kinds.items():
        # A mask says what another input says already.
        if name in given and name not in along and name != "labels":
            own, rows = _of_input(kind, given[name])
            names += [f"{name}: {each}" for each in own]
            found.append(rows)
    return names, np.concatenate(found, 1)


def _of_input(kind: Kind, x: Tensor) -> tuple[list[str], Floats]:
    """What can be said of one input of each example."""
    if isinstance(kind, Image):
        return _of_pictures(np.asarray(kind.decode(x), np.float64))
    if isinstance(kind, Tokens):
        return _of_texts(kind, x)
    if isinstance(kind, Table) and kind.columns:
        rows = np.asarray(kind.decode(x), np.float64).reshape(len(x), -1)
        return [str(name) for name in kind.columns], finite(rows)
    rows = finite((x.abs() if x.is_complex() else x).double().reshape(len(x), -1).numpy())
    names, columns = ["mean", "spread of values", "highest value", "lowest value"], [rows.mean(1), rows.std(1), rows.max(1), rows.min(1)]
    if isinstance(kind, Series):
        more, others = _over_time(kind, finite(kind.decode(x).astype(np.float64)))
        return names + more, np.stack(columns + others, 1)
    return names, np.stack(columns, 1)


QUARTERS = ("first", "second", "third", "last")
CHANNELS_TOLD = 4
"""Of so many channels of a series at most it is told how each runs."""
FEW = 12
"""Of so many different words at most it is told whether an example has each."""


def property_names(scene: Scene) -> list[str]:
    """The names alone: only of texts they depend on more than one example; none without examples."""
    if not scene.kinds or not len(scene.live):
        return []
    own = _properties(scene, np.arange(len(scene.live) if isinstance(scene.kind, Tokens) else 1))[0]
    return [*scene.live.metadata, *own]


def _of_pictures(pixels: NDArray[Any]) -> tuple[list[str], Floats]:
    """Brightness, contrast, colour, how bright each ninth of the picture is, and where the middle of its light lies."""
    grey = pixels if pixels.ndim == 3 else pixels.mean(-1)
    names, columns = ["brightness", "contrast"], [grey.mean((1, 2)), grey.std((1, 2))]
    if pixels.ndim == 4:
        names += [f"how {name}" for name in CHANNELS]
        columns += [pixels[..., k].mean((1, 2)) - columns[0] for k in range(3)]
    for row, down in zip(np.array_split(np.arange(grey.shape[1]), 3), ("top", "middle", "bottom"), strict=True):
        for column, over in zip(np.array_split(np.arange(grey.shape[2]), 3), ("left", "centre", "right"), strict=True):
            if len(row) and len(column):
                names.append(f"brightness {down} {over}")
                columns.append(grey[:, row][:, :, column].mean((1, 2)))
    # What is moved as a whole changes several ninths a little, and where its light lies by much.
    for name, axis in (("brightness to the right", 1), ("brightness to the bottom", 2)):
        line = grey.sum(axis)
        whole, places = line.sum(1), np.arange(line.shape[1])
        names.append(name)
        columns.append(np.where(whole > 0, line @ places / np.where(whole > 0, whole, 1), places.mean()))
    return names, np.stack(columns, 1)


def _over_time(kind: Series, rows: NDArray[Any]) -> tuple[list[str], list[Floats]]:
    """The mean of each quarter, of sounds how loud it is, channel by channel; and how far a series moves from moment to moment."""
    names: list[str] = []
    columns: list[Floats] = []
    if rows.shape[2] < len(QUARTERS):
        return names, columns
    for channel in range(min(rows.shape[1], CHANNELS_TOLD)):
        of = f" of channel {channel}" if rows.shape[1] > 1 else ""
        for quarter, part in zip(QUARTERS, np.array_split(rows[:, channel], len(QUARTERS), axis=1), strict=True):
            sound = isinstance(kind, Sound)
            names.append(f"{'loudness' if sound else 'mean'}{of} in the {quarter} quarter")
            columns.append(np.sqrt(np.square(part).mean(1)) if sound else part.mean(1))
        names.append(f"movement{of} from moment to moment")
        columns.append(np.abs(np.diff(rows[:, channel], axis=1)).mean(1))
    return names, columns


def _of_texts(kind: Tokens, x: Tensor) -> tuple[list[str], Floats]:
    """How often each of the most frequent tokens stands in a text, how many different ones there are, and, of padded texts, how many at all."""
    rows = x.reshape(len(x), -1).long().numpy()
    tokens, counts = np.unique(rows, return_counts=True)
    named = {
        int(k): kind.vocabulary[int(k)] if kind.vocabulary and 0 <= int(k) < len(kind.vocabulary) else str(int(k))
        for k in tokens[np.argsort(-counts, kind="stable")]
    }
    own = ~np.isin(rows, [token for token, name in named.items() if pads(name)])
    words = [token for token, name in named.items() if not pads(name)][:WORDS]
    columns = [(rows == token).sum(1) for token in words]
    columns.append(np.array([len(np.unique(row[there])) for row, there in zip(rows, own, strict=True)]))
    names = [*(f"“{named[token]}”" for token in words), "different tokens"]
    if not own.all():
        names, columns = [*names, "how many tokens"], [*columns, own.sum(1)]
    return names, np.stack(columns, 1).astype(np.float64)


def effective(rows: Floats, own: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """How well each column tells some rows from the others of their groups, how often chance does as well with its best column, and how far
    means lie apart.

    *Meaning* each is compared with the others of its own group alone: over all such pairs, how much oftener it has more than less. Where
    nearly a whole group is in, what its few others tell does not drown what the rest tell.
    *Source* van Elteren 1960 (ranks within groups), each pair of equal weight.
    """
    if not rows.shape[1]:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    alike = rows.copy()
    for group in np.unique(groups):
        inside = groups == group
        alike[inside] -= alike[inside].mean(0)
    # What is left of a column that does not vary is rounding.
    alike[:, np.abs(alike).max(0) <= 1e-9 * np.abs(rows).max(0, initial=0)] = 0
    from scipy.stats import rankdata

    ranks, least, pairs = np.empty_like(alike), 0.0, 0
    for group in np.unique(groups):
        where = groups == group
        ranks[where] = rankdata(alike[where], axis=0)
        inside, outside = int((where & own).sum()), int((where & ~own).sum())
        least, pairs = least + inside * (inside + 1) / 2, pairs + inside * outside
    effects: Floats = 2 * (ranks[own].sum(0) - least) / max(1, pairs) - 1
    dice, best = np.random.default_rng(0), np.zeros(SHUFFLES)
    for k in range(SHUFFLES):
        shuffled = own.copy()
        for group in np.unique(groups):
            where = np.flatnonzero(groups == group)
            shuffled[where] = own[where[dice.permutation(len(where))]]
        best[k] = np.abs(2 * (ranks[shuffled].sum(0) - least) / max(1, pairs) - 1).max()
    chances: Floats = (1 + (best[None] >= np.abs(effects)[:, None] - 1e-12).sum(1)) / (SHUFFLES + 1)
    spread = alike[~own].std(0)
    gaps: Floats = np.where(spread > 0, (alike[own].mean(0) - alike[~own].mean(0)) / np.where(spread > 0, spread, 1.0), 0.0)
    return effects, chances, gaps
