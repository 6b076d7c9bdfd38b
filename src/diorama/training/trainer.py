"""A plain training loop whose batches follow from seed and step, so that a resumed training equals one that never
stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.errors import UsageError
from ..data.changes import Changes
from ..data.nesting import Nested, call, first, select, size, to

Loss = Callable[[Any, Tensor], Tensor]
Metric = Callable[[Any, Tensor], float]
Change = Callable[[Nested, torch.Generator], Nested]


class Trainer:
    """One step after another on shuffled batches; knows where it stands, and can stand there again.

    ``loss`` maps the model's output and the labels to one number; ``metrics`` are further numbers by name, computed from
    the same output; ``augment`` changes a batch of inputs with a generator that follows from seed and step.
    ``changes`` says what people changed of the examples, by the commands ``drop``, ``relabel`` and ``weigh``.
    Put the trainer into ``diorama.watch(…, state=[trainer])`` and its position goes into every checkpoint.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, x: Nested, y: Tensor, loss: Loss, *, batch: int = 32,
        seed: int = 0, metrics: dict[str, Metric] | None = None, augment: Change | None = None,
    ) -> None:
        if len(y) != size(x):
            raise UsageError(f"x and y want the same number of examples, got {size(x)} and {len(y)}")
        if not len(y) or batch < 1:
            raise UsageError(
                f"training wants at least one example and a batch of at least one, got {len(y)} and {batch}"
            )
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.x, self.y = x, y
        self.batch, self.seed = min(batch, len(y)), seed
        self.metrics, self.augment = metrics or {}, augment
        self.step = 0
        self.skipped = 0
        """Batches that were left out."""
        self.changes = Changes(len(y), seed=seed, shared=False)
        """What people changed of the examples: which come less often, or with another label."""
        single = y.numel() == len(y) and not y.is_complex()
        labels = y.detach().cpu().double().reshape(-1).numpy() if single else np.full(len(y), np.nan)
        self.changes.tell_all(labels, "none" if not single else "real" if y.is_floating_point() else "whole")
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def per_epoch(self) -> int:
        """Batches a pass through the data; what does not fill a batch waits for another shuffle."""
        return len(self.y) // self.batch

    def indices(self, step: int) -> NDArray[np.int64]:
        """The examples of a step's batch: the same for the same seed and step, whatever came before."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.y))
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def advance(self) -> dict[str, float]:
        """Train one step; returns the loss and the metrics of its batch, from before the step."""
        place = self.step + self.skipped
        chosen = self.changes.drawn(self.indices(place), np.full(self.batch, place))
        x, y = select(self.x, chosen), self.y[torch.from_numpy(chosen)]
        if self.changes.relabels:
            labels = torch.from_numpy(self.changes.labels[chosen]).reshape(y.shape)
            y = torch.where(labels.isnan(), y, labels.nan_to_num().to(y))
        if self.augment is not None:
            x = self.augment(x, torch.Generator().manual_seed(self.seed * 1_000_003 + place))
        device = next((parameter.device for parameter in self.model.parameters()), first(x).device)
        x, y = to(x, device), y.to(device)
        self.model.train()
        # What dropout draws follows from seed and step too, and the process's own random state stays as it was.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed * 1_000_003 + place)
            output = call(self.model, x)
        loss = self.loss(output, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            return {"loss": float(loss), **{name: float(metric(output, y)) for name, metric in self.metrics.items()}}

    def run(self, until: int) -> Iterator[dict[str, float]]:
        """Train until a step is reached, yielding each step's numbers."""
        while self.step < until:
            yield self.advance()

    def skip(self, count: int) -> None:
        """Leave out so many of the next batches."""
        self.skipped += count

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands; the model and the optimizer keep their own state."""
        state: dict[str, Any] = {"step": self.step, "seed": self.seed, "skipped": self.skipped}
        return {**state, "changes": self.changes.state_dict()} if self.changes.touched else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where another trainer stood."""
        self.changes.load_state_dict(state.get("changes"))
        self.step, self.seed = int(state["step"]), int(state["seed"])
        self.skipped = int(state.get("skipped", 0))
        self._order = (-1, np.empty(0, np.int64))
