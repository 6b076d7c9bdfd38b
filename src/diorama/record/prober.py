"""Looks at the probe set between two steps, without a trace in the training."""

from __future__ import annotations

import contextlib
import math
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
from ..model.untouched import Untouched
from ..model.unwrap import fed
from .layer_reader import LayerReader
from .packing import Row
from .step import LayerReading, ProbeReading

MOST = 512
"""Examples that are looked at: the first ones."""
BATCH = 64
"""As many as scenes look at together, so that a network whose answers depend on their company answers both alike."""
SHARE = 0.01
"""The part of the training's time that looking may take."""
LAYERS_EVERY = 4
"""Only one look in so many reads the layers too: loss and accuracy alone cost a fraction of it, and are wanted more often."""
_CHEAP = 0.1
"""Seconds that a look may cost to be taken a few times early in a short run all the same …"""
_EARLY = 6
_RARE = 4.0
"""… if it costs no more than so many steps together; and seconds that looks may take besides."""
_FREE = 0.005


class Prober:
    """Runs the model on the probe set in eval mode: at step 0, at the end, and as often as its share of the time
    allows.

    Weights, buffers, modes, gradients and all random numbers are left bitwise as they were.
    """

    def __init__(
        self, model: nn.Module, examples: Examples, reading: Reading, reader: LayerReader, reread: Callable[[Reading], object] | None = None,
    ) -> None:
        self._model, self._reading, self._reader, self._reread = model, reading, reader, reread
        self._examples = examples.first(MOST)
        self._undo: list[Callable[[], Any]] = []
        self._began = time.monotonic()
        self._looks = self._next = 0
        self._spent = 0.0
        self._costs = {True: 0.0, False: 0.0}

    @property
    def cost(self) -> float:
        """Seconds that the next look is expected to take, from the last one of its kind."""
        return self._costs[self._whole] or self._costs[True] / 4

    @property
    def _whole(self) -> bool:
        return self._looks % LAYERS_EVERY == 0

    def start(self) -> None:
        """The training begins: what was spent before does not count."""
        # The look at step 0 read the layers, so the next ones need not.
        self._began, self._looks, self._next, self._spent = time.monotonic(), 1, 0, 0.0

    def affordable(self, number: int) -> bool:
        """Whether a look at a step fits into the share of the time, or is one of the few that every run has."""
        elapsed = time.monotonic() - self._began
        if self._looks <= _EARLY and number >= self._next and self.cost < min(_CHEAP, _RARE * elapsed / max(1, number)):
            self._next = 2 * number
            return True
        return self._spent + self.cost <= SHARE * elapsed + _FREE

    def rests(self) -> tuple[bool, float]:
        """Whether a look may come at any step from here on; and if not, the time before which there is none."""
        at = self._began + (self._spent + self.cost - _FREE) / SHARE
        if (self._looks <= _EARLY and self.cost < _CHEAP) or at <= time.monotonic():
            return True, math.inf
        return False, at

    def look(self) -> ProbeReading:
        """Look once."""
        began, whole = time.monotonic(), self._whole
        self._enter()
        try:
            found = self._look(whole)
        finally:
            self.leave()
            self._costs[whole] = time.monotonic() - began
            self._spent += self._costs[whole]
            self._looks += 1
        return found

    def _enter(self) -> None:
        self._undo.append(_random_state())
        self._undo.append(_modes(self._kinds()))
        untouched = Untouched(self._model, "eval")
        self._undo.append(lambda: untouched.__exit__(None, None, None))
        untouched.__enter__()

    def leave(self) -> None:
        """Put everything back; may be called again when it was interrupted."""
        while self._undo:
            self._undo[-1]()
            self._undo.pop()
        self._reader.disarm()

    def _look(self, whole: bool) -> ProbeReading:
        examples, y = self._examples, self._examples.y
        scores: list[Tensor] = []
        if whole:
            self._reader.arm(only_training=False)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            for kind in self._kinds():
                stack.enter_context(torch.autocast(kind, enabled=False))
            for start in range(0, len(examples), BATCH):
                stop = min(start + BATCH, len(examples))
                x = fed(self._model, nesting.select(examples.x, slice(start, stop)))
                scores.append(self._reading.scores(called(self._model, x)).detach().cpu())
            layers: dict[str, LayerReading] = self._reader.finish() if whole else {}
            wanted = self._reading.wanted(examples.x, y)
            if wanted is None:
                return ProbeReading(None, None, layers)
            whole_scores = torch.cat(scores)
            if (reading := self._reading.reread(whole_scores)) is not self._reading:
                self._reading = reading
                if self._reread is not None:
                    self._reread(reading)
            return ProbeReading(*self._judged(whole_scores, wanted), layers, self._standing(whole_scores, wanted))

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
