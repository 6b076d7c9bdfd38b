"""What the network answers on a plane of two inputs, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import NotApplicable, not_found
from ...core.knobs import knob
from ...core.marks import Field, Group, Node, Tiles
from ...core.picture import Picture, Progress
from ...core.selection import Selection, number_key
from ...data.kinds import Image, Table
from ...scene import Scene
from ...scene.sets import output_name
from .. import inputs, scales
from ..changed_labels import of_numbers
from ..view import View
from . import _planes as planes
from ._planes import ColumnsPlane, CutPlane

BATCH, NUMBERS = 4096, 2**22
"""So many inputs are asked about at once, and so many numbers."""
FINE, COARSE = 120, 40
"""Points along each side, of columns and of all else."""
SIDE = 6
"""So many pictures stand along each side."""

_PLANES = {"columns": "of two columns", "examples": "cut through three examples", "components": "of principal components", "learnt": "learnt"}


def _whole(scene: Scene, columns: Sequence[int]) -> str:
    """That columns are looked up, as the beginning of a sentence."""
    assert isinstance(scene.kind, Table)
    names = " and ".join(scene.kind.columns[k] for k in columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    return f"{names} {'is' if len(columns) == 1 else 'are'} looked up by whole numbers"


class BoundaryView(View):
    """The network's answer for every pair of two inputs: regions of classes, or the predicted number.

    *Meaning* strong colour is certainty; the boundary runs where it fades. Points are the examples, in the colour of
    their true class; ringed ones are answered wrongly. A plane of two columns is a slice: the others stay
    as they are in the chosen example. Pictures and all else of many numbers are cut by a plane through three examples, that of their
    two principal components, or one that was learnt with its way back to inputs.
    *Error* what lies between the examples is the network's guess; nothing there was ever checked. The share of answers that stay
    on the way onto the plane and back says how far it stands for the examples; below 0.5 it is faded.
    *Cost* resolution² forward passes of one example, in large batches; a learnt plane takes some 40,000 forward and backward ones.
    """

    title = "Decision boundary"
    question = "Where does the network change its mind?"
    family = "process"
    papers = ("Animated decision boundaries over training", "Yang et al. 2022, DVI")
    rows = ("C16", "C17", "C19")
    by_labels = True
    answers = True
    follows = ("example", "class")
    input = True
    demo = "moons"

    plane: str = knob(
        "auto", "Which plane: of two columns, through three examples, of principal components, or learnt; auto takes columns where there are some.",
        choices=("auto", "columns", "examples", "components", "learnt"), main=True,
    )
    through: str | None = knob(None, "Examples: the three, such as 3+14+20; else those chosen, else of three classes.")
    x: str | None = knob(
        None, "The input along the horizontal axis; the first when left open.", kind="column", main=True
    )
    y: str | None = knob(
        None, "The input along the vertical axis; the second when left open.", kind="column", main=True
    )
    output: int = knob(0, "Which of several predicted numbers.", low=0, kind="integer")
    resolution: int | None = knob(
        None, "Points along each side of the plane; by itself 120 for columns, else 40.", low=8, high=400, kind="integer"
    )
    margin: float = knob(0.15, "Room around the examples, as a share of their range.", low=0.0, high=2.0)
    steps: int = knob(400, "Learnt: steps of learning.", low=1, high=10_000, log=True)
    seed: int = knob(0, "Learnt: what the first weights and batches are drawn from.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs inputs between which others lie, and an answer to each."""
        kind, x = scene.kind, scene.examples.x
        if not isinstance(x, Tensor):
            return "it draws a plane through the inputs, which wants one tensor, and these have several parts"
        if x.is_complex():
            return "it draws a plane of two real numbers, and the inputs are complex"
        if x.ndim < 2 or x[:1].numel() < 2:
            return "it draws a plane of two numbers, and each input is a single one"
        if not (isinstance(kind, Table) and x.ndim == 2) and not x.is_floating_point():
            return "it draws a plane of inputs, and between these (tokens, or whole numbers) no others lie"
        return (
            None
            if scene.task in ("classification", "regression")
            else "it draws classes or numbers, and there are none"
        )

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """A coarse plane at once, then the fine one."""
        found: CutPlane | Progress | None = None
        for found in self._planes(scene, selection):
            if isinstance(found, Progress):
                yield found
        assert isinstance(found, CutPlane)
        plane = found
        fine = self.resolution or (FINE if isinstance(plane, ColumnsPlane) else COARSE)
        sizes = [size for size in (fine // 3, fine) if size >= 8]
        for k, size in enumerate(sizes):
            if k:
                yield Progress(done=k, total=len(sizes), note=f"{size * size:,} points")
            yield self._drawn(scene, selection, plane, size, final=k == len(sizes) - 1)

    def _planes(self, scene: Scene, selection: Selection) -> Iterator[CutPlane | Progress]:
        """How far the plane is, and at last the plane."""
        rows = isinstance(scene.kind, Table) and isinstance(scene.examples.x, Tensor) and scene.examples.x.ndim == 2
        chosen = self.plane if self.plane != "auto" else "columns" if rows else "components"
        aside = planes.looked_up(scene)
        if aside and chosen != "columns":
            raise NotApplicable(f"{_whole(scene, aside)}, so that no inputs lie in between; choose plane=columns")
        if chosen == "columns":
            if not rows:
                raise NotApplicable("these inputs are not rows of numbers and have no columns; choose components, examples or learnt")
            yield ColumnsPlane(scene, selection, self._columns(scene, aside), self.margin)
        elif chosen == "components":
            yield planes.of_components(scene, self.margin)
        elif chosen == "examples":
            yield planes.through(scene, planes.three(scene, selection, self.through), self.margin)
        else:
            yield from planes.learnt(scene, self.margin, self.steps, self.seed)

    def _columns(self, scene: Scene, aside: Sequence[int]) -> tuple[int, int]:
        """The two columns; those that are looked up (``aside``) are none."""
        kind = scene.kind
        assert isinstance(kind, Table)
        names = list(kind.columns)
        for name in filter(None, (self.x, self.y)):
            if name not in names:
                raise not_found("column", name, names)
        free = [name for k, name in enumerate(names) if k not in aside]
        if len(free) < 2 or any(name and name not in free for name in (self.x, self.y)):
            rest = f"choose x and y from {', '.join(free)}" if len(free) > 1 else "so there are no two columns to draw"
            raise NotApplicable(f"{_whole(scene, aside)}, and cannot be moved in between; {rest}")
        first = self.x or next(name for name in free if name != self.y)
        return names.index(first), names.index(self.y or next(name for name in free if name != first))

    def _drawn(self, scene: Scene, selection: Selection, plane: CutPlane, size: int, final: bool) -> Picture:
        scores = self._scores(scene, plane, plane.grid(size))
        if scene.task == "regression" and self.output >= (count := scores[:1].numel()):
            raise NotApplicable(f"the model predicts numbers 0 to {count - 1}, not {self.output}")
        plane.output = self.output
        limits: Limits | None = None
        if scene.task == "classification":
            values = scene.reading.probabilities(scores).numpy().reshape(size, size, -1)
            points = "points are the examples" if len(plane.chosen) != 1 else "the point is the example that lies in the plane"
            words = f"Colour is the answered class, and strong where the network is sure; {points}. "
        else:
            outputs = scores.reshape(size, size, -1)
            values = outputs[:, :, self.output].float().numpy()
            limits, words = self._limits(scene, values)
            if outputs.shape[2] > 1:
                words = f"Of {outputs.shape[2]} outputs this is {output_name(scene, self.output)}. {words}"
        told, wrong = plane.told()
        field = Field(
            values=values, extent=plane.extent, limits=limits, classes=scene.classes if values.ndim == 3 else (),
            x_title=plane.names[0], y_title=plane.names[1], points=plane.points(),
            point_keys=tuple(number_key("example", int(k)) for k in plane.chosen), point_values=told, wrong=wrong, faded=plane.faded,
        )
        body: Node = field
        if final and (seen := self._seen(scene, plane)) is not None:
            body = Group(children=(field, seen), direction="row")
            words += "Beside it stand the inputs that lie there, with their answers. "
        bad = float((~torch.isfinite(scores).reshape(len(scores), -1).all(1)).double().mean())
        if bad:
            said = "No place has an answer" if bad == 1 else f"{bad:.1%} of the places have no answer"
            words = f"{'' if bad == 1 else words}{said}, as the scores are not numbers. "
        words += plane.doubts() + plane.words
        title = "Predicted number" if scene.task == "regression" else "Decision boundary"
        return self.picture(
            scene, selection, title, body, words, checks=plane.checks(), final=final, idle=self._idle(isinstance(plane, ColumnsPlane)),
            note="; ".join(of_numbers(scene.run, scene.step)),
        )

    def _idle(self, columns: bool) -> dict[str, str]:
        """The knobs that are for other planes than this one."""
        plane = self.plane if self.plane != "auto" else "columns" if columns else "components"
        of = {"x": "columns", "y": "columns", "through": "examples", "steps": "learnt", "seed": "learnt"}
        return {name: f"this plane is {_PLANES[plane]}; it is for plane: {wanted}" for name, wanted in of.items() if wanted != plane}

    def _scores(self, scene: Scene, plane: CutPlane, places: Tensor) -> Tensor:
        """The scores at places; what lies there is made part by part."""
        x = scene.live.x
        assert isinstance(x, Tensor)
        part = max(1, min(BATCH, NUMBERS // max(1, x[:1].numel())))
        return torch.cat([scene.scores(plane.inputs(few)) for few in torch.split(places, part)])

    def _seen(self, scene: Scene, plane: CutPlane) -> Node | None:
        """Some inputs of the plane as pictures, each where it lies; None where inputs are no pictures."""
        if not isinstance(scene.kind, Image):
            return None
        x = plane.inputs(plane.grid(SIDE)).cpu()
        answers = scene.reading.predictions(scene.scores(x)).reshape(len(x), -1)[:, 0 if scene.task == "classification" else self.output]
        order = np.arange(len(x)).reshape(SIDE, SIDE)[::-1].reshape(-1)
        images = inputs.thumbnails(np.asarray(scene.kind.decode(x))[order])
        if images is None:
            return None
        names = [scene.classes[k] if 0 <= k < len(scene.classes) else "none" for k in answers.tolist()] if scene.task == "classification" else [
            f"{number:.3g}" for number in answers.tolist()
        ]
        limits = inputs.grey(images) if images.ndim == 3 else None
        return Tiles(images=images, limits=limits, labels=tuple(names[k] for k in order), columns=SIDE, size=40)

    def _limits(self, scene: Scene, values: NDArray[np.floating]) -> tuple[Limits, str]:
        """A scale that is the same at every step: that of the truth, else of the network over the training."""
        y = scene.live.y
        truth = None if y is None else scene.reading.truth(y).reshape(len(y), -1).double().numpy()
        if truth is not None and self.output < truth.shape[1] and np.isfinite(told := truth[:, self.output]).any():
            low, high = float(np.nanmin(told)), float(np.nanmax(told))
            return magnitude(values, low, high), "Colour is the predicted number, points the true ones, on one scale. "
        limit, _ = scales.over_time(
            scene, f"boundary/{self.output}", lambda at: float(at.predictions().reshape(len(scene.live), -1)[:, self.output].abs().max()),
        )
        return symmetric(values, limit), "Colour is the predicted number. "
