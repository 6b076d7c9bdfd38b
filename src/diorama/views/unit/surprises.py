"""Units that have learned something that no label says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Number, Table, Tiles
from ...core.numerals import counted, plain
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...data.nesting import Nested
from ...derive.scans import SeenUnits, seen
from ...model.layers import by_unit
from ...scene import Scene
from .. import crops, sections
from ..units import ShownLayer, shown, telling_layers
from ..view import View

TOGETHER = 64
LEAST = 0.1
"""A unit of a lower score is no surprise."""
STRONG = 5.0
"""Standard deviations above the mean beyond which a unit's strongest examples are as strong as can be."""


@dataclasses.dataclass
class _Evidence:
    """What speaks for each unit of a layer being a surprise, each (units,)."""

    strength: np.ndarray
    likeness: np.ndarray
    unlabelled: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """All three together, 0 to 1."""
        strong = np.clip(np.nan_to_num(self.strength) / STRONG, 0, 1)
        usual = self.usual
        alike = np.clip((np.nan_to_num(self.likeness, nan=usual) - usual) / max(1 - usual, 1e-9), 0, 1)
        found: np.ndarray = strong * alike * np.nan_to_num(self.unlabelled)
        return found

    @property
    def usual(self) -> float:
        """The mean likeness over all units: examples that drive any unit are somewhat alike."""
        known = self.likeness[np.isfinite(self.likeness)]
        return min(float(known.mean()), 1.0) if len(known) > 1 else 0.0


class SurprisesView(View):
    """Units whose strongest examples are strong and alike, though no label says what they have in common.

    *Meaning* three numbers, and their product as the score. *Strong*: how many standard deviations the unit's nine
    strongest examples lie above its mean (counted up to five). *Alike*: how similar all the other units of the layer
    find those nine places (correlation), of which the score counts what is above the mean of all units. *Unlabelled*:
    how evenly the nine spread over the classes (1: all of different ones; 0: all of one). Look at the examples: what they share is what the unit saw.
    *Cost* one pass over the live examples, and one forward pass for each unit's nine strongest.
    """

    title = "Surprises"
    question = "What have units learned that no label says?"
    family = "features"
    papers = ("Zhou et al. 2015, Object Detectors Emerge in Deep Scene CNNs, arXiv:1412.6856",)
    rows = ("D10",)
    by_labels = True
    follows = ("layer",)

    layer: str | None = knob(None, "The layer; by itself the chosen one, else the last but one.", kind="layer", main=True)
    count: int = knob(6, "Units whose examples are shown.", low=1, high=64, main=True)
    limit: int = knob(256, "The most units that are looked at: those with the strongest examples.", low=1, high=4096)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after each unit's strongest examples were looked at again."""
        one = self._layer(scene, selection)
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        found = seen(scene, one.source)
        strength = _strength(one, found)
        order = np.argsort(-np.nan_to_num(strength, nan=-1), kind="stable")[: self.limit]
        order = order[((_counted(one, found)).sum(1) >= 3)[order]]
        if not len(order):
            said = f"No unit of {spoken(one.name)} responds to three examples by finite numbers; choose another layer."
            body = Number(label="surprises", value=0, note="none")
            yield self.picture(scene, selection, f"Surprises in {spoken(one.name)}", body, said)
            return
        likeness = np.full(len(strength), np.nan)
        for done in range(0, len(order), TOGETHER):
            yield Progress(done=done, total=len(order), note="each unit's strongest examples looked at again")
            part = order[done : done + TOGETHER]
            likeness[part] = _likeness(scene, one, found, part)
        evidence = _Evidence(strength, likeness, _unlabelled(scene, found))
        ranked = order[np.argsort(-evidence.score[order], kind="stable")]
        marks = [*self._galleries(scene, one, found, evidence, ranked), self._table(one, evidence, ranked)]
        best = int(ranked[0])
        total = len(strength)
        score = plain(f"{evidence.score[best]:.2g}")
        if evidence.score[best] < LEAST:
            marks = [Number(label="no unit stands out", note=f"the highest score is {score} of 1; a surprise has {LEAST}"), marks[-1]]
        known = found.truth(scene) is not None
        explained = ", and how little one class explains them" if known else ""
        caption = (
            f"Units of {spoken(one.name)} ranked by how strong and alike their nine strongest of {found.words} are{explained}. "
            f"First is unit {best} with a score of {score} of 1."
        )
        note = "" if known else f"{sections.classless(scene).capitalize()}, so nothing counts as labelled."
        if len(order) < total:
            note += f" {len(order)} of {total} units were looked at."
        sentence = "mean likeness of all looked at: what a unit that stands out must be well above."
        check = Check(name="alike", value=evidence.usual, sentence=sentence)
        yield self.picture(
            scene, selection, f"Surprises in {spoken(one.name)}", Group(children=tuple(marks)), caption, checks=(check,),
            note=note.strip(),
        )

    def _layer(self, scene: Scene, selection: Selection) -> ShownLayer:
        if self.layer is not None:
            return shown(scene, scene.layers[self.layer])
        key = next((key for key in reversed(selection.a) if key.kind == "layer"), None)
        if key is not None:
            return shown(scene, scene.layers[key.name])
        layers = [one for one in telling_layers(scene) if one.layer.units > 2]
        if not layers:
            raise NotApplicable("a surprise is told by the other units of its layer, and no layer has three")
        return layers[-2] if len(layers) > 1 else layers[-1]

    def _table(self, one: ShownLayer, evidence: _Evidence, ranked: np.ndarray) -> Table:
        units = ranked[:64]
        return Table(
            columns=(
                Column(name="unit", numbers=units.astype(float)),
                Column(name="score", kind="share", numbers=evidence.score[units]),
                Column(name="strong", numbers=evidence.strength[units], unit="σ"),
                Column(name="alike", numbers=evidence.likeness[units]),
                Column(name="unlabelled", kind="share", numbers=np.nan_to_num(evidence.unlabelled[units])),
            ),
            row_keys=tuple(unit_key(one.name, int(unit)) for unit in units), sort="score", descending=True,
        )

    def _galleries(
        self, scene: Scene, one: ShownLayer, found: SeenUnits, evidence: _Evidence, ranked: np.ndarray
    ) -> Iterator[Node]:
        for unit in (int(unit) for unit in ranked[: self.count] if evidence.score[unit] >= LEAST):
            chosen = crops.chosen(scene, found, one.source, unit)
            title = f"{spoken(one.name)}/{unit}: score {evidence.score[unit]:.2g}"
            if chosen.pixels is None:
                if found.probe:
                    notes = tuple(f"{value:.3g}" for value in chosen.values)
                    yield sections.gallery(scene, np.array(chosen.examples), title, notes)
                continue
            tiles = crops.boxed(scene, found, chosen, title, side=52)
            if not chosen.local:
                yield tiles
                continue
            pixels = chosen.crops()
            cut = Tiles(images=pixels, limits=crops.limits_of(pixels), size=52, columns=9, keys=tiles.keys)
            yield Group(children=(tiles, cut))


def _counted(one: ShownLayer, found: SeenUnits) -> np.ndarray:
    """Which of the strongest examples drive a unit at all: behind a ReLU above zero."""
    top = found.statistics.top
    counted: np.ndarray = (top.examples >= 0) & ((top.values > 0) | (not one.rectified))
    return counted


def _strength(one: ShownLayer, found: SeenUnits) -> np.ndarray:
    """How many standard deviations the strongest examples lie above a unit's mean."""
    part, counted = found.statistics, _counted(one, found)
    std = np.where(part.moments.std > 0, part.moments.std, np.nan)
    values = np.where(counted, part.top.values, np.nan)
    there = counted.any(1)
    means = np.full(len(values), np.nan)
    means[there] = np.nanmean(values[there], 1)
    strength: np.ndarray = (means - part.moments.mean) / std
    return strength


def _likeness(scene: Scene, one: ShownLayer, found: SeenUnits, units: np.ndarray) -> np.ndarray:
    """How alike the other units find the places of each unit's strongest examples: the mean correlation of pairs."""
    top = found.statistics.top
    examples = np.unique(top.examples[units][top.examples[units] >= 0])
    x: Nested = found.inputs(scene, [int(k) for k in examples])
    kept = scene.kept(x, [one.source.name])
    values = by_unit(one.source, kept[one.source.name]).float().cpu()
    flat = values.reshape(len(values), values.shape[1], -1)
    moments = found.statistics.moments
    mean, std = torch.from_numpy(moments.mean).float(), torch.from_numpy(moments.std).float()
    alike = np.full(len(units), np.nan)
    for k, unit in enumerate(units):
        there = top.examples[unit] >= 0
        rows = np.searchsorted(examples, top.examples[unit][there])
        columns = flat[torch.from_numpy(rows), :, torch.from_numpy(top.places[unit][there])]
        scaled = torch.nan_to_num((columns - mean) / torch.where(std > 0, std, torch.inf))
        scaled[:, int(unit)] = 0
        unitary = torch.nn.functional.normalize(scaled, dim=1)
        count = len(unitary)
        pairs = (unitary @ unitary.T).sum() - (unitary * unitary).sum()
        alike[k] = float(pairs) / (count * (count - 1))
    return alike


def _unlabelled(scene: Scene, found: SeenUnits) -> np.ndarray:
    """How evenly the strongest examples spread over the classes: their entropy, as a share of the largest possible."""
    top, truth = found.statistics.top, found.truth(scene)
    if truth is None:
        return np.ones(len(top.values))
    shares = []
    for row in top.examples:
        there = truth[row[row >= 0]]
        most = min(len(there), len(scene.classes))
        if most < 2:
            shares.append(np.nan)
            continue
        part = np.unique(there, return_counts=True)[1] / len(there)
        shares.append(abs(float((part * np.log(part)).sum())) / np.log(most))
    return np.array(shares)
