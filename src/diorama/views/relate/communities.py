"""Regions of the network that fire together: where an input lights them, and what is lost without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from ...core.colour import symmetric
from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Column, Group, Handle, Heatmap, Network, Node, Table, Vertex
from ...core.numerals import counted, joined
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, layer_key, spoken, together, unit_key
from ...derive.columns import columns
from ...derive.derivations.communities import silenced
from ...model.capture import Capture
from ...model.layers import by_unit
from ...model.own_places import Owners
from ...scene import Scene
from ..answers import drawn
from ..samples import broken, layers_said, looked_at, noted, part, single, standing
from ..sets import Mix, Sets, mixed, two_sets
from ..view import View

WIDE, TALL, HEAD = 96.0, 300.0, 34.0
"""Between the layers' columns of dots, how high they stand, and their heading."""
LARGEST, SMALLEST, COLOURED = 12.0, 2.0, 6.0
"""The width of a unit's dot where the input drives it most, and least; and least where its colour is to be seen."""
BOX, GAP = 112.0, 130.0


class CommunitiesView(View):
    """Units of all layers in regions that fire together; an input lights them layer by layer; a region is silenced to see its worth.

    *Meaning* a dot is a unit, in the colour of its region, as large as the current input drives it above the examples' mean; ``pulse``
    plays the input from layer to layer. With ``colour="sets"`` two sets of examples are poured through (two classes, or set A and set B):
    a unit that responds to A alone is blue, to B alone red, to both alike purple. Regions are ranked by what the network loses with all
    their units silenced. A line from a region to another tells how far the units of the other, in later layers, then move.
    *Units* costs in the loss's own, over the same examples; influence in each unit's own standard deviations (σ).
    *Cost* one pass an example, and one a region over some of them.
    """

    title = "Regions"
    question = "Which units fire together, and what is lost without them?"
    family = "relationships"
    papers = ("Newman & Girvan 2004, arXiv:cond-mat/0308217", "Morcos et al. 2018, arXiv:1803.06959")
    rows = ("B11", "B13")
    by_labels = True
    follows = ("example", "class")
    input = True

    pulse: int = knob(0, "How many layers the input has reached; 0: all of them.", low=0, high=64, main=True)
    lesion: int = knob(0, "A region that is silenced for the current input; 0: none.", low=0, high=24, main=True)
    colour: str = knob(
        "region", "What a dot's colour tells: its region; sets: which of two chosen sets of examples drives it.",
        choices=("region", "sets"), main=True,
    )
    inside: str | None = knob(None, "A module: only the layers inside it.", kind="layer")
    count: int = knob(0, "Regions, or as near to so many as comes; 0: as many as have the largest modularity, up to ten.", low=0, high=24)
    most: int = knob(8, "The most layers: of deeper networks modules are shown as one.", low=2, high=24)
    units: int = knob(128, "The most units of a layer: those that vary most.", low=1, high=1024)
    examples: int = knob(512, "How many examples of the probe set regions are found on.", low=1, high=100_000)
    probed: int = knob(128, "On how many of them lesions are tried.", low=1, high=10_000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Units, and examples that drive them."""
        return single(scene) if scene.kinds else f"it groups units by what they answer, and {scene.network.without}"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after the regions and their lesions."""
        layers = [layer.name for layer in columns(scene.layers, self.inside or "", self.most)]
        derived = scene.derive(
            "communities", layers=together(layers), count=self.count, units=self.units, examples=self.examples, probed=self.probed
        )
        found: dict[str, Any] = {}
        for stage in derived.stream():
            if stage.final:
                found = stage.value
            else:
                yield stage.progress
        count = len(found["profile"])
        if self.lesion > count:
            there = f"there are regions 1 to {count}, and none {self.lesion}" if count else "no units fire together here, so there are no regions"
            raise UsageError(f"{there}; 0 silences none")
        current = scene.current(selection)
        sets = two_sets(scene, selection) if self.colour == "sets" else None
        poured = _poured(scene, found, sets) if sets is not None else None
        marks: list[Node] = [_pulse(scene, found, current.x, self.pulse, poured)]
        if self.lesion:
            marks.append(_lesioned(scene, found, layers, current.x, self.lesion - 1))
        if count:
            order = np.argsort(-np.nan_to_num(found["loss"], nan=-np.inf), kind="stable")
            marks.append(_ranked(scene, found, order, poured))
            if found["by_class"].size and np.isfinite(found["by_class"]).any():
                marks.append(_by_class(found, order))
            if np.isfinite(found["influence"]).any():
                marks.append(_influence(found))
        modularity = found["modularity"]
        checks = (Check(
            name="modularity", value=modularity,
            sentence="how much more goes together inside regions than by chance, up to 1; below 0.3 regions are hardly apart.",
        ),) if np.isfinite(modularity) else ()
        yield self.picture(
            scene, selection, "Regions that fire together", Group(children=tuple(marks)), self._caption(scene, found, count, sets), checks=checks,
            note=noted(
                "" if len(layers) > 1 else "only one layer is looked at, so nothing lies behind a region that could move",
                _untried(found), looked_at(scene, min(self.examples, len(scene.examples))), standing(scene, layers),
                broken(scene, [scene.layers.handed(scene.layers[name]).name for name in found["layers"]]),
            ),
        )

    def _caption(self, scene: Scene, found: dict[str, Any], count: int, sets: Sets | None) -> str:
        colours = "each in its colour" if sets is None else (
            f"those of one beside one another; blue responds to {sets.names[0]} alone ({counted(len(sets.a), 'examples')}), red to "
            f"{sets.names[1]} alone ({counted(len(sets.b), 'examples')}), purple to both, grey to neither"
        )
        shown = sum(len(units) for units in found["units"])
        total = sum(scene.layers[name].units for name in found["layers"])
        out = sum(int((region < 0).sum()) for region in found["region"])
        held = f", {shown - out:,} of them (the others never change)" if count and out else ""
        return (
            f"{part(shown, total, 'units')} of {layers_said(found['layers'])}{held} in {counted(count, 'regions') if count else 'no region'}"
            f"{f', {colours}' if count or sets is not None else ''}; the larger a dot, the further the input drives the unit above its mean over "
            "the examples."
            + (
                f" Costs: all units of a region but the answers silenced, on {counted(found['probed'], 'examples')}." if count else ""
            )
        )


def _untried(found: dict[str, Any]) -> str:
    """Of which classes it is not known what a region costs them."""
    classes = found["by_class"]
    if not classes.size or not np.isfinite(classes).any() or not (missing := np.flatnonzero(np.isnan(classes).all(0)).tolist()):
        return ""
    some = joined([found["columns"][k] for k in missing[:6]]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    return f"What {some} lose is not told: none of them is among the {counted(found['probed'], 'examples')} on which lesions are tried."


def _driven(scene: Scene, found: dict[str, Any], x: Any) -> list[np.ndarray]:
    """How many standard deviations above its mean over the live examples the input drives each unit."""
    sources = {name: scene.layers.handed(scene.layers[name]) for name in found["layers"]}
    owners = Owners(scene.kind)

    def mean(name: str, tensor: Tensor) -> Tensor:
        source = next(one for one in sources.values() if one.name == name)
        values = by_unit(source, tensor).float()
        values = values.clamp_min(0) if source.rectified else values
        return owners.mean(values).cpu()

    kept = scene.kept(owners.read(x), {source.name for source in sources.values()}, reduce=mean)
    seen = scene.responses([source.name for source in sources.values()])
    rows = []
    for name, units in zip(found["layers"], found["units"], strict=True):
        source = sources[name]
        many = (seen[source.name].positive if source.rectified else seen[source.name].mean).double().numpy()[:, units]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            many = np.nan_to_num(many, nan=0.0, posinf=0.0, neginf=0.0)
            spread = many.std(0)
            rows.append(np.nan_to_num((kept[source.name][0].double().numpy()[units] - many.mean(0)) / np.where(spread > 0, spread, np.inf)))
    return rows


def _poured(scene: Scene, found: dict[str, Any], sets: Sets) -> list[np.ndarray]:
    """Which part of each unit's response comes from set A, 0 to 1; NaN where it responds to neither."""
    sources = [scene.layers.handed(scene.layers[name]) for name in found["layers"]]
    seen = scene.responses([source.name for source in sources])
    return [Mix.of(source.rectified, seen[source.name], sets).share[units] for source, units in zip(sources, found["units"], strict=True)]


def _pulse(scene: Scene, found: dict[str, Any], x: Any, reached: int, poured: list[np.ndarray] | None) -> Network:
    """All units as dots, a column a layer, those of a region beside one another in each."""
    driven, least = _driven(scene, found, x), SMALLEST if poured is None else COLOURED
    vertices: list[Vertex] = []
    places: list[tuple[float, float, float, float]] = []
    for number, (name, units, region) in enumerate(zip(found["layers"], found["units"], found["region"], strict=True)):
        left = number * WIDE
        lit = not reached or number < reached
        inks = [] if poured is None else [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in mixed(poured[number]).tolist()]
        keys = (layer_key(name),) if name else ()
        vertices.append(Vertex(form="heading", label=spoken(name), note="" if lit else "not reached", keys=keys))
        places.append((left, 0, WIDE - 6, HEAD - 4))
        order = np.lexsort((np.arange(len(units)), np.where(region < 0, region.max() + 1, region)))
        across = max(1, int(np.ceil(len(units) / (TALL / (LARGEST + 1)))))
        down = -(-len(units) // across)
        for rank, k in enumerate(order.tolist()):
            size = least + (LARGEST - least) * float(np.clip(driven[number][k], 0, 3)) / 3 if lit else SMALLEST
            column, row = divmod(rank, down)
            middle = left + (WIDE - 6) / 2 + (column - (across - 1) / 2) * min(LARGEST + 1, (WIDE - 10) / across)
            y = HEAD + (row + 0.5) * TALL / down
            label = int(region[k])
            vertices.append(Vertex(
                form="dot", label=f"{spoken(name)}, unit {int(units[k])}", note=f"region {label + 1}" if label >= 0 else "in no region",
                told=_drive(float(driven[number][k])) if lit else "", keys=(unit_key(name, int(units[k])),),
                colour=label if label >= 0 else None, ink=inks[k] if inks else "", faded=not lit,
            ))
            places.append((middle - size / 2, y - size / 2, size, size))
    return Network(
        vertices=tuple(vertices), places=np.array(places, np.float32), links=np.zeros((0, 2), np.int32), strengths=np.zeros(0, np.float32),
        extent=(len(found["layers"]) * WIDE, HEAD + TALL), title="The current input",
        handle=Handle(knob="pulse", kind="slide", low=0, high=len(found["layers"]), value=str(reached), whole=True),
    )


def _lesioned(scene: Scene, found: dict[str, Any], layers: list[str], x: Any, number: int) -> Group:
    """What the network answers to the current input, whole and without a region."""
    whole = scene.look(x)[0].cpu()
    with Capture(scene.model, edits=(*scene.edits, *silenced(scene, layers, found, number)), cancel=scene.cancel) as look:
        less = scene.reading.scores(look(x)).detach().cpu()
    parts = []
    for title, scores in (("the whole network", whole), (f"without region {number + 1}", less)):
        mark = drawn(scene, scores, horizontal=True)
        parts.append(Group(children=(mark,), title=title))
    return Group(children=tuple(parts), direction="row", title="The current input's answer")


def _ranked(scene: Scene, found: dict[str, Any], order: np.ndarray, poured: list[np.ndarray] | None) -> Table:
    regions = [int(k) for k in order]
    sizes = [sum(int((region == k).sum()) for region in found["region"]) for k in regions]
    where = [
        ", ".join(spoken(name) for name, region in zip(found["layers"], found["region"], strict=True) if (region == k).any())
        for k in regions
    ]
    best = []
    for k in regions:
        row = found["profile"][k]
        top = np.argsort(-np.nan_to_num(row, nan=-np.inf), kind="stable")[: 2 if found["by"] != "example" else 0]
        best.append(", ".join(found["columns"][int(c)] for c in top if row[int(c)] > 0))
    columns_ = [
        Column(name="region", kind="class", numbers=np.array(regions, float), texts=tuple(f"region {k + 1}" for k in regions)),
        Column(name="units", numbers=np.array(sizes, float)),
        Column(name="lit by", kind="text", texts=tuple(best)),
        Column(name="layers", kind="text", texts=tuple(where)),
        Column(name="cost", numbers=found["loss"][order], signed=True),
    ]
    if poured is not None:
        parts = np.concatenate(poured)
        told = [parts[(np.concatenate(found["region"]) == k) & ~np.isnan(parts)] for k in regions]
        columns_.append(Column(name="part of A", numbers=np.array([one.mean() if len(one) else np.nan for one in told])))
    if np.isfinite(found["right"]).any():
        columns_.append(Column(name="% right", numbers=100 * found["right"][order], signed=True))
    return Table(columns=tuple(columns_), title="What the network loses without each region, the dearest first")


def _by_class(found: dict[str, Any], order: np.ndarray) -> Heatmap:
    values = 100 * found["by_class"][order]
    return Heatmap(
        title="Change of % right, class by class", values=values, limits=symmetric(values, 100.0, "%"),
        row_labels=tuple(f"region {int(k) + 1}" for k in order), column_labels=tuple(found["columns"]), size=18,
    )


def _influence(found: dict[str, Any]) -> Network:
    """Each region on both sides; a line from the one that is silenced to those that then move."""
    values = found["influence"]
    count = len(values)
    vertices, places = [], []
    for side in range(2):
        for k in range(count):
            units = sum(int((region == k).sum()) for region in found["region"])
            vertices.append(Vertex(label=f"region {k + 1}", note="silenced" if not side else f"{units} units", colour=k))
            places.append((side * (BOX + GAP), k * 40.0, BOX, 34.0))
    pairs = [(int(a), int(b)) for a, b in np.argwhere(np.nan_to_num(values) > 0)]
    return Network(
        title="How far others move when a region is silenced", vertices=tuple(vertices), places=np.array(places, np.float32),
        links=np.array([(a, count + b) for a, b in pairs], np.int32).reshape(-1, 2), strengths=np.array([values[a, b] for a, b in pairs], np.float32),
    )


def _drive(deviations: float) -> str:
    return f"{abs(deviations):.2g} σ {'below' if deviations < 0 else 'above'} its mean"
