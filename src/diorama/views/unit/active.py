"""How many units are on, from layer to layer, for two inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from ...core.knobs import knob
from ...core.marks import Column, Group, Lines, Node, Series, Table
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection, layer_key, spoken
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.probe import Responses
from ..units import ShownLayer, look, main_layers, own, responses, without_numbers
from ..view import View

STEPPED = 4
"""Curves over places are drawn for at most so many layers."""


class ActiveView(View):
    """The share of units that are on in each layer, for this input and for another, beside the whole probe set.

    *Meaning* behind a ReLU a unit is on where it is somewhere above zero; elsewhere where its magnitude exceeds a tenth
    of the layer's largest. The band holds nine of ten examples: an input outside it is unlike what the layer mostly
    gets. The second input is the example in set B, or the knob's. For sequences, also how many are on at each place.
    *Cost* one pass over the live examples, then one forward pass of each input.
    """

    title = "Units that are on"
    question = "How many units does this input turn on, and are they the same as for another?"
    family = "features"
    rows = ("C27",)
    papers = ("Survey of visual analytics for neural networks 2018, section 4.3",)
    follows = ("example", "layer")
    input = True

    against: int | None = knob(
        None, "The example to compare with; by itself the one in set B, else a far one.", kind="example", main=True
    )

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        layers = main_layers(scene)
        first, second = scene.current(selection), self._second(scene, selection)
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        seen = responses(scene, layers)
        bars = {one.name: _bar(one, seen[one.name]) for one in layers}
        values = [look(scene, layers, each.x) for each in (first, second)]
        on = [[_on(one, own(scene, each.x, found[one.name][0]), bars[one.name]) for one in layers] for each, found in
              zip((first, second), values, strict=True)]
        whole = [_share_of_all(one, seen[one.name], bars[one.name]) for one in layers]
        marks: list[Node] = [
            self._curves(first, second, on, whole), self._table(layers, first, second, on, whole),
            *self._steps(layers, first, second, values, bars),
        ]
        total = sum(len(part) for part in on[0])
        counts = [sum(int(part.sum()) for part in each) for each in on]
        both = sum(int((a & b).sum()) for a, b in zip(*on, strict=True))
        beside = f" and {counts[1]:,} for {second.label}, {both:,} of them for both" if second.label != first.label else ""
        band = f" The band holds nine of ten of {counted(len(scene.live), 'examples')};" if len(scene.live) > 1 else " There is no other example;"
        caption = (
            f"Of {counted(total, 'units')} {counts[0]:,} {'is' if counts[0] == 1 else 'are'} on for {first.label}{beside}."
            f"{band} layers are numbered in the table below."
        )
        yield self.picture(scene, selection, "Units that are on", Group(children=tuple(marks)), caption, note=without_numbers(seen.values()))

    def _second(self, scene: Scene, selection: Selection) -> CurrentInput:
        if self.against is not None:
            return scene.current(example=self.against)
        chosen = next((key for key in reversed(selection.b) if key.kind == "example"), None)
        if chosen is not None and chosen.number < len(scene.examples):
            return scene.current(example=chosen.number)
        mine = scene.current(selection).index
        other = next((k for k in range(len(scene.live)) if k != mine), 0)
        y = scene.live.y
        if y is not None and mine is not None and mine < len(scene.live) and y.ndim == 1:
            known = scene.reading.labelled(y)
            other = next((k for k in range(len(y)) if known[k] and y[k] != y[mine]), other)
        return scene.current(example=other)

    def _curves(self, first: CurrentInput, second: CurrentInput, on: list[list[np.ndarray]], whole: list[np.ndarray]) -> Lines:
        x = np.arange(1, len(whole) + 1, dtype=np.float64)
        low, high = (np.array([np.quantile(part, q) for part in whole]) for q in (0.05, 0.95))
        mean = np.array([part.mean() for part in whole])
        series = [Series(name="the probe set", x=x, y=100 * mean, low=100 * low, high=100 * high, colour=8, faint=True)]
        for k, (each, found) in enumerate(zip((first, second), on, strict=True)):
            shares = np.array([100 * part.mean() for part in found])
            series.append(Series(name=each.label, x=x, y=shares, key=each.key, colour=k, dash=bool(k)))
        return Lines(
            series=tuple(series), x_title="layer", x_kind="number", y_title="% of units on", y_range=(0, 100), height=220
        )

    def _table(
        self, layers: Sequence[ShownLayer], first: CurrentInput, second: CurrentInput, on: list[list[np.ndarray]],
        whole: list[np.ndarray],
    ) -> Table:
        a, b = on

        def share(parts: Sequence[np.ndarray]) -> np.ndarray:
            return np.array([part.mean() for part in parts])

        names = (first.label, second.label if second.label != first.label else f"{second.label} (B)")
        return Table(
            columns=(
                Column(name="number", numbers=np.arange(1.0, len(layers) + 1)),
                Column(name="layer", kind="text", texts=tuple(spoken(one.name) for one in layers)),
                Column(name="units", numbers=np.array([float(len(part)) for part in a])),
                Column(name=names[0], kind="share", numbers=share(a)),
                Column(name=names[1], kind="share", numbers=share(b)),
                Column(name="both", kind="share", numbers=share([x & y for x, y in zip(a, b, strict=True)])),
                Column(name="all examples", kind="share", numbers=share(whole)),
            ),
            row_keys=tuple(layer_key(one.name) for one in layers), title="Share of units that are on",
        )

    def _steps(
        self, layers: Sequence[ShownLayer], first: CurrentInput, second: CurrentInput, values: list[dict[str, Tensor]],
        bars: dict[str, float],
    ) -> Iterator[Lines]:
        """How many units are on at each place of a sequence."""
        for one in [one for one in layers if one.layer.sequence][:STEPPED]:
            series = []
            for k, (each, found) in enumerate(zip((first, second), values, strict=True)):
                if (own := found[one.name][0]).ndim == 2:
                    share = 100 * _above(one, own, bars[one.name]).mean(0)
                    x = np.arange(len(share), dtype=np.float64)
                    series.append(Series(name=each.label, x=x, y=share, colour=k, dash=bool(k), key=each.key))
            if series:
                yield Lines(
                    series=tuple(series), x_title="place in the text" if isinstance(first.shown, list) else "time", x_kind="number",
                    y_title="% of units on", title=one.name,
                    y_range=(0, 100), height=120,
                )


def _bar(one: ShownLayer, seen: Responses) -> float:
    """Above which value a unit counts as on."""
    if one.rectified:
        return 0.0
    high = np.maximum(seen.high.double().numpy(), -seen.low.double().numpy())
    return 0.1 * float(np.max(high[np.isfinite(high)], initial=0.0))


def _above(one: ShownLayer, values: Tensor, bar: float) -> np.ndarray:
    plain = values.double().numpy()
    found: np.ndarray = (plain if one.rectified else np.abs(plain)) > bar
    return found


def _on(one: ShownLayer, values: Tensor, bar: float) -> np.ndarray:
    """Which units are on somewhere, (units,)."""
    flat = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    found: np.ndarray = np.any(_above(one, flat, bar), axis=1)
    return found


def _share_of_all(one: ShownLayer, seen: Responses, bar: float) -> np.ndarray:
    """The share of units that are on, for each live example."""
    high = seen.high if one.rectified else seen.high.maximum(-seen.low)
    found: np.ndarray = (high.double().numpy() > bar).mean(1)
    return found
