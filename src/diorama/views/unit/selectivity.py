"""Two sets of examples poured through the network: which units take one of them, and which both."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np

from ...core.knobs import knob
from ...core.marks import Column, Group, Node, Table, Tiles
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...scene import Scene
from ..sets import Mix, mixed, two_sets
from ..units import ShownLayer, main_layers, responses, shown, without_numbers
from ..view import View

PURE = 0.95


class SelectivityView(View):
    """Every unit coloured by which of two sets of examples it responds to, from blue through purple to red.

    *Meaning* a unit's colour is the part of its response that comes from set A: blue responds to A alone, red to B
    alone, purple to both alike; grey to neither. *Apart* is the chance that an example of A drives the unit higher than
    one of B: at 1 or 0 the sets never mix in this unit. Choose two classes, or examples for set A and set B; by itself
    the first two classes. With few examples units are apart by chance: a note says how many to expect.
    *Units* responses are means over a unit's places of what is above zero; *apart* compares the plain means.
    *Cost* one pass over the live examples, then none.
    """

    title = "Selectivity"
    question = "Which units tell two kinds of examples apart?"
    family = "features"
    papers = ("Smilkov & Carter 2016, TensorFlow Playground", "Yosinski et al. 2015, arXiv:1506.06579")
    rows = ("B13",)
    by_labels = True
    follows = ("class", "example", "layer")

    layer: str | None = knob(None, "One layer instead of all of them.", kind="layer", main=True)
    sort: str = knob("selectivity", "Order of the units: from blue to red, or by number.",
                     choices=("selectivity", "index"), main=True)
    limit: int = knob(96, "The most units shown of a layer: the purest of them.", low=1, high=1024)
    rows_shown: int = knob(6, "Units listed in the table, the purest first.", low=0, high=512)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        sets = two_sets(scene, selection)
        layers = [shown(scene, scene.layers[self.layer])] if self.layer else main_layers(scene)
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        found = responses(scene, layers)
        mixes = {one.name: Mix.of(one.rectified, found[one.name], sets) for one in layers}
        marks: list[Node] = [self._table(layers, mixes)] if self.rows_shown else []
        # What tells nothing apart comes last: early layers respond to everything alike.
        telling = sorted(layers, key=lambda one: -mixes[one.name].told)
        marks += [self._tiles(one, mixes[one.name]) for one in telling]
        pure = sum(int(mix.never.sum()) for mix in mixes.values())
        total = sum(len(mix.share) for mix in mixes.values())
        caption = (
            f"Each square is one unit: blue responds to {sets.names[0]} alone ({counted(len(sets.a), 'examples')}), red to "
            f"{sets.names[1]} alone ({len(sets.b)}), purple to both; grey is off for both. In {pure} of {counted(total, 'units')} the "
            f"two never mix: every example of one drives the unit higher than any of the other."
        )
        expected = total * 2 * _by_chance(len(sets.a), len(sets.b))
        note = without_numbers(found.values())
        if expected >= 0.5:
            note = f"{note} With so few examples about {counted(round(expected), 'units')} would be apart by chance; choose larger sets.".strip()
        yield self.picture(
            scene, selection, f"{sets.names[0]} against {sets.names[1]}", Group(children=tuple(marks)), caption, note=note
        )

    def _tiles(self, one: ShownLayer, mix: Mix) -> Tiles:
        order = np.arange(len(mix.share))
        if len(order) > self.limit:
            order = np.sort(np.argsort(-np.abs(np.nan_to_num(mix.share, nan=0.5) - 0.5), kind="stable")[: self.limit])
        if self.sort == "selectivity":
            order = order[np.argsort(-np.nan_to_num(mix.share[order], nan=-1), kind="stable")]
        colours = mixed(mix.share[order])
        known = mix.share[~np.isnan(mix.share)]
        purple = int(((known > 1 - PURE) & (known < PURE)).sum())
        caption = f"{len(known) - purple} of {len(mix.share)} respond to one set alone, {int(mix.never.sum())} never mix"
        caption += f"; {len(order)} shown" if len(order) < len(mix.share) else ""
        return Tiles(
            images=np.broadcast_to(colours[:, None, None], (len(order), 2, 2, 3)).astype(np.uint8),
            labels=tuple(str(int(unit)) for unit in order), keys=tuple(unit_key(one.name, int(unit)) for unit in order),
            faded=np.isnan(mix.share[order]), title=spoken(one.name), caption=caption, size=26,
        )

    def _table(self, layers: list[ShownLayer], mixes: dict[str, Mix]) -> Table:
        rows = [(one, unit) for one in layers for unit in range(len(mixes[one.name].share))]
        purity = np.array([abs(mixes[one.name].apart[unit] - 0.5) for one, unit in rows])
        order = np.argsort(-np.nan_to_num(purity), kind="stable")[: self.rows_shown]
        best = [rows[int(k)] for k in order]

        def column(name: str, values: list[float], kind: str = "number") -> Column:
            return Column(name=name, numbers=np.array(values), kind=kind)  # type: ignore[arg-type]

        return Table(
            columns=(
                Column(name="unit", kind="text", texts=tuple(f"{spoken(one.name)}/{unit}" for one, unit in best)),
                column("part of A", [mixes[one.name].share[unit] for one, unit in best], "share"),
                column("apart", [mixes[one.name].apart[unit] for one, unit in best], "share"),
                column("mean A", [mixes[one.name].means[0][unit] for one, unit in best]),
                column("mean B", [mixes[one.name].means[1][unit] for one, unit in best]),
            ),
            row_keys=tuple(unit_key(one.name, unit) for one, unit in best),
            title="The units that tell the two apart best",
            flagged=np.array([bool(mixes[one.name].never[unit]) for one, unit in best]),
        )


def _by_chance(first: int, second: int) -> float:
    """How likely a unit that knows nothing puts all examples of one set above the other."""
    return 1 / comb(first + second, first) if first + second < 500 else 0.0
