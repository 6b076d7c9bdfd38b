"""The units as points, near each other where they answer to the same examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.knobs import knob
from ...core.marks import Scatter
from ...core.picture import Check, Draft, Picture, Progress
from ...core.registry import projections
from ...core.rounding import deviations
from ...core.selection import Selection, spoken, unit_key
from ...derive.derivation import DerivedValue
from ...methods.correlation import as_rows
from ...methods.neighbours import trustworthiness
from ...methods.placement import unplaced
from ...scene import Scene
from ...scene.directions import lacking
from ...scene.sets import members, named, words
from .. import planes
from ..samples import broken, first_examples, looked_at, noted, part, single
from ..view import View
from ._interim_map import InterimMap, on_way
from ._silent_units import CLOSED, stand, unheard

NEAR = 10
LIT = 0.5
"""Units that answer to what is chosen by so many standard deviations more than on average are lit; others step back."""


class UnitsView(View):
    """The units as points: near each other where they answer to the same examples, coloured by the class they serve best.

    *Meaning* a unit serves best the class to which it answers most above its average; the larger the point, the more. Choose
    classes or examples, here or in any other view: units that answer to them stay, the others step back. A map follows the
    training from its first snapshot on.
    *Units* standard deviations of a unit's answers over the examples.
    *Error* the trustworthiness: 1 where no unit stands beside one that is far from it by correlation.
    *Cost* one forward pass an example, at this step and at the snapshots on the way.
    *Source* Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks.
    """

    title = "Units as points"
    question = "Which units fire together, and for which class?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("B5",)
    by_labels = True
    follows = ("layer", "class", "example")

    layer: str | None = knob(
        None, "The layer, or several with + between; by itself the chosen one, else the last before the answer.", kind="layer",
        main=True,
    )
    method: str = knob("mds", "The algorithm.", choices=lambda: tuple(sorted(projections)), main=True)
    by: str = knob(
        "pearson", "What makes units alike: their correlation, or how high each stands in the other's list.",
        choices=("pearson", "mutual rank"),
    )
    dimensions: int = knob(2, "So many numbers a unit.", low=2, high=3)
    examples: int = first_examples(2)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer that answers once an example."""
        return lacking(scene) or single(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The points as the algorithm places them."""
        scene = scene.first(self.examples)
        key = selection.one("layer")
        derived = scene.derive(
            "units", layer=self.layer or (key.name if key is not None else None), method=self.method, by=self.by,
            dimensions=self.dimensions,
        )
        for step in on_way(derived):
            if isinstance(step, Progress):
                yield step
            elif np.array_equal(step.value["unit"], derived.derivation.chosen(scene)[1]):  # type: ignore[attr-defined]
                yield Draft(lambda way=step: self._picture(scene, selection, derived, way.value, final=False, way=way))  # type: ignore[misc]
        for stage in derived.stream():
            if stage.final:
                yield self._picture(scene, selection, derived, stage.value, final=True)
                return
            yield stage.progress
            if stage.value is not None:
                yield Draft(lambda value=stage.value: self._picture(scene, selection, derived, value, final=False))  # type: ignore[misc]

    def _picture(
        self, scene: Scene, selection: Selection, derived: DerivedValue, value: dict[str, Any], *, final: bool, way: InterimMap | None = None,
    ) -> Picture:
        made: Any = derived.derivation
        names = made.layers(scene)
        layers = " and ".join(map(spoken, names))
        points = np.asarray(value["points"], np.float64)
        serves = np.asarray(value["serves"], np.float64)
        closed = _closed(scene, names)[value["layer"], value["unit"]]
        lit, said = self._lit(scene, selection, made, serves, closed)
        told: dict[str, Any] = {}
        told_apart = int(np.isfinite(serves).any(0).sum()) > 1  # of one class alone no unit answers more to it than to others
        if told_apart:
            clean = np.where(np.isfinite(serves), serves, -np.inf)
            best = clean.argmax(1)
            most = clean[np.arange(len(best)), best]
            told = {"values": np.where((most > 0) & ~closed, best, -1).astype(np.float64), "classes": scene.classes}
            sizes = np.where(closed, 0.1, np.clip(most, 0.1, 4))
            labels = tuple(
                "never changes" if not z > 0 else CLOSED if shut else f"serves {named(scene, int(one))} best: {z:+.2f} σ"
                for one, z, shut in zip(best, most, closed, strict=True)
            )
        else:
            sizes, labels = np.ones(len(points)), tuple(CLOSED if shut else "" for shut in closed) if closed.any() else ()
        keys = tuple(unit_key(names[a], int(b)) for a, b in zip(value["layer"], value["unit"], strict=True))
        mark = Scatter(
            points=points, spans=planes.cube(points), keys=keys, labels=labels, sizes=sizes, size=460,
            faded=lit < LIT if lit is not None and (lit >= LIT).any() else None,
            pale=f"below {LIT} σ", **told,
        )
        total = sum(scene.layers[name].units for name in names)
        moving = deviations(made.answers(scene)) > 0
        alone = len(points) == 1
        caption = f"{part(len(points), total, 'units')} of {layers}, "
        lacking_places = unplaced(points)
        caption += "by itself: where it stands says nothing" if alone else lacking_places or "near each other where they answer to the same examples"
        if told_apart:
            caption += "; it has the colour of the class that it serves best, and is larger the more it does" if alone else (
                ", in the colour of the class that each serves best; the larger, the more")
        caption += "."
        if not moving.any():
            caption = f"All {len(points):,} units of {layers} answer the same to every example, or with no numbers: where they stand says nothing."
        caption += said  # "of them" is of all units, not of those that the next sentences count
        if moving.any() and not moving.all():
            still = int((~moving).sum())
            caption += f" {part(still, len(points), 'units')} never change{'s' * (still == 1)}: where they stand says nothing."
        caption += unheard(int((closed & moving).sum()), len(points))
        checks = (_trust(value, points),) if final and len(points) > 4 and self.by == "pearson" and moving.any() and not lacking_places else ()
        reached = way.step if way is not None else None
        return self.picture(
            scene, selection, f"Units of {layers}", mark, caption, checks=checks, final=final,
            note=noted(way.said(scene.step) if way is not None else "", looked_at(scene), broken(scene, names)),
            places=stand(derived, scene, reached),
        )

    def _lit(
        self, scene: Scene, selection: Selection, made: Any, serves: NDArray[np.float64], closed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64] | None, str]:
        """How much each unit answers to what is chosen, in standard deviations, and in words."""
        chosen = selection.all("example") or selection.all("class")
        if not chosen or (chosen[0].kind == "class" and not serves.shape[1]):
            return None, ""
        which = members(scene, chosen)
        if not len(which) or len(which) == len(scene.live):
            return None, ""
        answers = made.answers(scene)
        spread = deviations(answers)
        lit = (answers[which].mean(0) - answers.mean(0)) / np.where(spread > 0, spread, 1.0)
        lit[closed] = 0.0
        count = int((lit >= LIT).sum())
        said = f" {count:,} of them answer{'s' * (count == 1)} to {words(scene, chosen)} by {LIT} σ or more above the average"
        return lit, f"{said}; the others are pale." if count else f"{said}."


def _closed(scene: Scene, names: list[str]) -> NDArray[np.bool_]:
    """Units, (layers, units of the widest), that never come through the ReLU behind their layer, or behind its norm, where there is one."""
    layers = [scene.layers[name] for name in names]
    sources = [scene.layers.handed(layer) for layer in layers]
    found = np.zeros((len(layers), max(layer.units for layer in layers)), bool)
    behind = sorted({source.name for source in sources if source.rectified})
    seen = scene.responses(behind) if behind else {}
    for row, source in zip(found, sources, strict=True):
        if source.rectified:
            never = seen[source.name].dead(True).numpy()
            row[: len(never)] = never
    return found


def _trust(value: dict[str, Any], points: NDArray[np.float64]) -> Check:
    """How few units stand beside one that is far from it by correlation."""
    near = min(NEAR, (len(points) - 1) // 2)
    apart = np.sqrt(np.maximum(0, 2 - 2 * np.asarray(value["correlation"], np.float64)))
    trusted = trustworthiness(as_rows(apart), points, near)
    sentence = f"1 where the {near} nearest of each unit in the picture are near it by correlation; about 0.5 by chance."
    return Check(name="trustworthiness", value=trusted, sentence=sentence, good=trusted > 0.9)
