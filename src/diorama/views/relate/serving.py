"""Which units serve a class: what it loses without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ...core.colour import symmetric
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Table
from ...core.numerals import counted
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...derive.derivations.serving import unserved
from ...scene import Scene
from ...scene.sets import classes_of, named
from ..samples import MOST, looked_at, noted, part
from ..view import View

BARS = 12


class ServingView(View):
    """The units that a class cannot do without, measured by silencing them one by one.

    *Meaning* the bar is how much the class's loss rises when a unit is silenced, the tick what it costs the other classes: a unit
    that serves this class has a long bar and a tick near zero; one whose tick is as far serves all. Choose a class. All units
    are silenced on few examples of the class first (of more than 256 those that are expected to cost most, and some at random). Those that cost
    most there, those that tell the class from the others best by themselves, and some at random of all that remain are silenced on all.
    *Units* those of the loss (nats for a classifier).
    *Error* units that stand in for one another cost nothing one by one. The check tells how well the few examples rank
    what was then measured, also of units drawn at random; one of those that costs more than the chosen ones says that dear ones are passed over.
    *Cost* a pass forward and back an example of the class; 16 passes for each unit, of 256 at most; one pass an example for each silenced unit.
    *Source* Morcos et al. 2018; Molchanov et al. 2017.
    """

    title = "Who serves this class"
    question = "Which units serve this class?"
    family = "relationships"
    papers = ("Morcos et al. 2018, arXiv:1803.06959", "Molchanov et al. 2017, arXiv:1611.06440")
    rows = ("D4",)
    by_labels = True
    follows = ("class",)

    count: int = knob(24, "So many units are silenced.", low=1, high=500, main=True)
    examples: int = knob(
        256, "So many examples of the probe set are looked at, spread evenly: half of the class where there are so many of both.",
        low=8, high=MOST, log=True,
    )

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A classifier with known classes, and units between input and answer."""
        return unserved(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The units that were silenced so far, the dearest first."""
        scene = scene.first(max(self.examples, len(scene.live)))
        key = selection.one("class")
        classes = np.asarray(classes_of(scene))
        number = key.number if key is not None else int(np.bincount(classes[classes >= 0]).argmax())
        for stage in scene.derive("serving", of_class=number, count=self.count, examples=self.examples).stream():
            if stage.final:
                yield self._picture(scene, selection, number, stage.value, final=True)
            else:
                yield stage.progress
                if stage.value is not None:
                    yield Draft(lambda value=stage.value: self._picture(scene, selection, number, value, final=False))  # type: ignore[misc]

    def _picture(self, scene: Scene, selection: Selection, number: int, value: dict[str, Any], *, final: bool) -> Picture:
        name = named(scene, number)
        layers = [value["layers"][k] for k in value["layer"]]
        keys = tuple(unit_key(layer, int(unit)) for layer, unit in zip(layers, value["unit"], strict=True))
        labels = tuple(f"{spoken(layer)}/{unit}" for layer, unit in zip(layers, value["unit"], strict=True))
        cost, others, lost = value["cost"], value["others"], value["lost"]
        top = min(BARS, len(cost))
        bars = Bars(
            values=cost[:top], labels=labels[:top], keys=keys[:top], reference=others[:top], unit="loss",
            limits=symmetric(np.r_[cost[:top], others[:top]]), title=f"What {name} loses without a unit, and the others (tick)",
        )
        table = Table(title="All that were silenced", row_keys=keys, columns=(
            Column(name="unit", kind="text", texts=labels),
            Column(name=f"cost for {name}", numbers=cost, signed=True, note="rise of the mean loss over its examples"),
            Column(name="for the others", numbers=others, signed=True, note="rise of the mean loss over all other examples"),
            Column(name="fewer right", numbers=np.nan_to_num(lost), signed=True, note=f"share of {name}; below 0 more are right without it"),
            Column(name="tells it apart", numbers=value["area"], note="area under the curve of the unit alone: 0.5 by chance"),
        ))
        own = [k for k in range(len(cost)) if cost[k] > 2 * max(others[k], 0.0) and cost[k] > max(0.01, 0.1 * cost[0])]
        dearest = f"without {labels[0]} the loss over {name} changes by {cost[0]:+.2g}, and over the others by {others[0]:+.2g}"
        if not np.isfinite(cost).any():
            caption = f"Which units serve {name} cannot be told: the loss is no number."
        elif own:
            best = own[0]
            caption = (
                f"{labels[best]} serves {name} rather than others: without it the loss over {name} rises by {cost[best]:.2g}, over the "
                f"others it changes by {others[best]:+.2g}{_fewer(name, float(lost[best]))}. {len(own)} of {len(cost)} silenced units "
                f"cost {name} much, and more than twice what they cost the others."
            )
            caption += f" {name} needs most what all need: {dearest}." if best else ""
        else:
            caption = f"No single unit serves {name} rather than others: {dearest}."
        return self.picture(
            scene, selection, f"Which units serve {name}?", Group(children=(bars, table), direction="row"), caption,
            checks=_checks(value) if final else (), note=noted(_silenced(value, name), looked_at(scene, value["own"] + value["rest"])), final=final,
        )


def _silenced(value: dict[str, Any], name: str) -> str:
    """How many units were silenced on how much, where these are not all."""
    if value["of"] <= len(value["cost"]):
        return ""
    every = part(value["first"], value["of"], "units")
    return (
        f"{part(len(value['cost']), value['of'], 'units')} were silenced on all that are looked at; most of them were chosen by what each of "
        f"{every} cost {counted(value['few'], 'examples')} of {name}."
    )


def _checks(value: dict[str, Any]) -> tuple[Check, ...]:
    """How well what a unit cost few examples ranks what it cost all; of units that were drawn at random as well."""
    known = np.isfinite(value["tried"]) & np.isfinite(value["cost"])
    cost, tried, drawn = (value[name][known] for name in ("cost", "tried", "drawn"))
    if len(cost) < 4 or not np.ptp(cost) or not np.ptp(tried):
        return ()
    alike = float(np.corrcoef(rankdata(cost), rankdata(tried))[0, 1])
    some = value["drawn"]
    passed = bool(some.any()) and not some.all() and np.nanmax(value["cost"][some]) > np.nanmax(value["cost"][~some])
    among = (
        f" Of them {counted(int(some.sum()), 'units')} were drawn at random from all that were not chosen, and "
        + ("one costs more than any that was chosen: dear ones are passed over." if passed else "none costs more than the dearest that was chosen.")
    ) if some.any() else ""
    return (Check(
        name="estimate against measure", value=alike, good=alike > 0.5 and not passed,
        sentence=f"The rank correlation of what {counted(len(cost), 'silenced units')} cost few examples of the class with what they cost all "
        f"that are looked at.{among}",
    ),)


def _fewer(name: str, lost: float) -> str:
    """How many fewer of a class are answered rightly, or more, as a clause."""
    if not np.isfinite(lost):
        return ""
    if not lost:
        return f"; as many of {name} are answered rightly"
    return f"; {abs(lost):.0%} of {name} {'more' if lost < 0 else 'fewer'} are answered rightly"
