"""The picture of a morph: everything that was gathered along its ways, as marks."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ....core import marks
from ....core.colour import magnitude, symmetric
from ....core.marks import Bars, Column, Event, Group, Handle, Heatmap, Image, Lines, Node, Series, Table, Text
from ....core.numerals import percent
from ....core.picture import Check
from ....core.selection import spoken, unit_key
from ....data.kinds import Image as ImageKind
from ....methods.attribution_picture import by_place, picture
from ....methods.perturbation.morph import LayerWay
from ....methods.perturbation.morph_plane import DrawnWay
from ....scene.input import CurrentInput, asked, decoded
from ... import answers, inputs
from . import measured_way
from .measured_way import MeasuredWay
from .stops import CLASSED, MorphResults, Stops

MANY = 12
"""Of more classes only those that are answered somewhere have a colour on the plane."""


def body(drawing: MorphResults, at: float, show: str) -> Node:
    """All that was found, ways side by side; the first one stands where it will stand beside the second, which may still come."""
    rows: list[Node] = []
    if show in ("all", "answer"):
        rows += _here(drawing, at)
    if show in ("all", "answer", "units", "depth", "maps"):
        rows.append(_row([_curve(drawing, told, at, first=k == 0) for k, told in enumerate(drawing.told)], drawing.more))
    if show in ("all", "answer"):
        rows += _rows([_strip(drawing, told) for told in drawing.told], drawing.more)
    if show in ("all", "maps"):
        rows += _rows([_maps(drawing, told) for told in drawing.told], drawing.more)
    if show in ("all", "depth"):
        rows += _rows([_depth(drawing, told) for told in drawing.told], drawing.more)
    if show in ("all", "units"):
        rows += _rows([_units(drawing, told) for told in drawing.told], drawing.more)
        rows += _rows([_along(drawing, told) for told in drawing.told], drawing.more)
        rows += _rows([_active(told, at) for told in drawing.told], drawing.more)
    if show in ("all", "plane") and drawing.field is not None:
        rows.append(_field(drawing))
    return Group(children=tuple(rows))


def _row(made: list[Node], more: bool) -> Node:
    return made[0] if len(made) == 1 and not more else Group(children=tuple(made), direction="row")


def _rows(made: list[Node | None], more: bool) -> list[Node]:
    there = [mark for mark in made if mark is not None]
    return [_row(there, more)] if there else []


def _here(drawing: MorphResults, at: float) -> list[Node]:
    stops, made = drawing.stops, list[Node]()
    for one, found, word in ((stops.start, stops.found[0], "start"), (stops.end, stops.found[1], "end")):
        mark = inputs.drawn(drawing.scene, one)
        made.append(msgspec.structs.replace(mark, title=f"{word}: {one.label}", caption=stops.said(found)))
    for told, place in zip(drawing.told, drawing.standing, strict=False):
        title, caption = f"{told.way.title}, at {at:.3g}", stops.said(place.found)
        if place.words:
            mark = Text(tokens=place.words, characters=all(len(word) == 1 for word in place.words))
            caption += "; the tokens nearest to the mixed embeddings"
        elif place.x is not None:
            mark = inputs.drawn(drawing.scene, CurrentInput(place.x, title, shown=decoded(drawing.scene.kind, place.x)))
            if place.gap is not None and np.isfinite(place.gap):
                caption += f"; its activations miss the mixed ones by {100 * place.gap:.0f} %"
        else:
            continue
        made.insert(-1, msgspec.structs.replace(mark, title=title, caption=caption))
    bars = [mark for mark in made if isinstance(mark, Bars)]
    if len(bars) == len(made):
        limits = symmetric(np.concatenate([mark.values for mark in bars]))
        return [Group(children=tuple(msgspec.structs.replace(mark, limits=limits) for mark in bars), direction="grid")]
    return [Group(children=tuple(made), direction="column" if isinstance(made[0], Text) else "row")]


def _curve(drawing: MorphResults, told: MeasuredWay, at: float, *, first: bool) -> Node:
    stops = drawing.stops
    shown = list(dict.fromkeys([*stops.pair, *drawing.others]))
    plain = stops.scene.task in CLASSED
    series = tuple(
        Series(
            name=stops.name(k), x=np.array(told.places), y=told.answers[:, k].copy(), key=stops.key(k),
            colour=k if plain else number,
        )
        for number, k in enumerate(shown)
    )
    if told.changed is not None:
        series += (Series(name="another class than at the start", x=np.array(told.places), y=told.changed.copy(), colour=told.answers.shape[1]),)
    events = tuple(
        Event(x=flip.place, kind="flip", label=f"{_decision(drawing, flip.before)} → {_decision(drawing, flip.after)}")
        for flip in told.flips
    )
    return Lines(
        series=series, x_title="place on the way", y_title=stops.unit, x_kind="number",
        x_range=(0.0, 1.0), y_range=(0.0, 1.0) if stops.unit else None, events=events, cursor=at,
        title=f"What it answers: {told.way.title}", height=150,
        handle=Handle(knob="at", kind="slide", low=0.0, high=1.0, value=f"{at:g}") if first else None,
    )


def _decision(drawing: MorphResults, row: Tensor) -> str:
    if drawing.scene.task == "multi_label":
        return ", ".join(drawing.stops.name(int(k)) for k in row.nonzero().reshape(-1)) or "none"
    if int(row[0]) < 0:
        return "nothing that is a number"
    return drawing.stops.name(int(row[0]))


def _strip(drawing: MorphResults, told: MeasuredWay) -> Node | None:
    if told.strip is None or not isinstance(drawing.scene.kind, ImageKind):
        return None
    images = inputs.thumbnails(np.asarray(drawing.scene.kind.decode(told.strip[: measured_way.STRIP])))
    assert images is not None
    places = [k / (measured_way.STRIP - 1) for k in range(measured_way.STRIP)]
    rows = np.stack([[np.interp(p, told.places, told.answers[:, k]) for k in range(told.answers.shape[1])] for p in places])
    notes = tuple(drawing.stops.said(row) for row in rows)
    return marks.Tiles(
        images=images, limits=inputs.grey(images) if images.ndim == 3 else None, columns=measured_way.STRIP,
        labels=tuple(f"{place:.3g}" for place in places), notes=notes, title=f"On the way: {told.way.title}",
    )


def _maps(drawing: MorphResults, told: MeasuredWay) -> Node | None:
    stops = drawing.stops
    low, high = told.sides(drawing.view.window)
    if told.maps is None:
        if told.embedded is None or not drawing.standing:
            return None
        words = tuple(decoded(drawing.scene.kind, stops.start.x))
        limits = symmetric(told.embedded.numpy())
        made: list[Node] = [
            Text(
                tokens=words, values=row.double().numpy(), limits=limits, title=f"slope × embedding at {place:.3g}",
                characters=all(len(word) <= 1 for word in words),
            )
            for row, place in zip(told.embedded, (low, high), strict=True)
        ]
        return Group(children=tuple(made), title=f"What speaks for {stops.target}")
    x, found = told.maps
    made = []
    kind = drawing.scene.kind
    values = [by_place(part.detach().float().cpu().numpy(), kind) for part in found.values]  # type: ignore[arg-type]
    limits = symmetric(np.stack(values)) if found.signed else magnitude(np.stack(values))
    for k, place in enumerate((low, high)):
        title = f"{'before' if k == 0 else 'behind'} the flip, {place:.3g}" if told.flips else f"at {place:.3g}"
        shown = np.asarray(decoded(kind, x[k : k + 1]))
        if isinstance(kind, ImageKind) and values[k].ndim == 2 and shown.shape[:2] == values[k].shape:
            grey = inputs.grey(shown) if shown.ndim == 2 else None
            made.append(Image(pixels=shown, limits=grey, heat=values[k], heat_limits=limits, title=title, size=150))
        else:
            mark = picture(found, k).body
            made.append(msgspec.structs.replace(mark, title=title, **({"limits": limits} if isinstance(mark, Bars) else {})))
    return Group(children=tuple(made), direction="row", title=f"What speaks for {stops.target}: {told.way.title}")


def _depth(drawing: MorphResults, told: MeasuredWay) -> Node | None:
    stops, (a, b) = drawing.stops, drawing.stops.pair
    rows, names = [], []
    if not told.depth:
        return None
    if drawing.scene.task == "classification":
        if a not in told.known or b not in told.known:
            return None
        first, last = told.known.index(a), told.known.index(b)
        for name, (read, one) in told.depth.items():
            rows.append(read[:, last] - read[:, first] if a != b else read[:, last])
            names.append(f"{spoken(name)} ({100 * one.held_out:.0f} %)")
        rows.append(told.answers[:, b] - told.answers[:, a] if a != b else told.answers[:, b])
    else:
        for name, (read, one) in told.depth.items():
            rows.append(read[:, 0])
            names.append(f"{spoken(name)} (R² {one.held_out:.2f})")
        rows.append(told.answers[:, b])
    names.append("the network's answer")
    values = np.stack(rows)
    classes = drawing.scene.task == "classification"
    limits = magnitude(values, 0.0, 1.0) if classes else magnitude(values)
    if (classes and a != b) or not bool((values >= 0).all()):
        limits = symmetric(values, 1.0 if classes else None)
    said = f"blue: {stops.name(b)}, orange: {stops.name(a)}" if classes and a != b else f"how much of {stops.name(b)}"
    return Heatmap(
        values=values, limits=limits, row_labels=tuple(names), column_labels=_ticks(told), column_title="place on the way",
        title=f"What each layer knows: {told.way.title}",
        caption=f"A linear read-out of each layer ({said}); in brackets, how it reads unseen examples.",
    )


def _ticks(told: MeasuredWay) -> tuple[str, ...]:
    """Labels for a few of the places, so that they can be read."""
    every = max(1, (len(told.places) - 1) // 8)
    return tuple(f"{p:.3g}" if k % every == 0 else "" for k, p in enumerate(told.places))


def _units(drawing: MorphResults, told: MeasuredWay) -> Node | None:
    if not told.units:
        return None
    low, high = told.sides(drawing.view.window)
    target = str(drawing.stops.target)
    columns = (
        Column(name="unit", kind="text", texts=tuple(f"{spoken(unit.layer)}/{unit.number}" for unit in told.units)),
        Column(name=f"at {low:.2f}", numbers=np.array([unit.before for unit in told.units])),
        Column(name=f"at {high:.2f}", numbers=np.array([unit.after for unit in told.units])),
        Column(name="did", numbers=np.array([unit.effect for unit in told.units]), signed=True),
        Column(name="set back alone", numbers=np.array([unit.alone for unit in told.units]), signed=True),
    )
    before, after = told.margins
    if not np.isfinite(told.margins).all():
        return None  # of what is no number nothing can be a unit's doing
    return Table(
        columns=columns, row_keys=tuple(unit_key(unit.layer, unit.number) for unit in told.units),
        flagged=np.array([(unit.alone > 0) != (after > 0) for unit in told.units]) if told.flips else None,
        title=f"Units that {'turn the answer' if told.flips else 'did most'}: {told.way.title}",
        caption=f"{target} goes from {before:.3g} to {after:.3g}; “did” is what the unit's change added to it, “set back "
        f"alone” what it would be {'behind the flip' if told.flips else 'at the end'} had this unit alone stayed as it was"
        + (" (flagged where the answer would not have flipped)." if told.flips else "."),
    )


def _along(drawing: MorphResults, told: MeasuredWay) -> Node | None:
    chosen = [unit for unit in told.units if unit.layer in told.means]
    if not chosen:
        return None
    rows = np.stack([told.means[unit.layer][:, unit.number].double().numpy() for unit in chosen])
    most = np.nan_to_num(np.abs(rows)).max(1, keepdims=True)
    values = rows / np.where(most > 0, most, 1.0)
    return Heatmap(
        values=values, limits=symmetric(values, 1.0), row_labels=tuple(f"{spoken(unit.layer)}/{unit.number}" for unit in chosen),
        row_keys=tuple(unit_key(unit.layer, unit.number) for unit in chosen),
        column_labels=_ticks(told), column_title="place on the way",
        title=f"These units along the way: {told.way.title}", caption="Each as a share of its own largest mean activation.",
    )


def _active(told: MeasuredWay, at: float) -> Node | None:
    if not told.active:
        return None
    series = tuple(
        Series(name=spoken(name), x=np.array(told.places), y=share, colour=k) for k, (name, share) in enumerate(told.active.items())
    )
    return Lines(
        series=series, x_title="place on the way", y_title="share above zero", x_kind="number", x_range=(0.0, 1.0),
        y_range=(0.0, 1.05 * max(float(np.nan_to_num(share).max()) for share in told.active.values()) or 1.0),
        cursor=at, title=f"Active units: {told.way.title}", height=120,
    )


def _field(drawing: MorphResults) -> Node:
    stops, plane = drawing.stops, drawing.plane
    assert plane is not None
    assert drawing.field is not None
    values: NDArray[Any] = drawing.field
    places, keys, classes = [(0.0, 0.0), (1.0, 0.0)], [stops.start.key, stops.end.key], list(stops.pair)
    if plane.third is not None and stops.third is not None:
        places.append(plane.third)
        keys.append(stops.third.key)
        third = answers.said(stops.scene, asked(stops.scene, stops.third.x)).partition(" (")[0]
        classes.append(next((k for k in range(values.shape[2]) if stops.name(k) == third), 0))
    names, limits = tuple(stops.name(k) for k in range(values.shape[2])), None
    told: NDArray[np.float64] | None = np.array(classes, np.float64)
    if stops.scene.task not in ("classification", "next_token"):
        values, names = values[:, :, stops.pair[1]], ()
        limits = symmetric(values) if np.nanmin(np.append(values, 0)) < 0 else magnitude(values)
        told = None
    elif len(names) > MANY:
        values, names, told = _winners(values, names, classes)
    aside = "towards the third example" if plane.third is not None else "where examples differ most"
    name = stops.name(stops.pair[1])
    what = f"the share of places that are {name}" if stops.scene.task == "segmentation" else f"what {name} is"
    shown = "the answer there, strong where it is sure" if told is not None else f"{what} there"
    caption = f"Every place of the plane is an input; its colour is {shown}."
    if any(isinstance(found.way, DrawnWay) for found in drawing.told):
        caption += " The line was drawn by hand: the way goes from the start to it, along it, and on to the end."
    return marks.Field(
        values=values, extent=drawing.extent, limits=limits, classes=names, points=np.array(places), point_values=told,
        point_keys=tuple(keys), x_title="from start (0) to end (1)", y_title=f"aside, {aside}", size=420,
        title="The plane of ways", caption=caption + " Draw a way over it from start to end.",
        handle=Handle(knob="path", kind="path", value=drawing.view.path),
    )


def _winners(
    values: NDArray[Any], names: tuple[str, ...], classes: list[int]
) -> tuple[NDArray[Any], tuple[str, ...], NDArray[np.float64]]:
    """Of many classes the ones that are answered somewhere, and all others as one."""
    won = np.bincount(np.nan_to_num(values).argmax(-1).reshape(-1), minlength=values.shape[2])
    kept = list(dict.fromkeys([*classes, *(int(k) for k in np.argsort(-won, kind="stable")[:8] if won[k])]))
    rest = 1 - values[:, :, kept].sum(-1, keepdims=True)
    found = np.concatenate([values[:, :, kept], np.clip(rest, 0, 1)], -1)
    return found, (*(names[k] for k in kept), "others"), np.array([kept.index(k) for k in classes], np.float64)


def caption(drawing: MorphResults) -> str:
    """What is seen, in sentences."""
    stops = drawing.stops
    said = f"The way from {stops.start.label} to {stops.end.label}, place by place. "
    for told in drawing.told:
        said += f"On the {told.way.title} "
        if not np.isfinite(told.answers).any():
            said += "its answers are not numbers. "
        elif told.flip is None:
            said += _goes(stops, told)
        else:
            first = told.flips[0]
            said += f"the answer flips at {first.place:.3f}, from {_decision(drawing, first.before)} to "
            said += _decision(drawing, first.after)
            said += f", and {len(told.flips) - 1} more times. " if len(told.flips) > 1 else ". "
    if any(isinstance(told.way, LayerWay) for told in drawing.told):
        said += "Through a layer's space only activations are mixed"
        there = any(told.strip_gaps is not None for told in drawing.told)
        said += "; its pictures are inputs that a search found for them. " if there else ", so there are no inputs on it. "
    return said.rstrip()


def _goes(stops: Stops, told: MeasuredWay) -> str:
    """How the answer goes along a way on which it does not flip."""
    first, last = told.answers[[0, -1], stops.pair[1]]
    if told.changed is not None:
        return f"{percent(told.changed[-1])} of the places come to another class, and {stops.name(stops.pair[1])} goes from {percent(first)} to " \
            f"{percent(last)} of them. "
    return "the answer never flips. " if stops.unit else f"{stops.name(stops.pair[1])} goes from {first:.3g} to {last:.3g}. "


def checks(drawing: MorphResults) -> tuple[Check, ...]:
    """How far to believe it."""
    found = []
    for told in drawing.told:
        if told.accounted is not None:
            layer, share = told.accounted
            found.append(Check(
                name=f"accounted for, {told.way.title}", value=share, good=True if abs(share - 1) < 0.1 else None,
                sentence=f"The share of the target's change {'across the flip' if told.flips else 'from start to end'} that the units of "
                f"{spoken(layer)} sum to; 1 is all of it, another number says that part of the answer goes round them.",
            ))
        if told.strip_gaps is not None:
            worst = float(told.strip_gaps.max())
            found.append(Check(
                name=f"activations missed, {told.way.title}", value=worst, good=worst < 0.1,
                sentence="The farthest that the activations of a found picture are from the mixed ones, as a share of "
                "the distance between start and end.",
            ))
    reads = [read for told in drawing.told[:1] for _, read in told.depth.values()]
    if reads:
        worst_read = min(reads, key=lambda read: read.held_out)
        found.append(Check(
            name="poorest read-out", value=worst_read.held_out,
            sentence=f"The share of {worst_read.measured} examples that it was not fitted on; {worst_read.chance:.2f} without "
            "looking." if worst_read.classes else f"R² on {worst_read.measured} examples that it was not fitted on.",
        ))
    return tuple(check for check in found if np.isfinite(check.value))
