"""What a covered image shows: the patch in place, the answer with and without it, and the three maps of a sweep."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import CLASSES, class_colour, magnitude, rgb, symmetric
from ...core.marks import Bars, Box, Group, Handle, Image, Node, Number
from ...core.picture import Check
from ...core.selection import number_key, spoken, unit_key
from ...data import nesting
from .. import answers, inputs
from ._sweep import Floats, OccludedImage, Sweep, answered

SIDE = 160
COLOURED = 10
"""So many classes have colours of their own."""
LISTED = 6


@dataclasses.dataclass
class OccludedPlace:
    """The patch at a place, and the sweep so far."""

    occluded: OccludedImage
    unit: int
    number: int
    """The answer that is followed."""
    hand: tuple[int, int]
    sweep: Sweep | None

    def __post_init__(self) -> None:
        occluded = self.occluded
        shown, self.box = occluded.covered(*self.hand)
        parts = [occluded.ask(occluded.covered(*self.hand, draw)[0]) for draw in range(occluded.draws)]
        self.answers: Tensor = torch.stack([answered(occluded.scene, scores.cpu()) for scores, _ in parts]).mean(0)[0]
        self.scores: Tensor = torch.stack([scores.cpu() for scores, _ in parts]).mean(0)
        self.map: Tensor = torch.stack([maps[0].cpu() for _, maps in parts]).mean(0)[self.unit]
        kind = occluded.scene.kind
        assert not isinstance(kind, dict)
        self.pixels = np.asarray(kind.decode(nesting.first(shown))[0])
        self.before: Tensor = answered(occluded.scene, occluded.scores)[0]

    @property
    def name(self) -> str:
        """The answer that is followed, in words."""
        classes = self.occluded.scene.classes
        if self.number < len(classes):
            return classes[self.number]
        return f"output {self.number}" if len(self.before) > 1 else "the answer"

    @property
    def chance(self) -> bool:
        """The answers are probabilities."""
        return self.occluded.scene.task in ("classification", "multi_label")


def body(place: OccludedPlace) -> Node:
    """The patch by hand above, the sweep below."""
    rows: list[Node] = [Group(children=_by_hand(place), direction="row")]
    if place.sweep is not None and bool(place.sweep.done.any()):
        rows.append(Group(children=_swept(place, place.sweep), direction="row"))
    return Group(children=tuple(rows)) if len(rows) > 1 else rows[0]


def _by_hand(place: OccludedPlace) -> tuple[Node, ...]:
    top, left, high, wide = place.box
    grey = inputs.grey(place.pixels) if place.pixels.ndim == 2 else None
    picture = Image(
        pixels=place.pixels, limits=grey, boxes=(Box(x=left, y=top, width=wide, height=high),), size=SIDE,
        handle=Handle(knob="at", kind="point", value=f"{place.hand[0]},{place.hand[1]}"), title="The patch in place",
        key=place.occluded.current.key,
    )
    return (picture, _bars(place), *_maps(place))


def _bars(place: OccludedPlace) -> Node:
    """The answer with the patch as bars, without it as ticks."""
    scene = place.occluded.scene
    title = "Answer with the patch (tick: without)"
    if not place.chance:
        bars = answers.bars(scene, place.scores, place.before.numpy())
        return msgspec.structs.replace(bars, title=title)
    after, before = place.answers, place.before
    order = _likeliest(torch.maximum(after, before), place.number)
    strong = int((after[order].nan_to_num(0)).argmax())
    return Bars(
        values=after[order].numpy(), reference=before[order].numpy(), labels=tuple(scene.classes[k] for k in order),
        keys=tuple(number_key("class", k) for k in order), colours=tuple(order), unit="probability", title=title,
        limits=magnitude(after.numpy(), 0, 1, "probability"), strong=strong,
    )


def _likeliest(chances: Tensor, kept: int) -> list[int]:
    count = len(chances)
    if count <= COLOURED:
        return list(range(count))
    order = [int(k) for k in chances.nan_to_num(0).argsort(descending=True, stable=True)[:LISTED]]
    return order if kept in order else [*order[:-1], kept]


def _maps(place: OccludedPlace) -> tuple[Node, ...]:
    """The followed unit's map without and with the patch, on one scale."""
    occluded, unit = place.occluded, place.unit
    name, layer = f"Unit {unit} of {spoken(occluded.layer.name)}", occluded.layer
    plain = occluded.maps[unit].float()
    key = unit_key(layer.name, unit)
    if plain.ndim != 2:
        before, after = float(plain.sum()), float(place.map.sum())
        return (Number(label=f"{name} with the patch", value=after, note=f"{before:.3g} without", key=key),)
    both = np.stack([plain.numpy(), place.map.float().numpy()])
    limits = layer.limits(both)
    sums = both.reshape(2, -1).sum(1)
    return tuple(
        Image(
            pixels=values, limits=limits, title=f"{name} {word}", label=f"sum {total:.3g}", place_key=key, size=110,
        )
        for values, word, total in zip(both, ("without", "with"), sums, strict=True)
    )


# The sweep.


def _swept(place: OccludedPlace, sweep: Sweep) -> tuple[Node, ...]:
    found: list[Node] = [_activation(place, sweep), _followed(place, sweep)]
    if place.occluded.scene.task == "classification":
        found += _labels(place, sweep)
    return tuple(found)


def _activation(place: OccludedPlace, sweep: Sweep) -> Node:
    values = sweep.at_places(sweep.sums)
    plain = float(place.occluded.maps[place.unit].sum())
    low = float(np.nanmin(values))
    limits = magnitude(values, low) if low >= 0 else symmetric(values)
    return Image(
        pixels=values, limits=limits, title=f"Sum of unit {place.unit}'s map", size=SIDE,
        label=f"{plain:.3g} without a patch", boxes=_box(place),
    )


def _followed(place: OccludedPlace, sweep: Sweep) -> Node:
    values = sweep.at_places(sweep.answers[:, place.number])
    plain = float(place.before[place.number])
    limits = magnitude(values, 0, 1, unit="probability") if place.chance else symmetric(values)
    title = f"Probability of {place.name}" if place.chance else place.name.capitalize()
    return Image(
        pixels=values, limits=limits, title=title, size=SIDE, label=f"{plain:.3g} without a patch", boxes=_box(place)
    )


def _labels(place: OccludedPlace, sweep: Sweep) -> list[Node]:
    """The likeliest class at each place in the classes' colours, and how often each is."""
    scene = place.occluded.scene
    likeliest = sweep.answers.nan_to_num(-1).argmax(1).float()
    likeliest[torch.isnan(sweep.answers).any(1)] = torch.nan
    values = sweep.at_places(likeliest)
    fine = np.isfinite(values)
    counted = np.bincount(values[fine].astype(int), minlength=sweep.answers.shape[1])
    order = [int(k) for k in np.argsort(-counted, kind="stable")[:LISTED] if counted[k]]
    meant = np.where(np.isfinite(values), np.nan_to_num(values), -1).astype(np.int32)
    picture = Image(
        pixels=_coloured(values), title="Likeliest class", size=SIDE, label=_said(place, order), boxes=_box(place), meant=meant,
        names=tuple(scene.classes),
    )
    shares = counted[order] / max(1, int(fine.sum()))
    legend = Bars(
        values=shares, labels=tuple(scene.classes[k] for k in order), colours=tuple(order), unit="share",
        keys=tuple(number_key("class", k) for k in order), limits=magnitude(shares, 0, 1), title="Share of the places",
    )
    return [picture, legend] if len(order) > 1 else [picture]


def _coloured(values: Floats) -> NDArray[np.uint8]:
    """Classes as their colours; what was not visited is grey."""
    table = np.array([[round(255 * part) for part in rgb(class_colour(k))] for k in range(len(CLASSES))] + [[128] * 3], np.uint8)
    index = np.where(np.isfinite(values), np.nan_to_num(values).astype(int) % len(CLASSES), len(CLASSES))
    found: NDArray[np.uint8] = table[index]
    return found


def _said(place: OccludedPlace, order: list[int]) -> str:
    names = [place.occluded.scene.classes[k] for k in order]
    return f"{names[0]} everywhere" if len(names) == 1 else ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _box(place: OccludedPlace) -> tuple[Box, ...]:
    top, left, high, wide = place.box
    return (Box(x=left, y=top, width=wide, height=high),)



_FILLED = {
    "mean": "the image's mean colour", "constant": "one colour", "blur": "the blurred image",
    "random": "pixels drawn at random from the image",
}


def caption(place: OccludedPlace) -> str:
    """What is seen, how it was made, and how far to believe it."""
    occluded = place.occluded
    side = occluded.patch.size
    before, after = (float(one[place.number]) for one in (place.before, place.answers))
    if not np.isfinite(before):
        return f"The network answers {occluded.current.label} with {answers.NOTHING}. So what the answer hangs on cannot be told by covering parts."
    what = f"the probability of {place.name}" if place.chance else place.name
    said = (
        f"A patch ({side} × {side} pixels of {_FILLED[occluded.patch.fill]}) lies over {occluded.current.label}: where it "
        f"stands, {what} goes from {before:.3g} to {after:.3g}. "
    )
    if occluded.draws > 1:
        said += f"Numbers are means of {occluded.draws} draws. "
    sweep = place.sweep
    if sweep is not None and sweep.done.any():
        grid = sweep.grid
        done = "" if sweep.whole else f"So far {int(sweep.done.sum())} of {grid.count} places. "
        said += (
            f"Below, each pixel tells what the network says when the patch is about it, in steps of {grid.stride[1]}: dark "
            f"places are those that unit {place.unit} of {spoken(occluded.layer.name)} and the answer hang on. {done}"
        )
    return said.rstrip()


def checks(place: OccludedPlace) -> tuple[Check, ...]:
    """How the answer holds out over all places."""
    sweep = place.sweep
    if sweep is None or not sweep.whole or place.occluded.scene.task != "classification" or not place.before.isfinite().all():
        return ()
    own = int(place.before.argmax())
    held = float((sweep.answers.argmax(1) == own).float().mean())
    return (
        Check(
            name="answer holds", value=100 * held, unit="%",
            sentence="The share of the patch's places at which the network answers as it does without it.",
        ),
    )
