"""The current input as a layer holds it: a grid of the pictures that its places ask for, and few groups of units."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Image, Node, Tiles
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, spoken, unit_key
from ...derive.derivations.parts import decomposed, unmapped
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.sets import named
from .. import crops, inputs
from ..samples import looked_at, noted
from ..units import ShownLayer, main_layers, shown, telling_layers
from ..view import View
from ._direction_pictures import Pictures, formed, from_examples

CELL = 40
"""Pixels of the largest picture of a place."""
PAPER = 236
FOR, AGAINST = (58, 124, 190), (214, 120, 40)
"""Behind the pictures of places that speak for the answer, and against it."""
LAYERS = 6


@dataclasses.dataclass(frozen=True)
class _HeldExamples:
    """One layer with what it holds of the input, on a grid that is no finer than can be shown."""

    one: ShownLayer
    value: dict[str, Any]
    grid: np.ndarray
    """(units, rows, columns): mean answers."""
    attribution: np.ndarray
    """(rows, columns): what each place adds to the answer; empty where that is unknown."""

    @property
    def name(self) -> str:
        """As keys name it."""
        return self.one.name


class PartsView(View):
    """The input as a layer holds it: at each place the picture that its units ask for, and the same in few groups of units.

    *Meaning* at each place of the layer's map, the units answer in some proportion; what is shown there is a picture that drives
    them in the same proportion: the part of another example, or one that forms from noise. Its size is how strongly the place answers,
    or how much it adds to the answer: then blue lies behind what speaks for it and orange behind what speaks against it. Groups
    are few sets of units that are on together, found so that their sum is the whole; the same for layers before and behind.
    *Units* attributions those of the score.
    *Error* the cosine says how nearly a picture drives the units in the place's own proportion, beside that of any place or of
    noise; all attributions sum to the score less the score of a layer that says nothing.
    *Cost* 32 passes forward and back a layer, one pass an example; made pictures a pass forward and back a step.
    *Source* Olah et al. 2018, The Building Blocks of Interpretability; Carter et al. 2019, Activation Atlas.
    """

    title = "The picture in parts"
    question = "What does a layer see at each place of this picture?"
    family = "features"
    papers = ("Olah et al. 2018, The Building Blocks of Interpretability",)
    rows = ("E2",)
    follows = ("layer", "class", "example")
    input = True

    layer: str | None = knob(
        None, "The layer; by itself the chosen one, else the last one with a map of several places.", kind="layer", main=True,
    )
    sized: str = knob("activation", "Pictures are as large as a place is strong, or as it adds to the answer.",
                      choices=("activation", "attribution"), main=True)
    made: str = knob("examples", "Pictures are parts of examples, or form from noise.", choices=("examples", "synthesis"), main=True)
    groups: int = knob(4, "So many groups of units at most.", low=1, high=12, main=True)
    layers: int = knob(3, "Groups of so many layers, the chosen one among them.", low=1, high=LAYERS)
    places: int = knob(8, "So many places a side at most: of finer maps, neighbours count together.", low=2, high=16)
    steps: int = knob(64, "Steps in which pictures form.", low=1, high=1000)
    seed: int = knob(0, "What the noise is drawn from.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Pictures, and a layer with maps."""
        reason = crops.only_pictures(scene, "it takes pictures into parts", "activations")
        if reason is not None:
            return reason
        if _mapped(scene):
            return None
        return "it wants a layer that answers with flat maps, such as a convolution, and the network has none; use the view activations"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The grid, then the groups layer by layer."""
        current = scene.current(selection)
        key = selection.one("class")
        answer = key.number if key is not None and scene.task in ("classification", "multi_label") else None
        chosen = self._chosen(scene, selection)
        marks: list[Node] = []
        held = grid = None
        for held in self._held(scene, current, chosen, answer):
            if grid is None:
                whole = np.ascontiguousarray(held.grid.reshape(len(held.grid), -1).T)
                for found in self._asked_for(scene, selection, chosen, whole, current):
                    if isinstance(found, Progress):
                        yield found
                    else:
                        grid = found
                assert grid is not None
                marks.append(self._grid(scene, current, held, grid))
                yield self._picture(scene, selection, current, held, grid, marks, final=False)
        assert held is not None
        assert grid is not None
        told = sorted([chosen, *self._beside(scene, chosen)], key=lambda one: one.layer.order)
        for number, one in enumerate(told):
            yield Progress(done=number, total=len(told), note="finding groups of units that are on together")
            *_, part = (held,) if one.name == held.name else self._held(scene, current, one, answer)
            if len(part.value["groups"]):
                *_, found = from_examples(scene, part.one, part.value["groups"], current)
                assert isinstance(found, Pictures)
                marks.append(self._groups(current, part, found))
        yield self._picture(scene, selection, current, held, grid, marks, final=True)

    def _chosen(self, scene: Scene, selection: Selection) -> ShownLayer:
        name = self.layer or next((key.name for key in reversed(selection.a) if key.kind == "layer" and scene.layers.has(key.name)), None)
        if name is not None and (self.layer or unmapped(scene, scene.layers[name]) is None):
            if (reason := unmapped(scene, scene.layers[name])) is not None:
                raise NotApplicable(reason)
            return shown(scene, scene.layers[name])
        mapped = _mapped(scene, telling_layers(scene)) or _mapped(scene)
        return next((one for one in reversed(mapped) if _places(one) > 1), mapped[-1])

    def _beside(self, scene: Scene, chosen: ShownLayer) -> list[ShownLayer]:
        """Other layers, spread over the network."""
        others = [one for one in _mapped(scene) if one.name != chosen.name]
        count = min(self.layers - 1, len(others))
        return [others[k] for k in sorted({round(k) for k in np.linspace(0, len(others) - 1, count)})] if count > 0 else []

    def _held(self, scene: Scene, current: CurrentInput, one: ShownLayer, answer: int | None) -> Iterator[_HeldExamples]:
        if current.index is None:
            stages = decomposed(scene, current.x, one.name, answer, self.groups)
        else:
            stages = scene.derive("parts", layer=one.name, example=current.index, answer=answer, groups=self.groups).stream()
        for stage in stages:
            if stage.value is None:  # another process works on it
                continue
            values, attribution = stage.value["values"], stage.value["attribution"]
            grid = _binned(values, self.places, mean=True)
            flat = _binned(attribution.sum(0)[None], self.places, mean=False)[0] if attribution.size else np.zeros((0, 0))
            yield _HeldExamples(one, stage.value, np.nan_to_num(grid, nan=0.0, posinf=0.0, neginf=0.0), flat)

    def _asked_for(
        self, scene: Scene, selection: Selection, one: ShownLayer, ways: np.ndarray, current: CurrentInput
    ) -> Iterator[Progress | Pictures]:
        if self.made == "examples":
            yield from from_examples(scene, one, ways, current)
        else:
            yield from formed(scene, selection, one, ways, self.steps, self.seed)

    def _grid(self, scene: Scene, current: CurrentInput, held: _HeldExamples, grid: Pictures) -> Group:
        """The input, and beside it one picture a place."""
        rows, columns = held.grid.shape[1:]
        by = held.attribution if self._attributed(held) else np.linalg.norm(held.grid, axis=0)
        top = float(np.abs(np.nan_to_num(by)).max()) or 1.0
        canvas = np.full((rows * CELL, columns * CELL, 3), PAPER, np.uint8)
        pixels = _coloured(grid.pixels)
        for place in range(rows * columns):
            share = float(np.nan_to_num(by.flat[place])) / top
            row, column = divmod(place, columns)
            cell = canvas[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
            if self._attributed(held) and abs(share) > 1 / CELL:
                cell[1:-1, 1:-1] = np.asarray(FOR if share > 0 else AGAINST, np.float64) * 0.5 + PAPER * 0.5
            # The area is in proportion: a place that is four times as strong has twice the side.
            side = round((CELL - 4) * abs(share) ** 0.5)
            if side >= 2:
                start = (CELL - side) // 2
                cell[start : start + side, start : start + side] = _resized(pixels[place], side)
        keys = tuple(
            unit_key(held.name, int(held.grid[:, r, c].argmax())) for r in range(rows) for c in range(columns)
        )
        title = f"{spoken(held.name)}, sized by {'what each place adds' if self._attributed(held) else 'strength'}"
        mosaic = Image(
            pixels=canvas, title=title, patches=(rows, columns), patch_keys=keys, size=max(240, min(460, columns * CELL)),
        )
        return Group(children=(inputs.drawn(scene, current, 150), mosaic), direction="row")

    def _groups(self, current: CurrentInput, part: _HeldExamples, found: Pictures) -> Tiles:
        """Of each group where it lies on the input, and the picture that its units ask for."""
        value = part.value
        share = value["weights"].sum((1, 2)) * value["groups"].sum(1)
        share = share / max(float(np.maximum(value["values"], 0).sum()), 1e-12)
        most = float(value["weights"].max(initial=0)) or 1.0
        base = _coloured(np.asarray(_image(current))[None])[0]
        tiles = []
        for weights, picture in zip(value["weights"], _coloured(found.pixels), strict=True):
            heat = _resized((weights / most * 255)[..., None].repeat(3, 2), 96) / 255
            seen = _resized(base, 96) * (0.15 + 0.85 * heat)
            gap = np.full((96, 4, 3), PAPER)
            tiles.append(np.concatenate([seen, gap, _resized(picture, 96)], 1).round().astype(np.uint8))
        added = value["added"] if value["attribution"].size else None
        notes = tuple(
            f"{100 * share[k]:.0f} %" + (f", adds {added[k]:+.2g}" if added is not None else "") for k in range(len(tiles))
        )
        return Tiles(
            images=np.stack(tiles), labels=tuple(f"mostly unit {int(way.argmax())}" for way in value["groups"]), notes=notes,
            keys=tuple(unit_key(part.name, int(way.argmax())) for way in value["groups"]), size=156, columns=2,
            title=f"Groups of {spoken(part.name)}",
            caption="Where a group lies, and what its units ask for.",
        )

    def _attributed(self, held: _HeldExamples) -> bool:
        return self.sized == "attribution" and held.attribution.size > 0

    def _picture(
        self, scene: Scene, selection: Selection, current: CurrentInput, held: _HeldExamples, grid: Pictures, marks: list[Node], *, final: bool
    ) -> Picture:
        value = held.value
        rows, columns = held.grid.shape[1:]
        there = np.linalg.norm(held.grid, axis=0).reshape(-1) > 0
        cosine, strength = (float(np.median(each[there])) if there.any() else 0.0 for each in (grid.cosine, grid.strength))
        caption = (
            f"{current.label.capitalize()} at the {rows} × {columns} places of {spoken(held.name)}{' ' + held.one.words if held.one.words else ''}: "
            + (f"at each, {grid.said} (cosine {cosine:.2f} in the middle, {strength:.2g} times as strong)." if there.any()
               else "its units answer nowhere with numbers above nothing, so no part of an example stands for a place.")
        )
        checks = [Check(
            name="cosine", value=cosine, good=cosine > grid.chance + 0.5 * (1 - grid.chance),
            sentence="Between what the units answer at a place and what they answer to its picture, in the middle of all places; "
            f"{grid.chance:.2f} for {'any place of any example' if self.made == 'examples' else 'the noise they were made from'}.",
        )]
        note = []
        shape = value["values"].shape[1:]
        if shape != (rows, columns):
            note.append(f"Of {shape[0]} × {shape[1]} places neighbours are counted together.")
        if value["attribution"].size:
            total, wanted = float(value["attribution"].sum()), value["score"] - value["without"]
            size = max(abs(wanted), float(np.abs(value["attribution"].sum(0)).max(initial=0)), 1e-12)
            gap = abs(total - wanted) / size
            what = named(scene, value["answer"]) if scene.task != "regression" else f"output {value['answer']}"
            added = f"add {total:+.3g} to “{what}”" if np.isfinite(total) else f"add no number to “{what}”, which is none"
            caption += f" All places together {added}."
            if np.isfinite(gap):
                checks.append(Check(
                    name="sum of attribution", value=gap, good=gap < 0.05,
                    sentence="How far the sum over all places is from the score less the score of a layer that says nothing, as a share of it "
                    "(or of the largest place, where that is more).",
                ))
        elif self.sized == "attribution":
            note.append("The network has no score that places add to, so pictures are sized by strength.")
        if value["groups"].size:
            checks.append(Check(
                name="left over", value=value["left"], good=value["left"] < 0.5,
                sentence=f"The share of the length of the positive answers that the {len(value['groups'])} groups of {held.name} do not hold.",
            ))
        return self.picture(
            scene, selection, f"{current.label.capitalize()} as {spoken(held.name)} holds it", Group(children=tuple(marks), direction="row"), caption,
            checks=tuple(checks), note=noted(*note, looked_at(scene) if self.made == "examples" else ""), final=final,
        )


def _mapped(scene: Scene, among: list[ShownLayer] | None = None) -> list[ShownLayer]:
    """The main layers with flat maps, or those of some layers."""
    return [one for one in (main_layers(scene) if among is None else among) if unmapped(scene, one.layer) is None]


def _places(one: ShownLayer) -> int:
    return int(np.prod(one.layer.shape)) // max(one.layer.units, 1)


def _binned(values: np.ndarray, most: int, *, mean: bool) -> np.ndarray:
    """Maps (units, rows, columns) of at most so many places a side: the means or the sums of neighbours, each counted once."""
    for axis in (1, 2):
        side = values.shape[axis]
        if side > most:
            starts = np.unique(np.arange(most) * side // most)
            sums = np.add.reduceat(values, starts, axis)
            counts = np.diff(np.r_[starts, side]).reshape([-1 if k == axis else 1 for k in range(3)])
            values = sums / counts if mean else sums
    return values


def _image(current: CurrentInput) -> Any:
    shown_ = current.shown
    if isinstance(shown_, dict):
        return next(part for part in shown_.values() if np.ndim(part) in (2, 3))
    return shown_


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Pictures (n, height, width[, 3]) as coloured bytes."""
    plain = pixels if pixels.dtype == np.uint8 else np.clip(np.nan_to_num(pixels), 0, 255).astype(np.uint8)
    return plain if plain.ndim == 4 else np.repeat(plain[..., None], 3, 3)


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (height, width, 3) as a square: means where it gets smaller, pixels repeated where it gets larger."""
    rows, columns = (_weights(size, side) for size in picture.shape[:2])
    found: np.ndarray = np.einsum("ah,hwc,bw->abc", rows, np.asarray(picture, np.float64), columns, optimize=True)
    return found


def _weights(size: int, side: int) -> np.ndarray:
    """How much of each of ``size`` pixels lies in each of ``side`` equal parts."""
    edges = np.linspace(0, size, side + 1)
    low, high = edges[:-1, None], edges[1:, None]
    own = np.arange(size)[None]
    inside = np.clip(np.minimum(high, own + 1) - np.maximum(low, own), 0, None)
    found: np.ndarray = inside / inside.sum(1, keepdims=True)
    return found
