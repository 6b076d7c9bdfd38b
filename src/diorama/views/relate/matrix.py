"""What units answer as one matrix: over examples, over the places of an input or the steps of a training, as a cube over all layers; and
layers against layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Heatmap
from ...core.numerals import counted, joined
from ...core.picture import Check, Picture, Progress
from ...core.rounding import alike
from ...core.selection import Selection, layer_key, number_key, several, spoken, together, unit_key
from ...data.kinds import Tokens
from ...derive.columns import columns
from ...derive.derivations.similarity import FEWEST
from ...methods.grouping import ORDERS, clusters, ordered
from ...scene import Scene
from ...scene.sets import classes_of, named
from .. import inputs
from ..run_series import at_another_step, other_name
from ..samples import first_examples, looked_at, noted, part, single, which_run
from ..units import ShownLayer, responses, shown, telling_layers
from ..view import View
from . import _cube
from ._columns import standard
from ._silent_units import colourless

SNAPSHOTS = 16
"""So many moments of a training are looked at."""
LAYERS = 24
MANY = 4000
"""So many columns at most: a row of more has no width left for each on any screen."""


class MatrixView(View):
    """Units × examples, units × places, or layers × layers, put into an order that shows their structure.

    *Meaning* each row is a unit, blue where it answers more than its own mean and orange where less; rows that are alike stand side by
    side. ``examples``: a column an example, by class and within it by likeness. ``places``: a column a place of the current input, so that
    what fires one after another is a path. ``training``: a column a snapshot, the mean answer to the examples. ``layers``: how alike two
    layers place the examples (CKA, 1: the same), of this network or, where there is one, against another. ``cube``: units × places ×
    layers, a dot each, to be turned: what goes through several layers is a path in it; where no layer answers place by place, units ×
    snapshots × layers, or units × examples × layers.
    *Units* standard deviations of each unit about its own mean over the columns (σ).
    *Error* CKA is estimated without bias: one that is taken from plain sums of squares differs, most where a layer is wide beside the
    number of examples. Places of a map count each by itself, not their mean.
    *Cost* one pass an example; for ``training``, and a ``cube`` over snapshots, one at each of up to sixteen snapshots.
    *Source* Kornblith et al. 2019 for CKA; Bar-Joseph et al. 2001 and Atkins et al. 1998 for the orders.
    """

    title = "Matrix"
    question = "Which units fire together, for which examples and when?"
    family = "relationships"
    papers = ("Kornblith et al. 2019, arXiv:1905.00414",)
    rows = ("C26",)
    by_labels = True
    follows = ("layer", "example")
    input = True

    of: str = knob("examples", "What the columns are.", choices=("examples", "places", "training", "layers", "cube"), main=True)
    layer: str | None = knob(None, "The layer whose units are the rows; by itself the chosen one, else one in the middle.", kind="layer", main=True)
    order: str = knob("tree", "How rows stand: alike ones side by side, along the slowest change, by where they peak, by their mean, by number.",
                      choices=ORDERS, main=True)
    units: int = knob(256, "The most units: those that vary most.", low=1, high=4096)
    examples: int = first_examples(2, MANY, usual=256)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Units, and examples that drive them."""
        return None if scene.kinds else f"it shows what units answer, and {scene.network.without}"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        scene = scene.first(max(self.examples, len(scene.live)))
        if self.of == "layers":
            yield from self._layers(scene, selection)
            return
        if self.of == "cube":
            yield from self._cube(scene, selection)
            return
        one = self._layer(scene, selection)
        if self.of == "examples":
            yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
            yield self._examples(scene, selection, one)
        elif self.of == "places":
            yield self._places(scene, selection, one)
        else:
            yield from self._training(scene, selection, one)

    def _layer(self, scene: Scene, selection: Selection) -> ShownLayer:
        name = self.layer or next((key.name for key in reversed(selection.a) if key.kind == "layer" and scene.layers.has(key.name)), None)
        if name is not None:
            return shown(scene, scene.layers[name])
        layers = telling_layers(scene)
        if self.of == "places":
            layers = [one for one in layers if one.layer.sequence] or layers
        if not layers:
            raise NotApplicable("no layer answers once for each example, so there are no units to show; choose of=layers or an op with layer=")
        return layers[(len(layers) - 1) // 2]

    def _examples(self, scene: Scene, selection: Selection, one: ShownLayer) -> Picture:
        if reason := single(scene):
            raise NotApplicable(f"{reason}{'; choose of=places' if one.layer.sequence else '; use the view activations'}")
        found = responses(scene, [one])[one.name].mean.double().numpy()[: self.examples].T
        # One answer that is no number would take each unit's mean, and with it the whole row.
        fine = np.flatnonzero(np.isfinite(found).all(0))
        fine = fine if len(fine) > 1 else np.arange(found.shape[1])
        rows, units, levels = self._chosen(found[:, fine])
        classes = classes_of(scene)
        places = ordered(rows.T, "tree")
        if classes is not None:
            # By class, and inside each by likeness.
            ranks = np.argsort(places)
            places = np.lexsort((ranks, classes[fine]))
        turned, places = places, fine[places]
        out = found.shape[1] - len(fine)
        note = f"{part(out, found.shape[1], 'examples')} left out, as answers to {'it' if out == 1 else 'them'} are no finite numbers" if out else ""
        labels = tuple(named(scene, int(classes[k])) if classes is not None else str(k) for k in places)
        # Where a unit peaks is a place among the columns as they are shown.
        rows = rows[:, turned]
        turn = ordered(rows, self.order, levels)
        behind = f", {one.words}" if one.words else ""
        caption = (
            f"{part(len(units), one.layer.units, 'units')} of {spoken(one.name)}{behind} (rows, {_ORDERED[self.order]}) over "
            f"{part(rows.shape[1], len(scene.examples), 'examples')} (columns{', by class' if classes is not None else ''}): blue where "
            "a unit answers more than its own mean, orange where less."
        )
        keys = tuple(number_key("example", int(k)) for k in places)
        return self._drawn(scene, selection, one, rows[turn], units[turn], caption, labels, keys, "examples", note)

    def _places(self, scene: Scene, selection: Selection, one: ShownLayer) -> Picture:
        current = scene.current(selection)
        values = one.values(scene.activations([one.source.name], current.x)[one.source.name])[0]
        if not one.layer.sequence or values.ndim != 2:
            raise NotApplicable(f"{spoken(one.name)} does not answer place by place; choose of=examples, or a layer of a text or a series")
        rows, units, levels = self._chosen(values.double().numpy())
        turn = ordered(rows, self.order, levels)
        names: tuple[str, ...] = ()
        keys: tuple[str, ...] = ()
        x = current.x
        if isinstance(scene.kind, Tokens) and isinstance(x, torch.Tensor) and x.ndim == 2 and x.shape[1] == rows.shape[1]:
            words = scene.kind.vocabulary
            names = tuple(words[int(k)] if words and 0 <= int(k) < len(words) else str(int(k)) for k in x[0])
            keys = tuple(number_key("token", k) for k in range(rows.shape[1]))
        caption = (
            f"{part(len(units), one.layer.units, 'units')} of {spoken(one.name)} (rows, {_ORDERED[self.order]}) over the "
            f"{rows.shape[1]} places of the input (columns): blue where a unit answers more than its own mean, orange where less."
        )
        return self._drawn(scene, selection, one, rows[turn], units[turn], caption, names, keys, inputs.along(scene.kind))

    def _training(self, scene: Scene, selection: Selection, one: ShownLayer) -> Iterator[Picture | Progress]:
        if len(scene.steps) < 2:
            raise NotApplicable("there is only one moment of this model; open a run with several snapshots, or choose of=examples")
        steps = [scene.steps[k] for k in sorted({round(k) for k in np.linspace(0, len(scene.steps) - 1, SNAPSHOTS)})]
        means = []
        for number, step in enumerate(steps):
            yield Progress(done=number, total=len(steps), note=f"{counted(len(scene.live), 'examples')} at {len(steps)} snapshots")
            at = scene if step == scene.step else scene.at(step)
            if not at.layers.has(one.name):
                continue
            mean = responses(at, [shown(at, at.layers[one.name])])[one.name].mean.double().numpy()
            means.append((step, mean[: self.examples].mean(0)))
        rows, there = _cube.over_steps(scene, one, [step for step, _ in means], [mean for _, mean in means])
        rows, units, levels = self._chosen(rows, there)
        turn = ordered(rows, self.order, levels)
        caption = (
            f"{part(len(units), one.layer.units, 'units')} of {spoken(one.name)} (rows, {_ORDERED[self.order]}) at "
            f"{part(len(means), len(scene.steps), 'snapshots')} (columns): blue where "
            "the mean answer is above its own mean over the training, orange where below."
        )
        if not there[units].all():
            caption += " A unit that came later has no colour before."
        keys = tuple(number_key("step", step) for step, _ in means)
        yield self._drawn(scene, selection, one, rows[turn], units[turn], caption, tuple(str(step) for step, _ in means), keys, "step",
                          looked_at(scene, min(self.examples, len(scene.live))))

    def _cube(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        for found in _cube.measured(scene, selection):
            if isinstance(found, Progress):
                yield found
                continue
            mark, caption = _cube.drawn(found, self.order, self.units)
            caption += f" In each layer units stand {_ORDERED[self.order]}."
            yield self.picture(scene, selection, f"Units × {found.along}s × layers", mark, caption)

    def _chosen(self, rows: np.ndarray, there: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard scores of the units that vary most, their numbers, and what they answered; of a unit that was not there all the time,
        about its own mean where it was."""
        scores = standard(np.where(np.isfinite(rows), rows, np.nan))
        if there is not None:
            for row in np.flatnonzero(~there.all(1)).tolist():
                scores[row, there[row]] = standard(rows[row, there[row]][None])[0]
        units = np.arange(len(rows))
        if len(units) > self.units:
            spread = np.where(np.isfinite(rows).all(1), rows.T, 0.0).var(0)
            units = np.sort(np.argsort(-spread, kind="stable")[: self.units])
        return scores[units], units, rows[units]

    def _drawn(
        self, scene: Scene, selection: Selection, one: ShownLayer, rows: np.ndarray, units: np.ndarray, caption: str, labels: tuple[str, ...],
        keys: tuple[str, ...], title: str, note: str = "",
    ) -> Picture:
        clear = clusters(rows).silhouette
        check = Check(name="silhouette", value=clear, sentence="how clearly the rows fall into groups that rise and fall together, −1 to 1.")
        less = one.layer.units > len(units)
        name = spoken(one.name)
        mark = Heatmap(
            values=rows.astype(np.float32), limits=_limits(rows), row_keys=tuple(unit_key(one.name, int(unit)) for unit in units),
            row_labels=tuple(str(int(unit)) for unit in units), column_labels=labels, column_keys=keys, row_title=name, column_title=title,
            size=8 if len(units) > 32 else 14,
        )
        caption += colourless(rows, _OVER[self.of])
        return self.picture(
            scene, selection, f"{name if one.name == name else name.capitalize()}: units × {title}", mark, caption,
            checks=(check,) if np.isfinite(clear) else (),
            note=noted("the units that vary most" if less else "", note, which_run(scene, one.name)),
        )

    def _layers(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        if len(scene.live) < FEWEST:
            few = "is 1; use the view activations" if len(scene.live) == 1 else f"are {len(scene.live)}; choose of=examples"
            raise NotApplicable(f"of=layers compares how layers place {FEWEST} examples or more, and there {few}")
        told = {"layers": together([layer.name for layer in columns(scene.layers, most=LAYERS)])}
        other = scene.other
        if other is not None:
            told["others"] = together([layer.name for layer in columns(other.layers, most=LAYERS)])
        derived = scene.derive("similarity", other=other, layers=told["layers"], others=told.get("others", told["layers"]))
        values = np.zeros((0, 0))
        for stage in derived.stream():
            if stage.final:
                values = stage.value
            else:
                yield stage.progress
        names = several(told["layers"])
        others = several(told.get("others", told["layers"]))
        beside = "of both networks" if other is not None else "of this network"
        yield self.picture(
            scene, selection, "How alike layers are",
            Heatmap(
                values=values.astype(np.float32), limits=magnitude(values, 0.0, 1.0), row_labels=tuple(names), column_labels=tuple(others),
                row_keys=tuple(layer_key(name) if name else "" for name in names),
                column_keys=() if other is not None else tuple(layer_key(name) if name else "" for name in others),
                row_title="layers", column_title=f"layers {_whose(scene, other)}" if other is not None else "layers", size=22, square=True,
            ),
            f"How alike layers {beside} place {counted(len(scene.live), 'examples')} among one another, by linear CKA estimated without bias: "
            "1 the same but for a rotation and one scale, 0 nothing in common.",
            note=noted(
                looked_at(scene), *_unlike(scene, names, np.atleast_1d(np.isnan(values).all(1))),
                *_unlike(other, others, np.atleast_1d(np.isnan(values).all(0)), " of the other network")
            ),
        )


def _whose(scene: Scene, other: Scene) -> str:
    """Which network's, in words: at a step of the same run the name would be this network's too."""
    return f"{'at' if at_another_step(scene, other) else 'of'} {other_name(scene, other)}"


_OVER = {"examples": "to every example", "places": "at every place", "training": "at every snapshot"}
_ORDERED = {
    "tree": "alike ones side by side", "spectral": "along the slowest change", "peak": "by where they peak", "mean": "the largest mean first",
    "index": "by number",
}


def _unlike(scene: Scene | None, names: Sequence[str], lost: np.ndarray, of: str = "") -> list[str]:
    """Sentences on layers that are like none, and why: their answers tell no two examples apart, or are no numbers."""
    if scene is None or not lost.any():
        return []
    sources = [name for name, gone in zip(names, lost, strict=True) if gone]
    groups: dict[str, list[str]] = {}
    for name, seen in scene.responses(sources).items():
        told = (seen.high, seen.low, seen.mean)
        if not all(bool(each.isfinite().all()) for each in told):
            groups.setdefault("with numbers that are not all finite", []).append(spoken(name))
        elif all(bool(alike(each.amin(0), each.amax(0), torch.finfo(each.dtype).eps).all()) for each in told):
            groups.setdefault("the same to all examples", []).append(spoken(name))
    return [f"there is no likeness to {joined(own)}{of}, which answer{'s' * (len(own) == 1)} {why}" for why, own in groups.items()]


def _limits(rows: np.ndarray) -> Limits:
    """The same for every layer and step."""
    return symmetric(rows, 3.0, "σ")
