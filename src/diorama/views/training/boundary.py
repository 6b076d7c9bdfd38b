"""What the network answers on a plane of two inputs, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import not_found
from ...core.knobs import knob
from ...core.marks import Field
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...data.kinds import Table
from ...scene import Scene
from .. import scales
from ..view import View

BATCH = 4096


class BoundaryView(View):
    """The network's answer for every pair of two inputs: regions of classes, or the predicted number.

    *Meaning* strong colour is certainty; the boundary runs where it fades. Points are the examples, in the colour of
    their true class; ringed ones are answered wrongly. With more than two inputs the plane is a slice: the others stay
    as they are in the chosen example.
    *Error* what lies between the examples is the network's guess; nothing there was ever checked.
    *Cost* resolution² forward passes of one example, in large batches.
    """

    title = "Decision boundary"
    question = "Where does the network change its mind?"
    family = "process"
    papers = ("Animated decision boundaries over training",)
    rows = ("C16", "C19")
    answers = True
    follows = ("example", "class")
    input = True
    demo = "moons"

    x: str | None = knob(
        None, "The input along the horizontal axis; the first when left open.", kind="column", main=True
    )
    y: str | None = knob(
        None, "The input along the vertical axis; the second when left open.", kind="column", main=True
    )
    resolution: int = knob(120, "Points along each side of the plane.", low=8, high=400)
    margin: float = knob(0.15, "Room around the examples, as a share of their range.", low=0.0, high=2.0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs rows of at least two numbers."""
        kind = scene.kind
        if not isinstance(kind, Table) or not isinstance(scene.examples.x, Tensor) or scene.examples.x.ndim != 2:
            return "it draws a plane of two numbers, and the inputs are not rows of numbers"
        if len(kind.columns) < 2:
            return "it draws a plane of two numbers, and each input is a single one"
        if scene.examples.x.is_complex():
            return "it draws a plane of two real numbers, and the inputs are complex"
        return (
            None
            if scene.task in ("classification", "regression")
            else "it draws classes or numbers, and there are none"
        )

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """A coarse plane at once, then the fine one."""
        plane = _Plane(scene, selection, self._columns(scene), self.margin)
        sizes = [size for size in (self.resolution // 3, self.resolution) if size >= 8]
        for k, size in enumerate(sizes):
            if k:
                yield Progress(done=k, total=len(sizes), note=f"{size * size:,} points")
            yield self._drawn(scene, selection, plane, size, final=k == len(sizes) - 1)

    def _columns(self, scene: Scene) -> tuple[int, int]:
        kind = scene.kind
        assert isinstance(kind, Table)
        names = list(kind.columns)
        for name in filter(None, (self.x, self.y)):
            if name not in names:
                raise not_found("column", name, names)
        first = names.index(self.x) if self.x else next(k for k, name in enumerate(names) if name != self.y)
        return first, names.index(self.y) if self.y else next(k for k in range(len(names)) if k != first)

    def _drawn(self, scene: Scene, selection: Selection, plane: _Plane, size: int, final: bool) -> Picture:
        rows = plane.grid(size)
        scores = torch.cat([scene.scores(rows[k : k + BATCH]) for k in range(0, len(rows), BATCH)])
        names, extent = plane.names, plane.extent
        checks: tuple[Check, ...] = ()
        limits: Limits | None = None
        if scene.task == "classification":
            values = scene.reading.probabilities(scores).numpy().reshape(size, size, -1)
            words = "Colour is the answered class, and strong where the network is sure; points are the examples. "
            checks = plane.checks()
        else:
            values = scores.reshape(size, size, -1)[:, :, 0].float().numpy()
            limits, words = self._limits(scene, plane, values)
        points, keys = plane.points()
        told, wrong = plane.told(points)
        field = Field(
            values=values, extent=extent, limits=limits, classes=scene.classes if values.ndim == 3 else (),
            x_title=names[0], y_title=names[1], points=plane.shown[points], point_keys=keys, point_values=told,
            wrong=wrong,
        )
        words += plane.words
        return self.picture(scene, selection, "Decision boundary", field, words, checks=checks, final=final)

    def _limits(self, scene: Scene, plane: _Plane, values: NDArray[np.floating]) -> tuple[Limits, str]:
        """A scale that is the same at every step: that of the truth, else of the network over the training."""
        truth = scene.live.y
        if truth is not None:
            told = truth.double().numpy()
            low, high = float(np.nanmin(told)), float(np.nanmax(told))
            return magnitude(values, low, high), "Colour is the predicted number, points the true ones, on one scale. "
        limit, _ = scales.over_time(scene, "boundary", lambda at: float(at.predictions().abs().max()))
        return symmetric(values, limit), "Colour is the predicted number. "


class _Plane:
    """A plane through the inputs: where its points lie, in the model's numbers and in the columns' own units."""

    def __init__(self, scene: Scene, selection: Selection, columns: tuple[int, int], margin: float) -> None:
        self.scene, self.columns = scene, columns
        kind, x = scene.kind, scene.live.x
        assert isinstance(kind, Table)
        assert isinstance(x, Tensor)
        self.names = (kind.columns[columns[0]], kind.columns[columns[1]])
        self.current = scene.current(selection)
        self.sliced = x.shape[1] > 2
        own = x[:, list(columns)].double()
        low, high = own.amin(0), own.amax(0)
        room = ((high - low) * margin).clamp_min(1e-6)
        self.low, self.high = low - room, high + room
        self.shown = np.asarray(kind.decode(x))[:, list(columns)]
        corners = x[:1].double().repeat(2, 1)
        corners[0, list(columns)], corners[1, list(columns)] = self.low, self.high
        ends = np.asarray(kind.decode(corners))[:, list(columns)]
        self.extent = (float(ends[0, 0]), float(ends[1, 0]), float(ends[0, 1]), float(ends[1, 1]))
        held = f"; the other {x.shape[1] - 2} inputs are held at those of {self.current.label}" if self.sliced else ""
        self.words = f"The plane is {self.names[0]} against {self.names[1]}{held}."

    def grid(self, size: int) -> Tensor:
        """Rows for every point of the plane, the lowest y first."""
        across = torch.linspace(float(self.low[0]), float(self.high[0]), size, dtype=torch.float64)
        up = torch.linspace(float(self.low[1]), float(self.high[1]), size, dtype=torch.float64)
        base = self.current.x
        assert isinstance(base, Tensor)
        rows = base.detach().cpu().repeat(size * size, 1)
        rows[:, self.columns[0]] = across.repeat(size).to(rows)
        rows[:, self.columns[1]] = up.repeat_interleave(size).to(rows)
        return rows

    def points(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The examples on the plane, with their keys; of a slice only the example that it goes through."""
        chosen = np.arange(len(self.shown))
        if self.sliced:
            index = self.current.index
            chosen = chosen[index : index + 1] if index is not None else chosen[:0]
        return chosen, tuple(number_key("example", int(k)) for k in chosen)

    def told(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None]:
        """The truth of the points, and which of them are answered wrongly."""
        y = self.scene.live.y
        if y is None:
            return None, None
        truth = self.scene.reading.truth(y).reshape(len(y), -1)[:, 0].double().numpy()[chosen]
        truth = np.where(self.scene.reading.labelled(y).numpy()[chosen], truth, np.nan)
        right = self.scene.answers().right
        return truth, None if right is None else (right.numpy() < 0.5)[chosen]

    def checks(self) -> tuple[Check, ...]:
        """How many of the examples lie in their own region."""
        right = self.scene.answers().right
        if right is None:
            return ()
        sentence = "The share of the examples that lie in the region of their own class."
        return (Check(name="right", value=float(right.nanmean()), sentence=sentence),)
