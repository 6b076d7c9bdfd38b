"""Facts about a unit as numbers and bars: what it speaks for, and how often it is off."""

from __future__ import annotations

import numpy as np

from ...core.colour import magnitude, symmetric
from ...core.marks import Bars, Column, Node, Number, Table
from ...core.numerals import plain
from ...core.selection import number_key
from ...data.kinds import Tokens
from ...data.padding import pads
from ...model.statistics import ClassMeans, Moments
from ...scene import Scene
from ...scene.layer_text import misplaced
from .. import answers, sections
from ..crops import ChosenExamples

AROUND = 28
"""So many tokens before the place are shown."""


def ahead(means: np.ndarray) -> tuple[float, float, int]:
    """The largest of the classes' means, the mean of the others, and which class it is; −1 where fewer than two are known."""
    known = np.flatnonzero(np.isfinite(means))
    if len(known) < 2:
        return float("nan"), float("nan"), -1
    best = int(known[np.argmax(means[known])])
    return float(means[best]), float(means[known[known != best]].mean()), best


def selectivity(means: np.ndarray) -> tuple[float, int]:
    """How far the best class's mean is ahead of the mean of the others, as a share of their sum; and which it is.

    *Meaning* 0 to 1, for a unit that is never negative: of one whose activations have two signs a sum is no whole to take
    a share of, see :func:`distance`.
    *Source* Morcos, Barrett, Rabinowitz, Botvinick 2018, equation 1.
    """
    largest, rest, best = ahead(means)
    fine = best >= 0 and largest + rest > 0 and bool((means[np.isfinite(means)] >= 0).all())
    return (largest - rest) / (largest + rest) if fine else float("nan"), best


def distance(means: np.ndarray, deviation: float) -> tuple[float, int]:
    """How far the best class's mean is ahead of the mean of the others, in standard deviations; and which it is.

    *Meaning* for activations of either sign; 0.2 is little, 0.8 much. The deviation is that of all the unit's values.
    *Source* Cohen 1988, "Statistical power analysis", section 2.2 (d).
    """
    largest, rest, best = ahead(means)
    return (largest - rest) / deviation if best >= 0 and deviation > 0 else float("nan"), best


def selective(scene: Scene, profile: ClassMeans, unit: int, moments: Moments, *, rectified: bool) -> Number:
    """How selective a unit is, and for which class."""
    means = profile.mean[:, unit]
    if rectified or moments.low[unit] >= 0:
        value, best = selectivity(means)
        if not np.isfinite(value):
            return Number(label="selectivity", note="is not defined for a unit that is always off, or of fewer than two classes")
        return Number(label="selectivity", value=value, note=f"for {scene.classes[best]}; 1 is one class alone, 0 none in particular")
    value, best = distance(means, float(moments.std[unit]))
    if not np.isfinite(value):
        return Number(label="selectivity", note="is not defined for a unit that never changes, or of fewer than two classes")
    note = f"for {scene.classes[best]}: its mean is so many standard deviations above the mean of the other classes"
    return Number(label="selectivity", value=value, unit="σ", note=note)


def off(on: int, examples: int) -> Number:
    """How many examples leave a unit off."""
    share = 100 * (1 - on / max(examples, 1))
    if on == 0:
        return Number(label="off", value=100, unit="%", tone="bad", note="dead: it never responds")
    return Number(label="off", value=share, unit="%", note=f"of {examples:,} examples nowhere turn it on")


def profiled(scene: Scene, profile: ClassMeans, unit: int, *, places: bool = False) -> Bars:
    """A unit's mean for each class, the largest of many."""
    means = profile.mean[:, unit]
    present = np.flatnonzero(np.isfinite(means))
    if len(present) > answers.MOST:
        present = present[np.argsort(-means[present], kind="stable")][: answers.MOST]
    values = means[present]
    limits = magnitude(values, 0) if (values >= 0).all() else symmetric(values)
    return Bars(
        values=values, labels=tuple(scene.classes[int(k)] for k in present), limits=limits,
        keys=tuple(number_key("class", int(k)) for k in present), colours=tuple(int(k) for k in present),
        title="By class: mean activation" + " of all places" * places,
    )


def listed(scene: Scene, found: ChosenExamples, title: str, layer: str, *, foretells: bool = False) -> Node:
    """A unit's strongest examples that are no pictures; of texts what stands round the place where it responds, if that is a token.

    An output of a network that writes on speaks of the token that comes next: that one is marked where it ``foretells``.
    """
    notes = tuple(plain(f"{value:.3g}") for value in found.values)
    kind = scene.kind
    if not isinstance(kind, Tokens) or not all(len(place) == 1 for place in found.places) or misplaced(scene, layer):
        return sections.gallery(scene, np.array(found.examples), title, notes)
    texts = []
    for words, (at,) in zip(scene.live.shown(found.examples), found.places, strict=True):
        inside = [k for k, word in enumerate(words) if not pads(word)]
        if inside and inside[0] <= at <= inside[-1]:  # what fills the text up stands round no place of it
            words, at = words[inside[0] : inside[-1] + 1], at - inside[0]
        words, at = ([*words, "?"], at + 1) if foretells else (words, at)
        before, after = words[max(0, at - AROUND) : at], words[at + 1 : at + 1 + AROUND // 2]
        told = kind.joined([*before, f"‹{words[at]}›", *after])
        texts.append(f"{'…' * (at > AROUND)}{told}".replace("\n", "↵"))
    columns = (
        Column(name="what it foretells" if foretells else "where it responds", kind="text", texts=tuple(texts)),
        Column(name="value", kind="text", texts=notes),
    )
    keys = tuple(number_key("example", k) for k in found.examples)
    return Table(columns=columns, row_keys=keys, title=title)
