"""A part of a network of any size: what matters to one unit or class, with the rest told by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Network, Vertex
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, layer_key, number_key, spoken, unit_key
from ...model.targets import called
from ...scene import Scene
from ...scene.wiring import weighted
from ..samples import first_examples, looked_at, noted
from ..view import View

WIDE, NARROW, GAP, HEAD = 112.0, 74.0, 62.0, 34.0
LARGE, SMALL, FOOT, BETWEEN = 40.0, 17.0, 20.0, 4.0
"""How high the box of the start stands, that of a unit of hardly any interest, that of all others, and what lies between."""
LINES = 60
"""So many of the strongest connections are drawn."""


class NeighbourhoodView(View):
    """What matters to one unit or class, out of a network of any size: the units that feed it, those that it feeds, and theirs.

    *Meaning* boxes are units, the higher the more they matter (degree of interest): 1 for where it starts, and at each connection
    times its share of the strongest, of those into the unit on the way back, of those out of it into a layer on the way on. Pale
    boxes say how many units, and layers, are left out. Choose another unit, here or in any other view, and the picture starts from
    it; ``search`` holds it to one. With ``edges=together`` those that answer to the same examples matter.
    *Units* lines are shares of the strongest connection into a unit, blue where positive, orange where negative; together
    Pearson's correlation.
    *Cost* by weights one pass of two examples; together one an example.
    *Source* Furnas 1986, Generalized fisheye views; van Ham & Perer 2009, Search, show context, expand on demand.
    """

    title = "Neighbourhood"
    question = "What is around this unit or class, in a network too large to be shown?"
    family = "relationships"
    papers = ("van Ham & Perer 2009, Search, show context, expand on demand", "Furnas 1986, Generalized fisheye views")
    rows = ("C7", "D3")
    by_labels = True
    follows = ("unit", "class")

    search: str = knob(
        "", "A unit (conv2/7), a class by name or number (class:3), or a part of a layer's name; by itself what is chosen.", main=True
    )
    edges: str = knob("weights", "What connects units: the weights, or how they go together over the examples.",
                      choices=("weights", "together"), main=True)
    hops: int = knob(2, "How many connections away, in each direction.", low=1, high=8)
    units: int = knob(40, "The most units: those of greatest interest.", low=2, high=500, main=True)
    examples: int = first_examples(2)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Layers with weights."""
        return None if weighted(scene) else "no layer with weights answers once for each example, so there are no units to start from"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        scene = scene.first(self.examples)
        start, said = _start(scene, selection, self.search.strip())
        told: dict[str, Any] = {"start": start, "edges": self.edges, "hops": self.hops, "units": self.units}
        found: dict[str, Any] = {}
        for stage in scene.derive("neighbourhood", **told).stream():
            if stage.final:
                found = stage.value
            else:
                yield stage.progress
        edges = self.edges
        if edges == "weights" and len(found["unit"]) < 2 and int(found["of"].sum()) > 1 and len(scene.live) > 1:
            together = scene.derive("neighbourhood", **{**told, "edges": "together"}).value
            found, edges = ({**together, "lost": found["lost"]}, "together") if len(together["unit"]) > 1 else (found, edges)
        name = _named(scene, Key.parse(found["start"]))
        note = noted(said, self._note(found, name, edges), looked_at(scene) if edges == "together" else "")
        idle = {"examples": "lines are weights, whatever the examples"} if edges == "weights" else {}
        yield self.picture(scene, selection, f"Around {name}", _drawn(found), self._caption(found, name, edges), note=note, idle=idle)

    def _caption(self, found: dict[str, Any], name: str, edges: str) -> str:
        total, layers = int(found["of"].sum()), len(found["of"])
        here = len(np.unique(found["layer"]))
        what = (
            f"that feed {name} or are fed by it, over up to {self.hops} connection{'s' * (self.hops > 1)} each way" if edges == "weights"
            else f"that go most with {name} over the examples"
        )
        drawn, count = len(_lines(found)), len(found["links"])
        lines = f" Lines are {f'the strongest {drawn:,} of {count:,}' if drawn < count else 'their'} connections" if count else ""
        lines += ", blue where positive, orange where negative." if count else ""
        return (
            f"{len(found['unit']):,} of {counted(total, 'units')} shown, of {here} of {layers} layer{'s' * (layers > 1)}: those {what}. "
            f"The higher a box, the more the unit matters; pale boxes count the rest.{lines}"
        )

    def _note(self, found: dict[str, Any], name: str, edges: str) -> str:
        if edges != self.edges:
            return f"No weights could be followed that lead to {name} or from it, so what goes with it over the examples is shown."
        if lost := found["lost"]:
            some = ", ".join(spoken(one) for one in lost[:4]) + (f" and {counted(len(lost) - 4, 'more layers')}" if len(lost) > 4 else "")
            return (f"What leads to {some} or from there could not be followed through all that lies between: it may be units that are missing, "
                    "or rows that are looked up, which are no units; edges=together shows what goes with a unit over the examples.")
        if len(found["unit"]) > 1:
            return ""
        if self.edges == "weights":
            return (f"No weights between layers were found that lead to {name} or from it: it stands alone, or is reached through ops that are not "
                    "followed; edges=together shows what goes with it over the examples.")
        return f"Nothing goes with {name} over these examples."


def _start(scene: Scene, selection: Selection, text: str) -> tuple[str, str]:
    """Where it starts, as a key ("" for where it starts by itself), and what is to be said of it."""
    if not text:
        fit = (key for key in reversed(selection.a) if key.kind == "class" or (key.kind == "unit" and scene.layers.has(key.name)))
        key = next(fit, None)
        if key is None:
            return "", "Choose a unit or a class to start from it."
        return (number_key("class", key.number) if key.kind == "class" else unit_key(scene.layers[key.name].name, key.number)), ""
    if text in scene.classes:
        return number_key("class", scene.classes.index(text)), ""
    word, _, number = text.replace(":", " ").partition(" ")
    if word == "class" and number.strip() in scene.classes:
        return number_key("class", scene.classes.index(number.strip())), ""
    if word == "class" and number.strip().isdigit():
        return number_key("class", int(number)), ""
    name, slash, unit = text.removeprefix("unit:").rpartition("/")
    if slash and unit.isdigit() and scene.layers.has(name):
        return unit_key(scene.layers[name].name, int(unit)), ""
    bare = text.removeprefix("layer:").lower()
    layers = weighted(scene)
    held = [one for one in layers if bare == one.name.lower()] or [one for one in layers if bare in one.name.lower()]
    if not held:
        raise NotApplicable(f"no class, layer or unit is called {text!r}; try {layers[-1].name}/0 or a part of a layer's name")
    one = held[0]
    more = f", and {len(held) - 1} other layer{'s' * (len(held) > 2)}" if len(held) > 1 else ""
    return unit_key(one.name, 0), f"{text!r} finds {one.name}{more}: {one.name}/1 names another of its {one.units:,} units." if one.units > 1 else ""


def _named(scene: Scene, key: Key) -> str:
    if key.kind == "class":
        return f"class {scene.classes[key.number]}" if key.number < len(scene.classes) else called(key.number, (), scene.task)
    return f"{spoken(key.name)}/{key.number}"


def _drawn(found: dict[str, Any]) -> Network:
    """A column a layer, the units of greatest interest first; between columns the layers that are left out."""
    vertices: list[Vertex] = []
    places: list[tuple[float, float, float, float]] = []
    at: dict[int, int] = {}
    sizes = found["of"]
    columns = np.unique(found["layer"]).tolist()
    x, before = 0.0, -1
    for layer in [*columns, len(sizes)]:
        between = list(range(before + 1, layer))
        if between:
            count = len(between)
            names = found["layers"][between[0]] if count == 1 else f"{count} layers"
            told = ", ".join(found["layers"][k] for k in between[:6]) + (", …" if count > 6 else "")
            vertices.append(Vertex(
                label=names, note=f"{int(sizes[between].sum()):,} units", faded=True, told=told,
                keys=_keys(found["layers"][between[0]]) if count == 1 else (),
            ))
            places.append((x, HEAD, NARROW, LARGE))
            x += NARROW + GAP / 2
        if layer == len(sizes):
            break
        name, mine = found["layers"][layer], np.flatnonzero(found["layer"] == layer)
        note = f"{len(mine):,} of {int(sizes[layer]):,} units"
        vertices.append(Vertex(form="heading", label=spoken(name), note=note, keys=_keys(name)))
        places.append((x, 0, WIDE, HEAD - 4))
        y = HEAD
        for k in mine[np.argsort(-found["interest"][mine], kind="stable")].tolist():
            worth, unit = float(found["interest"][k]), int(found["unit"][k])
            high = SMALL + (LARGE - SMALL) * worth
            away = int(found["hop"][k])
            told = "where it starts" if not away else f"{abs(away)} {'before' if away < 0 else 'behind'}, interest {worth:.2g}"
            vertices.append(Vertex(
                label=f"unit {unit}", note="" if away else "the start", told=told, keys=(unit_key(name, unit),), colour=None if away else 0,
            ))
            places.append((x, y, WIDE, high))
            at[k] = len(vertices) - 1
            y += high + BETWEEN
        rest = int(sizes[layer]) - len(mine)
        if rest:
            vertices.append(Vertex(label=f"{rest:,} other{'s' * (rest > 1)}", faded=True, keys=_keys(name)))
            places.append((x, y, WIDE, FOOT))
        x, before = x + WIDE + GAP, layer
    kept = _lines(found)
    links = [(at[int(a)], at[int(b)]) for a, b in found["links"][kept]]
    return Network(
        vertices=tuple(vertices), places=np.array(places, np.float32), links=np.array(links, np.int32).reshape(-1, 2),
        strengths=found["strengths"][kept].astype(np.float32), strongest=2.5,
    )


def _keys(layer: str) -> tuple[str, ...]:
    return (layer_key(layer),) if layer else ()


def _lines(found: dict[str, Any]) -> np.ndarray:
    """Which links are drawn: the strongest of all, and of each unit the strongest, so that none hangs in the air."""
    size, ends = np.abs(found["strengths"]), found["links"]
    order = np.argsort(-size, kind="stable")
    kept = np.zeros(len(size), bool)
    kept[order[:LINES]] = True
    seen = np.zeros(len(found["unit"]), bool)
    for k in order.tolist():
        if not seen[ends[k]].all():
            kept[k] = True
            seen[ends[k]] = True
    return np.flatnonzero(kept)
