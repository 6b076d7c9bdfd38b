"""For each layer of a residual stream an affine map that foresees its end: the tuned lens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.plain_module import fed
from ...model.stream import Stream
from ...model.tail import Tail
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..streams import divergence, held, log_chances, residual_stream, tail_of, without_stream

MOST = 64_000_000
"""Numbers of all maps together at most."""


class TranslatorsDerivation(Derivation):
    """For each layer of a residual stream an affine map from what it holds there to what it holds at its end.

    *Meaning* ``matrix`` and ``bias`` of the maps, which begin as the identity and learn to bring the answer near the model's
    own: the mean divergence KL(output ‖ lens) over positions of texts. ``logit`` and ``tuned`` are that divergence in nats on
    texts that were held out, without and with the map; where it does not help there, the identity is ``kept``, so ``tuned`` is
    at most ``logit`` at every layer, and 0 at the last.
    *Shapes* matrix (layers, width, width), bias (layers, width), the others (layers,).
    *Cost* its steps: one forward pass a text in all, then the way out of the model once a layer, text and step, with gradients.
    *Source* Belrose et al. 2023, arXiv:2303.08112, equation 4.
    """

    texts: int = knob(64, "From so many live examples it learns, a quarter of them held out.", low=4, high=512)
    batch: int = knob(4, "Texts a step.", low=1, high=64)
    steps: int = knob(120, "Steps of learning.", low=1, high=10_000, log=True)
    seconds: float = knob(60.0, "After so long it ends even earlier.", low=1.0, high=3600.0, unit="s", log=True)
    learning_rate: float = knob(0.003, "How far each step goes (Adam).", low=1e-6, high=1.0, log=True)

    def fits(self, scene: Scene) -> str | None:
        """The model has a residual stream of rows, answers with probabilities, and there are texts to hold out."""
        if (reason := without_stream(scene, steps=True)) is not None:
            return reason
        try:
            log_chances(scene)
        except NotApplicable as error:
            return str(error)
        if len(scene.live) < 4:
            return f"it learns from examples and holds a quarter out, which wants four of them, and there are {len(scene.live)}"
        line = residual_stream(scene)
        if len(line.points) * line.shape[-1] ** 2 > MOST:
            return f"maps of {len(line.points)} layers of {line.shape[-1]} numbers would be too large; use the logit lens"
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass a text."""
        return Cost(min(self.texts, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The maps as they learn, then what they are worth on texts that were held out."""
        count = min(self.texts, len(scene.live))
        size = max(1, min(self.batch, count // 4))
        parts = [list(range(start, start + size)) for start in range(0, count - size + 1, size)]
        # Every fourth batch is held out.
        unseen, seen = parts[3::4] or parts[-1:], [part for k, part in enumerate(parts) if k % 4 != 3]
        line = residual_stream(scene)
        learning = _TranslatorMaps(line, self.learning_rate)
        lessons = _Lessons(scene, line)
        end = time.monotonic() + self.seconds
        for step in range(self.steps):
            learning.step(lessons.of(seen[step % len(seen)]))
            if time.monotonic() > end:
                break
            yield Stage(None, step + 1.0, self.steps + 1.0, f"step {step + 1} of {self.steps}")
        yield Stage(learning.judged([lessons.of(part) for part in unseen]), self.steps + 1.0, self.steps + 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """A map and its worth for each layer."""
        line = residual_stream(scene)
        count, wide = len(line.points), line.shape[-1]
        shapes = {"matrix": (count, wide, wide), "bias": (count, wide), "kept": (count,), "logit": (count,), "tuned": (count,)}
        if set(value) != {*shapes, "layers"} or value["layers"] != list(line.names):
            raise ValueError("layers by name, with their maps, are wanted")
        for name, shape in shapes.items():
            found = value[name]
            kind = "b" if name == "kept" else "f"
            if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype.kind != kind:
                raise ValueError(f"{name} of shape {shape} is wanted")


class _Lesson:
    """What the stream holds for some texts, what the model makes of its end, and its own answers."""

    def __init__(self, scene: Scene, line: Stream, x: Nested) -> None:
        self.tail: Tail = tail_of(scene, x, line)
        self.held: list[Tensor] = [h.detach() for h in held(scene, x, line)]
        self.chances = log_chances(scene)
        self.final = self.chances(self.tail.scores)

    def divergence(self, h: Tensor) -> Tensor:
        """Of what the model would answer from another end, to what it answers: the mean over positions, in nats."""
        return divergence(self.final, self.chances(self.tail(h))).mean()


class _Lessons:
    """Texts by their numbers, as many as fit into memory kept for the next time."""

    def __init__(self, scene: Scene, line: Stream) -> None:
        self.scene, self.line = scene, line
        self.kept: dict[int, _Lesson] = {}

    def of(self, chosen: Sequence[int]) -> _Lesson:
        """The lesson of some examples."""
        found = self.kept.get(chosen[0])
        if found is None:
            x = fed(self.scene.model, self.scene.live.batch(list(chosen), self.scene.device))
            found = _Lesson(self.scene, self.line, x)
            if len(self.kept) < 16:
                self.kept[chosen[0]] = found
        elif self.scene.cancel is not None:
            self.scene.cancel()
        return found


class _TranslatorMaps:
    """The maps of all layers but the last, which begin as the identity."""

    def __init__(self, line: Stream, rate: float) -> None:
        self.line, wide = line, line.shape[-1]
        count = len(line.points) - 1
        self.matrix = torch.eye(wide).repeat(count, 1, 1).requires_grad_()
        self.bias = torch.zeros(count, wide).requires_grad_()
        self.optimizer = torch.optim.Adam([self.matrix, self.bias], rate)

    def step(self, lesson: _Lesson) -> None:
        """One step of all layers."""
        with torch.enable_grad():
            self.optimizer.zero_grad()
            for number, h in enumerate(lesson.held[:-1]):
                loss = lesson.divergence(_mapped(h, self.matrix[number], self.bias[number]))
                gradients = torch.autograd.grad(loss, [self.matrix, self.bias], allow_unused=True)
                for part, gradient in zip((self.matrix, self.bias), gradients, strict=True):
                    if gradient is not None:
                        # Where the answer is no number, nothing is learnt from it.
                        gradient = gradient.nan_to_num(0, 0, 0)
                        part.grad = gradient if part.grad is None else part.grad + gradient
            self.optimizer.step()

    def judged(self, lessons: Sequence[_Lesson]) -> Plain:
        """The maps, and their worth on texts that were held out: what does not help there is the identity again."""
        count, wide = len(self.line.points), self.line.shape[-1]
        logit, tuned = np.zeros(count), np.zeros(count)
        matrix, bias = self.matrix.detach(), self.bias.detach()
        with torch.no_grad():
            for lesson in lessons:
                for number, h in enumerate(lesson.held):
                    plain = float(lesson.divergence(h))
                    own = plain if number == count - 1 else float(lesson.divergence(_mapped(h, matrix[number], bias[number])))
                    logit[number] += plain / len(lessons)
                    tuned[number] += own / len(lessons)
        kept = ~(tuned < logit)
        whole, moved = np.eye(wide, dtype=np.float32)[None].repeat(count, 0), np.zeros((count, wide), np.float32)
        for number in np.flatnonzero(~kept).tolist():
            whole[number], moved[number] = matrix[number].numpy(), bias[number].numpy()
        return {
            "layers": list(self.line.names), "matrix": whole, "bias": moved, "kept": kept, "logit": logit,
            "tuned": np.where(kept, logit, tuned),
        }


def _mapped(h: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    return (h.float() @ matrix.to(h.device).T + bias.to(h.device)).to(h.dtype)


def translated(h: Tensor, learnt: Plain, layer: int) -> Tensor:
    """What a layer holds, brought to the end of the stream by its map; as it is without one."""
    if learnt is None or bool(learnt["kept"][layer]):
        return h
    return _mapped(h, torch.tensor(learnt["matrix"][layer]), torch.tensor(learnt["bias"][layer]))
