"""What stands at each position that a network attends from and to: a token, a patch of a picture, a moment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.selection import number_key
from ...data import nesting
from ...data.kinds import Image, Tokens
from ...data.nesting import Nested
from ...data.text_places import beside
from ...data.tokens import visible
from ...derive.heads import stretch
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.layer_text import text_at
from ..answers import token

EXTRA = 8
"""A network may put so many tokens of its own (a class token, registers) before those of the input."""


@dataclasses.dataclass(frozen=True)
class Positions:
    """The positions of one sequence: their names, how many of them stand before the input's own, and what they lie on."""

    names: tuple[str, ...]
    extra: int = 0
    tokens: bool = False
    """They are tokens of a text."""
    features: bool = False
    """They are features, of which there are as many as tokens by chance."""
    characters: bool = False
    grid: tuple[int, int] | None = None
    """Rows and columns of patches, where they lie on a picture."""
    pixels: NDArray[Any] | None = None
    """The picture that they lie on."""

    @property
    def word(self) -> str:
        """What one of them is called."""
        return "patch" if self.grid else "feature" if self.features else "token" if self.tokens else "place"

    @property
    def keys(self) -> tuple[str, ...]:
        """A key for each: ``token:3`` is the fourth of the input's own; what stands before them has none."""
        return tuple(number_key("token", k - self.extra) if k >= self.extra else "" for k in range(len(self.names)))

    def edges(self, *most: int) -> NDArray[np.int64]:
        """Where stretches of neighbours begin, and the last one ends, when they are put together into at most so many, and these again."""
        found = np.arange(len(self.names) + 1)
        for bound in most:
            if len(found) - 1 > bound:
                found = np.append(found[:-1 : stretch(len(found) - 1, bound)], found[-1])
        return found

    def gathered(self, *most: int) -> tuple[str, ...]:
        """Names of these stretches: each by its first and last."""
        edges = self.edges(*most)
        if len(edges) > len(self.names):
            return self.names
        return tuple(str(start) if stop - start == 1 else f"{start}–{stop - 1}" for start, stop in zip(edges[:-1], edges[1:], strict=True))


def positions(scene: Scene, current: CurrentInput, count: int, inputs: tuple[str, ...] = ()) -> Positions:
    """What stands at so many positions; ``inputs`` are those that they may be of, by name."""
    parts, masks = nesting.named(current.x), beside(scene.kinds)
    for name, kind in scene.kinds.items():
        part = parts.get(name)
        # A mask has a number for each token too, and says none of them.
        if not isinstance(part, Tensor) or name in masks or (inputs and name not in inputs):
            continue
        if isinstance(kind, Tokens) and part.ndim == 2 and 0 <= count - part.shape[1] <= EXTRA:
            extra = count - part.shape[1]
            words = tuple(visible(token) for token in kind.decode(part)[0])
            return Positions((*_own(extra), *words), extra, tokens=True, characters=bool(kind.describe()["characters"]) and not extra)
        if isinstance(kind, Image) and part.ndim == 4 and (grid := patched(scene, part, count)) is not None:
            extra = count - grid[0] * grid[1]
            names = (f"row {row}, column {column}" for row in range(grid[0]) for column in range(grid[1]))
            return Positions((*_own(extra), *names), extra, grid=grid, pixels=np.asarray(kind.decode(part)[0]))
    return Positions(tuple(str(k) for k in range(count)))


def said_at(scene: Scene, current: CurrentInput, count: int, point: str = "") -> Positions:
    """What stands at the positions of an answer, or at those of a ``point`` on the way to it: the tokens of the text that it goes along with;
    places that are nobody's tokens have their numbers."""
    if translates(scene) == count:
        return Positions(tuple(map(str, range(count))))
    own, texts = text_at(scene), _texts(scene)
    if len(texts) < 2:
        # A picture beside the text that is written may have as many parts as that has tokens.
        return positions(scene, current, count, tuple(texts) if scene.task == "next_token" else ())
    # What is made of the source alone lies along that; what has heard of both, along what was said of it so far.
    of = asked_of(scene, current.x, (point,))[0] if point else (own,)
    return positions(scene, current, count, (own,) if own in of or not of else of)


def of_features(scene: Scene, x: Nested, point: str, width: int) -> bool:
    """Whether a pattern of as many places as a text has tokens is one of features: it stays so wide where the text is shorter.

    ``width``: of what asks. Only where that is the number of tokens too, features may be meant. *Cost* one forward pass then.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or x.shape[1] != width or width < 3:
        return False
    try:
        return int(scene.look(x[:, :-1], (point,))[1][point].shape[-1]) == width
    except Exception:  # noqa: BLE001 - a network that reads texts of one length
        return False


def along(current: CurrentInput, count: int) -> bool:
    """Whether some input has so many places on its first axis, but for a few of the network's own in front."""
    parts = (part for part in nesting.named(current.x).values() if isinstance(part, Tensor) and part.ndim > 1)
    return any(0 <= count - part.shape[1] <= EXTRA for part in parts)


def answered(scene: Scene, current: CurrentInput) -> Positions:
    """The places of the answer of a network that translates, named by what it answers there."""
    scores = scene.scores(current.x)[0]
    return Positions(tuple(token(scene, int(k)) for k in scores.nan_to_num(0).argmax(-1)))


def translates(scene: Scene) -> int | None:
    """At how many places a network answers that has another number of them than of tokens; None where it has not."""
    parts, y = nesting.named(scene.live.x), scene.live.y
    read = {parts[name].shape[1] for name, kind in scene.kinds.items() if isinstance(kind, Tokens) and name in parts and parts[name].ndim == 2}
    # The task, which may have to be learned by a pass, is asked last.
    return answers(scene) if read and y is not None and y.ndim == 2 and y.shape[1] not in read else None


def answers(scene: Scene) -> int | None:
    """At how many places a network answers with a token, as its labels say; None where it has no such labels."""
    y = scene.live.y
    return y.shape[1] if scene.task == "next_token" and y is not None and y.ndim == 2 else None


def _own(extra: int) -> tuple[str, ...]:
    return tuple("class token" if extra == 1 else f"own token {k}" for k in range(extra))


def patched(scene: Scene, part: Tensor, count: int) -> tuple[int, int] | None:
    """Rows and columns of the patches of a picture (1, channels, height, width), of which there are so many but for a few.

    *Meaning* as many as the places of a map that the network makes, else patches that are as high as they are wide.
    """
    for layer in scene.layers.spatial:
        sides = tuple(side for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)
        if len(sides) == 2 and sides[0] * sides[1] > 1 and 0 <= count - sides[0] * sides[1] <= EXTRA:
            return sides[0], sides[1]
    last = part.shape[3] in (1, 3, 4) and part.shape[1] not in (1, 3, 4)
    height, width = part.shape[1:3] if last else part.shape[2:4]
    for extra in range(min(EXTRA, count - 2) + 1):
        rows = round(((count - extra) * height / width) ** 0.5)
        if rows and (count - extra) % rows == 0 and ((count - extra) // rows) * height == rows * width:
            return rows, (count - extra) // rows
    return None


def asked_of(scene: Scene, x: Nested, points: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """For each of some points the inputs, by name, on which it depends: whether changing their tokens changes it.

    *Cost* one forward pass, and one for each input.
    """
    names = _texts(scene)
    if len(names) < 2:
        return tuple(tuple(names) for _ in points)
    before = scene.kept(x, points)
    found: dict[str, list[str]] = {point: [] for point in points}
    parts = nesting.named(x)
    for name in names:
        own: Any = parts[name]
        turned = own.flip(-1) if not bool(torch.equal(own.flip(-1), own)) else own.roll(1, -1)
        if bool(torch.equal(turned, own)):
            turned = torch.where(own == own.min(), own.max().clamp_min(1), own.min())
        after = scene.kept(_with(x, own, turned), points)
        for point in points:
            one, other = before[point], after[point]
            if one.shape != other.shape or not torch.equal(one, other):
                found[point].append(name)
    return tuple(tuple(found[point]) for point in points)


def _texts(scene: Scene) -> list[str]:
    """The inputs whose tokens may stand at positions: no masks of a text, nor what else stands beside one."""
    return [name for name, kind in scene.kinds.items() if isinstance(kind, Tokens) and name not in beside(scene.kinds)]


def _with(x: Nested, own: Tensor, other: Tensor) -> Nested:
    """An input with another tensor in the place of one of its own."""
    return nesting.each(x, lambda part: other if part is own else part)
