"""What every unit of every layer makes of one input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.colour import Limits
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Heatmap, Node, Tiles
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...scene import Scene
from .. import inputs, scales
from ..units import ShownLayer, look, main_layers, maps, off, responses, shown, strength
from ..view import View


class ActivationsView(View):
    """Every unit's response to one input: a map where the layer keeps places, a cell where it does not.

    *Meaning* bright is a strong response; where a layer has no ReLU behind it, blue is positive and orange negative.
    A unit is *off* when it is nowhere above zero for this input, *dead* when it is off for the whole probe set; those
    without a ReLU, which are never off, are counted where they answer all examples alike.
    *Shapes* one mark a layer: maps, or units as a row of cells, or units by steps for a sequence.
    *Cost* one forward pass of one example; the dead units come in a second picture, after one pass over the probe set.
    *Source* Karpathy 2014; Yosinski et al. 2015.
    """

    title = "Activations"
    question = "What does each unit make of this input?"
    family = "features"
    papers = ("Karpathy 2014, ConvNetJS", "Yosinski et al. 2015, arXiv:1506.06579")
    rows = ("A1", "A2", "C1")
    follows = ("example", "layer")
    input = True

    layer: str | None = knob(None, "One layer instead of all of them.", kind="layer", main=True)
    sort: str = knob("strongest", "Order of the units.", choices=("strongest", "index"), main=True)
    limit: int = knob(24, "Units shown of each layer when all layers are shown.", low=1, high=512)
    scale: str = knob(
        "training", "Range of a layer's colours: the same over the whole training, or this input's own.",
        choices=("training", "input"),
    )
    slice: int | None = knob(
        None, "Of volumes, the slice that is shown along their depth; the mean over all when left out.", kind="integer", low=0
    )
    mode: str = knob(
        "eval", "How the model is run: with eval, dropout and batch norm behave as in use.", choices=("eval", "train")
    )

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First what this input does; then, where it is not known yet, which units are dead."""
        layers = [shown(scene, scene.layers[self.layer])] if self.layer else main_layers(scene)
        if not layers:
            raise NotApplicable("no layer of this network answers once for each example, so there is nothing to show; see the view structure")
        current = scene.current(selection)
        mode = "train" if self.mode == "train" else "eval"
        found = {name: values[0] for name, values in look(scene, layers, current.x, mode).items()}  # type: ignore[arg-type]
        known = scene.knows([one.source.name for one in layers])
        yield self._drawn(scene, selection, layers, found, current.label, dead=known)
        if not known:
            yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}, to find dead units")
            yield self._drawn(scene, selection, layers, found, current.label, dead=True)

    def _drawn(
        self,
        scene: Scene,
        selection: Selection,
        layers: Sequence[ShownLayer],
        found: dict[str, Tensor],
        label: str,
        dead: bool,
    ) -> Picture:
        behind = responses(scene, layers) if dead else {}
        # What has no ReLU is never off: units of it that say the same to all examples are no dead ones.
        never = {one.name: behind[one.name].dead(True) for one in layers if one.rectified} if dead else {}
        alike = sum(int(behind[one.name].dead(False).sum()) for one in layers if not one.rectified) if dead else 0
        marks = [self._mark(scene, one, found[one.name], never.get(one.name)) for one in layers]
        count = sum(int(units.sum()) for units in never.values())
        caption = _words(marks)
        broken = sum(int((~values.isfinite()).reshape(len(values), -1).any(1).sum()) for values in (found[one.name] for one in layers))
        if any(one.rectified for one in layers):
            caption += " Faded ones are off for this input" if any(one.layer.spatial for one in layers) else ""
            if dead and not broken:
                marked = DEAD if any(isinstance(mark, Heatmap) and any(DEAD in name for name in _named(mark)) for mark in marks) else ""
                caption += f"; {count or 'no'} unit{'s' * (count != 1)} of the ReLU layers{f' ({marked})' if marked else ''} "
                caption += f"{'is' if count == 1 else 'are'} dead (off for all {counted(len(scene.live), 'examples')})"
            caption += "."
        if broken:
            caption += f" {counted(broken, 'units')} answer{'s' * (broken == 1)} with what is no number, so which units are dead is not told."
        if alike:
            caption += f" {counted(alike, 'units')} of {'the other' if any(one.rectified for one in layers) else 'these'} layers "
            caption += f"answer{'s' * (alike == 1)} the same to all {counted(len(scene.live), 'examples')}."
        caption = caption.replace(".;", ";")
        body = marks[0] if len(marks) == 1 else Group(children=tuple(marks))
        return self.picture(scene, selection, f"Activations of {label}", body, caption, hint="Click one to see what it looks for.", final=dead,
            mode=self.mode,
        )

    def _mark(self, scene: Scene, one: ShownLayer, values: Tensor, never: Tensor | None) -> Node:
        strong = strength(values)
        order = strong.argsort(descending=True, stable=True) if self.sort == "strongest" else torch.arange(len(values))
        total = len(order)
        order = order[: self.limit if self.layer is None else max(self.limit, 512)]
        chosen = values[order]
        limit = scales.activation(scene, one) if self.scale == "training" else None
        caption = ", ".join(
            filter(None, [_size(one), one.words, one.sliced(self.slice), f"{len(order)} of {total} shown" if len(order) < total else ""])
        )
        keys = tuple(unit_key(one.name, int(unit)) for unit in order)
        limits = one.limits(chosen.numpy(), limit)
        if one.layer.spatial:
            return self._tiles(one, chosen, order, limits, keys, caption, never)
        names = self._names(scene, one, order, never)
        if chosen.ndim == 1:
            return Heatmap(
                values=chosen.numpy()[None], limits=limits, column_labels=names, column_keys=keys, title=spoken(one.name),
                caption=caption, size=18,
            )
        series = chosen.reshape(len(chosen), -1).numpy()
        return Heatmap(
            values=series, limits=limits, row_labels=names, row_keys=keys, row_title="unit",
            column_title=inputs.along(next(iter(scene.kinds.values()), None)),
            title=spoken(one.name), caption=caption, size=6,
        )

    def _tiles(
        self, one: ShownLayer, chosen: Tensor, order: Tensor, limits: Limits, keys: tuple[str, ...], caption: str,
        never: Tensor | None,
    ) -> Tiles:
        quiet = off(chosen) if one.rectified else strength(chosen) == 0
        dead = never[order] if never is not None else torch.zeros(len(order), dtype=torch.bool)
        return Tiles(
            images=maps(chosen, 128 if self.layer else 48, self.slice), limits=limits, keys=keys,
            labels=tuple(str(int(unit)) for unit in order),
            faded=(quiet | dead).numpy(), badges=tuple("dead" if gone else "" for gone in dead) if dead.any() else (),
            title=spoken(one.name), caption=caption, size=64 if self.layer else 44,
        )

    def _names(self, scene: Scene, one: ShownLayer, order: Tensor, never: Tensor | None) -> tuple[str, ...]:
        last = one.layer.units == len(scene.classes) and one.layer.order == max(
            layer.order for layer in scene.layers.leaves
        )
        names = scene.classes if last else [str(unit) for unit in range(one.layer.units)]
        dead = set(np.flatnonzero(never.numpy()).tolist()) if never is not None else set()
        return tuple(names[int(unit)] + (DEAD if int(unit) in dead else "") for unit in order)


DEAD = "†"
"""Stands behind the name of a dead unit: words there would leave no room for the names beside it."""


def _named(mark: Heatmap) -> tuple[str, ...]:
    return (*(mark.row_labels or ()), *(mark.column_labels or ()))


def _size(one: ShownLayer) -> str:
    return " × ".join(map(str, one.layer.shape))


def _words(marks: Sequence[Node]) -> str:
    """What one element of the picture is, for the kinds of marks that are in it."""
    said = []
    if any(isinstance(mark, Tiles) for mark in marks):
        said.append("Each square is one unit's map: bright where it responds.")
    if any(isinstance(mark, Heatmap) and len(mark.values) == 1 for mark in marks):
        said.append("Each cell is one unit.")
    if any(isinstance(mark, Heatmap) and len(mark.values) > 1 for mark in marks):
        said.append("Each row is one unit, read from left to right as the input is.")
    if any(isinstance(mark, Tiles | Heatmap) and mark.limits and mark.limits.scale == "diverging" for mark in marks):
        said.append("Where no ReLU follows, blue is positive and orange negative.")
    return " ".join(said)
