"""Codes as marks: the plane of codes, the board of pictures drawn from it, and each number moved alone."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import magnitude, symmetric
from ...core.marks import Bars, Box, Field, Group, Handle, Heatmap, Image, Lines, Node, Tiles
from ...core.marks import Series as Line
from ...core.selection import number_key
from ...data.kinds import Series, Sound, Table
from ...scene import Scene
from ...scene.input import CurrentInput, decoded
from .. import answers, inputs, planes
from ._live_codes import LiveCodes, generates

STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""A number of the code is moved so many standard deviations from its mean."""
LARGEST = 960
"""A board has at most so many pixels a side."""
IDLE = 0.02
"""A number whose moves change the answers by less than this share of what the strongest one's do is not used."""
MANY = 64
"""Of answers that are no pictures at most so many numbers are shown."""
SIDE = 300


@dataclasses.dataclass(frozen=True)
class CodeLook:
    """What is looked at: two of a code's numbers, the example, and perhaps a place of the plane."""

    scene: Scene
    code: LiveCodes
    pair: tuple[int, int]
    current: CurrentInput
    own: Tensor
    base: Tensor
    there: Tensor | None
    place: tuple[float, float] | None

    @property
    def pictures(self) -> bool:
        """Whether the network answers with pictures."""
        return answers.picturing(self.scene) is not None

    @property
    def height(self) -> int:
        """The larger side of a picture that is drawn, in pixels."""
        shown = answers.pictures(self.scene, self.scene.scores(self.scene.live.batch([0])))
        return 1 if shown is None else max(shown.shape[1:3])

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class of each example, where it has one."""
        y = self.scene.live.y
        if y is None or y.ndim != 1 or y.is_floating_point() or not len(self.scene.examples.classes):
            return None
        return np.asarray(y.cpu().numpy(), np.int64)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The plane: a square about the codes, in steps of a tenth of its size, so that it seldom moves."""
        return planes.square(self.code.codes[:, list(self.pair)].double().numpy())

    def axes(self, side: int) -> tuple[Tensor, Tensor]:
        """The middles of so many cells along each side of the plane."""
        low_x, high_x, low_y, high_y = self.extent
        cells = (torch.arange(side) + 0.5) / side
        return low_x + cells * (high_x - low_x), low_y + cells * (high_y - low_y)


@dataclasses.dataclass(frozen=True)
class CodeDrawing:
    """What the network draws: from the places of the plane, and from each number moved alone."""

    board: Tensor | None
    moved: dict[int, Tensor]
    side: int


def plane(looked: CodeLook, drawn: CodeDrawing | None) -> Node:
    """The examples at their codes, over what lies densest there."""
    labels, both = looked.labels, looked.code.codes[:, list(looked.pair)].double().numpy()
    at = looked.place or (float(looked.own[looked.pair[0]]), float(looked.own[looked.pair[1]]))
    handle = Handle(knob="at", kind="point", value=f"{at[0]:.6g},{at[1]:.6g}")
    titles = [looked.code.name(number) for number in looked.pair]
    keys = tuple(number_key("example", k) for k in range(len(both)))
    if labels is not None:
        names = looked.scene.examples.classes
        return Field(
            values=planes.shares(both, labels, len(names), looked.extent), extent=looked.extent, classes=names, points=both,
            point_values=labels.astype(np.float64), point_keys=keys, x_title=titles[0], y_title=titles[1], size=SIDE,
            handle=handle, title="Examples at their codes",
        )
    if drawn is None or drawn.board is None:
        return Field(
            values=np.full((2, 2, 1), 0.5), extent=looked.extent, classes=("examples",), points=both,
            point_values=np.zeros(len(both)), point_keys=keys, x_title=titles[0], y_title=titles[1], size=SIDE,
            handle=handle, title="Examples at their codes",
        )
    values = _speed(drawn)
    return Field(
        values=values, extent=looked.extent, limits=magnitude(values, 0), points=both, point_keys=keys, x_title=titles[0],
        y_title=titles[1], size=SIDE, handle=handle, title="Examples at their codes",
        caption="The ground is bright where pictures change fast.",
    )


def _speed(drawn: CodeDrawing) -> NDArray[np.float64]:
    """How much the answer changes from one place of the board to the next, (side, side)."""
    assert drawn.board is not None
    whole = drawn.board.double().flatten(1).reshape(drawn.side, drawn.side, -1).numpy()
    slopes = np.gradient(whole, axis=(0, 1))
    found: NDArray[np.float64] = np.sqrt((slopes[0] ** 2 + slopes[1] ** 2).mean(-1))
    return found


def board(looked: CodeLook, drawn: CodeDrawing) -> Node:
    """The pictures from all places of the plane, the highest on top, with a frame where the place is."""
    assert drawn.board is not None
    shown = answers.pictures(looked.scene, drawn.board)
    assert shown is not None
    side, (high, wide) = drawn.side, shown.shape[1:3]
    cells = shown.reshape(side, side, *shown.shape[1:])[::-1]
    joined = np.concatenate([np.concatenate(list(row), 1) for row in cells], 0)
    low_x, high_x, low_y, high_y = looked.extent
    at = looked.place or tuple(float(looked.own[number]) for number in looked.pair)
    across, down = (at[0] - low_x) / (high_x - low_x) * side, (high_y - at[1]) / (high_y - low_y) * side
    # The code of a broken network is no number and has no place.
    inside = 0 <= across < side and 0 <= down < side
    boxes = (Box(x=int(across) * wide, y=int(down) * high, width=wide, height=high),) if inside else ()
    return Image(
        pixels=np.ascontiguousarray(joined), limits=inputs.grey(joined) if joined.ndim == 2 else None, boxes=boxes,
        size=SIDE, title="Drawn from each place",
    )


def places(looked: CodeLook) -> Node:
    """The example, what comes back of it, and what the network draws from the place."""
    scene, code = looked.scene, looked.code
    marks: list[Node] = []
    if not (generates(scene) and code.layer is None):
        marks.append(inputs.drawn(scene, looked.current, 72))
    marks.append(_answer(looked, scene.scores(looked.current.x), "drawn again" if marks else looked.current.label))
    if looked.there is not None and looked.place is not None:
        title = f"from {looked.place[0]:.3g}, {looked.place[1]:.3g}"
        marks.append(_answer(looked, code.decode(looked.there[None]), title))
    return Group(children=tuple(marks), direction="row")


def _answer(looked: CodeLook, scores: Tensor, title: str) -> Node:
    if looked.pictures:
        return msgspec.structs.replace(answers.drawn(looked.scene, scores, size=72), title=title)
    if looked.scene.task == "reconstruction":
        shown = decoded(looked.scene.kind, scores)
        return inputs.drawn(looked.scene, CurrentInput(scores, title, shown=shown), 72)
    values = _numbers(looked, scores)[0]
    return Bars(values=values, labels=_names(looked, len(values)), limits=symmetric(values), title=title)


def _numbers(looked: CodeLook, scores: Tensor) -> NDArray[np.float64]:
    """Answers that are no pictures as rows of numbers, in the inputs' own units where they are such rows."""
    kind = looked.scene.kind
    if isinstance(kind, Table) and scores.ndim == 2 and scores.shape[1] == len(kind.columns):
        return np.asarray(kind.decode(scores), np.float64)[:, :MANY]
    return scores.double().flatten(1).numpy()[:, :MANY]


def _names(looked: CodeLook, count: int) -> tuple[str, ...]:
    kind = looked.scene.kind
    if isinstance(kind, Table) and len(kind.columns) >= count and not looked.pictures:
        return tuple(kind.columns[:count])
    return tuple(str(k) for k in range(count))


def traversals(looked: CodeLook, drawn: CodeDrawing) -> list[Node]:
    """One row for each number of the code: what is drawn as it goes from low to high."""
    idle, found = unused(drawn), list[Node]()
    for number, scores in drawn.moved.items():
        mean, spread = (float(part[number]) for part in looked.code.spread())
        title = f"{looked.code.name(number)}: {_signed(mean)} ± 3 × {spread:.3g}{' · not used' * (number in idle)}"
        labels = tuple(_signed(step, "+") for step in STEPS)
        shown = answers.pictures(looked.scene, scores)
        if shown is not None:
            limits = inputs.grey(shown) if shown.ndim == 3 else None
            key = looked.code.key(number)
            found.append(Tiles(
                images=shown, limits=limits, labels=labels, keys=(key,) * len(shown) if key else (), columns=len(STEPS),
                faded=np.full(len(shown), number in idle), size=25, title=title,
            ))
            continue
        if isinstance(looked.scene.kind, Series | Sound) and scores.ndim == 3:
            lines = tuple(
                Line(name=label, x=np.arange(scores.shape[2], dtype=np.float64), y=row, colour=k)
                for k, (label, row) in enumerate(zip(labels, scores[:, 0].double().numpy(), strict=True))
            )
            found.append(Lines(series=lines, x_title="time", x_kind="number", height=120, title=title))
            continue
        values = _numbers(looked, scores).T
        found.append(Heatmap(
            values=values, limits=symmetric(values), row_labels=_names(looked, len(values)), column_labels=labels, title=title,
        ))
    return found


def _signed(value: float, plus: str = "") -> str:
    return f"{'−' if value < 0 else plus if value > 0 else ''}{abs(value):.3g}"


def unused(drawn: CodeDrawing) -> list[int]:
    """Numbers of the code whose moves change next to nothing."""
    change = {number: float(scores.double().std(0, correction=0).square().mean().sqrt()) for number, scores in drawn.moved.items()}
    most = max(change.values(), default=0.0)
    return [number for number, value in change.items() if value < IDLE * most]
