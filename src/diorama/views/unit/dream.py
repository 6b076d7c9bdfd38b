"""Deep dream: what a unit or layer sees in a picture, amplified, with an endless zoom."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.colour import Limits
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Image, Lines, Node, Series
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection
from ...data.kinds import Image as ImageKind
from ...methods.synthesis import objectives
from ...methods.synthesis.deep_dream import DreamFrame, DreamPlan, dream, resized
from ...methods.synthesis.engine import values_of
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.stage import MadeInput
from ...scene import Scene
from .. import inputs
from ..units import main_layers, telling_layers
from ..view import View
from . import _made_inputs

KEPT = 600
"""Frames of which the film is made; older ones are forgotten."""


class DreamView(View):
    """What a layer, unit or class sees in a picture, amplified until everyone sees it; and on, while zooming in.

    *Meaning* the picture is changed so that the chosen layer or unit responds more strongly to what it already faintly
    finds there, from coarse to fine. With more frames each one is zoomed and dreamed into again, without an end.
    The curve is the response, frame by frame; saved as a film, each frame is one picture.
    *Cost* for each frame, steps × octaves forward and backward passes down to the layer.
    """

    title = "Dream"
    question = "What does this layer see in the picture, when it may exaggerate?"
    family = "features"
    papers = ("Mordvintsev, Olah & Tyka 2015, Inceptionism",)
    rows = ("A27",)
    follows = ("class", "example", "layer", "unit")
    input = True

    layer: str | None = knob(
        None, "The layer that is amplified as a whole; left open: what was chosen, else one in the middle.", kind="layer"
    )
    start: str = knob("picture", "Dream into the current picture, or into noise.", choices=("picture", "noise"), main=True)
    frames: int = knob(1, "So many frames, each zoomed into the last.", low=1, high=100_000, main=True)
    zoom: float = knob(1.05, "How much nearer each frame is.", low=1.0, high=1.5)
    turn: float = knob(0.0, "How far each frame is turned.", low=-20.0, high=20.0, unit="°")
    octaves: int = knob(3, "From how coarse to fine: so many sizes.", low=1, high=8)
    octave: float = knob(1.4, "How much larger each size is than the one before.", low=1.1, high=2.0)
    steps: int = knob(10, "Steps at each size.", low=1, high=200)
    rate: float = knob(0.01, "The mean change of a pixel in a step, as a share of the range.", low=0.0005, high=0.2, log=True)
    smooth: float = knob(0.5, "How much the coarse parts of the slope are strengthened.", low=0.0, high=4.0)
    size: int | None = knob(
        None, "The longer side of the picture, where the network takes any size.", kind="integer", low=8, high=1024,
        unit="px",
    )
    seed: int = knob(0, "What the noise and the random shifts are drawn from.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs pictures."""
        if not any(isinstance(kind, ImageKind) for kind in scene.kinds.values()):
            return "it dreams into pictures, and the inputs are none"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """Each octave of the first frame, then frame after frame."""
        stage = _made_inputs.staged(scene, selection, self.seed)
        objective = self._objective(scene, stage, selection)
        planes, label = self._begin(scene, stage, selection)
        begun = planes
        how = DreamPlan(self.octaves, self.octave, self.steps, self.rate, self.zoom, self.turn, self.smooth)
        kept: list[tuple[np.ndarray, float]] = []
        first = self._first_value(stage, objective, begun)
        for made in dream(stage, objective, planes, how, stage.look.generator, self.frames):
            yield Progress(done=made.frame + made.done, total=self.frames, note="dreaming")
            pixels = _pixels(made.planes)
            if made.done:
                kept = [*kept[-KEPT + 1 :], (pixels, made.value)]
            final = made.done and made.frame == self.frames - 1
            values = [first, *(value for _, value in kept)] if made.done else [first, made.value]
            yield self._drawn(scene, selection, stage, objective, (pixels, begun, label), values, made, kept, final)

    def _objective(self, scene: Scene, stage: MadeInput, selection: Selection) -> Objective:
        if self.layer is not None:
            return objectives.norm(scene.layers[self.layer].name)
        key = next((key for key in reversed(selection.a) if key.kind in ("class", "layer", "unit")), None)
        if key is None:
            names = [one.name for one in telling_layers(scene) if one.layer.spatial] or [main_layers(scene)[0].name]
            key = Key("layer", names[len(names) * 2 // 3] if len(names) > 2 else names[-1])
        return Objective.of(key, stage.look.layers, stage.look.reading, scene.classes)

    def _begin(self, scene: Scene, stage: MadeInput, selection: Selection) -> tuple[Tensor, str]:
        current = scene.current(selection)
        planes = stage.frame.planes(_made_inputs.own_part(stage, current.x))
        label = current.label
        if self.start == "noise":
            noise = torch.rand(planes.shape, generator=stage.look.generator).to(planes)
            planes = (stage.colours.mean.to(planes)[None, :, None, None] + 0.2 * (noise - 0.5)).clamp(0, 1)
            label = "noise"
        if self.size is not None:
            height, width = planes.shape[2:]
            ratio = self.size / max(height, width)
            planes = resized(planes, (max(1, round(height * ratio)), max(1, round(width * ratio))))
        return planes, label

    def _first_value(self, stage: MadeInput, objective: Objective, planes: Tensor) -> float:
        try:
            return float(values_of(stage.look, objective, stage.frame.around(stage.frame.as_input(planes)))[0])
        except RuntimeError as error:
            raise NotApplicable(
                f"the network does not take pictures of {planes.shape[2]} × {planes.shape[3]}; leave size open"
            ) from error

    def _drawn(
        self, scene: Scene, selection: Selection, stage: MadeInput, objective: Objective,
        shown: tuple[np.ndarray, Tensor, str], values: list[float], made: DreamFrame, kept: list[tuple[np.ndarray, float]],
        final: bool,
    ) -> Picture:
        pixels, begun, label = shown
        size = 320 if pixels.shape[0] > 96 else 240
        before = _pixels(begun)
        told = f"response of {objective}: {made.value:.3g}, from {values[0]:.3g}"
        marks: list[Node] = [
            Image(pixels=pixels, limits=_grey(pixels), title=f"{objective}, dreamed", caption=told, size=size),
            Image(pixels=before, limits=_grey(before), title=label, size=size // 2),
        ]
        body: list[Node] = [Group(children=tuple(marks), direction="row")]
        if len(values) > 2:
            at = np.arange(len(values), dtype=np.float64)
            line = Series(name=str(objective), x=at, y=np.array(values))
            body.append(Lines(series=(line,), x_title="frame", x_kind="number", y_title="response", height=90))
        caption = f"What {objective} sees in {label}, amplified in {self.octaves} sizes from coarse to fine."
        if not np.isfinite(values[0]):
            caption = f"To {label} {objective} answers with what is no number, so nothing can be amplified."
        if self.frames > 1:
            caption += f" Frame {made.frame + 1} of {self.frames}, each {self.zoom:g} times nearer than the last."
        picture = self.picture(
            scene, selection, "Dream", Group(children=tuple(body)), caption, note=" ".join(filter(None, (made.note, stage.note))),
            final=final,
        )
        if final and self.frames > 1:
            return picture.with_frames(self._film(scene, selection, kept, str(objective), made.frame + 1))
        return picture

    def _film(
        self, scene: Scene, selection: Selection, kept: list[tuple[np.ndarray, float]], name: str, last: int
    ) -> Callable[[], Iterator[Picture]]:
        def frames() -> Iterator[Picture]:
            for number, (pixels, value) in enumerate(kept, last - len(kept) + 1):
                told = f"frame {number}; response of {name}: {value:.3g}"
                body = Image(pixels=pixels, limits=_grey(pixels), size=480)
                yield self.picture(scene, selection, "Dream", body, told)

        return frames


def _pixels(planes: Tensor) -> np.ndarray:
    """Planes (1, channels, height, width) from 0 to 1 as pixels of 0 to 255."""
    array = np.rint(planes[0].detach().cpu().clamp(0, 1).numpy() * 255).astype(np.uint8)
    if len(array) == 3:
        return np.ascontiguousarray(np.moveaxis(array, 0, 2))
    pixels: np.ndarray = array[0] if len(array) == 1 else np.rint(array.mean(0)).astype(np.uint8)
    return pixels


def _grey(pixels: np.ndarray) -> Limits | None:
    return inputs.grey(pixels) if pixels.ndim == 2 else None
