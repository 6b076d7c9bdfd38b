"""The examples as points, near each other where a layer answers alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DioramaError
from ...core.knobs import knob, knobs_of
from ...core.marks import Group, Node, Roll, Scatter
from ...core.numerals import counted
from ...core.picture import Draft, Picture, Progress
from ...core.registry import projections
from ...core.selection import Selection, spoken
from ...data.melodies import is_mark
from ...derive.derivation import DerivedValue
from ...methods.placement import laid_onto, unplaced
from ...scene import Scene
from ...scene.directions import lacking
from .. import melodies, planes, texts
from ..run_series import other_name, this_name
from ..samples import broken, first_examples, looking, noted
from ..view import View
from ._biplot import Biplot, biplot
from ._examples import COLOURS, ShownExamples
from ._interim_map import InterimMap, on_way
from ._map_quality import MeasuredMap, measured
from ._silent_units import stand

PERPLEXITIES = (5.0, 30.0, 100.0)
SEEDS = (0, 1, 2)
"""What stands side by side."""


@dataclasses.dataclass(frozen=True)
class _Map:
    """One of the maps that stand side by side."""

    title: str
    derived: DerivedValue
    way: InterimMap | None = None
    """What is shown until the places of the wanted step are there."""

    @property
    def fresh(self) -> bool:
        """Whether its places are those of its own step."""
        return self.way is None or self.way.step == self.derived.scene.step


class ProjectionView(View):
    """The examples as points: near each other where a layer, or several together, answer alike.

    *Meaning* points are coloured by their true class (without a truth by the answer), and have a dark edge where the network is
    wrong; pale ones have neighbours here that are far from them in the layer. Axes have no names, and who is whose neighbour is worth
    more than how far apart groups lie. A melody sounds when its point is chosen. A map follows the training
    from its first snapshot on: points move only where the network did.
    *Error* the trustworthiness is 1 where no point stands beside one that is far from it in the layer, the continuity where none
    has lost a near one; the recall is the share of a layer's neighbours that are neighbours here.
    *Cost* one forward pass an example, at this step and at the snapshots on the way, then what the algorithm takes.
    *Source* Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks; Venna & Kaski 2001 (trustworthiness).
    """

    title = "Projection"
    question = "Which examples does the network find alike?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("B1", "B2", "B3", "B14", "B15", "B16", "B17")
    by_labels = True
    follows = ("layer", "example", "unit")

    layer: str | None = knob(
        None, "The layer, or several with + between; by itself the chosen one, else the last before the answer.", kind="layer",
        main=True,
    )
    method: str = knob("pca", "The algorithm.", choices=lambda: tuple(sorted(projections)), main=True)
    drawn: str = knob("points", "What stands at each place, thumbnails on a grid.", choices=("points", "density", "thumbnails"), main=True)
    colour: str = knob("class", "What colours tell; unit: what the chosen one answers.", choices=COLOURS, main=True)
    dimensions: int = knob(2, "So many numbers an example.", low=2, high=3)
    column: str | None = knob(
        None, "A column to colour by, instead: of a table, of your own metadata, or a property of the inputs such as brightness.", kind="column",
    )
    trails: int = knob(0, "So many places on the way here, each at an earlier snapshot, that a line leads through.", low=0, high=50)
    beside: str = knob(
        "nothing", "Maps side by side: of three perplexities or seeds, of an early, a middle and this layer, of the first step and this one.",
        choices=("nothing", "perplexity", "seed", "layers", "steps"),
    )
    perplexity: float | None = knob(
        None, "About so many neighbours count: t-SNE's perplexity, UMAP's neighbors; by itself the algorithm's own.", kind="number",
        low=2.0, high=500.0,
    )
    arrows: int = knob(0, "So many units as arrows: those whose answers the places tell best, each leading to where it answers more.", low=0, high=40)
    examples: int = first_examples(2)
    seed: int = knob(0, "What chance is drawn from.", low=0, high=2**31 - 1)
    settings: str = knob("", "The algorithm's other knobs, as JSON.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer that answers once an example."""
        return lacking(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The points as the algorithm places them; then those of the maps that stand beside."""
        scene = scene.first(self.examples)
        maps = self._maps(scene, selection)
        yield from looking(scene, [name for one in maps[:1] if not one.derived.known for name in one.derived.derivation.layers(scene)])  # type: ignore[attr-defined]
        shown = ShownExamples.of(scene, self.colour, self.column, selection.one("unit") if self.colour == "unit" else None)
        ready: list[tuple[_Map, NDArray[np.float64]]] = []
        for number, one in enumerate(maps):
            for step in on_way(one.derived, number, len(maps)):
                if isinstance(step, Progress):
                    yield step
                    continue
                now = [*ready, (dataclasses.replace(one, derived=step.derived, way=step), self._aligned(np.asarray(step.value, np.float64), ready))]
                yield Draft(lambda now=now: self._picture(scene, selection, shown, now, final=False))  # type: ignore[misc]
            points: Any = None
            for stage in one.derived.stream():
                if not stage.final:
                    yield stage.progress
                if stage.value is not None:
                    points = self._aligned(np.asarray(stage.value, np.float64), ready)
                    now = [*ready, (one, points)]
                    if not stage.final:
                        yield Draft(lambda now=now: self._picture(scene, selection, shown, now, final=False))  # type: ignore[misc]
            ready.append((one, points))
        yield self._picture(scene, selection, shown, ready, final=True)

    # Which maps.

    def _maps(self, scene: Scene, selection: Selection) -> list[_Map]:
        """The map at the scene's step, and those that are to stand beside it."""
        key = selection.one("layer")
        own: dict[str, Any] = {"layer": self.layer or (key.name if key is not None else None)}
        main = _Map("", self._derived(scene, own))
        found = [main]
        if self.beside == "perplexity":
            wanted = sorted({min(one, max(2.0, (len(scene.live) - 1) // 3)) for one in PERPLEXITIES})
            found = [_Map(f"perplexity {one:g}", self._derived(scene, {**own, "perplexity": one})) for one in wanted]
        elif self.beside == "seed":
            found = [_Map(f"seed {one}", self._derived(scene, {**own, "seed": one})) for one in SEEDS]
        elif self.beside == "layers":
            names = _early(scene, main.derived.derivation.layers(scene))  # type: ignore[attr-defined]
            found = [_Map(name, self._derived(scene, {"layer": name})) for name in names] + [
                dataclasses.replace(main, title="+".join(main.derived.derivation.layers(scene)))  # type: ignore[attr-defined]
            ]
        elif self.beside == "steps" and main.derived.way:
            first = main.derived.way[0]
            found = [_Map(f"step {first.scene.step}", first), _Map(f"step {scene.step}", main.derived)]
        for other in (one.first(self.examples) for one in scene.others):
            found.append(_Map(other_name(scene, other), self._derived(other.on(scene.examples) if _unlike(other, scene) else other, own)))
        if scene.others and not found[0].title:
            found[0] = _Map(this_name(scene, scene.others[0]), main.derived)
        return found

    def _derived(self, scene: Scene, more: Mapping[str, Any]) -> DerivedValue:
        told = {"perplexity": self.perplexity, "seed": self.seed, **more}
        known = knobs_of(projections[self.method])
        options: dict[str, Any] = {
            "layer": told.pop("layer"), "method": self.method, "dimensions": self.dimensions, "settings": self.settings,
        }
        if "neighbors" in known and "perplexity" not in known and told["perplexity"] is not None:
            options["neighbors"] = round(told["perplexity"])
        options |= {name: value for name, value in told.items() if name in known and value is not None}
        return scene.derive("projection", **options)

    def _aligned(self, points: NDArray[np.float64], ready: list[tuple[_Map, NDArray[np.float64]]]) -> NDArray[np.float64]:
        """Points laid onto those of the first map, as large as they are there: who is whose neighbour stays, and so do all shares of distances."""
        if not ready:
            return points
        wanted = ready[0][1]
        size, given = float(wanted.std()), float(points.std())
        return laid_onto(points * (size / given) if given > 0 and size > 0 else points, wanted)

    # How they are drawn.

    def _picture(
        self, scene: Scene, selection: Selection, shown: ShownExamples, maps: list[tuple[_Map, NDArray[np.float64]]], *, final: bool
    ) -> Picture:
        told = [measured(one.derived) if final else None for one, _ in maps]
        ways = [biplot(one.derived, points, self.arrows) if self.arrows and one.fresh else None for one, points in maps]
        marks = [
            self._mark(shown, one, points, one_told, len(maps), way)
            for (one, points), one_told, way in zip(maps, told, ways, strict=True)
        ]
        main, names = maps[0][0].derived, maps[0][0].derived.derivation.layers(scene)  # type: ignore[attr-defined]
        one, bare = len(names) == 1, all(names) and not any(name.startswith("layer") for name in names)
        layers = ("layer " if one else "layers ") * bare + " and ".join(name if bare else spoken(name) for name in names)
        count, total = len(scene.live), len(scene.examples)
        many = counted(count, "examples") if count == total else f"The first {count:,} of {total:,} examples"
        caption = f"{many}, near each other where {layers} {'answers' if one else 'answer'} alike"
        if self.beside == "layers" or scene.others:
            caption = f"{many}, near each other where a layer answers alike"
        if told[0] is not None and told[0].still and len(maps) == 1:
            caption = f"{many}: {layers} {'answers' if one else 'answer'} the same to all of them, or with no numbers, so where they stand "
            caption += "says nothing"
        elif lack := next(filter(None, (unplaced(points) for _, points in maps)), ""):
            caption = f"{many}, {lack if len(maps) == 1 else lack.replace('this map', 'one of these maps')}"
        elif main.before is not None and maps[0][0].fresh:
            caption += f"; placed starting from where they were at step {main.before.scene.step}"
        caption += f". {shown.said}".rstrip()
        if ways[0] is not None:
            caption += f" {ways[0].said}"
        if told[0] is not None and len(maps) == 1:
            caption += told[0].over_time
        way = maps[-1][0].way
        body: Node = Group(children=tuple(marks), direction="row")
        if melodies.sounds(scene):
            body = Group(children=(body, _melody(scene, selection)))
            caption += " Below stands the chosen melody; a click on a point lets it sound."
        return self.picture(
            scene, selection, f"Examples as {layers} {'sees' if one else 'see'} them", body, caption,
            checks=told[0].checks if told[0] is not None and len(maps) == 1 else (), final=final, note=self._note(scene, shown, names, way),
            places=stand(maps[-1][0].derived, scene, way.step if way is not None else None),
        )

    def _mark(
        self, shown: ShownExamples, one: _Map, points: NDArray[np.float64], told: MeasuredMap | None, count: int,
        ways: Biplot | None,
    ) -> Scatter:
        spans = planes.cube(points)
        plane = points.shape[1] == 2
        borders = None
        if self.drawn == "density" and plane:
            borders = planes.contours(points, shown.groups, (*spans[0], *spans[1]))
        trails = None
        if self.trails and one.derived.way and count == 1:
            passed = [np.asarray(before.carried, np.float64) for before in one.derived.way[-self.trails :]]
            trails = np.stack(passed, 1).astype(np.float32)
        size = {1: 520, 2: 400, 3: 320}.get(count, 280)
        drawn = "points" if (self.drawn == "thumbnails" and not shown.small) or (self.drawn == "density" and not plane) else self.drawn
        return Scatter(
            title=one.title, caption=told.sentence if told is not None and count > 1 else "", points=points, spans=spans, kind="example",
            borders=borders, trails=trails, faded=told.faded if told is not None else None, drawn=drawn, size=size,  # type: ignore[arg-type]
            **(ways.told() if ways is not None else {}), **shown.told(),
        )

    def _note(self, scene: Scene, shown: ShownExamples, names: list[str], way: InterimMap | None) -> str:
        said = list(filter(None, (shown.note, broken(scene, names))))
        if way is not None:
            said.insert(0, noted(way.said(scene.step)))
        known = knobs_of(projections[self.method])
        if self.drawn == "thumbnails" and not shown.small:
            said.append("These examples are neither pictures nor texts nor series, so they are drawn as points.")
        if self.drawn == "density" and self.dimensions == 3:
            said.append("Contours are drawn on a plane: choose two dimensions.")
        if self.perplexity is not None and not {"perplexity", "neighbors"} & set(known):
            said.append(f"{self.method} looks at all examples, so perplexity changes nothing in it.")
        most, count = (1, len(scene.live) - 1) if "neighbors" in known else (3, len(scene.live) - 1)
        if self.perplexity is not None and {"perplexity", "neighbors"} & set(known) and self.perplexity * most > count:
            said.append(f"{counted(len(scene.live), 'examples')} allow at most {count / most:.3g}, which is taken instead of {self.perplexity:g}.")
        if self.beside == "perplexity" and "perplexity" not in known and "neighbors" not in known:
            said.append(f"{self.method} has no perplexity: the maps are alike.")
        if self.beside == "seed" and "seed" not in known:
            said.append(f"{self.method} draws nothing by chance: the maps are alike.")
        if self.beside == "steps" and len(scene.steps) < 2:
            said.append("There is no earlier snapshot.")
        return " ".join(said)


def _melody(scene: Scene, selection: Selection) -> Roll:
    """The chosen example as a melody, else the first."""
    key = selection.one("example")
    index = key.number if key is not None and key.number < len(scene.live) else 0
    words = [token for token in texts.tokens(scene.live.shown([index])[0]) if not is_mark(token)]
    return melodies.roll(words, f"Example {index}", aloud=True)


def _early(scene: Scene, chosen: list[str]) -> list[str]:
    """An early and a middle layer with weights before those that were chosen."""
    names = [one.name for one in scene.layers.leaves if one.weight is not None and "Norm" not in one.kind and one.shape and one.each]
    before = [name for name in names if name not in chosen]
    last = max((names.index(name) for name in chosen if name in names), default=len(names))
    before = [name for name in before if names.index(name) < last]
    return list(dict.fromkeys([before[0], before[len(before) // 2]])) if before else []


def _unlike(other: Scene, scene: Scene) -> bool:
    """Whether another scene looks at other examples; of a network that cannot take these, the map fails with its own sentence."""
    try:
        return bool(other.live.fingerprint != scene.live.fingerprint)
    except DioramaError:
        return False
