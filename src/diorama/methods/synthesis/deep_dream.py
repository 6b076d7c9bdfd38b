"""Deep dream: what a layer sees in a picture is amplified, from coarse to fine, while the picture is zoomed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...core.errors import NotApplicable
from ...model.slopes import slopes
from .engine import values_of
from .objectives import Objective, SeenPass
from .stage import MadeInput

_SMALLEST = 8


@dataclasses.dataclass(frozen=True)
class DreamPlan:
    """How a picture is dreamed into.

    *Meaning* at each octave (from the coarsest, each ``octave`` times larger than the last) the picture is moved by a
    random shift and a step of the mean size ``rate`` (of the range) is made up the slope, ``steps`` times; the detail
    that it had and the octave cannot hold is kept. Then the picture is zoomed and turned for the next frame.
    """

    octaves: int = 3
    octave: float = 1.4
    steps: int = 8
    rate: float = 0.012
    zoom: float = 1.05
    turn: float = 0.0
    smooth: float = 0.5


@dataclasses.dataclass(frozen=True)
class DreamFrame:
    """A frame: planes (1, channels, height, width) from 0 to 1, and the objective's value of it."""

    planes: Tensor
    value: float
    frame: int
    done: bool
    note: str = ""


def dream(
    stage: MadeInput, objective: Objective, planes: Tensor, how: DreamPlan, generator: torch.Generator, frames: int
) -> Iterator[DreamFrame]:
    """Frame after frame; within the first one, the picture after each octave.

    *Source* Mordvintsev, Olah & Tyka 2015, "Inceptionism: going deeper into neural networks".
    """
    sizes = octave_sizes(planes.shape[2:], how)
    free = _any_size(stage, objective, planes, sizes)
    note = "" if free else "The network takes one size of input, so octaves are enlarged to it before each look."
    for frame in range(frames):
        if frame:
            planes = zoomed(planes, how.zoom, how.turn)
        base, detail = planes, torch.zeros_like(planes)
        for number, size in enumerate(sizes):
            small = resized(base, size)
            current = (small + resized(detail, size)).clamp(0, 1) if number else small
            grown = _octave(stage, objective, current, how, generator, None if free else planes.shape[2:])
            detail = resized(grown - small, planes.shape[2:])
            if frame == 0 and number < len(sizes) - 1:
                whole = (base + detail).clamp(0, 1)
                yield DreamFrame(whole, _value(stage, objective, whole), 0, False, note)
        planes = (base + detail).clamp(0, 1)
        yield DreamFrame(planes, _value(stage, objective, planes), frame, True, note)


def octave_sizes(size: tuple[int, ...], how: DreamPlan) -> list[tuple[int, int]]:
    """Height and width of each octave, the coarsest first; none smaller than eight pixels, the last the full size."""
    found = []
    for number in reversed(range(how.octaves)):
        height, width = (round(side / how.octave**number) for side in size)
        if min(height, width) >= min(_SMALLEST, *size):
            found.append((height, width))
    return found or [(size[0], size[1])]


def _octave(
    stage: MadeInput, objective: Objective, planes: Tensor, how: DreamPlan, generator: torch.Generator,
    fixed: tuple[int, ...] | None,
) -> Tensor:
    """One octave's steps; a step that leads to numbers that are not finite is not made."""
    look = stage.look
    height, width = planes.shape[2:]
    until = objective.until(look.layers)
    with look.opened(objective.keep, grad=True, until=until) as capture:
        for _ in range(how.steps):
            if look.cancel is not None:
                look.cancel()
            reach = max(1, min(32, height // 8, width // 8))
            down, over = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            at = planes.roll((down, over), (2, 3)).requires_grad_()
            with torch.enable_grad():
                seen = at if fixed is None else resized(at, fixed)
                x = stage.frame.around(stage.frame.as_input(seen))
                value = objective(SeenPass(capture(x), capture, look, x)).sum()
                if not value.requires_grad:
                    raise NotApplicable(f"{objective} does not depend on the input in a differentiable way")
                way = slopes(value, [at])[0]
            if way is None or not bool(torch.isfinite(way).all()):
                continue
            way = _smoothed(way, how.smooth).roll((-down, -over), (2, 3))
            planes = (planes + way * (how.rate / way.abs().mean().clamp_min(1e-20))).clamp(0, 1)
    return planes


def _smoothed(way: Tensor, smooth: float) -> Tensor:
    """A slope with its coarse parts strengthened: the mean of itself and of its averages over wider and wider places."""
    if not smooth or min(way.shape[2:]) < _SMALLEST:
        return way
    size = way.std().clamp_min(1e-20)
    whole = way / size
    for step in (2, 4):
        if min(way.shape[2:]) >= 2 * step:
            coarse = F.interpolate(F.avg_pool2d(way, step), way.shape[2:], mode="bilinear", align_corners=False)
            whole = whole + smooth * coarse / coarse.std().clamp_min(1e-20)
    return whole


def _any_size(stage: MadeInput, objective: Objective, planes: Tensor, sizes: list[tuple[int, int]]) -> bool:
    """Whether the network, down to the objective, takes the octaves' sizes as they are."""
    try:
        for size in sizes[:-1]:
            x = stage.frame.around(stage.frame.as_input(resized(planes, size)))
            values_of(stage.look, objective, x)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return False
    return True


def _value(stage: MadeInput, objective: Objective, planes: Tensor) -> float:
    try:
        found = values_of(stage.look, objective, stage.frame.around(stage.frame.as_input(planes)))
    except RuntimeError as error:
        raise NotApplicable(
            f"the network does not take pictures of {planes.shape[2]} × {planes.shape[3]}; leave the size as it is"
        ) from error
    return float(found[0])


def resized(planes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Planes at another size, averaged when they become smaller."""
    if tuple(planes.shape[2:]) == tuple(size):
        return planes
    return F.interpolate(planes, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def zoomed(planes: Tensor, zoom: float, turn: float) -> Tensor:
    """A little nearer to the middle, and turned by some degrees; corners repeat the edge."""
    angle, size = math.radians(turn), 1 / zoom
    ratio = planes.shape[2] / planes.shape[3]
    theta = torch.tensor([
        [size * math.cos(angle), -size * math.sin(angle) * ratio, 0.0],
        [size * math.sin(angle) / ratio, size * math.cos(angle), 0.0],
    ])
    grid = F.affine_grid(theta[None], [1, 1, *planes.shape[2:]], align_corners=False).to(planes)
    return F.grid_sample(planes, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)
