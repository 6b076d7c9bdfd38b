"""Where in a network lies what tells two inputs apart: activations of one put into the pass of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...data import nesting
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.points import points
from ...model.stream import Stream
from ...scene import Scene
from ...scene.input import ending
from ..derivation import Derivation, Plain, Stage
from ..streams import residual_stream, without_stream

AT_ONCE = 64
"""So many positions are patched in one pass at most."""
WHERE = ("stream", "layers")


class PatchingDerivation(Derivation):
    """How much of one input's answer comes back when its activations at a layer and position are put into another's pass.

    *Meaning* 1: the answer is as if the first input had been given; 0: nothing changed; below 0: it moved away. The answer is
    the difference of the scores of what each of the two inputs is answered with (of the log-probability of that answer, where
    both have the same; of a single number, itself). ``where="stream"`` patches the residual stream after each layer;
    ``"layers"`` what each layer adds to it; ``positions="all"`` patches all positions at once.
    *Shapes* (layers, positions), or (layers, 1) with all positions at once.
    *Error* patching all positions of the stream gives the first input's answer: 1 at every layer where no other way leads
    round it.
    *Cost* a pass a layer and position, and one more a layer.
    *Source* Meng et al. 2022, arXiv:2202.05262 (causal tracing); Wang et al. 2022, arXiv:2211.00593.
    """

    version = 2

    example: int = knob(0, "The input whose activations are put in (clean).", low=0)
    corrupted: int = knob(1, "The input into whose pass they are put.", low=0)
    where: str = knob("stream", "The residual stream after each layer, or what each layer adds to it.", choices=WHERE)
    positions: str = knob("each", "Each position by itself, or all at once.", choices=("each", "all"))
    place: int | None = knob(None, "Of a network that writes on: the position whose answer is looked at; the last when left open.",
                             kind="integer", low=0)

    def fits(self, scene: Scene) -> str | None:
        """The model has a residual stream of rows, and two examples that are there."""
        if (reason := without_stream(scene, steps=True)) is not None:
            return reason
        count = len(scene.examples)
        for number in (self.example, self.corrupted):
            if number >= count:
                return f"it compares two examples, and the probe set has examples 0 to {count - 1}, got {number}"
        if self.where == "layers" and any(not one.branch for one in residual_stream(scene).sums):
            return "what the layers add was not seen; patch the stream"
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass for each layer and position."""
        line = residual_stream(scene)
        return Cost(len(spots(line, self.where)[0]) * (line.shape[0] if self.positions == "each" else 1) + 4)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The map layer by layer."""
        pair = Pair(scene, scene.current(example=self.example).x, scene.current(example=self.corrupted).x, self.place)
        names = spots(pair.line, self.where)[1]
        values = np.full((len(names), pair.line.shape[0] if self.positions == "each" else 1), np.nan)
        for number in range(len(names)):
            values[number] = pair.patched(self.where, number, self.positions == "all")
            yield Stage(values.copy(), number + 1.0, float(len(names)), f"{number + 1} of {len(names)} layers")

    def check(self, scene: Scene, value: Plain) -> None:
        """A share for each layer and position."""
        line = residual_stream(scene)
        shape = (len(spots(line, self.where)[1]), line.shape[0] if self.positions == "each" else 1)
        if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != np.float64:
            raise ValueError(f"shares of shape {shape} are wanted")


def spots(line: Stream, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The points that are patched, and their names."""
    if where == "stream":
        return line.points, line.names
    return tuple(f"op:{one.branch}" for one in line.sums), tuple(one.name for one in line.sums)


class Pair:
    """Two inputs of one form, what tells their answers apart, and the passes between them."""

    def __init__(self, scene: Scene, clean: Nested, corrupted: Nested, place: int | None = None) -> None:
        self.scene, self.x, self.other = scene, clean, corrupted
        forms = [[tuple(part.shape) for part in nesting.tensors(each)] for each in (clean, corrupted)]
        if forms[0] != forms[1]:
            told = " and ".join("×".join(map(str, form[0][1:])) for form in forms)
            raise NotApplicable(f"two inputs are patched position by position and must be of one form, got {told}; give two of the same length")
        self.line = residual_stream(scene, clean)
        self.place = ending(scene, clean) if place is None else place
        self.held = self._held(clean)
        self.there = self._held(corrupted)
        rows = [self._row(scene.scores(each))[0] for each in (clean, corrupted)]
        self.answers = self._asked(rows[0], rows[1])
        self.clean, self.corrupted = (float(self.told(row[None])[0]) for row in rows)
        if abs(self.clean - self.corrupted) <= 1e-6 * max(1.0, abs(self.clean)):
            raise NotApplicable(
                "both inputs are answered alike, so nothing can come back; choose two examples that the network tells apart"
            )

    def _held(self, x: Nested) -> dict[str, Tensor]:
        names = tuple(dict.fromkeys((*self.line.points, *(f"op:{one.branch}" for one in self.line.sums if one.branch))))
        known = points(self.scene.model, x)
        return dict(self.scene.kept(x, [name for name in names if not known[name].whole]))

    def _row(self, scores: Tensor) -> Tensor:
        """The scores that are the answer, (n, answers)."""
        if scores.ndim < 3:
            return scores.reshape(len(scores), -1).float()
        count = scores.shape[1]
        place = count - 1 if self.place is None else self.place
        if place >= count:
            raise NotApplicable(f"the text has positions 0 to {count - 1}, got {place}")
        return scores[:, place].reshape(len(scores), -1).float()

    def _asked(self, clean: Tensor, corrupted: Tensor) -> tuple[int, ...]:
        if clean.numel() == 1 or self.scene.task == "regression":
            return ()
        first, second = int(clean.nan_to_num(-np.inf).argmax()), int(corrupted.nan_to_num(-np.inf).argmax())
        return (first, second) if first != second else (first,)

    def told(self, rows: Tensor) -> Tensor:
        """The one number that an answer is looked at by, (n,)."""
        if not self.answers:
            return rows[:, 0]
        if len(self.answers) == 2:
            return rows[:, self.answers[0]] - rows[:, self.answers[1]]
        chances = rows.clamp_min(1e-30).log() if self.scene.reading.form == "probabilities" else rows.log_softmax(-1)
        return chances[:, self.answers[0]]

    def patched(self, where: str, number: int, whole: bool = False) -> np.ndarray:
        """The share that comes back at each position of a layer, or with all positions at once; NaN where it cannot be patched."""
        point = spots(self.line, where)[0][number]
        clean, there = self.held.get(point), self.there.get(point)
        if clean is None or there is None or clean.shape != there.shape or clean.shape[1] != self.line.shape[0]:
            return np.full(1 if whole else self.line.shape[0], np.nan)
        if whole:
            return self._answer(point, clean.clone()).double().numpy()
        count = clean.shape[1]
        found = []
        for start in range(0, count, AT_ONCE):
            chosen = range(start, min(start + AT_ONCE, count))
            patch = there.repeat(len(chosen), *([1] * (there.ndim - 1)))
            for k, place in enumerate(chosen):
                patch[k, place] = clean[0, place]
            found.append(self._answer(point, patch))
        shares: np.ndarray = torch.cat(found).double().numpy()
        return shares

    def _answer(self, point: str, patch: Tensor) -> Tensor:
        """The share of the clean answer with activations put into the pass of the other input."""
        scene = self.scene
        edits: Sequence[Edit] = (*scene.edits, Edit(Key.parse(point), patch=patch))
        x = nesting.select(self.other, [0] * len(patch))
        with Capture(scene.model, edits=edits, cancel=scene.cancel) as capture:
            rows = self._row(scene.reading.scores(capture(x)).detach()).cpu()
        return (self.told(rows) - self.corrupted) / (self.clean - self.corrupted)
