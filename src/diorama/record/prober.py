"""Looks at the probe set between two steps, without a trace in the training."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import DioramaError
from ..data import nesting
from ..data.examples import Examples
from ..model.batch_size import called
from ..model.outputs import Reading
from ..model.plain_module import fed
from ..model.preservation import Preservation
from .layer_reader import LayerReader
from .look_pace import LookPace
from .probe_truth import ProbeTruth
from .step import LayerReading, ProbeReading
from .store_bytes import Row
from .unasked_labels import UnaskedLabels

MOST = 512
"""Examples that are looked at: the first ones."""
BATCH = 64
"""As many as scenes look at together, so that a network whose answers depend on their company answers both alike."""
_SHORT = 2.0
"""A first look of fewer seconds is taken twice."""
_CLASSES = 32
"""Classes of pixels that are counted, at most."""
_LABELS = 1024
"""Labels of several an example that are counted, at most."""
_SURE = 3
"""Batches of one look that tell what one of them usually takes: the first may also compile something, or read it from the disk."""


class Prober:
    """Runs the model on the probe set in eval mode: at step 0, at the end, and when its pace says that there is time.

    Weights, buffers, modes, gradients and all random numbers are left bitwise as they were.
    """

    def __init__(
        self, model: nn.Module, examples: Examples, reading: Reading, reader: LayerReader, reread: Callable[[Reading], object] | None = None,
        compiled: bool | None = None,
    ) -> None:
        self._model, self._reading, self._reader, self._reread = model, reading, reader, reread
        self._examples = examples.first(MOST)
        unasked = UnaskedLabels(self._examples, reading, lambda label, why: self.read_as(self._reading.without((label,), why)))
        self.truth = ProbeTruth(self._examples, reading, self.read_as, unasked)
        """Whether its labels are given as the loop has them, as the batches tell."""
        self._compiled = compiled
        """Whether the whole model trains compiled; None where nobody asks for what is then told in place of training batches."""
        self._undo: list[Callable[[], Any]] = []
        self.pace = LookPace()
        """When there is time for a look."""
        self._batches: list[float] = []
        self._layers = 0.0

    def read_as(self, reading: Reading) -> None:
        """Read answers so from the next look on."""
        self._reading = reading
        if self._reread is not None:
            self._reread(reading)

    def affordable(self, number: int) -> bool:
        """Whether a look at a step fits into the share of the time, or is one of the few that every run has."""
        return self.pace.affordable(number)

    def first_look(self) -> ProbeReading:
        """Look before the training begins, at the layers too; a short look is taken twice, since the first also warms up."""
        found = self.look(whole=True)
        if self.pace.unsure and self.pace.dearest < _SHORT:
            with contextlib.suppress(Exception):  # what fails here fails at the next look, which tells it
                self.look(whole=False)
        return found

    def look(self, whole: bool | None = None) -> ProbeReading:
        """Look once, at the layers too where that is wanted (``whole``), or where there is time for it."""
        whole = self.pace.whole() if whole is None else whole
        began, self._batches, self._layers = time.perf_counter(), [], 0.0
        # Asked before the look: during it nothing runs compiled.
        closed = self._reader.closed(self._compiled) if whole and self._compiled is not None else frozenset[str]()
        self._enter()
        try:
            found = self._look(whole, closed)
        finally:
            self.leave()
            self.pace.took(self._usual(time.perf_counter() - began - self._layers), self._layers if whole else None)
        return found

    def _usual(self, seconds: float) -> float:
        """What a look that took so long would have taken, had no batch been slower than is usual among them."""
        batches = sorted(self._batches)
        return seconds if len(batches) < _SURE else seconds - sum(batches) + len(batches) * batches[len(batches) // 2]

    def _enter(self) -> None:
        self._undo.append(_random_state())
        self._undo.append(_modes(self._kinds()))
        untouched = Preservation(self._model, "eval")
        self._undo.append(lambda: untouched.__exit__(None, None, None))
        untouched.__enter__()

    def leave(self) -> None:
        """Put everything back; may be called again when it was interrupted."""
        while self._undo:
            self._undo[-1]()
            self._undo.pop()
        self._reader.disarm()

    def _look(self, whole: bool, closed: frozenset[str]) -> ProbeReading:
        examples, y = self._examples, self._examples.y
        scores: list[Tensor] = []
        began = time.perf_counter()
        if whole:
            self._reader.arm(only_training=False)
            self._layers = time.perf_counter() - began
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            for kind in self._kinds():
                stack.enter_context(torch.autocast(kind, enabled=False))
            for start in range(0, len(examples), BATCH):
                began, read = time.perf_counter(), self._reader.seconds
                stop = min(start + BATCH, len(examples))
                x = fed(self._model, nesting.select(examples.x, slice(start, stop)))
                scores.append(self._reading.scores(called(self._model, x)).detach().cpu())
                self._batches.append(time.perf_counter() - began - (self._reader.seconds - read if whole else 0.0))
            began = time.perf_counter()
            layers: dict[str, LayerReading] = self._reader.finish() if whole else {}
            self._layers += time.perf_counter() - began + self._reader.seconds if whole else 0.0
            wanted = self._reading.wanted(examples.x, y)
            if wanted is None:
                return ProbeReading(None, None, layers, closed=closed)
            whole_scores = torch.cat(scores)
            if (reading := self._reading.reread(whole_scores)) is not self._reading:
                self.read_as(reading)
            standing, classes = self._standing(whole_scores, wanted), self._classes(whole_scores, wanted)
            return ProbeReading(*self._judged(whole_scores, wanted), layers, standing, classes, closed)

    def _kinds(self) -> set[str]:
        kinds = {parameter.device.type for parameter in self._model.parameters()} | {"cpu"}
        return set(filter(torch.amp.is_autocast_available, kinds))

    def _judged(self, scores: Tensor, y: Tensor) -> tuple[float | None, float | None]:
        loss = accuracy = None
        y = y.cpu()
        if not bool(self._reading.labelled(y).any()):
            return None, None
        with contextlib.suppress(DioramaError):
            loss = self._reading.loss(scores, y)
        with contextlib.suppress(DioramaError):
            accuracy = self._reading.mean(self._reading.right(scores, y), y, loss=False)
        return loss, accuracy

    def _standing(self, scores: Tensor, y: Tensor) -> dict[str, Row]:
        found: dict[str, Row] = {}
        with contextlib.suppress(DioramaError):
            found = {
                name: values.to(torch.float32).numpy() for name, values in self._reading.standing(scores, y.cpu()).items()
            }
        return found

    def _classes(self, scores: Tensor, y: Tensor) -> dict[str, Row]:
        """Of a segmentation, whose examples are of no class: how its pixels of each class were answered. Of several labels an example: how often
        each was found, missed and said where it is not."""
        if self._reading.task == "multi_label":
            return self._labels(scores, y)
        if self._reading.task != "segmentation":
            return {}
        with contextlib.suppress(DioramaError):
            truth, said = self._reading.truth(y.cpu()).reshape(-1), self._reading.predictions(scores).reshape(-1)
            known = (truth >= 0) & (said >= 0)
            count = max(2, scores.shape[1])
            if count > _CLASSES or not bool(known.any()) or int(truth[known].max()) >= count:
                return {}
            likely = self._reading.probabilities(scores)
            likely = likely if likely.shape[-1] == count else torch.stack([1 - likely.reshape(said.shape), likely.reshape(said.shape)], -1)
            lost = -likely.reshape(-1, count)[known].gather(1, truth[known, None])[:, 0].clamp_min(1e-12).log()
            counts = torch.bincount(truth[known], minlength=count)
            confusion = torch.bincount(truth[known] * count + said[known], minlength=count * count)
            loss = torch.bincount(truth[known], lost.double(), minlength=count) / counts.clamp_min(1)
            return {"confusion": confusion.to(torch.float32).numpy(), "loss": loss.to(torch.float32).numpy()}
        return {}

    def _labels(self, scores: Tensor, y: Tensor) -> dict[str, Row]:
        with contextlib.suppress(DioramaError):
            y = y.cpu()
            parts = self._reading.known(y), self._reading.truth(y), self._reading.predictions(scores)
            known, truth, said = (part.reshape(len(y), -1) for part in parts)
            if truth.shape != said.shape or truth.shape[1] > _LABELS or not bool(known.any()):
                return {}
            counts = [(known & part).sum(0) for part in (truth & said, truth & ~said, ~truth & said, ~truth & ~said)]
            return {"labels": torch.stack(counts, 1).reshape(-1).to(torch.float32).numpy()}
        return {}


def _modes(kinds: set[str]) -> Callable[[], None]:
    """Remember what is switched on for this thread; the result puts it back."""
    grads = torch.is_grad_enabled()
    casts = {kind: torch.is_autocast_enabled(kind) for kind in kinds}

    def back() -> None:
        torch.set_grad_enabled(grads)
        for kind, on in casts.items():
            torch.set_autocast_enabled(kind, on)

    return back


def _random_state() -> Callable[[], None]:
    """Remember all generators; the result puts them back."""
    mine, python, array = torch.get_rng_state(), random.getstate(), np.random.get_state()
    started = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if started else []

    def restore() -> None:
        torch.set_rng_state(mine)
        random.setstate(python)
        np.random.set_state(array)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)

    return restore
