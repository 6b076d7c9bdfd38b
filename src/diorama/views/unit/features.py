"""The data set as the network sees it: examples by units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.colour import magnitude, symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Heatmap
from ...core.numerals import counted
from ...core.picture import Check, Picture, Progress
from ...core.rounding import deviations
from ...core.selection import Selection, number_key, spoken, unit_key
from ...scene import Scene
from .. import sections, similar_units
from ..samples import noted, part
from ..units import responses, shown, telling_layers
from ..view import View

CLUSTERED = 600
"""Beyond so many rows they are put in order by their first principal component instead of a tree."""


HUGE = 1e100


class FeaturesView(View):
    """The data set as features: one row an example, one column a unit of a layer, put in order so that alike is together.

    *Meaning* a block tells that a group of units speaks for a group of examples; a column that is bright everywhere or
    nowhere tells nothing. Rows are put together by class, inside a class by likeness; columns by the class they speak
    for most, those that never change last. *Neighbours* is how often the nearest other example by these features is of the same class: compare it
    from layer to layer.
    *Units* the mean or the largest value over a unit's places; as a share of the unit's own largest, or its own.
    *Cost* one pass over the live examples.
    """

    title = "The data as features"
    question = "What does the data set look like through a layer's units?"
    family = "features"
    papers = ("Liu et al. 2017, CNNVis, arXiv:1604.07043",)
    rows = ("A31",)
    by_labels = True
    follows = ("layer", "class")

    layer: str | None = knob(None, "The layer; by itself the chosen one, else the last but one.", kind="layer", main=True)
    sort: str = knob("class", "Order of rows and columns: by class, or by likeness alone.",
                     choices=("class", "alike"), main=True)
    value: str = knob("largest", "What stands for a unit's map: its largest value, or its mean.",
                      choices=("largest", "mean"))
    scale: str = knob("unit", "Colours as a share of each unit's largest value, or one scale for all.",
                      choices=("unit", "layer"))
    limit: int = knob(256, "The most examples and units that are shown.", low=2, high=512)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        layers = telling_layers(scene)
        if not layers:
            raise NotApplicable("the model has no layer with units that answers once for each example")
        chosen = self.layer
        if chosen is None:
            key = next((key for key in reversed(selection.a) if key.kind == "layer"), None)
            chosen = key.name if key is not None else (layers[-2] if len(layers) > 1 else layers[-1]).name
        one = shown(scene, scene.layers[chosen])
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        found = responses(scene, [one])[one.name]
        values = (found.high if self.value == "largest" else found.mean).double().numpy()
        bad = ~np.isfinite(values).all(1)
        if values.shape[1] < 2 or len(values) < 2:
            raise NotApplicable(f"{spoken(one.name)} has one unit or there is one example, so there is nothing to put in order")
        truth = sections.truths(scene)
        rows, columns = self._order(values, truth)
        rows, columns = rows[: self.limit], columns[: self.limit]
        cells = values[np.ix_(rows, columns)]
        if self.scale == "unit":
            top = np.nan_to_num(np.abs(values[:, columns]), posinf=0).max(0)
            cells = cells / np.where(top > 0, top, 1)
        names = sections.names(scene, rows) if truth is not None else tuple(str(int(k)) for k in rows)
        unit = "of the unit's largest" if self.scale == "unit" else ""
        limits = magnitude(cells, 0, unit=unit) if one.rectified else symmetric(cells, unit=unit)
        heat = Heatmap(
            values=cells.astype(np.float32), limits=limits, row_labels=names, column_labels=tuple(str(int(k)) for k in columns),
            row_keys=tuple(number_key("example", int(k)) for k in rows), row_title="example",
            column_keys=tuple(unit_key(one.name, int(k)) for k in columns), column_title=f"unit of {spoken(one.name)}", size=3,
        )
        shown_all = len(rows) == len(values) and len(columns) == values.shape[1]
        caption = f"Each row is an example, each column a unit of {spoken(one.name)}" + (f" ({one.words})" if one.words else "")
        caption += "; bright is a strong response" if one.rectified else "; blue is positive, orange negative"
        caption += ". Rows lie together by class, columns by the class they speak for." if self._grouped(truth) else "."
        note = "" if shown_all else f"{len(rows)} of {len(values)} examples and {len(columns)} of {values.shape[1]} units shown"
        if bad.any():
            those = f"{part(int(bad.sum()), len(bad), 'examples')} {'have' if bad.sum() > 1 else 'has'} responses that are no finite numbers"
            note = noted(note, f"{those}: in the order they count as nothing, and in neighbours not at all")
        yield self.picture(
            scene, selection, f"The data through {spoken(one.name)}", heat, caption,
            checks=_checks(values[~bad], None if truth is None else truth[~bad]), note=note,
            idle={} if truth is not None else {"sort": sections.classless(scene)},
        )

    def _grouped(self, truth: np.ndarray | None) -> bool:
        return self.sort == "class" and truth is not None

    def _order(self, values: np.ndarray, truth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        # Infinities are put in order as the largest numbers are.
        plain = np.nan_to_num(values, posinf=HUGE, neginf=-HUGE).clip(-HUGE, HUGE)
        spread = deviations(plain)
        kept = np.argsort(-spread, kind="stable")[: self.limit]
        if not self._grouped(truth):
            return _alike(plain[: self.limit]), kept[_alike(plain[:, kept].T)]
        assert truth is not None
        classes = np.unique(truth)
        # An even part of every class, so that each keeps its place.
        share = min(1.0, self.limit / len(plain))
        rows = []
        for each in classes:
            own = np.flatnonzero(truth == each)
            own = own[: max(1, round(share * len(own)))]
            rows.append(own[_alike(plain[own])])
        means = np.stack([plain[truth == each].mean(0) for each in classes])
        best = means.argmax(0)[kept]
        ahead = (means.max(0) - means.mean(0))[kept]
        return np.concatenate(rows), kept[np.lexsort((-ahead, best, spread[kept] == 0))]


def _alike(rows: np.ndarray) -> np.ndarray:
    if not deviations(rows).any():
        return np.arange(len(rows))
    if len(rows) <= CLUSTERED:
        return similar_units.alike(rows)
    left = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[0]
    return np.argsort(left[:, 0], kind="stable")


def _checks(values: np.ndarray, truth: np.ndarray | None) -> tuple[Check, ...]:
    """How often the nearest other example by these features has the same class."""
    if truth is None or len(np.unique(truth)) < 2 or len(values) < 3:
        return ()
    plain = np.nan_to_num(values, posinf=HUGE, neginf=-HUGE).clip(-HUGE, HUGE)
    spread = deviations(plain)
    plain = plain / np.where(spread > 0, spread, 1)
    squares = (plain**2).sum(1)
    away = squares[:, None] + squares[None] - 2 * plain @ plain.T
    np.fill_diagonal(away, np.inf)
    same = float((truth[away.argmin(1)] == truth).mean())
    return (
        Check(
            name="neighbours", value=100 * same, unit="%",
            sentence="of examples have the same class as the nearest other example by these features.",
        ),
    )
